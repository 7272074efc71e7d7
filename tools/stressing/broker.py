"""The broker as tools/stress runs it: port.cpython's program, and how long it worked at a time.

    python tools/stressing/broker.py SOCKET [arguments of port.cpython]

Contract: the broker is the one of PYTHONPATH, and does what it does without this, but for two things. A peer 127.A.B.C is
taken for 10.A.B.C, 127.0.0.1 apart: so clients on one machine have many addresses, none of which has a machine's own rights.
And its calls are timed. SOCKET is a Unix socket, for one line after another: `addresses`, `reset` (forget
what was timed), `figures`; each is answered with a line of JSON.

A slice is what runs without anybody else's turn: one read of one client, one flush, one tick, one turn of the work in the
background. A turn of the event loop, all between two looks at the sockets, is many of them. Times are those of the
thread's CPU: a neighbour on the machine does not count.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from port.core.protocol.connection import Connection
from port.core.broker import Broker
from port.cpython.__main__ import main
from port.cpython.net import anteroom, epoll, listening_socket, transport
from port.cpython.server import Server

LONG = 10_000_000  # ns: what no slice should exceed
WORST = 50_000_000  # ns: what none may
LOOP = "loop"  # the kind of all between two looks at the sockets
# What is timed: methods by class. Those that a broker does not have are left out.
METHODS: tuple[tuple[type, str, str], ...] = (
    (Connection, "take", "read"),
    (Connection, "resume_writing", "drained"),
    (Connection, "lost", "lost"),
    (Connection, "authenticated", "answer"),
    (Connection, "authorized", "answer"),
    (Broker, "flush", "flush"),
    (Broker, "tick", "tick"),
    (Broker, "work", "work"),
    (Connection, "turn", "turn"),
    (Connection, "relieved", "turn"),
    (listening_socket.ListeningSocket, "_take", "accept"),
    (anteroom.Anteroom, "_turn", "handshake"),
)


class Slices:
    """What the calls of one kind have taken."""

    def __init__(self) -> None:
        self.begun = 0  # when the one that runs began, ns of its thread's CPU; 0: none does
        self.reset()

    def reset(self) -> None:
        """Forget it."""
        self.count = self.total = self.longest = self.long = self.worst = 0
        self.packets = self.deliveries = self.work = 0  # most in one

    def add(self, ns: int) -> None:
        """One more has ended."""
        self.count += 1
        self.total += ns
        if ns > self.longest:
            self.longest = ns
        if ns > LONG:
            self.long += 1
            if ns > WORST:
                self.worst += 1

    def figures(self, now: int) -> dict[str, float]:
        """Times in ms, that of one that still runs at `now` among them; how many were over 10 and over 50 ms; the most
        packets, deliveries and work, in units of Turns.limit, in one.
        """
        begun = self.begun
        longest = max(self.longest, now - begun if begun else 0)
        return {
            "count": self.count, "total": self.total / 1e6, "longest": longest / 1e6, "long": self.long, "worst": self.worst,
            "packets": self.packets, "deliveries": self.deliveries, "work": self.work,
        }  # fmt: skip


class Meter:
    """Times the broker of this process."""

    def __init__(self) -> None:
        self.kinds: dict[str, Slices] = {LOOP: Slices()}
        self.server: Server | None = None
        self._clock = time.pthread_getcpuclockid(threading.main_thread().ident or 0)
        for owner, name, kind in METHODS:
            method = getattr(owner, name, None)
            if method is not None:
                self._replace(owner, name, kind, method)
        self._remember_server()
        self._watch_turns()

    def _replace(self, owner: type, name: str, kind: str, method: Callable[..., Any]) -> None:
        slices = self.kinds.setdefault(kind, Slices())
        clock = time.thread_time_ns

        def timed(*args: Any) -> Any:
            slices.begun = begin = clock()
            try:
                return method(*args)
            finally:
                slices.begun = 0
                slices.add(clock() - begin)

        def counted(conn: Connection, *args: Any) -> Any:
            broker = conn.broker
            packets, deliveries = broker.counters.packets_received, broker.counters.published + broker.counters.dropped
            slices.begun = begin = clock()
            try:
                return method(conn, *args)
            finally:
                slices.begun = 0
                slices.add(clock() - begin)
                slices.packets = max(slices.packets, broker.counters.packets_received - packets)
                slices.deliveries = max(slices.deliveries, broker.counters.published + broker.counters.dropped - deliveries)
                slices.work = max(slices.work, broker.turns.spent)

        setattr(owner, name, counted if owner is Connection and kind != "turn" else timed)

    def _remember_server(self) -> None:
        begin = Server.start

        async def start(server: Server) -> None:
            self.server = server
            await begin(server)

        setattr(Server, "start", start)  # noqa: B010 # mypy would not have it assigned

    def _watch_turns(self) -> None:
        meter = self
        make = epoll.Sockets.__init__

        def init(served: epoll.Sockets) -> None:
            make(served)
            served._epoll = Turns(served._epoll, meter.kinds[LOOP])  # type: ignore[assignment]

        setattr(epoll.Sockets, "__init__", init)  # noqa: B010

    def reset(self) -> None:
        """Begin anew."""
        for slices in self.kinds.values():
            slices.reset()

    def figures(self) -> dict[str, Any]:
        """All there is to tell."""
        now = time.clock_gettime_ns(self._clock)
        found: dict[str, Any] = {kind: slices.figures(now) for kind, slices in self.kinds.items()}
        server = self.server
        counters = {}
        if server is not None:
            for name in ("packets_received", "published", "dropped", "refused", "auth_failed", "connections_total", "connected"):
                counters[name] = getattr(server if name == "connected" else server.counters, name)
            counters["sessions"] = len(server.sessions)
            counters["retained"] = server.retained.count
            counters["turn"] = server.turns.limit
            counters["kept"] = server.memory.kept()
        return {"slices": found, "counters": counters, "cpu": time.process_time(), "allocated": allocated(), **resident()}


class Turns:
    """An epoll between whose polls the CPU time is taken."""

    def __init__(self, epoll: Any, slices: Slices) -> None:
        self._epoll = epoll
        self._slices = slices

    def poll(self, *args: Any) -> Any:
        """See select.epoll."""
        slices = self._slices
        if slices.begun:
            slices.add(time.thread_time_ns() - slices.begun)
            slices.begun = 0
        found = self._epoll.poll(*args)
        slices.begun = time.thread_time_ns()
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._epoll, name)


class _Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
    )]  # fmt: skip


def allocated() -> int:
    """Bytes that Python has allocated and not freed: those of its own allocator and of malloc, mapped ones among them."""
    found = _small_objects()
    try:
        mallinfo = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return found  # no glibc of 2.33 or newer
    mallinfo.restype = _Mallinfo
    info = mallinfo()
    return found + int(info.uordblks) + int(info.hblkhd)


def _small_objects() -> int:
    """What Python's allocator for objects up to 512 bytes has given out, which it tells on standard error only."""
    said = os.memfd_create("malloc")
    error = os.dup(2)
    os.dup2(said, 2)
    try:
        sys._debugmallocstats()
    finally:
        os.dup2(error, 2)
        os.close(error)
    text = os.pread(said, 1 << 20, 0)
    os.close(said)
    match = re.search(rb"bytes in allocated blocks\s*=\s*([\d,]+)", text)
    return int(match[1].replace(b",", b"")) if match else 0


def resident() -> dict[str, int]:
    """Resident memory now and at its peak, bytes."""
    found = dict(re.findall(r"(VmHWM|VmRSS):\s*(\d+) kB", Path("/proc/self/status").read_text()))
    return {"rss": int(found["VmRSS"]) * 1024, "peak": int(found["VmHWM"]) * 1024}


def other_addresses() -> None:
    """Have peers 127.A.B.C be 10.A.B.C, as the module's contract says."""
    plain = transport.address_text

    def address_text(peer: Any) -> str:
        text = plain(peer)
        return "10." + text[4:] if text.startswith("127.") and not text.startswith("127.0.0.1:") else text

    for module in (transport, listening_socket):
        setattr(module, "address_text", address_text)  # noqa: B010


def answer(meter: Meter, path: str) -> None:
    """Answer on the Unix socket until the process ends."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    while True:
        conn, _ = server.accept()
        with conn, conn.makefile("rw") as file:
            for line in file:
                said: Any = None
                word = line.strip()
                if word == "figures":
                    said = meter.figures()
                elif word == "reset":
                    meter.reset()
                elif word == "addresses":
                    said = meter.server.addresses if meter.server is not None else []
                file.write(json.dumps(said) + "\n")
                file.flush()


if __name__ == "__main__":
    other_addresses()
    threading.Thread(target=answer, args=(Meter(), sys.argv[1]), daemon=True).start()
    sys.exit(main(sys.argv[2:]))
