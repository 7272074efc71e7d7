"""MQTT 5 properties (clause 2.2.2)."""

from harness import raises
from port.core.wire import codec, properties
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
    varint,
)
from port.core.wire.properties import WILL, decode, encode, encode_all, encode_one
from port.core.wire.reason_codes import MALFORMED_PACKET, PROTOCOL_ERROR, MQTTError

ACKS = (PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK)
ALL = (CONNECT, CONNACK, PUBLISH, WILL, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT, AUTH) + ACKS

# Table 2-4 of the standard: identifier, a value, its bytes, the packets that may carry it.
TABLE = (
    (0x01, 1, "01 01", (PUBLISH, WILL)),
    (0x02, 4294967295, "02 ffffffff", (PUBLISH, WILL)),
    (0x03, b"text", "03 0004 74657874", (PUBLISH, WILL)),
    (0x08, b"r/t", "08 0003 722f74", (PUBLISH, WILL)),
    (0x09, b"\x00\xff", "09 0002 00ff", (PUBLISH, WILL)),
    (0x11, 3600, "11 00000e10", (CONNECT, CONNACK, DISCONNECT)),
    (0x12, b"id", "12 0002 6964", (CONNACK,)),
    (0x13, 60, "13 003c", (CONNACK,)),
    (0x15, b"m", "15 0001 6d", (CONNECT, CONNACK, AUTH)),
    (0x16, b"", "16 0000", (CONNECT, CONNACK, AUTH)),
    (0x17, 0, "17 00", (CONNECT,)),
    (0x18, 5, "18 00000005", (WILL,)),
    (0x19, 1, "19 01", (CONNECT,)),
    (0x1A, b"i", "1a 0001 69", (CONNACK,)),
    (0x1C, b"s", "1c 0001 73", (CONNACK, DISCONNECT)),
    (0x1F, b"why", "1f 0003 776879", (CONNACK, DISCONNECT, AUTH) + ACKS),
    (0x21, 1, "21 0001", (CONNECT, CONNACK)),
    (0x22, 0, "22 0000", (CONNECT, CONNACK)),
    (0x23, 10, "23 000a", (PUBLISH,)),
    (0x24, 1, "24 01", (CONNACK,)),
    (0x25, 0, "25 00", (CONNACK,)),
    (0x26, [(b"k", b"v"), (b"k", b"")], "26 0001 6b 0001 76  26 0001 6b 0000", ALL),
    (0x27, 128, "27 00000080", (CONNECT, CONNACK)),
    (0x28, 0, "28 00", (CONNACK,)),
    (0x29, 1, "29 01", (CONNACK,)),
    (0x2A, 0, "2a 00", (CONNACK,)),
)


def block(text):
    data = bytes.fromhex(text.replace(" ", ""))
    return varint(len(data)) + data


def fault(text, packet):
    """The reason code with which a property block is refused."""
    return raises(MQTTError, decode, Reader(block(text)), packet).code


def test_every_property_both_ways_where_it_is_allowed():
    for identifier, value, text, packets in TABLE:
        for packet in packets:
            reader = Reader(block(text))
            assert decode(reader, packet) == {identifier: value}, (identifier, packet)
            assert reader.left() == 0
        assert encode({identifier: value}) == block(text), identifier


def test_every_property_is_refused_where_it_is_not_allowed():
    for identifier, _, text, packets in TABLE:
        for packet in ALL:
            if packet not in packets:
                assert fault(text, packet) in (PROTOCOL_ERROR, MALFORMED_PACKET), (identifier, packet)


def test_subscription_identifiers_are_one_in_subscribe_and_many_in_publish():
    assert decode(Reader(block("0b ffffff7f")), SUBSCRIBE) == {0x0B: 268435455}
    assert decode(Reader(block("0b 05 0b 8001 0b 05")), PUBLISH) == {0x0B: [5, 128, 5]}
    assert encode({0x0B: [5, 128, 5]}) == block("0b 05 0b 8001 0b 05")
    assert fault("0b 05 0b 06", SUBSCRIBE) == PROTOCOL_ERROR
    assert fault("0b 05", UNSUBSCRIBE) == MALFORMED_PACKET


def test_no_other_property_may_come_twice():
    for identifier, _, text, packets in TABLE:
        if identifier != 0x26:
            assert fault(text + text, packets[0]) == PROTOCOL_ERROR, identifier


def test_values_out_of_range():
    for text, packet in (
        ("01 02", PUBLISH),  # flags are 0 or 1
        ("17 02", CONNECT),
        ("19 02", CONNECT),
        ("24 02", CONNACK),
        ("25 02", CONNACK),
        ("21 0000", CONNECT),  # receive maximum 0
        ("27 00000000", CONNECT),  # maximum packet size 0
        ("0b 00", SUBSCRIBE),  # subscription identifier 0
    ):
        assert fault(text, packet) == PROTOCOL_ERROR, text


def test_unknown_and_broken_properties():
    for text in (
        "00 00",  # no such identifier
        "2b 00",
        "7e 01",
        "80",  # an identifier is a variable byte integer too
        "01",  # without its value
        "02 000000",
        "03 0004 6162",  # longer than the block
        "03 0002 c080",  # not UTF-8
        "26 0001 6b",  # a name without a value
        "26 0001 6b 0001 00",  # U+0000
        "0b 80808080 01",
    ):
        assert fault(text, PUBLISH) == MALFORMED_PACKET, text


def test_a_block_longer_than_the_packet():
    assert raises(MQTTError, decode, Reader(b"\x03\x01\x01"), PUBLISH).code == MALFORMED_PACKET
    assert raises(MQTTError, decode, Reader(b""), PUBLISH).code == MALFORMED_PACKET


def test_a_value_may_not_reach_beyond_the_block():
    # The string says 4 bytes, the block ends after 2 of them, the packet does not.
    reader = Reader(b"\x05\x03\x00\x04abcdef")
    assert raises(MQTTError, decode, reader, PUBLISH).code == MALFORMED_PACKET


def test_what_follows_the_block_is_left():
    reader = Reader(b"\x02\x01\x01rest")
    assert decode(reader, PUBLISH) == {0x01: 1}
    assert reader.take(reader.left()) == b"rest"


def test_encoding_checks_identifiers_and_ranges():
    raises(ValueError, encode_one, 0x7E, 1)
    raises(ValueError, encode_one, 0x23, 65536)
    raises(ValueError, encode_one, 0x02, -1)
    raises(ValueError, encode_one, 0x03, bytes(65536))
    assert encode({}) == b"\0"
    assert encode_all({0x23: 1, 0x01: 0}) == b"\x01\x00\x23\x00\x01"


def test_names_and_numbers_agree_with_the_standard():
    assert properties.MESSAGE_EXPIRY_INTERVAL == 0x02
    assert properties.USER_PROPERTY == 0x26
    assert properties.SHARED_SUBSCRIPTION_AVAILABLE == 0x2A
    assert codec.AUTH == 15
