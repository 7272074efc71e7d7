"""Accounts and rights in PostgreSQL; see port.cpython.auth.sql for the queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from port.cpython.auth.settings import library
from port.cpython.auth.sql import Query, SqlAuthenticator, server_settings


class PostgresqlAuthenticator(SqlAuthenticator):
    """Asks a PostgreSQL server; needs the extra `postgresql`."""

    SETTINGS = server_settings(5432, "comqtt", "the folder of its socket")

    def prepare(self) -> None:
        """See AsyncAuthenticator.prepare."""
        super().prepare()
        self._driver = library("asyncpg", "postgresql")
        self._pool: Any = None

    def query(self, setting: str) -> Query:
        """See SqlAuthenticator.query."""
        return Query(setting, self.settings[setting], lambda n: "$%d" % n, False)

    async def connect(self) -> None:
        """See AsyncAuthenticator.connect."""
        values = self.settings
        self._pool = await self._driver.create_pool(
            min_size=0,
            max_size=self.connections,
            host=values["host"],
            port=values["port"],
            database=values["database"],
            user=values["user"] or None,
            password=self.password or None,
            ssl=self.tls if self.tls is not None else "prefer",
            timeout=values["timeout"],
            setup=self._limit,
            server_settings={"application_name": "ucomqtt"},
        )

    async def _limit(self, connection: Any) -> None:
        """Have the server end a query a second after our timeout, so that our timeout is the reported reason."""
        await connection.execute("SELECT set_config('statement_timeout', $1, false)", str(int(self.timeout * 1000) + 1000))

    async def ping(self) -> None:
        """See AsyncAuthenticator.ping."""
        await self._run("SELECT 1", [])

    async def disconnect(self) -> None:
        """See AsyncAuthenticator.disconnect."""
        self._pool.terminate()

    async def fetch(self, query: Query, values: list[str | None], most: int) -> Sequence[Mapping[str, Any]]:
        """See SqlAuthenticator.fetch."""
        rows = await self._run(query.text, values)
        return rows[:most]

    async def _run(self, text: str, values: list[str | None]) -> list[Mapping[str, Any]]:
        connection = await self._pool.acquire()
        try:
            rows: list[Mapping[str, Any]] = await connection.fetch(text, *values)
        except BaseException:
            # Its state is unknown, and releasing it properly could take as long as the server likes.
            connection.terminate()
            raise
        finally:
            await self._pool.release(connection)
        return [dict(row) for row in rows]
