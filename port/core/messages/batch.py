"""What an in-process client gets: packets of one origin, as bytes on the wire, and as messages to who looks at these."""

from port.core import const
from port.core.wire.codec import PUBLISH, Reader, varint
from port.core.messages.message import Message

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Iterator, Optional

    from port.core.wire.codec import Buffer

_EXPIRY = const(0x02)
_IDENTIFIER = const(0x0B)


def body_of(data: "Buffer", i: int) -> "tuple[int, int]":
    """(where the body starts, where it ends) of the packet at data[i], which is valid; it may end behind the data."""
    size = data[i + 1]
    at = i + 2
    if size > 127:
        size &= 127
        shift = 7
        while True:
            c = data[at]
            at += 1
            size |= (c & 127) << shift
            if c < 128:
                break
            shift += 7
    return at, at + size


def packet_ids(chunk: bytes) -> "list[bytes]":
    """The packet identifiers of QoS 1 and 2 PUBLISH packets that came as one chunk: they have one size and topic."""
    at, stop = body_of(chunk, 0)
    at += 2 + (chunk[at] << 8 | chunk[at + 1])
    if stop == len(chunk):
        return [chunk[at : at + 2]]
    return [chunk[i : i + 2] for i in range(at, len(chunk), stop)]


class Received(Message):
    """A message as an in-process client gets it; QoS and RETAIN are those of its packet.

    packet_id    what to acknowledge, 0 at QoS 0
    duplicate    True when it may have come before
    identifiers  subscription identifiers
    """

    __slots__ = ("packet_id", "duplicate", "identifiers")

    def __init__(
        self, name: bytes, payload: bytes, first: int, properties: bytes = b"", expires: "Optional[int]" = None
    ) -> None:
        """`first`: the first byte of the packet."""
        Message.__init__(self, name, payload, first >> 1 & 3, first & 1 == 1, properties, expires)
        self.packet_id = 0
        self.duplicate = first & 8 == 8
        self.identifiers: "tuple[int, ...]" = ()


class Batch:
    """Packets that came one after the other from the same client. Iterate over it for messages, which are decoded then.

    origin    client id of whose packets were being handled when they were handed over, empty: see LocalClient
    packets   one or more PUBLISH packets in each, in order; PUBREL too where the client acknowledges by itself
    version5  True: they are packets of MQTT 5, else of 3.1.1
    now       ms on the broker's clock, when they came
    size      bytes
    qos       True when there are others than QoS 0
    """

    __slots__ = ("origin", "packets", "version5", "now", "size", "qos")

    def __init__(self, origin: bytes, version5: bool, now: int) -> None:
        self.origin = origin
        self.packets: "list[bytes]" = []
        self.version5 = version5
        self.now = now
        self.size = 0
        self.qos = False

    def __repr__(self) -> str:
        return "<Batch of %d bytes from %r>" % (self.size, self.origin)

    def __iter__(self) -> "Iterator[Received]":
        for chunk in self.packets:
            i = 0
            end = len(chunk)
            while i < end:
                at, stop = body_of(chunk, i)
                if chunk[i] & 0xF0 == 0x30:
                    yield self._decode(chunk, chunk[i], at, stop)
                i = stop

    def _decode(self, chunk: bytes, first: int, at: int, stop: int) -> Received:
        k = at + 2 + (chunk[at] << 8 | chunk[at + 1])
        name = chunk[at + 2 : k]
        packet_id = 0
        if first & 6:
            packet_id = chunk[k] << 8 | chunk[k + 1]
            k += 2
        if not self.version5:
            message = Received(name, chunk[k:stop], first)
        elif not chunk[k]:
            message = Received(name, chunk[k + 1 : stop], first)
        else:
            message = self._with_properties(name, chunk[:stop], first, k)
        message.packet_id = packet_id
        return message

    def _with_properties(self, name: bytes, data: bytes, first: int, k: int) -> Received:
        from port.core.wire.properties import decode, encode_all

        reader = Reader(data)
        reader.pos = k
        size = reader.varint()
        raw = data[reader.pos : reader.pos + size]
        reader.pos = k
        properties = decode(reader, PUBLISH)
        interval = properties.pop(_EXPIRY, None)
        identifiers = properties.pop(_IDENTIFIER, None)
        if interval is not None or identifiers is not None:
            raw = encode_all(properties)
        expires = None if interval is None else self.now + interval * 1000
        message = Received(name, data[reader.pos :], first, raw, expires)
        if identifiers is not None:
            message.identifiers = tuple(identifiers)
        return message


def publish_packet(message: Message, version5: bool, packet_id: int, now: int) -> "list[bytes]":
    """The PUBLISH packet of a message, in two parts where its payload is large. `now`: ms on the clock of its expiry."""
    first = 0x30 | message.qos << 1 | (1 if message.retain else 0)
    head = bytes((len(message.name) >> 8, len(message.name) & 255)) + message.name
    if message.qos:
        head += bytes((packet_id >> 8, packet_id & 255))
    if version5:
        own = b""
        if message.expires is not None:
            from port.core.wire.properties import encode_one

            own = encode_one(_EXPIRY, max(0, (message.expires - now + 999) // 1000))
        head += varint(len(own) + len(message.properties)) + own + message.properties
    payload = message.payload
    return [bytes((first,)) + varint(len(head) + len(payload)) + head, payload]
