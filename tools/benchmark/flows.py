"""Traffic for tools/bench: publishers and subscribers of a Flows workload, driven by one epoll.

It has to cost less than the brokers it measures, so nothing is encoded while it runs: a publisher sends slices of a
prebuilt blob, QoS 0 receivers count packets by length (all packets of a flow are equally long), and acknowledgements of
all packets of one read leave in one write.
"""

import select
import time
from collections.abc import Callable

from benchmark.packets import (
    DISCONNECT_PACKET, PROPERTIES, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, LoadError, connect_packet,
    no_properties, packet, read_first, read_packet, subscribe_packet, text,
)
from benchmark.wire import READ_BYTES, Wire
from benchmark.workloads import Away, Flows, topic_of

WRITE_BYTES = 64 * 1024  # the most one write of a publisher holds
FLOOD_BYTES = 4 * WRITE_BYTES  # a flood pauses with so much undelivered: no broker has to drop anything
FLOODS_BYTES = 8 * 1024 * 1024  # the same for all flows together
SURPLUS_SECONDS = 0.05  # how long to listen for duplicates, and to let the broker take in the last acknowledgements

# How the fixed header of the answer to a packet starts; the packet id follows. Nothing answers PUBACK and PUBCOMP.
ANSWERS = {
    PUBLISH | 1 << 1: bytes((PUBACK, 2)),
    PUBLISH | 2 << 1: bytes((PUBREC, 2)),
    PUBREC: bytes((PUBREL, 2)),
    PUBREL: bytes((PUBCOMP, 2)),
    PUBACK: b"",
    PUBCOMP: b"",
}


class Client:
    """One connection: writes without blocking, answers and counts what arrives.

    `settled` is the count of messages this side is through with: received (QoS 0 and 1), released by PUBREL (QoS 2),
    or, for a publisher, acknowledged by PUBACK or PUBCOMP.
    """

    def __init__(self, wire: Wire, name: str, load: Flows, epoll: select.epoll) -> None:
        self.load = load
        self.wire = wire
        self.socket = wire.socket
        self.epoll = epoll
        self.settled = 0
        self.unsent = b""  # what the socket did not take yet
        self._received = 0
        self._settling = 0  # the packet type which settles a message, see expect()
        self._publish_size = self._id_at = 0
        self._properties = PROPERTIES if load.properties else no_properties(load.version)
        wire.send(connect_packet(name, load.version, clean=not load.kept))
        # `_rest` is the start of a packet whose end is still to come.
        self.present, self._rest = read_first(wire)

    def subscribe(self, topic_filter: str) -> None:
        """Subscribe with the QoS of the load and wait for the broker's consent."""
        self.wire.send(subscribe_packet(topic_filter, self.load.qos, self.load.version))
        reply = read_packet(self.wire, SUBACK)
        if reply[-1] != self.load.qos:
            raise LoadError(f"the broker did not grant QoS {self.load.qos}: SUBACK {reply.hex()}")

    def publish_packet(self, topic: str, packet_id: int) -> bytes:
        """Encode one PUBLISH of this load."""
        body = text(topic)
        if self.load.qos:
            body += packet_id.to_bytes(2, "big")
        return packet(PUBLISH | self.load.qos << 1 | self.load.retain, body + self._properties + b"x" * self.load.size)

    def expect(self, topic: str, publisher: bool) -> None:
        """From here on the connection does not block, and packets of this topic and their acknowledgements arrive."""
        self._publish_size = len(self.publish_packet(topic, 1))
        self._id_at = self._publish_size - self.load.size - len(self._properties) - 2
        if publisher:
            self._settling = PUBACK if self.load.qos == 1 else PUBCOMP
        else:
            self._settling = (PUBLISH, PUBLISH | 1 << 1, PUBREL)[self.load.qos]
        self.socket.setblocking(False)
        self.epoll.register(self.socket, select.EPOLLIN)
        if self._rest:
            self._answer(self._rest)

    def leave(self) -> None:
        """Disconnect, and wait until the broker has closed, too."""
        self.epoll.unregister(self.socket)
        self.socket.settimeout(self.load.patience)
        self.wire.send(DISCONNECT_PACKET)
        while self.socket.recv(READ_BYTES):
            pass
        self.socket.close()

    def write(self, data: bytes | memoryview) -> None:
        """Send framed packets now; keep what the socket refuses until it is writable."""
        if self.unsent:
            self.unsent += self.wire.encode(data)
            return
        data = self.wire.encode(data)
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self.unsent = bytes(data[sent:])
            self.epoll.modify(self.socket, select.EPOLLIN | select.EPOLLOUT)

    def on_writable(self) -> None:
        """Send what was kept."""
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            return
        if not self.unsent:
            self.epoll.modify(self.socket, select.EPOLLIN)

    def on_readable(self) -> None:
        """Count and answer what arrived."""
        chunk = self.socket.recv(READ_BYTES)
        if not chunk:
            raise LoadError("the broker closed a connection")
        if not self.wire.plain:
            chunk = self.wire.decode(chunk)
        if self.load.qos:
            self._answer(self._rest + chunk if self._rest else chunk)
        else:
            self._count(chunk)

    def _count(self, chunk: bytes) -> None:
        """QoS 0: all packets are PUBLISH of one size; the first bytes prove that the count is in step."""
        size = self._publish_size
        heads = chunk[-self._received % size :: size]
        if heads.count(PUBLISH) != len(heads):
            raise LoadError("the broker sent something else than the published packets")
        self._received += len(chunk)
        self.settled = self._received // size

    def _answer(self, data: bytes) -> None:
        """QoS 1 and 2: answer every packet of one read in one write."""
        answers = []
        publish, size, id_at = PUBLISH | self.load.qos << 1, self._publish_size, self._id_at
        settling = self._settling
        at, end = 0, len(data)
        while at < end:
            head = data[at]
            if head == publish:
                stop, id_from = at + size, at + id_at
            else:
                stop, id_from = at + 4, at + 2
            if stop > end:
                break
            answer = ANSWERS.get(head)
            if answer:
                answers.append(answer + data[id_from : id_from + 2])
            elif answer is None:
                raise LoadError(f"the broker sent an unexpected packet 0x{head:02x}")
            if head == settling:
                self.settled += 1
            at = stop
        self._rest = data[at:]
        if answers:
            self.write(self.wire.frame(b"".join(answers)))


class Publisher(Client):
    """A client that publishes to some topics in turn, whose names are equally long."""

    def __init__(self, wire: Wire, name: str, load: Flows, epoll: select.epoll, topics: list[str]) -> None:
        super().__init__(wire, name, load, epoll)
        self.expect(topics[0], publisher=True)
        self._sent = 0
        self.size = len(wire.frame(self.publish_packet(topics[0], 1)))
        self.window = load.window or max(1, min(FLOOD_BYTES, FLOODS_BYTES // load.flows) // self.size)  # of the flow
        self.burst = max(1, min(self.window // load.publishers, WRITE_BYTES // self.size))
        # A packet id is used again after so many messages: more than are in flight.
        self._cycle = min(65535, 4 * self.window) if load.qos else 1
        packets = [
            wire.frame(self.publish_packet(topics[number % len(topics)], number % self._cycle + 1))
            for number in range(self._cycle + self.burst)
        ]
        self._blob = memoryview(b"".join(packets))

    def publish(self, count: int) -> None:
        """Send the next messages, `burst` at most."""
        start = self._sent % self._cycle * self.size
        self.write(self._blob[start : start + count * self.size])
        self._sent += count


class Flow:
    """The publishers and the subscribers of one topic."""

    def __init__(self, connect: Callable[[], Wire], number: int, load: Flows, epoll: select.epoll) -> None:
        self.load = load
        self.sent = 0
        self._connect, self._number, self._epoll = connect, number, epoll
        topic_filter = self._topic = topic_of(number)
        if load.publishers > 1:
            topic_filter, self._topic = self._topic + "/+", topic_of(number, 0)
        if load.shared:
            topic_filter = f"$share/bench/{topic_filter}"
        self.subscribers = self._come()
        for subscriber in self.subscribers:
            subscriber.subscribe(topic_filter)
            subscriber.expect(self._topic, publisher=False)
        self.publishers = []
        for n in range(load.publishers):
            own = [self._topic] if load.publishers == 1 else [topic_of(number, n)]
            if load.topics > 1:
                own = [topic_of(number, topic) for topic in range(load.topics)]
            self.publishers.append(Publisher(connect(), f"p{number}_{n}", load, epoll, own))
        self._window = self.publishers[0].window
        self._burst = self.publishers[0].burst
        # A flood waits until a full write fits, a window is refilled as soon as it opens.
        self._least = 1 if load.window else self._burst
        self._turn = 0

    def _come(self) -> list[Client]:
        return [Client(self._connect(), f"s{self._number}_{n}", self.load, self._epoll) for n in range(self.load.subscribers)]

    def leave(self) -> None:
        """The subscribers go, their sessions stay."""
        for subscriber in self.subscribers:
            subscriber.leave()
        self.subscribers = []

    def come_back(self) -> None:
        """They come again, and begin to receive."""
        self.subscribers = self._come()
        for subscriber in self.subscribers:
            if not subscriber.present:
                raise LoadError("the broker has forgotten a session")
            subscriber.expect(self._topic, publisher=False)

    @property
    def clients(self) -> list[Client]:
        """All of them."""
        return [*self.publishers, *self.subscribers]

    @property
    def received(self) -> int:
        """Messages that all subscribers have, or, of a shared subscription, one of them; all where there are none."""
        if not self.subscribers:
            return self.load.amount
        counts = [subscriber.settled for subscriber in self.subscribers]
        return sum(counts) if self.load.shared else min(counts)

    @property
    def acknowledged(self) -> int:
        """Messages the publishers are through with; all of them at QoS 0."""
        return sum([publisher.settled for publisher in self.publishers]) if self.load.qos else self.load.amount

    @property
    def lost(self) -> int:
        """Messages that did not come, or were not acknowledged."""
        if self.load.shared:
            missing = max(0, self.load.amount - self.received)
        else:
            missing = sum(max(0, self.load.amount - subscriber.settled) for subscriber in self.subscribers)
        return max(missing, self.load.amount - self.acknowledged)

    @property
    def surplus(self) -> int:
        """Messages that came too often."""
        if self.load.shared:
            return max(0, self.received - self.load.amount)
        return sum(max(0, subscriber.settled - self.load.amount) for subscriber in self.subscribers)

    def pump(self) -> bool:
        """Publish what the window allows; return whether everyone is through with all messages."""
        settled = min(self.received, self.acknowledged)
        left = self.load.amount - self.sent
        room = min(left, self._window - self.sent + settled)
        least = min(left, self._least)
        while room >= least > 0 and not self.publishers[self._turn].unsent:
            count = min(room, self._burst)
            self.publishers[self._turn].publish(count)
            self._turn = (self._turn + 1) % len(self.publishers)
            self.sent += count
            room -= count
            least = min(least, self.load.amount - self.sent)
        return settled >= self.load.amount


def poll(owners: dict[int, tuple[Client, Flow]], epoll: select.epoll, seconds: float) -> set[Flow]:
    """Serve all ready sockets, return the flows they belong to."""
    touched = set()
    for fd, mask in epoll.poll(seconds):
        client, flow = owners[fd]
        if mask & select.EPOLLOUT:
            client.on_writable()
        if mask & ~select.EPOLLOUT:
            client.on_readable()
        touched.add(flow)
    return touched


def drive(flows: list[Flow], epoll: select.epoll, patience: float) -> float:
    """Drive all flows to their end, or until nothing arrives any more; the seconds until then."""
    started = time.monotonic()
    owners = {client.socket.fileno(): (client, flow) for flow in flows for client in flow.clients}
    unfinished = {flow for flow in flows if not flow.pump()}
    while unfinished:
        touched = poll(owners, epoll, patience)
        if not touched:
            break
        for flow in touched:
            if flow.pump():
                unfinished.discard(flow)
    seconds = time.monotonic() - started
    while poll(owners, epoll, SURPLUS_SECONDS):
        pass
    return seconds


def run(load: Flows, connect: Callable[[], Wire], mark: Callable[[str], None]) -> dict[str, float]:
    """The workload; `mark` is called when the clients are there."""
    epoll = select.epoll()
    flows = [Flow(connect, number, load, epoll) for number in range(load.flows)]
    mark("start")
    cpu_before = time.process_time()
    seconds = drive(flows, epoll, load.patience)
    return {
        "lost": sum(flow.lost for flow in flows),
        "surplus": sum(flow.surplus for flow in flows),
        "seconds": seconds,
        "load_cpu_seconds": time.process_time() - cpu_before,
    }


def away(load: Away, connect: Callable[[], Wire], mark: Callable[[str], None]) -> dict[str, float]:
    """The workload; `mark` is called when the subscribers have left, and when all messages wait for them."""
    epoll = select.epoll()
    flows = [Flow(connect, number, load, epoll) for number in range(load.flows)]
    for flow in flows:
        flow.leave()
    mark("start")
    queueing = drive(flows, epoll, load.patience)
    mark("queued")
    started = time.monotonic()
    for flow in flows:
        flow.come_back()
    came = time.monotonic() - started
    return {
        "queueing": queueing,
        "seconds": came + drive(flows, epoll, load.patience),
        "lost": sum(flow.lost for flow in flows),
        "surplus": sum(flow.surplus for flow in flows),
    }
