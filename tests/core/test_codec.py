"""Integers, strings and the reader (MQTT 5 clause 1.5)."""

from harness import raises
from port.core.wire.codec import Reader, is_utf8, packet, string, u16, u32, varint
from port.core.wire.reason_codes import MALFORMED_PACKET, MQTTError

# Table 1-1 of the standard: the first and the last value of each size.
VARINTS = (
    (0, "00"),
    (127, "7f"),
    (128, "8001"),
    (16383, "ff7f"),
    (16384, "808001"),
    (2097151, "ffff7f"),
    (2097152, "80808001"),
    (268435455, "ffffff7f"),
)


def test_variable_byte_integers_both_ways():
    for value, text in VARINTS:
        data = bytes.fromhex(text)
        assert varint(value) == data, value
        reader = Reader(data)
        assert reader.varint() == value
        assert reader.left() == 0


def test_a_variable_byte_integer_stops_where_it_ends():
    reader = Reader(b"\x80\x01\x05")
    assert reader.varint() == 128
    assert reader.u8() == 5


def test_numbers_out_of_range_are_not_written():
    for write, value in ((varint, -1), (varint, 268435456), (u16, -1), (u16, 65536), (u32, -1), (u32, 1 << 32)):
        assert str(raises(ValueError, write, value)).endswith("out of range: %d" % value)


def test_variable_byte_integers_that_are_too_long_or_padded_are_malformed():
    # The second and third encode 0 and 1 in more bytes than they need [MQTT-1.5.5-1].
    for text in ("8080808001", "8000", "818000", "ffffffff", "80", ""):
        assert raises(MQTTError, Reader(bytes.fromhex(text)).varint).code == MALFORMED_PACKET, text


def test_fixed_size_integers():
    assert u16(0x1234) == b"\x12\x34"
    assert u32(0xFFEEDDCC) == b"\xff\xee\xdd\xcc"
    assert (u16(0), u16(65535), u32(0), u32(0xFFFFFFFF)) == (b"\0\0", b"\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\xff")
    reader = Reader(b"\x12\x34\xff\xee\xdd\xcc\x07")
    assert (reader.u16(), reader.u32(), reader.u8(), reader.left()) == (0x1234, 0xFFEEDDCC, 7, 0)


def test_nothing_is_read_past_the_end():
    assert raises(MQTTError, Reader(b"").u8).code == MALFORMED_PACKET
    assert raises(MQTTError, Reader(b"\0").u16).code == MALFORMED_PACKET
    assert raises(MQTTError, Reader(b"\0\0\0").u32).code == MALFORMED_PACKET
    assert raises(MQTTError, Reader(b"\0\3ab").string).code == MALFORMED_PACKET
    assert raises(MQTTError, Reader(b"\0\3ab").binary).code == MALFORMED_PACKET
    assert raises(MQTTError, Reader(b"ab").take, 3).code == MALFORMED_PACKET


def test_strings_and_binary_data():
    assert string(b"") == b"\0\0"
    assert string(b"a/b") == b"\0\3a/b"
    raises(ValueError, string, bytes(65536))
    reader = Reader(b"\0\2\xc3\xa9\0\2\xff\0")
    assert reader.string() == b"\xc3\xa9"
    assert reader.binary() == b"\xff\0"  # anything goes in binary data


def test_a_whole_packet():
    assert packet(0x30, b"abc") == b"\x30\x03abc"
    assert packet(0xD0, b"") == b"\xd0\x00"
    assert packet(0x30, bytes(200))[:3] == b"\x30\xc8\x01"


def test_utf8_that_mqtt_allows():
    for text in (
        "",
        "41",
        "c3a9",  # two bytes
        "e0a080",  # the first of three bytes
        "ed9fbf",  # the last before the surrogates
        "ee8080",  # the first after them
        "efbfbf",  # U+FFFF: a non-character may be sent
        "efbbbf",  # U+FEFF is not stripped [MQTT-1.5.4-3]
        "f0908080",  # the first of four bytes
        "f48fbfbf",  # U+10FFFF, the last
        "01",  # control characters: SHOULD NOT, but not malformed
    ):
        assert is_utf8(bytes.fromhex(text)), text


def test_utf8_that_mqtt_does_not_allow():
    for text in (
        "00",  # U+0000 [MQTT-1.5.4-2]
        "c3a900",  # behind other characters
        "c080",  # U+0000, overlong
        "c1bf",
        "e09fbf",  # three bytes where two do
        "f08fbfbf",  # four bytes where three do
        "eda080",  # U+D800 [MQTT-1.5.4-1]
        "edbfbf",  # U+DFFF
        "f4908080",  # past U+10FFFF
        "f5808080",
        "ff",
        "80",  # a continuation alone
        "c3",  # cut off
        "e282",
        "f09f98",
        "c341",  # no continuation
        "e28241",
    ):
        assert not is_utf8(bytes.fromhex(text)), text
