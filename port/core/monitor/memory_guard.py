"""Takes load off a broker before its host's memory runs out; loaded by hosts with little memory.

    guard = MemoryGuard(broker)
    guard.watch("heap", gc.mem_free, 12288)
    guard.look()  # about once a second
    broker.memory.look = guard.look  # also before each new session that stays, if a second is too long

There are three steps; each includes the steps before it:

1   less than the bound is free: new clients are refused with CONNACK 0x97 (MQTT 3.x: 3). A client may take over its own
    connection and, below step 3, come back to its session, whose queue takes memory until it is delivered
2   less than three quarters of the bound are free: QoS 0, except $SYS, is counted as dropped and not delivered
3   less than half of the bound is free: the largest queues are dropped until enough is free, first those of clients that are
    away. Their messages are counted as dropped. Without queues, the client with the most unread bytes is disconnected

A step ends when an eighth of the bound more than its limit is free.
"""

from port.core import const
from port.core.monitor.load_shedding import drop_queues

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from port.core.messages.message import Message
    from port.core.sessions.session import Session
    from port.core.broker import Broker

_LAST = const(3)


class MemoryGuard:
    """The guard of one broker.

    dropped  messages dropped with queues, so far
    In $SYS/broker/: `memory/step` (0: enough is free), `memory/dropped`, and `memory/NAME/free` for each watched memory.
    """

    def __init__(self, broker: "Broker") -> None:
        self.dropped = 0
        self._broker = broker
        self._gauges: "list[tuple[str, Callable[[], int], int, int, int]]" = []
        broker.sys.extras.append(self._figures)

    def watch(self, name: str, free: "Callable[[], int]", least: int, last: int = _LAST, first: int = 1) -> None:
        """Watch a memory: `free()` returns its free bytes, `least` is the bound. A watched name gets a new bound.

        first, last: steps taken for it; a memory without queues has no third step
        """
        self._gauges = [gauge for gauge in self._gauges if gauge[0] != name]
        self._gauges.append((name, free, least, last, first))

    def look(self) -> None:
        """Compare the free bytes with the bounds and take the step. Call it about once a second; may raise MemoryError."""
        step = self._find_step()
        while step == _LAST and self.relieve():
            step = self._find_step()
        broker = self._broker
        before = broker.memory.shortage
        if step == before:
            return
        if (step > 1) != (before > 1):
            # With a message hook every message goes through Session.deliver.
            if step > 1:
                broker.on("message", _seen)
            else:
                broker.off("message", _seen)
        broker.memory.shortage = step
        free = ", ".join(["%s %d" % (name, free()) for name, free, _, _, _ in self._gauges])
        broker.log(2 if step else 1, "memory: step %d of 3, bytes free: %s", step, free)

    def _find_step(self) -> int:
        found = 0
        for _, free, least, last, first in self._gauges:
            left = free()
            step = _step(left, least)
            if step < self._broker.memory.shortage:
                step = min(_step(left - least // 8, least), self._broker.memory.shortage)
            if step >= first:
                found = max(found, min(step, last))
        return found

    def relieve(self) -> bool:
        """Drop the largest queue, or disconnect the client with the most unread bytes; False when there is neither.

        Also for a host whose free memory is in pieces too small.
        """
        count = drop_queues(self._broker, None)
        self.dropped += count
        return count > 0 or self._broker.drop_slowest()

    def _figures(self) -> "list[tuple[str, Any]]":
        found: "list[tuple[str, Any]]" = [("memory/step", self._broker.memory.shortage), ("memory/dropped", self.dropped)]
        for name, free, _, _, _ in self._gauges:
            found.append(("memory/%s/free" % name, free()))
        return found


def _step(left: int, least: int) -> int:
    """The step for so many free bytes."""
    if left >= least:
        return 0
    if left * 4 >= least * 3:
        return 1
    return 2 if left * 2 >= least else 3


def _seen(client: "Optional[Session]", message: "Message") -> None:
    """A hook that changes nothing."""
