"""Restores sessions from their records, see port.core.storage.recovery."""

from collections import deque

from port.core import const
from port.core.wire.codec import Reader, u32
from port.core.limits.ip_address import peer
from port.core.acl.client_policy import client_options, new_acl, rules_of, set_access
from port.core.storage.records import ENTRY, MESSAGE, RECEIVED, REPLAYED, SESSION, SUBSCRIPTION, WILL, read_message, read_u48, u48
from port.core.storage.recovery import Restored
from port.core.storage.session_records import DUE, read_entry, read_replayed, read_subscription
from port.core.storage.session_replay import KeptReplay

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from port.core.messages.message import Message
    from port.core.sessions.session import Entry, Session
    from port.core.auth.authenticator import Identity
    from port.core.storage.session_journal import SessionJournal
    from port.core.broker import Broker

_NEVER = 0xFFFFFFFF


class _Absent:
    """The Authorizer of a client that is offline."""

    def ask(self, client: "Identity", action: int, topic: bytes) -> None:
        """See Authorizer; nothing is asked while the client is offline."""


def _set_access(broker: "Broker", session: "Session", own: bool) -> None:
    """Set the rights of a session from the store while its client is offline, by the present rules.

    own  it had rights of its own from its authenticator, unknown now: its subscriptions and messages are kept, and
         judged when the client returns
    """
    acl = rules_of(broker, session.listener)
    if own:
        acl = acl or new_acl(broker)
        from port.core.acl.acl import Access

        set_access(broker, session, Access((), acl, None, _Absent()))
    elif acl is not None:
        set_access(broker, session, acl.find(session.user, session.client_id, session.address, None, None))


class RestoredSessions(Restored):
    """Takes all kinds of records, see Restored."""

    def __init__(self, broker: "Broker", journal: "SessionJournal") -> None:
        super().__init__(broker, journal)
        self._journal: "SessionJournal" = journal
        self._messages: "dict[int, Message]" = {}
        self._sessions: "dict[int, Session]" = {}
        self._queues: "dict[Session, list[Entry]]" = {}
        self._keys = 0  # the last entry key used

    def _take_session(self, kind: bytes, key: bytes, value: bytes) -> None:
        if kind == SESSION:
            self._make_session(_number(key), value)
        elif kind in (SUBSCRIPTION, RECEIVED):
            self._add_part(key, value)
        elif kind == MESSAGE:
            self._given(_number(key))
            self._messages[_number(key)] = read_message(value, 0, self._offset)
        elif kind == ENTRY:
            self._given(_number(key))
            self._add_entry(_number(key), read_entry(value))
        elif kind == WILL:
            self._add_will(key, value)
        elif kind == REPLAYED:
            self._given(_replay_key(key))
            self._add_replayed(key, read_replayed(value))
        else:
            raise ValueError("unknown kind of record: %r" % key)

    def _given(self, key: int) -> None:
        if key > self._keys:
            self._keys = key

    def finish(self) -> None:
        """See Restored.finish."""
        broker = self._broker
        self._begin(max(self._sessions, default=0), self._keys)
        while self._queues:
            session, entries = self._queues.popitem()
            # Messages accepted under other limits are kept.
            session.queue = deque((), max(len(entries), session.options.max_queued_messages))
            for entry in entries:
                session.requeue(entry)
        for message_key in self._messages:
            if self._messages[message_key] not in self._journal.refs:
                self._journal.put(MESSAGE + u48(message_key), None)
        most = broker.options.max_sessions
        if broker.session_registry.staying.count > most:
            broker.log(2, "the store has %d sessions, above max_sessions, which is %d: they are kept", broker.session_registry.staying.count, most)
        for number in sorted(self._sessions):  # the store lacks the time of each disconnect: the oldest session goes first
            session = self._sessions[number]
            broker.session_registry.staying.offer(session, not session.subscriptions)
            if session.expires_at is not None or session.will_at is not None:
                broker.session_registry.due[session] = True

    def _make_session(self, number: int, value: bytes) -> None:
        broker = self._broker
        reader = Reader(value)
        expiry = reader.u32()
        ends = read_u48(reader)
        client_id = reader.binary()
        user = reader.binary()
        address = str(reader.binary(), "utf-8")
        listener_id = str(reader.binary(), "utf-8")
        flags = reader.u8()
        mount = None
        if flags & 8:
            from port.core.sessions.mount_point import find

            mount = find(broker, reader.binary())
        if flags & 16:
            from port.core.protocol.local_client import new_session

            session: "Session" = new_session(broker, client_id)
        else:
            session = broker.session_registry.new(client_id, mount)
        self._sessions[number] = session
        session.store_id = number
        session.counted = True
        session.expiry = expiry
        session.address = address
        if flags & 1:
            session.version5 = True
            broker.find_mqtt5()  # while there is memory for it
        session.user = user or None
        for listener in () if flags & 16 else broker.listeners:
            if listener.id == listener_id:
                session.listener = listener
        session.options = client_options(broker, session.listener, session.user, session.client_id)
        broker.session_registry.settle_fast_version(session)
        _set_access(broker, session, flags & 4 != 0)
        if ends:
            session.expires_at = ends - self._offset
        elif expiry != _NEVER:  # its client was connected when the broker ended
            session.expires_at = broker.clock() + expiry * 1000
            self._journal.session(session)
        if expiry and not flags & 16:
            broker.session_registry.staying.enter(session, peer(session.address) if session.user is None else (session.user,))

    def _add_part(self, key: bytes, value: bytes) -> None:
        session = self._sessions.get(_session_number(key))
        if session is None:
            self._journal.put(key, None)
        elif key[:1] == SUBSCRIPTION:
            options = read_subscription(value)
            self._broker.router.add(session, key[5:], options & ~DUE)
            if options & DUE:
                if session.replay is None:
                    session.replay = KeptReplay(session)
                session.replay.restore(key[5:], options & ~DUE)
        else:
            session.note_received(int.from_bytes(key[5:], "big"), False)

    def _add_replayed(self, key: bytes, sent: "list[bytes]") -> None:
        session = self._sessions.get(_session_number(key))
        if session is None or session.replay is None or not session.replay.resume(sent, _replay_key(key)):
            self._journal.put(key, None)

    def _add_entry(self, key: int, found: "tuple[Any, ...]") -> None:
        number, packet_id, flags, message_key, identifiers, topic_filter = found
        session = self._sessions.get(number)
        message = self._messages.get(message_key)
        if session is None or message is None and (message_key or not packet_id):
            self._journal.put(ENTRY + u48(key), None)
            return
        group = None if topic_filter is None else self._broker.router.group(topic_filter)
        entry: "Entry" = (message, flags, identifiers, group, key)
        if packet_id:
            if not session.inflight:
                session.inflight = {}  # see session.NOTHING
            session.put_in_flight(packet_id, entry)
            session.packet_id = packet_id  # entries are sent in the order of their keys
        else:
            self._queues.setdefault(session, []).append(entry)
        if message is not None:
            self._journal.refs.setdefault(message, [message_key, 0])[1] += 1

    def _add_will(self, key: bytes, value: bytes) -> None:
        """Restore an unsent will: its client's connection ended before the broker or with it."""
        broker = self._broker
        client_id = key[1:]
        reader = Reader(value)
        delay = reader.u32()
        due = read_u48(reader)
        session = broker.sessions.get(client_id)
        self._journal.wills[client_id] = True
        if session is None:  # its session ended with the connection
            session = broker.session_registry.new(client_id)
            session.expires_at = broker.clock()
            broker.session_registry.due[session] = True
        session.set_will((read_message(value, reader.pos, 0), delay))
        session.will_at = due - self._offset if due else broker.clock() + min(delay, session.expiry) * 1000
        if not due and session.store_id:
            self._journal.will(session)


def _number(key: bytes) -> int:
    return int.from_bytes(key[1:], "big")


def _session_number(key: bytes) -> int:
    return int.from_bytes(key[1:5], "big")


def _replay_key(key: bytes) -> int:
    return int.from_bytes(key[5:], "big")
