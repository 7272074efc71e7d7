"""The program with a store: what clients find after a restart, and what stops the start."""

import asyncio
import re

import pytest
import redis

from database_servers import PASSWORD, redis_server  # noqa: F401
from port.cpython import Server
from port.cpython.stores.sqlite import SQLiteStore
from server_process import ServerError, ServerProcess
from tests.host.drivers import TIMEOUT
from tests.host.drivers.paho import Paho


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
        ('"type": "sqlite", "file": "x"', "store: type must be memory or flash, not 'sqlite'"),
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
