"""One client: the Receiver of its connection on one side, the core's Transport on the other.

Three kinds: Client for MQTT over TCP, TLS and Unix sockets, WebSocketClient, and InfoClient for
the HTTP pages.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

from port.core.address import text
from port.core.info import InfoConnection, may_ask
from port.core.websocket import WebSocket
from port.cpython.stream import Receiver, Stream
from port.cpython.tls import peer_certificate

if TYPE_CHECKING:
    from port.core.broker import Broker
    from port.core.codec import Buffer
    from port.core.connection import Connection
    from port.cpython.listener import Entrance
    from port.cpython.server import Server

LINGER = 2.0  # seconds a client has to read what is left and to close its side


class Client(Receiver):
    """A client that speaks MQTT on its connection."""

    __slots__ = ("_server", "_broker", "_entrance", "_address", "_transport", "_conn", "_paused", "_held", "_lingering")

    def __init__(self, server: Server, entrance: Entrance, address: str = "") -> None:
        """`address`: the peer's, if it is known already."""
        self._server = server
        self._broker: Broker = server  # the same, of a type that is compiled
        self._entrance = entrance
        self._address = address
        self._conn: Connection | None = None
        self._paused = False
        self._held = False
        self._lingering: asyncio.TimerHandle | None = None

    # -- its connection ---------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        server = self._server
        listener = self._entrance.listener
        server.sockets += 1
        high = listener.options.outbox_bytes
        self._transport.set_write_buffer_limits(high, high // 4)
        # Sockets whose connection is over but which still linger take room, too.
        if server.sockets <= server.options.max_connections + server.handshakes:
            self._conn = server.accept_connection(self, self._address or peer_address(transport), listener)
        if self._conn is None:
            self._transport.abort()

    def receive(self, data: bytes) -> None:
        self._broker.bytes_received += len(data)
        conn = self._conn
        if conn is not None:
            conn.take(data)
        if self._paused:
            self._push_back()

    def _push_back(self) -> None:
        """It sends but does not read the answers: no more of it until it has read some."""
        if self._transport.get_write_buffer_size() > 2 * self._entrance.listener.options.outbox_bytes:
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        server = self._server
        server.sockets -= 1
        if self._lingering is not None:
            self._lingering.cancel()
        if self._conn is not None:
            self._conn.lost("connection lost" if exc is None else "connection lost: %s" % exc)
            self._conn = None
            server.flush()

    def pause_writing(self) -> None:
        self._paused = True
        if self._conn is not None:
            self._conn.pause_writing()

    def resume_writing(self) -> None:
        self._paused = False
        if self._conn is not None:
            if not self._held:
                self._transport.resume_reading()
            self._conn.resume_writing()
            self._server.flush()

    # -- the core's Transport ---------------------------------------------------------------

    def send(self, chunks: list[Buffer]) -> int:
        """See Transport.send."""
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        transport = self._transport
        if isinstance(transport, Stream):
            transport.write(data)  # compiled, a call without looking it up
        else:
            transport.write(data)
        return len(data)

    def close(self, abort: bool, told: bool) -> None:
        """See Transport.close."""
        transport = self._transport
        if abort:
            transport.abort()
            return
        if not told and not transport.get_write_buffer_size():
            transport.close()
            return
        # Closing at once would answer what the client is still sending with a reset, and it might never
        # read why. So only our half is closed; the socket goes when the client's half does, or in a while.
        self._lingering = asyncio.get_running_loop().call_later(LINGER, transport.abort)
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    def certificate(self) -> dict[str, Any] | None:
        """See Transport.certificate."""
        return peer_certificate(self._transport)

    def hold(self, held: bool) -> None:
        """See Transport.hold."""
        self._held = held
        if held:
            self._transport.pause_reading()
        elif not self._paused:
            self._transport.resume_reading()


class WebSocketClient(Client):
    """A client that speaks MQTT in the binary frames of a WebSocket (clause 6)."""

    __slots__ = ("_socket",)

    def __init__(self, server: Server, entrance: Entrance, address: str = "") -> None:
        super().__init__(server, entrance, address)
        config = entrance.config
        self._socket = WebSocket(config.paths, config.origins, entrance.listener.options.max_packet_size)

    def receive(self, data: bytes) -> None:
        web = self._socket
        payload = web.receive(data)
        if web.out:
            self._transport.write(web.out)
            web.out = b""
        if payload:
            super().receive(payload)
        if self._paused:
            self._push_back()
        if web.closed and self._conn is not None:
            self._conn.lost(web.reason)
            self._server.flush()

    def send(self, chunks: list[Buffer]) -> int:
        """See Transport.send; the size is that of the MQTT packets."""
        data = b"".join(chunks)
        if not self._socket.closed:  # nothing may follow a close frame
            self._transport.write(self._socket.head(len(data)) + data)
        return len(data)

    def close(self, abort: bool, told: bool) -> None:
        """See Transport.close; a close frame goes before."""
        self._transport.write(self._socket.close())
        # What `lost` asks for after the close handshake is an end, not a reset that could overtake the close frame.
        super().close(abort and not self._socket.closed, told or self._socket.closed)


class InfoClient(Receiver):
    """Somebody who asks for one of the info pages."""

    __slots__ = ("_server", "_entrance", "_transport", "_address", "_info", "_deadline", "_counted")

    def __init__(self, server: Server, entrance: Entrance, address: str = "") -> None:
        self._server = server
        self._entrance = entrance
        self._address = address
        self._info: InfoConnection | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._counted = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        listener = self._entrance.listener
        address = self._address or peer_address(transport)
        if listener.connected >= listener.options.max_connections:
            self._turn_away(address, "too many connections")
            return
        if not may_ask(listener, address):
            self._turn_away(address, "not one of those who may be anonymous")
            return
        listener.connected += 1
        self._counted = True
        self._info = InfoConnection(self._server, listener, address, self)
        seconds = listener.options.connect_timeout
        self._deadline = asyncio.get_running_loop().call_later(seconds, self._transport.abort)

    def _turn_away(self, address: str, why: str) -> None:
        self._server.turn_away(self._entrance.listener, address, why)
        self._transport.abort()

    def receive(self, data: bytes) -> None:
        if self._info is not None:
            self._info.receive(data)

    def answer(self, data: bytes) -> None:
        """See port.core.info.Host."""
        self._transport.write(data)
        self._transport.close()

    def certificate(self) -> dict[str, Any] | None:
        """See Transport.certificate."""
        return peer_certificate(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._info is not None:
            self._info.lost()
        if self._counted:
            self._entrance.listener.connected -= 1
        if self._deadline is not None:
            self._deadline.cancel()


def peer_address(transport: Any) -> str:
    """The peer of a transport as text, see address_text."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is not None and sock.family == socket.AF_UNIX:
        return "unix"
    return address_text(transport.get_extra_info("peername"))


def address_text(peer: Any) -> str:
    """A peer's socket address as text, `host:port`, IPv6 in brackets."""
    if not peer:
        return "?"
    return text(peer[0], peer[1])
