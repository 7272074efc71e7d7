"""One client's socket on MicroPython: reads into a buffer all share, writes without waiting.

What the socket does not take goes into a ring of the client's own, which lives only while
there is something in it.
"""

import select

from port.core import TYPE_CHECKING, const
from port.core.ring import Ring

if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.codec import Buffer
    from port.micropython.server import Server

_POLLIN = select.POLLIN
_POLLOUT = select.POLLOUT
_READS = const(4)  # reads from one client before the others have their turn


class Link:
    """The core's Transport on a non-blocking socket.

    conn      the core's Connection, None when it was refused or is over
    deadline  ms on the broker's clock when a closing link is cut, 0 while it is not closing
    """

    def __init__(self, server: "Server", sock: "Any") -> None:
        self._server = server
        self._sock = sock
        self.conn: "Any" = None
        self.deadline = 0
        self._ring: "Optional[Ring]" = None
        self._held = False

    # -- from the poller -------------------------------------------------------------------

    def ready(self, events: int) -> None:
        """The socket can be read or written, or is in error."""
        server = self._server
        try:
            if self._sock is None:
                return
            if events & _POLLOUT and self._ring is not None:
                self._drain()
            if events & ~_POLLOUT:
                if self.conn is None or self._held:
                    if events & ~(_POLLIN | _POLLOUT):
                        self._gone("connection lost")
                else:
                    self._read()
            if server.dirty:
                server.flush()
        except OSError as e:
            self._gone("connection lost: %r" % e)
        except MemoryError:
            self._gone("out of memory")
        except Exception as e:  # an error here would end the event loop
            server.crashed(self.conn, e)
            self._gone("internal error")

    def _read(self) -> None:
        server = self._server
        buffer = server.buffer
        view = server.view
        size = len(buffer)
        for _ in range(_READS):
            conn = self.conn
            if conn is None or self._held:
                return
            rest = conn.rest
            start = 0
            if rest is not None and len(rest) <= size // 2 and conn.need <= size:
                # A short beginning of a packet goes back to the front of the shared buffer.
                start = len(rest)
                buffer[:start] = rest
                conn.rest = rest = None
            count = self._sock.readinto(view[start:] if start else buffer)
            if not count:
                if start:
                    conn.rest = bytearray(buffer[:start])
                if count == 0:
                    self._gone("connection closed by the client")
                return
            server.bytes_received += count
            if rest is None:
                self._feed(buffer, view, start + count)
            else:
                rest += view[:count]
                conn.active = True
                if len(rest) >= conn.need:
                    self._feed(rest, memoryview(rest), len(rest))
            if start + count < size:
                return

    def _feed(self, data: bytearray, view: memoryview, end: int) -> None:
        conn = self.conn
        conn.rest = None
        at = conn.feed(data, view, end)
        if at < end:
            conn.rest = bytearray(view[at:end])
        if self._server.dirty:
            self._server.flush()

    def _drain(self) -> None:
        ring = self._ring
        while ring is not None and ring.used:
            count = self._sock.write(ring.peek())
            if not count:
                return
            ring.take(count)
        self._ring = None
        if self.conn is None:
            self._finish()
            return
        self._server.poller.change(self._sock, _POLLIN)
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
        total = 0
        joined = self._server.joined
        size = len(joined)
        used = 0
        try:
            for chunk in chunks:
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
        except OSError as e:
            self._server.lose(self, "connection lost: %r" % e)
        except MemoryError:
            self._server.lose(self, "out of memory")
        return total

    def _write(self, data: "Buffer") -> None:
        if self._sock is None or not len(data):
            return
        ring = self._ring
        if ring is None:
            count = self._sock.write(data) or 0
            left = len(data) - count
            if not left:
                return
            ring = self._ring = Ring(max(left + 64, self._server.options.outbox_bytes))
            ring.put(memoryview(data)[count:])
            self.conn.pause_writing()
        else:
            if ring.room() < len(data):
                ring = self._grow(ring, len(data))
            ring.put(data)
        # Who does not read the answers is not read either, once they fill half the ring.
        slow = ring.used > ring.size // 2
        self._server.poller.change(self._sock, _POLLOUT if slow or self._held else _POLLIN | _POLLOUT)

    def _grow(self, old: Ring, count: int) -> Ring:
        """A larger ring for the rest of one batch; bounded, since a client with a ring gets no new messages."""
        ring = Ring(old.used + count + 64)
        while old.used:
            piece = old.peek()
            ring.put(piece)
            old.take(len(piece))
        self._ring = ring
        return ring

    def close(self, abort: bool) -> None:
        """Close now, or when the ring is empty, in 5 s at the latest."""
        self.conn = None
        if self._sock is None:
            return
        if abort or self._ring is None:
            self._finish()
        else:
            self.deadline = self._server.clock() + 5000
            self._server.poller.change(self._sock, _POLLOUT)

    def hold(self, held: bool) -> None:
        """Stop or go on reading."""
        self._held = held
        if self._sock is not None:
            events = 0 if held else _POLLIN
            if self._ring is not None:
                events |= _POLLOUT
            self._server.poller.change(self._sock, events)

    def _finish(self) -> None:
        sock = self._sock
        self._sock = None
        self._ring = None
        self._server.links.discard(self)
        if sock is not None:
            self._server.poller.unwatch(sock)
            sock.close()

    def cut(self) -> None:
        """Close a closing link that has had its time."""
        self._finish()
