"""MQTT 5 properties (clause 2.2.2): one table drives decoding and encoding.

Decoded, a packet's properties are a dict of identifier -> value; USER_PROPERTY holds a
list of (name, value) pairs and SUBSCRIPTION_IDENTIFIER a list of ints, both in the
order received, duplicates kept [MQTT-3.1.3-10]. Strings stay UTF-8 bytes.
"""

from port.core import const
from port.core.wire.codec import (
    AUTH,
    CONNACK,
    CONNECT,
    DISCONNECT,
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
    string,
    u16,
    u32,
    varint,
)
from port.core.wire.reason_codes import MALFORMED_PACKET, PROTOCOL_ERROR, QUOTA_EXCEEDED, MQTTError

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    Properties = dict[int, Any]

WILL = const(0)  # a will's properties, counted among the packet types

PAYLOAD_FORMAT_INDICATOR = const(0x01)
MESSAGE_EXPIRY_INTERVAL = const(0x02)
CONTENT_TYPE = const(0x03)
RESPONSE_TOPIC = const(0x08)
CORRELATION_DATA = const(0x09)
SUBSCRIPTION_IDENTIFIER = const(0x0B)
SESSION_EXPIRY_INTERVAL = const(0x11)
ASSIGNED_CLIENT_IDENTIFIER = const(0x12)
SERVER_KEEP_ALIVE = const(0x13)
AUTHENTICATION_METHOD = const(0x15)
AUTHENTICATION_DATA = const(0x16)
REQUEST_PROBLEM_INFORMATION = const(0x17)
WILL_DELAY_INTERVAL = const(0x18)
REQUEST_RESPONSE_INFORMATION = const(0x19)
RESPONSE_INFORMATION = const(0x1A)
SERVER_REFERENCE = const(0x1C)
REASON_STRING = const(0x1F)
RECEIVE_MAXIMUM = const(0x21)
TOPIC_ALIAS_MAXIMUM = const(0x22)
TOPIC_ALIAS = const(0x23)
MAXIMUM_QOS = const(0x24)
RETAIN_AVAILABLE = const(0x25)
USER_PROPERTY = const(0x26)
MAXIMUM_PACKET_SIZE = const(0x27)
WILDCARD_SUBSCRIPTION_AVAILABLE = const(0x28)
SUBSCRIPTION_IDENTIFIER_AVAILABLE = const(0x29)
SHARED_SUBSCRIPTION_AVAILABLE = const(0x2A)

# Kinds of value. A flag is a byte of 0 or 1; a value of a non-zero kind is not 0.
_FLAG = const(0)
_U16 = const(1)
_U16_NONZERO = const(2)
_U32 = const(3)
_U32_NONZERO = const(4)
_VARINT_NONZERO = const(5)
_STRING = const(6)
_BINARY = const(7)
_PAIR = const(8)


def _spec(kind: int, *packets: int) -> int:
    """Kind in the low four bits, above them one bit per packet type that may carry the property."""
    for p in packets:
        kind |= 16 << p
    return kind


_PUBLISHED = (PUBLISH, WILL)
_SPECS = {
    PAYLOAD_FORMAT_INDICATOR: _spec(_FLAG, *_PUBLISHED),
    MESSAGE_EXPIRY_INTERVAL: _spec(_U32, *_PUBLISHED),
    CONTENT_TYPE: _spec(_STRING, *_PUBLISHED),
    RESPONSE_TOPIC: _spec(_STRING, *_PUBLISHED),
    CORRELATION_DATA: _spec(_BINARY, *_PUBLISHED),
    SUBSCRIPTION_IDENTIFIER: _spec(_VARINT_NONZERO, PUBLISH, SUBSCRIBE),
    SESSION_EXPIRY_INTERVAL: _spec(_U32, CONNECT, CONNACK, DISCONNECT),
    ASSIGNED_CLIENT_IDENTIFIER: _spec(_STRING, CONNACK),
    SERVER_KEEP_ALIVE: _spec(_U16, CONNACK),
    AUTHENTICATION_METHOD: _spec(_STRING, CONNECT, CONNACK, AUTH),
    AUTHENTICATION_DATA: _spec(_BINARY, CONNECT, CONNACK, AUTH),
    REQUEST_PROBLEM_INFORMATION: _spec(_FLAG, CONNECT),
    WILL_DELAY_INTERVAL: _spec(_U32, WILL),
    REQUEST_RESPONSE_INFORMATION: _spec(_FLAG, CONNECT),
    RESPONSE_INFORMATION: _spec(_STRING, CONNACK),
    SERVER_REFERENCE: _spec(_STRING, CONNACK, DISCONNECT),
    REASON_STRING: _spec(
        _STRING, CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH
    ),
    RECEIVE_MAXIMUM: _spec(_U16_NONZERO, CONNECT, CONNACK),
    TOPIC_ALIAS_MAXIMUM: _spec(_U16, CONNECT, CONNACK),
    TOPIC_ALIAS: _spec(_U16, PUBLISH),
    MAXIMUM_QOS: _spec(_FLAG, CONNACK),
    RETAIN_AVAILABLE: _spec(_FLAG, CONNACK),
    USER_PROPERTY: _spec(
        _PAIR, CONNECT, CONNACK, PUBLISH, WILL, PUBACK, PUBREC, PUBREL, PUBCOMP,
        SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, DISCONNECT, AUTH,
    ),
    MAXIMUM_PACKET_SIZE: _spec(_U32_NONZERO, CONNECT, CONNACK),
    WILDCARD_SUBSCRIPTION_AVAILABLE: _spec(_FLAG, CONNACK),
    SUBSCRIPTION_IDENTIFIER_AVAILABLE: _spec(_FLAG, CONNACK),
    SHARED_SUBSCRIPTION_AVAILABLE: _spec(_FLAG, CONNACK),
}  # fmt: skip


def _value(reader: Reader, kind: int) -> "Any":
    if kind == _FLAG:
        value = reader.u8()
        if value > 1:
            raise MQTTError(PROTOCOL_ERROR, "property value must be 0 or 1")
        return value
    if kind == _STRING:
        return reader.string()
    if kind == _BINARY:
        return reader.binary()
    if kind == _PAIR:
        name = reader.string()
        return name, reader.string()
    if kind == _U16 or kind == _U16_NONZERO:
        value = reader.u16()
    elif kind == _U32 or kind == _U32_NONZERO:
        value = reader.u32()
    else:
        value = reader.varint()
    if not value and kind in (_U16_NONZERO, _U32_NONZERO, _VARINT_NONZERO):
        raise MQTTError(PROTOCOL_ERROR, "property value must not be 0")
    return value


def decode(reader: Reader, packet: int, most: int = 0xFFFFFFFF) -> "Properties":
    """Read the properties of a packet of type `packet` (or WILL), length included.

    most: largest number of repeatable properties, see Options.max_user_properties

    Raises MQTTError: MALFORMED_PACKET for unknown identifiers and broken values,
    PROTOCOL_ERROR for duplicates and misplaced properties (clause 2.2.2.2), QUOTA_EXCEEDED for more than `most`.
    """
    end = reader.varint() + reader.pos
    if end > reader.end:
        raise MQTTError(MALFORMED_PACKET, "properties longer than the packet")
    found: "Properties" = {}
    whole, reader.end = reader.end, end
    while reader.pos < end:
        name = reader.varint()
        spec = _SPECS.get(name)
        if spec is None:
            raise MQTTError(MALFORMED_PACKET, "unknown property 0x%02x" % name)
        value = _value(reader, spec & 15)
        if not spec & 16 << packet:
            code = MALFORMED_PACKET if packet in (SUBSCRIBE, UNSUBSCRIBE) else PROTOCOL_ERROR
            raise MQTTError(code, "property 0x%02x not allowed here" % name)
        if name == USER_PROPERTY or name == SUBSCRIPTION_IDENTIFIER and packet == PUBLISH:
            values = found.setdefault(name, [])
            if len(values) >= most:
                raise MQTTError(QUOTA_EXCEEDED, "more than %d properties 0x%02x" % (most, name))
            values.append(value)
        elif name in found:
            raise MQTTError(PROTOCOL_ERROR, "property 0x%02x given twice" % name)
        else:
            found[name] = value
    reader.end = whole
    return found


def encode_one(name: int, value: "Any") -> bytes:
    """One property with its identifier; ValueError when `name` is unknown or `value` out of range."""
    spec = _SPECS.get(name)
    if spec is None:
        raise ValueError("unknown property %r" % (name,))
    kind = spec & 15
    head = bytes((name,))
    if kind == _FLAG:
        return head + bytes((value,))
    if kind == _STRING or kind == _BINARY:
        return head + string(value)
    if kind == _PAIR:
        return head + string(value[0]) + string(value[1])
    if kind == _U16 or kind == _U16_NONZERO:
        return head + u16(value)
    if kind == _U32 or kind == _U32_NONZERO:
        return head + u32(value)
    return head + varint(value)


def encode_all(properties: "Properties") -> bytes:
    """The properties one after the other, without the length in front."""
    out = b""
    for name in sorted(properties):
        value = properties[name]
        if isinstance(value, list):
            for item in value:
                out += encode_one(name, item)
        else:
            out += encode_one(name, value)
    return out


def encode(properties: "Properties") -> bytes:
    """The properties with their length in front, as a packet holds them."""
    body = encode_all(properties)
    return varint(len(body)) + body
