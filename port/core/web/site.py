"""The common part of an http listener's connections: places, limits, and roles.

Browsers keep connections open for later requests, and a board has few sockets. So places are bounded, and an idle connection is
closed when another client needs its place, also one of MQTT: see `make_room`.
"""

from port.core import const
from port.core.wire.reason_codes import AWAY_ADDRESS, AWAY_ANONYMOUS, AWAY_CONNECTIONS, AWAY_GAVE_WAY, AWAY_LATE, AWAY_STOPPING
from port.core.limits.ip_address import is_loopback, peer
from port.core.limits.places import Places
from port.core.auth.authenticator import fits, may_be_anonymous
from port.core.web.http_connection import HttpConnection
from port.core.web.routes import READ, WRITE

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

    from port.core.limits.listener import Listener
    from port.core.auth.authenticator import Identity
    from port.core.config.listener_types import PagesSettings
    from port.core.web.http_connection import Host
    from port.core.web.routes import Routes
    from port.core.broker import Broker

_PIECE = const(65536)  # bytes of an answer that are sent at a time, where clients may leave as much unread


class Site:
    """One listener's side of the pages.

    routes        see port.core.web.routes
    hosts         names by which requests may name it, beside addresses and localhost
    paths         paths of MQTT over WebSocket, see port.core.web.websocket
    origins       web pages that may connect to these
    most          bound of connections beside the listener's max_connections, 0: none; a host with few sockets sets it
    body_timeout  ms within which a body has to arrive
    idle_timeout  ms after which a connection without a request is closed
    connections   the open ones
    early         bytes they hold, those of bodies of clients that are let in aside
    """

    def __init__(self, broker: "Broker", listener: "Listener", settings: "PagesSettings") -> None:
        """`settings`: see port.core.config.listener_types.Http.pages."""
        self.broker = broker
        self.listener = listener
        self.routes: "Routes" = broker.find_routes()
        self.connections: "dict[HttpConnection, bool]" = {}
        self.most = 0
        self.early = 0
        self.places = Places(listener.options.max_connections, broker.options.owner_share)
        self.change(settings)

    def change(self, settings: "PagesSettings") -> None:
        """Take over another configuration."""
        self.hosts, self.paths, self.origins, self._writers, self._max_body, body_timeout, idle_timeout = settings
        self.body_timeout = body_timeout * 1000
        self.idle_timeout = idle_timeout * 1000

    @property
    def max_body(self) -> int:
        """Bytes of a request's body; the listener's options may change after `change`."""
        return self._max_body or self.listener.options.max_packet_size // 4

    @property
    def piece(self) -> int:
        """Bytes of an answer that are made, and sent, at a time."""
        return min(self.listener.options.outbox_bytes // 2, _PIECE)

    # -- connections -----------------------------------------------------------------------------

    def visit(self, address: str, host: "Host") -> "Optional[HttpConnection]":
        """A client has connected: its connection, to be told when it is `lost`; None when it is turned away.

        `address`: the peer's, `host:port`.
        """
        broker = self.broker
        listener = self.listener
        counted = None
        limit = listener.options.max_connections
        most = min(self.most or limit, limit)
        full = len(self.connections) >= most or listener.connected >= limit
        key = peer(address)
        if not self.may_ask(address):
            why, reason = "not one of those who may be anonymous", AWAY_ANONYMOUS
        elif full and not self.make_room(key, most):
            why, reason = "max_connections reached", AWAY_CONNECTIONS
        else:
            why, reason = "max_connections_per_address reached", AWAY_ADDRESS
            counted = broker.connection_registry.peers.enter(address, listener.options)
        if counted is None:
            broker.connection_registry.turn_away(listener, address, why, reason)
            return None
        conn = HttpConnection(self, address, host, counted)
        self.places.enter(conn, key)
        self.places.offer(conn)
        self.connections[conn] = True
        listener.connected += 1
        return conn

    def may_ask(self, address: str) -> bool:
        """False for clients that no request could let in: they can be turned away at once."""
        listener = self.listener
        return (
            bool(listener.authenticators) or self.routes.identify is not None
            or is_loopback(address) or may_be_anonymous(listener, address)
        )  # fmt: skip

    def role(self, identity: "Identity") -> str:
        """The role of a client that the authenticators have let in, by the listener's `writers`."""
        user = identity.user
        if user is None and identity.authenticator is not None:
            user = b"*"  # authenticated without a user name
        for pattern in self._writers:
            if fits(pattern, user):
                return WRITE
        return READ

    def make_room(self, key: "object" = None, most: int = 0) -> bool:
        """Close the connection that has been idle for the longest time; False without an idle one.

        `most` and `key` make room for an address when `most` are open and none is idle: then the oldest connection of an address
        above its share is closed.
        """
        longest = None
        for conn in self.connections:
            if conn.is_idle() and (longest is None or conn.deadline < longest.deadline):
                longest = conn
        if longest is None and most:
            owner = self.places.find(key, most, self.broker.options.owner_share)
            if owner is not None and owner.key != key:
                longest = owner.after
        if longest is None:
            return False
        longest.give_way("another connection needs the place", AWAY_GAVE_WAY)
        return True

    # -- time ----------------------------------------------------------------------------------

    def tick(self, now: int) -> None:
        """Close the connections whose time is over, go on with answers after their pauses; call it about once a second."""
        if self.connections:
            for conn in list(self.connections):
                if conn.deadline and now >= conn.deadline:
                    conn.give_way("not ready in time", AWAY_LATE)
                elif conn.wakes_at and now >= conn.wakes_at:
                    conn.wake()

    def close(self) -> None:
        """Close all connections."""
        for conn in list(self.connections):
            conn.give_way("the broker stops", AWAY_STOPPING)
