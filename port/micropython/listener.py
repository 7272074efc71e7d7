"""A listening socket on MicroPython, and what stands between it and the broker."""

import select
import socket

from port.core import const
from port.core.address import text

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from port.core.listener import Listener
    from port.micropython.link import Link
    from port.micropython.server import Server

_BACKLOG = const(8)


class Entrance:
    """One listener's socket.

    host, port      address it listens on
    listener        the core's side
    tls             None, or the port.micropython.tls.Context of handshakes to come
    paths, origins  of WebSocket, see ListenerConfig
    """

    paths: "tuple[str, ...]" = ()
    origins: "tuple[str, ...]" = ()

    def __init__(self, server: "Server", host: str, port: int, listener: "Listener", tls: "Any" = None) -> None:
        self.host = host
        self.port = port
        self.listener = listener
        self.tls = tls
        self._server = server
        self._sock: "Any" = None

    def place(self) -> str:
        """Where it listens, as text."""
        return text(self.host, self.port)

    def open(self) -> None:
        """Begin to listen. Raises OSError."""
        address = socket.getaddrinfo(self.host, self.port)[0][-1]
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
        self._sock = sock
        self._server.poller.watch(sock, self, select.POLLIN)

    def ready(self, events: int) -> None:
        """Accept one client; before the next one those accepted already can send their CONNECT."""
        try:
            sock, peer = self._sock.accept()
        except OSError:
            return
        try:
            self._server.serve_client(sock, peer, self)
        except Exception:
            sock.close()
            raise

    def failed(self, error: Exception) -> None:
        """What `ready` raised."""
        self._server.out_of_memory()
        self._server.log(2, "-: a client cannot be served: %r", error)

    def close(self) -> None:
        """Listen no more."""
        if self._sock is not None:
            self._server.poller.unwatch(self._sock)
            self._sock.close()
            self._sock = None

    def link(self, sock: "Any") -> "Link":
        """What serves a new client's socket. The kinds that are not plain MQTT are loaded when they are needed."""
        kind = self.listener.kind
        if kind == "websocket":
            from port.micropython.weblink import WebSocketLink

            return WebSocketLink(self._server, sock, self)
        if kind == "http":
            from port.micropython.weblink import InfoLink

            return InfoLink(self._server, sock, self)
        from port.micropython.link import Link

        return Link(self._server, sock)
