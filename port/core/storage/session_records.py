"""The records of sessions, subscriptions, entries and wills, see port.core.storage.records."""

from port.core import const
from port.core.constants import WILL_DELAY, WILL_MESSAGE
from port.core.wire.codec import Reader, string, u16, u32, varint
from port.core.storage.records import message_value, read_u48, u48

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

    from port.core.messages.message import Message
    from port.core.sessions.session import Entry, Session

DUE = const(0x40)  # among the options of a subscription: its retained messages are still to be sent
_IDENTIFIERS = const(0x20)
_GROUP = const(0x40)
_RELEASED = const(0x80)


def session_value(session: "Session", offset: int) -> bytes:
    """Expiry interval (4 bytes), time of its end (6), client id, user name, address and listener (strings), flags: 1 MQTT 5,
    2 it has a user name (which may be empty in old records), 4 it has rights of its own, 8 the prefix of its mount point follows
    (string), 16 it is an in-process client's. `offset` turns the broker's clock into ms since 1970.
    """
    flags = (1 if session.version5 else 0) | (0 if session.user is None else 2)
    access = session.access
    if access is not None and (access.rules is not None or access.authorizer is not None):
        flags |= 4
    if session.listener.local:
        flags |= 16
    mount = b""
    if session.mount is not None:
        flags |= 8
        mount = string(session.mount.prefix)
    ends = 0 if session.expires_at is None else max(session.expires_at + offset, 1)
    return (
        u32(session.expiry) + u48(ends) + string(session.client_id) + string(session.user or b"")
        + string(session.address.encode()) + string(session.listener.id.encode()) + bytes((flags,)) + mount
    )  # fmt: skip


def subscription_value(options: int) -> bytes:
    """The options of a subscription (port.core.routing.subscriptions), or with DUE: a byte, then the subscription identifier."""
    return bytes((options & 255,)) + varint(options >> 8)


def read_subscription(data: bytes) -> int:
    """The options from the bytes of `subscription_value`."""
    reader = Reader(data)
    return reader.u8() | reader.varint() << 8


def replayed_value(sent: "list[bytes]") -> bytes:
    """The filter of a subscription and the topic names of retained messages, as strings."""
    return b"".join([string(item) for item in sent])


def read_replayed(data: bytes) -> "list[bytes]":
    """The strings from the bytes of `replayed_value`."""
    reader = Reader(data)
    sent = [reader.binary()]
    while reader.left():
        sent.append(reader.binary())
    return sent


def entry_value(number: int, packet_id: int, entry: "Entry", message_key: int) -> bytes:
    """Session number, packet identifier or 0 while it is queued, flags; then, unless it is released: message key,
    number of subscription identifiers and these, the filter of the shared subscription it came through.
    """
    head = u32(number) + u16(packet_id)
    message, flags, identifiers, group, _ = entry
    if message is None:
        return head + bytes((flags | _RELEASED,))
    more = b""
    if identifiers:
        flags |= _IDENTIFIERS
        more = bytes((len(identifiers),))
        for identifier in identifiers:
            more += varint(identifier)
    if group is not None:
        flags |= _GROUP
        more += string(group.topic_filter)
    return head + bytes((flags,)) + u48(message_key) + more


def read_entry(data: bytes) -> "tuple[int, int, int, int, Optional[tuple[int, ...]], Optional[bytes]]":
    """(session number, packet identifier, flags, message key or 0 when released, identifiers, shared filter)."""
    reader = Reader(data)
    number = reader.u32()
    packet_id = reader.u16()
    flags = reader.u8()
    if flags & _RELEASED:
        return number, packet_id, flags & 15, 0, None, None
    key = read_u48(reader)
    identifiers = None
    if flags & _IDENTIFIERS:
        identifiers = tuple([reader.varint() for _ in range(reader.u8())])
    return number, packet_id, flags & 15, key, identifiers, reader.binary() if flags & _GROUP else None


def will_value(will: "tuple[Message, int]", due: int) -> bytes:
    """The delay of a will (4 bytes), the time it is due (6; 0 while its client is connected), and its message."""
    return u32(will[WILL_DELAY]) + u48(due) + message_value(will[WILL_MESSAGE], 0)
