"""The whole broker against a model: who gets which message, at which QoS, in which order.

The model knows sessions, subscriptions, receive windows, acknowledgements, wills, clean start
and take-over; one of the clients is in-process, and is told where each message comes from. After each step every client must
have received exactly what the model says.
"""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fuzzing import packets
from fuzzing.world import Peer, World
from port.core.wire.topics import matches
from port.core.limits.options import Options
from port.core.messages.batch import body_of
from port.core.messages.message import Message
from topic_strategies import client_names, filters

IDS = (b"ann", b"ben", b"cat")
LOCAL = b"loc"  # the in-process client
WINDOW = 2  # the broker's max_inflight
NO_LOCAL = 4

qos = st.integers(0, 2)
client_filters = filters.filter(lambda topic_filter: not topic_filter.startswith(b"$SYS"))


class Sent:
    """A QoS 1 or 2 message on its way to a session."""

    def __init__(self, name, payload, level, origin):
        self.message = (name, payload, level)
        self.origin = origin
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
        self.client: Client | Local | None = None
        self.subscriptions: dict[bytes, int] = {}
        self.inflight: list[Sent] = []
        self.queue: list[Sent] = []
        self.unreleased: set[int] = set()
        self.keeps = False
        self.window = WINDOW
        self.will: tuple[bytes, bytes, int] | None = None

    def deliver(self, name, payload, level, origin):
        """A message that one of its subscriptions matches."""
        sent = Sent(name, payload, level, origin)
        if level:
            self.queue.append(sent)
            self.pump()
        elif self.client is not None:
            self.client.expected.append(("publish", name, payload, 0, False, sent))

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


class Local:
    """The in-process client, and what it must be handed since the last step."""

    def __init__(self, world, version, no_local, clean, keeps, window):
        self.expected: list[tuple[object, ...]] = []
        self.found: list[tuple[bytes, bytes, bool]] = []
        self.version = version
        self.no_local = no_local
        self.done: list[int] = []
        self.client = world.broker.open_client(
            LOCAL, self.receive, version=version, no_local=no_local, clean_start=clean, expiry=0xFFFFFFFF if keeps else 0,
            receive_maximum=window, acknowledge=False,
        )

    def receive(self, batch):
        for chunk in batch.packets:
            i = 0
            while i < len(chunk):
                at, stop = body_of(chunk, i)
                self.found.append((batch.origin, chunk[i], chunk[at:stop]))
                i = stop


class Model(RuleBasedStateMachine):
    """Clients of three client ids that come, go, subscribe, publish and acknowledge."""

    def __init__(self):
        super().__init__()
        self.world = World(options=Options(max_inflight=WINDOW))
        self.sessions: dict[bytes, ModelSession] = {}
        self.clients: list[Client] = []
        self.opened: list[Local] = []
        self.payloads = 0

    def online(self):
        """Sessions with a connection."""
        return [self.sessions[i] for i in IDS if i in self.sessions and self.sessions[i].client]

    def payload(self):
        """A payload that tells every message from all others."""
        self.payloads += 1
        return b"%d" % self.payloads

    def local(self):
        """The in-process client, None while it is closed."""
        session = self.sessions.get(LOCAL)
        return None if session is None else session.client

    # -- the in-process client -------------------------------------------------------------------

    @precondition(lambda self: self.local() is None)
    @rule(version=st.sampled_from([4, 5]), clean=st.booleans(), keeps=st.booleans(), no_local=st.booleans(), window=st.integers(1, 3))
    def open(self, version, clean, keeps, no_local, window):
        if clean and LOCAL in self.sessions:
            self.ended(self.sessions[LOCAL])
        session = self.sessions.setdefault(LOCAL, ModelSession(LOCAL))
        session.keeps = keeps
        session.window = window
        local = session.client = Local(self.world, version, no_local, clean, keeps, window)
        for sent in session.inflight:
            sent.resend = True
        session.pump()
        self.opened.append(local)

    @precondition(lambda self: self.local() is not None)
    @rule()
    def close(self):
        session = self.sessions[LOCAL]
        session.client.client.disconnect()
        session.client = None
        if not session.keeps:
            self.ended(session)

    @precondition(lambda self: self.local() is not None)
    @rule(topic_filter=client_filters, options=st.sampled_from([0, 1, 2, 2, 6]))
    def subscribe_local(self, topic_filter, options):
        session = self.sessions[LOCAL]
        session.subscriptions[topic_filter] = options
        assert session.client.client.subscribe(topic_filter, options & 3, options & NO_LOCAL > 0) == options & 3

    @precondition(lambda self: self.local() is not None)
    @rule(messages=st.lists(st.tuples(client_names, qos), min_size=1, max_size=4), alike=st.booleans())
    def publish_local(self, messages, alike):
        local = self.local()
        if alike:
            messages = messages[:1] * len(messages)
        sent = [(name, self.payload(), level) for name, level in messages]
        for name, payload, level in sent:
            self.route(name, payload, level, self.sessions[LOCAL], LOCAL)
        assert local.client.publish_all([Message(*message) for message in sent], local.done.append)
        self.world.settle()
        assert local.done == [0] or local.done == [0x10]
        local.done.clear()

    @precondition(lambda self: self.local() is not None and self.sessions[LOCAL].acknowledgeable())
    @rule(data=st.data(), halfway=st.booleans())
    def acknowledge_local(self, data, halfway):
        session = self.sessions[LOCAL]
        sent = data.draw(st.sampled_from(session.acknowledgeable()))
        if halfway and sent.message[2] == 2 and not sent.released:
            sent.released = True
            session.client.expected.append(sent.packet(False))
            session.client.client.received(sent.packet_id)
            return
        session.inflight.remove(sent)
        session.pump()
        session.client.client.acknowledge(sent.packet_id)

    def compare_local(self, local):
        """What it was handed against the model's."""
        assert len(local.found) == len(local.expected), (local.found, local.expected)
        for (origin, first, body), expected in zip(local.found, local.expected):
            sent = expected[-1]
            self.compare(local, first, body, expected)
            assert origin == (b"" if expected[0] == "pubrel" or expected[4] else sent.origin), (origin, sent.origin, expected)
        del local.found[:], local.expected[:]

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
            self.route(will[0], will[1], will[2], session, b"")

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
            self.route(name, payload, level, session, session.client_id)
        if level == 1:
            client.expected.append(("puback", packet_id))
        elif level == 2:
            session.unreleased.add(packet_id)
            client.expected.append(("pubrec", packet_id))
        packet = packets.publish(client.version, name, payload, level, packet_id)
        (client.peer.feed_buffer if as_buffer else client.peer.feed)(packet)

    def route(self, name, payload, level, sender, origin):
        """One copy for each session that matches, at the highest QoS it asked for."""
        for session in list(self.sessions.values()):
            if session is sender and session.client_id == LOCAL and session.client.no_local:
                continue
            granted = [options & 3 for topic_filter, options in session.subscriptions.items()
                       if matches(topic_filter, name) and not (options & NO_LOCAL and session is sender)]
            if granted:
                session.deliver(name, payload, min(level, max(granted)), origin if session.client is not None else b"")

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
        self.world.settle()
        for local in self.opened:
            if local is self.local():
                self.compare_local(local)
        self.opened = [local for local in self.opened if local is self.local()]
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
        if self.local() is not None:
            self.close()
        self.world.end()


TestModel = Model.TestCase
