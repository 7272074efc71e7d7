"""Real database servers for tests, each on a free port of 127.0.0.1 with its data in a temporary folder.

    from database_servers import mariadb, postgresql, redis_server

    def test_it(redis_server):
        redis_server.port

One of each serves all tests of a file. A test may stop and start it again; Redis has forgotten all by then.
"""

from __future__ import annotations

import glob
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from server_process import free_port
from toolchain import in_ci

START_SECONDS = 60.0
STOP_SECONDS = 20.0
USER = "ucomqtt"
PASSWORD = "the server's"
DATABASE = "comqtt"


class DatabaseServer:
    """A server program; subclasses say how it is prepared and called.

    port    its port on 127.0.0.1
    folder  its data, and its socket
    """

    account: str | None = None  # of the machine, under which it runs when the tests run as root
    stop_signal = 15

    def __init__(self, program: str) -> None:
        self.program = program
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="db-"))
        self._output = (self.folder / "output").open("ab")
        self._process: subprocess.Popen[bytes] | None = None
        if self.account is not None and self.identity():
            shutil.chown(self.folder, user=self.account, group=self.account)
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.remove()
            raise

    def identity(self) -> dict[str, Any]:
        """How to run something as `account`."""
        if self.account is None or os.geteuid() != 0:
            return {}
        return {"user": self.account, "group": self.account, "extra_groups": []}

    def prepare(self) -> None:
        """Make what the server needs in its folder."""

    def command(self) -> Sequence[str]:
        """The command line that runs it in the foreground."""
        raise NotImplementedError

    def fill(self) -> None:
        """Make database and user, once the server runs for the first time."""

    def run(self, *command: str, **options: Any) -> None:
        """Run a program of the server's to its end."""
        done = subprocess.run(
            command, cwd=self.folder, timeout=START_SECONDS, stdin=subprocess.DEVNULL, **self.identity(), **options,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError("%s: %s" % (command[0], done.stdout.decode(errors="replace")))

    def start(self) -> None:
        """Start it and wait until it answers."""
        first = self._process is None
        self._process = subprocess.Popen(
            self.command(), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output,
            **self.identity(),
        )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
                break
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(self.program + ": " + self.output()) from None
                time.sleep(0.02)
        if first:
            self.fill()

    def output(self) -> str:
        """What it has printed."""
        return (self.folder / "output").read_text(errors="replace")

    def kill(self) -> None:
        """End it at once; `start` may follow."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)

    def stop(self) -> None:
        """Stop it; `start` may follow."""
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(self.stop_signal)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_SECONDS)

    def remove(self) -> None:
        """Stop it and delete its folder."""
        self.stop()
        self._output.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Redis(DatabaseServer):
    """redis-server."""

    def command(self) -> Sequence[str]:
        return [self.program, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder), "--save", "",
                "--appendonly", "no", "--requirepass", PASSWORD]  # fmt: skip


class MariaDB(DatabaseServer):
    """mariadbd, with the database DATABASE that belongs to USER."""

    def prepare(self) -> None:
        (self.folder / "init.sql").write_text(
            "CREATE DATABASE IF NOT EXISTS %s CHARACTER SET utf8mb4;\n" % DATABASE
            + "CREATE USER IF NOT EXISTS '%s'@'%%' IDENTIFIED BY '%s';\n" % (USER, PASSWORD.replace("'", "''"))
            + "GRANT ALL ON %s.* TO '%s'@'%%';\n" % (DATABASE, USER)
        )
        install = shutil.which("mariadb-install-db") or shutil.which("mysql_install_db") or "mariadb-install-db"
        self.run(install, "--no-defaults", "--user=" + self._user(), "--datadir=" + str(self.folder / "data"),
                 "--auth-root-authentication-method=normal", "--skip-test-db")  # fmt: skip

    def _user(self) -> str:
        return "root" if os.geteuid() == 0 else os.environ.get("USER", "")

    def command(self) -> Sequence[str]:
        return [self.program, "--no-defaults", "--user=" + self._user(), "--datadir=" + str(self.folder / "data"),
                "--socket=" + str(self.folder / "socket"), "--pid-file=" + str(self.folder / "pid"), "--bind-address=127.0.0.1",
                "--port=" + str(self.port), "--skip-name-resolve", "--init-file=" + str(self.folder / "init.sql"),
                "--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=0"]  # fmt: skip


class PostgreSQL(DatabaseServer):
    """postgres, with the database DATABASE that belongs to USER."""

    account = "postgres"
    stop_signal = 2  # fast: without waiting for clients

    def prepare(self) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self.run(self._tool("initdb"), "-D", str(self.folder / "data"), "-U", USER, "--pwfile=" + str(secret), "--no-sync",
                 "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C")  # fmt: skip

    def _tool(self, name: str) -> str:
        return str(Path(self.program).with_name(name))

    def command(self) -> Sequence[str]:
        return [self.program, "-D", str(self.folder / "data"), "-h", "127.0.0.1", "-p", str(self.port), "-k", str(self.folder),
                "-F", "-c", "shared_buffers=16MB", "-c", "max_connections=50"]  # fmt: skip

    def start(self) -> None:
        super().start()
        # It listens before it is ready.
        deadline = time.monotonic() + START_SECONDS
        ready = [self._tool("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, timeout=START_SECONDS).returncode:
            if time.monotonic() > deadline:
                raise RuntimeError("postgres: " + self.output())
            time.sleep(0.05)

    def fill(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        environment = {**os.environ, "PGPASSWORD": PASSWORD}
        while True:
            try:
                self.run(self._tool("createdb"), "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, DATABASE, env=environment)
                return
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def _postgres(tool: Callable[[str], str]) -> str:
    tool("pg_ctlcluster")
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"), key=lambda path: int(path.split("/")[4]))
    if not found:
        (pytest.fail if in_ci() else pytest.skip)("no postgres on this machine")
    return found[-1]


def _serve(make: Callable[[], DatabaseServer]) -> Iterator[DatabaseServer]:
    server = make()
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def redis_server(tool: Callable[[str], str]) -> Iterator[DatabaseServer]:
    """A Redis server whose default user has the password PASSWORD."""
    program = tool("redis-server")
    yield from _serve(lambda: Redis(program))


@pytest.fixture(scope="session")
def mariadb(tool: Callable[[str], str]) -> Iterator[DatabaseServer]:
    """A MariaDB server."""
    program = tool("mariadbd")
    yield from _serve(lambda: MariaDB(program))


@pytest.fixture(scope="session")
def postgresql(tool: Callable[[str], str]) -> Iterator[DatabaseServer]:
    """A PostgreSQL server."""
    program = _postgres(tool)
    yield from _serve(lambda: PostgreSQL(program))
