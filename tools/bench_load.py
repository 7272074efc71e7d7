"""Load generator of tools/bench: one process, raw non-blocking sockets, epoll.

Contract: it knows MQTT and a port, never which broker listens there, so that every broker gets the same shape of load.
It is started with one JSON object (a Load, the port and the CA of the broker's certificate), connects and subscribes all clients, prints "ready", waits for
a line on standard input, runs, and prints one JSON object: what was expected, what was delivered, the time it took.

It has to cost less than the brokers it measures, so nothing is encoded while it runs: a publisher sends slices of a
prebuilt blob, QoS 0 receivers count packets by length (all packets of a flow are equally long), and acknowledgements of
all packets of one read leave in one write.
"""

import functools
import json
import select
import sys
import time
from collections.abc import Callable

from bench_wire import READ_BYTES, Wire, WireError
from bench_workloads import Load, topic_of

WRITE_BYTES = 64 * 1024  # the most one write of a publisher holds
FLOOD_BYTES = 4 * WRITE_BYTES  # a flood pauses with so much undelivered: no broker has to drop anything
PACKET_IDS = 1000  # ids are reused after so many messages, far more than any window holds
SURPLUS_SECONDS = 0.05  # how long to listen for duplicates, and to let the broker take in the last acknowledgements

PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 0x30, 0x40, 0x50, 0x62, 0x70
CONNACK, SUBACK = 0x20, 0x90
# How the fixed header of the answer to a packet starts; the packet id follows. Nothing answers PUBACK and PUBCOMP.
ANSWERS = {
    PUBLISH | 1 << 1: bytes((PUBACK, 2)),
    PUBLISH | 2 << 1: bytes((PUBREC, 2)),
    PUBREC: bytes((PUBREL, 2)),
    PUBREL: bytes((PUBCOMP, 2)),
    PUBACK: b"",
    PUBCOMP: b"",
}


class LoadError(Exception):
    """The broker did something that ends the run: refused a client, closed a connection, sent garbage."""


def text(value: str) -> bytes:
    """Encode a UTF-8 string field."""
    raw = value.encode()
    return len(raw).to_bytes(2, "big") + raw


def sized(body: bytes) -> bytes:
    """Put its length before a body, as a variable byte integer."""
    length = len(body)
    encoded = bytearray()
    while length > 127:
        encoded.append(length & 127 | 128)
        length >>= 7
    encoded.append(length)
    return bytes(encoded) + body


def packet(head: int, body: bytes) -> bytes:
    """Put the fixed header before a body."""
    return bytes((head,)) + sized(body)


def read_packet(wire: Wire, head: int) -> bytes:
    """Read one short packet after which nothing follows yet, return its body."""
    got = b""
    while len(got) < 2 or len(got) < 2 + got[1]:
        got += wire.receive()
    if got[0] != head or len(got) > 2 + got[1]:
        raise LoadError(f"expected packet 0x{head:02x}, got {got.hex()}")
    return got[2:]


# Content type and a user property, as an application would send them.
PROPERTIES = sized(b"\3" + text("text/plain") + b"\x26" + text("unit") + text("celsius"))


class Client:
    """One connection: writes without blocking, answers and counts what arrives.

    `settled` is the count of messages this side is through with: received (QoS 0 and 1), released by PUBREL (QoS 2),
    or, for a publisher, acknowledged by PUBACK or PUBCOMP.
    """

    def __init__(self, wire: Wire, name: str, load: Load, epoll: select.epoll) -> None:
        self.load = load
        self.wire = wire
        self.socket = wire.socket
        self.epoll = epoll
        self.settled = 0
        self.unsent = b""  # what the socket did not take yet
        self._rest = b""  # the start of a packet whose end is still to come
        self._received = 0
        self._settling = 0  # the packet type which settles a message, see expect()
        self._publish_size = self._id_at = 0
        self._properties = b"\0" if load.version == 5 else b""  # none
        self._with_payload = PROPERTIES if load.properties else self._properties
        # Clean session, no keep-alive: nothing but the load itself shall be on the wire.
        flags = bytes((load.version, 2, 0, 0)) + self._properties
        self.wire.send(packet(0x10, text("MQTT") + flags + text(name)))
        reply = read_packet(self.wire, CONNACK)
        if reply[1:2] != b"\0":
            raise LoadError(f"the broker refused a client: CONNACK {reply.hex()}")

    def subscribe(self, topic: str) -> None:
        """Subscribe with the QoS of the load and wait for the broker's consent."""
        body = b"\0\1" + self._properties + text(topic) + bytes((self.load.qos,))
        self.wire.send(packet(0x82, body))
        reply = read_packet(self.wire, SUBACK)
        if reply[-1] != self.load.qos:
            raise LoadError(f"the broker did not grant QoS {self.load.qos}: SUBACK {reply.hex()}")

    def publish_packet(self, topic: str, packet_id: int) -> bytes:
        """Encode one PUBLISH of this load."""
        body = text(topic)
        if self.load.qos:
            body += packet_id.to_bytes(2, "big")
        return packet(PUBLISH | self.load.qos << 1, body + self._with_payload + b"x" * self.load.size)

    def expect(self, topic: str, publisher: bool) -> None:
        """From here on the connection does not block, and packets of this topic and their acknowledgements arrive."""
        self._publish_size = len(self.publish_packet(topic, 1))
        self._id_at = self._publish_size - self.load.size - len(self._with_payload) - 2
        if publisher:
            self._settling = PUBACK if self.load.qos == 1 else PUBCOMP
        else:
            self._settling = (PUBLISH, PUBLISH | 1 << 1, PUBREL)[self.load.qos]
        self.socket.setblocking(False)
        self.epoll.register(self.socket, select.EPOLLIN)

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


class Flow:
    """One publisher, its topic and the subscribers of that topic."""

    def __init__(self, connect: Callable[[], Wire], number: int, load: Load, epoll: select.epoll) -> None:
        self.load = load
        self.sent = 0
        topic = topic_of(number)
        self.subscribers = [Client(connect(), f"s{number}_{n}", load, epoll) for n in range(load.subscribers)]
        for subscriber in self.subscribers:
            subscriber.subscribe(topic)
            subscriber.expect(topic, publisher=False)
        self.publisher = Client(connect(), f"p{number}", load, epoll)
        self.publisher.expect(topic, publisher=True)
        self.clients = [self.publisher, *self.subscribers]
        frame = self.publisher.wire.frame
        self._size = len(frame(self.publisher.publish_packet(topic, 1)))
        self._window = load.window or FLOOD_BYTES // self._size
        self._burst = min(self._window, WRITE_BYTES // self._size)
        # A flood waits until a full write fits, a window is refilled as soon as it opens.
        self._least = 1 if load.window else self._burst
        self._cycle = PACKET_IDS if load.qos else 1
        packets = [
            frame(self.publisher.publish_packet(topic, n % self._cycle + 1)) for n in range(self._cycle + self._burst)
        ]
        self._blob = memoryview(b"".join(packets))

    def pump(self) -> bool:
        """Publish what the window allows; return whether everyone is through with all messages."""
        settled = min([client.settled for client in (self.clients if self.load.qos else self.subscribers)])
        left = self.load.messages - self.sent
        room = min(left, self._window - self.sent + settled)
        least = min(left, self._least)
        while room >= least > 0 and not self.publisher.unsent:
            count = min(room, self._burst)
            start = self.sent % self._cycle * self._size
            self.publisher.write(self._blob[start : start + count * self._size])
            self.sent += count
            room -= count
            least = min(least, self.load.messages - self.sent)
        return settled >= self.load.messages


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


def run(flows: list[Flow], epoll: select.epoll) -> float:
    """Drive all flows to their end, or until nothing arrives any more; return the seconds it took."""
    owners = {client.socket.fileno(): (client, flow) for flow in flows for client in flow.clients}
    patience = flows[0].load.patience
    started = time.monotonic()
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


def main() -> None:
    """Run one load as the module's contract says."""
    arguments = json.loads(sys.argv[1])
    load = Load(**arguments["load"])
    connect = functools.partial(Wire, arguments["port"], load.way, arguments["ca"])
    epoll = select.epoll()
    try:
        flows = [Flow(connect, number, load, epoll) for number in range(load.publishers)]
        print("ready", flush=True)
        if not sys.stdin.readline():
            return  # the driver is gone
        cpu_before = time.process_time()
        seconds = run(flows, epoll)
        cpu_seconds = time.process_time() - cpu_before
    except (LoadError, WireError, OSError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return
    counts = [client.settled for flow in flows for client in flow.subscribers]
    lost = sum(max(0, load.messages - count) for count in counts)
    unacknowledged = sum(load.messages - flow.publisher.settled for flow in flows) if load.qos else 0
    outcome = {
        "lost": max(lost, unacknowledged),
        "surplus": sum(max(0, count - load.messages) for count in counts),
        "seconds": seconds,
        "load_cpu_seconds": cpu_seconds,
    }
    print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main()
