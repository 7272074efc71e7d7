"""asyncio's event loop on a selector that serves the broker's sockets itself, while it polls.

Where each read holds a single message, asyncio's keys, handles and checks cost as much as the kernel's part; and what one
poll has brought can be answered together, in one write for each client. All else runs on this loop as on any other.
"""

from __future__ import annotations

import asyncio
import math
import select
import selectors
from collections.abc import Callable, Mapping
from typing import Any, Protocol

AVAILABLE = hasattr(select, "epoll")
READ = getattr(select, "EPOLLIN", 1)
WRITE = getattr(select, "EPOLLOUT", 4)

_BUFFER = 262144  # bytes
_MOST = 256  # sockets served in one poll


class Owner(Protocol):
    """Whom a socket belongs to."""

    def ready(self, events: int) -> None:
        """The socket can be read or written (READ, WRITE), or is in error (other bits). Must not raise."""


class Poller(selectors.BaseSelector):
    """The selector of an EventLoop.

    after   called when sockets have been served: answers may wait until then
    buffer  for reads of many bytes
    """

    def __init__(self) -> None:
        self.after: list[Callable[[], None]] = []
        self.buffer = memoryview(bytearray(_BUFFER))
        self._owners: dict[int, Owner] = {}
        self._others = selectors.EpollSelector()  # all that asyncio watches; in our epoll it is one more descriptor
        self._epoll = select.epoll()
        self._epoll.register(self._others.fileno(), READ)

    def watch(self, fd: int, owner: Owner, old: int, events: int) -> None:
        """Call `owner.ready` for these events, where it was for the old ones; 0 is not even for errors."""
        if not events:
            del self._owners[fd]
            self._epoll.unregister(fd)
        elif old:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
            self._owners[fd] = owner

    def flush(self) -> None:
        """Have all answers sent."""
        for call in self.after:
            call()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait, serve the sockets that have owners, and return the others, as selectors do."""
        # Up to the next millisecond, as EpollSelector has it: a timer must be due when epoll has waited for it.
        seconds = -1 if timeout is None else max(0, math.ceil(timeout * 1e3) * 1e-3)
        owners = self._owners
        served = others = False
        for fd, events in self._epoll.poll(seconds, _MOST):
            owner = owners.get(fd)
            if owner is not None:
                owner.ready(events)
                served = True
            else:
                others = True
        if served:
            self.flush()
        return self._others.select(0) if others else []

    # -- what asyncio asks of a selector --------------------------------------------------------

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """See BaseSelector."""
        return self._others.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """See BaseSelector."""
        return self._others.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """See BaseSelector."""
        return self._others.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """See BaseSelector."""
        return self._others.get_map()

    def close(self) -> None:
        """See BaseSelector."""
        self._epoll.close()
        self._others.close()


class EventLoop(asyncio.SelectorEventLoop):
    """asyncio's loop with a Poller, on Linux: `asyncio.Runner(loop_factory=EventLoop)`."""

    def __init__(self) -> None:
        self.poller = Poller()
        super().__init__(self.poller)
