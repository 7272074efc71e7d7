"""Back ends behind a whole server, with real clients over sockets."""

import asyncio
import json
import time

import aiomqtt
import bcrypt
import jwt
import pytest
import redis
from aiomqtt import ProtocolVersion

from back_ends import PATIENCE, Service, hanging_server, until
from database_servers import PASSWORD, redis_server  # noqa: F401
from port.cpython import Server
from port.cpython.auth.http import HttpAuthenticator
from port.cpython.auth.jwt import JwtAuthenticator
from port.cpython.auth.redis import RedisAuthenticator

RIGHT = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
SECRET = "0123456789abcdef" * 2


def server_with(*authenticators):
    server = Server(anonymous="none", sys_interval=0)
    server.listen("127.0.0.1", 0, auth=authenticators)
    return server


def client(server, client_id, user=None, password=None, version=5, listener=0):
    return aiomqtt.Client(
        "127.0.0.1", server.addresses[listener][1], identifier=client_id, username=user, password=password, timeout=PATIENCE,
        protocol=ProtocolVersion.V5 if version == 5 else ProtocolVersion.V311,
    )  # fmt: skip


async def refusal(*arguments, **fields):
    """The code with which a client is refused."""
    with pytest.raises(aiomqtt.MqttCodeError) as caught:
        async with client(*arguments, **fields):
            pass
    return getattr(caught.value.rc, "value", caught.value.rc)


async def receive(receiver):
    async with asyncio.timeout(PATIENCE):
        async for message in receiver.messages:
            return str(message.topic), message.payload
    raise AssertionError("the connection has ended")


def codes(answer):
    return [getattr(code, "value", code) for code in answer]


async def test_redis(redis_server):  # noqa: F811
    database = redis.Redis(port=redis_server.port, password=PASSWORD)
    database.flushall()
    for user in ("ann", "bob"):
        database.hset("comqtt_user:" + user, "password", RIGHT)
    database.hset("comqtt_acl:ann", mapping={"open/#": 1, "late": 0})
    database.hset("comqtt_acl:bob", mapping={"#": 2})
    settings = {"url": "redis://127.0.0.1:%d" % redis_server.port, "password": PASSWORD, "refresh": 0, "timeout": 20}
    authenticator = RedisAuthenticator(settings)
    authenticator.name = "accounts"
    server = server_with(authenticator)
    async with server:
        assert await refusal(server, "x", "ann", "wrong") == 0x86
        assert await refusal(server, "x", "eve", "right") == 0x86
        assert await refusal(server, "x", "ann", "wrong", version=4) == 0x86  # 4, translated by paho
        async with client(server, "a", "ann", "right") as ann, client(server, "b", "bob", "right", version=4) as bob:
            assert codes(await bob.subscribe("#", 1)) == [1]
            assert codes(await ann.subscribe("open/x", 1)) == [0x87]
            await ann.publish("closed", b"1", 1)
            await ann.publish("late", b"2", 1)
            await ann.publish("open/x", b"3", 1)
            assert await receive(bob) == ("open/x", b"3")
            database.hset("comqtt_acl:ann", "late", 1)
            await authenticator.refresh()
            await ann.publish("late", b"4", 1)
            assert await receive(bob) == ("late", b"4")
        assert dict(server.sys.figures())["auth/accounts/accepted"] == 2
    async with server:  # stopped, and started again
        assert await refusal(server, "x", "ann", "wrong") == 0x86
        async with client(server, "a", "ann", "right"):
            pass
    database.close()


async def test_http_with_questions_about_topics():
    service = Service()

    def decide(path, fields):
        if path == "/user":
            return 200, json.dumps({"result": "allow" if fields["password"] == "right" else "deny"})
        return 200 if fields["topic"].startswith(fields["user"] + "/") else 403, ""

    service.answer = decide
    urls = {"user_url": service.url + "/user", "acl_url": service.url + "/acl"}
    server = server_with(HttpAuthenticator({**urls, "timeout": 20}))
    try:
        async with server:
            assert await refusal(server, "x", "ann", "wrong") == 0x86
            async with client(server, "a", "ann", "right") as ann, client(server, "b", "bob", "right") as bob:
                assert codes(await bob.subscribe([("bob/#", 1), ("ann/#", 1), ("#", 1)])) == [1, 0x87, 0x87]
                assert codes(await ann.subscribe("ann/#", 1)) == [1]
                for i in range(20):  # whatever has to wait for its answer, nothing gets out of order
                    await ann.publish("ann/%d" % i, b"x", 1)
                    await ann.publish("bob/%d" % i, b"x", 1)
                await bob.publish("bob/1", b"mine", 1)
                assert [await receive(ann) for _ in range(20)] == [("ann/%d" % i, b"x") for i in range(20)]
                assert await receive(bob) == ("bob/1", b"mine")
    finally:
        service.stop()


async def test_jwt_expires():
    server = server_with(JwtAuthenticator({"algorithms": ["HS256"], "secret": SECRET}))
    ended = []
    server.on("disconnect", lambda client, code: ended.append((client.client_id, code)))
    async with server:
        token = jwt.encode({"sub": "ann", "exp": time.time() + 3, "acl": {"pub": ["t"]}}, SECRET)
        assert await refusal(server, "x", "bob", token) == 0x86
        with pytest.raises(aiomqtt.MqttError):
            async with client(server, "a", "ann", token) as ann:
                assert server.sessions[b"a"].user == b"ann"
                await ann.subscribe("t", 1)
                await receive(ann)
        await until(lambda: ended)
        assert ended == [(b"a", 0xA0)]


async def test_a_back_end_that_hangs_stops_nobody_else():
    with hanging_server() as port:
        hanging = RedisAuthenticator({"url": "redis://127.0.0.1:%d" % port, "timeout": 2, "max_concurrent": 4})
        server = server_with(hanging)
        server.listen("127.0.0.1", 0, auth=[JwtAuthenticator({"algorithms": ["HS256"], "secret": SECRET})])
        async with server:
            waiting = [asyncio.create_task(refusal(server, "w%d" % i, "ann", "right")) for i in range(10)]
            await until(lambda: hanging.waiting == 10)
            token = jwt.encode({"sub": "ann", "exp": time.time() + 600}, SECRET)
            async with client(server, "a", "ann", token, listener=1) as ann:
                await ann.subscribe("t", 1)
                for i in range(50):
                    await ann.publish("t", b"%d" % i, 1)
                    assert await receive(ann) == ("t", b"%d" % i)
            assert await asyncio.gather(*waiting) == [0x88] * 10
            assert hanging.timeouts + hanging.errors >= 10
