"""The types of listeners on TCP: MQTT, MQTT over WebSocket, the HTTP pages."""

from __future__ import annotations

import socket

from port.core.config.listener_types import Http, Tcp, WebSocket
from port.core.web.site import Site
from port.cpython.net.http_transport import HttpTransport
from port.cpython.net.listening_socket import Change, ListeningSocket
from port.cpython.net.transport import WebSocketTransport


class TcpListener(Tcp, ListeningSocket):
    """See port.core.config.listener_types.Tcp."""


class WebSocketListener(WebSocket, ListeningSocket):
    """See port.core.config.listener_types.WebSocket."""

    transport = WebSocketTransport


class HttpListener(Http, ListeningSocket):
    """See port.core.config.listener_types.Http.

    site  what its connections share
    """

    site: Site | None = None

    def client(self, address: str) -> HttpTransport:
        """See ListeningSocket.client."""
        return HttpTransport(self._server, self, address)

    def change(self, prepared: Change) -> None:
        """See ListenerType.change."""
        super().change(prepared)
        settings = self.pages(self.config, _own_names())
        if self.site is None:
            self.site = Site(self._server, self.listener, settings)
            self._server.sites.append(self.site)
        else:
            self.site.change(settings)


def _own_names() -> tuple[str, ...]:
    """What this machine is called in its network."""
    name = socket.gethostname().lower()
    return name, name.partition(".")[0] + ".local"
