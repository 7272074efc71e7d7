"""One client that speaks MQTT over WebSocket, on MicroPython."""

from port.core import const
from port.core.web.websocket import WebSocket, frames
from port.micropython.net.transport import SocketTransport

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from port.core.wire.codec import Buffer
    from port.micropython.net.listening_socket import ListeningSocket
    from port.micropython.server import Server


class WebSocketTransport(SocketTransport):
    """A client that speaks MQTT in the binary frames of a WebSocket (MQTT 5 clause 6).

    Frames are looked at for half a turn, so that the packets in them have the rest; what is left waits for the next one.
    """

    _busy = False  # the core wants no more for now
    _waits = False  # for its turn

    def __init__(self, server: "Server", sock: "Any", entrance: "ListeningSocket") -> None:
        super().__init__(server, sock)
        self._web = WebSocket(entrance.paths, entrance.origins, entrance.listener.options.max_packet_size)

    def start(self, data: bytes) -> None:
        """Take what has come already."""
        self._unframe(data)

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
        self._unframe(buffer[:count])

    def _unframe(self, data: "Buffer") -> None:
        web = self._web
        payload = web.receive(data, self._server.turn >> 1)
        if web.out:
            self._write(web.out)
            web.out = b""
        if payload:
            self.conn.take(payload)
        if web.closed and self.conn is not None:
            web.end(self.conn)
        elif web.more:
            self._wait()

    def _wait(self) -> None:
        if not self._waits:
            self._waits = True
            self._server.give_turn(self._turn)
            super().pause_reading()

    def _turn(self) -> bool:
        """Others have been served: go on with the frames that are left. A job, see Broker.give_turn."""
        self._waits = False
        if self.conn is not None and not self._busy:
            try:
                self._unframe(b"")
            except Exception as e:
                self.failed(e)
            self._server.spent = self._server.turn
            if not self._web.more and not self._busy:
                super().resume_reading()
        return False

    def pause_reading(self) -> None:
        """See Transport.pause_reading."""
        self._busy = True
        super().pause_reading()

    def resume_reading(self) -> None:
        """See Transport.resume_reading; what has come already is first."""
        self._busy = False
        if self._web.more:
            self._wait()
        else:
            super().resume_reading()

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
