"""Many connections, filters or retained messages for tools/bench, step by step on blocking sockets.

`mark` is called with the name of each step that is done: the broker is looked at then. See Workload.figures.
"""

import socket
import time
from collections.abc import Callable, Iterable, Sequence

from benchmark.packets import (
    DISCONNECT_PACKET, PINGREQ_PACKET, PINGRESP, PUBLISH, SUBACK, LoadError, connect_packet, no_properties, packet,
    read_connack, read_packet, subscribe_packet, text,
)
from benchmark.wire import Wire
from benchmark.workloads import Filters, Idle, Retained, Storm, Workload

AT_ONCE = 50  # connections that are being made, packets that are on their way
WARM_UP = 20  # connections before anything is measured: what the broker loads when it is first used is there then
SETTLE_SECONDS = 0.3  # before memory is read
SURPLUS_SECONDS = 0.2

Connect = Callable[[], Wire]
Mark = Callable[[str], None]


def open_clients(load: Workload, connect: Connect, names: Sequence[str], clean: bool = True) -> list[tuple[Wire, bool]]:
    """Connect them side by side; with each whether its session was there."""
    wires = []
    for name in names:
        wire = connect()
        wire.socket.settimeout(load.patience)
        wire.send(connect_packet(name, load.version, clean))
        wires.append(wire)
    return [(wire, read_connack(wire)) for wire in wires]


def batches(count: int, prefix: str) -> Iterable[list[str]]:
    """Client ids, AT_ONCE at a time."""
    for first in range(0, count, AT_ONCE):
        yield [f"{prefix}{number}" for number in range(first, min(count, first + AT_ONCE))]


def visit(load: Workload, connect: Connect, count: int, prefix: str, clean: bool = True) -> int:
    """Clients connect, disconnect and wait for the broker to close; returns how many had a session."""
    present = 0
    for names in batches(count, prefix):
        clients = open_clients(load, connect, names, clean)
        for wire, found in clients:
            present += found
            wire.send(DISCONNECT_PACKET)
            wire.socket.shutdown(socket.SHUT_WR)
        for wire, _ in clients:
            while wire.socket.recv(1000):
                pass
            wire.socket.close()
    return present


def begin(load: Workload, connect: Connect, mark: Mark) -> None:
    """Warm the broker up, then have it looked at."""
    visit(load, connect, WARM_UP, "w")
    time.sleep(SETTLE_SECONDS)
    mark("start")


def idle(load: Idle, connect: Connect, mark: Mark) -> dict[str, float]:
    begin(load, connect, mark)
    clients = [client for names in batches(load.amount, "c") for client in open_clients(load, connect, names)]
    time.sleep(SETTLE_SECONDS)
    mark("connected")
    started = time.monotonic()
    time.sleep(load.hold)
    held = time.monotonic() - started
    dead = 0
    for wire, _ in clients:
        wire.socket.setblocking(False)
        try:
            dead += not wire.socket.recv(1000)
        except BlockingIOError:
            pass
    if dead:
        raise LoadError(f"the broker closed {dead} idle connections")
    return {"held": held}


def storm(load: Storm, connect: Connect, mark: Mark) -> dict[str, float]:
    begin(load, connect, mark)
    started = time.monotonic()
    for expected in (0, load.amount) if load.persistent else (0,):
        present = visit(load, connect, load.amount, "c", clean=not load.persistent)
        if present != expected:
            raise LoadError(f"{present} sessions were there, not {expected}")
    return {"seconds": time.monotonic() - started}


def receive(wire: Wire, size: int, head: int, count: int, chunk: bytes = b"") -> int:
    """Read `count` PUBLISH packets of `size` bytes, of which `chunk` has come already; returns how many are missing."""
    got = 0
    while got < size * count:
        if not chunk:
            try:
                chunk = wire.receive()
            except TimeoutError:
                return count - got // size
        heads = chunk[-got % size :: size]
        if heads.count(head) != len(heads):
            raise LoadError("the broker sent something else than the published packets")
        got += len(chunk)
        chunk = b""
    return count - got // size  # negative where more came


def surplus(wires: Iterable[Wire], size: int) -> int:
    """Packets that nobody has asked for."""
    found = 0
    for wire in wires:
        wire.socket.settimeout(SURPLUS_SECONDS)
        try:
            while True:
                found += len(wire.receive())
        except TimeoutError:
            pass
    return -(-found // size)


def filters(load: Filters, connect: Connect, mark: Mark) -> dict[str, float]:
    quarter = load.amount // 4
    begin(load, connect, mark)
    forms = ("site/{:06}/dev/temp", "site/{:06}/+/temp", "site/{:06}/#", "+/area{:06}/dev/temp")
    subscribers = [wire for wire, _ in open_clients(load, connect, ["s0", "s1", "s2", "s3"])]
    for first in range(0, quarter, AT_ONCE):
        numbers = range(first, min(quarter, first + AT_ONCE))
        for wire, form in zip(subscribers, forms, strict=True):
            packets = [subscribe_packet(form.format(n), 0, load.version, n - first + 1) for n in numbers]
            wire.send(b"".join(packets))
        properties = no_properties(load.version)
        wanted = b"".join([packet(SUBACK, bytes((0, n - first + 1)) + properties + b"\0") for n in numbers])
        for wire in subscribers:
            got = b""
            while len(got) < len(wanted):
                got += wire.receive()
            if got != wanted:
                raise LoadError(f"the broker did not grant subscriptions: {got.hex()}")
    time.sleep(SETTLE_SECONDS)
    mark("subscribed")
    ((publisher, _),) = open_clients(load, connect, ["p"])
    rest = no_properties(load.version) + b"x" * 16
    messages = [packet(PUBLISH, text(f"site/{number:06}/dev/temp") + rest) for number in range(quarter)]
    lost = 0

    def publish(count: int, topics: int) -> None:
        nonlocal lost
        for first in range(0, count, AT_ONCE):
            numbers = range(first, min(count, first + AT_ONCE))
            publisher.send(b"".join([messages[number % topics] for number in numbers]))
            lost += sum(abs(receive(wire, len(messages[0]), PUBLISH, len(numbers))) for wire in subscribers[:3])
            if lost:
                return

    publish(load.messages, quarter)
    mark("missed")
    publish(AT_ONCE, AT_ONCE)
    mark("warm")
    publish(load.messages, AT_ONCE)
    return {"lost": lost, "surplus": surplus(subscribers, len(messages[0]))}


def retained(load: Retained, connect: Connect, mark: Mark) -> dict[str, float]:
    begin(load, connect, mark)
    ((publisher, _),) = open_clients(load, connect, ["p"])
    rest = no_properties(load.version) + b"x" * load.size
    retain = PUBLISH | 1
    size = len(packet(retain, text("kept/000000/x") + rest))
    for first in range(0, load.amount, AT_ONCE):
        numbers = range(first, min(load.amount, first + AT_ONCE))
        publisher.send(b"".join([packet(retain, text(f"kept/{number:06}/x") + rest) for number in numbers]))
    publisher.send(PINGREQ_PACKET)  # the answer comes when all is stored
    read_packet(publisher, PINGRESP)
    time.sleep(SETTLE_SECONDS)
    ((subscriber, _),) = open_clients(load, connect, ["s"])
    mark("stored")
    started = time.monotonic()
    subscriber.send(subscribe_packet("kept/#", 0, load.version))
    acknowledged = 3 + len(no_properties(load.version)) + 2
    got = b""
    while len(got) < acknowledged:
        got += subscriber.receive()
    if got[0] != SUBACK:
        raise LoadError(f"the broker sent something else than SUBACK: {got[:20].hex()}")
    lost = receive(subscriber, size, retain, load.amount, got[acknowledged:])
    seconds = time.monotonic() - started
    return {"lost": max(0, lost), "surplus": max(0, -lost) + surplus([subscriber], size), "seconds": seconds}
