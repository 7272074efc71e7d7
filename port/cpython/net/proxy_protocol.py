"""The header of the PROXY protocol, by which a load balancer tells whom it speaks for. Versions 1 and 2, no I/O.

It is for listeners that were told to expect it: the first bytes must be a header then
(specification, section 2), and only proxies that are trusted may reach the listener.
"""

from __future__ import annotations

import ipaddress
import re
import socket

from port.core.limits.ip_address import text

V1_MOST = 107  # bytes of the line with its end (specification, section 2.1)
V2_MOST = 4096  # bytes of a header with all its TLVs; the format would allow 65,551
UNKNOWN = "?"  # who is behind the proxy cannot be said

_V1_BEGIN = b"PROXY "
_V1 = re.compile(rb"PROXY (TCP[46]) ([0-9a-fA-F:.]+) ([0-9a-fA-F:.]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})")
_V1_UNKNOWN = re.compile(rb"PROXY UNKNOWN( .*)?", re.DOTALL)
_V2_BEGIN = b"\r\n\r\n\0\r\nQUIT\n"
_V2_HEAD = 16
_LOCAL, _PROXY = 0, 1
_INET, _INET6, _UNIX = 1, 2, 3
_STREAM, _DGRAM = 1, 2
_ADDRESSES = {_INET: 12, _INET6: 36, _UNIX: 216}  # bytes of both addresses and ports, by family


def parse(data: bytes) -> tuple[int, str | None] | None:
    """Read the header at the front of `data`: (its length, the client's address); None while it is incomplete.

    The address is `host:port`, IPv6 in brackets. It is None when the connection is the proxy's own, a health
    check (LOCAL): then the socket's address counts. It is UNKNOWN when the proxy speaks for somebody whose
    address it does not tell, or who has none. The specification would have the socket's address then; but that
    is the proxy's, which may be on this machine and have rights that its clients have not.
    Raises ValueError for anything else; bytes behind the header are left alone.
    """
    if data[0:1] == b"P":
        return _parse1(data)
    if not _V2_BEGIN.startswith(data[: len(_V2_BEGIN)]):
        raise ValueError("no PROXY header")
    return _parse2(data)


def _parse1(data: bytes) -> tuple[int, str] | None:
    end = data.find(b"\r\n", 0, V1_MOST)
    if end < 0:
        if not _V1_BEGIN.startswith(data[: len(_V1_BEGIN)]):
            raise ValueError("no PROXY header")
        if len(data) >= V1_MOST:
            raise ValueError("PROXY header longer than %d bytes" % V1_MOST)
        return None
    line = data[:end]
    if _V1_UNKNOWN.fullmatch(line):
        return end + 2, UNKNOWN
    match = _V1.fullmatch(line)
    if match is None:
        raise ValueError("malformed PROXY header")
    family, source, target, *ports = (group.decode() for group in match.groups())
    kind = ipaddress.IPv4Address if family == "TCP4" else ipaddress.IPv6Address
    try:
        packed = kind(source).packed
        kind(target)
    except ValueError:
        raise ValueError("PROXY header with a wrong address") from None
    if max(map(int, ports)) > 65535:
        raise ValueError("PROXY header with a wrong port")
    return end + 2, _text(packed, int(ports[0]))


def _parse2(data: bytes) -> tuple[int, str | None] | None:
    if len(data) < _V2_HEAD:
        return None
    version, command = data[12] >> 4, data[12] & 15
    family, transport = data[13] >> 4, data[13] & 15
    size = int.from_bytes(data[14:16], "big")
    if version != 2 or command > _PROXY or family > _UNIX or transport > _DGRAM:
        raise ValueError("PROXY header with an unknown version, command or address family")
    if _V2_HEAD + size > V2_MOST:
        raise ValueError("PROXY header longer than %d bytes" % V2_MOST)
    if command == _PROXY and transport and size < _ADDRESSES.get(family, 0):
        raise ValueError("PROXY header too short for its addresses")
    if len(data) < _V2_HEAD + size:
        return None
    end = _V2_HEAD + size
    if command == _LOCAL:
        return end, None
    # Behind the addresses may be TLVs; nothing we need is in them.
    if transport == _STREAM and family == _INET:
        return end, _text(data[16:20], int.from_bytes(data[24:26], "big"))
    if transport == _STREAM and family == _INET6:
        return end, _text(data[16:32], int.from_bytes(data[48:50], "big"))
    return end, UNKNOWN


def _text(packed: bytes, port: int) -> str:
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    return text(socket.inet_ntop(family, packed), port)
