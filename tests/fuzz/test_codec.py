"""The wire format's building blocks against their inverse, or against Python's own."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from port.core.wire import codec, properties
from port.core.wire.codec import MAX_VARINT, Reader
from port.core.wire.reason_codes import MQTTError

# Names an MQTT string may hold: all of Unicode but NUL and surrogates.
strings = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40).map(str.encode)


def mqtt_string(data: bytes) -> bool:
    """What MQTT allows, by Python's strict decoder."""
    try:
        return "\0" not in data.decode("utf-8", "strict")
    except UnicodeDecodeError:
        return False


@given(st.integers(0, MAX_VARINT))
def test_varint_comes_back(value):
    data = codec.varint(value)
    reader = Reader(data)
    assert reader.varint() == value
    assert not reader.left()
    assert len(data) == 1 + (value >= 128) + (value >= 128**2) + (value >= 128**3)


@given(st.integers(MAX_VARINT + 1) | st.integers(max_value=-1))
def test_varint_out_of_range(value):
    with pytest.raises(ValueError):
        codec.varint(value)


@given(st.binary(max_size=6))
def test_varint_of_any_bytes_is_the_shortest_form_or_refused(data):
    reader = Reader(data)
    try:
        value = reader.varint()
    except MQTTError:
        return
    assert codec.varint(value) == data[: reader.pos]


@given(st.integers(-3, 70000))
def test_u16(value):
    if 0 <= value <= 65535:
        assert Reader(codec.u16(value)).u16() == value
    else:
        with pytest.raises(ValueError):
            codec.u16(value)


@given(st.integers(-3, 2**32 + 3))
@example(2**32 - 1)
def test_u32(value):
    if 0 <= value < 2**32:
        assert Reader(codec.u32(value)).u32() == value
    else:
        with pytest.raises(ValueError):
            codec.u32(value)


@given(strings, st.binary(max_size=5))
def test_string_comes_back(value, more):
    reader = Reader(codec.string(value) + more)
    assert reader.string() == value
    assert reader.left() == len(more)


@given(st.binary(max_size=12))
def test_utf8_check_is_pythons(data):
    assert codec.is_utf8(data) == mqtt_string(data)


@given(st.lists(st.sampled_from([b"a", b"\xc2", b"\xc0", b"\xe0", b"\xed", b"\xef", b"\xf0", b"\xf4", b"\xf5",
                                 b"\x80", b"\x8f", b"\x90", b"\x9f", b"\xa0", b"\xbf", b"\0"]), max_size=8))
def test_utf8_check_at_the_edges(pieces):
    data = b"".join(pieces)
    assert codec.is_utf8(data) == mqtt_string(data)


@given(strings, st.integers(0, 30))
def test_reader_never_reads_past_the_end(value, cut):
    data = codec.string(value)
    reader = Reader(data[:cut])
    if cut >= len(data):
        assert reader.string() == value
    else:
        with pytest.raises(MQTTError):
            reader.string()
        assert reader.pos <= reader.end


BYTE = st.integers(0, 1)
U16 = st.integers(0, 65535)
U32 = st.integers(0, 2**32 - 1)
DATA = st.binary(max_size=20)
PAIRS = st.lists(st.tuples(strings, strings), min_size=1, max_size=3)
# Of three packet types all properties they may carry (MQTT 5 table 2-4).
CONNECT = {0x11: U32, 0x15: strings, 0x16: DATA, 0x17: BYTE, 0x19: BYTE, 0x21: st.integers(1, 65535), 0x22: U16,
           0x26: PAIRS, 0x27: st.integers(1, 2**32 - 1)}
PUBLISH = {0x01: BYTE, 0x02: U32, 0x03: strings, 0x08: strings, 0x09: DATA, 0x23: U16, 0x26: PAIRS,
           0x0B: st.lists(st.integers(1, MAX_VARINT), min_size=1, max_size=3)}
CONNACK = {0x11: U32, 0x12: strings, 0x13: U16, 0x15: strings, 0x16: DATA, 0x1A: strings, 0x1C: strings, 0x1F: strings,
           0x21: st.integers(1, 65535), 0x22: U16, 0x24: BYTE, 0x25: BYTE, 0x26: PAIRS, 0x27: st.integers(1, 2**32 - 1),
           0x28: BYTE, 0x29: BYTE, 0x2A: BYTE}


@given(st.one_of(*(st.tuples(st.just(kind), st.fixed_dictionaries({}, optional=values))
                   for kind, values in ((codec.CONNECT, CONNECT), (codec.PUBLISH, PUBLISH),
                                        (codec.CONNACK, CONNACK)))), st.binary(max_size=4))
def test_properties_come_back(kind_and_values, more):
    kind, values = kind_and_values
    reader = Reader(properties.encode(values) + more)
    assert properties.decode(reader, kind) == values
    assert reader.left() == len(more)


@given(st.binary(max_size=40), st.integers(0, 15))
def test_properties_of_any_bytes_are_refused_or_come_back(data, kind):
    reader = Reader(data)
    try:
        found = properties.decode(reader, kind)
    except MQTTError as error:
        assert error.code in (0x81, 0x82)
        return
    again = properties.encode(found)
    assert properties.decode(Reader(again), kind) == found
    assert len(again) <= reader.pos
