"""What a client sees of the brokers' limits."""

import signal
import subprocess
from typing import Any

import pytest

from tests.host.drivers import TIMEOUT
from tests.host.drivers.paho import Paho


def publish_size(topic, size):
    """A payload with which the PUBLISH of MQTT 5 is so large: header 3, topic, packet identifier, no properties."""
    return b"x" * (size - 3 - 2 - len(topic) - 2 - 1)


def test_max_packet_size(runtime, start_broker):
    broker = start_broker(runtime, max_packet_size=8192)
    client = Paho(broker.port, "client", 5)
    client.subscribe("topic", 1)
    client.publish("topic", publish_size("topic", 8192), 1)
    assert len(client.receive().payload) == len(publish_size("topic", 8192))
    client.send("topic", publish_size("topic", 8193), 1)
    assert client.closed() == 0x95
    old = Paho(broker.port, "old", 4)
    old.send("topic", bytes(9000), 1)
    old.closed()


def test_max_packet_size_of_a_board(server_process):
    """The default of a board is 8 KiB."""
    with server_process("micropython") as broker:
        client = Paho(broker.port, "client", 5)
        client.publish("topic", publish_size("topic", 8192), 1)
        client.send("topic", publish_size("topic", 8193), 1)
        assert client.closed() == 0x95


def test_max_connections(runtime, start_broker):
    broker = start_broker(runtime, max_connections=3)
    clients = [Paho(broker.port, "c%d" % n, 4) for n in range(3)]
    for version, refusal in ((5, "Quota exceeded"), (4, "Server unavailable")):
        with pytest.raises(AssertionError, match=refusal):
            Paho(broker.port, "too many", version)
    clients[0].disconnect()
    clients[0] = Paho(broker.port, "another", 5)
    for client in clients:
        client.disconnect()


def test_keep_alive_of_the_server(runtime, start_broker, tool):
    """With max_keep_alive a client that asks for 60 s and hangs is given up after 3 s."""
    broker = start_broker(runtime, max_keep_alive=2)
    watcher = Paho(broker.port, "watcher", 4)
    watcher.subscribe("will", 1)
    client: Any = subprocess.Popen(
        [tool("mosquitto_sub"), "-V", "mqttv5", "-p", str(broker.port), "-k", "60", "-t", "ready",
         "--will-topic", "will", "--will-payload", "hung", "-F", "%p"], stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        watcher.publish("ready", b"ready", 1, retain=True)
        assert client.stdout.readline() == b"ready\n"
        client.send_signal(signal.SIGSTOP)
        assert watcher.receive().payload == b"hung"
    finally:
        client.kill()
        client.wait(TIMEOUT)
        client.stdout.close()
    watcher.disconnect()
