"""One connection of an http listener on MicroPython: the socket, and the Host of core's HttpConnection."""

import select

from port.core import const
from port.core.wire.reason_codes import AWAY_CONNECTIONS
from port.micropython.net.lwip import write
from port.micropython.net.transport import SocketTransport

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.wire.codec import Buffer
    from port.core.limits.listener import Listener
    from port.core.web.http_connection import HttpConnection
    from port.micropython.net.listening_socket import ListeningSocket
    from port.micropython.server import Server

_POLLIN = select.POLLIN
_POLLOUT = select.POLLOUT
_BROKEN = const(1)  # SocketTransport.deadline
_PATIENCE = const(5000)  # ms in which the client has to take the rest of an answer behind which the connection is closed


class HttpTransport(SocketTransport):
    """A client of HTTP, until it asks for MQTT over WebSocket.

    The socket leaves at most a piece of an answer, and the next piece is made when that has gone: so it needs no ring.
    """

    _rest: "Optional[Buffer]" = None  # bytes that the socket has not taken
    _last = False  # the socket is to be closed when it has

    def __init__(self, server: "Server", sock: "Any", entrance: "ListeningSocket") -> None:
        super().__init__(server, sock)
        self._entrance = entrance
        self._http: "Optional[HttpConnection]" = None

    def begin(self, address: str, listener: "Listener") -> bool:
        """See SocketTransport.begin. Connections of HTTP never take the last socket, and at most two fifths of all."""
        server = self._server
        site = self._entrance.site
        site.most = max(server.places * 2 // 5, 1)
        if len(server.links) >= server.places and not site.make_room():
            server.connection_registry.turn_away(listener, address, "no socket is left", AWAY_CONNECTIONS)
            return False
        self._http = site.visit(address, self)
        return self._http is not None

    # -- from the poller -------------------------------------------------------------------

    def ready(self, events: int) -> None:
        """See SocketTransport.ready."""
        if self.deadline == _BROKEN:
            return
        if events & _POLLOUT and self._rest is not None:
            self._drain()
        if events & ~_POLLOUT and self._sock is not None:
            if self._http is None or self._http.done:
                self._discard()
            elif events & ~(_POLLIN | _POLLOUT):
                self._finish()
            elif not self._held:
                buffer = self._server.unused()
                count = self._sock.readinto(buffer)
                if count:
                    self._http.receive(buffer[:count])
                elif count == 0:
                    self._finish()

    def _drain(self) -> None:
        rest: "Buffer" = self._rest  # type: ignore[assignment]
        count = write(self._sock, rest) or 0
        if count < len(rest):
            self._rest = memoryview(rest)[count:]
            return
        self._rest = None
        if self._last:
            self.close(False, True)
            return
        self._watch()
        if self._http is not None:
            self._http.resume_writing()

    # -- for core's HttpConnection -----------------------------------------------------------

    def send(self, data: bytes) -> bool:  # type: ignore[override]
        """See Host.send."""
        try:
            count = write(self._sock, data) or 0
        except OSError as e:
            self._server.lose(self, e)
            return False
        if count < len(data):
            self._rest = memoryview(data)[count:]
            self._watch()
        return self._rest is None

    def close(self, abort: bool, told: bool) -> None:
        """See Transport.close."""
        if self._rest is None or abort:
            super().close(abort, told)
        else:
            self._last = True
            self.deadline = self._server.clock() + _PATIENCE

    def upgrade(self, data: bytes) -> None:
        """See Host.upgrade."""
        from port.micropython.net.websocket_transport import WebSocketTransport

        server = self._server
        sock = self._sock
        address = self._http.address  # type: ignore[union-attr]
        client = WebSocketTransport(server, sock, self._entrance)
        server.links[client] = True
        self._sock = self._http = None
        try:
            self._finish()
            server.poller.watch(sock, client, _POLLIN)
            if client.begin(address, self._entrance.listener):
                client.receive(data)
            else:
                client.cut()
        except Exception:  # nobody else knows the client yet, who has the socket
            client.cut()
            raise

    def _watch(self) -> None:
        events = 0 if self._held else _POLLIN
        if self._rest is not None:
            events |= _POLLOUT
        self._server.poller.change(self._sock, events)

    def _gone(self, text: str) -> None:
        self._finish()

    def _finish(self) -> None:
        self._rest = None
        if self._http is not None:
            self._http.lost()
        super()._finish()
