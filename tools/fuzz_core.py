"""A broker in memory with clients that misbehave, and everything that must hold all the same.

Runs on CPython and on MicroPython. `World` is the broker with its clients, `corpus` gives
valid conversations of all protocol versions, `Mutator` spoils them. Used by tools/fuzz and
tests/fuzz. A fault is a `Fault` raised.
"""

from port.core import TYPE_CHECKING
from port.core.auth import PENDING, Authenticator, Identity
from port.core.broker import Broker
from port.core.codec import packet, string, u16
from port.core.options import Options
from port.core.properties import encode
from port.core.reason import CONTINUE_AUTHENTICATION, NOT_AUTHORIZED, SUCCESS, MQTTError
from port.core.retained import message

if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.codec import Buffer
    from port.core.connection import Connection
    from port.core.session import Session

    Conversation = tuple[int, list[bytes]]

# Brokers of different temper: limits of a server, limits met at once, everything optional refused.
PRESETS: "tuple[dict[str, Any], ...]" = (
    {"outbound_topic_aliases": 3},
    {
        "max_connections": 6, "max_sessions": 8, "max_packet_size": 256, "max_connect_size": 200,
        "max_session_expiry": 100, "receive_maximum": 2, "max_unreleased": 2, "max_inflight": 2,
        "max_queued_messages": 3, "max_queued_bytes": 128, "queue_full": "oldest", "outbox_bytes": 256,
        "max_subscriptions": 4, "max_topic_length": 40, "max_topic_levels": 5, "max_retained_messages": 3,
        "max_retained_bytes": 100, "topic_alias_maximum": 2, "route_cache": 2, "max_keep_alive": 30,
        "response_information": "answers", "server_reference": "elsewhere", "outbound_topic_aliases": 1,
    },
    {
        "max_qos": 1, "retain_available": False, "wildcard_subscriptions": False, "shared_subscriptions": False,
        "subscription_identifiers": False, "queue_full": "disconnect", "max_queued_messages": 2, "max_inflight": 1,
    },
)  # fmt: skip


class Fault(Exception):
    """The broker did what it must never do."""


class Random:
    """Pseudo-random numbers, the same on every runtime."""

    def __init__(self, seed: int) -> None:
        self._state = (seed * 2654435761 + 12345) & 0x7FFFFFFF
        self.below(2)

    def below(self, limit: int) -> int:
        """A number from 0 to limit - 1; `limit` at most 65,536."""
        state = self._state = (self._state * 1103515245 + 12345) & 0x7FFFFFFF
        return (state >> 12) % limit

    def choice(self, items: "Any") -> "Any":
        return items[self.below(len(items))]


class Asking(Authenticator):
    """Enhanced authentication `ask` in two steps, and user names that are refused or left waiting."""

    method = b"ask"

    def authenticate(self, client: "Identity", user: "Optional[bytes]", password: "Optional[bytes]") -> "Optional[int]":
        if user == b"wait":
            return PENDING
        if user is None:
            return None
        return NOT_AUTHORIZED if user == b"bad" else SUCCESS

    def exchange(self, client: "Identity", data: "Optional[bytes]") -> "tuple[int, Optional[bytes]]":
        if data == b"answer":
            return SUCCESS, None
        return (CONTINUE_AUTHENTICATION, b"question") if data != b"bad" else (NOT_AUTHORIZED, None)


class Peer:
    """A client: the core's Transport, remembering what the broker sent.

    received  packets as (first byte, body)
    closed    how often the broker has closed it
    """

    def __init__(self, world: "World", address: str = "127.0.0.1:1") -> None:
        self.world = world
        self.received: "list[tuple[int, bytes]]" = []
        self.closed = 0
        self.held = False
        self._stream = b""
        conn = world.broker.accept_connection(self, address)
        self.refused = conn is None
        self.conn: "Connection" = conn  # type: ignore[assignment]
        if not self.refused:
            world.peers.append(self)

    # -- the core's Transport ----------------------------------------------------------------

    def send(self, chunks: "list[Buffer]") -> int:
        if self.closed:
            raise Fault("output after close")
        data = b""
        for chunk in chunks:
            if not len(chunk):
                self.world.faults.append("empty packet")
            data += bytes(chunk)
        self._stream += data
        self._parse()
        return len(data)

    def close(self, abort: bool, told: bool) -> None:
        self.closed += 1
        if self.closed > 1:
            self.world.faults.append("closed twice")
        if self._stream:
            self.world.faults.append("last packet incomplete: " + self._stream.hex())

    def hold(self, held: bool) -> None:
        self.held = held

    def certificate(self) -> None:
        return None

    def _parse(self) -> None:
        """Cut what was sent into packets; the broker must send whole and well-formed ones."""
        data = self._stream
        end = len(data)
        i = 0
        while i < end:
            size = shift = 0
            at = i + 1
            while at < end:
                c = data[at]
                size |= (c & 127) << shift
                shift += 7
                at += 1
                if c < 128:
                    break
            if at + size > end or at == i + 1:
                break
            self._check(data[i], data[at : at + size], at + size - i)
            self.received.append((data[i], data[at : at + size]))
            i = at + size
        self._stream = data[i:]

    def _check(self, first: int, body: bytes, size: int) -> None:
        kind = first >> 4
        text = ""
        if kind not in (2, 3, 4, 5, 6, 7, 9, 11, 13, 14, 15):
            text = "packet type %d sent" % kind
        elif not self.received and kind not in (2, 14, 15):
            text = "packet type %d before CONNACK" % kind
        elif kind in (14, 15) and self.conn.version != 5:
            text = "packet type %d to MQTT %d" % (kind, self.conn.version)
        elif kind != 3 and first & 15 != (2 if kind == 6 else 0):
            text = "reserved flags of packet type %d" % kind
        elif size > self.conn.max_packet:
            text = "packet of %d bytes for %d" % (size, self.conn.max_packet)
        elif kind == 3 and (first & 6 == 6 or b"+" in _name(body) or b"#" in _name(body)):
            text = "malformed PUBLISH"
        if text:
            self.world.faults.append("%s: %02x %s" % (text, first, body.hex()))

    # -- towards the broker --------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """A chunk arrives and is handled, as the host on CPython does it."""
        self.conn.take(data)
        self.world.broker.flush()

    def feed_buffer(self, data: bytes) -> None:
        """The same as the host on MicroPython does it: from a buffer that is used again at once."""
        conn = self.conn
        rest = conn.rest
        if rest is None:
            start = 0
        else:
            start = len(rest)
            data = bytes(rest) + data
            conn.rest = None
        buffer = bytearray(data)
        view = memoryview(buffer)
        at = conn.feed(buffer, view, len(buffer))
        if at < len(buffer):
            conn.rest = bytearray(view[at:])
        self.world.broker.flush()
        for i in range(start, len(buffer)):
            buffer[i] = 0xEE  # who still looks at it sees this

    def answers(self) -> bytes:
        """What a client answers to the packets received since the last call."""
        out = b""
        for first, body in self.received:
            kind = first >> 4
            if kind == 3 and first & 6:
                at = 2 + (body[0] << 8 | body[1])
                out += bytes((0x40 if first & 6 == 2 else 0x50, 2)) + body[at : at + 2]
            elif kind == 5 and (len(body) == 2 or body[2] < 0x80):
                out += b"\x62\x02" + body[:2]
            elif kind == 6:
                out += b"\x70\x02" + body[:2]
        # CONNACK stays: it tells that something came before.
        del self.received[1:]
        return out

    def lost(self) -> None:
        """The connection breaks."""
        self.conn.lost()
        self.world.broker.flush()


def _name(body: bytes) -> bytes:
    return body[2 : 2 + (body[0] << 8 | body[1])]


class World:
    """A broker in memory, its clients and a clock.

    peers   clients whose end has not been checked yet
    faults  what must not have happened; `check` raises the first
    """

    def __init__(self, preset: int = 0, options: "Optional[Options]" = None) -> None:
        self.now = 1000
        self.faults: "list[str]" = []
        self.peers: "list[Peer]" = []
        self.broker = Broker(options or Options(**PRESETS[preset]), lambda: self.now, self._log)
        self.broker.options.max_auth_failures = 0  # those that are refused on purpose must not keep out the others
        self.broker.options.anonymous = "loopback"
        self.broker.authenticators.append(Asking())
        self.broker.on("error", self._error)

    def _log(self, level: int, text: str, *args: "Any") -> None:
        line = text % args  # a faulty format raises
        if level >= 3:
            self.faults.append(line)

    def _error(self, session: "Optional[Session]", error: Exception) -> None:
        if not isinstance(error, MQTTError):
            self.faults.append("error hook: %r" % error)

    def tick(self, seconds: int) -> None:
        """Time passes."""
        self.now += seconds * 1000
        self.broker.tick()

    def check(self) -> None:
        """Everything that must hold between two packets. Raises Fault."""
        broker = self.broker
        faults = self.faults
        if faults:
            raise Fault(faults[0])
        self.peers = [peer for peer in self.peers if not _done(self, peer)]
        if broker.dirty:
            raise Fault("dirty after flush")
        if len(broker.connections) != len(self.peers):
            raise Fault("%d connections of %d clients" % (len(broker.connections), len(self.peers)))
        opened = subscriptions = 0
        for client_id in broker.sessions:
            session = broker.sessions[client_id]
            if session.client_id != client_id:
                raise Fault("session under another client id")
            _check_session(broker, session)
            opened += session.conn is not None
            subscriptions += len(session.subscriptions)
        if opened != broker.connected:
            raise Fault("connected is %d, not %d" % (broker.connected, opened))
        if subscriptions != broker.router.subscriptions.count:
            raise Fault("subscription count is %d, not %d" % (broker.router.subscriptions.count, subscriptions))
        if broker.connected > broker.options.max_connections:
            raise Fault("more connections than max_connections")
        if len(broker.sessions) > broker.options.max_sessions:
            raise Fault("more sessions than max_sessions")
        retained = broker.retained
        records = retained.matching(b"#")
        size = 0
        for record in records:
            size += message(record).size()
        if retained.count != len(records) or retained.bytes != size:
            raise Fault("retained figures are wrong")
        if retained.count > broker.options.max_retained_messages or size > broker.options.max_retained_bytes:
            raise Fault("more retained messages than allowed")

    def end(self) -> None:
        """All clients go and all sessions end: nothing may be left. Raises Fault."""
        for peer in list(self.peers):
            peer.lost()
        self.check()
        broker = self.broker
        if broker.connections or broker.connected:
            raise Fault("connections left")
        # Beyond every will delay and expiry but "never".
        self.tick(0xFFFFFFFF)
        for session in list(broker.sessions.values()):
            if session.expiry != 0xFFFFFFFF:
                raise Fault("session has not expired")
            broker.end_session(session)
        self.check()
        broker.router.forget()
        for owner in (broker.router, broker.router.subscriptions):
            for name in dir(owner):
                value = getattr(owner, name)  # subset: ok, names of this object
                if name[:2] != "__" and name != "generation" and isinstance(value, (dict, list, set, int)) and value:
                    raise Fault("%s left: %r" % (name, value))
        if broker._due:
            raise Fault("sessions still due")


def _done(world: World, peer: Peer) -> bool:
    """True for a closed client, which must be forgotten entirely."""
    if not peer.closed:
        if peer.conn not in world.broker.connections:
            raise Fault("open client is not among the connections")
        return False
    if peer.conn in world.broker.connections:
        raise Fault("closed client is still among the connections")
    if peer.conn.out:
        raise Fault("closed client has output")
    if peer.conn.session is not None and peer.conn.session.conn is peer.conn:
        raise Fault("closed client still has its session")
    return True


def _check_session(broker: Broker, session: "Session") -> None:
    options = broker.options
    conn = session.conn
    if conn is None and session.out is not None:
        raise Fault("offline session has an outbox")
    if conn is not None and conn.session is not session:
        raise Fault("connection has another session")
    size = 0
    for entry in session.queue or ():
        size += entry[0].size()
    if size != session.queued_bytes:
        raise Fault("queued_bytes is %d, not %d" % (session.queued_bytes, size))
    if size > options.max_queued_bytes or len(session.queue or ()) > options.max_queued_messages:
        raise Fault("queue over its limits")
    if len(session.inflight) > 65535:
        raise Fault("too much in flight")
    if len(session.subscriptions) > options.max_subscriptions:
        raise Fault("too many subscriptions")
    if len(session.received or ()) > max(options.receive_maximum, options.max_unreleased):
        raise Fault("too many unreleased messages")


# -- valid packets -----------------------------------------------------------------------------


def connect(
    version: int,
    client_id: bytes,
    clean: bool = True,
    keep_alive: int = 0,
    properties: "Optional[dict[int, Any]]" = None,
    will: "Optional[tuple[bytes, bytes, int, bool]]" = None,
    will_properties: "Optional[dict[int, Any]]" = None,
    user: "Optional[bytes]" = None,
    password: "Optional[bytes]" = None,
) -> bytes:
    """CONNECT; `will` is (topic, payload, QoS, retain)."""
    flags = 2 if clean else 0
    tail = string(client_id)
    if will is not None:
        flags |= 4 | will[2] << 3 | (32 if will[3] else 0)
        if version == 5:
            tail += encode(will_properties or {})
        tail += string(will[0]) + string(will[1])
    if user is not None:
        flags |= 128
        tail += string(user)
    if password is not None:
        flags |= 64
        tail += string(password)
    head = string(b"MQIsdp" if version == 3 else b"MQTT") + bytes((version, flags)) + u16(keep_alive)
    if version == 5:
        head += encode(properties or {})
    return packet(0x10, head + tail)


def publish(
    version: int,
    topic: bytes,
    payload: bytes = b"",
    qos: int = 0,
    packet_id: int = 0,
    retain: bool = False,
    properties: "Optional[dict[int, Any]]" = None,
    dup: bool = False,
) -> bytes:
    """PUBLISH."""
    body = string(topic) + (u16(packet_id) if qos else b"")
    if version == 5:
        body += encode(properties or {})
    return packet(0x30 | qos << 1 | (1 if retain else 0) | (8 if dup else 0), body + payload)


def subscribe(
    version: int, packet_id: int, filters: "list[tuple[bytes, int]]", properties: "Optional[dict[int, Any]]" = None
) -> bytes:
    """SUBSCRIBE; `filters` are (filter, options)."""
    body = u16(packet_id) + (encode(properties or {}) if version == 5 else b"")
    for topic_filter, options in filters:
        body += string(topic_filter) + bytes((options,))
    return packet(0x82, body)


def unsubscribe(version: int, packet_id: int, filters: "list[bytes]") -> bytes:
    """UNSUBSCRIBE."""
    body = u16(packet_id) + (b"\0" if version == 5 else b"")
    for topic_filter in filters:
        body += string(topic_filter)
    return packet(0xA2, body)


def ack(first: int, packet_id: int, code: int = -1) -> bytes:
    """PUBACK, PUBREC, PUBREL or PUBCOMP; `code` only for MQTT 5."""
    return packet(first, u16(packet_id) + (bytes((code,)) if code >= 0 else b""))


def corpus() -> "list[Conversation]":
    """Valid conversations, each (protocol version, packets of the client)."""
    found: "list[Conversation]" = []
    for version in (3, 4, 5):
        found += _any_version(version)
    found += _version5()
    return found


def _any_version(v: int) -> "list[Conversation]":
    will = (b"will/a", b"gone", 1, True)
    return [
        (v, [connect(v, b"a"), b"\xc0\x00", b"\xe0\x00"]),
        (v, [connect(v, b"b", False, 60, None, will, None, b"user", b"secret"), b"\xc0\x00"]),
        (v, [connect(v, b"c", False, 1), subscribe(v, 1, [(b"a/b", 0), (b"a/+", 1), (b"#", 2)]),
             publish(v, b"a/b", b"zero"), publish(v, b"a/b", b"one", 1, 7), ack(0x40, 1),
             publish(v, b"a/b", b"two", 2, 8), ack(0x50, 2), ack(0x62, 8), ack(0x70, 2),
             unsubscribe(v, 2, [b"a/b", b"#", b"nobody"]), b"\xe0\x00"]),
        (v, [connect(v, b"d"), publish(v, b"r/1", b"kept", 0, 0, True), publish(v, b"r/2", b"kept", 1, 1, True),
             subscribe(v, 3, [(b"r/#", 2), (b"$SYS/#", 0)]), ack(0x40, 1), publish(v, b"r/1", b"", 0, 0, True)]),
        (v, [connect(v, b"e", False), publish(v, b"a/b", b"x" * 300, 2, 1), publish(v, b"a/b", b"x", 2, 1, False, None, True),
             publish(v, b"a/b", b"y", 2, 2), ack(0x62, 1), ack(0x62, 2), ack(0x62, 3)]),
        (v, [connect(v, b"c", False), subscribe(v, 9, [(b"$share/g/a/#", 1), (b"$share/h/+/b", 2)]),
             publish(v, b"a/b", b"q", 1, 1), publish(v, b"a/b", b"r", 2, 2), ack(0x62, 2), ack(0x40, 1),
             ack(0x40, 2), ack(0x40, 3), ack(0x50, 4), ack(0x70, 4)]),
        (v, [connect(v, b"" if v > 3 else b"3"), publish(v, b"a", b""), publish(v, "ü/€".encode(), b"\xff"), b"\xe0\x00"]),
        (v, [connect(v, b"w", True, 0, None, None, None, b"wait"), b"\xc0\x00", subscribe(v, 1, [(b"a/b", 1)])]),
        (v, [connect(v, b"n", True, 0, None, None, None, b"bad", b"")]),
        (v, [connect(v, b"many"), subscribe(v, 1, [(b"m/%d" % i, i % 3) for i in range(6)])]
            + [publish(v, b"m/%d" % (i % 6), b"m", i % 2, i + 1) for i in range(12)]),
    ]  # fmt: skip


def _version5() -> "list[Conversation]":
    everything = {0x11: 20, 0x21: 3, 0x27: 120, 0x22: 5, 0x19: 1, 0x17: 0, 0x26: [(b"k", b"v"), (b"k", b"w")]}
    will_properties = {0x18: 5, 0x01: 1, 0x02: 30, 0x03: b"text", 0x08: b"answer", 0x09: b"id", 0x26: [(b"a", b"b")]}
    every = {0x01: 1, 0x02: 9, 0x03: b"text", 0x08: b"answer", 0x09: b"\0\1", 0x26: [(b"a", b"b")]}
    will = (b"will/5", b"gone", 2, False)
    ask = {0x15: b"ask", 0x16: b"hello"}
    answer = encode({0x15: b"ask", 0x16: b"answer"})
    return [
        (5, [connect(5, b"p", False, 10, everything, will, will_properties, b"u", b"p"),
             subscribe(5, 1, [(b"a/b", 0x0D), (b"a/+", 0x1A), (b"a/#", 0x29)], {0x0B: 300, 0x26: [(b"x", b"y")]}),
             publish(5, b"a/b", b"self", 1, 1), publish(5, b"a/c", b"other", 2, 2, False, every),
             ack(0x62, 2, 0x92), ack(0x40, 1, 0x10), ack(0x50, 2, 0x80), packet(0xE0, b"\4")]),
        (5, [connect(5, b"alias", True, 0, {0x22: 3}), publish(5, b"al/1", b"a", 0, 0, False, {0x23: 1}),
             publish(5, b"", b"b", 0, 0, False, {0x23: 1}), publish(5, b"", b"c", 1, 5, False, {0x23: 1, 0x02: 3}),
             publish(5, b"al/2", b"d", 0, 0, False, {0x23: 2}), subscribe(5, 4, [(b"al/+", 1)]),
             publish(5, b"", b"e", 0, 0, False, {0x23: 2})]),
        (5, [connect(5, b"auth", True, 0, ask), packet(0xF0, b"\x18" + answer), publish(5, b"a/b", b"in"),
             packet(0xF0, b"\x19" + answer), b"\xe0\x00"]),
        (5, [connect(5, b"p", False, 0, {0x11: 0xFFFFFFFF}), ack(0x50, 1), ack(0x70, 1), ack(0x40, 2),
             packet(0xE0, b"\0" + encode({0x11: 4}))]),
        (5, [connect(5, b"s", False, 0, {0x11: 50, 0x21: 1}), subscribe(5, 1, [(b"$share/g/a/#", 2), (b"a/b", 4)]),
             publish(5, b"a/b", b"1", 1, 1), publish(5, b"a/b", b"2", 1, 2), ack(0x40, 1, 0), ack(0x50, 1, 0),
             packet(0xE0, b"\0")]),
        (5, [connect(5, b"small", True, 0, {0x27: 30}), subscribe(5, 1, [(b"#", 2)]), publish(5, b"a/b", b"x" * 60, 1, 1)]),
        (5, [connect(5, b"r"), publish(5, b"r/5", b"kept", 1, 1, True, every), subscribe(5, 1, [(b"r/+", 0x19)], {0x0B: 1}),
             subscribe(5, 2, [(b"r/+", 0x29), (b"$SYS/broker/version", 0)]), packet(0xE0, b"\x98")]),
    ]  # fmt: skip


# -- spoiling them -----------------------------------------------------------------------------

_EDGES = b"\x00\x01\x02\x7f\x80\x81\xff\xfe\x10\x30\x3d\x20\x23\x2b\x2f\x24"


class Mutator:
    """Makes inputs out of the corpus."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.conversations = corpus()

    def conversation(self) -> bytes:
        """The bytes of one connection: valid packets, some of them spoilt, left out, doubled or moved."""
        random = self.random
        version, packets = random.choice(self.conversations)
        packets = list(packets)
        for _ in range(random.below(4)):
            self._shuffle(packets, version)
        for _ in range(random.below(4)):
            i = self._position(packets)
            packets[i] = self.spoil(packets[i])
        data = b"".join(packets)
        while random.below(6) == 0:
            data = self._bytes(data)
        return data

    def _position(self, packets: "list[bytes]") -> int:
        """Any packet but rarely the first: without its CONNECT a conversation is soon over."""
        if len(packets) < 2 or self.random.below(8) == 0:
            return self.random.below(len(packets))
        return self.random.below(len(packets) - 1) + 1

    def _shuffle(self, packets: "list[bytes]", version: int) -> None:
        random = self.random
        if len(packets) < 2:
            return
        i = self._position(packets)
        kind = random.below(4)
        if kind == 0:
            del packets[i]
        elif kind == 1:
            packets.insert(i, packets[random.below(len(packets))])
        else:
            # One from elsewhere, mostly of the same version.
            other = random.choice(self.conversations)
            if other[0] == version or not random.below(8):
                packets.insert(i + 1, random.choice(other[1]))

    def spoil(self, data: bytes) -> bytes:
        """Spoil a packet; two times of three its remaining length is put right again, so that it is parsed."""
        random = self.random
        if len(data) < 3 or random.below(3) == 0:
            return self._bytes(data)
        at = 2
        while at < len(data) and data[at - 1] > 127:
            at += 1
        first = data[0] if random.below(8) else data[0] ^ 1 << random.below(8)
        return packet(first, self._bytes(data[at:]))

    def _bytes(self, data: bytes) -> bytes:
        """Change one thing."""
        random = self.random
        kind = random.below(7)
        i = random.below(len(data) + 1)
        if kind == 0 and i < len(data):
            return data[:i] + bytes((data[i] ^ 1 << random.below(8),)) + data[i + 1 :]
        if kind == 1 and i < len(data):
            return data[:i] + bytes((random.choice(_EDGES),)) + data[i + 1 :]
        if kind == 2:
            return data[:i] + bytes([random.below(256) for _ in range(random.below(4) + 1)]) + data[i:]
        if kind == 3:
            return data[:i] + data[i + random.below(4) + 1 :]
        if kind == 4:
            return data[:i]
        if kind == 5:
            piece = data[i : i + random.below(8) + 1]
            return data[:i] + piece + data[i:]
        return data[:i] + bytes((random.choice(_EDGES),)) + data[i:]


class Run:
    """A series of inputs into one world after another, the same for the same seed.

    last  the inputs of the present world, to be shown when a fault comes up
    """

    def __init__(self, seed: int, per_world: int = 40) -> None:
        self.seed = seed
        self.per_world = per_world
        self.last: "list[bytes]" = []
        self.packets = 0  # handled by the broker
        self._worlds = 0

    def world(self, inputs: int) -> None:
        """Feed up to `inputs` inputs into a new broker. Raises Fault, or whatever the broker raised."""
        random = Random(self.seed + self._worlds * 7919)
        world = World(self._worlds % len(PRESETS))
        self._worlds += 1
        self.last = []
        mutator = Mutator(random)
        _residents(world)
        for _ in range(min(inputs, self.per_world)):
            data = mutator.conversation()
            self.last.append(data)
            self._input(world, random, data)
            world.check()
        self.packets += world.broker.packets_received
        world.end()

    def _input(self, world: World, random: Random, data: bytes) -> None:
        if random.below(10) == 0:
            # Somebody who was there before goes, so that there is room.
            random.choice(world.peers).lost() if world.peers else None
        peer = Peer(world, "127.0.0.1:1" if random.below(20) else "10.0.0.1:1")
        if peer.refused:
            for other in list(world.peers)[:3]:
                other.lost()
            return
        feed = peer.feed_buffer if random.below(2) else peer.feed
        size = random.choice((1, 3, 10, 100, 65536, 65536))
        i = 0
        while i < len(data) and not peer.closed:
            if peer.held:
                peer.conn.authenticated(0 if random.below(4) else 0x87)
                world.broker.flush()
                continue
            feed(data[i : i + size])
            i += size
            if random.below(4) == 0:
                answers = peer.answers()
                if answers and not peer.closed and not peer.held:
                    # Between two packets, so only where none is incomplete.
                    if peer.conn.rest is None:
                        feed(answers)
            if random.below(16) == 0 and not peer.closed:
                self._weather(world, random, peer)
        if peer.closed:
            peer.conn.take(b"\xc0\x00")  # too late: nothing may come of it
            world.broker.flush()
        elif random.below(3) == 0:
            peer.lost()
        if random.below(8) == 0:
            world.tick(random.choice((0, 1, 2, 11, 40, 200)))

    def _weather(self, world: World, random: Random, peer: Peer) -> None:
        kind = random.below(3)
        if kind == 0:
            peer.conn.pause_writing()
        elif kind == 1:
            peer.conn.resume_writing()
            world.broker.flush()
        else:
            world.broker.publish(b"a/b", b"from inside", random.below(3), random.below(4) == 0)


def _residents(world: World) -> None:
    """Clients that were there before and receive what comes."""
    for version, client_id, topic_filter in ((4, b"r4", b"#"), (5, b"r5", b"a/b")):
        peer = Peer(world)
        peer.feed(connect(version, client_id))
        peer.feed(subscribe(version, 1, [(topic_filter, version - 3)]))
