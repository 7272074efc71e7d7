"""The program with a store: what clients find after a restart, and what stops the start."""

import asyncio
import json
import re
import tomllib

import pytest
import redis

from database_servers import PASSWORD, redis_server  # noqa: F401
from drivers import TIMEOUT
from drivers.paho import Paho
from fuzzing.packets import publish, subscribe
from port.core.wire.codec import CONNACK, CONNECT, PUBACK
from port.core.wire.codec import packet as whole
from port.core.wire.properties import RECEIVE_MAXIMUM, SESSION_EXPIRY_INTERVAL
from port.core.protocol.client_packets import decode, encode
from port.cpython import Server
from port.cpython.stores.redis import RedisStore
from port.cpython.stores.sqlite import SQLiteStore
from server_process import ServerError, ServerProcess
from stores import content
from swarm import Swarm


@pytest.fixture(params=["sqlite", "redis"])
def table(request, tmp_path):
    """A configuration's [store], and its file or server."""
    if request.param == "sqlite":
        return '[store]\ntype = "sqlite"\nfile = "x.db"\n'
    server = request.getfixturevalue("redis_server")
    with redis.Redis(port=server.port, password=PASSWORD) as client:
        client.flushall()
    (tmp_path / "secret").write_text(PASSWORD)
    return '[store]\ntype = "redis"\nurl = "redis://127.0.0.1:%d/0"\npassword_file = "secret"\n' % server.port


@pytest.mark.parametrize("durability", ["none", "batch"])
def test_a_restart(table, durability, tmp_path):
    path = tmp_path / "broker.toml"
    path.write_text(table + 'durability = "%s"\n' % durability)
    with ServerProcess("cpython", "--config", str(path)) as broker:
        away = Paho(broker.port, "away", 5, persistent=True)
        away.subscribe("a/#", 1)
        away.disconnect()
        sender = Paho(broker.port, "sender", 5)
        sender.publish("a/b", b"while you were away", 1)
        sender.publish("kept", b"retained", 1, retain=True)
        sender.disconnect()
    with ServerProcess("cpython", "--config", str(path)) as broker:
        back = Paho(broker.port, "away", 5, persistent=True)
        assert back.session_present
        back.subscribe("kept", 1)
        found = sorted((message.topic, message.payload) for message in [back.messages.get(timeout=TIMEOUT) for _ in range(2)])
        assert found == [("a/b", b"while you were away"), ("kept", b"retained")]
        back.disconnect()
        assert not broker.trouble()


@pytest.mark.parametrize("end", ["kill", "stop"])
@pytest.mark.parametrize("runtime", ["cpython", "micropython"])
def test_retained_messages_that_a_subscription_has_not_brought_yet(runtime, end, tool, tmp_path):
    """300 of QoS 1 to a client that has five at a time: all come, and those once whose acknowledgement is stored."""
    tool("python3" if runtime == "cpython" else runtime)
    path = tmp_path / ("broker.toml" if runtime == "cpython" else "broker.json")
    if runtime == "cpython":
        path.write_text('[store]\ntype = "sqlite"\nfile = "x.db"\ndurability = "sync"\n')
    else:
        store = {"type": "flash", "folder": "kept", "sessions": True, "durability": "batch"}
        path.write_text(json.dumps({
            "max_retained_messages": 400, "max_retained_bytes": 400000, "max_memory": 20000000, "max_queued_messages": 400,
            "store": store,
        }))  # fmt: skip
    hello = {"type": CONNECT, "version": 5, "client_id": b"c", "clean_start": False, "keep_alive": 0,
             "properties": {SESSION_EXPIRY_INTERVAL: 3600, RECEIVE_MAXIMUM: 5}}  # fmt: skip
    topics: "list[bytes]" = []

    def take(swarm, client, count):
        """Acknowledge so many messages."""
        for _ in range(count):
            swarm.wait(lambda: client.packets)
            packet = decode(whole(*client.packets.pop(0)), 5)
            topics.append(packet["topic"])
            swarm.send(client, encode({"type": PUBACK, "packet_id": packet["packet_id"]}, 5))

    def begin(swarm):
        client = swarm.open(encode(hello, 5))
        swarm.wait(lambda: client.packets)
        assert decode(whole(*client.packets.pop(0)), 5)["type"] == CONNACK
        return client

    with ServerProcess(runtime, "--config", str(path)) as broker:
        with Swarm(broker.port) as swarm:
            filler = swarm.connect(b"filler")
            for number in range(300):
                swarm.exchange(filler, publish(4, b"t/%d" % number, b"x", 1, 1, True))
            client = begin(swarm)
            swarm.exchange(client, subscribe(5, 1, [(b"t/#", 1)]))
            take(swarm, client, 50)
            swarm.exchange(client, b"\xc0\0", 0)
            swarm.wait(lambda: len(client.packets) >= 6)  # five messages, and the answer
            swarm.exchange(filler, publish(4, b"last", b"x", 1, 1, True))  # all that was before it is stored
        if end == "kill":
            broker.kill()
    with ServerProcess(runtime, "--config", str(path)) as broker, Swarm(broker.port) as swarm:
        client = begin(swarm)
        take(swarm, client, 250)
        assert swarm.exchange(client, b"\xc0\0") == [(0xD0, b"")]
        assert len(topics) == len(set(topics)) == 300
        assert not broker.trouble()


def test_a_restart_of_a_board(tool, tmp_path):
    path = tmp_path / "broker.json"
    path.write_text('{"store": {"type": "flash", "folder": "kept", "sessions": true, "durability": "batch"}}')
    tool("micropython")
    with ServerProcess("micropython", "--config", str(path)) as broker:
        away = Paho(broker.port, "away", 5, persistent=True)
        away.subscribe("a/#", 1)
        away.disconnect()
        sender = Paho(broker.port, "sender", 5)
        sender.publish("a/b", b"while you were away", 1)
        sender.disconnect()
    assert (tmp_path / "kept").is_dir()
    with ServerProcess("micropython", "--config", str(path)) as broker:
        back = Paho(broker.port, "away", 5, persistent=True)
        assert back.session_present and back.messages.get(timeout=TIMEOUT).payload == b"while you were away"
        back.disconnect()
    for table, text in (
        ('"type": "sqlite", "file": "x"', "store: type must be one of memory, flash, not 'sqlite'"),
        ('"type": "flash", "interval": 0', "store: interval must be at least 1, not 0"),
        ('"type": "flash", "foldr": "x"', "store: unknown key foldr, did you mean folder?"),
    ):
        path.write_text('{"store": {%s}}' % table)
        with pytest.raises(ServerError, match=re.escape(text)):
            ServerProcess("micropython", "--config", str(path))


def test_a_store_on_the_command_line(tmp_path):
    file = tmp_path / "x.db"
    with ServerProcess("cpython", "--store", str(file)) as broker:
        sender = Paho(broker.port, "sender", 5)
        sender.publish("kept", b"retained", 1, retain=True)
        sender.disconnect()
        with pytest.raises(ServerError, match="x.db: is in use, by another broker"):
            ServerProcess("cpython", "--store", str(file))
    assert file.exists()


def test_an_unreadable_record(tmp_path):
    store = SQLiteStore(tmp_path / "x.db")
    store.open()
    store.write([(b"\2\0\0\0\1", b"no session")], [])
    store.shut()
    with pytest.raises(ServerError, match="x.db: record 0200000001: packet too short") as e:
        ServerProcess("cpython", "--store", str(tmp_path / "x.db"))
    assert "Traceback" not in str(e.value)
    assert not (tmp_path / "x.db-wal").exists()  # it was closed


def test_an_unreadable_record_under_degrade(table, tmp_path):
    """Moved aside with all the others; they can be looked at there."""
    path = tmp_path / "broker.toml"
    path.write_text(table + 'on_failure = "degrade"\n')
    record = b"\2\0\0\0\1", b"no session"
    settings = tomllib.loads(table)["store"]

    unreadable = SQLiteStore(tmp_path / "x.db") if settings["type"] == "sqlite" else RedisStore(settings["url"], password=PASSWORD)
    unreadable.open()
    unreadable.write([record, (b"\7kept", b"\0\0x")], [])
    unreadable.shut()
    for number in (1, 2):
        with ServerProcess("cpython", "--config", str(path)) as broker:
            assert ("ERROR" in broker.output) == (number == 1)
            assert ("corrupt-1, the broker starts with nothing" in broker.output) == (number == 1)
            client = Paho(broker.port, "c", 5)
            client.subscribe("#", 1)
            if number == 2:
                assert client.messages.get(timeout=TIMEOUT).topic == "new"
            client.publish("new", b"x", 1, retain=True)
            client.disconnect()
    if settings["type"] == "sqlite":
        assert content(SQLiteStore(tmp_path / "x.db.corrupt-1"))[0] == record
    else:
        with redis.Redis.from_url(settings["url"], password=PASSWORD) as client:
            assert client.hget("ucomqtt:records.corrupt-1", record[0]) == record[1]


def test_an_empty_file(tmp_path):
    file = tmp_path / "x.db"
    file.touch()
    with ServerProcess("cpython", "--store", str(file)) as broker:
        assert "%s: is empty, the broker starts with nothing" % file in broker.output


def test_an_unreadable_file(tmp_path):
    path = tmp_path / "broker.toml"
    (tmp_path / "x.db").write_bytes(b"this is no database " * 100)
    path.write_text('[store]\ntype = "sqlite"\nfile = "x.db"\n')
    advice = 'x.db: file is not a database; put a copy in its place, .* or set on_failure = "degrade"'
    with pytest.raises(ServerError, match=advice) as e:
        ServerProcess("cpython", "--config", str(path))
    assert "Traceback" not in str(e.value)
    path.write_text('[store]\ntype = "sqlite"\nfile = "x.db"\non_failure = "degrade"\n')
    with ServerProcess("cpython", "--config", str(path)) as broker:
        assert "ERROR" in broker.output and "moved to %s.corrupt-1" % (tmp_path / "x.db") in broker.output
        Paho(broker.port, "c", 5).disconnect()


async def test_in_a_program(tmp_path):
    for expected in ([], [b"kept"]):
        server = Server(store=SQLiteStore(tmp_path / "x.db", durability="sync"))
        server.listen("127.0.0.1", 0)
        async with server:
            found: "list[bytes]" = []
            server.subscribe("a", lambda message, found=found: found.append(message.payload))
            await asyncio.sleep(0)
            assert found == expected
            server.publish("a", "kept", retain=True)
