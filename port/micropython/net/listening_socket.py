"""A listening socket on MicroPython, and what stands between it and the broker."""

import asyncio
import errno
import select
import socket

from port.core import const
from port.core.limits.ip_address import text

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from port.core.limits.listener import Listener
    from port.micropython.net.transport import SocketTransport
    from port.micropython.server import Server

_BACKLOG = const(24)  # as many as a board has connections
_PATIENCE = const(300)  # ms: lwIP keeps what has come before `accept` until its next timer, 250 ms at most


class ListeningSocket:
    """One listener's socket: what port.core.config.listener_types.ListenerType has, without what only a configuration needs.

    host, port      address it listens on
    listener        the core's side
    tls             None, or the port.micropython.net.tls.Context of handshakes to come
    paths, origins  of WebSocket, see ListenerConfig
    pages           of HTTP, see port.core.config.listener_types.Http.pages
    site            what its connections share, from its first connection on; None before
    """

    paths: "tuple[str, ...]" = ()
    origins: "tuple[str, ...]" = ()
    pages: "Any" = None
    site: "Any" = None  # a port.core.web.site.Site

    def __init__(self, server: "Server", host: str, port: int, listener: "Listener", tls: "Any" = None) -> None:
        self.host = host
        self.port = port
        self.listener = listener
        self.tls = tls
        self._server = server
        self._sock: "Any" = None
        self._accepted = 0  # when the last client was, ms

    @property
    def addresses(self) -> "list[tuple[str, int]]":
        """Host and port."""
        return [(self.host, self.port)]

    def open(self) -> None:
        """Begin to listen. Raises OSError naming the address."""
        try:
            self._open()
        except OSError as e:
            self.close()
            what = "the port is in use" if e.errno == errno.EADDRINUSE else repr(e)
            raise OSError(e.errno, "cannot listen on %s: %s" % (text(self.host, self.port), what))

    def _open(self) -> None:
        address = socket.getaddrinfo(self.host, self.port)[0][-1]
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_KEEPALIVE"):  # boards have none; the sockets it accepts have it, too
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._sock = sock
        sock.bind(address)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
        self._server.poller.watch(sock, self, select.POLLIN)

    def ready(self, events: int) -> None:
        """Accept one client; before the next one those accepted already can send their CONNECT.

        When there is no place for it before they do, it waits: what has come of theirs may not be seen yet.
        """
        server = self._server
        now = server.clock()
        registry = server.connection_registry
        if now - self._accepted < _PATIENCE and registry.arriving.count >= registry.most_arriving():
            asyncio.create_task(self._wait())
            server.poller.change(self._sock, 0)  # there was memory for who changes it back
            return
        self._accepted = now
        try:
            sock, peer = self._sock.accept()
        except OSError:
            return
        try:
            server.serve_client(sock, peer, self)
        except Exception:
            sock.close()
            raise

    async def _wait(self) -> None:
        await asyncio.sleep_ms(_PATIENCE)
        if self._sock is not None:
            self._server.poller.change(self._sock, select.POLLIN)

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

    def link(self, sock: "Any") -> "SocketTransport":
        """What serves a new client's socket. The kinds that are not plain MQTT are loaded when they are needed."""
        kind = self.listener.kind
        if kind == "websocket":
            from port.micropython.net.websocket_transport import WebSocketTransport

            return WebSocketTransport(self._server, sock, self)
        if kind == "http":
            if self.site is None:  # the first connection loads what HTTP needs
                from port.core.web.site import Site

                self.site = Site(self._server, self.listener, self.pages)
                self._server.sites.append(self.site)
            from port.micropython.net.http_transport import HttpTransport

            return HttpTransport(self._server, sock, self)
        from port.micropython.net.transport import SocketTransport

        return SocketTransport(self._server, sock)
