"""Peer addresses as text: the host in `host:port`, its bytes, and the addresses of this machine."""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional, Union

_MAPPED = b"\0\0\0\0\0\0\0\0\0\0\xff\xff"  # prefix of an IPv4-mapped IPv6 address


def text(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    return ("[%s]:%d" if ":" in host else "%s:%d") % (host, port)


def host(address: str) -> str:
    """The host of `host:port`, without the brackets of IPv6; `unix` and the like as they are."""
    if address.startswith("["):
        return address[1 : address.find("]")]
    colon = address.rfind(":")
    return address if colon < 0 else address[:colon]


def is_loopback(address: str) -> bool:
    """True for a peer on this machine (`127.x:port`, `[::1]:port`, a Unix socket's `unix`)."""
    return (
        address.startswith("127.")
        or address.startswith("[::1]")
        or address.startswith("[::ffff:127.")
        or address == "unix"
    )


def peer(address: str) -> "Union[str, bytes]":
    """The key of the peer `host:port`: its IPv4 address, or its IPv6 /64 network, the usual size of one subscriber's network."""
    name = host(address)
    data = parse(name)
    return name if data is None else data[:8] if len(data) == 16 else data


def parse(text: str) -> "Optional[bytes]":
    """The 4 or 16 bytes of an IP address, None when `text` is not one; a mapped IPv4 address gives 4 bytes."""
    if ":" not in text:
        return _parse4(text)
    zone = text.find("%")
    if zone >= 0:
        text = text[:zone]
    tail = b""
    dot = text.find(".")
    if dot >= 0:  # the last 32 bits in IPv4's notation
        colon = text.rfind(":")
        last = _parse4(text[colon + 1 :])
        if last is None:
            return None
        tail = last
        text = text[: colon + 1] + "0:0"
    halves = text.split("::")
    if len(halves) > 2:
        return None
    groups = [_groups(half) for half in halves]
    if None in groups:
        return None
    left: bytes = groups[0]  # type: ignore[assignment]
    if len(halves) == 2:
        right: bytes = groups[1]  # type: ignore[assignment]
        if len(left) + len(right) > 14:
            return None
        left = left + bytes(16 - len(left) - len(right)) + right
    if len(left) != 16:
        return None
    if tail:
        left = left[:12] + tail
    return left[12:] if left.startswith(_MAPPED) else left


def _parse4(text: str) -> "Optional[bytes]":
    parts = text.split(".")
    if len(parts) != 4:
        return None
    for part in parts:
        value = number(part, 255)
        if value < 0 or part[0] == "0" and len(part) > 1:  # which some read as octal
            return None
    return bytes([int(part) for part in parts])


def number(text: str, most: int) -> int:
    """A decimal number up to `most`, -1 when the text is none."""
    for c in text:
        if c not in "0123456789":
            return -1
    return int(text) if 0 < len(text) <= 3 and int(text) <= most else -1


def _groups(text: str) -> "Optional[bytes]":
    """The bytes of some colon-separated 16-bit groups."""
    data = b""
    for group in text.split(":") if text else ():
        if not 0 < len(group) <= 4:
            return None
        for c in group:
            if c not in "0123456789abcdefABCDEF":
                return None
        value = int(group, 16)
        data += bytes((value >> 8, value & 255))
    return data
