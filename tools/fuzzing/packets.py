"""Valid packets and conversations of all protocol versions, for the fuzzer to spoil and for tests to send.

Runs on CPython and on MicroPython.
"""

from port.core import TYPE_CHECKING
from port.core.wire.codec import packet, string, u16
from port.core.wire.properties import encode

if TYPE_CHECKING:
    from typing import Any, Optional

    Conversation = tuple[int, list[bytes]]


def connect(
    version: int,
    client_id: bytes,
    clean: bool = True,
    keep_alive: int = 0,
    properties: "Optional[dict[int, Any]]" = None,
    will: "Optional[tuple[bytes, bytes, int, bool]]" = None,
    will_properties: "Optional[dict[int, Any]]" = None,
    user: "Optional[bytes]" = None,
    password: "Optional[bytes]" = None,
) -> bytes:
    """CONNECT; `will` is (topic, payload, QoS, retain)."""
    flags = 2 if clean else 0
    tail = string(client_id)
    if will is not None:
        flags |= 4 | will[2] << 3 | (32 if will[3] else 0)
        if version == 5:
            tail += encode(will_properties or {})
        tail += string(will[0]) + string(will[1])
    if user is not None:
        flags |= 128
        tail += string(user)
    if password is not None:
        flags |= 64
        tail += string(password)
    head = string(b"MQIsdp" if version == 3 else b"MQTT") + bytes((version, flags)) + u16(keep_alive)
    if version == 5:
        head += encode(properties or {})
    return packet(0x10, head + tail)


def publish(
    version: int,
    topic: bytes,
    payload: bytes = b"",
    qos: int = 0,
    packet_id: int = 0,
    retain: bool = False,
    properties: "Optional[dict[int, Any]]" = None,
    dup: bool = False,
) -> bytes:
    """PUBLISH."""
    body = string(topic) + (u16(packet_id) if qos else b"")
    if version == 5:
        body += encode(properties or {})
    return packet(0x30 | qos << 1 | (1 if retain else 0) | (8 if dup else 0), body + payload)


def subscribe(
    version: int, packet_id: int, filters: "list[tuple[bytes, int]]", properties: "Optional[dict[int, Any]]" = None
) -> bytes:
    """SUBSCRIBE; `filters` are (filter, options)."""
    body = u16(packet_id) + (encode(properties or {}) if version == 5 else b"")
    for topic_filter, options in filters:
        body += string(topic_filter) + bytes((options,))
    return packet(0x82, body)


def unsubscribe(version: int, packet_id: int, filters: "list[bytes]") -> bytes:
    """UNSUBSCRIBE."""
    body = u16(packet_id) + (b"\0" if version == 5 else b"")
    for topic_filter in filters:
        body += string(topic_filter)
    return packet(0xA2, body)


def ack(first: int, packet_id: int, code: int = -1) -> bytes:
    """PUBACK, PUBREC, PUBREL or PUBCOMP; `code` only for MQTT 5."""
    return packet(first, u16(packet_id) + (bytes((code,)) if code >= 0 else b""))


def corpus() -> "list[Conversation]":
    """Valid conversations, each (protocol version, packets of the client)."""
    found: "list[Conversation]" = []
    for version in (3, 4, 5):
        found += _any_version(version)
    found += _version5()
    return found


def _any_version(v: int) -> "list[Conversation]":
    will = (b"will/a", b"gone", 1, True)
    return [
        (v, [connect(v, b"a"), b"\xc0\x00", b"\xe0\x00"]),
        (v, [connect(v, b"b", False, 60, None, will, None, b"user", b"secret"), b"\xc0\x00"]),
        (v, [connect(v, b"c", False, 1), subscribe(v, 1, [(b"a/b", 0), (b"a/+", 1), (b"#", 2)]),
             publish(v, b"a/b", b"zero"), publish(v, b"a/b", b"one", 1, 7), ack(0x40, 1),
             publish(v, b"a/b", b"two", 2, 8), ack(0x50, 2), ack(0x62, 8), ack(0x70, 2),
             unsubscribe(v, 2, [b"a/b", b"#", b"nobody"]), b"\xe0\x00"]),
        (v, [connect(v, b"d"), publish(v, b"r/1", b"kept", 0, 0, True), publish(v, b"r/2", b"kept", 1, 1, True),
             subscribe(v, 3, [(b"r/#", 2), (b"$SYS/#", 0)]), ack(0x40, 1), publish(v, b"r/1", b"", 0, 0, True)]),
        (v, [connect(v, b"e", False), publish(v, b"a/b", b"x" * 300, 2, 1), publish(v, b"a/b", b"x", 2, 1, False, None, True),
             publish(v, b"a/b", b"y", 2, 2), ack(0x62, 1), ack(0x62, 2), ack(0x62, 3)]),
        (v, [connect(v, b"c", False), subscribe(v, 9, [(b"$share/g/a/#", 1), (b"$share/h/+/b", 2)]),
             publish(v, b"a/b", b"q", 1, 1), publish(v, b"a/b", b"r", 2, 2), ack(0x62, 2), ack(0x40, 1),
             ack(0x40, 2), ack(0x40, 3), ack(0x50, 4), ack(0x70, 4)]),
        (v, [connect(v, b"" if v > 3 else b"3"), publish(v, b"a", b""), publish(v, "ü/€".encode(), b"\xff"), b"\xe0\x00"]),
        (v, [connect(v, b"w", True, 0, None, None, None, b"wait"), b"\xc0\x00", subscribe(v, 1, [(b"a/b", 1)])]),
        (v, [connect(v, b"n", True, 0, None, None, None, b"bad", b"")]),
        (v, [connect(v, b"many"), subscribe(v, 1, [(b"m/%d" % i, i % 3) for i in range(6)])]
            + [publish(v, b"m/%d" % (i % 6), b"m", i % 2, i + 1) for i in range(12)]),
    ]  # fmt: skip


def _version5() -> "list[Conversation]":
    everything = {0x11: 20, 0x21: 3, 0x27: 120, 0x22: 5, 0x19: 1, 0x17: 0, 0x26: [(b"k", b"v"), (b"k", b"w")]}
    will_properties = {0x18: 5, 0x01: 1, 0x02: 30, 0x03: b"text", 0x08: b"answer", 0x09: b"id", 0x26: [(b"a", b"b")]}
    every = {0x01: 1, 0x02: 9, 0x03: b"text", 0x08: b"answer", 0x09: b"\0\1", 0x26: [(b"a", b"b")]}
    will = (b"will/5", b"gone", 2, False)
    ask = {0x15: b"ask", 0x16: b"hello"}
    answer = encode({0x15: b"ask", 0x16: b"answer"})
    return [
        (5, [connect(5, b"p", False, 10, everything, will, will_properties, b"u", b"p"),
             subscribe(5, 1, [(b"a/b", 0x0D), (b"a/+", 0x1A), (b"a/#", 0x29)], {0x0B: 300, 0x26: [(b"x", b"y")]}),
             publish(5, b"a/b", b"self", 1, 1), publish(5, b"a/c", b"other", 2, 2, False, every),
             ack(0x62, 2, 0x92), ack(0x40, 1, 0x10), ack(0x50, 2, 0x80), packet(0xE0, b"\4")]),
        (5, [connect(5, b"alias", True, 0, {0x22: 3}), publish(5, b"al/1", b"a", 0, 0, False, {0x23: 1}),
             publish(5, b"", b"b", 0, 0, False, {0x23: 1}), publish(5, b"", b"c", 1, 5, False, {0x23: 1, 0x02: 3}),
             publish(5, b"al/2", b"d", 0, 0, False, {0x23: 2}), subscribe(5, 4, [(b"al/+", 1)]),
             publish(5, b"", b"e", 0, 0, False, {0x23: 2})]),
        (5, [connect(5, b"auth", True, 0, ask), packet(0xF0, b"\x18" + answer), publish(5, b"a/b", b"in"),
             packet(0xF0, b"\x19" + answer), b"\xe0\x00"]),
        (5, [connect(5, b"p", False, 0, {0x11: 0xFFFFFFFF}), ack(0x50, 1), ack(0x70, 1), ack(0x40, 2),
             packet(0xE0, b"\0" + encode({0x11: 4}))]),
        (5, [connect(5, b"s", False, 0, {0x11: 50, 0x21: 1}), subscribe(5, 1, [(b"$share/g/a/#", 2), (b"a/b", 4)]),
             publish(5, b"a/b", b"1", 1, 1), publish(5, b"a/b", b"2", 1, 2), ack(0x40, 1, 0), ack(0x50, 1, 0),
             packet(0xE0, b"\0")]),
        (5, [connect(5, b"small", True, 0, {0x27: 30}), subscribe(5, 1, [(b"#", 2)]), publish(5, b"a/b", b"x" * 60, 1, 1)]),
        (5, [connect(5, b"r"), publish(5, b"r/5", b"kept", 1, 1, True, every), subscribe(5, 1, [(b"r/+", 0x19)], {0x0B: 1}),
             subscribe(5, 2, [(b"r/+", 0x29), (b"$SYS/broker/version", 0)]), packet(0xE0, b"\x98")]),
    ]  # fmt: skip
