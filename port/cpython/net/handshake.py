"""A connection that has to say more before it is a client's: who is behind the proxy, or what TLS asks for.

It stands between a connection and its client, and stays there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from port.core.wire.reason_codes import AWAY_BLOCKED, AWAY_CONNECTIONS
from port.core.limits.ip_address import is_loopback, peer
from port.cpython.net import proxy_protocol
from port.cpython.net.stream import Receiver
from port.cpython.net.transport import LINGER

if TYPE_CHECKING:
    from port.cpython.net.listening_socket import ListeningSocket
    from port.cpython.server import Server


class NewReceiver(Receiver):
    """A Receiver with one of the server's places for connections that are no clients yet, see port.cpython.net.anteroom."""

    __slots__ = ("key", "deadline", "_server", "_entrance", "_address", "_transport", "_inner", "_over")

    def __init__(self, server: Server, entrance: ListeningSocket, address: str, deadline: float) -> None:
        """`address`: the peer's, as far as it is known; `deadline`: see Newcomer."""
        self.key = peer(address)
        self.deadline = deadline
        self._server = server
        self._entrance = entrance
        self._address = address
        self._inner: Receiver | None = None  # the client, or what else comes before it
        self._over = False  # nothing that comes is of interest any more

    def connection_made(self, transport: Any) -> None:
        """Take a place, or close when there is none."""
        self._transport = transport
        if not self._server.anteroom.enter(self):
            self.give_way("too many connections without CONNECT", AWAY_CONNECTIONS)

    def give_way(self, why: str, reason: int) -> None:
        """See Newcomer."""
        self._turn_away(why, reason)
        self._transport.abort()

    def _turn_away(self, why: str, reason: int = 0) -> None:
        if not self._over:
            self._over = True
            self._server.connection_registry.turn_away(self._entrance.listener, self._address, why, reason)

    def _refuse(self, why: str, reason: int = 0) -> None:
        """Close, but so that what was written arrives: a socket closed with something unread sends a reset, which overtakes."""
        self._turn_away(why, reason)
        transport = self._transport
        if transport.can_write_eof():
            transport.write_eof()
            transport.resume_reading()
            self.deadline = min(self.deadline, asyncio.get_running_loop().time() + LINGER)
        else:
            transport.close()

    def _begin(self, inner: Receiver, transport: Any) -> None:
        """What was to be done is done."""
        self._server.anteroom.leave(self)
        self._inner = inner
        inner.connection_made(transport)

    def step(self) -> None:
        """See Newcomer."""

    def pause_writing(self) -> None:
        """See Receiver."""
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """See Receiver."""
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """See Receiver."""
        if self._inner is not None:
            self._inner.connection_lost(exc)
        else:
            self._server.anteroom.leave(self)
            self._turn_away("closed before it was ready" if exc is None else str(exc))


class Proxied(NewReceiver):
    """Waits for a PROXY header. Until then it counts for the proxy, whose connections cannot be told apart."""

    __slots__ = ("_held",)

    def __init__(self, server: Server, entrance: ListeningSocket, address: str, deadline: float) -> None:
        super().__init__(server, entrance, address, deadline)
        self._held = b""

    def receive(self, data: bytes) -> None:
        """See Receiver."""
        if self._inner is not None:
            self._inner.receive(data)
            return
        if self._over:
            return
        held = self._held + data
        try:
            header = proxy_protocol.parse(held)
        except ValueError as e:
            self._refuse(str(e))
            return
        if header is None:
            self._held = held
            return
        self._held = b""
        size, told = header
        address = _told(told, self._address)
        if self._server.connection_registry.peers.blocked(address, self._server.clock()):
            self._address = address
            self._refuse("max_auth_failures reached", AWAY_BLOCKED)
            return
        self._begin(self._entrance.receiver(address, self.deadline), self._transport)
        self.key = peer(address)  # whose turn it is now, see port.cpython.net.epoll
        if size < len(held):
            self.receive(held[size:])


def _told(told: str | None, address: str) -> str:
    """The client's address: that in the PROXY header, if it has any, else the socket's."""
    if told is None:
        return address
    # The proxy means its own machine then, whose clients have no rights on ours.
    return proxy_protocol.UNKNOWN if is_loopback(told) and not is_loopback(address) else told
