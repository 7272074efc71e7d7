"""The broker on asyncio: TCP listeners, one protocol object per client, one tick a second.

    server = Server(max_connections=100)
    server.listen("127.0.0.1", 1883)
    await server.start()
    server.publish("a/b", "hello", retain=True)
    await server.stop()
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from port.core.broker import Broker
from port.core.options import Options
from port.core.store import Store
from port.cpython.load import LoadAverages

if TYPE_CHECKING:
    from port.core.codec import Buffer
    from port.core.connection import Connection

logger = logging.getLogger("ucomqtt")

_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
_BACKLOG = 1024
_LINGER = 2.0  # seconds a client has to read what is left and to close its side


def log(level: int, text: str, *args: Any) -> None:
    """The broker's log on the standard library's logging, logger `ucomqtt`."""
    error = args[-1] if level == 3 and args and isinstance(args[-1], Exception) else None
    logger.log(_LEVELS[level], text, *args, exc_info=error)


def milliseconds() -> int:
    """The broker's clock."""
    return time.monotonic_ns() // 1_000_000


class Server(Broker):
    """A broker with listeners. See port.core.broker.Broker for publish, subscribe, on and the figures.

    Options are given by name (see port.core.options) or as an Options object; ValueError names a wrong one.
    All methods belong to the thread of the event loop.
    """

    handshakes = _BACKLOG  # asyncio accepts so many before it reads from any of them

    def __init__(
        self,
        options: Options | None = None,
        *,
        log: Callable[..., None] = log,
        store: Store | None = None,
        **values: Any,
    ) -> None:
        super().__init__(options or Options(**values), milliseconds, log, store)
        self.sys.wall = lambda: int(time.time())
        self._load = LoadAverages(self)
        self.sys.extras.append(self._load.figures)
        self._listeners: list[tuple[str, int]] = []
        self._servers: list[asyncio.Server] = []
        self._ticker: asyncio.Task[None] | None = None
        self._stopped = asyncio.Event()
        self.sockets = 0  # clients whose socket is open

    def listen(self, host: str = "127.0.0.1", port: int = 1883) -> None:
        """Add a TCP listener, opened by `start`; port 0 takes any free one, see `addresses`."""
        if not 0 <= port <= 65535:
            raise ValueError("port must be from 0 to 65535, not %r" % port)
        self._listeners.append((host, port))

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each open listener."""
        found = []
        for server in self._servers:
            for sock in server.sockets:
                name = sock.getsockname()
                found.append((name[0], name[1]))
        return found

    async def start(self) -> None:
        """Open the listeners (OSError names one that cannot be opened) and start the tick."""
        loop = asyncio.get_running_loop()
        self._stopped.clear()
        try:
            for host, port in self._listeners:
                try:
                    server = await loop.create_server(lambda: _Client(self, loop), host, port, backlog=_BACKLOG)
                except OSError as e:
                    raise OSError(e.errno, "cannot listen on %s:%d: %s" % (host, port, e.strerror or e)) from None
                self._servers.append(server)
        except OSError:
            self._close_listeners()
            raise
        for host, port in self.addresses:
            self.log(1, "listening on %s:%d", host, port)
        self._ticker = loop.create_task(self._tick())

    async def stop(self) -> None:
        """Close the listeners, say goodbye to the clients and wait until they have heard it, 2 s at most."""
        self._close_listeners()
        self.disconnect_all()
        deadline = time.monotonic() + _LINGER
        while self.sockets and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        self.log(1, "stopped")
        self._stopped.set()

    async def serve(self) -> None:
        """Start unless started, and return when stopped."""
        if self._ticker is None:
            await self.start()
        await self._stopped.wait()

    async def __aenter__(self) -> Server:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        await self.stop()

    def _close_listeners(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1)
            try:
                self._load.tick()
                self.tick()
            except Exception as e:
                self.crashed(None, e)


class _Client(asyncio.Protocol):
    """One client's socket: asyncio's protocol on one side, the core's Transport on the other."""

    __slots__ = ("_server", "_loop", "_transport", "_conn", "_paused", "_held", "_lingering")

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._conn: Connection | None = None
        self._paused = False
        self._held = False
        self._lingering: asyncio.TimerHandle | None = None

    # -- asyncio ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        server = self._server
        server.sockets += 1
        high = server.options.outbox_bytes
        self._transport.set_write_buffer_limits(high, high // 4)
        # Sockets whose connection is over but which still linger take room, too.
        if server.sockets <= server.options.max_connections + server.handshakes:
            self._conn = server.accept_connection(self, _address(transport))
        if self._conn is None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        server = self._server
        server.bytes_received += len(data)
        conn = self._conn
        if conn is not None:
            conn.take(data)
        if server.dirty:
            server.flush()
        if self._paused and self._transport.get_write_buffer_size() > 2 * server.options.outbox_bytes:
            # It sends but does not read the answers: no more of it until it has read some.
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
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._transport.write(data)
        return len(data)

    def close(self, abort: bool, told: bool) -> None:
        transport = self._transport
        if abort:
            transport.abort()
            return
        if not told and not transport.get_write_buffer_size():
            transport.close()
            return
        # Closing at once would answer what the client is still sending with a reset, and it might never
        # read why. So only our half is closed; the socket goes when the client's half does, or in a while.
        self._lingering = self._loop.call_later(_LINGER, transport.abort)
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    def certificate(self) -> dict[str, Any] | None:
        return None

    def hold(self, held: bool) -> None:
        self._held = held
        if held:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()


def _address(transport: asyncio.BaseTransport) -> str:
    """The peer as text, `host:port`, IPv6 in brackets."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    peer = transport.get_extra_info("peername")
    if sock is not None and sock.family == socket.AF_UNIX:
        return "unix"
    if not peer:
        return "?"
    return "[%s]:%d" % peer[:2] if ":" in peer[0] else "%s:%d" % peer[:2]
