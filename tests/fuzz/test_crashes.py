"""Nothing acknowledged is lost and no QoS 2 message comes twice, whenever the broker is killed.

Two clients that do all a client has to do (they send again what was not acknowledged, they tell what they have received
already) and a broker whose store is durable late, fails, and whose host is killed between any two steps.
"""

from __future__ import annotations

from disk import Disk, restart
from harness import Client, World
from hypothesis import example, given, settings
from hypothesis import strategies as st
from port.core.wire.codec import CONNACK, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, SUBSCRIBE
from port.core.wire.properties import RECEIVE_MAXIMUM, SESSION_EXPIRY_INTERVAL

LONG = 1000000
# The likelier ones several times: a message needs a dozen of them to get through.
STEPS = (
    ["sender"] * 8 + ["receiver"] * 8 + ["durable"] * 5 + ["publish 2"] * 5 + ["publish 1"] * 2 + ["kill"] * 2
    + ["retain", "fail", "lose sender", "lose receiver", "second"]
)  # fmt: skip


class Sender:
    """A client that publishes numbers, and knows which of them it may forget."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.count = 0
        self.packet_id = 0
        self.unacknowledged: dict[int, tuple[int, bytes, bool]] = {}  # identifier -> QoS, payload, retain; in order
        self.unreleased: list[int] = []  # PUBREC has come
        self.acknowledged: list[tuple[int, bytes]] = []
        self.retained = b""  # the last value whose acknowledgement came
        self.conn: Client | None = None
        self.connected = False

    def connect(self, world: World) -> None:
        self.conn = connect(world, b"sender", self.version)
        self.connected = False

    def handle(self) -> None:
        """Take in one packet, or send again after CONNACK."""
        conn = self.conn
        if conn is None or not conn.inbox:
            return
        packet = conn.inbox.pop(0)
        kind = packet["type"]
        if kind == CONNACK:
            assert packet["code"] == 0 or packet["code"] in (3, 0x88), packet
            if packet["code"]:
                self.conn = None
                return
            if self.count and self.version != 3:
                assert packet["session_present"], "the session was lost"
            self.connected = True
            for packet_id in list(self.unacknowledged):
                qos, payload, retain = self.unacknowledged[packet_id]
                self._send(packet_id, qos, payload, retain, True)
            for packet_id in list(self.unreleased):
                conn.say(PUBREL, packet_id=packet_id)
        elif kind == PUBACK or kind == PUBREC:
            assert packet["code"] in (0, 0x10)
            qos, payload, retain = self.unacknowledged.pop(packet["packet_id"], (0, b"", False))
            if qos:
                self.acknowledged.append((qos, payload))
                if retain:
                    self.retained = payload
            if kind == PUBREC:
                if packet["packet_id"] not in self.unreleased:
                    self.unreleased.append(packet["packet_id"])
                conn.say(PUBREL, packet_id=packet["packet_id"])
        elif kind == PUBCOMP and packet["packet_id"] in self.unreleased:
            self.unreleased.remove(packet["packet_id"])

    def publish(self, qos: int, retain: bool = False) -> None:
        conn = self.conn
        if conn is None or not self.connected or conn.closed or len(self.unacknowledged) + len(self.unreleased) >= 4:
            return
        self.count += 1
        while True:  # identifiers are soon used again
            self.packet_id = self.packet_id % 5 + 1
            if self.packet_id not in self.unacknowledged and self.packet_id not in self.unreleased:
                break
        self.unacknowledged[self.packet_id] = (qos, b"%d" % self.count, retain)
        self._send(self.packet_id, qos, b"%d" % self.count, retain, False)

    def _send(self, packet_id: int, qos: int, payload: bytes, retain: bool, dup: bool) -> None:
        assert self.conn is not None
        self.conn.say(PUBLISH, topic=b"t", payload=payload, qos=qos, packet_id=packet_id, retain=retain, dup=dup)


class Receiver:
    """A client that writes down what it is given, as its application would see it."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.subscribed = False
        self.connected_before = False
        self.got: list[tuple[int, bytes]] = []
        self.received: set[int] = set()  # QoS 2 identifiers
        self.conn: Client | None = None

    def connect(self, world: World) -> None:
        self.conn = connect(world, b"receiver", self.version)

    def handle(self) -> None:
        conn = self.conn
        if conn is None or not conn.inbox:
            return
        packet = conn.inbox.pop(0)
        kind = packet["type"]
        if kind == CONNACK:
            if packet["code"]:
                self.conn = None
                return
            if self.connected_before and self.version != 3:
                assert packet["session_present"], "the session was lost"
            self.connected_before = True
            if not self.subscribed:
                conn.say(SUBSCRIBE, packet_id=1, filters=[(b"t", 2)])
        elif kind == SUBACK:
            self.subscribed = True
        elif kind == PUBLISH:
            if packet["qos"] < 2 or packet["packet_id"] not in self.received:
                self.got.append((packet["qos"], packet["payload"]))
            if packet["qos"] == 1:
                conn.unacked.pop(packet["packet_id"], None)
                conn.say(PUBACK, packet_id=packet["packet_id"])
            elif packet["qos"] == 2:
                self.received.add(packet["packet_id"])
                conn.say(PUBREC, packet_id=packet["packet_id"])
        elif kind == PUBREL:
            self.received.discard(packet["packet_id"])
            conn.unacked.pop(packet["packet_id"], None)
            conn.say(PUBCOMP, packet_id=packet["packet_id"])


def connect(world: World, client_id: bytes, version: int) -> Client:
    client = world.client(version)
    properties = {SESSION_EXPIRY_INTERVAL: LONG, RECEIVE_MAXIMUM: 3} if version == 5 else None
    client.connect(client_id, clean_start=False, properties=properties)
    if client.connack:
        client.inbox.insert(0, client.connack)
    return client


class Run:
    """One story."""

    def __init__(self, versions: tuple[int, int]) -> None:
        self.disk = Disk(manual=True)
        self.world = World(store=self.disk, max_inflight=3)
        self.sender = Sender(versions[0])
        self.receiver = Receiver(versions[1])
        self.clients: tuple[Sender | Receiver, ...] = (self.receiver, self.sender)
        self.settle()
        assert self.receiver.subscribed

    def reconnect(self) -> None:
        for client in self.clients:
            if client.conn is None or client.conn.closed and not client.conn.inbox:
                client.connect(self.world)

    def step(self, what: str) -> None:
        world = self.world
        if what == "kill":
            # What has been sent on the way may arrive all the same, as far as clients have taken it in.
            self.world = restart(world, 1000, max_inflight=3)
            for client in self.clients:
                client.conn = None
        elif what.startswith("lose"):
            gone = self.clients[what == "lose sender"].conn
            if gone is not None:
                gone.lose()
        elif what == "durable" and self.disk.busy():
            self.disk.complete()
        elif what == "fail" and self.disk.busy():
            self.disk.complete(OSError("disk full"))
        elif what == "second":
            world.advance(1000)
        elif what == "retain":
            self.sender.publish(1, True)
        elif what.startswith("publish"):
            self.sender.publish(int(what[-1]))
        elif what in ("sender", "receiver"):
            client = self.clients[what == "sender"]
            if client.conn is not None and client.conn.closed:
                client.conn.inbox.clear()
            client.handle()
        self.reconnect()

    def settle(self) -> None:
        """Let everything come to its end."""
        self.world.errors().clear()
        for _ in range(2000):
            self.reconnect()
            self.world.advance(1000)
            self.disk.complete_all()
            waiting = False
            for client in self.clients:
                if client.conn is not None and client.conn.closed:
                    client.conn.inbox.clear()
                while client.conn is not None and client.conn.inbox:
                    client.handle()
                    waiting = True
            open_ = all(client.conn is not None and not client.conn.closed for client in self.clients)
            if open_ and not waiting and not self.disk.busy():
                return
        raise AssertionError("it has no end")

    def check(self) -> None:
        self.settle()
        sender, receiver = self.sender, self.receiver
        assert not sender.unacknowledged and not sender.unreleased and not receiver.received
        got = [payload for _, payload in receiver.got]
        for _, payload in sender.acknowledged:
            assert payload in got, "message %r was acknowledged and is lost" % payload
        twice = [payload for qos, payload in receiver.got if qos == 2]
        assert len(twice) == len(set(twice)), "a QoS 2 message came twice: %r" % twice
        for qos in (1, 2):  # first deliveries come in order [MQTT-4.6.0-6]
            first = list(dict.fromkeys(int(payload) for q, payload in receiver.got if q == qos))
            assert first == sorted(first), first
        record = self.world.broker.retained.get(b"t")
        kept = b"" if record is None else record[1]
        assert int(kept or 0) >= int(sender.retained or 0), "retained %r, but %r was acknowledged" % (kept, sender.retained)
        assert not self.world.errors()
        again = restart(self.world, 1000, max_inflight=3).broker
        for client_id in (b"sender", b"receiver"):
            session = again.sessions[client_id]
            assert not session.inflight and not session.queue and not session.received
        assert not [key for key in self.disk.records if key[0] in (4, 5, 6)]


@settings(max_examples=4 * settings.default.max_examples)
@given(
    steps=st.lists(st.sampled_from(STEPS), min_size=20, max_size=150),
    versions=st.sampled_from([(5, 5), (4, 4), (4, 5), (5, 3)]),
)
@example(["publish 2", "durable", "sender", "receiver", "kill", "durable", "receiver", "sender"] * 6, (5, 5))
def test_whenever_the_broker_is_killed(steps: list[str], versions: tuple[int, int]) -> None:
    run = Run(versions)
    for step in steps:
        run.step(step)
    run.check()
