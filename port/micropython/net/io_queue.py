"""Sockets served straight from asyncio's poll: no task, no stream and no garbage per wake-up.

asyncio on MicroPython has one poll object, in its IOQueue. `install` puts a queue of ours in
its place that shares poll object and waiting tasks with it, and serves our own sockets by
calling their owner. A task and a stream for each client would cost 340 bytes more and twice
the time per message.
"""

import gc
import select
import sys
from asyncio import core  # type: ignore[attr-defined,unused-ignore]

from port.core import const
from port.micropython.net.lwip import budget, has_queue, waiting

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

_POLLIN = select.POLLIN
_POLLOUT = select.POLLOUT
_LOOK = const(20)  # ms between two looks at sockets that do not tell when they can be written


class Poller(core.IOQueue):  # type: ignore[misc,name-defined,unused-ignore]
    """asyncio's I/O queue that also calls `owner.ready(events)` for sockets it watches."""

    def __init__(self, queue: "Any") -> None:
        # What tasks wait for already stays where it is: they know the old queue, it has the same dicts.
        self.poller = queue.poller
        self.map = queue.map
        # By socket, not by its id() as asyncio has it: where addresses need more than 30 bits, each id() is a new object.
        self._owners: "dict[Any, Any]" = {}
        # As long as there are owners: nothing is allocated while polling, even when memory has run out.
        self._ready: "list[Any]" = []
        self._events = bytearray()
        self.servers: "list[Any]" = []  # whose output is flushed when all that are ready have been read
        self._turn = 0

    def watch(self, sock: "Any", owner: "Any", events: int) -> None:
        """Call `owner.ready(events)` when the socket is ready for one of `events`, or in error.

        What that raises is passed to `owner.failed`.
        """
        if len(self._owners) >= len(self._ready):
            self._events.append(0)
            self._ready.append(None)
        stream = getattr(sock, "stream", sock)  # TLS: what knows of data that was decrypted already
        self._owners[stream] = owner
        self.poller.register(stream, events)

    def change(self, sock: "Any", events: int) -> None:
        """Wait for other events."""
        stream = getattr(sock, "stream", sock)
        if has_queue(stream):
            if events & _POLLOUT:
                waiting[stream] = self._owners[stream]
                events &= ~_POLLOUT
            else:
                waiting.pop(stream, None)
        try:
            self.poller.modify(stream, events)
        except OSError:  # it is not watched: there was no memory for that
            self.poller.register(stream, events)

    def unwatch(self, sock: "Any") -> None:
        """Forget the socket."""
        stream = getattr(sock, "stream", sock)
        if self._owners.pop(stream, None) is not None:
            waiting.pop(stream, None)
            self.poller.unregister(stream)

    def wait_io_event(self, dt: int) -> None:
        """Wait up to `dt` ms (-1: for ever), wake asyncio's tasks, then serve our own sockets."""
        owners = self._owners
        ready = self._ready
        events = self._events
        if waiting and not 0 <= dt <= _LOOK:
            dt = _LOOK
        count = 0
        owner = None
        for s, event in self.poller.ipoll(dt):
            owner = owners.get(s)
            if owner is not None:
                # Served after the loop: a change to the poll object inside it gives stale events.
                ready[count] = owner
                events[count] = event
                count += 1
                continue
            self._wake(s, event)
        budget[3] = 0
        # All are read before anything is written: what lies unread in sockets takes lwIP's room for acknowledgements.
        for i in range(count):
            owner = ready[i]
            ready[i] = None
            try:
                owner.ready(events[i])
            except Exception as e:  # here it would end the event loop
                _failed(owner, e)
        self._flush(owner)
        if waiting:
            self._look()
            self._flush(owner)

    def _flush(self, owner: "Any") -> None:
        """Send what has come of it; if that fails, the last that was read is to blame."""
        for server in self.servers:
            if server.dirty:
                try:
                    server.flush()
                except Exception as e:
                    _failed(owner or server, e)

    def _wake(self, s: "Any", event: int) -> None:
        """What asyncio's own queue does for its tasks."""
        entry = self.map[id(s)]
        if event & ~_POLLOUT and entry[0] is not None:
            core._task_queue.push(entry[0])
            entry[0] = None
        if event & ~_POLLIN and entry[1] is not None:
            core._task_queue.push(entry[1])
            entry[1] = None
        if entry[0] is None and entry[1] is None:
            self._dequeue(s)
        elif entry[0] is None:
            self.poller.modify(s, _POLLOUT)
        else:
            self.poller.modify(s, _POLLIN)

    def _look(self) -> None:
        """Let those write who have to wait for room."""
        turn = self._turn
        self._turn = turn + 1 if turn < len(waiting) else 0  # who comes first may find more room than the last
        for later in (0, 1):
            i = 0
            for s in waiting:  # a change to the dict may keep one waiting until the next look
                if (i < turn) == later:
                    owner = waiting[s]
                    try:
                        owner.ready(_POLLOUT)
                    except Exception as e:
                        _failed(owner, e)
                i += 1


def _failed(owner: "Any", error: Exception) -> None:
    try:
        owner.failed(error)
    except MemoryError:
        gc.collect()  # that is why the owner has not settled it; it must do so later
    except Exception as e:
        sys.print_exception(e)  # type: ignore[attr-defined,unused-ignore]


def install() -> Poller:
    """The running loop's Poller, put in place if it is not there yet."""
    queue = core._io_queue
    if not isinstance(queue, Poller):
        queue = core._io_queue = Poller(queue)
    return queue
