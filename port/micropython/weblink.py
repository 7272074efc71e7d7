"""Sockets that speak HTTP first: MQTT over WebSocket, and the info pages."""

import select

from port.core import const
from port.core.info import InfoConnection, may_ask
from port.core.websocket import WebSocket
from port.micropython.link import Link

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.codec import Buffer
    from port.core.listener import Listener
    from port.micropython.listener import Entrance
    from port.micropython.server import Server

_POLLOUT = select.POLLOUT
_BROKEN = const(1)  # Link.deadline


class WebSocketLink(Link):
    """A client that speaks MQTT in the binary frames of a WebSocket (MQTT 5 clause 6)."""

    def __init__(self, server: "Server", sock: "Any", entrance: "Entrance") -> None:
        super().__init__(server, sock)
        self._web = WebSocket(entrance.paths, entrance.origins, entrance.listener.options.max_packet_size)

    def ready(self, events: int) -> None:
        """See Link.ready."""
        self._ready(events)

    def _read(self) -> None:
        server = self._server
        web = self._web
        count = self._sock.readinto(server.buffer)
        if not count:
            if count == 0:
                self._gone("connection closed by the client")
            return
        server.bytes_received += count
        payload = web.receive(server.view[:count])
        if web.out:
            self._write(web.out)
            web.out = b""
        if payload:
            self.conn.take(payload)
        if web.closed and self.conn is not None:
            self.conn.lost(web.reason)

    def send(self, chunks: "list[Buffer]") -> int:
        """See Link.send; the size is that of the MQTT packets."""
        size = 0
        for chunk in chunks:
            size += len(chunk)
        if not self._web.closed:  # nothing may follow a close frame
            chunks.insert(0, self._web.head(size))
            super().send(chunks)
        return size

    def close(self, abort: bool, told: bool) -> None:
        """See Link.close; a close frame goes before."""
        try:
            self._write(self._web.close())
        except (OSError, MemoryError) as e:
            self._server.lose(self, e)
        # What `lost` asks for after the close handshake is an end, not a reset that could overtake the close frame.
        super().close(abort and not self._web.closed, told or self._web.closed)


class InfoLink(Link):
    """Somebody who asks for one of the info pages; there is no MQTT connection."""

    def __init__(self, server: "Server", sock: "Any", entrance: "Entrance") -> None:
        super().__init__(server, sock)
        self._listener = entrance.listener
        self._info: "Optional[InfoConnection]" = None
        self.deadline = server.clock() + entrance.listener.options.connect_timeout * 1000
        entrance.listener.connected += 1

    def begin(self, address: str, listener: "Listener") -> bool:
        """See Link.begin."""
        if listener.connected > listener.options.max_connections:
            self._server.turn_away(listener, address, "too many connections")
        elif not may_ask(listener, address):
            self._server.turn_away(listener, address, "not one of those who may be anonymous")
        else:
            self._info = InfoConnection(self._server, listener, address, self)
            return True
        return False

    def ready(self, events: int) -> None:
        """See Link.ready."""
        if self.deadline == _BROKEN:
            return
        if events & _POLLOUT and self._ring is not None:
            self._drain()
        elif self._info is None:
            self._discard()
        else:
            count = self._sock.readinto(self._server.buffer)
            if count:
                self._info.receive(self._server.view[:count])
            elif count == 0:
                self._finish()

    def answer(self, data: bytes) -> None:
        """See port.core.info.Host."""
        self._info = None
        self.send([data])
        self.close(False, True)

    def _finish(self) -> None:
        if self._info is not None:
            self._info.lost()
        if self._sock is not None:
            self._listener.connected -= 1
        super()._finish()
