"""From the records of sessions back to sessions, see port.core.restore."""

from collections import deque

from port.core import const
from port.core.codec import Reader, u32
from port.core.records import ENTRY, MESSAGE, RECEIVED, SESSION, SUBSCRIPTION, WILL, read_message, read_u48, u48
from port.core.restore import Restored
from port.core.rights import client_options, new_acl, rules_of, set_access
from port.core.session_records import read_entry, read_subscription

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.broker import Broker
    from port.core.message import Message
    from port.core.session import Entry, Session
    from port.core.session_journal import SessionJournal

_NEVER = 0xFFFFFFFF


class _Absent:
    """Stands for an authorizer that cannot be asked: the client is away."""


def _set_access(broker: "Broker", session: "Session", own: bool) -> None:
    """What a session from the store may do while its client is away: by the rules that hold now.

    own  it had rights of its own, which its authenticator gave it and which nobody knows now: what it has is kept, and
         judged when it comes back
    """
    acl = rules_of(broker, session.listener)
    if own:
        acl = acl or new_acl(broker)
        from port.core.acl import Access

        set_access(broker, session, Access((), acl, None, _Absent()))
    elif acl is not None:
        set_access(broker, session, acl.find(session.user, session.client_id, session.address, None, None))


class RestoredSessions(Restored):
    """Takes all kinds of records, see Restored."""

    def __init__(self, broker: "Broker", journal: "SessionJournal") -> None:
        super().__init__(broker, journal)
        self._journal: "SessionJournal" = journal
        self._by_number: "dict[int, bytes]" = {}
        self._parts: "dict[bytes, bytes]" = {}  # subscriptions, unreleased identifiers and wills
        self._messages: "dict[int, Any]" = {}  # bytes, or the Message once an entry refers to it
        self._entries: "dict[int, bytes]" = {}
        self._sessions: "dict[int, Session]" = {}
        self._queues: "dict[Session, list[Entry]]" = {}

    def _take_session(self, kind: bytes, key: bytes, value: "Optional[bytes]") -> None:
        if kind == SESSION:
            _put(self._by_number, _number(key), value)
        elif kind == MESSAGE:
            _put(self._messages, _number(key), value)
        elif kind == ENTRY:
            _put(self._entries, _number(key), value)
        elif kind in (SUBSCRIPTION, RECEIVED, WILL):
            _put(self._parts, key, value)
        else:
            raise ValueError("unknown kind of record: %r" % key)

    def finish(self) -> None:
        """See Restored.finish."""
        broker = self._broker
        journal = self._journal
        keys = max(max(self._entries, default=0), max(self._messages, default=0))
        journal.begin(self._written, max(self._by_number, default=0), keys)
        for number in sorted(self._by_number):
            self.key = SESSION + u32(number)
            self._make_session(number, self._by_number[number])
        for key in self._parts:
            if key[:1] != WILL:
                self.key = key
                self._add_part(key, self._parts[key])
        for entry_key in sorted(self._entries):
            self.key = ENTRY + u48(entry_key)
            self._add_entry(entry_key, read_entry(self._entries[entry_key]))
        for session in self._queues:
            entries = self._queues[session]
            # What was promised under other limits is kept.
            session.queue = deque(entries, max(len(entries), session.options.max_queued_messages))
        for message_key in self._messages:
            if isinstance(self._messages[message_key], bytes):  # nobody refers to it
                journal.put(MESSAGE + u48(message_key), None)
        for key in self._parts:
            if key[:1] == WILL:
                self.key = key
                self._add_will(key, self._parts[key])
        self._mark()
        for session in self._sessions.values():
            if session.expires_at is not None or session.will_at is not None:
                broker.due[session] = True

    def _make_session(self, number: int, value: bytes) -> None:
        broker = self._broker
        reader = Reader(value)
        expiry = reader.u32()
        ends = read_u48(reader)
        session = broker.new_session(reader.binary())
        self._sessions[number] = session
        session.number = number
        session.expiry = expiry
        user = reader.binary()
        session.address = str(reader.binary(), "utf-8")
        listener_id = str(reader.binary(), "utf-8")
        flags = reader.u8()
        if flags & 1:
            session.version5 = True
            session.family = 5
        session.user = user if flags & 2 else None
        for listener in broker.listeners:
            if listener.id == listener_id:
                session.listener = listener
        session.options = client_options(broker, session.listener, session.user, session.client_id)
        _set_access(broker, session, flags & 4 != 0)
        if ends:
            session.expires_at = ends - self._offset
        elif expiry != _NEVER:  # it was connected when the broker ended
            session.expires_at = broker.clock() + expiry * 1000
            self._journal.session(session)

    def _add_part(self, key: bytes, value: bytes) -> None:
        session = self._sessions.get(int.from_bytes(key[1:5], "big"))
        if session is None:
            self._journal.put(key, None)
        elif key[:1] == SUBSCRIPTION:
            self._broker.router.add(session, key[5:], read_subscription(value))
        else:
            session.note_received(int.from_bytes(key[5:], "big"), False)

    def _add_entry(self, key: int, found: "tuple[Any, ...]") -> None:
        number, packet_id, flags, message_key, identifiers, topic_filter = found
        session = self._sessions.get(number)
        message: "Optional[Message]" = None
        if message_key and session is not None:
            message = self._message(message_key)
        if session is None or message is None and (message_key or not packet_id):
            self._journal.put(ENTRY + u48(key), None)
            return
        group = None if topic_filter is None else self._broker.router.group(topic_filter)
        entry: "Entry" = (message, flags, identifiers, group, key)
        if message is not None:
            self._journal.refs[message][1] += 1
        if packet_id:
            if not session.inflight:
                session.inflight = {}  # see session.NOTHING
            session.inflight[packet_id] = entry
            session.packet_id = packet_id  # entries are sent in the order of their keys
            return
        self._queues.setdefault(session, []).append(entry)
        session.queued_bytes += message.size()  # type: ignore[union-attr]

    def _message(self, key: int) -> "Optional[Message]":
        found = self._messages.get(key)
        if isinstance(found, bytes):
            self.key = MESSAGE + u48(key)
            found = self._messages[key] = read_message(found, 0, self._offset)
            self._journal.refs[found] = [key, 0]
        message: "Optional[Message]" = found
        return message

    def _add_will(self, key: bytes, value: bytes) -> None:
        """A will that was not sent: its client is gone, or was when the broker ended."""
        broker = self._broker
        client_id = key[1:]
        reader = Reader(value)
        delay = reader.u32()
        due = read_u48(reader)
        session = broker.sessions.get(client_id)
        self._journal.wills[client_id] = True
        if session is None:  # that of a session which ended with its connection
            session = broker.new_session(client_id)
            session.expires_at = broker.clock()
            broker.due[session] = True
        session.will = (read_message(value, reader.pos, 0), delay)
        session.will_at = due - self._offset if due else broker.clock() + min(delay, session.expiry) * 1000
        if not due and session.number:
            self._journal.will(session)


def _put(records: "dict[Any, Any]", key: "Any", value: "Optional[bytes]") -> None:
    if value is None:
        records.pop(key, None)
    else:
        records[key] = value


def _number(key: bytes) -> int:
    return int.from_bytes(key[1:], "big")
