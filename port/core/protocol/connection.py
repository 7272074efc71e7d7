"""One network connection: bytes in, packets handled, errors answered, bytes out.

`feed` is the broker's hot loop. It parses every complete packet of a chunk in place. It
handles common packets itself (QoS 0 to receivers that take the packet as it came, the
four-way acknowledgements, PINGREQ); every other packet type has a handler.

States: NEW until CONNECT, then AUTHENTICATING while an authenticator is undecided or talks to
the client, OPEN while a session is attached, CLOSED for ever.
"""

from port.core import const
from port.core.constants import ASKING, AUTHENTICATING, CLOSED, CROWDED, FULL, NEW, OPEN, RATE, STORING, TURN
from port.core.wire.codec import (
    AUTH,
    CONNECT,
    DISCONNECT,
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    SUBSCRIBE,
    UNSUBSCRIBE,
    Reader,
)
from port.core.wire.reason_codes import (
    KEEP_ALIVE_TIMEOUT,
    MALFORMED_PACKET,
    PACKET_TOO_LARGE,
    PROTOCOL_ERROR,
    QUOTA_EXCEEDED,
    SERVER_BUSY,
    SUCCESS,
    UNSPECIFIED_ERROR,
    MQTTError,
    connect_return_code,
)
from port.core.limits.client_log import shown, user_of
from port.core.limits.places import leave
from port.core.messages.message import WHOLE
from port.core.protocol.handle_connect import handle_connect
from port.core.protocol.handle_publish import handle_publish, pass_on
from port.core.protocol.handle_subscribe import handle_subscribe, handle_unsubscribe

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.transport import Transport
    from port.core.wire.codec import Buffer
    from port.core.limits.listener import Listener
    from port.core.limits.options import Options
    from port.core.limits.rate_limit import Rate
    from port.core.sessions.session import Session
    from port.core.auth.authenticator import Identity
    from port.core.protocol.connect_packet import Connect
    from port.core.protocol.handle_subscribe import Filters
    from port.core.protocol.mqtt5 import MQTT5
    from port.core.broker import Broker


# Cost of handling a packet that is not one of the common ones, in deliveries (Turns.spent).
_DISPATCHED = const(6)
_ROW = const(6)  # and of a row of alike packets, besides its receivers and bytes

_SMALL = const(4096)  # bytes of an incomplete packet kept even when memory is short
_AHEAD = const(1024)  # most bytes read for acknowledgements from a client that waits for a receiver

# Reasons to write nothing but answers to a client, bits of `blocked`.
_HOST = const(1)  # the socket does not take the data it has already


class Connection:
    """A client's network connection, and the protocol state that ends with it.

    address    peer as text, `host:port`
    version    protocol level: 3, 4 or 5; 0 before CONNECT
    listener   its Listener
    connect    its CONNECT, until the client is let in
    identity   its Identity: from CONNECT on; while open, if its listener has authenticators
    held       reasons to handle none of its packets, bits; 0: none
    blocked    reasons why it counts as slow, bits; 0: none
    gone       reason why the client sends no more, while packets from it are still to be handled; else empty
    deadline   ms on the broker's clock when it is closed unless data arrives; 0: data has arrived since the last tick
    silence    ms a client may be silent, 0: for ever
    owner, before, after  see port.core.limits.places
    bridge     whether it declares itself a bridge to another broker
    seat       its place among those of its listener, or None, see port.core.protocol.listener_places
    early      bytes kept for a client that is not let in yet
    ack_after_batch  number of the batch that must be durable before `out` may be sent, see port.core.storage.journal
    out        packets to send at the next flush
    unfinished a SUBSCRIBE or UNSUBSCRIBE under way, see port.core.protocol.handle_subscribe; later packets wait
    """

    __slots__ = (
        "broker", "listener", "transport", "address", "state", "version", "session", "out",
        "rest", "need", "deadline", "silence", "fast", "granted", "aliases", "problem_information", "max_packet",
        "identity", "held", "rate", "blocked", "ack_after_batch", "unfinished", "owner", "before", "after", "early", "gone",
        "bridge", "seat", "connect",
    )  # fmt: skip

    def __init__(self, broker: "Broker", listener: "Listener", transport: "Transport", address: str) -> None:
        self.broker = broker
        self.listener = listener
        self.transport = transport
        self.address = address
        self.state = NEW
        self.version = 0
        self.session: "Optional[Session]" = None
        self.out: "list[Any]" = []
        self.rest: "Optional[bytearray]"  # the start of a packet not yet complete
        self.need: int  # size of that packet, 0 while its header is not complete
        self.deadline = broker.clock() + listener.options.connect_timeout * 1000
        self.silence = 0
        self.fast = broker.fast[0]
        self.granted = broker.router.granted[0]
        self.aliases: "Optional[dict[int, bytes]]" = None
        self.problem_information = True
        self.bridge = False
        self.max_packet = 0xFFFFFFFF
        self.connect: "Optional[Connect]" = None
        self.identity: "Optional[Identity]" = None
        self.rate: "Optional[Rate]"
        self.blocked = 0
        self.owner: "Any" = None
        self.before: "Any" = None
        self.after: "Any" = None
        self.seat: "Any" = None
        self.early = 0
        self.ack_after_batch = 0
        self.gone = ""
        self.unfinished: "Optional[Filters]"
        # Read for every chunk; assigned in one line, so that tools/bundling/bundles.py leaves them with the instance, where they
        # are found sooner.
        self.rate = self.rest = self.unfinished = None
        self.held = self.need = 0

    @property
    def client_id(self) -> bytes:
        """UTF-8, empty before CONNECT."""
        if self.session is not None:
            return self.session.client_id
        connect = self.connect
        return b"" if connect is None else connect.client_id

    @property
    def options(self) -> "Options":
        """The options in force for this client."""
        if self.session is not None:
            return self.session.options
        return self.listener.options if self.identity is None else self.identity.options

    # -- input ---------------------------------------------------------------------------

    def take(self, data: bytes) -> None:
        """Handle `data` from the client; an incomplete packet is kept until the rest arrives."""
        rest = self.rest
        if rest is not None:
            self.keep(data)
            if len(rest) < self.need or self.held:
                self.heard()
                return
            data = bytes(rest)
            self.let_go()
            if len(data) >= WHOLE:
                self.broker.large.bytes += len(data)
        end = len(data)
        try:
            at = self._feed(data, data, 0, end) if self.state == OPEN and not self.held else self.feed(data, data, end)
        except Exception as e:
            self.fault(e)
        else:
            if at < end:
                self.keep(data[at:])

    def keep(self, data: "Buffer") -> None:
        """Append further data of an incomplete packet to `rest`."""
        broker = self.broker
        if self.rest is None:
            self.rest = bytearray(data)
        else:
            self.rest += data
        broker.memory.partial_bytes += len(data)
        if len(self.rest) > _SMALL and self.state == OPEN and broker.memory.lacks(0):
            self.fail(MQTTError(QUOTA_EXCEEDED, "no room for the rest of it"))
        elif self.held == CROWDED:
            self._look_ahead(self.rest, 0)

    def _look_ahead(self, rest: "bytearray", i: int) -> bool:
        """Take acknowledgements out of data that arrived while the client waits: its receivers may wait for them.

        From rest[i] on, as far as the turn goes; the job it leaves then goes on with the rest.
        """
        broker = self.broker
        if not self._keeps(rest) or self.held != CROWDED:
            return False
        turns = broker.turns
        end = len(rest)
        others = bytearray()
        start = 0
        try:
            while end - i > 1 and self._keeps(rest) and turns.spent < turns.limit:
                turns.spent += 1
                at = self._long(rest, i, end)
                stop = at + self.need
                if not at or stop > end:
                    break
                if rest[i] >> 4 in (PUBACK, PUBREC, PUBCOMP):
                    others += rest[start:i]
                    start = stop
                    broker.counters.packets_received += 1
                    self._dispatch(rest[i], bytes(rest[at:stop]))
                i = stop
        except Exception as e:
            self.fault(e)
        self.need = 0
        if self._keeps(rest):  # still open
            if start:
                others += rest[start:]
                start = end - len(others)
                broker.memory.partial_bytes -= start
                self.rest = rest = others
            if len(rest) >= _AHEAD:
                self.transport.pause_reading()
            if turns.spent >= turns.limit:
                turns.give(lambda: self._look_ahead(rest, i - start))
        return False

    def _keeps(self, rest: "Any") -> bool:
        return self.rest is rest

    def let_go(self) -> None:
        """Discard the incomplete packet."""
        if self.rest is not None:
            self.broker.memory.partial_bytes -= len(self.rest)
            self.rest = None

    def heard(self) -> None:
        """Note that data arrived, short of a whole packet."""
        if self.silence and not self.held:
            self.deadline = 0
        elif self.state != OPEN and self.rest is not None:
            try:
                self.expect(len(self.rest))
            except MQTTError as e:
                self.fail(e)

    def feed(self, data: "Buffer", view: "Buffer", end: int) -> int:
        """Handle every complete packet in data[:end]; returns where the first incomplete one starts.

        `view` is `data` itself when that is bytes, else a memoryview of it; packets forwarded as
        they came are slices of it, valid until the flush that must follow before `data` is filled
        anew. Pass exceptions to `fault`: they end the connection, not the broker.
        """
        # Typed as bytes, which mypyc indexes without a call: the host of a compiled broker reads into bytes.
        if self.state == OPEN:
            return 0 if self.held else self._feed(data, view, 0, end)  # type: ignore[arg-type]
        at = end
        if self.state != CLOSED:
            at = 0 if self.held else self._handshake(data, view, end)  # type: ignore[arg-type]
        return self._feed(data, view, at, end) if self.state == OPEN and not self.held else at  # type: ignore[arg-type]

    def fault(self, error: Exception) -> None:
        """End the connection because handling its packets has raised an exception."""
        if isinstance(error, MemoryError):
            self.broker.out_of_memory()
            self.broker.client_log.line(2, self.address, "%s: out of memory", self)
            error = MQTTError(QUOTA_EXCEEDED, "out of memory")
        elif not isinstance(error, MQTTError):
            self.broker.crashed(self, error)
            error = MQTTError(UNSPECIFIED_ERROR, "internal error")
        self.fail(error)

    def _feed(self, data: "bytes", view: "Buffer", i: int, end: int) -> int:
        broker = self.broker
        if broker.origins is not None and broker.origins.reader is not self:
            return broker.origins.read(self, data, view, i, end)  # type: ignore[no-any-return] # which calls back here
        self.deadline = 0
        session = self.session
        dirty = broker.dirty
        names = self.fast
        copy = view is not data
        version5 = self.version == 5
        start = i
        if session.access is not None:  # type: ignore[union-attr]
            broker.router.use(session.access)  # type: ignore[union-attr]
        packets = others = sent = 0  # others: not PUBLISH; sent: copies of packets passed on as they came
        turns = broker.turns
        limit = turns.limit
        turns.spent = 0
        over = False  # whether the turn is over
        rows = broker.rows
        journal = broker.journal
        waiting = 0 if journal is None else journal.size
        while end - i > 1:
            first = data[i]
            size = data[i + 1]
            at = i + 2
            if size > 127:
                if first < 16:
                    raise MQTTError(PROTOCOL_ERROR, "packet type 0")
                if end - i < 3:
                    self.need = 0
                    break
                c = data[at]
                if 0 < c < 128:
                    size = size & 127 | c << 7
                    at += 1
                else:
                    at = self._long(data, i, end)
                    if not at:
                        break
                    size = self.need
                if at - i + size > session.options.max_packet_size:  # type: ignore[union-attr]
                    raise MQTTError(PACKET_TOO_LARGE, "packet of %d bytes" % (at - i + size))
            stop = at + size
            if stop > end:
                self.need = stop - i
                break
            packets += 1
            if first == 0x30 and size > 2:
                k = at + 2 + (data[at] << 8 | data[at + 1])
                if copy:
                    name = bytes(view[at + 2 : k])
                    frame: "Any" = view[i:stop]
                else:
                    name = data[at + 2 : k]
                    frame = data[i:stop]
                fast = None
                if (
                    k < stop and (not data[k] or broker.mqtt5.forwardable(data, k, stop))  # type: ignore[union-attr]
                    if version5
                    else k <= stop
                ):
                    fast = names.get(name)
                    if fast is None:
                        limit += turns.spent
                        fast = broker.router.learn(session, name, True)  # type: ignore[arg-type]
                        limit -= turns.spent
                        rows = None
                if fast is not None:
                    if stop < end and rows is not None and not copy:
                        count = rows.pass_on_qos0(self, fast, data, i, k, stop, end)
                        if count:
                            packets += count - 1
                            k = count * (stop - i)  # bytes
                            i += k
                            limit += count - _ROW - len(fast) - (k >> 7)  # a row costs little more than one message
                            if sent + packets > limit:
                                over = True
                                break
                            continue
                        rows = None  # topics seem to alternate in this read
                    i = stop
                    for receiver in fast:
                        out = receiver.out
                        if out:
                            out.append(frame)
                        elif out is None:
                            if not receiver.spare or not receiver.squeeze(frame):
                                broker.counters.dropped += 1
                                sent -= 1
                                limit -= 1
                        else:
                            dirty.append(receiver.conn)
                            out.append(frame)
                    sent += len(fast)
                    if sent + packets > limit:
                        over = True
                        break
                    continue
                handle_publish(self, first, bytes(frame), at - i)
                names = self.fast  # again, as a hook may have changed the client's rights
            elif size == 2 and first == 0x40:
                stop = session.pubacks(data, i, end)  # type: ignore[union-attr]
                packets += stop - at >> 2
                others += stop - i >> 2
            elif first & 0xF0 == 0x30:
                if stop < end:
                    if broker.scarce is not None and broker.pressure.keep_back(self):
                        packets -= 1  # the publisher waits, and the packet comes again
                        self.need = 0
                        break
                    if rows is not None and not copy:
                        count = rows.pass_on(self, data, i, at, stop, end)
                        if count:
                            packets += count - 1
                            i += count * (stop - i)
                            if sent + packets + turns.spent > limit:
                                over = True
                                break
                            continue
                        rows = None
                frame = view[i:stop]
                if copy:
                    frame = bytes(frame)
                cost = 0 if first & 9 or size < 5 else pass_on(self, first, frame, at - i)
                if cost:
                    limit -= cost
                else:
                    handle_publish(self, first, frame, at - i)
                    names = self.fast
            elif size == 2 and first == 0x62:
                stop = session.pubrels(data, i, end)  # type: ignore[union-attr]
                packets += stop - at >> 2
                others += stop - i >> 2
            elif size == 2 and first == 0x50:
                k = session.pubrecs(data, i, end)  # type: ignore[union-attr]
                if k > i:
                    stop = k
                    packets += stop - at >> 2
                    others += stop - i >> 2
                else:
                    others += 1
                    turns.spent += _DISPATCHED
                    self._pubrec(data[at] << 8 | data[at + 1], SUCCESS)
            elif size == 2 and first == 0x70:
                stop = session.pubcomps(data, i, end)  # type: ignore[union-attr]
                packets += stop - at >> 2
                others += stop - i >> 2
            else:
                others += 1
                self._dispatch(first, bytes(view[at:stop]))
                names = self.fast
            if self.state != OPEN:
                i = end
                break
            if self.held:
                self.need = 0
                if self.unfinished is not None:  # later packets wait for its answer
                    i = stop
                else:  # the same packet comes again when the authorizer has answered
                    packets -= 1
                break
            i = stop
            if sent + packets + turns.spent > limit:
                over = True
                break
        else:
            self.need = 0
            if i < end and data[i] < 16:
                raise MQTTError(PROTOCOL_ERROR, "packet type 0")
        counters = broker.counters
        counters.packets_received += packets
        counters.publishes_received += packets - others
        counters.published0 += sent
        if self.rate is not None:
            self.rate.check(self, packets - others, i - start)
        if over:
            self.need = 0
            self._end_turn(packets - others, i < end)
        if journal is not None and journal.size > waiting:  # clients whose packets change nothing stored need not wait
            journal.check_backlog(self)
        return i

    def _end_turn(self, messages: int, more: bool) -> None:
        """End a turn after so many PUBLISH packets, and others with them; `more`: further packets have arrived."""
        broker = self.broker
        if self.state == OPEN and not self.held and not broker.pressure.hold(self, messages, more) and more:
            self.hold(TURN)
            broker.turns.give(self.turn)

    def tick(self, now: int) -> None:
        """A second has passed for a held client: read it again, or end it when an answer about it is overdue."""
        if self.held & ASKING and now >= self.deadline:
            self.broker.counters.auth_timeouts += 1
            self.fail(MQTTError(SERVER_BUSY, "no answer within auth_timeout"))
        elif self.held & TURN and self.state != OPEN and now >= self.deadline:
            self.close(KEEP_ALIVE_TIMEOUT, "not let in within connect_timeout", True)
        elif self.held & RATE and (self.rate is None or self.rate.take(self.options, 0, 0, now)):
            self.go_on(RATE)

    def _long(self, data: "Buffer", i: int, end: int) -> int:
        """A remaining length of three or four bytes goes to `need`; returns where the body starts, 0 if incomplete."""
        size = shift = 0
        at = i + 1
        self.need = 0
        while at < end:
            c = data[at]
            at += 1
            size |= (c & 127) << shift
            if c < 128:
                if not c and shift and self.version == 5:  # [MQTT-1.5.5-1]
                    raise MQTTError(MALFORMED_PACKET, "remaining length not in its shortest form")
                self.need = size
                return at
            shift += 7
            if shift > 21:
                raise MQTTError(MALFORMED_PACKET, "remaining length too long")
        return 0

    def _handshake(self, data: "bytes", view: "Buffer", end: int) -> int:
        """Handle packets before the connection is open: CONNECT, then AUTH if the authenticator asks for it."""
        i = 0
        broker = self.broker
        turns = broker.turns
        turns.spent = 0
        while end > i and self.state != OPEN:
            if turns.spent >= turns.limit and not self.held:
                self.hold(TURN)
                turns.give(self.turn)
            if self.held:  # an authenticator is undecided, or other clients come first
                self.expect(end - i)
                return i
            self.expect(0)
            first = data[i]
            if self.state == NEW and first != 0x10:  # [MQTT-3.1.0-1]
                self.close(PROTOCOL_ERROR, "first packet is not a CONNECT")
                return end
            if self.state == AUTHENTICATING and first & 0xF0 not in (0xF0, 0xE0):
                raise MQTTError(PROTOCOL_ERROR, "packet before authentication is done")
            at = self._long(data, i, end)
            if not at:
                return i
            stop = at + self.need
            self.need = 0
            if stop - i > self.options.max_connect_size:
                self.close(PACKET_TOO_LARGE, "CONNECT of %d bytes" % (stop - i))
                return end
            if stop > end:
                self.expect(end - i)
                self.need = stop - i
                return i
            body = bytes(view[at:stop])
            i = stop
            broker.counters.packets_received += 1
            if self.state == NEW:
                handle_connect(self, body)
                if self.state == AUTHENTICATING:
                    self.expect(0)
            else:
                self._dispatch(first, body)
            if self.state == CLOSED:
                return end
        return i

    def expect(self, size: int) -> None:
        """Before the connection is open: account for `size` bytes kept until a packet is complete or handling goes on, and the
        CONNECT while a decision about it is pending.

        Raises MQTTError when all such connections together keep too much, and none of another address gives way.
        """
        if self.state == AUTHENTICATING:
            size += self.connect.size  # type: ignore[union-attr]
        change = size - self.early
        if change:
            self.early = size
            self.owner.weight += change
            registry = self.broker.connection_registry
            registry.handshake_bytes += change
            registry.lighten(self)

    # -- held --------------------------------------------------------------------------------

    def hold(self, why: int) -> None:
        """Handle no packets of the client, and do not read it; `why` is a bit of `held`.

        A client that has filled a receiver's queue is read a little further, see `_look_ahead`.
        """
        if self.held in (0, CROWDED) and why != CROWDED:
            self.transport.pause_reading()
        if why == ASKING:
            self.deadline = self.broker.clock() + self.options.auth_timeout * 1000
        self.held |= why

    def go_on(self, why: int) -> None:
        """End this reason to hold the client; without another one go on, first with data that has arrived already."""
        if not self.held & why:
            return
        self.held &= ~why
        if self.held or self.state == CLOSED:
            return
        if self.unfinished is not None:
            journal = self.broker.journal
            before = 0 if journal is None else journal.size
            try:
                self.unfinished.go_on()
            except Exception as e:
                self.fault(e)
            if journal is not None and journal.size > before and self.state != CLOSED:
                journal.check_backlog(self)
            if self.held or self.state == CLOSED:
                return
        self.read_on()

    def read_on(self) -> None:
        """Nothing holds the client any more: handle data that has arrived already."""
        if not self.gone:
            self.transport.resume_reading()
        self.take(b"")
        if self.gone and not self.held:
            self.lost(self.gone)

    def relieved(self) -> bool:
        """The receiver that it waited for has taken queued messages: go on. A job, see Turns.give."""
        return self._resume(CROWDED)

    def turn(self) -> bool:
        """Others have been served: go on with data that has arrived. A job, see Turns.give."""
        return self._resume(TURN)

    def stored(self) -> bool:
        """The store has room again for its changes: go on. A job, see Turns.give."""
        return self._resume(STORING)

    def _resume(self, why: int) -> bool:
        broker = self.broker
        try:
            self.go_on(why)
        except MemoryError:
            broker.out_of_memory()
            self.close(UNSPECIFIED_ERROR, "out of memory", True)
        turns = broker.turns
        turns.spent = turns.limit  # packets passed on as they came are not counted there
        return False

    def authenticated(self, code: "Optional[int]") -> None:
        """See Identity.authenticated."""
        from port.core.protocol.pending_auth import authenticated

        authenticated(self, code)

    def authorized(self, action: int, topic: bytes, verdict: "Any", ttl: int) -> None:
        """See Identity.authorized."""
        from port.core.protocol.pending_auth import authorized

        authorized(self, action, topic, verdict, ttl)

    def ask(self, action: int, topic: bytes) -> None:
        """Ask the authorizer, and hold the client until the answer."""
        from port.core.protocol.pending_auth import ask

        ask(self, action, topic)

    def knows(self, identity: "Identity") -> bool:
        """True while decisions about this identity concern the client."""
        return self.identity is identity and self.state != CLOSED

    # -- packets -------------------------------------------------------------------------

    def _dispatch(self, first: int, body: bytes) -> None:
        kind = first >> 4
        self.broker.turns.spent += _DISPATCHED + (len(body) >> 4)
        if kind in (0, CONNECT, 2):  # a second CONNECT [MQTT-3.1.0-2], a CONNACK, a reserved type
            raise MQTTError(PROTOCOL_ERROR, "packet type %d not allowed here" % kind)
        if kind == AUTH and self.version == 5:
            self.broker.mqtt5.auth(self, first, body)  # type: ignore[union-attr]
            return
        flags = 2 if kind in (PUBREL, SUBSCRIBE, UNSUBSCRIBE) else 0
        if first & 15 != flags and self.version != 3:  # [MQTT-2.1.3-1]; in MQTT 3.1 DUP, QoS and RETAIN stand here
            code = PROTOCOL_ERROR if kind == PUBREL else MALFORMED_PACKET
            raise MQTTError(code, "reserved flags of packet type %d" % kind)
        if kind == 12:  # PINGREQ
            if body:
                raise MQTTError(MALFORMED_PACKET, "PINGREQ with a body")
            self.reply(b"\xd0\x00")  # [MQTT-3.12.4-1]
        elif kind == SUBSCRIBE:
            handle_subscribe(self, body)
        elif kind == UNSUBSCRIBE:
            handle_unsubscribe(self, body)
        elif kind == DISCONNECT:
            self._disconnect(body)
        elif kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
            self._acknowledge(kind, body)
        else:
            raise MQTTError(PROTOCOL_ERROR, "packet type %d comes from servers only" % kind)

    def _acknowledge(self, kind: int, body: bytes) -> None:
        """PUBACK, PUBREC, PUBREL or PUBCOMP in any form."""
        reader = Reader(body)
        packet_id = reader.u16()
        short = bytes((kind << 4 | (2 if kind == PUBREL else 0), 2)) + body[:2]
        session: "Session" = self.session  # type: ignore[assignment]
        code = SUCCESS
        if reader.left() and self.version == 5:
            code = self.broker.mqtt5.reason(reader, kind)  # type: ignore[union-attr]
        if reader.left():
            raise MQTTError(MALFORMED_PACKET, "packet too long")
        if kind == PUBACK:
            session.pubacks(short, 0, 4)
        elif kind == PUBREL:
            session.pubrels(short, 0, 4)
        elif kind == PUBREC:
            self._pubrec(packet_id, code)
        else:
            session.pubcomps(short, 0, 4)

    def _pubrec(self, packet_id: int, code: int) -> None:
        """Answer a PUBREC with PUBREL, unless it needs none."""
        code = self.session.pubrec(packet_id, code)  # type: ignore[union-attr]
        if code >= 0:
            self.acknowledge(0x62, packet_id, code)

    def _disconnect(self, body: bytes) -> None:
        """DISCONNECT from the client (clause 3.14)."""
        code = SUCCESS
        session = self.session
        if body:
            if self.version != 5:
                raise MQTTError(MALFORMED_PACKET, "DISCONNECT with a body")
            code = self.broker.mqtt5.disconnect(self, body)  # type: ignore[union-attr]
        if code == SUCCESS and session is not None:
            session.set_will(None)  # [MQTT-3.14.4-3]
        self.close(code, "client disconnected")

    # -- output --------------------------------------------------------------------------

    def reply(self, data: bytes) -> None:
        """Put a packet into the outbox, unless the packet it answers has closed the connection."""
        if self.state == CLOSED:
            return
        out = self.out
        if not out:
            self.broker.dirty.append(self)
        out.append(data)

    def answer(self, data: "bytes", i: int, end: int, head: bytes) -> None:
        """Answer each of the acknowledgements in data[i:end], of four bytes each, with one that begins with `head`."""
        packets: "Any" = head + data[i + 2 : end]
        if end - i > 4:
            packets = bytearray(packets)
            size = end - i
            self.broker.counters.packets_sent += (size >> 2) - 1  # `flush` counts it as one
            i = 4
            while i < size:
                packets[i] = head[0]
                i += 4
        out = self.out  # `reply`, written out
        if not out:
            self.broker.dirty.append(self)
        out.append(packets)

    def acknowledge(self, first: int, packet_id: int, code: int, text: str = "") -> None:
        """Send a PUBACK, PUBREC or PUBREL with a reason code, which MQTT 3.x lacks."""
        if self.version != 5 or not code:
            self.reply(bytes((first, 2, packet_id >> 8, packet_id & 255)))
            return
        mqtt5: "MQTT5" = self.broker.mqtt5  # type: ignore[assignment]
        self.reply(mqtt5.acknowledgement(self, first, packet_id, code, text))

    def pause_writing(self, why: int = _HOST, spare: int = 0) -> None:
        """The host has `outbox_bytes` or more unsent: the client counts as slow from now on. `why`: a bit of `blocked`.

        `spare`: bytes that still fit, as most of the unsent data is the packet under way. May be called again.
        """
        self.blocked |= why
        session = self.session
        if session is not None and session.conn is self:
            session.pause(spare if self.blocked == _HOST else 0)

    def resume_writing(self, why: int = _HOST) -> None:
        """The host has sent most of its data; a flush should follow."""
        self.blocked &= ~why
        session = self.session
        if self.state == OPEN and not self.blocked and session is not None and session.conn is self:
            session.out = self.out
            session.pump()

    # -- the end ---------------------------------------------------------------------------

    def fail(self, error: MQTTError) -> None:
        """End the connection for `error`, telling the client as its protocol version allows [MQTT-4.13.1-1]."""
        if self.state == CLOSED:
            return
        code = error.code
        self.broker.emit("error", self.session, error)
        if self.state != OPEN:
            self.refuse(code, error.text)
            return
        if self.version == 5:
            self.reply(self.broker.mqtt5.farewell(self, code, error.text))  # type: ignore[union-attr]
        self.close(code, error.text, told=self.version == 5)

    def overflow(self) -> None:
        """Its queue is full: end the connection after the work that has filled it, which may serve other receivers, too."""
        if not self.held & FULL:
            self.broker.turns.give(self._overflown)
            self.hold(FULL)

    def _overflown(self) -> bool:
        self.fail(MQTTError(QUOTA_EXCEEDED, "queue full"))
        return False

    def refuse(self, code: int, text: str) -> None:
        """Answer CONNECT with a refusal and close [MQTT-3.2.2-7]; a faulty MQTT 3.x CONNECT is just closed."""
        if self.version == 5:
            data = self.broker.mqtt5.refusal(self, code, text)  # type: ignore[union-attr]
            if len(data) <= self.max_packet:
                self.reply(data)
        elif self.version and code not in (MALFORMED_PACKET, PROTOCOL_ERROR):
            self.reply(bytes((0x20, 2, 0, connect_return_code(code))))
        self.close(code, text, told=bool(self.out))

    def close(self, code: int, text: str, abort: bool = False, told: bool = False) -> None:
        """Send what is in the outbox, close the transport and detach the session.

        `code` is the reason; the will goes out unless the client has withdrawn it. `told`: the last
        packet in the outbox tells the client the reason.
        """
        if self.state == CLOSED:
            return
        was_open = self.state == OPEN
        self.state = CLOSED
        broker = self.broker
        self.let_go()
        if self.unfinished is not None:
            self.unfinished.over()
        if self.early:  # on a board setting an attribute for the first time takes memory, and none may be left
            self.expect(0)
        try:
            if self.version == 5 and broker.mqtt5 is not None:  # memory may not have sufficed to load it
                broker.mqtt5.close(self)
            if self.ack_after_batch > broker.durable:
                broker.journal.closing(self, told)
            if self.out:
                broker.send(self)
            self.transport.close(abort, told)
        finally:
            broker.connection_registry.detach(self, code, text, was_open)
            if self.seat is not None:
                leave(self.seat)
                self.seat = None
            if self.identity is not None:
                self.connect = self.identity = None  # a cycle: both would wait for the cycle collector

    def lost(self, text: str = "connection lost") -> None:
        """The host found the connection gone. Data received before, perhaps a DISCONNECT, is handled first."""
        waits = self.held and not self.held & (ASKING | FULL)
        if waits and self.state == OPEN and (self.rest is not None or self.unfinished is not None):
            self.gone = text
            self.transport.pause_reading()
        else:
            self.close(UNSPECIFIED_ERROR, text, True)

    def __str__(self) -> str:
        """The client in the log: client id, user and address."""
        return "%s %s%s" % (shown(self.client_id), user_of(self), self.address)

    def __repr__(self) -> str:
        return "<Connection %s>" % self
