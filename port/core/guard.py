"""Takes load off a broker before its host's memory runs out; loaded by hosts that have little.

    guard = MemoryGuard(broker)
    guard.watch("heap", gc.mem_free, 12288)
    guard.look()  # about once a second

There are three steps, each with what the ones before it do:

1   less is free than the bound: no new client, CONNACK 0x97 (MQTT 3.x: 3); whoever takes over its own connection may
2   less than three quarters of it: QoS 0 is not delivered, $SYS aside, and counted as dropped
3   less than half: the largest queue goes, and the next, until there is enough; those of clients that are away come first.
    The messages are counted as dropped

A step is over when an eighth of the bound more is free.
"""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from port.core.broker import Broker
    from port.core.message import Message
    from port.core.session import Session

_LAST = const(3)
_ENTRY = const(96)  # bytes of memory that a queued message takes besides its own


class MemoryGuard:
    """The guard of one broker.

    dropped  messages that were in the queues dropped for want of memory, so far
    In $SYS/broker/: `memory/step` (0: there is enough), `memory/dropped`, and `memory/NAME/free` for what is watched.
    """

    def __init__(self, broker: "Broker") -> None:
        self.dropped = 0
        self._broker = broker
        self._gauges: "list[tuple[str, Callable[[], int], int, int]]" = []
        broker.sys.extras.append(self._figures)

    def watch(self, name: str, free: "Callable[[], int]", least: int, last: int = _LAST) -> None:
        """`free()` are the bytes left of some memory, `least` the bound; `last` the step where it stops: 2 for a
        memory in which there are no queues."""
        self._gauges.append((name, free, least, last))

    def look(self) -> None:
        """See how much is free, and do what that asks for. To be called about once a second; may raise MemoryError."""
        step = self._find_step()
        while step == _LAST:
            session = self._largest()
            if session is None:
                break
            self._drop_queue(session)
            step = self._find_step()
        broker = self._broker
        before = broker.shortage
        if step == before:
            return
        if (step > 1) != (before > 1):
            # While there is a message hook, nothing is passed on without Session.deliver.
            if step > 1:
                broker.on("message", _seen)
            else:
                broker.off("message", _seen)
        broker.shortage = step
        free = ", ".join(["%s %d" % (name, free()) for name, free, _, _ in self._gauges])
        broker.log(2 if step else 1, "memory: step %d of 3, bytes free: %s", step, free)

    def _find_step(self) -> int:
        found = 0
        for _, free, least, last in self._gauges:
            left = free()
            step = _step(left, least)
            if step < self._broker.shortage:
                step = min(_step(left - least // 8, least), self._broker.shortage)
            found = max(found, min(step, last))
        return found

    def _largest(self) -> "Optional[Session]":
        """Whose queue is the largest of the clients that are away; if none has one, of those that are there."""
        found = None
        for away in (True, False):
            most = 0
            for session in self._broker.sessions.values():
                if session.queue and (session.conn is None) is away:
                    size = session.queued_bytes + _ENTRY * len(session.queue)
                    if size > most:
                        most = size
                        found = session
            if found is not None:
                break
        return found

    def _drop_queue(self, session: "Session") -> None:
        broker = self._broker
        queue: "Any" = session.queue
        count = len(queue)
        session.queue = None
        session.queued_bytes = 0
        broker.dropped += count
        self.dropped += count
        if session.number:
            for entry in queue:
                if entry[4]:
                    broker.journal.removed(entry)
        broker.log(2, "%s: memory is short, its queue of %d messages is dropped", str(session.client_id, "utf-8"), count)

    def _figures(self) -> "list[tuple[str, Any]]":
        found: "list[tuple[str, Any]]" = [("memory/step", self._broker.shortage), ("memory/dropped", self.dropped)]
        for name, free, _, _ in self._gauges:
            found.append(("memory/%s/free" % name, free()))
        return found


def _step(left: int, least: int) -> int:
    """The step that so many bytes ask for."""
    if left >= least:
        return 0
    if left * 4 >= least * 3:
        return 1
    return 2 if left * 2 >= least else 3


def _seen(client: "Optional[Session]", message: "Message") -> None:
    """A hook that leaves messages as they are."""
