"""What a board can do, measured: the figures of boards/qemu-mps2/README.md.

`MEASURES`: name -> a function that yields rows of (what, figure). Each raises BoardError when the broker does not do what
it must, AssertionError when it does nothing any more. All but two are of the virtual board; the others run on MicroPython's
unix port with a board's words, heap and frozen broker, on which a hundred thousand connections do not take an hour.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from firmwares import unix
from fuzzing.packets import connect, publish, subscribe
from server_process import ServerProcess
from swarm import Client, Swarm, packet_id_of, topic_of
from virtual_board.board import PCBS, STOCK_PCBS, Board, expect
from virtual_board.burst import CLIENTS as BURST_CLIENTS, bursts
from virtual_board.day import NOISE, Day, Row

MOST_CLIENTS = PCBS - 2  # one connection is kept to say no with, one for who asks for the figures
HEAP = "190k"
PAYLOAD = bytes(16)
VISITS = 100_000
DAY = 86_400  # s
BURST_TURNS = 100  # of some 18 s

PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 0x30, 0x40, 0x50, 0x62, 0x70

UNIX_SCRIPT = """\
import sys
from port.micropython.__main__ import main
sys.exit(main(["--port", sys.argv[1]] + sys.argv[2:]))
"""


@contextmanager
def unix_board(**options: int) -> Iterator[ServerProcess]:
    """A broker on MicroPython's unix port that is a board's but for the network: frozen, 32 bits, 190 KB."""
    with tempfile.TemporaryDirectory(prefix="board-") as folder:
        script = Path(folder) / "main.py"
        script.write_text(UNIX_SCRIPT)
        arguments = [text for name, value in options.items() for text in ("--" + name.replace("_", "-"), str(value))]
        with ServerProcess("micropython", *arguments, script=script, program=unix.build(32), heapsize=HEAP,
                           variables=unix.environment()) as server:
            yield server
            expect(not server.trouble(), server.trouble())


class Traffic:
    """Clients that publish to themselves or to each other; counts what they get."""

    def __init__(self, swarm: Swarm, clients: list[Client], topics: list[bytes], qos: int) -> None:
        self.swarm = swarm
        self.clients = clients
        self.topics = topics  # of each client's messages
        self.qos = qos
        self.sent = [0] * len(clients)
        self.got = [0] * len(clients)
        self.acknowledged = [0] * len(clients)

    def send(self, i: int) -> None:
        """The next message of client i."""
        self.sent[i] += 1
        self.swarm.send(self.clients[i], publish(4, self.topics[i], PAYLOAD, self.qos, self.sent[i] % 65535 + 1))

    def take(self) -> list[int]:
        """Handle what has come; the clients that got messages, once for each."""
        receivers = []
        for i, client in enumerate(self.clients):
            expect(not client.closed, "a client was disconnected")
            for first, body in client.take():
                if first & 0xF0 == PUBLISH:
                    self.got[i] += 1
                    receivers.append(i)
                    if self.qos:
                        self.swarm.send(client, b"\x40\2" + packet_id_of(body))
                elif first == PUBACK:
                    self.acknowledged[i] += 1
        return receivers

    def run(self, count: int, window: int) -> float:
        """`count` messages of each client, `window` on their way; seconds."""
        goal = [sent + count for sent in self.sent]
        start = time.perf_counter()
        for i in range(len(self.clients)):
            for _ in range(min(window, count)):
                self.send(i)

        def done() -> bool:
            for i in self.take():
                if self.sent[i] < goal[i]:
                    self.send(i)
            return self.got == goal and (not self.qos or self.acknowledged == goal)

        self.swarm.wait(done)
        return time.perf_counter() - start


def loops(swarm: Swarm, count: int, qos: int, name: bytes) -> Traffic:
    """Clients that get what they publish."""
    clients, topics = [], []
    for i in range(count):
        client = swarm.connect(b"%s-%d" % (name, i))
        topics.append(b"loop/%s/%d" % (name, i))
        swarm.exchange(client, subscribe(4, 1, [(topics[-1], qos)]))
        clients.append(client)
    return Traffic(swarm, clients, topics, qos)


def kilobytes(size: int) -> str:
    return f"{size / 1024:.1f} KB"


def speed(scale: float) -> Iterator[Row]:
    """Messages a second and round trips, at full speed and with --slow."""
    for slow in (False, True):
        said = "--slow" if slow else "full speed"
        with Board(slow=slow) as board, Swarm(board.port, True) as swarm:
            for qos in (0, 1):
                traffic = loops(swarm, 1, qos, b"one")
                trips = [traffic.run(1, 1) * 1000 for _ in range(int(1000 * scale))]
                cuts = statistics.quantiles(trips, n=100)
                yield f"round trip, QoS {qos}, {said}", f"median {cuts[49]:.1f} ms, 99 % {cuts[98]:.1f} ms"
                swarm.leave(*traffic.clients)
                for count, window in ((1, 20), (4, 20), (4, 1), (MOST_CLIENTS, 1), (MOST_CLIENTS, 4)):
                    traffic = loops(swarm, count, qos, b"many")
                    each = max(5, int((8000 if window > 1 else 2000) * scale / count))
                    seconds = traffic.run(each, window)
                    yield (f"QoS {qos}, {count} client{'s' * (count > 1)}, {window} on their way each, {said}",
                           f"{count * each / seconds:,.0f} messages/s")
                    swarm.leave(*traffic.clients)
            expect(not board.trouble(), board.trouble())


def _ring(swarm: Swarm, count: int) -> Traffic:
    """Clients with two subscriptions each; what one publishes at QoS 1, its neighbour gets."""
    clients = [swarm.connect(b"client-%05d" % i, keep_alive=600) for i in range(count)]
    for i, client in enumerate(clients):
        swarm.exchange(client, subscribe(4, 1, [(b"home/room%02d/+" % i, 1), (b"home/all", 1)]))
    return Traffic(swarm, clients, [b"home/room%02d/temp" % ((i + 1) % count) for i in range(count)], 1)


def clients(scale: float) -> Iterator[Row]:
    """As many clients as lwIP has connections for, with two subscriptions each, exchanging QoS 1."""
    with Board() as board, Swarm(board.port, True) as swarm:
        swarm.leave(*_ring(swarm, MOST_CLIENTS).clients)  # what is loaded by the first one is there
        before = swarm.settled_heap()
        traffic = _ring(swarm, MOST_CLIENTS)
        seconds = traffic.run(int(1000 * scale) + 5, 2)
        used, free = swarm.heap()
        yield f"{MOST_CLIENTS} clients of the virtual board", f"{sum(traffic.got) / seconds:,.0f} messages/s at QoS 1"
        yield "heap free with them", kilobytes(free)
        yield "heap for each", f"{(used - before) / MOST_CLIENTS:,.0f} bytes"
        swarm.leave(*traffic.clients)
        after = swarm.settled_heap()
        yield "in use before they came, when they have left", f"{before:,}, {after:,} bytes"
        expect(after - before <= NOISE, "the heap has grown")
        expect(not board.trouble(), board.trouble())


def memory(scale: float) -> Iterator[Row]:
    """25 clients with two subscriptions each, exchanging QoS 1, in a board's heap (unix port)."""
    with unix_board(max_connections=30) as server, Swarm(server.port) as swarm:
        traffic = _ring(swarm, 25)
        traffic.run(int(200 * scale) + 5, 2)
        used, free = swarm.heap()
        yield (f"25 clients, {sum(traffic.got):,} messages at QoS 1, heap {HEAP}",
               f"{kilobytes(free)} free, {kilobytes(used)} in use")


def stock(scale: float) -> Iterator[Row]:
    """As few connections as a stock Pico W has: how many are served, and what the next one hears."""
    refused = 0
    with Board(pcbs=STOCK_PCBS) as board, Swarm(board.port, True) as swarm:
        traffic = loops(swarm, STOCK_PCBS - 1, 1, b"stock")
        for i in range(int(50 * scale) + 1):
            late = swarm.open(connect(5, b"late-%d" % i))
            traffic.run(5, 1)
            swarm.wait(lambda: late.closed)  # noqa: B023
            (first, body), = late.packets
            refused += (first, body[1]) == (0x20, 0x97)
            late.abort()
            swarm.clients.remove(late)
        yield f"{STOCK_PCBS} connections", f"{len(traffic.clients)} clients served"
        yield "those that come beside them", f"{refused} of {i + 1} refused with CONNACK 0x97, none waits"
        expect(refused == i + 1, "one was not refused")
        expect(not board.trouble(), board.trouble())


def cable(scale: float) -> Iterator[Row]:
    """The network cable pulled and put back, for less and for more than the clients' keep alive."""
    with Board() as board, Swarm(board.port, True) as swarm:
        _lost(board, swarm)  # what is loaded by the first one is there
        before = swarm.settled_heap()
        traffic = loops(swarm, 8, 1, b"cable")
        for _ in range(int(10 * scale) + 1):
            for i in range(8):
                traffic.send(i)
            board.set_link(False)
            for i in range(8):
                traffic.send(i)
            time.sleep(1)
            board.set_link(True)
            swarm.wait(lambda: bool(traffic.take() or True) and traffic.got == traffic.sent == traffic.acknowledged)
        yield "cable out for a second, QoS 1 of 8 clients", f"{sum(traffic.got)} of {sum(traffic.sent)} messages arrived"
        swarm.leave(*traffic.clients)
        wills = sum(_lost(board, swarm) for _ in range(int(5 * scale) + 1))
        yield "cable out longer than the keep alive of 8 clients, several times", f"{wills} wills sent"
        after = swarm.settled_heap()
        yield "in use before, afterwards", f"{before:,}, {after:,} bytes"
        expect(after - before <= NOISE, "the heap has grown")
        expect(not board.trouble(), board.trouble())


def _lost(board: Board, swarm: Swarm) -> int:
    """Eight clients that cannot be reached for longer than their keep alive; how many wills were sent."""
    lost = [swarm.connect(b"lost-%d" % i, keep_alive=1, will=(b"will/%d" % i, b"gone", 1, True)) for i in range(8)]
    for i, client in enumerate(lost):
        swarm.exchange(client, subscribe(4, 1, [(b"room/%d" % i, 1), (b"hall", 1)]))
    board.set_link(False)
    time.sleep(4)
    board.set_link(True)
    for client in lost:
        swarm.forget(client)
        swarm.clients.remove(client)
        client.abort()
    guest = swarm.connect(b"guest")
    wills: set[bytes] = set()
    swarm.send(guest, subscribe(4, 1, [(b"will/#", 0)]))

    def all_wills() -> bool:
        wills.update(topic_of(body) for first, body in guest.take() if first & 0xF0 == PUBLISH)
        return len(wills) == len(lost)

    swarm.wait(all_wills)
    for topic in wills:
        swarm.send(guest, publish(4, topic, b"", 0, 0, True))
    swarm.send(guest, b"\xc0\0")
    swarm.wait(lambda: (0xD0, b"") in guest.packets)
    swarm.leave(guest)
    return len(wills)


def _visit(swarm: Swarm, i: int) -> None:
    version = 4 + i % 2
    topic = b"visit/%d" % (i % 17)  # fewer than the broker remembers receivers of: all of them are in the heap each time
    client = swarm.connect(b"visit-%d" % (i % 9973), version, keep_alive=60)
    packets = swarm.exchange(client, publish(version, topic, PAYLOAD, 1, 1))
    expect(packets[0][0] == PUBACK, "no PUBACK")
    swarm.leave(client)


def _visits(swarm: Swarm, count: int, where: str) -> Iterator[Row]:
    for i in range(500):
        _visit(swarm, i)
    heaps = [swarm.settled_heap()]
    seconds = 0.0
    for part in range(10):
        begin = time.monotonic()
        for i in range(count * part // 10, count * (part + 1) // 10):
            _visit(swarm, i)
        seconds += time.monotonic() - begin
        heaps.append(swarm.settled_heap())
    yield f"{count:,} times connect, publish, disconnect, {where}", f"{seconds:,.0f} s"
    yield ("heap in use before them, after them, least and most of what it was after each tenth",
           f"{heaps[0]:,}, {heaps[-1]:,}, {min(heaps[1:]):,}, {max(heaps[1:]):,} bytes")
    expect(heaps[-1] - heaps[0] <= NOISE, "the heap has grown")


def visits(scale: float) -> Iterator[Row]:
    """A hundred thousand clients come, publish and go, in a board's heap (unix port)."""
    with unix_board() as server, Swarm(server.port) as swarm:
        yield from _visits(swarm, int(VISITS * scale), "unix port, 32 bits, heap 190 KB")


def board_visits(scale: float) -> Iterator[Row]:
    """A tenth of that on the virtual board, with lwIP's connections."""
    with Board() as board, Swarm(board.port, True) as swarm:
        yield from _visits(swarm, int(VISITS / 10 * scale), "virtual board")
        expect(not board.trouble(), board.trouble())


def day(scale: float) -> Iterator[Row]:
    """A day of the board's own time, which passes some hundred times faster: see tools/virtual_board/day.py."""
    with Board(fast=True) as board, Swarm(board.port, True) as swarm:
        yield from Day(swarm).run(int(DAY * scale))
        expect(not board.trouble(), board.trouble())


def burst(scale: float) -> Iterator[Row]:
    """22 clients that all publish at once to all, an hour, half of it with the lwIP of a stock Pico W."""
    for roomy in (False, True):
        with Board(roomy=roomy, doors=BURST_CLIENTS) as board, Swarm(board.port, True) as swarm:
            yield f"lwIP as on a Pico W with {'the firmware of boards/rpi-pico-w' if roomy else 'stock firmware'}", ""
            yield from bursts(board, swarm, int(BURST_TURNS * scale) + 1)
            expect(not board.trouble(), board.trouble())


MEASURES: dict[str, Callable[[float], Iterator[Row]]] = {
    "speed": speed, "clients": clients, "memory": memory, "stock": stock, "cable": cable, "visits": visits,
    "board-visits": board_visits, "day": day, "burst": burst,
}


def measure(names: list[str], scale: float) -> None:
    """Print a Markdown table of what these measure."""
    print("| | |\n|---|---|")
    for name in names or MEASURES:
        for what, figure in MEASURES[name](scale):
            print(f"| {what} | {figure} |", flush=True)
