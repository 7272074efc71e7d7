"""What is kept of the broker's state, as records: keys and values, both bytes.

The first byte of a key tells the kind; keys of one kind sort in the order in which things were made. Times are ms since
1970 by the host's clock, so that they mean something to the broker that restores them. 0 stands for none.

    0                        format of the records, one byte
    1                        totals: s since 1970 when they were written, then the counters of TOTALS; integers in
                             groups of seven bits, lowest first
    2 number                 session
    3 number filter          subscription
    4 number identifier      QoS 2 message received and not released
    5 key                    message, see `message_value`
    6 key                    a message queued for or in flight to a session
    7 topic name             retained message, see `message_value`
    8 client id              will of a connected client, or one that waits

2 to 6 and 8 are in port.core.session_records.

`number` is a session's (4 bytes), `key` that of an entry (6 bytes): they count up and none is used twice. A message's key
is that of the first entry that refers to it.
"""

from port.core import const
from port.core.codec import Reader, string, varint
from port.core.message import Message

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.retained import Record

FORMAT = b"\0"
TOTALS_KEY = b"\1"
SESSION = b"\2"
SUBSCRIPTION = b"\3"
RECEIVED = b"\4"
MESSAGE = b"\5"
ENTRY = b"\6"
RETAINED = b"\7"
WILL = b"\x08"

VERSION = b"\1"  # of the format

# The broker's counters that go on after a restart; new ones are added at the end.
TOTALS = (
    "bytes_received", "bytes_sent", "packets_received", "packets_sent", "publishes_received", "published", "dropped",
    "connections_total", "clients_maximum", "clients_expired", "refused", "auth_failed",
)  # fmt: skip

_RETAIN = const(4)
_EXPIRES = const(8)


def u48(value: int) -> bytes:
    """A six byte integer, big endian."""
    return value.to_bytes(6, "big")


def read_u48(reader: Reader) -> int:
    return int.from_bytes(reader.take(6), "big")


def totals_value(values: "list[int]") -> bytes:
    """Counters as bytes."""
    out = bytearray()
    for value in values:
        while value > 127:
            out.append(value & 127 | 128)
            value >>= 7
        out.append(value)
    return bytes(out)


def read_totals(data: bytes) -> "list[int]":
    """The counters `totals_value` wrote."""
    found = []
    value = shift = 0
    for c in data:
        value |= (c & 127) << shift
        shift += 7
        if c < 128:
            found.append(value)
            value = shift = 0
    return found


def message_value(message: "Any", offset: int, named: bool = True) -> bytes:
    """QoS, RETAIN and whether it expires (1 byte), when (6), topic name unless not `named`, properties, payload.

    `offset` is added to the time of expiry; 0 leaves an interval what it is.
    """
    flags = message.qos | (_RETAIN if message.retain else 0)
    head = bytes((flags,)) if message.expires is None else _expiring(flags, message.expires + offset)
    if named:
        head += string(message.name)
    properties = message.properties
    data: bytes = head + varint(len(properties)) + properties + message.payload
    return data


def _expiring(flags: int, at: int) -> bytes:
    return bytes((flags | _EXPIRES,)) + u48(max(at, 0))


def read_retained(data: bytes, offset: int, name: bytes) -> "Record":
    """The record of the retained message (port.core.retained) that `message_value` wrote, not `named`."""
    if len(data) > 1 and not data[0] & _EXPIRES and not data[1]:  # most of them: no expiry, no properties
        return name, data[2:], data[0] & 3, b"", None
    reader = Reader(data)
    flags = reader.u8()
    expires = read_u48(reader) - offset if flags & _EXPIRES else None
    size = reader.varint()
    properties = reader.take(size) if size else b""
    return name, data[reader.pos :], flags & 3, properties, expires


def read_message(data: bytes, at: int, offset: int, name: "Optional[bytes]" = None) -> Message:
    """The message whose bytes start at `at`; `offset` is that of `message_value`."""
    reader = Reader(data)
    reader.pos = at
    flags = reader.u8()
    expires = read_u48(reader) - offset if flags & _EXPIRES else None
    if name is None:
        name = reader.binary()
    properties = reader.take(reader.varint())
    return Message(name, reader.take(reader.left()), flags & 3, flags & _RETAIN != 0, properties, expires)
