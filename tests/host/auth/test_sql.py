"""Accounts in real databases: the same tests on MariaDB and on PostgreSQL."""

import asyncio
from typing import Any

import aiomysql  # type: ignore[import-untyped]
import asyncpg  # type: ignore[import-untyped]
import bcrypt
import pytest

from back_ends import admitted, answer, begin, broker_with, figure, finish, hanging_server, may
from database_servers import DATABASE, PASSWORD, USER, mariadb, postgresql  # noqa: F401
from port.core.wire.codec import DISCONNECT
from port.cpython.auth.base import ClientInfo
from port.cpython.auth.mysql import MysqlAuthenticator
from port.cpython.auth.postgresql import PostgresqlAuthenticator
from port.cpython.auth.sql import Query
from server_process import free_port

pytestmark = pytest.mark.filterwarnings("ignore:Unknown table")

RIGHT = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()

# The tables of CoMQTT 2; those of CoMQTT 1 have no column allow.
TABLES = (
    "DROP TABLE IF EXISTS auth, acl",
    "CREATE TABLE auth (username VARCHAR(255) NOT NULL UNIQUE, password VARCHAR(255) NOT NULL,"
    " allow SMALLINT DEFAULT 1 NOT NULL)",
    "CREATE TABLE acl (username VARCHAR(255) NOT NULL, topic VARCHAR(255) NOT NULL, access SMALLINT DEFAULT 3 NOT NULL)",
    "INSERT INTO auth VALUES ('ann', '%s', 1)" % RIGHT,
    "INSERT INTO auth VALUES ('gone', '%s', 0)" % RIGHT,
)


class MySQL:
    back_end = MysqlAuthenticator

    def __init__(self, server):
        self.server = server

    async def execute(self, *statements):
        connection = await aiomysql.connect(
            host="127.0.0.1", port=self.server.port, user=USER, password=PASSWORD, db=DATABASE, charset="utf8mb4",
            autocommit=True,
        )  # fmt: skip
        async with connection, connection.cursor() as cursor:
            for statement in statements:
                await cursor.execute(statement)
            return [list(row) for row in await cursor.fetchall()]


class Postgres:
    back_end = PostgresqlAuthenticator

    def __init__(self, server):
        self.server = server

    async def execute(self, *statements):
        connection = await asyncpg.connect(
            host="127.0.0.1", port=self.server.port, user=USER, password=PASSWORD, database=DATABASE
        )
        try:
            for statement in statements:
                rows = await connection.fetch(statement)
            return [list(row) for row in rows]
        finally:
            await connection.close()


@pytest.fixture(params=("mariadb", "postgresql"))
def database(request):
    """A database with the tables and two users."""
    database: Any = {"mariadb": MySQL, "postgresql": Postgres}[request.param](request.getfixturevalue(request.param))
    asyncio.run(database.execute(*TABLES))
    return database


@pytest.fixture
def make(database):
    """make(refresh=5): an authenticator for that database."""

    def make(**settings):
        given = {"port": database.server.port, "user": USER, "password": PASSWORD, "refresh": 0, "timeout": 20}
        return database.back_end({**given, **settings})

    return make


async def test_passwords(make):
    authenticator = make()
    async with broker_with(authenticator) as world:
        assert await answer(world, b"ann", b"right") == 0
        assert await answer(world, b"ann", b"wrong") == 0x86
        assert await answer(world, b"ann") == 0x86
        assert await answer(world, b"nobody", b"right") == 0x86
        assert await answer(world, b"gone", b"right") == 0x87
        assert await answer(world) == 0x87
        assert await answer(world, b"ann", b"wrong", version=4) == 4
        assert [figure(authenticator, name) for name in ("accepted", "refused", "errors")] == [1, 5, 0]


async def test_table_of_comqtt_1(database, make):
    await database.execute("ALTER TABLE auth DROP COLUMN allow")
    async with broker_with(make()) as world:
        assert await answer(world, b"gone", b"right") == 0


async def test_plain_passwords(database, make, caplog):
    await database.execute("UPDATE auth SET password = 'right'")
    async with broker_with(make(plain_passwords=True)) as world:
        assert await answer(world, b"ann", b"right") == 0
        assert await answer(world, b"ann", b"wrong") == 0x86
    async with broker_with(make()) as world:
        assert await answer(world, b"ann", b"right") == 0x88
    assert "right" not in caplog.text


@pytest.mark.parametrize("numbers", ("comqtt1", "comqtt2"))
async def test_rights(database, make, numbers):
    publish, subscribe = (1, 2) if numbers == "comqtt1" else (2, 1)
    rights = {"p": publish, "s": subscribe, "both": 3, "none": 0, "w/#": 3, "w/x": 0, "%u/%c": 3}
    rows = ["('ann', '%s', %d)" % right for right in rights.items()]
    await database.execute("INSERT INTO acl VALUES ('bob', '#', 3), " + ", ".join(rows))
    async with broker_with(make(access=numbers)) as world:
        client = await admitted(world, b"ann", b"right", client_id="id")
        may(client, "p", True, False)
        may(client, "s", False, True)
        may(client, "both", True, True)
        may(client, "none", False, False)
        may(client, "w/y", True, True)
        may(client, "w/x", False, False)
        may(client, "ann/id", True, True)
        may(client, "other", False, False)


async def test_queries_of_ones_own(database, make):
    await database.execute("INSERT INTO acl VALUES ('c1', '10.0.0.1', 0)")
    user_query = "SELECT '%s' AS password, 1 AS superuser FROM acl" % RIGHT
    user_query += " WHERE username = :client_id AND topic = :address -- :nothing"
    async with broker_with(make(user_query=user_query)) as world:
        may(await admitted(world, None, b"right", client_id="c1"), "any", True, True)
        assert await answer(world, b"ann", b"right", client_id="c2") == 0x86
        assert await answer(world, b"ann", b"right", client_id="c1", address="10.0.0.2:1") == 0x86
    async with broker_with(make(acl_query="")) as world:
        may(await admitted(world, b"ann", b"right"), "any", True, True)
    acl_query = "SELECT 'a/:user' AS topic, 'write' AS access UNION SELECT CONCAT(:listener, '%'), 'read'"
    if database.back_end is PostgresqlAuthenticator:
        acl_query = acl_query.replace(":listener", ":listener::text")
    async with broker_with(make(acl_query=acl_query)) as world:
        client = await admitted(world, b"ann", b"right")
        may(client, "a/:user", True, False)
        may(client, "default%", False, True)


@pytest.mark.parametrize(
    ("settings", "text"),
    (
        ({"user_query": "SELECT username FROM auth WHERE username = :user"}, "no column password"),
        ({"user_query": "SELECT password FROM auth WHERE :user <> 'x'"}, "more than one row"),
        ({"user_query": "SELECT password FROM nowhere WHERE username = :user"}, "nowhere"),
        ({"acl_query": "SELECT 'x' AS topic"}, "the columns topic and access"),
        ({"acl_query": "SELECT 'x' AS topic, 7 AS access"}, "access"),
        ({"acl_query": "SELECT 'x' AS topic, NULL AS access"}, "access"),
        ({"acl_query": "SELECT 'a#' AS topic, 3 AS access"}, "topic"),
        ({"acl_query": "SELECT 'a' AS topic, 3 AS access UNION SELECT 'b', 3", "max_rules": 1}, "max_rules"),
    ),
)
async def test_queries_that_are_wrong(make, caplog, settings, text):
    authenticator = make(**settings)
    async with broker_with(authenticator) as world:
        assert await answer(world, b"ann", b"right") == 0x88
        assert figure(authenticator, "errors") == 1
    assert text in caplog.text and RIGHT not in caplog.text


EVIL = (
    "ann' OR '1'='1", "' OR 1=1 -- ", "ann\\", "\\' OR 1=1 -- ", 'ann"', "ann; DROP TABLE auth", "an%", "a_n", "%s", "%(user)s",
    ":user", "$1", "ann\n", "ann ", "ANN", "\u00e4nn", "x' UNION SELECT password FROM auth -- ", "\u2019 OR 1=1", "\U0001f600",
)  # fmt: skip


@pytest.mark.parametrize("user", EVIL)
async def test_a_user_name_is_a_name_and_nothing_else(database, make, user):
    authenticator = make()
    async with broker_with(authenticator) as world:
        assert await answer(world, user.encode(), b"right") == 0x86
        assert figure(authenticator, "errors") == 0
        assert await answer(world, b"ann", b"right") == 0
        assert sorted(await database.execute("SELECT username FROM auth")) == [["ann"], ["gone"]]


async def test_a_user_name_of_odd_letters_is_found(database, make):
    for user in ("it's", "a\\b", "50%", ":user", "\U0001f600"):
        written = user.replace("'", "''")
        if isinstance(database, MySQL):
            written = written.replace("\\", "\\\\")
        await database.execute("INSERT INTO auth VALUES ('%s', '%s', 1)" % (written, RIGHT))
    async with broker_with(make()) as world:
        for user in ("it's", "a\\b", "50%", ":user", "\U0001f600"):
            assert await answer(world, user.encode(), b"right", client_id=user) == 0


async def test_null_characters(make):
    """The core lets none in; were one to come, it would not reach the database."""
    authenticator = make()
    await authenticator.open()
    assert await authenticator.find(ClientInfo("c", "ann\0", b"", "", "")) is None
    assert (await authenticator.find(ClientInfo("c", "ann", b"", "", ""))).record == RIGHT
    await authenticator.close()


async def test_refresh(database, make):
    await database.execute(
        "INSERT INTO auth VALUES ('bob', '%s', 1), ('eve', '%s', 1)" % (RIGHT, RIGHT),
        "INSERT INTO acl VALUES ('ann', 'a', 3)",
    )
    authenticator = make()
    async with broker_with(authenticator) as world:
        ann, bob, eve = [await admitted(world, user.encode(), b"right", client_id=user) for user in ("ann", "bob", "eve")]
        may(ann, "a", True, True)
        await authenticator.refresh()
        may(ann, "a", True, True)
        await database.execute(
            "UPDATE acl SET topic = 'b'",
            "UPDATE auth SET allow = 0 WHERE username = 'bob'",
            "DELETE FROM auth WHERE username = 'eve'",
        )
        await authenticator.refresh()
        may(ann, "a", False, False)
        may(ann, "b", True, True)
        assert bob.expect(DISCONNECT)["code"] == eve.expect(DISCONNECT)["code"] == 0x87


async def test_down_at_the_start(make, caplog):
    authenticator = make(port=free_port())
    async with broker_with(authenticator) as world:
        assert await answer(world, b"ann", b"right") == 0x88
        assert figure(authenticator, "errors") >= 1
    assert "authenticator a" in caplog.text and PASSWORD not in caplog.text


async def test_going_down_and_coming_back(database, make):
    authenticator = make()
    async with broker_with(authenticator) as world:
        client = await admitted(world, b"ann", b"right", client_id="stays")
        await asyncio.to_thread(database.server.stop)
        assert await answer(world, b"ann", b"right") == 0x88
        await authenticator.refresh()
        client.expect_nothing()
        await asyncio.to_thread(database.server.start)
        assert await answer(world, b"ann", b"right") == 0


async def test_restarted_while_idle(database, make):
    authenticator = make()
    async with broker_with(authenticator) as world:
        await admitted(world, b"ann", b"right")
        await asyncio.to_thread(database.server.stop)
        await asyncio.to_thread(database.server.start)
        assert await answer(world, b"ann", b"right") == 0
        assert figure(authenticator, "errors") == 0


async def test_hanging(make):
    with hanging_server() as port:
        hanging, alive = make(port=port, timeout=0.5, max_concurrent=2, on_error="next"), make()
        async with broker_with(hanging, alive) as world, broker_with(make()) as other:
            clients = [begin(world, str(i), user=b"ann", password=b"right") for i in range(5)]
            for i in range(5):
                await admitted(other, b"ann", b"right", client_id=str(i))
            assert [await finish(client) for client in clients] == [0] * 5
            assert figure(hanging, "timeouts") + figure(hanging, "errors") >= 5 and figure(alive, "accepted") == 5
            assert figure(hanging, "waiting") == 0


async def test_a_query_that_takes_too_long(database, make):
    """Connections in the middle of a query are given up, and others take their place."""
    sleep = "SLEEP(30)" if isinstance(database, MySQL) else "pg_sleep(30)"
    query = "SELECT password, %s FROM auth WHERE username = :user" % sleep
    slow = make(user_query=query, timeout=2, max_concurrent=1)
    async with broker_with(slow) as world:
        for _ in range(3):
            assert await answer(world, b"ann", b"right") == 0x88
        assert figure(slow, "timeouts") == 3
        assert await answer(world, b"nobody", b"right") == 0x86  # no row, no sleep


async def test_wrong_password_for_the_server(make, caplog):
    async with broker_with(make(password="not the server's")) as world:
        assert await answer(world, b"ann", b"right") == 0x88
    assert USER in caplog.text and "not the server's" not in caplog.text


def test_query():
    begin = "SELECT ':user', \":user\", `:user`, a::text, 5 % 2 /* :user */ FROM t "
    query = Query("q", begin + "WHERE u=:user AND c = :client_id OR :user", lambda n: "$%d" % n, False)
    assert query.text == begin + "WHERE u=$1 AND c = $2 OR $3"
    assert query.values(ClientInfo("c", "u", None, "a", "l")) == ["u", "c", "u"]
    assert Query("q", "'%' :address '%s'", lambda n: "%s", True).text == "'%%' %s '%%s'"


@pytest.mark.parametrize("back_end", (MysqlAuthenticator, PostgresqlAuthenticator))
@pytest.mark.parametrize(
    ("settings", "text"),
    (
        ({"user_query": "SELECT :usr"}, "user_query: there is no :usr, there are :user"),
        ({"acl_query": "SELECT :password"}, "acl_query: there is no :password"),
        ({"user_query": "SELECT 1"}, "user_query must ask for a client"),
        ({"port": 0}, "port must be from 1 to 65535"),
        ({"user_qery": ""}, "unknown key user_qery, did you mean user_query?"),
    ),
)
def test_wrong_settings(back_end, settings, text):
    with pytest.raises(ValueError) as caught:
        back_end(settings)
    assert text in str(caught.value)
