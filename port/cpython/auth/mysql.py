"""Accounts and rights in MySQL or MariaDB; see port.cpython.auth.sql for the queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from port.cpython.auth.settings import library
from port.cpython.auth.sql import Query, SqlAuthenticator, server_settings

_GONE = (2006, 2013)  # CR_SERVER_GONE_ERROR, CR_SERVER_LOST


class MysqlAuthenticator(SqlAuthenticator):
    """Asks a MySQL or MariaDB server; needs the extra `mysql`."""

    SETTINGS = server_settings(3306, "comqtt", "the path of a socket")

    def prepare(self) -> None:
        """See AsyncAuthenticator.prepare."""
        super().prepare()
        self._driver = library("aiomysql", "mysql")
        self._pool: Any = None

    def query(self, setting: str) -> Query:
        """See SqlAuthenticator.query."""
        return Query(setting, self.settings[setting], lambda n: "%s", True)

    async def connect(self) -> None:
        """See AsyncAuthenticator.connect."""
        values = self.settings
        host: str = values["host"]
        self._pool = await self._driver.create_pool(
            minsize=0,
            maxsize=self.connections,
            pool_recycle=300,
            host="localhost" if host.startswith("/") else host,
            unix_socket=host if host.startswith("/") else None,
            port=values["port"],
            db=values["database"],
            user=values["user"] or None,
            password=self.password,
            charset="utf8mb4",
            autocommit=True,  # each query sees the present data
            connect_timeout=values["timeout"],
            ssl=self.tls,
            cursorclass=self._driver.DictCursor,
        )

    async def ping(self) -> None:
        """See AsyncAuthenticator.ping."""
        async with self._pool.acquire() as connection:
            await connection.ping()

    async def disconnect(self) -> None:
        """See AsyncAuthenticator.disconnect."""
        self._pool.terminate()
        await self._pool.wait_closed()

    async def fetch(self, query: Query, values: list[str | None], most: int) -> Sequence[Mapping[str, Any]]:
        """See SqlAuthenticator.fetch. An idle connection that has died is replaced."""
        try:
            return await self._fetch(query, values, most)
        except self._driver.OperationalError as e:
            if e.args[0] not in _GONE:
                raise
            await self._pool.clear()
            return await self._fetch(query, values, most)

    async def _fetch(self, query: Query, values: list[str | None], most: int) -> Sequence[Mapping[str, Any]]:
        async with self._pool.acquire() as connection, connection.cursor() as cursor:
            await cursor.execute(query.text, values)
            rows: Sequence[Mapping[str, Any]] = await cursor.fetchmany(most)
            return rows
