"""SUBSCRIBE and UNSUBSCRIBE (clauses 3.8 to 3.11)."""

from port.core import const
from port.core.codec import SUBSCRIBE, UNSUBSCRIBE, Reader, packet, u16
from port.core.reason import (
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
from port.core.topics import has_wildcard, is_shared, valid_filter, without_share

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from port.core.connection import Connection
    from port.core.session import Session

_QOS = const(3)
_NO_LOCAL = const(4)
_UNDECIDED = const(-2)  # port.core.acl has these two
_SUBSCRIBE = const(2)


def handle_subscribe(conn: "Connection", body: bytes) -> None:
    """Make the subscriptions asked for, answer with SUBACK, then send the retained messages [MQTT-3.8.4-1]."""
    broker = conn.broker
    session: "Session" = conn.session  # type: ignore[assignment]
    version5 = conn.version == 5
    reader = Reader(body)
    packet_id = _packet_id(reader)
    identifier = 0
    if version5:
        identifier = broker.mqtt5.subscribing(conn, reader, SUBSCRIBE)  # type: ignore[union-attr]
    asked: "list[tuple[bytes, int]]" = []
    while reader.left() or not asked:  # [MQTT-3.8.3-2]
        topic_filter = _filter(reader)
        options = reader.u8()
        # [MQTT-3.8.3-5], and in MQTT 3.1.1 [MQTT-3-8.3-4]
        if options & _QOS == 3 or options & 0xC0 or options & 0x30 == 0x30 or not version5 and options > 2:
            raise MQTTError(MALFORMED_PACKET, "invalid subscription options 0x%02x" % options)
        if options & _NO_LOCAL and is_shared(topic_filter):  # [MQTT-3.8.3-4]
            raise MQTTError(PROTOCOL_ERROR, "no local on a shared subscription")
        asked.append((topic_filter, options | identifier << 8))

    access = session.access
    if access is not None and access.authorizer is not None:
        for topic_filter, _ in asked:
            plain = without_share(topic_filter)
            if access.subscribe(plain, broker.clock()) == _UNDECIDED:
                conn.ask(_SUBSCRIBE, plain)
                return

    codes = bytearray()
    made: "list[tuple[bytes, int, bool]]" = []
    for topic_filter, options in asked:
        code, new = _subscribe(conn, session, topic_filter, options)
        codes.append(code if version5 or code <= 2 else 0x80)
        if code <= 2:
            made.append((topic_filter, options & ~_QOS | code, new))
    if access is not None:
        access.subscribed()
    if session.number and made:
        broker.journal.wait(conn)
    # [MQTT-3.8.4-5] [MQTT-3.8.4-6]
    conn.reply(packet(0x90, u16(packet_id) + (b"\0" if version5 else b"") + bytes(codes)))
    for topic_filter, options, new in made:
        handling = options >> 4 & 3
        if not is_shared(topic_filter) and (not handling or handling == 1 and new):
            broker.replay_retained(session, topic_filter, options)  # [MQTT-3.3.1-9] [MQTT-3.3.1-10]


def _subscribe(conn: "Connection", session: "Session", topic_filter: bytes, options: int) -> "tuple[int, bool]":
    """Make one subscription: (granted QoS or the reason code of a refusal, whether it is new)."""
    broker = conn.broker
    limits = conn.options
    plain = without_share(topic_filter)
    new = topic_filter not in session.subscriptions
    if (
        len(topic_filter) > limits.max_topic_length
        or topic_filter.count(b"/") >= limits.max_topic_levels
        or not valid_filter(plain)
    ):
        return TOPIC_FILTER_INVALID, new
    if is_shared(topic_filter) and not (limits.shared_subscriptions and broker.can_share()):
        return SHARED_SUBSCRIPTIONS_NOT_SUPPORTED, new
    if has_wildcard(plain) and not limits.wildcard_subscriptions:
        return WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED, new
    if new and len(session.subscriptions) >= limits.max_subscriptions:
        return QUOTA_EXCEEDED, new
    allowed = 2
    if session.access is not None:
        allowed = session.access.subscribe(plain, broker.clock())
        if allowed < 0:
            broker.denied_subscriptions += 1
            return NOT_AUTHORIZED, new
    refused = broker.tell("subscribe", session, topic_filter, options)
    if refused is not None:
        return refused if isinstance(refused, int) and 0x80 <= refused <= 0xFF else NOT_AUTHORIZED, new
    qos = min(options & _QOS, limits.max_qos, allowed & _QOS)
    broker.subscribe_session(session, topic_filter, options & ~_QOS | qos)
    return qos, new


def handle_unsubscribe(conn: "Connection", body: bytes) -> None:
    """Take the subscriptions away and answer with UNSUBACK [MQTT-3.10.4-4]."""
    session: "Session" = conn.session  # type: ignore[assignment]
    version5 = conn.version == 5
    reader = Reader(body)
    packet_id = _packet_id(reader)
    if version5:
        conn.broker.mqtt5.subscribing(conn, reader, UNSUBSCRIBE)  # type: ignore[union-attr]
    filters: "list[bytes]" = []
    while reader.left() or not filters:  # [MQTT-3.10.3-2]
        filters.append(_filter(reader))
    codes = bytearray()
    ended = False
    for topic_filter in filters:
        if topic_filter in session.subscriptions:
            ended = True
            conn.broker.tell("unsubscribe", session, topic_filter)
            conn.broker.unsubscribe_session(session, topic_filter)
            codes.append(0)
        else:
            codes.append(NO_SUBSCRIPTION_EXISTED)
    if session.number and ended:
        conn.broker.journal.wait(conn)
    conn.reply(packet(0xB0, u16(packet_id) + (b"\0" + bytes(codes) if version5 else b"")))


def _packet_id(reader: Reader) -> int:
    packet_id = reader.u16()
    if not packet_id:  # [MQTT-2.2.1-3]
        raise MQTTError(MALFORMED_PACKET, "packet identifier 0")
    return packet_id


def _filter(reader: Reader) -> bytes:
    topic_filter = reader.string()
    if not is_shared(topic_filter) and not valid_filter(topic_filter):
        raise MQTTError(MALFORMED_PACKET, "invalid topic filter")
    return topic_filter
