"""Records as readable values, and checks of their references, for `python3 -m port.cpython store`."""

from __future__ import annotations

from typing import Any

from port.core.wire.codec import Reader
from port.core.wire.reason_codes import MQTTError
from port.core.messages.message import Message
from port.core.messages.retained import retained_message
from port.core.storage import records, session_records

_READABLE = 1000  # most bytes of a payload shown as text beside the record


def describe(key: bytes, value: bytes) -> dict[str, Any]:
    """The values of a record by name. Raises ValueError for an invalid one."""
    try:
        known = _KINDS.get(key[:1])
        if known is None:
            raise ValueError("unknown kind")
        name, reader = known
        return {"kind": name, **reader(key[1:], value)}
    except (MQTTError, ValueError, LookupError, OverflowError) as e:
        raise ValueError("record %s: %s" % (key[:40].hex(), e)) from None


def _number(key: bytes, length: int) -> int:
    if len(key) != length:
        raise ValueError("its key has the wrong length")
    return int.from_bytes(key, "big")


def _format(key: bytes, value: bytes) -> dict[str, Any]:
    if key or value != records.VERSION:
        raise ValueError("written by another version")
    return {"version": value.hex()}


def _totals(key: bytes, value: bytes) -> dict[str, Any]:
    _number(key, 0)
    numbers = records.read_totals(value)
    return {"written": numbers[0], **dict(zip((*records.TOTALS, "clock"), numbers[1:], strict=False))}


def _session(key: bytes, value: bytes) -> dict[str, Any]:
    reader = Reader(value)
    found: dict[str, Any] = {"session": _number(key, 4), "expiry": reader.u32()}
    found["ends"] = records.read_u48(reader)
    for name in ("client_id", "user", "address", "listener"):
        found[name] = reader.binary().decode()
    flags = reader.u8()
    if flags & 8:
        found["mount_point"] = reader.binary().decode()
    _end(reader)
    if not flags & 2:
        found["user"] = None
    return found


def _subscription(key: bytes, value: bytes) -> dict[str, Any]:
    options = session_records.read_subscription(value)
    found = {"session": _number(key[:4], 4), "topic_filter": key[4:].decode(), "qos": options & 3}
    if options & session_records.DUE:
        found["due"] = True
    if options >> 8:
        found["identifier"] = options >> 8
    return found


def _received(key: bytes, value: bytes) -> dict[str, Any]:
    _number(key, 6)
    return {"session": _number(key[:4], 4), "packet_id": _number(key[4:], 2)}


def _replayed(key: bytes, value: bytes) -> dict[str, Any]:
    _number(key, 10)
    topic_filter, *names = session_records.read_replayed(value)
    return {"session": _number(key[:4], 4), "topic_filter": topic_filter.decode(), "topics": [name.decode() for name in names]}


def _message(key: bytes, value: bytes) -> dict[str, Any]:
    return {"message": _number(key, 6), **_shown(records.read_message(value, 0, 0))}


def _entry(key: bytes, value: bytes) -> dict[str, Any]:
    number, packet_id, flags, message_key, identifiers, topic_filter = session_records.read_entry(value)
    found: dict[str, Any] = {"entry": _number(key, 6), "session": number, "qos": flags >> 1 & 3}
    if packet_id:
        found["packet_id"] = packet_id
    if message_key:
        found["message"] = message_key
    if identifiers:
        found["identifiers"] = identifiers
    if topic_filter is not None:
        found["shared"] = topic_filter.decode()
    return found


def _retained(key: bytes, value: bytes) -> dict[str, Any]:
    record = records.read_retained(value, key)
    found = _shown(retained_message(record))
    if record[4] is not None:
        found["expires"] = record[4]
    if record[5] is not None:
        user, client_id, address, listener = record[5]
        found["publisher"] = {
            "user": None if user is None else user.decode(), "client_id": client_id.decode(), "address": address, "listener": listener,
        }  # fmt: skip
    return found


def _will(key: bytes, value: bytes) -> dict[str, Any]:
    reader = Reader(value)
    found: dict[str, Any] = {"client_id": key.decode(), "delay": reader.u32(), "due": records.read_u48(reader)}
    return {**found, **_shown(records.read_message(value, reader.pos, 0))}


def _shown(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {"topic": message.topic, "qos": message.qos, "retain": message.retain}
    if message.expires is not None:
        found["expires"] = message.expires
    if message.properties:
        found["properties"] = {"%d" % name: _text(value) for name, value in message.decoded_properties().items()}
    try:
        if len(message.payload) <= _READABLE:
            found["text"] = message.payload.decode()
    except UnicodeDecodeError:
        pass
    found["bytes"] = len(message.payload)
    return found


def _text(value: Any) -> Any:
    """A property's value with bytes as text."""
    if isinstance(value, (list, tuple)):
        return [_text(item) for item in value]
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value


def _end(reader: Reader) -> None:
    if reader.left():
        raise ValueError("%d bytes too many" % reader.left())


_KINDS = {
    records.FORMAT: ("format", _format),
    records.TOTALS_KEY: ("totals", _totals),
    records.SESSION: ("session", _session),
    records.SUBSCRIPTION: ("subscription", _subscription),
    records.RECEIVED: ("received", _received),
    records.MESSAGE: ("message", _message),
    records.ENTRY: ("entry", _entry),
    records.RETAINED: ("retained", _retained),
    records.WILL: ("will", _will),
    records.REPLAYED: ("replayed", _replayed),
}


class References:
    """Checks the references between records, which come in the order of their keys."""

    def __init__(self) -> None:
        self._sessions: set[int] = set()
        self._messages: set[int] = set()

    def missing(self, found: dict[str, Any]) -> str:
        """The missing record that a record of `describe` refers to; empty without one."""
        kind = found["kind"]
        if kind == "session":
            self._sessions.add(found["session"])
        elif kind == "message":
            self._messages.add(found["message"])
        elif "session" in found and found["session"] not in self._sessions:
            return "%s of session %d, which is not there" % (kind, found["session"])
        elif "message" in found and found["message"] not in self._messages:
            return "%s %d with message %d, which is not there" % (kind, found["entry"], found["message"])
        return ""
