"""One client's socket on MicroPython: reads into a buffer all share, writes without waiting.

What the socket does not take goes into a ring of the client's own, which lives only while
there is something in it.
"""

import asyncio
import select

from port.core import const
from port.core.wire.reason_codes import UNSPECIFIED_ERROR
from port.core.wire.ring import Ring
from port.micropython.net.lwip import has_queue, write

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Iterable, Optional

    from port.core.wire.codec import Buffer
    from port.core.limits.listener import Listener
    from port.micropython.net.tls import Context
    from port.micropython.server import Server

_POLLIN = select.POLLIN
_POLLOUT = select.POLLOUT
_LINGER = const(250)  # ms a client has to read the last packet
_ENOBUFS = const(105)
_RESET = (32, 104)  # EPIPE, ECONNRESET
_WAITING = const(-1)
_DEAF = const(-2)
_BROKEN = const(1)


class SocketTransport:
    """The core's Transport on a non-blocking socket.

    conn      the core's Connection, None when it was refused or is over
    deadline  0 while nothing is out of the ordinary; ms on the broker's clock when a closing link is cut; -1 while something
              waits in the ring; -2 when the client has gone, but what it sent may still have to be read; 1 when something failed
              or all is over: nothing is read or written any more
    """

    # What most links never need takes no room before it is set.
    _ring: "Optional[Ring]" = None
    _whole = 0  # size of the first large packet in the ring, which does not count,
    _until = 0  # and bytes in the ring up to its end; 0: there is none
    _surplus = 0  # bytes sent to a client that was slow already, since it became so
    _held = False
    _unwatched = False  # it was held when the connection failed: polling would tell that again and again

    def __init__(self, server: "Server", sock: "Any") -> None:
        self._server = server
        self._sock = sock
        self.conn: "Any" = None
        self.deadline = 0

    def begin(self, address: str, listener: "Listener") -> bool:
        """Tell the broker of the new client; False when it is turned away."""
        self.conn = self._server.accept_connection(self, address, listener)
        return self.conn is not None

    def open(self, tls: "Optional[Context]") -> None:
        """Begin to read, through TLS where that is asked for. Raises OSError or MemoryError without memory for it."""
        if tls is not None:
            self._sock = tls.wrap(self._sock)
        self._server.poller.watch(self._sock, self, _POLLIN)

    # -- from the poller -------------------------------------------------------------------

    # MicroPython keeps what a function needs, locals and stack, on the heap when it is more than 11 words. So what each
    # message passes through has few of them, and `_ready` and `_send` do what is rare.

    def ready(self, events: int) -> None:
        """The socket can be read or written, or is in error."""
        conn = self.conn
        server = self._server
        if events != _POLLIN or conn is None or conn.rest is not None or self.deadline or server.fill:
            self._ready(events)
            return
        count = self._sock.readinto(server.buffer)
        if count:
            server.counters.bytes_received += count
            at = conn.feed(server.buffer, server.view, count)
            if at < count:
                conn.keep(server.view[at:count])
        elif count == 0:
            self._gone("connection closed by the client")
        if server.dirty:
            server.fill = count or 0

    def _ready(self, events: int) -> None:
        if self.deadline == _BROKEN:
            return
        if events & _POLLOUT and self._ring is not None:
            self._drain()
        if events & ~_POLLOUT:
            failed = events & ~(_POLLIN | _POLLOUT)
            if self.conn is None:
                if failed:
                    self._finish()
                else:
                    self._discard()
                return
            if failed:
                self._ring = None
                self.deadline = _DEAF
            if not self._held:
                self._read()
            elif failed:
                self._server.poller.unwatch(self._sock)
                self._unwatched = True

    def failed(self, error: Exception) -> None:
        """What `ready` raised: the client goes."""
        try:
            if self.conn is not None and not isinstance(error, OSError):
                self.conn.fault(error)
            else:
                self._server.lose(self, error)
        except MemoryError as e:
            self._server.lose(self, e)
        self._server.flush()

    def _read(self) -> None:
        buffer = self._server.unused()
        conn = self.conn
        if conn is None:  # what was sent to make room for it has ended this one
            return
        rest = conn.rest
        start = 0
        if rest is not None and len(rest) <= len(buffer) // 2 and conn.need <= len(buffer):
            # A short beginning of a packet goes back to the front of the shared buffer.
            start = len(rest)
            buffer[:start] = rest
            conn.let_go()
            rest = None
        count = self._receive(buffer[start:] if start else buffer)
        if not count:
            if start:
                conn.keep(buffer[:start])
            if count == 0:
                self._gone("connection closed by the client")
            return
        self._server.took(count, start)
        if rest is None:
            self._feed(buffer, buffer[:], start + count)
        else:
            conn.keep(buffer[:count])
            conn.heard()
            if conn.rest is rest and len(rest) >= conn.need:
                self._feed(rest, memoryview(rest), len(rest))

    def _receive(self, buffer: memoryview) -> "Optional[int]":
        """Read; None when nothing has come, 0 when the client has closed. Raises OSError."""
        if self.deadline != _DEAF:
            count: "Optional[int]" = self._sock.readinto(buffer)
            return count
        # `readinto` would read on until the buffer is full or there is an error, and lose what it has read to that.
        data = self._sock.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _feed(self, data: "Buffer", view: memoryview, end: int) -> None:
        conn = self.conn
        conn.let_go()
        at = conn.feed(data, view, end)
        if at < end:
            conn.keep(view[at:end])

    def _drain(self) -> None:
        ring = self._ring
        while ring is not None and ring.used:
            try:
                count = write(self._sock, ring.peek())
            except OSError as e:
                self._cut_off(e)
                return
            if not count:
                return
            ring.take(count)
            if self._until:
                self._until = max(0, self._until - count)
            if ring.used <= ring.size // 2:
                self._surplus = 0
        self._ring = None
        if self.conn is None:
            self._finish()
            return
        if self.deadline == _WAITING:
            self.deadline = 0
        self._watch()
        self.conn.resume_writing()

    def _gone(self, text: str) -> None:
        conn = self.conn
        if conn is not None:
            conn.lost(text)
        else:
            self._finish()

    # -- the core's Transport -------------------------------------------------------------

    def send(self, chunks: "list[Buffer]") -> int:
        """Write the packets, small ones joined: each write of its own would be a segment on the air."""
        data = chunks[0]
        if len(chunks) > 1 or self.deadline:
            return self._send(chunks, 0)
        count = _attempt(self._sock, data)
        return count if count == len(data) else self._send(chunks, count)

    def _send(self, chunks: "Iterable[Buffer]", at: int) -> int:
        """What `send` does, without `at` bytes of the first packet that are written already."""
        total = at
        joined = self._server.joined
        size = len(joined)
        used = 0
        ring = self._ring
        slow = ring is not None and ring.used > ring.size // 2
        try:
            for chunk in chunks:
                if at:
                    chunk = memoryview(chunk)[at:]
                    at = 0
                count = len(chunk)
                total += count
                if used + count > size:
                    self._write(self._server.joined_view[:used])
                    used = 0
                    if count > size:
                        self._write(chunk)
                        continue
                joined[used : used + count] = chunk
                used += count
            if used:
                self._write(self._server.joined_view[:used])
            if slow:
                self._surplus += total
                if self._surplus > (self.conn or self._server).options.outbox_bytes and has_queue(self._sock):
                    raise OSError(_ENOBUFS)  # it sends and does not read the answers
        except (OSError, MemoryError) as e:
            self._server.lose(self, e)
        return total

    def _write(self, data: "Buffer") -> None:
        if self.deadline in (_BROKEN, _DEAF) or not len(data):
            return
        ring = self._ring
        if ring is None:
            try:
                count = write(self._sock, data) or 0
            except OSError as e:
                self._cut_off(e)
                return
            if count == len(data):
                return
            data = memoryview(data)[count:]
        size = len(data)
        options = (self.conn or self._server).options
        first = not self._until and size > len(self._server.joined)  # the first large packet in the ring, alone in `data`
        more = options.outbox_bytes if first else 64
        if ring is None:
            ring = self._ring = Ring(max(size + more, options.outbox_bytes))
            if not self.deadline:
                self.deadline = _WAITING
        elif ring.room() < size:
            ring = self._grow(ring, size + more)
        ring.put(data)
        if first:
            self._whole = size
            self._until = ring.used
        # Once it fills half the ring the client gets no new messages and, as it does not read the answers, is not read.
        # But lwIP has one memory for what comes from all clients: who is not read would fill it.
        slow = ring.used > ring.size // 2
        conn = self.conn
        if slow and conn is not None:
            others = ring.used - min(self._whole, self._until)
            conn.pause_writing(spare=max(0, options.outbox_bytes // 2 - others))
        unread = self._held or slow and not has_queue(self._sock)
        self._server.poller.change(self._sock, _POLLOUT if unread else _POLLIN | _POLLOUT)

    def _cut_off(self, error: OSError) -> None:
        """Nothing can be written any more. What a client that has gone sent before is still to be read, and behind it the end."""
        if self.conn is None or error.errno not in _RESET:
            raise error
        self._ring = None
        self.deadline = _DEAF
        self._watch()

    def _grow(self, old: Ring, count: int) -> Ring:
        """A larger ring for the rest of one batch; bounded, since a client with half a ring gets no new messages."""
        ring = Ring(old.used + count)
        while old.used:
            piece = old.peek()
            ring.put(piece)
            old.take(len(piece))
        self._ring = ring
        return ring

    def close(self, abort: bool, told: bool) -> None:
        """Close, unless `abort` when the ring is empty, and not before the client had time to read the last packet."""
        self.conn = None
        if self._sock is None:
            return
        if not abort and self._ring is not None:
            self.deadline = self._server.clock() + 5000
            self._server.poller.change(self._sock, _POLLOUT)
        elif abort or not told:
            self._finish()
        else:
            # Closed at once, the socket would answer what the client is still sending with a reset, and the
            # client might never read the DISCONNECT that tells it why.
            self.deadline = self._server.clock() + _LINGER  # the tick sees to it if there is no memory for a task
            asyncio.create_task(self._linger())

    async def _linger(self) -> None:
        await asyncio.sleep_ms(_LINGER)
        self._finish()

    def _discard(self) -> None:
        """The connection is over: what still comes is of no interest, only that the client closes its side."""
        if self._sock.readinto(self._server.unused()) == 0:
            self._finish()

    def certificate(self) -> "Any":
        """See Transport."""
        certificate = getattr(self._sock, "certificate", None)
        return None if certificate is None else certificate()

    def pause_reading(self) -> None:
        """See Transport.pause_reading."""
        self._held = True
        if self._sock is not None and not self._unwatched:
            self._watch()

    def resume_reading(self) -> None:
        """See Transport.resume_reading."""
        self._held = False
        if self._sock is None:
            return
        if self._unwatched:
            self._unwatched = False
            self._server.poller.watch(self._sock, self, _POLLIN)
        else:
            self._watch()

    def _watch(self) -> None:
        events = 0 if self._held else _POLLIN
        if self._ring is not None:
            events |= _POLLOUT
        self._server.poller.change(self._sock, events)

    def _finish(self) -> None:
        sock = self._sock
        self._sock = None
        self.deadline = _BROKEN
        if self._ring is not None:
            self._ring = None
        self._server.links.pop(self, None)
        if sock is not None:
            self._server.poller.unwatch(sock)
            sock.close()

    def drop(self, error: Exception) -> None:
        """Give the client up."""
        if isinstance(error, OSError):
            text = "connection lost: %r" % error
        elif isinstance(error, MemoryError):
            text = "out of memory"
        else:
            self._server.crashed(self.conn, error)
            text = "internal error"
        if isinstance(error, OSError):
            self._gone(text)
        elif self.conn is not None:  # what it has sent before may be what there is no memory for
            self.conn.close(UNSPECIFIED_ERROR, text, True)
        self._finish()

    def cut(self) -> None:
        """Close a link that has had its time, or could not be dropped for want of memory."""
        if self.conn is not None:
            self._ring = None  # first what needs no memory
            self.conn.close(UNSPECIFIED_ERROR, "out of memory", True)
        self._finish()


def _attempt(sock: "Any", data: "Buffer") -> int:
    """Bytes the socket takes now; 0 when it fails, too, as it will again."""
    try:
        return write(sock, data) or 0
    except Exception:
        return 0
