"""PUBLISH from a client (clause 3.3): parse, check, hand to the broker, acknowledge."""

from port.core import const
from port.core.codec import PUBLISH, Reader, varint
from port.core.message import Message
from port.core.properties import (
    MESSAGE_EXPIRY_INTERVAL,
    RESPONSE_TOPIC,
    SUBSCRIPTION_IDENTIFIER,
    TOPIC_ALIAS,
    decode,
    encode_all,
)
from port.core.reason import (
    MALFORMED_PACKET,
    PROTOCOL_ERROR,
    QOS_NOT_SUPPORTED,
    RETAIN_NOT_SUPPORTED,
    SUCCESS,
    TOPIC_ALIAS_INVALID,
    MQTTError,
)
from port.core.topics import has_wildcard

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

    from port.core.connection import Connection
    from port.core.session import Session

    # topic alias (0: none), message expiry interval in s or None, and the properties to forward
    Parsed = tuple[int, "Optional[int]", bytes]

_UNDECIDED = const(-2)  # port.core.acl has these two
_MAY_PUBLISH = const(1)
_PUBACK = const(0x40)
_PUBREC = const(0x50)
_CACHED_SIZE = const(256)  # longest property block worth remembering, bytes


def handle_publish(conn: "Connection", first: int, packet: bytes, at: int) -> None:
    """Handle a PUBLISH whose body starts at packet[at]. Raises MQTTError for the client's faults."""
    broker = conn.broker
    session: "Session" = conn.session  # type: ignore[assignment]
    qos = first >> 1 & 3
    if qos == 3 or first & 8 and not qos:  # [MQTT-3.3.1-4] [MQTT-3.3.1-2]
        raise MQTTError(MALFORMED_PACKET, "PUBLISH with invalid flags")
    size = len(packet)
    start = at + 2
    at = start + (packet[at] << 8 | packet[at + 1]) if start <= size else size + 1
    name = packet[start:at]
    name_end = at
    packet_id = 0
    if qos:
        at += 2
        if at <= size:
            packet_id = packet[at - 2] << 8 | packet[at - 1]
            if not packet_id:
                raise MQTTError(PROTOCOL_ERROR, "packet identifier 0")  # [MQTT-2.2.1-3]
    properties = b""
    expires: "Optional[int]" = None
    version5 = conn.version == 5
    as_it_came = not first & 9  # it can be passed on with another packet identifier
    if version5:
        if at < size and not packet[at]:
            at += 1
        else:
            at, alias, interval, properties = _properties(conn, packet, at)
            if interval is not None:
                expires = broker.clock() + interval * 1000
            if alias >= 0:
                name = _resolve_alias(conn, alias, name)
                as_it_came = False
    if at > size:
        raise MQTTError(MALFORMED_PACKET, "PUBLISH too short")
    if not name:  # [MQTT-4.7.3-1]; Protocol Error would do as well (clause 3.3.2.1), mosquitto answers this
        raise MQTTError(MALFORMED_PACKET, "PUBLISH without a topic")
    options = conn.options
    if qos > options.max_qos:  # [MQTT-3.2.2-11]
        raise MQTTError(QOS_NOT_SUPPORTED, "QoS %d is not supported" % qos)
    retain = first & 1 == 1
    if retain and not options.retain_available:  # [MQTT-3.2.2-14]
        raise MQTTError(RETAIN_NOT_SUPPORTED, "retained messages are not supported")

    if qos == 2 and session.received:
        limit = options.receive_maximum if version5 else options.max_unreleased
        if session.was_received(packet_id, limit):  # sent again: it has been handed on [MQTT-4.3.3-10]
            conn.acknowledge(_PUBREC, packet_id, 0)
            return
    form = None
    if as_it_came:
        key = first & 6 | 16 if version5 else first & 6
        form = (key, (packet[:name_end], packet[name_end + 2 :]) if qos else (packet, b""))
    message = Message(name, packet[at:], qos, retain, properties, expires, form)
    journal = broker.journal
    serial = 0 if journal is None else journal.serial
    receivers = None if retain or session.access is not None else broker.router.quick.get(name)
    if receivers is not None:
        code, text = SUCCESS, ""
        for receiver, option in receivers:
            granted = option & 3  # QoS is the lower of the two [MQTT-3.8.4-8]
            receiver.deliver(message, (qos if qos < granted else granted) << 1)
    else:
        code, text = broker.accept_message(message, session)
        if code == _UNDECIDED:
            conn.ask(_MAY_PUBLISH, name)
            return
    if not qos:
        return
    if qos == 2 and code < 0x80:
        session.note_received(packet_id)
        code = 0
    if journal is not None and journal.serial != serial:
        journal.wait(conn)
    if code and version5:
        conn.acknowledge(_PUBACK if qos == 1 else _PUBREC, packet_id, code, text)
    else:
        conn.reply((b"\x40\x02" if qos == 1 else b"\x50\x02") + packet[name_end : name_end + 2])


def _properties(conn: "Connection", body: bytes, at: int) -> "tuple[int, int, Optional[int], bytes]":
    """(where the payload starts, alias or -1, expiry interval, properties to forward); blocks that repeat are cached."""
    if at >= len(body):
        raise MQTTError(MALFORMED_PACKET, "PUBLISH too short")
    reader = Reader(body)
    reader.pos = at
    size = reader.varint()
    start = reader.pos
    raw = reader.take(size)
    cache = conn.broker.property_cache
    parsed = cache.get(raw)
    if parsed is None:
        parsed = _parse(raw)
        if size <= _CACHED_SIZE:
            if len(cache) >= conn.broker.options.route_cache:
                cache.clear()
            cache[raw] = parsed
    return start + size, parsed[0], parsed[1], parsed[2]


def _parse(raw: bytes) -> "Parsed":
    found = decode(Reader(varint(len(raw)) + raw), PUBLISH)
    if SUBSCRIPTION_IDENTIFIER in found:  # [MQTT-3.3.4-6]
        raise MQTTError(PROTOCOL_ERROR, "subscription identifier from a client")
    topic = found.get(RESPONSE_TOPIC)
    if topic is not None and (not topic or has_wildcard(topic)):  # [MQTT-3.3.2-14]
        raise MQTTError(PROTOCOL_ERROR, "invalid response topic")
    alias = found.pop(TOPIC_ALIAS, -1)
    interval: "Optional[int]" = found.pop(MESSAGE_EXPIRY_INTERVAL, None)
    if alias < 0 and interval is None:
        return alias, interval, raw
    return alias, interval, encode_all(found)


def _resolve_alias(conn: "Connection", alias: int, name: bytes) -> bytes:
    """The topic name behind a topic alias, or note the alias of a name (clause 3.3.2.3.4)."""
    if not 0 < alias <= conn.options.topic_alias_maximum:  # [MQTT-3.3.2-8] [MQTT-3.3.2-9]
        raise MQTTError(TOPIC_ALIAS_INVALID, "topic alias %d" % alias)
    aliases = conn.aliases
    if aliases is None:
        aliases = conn.aliases = {}
    if name:
        aliases[alias] = name
        return name
    if alias not in aliases:
        raise MQTTError(PROTOCOL_ERROR, "unknown topic alias %d" % alias)
    return aliases[alias]


