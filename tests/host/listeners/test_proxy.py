"""PROXY protocol headers, by the examples and the rules of its specification."""

import socket
import struct

import pytest

from port.cpython.net.proxy_protocol import UNKNOWN, V1_MOST, V2_MOST, parse

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
IPV4 = bytes((192, 0, 2, 1, 192, 0, 2, 2)) + struct.pack("!HH", 56324, 1883)
IPV6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1") + bytes(16) + struct.pack("!HH", 56324, 1883)
UNIX = b"/run/client".ljust(108, b"\0") + b"/run/server".ljust(108, b"\0")
TLVS = b"\x01\x00\x04mqtt" + b"\x04\x00\x09" + bytes(9)


def header(version_command, family_protocol, body=b""):
    return SIGNATURE + bytes((version_command, family_protocol)) + struct.pack("!H", len(body)) + body


GOOD = [
    (b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", "192.168.0.1:56324"),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535"),
    (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0:0"),
    (b"PROXY TCP6 2001:DB8::1 ::1 56324 443\r\n", "[2001:db8::1]:56324"),
    (b"PROXY TCP6 2001:0db8:0000:0000:0000:0000:0000:0001 ::1 1 2\r\n", "[2001:db8::1]:1"),
    (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", "[::ffff:192.0.2.1]:1"),
    (b"PROXY TCP6 " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535\r\n", "[" + "ffff:" * 7 + "ffff]:65535"),
    (b"PROXY UNKNOWN\r\n", UNKNOWN),
    (b"PROXY UNKNOWN whatever \xff this is\r\n", UNKNOWN),
    (b"PROXY UNKNOWN " + b"f" * (V1_MOST - 16) + b"\r\n", UNKNOWN),
    (header(0x21, 0x11, IPV4), "192.0.2.1:56324"),
    (header(0x21, 0x21, IPV6), "[2001:db8::1]:56324"),
    (header(0x21, 0x11, IPV4 + TLVS), "192.0.2.1:56324"),
    (header(0x21, 0x21, IPV6 + TLVS), "[2001:db8::1]:56324"),
    (header(0x21, 0x11, IPV4 + bytes(V2_MOST - 16 - len(IPV4))), "192.0.2.1:56324"),
    (header(0x21, 0x31, UNIX), UNKNOWN),
    (header(0x21, 0x12, IPV4), UNKNOWN),
    (header(0x21, 0x00), UNKNOWN),
    (header(0x21, 0x01), UNKNOWN),
    (header(0x21, 0x10, b"x"), UNKNOWN),
    (header(0x20, 0x00), None),
    (header(0x20, 0x00, TLVS), None),
    (header(0x20, 0x11, IPV4), None),
    (header(0x20, 0x11, b"x"), None),
]


@pytest.mark.parametrize("data, address", GOOD)
def test_good_headers(data, address):
    assert parse(data) == (len(data), address)
    assert parse(data + b"\x10\x0c\x00\x04MQTT\r\n") == (len(data), address)


@pytest.mark.parametrize("data, address", GOOD)
def test_incomplete_headers(data, address):
    assert [parse(data[:size]) for size in range(len(data))] == [None] * len(data)


BAD = [
    b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00",
    b"GET / HTTP/1.1\r\n",
    b"\x16\x03\x01",
    b"PUT",
    b"proxy tcp4",
    b"PROXY\r\n",
    b"PROXY \r\n",
    b"PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
    b"PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n",
    b"PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
    b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
    b"PROXY TCP4 ::1 ::1 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 ::1 1 2\r\n",
    b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY TCP6 1::2::3 ::1 1 2\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    b"PROXY TCP6 [::1] ::1 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
    "PROXY TCP4 192.0.2.1 192.0.2.2 \u0661 2\r\n".encode(),
    b"PROXY TCP4 192.0.2.1\n192.0.2.2 1 2\r\n",
    b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY UNKNOWNS\r\n",
    b"PROXY UNKNOWN" + b" " * V1_MOST,
    b"PROXY UNKNOWN " + b"f" * (V1_MOST - 15) + b"\r\n",
    SIGNATURE + b"\x11\x11\x00\x00",
    header(0x31, 0x11, IPV4),
    header(0x22, 0x11, IPV4),
    header(0x21, 0x41, IPV4),
    header(0x21, 0x13, IPV4),
    header(0x20, 0xF0),
    header(0x21, 0x11, IPV4[:-1]),
    header(0x21, 0x21, IPV4),
    header(0x21, 0x31, UNIX[:-1]),
    header(0x21, 0x11, IPV4 + bytes(V2_MOST - 15 - len(IPV4))),
    SIGNATURE[:-1] + b"\r\x21\x11\x00\x0c" + IPV4,
]


@pytest.mark.parametrize("data", BAD)
def test_bad_headers(data):
    with pytest.raises(ValueError):
        parse(data)


@pytest.mark.parametrize("data", [b"PROXY UNKNOWN " + b"f" * 200, header(0x21, 0x11, IPV4 + bytes(V2_MOST)), b"PX", b"\r\n\r\r"])
def test_refused_before_all_has_come(data):
    """Nobody can make us wait for, or keep, more than the limit."""
    for size in range(len(data) + 1):
        try:
            assert parse(data[:size]) is None
        except ValueError:
            assert size <= V1_MOST
            return
    raise AssertionError("not refused")
