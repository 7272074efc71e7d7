"""One client: the Receiver of its connection on one side, the core's Transport on the other.

Two kinds: SocketTransport for MQTT over TCP, TLS and Unix sockets, and WebSocketTransport. Connections of HTTP have
port.cpython.net.http_transport.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from port.core.wire.reason_codes import QUOTA_EXCEEDED, MQTTError
from port.core.limits.ip_address import peer, text
from port.core.messages.message import WHOLE
from port.core.web.websocket_turns import TurnedWebSocket
from port.cpython.net.stream import Receiver, Stream
from port.cpython.net.tls import peer_certificate

if TYPE_CHECKING:
    from port.core.wire.codec import Buffer
    from port.core.protocol.connection import Connection
    from port.core.broker import Broker
    from port.cpython.net.listening_socket import ListeningSocket
    from port.cpython.server import Server

LINGER = 2.0  # seconds a client has to read what is left and to close its side


class Leaving:
    """A connection that is over but for what the client has still to read, see port.cpython.net.anteroom.Newcomer."""

    __slots__ = ("key", "deadline", "_transport")

    def __init__(self, address: str, transport: Any) -> None:
        self.key: Any = peer(address)
        self.deadline = asyncio.get_running_loop().time() + LINGER
        self._transport = transport

    def give_way(self, why: str, reason: int) -> None:
        """It has had its time, or its address more than its share."""
        self._transport.abort()

    def step(self) -> None:
        """There is none."""


class SocketTransport(Receiver):
    """A client that speaks MQTT on its connection."""

    __slots__ = ("_server", "_broker", "_entrance", "_address", "_transport", "_conn", "_paused", "_held", "_lingering")

    def __init__(self, server: Server, entrance: ListeningSocket, address: str) -> None:
        """`address`: the peer's."""
        self._server = server
        self._broker: Broker = server  # the same, of a type that is compiled
        self._entrance = entrance
        self._address = address
        self._conn: Connection | None = None
        self._paused = False
        self._held = False
        self._lingering: Leaving | None = None

    @property
    def key(self) -> Any:
        """Who has its place, see port.core.limits.places: they are served in turn when it takes long to serve all."""
        owner = None if self._conn is None else self._conn.owner
        return b"" if owner is None else owner.key

    # -- its connection ---------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        server = self._server
        listener = self._entrance.listener
        server.sockets += 1
        high = listener.options.outbox_bytes
        self._transport.set_write_buffer_limits(high, high // 4)
        self._conn = server.accept_connection(self, self._address, listener)
        if self._conn is None:
            self._transport.abort()

    def receive(self, data: bytes) -> None:
        self._broker.counters.bytes_received += len(data)
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
        server.slow.pop(self, None)
        if self._lingering is not None:
            server.anteroom.leave(self._lingering)
        if self._conn is not None:
            self._gone("connection lost" if exc is None else "connection lost: %s" % exc)

    def _gone(self, text: str) -> None:
        """Nothing comes any more."""
        if self._conn is not None:
            self._conn.lost(text)
            self._conn = None
            self._server.flush()

    def unsent(self) -> int:
        """Bytes it has not read yet."""
        return int(self._transport.get_write_buffer_size())

    def give_up(self) -> bool:
        """End the connection, as memory is short and this client does not read; False when it is over already."""
        self._server.slow.pop(self, None)
        if self._conn is None or not self.unsent():
            return False
        self._conn.fault(MQTTError(QUOTA_EXCEEDED, "memory is short, and it does not read"))
        self._transport.abort()
        return True

    def pause_writing(self) -> None:
        self._paused = True
        self._server.slow[self] = True
        if self._conn is not None:
            # The piece under way is one packet, if it is large: what is behind it counts.
            transport = self._transport
            behind = transport.get_write_buffer_size() - transport.get_extra_info("under_way", 0)
            self._conn.pause_writing(spare=max(0, self._entrance.listener.options.outbox_bytes - behind))

    def resume_writing(self) -> None:
        self._paused = False
        self._server.slow.pop(self, None)
        if self._conn is not None:
            if not self._held:
                self._transport.resume_reading()
            self._conn.resume_writing()
            self._server.flush()

    # -- the core's Transport ---------------------------------------------------------------

    def send(self, chunks: list[Buffer]) -> int:
        """See Transport.send."""
        if len(chunks) == 1:
            data = chunks[0]
        elif self._broker.large.bytes:
            return self._send_large(chunks)
        else:
            data = b"".join(chunks)
        transport = self._transport
        if isinstance(transport, Stream):
            transport.write(data)  # compiled, a call without looking it up
        else:
            transport.write(data)
        return len(data)

    def _send_large(self, chunks: list[Buffer]) -> int:
        """What `send` does where there may be large packets: they are not joined, as others may share them."""
        total = 0
        small: list[Buffer] = []
        for chunk in chunks:
            total += len(chunk)
            if len(chunk) < WHOLE:
                small.append(chunk)
                continue
            if small:
                self._transport.write(b"".join(small))
                small = []
            self._transport.write(chunk)
        if small:
            self._transport.write(b"".join(small))
        return total

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
        leaving = Leaving(self._address, transport)
        if not self._server.anteroom.enter(leaving):
            transport.abort()
            return
        self._lingering = leaving
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    def certificate(self) -> dict[str, Any] | None:
        """See Transport.certificate."""
        return peer_certificate(self._transport)

    def certificate_bytes(self) -> bytes | None:
        """The client's certificate in DER, None without a verified one."""
        connection = self._transport.get_extra_info("ssl_object")
        return None if connection is None else connection.getpeercert(True)

    def pause_reading(self) -> None:
        """See Transport.pause_reading."""
        self._held = True
        if not self._transport.is_closing():  # it may be over, and what came before is still handled
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See Transport.resume_reading."""
        self._held = False
        if not self._paused and not self._transport.is_closing():
            self._transport.resume_reading()


class WebSocketTransport(SocketTransport):
    """A client that speaks MQTT in the binary frames of a WebSocket (clause 6).

    See port.core.web.websocket_turns.Host for what it does for that.
    """

    __slots__ = ("_socket", "_lost")

    def __init__(self, server: Server, entrance: ListeningSocket, address: str) -> None:
        super().__init__(server, entrance, address)
        settings = entrance.config.settings
        most = entrance.listener.options.max_packet_size
        self._socket = TurnedWebSocket(server, self, settings["paths"], settings["origins"], most)
        self._lost = ""  # why nothing comes any more, while frames are left

    def receive(self, data: bytes) -> None:
        self._socket.feed(data)
        if self._paused:
            self._push_back()

    def write(self, data: bytes) -> None:
        """See Host."""
        self._transport.write(data)

    def take(self, payload: bytes) -> None:
        """See Host."""
        super().receive(payload)

    def ended(self) -> None:
        """See Host."""
        if self._conn is not None:
            self._socket.end(self._conn)
            self._server.flush()

    def go_on(self) -> None:
        """See Host."""
        self.receive(b"")

    def emptied(self) -> None:
        """See Host."""
        if self._lost:
            super()._gone(self._lost)

    def hold(self) -> None:
        """See Host."""
        super().pause_reading()

    def release(self) -> None:
        """See Host."""
        super().resume_reading()

    def pause_reading(self) -> None:
        """See Transport.pause_reading."""
        self._socket.pause()

    def resume_reading(self) -> None:
        """See Transport.resume_reading."""
        self._socket.resume()

    def _gone(self, text: str) -> None:
        if self._socket.more:
            self._lost = text
        else:
            super()._gone(text)

    def send(self, chunks: list[Buffer]) -> int:
        """See Transport.send; the size is that of the MQTT packets."""
        if not self._socket.closed:  # nothing may follow a close frame
            super().send(self._server.frames.of(chunks, len(self._broker.dirty) > 1))
        return sum([len(chunk) for chunk in chunks])

    def close(self, abort: bool, told: bool) -> None:
        """See Transport.close; a close frame goes before."""
        self._transport.write(self._socket.close())
        # What `lost` asks for after the close handshake is an end, not a reset that could overtake the close frame.
        super().close(abort and not self._socket.closed, told or self._socket.closed)


def address_text(peer: Any) -> str:
    """A peer's socket address as text, `host:port`, IPv6 in brackets."""
    if not peer:
        return "?"
    return text(peer[0], peer[1])
