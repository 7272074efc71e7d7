"""PROXY protocol headers: whatever comes, an answer of the three kinds, the same however the bytes are split."""

import ipaddress
import socket
import struct

from hypothesis import example, given
from hypothesis import strategies as st

from port.cpython.net.proxy_protocol import V1_MOST, V2_MOST, parse

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

ports = st.integers(0, 65535)
lines = st.text("0123456789abcdefABCDEF:. TCPUNKOW\r\n", max_size=120).map(lambda text: b"PROXY " + text.encode())
binary = st.builds(
    lambda first, second, size, body: SIGNATURE + bytes((first, second)) + struct.pack("!H", size) + body,
    st.one_of(st.sampled_from((0x20, 0x21)), st.integers(0, 255)),
    st.one_of(st.sampled_from((0x00, 0x11, 0x21, 0x31)), st.integers(0, 255)),
    st.integers(0, 300) | ports,
    st.binary(max_size=300),
)


def outcome(data):
    try:
        return parse(data)
    except ValueError:
        return "refused"


@given(st.one_of(st.binary(max_size=200), lines, binary))
@example(b"")
def test_any_bytes(data):
    answers = [outcome(data[:size]) for size in range(len(data) + 1)]
    settled = [answer for answer in answers if answer is not None]
    # Once settled, more bytes change nothing.
    assert answers == [None] * (len(answers) - len(settled)) + settled
    assert all(answer == settled[0] for answer in settled)
    if settled and settled[0] != "refused":
        consumed, address = settled[0]
        assert consumed == len(answers) - len(settled)
        if address not in (None, "?"):
            host, _, port = address.rpartition(":")
            assert str(ipaddress.ip_address(host.strip("[]"))) and 0 <= int(port) <= 65535
    elif not settled:
        assert len(data) < (V1_MOST if data.startswith(b"P") else V2_MOST)


@given(st.ip_addresses(v=4), st.ip_addresses(v=4), ports, ports, st.binary(max_size=50))
def test_ipv4(source, target, source_port, target_port, rest):
    expected = "%s:%d" % (source, source_port)
    line = ("PROXY TCP4 %s %s %d %d\r\n" % (source, target, source_port, target_port)).encode()
    assert parse(line + rest) == (len(line), expected)
    body = source.packed + target.packed + struct.pack("!HH", source_port, target_port)
    data = SIGNATURE + b"\x21\x11" + struct.pack("!H", len(body)) + body
    assert parse(data + rest) == (len(data), expected)


@given(st.ip_addresses(v=6), st.ip_addresses(v=6), ports, ports, st.binary(max_size=50), st.booleans())
def test_ipv6(source, target, source_port, target_port, rest, exploded):
    expected = "[%s]:%d" % (socket.inet_ntop(socket.AF_INET6, source.packed), source_port)
    names = (source.exploded, target.exploded) if exploded else (source, target)
    line = ("PROXY TCP6 %s %s %d %d\r\n" % (*names, source_port, target_port)).encode()
    assert parse(line + rest) == (len(line), expected)
    body = source.packed + target.packed + struct.pack("!HH", source_port, target_port)
    data = SIGNATURE + b"\x21\x21" + struct.pack("!H", len(body)) + body
    assert parse(data + rest) == (len(data), expected)
