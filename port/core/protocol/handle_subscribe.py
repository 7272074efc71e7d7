"""SUBSCRIBE and UNSUBSCRIBE (clauses 3.8 to 3.11).

A packet with many filters takes several turns, and waits while an authorizer is asked: `Filters` holds its progress.
"""

from port.core import const
from port.core.constants import MAY_SUBSCRIBE, NO_LOCAL, OPEN, QOS, RETAIN_AS_PUBLISHED, TURN, UNDECIDED
from port.core.wire.codec import SUBSCRIBE, UNSUBSCRIBE, Reader, packet, u16
from port.core.wire.reason_codes import (
    MALFORMED_PACKET,
    NO_SUBSCRIPTION_EXISTED,
    NOT_AUTHORIZED,
    PROTOCOL_ERROR,
    QUOTA_EXCEEDED,
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
    TOPIC_FILTER_INVALID,
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
    MQTTError,
)
from port.core.wire.topics import has_wildcard, is_shared, valid_filter, without_share
from port.core.limits.client_log import denied
from port.core.routing.subscriptions import is_wide

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from port.core.sessions.session import Session
    from port.core.protocol.connection import Connection


# Costs of a filter, in deliveries (Turns.spent): checking it, making or ending a subscription, a repetition in its packet.
# One more for eight bytes, as all of them are examined.
_CHECKED = const(12)
_FILTER = const(140)
_AGAIN = const(4)
_BYTES = const(3)
_JOINED = const(32)  # filters whose retained messages are arranged in one go
_ASKED = const(14)  # words of memory of a filter while its packet is under way, besides its bytes
_MADE = const(13)  # and once its subscription is made
_LOOK = const(16)  # filters between two checks of memory
_LITTLE = const(1024)  # bytes of filters handled in one go
_BRANCHES = const(16)  # `+` in filters with several that an owner may have, for each wide filter that a session may have


class Filters:
    """One SUBSCRIBE or UNSUBSCRIBE: all its filters are checked, then handled in their order.

    bytes    of memory that it takes until it is answered; those of an incomplete packet count, too
    joining  True while the session's replay is given the new subscriptions, for which it sends nothing before SUBACK
    """

    __slots__ = (
        "bytes", "joining", "_conn", "_reader", "_packet_id", "_identifier", "_asked", "_codes", "_made", "_joined", "_ended",
    )  # fmt: skip

    def __init__(self, conn: "Connection", reader: Reader, packet_id: int, identifier: int) -> None:
        """`reader` is at the first filter; `identifier`: the subscription identifier or 0, -1 for an UNSUBSCRIBE."""
        self._conn = conn
        self._reader = reader
        self._packet_id = packet_id
        self._identifier = identifier
        self._asked: "list[tuple[bytes, int]]" = []  # (topic filter, options)
        self._codes = bytearray()  # reason codes of those handled so far
        self._made: "dict[bytes, tuple[int, int, bool]]" = {}  # topic filter -> (options, reason code, whether it is new)
        self._joined = 0  # number of filters whose retained messages are arranged
        self._ended = False  # whether a subscription has ended
        self.joining = False
        self.bytes = 0
        size = reader.left()
        if size > _LITTLE:
            self.bytes = 2 * size  # the packet, and its filters one by one
            conn.broker.memory.partial_bytes += self.bytes

    def _count(self, words: int) -> None:
        """Account for so many words more, unless it is over."""
        conn = self._conn
        if conn.unfinished is self:
            size = words * conn.broker.memory.word
            self.bytes += size
            conn.broker.memory.partial_bytes += size

    def over(self) -> None:
        """End it: it is answered, or its connection is gone."""
        self._conn.broker.memory.partial_bytes -= self.bytes
        self._conn.unfinished = None

    def go_on(self) -> None:
        """Check and handle further filters, as far as this turn goes; after the last one, answer.

        Until then the connection is held, with this as its `unfinished`. Raises MQTTError.
        """
        conn = self._conn
        broker = conn.broker
        codes = self._codes
        asked = self._asked
        conn.unfinished = self
        checking = self._reader.left() or not asked  # [MQTT-3.8.3-2] [MQTT-3.10.3-2]
        while checking or len(codes) < len(asked):
            if broker.turns.spent > broker.turns.limit:
                self._wait()
                return
            if checking:
                self._check()
                checking = self._reader.left()
                continue
            topic_filter, options = asked[len(codes)]
            code = self._unsubscribe(topic_filter) if self._identifier < 0 else self._subscribe(topic_filter, options)
            if code == UNDECIDED or conn.state != OPEN:  # a hook may have ended the connection
                return
            codes.append(code)
        if self._identifier >= 0:
            if not self._joined:
                self._promise()
            while self._join():
                if broker.turns.spent > broker.turns.limit:
                    self._wait()
                    return
        self.over()
        if self._identifier < 0:
            self._unsuback()
        else:
            self._suback()

    def _wait(self) -> None:
        """Go on in the next turn."""
        conn = self._conn
        conn.hold(TURN)
        conn.broker.turns.give(conn.turn)

    def _check(self) -> None:
        """Read a filter and check that the client may ask for it."""
        conn = self._conn
        reader = self._reader
        asked = self._asked
        broker = conn.broker
        if len(asked) >= conn.options.max_filters:
            raise MQTTError(QUOTA_EXCEEDED, "more than %d topic filters" % len(asked))
        if asked and not len(asked) % _LOOK and broker.memory.lacks(0):
            raise MQTTError(QUOTA_EXCEEDED, "no room for the rest of the topic filters")
        topic_filter = reader.string()
        broker.turns.spent += _CHECKED + (len(topic_filter) >> _BYTES)
        if not is_shared(topic_filter) and not valid_filter(topic_filter):
            raise MQTTError(MALFORMED_PACKET, "invalid topic filter")
        options = 0
        if self._identifier >= 0:
            options = reader.u8()
            if conn.version == 3:  # which ignores the other bits
                options &= QOS
            # [MQTT-3.8.3-5], and in MQTT 3.1.1 [MQTT-3-8.3-4]
            if options & QOS == 3 or options & 0xC0 or options & 0x30 == 0x30 or conn.version != 5 and options > 2:
                raise MQTTError(MALFORMED_PACKET, "invalid subscription options 0x%02x" % options)
            if conn.bridge and conn.version != 5:  # its own messages must not come back to it, and others must keep RETAIN
                options |= RETAIN_AS_PUBLISHED if is_shared(topic_filter) else NO_LOCAL | RETAIN_AS_PUBLISHED
            if options & NO_LOCAL and is_shared(topic_filter):  # [MQTT-3.8.3-4]
                raise MQTTError(PROTOCOL_ERROR, "no local on a shared subscription")
            options |= self._identifier << 8
        mount = conn.session.mount  # type: ignore[union-attr]
        if mount is not None:
            topic_filter = mount.filter(topic_filter)
        asked.append((topic_filter, options))
        self._count(_ASKED)

    def _subscribe(self, topic_filter: bytes, options: int) -> int:
        """Make a subscription; returns the reason code, UNDECIDED while the authorizer is asked."""
        conn = self._conn
        session: "Session" = conn.session  # type: ignore[assignment]
        before = self._made.get(topic_filter)
        if before is not None and before[0] == options:
            conn.broker.turns.spent += _AGAIN
            return before[1]
        plain = without_share(topic_filter)
        new = topic_filter not in session.subscriptions
        code = TOPIC_FILTER_INVALID
        if is_valid(conn, topic_filter, plain):  # first: rules and authorizers are not asked about filters that are too long
            access = session.access
            if access is not None and access.authorizer is not None:
                if access.subscribe(plain, conn.broker.clock()) == UNDECIDED:
                    conn.ask(MAY_SUBSCRIBE, plain)
                    return UNDECIDED
            conn.broker.turns.spent += _FILTER
            code = make_subscription(conn, session, topic_filter, plain, options)
        else:
            conn.broker.turns.spent += _CHECKED
        if code > 2 and conn.state == OPEN:
            denied(session, MAY_SUBSCRIBE, topic_filter, code)
        self._made[topic_filter] = (options, code, new if before is None else before[2])
        if before is None:
            self._count(_MADE)
        return code

    def _unsubscribe(self, topic_filter: bytes) -> int:
        """End a subscription; returns the reason code."""
        conn = self._conn
        session: "Session" = conn.session  # type: ignore[assignment]
        if topic_filter not in session.subscriptions:
            conn.broker.turns.spent += _AGAIN
            return NO_SUBSCRIPTION_EXISTED
        conn.broker.turns.spent += _FILTER
        self._ended = True
        conn.broker.emit("unsubscribe", session, topic_filter)
        if topic_filter in session.subscriptions:  # the hook may have ended the session
            conn.broker.session_registry.unsubscribe(session, topic_filter)
        return 0

    def _promise(self) -> None:
        """Hold the answer until the subscriptions are durable, as it promises."""
        if self._conn.session.store_id and min(self._codes) <= 2:  # type: ignore[union-attr]
            self._conn.broker.journal.wait(self._conn)

    def _join(self) -> bool:
        """Arrange for the retained messages of some of the subscriptions, to be sent after the answer; False after the last one.

        They are noted before SUBACK, so that a session that outlives its connection or the broker still gets them.
        """
        conn = self._conn
        session: "Session" = conn.session  # type: ignore[assignment]
        asked = self._asked
        end = min(self._joined + _JOINED, len(asked))
        while self._joined < end:
            topic_filter = asked[self._joined][0]
            self._joined += 1
            conn.broker.turns.spent += 1
            made = self._made.pop(topic_filter, None)
            if made is None:  # a repetition in the packet
                continue
            options, code, new = made
            handling = options >> 4 & 3
            if code > 2 or is_shared(topic_filter) or handling and not (handling == 1 and new):
                continue
            if topic_filter in session.subscriptions:  # the session may have lost it meanwhile
                self.joining = True
                conn.broker.session_registry.replay_retained(session, topic_filter, options & ~QOS | code)  # [MQTT-3.3.1-9] [MQTT-3.3.1-10]
        return end < len(asked)

    def _suback(self) -> None:
        """Answer a SUBSCRIBE, then send the retained messages [MQTT-3.8.4-1] [MQTT-3.8.4-5] [MQTT-3.8.4-6]."""
        conn = self._conn
        session: "Session" = conn.session  # type: ignore[assignment]
        codes = self._codes
        if len(codes) > _JOINED:
            self._promise()  # notes of the first may be stored by now, those of the last not
        for i in range(len(codes)):
            if codes[i] <= 2:
                continue
            if conn.version == 4:
                codes[i] = 0x80
            elif conn.version == 3:  # its SUBACK has no code of refusal (MQTT 3.1 section 3.9)
                codes[i] = min(self._asked[i][1] & QOS, conn.options.max_qos)
        if session.access is not None:
            session.access.subscribed()
        conn.reply(packet(0x90, u16(self._packet_id) + (b"\0" if conn.version == 5 else b"") + bytes(codes)))
        if self.joining:
            session.pump()

    def _unsuback(self) -> None:
        """Answer an UNSUBSCRIBE [MQTT-3.10.4-4] [MQTT-3.10.4-5]."""
        conn = self._conn
        if conn.session.store_id and self._ended:  # type: ignore[union-attr]
            conn.broker.journal.wait(conn)
        conn.reply(packet(0xB0, u16(self._packet_id) + (b"\0" + bytes(self._codes) if conn.version == 5 else b"")))


def handle_subscribe(conn: "Connection", body: bytes) -> None:
    """Make the requested subscriptions, answer with SUBACK, then send the retained messages [MQTT-3.8.4-1]."""
    reader = Reader(body)
    packet_id = _packet_id(reader)
    identifier = 0
    if conn.version == 5:
        identifier = conn.broker.mqtt5.subscribing(conn, reader, SUBSCRIBE)  # type: ignore[union-attr]
    Filters(conn, reader, packet_id, identifier).go_on()


def handle_unsubscribe(conn: "Connection", body: bytes) -> None:
    """End the subscriptions and answer with UNSUBACK [MQTT-3.10.4-4]."""
    reader = Reader(body)
    packet_id = _packet_id(reader)
    if conn.version == 5:
        conn.broker.mqtt5.subscribing(conn, reader, UNSUBSCRIBE)  # type: ignore[union-attr]
    Filters(conn, reader, packet_id, -1).go_on()


def is_valid(conn: "Connection", topic_filter: bytes, plain: bytes) -> bool:
    """Whether the client may ask for a filter of this length and form; `plain`: the filter without its share."""
    limits = conn.options
    return (
        len(topic_filter) <= limits.max_topic_length
        and topic_filter.count(b"/") < limits.max_topic_levels
        and valid_filter(plain)
    )


def make_subscription(conn: "Connection", session: "Session", topic_filter: bytes, plain: bytes, options: int) -> int:
    """Make one subscription to a valid filter; returns the granted QoS or the reason code of a refusal."""
    broker = conn.broker
    limits = conn.options
    if is_shared(topic_filter) and not (limits.shared_subscriptions and broker.session_registry.can_share()):
        return SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
    if has_wildcard(plain) and not limits.wildcard_subscriptions:
        return WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED
    if topic_filter not in session.subscriptions and not _has_room(session, topic_filter):
        return QUOTA_EXCEEDED
    allowed = 2
    if session.access is not None:
        allowed = session.access.subscribe(plain, broker.clock())
        if allowed < 0:
            broker.counters.denied_subscriptions += 1
            return NOT_AUTHORIZED
    refused = broker.emit("subscribe", session, topic_filter, options)
    if conn.state != OPEN:  # the hook has ended the connection, and perhaps the session
        refused = NOT_AUTHORIZED
    if refused is not None:
        return refused if isinstance(refused, int) and 0x80 <= refused <= 0xFF else NOT_AUTHORIZED
    qos = min(options & QOS, limits.max_qos, allowed & QOS)
    broker.session_registry.subscribe(session, topic_filter, options & ~QOS | qos)
    return qos


def _has_room(session: "Session", topic_filter: bytes) -> bool:
    """Whether the session may have one subscription more."""
    limits = session.options
    subscriptions = session.broker.router.subscriptions
    size = subscriptions.size_of(topic_filter)
    if (
        len(session.subscriptions) >= limits.max_subscriptions
        or session.subscription_bytes + size > limits.max_subscription_bytes
        or session.broker.memory.lacks(size)
    ):
        return False
    owner = session.owner_key()
    if is_wide(topic_filter):
        wide = limits.max_wide_subscriptions
        if subscriptions.wide.get(session, 0) >= wide:
            return False
        # A look-up compares all filters that nearly match. Filters with one `+` can be as many as a name has levels, others
        # any number: the limit of each owner bounds them.
        more = topic_filter.count(b"+")
        if more > 1 and topic_filter not in subscriptions.owners:
            if subscriptions.branches.get(owner, 0) + more > wide * _BRANCHES:
                return False
    if not is_shared(topic_filter) or subscriptions.group(topic_filter) is not None:
        return True
    return subscriptions.founded.get(owner, 0) < limits.max_shared_subscriptions


def _packet_id(reader: Reader) -> int:
    packet_id = reader.u16()
    if not packet_id:  # [MQTT-2.2.1-3]
        raise MQTTError(MALFORMED_PACKET, "packet identifier 0")
    return packet_id
