"""Bursts on a board: as many clients as it has room for, all of which publish to all at the same instant.

What is asked of it: nobody hangs, each message arrives once at everybody, one at QoS 0 perhaps not and is then counted as
dropped, and a client that comes meanwhile is answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from fuzzing.packets import connect, publish, subscribe
from swarm import Swarm, packet_id_of, topic_of
from virtual_board.board import PCBS, Board, expect
from virtual_board.day import NOISE

CLIENTS = PCBS - 2  # one connection is kept to say no with, one for who comes meanwhile
PAYLOAD = 16  # bytes
COUNTS = (1, 2, 4, 20)
ROUNDS = 100  # answers to a ping after which all that was queued has been sent


class Bursts:
    """The clients; all of them connect and subscribe at the same instant."""

    def __init__(self, swarm: Swarm, ports: list[int], qos: int) -> None:
        """One at each of the `ports`. Waits until all of them are let in and subscribed."""
        self.swarm = swarm
        self.qos = qos
        self.rounds = 0
        self.got: list[dict[bytes, int]] = []
        self.acknowledged: list[int] = []
        self.answered: list[bool] = []
        self.clients = [
            swarm.open(connect(4, b"burst-%d" % i, keep_alive=600) + subscribe(4, 1, [(b"burst/+", qos)]), port)
            for i, port in enumerate(ports)]
        swarm.wait(lambda: all(len(client.packets) > 1 or client.closed for client in self.clients))
        for client in self.clients:
            (_, connack), (_, suback) = client.take()
            expect(connack[1] == 0 and suback[2] == qos, f"refused: {connack!r} {suback!r}")

    def burst(self, count: int) -> int:
        """`count` messages of each, all at once; how many did not arrive."""
        self.rounds += 1
        before = self._dropped()
        sent = {}
        for i, client in enumerate(self.clients):
            texts = [b"%04d %02d %02d" % (self.rounds % 10000, i, k) for k in range(count)]
            sent.update(dict.fromkeys(texts, i))
            self.swarm.send(client, b"".join(
                publish(4, b"burst/%d" % i, text.ljust(PAYLOAD), self.qos, k + 1) for k, text in enumerate(texts)))
        guest = self.swarm.open(connect(4, b"guest"))
        self.got = [{} for _ in self.clients]
        self.acknowledged = [0] * len(self.clients)
        self._wait(lambda: bool(guest.packets))
        expect(guest.packets[0][0] == 0x20 and guest.packets[0][1][1] == 0, f"who came meanwhile was refused: {guest.packets}")
        self.swarm.leave(guest)
        if self.qos:
            self._wait(lambda: set(self.acknowledged) == {count})
        # Once all have had an answer to a ping what they sent was handled, and with the second what was for others came.
        for _ in range(ROUNDS):
            self._ping()
            self._ping()
            missing = len(sent) * len(self.got) - sum(map(len, self.got))
            dropped = self._dropped() - before
            if missing == dropped:
                break
        expect(missing == dropped, f"{missing} messages are missing, {dropped} are counted as dropped")
        expect(not self.qos or not missing, f"{missing} messages at QoS 1 are missing")
        expect(all(each.keys() <= sent.keys() and set(each.values()) <= {1} for each in self.got), "not what was sent, or twice")
        return missing

    def leave(self) -> None:
        """All of them disconnect."""
        self.swarm.leave(*self.clients)

    def _wait(self, condition: Callable[[], bool]) -> None:
        def done() -> bool:
            self._take()
            return condition()

        self.swarm.wait(done)

    def _take(self) -> None:
        """Note what has come to the clients, and acknowledge it."""
        for i, client in enumerate(self.clients):
            expect(not client.closed, "a client was disconnected")
            acknowledgements = b""
            got = self.got[i]
            for first, body in client.take():
                if first & 0xF0 == 0x30:
                    text = body[2 + len(topic_of(body)) + (2 if first & 6 else 0):].rstrip()
                    got[text] = got.get(text, 0) + 1
                    if first & 6:
                        acknowledgements += b"\x40\2" + packet_id_of(body)
                elif first == 0x40:
                    self.acknowledged[i] += 1
                elif first == 0xD0:
                    self.answered[i] = True
            if acknowledgements:
                self.swarm.send(client, acknowledgements)

    def _ping(self) -> None:
        """An answer to each."""
        self.answered = [False] * len(self.clients)
        for client in self.clients:
            self.swarm.send(client, b"\xc0\0")
        self._wait(lambda: all(self.answered))

    def _dropped(self) -> int:
        guest = self.swarm.connect(b"figures")
        count = self.swarm.figure(guest, b"messages/publish/dropped")
        self.swarm.leave(guest)
        return count


def bursts(board: Board, swarm: Swarm, turns: int) -> Iterator[tuple[str, str]]:
    """`turns` times all kinds of bursts; rows of (what, figure). Raises BoardError when something is lost or left behind."""
    _turn(board, swarm)  # what is loaded by the first one is there
    heap = swarm.settled_heap()
    idle = board.pools()
    begin = time.monotonic()
    missing = [0, 0]
    for _ in range(turns):
        for qos, count in enumerate(_turn(board, swarm)):
            missing[qos] += count
    seconds = time.monotonic() - begin
    after = swarm.settled_heap()
    if after - heap > NOISE:  # a word on the stack may spare more, for a time: what has grown is there after another turn, too
        _turn(board, swarm)
        after = min(after, swarm.settled_heap())
    pools = board.pools()
    each = CLIENTS * CLIENTS * sum(COUNTS) * turns
    yield (f"{CLIENTS} clients that publish to all at once, {len(COUNTS) * turns} bursts of {min(COUNTS)} to {max(COUNTS)} "
           "messages each, QoS 0", f"{each - missing[0]:,} of {each:,} arrived, in {seconds:.0f} s with those at QoS 1")
    yield "the same at QoS 1", f"{each - missing[1]:,} of {each:,}"
    yield "most segments, bytes, frames of lwIP in use", ", ".join(
        f"{pools[name].most - idle[name].used:,}" for name in ("segments", "bytes", "frames"))
    yield "heap in use before, afterwards", f"{heap:,}, {after:,} bytes"
    for name in ("segments", "bytes"):
        expect(pools[name].failed == 0, f"lwIP had no {name} left: {pools[name]}")
        expect(pools[name].used == idle[name].used, f"{name} have not come back: {idle[name]}, {pools[name]}")
    expect(after - heap <= NOISE, f"the heap has grown from {heap} to {after}")


def _turn(board: Board, swarm: Swarm) -> list[int]:
    """Bursts at QoS 0 and 1; how many messages did not arrive at each."""
    missing = []
    for qos in (0, 1):
        clients = Bursts(swarm, board.ports, qos)
        missing.append(sum(clients.burst(count) for count in COUNTS))
        clients.leave()
    return missing
