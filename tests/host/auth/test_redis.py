"""Accounts in a real Redis server."""

import asyncio
import json
import ssl

import bcrypt
import pytest
import redis

from back_ends import Clock, admitted, answer, begin, broker_with, figure, finish, hanging_server, may
from certificates import certificates  # noqa: F401
from database_servers import PASSWORD, redis_server  # noqa: F401
from port.core.wire.codec import DISCONNECT
from port.cpython.auth import passwords
from port.cpython.auth.redis import RedisAuthenticator
from server_process import free_port

RIGHT = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()


@pytest.fixture
def database(redis_server):  # noqa: F811
    """A client of the server, which is empty."""
    client = redis.Redis(port=redis_server.port, password=PASSWORD)
    client.flushall()
    with client:
        yield client


@pytest.fixture
def make(redis_server):  # noqa: F811
    """make(plain_passwords=True): an authenticator for that server."""

    def make(clock=None, **settings):
        clocks = [clock, clock] if clock else []
        url = "redis://127.0.0.1:%d/0" % redis_server.port
        return RedisAuthenticator({"url": url, "password": PASSWORD, "refresh": 0, "timeout": 20, **settings}, *clocks)

    return make


async def test_passwords(database, make):
    database.hset("comqtt_user:ann", "password", RIGHT)
    database.hset("comqtt_user:gone", mapping={"password": RIGHT, "allow": "0"})
    database.hset("comqtt_user:empty", "password", "")
    authenticator = make()
    async with broker_with(authenticator) as world:
        assert await answer(world, b"ann", b"right") == 0
        assert await answer(world, b"ann", b"wrong") == 0x86
        assert await answer(world, b"ann", b"") == 0x86
        assert await answer(world, b"ann") == 0x86
        assert await answer(world, b"nobody", b"right") == 0x86
        assert await answer(world, b"nobody", b"") == 0x86
        assert await answer(world, b"empty", b"") == 0x86
        assert await answer(world, b"gone", b"right") == 0x87
        assert await answer(world, b"gone", b"wrong") == 0x86
        assert await answer(world) == 0x87
        assert await answer(world, b"ann", b"right", version=4) == 0
        assert await answer(world, b"ann", b"wrong", version=4) == 4
        assert (figure(authenticator, "accepted"), figure(authenticator, "refused")) == (2, 9)
        assert figure(authenticator, "errors") == 0


async def test_an_unknown_user_costs_as_much_as_a_known_one(database, make, monkeypatch):
    database.hset("comqtt_user:ann", "password", RIGHT)
    verified = []
    verify = passwords.verify
    monkeypatch.setattr(passwords, "verify", lambda record, password: verified.append(record) or verify(record, password))  # type: ignore[func-returns-value]
    async with broker_with(make()) as world:
        assert await answer(world, b"nobody", b"right") == 0x86
        assert len(verified) == 1 and passwords.is_hash(verified[0])
        assert await answer(world, b"ann", b"wrong") == 0x86
        assert await answer(world, b"nobody", b"right") == 0x86  # though that is ann's
        assert verified[1:] == [RIGHT, RIGHT]
        assert await answer(world, b"ann") == 0x86
        assert len(verified) == 4


async def test_without_a_user_name_the_next_is_asked(database, make):
    async with broker_with(make(), anonymous="all") as world:
        assert await answer(world) == 0


async def test_plain_passwords(database, make, caplog):
    database.hset("comqtt_user:ann", "password", "right")
    async with broker_with(make()) as world:
        assert await answer(world, b"ann", b"right") == 0x88
    assert "plain_passwords" in caplog.text and "right" not in caplog.text
    async with broker_with(make(plain_passwords=True)) as world:
        assert await answer(world, b"ann", b"right") == 0
        assert await answer(world, b"ann", b"wrong") == 0x86
        assert await answer(world, b"ann") == 0x86


async def test_a_hash_is_never_a_plain_password(database, make):
    database.hset("comqtt_user:ann", "password", RIGHT)
    async with broker_with(make(plain_passwords=True)) as world:
        assert await answer(world, b"ann", RIGHT.encode()) == 0x86
        assert await answer(world, b"ann", b"right") == 0


async def test_rights(database, make):
    database.hset("comqtt_user:ann", "password", RIGHT)
    rights = {"p": 1, "s": 2, "both": 3, "none": 0, "w/#": 3, "w/x": 0, "%u/%c": "readwrite", "word": "read"}
    database.hset("comqtt_acl:ann", mapping=rights)
    async with broker_with(make()) as world:
        client = await admitted(world, b"ann", b"right", client_id="id")
        may(client, "p", True, False)
        may(client, "s", False, True)
        may(client, "both", True, True)
        may(client, "none", False, False)
        may(client, "w/y", True, True)
        may(client, "w/x", False, False)
        may(client, "ann/id", True, True)
        may(client, "word", False, True)
        may(client, "other", False, False)
        client.subscribe("w/#", 1)
        world.broker.publish("w/x", b"withheld")
        world.broker.publish("w/y", b"sent")
        client.expect_message("w/y", b"sent")


async def test_layout_of_comqtt_2(database, make):
    database.hset("comqtt:auth", "ann", json.dumps({"password": RIGHT, "allow": True}))
    database.hset("comqtt:auth", "bob", json.dumps({"password": RIGHT}))
    database.hset("comqtt:auth", "odd", "[1]")
    database.hset("comqtt:acl:ann", mapping={"s": 1, "p": 2, "both": 3, "none": 0})
    async with broker_with(make(layout="comqtt2")) as world:
        client = await admitted(world, b"ann", b"right")
        may(client, "p", True, False)
        may(client, "s", False, True)
        may(client, "both", True, True)
        may(client, "none", False, False)
        assert await answer(world, b"ann", b"wrong") == 0x86
        assert await answer(world, b"bob", b"right") == 0x87
        assert await answer(world, b"eve", b"right") == 0x86
        assert await answer(world, b"odd", b"right") == 0x88


async def test_superuser_prefixes_and_client_ids(database, make):
    database.hset("mine:device", mapping={"password": RIGHT, "superuser": "1"})
    database.hset("rights:device", "t", "0")
    settings = {"auth_prefix": "mine", "acl_prefix": "rights", "identify_by": "client_id"}
    async with broker_with(make(**settings)) as world:
        client = await admitted(world, b"whoever", b"right", client_id="device")
        may(client, "t", True, True)
        client.subscribe("$SYS/#")
        client.lose()
        assert await answer(world, None, b"right", client_id="device") == 0
        assert await answer(world, b"device", b"right", client_id="other") == 0x86


async def test_without_rights_the_rules_of_the_configuration_hold(database, make):
    database.hset("comqtt_user:ann", "password", RIGHT)
    async with broker_with(make(acl=False)) as world:
        client = await admitted(world, b"ann", b"right")
        may(client, "any", True, True)


async def test_rights_that_nobody_understands_keep_the_client_out(database, make, caplog):
    database.hset("comqtt_user:ann", "password", RIGHT)
    for mapping in ({"t": "7"}, {"a#": 3}, {str(i): 3 for i in range(11)}):
        database.delete("comqtt_acl:ann")
        database.hset("comqtt_acl:ann", mapping=mapping)
        authenticator = make(max_rules=10)
        async with broker_with(authenticator) as world:
            assert await answer(world, b"ann", b"right") == 0x88, mapping
            assert figure(authenticator, "errors") == 1
    assert "'7'" in caplog.text and "max_rules" in caplog.text


EVIL = (b"*", b"an?", b"[a]nn", b"ann\r\nDEL x", b"ann'", b'ann"', b"ann ", b"a nn", b":ann", b"ann:", b"ANN")


@pytest.mark.parametrize("user", EVIL)
async def test_a_user_name_is_a_name_and_nothing_else(database, make, user):
    database.hset("comqtt_user:ann", "password", RIGHT)
    database.set("x", "here")
    authenticator = make()
    async with broker_with(authenticator) as world:
        assert await answer(world, user, b"right") == 0x86
        assert database.get("x") == b"here" and figure(authenticator, "errors") == 0
        database.hset(b"comqtt_user:" + user, "password", RIGHT)
        assert await answer(world, user, b"right") == 0


async def test_something_else_under_the_key(database, make, caplog):
    database.set("comqtt_user:ann", "a string")
    authenticator = make()
    async with broker_with(authenticator) as world:
        assert await answer(world, b"ann", b"right") == 0x88
        assert figure(authenticator, "errors") == 1 and "WRONGTYPE" in caplog.text


async def test_refresh(database, make):
    for user in ("ann", "bob", "eve", "kim", "lee"):
        database.hset("comqtt_user:" + user, "password", RIGHT)
        database.hset("comqtt_acl:" + user, "old", 3)
    authenticator = make()
    async with broker_with(authenticator) as world:
        clients = {}
        for user in ("ann", "bob", "eve", "kim", "lee"):
            clients[user] = await admitted(world, user.encode(), b"right", client_id=user)
        again = await admitted(world, b"ann", b"right", client_id="again")
        for client in (*clients.values(), again):
            client.subscribe("old", 1)
        await authenticator.refresh()
        for client in (*clients.values(), again):
            client.expect_nothing()
        database.hdel("comqtt_acl:ann", "old")
        database.hset("comqtt_acl:ann", "new", 3)
        database.hset("comqtt_acl:bob", "new", 3)
        database.delete("comqtt_user:eve")
        database.hset("comqtt_user:kim", "password", bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode())
        database.hset("comqtt_user:lee", "allow", 0)
        await authenticator.refresh()
        may(clients["bob"], "new", True, True)
        world.broker.publish("old", b"x")
        clients["bob"].expect_message("old", b"x")
        for client in (clients["ann"], again, clients["eve"], clients["kim"], clients["lee"]):
            # Of what they may no more, a subscription was one.
            assert client.expect(DISCONNECT)["code"] == 0x87 and client.closed and not client.inbox
        ann = await admitted(world, b"ann", b"right")
        may(ann, "new", True, True)
        may(ann, "old", False, False)


async def test_refresh_gives_and_takes_rights_while_connected(database, make):
    database.hset("comqtt_user:ann", "password", RIGHT)
    database.hset("comqtt_acl:ann", "a", 3)
    authenticator = make()
    async with broker_with(authenticator) as world:
        client = await admitted(world, b"ann", b"right")
        may(client, "a", True, True)
        may(client, "b", False, False)
        database.hset("comqtt_acl:ann", "b", 3)
        database.hset("comqtt_acl:ann", "a", 2)
        await authenticator.refresh()
        may(client, "a", False, True)
        may(client, "b", True, True)
        client.expect_nothing()


async def test_a_successor_of_the_same_name_goes_on_refreshing(database, make):
    """As when a reload has changed the settings."""
    database.hset("comqtt_user:ann", "password", RIGHT)
    database.hset("comqtt_acl:ann", "a", 3)
    first = make()
    async with broker_with(first) as world:
        client = await admitted(world, b"ann", b"right")
        second = make(timeout=19)
        second.name = first.name
        await second.open()
        world.broker.authenticators[:] = [second]
        await first.close()
        world.broker.rights_changed()
        await second.refresh()
        may(client, "a", True, True)
        database.delete("comqtt_acl:ann")
        await second.refresh()
        may(client, "a", False, False)
        await second.close()


async def test_refreshing_by_itself(database, make):
    database.hset("comqtt_user:ann", "password", RIGHT)
    async with broker_with(make(refresh=0.01)) as world:
        client = await admitted(world, b"ann", b"right")
        database.delete("comqtt_user:ann")
        while not client.closed:
            await asyncio.sleep(0.01)
        client.expect_close(0x87)


async def test_remembered_logins(database, make):
    clock = Clock()
    database.hset("comqtt_user:ann", "password", RIGHT)
    authenticator = make(clock, auth_cache_ttl=10)
    async with broker_with(authenticator) as world:
        await admitted(world, b"ann", b"right")
        database.delete("comqtt_user:ann")
        assert await answer(world, b"ann", b"right") == 0
        assert await answer(world, b"ann", b"wrong") == 0x86
        clock.now += 10
        assert await answer(world, b"ann", b"right") == 0x86
        assert figure(authenticator, "cache_hits") == 1


# -- a server that is not well --------------------------------------------------------------


async def test_down_at_the_start(make, caplog):
    url = "redis://127.0.0.1:%d" % free_port()
    authenticator = make(url=url)
    async with broker_with(authenticator, make(url=url, on_error="next")) as world:
        assert await answer(world, b"ann", b"right") == 0x88
        assert await answer(world, b"ann", b"right", version=4) == 3
        assert figure(authenticator, "errors") >= 2
    assert "authenticator a" in caplog.text and "Connect" in caplog.text


async def test_going_down_and_coming_back(database, make, redis_server):  # noqa: F811
    database.hset("comqtt_user:ann", "password", RIGHT)
    authenticator = make()
    async with broker_with(authenticator) as world:
        client = await admitted(world, b"ann", b"right", client_id="stays")
        await asyncio.to_thread(redis_server.stop)
        assert await answer(world, b"ann", b"right") == 0x88
        await authenticator.refresh()
        client.expect_nothing()  # nobody loses anything for that
        await asyncio.to_thread(redis_server.start)
        database.hset("comqtt_user:ann", "password", RIGHT)
        assert await answer(world, b"ann", b"right") == 0


async def test_restarted_while_idle(database, make, redis_server):  # noqa: F811
    authenticator = make()
    async with broker_with(authenticator) as world:
        assert await answer(world, b"ann", b"right") == 0x86
        await asyncio.to_thread(redis_server.stop)
        await asyncio.to_thread(redis_server.start)
        assert await answer(world, b"ann", b"right") == 0x86
        assert figure(authenticator, "errors") == 0


async def test_hanging(database, make):
    database.hset("comqtt_user:ann", "password", RIGHT)
    with hanging_server() as port:
        hanging = make(url="redis://127.0.0.1:%d" % port, timeout=0.5, max_concurrent=2, on_error="next")
        alive = make()
        async with broker_with(hanging, alive) as world, broker_with(make()) as other:
            clients = [begin(world, str(i), user=b"ann", password=b"right") for i in range(5)]
            for i in range(5):  # others come in meanwhile
                await admitted(other, b"ann", b"right", client_id=str(i))
            assert [await finish(client) for client in clients] == [0] * 5
            assert figure(hanging, "timeouts") + figure(hanging, "errors") >= 5 and figure(alive, "accepted") == 5
            assert figure(hanging, "waiting") == 0


async def test_wrong_password_for_the_server(make, caplog):
    authenticator = make(password="not the server's")
    async with broker_with(authenticator) as world:
        assert await answer(world, b"ann", b"right") == 0x88
    assert "Authentication" in caplog.text and "not the server's" not in caplog.text


async def _reply(reader, writer):
    """A server that knows nobody."""
    try:
        while line := await reader.readline():
            command = [await reader.readline() for _ in range(2 * int(line[1:]))]
            writer.write((b"*3\r\n" + b"$-1\r\n" * 3) if command[1].upper() == b"HMGET\r\n" else b"+OK\r\n")
    finally:
        writer.close()


async def test_tls(certificates):  # noqa: F811
    """The server's certificate must be from who is trusted, and for the name that was asked for."""
    ours, others = certificates(), certificates("others")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ours.server, ours.key)
    server = await asyncio.start_server(_reply, "0.0.0.0", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    for host, ca, code in (
        ("localhost", ours.ca, 0x86), ("localhost", others.ca, 0x88), ("localhost", "", 0x88), ("127.0.0.2", ours.ca, 0x88),
    ):  # fmt: skip
        settings = {"url": "rediss://%s:%d/0" % (host, port), "ca_file": ca, "acl": False, "refresh": 0, "timeout": 20}
        async with broker_with(RedisAuthenticator(settings)) as world:
            assert await answer(world, b"ann", b"right") == code, (host, ca)
    server.close()


def test_password_file(make, tmp_path):
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\nsecond line")
    assert make(password="", password_file=str(path))._options["password"] == PASSWORD
    with pytest.raises(ValueError, match="one of them is enough"):
        make(password_file=str(path))
    with pytest.raises(OSError) as caught:
        make(password="", password_file=str(tmp_path / "none"))
    assert caught.value.filename == str(tmp_path / "none")
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="password_file is not text"):
        make(password="", password_file=str(path))


@pytest.mark.parametrize(
    ("settings", "text"),
    (
        ({"url": "http://x"}, "url must begin with redis://"),
        ({"url": "redis://user:pw@x"}, "set user and password_file"),
        ({"layout": "x"}, "layout must be one of comqtt1, comqtt2"),
        ({"auth_prefix": "a", "acl_prefix": "a:b"}, "neither of auth_prefix and acl_prefix"),
        ({"auth_prefix": "a", "acl_prefix": "a"}, "neither of auth_prefix and acl_prefix"),
        ({"acces": "x"}, "unknown key acces"),
    ),
)
def test_wrong_settings(make, settings, text):
    with pytest.raises(ValueError) as caught:
        make(**settings)
    assert text in str(caught.value) and "pw" not in str(caught.value)
