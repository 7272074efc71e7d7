"""A listening socket on MicroPython, and what stands between it and the broker."""

import select
import socket

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.listener_config import ListenerConfig
    from port.core.listener import Listener
    from port.micropython.link import Link
    from port.micropython.server import Server
    from port.micropython.tls import Context

_BACKLOG = const(8)


class Entrance:
    """One listener's socket.

    config    as configured
    listener  the core's side
    tls       None, or the port.micropython.tls.Context of handshakes to come
    """

    def __init__(self, server: "Server", config: "ListenerConfig", listener: "Listener", tls: "Any") -> None:
        self.config = config
        self.listener = listener
        self.tls = tls
        self._server = server
        self._sock: "Any" = None

    def open(self) -> None:
        """Begin to listen. Raises OSError."""
        address = socket.getaddrinfo(self.config.host, self.config.port)[0][-1]
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
        kind = self.config.type
        if kind == "websocket":
            from port.micropython.weblink import WebSocketLink

            return WebSocketLink(self._server, sock, self)
        if kind == "http":
            from port.micropython.weblink import InfoLink

            return InfoLink(self._server, sock, self)
        from port.micropython.link import Link

        return Link(self._server, sock, self)


def check(config: "ListenerConfig") -> None:
    """Raise ValueError for a listener that this firmware cannot serve."""
    if config.type == "unix" or config.proxy_protocol or config.trusted_proxies:
        raise ValueError("listener %s: Unix sockets and PROXY protocol are for CPython only" % config.id)
    if not config.port:  # nobody could be told which one it is
        raise ValueError("listener %s: port must be from 1 to 65535, not 0" % config.id)
    if config.type == "websocket":
        import hashlib

        if not hasattr(hashlib, "sha1"):
            raise ValueError("listener %s: WebSocket needs SHA-1, and this firmware's hashlib has none" % config.id)


def context(config: "ListenerConfig", given: "Any" = None) -> "Optional[Context]":
    """The TLS context a listener asks for, around the SSLContext `given` if that is one. Raises ValueError."""
    if config.tls is None:
        return None
    from port.micropython.tls import Context, server_context

    return server_context(config.tls) if given is None or isinstance(given, dict) else Context(given)
