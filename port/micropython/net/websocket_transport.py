"""Sockets that speak HTTP first: MQTT over WebSocket, and the info pages."""

import select

from port.core import const
from port.core.web.http_pages import InfoConnection, new_visitor
from port.core.web.websocket import frames
from port.core.web.websocket_turns import TurnedWebSocket
from port.micropython.net.transport import SocketTransport

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.wire.codec import Buffer
    from port.core.limits.listener import Listener
    from port.micropython.net.listening_socket import ListeningSocket
    from port.micropython.server import Server

_POLLOUT = select.POLLOUT
_BROKEN = const(1)  # SocketTransport.deadline


class WebSocketTransport(SocketTransport):
    """A client that speaks MQTT in the binary frames of a WebSocket (MQTT 5 clause 6).

    See port.core.web.websocket_turns.Host for what it does for that.
    """

    def __init__(self, server: "Server", sock: "Any", entrance: "ListeningSocket") -> None:
        super().__init__(server, sock)
        most = entrance.listener.options.max_packet_size
        self._web = TurnedWebSocket(server, self, entrance.paths, entrance.origins, most)

    def ready(self, events: int) -> None:
        """See SocketTransport.ready."""
        self._ready(events)

    def _read(self) -> None:
        server = self._server
        buffer = server.unused()
        if self.conn is None:  # what was sent to make room for it has ended this one
            return
        count = self._receive(buffer)
        if not count:
            if count == 0:
                self._gone("connection closed by the client")
            return
        server.took(count, 0)
        self._web.feed(buffer[:count])

    def write(self, data: bytes) -> None:
        """See Host."""
        self._write(data)

    def take(self, payload: bytes) -> None:
        """See Host."""
        self.conn.take(payload)

    def ended(self) -> None:
        """See Host."""
        if self.conn is not None:
            self._web.end(self.conn)

    def go_on(self) -> None:
        """See Host."""
        if self.conn is not None:
            try:
                self._web.feed(b"")
            except Exception as e:
                self.failed(e)

    def emptied(self) -> None:
        """See Host."""

    def hold(self) -> None:
        """See Host."""
        super().pause_reading()

    def release(self) -> None:
        """See Host."""
        super().resume_reading()

    def pause_reading(self) -> None:
        """See Transport.pause_reading."""
        self._web.pause()

    def resume_reading(self) -> None:
        """See Transport.resume_reading."""
        self._web.resume()

    def send(self, chunks: "list[Buffer]") -> int:
        """See SocketTransport.send; the size is that of the MQTT packets."""
        size = 0
        for chunk in chunks:
            size += len(chunk)
        if not self._web.closed:  # nothing may follow a close frame
            self._send(frames(chunks), 0)
        return size

    def close(self, abort: bool, told: bool) -> None:
        """See SocketTransport.close; a close frame goes before."""
        try:
            self._write(self._web.close())
        except (OSError, MemoryError) as e:
            self._server.lose(self, e)
        # What `lost` asks for after the close handshake is an end, not a reset that could overtake the close frame.
        super().close(abort and not self._web.closed, told or self._web.closed)


class HttpTransport(SocketTransport):
    """Somebody who asks for one of the info pages; there is no MQTT connection."""

    def __init__(self, server: "Server", sock: "Any", entrance: "ListeningSocket") -> None:
        super().__init__(server, sock)
        self._hosts = entrance.hosts
        self._info: "Optional[InfoConnection]" = None
        self.deadline = server.clock() + entrance.listener.options.connect_timeout * 1000

    def begin(self, address: str, listener: "Listener") -> bool:
        """See SocketTransport.begin."""
        self._info = new_visitor(self._server, listener, address, self, self._hosts)
        return self._info is not None

    def ready(self, events: int) -> None:
        """See SocketTransport.ready."""
        if self.deadline == _BROKEN:
            return
        if events & _POLLOUT and self._ring is not None:
            self._drain()
        elif self._info is None or self._info.done:
            self._discard()
        else:
            buffer = self._server.unused()
            count = self._sock.readinto(buffer)
            if count:
                self._info.receive(buffer[:count])
            elif count == 0:
                self._finish()

    def answer(self, chunks: "list[Buffer]") -> None:
        """See port.core.web.http_pages.Host."""
        self.send(chunks)
        self.close(False, True)

    def _finish(self) -> None:
        if self._info is not None:
            self._info.lost()
        super()._finish()
