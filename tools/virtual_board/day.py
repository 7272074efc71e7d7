"""A day in the life of a board: what `tools/board measure` does to one whose clock runs fast.

Clients look at the board's own clock (its uptime in $SYS) for when to do something. All day long there are some that
publish to each other, at all levels of QoS, and some that only listen and ping as their keep alive demands. Every ten
minutes one comes, publishes and goes; every hour one falls silent and must be dropped, its will sent, and one with a
session comes back for what was queued.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from fuzzing.packets import connect, publish, subscribe
from swarm import Client, Swarm, packet_id_of, topic_of
from virtual_board.board import expect

Row = tuple[str, str]

TALKERS = 8
LISTENERS = 6
EVERY = 30  # s between two messages of a talker
HOUR = 3600
SILENT = 300  # s, the keep alive of who falls silent
LATE = 300  # s after 1.5 times that which may pass until it is seen here: the board's clock runs 300 times as fast as ours
PAUSE = 0.05  # s of our own clock between two looks at the board's
NOISE = 512  # bytes that a stale word on the stack spares from being collected
CLOCK = b"$SYS/broker/uptime"
HEAP = b"$SYS/broker/heap/current"


@dataclass
class Guest:
    """A client of the day; `due`: when it must say something again."""

    client: Client
    topic: bytes = b""  # where it publishes
    keep_alive: int = 0
    due: int = 0
    sent: int = 0


class Day:
    """Runs it on the broker of a swarm."""

    def __init__(self, swarm: Swarm) -> None:
        self.swarm = swarm
        self.values: dict[bytes, int] = {}
        self.watch = swarm.connect(b"watch")
        self.guests: list[Guest] = []
        self.sent = self.got = self.wills = self.visits = self.fetched = self.queued = 0
        self.silent: dict[Client, int] = {}  # -> when it said its last word
        self.dropped: list[int] = []  # s after their last word
        self.heaps: list[int] = []

    # -- what comes ---------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Handle what has come to all clients."""
        for first, body in self.watch.take():
            if first & 0xF0 == 0x30:
                topic = topic_of(body)
                if topic.startswith(b"$SYS"):
                    self.values[topic] = int(body[2 + len(topic):])
                else:
                    self.wills += 1
                    self.swarm.send(self.watch, b"\x40\2" + packet_id_of(body))
        for guest in self.guests:
            expect(not guest.client.closed, "a client that keeps its promises was dropped")
            self.got += self.answer(guest.client)

    def answer(self, client: Client) -> int:
        """Acknowledge; how many messages there were."""
        count = 0
        for first, body in client.take():
            kind = first & 0xF0
            if kind == 0x30:
                count += 1
                if first & 6:
                    self.swarm.send(client, (b"\x40\2" if first & 2 else b"\x50\2") + packet_id_of(body))
            elif kind == 0x50:
                self.swarm.send(client, b"\x62\2" + body[:2])
            elif kind == 0x60:
                self.swarm.send(client, b"\x70\2" + body[:2])
        return count

    def ask(self, topic: bytes) -> int:
        """A figure of the board, now."""
        self.values.pop(topic, None)
        self.swarm.send(self.watch, subscribe(4, 1, [(topic, 0)]))

        def known() -> bool:
            self.serve()
            return topic in self.values

        self.swarm.wait(known)
        return self.values[topic]

    # -- what is done -------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Those that stay."""
        self.swarm.exchange(self.watch, subscribe(4, 1, [(b"will/+", 1)]))
        for i in range(TALKERS + LISTENERS):
            keep_alive = 900 + 100 * (i % 4)
            client = self.swarm.connect(b"guest-%d" % i, keep_alive=keep_alive)
            self.swarm.exchange(client, subscribe(4, 1, [(b"room/%d" % i, i % 3), (b"hall/+", 1)]))
            topic = b"room/%d" % ((i + 1) % TALKERS) if i < TALKERS else b""
            self.guests.append(Guest(client, topic, keep_alive))
        self.sleep(b"sleeper")

    def talk(self, now: int) -> None:
        """Messages and pings of those that stay."""
        for guest in self.guests:
            if now < guest.due:
                continue
            if guest.topic:
                self.swarm.send(guest.client, publish(4, guest.topic, b"%06d" % guest.sent, guest.sent % 3, guest.sent + 1))
                guest.sent += 1
                self.sent += 1
                guest.due = now + EVERY
            else:
                self.swarm.send(guest.client, b"\xc0\0")
                guest.due = now + guest.keep_alive // 2

    def visit(self) -> None:
        """One comes, publishes a retained message and goes."""
        version = 4 + self.visits % 2
        client = self.swarm.connect(b"visitor-%d" % self.visits, version, keep_alive=60)
        self.swarm.exchange(client, publish(version, b"visit/%d" % (self.visits % 5), b"%d" % self.visits, 1, 1, True))
        self.swarm.leave(client)
        self.visits += 1

    def fall_silent(self) -> None:
        """One more that says nothing any more."""
        will = (b"will/%d" % len(self.dropped), b"gone", 1, False)
        now = self.ask(CLOCK)
        self.silent[self.swarm.connect(b"silent-%d" % len(self.dropped), keep_alive=SILENT, will=will)] = now

    def look_for_silent(self, now: int) -> None:
        for client in [client for client in self.silent if client.closed]:
            self.dropped.append(now - self.silent.pop(client))
            self.swarm.clients.remove(client)
            client.abort()

    def sleep(self, name: bytes) -> None:
        """The one with a session: comes, takes what is queued, subscribes and goes."""
        client = self.swarm.open(connect(4, name, False, 600))
        got = 0

        def done() -> bool:
            nonlocal got
            got += self.answer(client)
            return got >= self.queued

        self.swarm.wait(lambda: bool(client.packets))
        client.packets.pop(0)
        self.swarm.wait(done)
        self.fetched += got
        self.swarm.exchange(client, subscribe(4, 1, [(b"sleep/+", 1)]))
        self.swarm.leave(client)
        self.queued = 0

    def queue(self) -> None:
        """A message for the one that sleeps."""
        client = self.swarm.connect(b"herald")
        self.swarm.exchange(client, publish(4, b"sleep/now", b"wake up", 1, 1))
        self.swarm.leave(client)
        self.queued += 1

    def wait(self) -> None:
        """Let some time pass, and handle what comes."""
        end = time.monotonic() + PAUSE
        while (left := end - time.monotonic()) > 0:
            self.swarm.step(left)
            self.serve()

    def run(self, seconds: int) -> Iterator[Row]:
        """For so many seconds of the board's clock."""
        self.open()
        begin = time.monotonic()
        start = now = self.ask(CLOCK)
        minutes = hours = 0
        while now < start + seconds:
            self.talk(now)
            self.wait()
            now = self.ask(CLOCK)
            self.look_for_silent(now)
            if (now - start) // 600 > minutes:
                minutes += 1
                self.visit()
                self.queue()
            if (now - start) // HOUR > hours:
                hours += 1
                self.sleep(b"sleeper")
                self.fall_silent()
                self.heaps.append(self.ask(HEAP))
        last = now
        while self.silent:
            self.talk(now)
            self.wait()
            now = self.ask(CLOCK)
            self.look_for_silent(now)
        for _ in range(20):  # what is on its way
            self.wait()
        yield "the board's clock", f"{last - start:,} s, in {time.monotonic() - begin:.0f} s"
        yield (f"messages of {TALKERS} clients, QoS 0, 1 and 2 in turn", f"{self.got:,} of {self.sent:,} arrived")
        yield f"clients dropped of those that kept their keep alive, {TALKERS + LISTENERS} all the time", "none"
        yield (f"silent clients, keep alive {SILENT} s", f"{len(self.dropped)} of {len(self.dropped)} dropped after "
               f"{min(self.dropped, default=0)} to {max(self.dropped, default=0)} s, {self.wills} wills sent")
        yield "visits, messages queued for one with a session", f"{self.visits}, {self.fetched} fetched"
        if self.heaps:
            yield ("heap in use after an hour, the last hour, least and most of any hour",
                   f"{self.heaps[0]:,}, {self.heaps[-1]:,}, {min(self.heaps):,}, {max(self.heaps):,} bytes")
            punctual = all(1.5 * SILENT - 1 <= each <= 1.5 * SILENT + LATE for each in self.dropped)
            expect(punctual, f"dropped too early or too late: {self.dropped}")
            expect(self.got == self.sent and self.wills == len(self.dropped), "messages are missing")
            expect(self.heaps[-1] - self.heaps[0] <= NOISE, "the heap has grown")
