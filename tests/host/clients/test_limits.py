"""What a client sees of the brokers' limits."""

import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from certificates import certificates  # noqa: F401
from configuration import write
from drivers import TIMEOUT
from drivers.paho import Paho
from port.core.wire.codec import varint
from server_process import free_port


CONNECT = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01"  # and one letter, the client id
OUTBOX = 200_000
LARGE = 6_000_000  # more than sockets take
UPGRADE = (
    b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)


def publish_packet(size):
    """A QoS 0 PUBLISH to `t` with a payload of this size."""
    return b"\x30" + varint(size + 3) + b"\0\1t" + bytes(size)


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
    watcher = Paho(broker.port, "watcher", 4, keep_alive=1)
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


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="tells the sockets' timers")
def test_the_system_looks_whether_clients_are_there(runtime, start_broker):
    """SO_KEEPALIVE is on: who has gone without a word, and has no keep alive of MQTT, goes one day."""
    broker = start_broker(runtime)
    client = Paho(broker.port, "client", 4, keep_alive=0)
    ends = ["0100007F:%04X" % port for port in (broker.port, client.local_port)]
    for _ in range(100):
        timers = [line.split()[5][:2] for line in Path("/proc/net/tcp").read_text().splitlines() if line.split()[1:3] == ends]
        if timers == ["02"]:  # 01: it waits for an acknowledgement
            break
        time.sleep(0.05)
    assert timers == ["02"]
    client.disconnect()


@pytest.mark.parametrize("kind", ["tcp", "tls", "websocket"])
def test_what_is_behind_a_large_message_counts(runtime, start_broker, kind, certificates, tmp_path):  # noqa: F811
    """Small QoS 0 messages arrive behind one that is under way, up to outbox_bytes; another large one has no room."""
    made = certificates()
    pem = runtime == "cpython"
    tls = {"certificate": made.server if pem else made.server_der, "key": made.key if pem else made.key_der}
    port = free_port()
    listener = {"type": "websocket" if kind == "websocket" else "tcp", "port": port, **({"tls": tls} if kind == "tls" else {})}
    values = {"max_packet_size": 7_000_000, "outbox_bytes": OUTBOX, "listener": [listener]}
    program = ("--config", write(tmp_path / "broker.conf", runtime, values))
    broker = start_broker(runtime, *program, **({} if pem else {"heapsize": "128m"}))
    deadline = time.monotonic() + TIMEOUT
    while broker.output.count("listening on") < 2:
        assert time.monotonic() < deadline, broker.output
        time.sleep(0.02)
    with socket.socket() as plain, socket.create_connection(("127.0.0.1", broker.port), TIMEOUT) as publisher:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.settimeout(TIMEOUT)
        plain.connect(("127.0.0.1", port))
        sock = ssl.create_default_context(cafile=made.ca).wrap_socket(plain, server_hostname="localhost") if kind == "tls" else plain
        with sock.makefile("rb") as file:

            def send(data):
                sock.sendall(b"\x82" + bytes((0x80 | len(data), 0, 0, 0, 0)) + data if kind == "websocket" else data)

            def packet():
                if kind == "websocket":
                    size = file.read(2)[1]
                    file.read({126: 2, 127: 8}.get(size, 0))
                first = file.read(1)[0]
                size = shift = 0
                while True:
                    byte = file.read(1)[0]
                    size |= (byte & 127) << shift
                    shift += 7
                    if byte < 128:
                        return first, file.read(size)

            if kind == "websocket":
                sock.sendall(UPGRADE)
                while file.readline() != b"\r\n":
                    pass
            send(CONNECT + b"s")
            assert packet()[0] == 0x20
            send(b"\x82\6\0\1\0\1t\0")
            assert packet()[0] == 0x90
            publisher.sendall(CONNECT + b"p")
            assert publisher.recv(4)[:1] == b"\x20"
            sent = [LARGE] + [20] * 10 + [LARGE] + [10_000] * 100 + [20]
            for size in sent:
                publisher.sendall(publish_packet(size) + b"\xc0\0")
                assert publisher.recv(2) == b"\xd0\0"  # it is handled
            send(b"\xc0\0")
            found = []
            while True:
                first, body = packet()
                if first == 0xD0:
                    break
                found.append(len(body) - 3)
    assert found[:11] == [LARGE] + [20] * 10
    assert found.count(LARGE) == 1 and 5 <= found.count(10_000) <= OUTBOX // 10_000, found
