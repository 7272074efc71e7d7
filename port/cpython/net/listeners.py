"""The types of listeners on TCP: MQTT, MQTT over WebSocket, the HTTP pages."""

from __future__ import annotations

import socket

from port.core.config.listener_types import Http, Tcp, WebSocket
from port.cpython.net.listening_socket import Change, ListeningSocket
from port.cpython.net.transport import HttpTransport, WebSocketTransport


class TcpListener(Tcp, ListeningSocket):
    """See port.core.config.listener_types.Tcp."""


class WebSocketListener(WebSocket, ListeningSocket):
    """See port.core.config.listener_types.WebSocket."""

    transport = WebSocketTransport


class HttpListener(Http, ListeningSocket):
    """See port.core.config.listener_types.Http."""

    transport = HttpTransport

    def change(self, prepared: Change) -> None:
        """See ListenerType.change."""
        super().change(prepared)
        self.hosts = self.config.settings["hosts"] + _own_names()


def _own_names() -> tuple[str, ...]:
    """What this machine is called in its network."""
    name = socket.gethostname().lower()
    return name, name.partition(".")[0] + ".local"
