"""The broker's stored state as records: keys and values, both bytes.

The first byte of a key is its kind; keys of one kind sort in the order in which their objects were made.

Times are ms on a clock of the store's own; 0 stands for none. It begins as the host's clock, which has the time of day.
While a broker runs it follows the broker's clock, which cannot be set; changes of the host's clock meanwhile do not
count. The totals, which are in each batch, have the time on both clocks; they are also written when the host's clock has
been set, when the broker stops, and every `Store.heartbeat` seconds. Between two runs the clock advances by the time that has
passed on the host's clock for certain (a clock of whole seconds may have advanced a second less than it shows), if that is
plausible, from 0 to AWAY seconds. Otherwise the host's clock was not set before or is not now, and no time counts. So the rest
of an expiry never grows, and it ends early only when the broker may have been away that long. A crash alone loses no time, or
that second; a crash with an unset clock loses the time since the last totals, `Store.heartbeat` at most.

    0                        format of the records, one byte
    1                        totals: time of writing, s, the counters of TOTALS, s since 1970 by the host's clock, the ms of the
                             time of writing and of the host's clock; integers in groups of seven bits, lowest first
    2 number                 session
    3 number filter          subscription
    4 number identifier      QoS 2 message received and not released
    5 key                    message, see `message_value`
    6 key                    a message queued for or in flight to a session
    7 topic name             retained message, see `retained_value`
    8 client id              will of a connected client, or a delayed one
    9 number key             retained messages that a subscription has already sent, while others are still to come

2 to 6, 8 and 9 are in port.core.storage.session_records.

`number` is that of a session (4 bytes), `key` that of an entry (6 bytes): both count up, and none is used twice. A message's key
is that of the first entry that refers to it.
"""

from port.core import const
from port.core.wire.codec import Reader, string, varint
from port.core.messages.message import Message
from port.core.messages.retained import UNTOLD

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

    from port.core.messages.retained import Record

FORMAT = b"\0"
TOTALS_KEY = b"\1"
SESSION = b"\2"
SUBSCRIPTION = b"\3"
RECEIVED = b"\4"
MESSAGE = b"\5"
ENTRY = b"\6"
RETAINED = b"\7"
WILL = b"\x08"
REPLAYED = b"\x09"

VERSION = b"\1"  # of the format

AWAY = const(31622400)  # s, 366 days: the longest plausible absence of a broker

# The broker's counters that continue after a restart; `published` is that of all QoS.
TOTALS = (
    "bytes_received", "bytes_sent", "packets_received", "packets_sent", "publishes_received", "published", "dropped",
    "connections_total", "clients_maximum", "clients_expired", "refused", "auth_failed",
)  # fmt: skip

_RETAIN = const(4)
_EXPIRES = const(8)
_SOURCE = const(16)
_USER = const(32)
_UNTOLD = const(64)
_QOS = const(3)


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
    """The counters from the bytes of `totals_value`."""
    found = []
    value = shift = 0
    for c in data:
        value |= (c & 127) << shift
        shift += 7
        if c < 128:
            found.append(value)
            value = shift = 0
    return found


def message_value(message: Message, offset: int) -> bytes:
    """QoS, RETAIN and whether it expires (1 byte), time of expiry (6), topic name, properties, payload.

    `offset` is added to the time of expiry; 0 leaves an interval unchanged.
    """
    head = _head(message.qos | (_RETAIN if message.retain else 0), message.expires, offset) + string(message.name)
    properties = message.properties
    return head + varint(len(properties)) + properties + message.payload


def retained_value(record: "Record", offset: int) -> bytes:
    """QoS and flags (1 byte), time of expiry (6), its publisher if known (user name, client id, address, listener:
    strings), properties, payload. `offset` turns the broker's clock into ms since 1970.
    """
    _, payload, qos, properties, expires, source, _ = record
    flags = qos & _QOS | (_RETAIN | _UNTOLD if qos & UNTOLD else _RETAIN)
    publisher = b""
    if source is not None:
        user, client_id, address, listener = source
        flags |= _SOURCE if user is None else _SOURCE | _USER
        publisher = string(user or b"") + string(client_id) + string(address.encode()) + string(listener.encode())
    return _head(flags, expires, offset) + publisher + varint(len(properties)) + properties + payload


def _head(flags: int, expires: "Optional[int]", offset: int) -> bytes:
    return bytes((flags,)) if expires is None else bytes((flags | _EXPIRES,)) + u48(max(expires + offset, 0))


def read_retained(data: bytes, name: bytes) -> "Record":
    """The record (port.core.messages.retained) from the bytes of `retained_value`; it expires by the same clock."""
    if len(data) > 1 and not data[0] & (_EXPIRES | _SOURCE) and not data[1]:  # most of them: no expiry, no properties
        return name, data[2:], data[0] & 3, b"", None, None, None
    reader = Reader(data)
    flags = reader.u8()
    expires = read_u48(reader) if flags & _EXPIRES else None
    source = None
    if flags & _SOURCE:
        user = reader.binary()
        client_id = reader.binary()
        address = str(reader.binary(), "utf-8")
        source = (user if flags & _USER else None, client_id, address, str(reader.binary(), "utf-8"))
    size = reader.varint()
    properties = reader.take(size) if size else b""
    return name, data[reader.pos :], flags & _QOS | (UNTOLD if flags & _UNTOLD else 0), properties, expires, source, None


def read_message(data: bytes, at: int, offset: int) -> Message:
    """The message whose bytes start at data[at]; `offset` is that of `message_value`."""
    reader = Reader(data)
    reader.pos = at
    flags = reader.u8()
    expires = read_u48(reader) - offset if flags & _EXPIRES else None
    name = reader.binary()
    properties = reader.take(reader.varint())
    return Message(name, reader.take(reader.left()), flags & 3, flags & _RETAIN != 0, properties, expires)
