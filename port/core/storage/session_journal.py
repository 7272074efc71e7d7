"""The journal of sessions and their messages; it holds packets until the batch they depend on is durable.

Changes that cancel out are forgotten: a message queued and acknowledged within one batch is never written.

Packets that promise persistence (PUBACK, PUBREC, PUBCOMP, SUBACK, UNSUBACK, CONNACK), and packets that must not be forgotten
once sent (a QoS 2 PUBLISH with its identifier, PUBREL), are held until their batch is durable. All later packets to
the same client are held with them, to keep the order.
"""

from port.core import const
from port.core.constants import ENTRY_FLAGS, ENTRY_KEY, ENTRY_MESSAGE, STORING
from port.core.wire.codec import u16, u32
from port.core.limits.sweep import Sweep
from port.core.messages.message import LIGHT, Message
from port.core.storage.journal import Journal
from port.core.storage.records import (
    ENTRY,
    MESSAGE,
    RECEIVED,
    REPLAYED,
    SESSION,
    SUBSCRIPTION,
    WILL,
    message_value,
    retained_value,
    u48,
)
from port.core.storage.session_records import DUE, entry_value, replayed_value, session_value, subscription_value, will_value

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.sessions.session import Entry, Session
    from port.core.protocol.connection import Connection
    from port.core.storage.session_replay import KeptReplay
    from port.core.storage.store import Record, Store
    from port.core.broker import Broker

_STORE = const(2)  # Connection.blocked: many of its packets are held
_AT_ONCE = const(200)  # parts of a session removed in one go
_BATCH = const(10000)  # records in a batch from which on clients that cause more have to wait
_OVERHEAD = const(64)  # bytes counted for a record, besides its own
_CHUNK = const(32)  # and for a held packet


class SessionJournal(Journal):
    """A Journal that keeps sessions, too, see Journal.

    undurable  batches acknowledged before they were durable, while the store failed
    numbers    the last session number used
    keys       the last entry key used
    refs       messages in records: [key, number of entries that refer to it]
    wills      client ids with a will in a record
    """

    def __init__(self, broker: "Broker", store: "Store") -> None:
        super().__init__(broker, store)
        self.waits = store.waits
        self.undurable = 0
        self.numbers = 0
        self.keys = 0
        self.refs: "dict[Message, list[int]]" = {}
        self.wills: "dict[bytes, bool]" = {}
        self._entries: "dict[int, tuple[int, int, Entry]]" = {}  # key -> (session number, packet identifier, entry)
        self._taken_key = 0  # entries up to this key are, or were, in records
        self._held: "dict[Connection, list[Any]]" = {}  # [batch, packets held for it, their bytes]
        self._shared: "dict[int, int]" = {}  # number of holds of large packets, by id: memory has each packet once
        self._readers: "list[Connection]" = []
        self._reader: "Any" = self._read_on
        self._writer: "Any" = self._write

    # -- changes ------------------------------------------------------------------------------

    def attached(self, session: "Session") -> None:
        """See Journal.attached."""
        if session.expiry:
            if not session.store_id:
                self.numbers += 1
                session.store_id = self.numbers
            self.session(session)
        elif session.store_id:  # kept after its last connection, but not after this one
            self.forget(session)
        self.will(session)

    def session(self, session: "Session") -> None:
        """See Journal.session; called for sessions that are not kept, too."""
        if session.store_id:
            self.put(SESSION + u32(session.store_id), session)

    def will(self, session: "Session") -> None:
        """See Journal.will. Wills are kept even for sessions that are not."""
        client_id = session.client_id
        if session.will is not None:
            due = 0 if session.will_at is None else max(session.will_at + self.offset, 1)
            self.wills[client_id] = True
            self.put(WILL + client_id, will_value(session.will, due))
        elif self.wills.pop(client_id, None):
            self.put(WILL + client_id, None)

    def forget(self, session: "Session") -> None:
        """See Journal.forget; its will may still have to be sent."""
        if not session.store_id:
            return
        if session.replay is not None:
            session.replay.forget()
        parts: "list[Any]" = list(session.subscriptions)
        parts.extend(session.received or ())
        number = session.store_id
        if len(parts) > _AT_ONCE:  # records without their session are ignored, if this is interrupted
            self._broker.turns.background(Sweep(self._broker, parts, lambda part: self._forget_part(number, part)).go_on)
        else:
            for part in parts:
                self._forget_part(number, part)
        for packet_id in session.inflight:
            entry = session.inflight[packet_id]
            if not isinstance(entry, bytes):
                self.removed(entry)
        for entry in session.queue or ():
            self.removed(entry)
        self.put(SESSION + u32(session.store_id), None)
        session.store_id = 0

    def _forget_part(self, number: int, part: "Any") -> None:
        """Remove a subscription, or a packet identifier, of an ended session."""
        self.put((RECEIVED + u32(number) + u16(part)) if isinstance(part, int) else (SUBSCRIPTION + u32(number) + part), None)
        if len(self._records) > _BATCH:
            self._broker.commit_soon()

    def subscription(self, session: "Session", topic_filter: bytes, options: "Optional[int]") -> None:
        """A subscription of a kept session was made, changed or ended (None)."""
        value = None
        if options is not None:
            due = session.replay is not None and session.replay.owes(topic_filter)
            value = subscription_value(options | DUE if due else options)
        self.put(SUBSCRIPTION + u32(session.store_id) + topic_filter, value)

    def new_replay(self, session: "Session") -> "KeptReplay":
        """The replay of retained messages for a stored session."""
        from port.core.storage.session_replay import KeptReplay

        return KeptReplay(session)

    def replayed(self, session: "Session", sent: "list[bytes]") -> int:
        """A kept session is being sent retained messages: a filter and names; names may be added within this batch.

        Returns the key for `replay_over`.
        """
        key = self.new_key()
        self.put(REPLAYED + u32(session.store_id) + u48(key), sent)
        return key

    def replay_over(self, session: "Session", key: int) -> None:
        """Remove the record of `replayed`."""
        record = REPLAYED + u32(session.store_id) + u48(key)
        if self._records.pop(record, None) is None:
            self.put(record, None)

    def received(self, session: "Session", packet_id: int, unreleased: bool) -> None:
        """A QoS 2 message from a kept session was received or released."""
        self.put(RECEIVED + u32(session.store_id) + u16(packet_id), b"" if unreleased else None)

    def new_key(self) -> int:
        """The key of a new entry."""
        self.keys += 1
        return self.keys

    def queued(self, session: "Session", entry: "Entry") -> None:
        """An entry was queued for a kept session."""
        self._entries[entry[ENTRY_KEY]] = (session.store_id, 0, entry)
        self.serial += 1
        self.size += entry[ENTRY_MESSAGE].size() + _OVERHEAD

    def sent(self, session: "Session", entry: "Entry", packet_id: int) -> None:
        """An entry was put in flight, or its message was released."""
        key = entry[ENTRY_KEY]
        self._entries[key] = (session.store_id, packet_id, entry)
        self.serial += 1
        message = entry[ENTRY_MESSAGE]
        if message is not None and key > self._taken_key:
            self.size += message.size() + _OVERHEAD
        if entry[ENTRY_FLAGS] & 4:  # an identifier that a client has seen must not be given to another message
            self.wait(session.conn)  # type: ignore[arg-type]

    def removed(self, entry: "Entry") -> None:
        """An entry is done, or was dropped."""
        key = entry[ENTRY_KEY]
        self._entries.pop(key, None)
        if 0 < key <= self._taken_key:
            self._gone(ENTRY + u48(key))
            if entry[ENTRY_MESSAGE] is not None:
                self._let_go(entry[ENTRY_MESSAGE])

    def _gone(self, key: bytes) -> None:
        """Remove the record of an entry or a message. It is not counted: no more can be removed than were queued."""
        self._records[key] = None
        self.serial += 1

    def released(self, session: "Session", entry: "Entry", packet_id: int) -> "Entry":
        """PUBREC came for an entry: returns the entry in flight in its place, the identifier alone."""
        left: "Entry" = (None, entry[ENTRY_FLAGS], None, None, entry[ENTRY_KEY])
        if entry[ENTRY_KEY] <= self._taken_key:
            self._let_go(entry[ENTRY_MESSAGE])
        self.sent(session, left, packet_id)
        return left

    def _let_go(self, message: Message) -> None:
        """An entry refers to a message in a record no longer."""
        ref = self.refs.get(message)
        if ref is not None:
            ref[1] -= 1
            if not ref[1]:
                del self.refs[message]
                self._gone(MESSAGE + u48(ref[0]))

    # -- waiting clients ------------------------------------------------------------------------------

    def wait(self, conn: "Connection") -> None:
        """See Journal.wait."""
        if self.waits and not (self.failing and self.store.on_failure == "degrade"):
            # Without a change since the last batch was taken, that is the one to wait for.
            conn.ack_after_batch = max(conn.ack_after_batch, self.batch - (self.serial == self.taken_serial))

    def refusing(self) -> bool:
        """See Journal.refusing."""
        return self.failing and self.store.on_failure == "refuse"

    def hold(self, conn: "Connection") -> None:
        """Hold the packets in the outbox until they may be sent."""
        out = conn.out
        self._broker.counters.packets_sent += len(out)
        held = self._held.setdefault(conn, [])
        if not held or held[-1][0] != conn.ack_after_batch:
            held.append([conn.ack_after_batch, [], 0])
        part = held[-1]
        for chunk in out:
            # A shared buffer is reused.
            chunk = chunk if isinstance(chunk, bytes) else bytes(chunk)
            part[1].append(chunk)
            part[2] += len(chunk) + _CHUNK
            self._count(chunk)
        out.clear()
        if sum([part[2] for part in held]) > conn.options.outbox_bytes:
            conn.pause_writing(_STORE)

    def _count(self, chunk: bytes) -> None:
        """Count a held packet among the bytes kept for clients."""
        if len(chunk) > LIGHT:
            others = self._shared.get(id(chunk), 0)
            self._shared[id(chunk)] = others + 1
            if others:
                return
        self._broker.memory.message_bytes += len(chunk) + _CHUNK

    def _let_go_of(self, chunks: "list[bytes]") -> None:
        """Uncount packets, see `_count`."""
        shared = self._shared
        for chunk in chunks:
            if len(chunk) > LIGHT:
                others = shared.get(id(chunk), 0) - 1
                if others > 0:
                    shared[id(chunk)] = others
                if others:
                    continue
                del shared[id(chunk)]
            self._broker.memory.message_bytes -= len(chunk) + _CHUNK

    def weight(self, conn: "Connection") -> int:
        """See Journal.weight."""
        size = 0
        for part in self._held.get(conn, ()):
            size += part[2]
        return size

    def closing(self, conn: "Connection", told: bool) -> None:
        """A connection ends: remove packets that must not be sent yet from its outbox. `told`: the last one is the reason."""
        held = self._held.pop(conn, None)
        out = conn.out
        first = held[0][1][0][0] if held else out[0][0] if out else 0x20
        for part in held or ():
            self._let_go_of(part[1])
        if told and out and first != 0x20:  # no packet precedes CONNACK
            out[:] = out[-1:]
        else:
            out.clear()

    def check_backlog(self, conn: "Connection") -> None:
        """See Journal.check_backlog."""
        if self._is_full() and not conn.held & STORING:
            self._readers.append(conn)
            conn.hold(STORING)
            self._see_to_readers()

    def _is_full(self) -> bool:
        """Whether too many bytes wait to be written, or too many records, which are encoded in one go."""
        if self.size + self.committing > self.store.backlog_bytes:
            return True
        return len(self._entries) + len(self._records) > _BATCH and not self.failing

    def _write(self) -> bool:
        """A job, see Turns.background."""
        self.commit()
        return False

    def _read_on(self) -> bool:
        """A job, see Turns.give: read stopped clients again, one after the other, as far as there is room."""
        if self._readers and not self._is_full():
            self._readers.pop(0).stored()
        return self._readers != [] and not self._is_full()

    def _see_to_readers(self) -> None:
        """Let stopped clients go on when there is room; else make room, as the next batch may not be due for a while."""
        broker = self._broker
        if self._readers and not self._is_full():
            if self._reader not in broker.turns.clients:
                broker.turns.give(self._reader)
        elif self._readers and not self._busy:
            broker.turns.background(self._writer)

    def flushed(self) -> None:
        """See Journal.flushed: begin a batch if a client may be waiting for it."""
        if self.waits and not self._busy:
            self._broker.commit_soon()

    def _release(self) -> None:
        """Send packets held for a batch; read stopped clients again."""
        broker = self._broker
        for conn in list(self._held):
            held = self._held.get(conn)
            if held is None:  # the connection has gone meanwhile
                continue
            while held and held[0][0] <= broker.durable:
                chunks = held.pop(0)[1]
                self._let_go_of(chunks)
                broker.counters.bytes_sent += conn.transport.send(chunks)
            if not held:
                del self._held[conn]
                if conn.blocked & _STORE:
                    conn.resume_writing(_STORE)
        self._see_to_readers()
        broker.flush()

    # -- batches --------------------------------------------------------------------------------

    def begin(self, offset: int, numbers: int, keys: int) -> None:
        """See Journal.begin."""
        super().begin(offset, numbers, keys)
        self.numbers = numbers
        self.keys = self._taken_key = keys

    def commit(self) -> None:
        """See Journal.commit."""
        super().commit()
        self._see_to_readers()

    def _take(self) -> "list[Record]":
        """See Journal._take."""
        batch = super()._take()
        for key in self._entries:
            number, packet_id, entry = self._entries[key]
            message = entry[ENTRY_MESSAGE]
            message_key = 0
            if message is not None:
                ref = self.refs.get(message)
                if ref is None:
                    ref = self.refs[message] = [key, 0]
                    batch.append((MESSAGE + u48(key), message_value(message, self.offset)))
                if key > self._taken_key:
                    ref[1] += 1
                message_key = ref[0]
            batch.append((ENTRY + u48(key), entry_value(number, packet_id, entry, message_key)))
        return batch

    def _encoded(self, value: "Any") -> bytes:
        if isinstance(value, tuple):
            return retained_value(value, self.offset)
        if isinstance(value, list):
            return replayed_value(value)
        return session_value(value, self.offset)

    def _taken(self) -> None:
        super()._taken()
        self._entries = {}
        self._taken_key = self.keys

    def _committed(self) -> None:
        """See Journal._committed."""
        broker = self._broker
        self.waits = self.store.waits
        # After a failure parts of the batch being gathered are already acknowledged; changes from now on wait for the next.
        self.batch = max(self.batch, broker.durable + 1)
        broker.durable = max(broker.durable, self.batch - 1)
        self._release()

    def _failed(self) -> None:
        """See Journal._failed: `degrade` sends acknowledgements all the same, `refuse` makes all clients wait."""
        if self.store.on_failure == "degrade":
            self.undurable += 1
            self._broker.durable = self.batch
            self._release()
        else:
            self.waits = True

    def figures(self) -> "list[tuple[str, Any]]":
        """See Journal.figures."""
        return super().figures() + [("undurable", self.undurable)]
