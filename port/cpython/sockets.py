"""The sockets the broker serves itself: an epoll of their own, which any event loop can watch as one descriptor."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any, Final

AVAILABLE = hasattr(select, "epoll")
READ: Final = 1  # EPOLLIN
WRITE: Final = 4  # EPOLLOUT
# EPOLLET: of each socket epoll tells once; else it would look at all it has told of once more, a twentieth of what a message
# costs where each read holds one. EPOLLRDHUP: the peer's end, which may lie behind what one read brings.
_ONCE: Final = 0x80002000

BUFFER: Final = 262144  # bytes of the largest read
_MOST: Final = 256  # sockets served in one poll


class Owner:
    """Whom a socket belongs to."""

    __slots__ = ()

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

    arrived  what owners have read in this poll: they take it when all have read, as code runs faster that ran just before
    after    called when sockets have been served: answers may wait until then
    buffer   for reads of many bytes
    """

    __slots__ = ("arrived", "after", "buffer", "_owners", "_epoll")

    def __init__(self) -> None:
        self.arrived: list[tuple[Owner, bytes]] = []
        self.after: list[Callable[[], None]] = []
        self.buffer = memoryview(bytearray(BUFFER))
        self._owners: dict[int, Owner] = {}
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
        owners = self._owners
        served = told = False
        fd: Any  # an int that stays an object when compiled, as dict keys are
        for fd, events in self._epoll.poll(seconds, _MOST):
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
