"""Clients that never come to the point, or announce more than anybody needs, at every kind of listener.

Each has to end by itself, with connect_timeout or at once, while others are served. What is sent is far from complete
when the time is over; no time is measured.
"""

import contextlib
import json
import select
import socket
import ssl
import time
from typing import Any

import pytest

from certificates import certificates  # noqa: F401
from drivers import TIMEOUT
from server_process import free_port
from tests.host.tls.test_broker import CONNACK, CONNECT

PACE = 0.05  # s between two bytes; there are enough of them for more than a minute
LONG = 1900
LONG_CONNECT = b"\x10\xec\x0e\x00\x04MQTT\x04\x02\x00\x3c\x07\x60" + b"a" * LONG  # 2048 bytes are allowed on a board
HANDSHAKE = (
    b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)
HEAD = b"GET /mqtt HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * LONG
HELLO = b"\x16\x03\x01\x10\x00\x01\x00\x0f\xfc\x03\x03" + b"a" * LONG  # the beginning of a handshake of 4096 bytes
PING = b"\x89\x81\0\0\0\0x"
FRAME = b"\x82\xfe\x07\x70\0\0\0\0"  # the head of one with 1904 bytes
PROXY = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
PROXY_LINE = b"PROXY UNKNOWN " + b"a" * 90
PROXY_HEADER = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x0f\x00" + b"a" * LONG

# Listener, what is sent at once, then byte by byte.
SLOW = (
    ("tcp", b"", b""), ("tcp", b"", LONG_CONNECT), ("tcp", b"\x10", b""),
    ("tls", b"", b""), ("tls", b"", HELLO), ("tls done", b"", LONG_CONNECT),
    ("ws", b"", b""), ("ws", b"", HEAD), ("ws", HANDSHAKE, b""), ("ws", HANDSHAKE, PING * (LONG // 7)),
    ("ws", HANDSHAKE + FRAME, LONG_CONNECT), ("http", b"", b""), ("http", b"", HEAD),
)  # fmt: skip
SLOW_BEHIND_PROXY = (
    ("proxy", b"", b""), ("proxy", b"", PROXY_LINE), ("proxy", b"", PROXY_HEADER), ("proxy", PROXY, LONG_CONNECT),
    ("proxy tls", b"", b""), ("proxy tls", b"", PROXY_HEADER), ("proxy tls", PROXY, HELLO), ("proxy ws", PROXY, HEAD),
    ("proxy http", b"", PROXY_HEADER), ("proxy http", PROXY, HEAD),
)  # fmt: skip

# Listener, what is sent, how the answer begins.
LARGE = (
    ("tcp", b"\x10\xff\xff\xff\x7f", b""),
    ("tcp", b"\x10\xff\xff\xff\xff\x7f", b""),
    ("tcp", b"\x10\x80\x80\x80\x80", b""),
    ("tls done", b"\x10\xff\xff\xff\x7f", b""),
    ("ws", b"GET /" + b"a" * 4096, b"HTTP/1.1 431 "),
    ("ws", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 680, b"HTTP/1.1 431 "),
    ("ws", HANDSHAKE + b"\x82\xff\x3f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", b"\x88\x02\x03\xf1"),
    ("ws", HANDSHAKE + b"\x82\xff\0\0\0\0\xff\xff\xff\xff\0\0\0\0", b"\x88\x02\x03\xf1"),
    ("ws", HANDSHAKE + b"\x82\x85\0\0\0\0\x10\xff\xff\xff\x7f", b"\x88\x02\x03\xe8"),
    ("http", b"GET /" + b"a" * 4096, b"HTTP/1.1 431 "),
    ("http", b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", b"HTTP/1.1 413 "),
    ("http", b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 400 "),
)
LARGE_BEHIND_PROXY = (
    ("proxy", b"PROXY UNKNOWN" + b" " * 100, b""),
    ("proxy", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", b""),
    ("proxy tls", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", b""),
    ("proxy", PROXY + b"\x10\xff\xff\xff\x7f", b""),
)


class Doors:
    """A broker with every kind of listener the runtime has, and its ports by name."""

    def __init__(self, start_broker, runtime, ours, path):
        self._ca = ours.ca
        tls = {"certificate": ours.server, "key": ours.key}
        listeners: dict[str, dict[str, Any]] = {"tls": {"tls": tls}, "ws": {"type": "websocket"}, "http": {"type": "http"}}
        if runtime == "cpython":
            more: dict[str, dict[str, Any]] = {"proxy": {}, "proxy tls": {"tls": tls}, "proxy ws": {"type": "websocket"}, "proxy http": {"type": "http"}}
            listeners.update({name: {**table, "proxy_protocol": True} for name, table in more.items()})
        self.ports = {name: free_port() for name in listeners}
        tables = [{"id": name, "port": self.ports[name], **table} for name, table in listeners.items()]
        if runtime == "cpython":
            lines = ["connect_timeout = 1", "anonymous = 'all'"]
            for table in tables:
                lines += ["[[listener]]", *("%s = %s" % (key, literal(value)) for key, value in table.items())]
            path.write_text("\n".join(lines))
        else:
            path.write_text(json.dumps({"connect_timeout": 1, "anonymous": "all", "listener": tables}))
        self.broker = start_broker(runtime, "--config", str(path))
        self.ports["tcp"] = self.broker.port
        deadline = time.monotonic() + TIMEOUT
        while self.broker.output.count("listening on") < len(self.ports):
            assert time.monotonic() < deadline, self.broker.output
            time.sleep(0.02)

    def open(self, kind):
        """A connection; to `tls done` one with a finished handshake."""
        name = kind.removesuffix(" done")
        sock = socket.create_connection(("127.0.0.1", self.ports[name]), TIMEOUT)
        if name == kind:
            return sock
        context = ssl.create_default_context(cafile=self._ca)
        return context.wrap_socket(sock, server_hostname="localhost")


def literal(value):
    """A TOML value."""
    if isinstance(value, dict):
        return "{ %s }" % ", ".join("%s = %s" % item for item in zip(value, map(json.dumps, value.values()), strict=True))
    return json.dumps(value)


@pytest.fixture
def doors(start_broker, runtime, certificates, tmp_path):  # noqa: F811
    return Doors(start_broker, runtime, certificates(), tmp_path / "broker.conf")


class Guest:
    """A client that behaves, to see that the broker has time for it."""

    def __init__(self, doors):
        self._sock = socket.create_connection(("127.0.0.1", doors.ports["tcp"]), TIMEOUT)
        self._sock.sendall(CONNECT + b"g")
        assert self._sock.recv(4) == CONNACK

    def is_served(self):
        self._sock.sendall(b"\xc0\0")
        assert self._sock.recv(2) == b"\xd0\0"


def ended(sock):
    """Whether the broker has closed the connection."""
    if not select.select([sock], [], [], 0)[0]:
        return False
    try:
        while sock.recv(4096):
            if not select.select([sock], [], [], 0)[0]:
                return False
    except ssl.SSLWantReadError:
        return False
    except OSError:
        pass
    return True


def test_slow(doors, runtime):
    guest = Guest(doors)
    waiting = []
    for kind, head, slowly in SLOW + (SLOW_BEHIND_PROXY if runtime == "cpython" else ()):
        sock = doors.open(kind)
        sock.sendall(head)
        if kind == "tls done":
            sock.settimeout(0)  # TLS may have read what select does not see
        waiting.append(((kind, head, slowly), sock, iter(slowly)))
    deadline = time.monotonic() + TIMEOUT
    while waiting:
        assert time.monotonic() < deadline, "still there: %r" % [entry[0] for entry in waiting]
        for _, sock, rest in waiting:
            byte = next(rest, None)
            if byte is not None:
                with contextlib.suppress(OSError):
                    sock.send(bytes((byte,)))
        guest.is_served()
        waiting = [entry for entry in waiting if not ended(entry[1])]
        time.sleep(PACE)
    Guest(doors).is_served()


def test_large(doors, runtime):
    guest = Guest(doors)
    for kind, data, expected in LARGE + (LARGE_BEHIND_PROXY if runtime == "cpython" else ()):
        with doors.open(kind) as sock:
            sock.sendall(data)
            answer = b""
            try:
                while more := sock.recv(4096):
                    answer += more
            except OSError as e:
                assert not isinstance(e, TimeoutError), (kind, data)
            if data.startswith(HANDSHAKE):
                head, _, answer = answer.partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 101 ")
            assert answer.startswith(expected) and bool(answer) == bool(expected), (kind, data, answer)
        guest.is_served()


def test_client_ids_are_not_counted(doors):
    """Who can guess the client id that a client without a user name was given can take its session over."""
    seen = set()
    for _ in range(5):
        with doors.open("tcp") as sock:
            sock.sendall(b"\x10\x0d\0\4MQTT\5\2\0\0\0\0\0")
            connack = sock.recv(100)
        at = connack.index(b"auto-") + 5
        seen.add(int(connack[at : at + 16], 16))
    assert len(seen) == 5 and all(number > 1 << 24 for number in seen)
