"""The honest clients of tools/stress: groups that do the same with one broker each, all in one process.

Contract: `run` is a process. Each group has clients that publish to one another, QoS 1, and strangers that come from other
addresses, are let in and go. What differs between the groups is what their brokers do: the process itself, its neighbours
and the machine delay them alike. It is told what to do over a pipe, see `run`.
"""

from __future__ import annotations

import heapq
import select
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from fuzzing.packets import ack, connect, publish, subscribe

PERIOD = 0.1  # s between two messages of one client
START = 10.0  # s until all clients have subscribed
PIECES = 0.05  # s between the two pieces in which a stranger sends its CONNECT
AGAIN = 0.2  # s until a client that was disconnected comes back
_NEXT = 7  # each client publishes to the one so many further on
_STAMP = struct.Struct(">QI")


@dataclass
class Group:
    """Clients of one broker.

    source    the address all of them have; empty: each has another one
    user      with password, given by all; empty: anonymous
    ca        the strangers' certificate authority, who come over TLS; empty: over TCP
    proxied   whether the strangers say their address in a PROXY header
    entrance  the port the strangers come to
    rate      strangers a second
    patience  s after which a stranger is taken for turned away
    """

    port: int
    entrance: int
    clients: int = 20
    rate: float = 10.0
    patience: float = 10.0
    source: str = ""
    user: str = ""
    password: str = ""
    ca: str = ""
    proxied: bool = False

    def credentials(self) -> tuple[bytes, bytes] | tuple[None, None]:
        """What goes into a CONNECT."""
        return (self.user.encode(), self.password.encode()) if self.user else (None, None)


class Loop:
    """Sockets and what is due."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.owners: dict[int, Peer] = {}
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = 0

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call it then, in s of time.monotonic."""
        self._serial += 1
        heapq.heappush(self._due, (when, self._serial, call))

    def turn(self, most: float) -> None:
        """Wait for what comes first, `most` seconds at most, and serve it."""
        wait = most
        if self._due:
            wait = max(0.0, min(most, self._due[0][0] - time.monotonic()))
        for fd, events in self.epoll.poll(wait):
            owner = self.owners.get(fd)
            if owner is not None:
                owner.ready(events)
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()


class Peer:
    """One connection, whose packets go to `packet`."""

    def __init__(self, loop: Loop, port: int, source: str, ca: str = "") -> None:
        self.loop = loop
        self.out = b""
        self.data = b""
        self.closed = False
        self.shaking = False
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            sock.bind((source, 0))
        sock.connect_ex(("127.0.0.1", port))
        self.sock: socket.socket = sock
        self.fd = sock.fileno()
        if ca:
            self.shaking = True
            self.context = _context(ca)
        loop.epoll.register(self.fd, select.EPOLLIN | select.EPOLLOUT)
        loop.owners[self.fd] = self

    def send(self, data: bytes) -> None:
        """Send it as soon as the socket takes it."""
        self.out += data
        if not self.shaking:
            self.write()

    def ready(self, events: int) -> None:
        """The socket can be read or written."""
        if self.shaking and not self._shake():
            return
        if events & ~select.EPOLLOUT:
            self.read()
        if not self.closed:
            self.write()

    def _shake(self) -> bool:
        try:
            if not isinstance(self.sock, ssl.SSLSocket):
                self.sock = self.context.wrap_socket(self.sock, server_hostname="localhost", do_handshake_on_connect=False)
            self.sock.do_handshake()
            self.shaking = False
        except (BlockingIOError, ssl.SSLWantReadError):
            self._watch(select.EPOLLIN)
        except ssl.SSLWantWriteError:
            pass
        except OSError:
            self.close()
        return not self.shaking and not self.closed

    def _watch(self, events: int) -> None:
        self.loop.epoll.modify(self.fd, events)

    def write(self) -> None:
        """Send what waits."""
        try:
            while self.out:
                self.out = self.out[self.sock.send(self.out):]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            self.close()
            return
        self._watch(select.EPOLLIN | (select.EPOLLOUT if self.out else 0))

    def read(self) -> None:
        """Take in what is there."""
        try:
            data = self.sock.recv(65536)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self.data += data
        at = 0
        while not self.closed and len(self.data) - at > 1:
            size = shift = 0
            k = at + 1
            while k < len(self.data):
                size |= (self.data[k] & 127) << shift
                shift += 7
                k += 1
                if self.data[k - 1] < 128:
                    break
            else:
                break
            if k + size > len(self.data):
                break
            self.packet(self.data[at], self.data[k : k + size])
            at = k + size
        self.data = self.data[at:]

    def packet(self, head: int, body: bytes) -> None:
        """A packet has come."""

    def close(self) -> None:
        """It is over."""
        if not self.closed:
            self.closed = True
            self.loop.owners.pop(self.fd, None)
            self.sock.close()
            self.ended()

    def ended(self) -> None:
        """It was closed, by either side."""


_contexts: dict[str, ssl.SSLContext] = {}


def _context(ca: str) -> ssl.SSLContext:
    if ca not in _contexts:
        _contexts[ca] = ssl.create_default_context(cafile=ca)
    return _contexts[ca]


class Honest(Peer):
    """A client that publishes to another one, and notes when messages for it were sent."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        group = crowd.group
        super().__init__(crowd.loop, group.port, group.source or "127.1.0.%d" % (number + 1))
        self.crowd = crowd
        self.number = number
        self.version = 4 + number % 2
        self.subscribed = False
        user, password = group.credentials()
        self.send(connect(self.version, b"honest-%d" % number, True, 60, user=user, password=password)
                  + subscribe(self.version, 1, [(b"honest/%d" % number, 1)]))  # fmt: skip

    def packet(self, head: int, body: bytes) -> None:
        """See Peer."""
        if head & 0xF0 == 0x30:
            at = 2 + int.from_bytes(body[:2], "big")
            if head & 6:
                self.send(ack(0x40, int.from_bytes(body[at : at + 2], "big")))
                at += 2
            if self.version == 5:
                at += 1 + body[at]
            self.crowd.received(*_STAMP.unpack_from(body, at))
        elif head == 0x90:
            self.subscribed = True
        elif head == 0x40 and body[2:3] > b"\x7f":
            self.crowd.refused += 1

    def ended(self) -> None:
        """See Peer."""
        self.crowd.gone(self)


class Stranger(Peer):
    """Somebody who connects and subscribes, is let in or not, and goes."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        group = crowd.group
        source = "127.2.%d.%d" % (number // 250 % 250, number % 250 + 1)
        super().__init__(crowd.loop, group.entrance, "" if group.proxied else group.source or source, group.ca)
        self.crowd = crowd
        self.number = number
        self.version = 4 + number % 2
        self.outcome: str | None = None  # None: no answer yet; empty: let in
        self.begun = time.monotonic()
        user, password = group.credentials()
        whole = connect(self.version, b"stranger-%d" % number, True, 60, user=user, password=password)
        if group.proxied:
            whole = b"PROXY TCP4 %s 10.0.0.1 1000 1883\r\n" % source.replace("127.", "10.", 1).encode() + whole
        half = len(whole) // 2
        self.send(whole[:half])
        self.loop.at(self.begun + PIECES, lambda: self._more(whole[half:]))
        self.loop.at(self.begun + group.patience, self.close)

    def _more(self, rest: bytes) -> None:
        if not self.closed:
            self.send(rest)

    def packet(self, head: int, body: bytes) -> None:
        """See Peer."""
        if head == 0x20:
            if body[1]:
                self._answered("CONNACK %d" % body[1])
            else:
                self.send(subscribe(self.version, 1, [(b"stranger/%d" % self.number, 1)]))
        elif head == 0x90:
            self.send(b"\xe0\0")
            self._answered("SUBACK %d" % body[-1] if body[-1] > 2 else "")

    def _answered(self, refusal: str) -> None:
        self.outcome = refusal
        self.close()

    def ended(self) -> None:
        """See Peer."""
        self.crowd.answered(self)


class Crowd:
    """The clients of one group, and what has become of their messages."""

    def __init__(self, loop: Loop, group: Group) -> None:
        self.loop = loop
        self.group = group
        self.on_the_way: dict[int, int] = {}
        self.latencies: list[int] = []
        self.sent = self.refused = self.lost_clients = 0
        self.tried = self.let_in = 0
        self.waits: list[float] = []
        self.outcomes: Counter[str] = Counter()
        self.strangers: set[Stranger] = set()
        self.publishing = False
        self._serial = 0
        self.clients = [Honest(self, i) for i in range(group.clients)]

    def ready(self) -> bool:
        """True when all may publish."""
        return all(client.subscribed for client in self.clients)

    def go(self) -> None:
        """Publish, have strangers come."""
        self.publishing = True
        self.lost_clients = 0
        now = time.monotonic()
        for i in range(len(self.clients)):
            self._publish(i, now + PERIOD * i / len(self.clients))
        self._come(now)

    def _publish(self, number: int, when: float) -> None:
        def do() -> None:
            if not self.publishing:
                return
            client = self.clients[number]
            if client.subscribed and not client.closed:
                self._serial += 1
                self.sent += 1
                now = time.monotonic_ns()
                self.on_the_way[self._serial] = now
                topic = b"honest/%d" % ((number + _NEXT) % len(self.clients))
                client.send(publish(client.version, topic, _STAMP.pack(now, self._serial), 1, self._serial % 65535 + 1))
            self._publish(number, max(when + PERIOD, time.monotonic()))

        self.loop.at(when, do)

    def _come(self, when: float) -> None:
        def do() -> None:
            if not self.publishing:
                return
            self.tried += 1
            self.strangers.add(Stranger(self, self.tried))
            self._come(max(when + 1 / self.group.rate, time.monotonic()))

        self.loop.at(when, do)

    def received(self, stamp: int, serial: int) -> None:
        """A message has arrived."""
        if self.on_the_way.pop(serial, 0):
            self.latencies.append(time.monotonic_ns() - stamp)

    def gone(self, client: Honest) -> None:
        """A client was disconnected; it comes again."""
        self.lost_clients += 1
        number = client.number

        def again() -> None:
            self.clients[number] = Honest(self, number)

        self.loop.at(time.monotonic() + AGAIN, again)

    def answered(self, stranger: Stranger) -> None:
        """A stranger was let in, or not."""
        self.strangers.discard(stranger)
        if stranger.outcome == "":
            self.let_in += 1
            self.waits.append(time.monotonic() - stranger.begun - PIECES)
        elif stranger.outcome is not None:
            self.outcomes[stranger.outcome] += 1
        else:
            late = time.monotonic() - stranger.begun >= self.group.patience
            self.outcomes["no answer" if late else "closed"] += 1

    def done(self) -> bool:
        """True when nothing is on its way any more."""
        return not self.on_the_way and not self.strangers

    def report(self) -> dict[str, Any]:
        """What has become of all; what is on its way counts as late as it is now. Times in ms."""
        now = time.monotonic_ns()
        lost = len(self.on_the_way)
        latencies = sorted(self.latencies + [now - sent for sent in self.on_the_way.values()])
        waits = sorted(self.waits)
        return {
            "sent": self.sent, "lost": lost, "refused": self.refused, "disconnected": self.lost_clients,
            "p50": _part(latencies, 0.5) / 1e6, "p99": _part(latencies, 0.99) / 1e6, "max": _part(latencies, 1) / 1e6,
            "tried": self.tried, "let in": self.let_in, "turned away": dict(self.outcomes),
            "connect p99": _part(waits, 0.99) * 1e3, "connect max": _part(waits, 1) * 1e3,
        }  # fmt: skip


def _part(values: list[Any], part: float) -> float:
    """A quantile of sorted values; 0 of none."""
    return float(values[min(len(values) - 1, int(part * len(values)))]) if values else 0.0


def run(pipe: Connection, groups: list[Group], drain: float) -> None:
    """Say `ready` when all clients have subscribed, publish from `go` on, stop at `end`, and send the reports, in order.

    drain  s that messages and strangers on their way are waited for at the end
    """
    loop = Loop()
    loop.epoll.register(pipe.fileno(), select.EPOLLIN)
    crowds = [Crowd(loop, group) for group in groups]
    begun = time.monotonic()
    while not all(crowd.ready() for crowd in crowds):
        loop.turn(0.1)
        if time.monotonic() - begun > START:
            pipe.send("not all clients were let in")
            return
    pipe.send("ready")
    going = True
    while going:
        loop.turn(0.1)
        while going and pipe.poll():
            if pipe.recv() == "go":
                for crowd in crowds:
                    crowd.go()
            else:
                going = False
    for crowd in crowds:
        crowd.publishing = False
    end = time.monotonic() + drain
    while time.monotonic() < end and not all(crowd.done() for crowd in crowds):
        loop.turn(0.1)
    for crowd in crowds:
        for stranger in list(crowd.strangers):
            stranger.close()
    pipe.send([crowd.report() for crowd in crowds])
