"""A broker in memory with clients that misbehave, and everything that must hold all the same.

Runs on CPython and on MicroPython. A fault is a `Fault` raised.
"""

import sys

from port.core import TYPE_CHECKING
from port.core.wire.reason_codes import CONTINUE_AUTHENTICATION, NOT_AUTHORIZED, SUCCESS, MQTTError
from port.core.limits.options import Options
from port.core.auth.authenticator import PENDING, Authenticator, Identity
from port.core.broker import Broker

if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.wire.codec import Buffer
    from port.core.sessions.session import Session
    from port.core.protocol.connection import Connection
publish_batch: "Any" = None
if sys.implementation.name == "cpython":
    from port.cpython import publish_batch

# Brokers of different temper: limits of a server, limits met at once, everything optional refused.
PRESETS: "tuple[dict[str, Any], ...]" = (
    {"outbound_topic_aliases": 3},
    {
        "max_connections": 6, "max_sessions": 8, "max_packet_size": 256, "max_connect_size": 200,
        "max_session_expiry": 100, "receive_maximum": 2, "max_unreleased": 2, "max_inflight": 2,
        "max_queued_messages": 3, "max_queued_bytes": 128, "queue_full": "oldest", "outbox_bytes": 256,
        "max_subscriptions": 4, "max_topic_length": 40, "max_topic_levels": 5, "max_retained_messages": 3,
        "max_retained_bytes": 1100, "topic_alias_maximum": 2, "route_cache": 2, "max_keep_alive": 30,
        "response_information": "answers", "server_reference": "elsewhere", "outbound_topic_aliases": 1,
    },
    {
        "max_qos": 1, "retain_available": False, "wildcard_subscriptions": False, "shared_subscriptions": False,
        "subscription_identifiers": False, "queue_full": "disconnect", "max_queued_messages": 2, "max_inflight": 1,
    },
)  # fmt: skip


class Fault(Exception):
    """The broker did what it must never do."""


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

    def pause_reading(self) -> None:
        self.held = True

    def resume_reading(self) -> None:
        self.held = False

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
        self.world.settle()

    def feed_buffer(self, data: bytes) -> None:
        """The same as the host on MicroPython does it: from a buffer that is used again at once."""
        conn = self.conn
        rest = conn.rest
        if rest is None:
            start = 0
        else:
            start = len(rest)
            data = bytes(rest) + data
            conn.let_go()
        buffer = bytearray(data)
        view = memoryview(buffer)
        try:
            at = conn.feed(buffer, view, len(buffer))
        except Exception as e:
            conn.fault(e)
        else:
            if at < len(buffer):
                conn.keep(view[at:])
        self.world.settle()
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
        self.world.settle()


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
        self.broker.rows = publish_batch  # each Python with what it has
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

    def settle(self) -> None:
        """Flush, and give turns to all who wait for one."""
        self.broker.flush()
        while self.broker.turns.clients or self.broker.session_registry.settling:
            self.broker.work()
            self.broker.flush()

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
        connections = [conn for conn in broker.connections if not conn.listener.local]
        if len(connections) != len(self.peers):
            raise Fault("%d connections of %d clients" % (len(connections), len(self.peers)))
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
        if broker.connection_registry.present.count > broker.options.max_connections:
            raise Fault("more connections than max_connections")
        if broker.session_registry.staying.count > broker.options.max_sessions:
            raise Fault("more sessions than max_sessions")
        sessions = [session for session in broker.sessions.values() if not session.listener.local]
        open_ones = [session.conn for session in sessions if session.conn is not None]
        _check_places(broker.connection_registry.arriving, [conn for conn in connections if conn not in open_ones], True)
        _check_places(broker.connection_registry.present, open_ones, True)
        _check_places(broker.session_registry.staying, [session for session in sessions if session.expiry], False)
        retained = broker.retained
        records = retained.matching(b"#")
        size = 0
        for record in records:
            size += retained.size_of(record)
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
        for _ in range(120):  # what has come of those who wait for something is handled first
            if broker.connections:
                self.tick(1)
                self.settle()
        if broker.connections or broker.connected:
            raise Fault("connections left")
        # Beyond every will delay and expiry but "never".
        self.tick(0xFFFFFFFF)
        for session in list(broker.sessions.values()):
            if session.expiry != 0xFFFFFFFF:
                raise Fault("session has not expired")
            broker.session_registry.end(session)
        self.check()
        broker.router.forget()
        for owner in (broker.router, broker.router.subscriptions):
            for name in dir(owner):
                value = getattr(owner, name)  # subset: ok, names of this object
                if name[:2] != "__" and name not in ("generation", "_entry", "steps") and isinstance(value, (dict, list, set, int)) and value:
                    raise Fault("%s left: %r" % (name, value))
        if broker.session_registry.due:
            raise Fault("sessions still due")
        left = (broker.memory.message_bytes, broker.memory.partial_bytes, broker.memory.session_bytes if not broker.sessions else 0)
        if any(left):
            raise Fault("%d bytes of messages left, %d of packets, %d of sessions" % left)


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


def _check_places(places: "Any", things: "list[Any]", all_give_way: bool) -> None:
    """Whether the owners' counts are those of a recount, and the rings hold what may give way."""
    counts: "dict[Any, int]" = {}
    for thing in things:
        if thing.owner is None:
            raise Fault("something has no place")
        counts[thing.owner.key] = counts.get(thing.owner.key, 0) + 1
        listed = thing.after is not None
        if listed != (all_give_way or thing.conn is None):
            raise Fault("something is in a ring, or not, and should not be")
    if places.count != len(things) or {key: places.owners[key].count for key in places.owners} != counts:
        raise Fault("owners have other places than a recount finds")
    for owner in places.owners.values():
        size = 0
        thing = owner.after
        while thing is not owner:
            if thing.owner is not owner or thing.after.before is not thing:
                raise Fault("a ring is broken")
            size += 1
            thing = thing.after
        if (owner in places.above) != (owner.count > places.share and size > 0):
            raise Fault("above its share, or not, and not known to be")


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
