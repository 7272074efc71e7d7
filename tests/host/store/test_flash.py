"""The flash store under a whole broker on MicroPython: stopped or killed, and started again."""

import json
import time

import pytest

from drivers import TIMEOUT
from drivers.paho import Paho
from server_process import ServerError
from toolchain import ROOT

MAIN = ROOT / "tests" / "support" / "programs" / "board_store.py"


@pytest.fixture
def start(start_broker, tmp_path):
    """Start a broker with a flash store, always in the same folder: start(interval=1)."""

    def start(**values):
        return start_broker("micropython", str(tmp_path / "store"), json.dumps(values), script=MAIN)

    return start


def retained(broker, *topics):
    """The retained messages of topics."""
    client = Paho(broker.port, "reader", 5)
    found = []
    for topic in topics:
        client.subscribe(topic, 1)
        message = client.receive()
        assert message.retain
        found.append((message.topic, message.payload, message.qos, message.properties.get("content_type")))
    client.disconnect()
    return found


def test_a_stop_writes_what_has_changed(start):
    broker = start(interval=3600)
    client = Paho(broker.port, "writer", 5)
    for i in range(3):
        for payload in (b"old", b"new%d" % i):
            client.publish("a/%d" % i, payload, i, retain=True, properties={"content_type": "text/plain"})
    client.publish("a/gone", b"gone", 1, retain=True)
    client.publish("a/gone", b"", 1, retain=True)
    client.disconnect()
    broker.stop()
    expected = [("a/%d" % i, b"new%d" % i, min(i, 1), "text/plain") for i in range(3)]
    for _ in range(2):
        broker = start()
        client = Paho(broker.port, "all", 5)
        client.subscribe("a/+", 1)
        assert sorted(client.receive().topic for _ in range(3)) == ["a/0", "a/1", "a/2"]
        client.publish("a/0", b"that is all", 1)
        assert client.receive().payload == b"that is all"
        client.disconnect()
        assert retained(broker, "a/0", "a/1", "a/2") == expected
        broker.stop()


def test_a_broker_that_is_killed_has_what_was_written(start, tmp_path):
    broker = start(interval=1)
    client = Paho(broker.port, "writer", 4)
    client.publish("a", b"the first", 1, retain=True)
    client.publish("b", b"the second", 1, retain=True)
    client.disconnect()
    deadline = time.monotonic() + TIMEOUT
    while not all(any(text in file.read_bytes() for file in (tmp_path / "store").iterdir())
                  for text in (b"the first", b"the second")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    broker.kill()
    assert retained(start(), "a", "b") == [("a", b"the first", 1, None), ("b", b"the second", 1, None)]


def test_what_was_acknowledged_outlives_a_kill(start):
    values = {"sessions": True, "durability": "batch"}
    broker = start(**values)
    client = Paho(broker.port, "sleeper", 5, persistent=True)
    client.subscribe("a", 2)
    client.disconnect()
    for i in range(3):
        client = Paho(broker.port, "writer", 5)
        client.publish("a", b"%d" % i, 1 + i % 2)
        broker.kill()
        client.closed()
        broker = start(**values)
    client = Paho(broker.port, "sleeper", 5, persistent=True)
    assert client.session_present
    found = [client.receive() for _ in range(3)]
    assert sorted((message.payload, message.qos) for message in found) == [(b"0", 1), (b"1", 2), (b"2", 1)]
    client.disconnect()


def test_figures(start):
    broker = start(interval=1)
    client = Paho(broker.port, "reader", 5)
    client.publish("a", b"1", 1, retain=True)
    client.subscribe("$SYS/broker/store/bytes/written")
    written = 0
    while not written:
        written = int(client.receive().payload)
    assert written > 4096
    client.disconnect()


def test_a_store_that_cannot_be_opened(start, tmp_path):
    (tmp_path / "store").write_text("a file")
    with pytest.raises(ServerError, match="cannot open .*store"):
        start()
