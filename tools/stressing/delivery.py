"""What a client that reads and acknowledges at once is sent of what others publish: for tools/stress.

Contract: `receive` and `send` are processes, as flood.run is; their tallies tell how many messages were published,
acknowledged to their publishers, and delivered.
"""

from __future__ import annotations

import select
import time
from multiprocessing.connection import Connection

from fuzzing.packets import publish, subscribe
from stressing.flood import Talk

PATIENCE = 5.0  # s without anything delivered, after which the rest is lost
SOURCE = "127.9.0.1"
_READ = 262144


class _Publisher:
    """Publishes so many messages, in writes of several, with some in flight or as fast as it can (0)."""

    def __init__(self, talk: Talk, number: int, messages: int, in_a_write: int, window: int) -> None:
        self.sock = talk.sock
        self.sock.setblocking(False)
        self._number = number
        self._messages = messages
        self._in_a_write = in_a_write
        self._window = window
        self._rest = b""
        self._answers = 0  # bytes
        self.published = 0
        self.acknowledged = 0

    def wants(self) -> bool:
        """True while it has something to send."""
        window = self._window
        return bool(self._rest) or (
            self.published < self._messages and (not window or self.published - self.acknowledged < window)
        )

    def write(self) -> None:
        """Send what it may."""
        while self.wants():
            if not self._rest:
                count = min(self._in_a_write, self._messages - self.published)
                if self._window:
                    count = min(count, self._window - (self.published - self.acknowledged))
                first = self.published
                self._rest = b"".join([
                    publish(4, b"delivered", b"%d/%d" % (self._number, i), 1, i % 65535 + 1) for i in range(first, first + count)
                ])  # fmt: skip
                self.published += count
            try:
                sent = self.sock.send(self._rest)
            except BlockingIOError:
                return
            self._rest = self._rest[sent:]

    def read(self) -> int:
        """Count acknowledgements, which are whole and of four bytes each but for the last; how many bytes came."""
        data = self.sock.recv(_READ)
        self._answers += len(data)
        self.acknowledged = self._answers // 4
        return len(data)


def receive(pipe: Connection, port: int, seconds: float, expected: int) -> None:
    """Read and acknowledge, however long that takes; send the tally when all were delivered, or no more come."""
    receiver = Talk(port, b"receiver", SOURCE)
    receiver.send(subscribe(4, 1, [(b"delivered", 1)]))
    pipe.send("ready")
    pipe.recv()
    receiver.sock.settimeout(PATIENCE)
    seen: set[bytes] = set()
    rest = b""
    while len(seen) < expected:
        try:
            data = receiver.sock.recv(_READ)
        except TimeoutError:
            break
        if not data:
            break
        rest, acks = _take(rest + data, seen)
        receiver.sock.sendall(acks)
    pipe.send({"delivered": len(seen), "expected": expected})
    pipe.recv()


def send(pipe: Connection, port: int, seconds: float, plan: tuple[int, int, int, int]) -> None:
    """Publish all, however long that takes; send the tally when all were acknowledged, or no more are."""
    publishers, messages, in_a_write, window = plan
    senders = [
        _Publisher(Talk(port, b"publisher-%d" % i, SOURCE), i, messages, in_a_write, window) for i in range(publishers)
    ]
    pipe.send("ready")
    pipe.recv()
    last = time.monotonic()
    while any(sender.acknowledged < messages for sender in senders) and time.monotonic() - last < PATIENCE:
        writers = [sender.sock for sender in senders if sender.wants()]
        readable, writable, _ = select.select([sender.sock for sender in senders], writers, [], 0.1)
        for sender in senders:
            if sender.sock in readable and sender.read():
                last = time.monotonic()
            if sender.sock in writable:
                sender.write()
    pipe.send({
        "published": sum(sender.published for sender in senders), "acknowledged": sum(sender.acknowledged for sender in senders),
    })  # fmt: skip
    pipe.recv()


def _take(data: bytes, seen: set[bytes]) -> tuple[bytes, bytes]:
    """Note the payloads of all whole PUBLISH packets; what is left, and the acknowledgements."""
    acks = []
    at, end = 0, len(data)
    while end - at > 1 and at + 2 + data[at + 1] <= end:  # all of them are small
        stop = at + 2 + data[at + 1]
        if data[at] & 0xF0 == 0x30:
            k = at + 4 + int.from_bytes(data[at + 2 : at + 4], "big")
            acks.append(b"\x40\2" + data[k : k + 2])
            seen.add(data[k + 2 : stop])
        at = stop
    return data[at:], b"".join(acks)
