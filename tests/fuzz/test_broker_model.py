"""The whole broker against a model: who gets which message, at which QoS, in which order.

The model knows sessions, subscriptions, receive windows, acknowledgements, wills, clean start
and take-over. After each step every client must have received exactly what the model says.
"""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fuzzing import packets
from fuzzing.world import Peer, World
from port.core.wire.topics import matches
from port.core.limits.options import Options
from topic_strategies import client_names, filters

IDS = (b"ann", b"ben", b"cat")
WINDOW = 2  # the broker's max_inflight
NO_LOCAL = 4

qos = st.integers(0, 2)
client_filters = filters.filter(lambda topic_filter: not topic_filter.startswith(b"$SYS"))


class Sent:
    """A QoS 1 or 2 message on its way to a session."""

    def __init__(self, name, payload, level):
        self.message = (name, payload, level)
        self.packet_id = 0  # known once it was received
        self.released = False  # PUBREC has come, PUBREL is out
        self.resend = False  # the client is back, but has not got it again yet

    def packet(self, dup):
        """What the client will receive."""
        return ("pubrel", self) if self.released else ("publish", *self.message, dup, self)


class Client:
    """A connection, and the packets it must have received since the last step."""

    def __init__(self, world, version):
        self.peer = Peer(world)
        self.version = version
        self.expected: list[tuple[object, ...]] = []
        self.closes = False


class ModelSession:
    """What the broker must remember of a client id."""

    def __init__(self, client_id):
        self.client_id = client_id
        self.client: Client | None = None
        self.subscriptions: dict[bytes, int] = {}
        self.inflight: list[Sent] = []
        self.queue: list[Sent] = []
        self.unreleased: set[int] = set()
        self.keeps = False
        self.window = WINDOW
        self.will: tuple[bytes, bytes, int] | None = None

    def deliver(self, name, payload, level):
        """A message that one of its subscriptions matches."""
        if level:
            self.queue.append(Sent(name, payload, level))
            self.pump()
        elif self.client is not None:
            self.client.expected.append(("publish", name, payload, 0, False, None))

    def pump(self):
        """Send what the receive window lets through: first once more what was sent before."""
        if self.client is None:
            return
        for sent in self.inflight:
            if sent.resend and len(self.acknowledgeable()) < self.window:
                sent.resend = False
                self.client.expected.append(sent.packet(True))
        while self.queue and len(self.inflight) < self.window:
            sent = self.queue.pop(0)
            self.inflight.append(sent)
            self.client.expected.append(sent.packet(False))

    def acknowledgeable(self):
        """What the client has received on this connection and not acknowledged."""
        return [sent for sent in self.inflight if not sent.resend]


class Model(RuleBasedStateMachine):
    """Clients of three client ids that come, go, subscribe, publish and acknowledge."""

    def __init__(self):
        super().__init__()
        self.world = World(options=Options(max_inflight=WINDOW))
        self.sessions: dict[bytes, ModelSession] = {}
        self.clients: list[Client] = []
        self.payloads = 0

    def online(self):
        """Sessions with a connection."""
        return [self.sessions[i] for i in IDS if i in self.sessions and self.sessions[i].client]

    def payload(self):
        """A payload that tells every message from all others."""
        self.payloads += 1
        return b"%d" % self.payloads

    # -- connections -----------------------------------------------------------------------

    @rule(client_id=st.sampled_from(IDS), version=st.sampled_from([3, 4, 5]), clean=st.booleans(), keeps=st.booleans(),
          window=st.integers(1, 3), will=st.none() | st.tuples(client_names, qos))
    def connect(self, client_id, version, clean, keeps, window, will):
        old = self.sessions.get(client_id)
        if old is not None and old.client is not None:
            if old.client.version == 5:
                old.client.expected.append(("disconnect", 0x8E))
            self.gone(old)
        if clean and client_id in self.sessions:
            self.ended(self.sessions[client_id])
        present = client_id in self.sessions
        session = self.sessions.setdefault(client_id, ModelSession(client_id))
        client = session.client = Client(self.world, version)
        self.clients.append(client)
        session.keeps = keeps if version == 5 else not clean
        session.window = min(window, WINDOW) if version == 5 else WINDOW
        session.will = None if will is None else (will[0], self.payload(), will[1])
        client.expected.append(("connack", present and version != 3))
        for sent in session.inflight:
            sent.resend = True
        session.pump()
        properties = {0x11: 0xFFFFFFFF if keeps else 0, 0x21: window} if version == 5 else None
        message = None if session.will is None else (*session.will, False)
        client.peer.feed(packets.connect(version, client_id, clean, 0, properties, message))

    @precondition(lambda self: self.online())
    @rule(data=st.data(), politely=st.booleans())
    def disconnect(self, data, politely):
        session = data.draw(st.sampled_from(self.online()))
        peer = session.client.peer
        if politely:
            session.will = None
        self.gone(session)
        if politely:
            peer.feed(b"\xe0\0")
        else:
            peer.lost()

    def gone(self, session):
        """The connection is over: the session ends or stays, the will goes out."""
        session.client.closes = True
        session.client = None
        if session.keeps:
            self.publish_will(session)
        else:
            self.ended(session)

    def ended(self, session):
        """The session is over."""
        del self.sessions[session.client_id]
        self.publish_will(session)

    def publish_will(self, session):
        will, session.will = session.will, None
        if will is not None:
            self.route(will[0], will[1], will[2], session)

    # -- subscriptions -----------------------------------------------------------------------

    @precondition(lambda self: self.online())
    @rule(data=st.data(), topic_filter=client_filters, options=st.sampled_from([0, 1, 2, 2, 6]))
    def subscribe(self, data, topic_filter, options):
        session = data.draw(st.sampled_from(self.online()))
        if session.client.version != 5:
            options &= 3
        session.subscriptions[topic_filter] = options
        session.client.expected.append(("suback", options & 3))
        session.client.peer.feed(packets.subscribe(session.client.version, 9, [(topic_filter, options)]))

    @precondition(lambda self: any(s.subscriptions for s in self.online()))
    @rule(data=st.data())
    def unsubscribe(self, data):
        session = data.draw(st.sampled_from([s for s in self.online() if s.subscriptions]))
        topic_filter = data.draw(st.sampled_from(sorted(session.subscriptions)))
        del session.subscriptions[topic_filter]
        session.client.expected.append(("unsuback",))
        session.client.peer.feed(packets.unsubscribe(session.client.version, 9, [topic_filter]))

    # -- messages ----------------------------------------------------------------------------

    @precondition(lambda self: self.online())
    @rule(data=st.data(), name=client_names, level=qos, packet_id=st.integers(1, 3), as_buffer=st.booleans())
    def publish(self, data, name, level, packet_id, as_buffer):
        session = data.draw(st.sampled_from(self.online()))
        client = session.client
        payload = self.payload()
        if level != 2 or packet_id not in session.unreleased:
            self.route(name, payload, level, session)
        if level == 1:
            client.expected.append(("puback", packet_id))
        elif level == 2:
            session.unreleased.add(packet_id)
            client.expected.append(("pubrec", packet_id))
        packet = packets.publish(client.version, name, payload, level, packet_id)
        (client.peer.feed_buffer if as_buffer else client.peer.feed)(packet)

    def route(self, name, payload, level, sender):
        """One copy for each session that matches, at the highest QoS it asked for."""
        for session in list(self.sessions.values()):
            granted = [options & 3 for topic_filter, options in session.subscriptions.items()
                       if matches(topic_filter, name) and not (options & NO_LOCAL and session is sender)]
            if granted:
                session.deliver(name, payload, min(level, max(granted)))

    @precondition(lambda self: any(s.unreleased for s in self.online()))
    @rule(data=st.data())
    def release(self, data):
        session = data.draw(st.sampled_from([s for s in self.online() if s.unreleased]))
        packet_id = data.draw(st.sampled_from(sorted(session.unreleased)))
        session.unreleased.discard(packet_id)
        session.client.expected.append(("pubcomp", packet_id))
        session.client.peer.feed(packets.ack(0x62, packet_id))

    @precondition(lambda self: any(s.acknowledgeable() for s in self.online()))
    @rule(data=st.data(), refuses=st.booleans())
    def acknowledge(self, data, refuses):
        session = data.draw(st.sampled_from([s for s in self.online() if s.acknowledgeable()]))
        sent = data.draw(st.sampled_from(session.acknowledgeable()))
        client = session.client
        code = -1
        done = True
        if sent.message[2] == 1:
            first = 0x40
        elif sent.released:
            first = 0x70
        else:
            first = 0x50
            if refuses and client.version == 5:
                code = 0x80
            else:
                sent.released = True
                done = False
                client.expected.append(sent.packet(False))
        if done:
            session.inflight.remove(sent)
            session.pump()
        client.peer.feed(packets.ack(first, sent.packet_id, code))

    # -- the comparison ------------------------------------------------------------------------

    @invariant()
    def received_what_the_model_says(self):
        self.world.check()
        for client in self.clients:
            found = client.peer.received
            for (first, body), expected in zip(found, client.expected):
                self.compare(client, first, body, expected)
            assert len(found) == len(client.expected), (found, client.expected)
            assert client.peer.closed == client.closes
            # One stays: to the client in memory it means that CONNACK has come.
            del found[:], client.expected[:]
            found.append((0x20, b""))
            client.expected.append(("seen",))
        self.clients = [client for client in self.clients if not client.closes]
        assert set(self.world.broker.sessions) == set(self.sessions)
        for client_id, session in self.sessions.items():
            ours = self.world.broker.sessions[client_id]
            assert ours.subscriptions.keys() == session.subscriptions.keys()
            assert len(ours.inflight) == len(session.inflight)
            assert len(ours.queue or ()) == len(session.queue)
            identifiers = [sent.packet_id for sent in session.inflight]
            assert 0 not in identifiers and len(set(identifiers)) == len(identifiers)

    def compare(self, client, first, body, expected):
        """One packet against the model's."""
        kind, *details = expected
        properties = client.version == 5
        if kind == "publish":
            name, payload, level, dup, sent = details
            assert first == 0x30 | level << 1 | dup << 3, (first, body, expected)
            at = 2 + len(name)
            assert body[2:at] == name
            if level:
                packet_id = body[at] << 8 | body[at + 1]
                at += 2
                assert packet_id
                if dup:
                    assert packet_id == sent.packet_id
                sent.packet_id = packet_id
            if properties:
                assert body[at] == 0
                at += 1
            assert body[at:] == payload
        elif kind == "connack":
            assert (first, body[0], body[1]) == (0x20, details[0], 0)
        elif kind == "suback":
            assert (first, body[:2], body[-1]) == (0x90, b"\0\x09", details[0])
        elif kind == "unsuback":
            assert (first, body[:2]) == (0xB0, b"\0\x09")
        elif kind == "disconnect":
            assert (first, body[0]) == (0xE0, details[0])
        elif kind == "pubrel":
            assert (first, body) == (0x62, details[0].packet_id.to_bytes(2, "big"))
        elif kind != "seen":
            assert first == {"puback": 0x40, "pubrec": 0x50, "pubcomp": 0x70}[kind]
            assert body[:2] == details[0].to_bytes(2, "big")
            assert len(body) == 2 or properties and body[2] < 0x80

    def teardown(self):
        self.world.end()


TestModel = Model.TestCase
