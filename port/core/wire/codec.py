"""The wire format's building blocks: integers, strings, and whole packets from parts.

`Reader` walks the body of a whole packet. It raises `MQTTError` with MALFORMED_PACKET for
anything the standard does not allow and never reads past the end. `Connection` parses PUBLISH,
the most frequent packet, in place.
"""

from port.core import const
from port.core.wire.reason_codes import MALFORMED_PACKET, MQTTError

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Union

    Buffer = Union[bytes, bytearray, memoryview]

CONNECT = const(1)
CONNACK = const(2)
PUBLISH = const(3)
PUBACK = const(4)
PUBREC = const(5)
PUBREL = const(6)
PUBCOMP = const(7)
SUBSCRIBE = const(8)
SUBACK = const(9)
UNSUBSCRIBE = const(10)
UNSUBACK = const(11)
PINGREQ = const(12)
PINGRESP = const(13)
DISCONNECT = const(14)
AUTH = const(15)

MAX_VARINT = const(268435455)


def varint(value: int) -> bytes:
    """A variable byte integer (MQTT 5 clause 1.5.5); ValueError outside 0..268,435,455."""
    if 0 <= value < 128:
        return bytes((value,))
    if 0 <= value < 16384:
        return bytes((value & 127 | 128, value >> 7))
    if not 0 <= value <= MAX_VARINT:
        raise ValueError("variable byte integer out of range: %d" % value)
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def u16(value: int) -> bytes:
    """A two byte integer, big endian; ValueError outside 0..65,535."""
    if not 0 <= value <= 65535:
        raise ValueError("two byte integer out of range: %d" % value)
    return bytes((value >> 8, value & 255))


def u32(value: int) -> bytes:
    """A four byte integer, big endian; ValueError outside 0..4,294,967,295."""
    if not 0 <= value <= 0xFFFFFFFF:
        raise ValueError("four byte integer out of range: %d" % value)
    return bytes((value >> 24, value >> 16 & 255, value >> 8 & 255, value & 255))


def string(value: bytes) -> bytes:
    """UTF-8 encoded string or binary data with its two byte length; ValueError when over 65,535 bytes."""
    return u16(len(value)) + value


def packet(first: int, body: bytes) -> bytes:
    """A whole packet: fixed header with `first` as its first byte, then `body`."""
    return bytes((first,)) + varint(len(body)) + body


def _is_strict() -> bool:
    """True when this Python's decoder refuses ill-formed UTF-8, as CPython's does."""
    try:
        str(b"\xc0\x80", "utf-8")
    except UnicodeError:
        return True
    return False


_STRICT = _is_strict()


def is_utf8(data: bytes) -> bool:
    """True for what MQTT allows in a string [MQTT-1.5.4-1] [MQTT-1.5.4-2].

    MicroPython's decode() accepts overlong forms, surrogates and code points past U+10FFFF,
    so only its verdict on pure ASCII is final.
    """
    try:
        text = str(data, "utf-8")
    except UnicodeError:
        return False
    if len(text) == len(data) or _STRICT:
        return 0 not in data
    if 0 in data:
        return False
    i = 0
    end = len(data)
    while i < end:
        c = data[i]
        if c < 0x80:
            i += 1
            continue
        if c < 0xC2 or c > 0xF4:
            return False
        size = 2 if c < 0xE0 else 3 if c < 0xF0 else 4
        if i + size > end:
            return False
        low = 0xA0 if c == 0xE0 else 0x90 if c == 0xF0 else 0x80
        high = 0x9F if c == 0xED else 0x8F if c == 0xF4 else 0xBF
        if not low <= data[i + 1] <= high:
            return False
        for k in range(i + 2, i + size):
            if data[k] & 0xC0 != 0x80:
                return False
        i += size
    return True


class Reader:
    """A cursor over the body of one packet."""

    __slots__ = ("data", "end", "pos")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pos = 0
        self.end = len(data)

    def left(self) -> int:
        """Bytes not yet read."""
        return self.end - self.pos

    def u8(self) -> int:
        pos = self.pos
        if pos >= self.end:
            raise MQTTError(MALFORMED_PACKET, "packet too short")
        self.pos = pos + 1
        return self.data[pos]

    def u16(self) -> int:
        pos = self.pos
        if pos + 2 > self.end:
            raise MQTTError(MALFORMED_PACKET, "packet too short")
        self.pos = pos + 2
        return self.data[pos] << 8 | self.data[pos + 1]

    def u32(self) -> int:
        return self.u16() << 16 | self.u16()

    def varint(self) -> int:
        """A variable byte integer in at most four bytes, in its shortest form [MQTT-1.5.5-1]."""
        value = shift = 0
        while True:
            c = self.u8()
            value |= (c & 127) << shift
            if c < 128:
                if c == 0 and shift:
                    raise MQTTError(MALFORMED_PACKET, "variable byte integer not in its shortest form")
                return value
            shift += 7
            if shift > 21:
                raise MQTTError(MALFORMED_PACKET, "variable byte integer too long")

    def take(self, size: int) -> bytes:
        """The next `size` bytes as they are."""
        pos = self.pos
        if pos + size > self.end:
            raise MQTTError(MALFORMED_PACKET, "packet too short")
        self.pos = pos + size
        return self.data[pos : pos + size]

    def binary(self) -> bytes:
        """Binary data with a two byte length."""
        return self.take(self.u16())

    def string(self) -> bytes:
        """A UTF-8 string, left as bytes; MQTTError when it is not well-formed [MQTT-1.5.4-1]."""
        value = self.take(self.u16())
        if not is_utf8(value):
            raise MQTTError(MALFORMED_PACKET, "string is not valid UTF-8")
        return value
