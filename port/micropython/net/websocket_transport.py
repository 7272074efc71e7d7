"""One client that speaks MQTT over WebSocket, on MicroPython."""

from port.core import const
from port.core.web.websocket import frames
from port.core.web.websocket_turns import TurnedWebSocket
from port.micropython.net.transport import SocketTransport

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from port.core.wire.codec import Buffer
    from port.micropython.net.listening_socket import ListeningSocket
    from port.micropython.server import Server


class WebSocketTransport(SocketTransport):
    """A client that speaks MQTT in the binary frames of a WebSocket (MQTT 5 clause 6).

    See port.core.web.websocket_turns.Host for what it does for that.
    """

    def __init__(self, server: "Server", sock: "Any", entrance: "ListeningSocket") -> None:
        super().__init__(server, sock)
        most = entrance.listener.options.max_packet_size
        self._web = TurnedWebSocket(server, self, entrance.paths, entrance.origins, most)

    def receive(self, data: "Buffer") -> None:
        """Take what came from the socket."""
        self._web.feed(data)

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
        self.receive(buffer[:count])

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
