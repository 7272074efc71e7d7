"""What an attacker of tools/stress does: connections that send as fast as the broker reads, and begin again when they end.

Contract: it knows MQTT and a port. A Flood is what some connections do; `run` is a process that does it. Packets are made
before the start, or as few as can be while it runs: nothing but the system shall be slower than the broker.
"""

from __future__ import annotations

import itertools
import os
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from fuzzing.packets import connect

NICENESS = 5  # the broker and the honest clients go first: in life attackers have machines of their own
_CHUNK = 262144  # bytes handed to the system at once
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: the port is free at once


@dataclass
class Flood:
    """Connections that do the same.

    opening   (number) -> what the number-th connection sends first
    load      () -> what each sends then, chunk by chunk; None: nothing
    count     connections at a time
    reads     whether they read what the broker sends
    hang_up   when they end: `never` by themselves, when all is `sent`, or when something was `answered`
    sources   their addresses, in turn
    pause     s until a connection that has ended begins again
    """

    opening: Callable[[int], bytes]
    load: Callable[[], Iterator[bytes]] | None = None
    count: int = 1
    reads: bool = True
    hang_up: str = "never"
    sources: tuple[str, ...] = ("127.9.0.1",)
    pause: float = 0.0


class _Stream:
    """One connection of a Flood."""

    def __init__(self, port: int, flood: Flood, number: int, tally: Counter[str]) -> None:
        self.flood = flood
        self.tally = tally
        tally["connections"] += 1
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        sock.bind((flood.sources[number % len(flood.sources)], 0))
        sock.connect_ex(("127.0.0.1", port))
        self.sock = sock
        self.fd = sock.fileno()
        self._rest = memoryview(flood.opening(number))
        self._load = flood.load() if flood.load is not None else iter(())
        self._answered = False
        self.closed = False
        self.events = select.EPOLLOUT | (select.EPOLLIN if flood.reads else 0)

    def ready(self, events: int) -> None:
        """The socket can be read or written."""
        try:
            if events & ~select.EPOLLOUT:
                self._read()
            if events & select.EPOLLOUT and not self.closed:
                self._write()
        except BlockingIOError:
            pass
        except OSError:
            self.close()

    def _write(self) -> None:
        # Not for ever: the others have their turns, too.
        for _ in range(8):
            if not self._rest:
                chunk = next(self._load, None)
                if chunk is None:
                    if self.flood.hang_up == "sent":
                        self.close()
                    else:
                        self.events &= ~select.EPOLLOUT
                    return
                self.tally["chunks"] += 1
                self._rest = memoryview(chunk)
            count = self.sock.send(self._rest[:_CHUNK])
            self.tally["bytes"] += count
            self._rest = self._rest[count:]

    def _read(self) -> None:
        if not self.flood.reads:
            self.close()  # what is told without being asked for is the end
            return
        data = self.sock.recv(_CHUNK)
        if not data:
            self.close()
            return
        self.tally["received"] += len(data)
        if not self._answered:
            self._answered = True
            if data[0] == 0x20 and len(data) > 3:
                self.tally["CONNACK %d" % data[3]] += 1
            if self.flood.hang_up == "answered":
                self.close()

    def close(self) -> None:
        """End it."""
        if not self.closed:
            self.closed = True
            if not self._answered:
                self.tally["unanswered"] += 1
            self.sock.close()


def run(pipe: Connection, port: int, floods: list[Flood], seconds: float) -> None:
    """Say `ready` and wait for a word, attack for so long, send the tally, and keep the connections until the next word."""
    os.nice(NICENESS)
    pipe.send("ready")
    pipe.recv()
    tally: Counter[str] = Counter()
    epoll = select.epoll()
    streams: dict[int, _Stream] = {}
    numbers = [itertools.count() for _ in floods]
    waiting = [(0.0, place) for place, flood in enumerate(floods) for _ in range(flood.count)]
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        later = []
        for when, place in waiting:
            if when > now:
                later.append((when, place))
                continue
            stream = _Stream(port, floods[place], next(numbers[place]), tally)
            streams[stream.fd] = stream
            epoll.register(stream.fd, stream.events)
        waiting = later
        for fd, events in epoll.poll(0.01 if waiting else 0.1, 256):
            stream = streams[fd]
            before = stream.events
            stream.ready(events)
            if stream.closed:
                del streams[fd]
                flood = stream.flood
                waiting.append((time.monotonic() + flood.pause, floods.index(flood)))
            elif stream.events != before:
                epoll.modify(fd, stream.events)
    pipe.send(dict(tally))
    pipe.recv()


class Talk:
    """A connection that prepares something, and waits for it."""

    def __init__(self, port: int, client_id: bytes = b"prepares", source: str = "", version: int = 4, **fields: Any) -> None:
        """`fields`: of the CONNECT, see fuzzing.packets.connect. Raises OSError when it is not let in."""
        self.sock = socket.create_connection(("127.0.0.1", port), 60, (source, 0) if source else None)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._data = b""
        self.sock.sendall(connect(version, client_id, **fields))
        head, body = self.packet()
        if head != 0x20 or body[1]:
            raise ConnectionRefusedError("not let in: %s" % body.hex())

    def packet(self) -> tuple[int, bytes]:
        """The next packet. Raises OSError."""
        while True:
            data = self._data
            size = shift = 0
            at = 1
            while at < len(data):
                size |= (data[at] & 127) << shift
                shift += 7
                at += 1
                if data[at - 1] < 128:
                    if at + size <= len(data):
                        self._data = data[at + size :]
                        return data[0], data[at : at + size]
                    break
            more = self.sock.recv(_CHUNK)
            if not more:
                raise ConnectionResetError("the broker has closed the connection")
            self._data += more

    def send(self, data: bytes) -> None:
        """Send it, and wait until the broker has handled it."""
        for at in range(0, len(data), _CHUNK):
            self.sock.sendall(data[at : at + _CHUNK])
        self.sock.sendall(b"\xc0\0")
        while self.packet()[0] != 0xD0:
            pass

    def close(self) -> None:
        """Say goodbye."""
        self.sock.sendall(b"\xe0\0")
        self.sock.close()


def again(*chunks: bytes) -> Callable[[], Iterator[bytes]]:
    """A load that is the same again and again."""
    return lambda: itertools.cycle(chunks)


def batches(make: Callable[[int], bytes], size: int) -> Callable[[], Iterator[bytes]]:
    """A load of chunks of `size` packets each: make(0), make(1) ..."""

    def load() -> Iterator[bytes]:
        for first in itertools.count(0, size):
            yield b"".join([make(number) for number in range(first, first + size)])

    return load
