"""As much of MQTT's encoding as the load generator of tools/bench needs."""

from benchmark.wire import Wire

PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 0x30, 0x40, 0x50, 0x62, 0x70
CONNACK, SUBACK, PINGRESP = 0x20, 0x90, 0xD0
PINGREQ_PACKET = b"\xc0\0"
DISCONNECT_PACKET = b"\xe0\0"
MQTT5 = 5
KEEP_ALIVE = (1200).to_bytes(2, "big")  # seconds; iotcore refuses 0


class LoadError(Exception):
    """The broker did something that ends the run: refused a client, closed a connection, sent garbage."""


def text(value: str) -> bytes:
    """Encode a UTF-8 string field."""
    raw = value.encode()
    return len(raw).to_bytes(2, "big") + raw


def sized(body: bytes) -> bytes:
    """Put its length before a body, as a variable byte integer."""
    length = len(body)
    encoded = bytearray()
    while length > 127:
        encoded.append(length & 127 | 128)
        length >>= 7
    encoded.append(length)
    return bytes(encoded) + body


def packet(head: int, body: bytes) -> bytes:
    """Put the fixed header before a body."""
    return bytes((head,)) + sized(body)


# Content type and a user property, as an application would send them.
PROPERTIES = sized(b"\3" + text("text/plain") + b"\x26" + text("unit") + text("celsius"))


def no_properties(version: int) -> bytes:
    """What stands where a packet has none."""
    return b"\0" if version == MQTT5 else b""


def connect_packet(name: str, version: int, clean: bool = True) -> bytes:
    """CONNECT. Its keep-alive ends after all workloads: nothing but the load itself shall be on the wire."""
    return packet(0x10, text("MQTT") + bytes((version, 2 * clean)) + KEEP_ALIVE + no_properties(version) + text(name))


def subscribe_packet(topic_filter: str, qos: int, version: int, packet_id: int = 1) -> bytes:
    """SUBSCRIBE to one filter."""
    return packet(0x82, packet_id.to_bytes(2, "big") + no_properties(version) + text(topic_filter) + bytes((qos,)))


def read_packet(wire: Wire, head: int) -> bytes:
    """Read one short packet after which nothing follows yet, return its body."""
    got = b""
    while len(got) < 2 or len(got) < 2 + got[1]:
        got += wire.receive()
    if got[0] != head or len(got) > 2 + got[1]:
        raise LoadError(f"expected packet 0x{head:02x}, got {got.hex()}")
    return got[2:]


def read_connack(wire: Wire) -> bool:
    """Read the answer to a CONNECT, after which nothing follows, return whether the session was there."""
    present, more = read_first(wire)
    if more:
        raise LoadError(f"the broker sent more than CONNACK: {more[:20].hex()}")
    return present


def read_first(wire: Wire) -> tuple[bool, bytes]:
    """Read the answer to a CONNECT, return whether the session was there, and what came with it."""
    got = b""
    while len(got) < 2 or len(got) < 2 + got[1]:
        got += wire.receive()
    if got[0] != CONNACK or got[3:4] != b"\0":
        raise LoadError(f"the broker refused a client: {got[:20].hex()}")
    return got[2] == 1, got[2 + got[1] :]
