"""The store in Redis: a server that goes away, comes back, and has forgotten."""

import asyncio
import os
import socket
import subprocess

import pytest
import redis

from back_ends import hanging_server
from database_servers import PASSWORD, Redis
from port.cpython.stores import redis as module
from port.cpython.stores.redis import RedisStore
from server_process import free_port
from stores import commit, content, kept, numbered


class DurableRedis(Redis):
    """A Redis server that has not forgotten anything when it comes again."""

    def command(self):
        return [*super().command(), "--appendonly", "yes", "--appendfsync", "always"]


@pytest.fixture(params=[DurableRedis, Redis])
def server(request, tool):
    """A Redis server of the test's own, with append-only file and without."""
    found = request.param(tool("redis-server"))
    yield found
    found.remove()


@pytest.fixture
def make(server):
    """make(prefix="x"): a store in that server."""
    return lambda **values: RedisStore("redis://127.0.0.1:%d/0" % server.port, password=PASSWORD, **values)


async def test_a_server_that_is_killed_and_started_again(server, make):
    store = make()
    list(store.load())
    await kept(store, *numbered([1, 2]))
    server._process.kill()
    server._process.wait()
    error = await commit(store, *numbered([3]))
    assert isinstance(error, OSError) and "127.0.0.1:%d" % server.port in str(error) and PASSWORD not in str(error)
    server.start()
    error = await commit(store, *numbered([3]))
    for _ in range(100):  # while it reads its file it is busy
        if error is None or "loading" not in str(error):
            break
        await asyncio.sleep(0.1)
        error = await commit(store, *numbered([3]))
    if isinstance(server, DurableRedis):
        assert error is None
        store.close()
        assert content(make()) == numbered([1, 2, 3])
    else:
        # Part of the records would be worse than none.
        assert "not those this broker has loaded" in str(error)
        store.close()
        assert content(make()) == []


async def test_a_broker_that_was_overtaken_writes_nothing_more(server, make):
    slow = make()
    list(slow.load())
    await kept(slow, *numbered([1]))
    with redis.Redis(port=server.port, password=PASSWORD) as client:
        assert client.pttl("ucomqtt:broker") > 0
        client.delete("ucomqtt:broker")  # as if it had expired
        fast = make()
        assert list(fast.load()) == numbered([1])
        assert "another broker has taken them" in str(await commit(slow, *numbered([1, 2])))
        await kept(fast, *numbered([3]))
        slow.close()
        with pytest.raises(OSError, match="in use"):
            make().load()
        fast.close()
        assert not client.exists("ucomqtt:broker")
    assert content(make()) == numbered([1, 3])


async def test_a_broker_that_was_killed_is_started_again_at_once(make, server):
    """The lease of a process of this machine that is gone is none; that of one that lives, or of another machine, holds."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    with redis.Redis(port=server.port, password=PASSWORD) as client:
        for host, pid in (("another", gone.pid), (socket.gethostname(), os.getpid()), (socket.gethostname(), 1)):
            client.set("ucomqtt:broker", "%s %d x" % (host, pid))
            with pytest.raises(OSError, match="in use by another broker"):
                make().load()
        client.set("ucomqtt:broker", "%s %d x" % (socket.gethostname(), gone.pid))
        store = make()
        assert list(store.load()) == []
        assert 0 < client.pttl("ucomqtt:broker") <= 15000
        await kept(store, *numbered([1]))
        store.close()


async def test_a_process_that_has_the_number_of_one_that_is_gone(make, server):
    """As in a container, where each broker has the same."""
    with redis.Redis(port=server.port, password=PASSWORD) as client:
        first = make()
        assert list(first.load()) == []
        token = client.get("ucomqtt:broker").decode()
        with pytest.raises(OSError, match="in use by another broker"):
            make().load()
        head, mark = token.rsplit(" ", 1)
        client.set("ucomqtt:broker", "%s 7-%s" % (head, mark.partition("-")[2]))
        second = make()
        assert list(second.load()) == []
        await kept(second, *numbered([1]))
        second.close()
        first.close()


async def test_the_lease_is_renewed_while_nothing_happens(server, make, monkeypatch):
    monkeypatch.setattr(RedisStore, "pulse", 0.05)
    store = make()
    list(store.load())
    with redis.Redis(port=server.port, password=PASSWORD) as client:
        client.pexpire("ucomqtt:broker", 1000)
        while client.pttl("ucomqtt:broker") <= 1000:
            assert client.exists("ucomqtt:broker")
            await asyncio.sleep(0.02)
    store.close()


async def test_prefixes_are_apart(make):
    one, two = make(prefix="one"), make(prefix="two")
    assert list(one.load()) == list(two.load()) == []
    await kept(one, *numbered([1]))
    await kept(two, *numbered([2]))
    one.close()
    two.close()
    assert content(make(prefix="one")) == numbered([1]) and content(make(prefix="two")) == numbered([2])


def test_no_server():
    port = free_port()
    with pytest.raises(OSError, match="redis://127.0.0.1:%d/0: .*refused" % port):
        RedisStore("redis://127.0.0.1:%d/0" % port).load()


def test_a_server_that_does_not_answer(monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    with hanging_server() as port, pytest.raises(OSError, match="[Tt]imeout"):
        RedisStore("redis://127.0.0.1:%d/0" % port).load()


def test_settings(tmp_path):
    for values, text in (
        ({"url": "http://127.0.0.1"}, "url must begin with redis://"),
        ({"url": "redis://user:secret@127.0.0.1"}, "url must not hold a user name or password"),
        ({"prefix": ""}, "prefix must not be empty"),
        ({"durability": "sync"}, "durability must be one of none, batch, not 'sync'"),
        ({"password": "a", "password_file": "b"}, "there is password and password_file"),
        ({"ca_file": "/nowhere.pem"}, "ca_file: there is no file /nowhere.pem"),
    ):
        with pytest.raises(ValueError, match=text):
            RedisStore(**values)  # type: ignore[arg-type]
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD + "\n")
    with pytest.raises(OSError, match="refused"):
        RedisStore("redis://127.0.0.1:%d/0" % free_port(), password_file=str(secret)).load()
