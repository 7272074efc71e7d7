"""Peer addresses: hosts, networks, who is on this machine."""

from harness import raises
from port.core.limits.ip_address import host, is_loopback, parse
from port.core.limits.ip_network import Network


def test_the_host_of_an_address():
    for address, expected in (
        ("1.2.3.4:5", "1.2.3.4"), ("[::1]:5", "::1"), ("[fe80::1%eth0]:5", "fe80::1%eth0"), ("unix", "unix"), ("", ""),
        ("[::ffff:1.2.3.4]:5", "::ffff:1.2.3.4"), ("name.example:5", "name.example"), ("1.2.3.4", "1.2.3.4"),
    ):  # fmt: skip
        assert host(address) == expected, address


def test_addresses():
    mapped = bytes((1, 2, 3, 4))
    for text, expected in (
        ("1.2.3.4", mapped), ("0.0.0.0", bytes(4)), ("255.255.255.255", b"\xff" * 4), ("::", bytes(16)),
        ("::1", bytes(15) + b"\1"), ("1::", b"\0\1" + bytes(14)), ("fd00::1", b"\xfd\0" + bytes(13) + b"\1"),
        ("FD00::1", b"\xfd\0" + bytes(13) + b"\1"), ("::ffff:1.2.3.4", mapped), ("::ffff:102:304", mapped),
        ("0:0:0:0:0:ffff:1.2.3.4", mapped), ("fe80::1%eth0", b"\xfe\x80" + bytes(13) + b"\1"),
        ("64:ff9b::1.2.3.4", b"\0\x64\xff\x9b" + bytes(8) + mapped), ("1:2:3:4:5:6:7:8", bytes((0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 8))),
        ("::1.2.3.4", bytes(12) + mapped),
    ):  # fmt: skip
        assert parse(text) == expected, text


def test_what_is_no_address():
    for text in (
        "", " ", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.-4", "1.2.3.+4", "1..2.3", "1.2.3.", "a.b.c.d", "01.2.3.4",
        "1.2.3.0004", "1.2.3.4 ", "1.2.3.4/8", "1_0.2.3.4", "1.2.3.\u0664", "1.2.3.\u00b2", "0x1.2.3.4", "unix", "localhost",
        ":", ":::", "1", "1:2", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "12345::", "g::", "::1.2.3", "::1.2.3.4.5",
        "1.2.3.4::", "::1.2.3.4:5", "1:2:3:4:5:6:7:1.2.3.4", "::ffff:1.2.3.256", "[::1]", ":1::", "1::2:", "::-1", "::+1", "::1_0",
        "1:2:3:4:5:6:7::8",
    ):  # fmt: skip
        assert parse(text) is None, text
        if "/" not in text:
            error = str(raises(ValueError, Network, text))
            assert error == "%r is neither an IP address nor a network such as 192.168.1.0/24" % text, text


def test_wrong_prefix_lengths_are_named():
    for text, most in (
        ("10.0.0.0/33", 32), ("10.0.0.0/", 32), ("10.0.0.0/-1", 32), ("10.0.0.0/8/8", 32), ("10.0.0.0/255.0.0.0", 32),
        ("10.0.0.0/ 8", 32), ("10.0.0.0/\u0668", 32), ("10.0.0.0/\u00b2", 32), ("fd00::/129", 128), ("::/1e1", 128),
    ):  # fmt: skip
        assert str(raises(ValueError, Network, text)) == "%r: the prefix length must be from 0 to %d" % (text, most)


def test_networks():
    for text, inside, outside in (
        ("10.0.0.0/8", "10.255.0.1 10.0.0.0", "11.0.0.0 9.255.255.255"),
        ("10.1.2.3/8", "10.9.9.9", "11.1.2.3"),  # the bits after the prefix do not matter
        ("10.0.0.0/9", "10.127.255.255", "10.128.0.0"),
        ("192.168.1.128/25", "192.168.1.128 192.168.1.255", "192.168.1.127 192.168.2.128"),
        ("192.168.1.4/30", "192.168.1.7", "192.168.1.8 192.168.1.3"),
        ("1.2.3.4", "1.2.3.4", "1.2.3.5"),
        ("1.2.3.4/32", "1.2.3.4", "1.2.3.5"),
        ("0.0.0.0/0", "1.2.3.4 255.255.255.255", ""),
        ("0.0.0.0/1", "127.0.0.1", "128.0.0.1"),
    ):
        network = Network(text)
        for expected, hosts in ((True, inside), (False, outside)):
            for name in hosts.split():
                assert network.contains(name + ":1") == expected, (text, name)
                assert network.contains("[::ffff:%s]:1" % name) == expected, (text, name)
        assert not network.contains("[::1]:1") and not network.contains("unix") and not network.contains("")
    for text, inside, outside in (
        ("fd00::/8", "fd00::1 fdff:ffff::", "fe00::1 fc00::1"),
        ("fd00::/127", "fd00:: fd00::1", "fd00::2"),
        ("2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"),
        ("::1", "::1 0:0:0:0:0:0:0:1", "::2"),
        ("::/0", "::1 ffff::", ""),
    ):
        network = Network(text)
        for expected, hosts in ((True, inside), (False, outside)):
            for name in hosts.split():
                assert network.contains("[%s]:1" % name) == expected, (text, name)
        assert not network.contains("10.0.0.1:1") and not network.contains("unix")


def test_who_is_on_this_machine():
    for address, expected in (
        ("127.0.0.1:1", True), ("127.255.1.2:1", True), ("[::1]:1", True), ("[::ffff:127.0.0.1]:1", True), ("unix", True),
        ("128.0.0.1:1", False), ("10.127.0.0:1", False), ("1.127.0.0:1", False), ("[::2]:1", False), ("[fd00::1]:1", False),
        ("[::ffff:10.0.0.1]:1", False), ("unix2", False), ("", False), ("0.0.0.0:1", False), ("[::]:1", False),
    ):  # fmt: skip
        assert is_loopback(address) == Network("loopback").contains(address) == expected, address
