"""asyncio's event loop on a selector that serves the broker's sockets itself, while it polls.

Where each read holds a single message, asyncio's keys, handles and checks cost as much as the kernel's part; and what one
poll has brought can be answered together, in one write for each client. All else runs on this loop as on any other.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import time
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Any, TypeVarTuple

from port.cpython.net.epoll import Sockets

_Ts = TypeVarTuple("_Ts")


class Poller(selectors.BaseSelector):
    """The selector of an EventLoop.

    sockets    those it serves itself
    scheduled  True when asyncio was given something to do since the last `select` began
    """

    def __init__(self) -> None:
        self.sockets = Sockets()
        self.scheduled = False
        self._others = selectors.EpollSelector()  # all that asyncio watches; for our sockets it is one more descriptor
        self.sockets.tell(self._others.fileno())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait and serve the sockets that have owners, until the others are ready: these are returned, as selectors do.

        It also ends when something was scheduled meanwhile, whose time may come before `timeout`.
        """
        self.scheduled = False
        left = math.inf if timeout is None else timeout
        end = time.monotonic() + left
        while True:
            # Up to the next millisecond, as EpollSelector has it: a timer must be due when epoll has waited for it.
            if self.sockets.serve(-1 if left == math.inf else max(0, math.ceil(left * 1e3) * 1e-3)):
                return self._others.select(0)
            left = end - time.monotonic()
            if left <= 0 or self.scheduled:
                return []

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
        self.sockets.close()
        self._others.close()


class EventLoop(asyncio.SelectorEventLoop):
    """asyncio's loop with a Poller, on Linux: `asyncio.Runner(loop_factory=EventLoop)`."""

    def __init__(self) -> None:
        self._poller = Poller()
        self.sockets = self._poller.sockets
        super().__init__(self._poller)

    def call_soon(self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None) -> asyncio.Handle:
        """See asyncio's loop."""
        self._poller.scheduled = True
        return super().call_soon(callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None) -> asyncio.TimerHandle:
        """See asyncio's loop; call_later is it, too."""
        self._poller.scheduled = True
        return super().call_at(when, callback, *args, context=context)

    def stop(self) -> None:
        """See asyncio's loop."""
        self._poller.scheduled = True
        super().stop()
