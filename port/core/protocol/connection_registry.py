"""Connections from accept to close: their places, which of them have to leave, and their sessions."""

from port.core import const

# In this order imports do not nest deep: a board has little stack.
from port.core.wire.reason_codes import (
    AWAY_ADDRESS,
    AWAY_BLOCKED,
    AWAY_CONNECTIONS,
    KEEP_ALIVE_TIMEOUT,
    MAXIMUM_CONNECT_TIME,
    QUOTA_EXCEEDED,
    SERVER_SHUTTING_DOWN,
    SESSION_TAKEN_OVER,
    UNSPECIFIED_ERROR,
    MQTTError,
)
from port.core.limits.address_limits import Peers
from port.core.limits.client_log import explained
from port.core.limits.ip_address import peer
from port.core.limits.listener import Listener
from port.core.limits.login_attempts import Attempts
from port.core.limits.options import Options
from port.core.limits.places import Places, leave, part
from port.core.limits.sweep import Sweep
from port.core.sessions.session import Session
from port.core.acl import client_policy
from port.core.protocol.connection import Connection
from port.core.protocol.handle_connect import NO_PLACE

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.transport import Transport
    from port.core.broker import Broker


class ConnectionRegistry:
    """The life of the connections in Broker.connections.

    peers            records of the addresses that connections come from
    arriving         places of connections that have had no CONNECT accepted yet
    present          places of connections that have: the clients
    connected        number of clients
    handshakes       least number of connections that may be without CONNECT at a time; less on a host with fewer sockets
    handshake_bytes  bytes of incomplete packets of connections that are not open, see Connection.expect
    """

    def __init__(self, broker: "Broker", options: Options, attempts: Attempts, handshakes: int) -> None:
        self._broker = broker
        self.peers = Peers(attempts)
        most = options.max_connections
        self.arriving = Places(most // 2, options.owner_share)
        self.present = Places(most, options.owner_share)
        self.connected = 0
        self.handshakes = handshakes
        self.handshake_bytes = 0
        self._look_at = 0  # time of the next check for clients that do not acknowledge, ms

    def accept(
        self, transport: "Transport", address: str, listener: "Optional[Listener]" = None
    ) -> "Optional[Connection]":
        """A client has connected; None when it is turned away without an answer."""
        broker = self._broker
        listener = listener or broker.default_listener
        counted = None
        why, reason = "max_connections_per_address reached", AWAY_ADDRESS
        if self.peers.blocked(address, broker.clock()):
            broker.counters.auth_blocked += 1
            why, reason = "max_auth_failures reached", AWAY_BLOCKED
        else:
            counted = self.peers.enter(address, listener.options)
        key = peer(address)
        if counted is not None and not self._make_room(key):
            self.peers.leave(counted)
            counted = None
            why, reason = "too many connections without CONNECT", AWAY_CONNECTIONS
        if counted is None:
            self.turn_away(listener, address, why, reason)
            return None
        conn = None
        try:
            conn = Connection(broker, listener, transport, address)
            self.arriving.enter(conn, key)
            self.arriving.offer(conn)
            broker.connections[conn] = counted
        except MemoryError:
            self.peers.leave(counted)
            if conn is not None:
                leave(conn)
            raise
        broker.counters.connections_total += 1
        measures = broker.counters.measures
        if measures is not None:
            measures.accepted(listener)
        return conn

    def turn_away(self, listener: Listener, address: str, why: str, reason: int = 0) -> None:
        """Count a connection that is closed before CONNECT; the host calls this for connections that it does not announce.

        `why` is for the log, `reason` for the metrics: one of port.core.wire.reason_codes.
        """
        broker = self._broker
        broker.counters.refused += 1
        listener.refused += 1
        measures = broker.counters.measures
        if measures is not None:
            measures.turned_away(listener, reason)
        broker.client_log.line(2, address, "- %s: %s", address, why)

    def most_arriving(self) -> int:
        """Number of connections that may be without CONNECT at present."""
        most = self._broker.options.max_connections
        return max(self.handshakes, 1, min(most // 2, most + self.handshakes - self.present.count))

    def _make_room(self, key: "Any") -> bool:
        """Whether there is a place for one more connection without CONNECT, of the address `key`.

        If need be the oldest of an address above its share gives way: a genuine client sends CONNECT at once.
        """
        most = self.most_arriving()
        return self.arriving.count < most or self.drop_silent(key, most)

    def drop_silent(self, key: "Any", most: int) -> bool:
        """End the oldest connection without CONNECT of an address above its share of `most`, for one of the address `key`.

        False when there is none.
        """
        owner = self.arriving.find(key, most, self._broker.options.owner_share)
        if owner is None:
            return False
        owner.after.fail(MQTTError(QUOTA_EXCEEDED, NO_PLACE))
        return True

    def lighten(self, conn: Connection) -> None:
        """Bound the bytes kept for clients that are not let in yet, after a change of one, see Connection.expect.

        When they are too many in all, the oldest connection with such bytes ends, of an address above its share. Raises
        MQTTError when that is this connection, or none is found.
        """
        options = self._broker.options
        most = options.max_connecting_bytes
        share = part(most, options.owner_share)
        while conn.early and self.handshake_bytes > most:
            owner = conn.owner
            if owner.weight <= share:
                for owner in self.arriving.owners.values():
                    if owner.weight > share:
                        break
            oldest = conn
            if owner.weight > share:
                oldest = owner.after
                while not oldest.early:
                    oldest = oldest.after
            error = MQTTError(QUOTA_EXCEEDED, "max_connecting_bytes reached")
            if oldest is conn:
                raise error
            oldest.fail(error)

    def attach(self, conn: Connection, session: Session, key: "Any") -> None:
        """The connection of the owner `key` is open: its session gets messages from now on."""
        broker = self._broker
        session.conn = conn
        broker.router.subscriptions.came(session)
        self.connected += 1  # first: `detach` undoes it if memory runs out below
        conn.listener.connected += 1
        measures = broker.counters.measures
        if measures is not None:
            measures.came(conn)
        conn.expect(0)
        leave(conn)
        if key is not None:  # in-process clients take no place
            self.present.enter(conn, key)
            self.present.offer(conn)
        session.out = None if conn.blocked else conn.out
        session.count_in_flight(False)
        broker.session_registry.due.pop(session, None)
        if session.expires_at is not None or session.will_at is not None:
            session.expires_at = session.will_at = None
        broker.session_registry.settle_fast_version(session)
        client_policy.set_fast(conn, session)
        broker.counters.clients_maximum = max(broker.counters.clients_maximum, self.connected)
        if broker.journal is not None:
            broker.journal.attached(session)
        broker.client_log.line(1, conn.address, "%s: connected, MQTT %d", conn, conn.version)
        if broker.watchers is not None:
            broker.watchers.tell("connected", session)
        broker.emit("connect", session)

    def detach(self, conn: Connection, code: int, text: str, was_open: bool) -> None:
        """A connection is over; settle its session's will and expiry [MQTT-3.1.2-8]."""
        broker = self._broker
        counted = broker.connections.pop(conn, None)
        if counted is not None:
            self.peers.leave(counted)
        leave(conn)
        session = conn.session
        was_open = was_open and session is not None and session.conn is conn
        if was_open:
            self.connected -= 1
            conn.listener.connected -= 1
            session.conn = None  # type: ignore[union-attr]
            broker.router.subscriptions.came(session, -1)  # type: ignore[arg-type]
            session.pause()  # type: ignore[union-attr]
            broker.pressure.forget(session, conn)  # type: ignore[arg-type]
            if broker.watchers is not None:
                broker.watchers.tell("taken_over" if code == SESSION_TAKEN_OVER else "disconnected", session)
        try:
            if conn.identity is not None:
                conn.identity.end_attempt(False)
            measures = broker.counters.measures
            if measures is not None:
                measures.went(conn, code, was_open)
            level = 2 if code > UNSPECIFIED_ERROR else 1
            if code == SERVER_SHUTTING_DOWN:  # common to all of them
                level = 0
            elif level > 1 and code not in (KEEP_ALIVE_TIMEOUT, SESSION_TAKEN_OVER):  # which are ordinary
                text = explained(conn, code, text) or text
            broker.client_log.line(level, conn.address, "%s: %s (0x%02x)", conn, text, code)
            if was_open:
                broker.emit("disconnect", session, code)
                if session.expiry >= 0:  # type: ignore[union-attr] # a hook may have ended it
                    broker.session_registry.settle_in_turn(session)  # type: ignore[arg-type]
        except MemoryError:
            broker.out_of_memory()

    def end_silent(self, now: int) -> None:
        """End the connections that have been silent too long, or whose time is over."""
        broker = self._broker
        stuck = []
        looks = now >= self._look_at
        if looks:
            self._look_at = now + broker.options.receiver_patience
        for conn in list(broker.connections):
            session = conn.session
            if looks and session is not None and (session.inflight or session.counted) and session.seems_stuck():
                stuck.append(session)
            identity = conn.identity
            if identity is not None and identity.expires_at is not None and identity.expires_at <= now:
                conn.fail(MQTTError(MAXIMUM_CONNECT_TIME, "the time allowed is over"))
            if conn.held:
                conn.tick(now)
            elif not conn.deadline:
                if conn.silence:
                    conn.deadline = now + conn.silence
            elif now >= conn.deadline:
                if conn.session is None:
                    conn.close(KEEP_ALIVE_TIMEOUT, "no CONNECT within connect_timeout", True)
                else:
                    conn.fail(MQTTError(KEEP_ALIVE_TIMEOUT, "keep alive timeout"))  # [MQTT-3.1.2-22]
        if stuck:
            broker.turns.background(Sweep(broker, stuck, Session.count_stuck, lambda: broker.memory.lacks(0)).go_on)
