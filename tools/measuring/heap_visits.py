"""A broker with all that a board can have but TLS, and clients that use it: what its heap is measured with."""

from __future__ import annotations

import socket
from typing import Any

VISITS = 4  # connections the broker counts
_SECONDS = 20

# The password is "secret".
_ALICE = "$pbkdf2-sha256$i=16$MDEyMzQ1Njc4OWFiY2RlZg$5+JSV3qffu0NAAeoIllA8xIJ72W5Ydoqwe/w6pVaNlQ"

# MQTT 5, alice: a session for a minute, then one for no longer than the connection.
_CONNECT = [b"\x10\x29\x00\x04MQTT\x05\xc0\x00\x3c\x08\x11\x00\x00\x00%c\x22\x00\x04\x00\x05heap5\x00\x05alice\x00\x06secret" % expiry
            for expiry in (60, 0)]
_PUBLISH = b"\x35\x0f\x00\x03a/b\x00\x01\x05\x02\x00\x00\x00\x3cxy"  # QoS 2, retained, with an expiry interval
_PUBREL = b"\x62\x02\x00\x01"
_SUBSCRIBE = b"\x82\x23\x00\x02\x00\x00\x03a/+\x02\x00\x0e$share/s/a/b/c\x01\x00\x06$SYS/#\x00"
_DISCONNECT = b"\xe0\x00"
_CONNECT_3 = b"\x10\x20\x00\x04MQTT\x04\xc2\x00\x3c\x00\x05heap4\x00\x05alice\x00\x06secret"
_PUBLISH_3 = b"\x30\x06\x00\x03a/bz"
_GET = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n"
_UPGRADE = (b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")


def configuration(ports: list[int], folder: str) -> dict[str, Any]:
    """For a file: listeners for MQTT, for the info pages and for WebSocket, users, rules, limits, a store in `folder`."""
    return {
        "max_connections": 10,
        "max_message_rate": 1000,
        "auth": [{"type": "users", "users": {"alice": _ALICE}}],
        "acl": [{"topic": "#"}, {"topic": "$SYS/#"}, {"topic": "secret/#", "user": "bob", "allow": False}],
        "client_limits": [{"user": "bob", "max_connections": 1}],
        "listener": [{"port": ports[0]}, {"type": "http", "port": ports[1]}, {"type": "websocket", "port": ports[2]}],
        "store": {"type": "flash", "folder": folder, "sessions": True, "durability": "batch"},
    }


def visit(ports: list[int]) -> None:
    """Use all of it, and go. Raises OSError when an answer does not come."""
    for connect in _CONNECT:
        _talk(ports[0], (connect, b"\x20"), (_PUBLISH, b"\x50\x02\x00\x01"), (_PUBREL, b"\x70\x02\x00\x01"),
              (_SUBSCRIBE, b"$SYS/broker/uptime"), (_DISCONNECT, b""))
    _talk(ports[0], (_CONNECT_3, b"\x20\x02\x00\x00"), (_PUBLISH_3 + b"\xc0\x00", b"\xd0\x00"), (_DISCONNECT, b""))
    _talk(ports[1], (_GET, b"uptime"))
    _talk(ports[2], (_UPGRADE, b"101"), (_frame(_CONNECT[1]), b"\x20"), (_frame(_DISCONNECT), b""))


def _talk(port: int, *steps: tuple[bytes, bytes]) -> None:
    """Connect and take steps: what is sent, and what the answer has to hold. Wait for the end at the last."""
    with socket.create_connection(("127.0.0.1", port), timeout=_SECONDS) as sock:
        for data, wanted in steps:
            sock.sendall(data)
            answer = b""
            while not wanted or wanted not in answer:
                more = sock.recv(65536)
                if not more and wanted:
                    raise OSError(f"{wanted!r} is not in {answer!r}")
                if not more:
                    break
                answer += more


def _frame(packet: bytes) -> bytes:
    """A WebSocket frame with a mask of zeros."""
    return bytes((0x82, 0x80 | len(packet))) + bytes(4) + packet
