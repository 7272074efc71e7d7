"""The time from a server (SNTP, RFC 4330), without blocking other tasks.

MicroPython's own ntptime blocks the whole board in `getaddrinfo`, with lwIP 7 s for each silent DNS server; then the watchdog
resets the board.
"""

import asyncio
import os
import socket

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

DNS_PORT = 53
NTP_PORT = 123

_TRIES = const(3)
_POLL = const(50)  # ms
_POLLS = const(20)  # of each attempt
_SERVER = const(4)  # mode of an NTP answer
_TO_1970 = const(2208988800)  # s from 1900
_ERA = const(1 << 32)  # s, the first ended in 2036
_LABEL = const(63)  # bytes


def check(host: str) -> None:
    """Raise ValueError for a text that cannot be the name or IPv4 address of a server."""
    if not all([0 < len(label) <= _LABEL for label in host.split(".")]):
        raise ValueError("%r is no name of a host" % host)


async def ask(host: str, dns: str) -> "Optional[int]":
    """Seconds since 1970, or None without an answer. `dns`: IPv4 address of the DNS server. Raises OSError."""
    address: "Optional[str]" = host
    if not host.replace(".", "").isdigit():
        number = os.urandom(2)
        name = b"".join([bytes((len(label),)) + label.encode() for label in host.split(".")])
        question = name + b"\0\0\1\0\1"  # the end of the name, type A, class IN
        packet = number + b"\1\0\0\1\0\0\0\0\0\0" + question
        address = await _exchange(dns, DNS_PORT, packet, lambda answer: _resolved(answer, number, len(packet)))
    if address is None:
        return None
    cookie = os.urandom(8)
    packet = b"\x23" + bytes(39) + cookie  # version 4, a client; random bytes stand as our time, a cookie
    found: "Optional[int]" = await _exchange(address, NTP_PORT, packet, lambda answer: _seconds(answer, cookie))
    return found


async def _exchange(address: str, port: int, packet: bytes, read: "Callable[[bytes], Any]") -> "Any":
    """Ask over UDP until `read(answer)` is not None; returns that."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.connect(socket.getaddrinfo(address, port)[0][-1])  # answers of other addresses are dropped
        for _ in range(_TRIES):
            sock.send(packet)
            for _ in range(_POLLS):
                await asyncio.sleep_ms(_POLL)
                try:
                    found = read(sock.recv(512))
                except OSError:
                    continue  # no answer yet
                if found is not None:
                    return found
        return None
    finally:
        sock.close()


def _resolved(answer: bytes, number: bytes, at: int) -> "Optional[str]":
    """The first address in an answer to our question, which ends at `at`."""
    if len(answer) < at or answer[:2] != number or not answer[2] & 0x80:
        return None
    for _ in range(answer[7]):
        while at < len(answer) and 0 < answer[at] < 0xC0:
            at += 1 + answer[at]
        at += 2 if at < len(answer) and answer[at] else 1  # a name ends with a pointer, or with nothing
        if at + 10 > len(answer):
            return None
        size = answer[at + 8] << 8 | answer[at + 9]
        data = answer[at + 10 : at + 10 + size]
        if answer[at : at + 4] == b"\0\1\0\1" and len(data) == 4:
            return "%d.%d.%d.%d" % (data[0], data[1], data[2], data[3])
        at += 10 + size
    return None


def _seconds(answer: bytes, cookie: bytes) -> "Optional[int]":
    if len(answer) < 48 or answer[0] & 7 != _SERVER or not 0 < answer[1] < 16 or answer[24:32] != cookie:
        return None
    seconds = int.from_bytes(answer[40:44], "big")
    return seconds - _TO_1970 + (0 if seconds & 0x80000000 else _ERA)
