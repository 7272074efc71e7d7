"""The sockets the broker serves itself: an epoll of their own, which any event loop can watch as one descriptor."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Any, Final

AVAILABLE = hasattr(select, "epoll")
READ: Final = 1  # EPOLLIN
WRITE: Final = 4  # EPOLLOUT
# EPOLLET: of each socket epoll tells once; else it would look at all it has told of once more, a twentieth of what a message
# costs where each read holds one. EPOLLRDHUP: the peer's end, which may lie behind what one read brings.
_ONCE: Final = 0x80002000

BUFFER: Final = 262144  # bytes of the largest read
_MOST: Final = 64  # sockets served in one poll
_FEW: Final = 2  # sockets that keep nobody waiting
_ALL: Final = 1024  # sockets asked for in one poll while addresses are served in turn: they wait for their turn, not for being seen
_LONG: Final = 0.01  # seconds; when one poll takes longer, addresses are served in turn,
_WHILE: Final = 1.0  # for so many seconds


class Owner:
    """Whom a socket belongs to."""

    __slots__ = ()

    def key(self) -> Any:
        """The address it is served for, when addresses have to take turns."""
        return b""

    def ready(self, events: int) -> None:
        """The socket can be read or written (READ, WRITE), or is in error (other bits). Must not raise."""
        raise NotImplementedError

    def take(self, data: bytes) -> None:
        """Handle what it has put into `Sockets.arrived`. Must not raise."""
        raise NotImplementedError

    def abort(self) -> None:
        """Close it now."""
        raise NotImplementedError


class Sockets:
    """Sockets with owners, and other descriptors that are only told of.

    As long as polls are short all sockets that are ready are served. After a long one addresses take turns: from each one
    socket at a time, and what there is no time for is served after the next poll. So somebody who sends little waits for one
    socket of each address that sends much, however many it has. Polls are timed once one has found more than a few sockets.

    arrived  what owners have read in this poll: they take it when all have read, as code runs faster that ran just before
    after    called when sockets have been served: answers may wait until then
    again    called when somebody waits for his turn: `serve` is to be called again soon
    buffer   for reads of many bytes
    unsent   bytes that sockets have not taken yet
    """

    __slots__ = ("arrived", "after", "again", "buffer", "unsent", "_owners", "_epoll", "_late", "_crowded", "_busy")

    def __init__(self) -> None:
        self.arrived: list[tuple[Owner, bytes]] = []
        self.after: list[Callable[[], None]] = []
        self.again: Callable[[], object] | None = None
        self.buffer = memoryview(bytearray(BUFFER))
        self.unsent = 0
        self._owners: dict[int, Owner] = {}
        # Who waits for his turn, with his events, by address: it moves to the end each time.
        self._late: dict[Any, dict[Owner, int]] = {}
        self._crowded = False  # many sockets were ready at once
        self._busy = 0.0  # when a poll was long last, 0 while none is
        self._epoll = select.epoll()

    def fileno(self) -> int:
        """What can be read when there is something to serve."""
        return self._epoll.fileno()

    def tell(self, fd: int) -> None:
        """Have `serve` tell when this descriptor can be read."""
        self._epoll.register(fd, READ)

    def watch(self, fd: int, owner: Owner, old: int, events: int) -> None:
        """Call `owner.ready` for these events, where it was for the old ones; 0 is not even for errors.

        It is called once when the socket becomes ready; then again only when more has come or can be written, or after
        the next call of `watch`, be it for the same events.
        """
        if not events:
            del self._owners[fd]
            self._epoll.unregister(fd)
        elif old:
            self._epoll.modify(fd, events | _ONCE)
        else:
            self._epoll.register(fd, events | _ONCE)
            self._owners[fd] = owner

    def serve(self, seconds: float) -> bool:
        """Wait so long, -1 for ever, and serve the sockets that have owners; True when there is something to tell."""
        if self._crowded:
            return self._serve_crowd(seconds)
        owners = self._owners
        served = told = False
        fd: Any  # an int that stays an object when compiled, as dict keys are
        found = self._epoll.poll(seconds, _MOST)
        for fd, events in found:
            owner = owners.get(fd)
            if owner is not None:
                owner.ready(events)
                served = True
            else:
                told = True
        if served:
            arrived = self.arrived
            self.arrived = []
            for owner, data in arrived:
                owner.take(data)
            self.flush()
        if len(found) > _FEW:
            self._crowded = True
        return told

    def _serve_crowd(self, seconds: float) -> bool:
        """What `serve` does after many sockets were ready at once: it looks at the time. It does not wait."""
        if self._busy:
            return self._serve_in_turn(seconds)
        self._crowded = False
        start = time.perf_counter()
        told = self.serve(0)
        now = time.perf_counter()
        if now - start > _LONG:
            self._busy = now
            self._crowded = True
        return told

    def _serve_in_turn(self, seconds: float) -> bool:
        """What `serve` does after a long poll."""
        late = self._late
        told = False
        fd: Any
        for fd, events in self._epoll.poll(0 if late else seconds, _ALL):
            owner = self._owners.get(fd)
            if owner is None:
                told = True
            else:
                waiting = late.setdefault(owner.key(), {})
                waiting[owner] = waiting.get(owner, 0) | events
        start = now = time.perf_counter()
        over = False
        while late and not over:
            for key in list(late):
                turns = late.pop(key)
                owner = next(iter(turns))
                events = turns.pop(owner)
                if turns:
                    late[key] = turns
                owner.ready(events)
                arrived = self.arrived
                if arrived:
                    self.arrived = []
                    for owner, data in arrived:
                        owner.take(data)
                    self.flush()
                now = time.perf_counter()
                over = now - start > _LONG
                if over:
                    break
        if over:
            self._busy = now
        elif not late and now - self._busy > _WHILE:
            self._busy = 0.0
        if late and self.again is not None:
            self.again()
        return told

    def flush(self) -> None:
        """Have all answers sent."""
        for call in self.after:
            call()

    def abort(self) -> None:
        """Close all sockets that have owners."""
        for owner in list(self._owners.values()):
            owner.abort()

    def close(self) -> None:
        """Watch no more."""
        self._epoll.close()
