"""One client's session: its subscriptions, what is in flight to it and what waits for it.

A session outlives its network connections (clause 4.1). While one is attached, `conn` is
set and `out` is the list that takes outgoing packets; `out` is None while the client is
away or reads too slowly, and then QoS 0 is dropped and QoS 1 and 2 wait in the queue.

What was passed on to the client as it came is in flight as the packet itself, bytes; any other
entry in flight or queued is the tuple (message, flags, identifiers, group, key): flags are
the low nibble of the PUBLISH header for this receiver, identifiers its subscription
identifiers or None, group the shared subscription it came through or None, key that of its
record in the store or 0. In flight, the message turns to None when PUBREC has come and PUBREL
is out.
"""

from collections import deque

from port.core import const
from port.core.message import from_packet
from port.core.reason import (
    PACKET_IDENTIFIER_NOT_FOUND,
    PROTOCOL_ERROR,
    QUOTA_EXCEEDED,
    RECEIVE_MAXIMUM_EXCEEDED,
    MQTTError,
)
from port.core.retained import expired, retained_message

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.acl import Access
    from port.core.broker import Broker
    from port.core.codec import Buffer
    from port.core.connection import Connection
    from port.core.message import Message
    from port.core.options import Options
    from port.core.shared import SharedGroup

    Entry = tuple[Any, int, Optional[tuple[int, ...]], Optional[SharedGroup], int]

_QOS_BITS = const(6)
_RELEASED = (None, 4, None, None, 0)
_DUP = const(8)

# What a session has whose client has not subscribed or been sent anything yet; never changed.
NOTHING: "dict[Any, Any]" = {}


class Session:
    """The state the standard calls Session State, and the delivery of messages to the client.

    client_id      bytes
    user           user name somebody vouched for, as bytes, or None
    address        where the client is, or was last, `host:port`
    listener       the way it came in, last
    options        the options that hold for the client, see set_options
    access         what it may do, see port.core.acl; None: everything
    expiry         session expiry interval, s; 0xFFFFFFFF never
    expires_at     ms on the broker's clock when an offline session ends, or None
    will, will_at  the will of the last connection as (message, will delay interval in s), and
                   when it is due, ms
    family         4 (MQTT 3.x) or 5 while plain QoS 0 packets can be passed on as they came;
                   -1 when the connection needs its packets made to measure
    room           while fewer than this are in flight, a QoS 1 or 2 message can go out at once; 0: `has_room` has to be
                   asked, -1: something waits, and `pump` is to be called whenever there may be room for it
    number         its number in the store, 0 while it is not kept there
    """

    group = None

    __slots__ = (
        "broker", "listener", "options", "access", "client_id", "user", "address", "conn", "out", "family", "version5",
        "subscriptions", "inflight", "queue", "queued_bytes", "packet_id", "room", "receive_maximum", "received", "expiry",
        "expires_at", "will", "will_at", "resends", "replay", "max_packet", "aliases", "alias_maximum", "number",
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
        self.access = self.conn = None  # `access` is asked for with each message, see Connection
        self.out: "Optional[list[Any]]" = None
        self.family = 4
        self.version5 = False
        self.subscriptions: "dict[bytes, int]" = NOTHING
        self.inflight: "dict[int, Any]" = NOTHING  # packet identifier -> bytes or Entry
        self.queue: "Optional[deque[Entry]]" = None
        self.queued_bytes = 0
        self.packet_id = 0
        self.room = 0
        self.receive_maximum = 65535  # the client's [MQTT-3.3.4-9]
        self.received: "Optional[dict[int, bool]]" = None
        self.expiry = 0
        self.expires_at: "Optional[int]" = None
        self.will: "Optional[tuple[Message, int]]" = None
        self.will_at: "Optional[int]" = None
        self.resends: "Optional[list[int]]" = None  # identifiers to send again, the oldest last
        # Retained messages for new subscriptions, (record, flags, identifiers), the first one last. Any: a record is
        # compared by identity, which compiled code loses with a tuple whose items have types.
        self.replay: "Optional[list[tuple[Any, int, Optional[tuple[int, ...]]]]]" = None
        self.max_packet = 0xFFFFFFFF
        self.aliases: "Optional[dict[bytes, int]]" = None
        self.alias_maximum = 0
        self.number = 0

    def set_options(self, options: "Options") -> None:
        """Other options hold from now on; what waits already stays, and takes the room it has."""
        self.options = options
        if self.queue is not None:  # which has the room it was made with, and would lose what is above that
            self.queue = deque(self.queue, max(options.max_queued_messages, len(self.queue)))

    # -- towards the client ------------------------------------------------------------

    def deliver(
        self,
        message: "Message",
        flags: int,
        identifiers: "Optional[tuple[int, ...]]" = None,
        group: "Optional[SharedGroup]" = None,
    ) -> None:
        """Send a message now, or queue it, or drop it, as QoS and the receiver's state demand."""
        out = self.out
        if flags < 2:
            broker = self.broker
            if out is None or broker.shortage > 1 and not message.name.startswith(b"$"):  # see guard.MemoryGuard
                broker.dropped += 1
                return
            head, tail = self._form(message, flags, identifiers)
            if len(head) + len(tail) > self.max_packet:  # [MQTT-3.1.2-24] [MQTT-3.1.2-25]
                self._too_large(message)
                return
            if not out:
                broker.dirty.append(self.conn)
            out.append(head + tail)
            broker.published += 1
        else:
            key = self.broker.journal.new_key() if self.number else 0
            if len(self.inflight) < self.room or not self.queue and self.has_room():
                self._transmit((message, flags, identifiers, group, key))
            else:
                self.enqueue((message, flags, identifiers, group, key))

    def has_room(self) -> bool:
        """True when a QoS 1 or 2 message would go out at once and not into the queue; settles `room`."""
        window = self._window()
        self._settle(0 if self.out is None else window)
        return self.out is not None and not self.queue and not self.resends and len(self.inflight) < window

    def _settle(self, room: int) -> None:
        self.room = -1 if self.waiting() else room

    def _window(self) -> int:
        """How many QoS 1 and 2 messages may be in flight; from now on some can be."""
        if self.inflight is NOTHING:
            self.inflight = {}
        return min(self.options.max_inflight, self.receive_maximum)

    def pause(self) -> None:
        """Nothing new goes to the client until it has an `out` again. Takes no memory: there may be none left."""
        self.out = None
        if self.room:
            self.room = 0

    def _form(
        self, message: "Message", flags: int, identifiers: "Optional[tuple[int, ...]]"
    ) -> "tuple[bytes, bytes]":
        """The packet for this receiver as (head, tail)."""
        if not self.version5:
            return message.form(False, flags)
        if self.alias_maximum or identifiers or message.expires is not None:
            return self.broker.mqtt5.form(self, message, flags, identifiers)  # type: ignore[union-attr]
        return message.form(True, flags)

    def _too_large(self, message: "Message") -> None:
        self.broker.dropped += 1
        if self.aliases:
            # The client never saw the packet that would have told it the alias. No further one is given:
            # they are numbered by how many there are.
            self.aliases.pop(message.name, None)
            self.alias_maximum = len(self.aliases)

    def _append(self, packet: bytes) -> None:
        out = self.out
        if not out:
            self.broker.dirty.append(self.conn)
        out.append(packet)  # type: ignore[union-attr]

    def _transmit(self, entry: "Entry") -> None:
        """Send a QoS 1 or 2 message under a new packet identifier [MQTT-2.2.1-4]."""
        message, flags, identifiers, _, key = entry
        if identifiers is None and message.expires is None and not self.alias_maximum:
            head, tail = message.form(self.version5, flags)
        else:
            head, tail = self._form(message, flags, identifiers)
        if len(head) + len(tail) + 2 > self.max_packet:
            self.drop(entry)
            self._too_large(message)
            return
        inflight = self.inflight
        packet_id = self.packet_id
        packet_id = packet_id + 1 if packet_id < 65535 else 1
        while packet_id in inflight:
            packet_id = packet_id + 1 if packet_id < 65535 else 1
        self.packet_id = packet_id
        inflight[packet_id] = entry
        broker = self.broker
        if key and self.number:
            broker.journal.sent(self, entry, packet_id)
        out = self.out
        if not out:
            broker.dirty.append(self.conn)
        out.append(head + bytes((packet_id >> 8, packet_id & 255)) + tail)  # type: ignore[union-attr]
        broker.published += 1

    def sent(self, packet_id: int) -> "Entry":
        """What is in flight under this identifier, as a tuple from now on."""
        entry: "Any" = self.inflight[packet_id]
        if type(entry) is bytes:
            rows = self.broker.rows
            if rows is not None:
                entry = rows.packet(entry, packet_id)
            entry = self.inflight[packet_id] = (from_packet(entry, self.version5), entry[0] & _QOS_BITS, None, None, 0)
        return entry  # type: ignore[no-any-return]

    def drop(self, entry: "Entry") -> None:
        """An entry is neither in flight nor queued any more."""
        if entry[4] and self.number:
            self.broker.journal.removed(entry)

    # -- the queue ---------------------------------------------------------------------

    def unqueue(self) -> "Entry":
        """Take the oldest entry out of the queue."""
        entry: "Entry" = self.queue.popleft()  # type: ignore[union-attr]
        self.queued_bytes -= entry[0].size()
        return entry

    def enqueue(self, entry: "Entry") -> None:
        """Put an entry behind the others, or drop one as `queue_full` says."""
        options = self.options
        queue = self.queue
        if queue is None:
            queue = self.queue = deque((), options.max_queued_messages)
        size = entry[0].size()
        while len(queue) >= options.max_queued_messages or self.queued_bytes + size > options.max_queued_bytes:
            if queue and queue[0][0].expired(self.broker.clock()):
                self.drop(self.unqueue())
                continue
            self.broker.dropped += 1
            if options.queue_full == "disconnect" and self.conn is not None:
                self.conn.fail(MQTTError(QUOTA_EXCEEDED, "queue full"))
                return
            if options.queue_full != "oldest" or not queue:
                return
            self.drop(self.unqueue())
        queue.append(entry)
        self.room = -1
        self.queued_bytes += size
        if entry[4]:
            self.broker.journal.queued(self, entry)

    def waiting(self) -> "Any":
        """True when something could be sent as soon as there is room for it."""
        return self.queue or self.replay or self.resends

    def pump(self) -> None:
        """Send what waits, as far as the receive window [MQTT-3.3.4-9] and the connection allow.

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
            while queue and budget > 0 and len(self.inflight) < window:
                entry = self.unqueue()
                message = entry[0]
                if message.expired(now):
                    self.drop(entry)
                else:
                    budget -= message.size()
                    self._transmit(entry)
            if not queue:
                self.queue = None
        if self.replay:
            self._pump_replay(budget, now)
        self._settle(0)

    def _pump_resends(self, budget: int, now: int) -> int:
        resends = self.resends or []
        window = self._window()
        while resends and budget > 0 and len(self.inflight) - len(resends) < window:
            budget -= self._resend(resends.pop(), now)
        if not resends:
            self.resends = None
        return budget

    def _pump_replay(self, budget: int, now: int) -> None:
        """Go on with the retained messages of new subscriptions."""
        retained = self.broker.retained
        replay = self.replay or []
        while replay and budget > 0:
            record, flags, identifiers = replay[-1]
            if flags & _QOS_BITS and (self.queue or len(self.inflight) >= self._window()):
                return
            replay.pop()
            # A newer message has gone out already if the retained one was replaced since.
            current = record[0].startswith(b"$") or retained.get(record[0]) is record
            if current and not expired(record, now):
                message = retained_message(record)
                budget -= message.size() + 16
                self.deliver(message, flags, identifiers)
        if not replay:
            self.replay = None

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
        """A QoS 2 message was taken in; until PUBREL its identifier means this message.

        `new`: False when that comes from the store.
        """
        if self.received is None:
            self.received = {}
        self.received[packet_id] = True
        if new and self.number:
            self.broker.journal.received(self, packet_id, True)

    def pubrels(self, data: "bytes", i: int, end: int) -> int:
        """PUBREL came: the sender has done its part, its packet identifiers are free again [MQTT-4.3.3-11]. See `pubacks`."""
        start = i
        received = self.received or {}
        while True:
            packet_id = data[i + 2] << 8 | data[i + 3]
            if packet_id in received:
                del received[packet_id]
                if self.number:
                    self.broker.journal.received(self, packet_id, False)
                    self.broker.journal.wait(self.conn)
            elif not packet_id:
                raise MQTTError(PROTOCOL_ERROR, "packet identifier 0")
            i += 4
            if end - i < 4 or data[i] != 0x62 or data[i + 1] != 2:
                break
        self.conn.answer(data, start, i, b"\x70\x02")  # type: ignore[union-attr]
        return i

    # -- acknowledgements from the client -------------------------------------------------

    def pubacks(self, data: "bytes", i: int, end: int) -> int:
        """PUBACK came: the message is done (clause 4.3.2).

        It starts at data[i] and has four bytes. Those right behind it are handled, too: acknowledgements come in rows.
        Returns where the last one ends.
        """
        while True:
            packet_id = data[i + 2] << 8 | data[i + 3]
            entry = self.inflight.get(packet_id)
            if type(entry) is bytes and entry[0] & _QOS_BITS == 2:
                del self.inflight[packet_id]
            elif entry is not None:
                if self.sent(packet_id)[1] & _QOS_BITS != 2:
                    raise MQTTError(PROTOCOL_ERROR, "PUBACK for a QoS 2 message")
                del self.inflight[packet_id]
                self.drop(entry)
            elif not packet_id:
                raise MQTTError(PROTOCOL_ERROR, "packet identifier 0")
            i += 4
            if end - i < 4 or data[i] != 0x40 or data[i + 1] != 2:
                break
        if self.room < 0:
            self.pump()
        return i

    def pubrecs(self, data: "bytes", i: int, end: int) -> int:
        """PUBREC came: see `pubacks`, and `pubrec` for what is not in flight as it came, where this stops."""
        start = i
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
        """PUBREC came; returns the reason code for the PUBREL to send, or -1 for none (clause 4.3.3)."""
        inflight = self.inflight
        entry = inflight.get(packet_id)
        if entry is None:
            if not packet_id:
                raise MQTTError(PROTOCOL_ERROR, "packet identifier 0")
            return -1 if code >= 0x80 else PACKET_IDENTIFIER_NOT_FOUND
        entry = self.sent(packet_id)
        if entry[1] & _QOS_BITS != 4:
            raise MQTTError(PROTOCOL_ERROR, "PUBREC for a QoS 1 message")
        if code >= 0x80:
            del inflight[packet_id]
            self.drop(entry)
            if self.waiting():
                self.pump()
            return -1
        if not entry[4] or not self.number:
            inflight[packet_id] = _RELEASED
        elif entry[0] is not None:
            inflight[packet_id] = self.broker.journal.released(self, entry, packet_id)
        return 0

    def pubcomps(self, data: "bytes", i: int, end: int) -> int:
        """PUBCOMP came: the QoS 2 message is done. See `pubacks`."""
        while True:
            packet_id = data[i + 2] << 8 | data[i + 3]
            entry = self.inflight.get(packet_id)
            if entry is not None:
                if entry[0] is not None:  # bytes begin with a number
                    raise MQTTError(PROTOCOL_ERROR, "PUBCOMP before PUBREC")
                del self.inflight[packet_id]
                if entry[4]:
                    self.drop(entry)
            elif not packet_id:
                raise MQTTError(PROTOCOL_ERROR, "packet identifier 0")
            i += 4
            if end - i < 4 or data[i] != 0x70 or data[i + 1] != 2:
                break
        if self.room < 0:
            self.pump()
        return i

    # -- coming and going ------------------------------------------------------------------

    def resume(self) -> None:
        """After a reconnect: what was in flight goes out again, oldest first, then what waited [MQTT-4.4.0-1]."""
        if self.inflight:
            self.resends = self.inflight_ids()
            self.resends.reverse()
        self.pump()

    def inflight_ids(self) -> "list[int]":
        """The identifiers in flight in the order in which they were used [MQTT-4.6.0-1]."""
        first = self.packet_id + 1
        return sorted(self.inflight, key=lambda p: (p - first) % 65536)

    def _resend(self, packet_id: int, now: int) -> int:
        """Send again what is in flight under this identifier; returns about how many bytes that took."""
        if packet_id not in self.inflight:
            return 0
        entry = self.sent(packet_id)
        identifier = bytes((packet_id >> 8, packet_id & 255))
        message, flags, identifiers, _, _ = entry
        if message is None:
            self._append(b"\x62\x02" + identifier)
            return 4
        refused = self.access is not None and self.access.receive(message.name) < 0
        if refused or message.expired(now) and flags & _QOS_BITS == 2:
            del self.inflight[packet_id]
            self.drop(entry)
            return 0
        head, tail = self._form(message, flags, identifiers)
        if len(head) + len(tail) + 2 > self.max_packet:
            del self.inflight[packet_id]
            self.drop(entry)
            self._too_large(message)
            return 0
        self._append(bytes((head[0] | _DUP,)) + head[1:] + identifier + tail)  # [MQTT-3.3.1-1]
        self.broker.published += 1
        size: int = message.size()
        return size
