"""A plain socket that the broker serves itself."""

from __future__ import annotations

import socket
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from port.cpython.net.epoll import BUFFER, READ, WRITE, Owner, Sockets

if TYPE_CHECKING:
    import asyncio

    from port.core.wire.codec import Buffer

# Bytes a read may bring: a client that sends little costs no buffer, and one that sends very little not even malloc.
_FEW: Final = 448
_SOME: Final = 16384
_SHARED: Final = 16384  # bytes of a piece that is kept as it is, not copied behind others
_GATHER: Final = 1024  # bytes of a read whose answers may wait for those of other sockets


class Receiver:
    """Whom the bytes of a connection are for: asyncio.Protocol, but for `receive` in place of `data_received`."""

    __slots__ = ()

    def connection_made(self, transport: Any) -> None:
        """`transport`: a Stream, or one of asyncio's."""

    def receive(self, data: bytes) -> None:
        """Handle what was read. The answers may wait until other sockets have been served."""

    def pause_writing(self) -> None:
        """More than the upper limit is unsent. Called again when another large piece is under way."""

    def resume_writing(self) -> None:
        """No more than the lower limit is unsent."""

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over; `exc`: why, None when the peer or we have closed it."""


_NOBODY: Final = Receiver()


class Stream(Owner):
    """What asyncio's Transport is, for a connected socket without TLS."""

    __slots__ = (
        "_loop", "_sockets", "_sock", "_fd", "_receiver", "_events", "_size", "_rest", "_unsent", "_high", "_low", "_full",
        "_eof", "_closing", "_ended",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, sockets: Sockets, sock: socket.socket, receiver: Receiver) -> None:
        """Calls `receiver.connection_made`."""
        sock.setblocking(False)
        self._loop = loop
        self._sockets = sockets
        self._sock = sock
        self._fd = sock.fileno()
        self._receiver = receiver
        self._events = 0
        self._size = _FEW  # bytes the next read may bring
        # What the socket has not taken yet. Large pieces are those of the core, which many receivers of a message share.
        self._rest: deque[bytearray | memoryview] | None = None
        self._unsent = 0  # bytes of that
        self._high = 65536
        self._low = 16384
        self._full = False  # the receiver was told to pause
        self._eof = False
        self._closing = False
        self._ended = False
        self._watch(READ)
        receiver.connection_made(self)

    def _watch(self, events: int) -> None:
        if events != self._events:
            self._sockets.watch(self._fd, self, self._events, events)
            self._events = events

    # -- from the event loop ----------------------------------------------------------------------

    def key(self) -> Any:
        """See Owner."""
        return getattr(self._receiver, "key", b"")

    def ready(self, events: int) -> None:
        """See Owner."""
        try:
            if events != READ:
                self._drain()
            if events != WRITE and self._events & READ:
                data = self._read(events)
                if not data:
                    self.close()
                    return
                if len(data) > _GATHER:
                    self.take(data)
                    self._sockets.flush()
                else:
                    self._sockets.arrived.append((self, data))
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as e:
            self._end(e)

    def take(self, data: bytes) -> None:
        """See Owner."""
        if self._ended:  # by what another socket has brought
            return
        try:
            self._receiver.receive(data)
        except Exception as e:
            self._loop.call_exception_handler({"message": "a client's connection has failed", "exception": e, "transport": self})
            self._end(e)

    def _read(self, events: int) -> bytes:
        size = self._size
        if size > _SOME:
            buffer = self._sockets.buffer
            count = self._sock.recv_into(buffer)
            data = bytes(buffer[:count])
        else:
            data = self._sock.recv(size)
            if len(data) == _FEW == size:  # the rest at once, as what is handled together is answered together
                size += _SOME
                try:
                    data += self._sock.recv(_SOME)
                except OSError:  # there is no more now, or the connection is over: the next read tells
                    pass
        count = len(data)
        self._size = _FEW if count <= _FEW else _SOME if count < _SOME else BUFFER
        if count == size or count and events & ~(READ | WRITE):  # there may be more, or the end
            self._sockets.watch(self._fd, self, self._events, self._events)
        return data

    def _drain(self) -> None:
        rest = self._rest
        if rest is None:
            return
        pieces = len(rest)
        try:
            while rest:
                piece = rest[0]
                count = self._sock.send(piece)
                self._unsent -= count
                self._sockets.unsent -= count
                if count < len(piece):
                    rest[0] = memoryview(piece)[count:]
                    break
                rest.popleft()
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as e:
            self._cut_off(e)
            return
        if not rest:
            self._rest = None
            self._watch(self._events & ~WRITE)
            if self._closing:
                self._end(None)
                return
            if self._eof:
                self._sock.shutdown(socket.SHUT_WR)
        if self._full:
            if self._unsent <= self._low:
                self._full = False
                self._receiver.resume_writing()
            elif len(rest) < pieces:
                self._receiver.pause_writing()

    def _cut_off(self, error: OSError) -> None:
        """Nothing can be written any more. What the peer sent before it went is still to be read, and behind it the end."""
        if self._closing or self._eof:
            self._end(error)
            return
        self._forget()
        self._eof = True
        if self._events & READ:
            self._sockets.watch(self._fd, self, self._events, READ)  # even if it is for READ already: the end may be there
            self._events = READ
        else:
            self._watch(0)
        if self._full:
            self._full = False
            self._receiver.resume_writing()

    def _forget(self) -> None:
        """What is unsent stays so."""
        self._rest = None
        self._sockets.unsent -= self._unsent
        self._unsent = 0

    def _end(self, error: Exception | None) -> None:
        """Nothing is read or written any more; the receiver hears of it later, as it may be what calls us."""
        if not self._ended:
            self._ended = self._closing = True
            self._forget()
            self._watch(0)
            self._loop.call_soon(self._lost, error)

    def _lost(self, error: Exception | None) -> None:
        self._sock.close()
        receiver = self._receiver
        self._receiver = _NOBODY  # who goes leaves nothing behind that the cycle collector would have to find
        receiver.connection_lost(error)

    # -- asyncio.Transport ----------------------------------------------------------------------

    def write(self, data: Buffer) -> None:
        """Send what the socket takes now and keep the rest."""
        rest = self._rest
        if rest is None:
            if self._ended or self._eof:
                return
            try:
                count = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                count = 0
            except OSError as e:
                self._cut_off(e)
                return
            if count == len(data):
                return
            self._rest = rest = deque()
            self._watch(self._events | WRITE)
            data = memoryview(data)[count:]
        size = len(data)
        self._unsent += size
        self._sockets.unsent += size
        if size >= _SHARED and not isinstance(data, bytearray):
            rest.append(memoryview(data))
        elif rest and isinstance(rest[-1], bytearray) and len(rest[-1]) < _SHARED:
            rest[-1] += data
        else:
            rest.append(bytearray(data))
        if not self._full and self._unsent > self._high:
            self._full = True
            self._receiver.pause_writing()

    def get_write_buffer_size(self) -> int:
        """Bytes the socket has not taken yet."""
        return self._unsent

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Bytes above and below which the receiver is told to pause and to resume."""
        self._high = 65536 if high is None else high
        self._low = self._high // 4 if low is None else low

    def pause_reading(self) -> None:
        """Read no more until `resume_reading`."""
        self._watch(self._events & ~READ)

    def resume_reading(self) -> None:
        """Read again."""
        if not self._closing:
            self._watch(self._events | READ)

    def can_write_eof(self) -> bool:
        """It can."""
        return True

    def write_eof(self) -> None:
        """Close our half when all is sent."""
        if not self._closing and not self._eof:
            self._eof = True
            if self._rest is None:
                try:
                    self._sock.shutdown(socket.SHUT_WR)
                except OSError as e:  # the peer has reset it, which nobody has read yet
                    self._end(e)

    def is_closing(self) -> bool:
        """True when it is closed, or will be when all is sent."""
        return self._closing

    def close(self) -> None:
        """Read no more, and close when all is sent."""
        self._closing = True
        if self._rest is None:
            self._end(None)
        else:
            self._watch(WRITE)

    def abort(self) -> None:
        """Close now."""
        self._end(None)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`socket`, see asyncio.BaseTransport; `under_way`: bytes left of the piece that is being sent, if that is a large one."""
        if name == "under_way" and self._rest and isinstance(self._rest[0], memoryview):
            return len(self._rest[0])
        return self._sock if name == "socket" else default
