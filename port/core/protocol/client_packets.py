"""Whole packets in both directions, as dicts: for clients (the bridge), tools and tests.

The broker parses what it receives without this module. Strings stay UTF-8 bytes; a packet
has `type` (codec.CONNECT and so on) and

    CONNECT      version, bridge, clean_start, keep_alive, client_id, will, user, password, properties;
                 will is None or a dict of topic, payload, qos, retain, properties
    CONNACK      session_present, code, properties
    PUBLISH      dup, qos, retain, topic, packet_id (0 with QoS 0), payload, properties
    PUBACK, PUBREC, PUBREL, PUBCOMP
                 packet_id, code, properties
    SUBSCRIBE    packet_id, filters as (filter, options byte) pairs, properties
    SUBACK       packet_id, codes as bytes, properties
    UNSUBSCRIBE  packet_id, filters as bytes, properties
    UNSUBACK     packet_id, codes (none in MQTT 3.x), properties
    PINGREQ, PINGRESP
    DISCONNECT, AUTH
                 code, properties

`code` is a reason code, in an MQTT 3.x CONNACK the return code; `properties` are those of
port.core.wire.properties, empty in MQTT 3.x. `encode` takes omitted fields as
b"", 0, False, None or no properties.
"""

from port.core import const
from port.core.constants import NO_LOCAL
from port.core.wire.codec import (
    AUTH,
    CONNACK,
    CONNECT,
    DISCONNECT,
    PINGREQ,
    PINGRESP,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    SUBACK,
    SUBSCRIBE,
    UNSUBACK,
    UNSUBSCRIBE,
    Reader,
    is_utf8,
    string,
    u16,
    varint,
)
from port.core.wire.properties import (
    AUTHENTICATION_DATA,
    AUTHENTICATION_METHOD,
    MESSAGE_EXPIRY_INTERVAL,
    RESPONSE_TOPIC,
    TOPIC_ALIAS,
    WILL,
    WILL_DELAY_INTERVAL,
)
from port.core.wire.properties import decode as decode_properties
from port.core.wire.properties import encode as encode_properties
from port.core.wire.reason_codes import (
    CLIENT_IDENTIFIER_NOT_VALID,
    MALFORMED_PACKET,
    PROTOCOL_ERROR,
    TOPIC_ALIAS_INVALID,
    UNSUPPORTED_PROTOCOL_VERSION,
    MQTTError,
)
from port.core.wire.topics import has_wildcard, is_shared, split_share, valid_filter, valid_name
from port.core.limits.options import Options
from port.core.limits.turns import Turns
from port.core.protocol.connect_packet import Connect
from port.core.protocol.property_reader import PropertyReader

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from port.core.wire.properties import Properties

    Packet = dict[str, Any]


_PROPERTIES = PropertyReader(Options(max_user_properties=10000000), Turns(None, 0))  # without a limit
_ACK_CODES = b"\x00\x10\x80\x83\x87\x90\x91\x97\x99"
_RELEASE_CODES = b"\x00\x92"
# Reason codes each packet type may carry in MQTT 5 (clause 2.4).
_CODES = {
    CONNACK: b"\x00\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8c\x90\x95\x97\x99\x9a\x9b\x9c\x9d\x9f",
    PUBACK: _ACK_CODES,
    PUBREC: _ACK_CODES,
    PUBREL: _RELEASE_CODES,
    PUBCOMP: _RELEASE_CODES,
    SUBACK: b"\x00\x01\x02\x80\x83\x87\x8f\x91\x97\x9e\xa1\xa2",
    UNSUBACK: b"\x00\x11\x80\x83\x87\x8f\x91",
    DISCONNECT: (
        b"\x00\x04\x80\x81\x82\x83\x87\x89\x8b\x8c\x8d\x8e\x8f\x90\x93\x94\x95\x96\x97\x98\x99"
        b"\x9a\x9b\x9c\x9d\x9e\x9f\xa0\xa1\xa2"
    ),
    AUTH: b"\x00\x18\x19",
}
_CODES_3 = {CONNACK: b"\x00\x01\x02\x03\x04\x05", SUBACK: b"\x00\x01\x02\x80"}  # MQTT 3.1's SUBACK: not 0x80


def decode(data: bytes, version: int) -> "Packet":
    """Decode exactly one packet; `version` is 3, 4 or 5, and ignored for CONNECT, which has its own.

    Raises MQTTError for anything the standard forbids.
    """
    reader = Reader(data)
    first = reader.u8()
    size = reader.varint()
    if size != reader.left():
        raise MQTTError(MALFORMED_PACKET, "remaining length %d, but %d bytes follow" % (size, reader.left()))
    kind = first >> 4
    if kind == PUBLISH:
        return _decode_publish(reader, first, version)
    if first & 15 != _flags(kind) and version != 3:  # [MQTT-2.1.3-1]
        raise MQTTError(MALFORMED_PACKET, "reserved flags of packet type %d" % kind)
    packet: "Packet" = {"type": kind}
    if kind == CONNECT:
        _decode_connect(reader.take(size), packet)
    elif kind == CONNACK:
        flags = reader.u8()
        if flags > 1:
            raise MQTTError(MALFORMED_PACKET, "reserved connect acknowledge flags")
        packet["session_present"] = flags == 1
        packet["code"] = reader.u8()
        packet["properties"] = decode_properties(reader, kind) if version == 5 else {}
    elif PUBACK <= kind <= PUBCOMP:
        packet["packet_id"] = reader.u16()
        packet["code"] = reader.u8() if version == 5 and reader.left() else 0
        packet["properties"] = decode_properties(reader, kind) if version == 5 and reader.left() else {}
    elif SUBSCRIBE <= kind <= UNSUBACK:
        packet["packet_id"] = reader.u16()
        packet["properties"] = decode_properties(reader, kind) if version == 5 else {}
        if kind == SUBSCRIBE or kind == UNSUBSCRIBE:
            filters: "list[Any]" = []
            while reader.left():
                topic_filter = reader.string()
                filters.append((topic_filter, reader.u8()) if kind == SUBSCRIBE else topic_filter)
            packet["filters"] = filters
        else:
            packet["codes"] = reader.take(reader.left())
    elif kind == DISCONNECT or kind == AUTH:
        # Only a DISCONNECT may have a reason code without a property length (clause 3.14.2.2.1).
        packet["code"] = reader.u8() if reader.left() and version == 5 else 0
        more = reader.left() or kind == AUTH and size
        packet["properties"] = decode_properties(reader, kind) if more and version == 5 else {}
    if reader.left():
        raise MQTTError(MALFORMED_PACKET, "packet too long")
    _check(packet, packet["version"] if kind == CONNECT else version)
    return packet


def encode(packet: "Packet", version: int) -> bytes:
    """The packet's bytes, in the shortest form; ValueError for what `decode` would refuse."""
    if packet["type"] == CONNECT:
        version = packet.get("version", version)
    try:
        if packet["type"] == PUBLISH:
            _check_publish(packet, version)
            return _encode_publish(packet, version)
        _check(packet, version)
    except MQTTError as e:
        raise ValueError(e.text)
    kind: int = packet["type"]
    body = b""
    if kind == CONNECT:
        body = _encode_connect(packet, version)
    elif kind == CONNACK:
        body = bytes((1 if packet.get("session_present") else 0, packet.get("code", 0)))
        body += _encode_properties(packet, kind, version)
    elif PUBACK <= kind <= PUBCOMP:
        body = u16(packet["packet_id"]) + _encode_code(packet, kind, version)
    elif SUBSCRIBE <= kind <= UNSUBACK:
        body = u16(packet["packet_id"]) + _encode_properties(packet, kind, version)
        if kind == SUBSCRIBE:
            for topic_filter, options in packet["filters"]:
                body += string(topic_filter) + bytes((options,))
        elif kind == UNSUBSCRIBE:
            for topic_filter in packet["filters"]:
                body += string(topic_filter)
        else:
            body += bytes(packet.get("codes", b""))
    elif kind == DISCONNECT or kind == AUTH:
        body = _encode_code(packet, kind, version)
    return bytes((kind << 4 | _flags(kind),)) + varint(len(body)) + body


def _flags(kind: int) -> int:
    """The low nibble of the first byte of every packet but PUBLISH (clause 2.1.3)."""
    return 2 if kind in (PUBREL, SUBSCRIBE, UNSUBSCRIBE) else 0


# -- CONNECT ---------------------------------------------------------------------------------


def _decode_connect(body: bytes, packet: "Packet") -> None:
    connect = Connect(body)
    if not connect.version:
        raise MQTTError(UNSUPPORTED_PROTOCOL_VERSION, "%r level %d" % (connect.protocol, connect.level))
    connect.read(_PROPERTIES if connect.version == 5 else None)
    packet["version"] = connect.version
    packet["bridge"] = connect.bridge
    packet["clean_start"] = connect.clean_start
    packet["keep_alive"] = connect.keep_alive
    packet["client_id"] = connect.client_id
    packet["user"] = connect.user
    packet["password"] = connect.password
    packet["properties"] = connect.properties
    packet["will"] = None
    will = connect.will
    if will is None:
        return
    properties = will.decoded_properties()
    if connect.will_delay:
        properties[WILL_DELAY_INTERVAL] = connect.will_delay
    if will.expires is not None:
        properties[MESSAGE_EXPIRY_INTERVAL] = will.expires // 1000
    packet["will"] = {
        "topic": will.name, "payload": will.payload, "qos": will.qos, "retain": will.retain, "properties": properties
    }  # fmt: skip


def _encode_connect(packet: "Packet", version: int) -> bytes:
    will = packet.get("will")
    user = packet.get("user")
    password = packet.get("password")
    flags = 2 if packet.get("clean_start") else 0
    if will is not None:
        flags |= 4 | will.get("qos", 0) << 3 | (32 if will.get("retain") else 0)
    if user is not None:
        flags |= 128
    if password is not None:
        flags |= 64
    level = version | 128 if packet.get("bridge") else version
    body = string(b"MQIsdp" if version == 3 else b"MQTT") + bytes((level, flags)) + u16(packet.get("keep_alive", 0))
    body += _encode_properties(packet, CONNECT, version) + string(packet.get("client_id", b""))
    if will is not None:
        body += _encode_properties(will, WILL, version) + string(will["topic"]) + string(will.get("payload", b""))
    if user is not None:
        body += string(user)
    if password is not None:
        body += string(password)
    return body


def _check_connect(packet: "Packet", version: int) -> None:
    if version not in (3, 4, 5):
        raise MQTTError(PROTOCOL_ERROR, "no such protocol version")
    client_id = packet.get("client_id", b"")
    if not is_utf8(client_id):  # [MQTT-3.1.3-4]
        raise MQTTError(CLIENT_IDENTIFIER_NOT_VALID, "client id is not valid UTF-8")
    if not client_id and (version == 3 or version == 4 and not packet.get("clean_start")):  # 3.1.1 [MQTT-3.1.3-7]
        raise MQTTError(CLIENT_IDENTIFIER_NOT_VALID, "client id is empty")
    user = packet.get("user")
    if user is not None and not is_utf8(user):  # [MQTT-3.1.3-12]
        raise MQTTError(MALFORMED_PACKET, "user name is not valid UTF-8")
    if packet.get("password") is not None and user is None and version != 5:  # 3.1.1 [MQTT-3.1.2-22]
        raise MQTTError(MALFORMED_PACKET, "password without a user name")
    properties = packet.get("properties")
    if properties and AUTHENTICATION_DATA in properties and AUTHENTICATION_METHOD not in properties:
        raise MQTTError(PROTOCOL_ERROR, "authentication data without a method")
    will = packet.get("will")
    if will is not None:
        if not 0 <= will.get("qos", 0) <= 2:  # [MQTT-3.1.2-12]
            raise MQTTError(MALFORMED_PACKET, "invalid will QoS")
        if not valid_name(will["topic"]):
            raise MQTTError(MALFORMED_PACKET, "invalid will topic")
        _check_response_topic(will.get("properties"))


# -- PUBLISH ---------------------------------------------------------------------------------


def _decode_publish(reader: Reader, first: int, version: int) -> "Packet":
    qos = first >> 1 & 3
    packet: "Packet" = {"type": PUBLISH, "dup": first & 8 == 8, "qos": qos, "retain": first & 1 == 1}
    packet["topic"] = reader.string()
    packet["packet_id"] = reader.u16() if qos else 0
    packet["properties"] = decode_properties(reader, PUBLISH) if version == 5 else {}
    packet["payload"] = reader.take(reader.left())
    _check_publish(packet, version)
    return packet


def _encode_publish(packet: "Packet", version: int) -> bytes:
    qos = packet.get("qos", 0)
    first = 0x30 | qos << 1 | (8 if packet.get("dup") else 0) | (1 if packet.get("retain") else 0)
    body = string(packet.get("topic", b""))
    if qos:
        body += u16(packet["packet_id"])
    body += _encode_properties(packet, PUBLISH, version) + bytes(packet.get("payload", b""))
    return bytes((first,)) + varint(len(body)) + body


def _check_publish(packet: "Packet", version: int) -> None:
    qos = packet.get("qos", 0)
    if not 0 <= qos <= 2 or packet.get("dup") and not qos and version != 3:  # [MQTT-3.3.1-4] [MQTT-3.3.1-2]
        raise MQTTError(MALFORMED_PACKET, "PUBLISH with invalid flags")
    packet_id = packet.get("packet_id", 0)
    if qos and not packet_id:  # [MQTT-2.2.1-3]
        raise MQTTError(PROTOCOL_ERROR, "packet identifier 0")
    if packet_id and not qos:  # [MQTT-2.2.1-2]
        raise MQTTError(PROTOCOL_ERROR, "packet identifier with QoS 0")
    properties = packet.get("properties") or {}
    topic = packet.get("topic", b"")
    if TOPIC_ALIAS in properties and not properties[TOPIC_ALIAS]:  # [MQTT-3.3.2-8]
        raise MQTTError(TOPIC_ALIAS_INVALID, "topic alias 0")
    if not topic and TOPIC_ALIAS not in properties:
        raise MQTTError(PROTOCOL_ERROR, "neither topic name nor topic alias")  # clause 3.3.2.1
    if topic and not valid_name(topic):
        raise MQTTError(MALFORMED_PACKET, "invalid topic name")
    _check_response_topic(properties)


def _check_response_topic(properties: "Properties | None") -> None:
    topic = properties.get(RESPONSE_TOPIC) if properties else None
    if topic is not None and (not topic or has_wildcard(topic)):  # [MQTT-3.3.2-14]
        raise MQTTError(PROTOCOL_ERROR, "invalid response topic")


# -- all other packets --------------------------------------------------------------------------


def _encode_properties(packet: "Packet", kind: int, version: int) -> bytes:
    """The properties with their length, of MQTT 5; ValueError for those `kind` may not carry."""
    properties = packet.get("properties")
    if version != 5:
        if properties:
            raise ValueError("MQTT 3.x has no properties")
        return b""
    if not properties:
        return b"\0"
    data = encode_properties(properties)
    try:
        decode_properties(Reader(data), kind)
    except MQTTError as e:
        raise ValueError(e.text)
    return data


def _encode_code(packet: "Packet", kind: int, version: int) -> bytes:
    """Reason code and properties, omitted as far as allowed."""
    code = packet.get("code", 0)
    properties = _encode_properties(packet, kind, version)
    if version != 5 or not code and properties == b"\0":
        return b""
    if properties == b"\0" and kind != AUTH:
        return bytes((code,))
    return bytes((code,)) + properties


def _check(packet: "Packet", version: int) -> None:
    """Raise MQTTError for a packet, PUBLISH excepted, that the standard does not allow."""
    kind = packet["type"]
    if kind == CONNECT:
        _check_connect(packet, version)
        return
    if not CONNACK <= kind <= AUTH or kind == AUTH and version != 5:
        raise MQTTError(PROTOCOL_ERROR, "packet type %d" % kind)
    if kind == PINGREQ or kind == PINGRESP:
        return
    if PUBACK <= kind <= UNSUBACK and not packet.get("packet_id"):  # [MQTT-2.2.1-3] [MQTT-2.2.1-5]
        raise MQTTError(MALFORMED_PACKET, "packet identifier 0")
    if kind == SUBSCRIBE or kind == UNSUBSCRIBE:
        _check_filters(packet["filters"], kind == SUBSCRIBE, version)
    elif kind == SUBACK or kind == UNSUBACK:
        codes = packet.get("codes", b"")
        if (len(codes) > 0) != (kind == SUBACK or version == 5):
            raise MQTTError(MALFORMED_PACKET, "%d reason codes" % len(codes))
        for code in codes:
            _check_code(code, kind, version)
    else:
        _check_code(packet.get("code", 0), kind, version)
    if kind == AUTH and (packet.get("code") or packet.get("properties")):
        if AUTHENTICATION_METHOD not in packet["properties"]:  # clause 3.15.2.2.2
            raise MQTTError(PROTOCOL_ERROR, "AUTH without a method")


def _check_code(code: int, kind: int, version: int) -> None:
    allowed = _CODES[kind] if version == 5 else _CODES_3.get(kind, b"\0")
    if not 0 <= code <= 255 or code not in allowed or version == 3 and code == 0x80:
        raise MQTTError(PROTOCOL_ERROR, "code 0x%02x in packet type %d" % (code, kind))


def _check_filters(filters: "list[Any]", subscribing: bool, version: int) -> None:
    if not filters:  # [MQTT-3.8.3-2] [MQTT-3.10.3-2]
        raise MQTTError(PROTOCOL_ERROR, "no topic filter")
    for item in filters:
        topic_filter = item[0] if subscribing else item
        shared = version == 5 and is_shared(topic_filter)
        if not valid_filter(split_share(topic_filter) if shared else topic_filter):  # [MQTT-4.7.1-1] [MQTT-4.8.2-1]
            raise MQTTError(MALFORMED_PACKET, "invalid topic filter")
        if not subscribing:
            continue
        options = item[1]
        # [MQTT-3.8.3-5], in MQTT 3.1.1 [MQTT-3-8.3-4]
        if options & 3 == 3 or options & 0x30 == 0x30 or options > (0x3F if version == 5 else 2):
            raise MQTTError(MALFORMED_PACKET, "invalid subscription options 0x%02x" % options)
        if shared and options & NO_LOCAL:  # [MQTT-3.8.3-4]
            raise MQTTError(PROTOCOL_ERROR, "no local on a shared subscription")
