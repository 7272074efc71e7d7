"""One connection of an http listener: the Receiver of its socket on one side, the Host of core's HttpConnection on the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from port.core.limits.ip_address import peer
from port.cpython.net.stream import Receiver
from port.cpython.net.tls import peer_certificate
from port.cpython.net.transport import Leaving, WebSocketTransport

if TYPE_CHECKING:
    from port.core.web.http_connection import HttpConnection
    from port.cpython.net.listeners import HttpListener
    from port.cpython.server import Server


class HttpTransport(Receiver):
    """A client of HTTP, until it asks for MQTT over WebSocket.

    key  of its address: addresses are served in turn when it takes long to serve all
    """

    __slots__ = ("key", "_server", "_entrance", "_address", "_transport", "_http", "_inner", "_full", "_held", "_leaving")

    def __init__(self, server: Server, entrance: HttpListener, address: str) -> None:
        self.key: Any = peer(address)
        self._server = server
        self._entrance = entrance
        self._address = address
        self._http: HttpConnection | None = None
        self._inner: WebSocketTransport | None = None
        self._full = False  # the socket has not taken all
        self._held = False  # reading is paused
        self._leaving: Leaving | None = None

    # -- its connection ---------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """See Receiver."""
        self._transport = transport
        transport.set_write_buffer_limits(0, 0)  # the next piece is made when the last one has gone
        site = self._entrance.site
        self._http = None if site is None else site.visit(self._address, self)
        if self._http is None:
            transport.abort()

    def receive(self, data: bytes) -> None:
        """See Receiver."""
        if self._inner is not None:
            self._inner.receive(data)
        elif self._http is not None:
            self._http.receive(data)

    def pause_writing(self) -> None:
        """See Receiver."""
        self._full = True
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """See Receiver."""
        self._full = False
        if self._inner is not None:
            self._inner.resume_writing()
        elif self._http is not None:
            if not self._held:
                self._transport.resume_reading()
            self._http.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """See Receiver."""
        if self._leaving is not None:
            self._server.anteroom.leave(self._leaving)
        if self._inner is not None:
            self._inner.connection_lost(exc)
        elif self._http is not None:
            self._http.lost()

    # -- for core's HttpConnection --------------------------------------------------------------

    def send(self, data: bytes) -> bool:
        """See Host.send."""
        self._transport.write(data)
        return not self._full

    def close(self, abort: bool, told: bool) -> None:
        """See Transport.close."""
        transport = self._transport
        if abort:
            transport.abort()
            return
        leaving = Leaving(self._address, transport)
        if not told or not transport.can_write_eof():
            transport.close()
            # What is unsent waits for a client that may never read it.
            if transport.get_write_buffer_size():
                if self._server.anteroom.enter(leaving):
                    self._leaving = leaving
                else:
                    transport.abort()
            return
        # Closed at once, a socket with something unread would answer with a reset, which may overtake the answer.
        if not self._server.anteroom.enter(leaving):
            transport.abort()
            return
        self._leaving = leaving
        try:
            transport.write_eof()
            transport.resume_reading()
        except OSError:  # an asyncio transport finds that the peer has reset it
            transport.abort()

    def pause_reading(self) -> None:
        """See Transport.pause_reading."""
        self._held = True
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See Transport.resume_reading."""
        self._held = False
        self._transport.resume_reading()

    def upgrade(self, data: bytes) -> None:
        """See Host.upgrade."""
        self._inner = inner = WebSocketTransport(self._server, self._entrance, self._address)
        self._http = None
        inner.connection_made(self._transport)
        if self._held:  # behind a page that the client was slow to take
            self.resume_reading()
        inner.receive(data)

    def certificate(self) -> dict[str, Any] | None:
        """See Transport.certificate."""
        return peer_certificate(self._transport)
