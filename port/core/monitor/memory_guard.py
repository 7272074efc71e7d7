"""Takes load off a broker before its host's memory runs out; loaded by hosts that have little.

    guard = MemoryGuard(broker)
    guard.watch("heap", gc.mem_free, 12288)
    guard.look()  # about once a second
    broker.memory.look = guard.look  # and before each new session that stays, where a second is too long

There are three steps, each with what the ones before it do:

1   less is free than the bound: no new client, CONNACK 0x97 (MQTT 3.x: 3); whoever takes over its own connection may, and
    below step 3 who comes back to a session, as what waits in it takes memory until he has it
2   less than three quarters of it: QoS 0 is not delivered, $SYS aside, and counted as dropped
3   less than half: the largest queues go, until there is enough; those of clients that are away come first. The messages
    are counted as dropped. Where there are no queues, the client goes that leaves most unread

A step is over when an eighth of the bound more is free.
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

    dropped  messages that were in the queues dropped for want of memory, so far
    In $SYS/broker/: `memory/step` (0: there is enough), `memory/dropped`, and `memory/NAME/free` for what is watched.
    """

    def __init__(self, broker: "Broker") -> None:
        self.dropped = 0
        self._broker = broker
        self._gauges: "list[tuple[str, Callable[[], int], int, int, int]]" = []
        broker.sys.extras.append(self._figures)

    def watch(self, name: str, free: "Callable[[], int]", least: int, last: int = _LAST, first: int = 1) -> None:
        """`free()` are the bytes left of some memory, `least` the bound.

        first, last: the steps that are taken for it: a memory in which there are no queues has no third
        A name that is watched already gets another bound.
        """
        self._gauges = [gauge for gauge in self._gauges if gauge[0] != name]
        self._gauges.append((name, free, least, last, first))

    def look(self) -> None:
        """See how much is free, and do what that asks for. To be called about once a second; may raise MemoryError."""
        step = self._find_step()
        while step == _LAST and self.relieve():
            step = self._find_step()
        broker = self._broker
        before = broker.memory.shortage
        if step == before:
            return
        if (step > 1) != (before > 1):
            # While there is a message hook, nothing is passed on without Session.deliver.
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
        """Let the largest queue go, or who leaves most unread; False when there is neither.

        For a host, too, whose memory has run out though enough of it is free, in pieces too small.
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
    """The step that so many bytes ask for."""
    if left >= least:
        return 0
    if left * 4 >= least * 3:
        return 1
    return 2 if left * 2 >= least else 3


def _seen(client: "Optional[Session]", message: "Message") -> None:
    """A hook that leaves messages as they are."""
