"""Serves one client on a pair of asyncio streams: behind `asyncio.start_server`, over a UART, a pipe, BLE, a test's memory.

    async def serve(reader, writer):
        await serve_stream(server, reader, writer, writer.get_extra_info("peername"))

    await asyncio.start_server(serve, "127.0.0.1", 1883)

This is the reference for adapters: it does all that the core asks of a host, in the plainest way. The listeners of both
runtimes poll their sockets instead, which saves two tasks a client and a write buffer without bound. It is the one module
of the core that awaits; tasks, events and time come from the server, which has asyncio.
"""

from port.core import const
from port.core.limits.ip_address import text

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Coroutine, Optional, Protocol

    from port.core.transport import Transport
    from port.core.wire.codec import Buffer
    from port.core.limits.listener import Listener
    from port.core.limits.options import Options
    from port.core.monitor.counters import Counters
    from port.core.protocol.connection import Connection

    class Reader(Protocol):
        """The part of asyncio's StreamReader in use."""

        async def read(self, n: int) -> bytes:
            """Up to n bytes as soon as any have arrived, none at the end."""
            ...

    class Writer(Protocol):
        """The part of asyncio's StreamWriter in use."""

        def write(self, data: bytes) -> None:
            """Take data over."""
            ...

        async def drain(self) -> None:
            """Return when most of it is written."""
            ...

        def close(self) -> None:
            """Close the connection."""
            ...

        async def wait_closed(self) -> None:
            """Return when it is closed."""
            ...

    class Server(Protocol):
        """The part of the broker and its host in use; both `Server` classes have it."""

        counters: Counters
        options: Options

        def accept_connection(self, transport: Transport, address: str, listener: Optional[Listener]) -> Optional[Connection]:
            """See Broker.accept_connection."""
            ...

        def flush(self) -> None:
            """See Broker.flush."""
            ...

        def out_of_memory(self) -> None:
            """See Broker.out_of_memory."""
            ...

        def run_task(self, work: Coroutine[Any, Any, None]) -> Any:
            """Run a coroutine as a task, which has `cancel`."""
            ...

        def new_event(self) -> Any:
            """An asyncio.Event."""
            ...

        async def pause(self, ms: int) -> None:
            """Sleep."""
            ...


_PIECE = const(4096)  # most bytes read at a time; boards use less, see serve_stream
_LINGER = const(250)  # ms in which a client can read the reason for the end of its connection
_PATIENCE = const(5000)  # ms in which it can take packets sent before


async def serve_stream(
    server: "Server",
    reader: "Reader",
    writer: "Writer",
    address: "Any" = "stream",
    listener: "Optional[Listener]" = None,
    certificate: "Optional[Callable[[], Optional[dict[str, Any]]]]" = None,
    piece: int = _PIECE,
) -> None:
    """Serve the client on these streams until its connection is over, and close them.

    address      the peer as `host:port`, as the tuple of asyncio's `peername`, or another name; only loopback addresses count as
                 this machine, see `anonymous`
    listener     the listener it counts for, see Broker.add_listener; without one the server's own options hold
    certificate  see Transport.certificate
    piece        most bytes read at a time
    """
    stream = _Stream(server, writer, certificate)
    if not isinstance(address, str):
        address = text(address[0], address[1]) if isinstance(address, tuple) else "stream"
    try:
        conn = stream.conn = server.accept_connection(stream, address, listener)
        if conn is not None:
            stream.limit = conn.options.outbox_bytes
            stream.tasks.append(server.run_task(stream.write_on()))
            stream.tasks.append(server.run_task(stream.read_on(reader, piece)))
            await stream.over.wait()
    finally:
        for task in stream.tasks:
            task.cancel()
        try:
            stream.lose("the server has ended it")
        finally:
            await _close(server, writer, stream.aborted or not stream.over.is_set())


async def _close(server: "Server", writer: "Writer", at_once: bool) -> None:
    """Close the streams; CPython's transport has _PATIENCE to write the rest, or no time with `at_once`."""
    transport: "Any" = getattr(writer, "transport", None)
    if transport is None:
        timer = None
        writer.close()
    elif at_once:
        timer = None
        transport.abort()
    else:
        writer.close()
        timer = server.run_task(_abort(server, transport))
    try:
        await writer.wait_closed()
    except Exception:  # nosec B110 # closed, with or without an error
        pass
    except BaseException:  # cancelled; a closed transport takes no abort()
        if timer is not None:
            transport.abort()
        raise
    finally:
        if timer is not None:
            timer.cancel()


async def _abort(server: "Server", transport: "Any") -> None:
    await server.pause(_PATIENCE)
    transport.abort()


class _Stream:
    """The core's Transport on streams.

    conn     the core's Connection, None when it is over
    over     set when the streams are to be closed
    limit    most unsent bytes before the client counts as slow
    aborted  True when unsent bytes are to be discarded
    tasks    tasks that end with it
    """

    def __init__(self, server: "Server", writer: "Writer", certificate: "Any") -> None:
        self.conn: "Optional[Connection]" = None
        self.limit = 0
        self.aborted = False
        self.tasks: "list[Any]" = []
        self.over = server.new_event()
        self._server = server
        self._writer = writer
        self._certificate = certificate
        self._more = server.new_event()  # set while there are bytes to write
        self._readable = server.new_event()
        self._readable.set()
        self._chunks: "list[bytes]" = []
        self._unsent = 0
        self._large = 0  # bytes of a packet under way that is larger than the limit: only bytes behind it count
        self._slow = False
        self._held = False
        self._lost = False
        self._told: "Optional[bool]" = None  # set once it ends, see Transport.close

    # -- the tasks ---------------------------------------------------------------------------

    async def read_on(self, reader: "Reader", piece: int) -> None:
        """Hand received data to the core."""
        try:
            while True:
                await self._readable.wait()
                data = await reader.read(piece)
                if not data:
                    break
                self._server.counters.bytes_received += len(data)
                conn = self.conn
                if conn is not None:
                    conn.take(data)
                    self._server.flush()
        except Exception as e:
            self._fail(e)
        self.lose("connection closed by the client")
        if self._told is None:
            self._end(False)

    async def write_on(self) -> None:
        """Write the core's packets; wait until they are taken before writing more."""
        try:
            while self._told is None or self._chunks:
                if not self._chunks:
                    self._more.clear()
                    await self._more.wait()
                    continue
                data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
                self._chunks = []
                self._writer.write(data)
                await self._writer.drain()
                if len(data) > self.limit:
                    self._large = 0
                self._unsent -= len(data)
                if self._slow and self._unsent <= self.limit >> 2:
                    self._go_on()
            if self._told:
                await self._server.pause(_LINGER)
        except Exception as e:
            self.aborted = True
            self._chunks = []
            self._fail(e)
        finally:
            self.over.set()

    def _go_on(self) -> None:
        self._slow = False
        if not self._held:
            self._readable.set()
        if self.conn is not None:
            self.conn.resume_writing()
            self._server.flush()

    async def _cut(self) -> None:
        await self._server.pause(_PATIENCE)
        self.aborted = True
        self.over.set()

    def _fail(self, error: Exception) -> None:
        """End the connection for an exception of reading, writing or handling."""
        conn = self.conn
        if conn is not None and not isinstance(error, OSError):
            conn.fault(error)
            self._flush()
        else:
            self.lose("connection lost: %r" % error)

    def lose(self, text: str) -> None:
        """No more data arrives, and packets sent from now on would not reach the client."""
        conn = self.conn
        self.conn = None
        if conn is not None:
            self._lost = True
            conn.lost(text)
            self._flush()

    def _flush(self) -> None:
        try:
            self._server.flush()
        except MemoryError:
            self._server.out_of_memory()

    # -- the core's Transport ----------------------------------------------------------------

    def send(self, chunks: "list[Buffer]") -> int:
        """See Transport.send."""
        size = 0
        largest = 0
        for chunk in chunks:
            size += len(chunk)
            largest = max(largest, len(chunk))
        if self._lost or self.aborted:
            return size
        try:
            for chunk in chunks:
                # The buffer of a view is reused when this returns.
                self._chunks.append(chunk if isinstance(chunk, bytes) else bytes(chunk))
        except MemoryError:
            self.aborted = True
            self.over.set()
            return size
        if not self._large and largest > self.limit:
            self._large = largest
        self._unsent += size
        behind = self._unsent - self._large
        if behind > self.limit:
            self._slow = True
            if behind > 2 * self.limit:  # the client sends without reading the answers
                self._readable.clear()
        if self._slow and self.conn is not None:
            self.conn.pause_writing(spare=max(0, self.limit - behind))
        self._more.set()
        return size

    def close(self, abort: bool, told: bool) -> None:
        """See Transport.close."""
        self.conn = None
        if abort:
            self.aborted = True
            self.over.set()
        else:
            self._end(told)

    def _end(self, told: bool) -> None:
        """Write the rest, for _PATIENCE at most."""
        self._told = told
        self._readable.set()  # further data is read and discarded
        self._more.set()
        if self._unsent:
            self.tasks.append(self._server.run_task(self._cut()))

    def pause_reading(self) -> None:
        """See Transport.pause_reading."""
        self._held = True
        self._readable.clear()

    def resume_reading(self) -> None:
        """See Transport.resume_reading."""
        self._held = False
        if not self._slow:
            self._readable.set()

    def certificate(self) -> "Optional[dict[str, Any]]":
        """See Transport.certificate."""
        found: "Optional[dict[str, Any]]" = None if self._certificate is None else self._certificate()
        return found
