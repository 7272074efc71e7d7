"""One client's session: its subscriptions, messages in flight and queued messages.

A session outlives its network connections (clause 4.1). While one is attached, `conn` is
set and `out` is the list that takes outgoing packets. `out` is None while the client is
offline or reads too slowly: QoS 1 and 2 then wait in the queue; QoS 0 is dropped beyond
`spare`, unless the client's options queue it, too.

A packet passed on as it came is in flight as itself, bytes. Any other entry, in flight or
queued, is the tuple (message, flags, identifiers, group, key): flags are the low nibble of
the PUBLISH header for this receiver, identifiers its subscription identifiers or None, group
the shared subscription it came through or None, key that of its record in the store or 0. An
entry without the last three is one tuple for all receivers of the message; the session's own
has () as its identifiers. In flight, the message becomes None when PUBREC has come and PUBREL
is out.
"""

from collections import deque

from port.core import const
from port.core.constants import ENTRY_FLAGS, ENTRY_GROUP, ENTRY_IDENTIFIERS, ENTRY_KEY, ENTRY_MESSAGE, WILL_MESSAGE
from port.core.wire.reason_codes import (
    DROP_MEMORY,
    DROP_QUEUE_FULL,
    DROP_TOO_LARGE,
    PACKET_IDENTIFIER_NOT_FOUND,
    PROTOCOL_ERROR,
    RECEIVE_MAXIMUM_EXCEEDED,
    MQTTError,
)
from port.core.limits.ip_address import peer
from port.core.messages.message import LIGHT, from_packet

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.limits.options import Options
    from port.core.messages.message import Message
    from port.core.routing.shared_subscription import SharedGroup
    from port.core.sessions.mount_point import Mount
    from port.core.acl.acl import Access
    from port.core.protocol.connection import Connection
    from port.core.broker import Broker

    Entry = tuple[Any, int, Optional[tuple[int, ...]], Optional[SharedGroup], int]

_QOS_BITS = const(6)
_RELEASED = (None, 4, None, None, 0)
_DUP = const(8)
_ROW = const(8192)  # most bytes of acknowledgements handled in one go
_QUEUED = const(10)  # cost of queueing a message, in deliveries (Turns.spent)
_COUNTED = const(8)  # and of beginning or ending to count one in flight

# Subscriptions and window of sessions that have had none yet; never changed.
NOTHING: "dict[Any, Any]" = {}


def is_for_all(entry: "Any") -> bool:
    """True for an entry that is one tuple for all receivers of its message."""
    return entry[ENTRY_IDENTIFIERS] is None and entry[ENTRY_GROUP] is None and not entry[ENTRY_KEY]


class Session:
    """The state the standard calls Session State, and the delivery of messages to the client.

    client_id      bytes
    user           authenticated user name, as bytes, or None
    address        address of the client's last connection, `host:port`
    listener       listener of that connection
    options        options of the client, see set_options
    access         rights of the client, see port.core.acl.acl; None: all
    expiry         session expiry interval, s; 0xFFFFFFFF never
    expires_at     ms on the broker's clock when an offline session ends, or None
    will, will_at  the will of the last connection as (message, will delay interval in s), and
                   when it is due, ms
    fast_version   4 (MQTT 3.x) or 5 while plain QoS 0 packets can be passed on as they came;
                   -1 when the connection needs its packets made to measure
    send_window    while fewer than this are in flight, a QoS 1 or 2 message can go out at once; 0: ask `has_room`;
                   -1: messages wait, call `pump` whenever there may be room
    counted        small messages in flight count as kept, too
    looked         first identifier in `inflight` at the last look, 0 for none
    spare          bytes of QoS 0 that a client without an `out` still takes, as only one large packet is under way to it
    store_id       its number in the store, 0 while it is not kept there
    number         see SessionIndex; not set before there is one
    subscription_bytes    see Subscriptions.size_of
    owner, before, after  see port.core.limits.places
    """

    group = None
    inlet: "Any" = None  # see port.core.sessions.local_session
    mount: "Optional[Mount]" = None  # see port.core.sessions.mount_point

    __slots__ = (
        "broker", "listener", "options", "access", "client_id", "user", "address", "conn", "out", "fast_version",
        "version5", "subscriptions", "inflight", "queue", "queued_bytes", "packet_id", "send_window", "receive_maximum",
        "received", "expiry", "expires_at", "will", "will_at", "resends", "replay", "max_packet", "aliases", "alias_maximum",
        "store_id", "subscription_bytes", "owner", "before", "after", "spare", "counted", "looked", "number",
    )  # fmt: skip

    def __init__(self, broker: "Broker", client_id: bytes) -> None:
        self.broker = broker
        self.listener = broker.default_listener
        self.options = broker.options
        self.access: "Optional[Access]"
        self.client_id = client_id
        self.user: "Optional[bytes]" = None
        self.address = ""
        self.conn: "Optional[Connection]"
        self.access = self.conn = None  # `access` is read for each message, see Connection
        self.out: "Optional[list[Any]]" = None
        self.fast_version = 4
        self.version5 = False
        self.subscriptions: "dict[bytes, int]" = NOTHING
        self.inflight: "dict[int, Any]" = NOTHING  # packet identifier -> bytes or Entry
        self.queue: "Optional[deque[Entry]]" = None
        self.queued_bytes = 0
        self.packet_id = 0
        self.send_window = self.spare = self.looked = 0
        self.counted = False
        self.receive_maximum = 65535  # the client's [MQTT-3.3.4-9]
        self.received: "Optional[dict[int, bool]]" = None
        self.expiry = 0
        self.expires_at: "Optional[int]" = None
        self.will: "Optional[tuple[Message, int]]" = None
        self.will_at: "Optional[int]" = None
        self.resends: "Optional[list[int]]" = None  # identifiers to send again, the oldest last
        self.replay: "Any" = None  # a Replay, or KeptReplay: retained messages for new subscriptions
        self.max_packet = 0xFFFFFFFF
        self.aliases: "Optional[dict[bytes, int]]" = None
        self.alias_maximum = 0
        self.store_id = self.subscription_bytes = 0
        self.owner: "Any" = None
        self.before: "Any" = None
        self.after: "Any" = None
        self.number: int

    def __repr__(self) -> str:
        from port.core.monitor.refusals import named

        return "<Session %s>" % named(self.client_id, self.user, self.address)

    def owner_key(self) -> "Any":
        """Owner of the session's places, see limits.places: the authenticated user, or without one the address."""
        return peer(self.address) if self.user is None else (self.user,)

    def set_will(self, will: "Optional[tuple[Message, int]]") -> None:
        """Set or remove the will."""
        broker = self.broker
        if self.will is not None:
            broker.memory.session_bytes -= self.will[WILL_MESSAGE].size()
        if will is not None:
            broker.memory.session_bytes += will[WILL_MESSAGE].size()
        self.will = will

    def set_options(self, options: "Options") -> None:
        """Set other options; messages queued already stay."""
        self.options = options
        if self.queue is not None:  # a deque keeps the length it was made with, and drops entries above it
            self.queue = deque(self.queue, max(options.max_queued_messages, len(self.queue)))

    # -- towards the client ------------------------------------------------------------

    def deliver(
        self,
        message: "Message",
        flags: int,
        identifiers: "Optional[tuple[int, ...]]" = None,
        group: "Optional[SharedGroup]" = None,
        entry: "Any" = None,
    ) -> None:
        """Send a message now, or queue it, or drop it, as QoS and the receiver's state demand.

        `entry`: the entry that other receivers share, without identifiers and group.
        """
        out = self.out
        if flags < 2:
            broker = self.broker
            if self.fast_version < 0 and (out is None or self.queue) and self.keeps_qos0():
                self._put_off(self.own_entry(message, flags, identifiers, group))
                return
            if self.spare and out is None and message.size() < self.spare:
                self.spare -= message.size()
                out = self.conn.out  # type: ignore[union-attr] # there is one while `spare` is above 0
            if out is None or broker.memory.shortage > 1 and not message.name.startswith(b"$"):  # see guard.MemoryGuard
                broker.counters.dropped += 1
                if out is not None and broker.counters.measures is not None:
                    broker.counters.measures.drops[DROP_MEMORY] += 1
                if self.replay is not None:
                    self.replay.heard(message, False)
                return
            head, tail = self._form(message, flags, identifiers)
            size = len(head) + len(tail)
            if size > self.max_packet:  # [MQTT-3.1.2-24] [MQTT-3.1.2-25]
                self._too_large(message)
                return
            if not out:
                broker.dirty.append(self.conn)
            broker.counters.published0 += 1
            if self.replay is not None:
                self.replay.heard(message, True)
            if size > LIGHT:
                broker.large.append(out, head, tail)
            else:
                out.append(head + tail)
        else:
            if entry is None or self.store_id:
                entry = self.own_entry(message, flags, identifiers, group)
            if (len(self.inflight) < self.send_window or not self.queue and self.has_room()) and self._may_fly(message):
                self._transmit(entry)
                if self.replay is not None:
                    self.replay.heard(message, True)
            else:
                self._put_off(entry)

    def own_entry(
        self, message: "Message", flags: int, identifiers: "Optional[tuple[int, ...]]", group: "Optional[SharedGroup]"
    ) -> "Any":
        """An entry of this session alone."""
        return message, flags, identifiers or (), group, self.broker.journal.new_key() if self.store_id else 0

    def _put_off(self, entry: "Any") -> None:
        """Queue an entry, or drop one."""
        taken = self.enqueue(entry)
        if self.replay is not None:
            self.replay.heard(entry[ENTRY_MESSAGE], taken)

    def keeps_qos0(self) -> bool:
        """Whether QoS 0 is queued for the client like QoS 1 and 2, see Options.queue_qos0_messages."""
        return self.options.queue_qos0_messages and self.expiry > 0 and self.broker.memory.shortage < 2

    def squeeze(self, packets: "Any") -> bool:
        """Send QoS 0 packets, as they came, behind the large packet under way; False when there is no room for them."""
        size = len(packets)
        if size > self.spare:
            return False
        self.spare -= size
        conn: "Connection" = self.conn  # type: ignore[assignment]
        if not conn.out:
            self.broker.dirty.append(conn)
        conn.out.append(packets)
        return True

    def has_room(self) -> bool:
        """True when a QoS 1 or 2 message would go out at once and not into the queue; settles `send_window`."""
        window = self._window()
        self._settle(0 if self.out is None else window)
        return self.out is not None and not self.queue and not self.resends and len(self.inflight) < window

    def _may_fly(self, message: "Message") -> bool:
        """True when the bytes in flight allow for this message, too."""
        if not message.heavy or not self.inflight:
            return True
        size = len(message.payload) + len(message.properties)
        inflight = self.inflight
        for packet_id in inflight:
            entry = inflight[packet_id]
            if type(entry) is not bytes and entry[ENTRY_MESSAGE] is not None and entry[ENTRY_MESSAGE].heavy:
                size += len(entry[ENTRY_MESSAGE].payload) + len(entry[ENTRY_MESSAGE].properties)
        return size <= self.options.max_inflight_bytes

    def _settle(self, room: int) -> None:
        self.send_window = -1 if self.waiting() else room

    def _window(self) -> int:
        """Most QoS 1 and 2 messages in flight; makes room for the first."""
        if self.inflight is NOTHING:
            self.inflight = {}
        return min(self.options.max_inflight, self.receive_maximum)

    def pause(self, spare: int = 0) -> None:
        """Send nothing new until the session has an `out` again, except `spare` bytes of QoS 0.

        Takes no memory, as none may be left.
        """
        self.out = None
        self.spare = spare
        if self.send_window:
            self.send_window = 0

    def _form(
        self, message: "Message", flags: int, identifiers: "Optional[tuple[int, ...]]", packet_id: bytes = b""
    ) -> "tuple[bytes, bytes]":
        """The packet for this receiver as (head, tail); the tail is a large payload, which all receivers share."""
        if self.version5 and (self.alias_maximum or identifiers or message.expires is not None):
            return self.broker.mqtt5.form(self, message, flags, identifiers, packet_id)  # type: ignore[union-attr]
        head, tail = message.form(self.version5, flags)
        return head + packet_id, tail

    def _too_large(self, message: "Message") -> None:
        self.broker.counters.drop(DROP_TOO_LARGE)
        if self.aliases:
            # The client never saw the packet that announced the alias. No further one is given:
            # aliases are numbered by their count.
            if self.aliases.pop(message.name, 0):
                self.broker.memory.session_bytes -= len(message.name) + self.broker.memory.identifier
            self.alias_maximum = len(self.aliases)

    def _append(self, head: bytes, tail: bytes, flags: int = 0) -> None:
        """Put a packet into the outbox; `flags`: those of a PUBLISH, which is counted."""
        out: "Any" = self.out
        broker = self.broker
        if not out:
            broker.dirty.append(self.conn)
        if len(tail) > LIGHT:
            broker.large.append(out, head, tail)
        else:
            out.append(head + tail)
        if flags & 4:
            broker.counters.published2 += 1
        elif flags:
            broker.counters.published1 += 1

    def _transmit(self, entry: "Any") -> None:
        """Send a QoS 1 or 2 message under a new packet identifier [MQTT-2.2.1-4]."""
        message, flags, identifiers, _, key = entry
        inflight = self.inflight
        packet_id = self.packet_id
        packet_id = packet_id + 1 if packet_id < 65535 else 1
        while packet_id in inflight:
            packet_id = packet_id + 1 if packet_id < 65535 else 1
        identifier = bytes((packet_id >> 8, packet_id & 255))
        if not identifiers and message.expires is None and self.fast_version > 0:
            head, tail = message.form(self.version5, flags)
            head += identifier
        else:
            head, tail = self._form(message, flags, identifiers, identifier)
        if len(head) + len(tail) > self.max_packet:
            self.drop(entry)
            self._too_large(message)
            return
        self.packet_id = packet_id
        self.put_in_flight(packet_id, entry)
        if key and self.store_id:
            self.broker.journal.sent(self, entry, packet_id)
        self._append(head, tail, flags)

    def put_in_flight(self, packet_id: int, entry: "Any") -> None:
        """Put an entry in flight."""
        self.inflight[packet_id] = entry
        message = entry[ENTRY_MESSAGE]
        if message is not None and (self.counted or message.heavy):
            self.broker.memory.keep(entry)

    def count_in_flight(self, counted: bool) -> None:
        """Set whether small messages in flight count, as they do while the client is offline; they then keep nothing else of the
        read they came in.

        While the client is online and acknowledges messages, their number bounds them, and they land soon.
        """
        if counted is self.counted:
            return
        entries = [self.sent(packet_id) for packet_id in self.inflight]
        for entry in entries:
            if entry[ENTRY_MESSAGE] is not None and not entry[ENTRY_MESSAGE].heavy:
                if counted:
                    self.broker.memory.keep(entry)
                else:
                    self.broker.memory.let_go(entry)
        self.counted = counted

    def seems_stuck(self) -> bool:
        """Whether to call `count_stuck`; to be asked once a second, or once in `receiver_patience`."""
        for oldest in self.inflight:
            break
        else:
            oldest = 0
        before = self.looked
        self.looked = oldest
        return self.counted or oldest != 0 and oldest == before

    def count_stuck(self) -> None:
        """Count messages in flight to an online client, too, while it leaves earlier ones unacknowledged."""
        if self.conn is None:
            return
        stuck = self.looked in self.inflight
        self.broker.turns.spent += len(self.inflight) * (1 if stuck is self.counted else _COUNTED)
        self.count_in_flight(stuck)
        if stuck:
            for packet_id in self.inflight:
                self.sent(packet_id)

    def weight(self) -> int:
        """Bytes kept for the session, about."""
        broker = self.broker
        size = len(self.client_id) + self.subscription_bytes + self.queued_bytes
        if self.will is not None:
            size += self.will[WILL_MESSAGE].size()
        if self.received:
            size += len(self.received) * broker.memory.identifier
        conn = self.conn
        if conn is not None:
            size += len(conn.rest or b"") + (0 if conn.unfinished is None else conn.unfinished.bytes)
            for alias in conn.aliases or ():
                size += len(conn.aliases[alias]) + broker.memory.identifier  # type: ignore[index]
            if broker.journal is not None:
                size += broker.journal.weight(conn)
        for name in self.aliases or ():
            size += len(name) + broker.memory.identifier
        for packet_id in self.inflight:
            entry = self.inflight[packet_id]
            if type(entry) is bytes:
                size += len(entry)
            elif entry[ENTRY_MESSAGE] is not None:
                size += broker.memory.weight(entry[ENTRY_MESSAGE])
        return size

    def sent(self, packet_id: int) -> "Entry":
        """The entry in flight under this identifier, as a tuple from now on."""
        entry: "Any" = self.inflight[packet_id]
        if type(entry) is bytes:
            rows = self.broker.rows
            if rows is not None:
                entry = rows.packet(entry, packet_id)
            entry = self.inflight[packet_id] = (from_packet(entry, self.version5), entry[0] & _QOS_BITS, (), None, 0)
            if self.counted:
                self.broker.memory.keep(entry)
        return entry  # type: ignore[no-any-return]

    def land(self, packet_id: int, entry: "Entry") -> None:
        """Take an entry out of flight."""
        del self.inflight[packet_id]
        self.landed(entry)
        self.drop(entry)

    def landed(self, entry: "Entry") -> None:
        """Give back the memory of an entry that has left the window; without a message only its identifier was left."""
        message = entry[ENTRY_MESSAGE]
        if message is not None and (self.counted or message.heavy):
            self.broker.memory.let_go(entry)

    def drop(self, entry: "Entry") -> None:
        """Remove an entry that is neither in flight nor queued any more from the store."""
        if entry[ENTRY_KEY] and self.store_id:
            self.broker.journal.removed(entry)

    # -- the queue ---------------------------------------------------------------------

    def unqueue(self) -> "Any":
        """Take the oldest entry out of the queue."""
        entry: "Any" = self.queue.popleft()  # type: ignore[union-attr]
        self.queued_bytes -= entry[ENTRY_MESSAGE].size()
        self.broker.memory.let_go(entry)
        return entry

    def requeue(self, entry: "Any") -> None:
        """Append an entry to the queue, whatever the limits: it was there before, or in the store."""
        self.queue.append(entry)  # type: ignore[union-attr]
        self.queued_bytes += entry[ENTRY_MESSAGE].size()
        self.broker.memory.keep(entry)

    def forget(self) -> None:
        """Drop all messages in flight, queued, or to be sent again."""
        inflight = self.inflight
        for packet_id in inflight:
            entry = inflight[packet_id]
            if type(entry) is not bytes:
                self.landed(entry)
                self.drop(entry)
        inflight.clear()
        while self.queue:
            self.drop(self.unqueue())
        if self.store_id and self.replay is not None:
            self.replay.forget()
        self.resends = self.replay = self.queue = None

    def enqueue(self, entry: "Any") -> bool:
        """Append an entry to the queue, or drop one as `queue_full` says; False when this one is dropped."""
        options = self.options
        broker = self.broker
        broker.turns.spent += _QUEUED
        if self.expiry < 0:  # the session has ended since the message was routed
            return False
        message = entry[ENTRY_MESSAGE]
        size = message.size()
        # First, as the largest queue gives way, which may be this one. A message that others keep already takes little more.
        weight = 0 if message.kept else broker.memory.weight(message)
        short = weight and broker.memory.lacks(weight + broker.memory.place)
        queue = self.queue
        if queue is None:
            queue = self.queue = deque((), options.max_queued_messages)
        while (
            len(queue) >= options.max_queued_messages
            or self.queued_bytes + size > options.max_queued_bytes
            or short and broker.memory.lacks(weight + broker.memory.place)
        ):
            if queue and queue[0][ENTRY_MESSAGE].expired(broker.clock()):
                self.drop(self.unqueue())
                continue
            broker.counters.drop(DROP_MEMORY if short else DROP_QUEUE_FULL)
            if options.queue_full == "disconnect" and self.conn is not None:
                self.conn.overflow()
                return False
            if options.queue_full != "oldest" or not queue:
                return False
            self.drop(self.unqueue())
        self.queue = queue  # `lacks` may have taken it away
        queue.append(entry)
        self.queued_bytes += size
        broker.memory.keep(entry, weight)
        if self.send_window != -1:
            self.send_window = -1
        if self.conn is not None:
            broker.pressure.queued(self)
        if entry[ENTRY_KEY]:
            broker.journal.queued(self, entry)
        return True

    def put_by(self, entry: "Any", size: int) -> bool:
        """`enqueue` for the common case of many offline clients with messages queued, or queues full; False for other cases.

        For sessions that are not kept in the store.
        """
        if self.conn is not None or self.expiry < 0:
            return False
        queue = self.queue
        options = self.options
        total = self.queued_bytes + size
        message = entry[ENTRY_MESSAGE]
        if not queue:
            return False
        broker = self.broker
        if len(queue) >= options.max_queued_messages or total > options.max_queued_bytes:
            if options.queue_full == "oldest" or queue[0][ENTRY_MESSAGE].expires is not None:
                return False
            broker.counters.drop(DROP_QUEUE_FULL)
            return True
        if not message.kept:
            return False
        queue.append(entry)
        self.queued_bytes = total
        message.kept += 1
        broker.memory.message_bytes += broker.memory.slot
        return True

    def waiting(self) -> "Any":
        """True when messages wait for room."""
        return self.queue or self.replay is not None or self.resends

    def pump(self) -> None:
        """Send waiting messages, as far as the receive window [MQTT-3.3.4-9] and the connection allow.

        About `outbox_bytes` at a time: the host flushes, and calls again unless the client is slow.
        """
        if self.out is None:
            return
        budget = self.options.outbox_bytes
        now = self.broker.clock()
        if self.resends:
            budget = self._pump_resends(budget, now)
        queue = self.queue
        if queue:
            window = self._window()
            while queue and budget > 0 and (len(self.inflight) < window and self._may_fly(queue[0][ENTRY_MESSAGE]) or queue[0][ENTRY_FLAGS] < 2):
                entry = self.unqueue()
                message = entry[ENTRY_MESSAGE]
                if message.expired(now):
                    self.drop(entry)
                elif entry[ENTRY_FLAGS] < 2:
                    self.drop(entry)
                    budget -= message.size()
                    self.queue = None  # else it would be queued again
                    self.deliver(message, entry[ENTRY_FLAGS], entry[ENTRY_IDENTIFIERS])
                    self.queue = queue
                else:
                    budget -= message.size()
                    self._transmit(entry)
            if not queue:
                self.queue = None
        if self.replay is not None:
            self.replay.wake()
        self._settle(0)
        self.broker.pressure.relieve(self)

    def _pump_resends(self, budget: int, now: int) -> int:
        resends = self.resends or []
        window = self._window()
        while resends and budget > 0 and len(self.inflight) - len(resends) < window:
            budget -= self._resend(resends.pop(), now)
        if not resends:
            self.resends = None
        return budget

    # -- QoS 2 from the client --------------------------------------------------------------

    def was_received(self, packet_id: int, limit: int) -> bool:
        """True when a QoS 2 message with this identifier came before and is not released yet.

        Raises MQTTError when it is new but `limit` others are unreleased [MQTT-3.3.4-7].
        """
        received = self.received
        if received is None:
            return False
        if packet_id in received:
            return True
        if len(received) >= limit:
            raise MQTTError(RECEIVE_MAXIMUM_EXCEEDED, "%d QoS 2 messages are unreleased" % len(received))
        return False

    def note_received(self, packet_id: int, new: bool = True) -> None:
        """Note the identifier of a QoS 2 message taken in; it means this message until PUBREL.

        `new`: False for one from the store.
        """
        if self.expiry < 0:  # a hook that saw the message has ended the session
            return
        if self.received is None:
            self.received = {}
        self.received[packet_id] = True
        self.broker.memory.session_bytes += self.broker.memory.identifier
        if new and self.store_id:
            self.broker.journal.received(self, packet_id, True)

    def pubrels(self, data: "bytes", i: int, end: int) -> int:
        """Handle PUBRELs: their packet identifiers are free again [MQTT-4.3.3-11]. See `pubacks`."""
        start = i
        if end - i > _ROW:
            end = i + _ROW
        received = self.received or {}
        broker = self.broker
        while True:
            packet_id = data[i + 2] << 8 | data[i + 3]
            if packet_id in received:
                del received[packet_id]
                broker.memory.session_bytes -= broker.memory.identifier
                if self.store_id:
                    self.broker.journal.received(self, packet_id, False)
                    self.broker.journal.wait(self.conn)
            elif not packet_id:
                raise MQTTError(PROTOCOL_ERROR, "packet identifier 0")
            elif self.version5:  # clause 3.7.2.1
                if i > start:
                    self.conn.answer(data, start, i, b"\x70\x02")  # type: ignore[union-attr]
                self.conn.acknowledge(0x70, packet_id, PACKET_IDENTIFIER_NOT_FOUND)  # type: ignore[union-attr]
                start = i + 4
            i += 4
            if end - i < 4 or data[i] != 0x62 or data[i + 1] != 2:
                break
        if i > start:
            self.conn.answer(data, start, i, b"\x70\x02")  # type: ignore[union-attr]
        return i

    # -- acknowledgements from the client -------------------------------------------------

    def pubacks(self, data: "bytes", i: int, end: int) -> int:
        """Handle PUBACKs of four bytes each from data[i] on: their messages are done (clause 4.3.2).

        Acknowledgements come in rows. Returns where the row ends.
        """
        if end - i > _ROW:
            end = i + _ROW
        while True:
            packet_id = data[i + 2] << 8 | data[i + 3]
            entry = self.inflight.get(packet_id)
            if type(entry) is bytes and entry[0] & _QOS_BITS == 2:
                del self.inflight[packet_id]
            elif entry is not None:
                entry = self.sent(packet_id)
                if entry[ENTRY_FLAGS] & _QOS_BITS != 2:
                    raise MQTTError(PROTOCOL_ERROR, "PUBACK for a QoS 2 message")
                self.land(packet_id, entry)
            elif not packet_id:
                raise MQTTError(PROTOCOL_ERROR, "packet identifier 0")
            i += 4
            if end - i < 4 or data[i] != 0x40 or data[i + 1] != 2:
                break
        if self.send_window < 0:
            self.pump()
        return i

    def pubrecs(self, data: "bytes", i: int, end: int) -> int:
        """Handle PUBRECs, see `pubacks`; ends before a message that is not in flight as it came, see `pubrec`."""
        start = i
        if end - i > _ROW:
            end = i + _ROW
        while True:
            packet_id = data[i + 2] << 8 | data[i + 3]
            entry = self.inflight.get(packet_id)
            if type(entry) is not bytes or entry[0] & _QOS_BITS != 4:
                break
            self.inflight[packet_id] = _RELEASED
            i += 4
            if end - i < 4 or data[i] != 0x50 or data[i + 1] != 2:
                break
        if i > start:
            self.conn.answer(data, start, i, b"\x62\x02")  # type: ignore[union-attr]
        return i

    def pubrec(self, packet_id: int, code: int) -> int:
        """Handle a PUBREC; returns the reason code for the PUBREL to send, or -1 for none (clause 4.3.3)."""
        inflight = self.inflight
        entry = inflight.get(packet_id)
        if entry is None:
            if not packet_id:
                raise MQTTError(PROTOCOL_ERROR, "packet identifier 0")
            return -1 if code >= 0x80 else PACKET_IDENTIFIER_NOT_FOUND
        entry = self.sent(packet_id)
        if entry[ENTRY_FLAGS] & _QOS_BITS != 4:
            raise MQTTError(PROTOCOL_ERROR, "PUBREC for a QoS 1 message")
        if code >= 0x80:
            self.land(packet_id, entry)
            if self.waiting():
                self.pump()
            return -1
        self.landed(entry)
        if not entry[ENTRY_KEY] or not self.store_id:
            inflight[packet_id] = _RELEASED
        elif entry[ENTRY_MESSAGE] is not None:
            inflight[packet_id] = self.broker.journal.released(self, entry, packet_id)
        return 0

    def pubcomps(self, data: "bytes", i: int, end: int) -> int:
        """Handle PUBCOMPs: their QoS 2 messages are done. See `pubacks`."""
        if end - i > _ROW:
            end = i + _ROW
        while True:
            packet_id = data[i + 2] << 8 | data[i + 3]
            entry = self.inflight.get(packet_id)
            if entry is not None:
                if entry[ENTRY_MESSAGE] is not None:  # bytes begin with a number
                    raise MQTTError(PROTOCOL_ERROR, "PUBCOMP before PUBREC")
                del self.inflight[packet_id]
                if entry[ENTRY_KEY]:
                    self.drop(entry)
            elif not packet_id:
                raise MQTTError(PROTOCOL_ERROR, "packet identifier 0")
            i += 4
            if end - i < 4 or data[i] != 0x70 or data[i + 1] != 2:
                break
        if self.send_window < 0:
            self.pump()
        return i

    # -- coming and going ------------------------------------------------------------------

    def resume(self) -> None:
        """After a reconnect: send messages in flight again, oldest first, then the waiting ones [MQTT-4.4.0-1]."""
        if self.inflight:
            self.resends = self.inflight_ids()
            self.resends.reverse()
        self.pump()

    def inflight_ids(self) -> "list[int]":
        """The identifiers in flight in the order in which they were used [MQTT-4.6.0-1]."""
        first = self.packet_id + 1
        return sorted(self.inflight, key=lambda p: (p - first) % 65536)

    def _resend(self, packet_id: int, now: int) -> int:
        """Send the entry in flight under this identifier again; returns its bytes, about."""
        if packet_id not in self.inflight:
            return 0
        entry = self.sent(packet_id)
        identifier = bytes((packet_id >> 8, packet_id & 255))
        message, flags, identifiers, _, _ = entry
        if message is None:
            self._append(b"\x62\x02", identifier)
            return 4
        refused = self.access is not None and self.access.receive(message.name) < 0
        if refused or message.expired(now) and flags & _QOS_BITS == 2:
            self.land(packet_id, entry)
            return 0
        head, tail = self._form(message, flags, identifiers, identifier)
        if len(head) + len(tail) > self.max_packet:
            self.land(packet_id, entry)
            self._too_large(message)
            return 0
        self._append(bytes((head[0] | _DUP,)) + head[1:], tail, flags)  # [MQTT-3.3.1-1]
        size: int = message.size()
        return size
