"""The broker's figures, and when they are published as $SYS topics.

Nothing is stored: a round is published every `sys_interval` seconds to whoever subscribes, in
slices where that are many, and a new subscriber gets the values of the moment, as if they were retained. A broker that was
installed without port.core.monitor.sys_topics has no $SYS topics.
"""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, Optional

    from port.core.messages.retained import Record
    from port.core.sessions.session import Session
    from port.core.broker import Broker


_FEW = const(1000)  # sessions that are looked at all at once
_COUNTED = const(2)  # what it costs to look at one, in the units of Turns.limit


class SysInfo:
    """The broker's figures.

    started    when, ms on the broker's clock
    wall       () -> ms since 1970 by the host's clock, set by the host
    wall_step  ms by which that goes: 1000 where it tells whole seconds
    extras     callables that return further (name, value) pairs, added by the host
    metrics    what tells the host's own metrics, as port.core.monitor.metrics.families does, or None
    earlier    what the broker's counters had come to when it started, by their names in port.core.storage.records.TOTALS, or None
    """

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self.started = broker.clock()
        self._due = self.started
        self.wall: "Callable[[], int]" = lambda: 0
        self.wall_step = 1
        self.extras: "list[Callable[[], list[tuple[str, Any]]]]" = []
        self.metrics: "Optional[Callable[[Broker], Any]]" = None
        self.earlier: "Optional[dict[str, int]]" = None
        self._waiting = [0, 0]  # see waiting, as last counted
        self._steps: "Optional[Iterator[None]]" = None  # of the round that is under way
        self._job: "Any" = self._go_on

    def figures(self) -> "list[tuple[str, Any]]":
        """All (topic below $SYS/broker/, value) pairs of this moment."""
        from port.core.monitor.sys_topics import figures

        return figures(self._broker)

    def waiting(self) -> "list[int]":
        """Messages in flight and in queues. Where there are many sessions, as they were when they were last counted."""
        if len(self._broker.sessions) <= _FEW:
            for _ in self.count():
                pass
        return self._waiting

    def count(self) -> "Iterator[None]":
        """Count what `waiting` tells, a session in each step."""
        counts = [0, 0]
        for session in list(self._broker.sessions.values()):
            _tally(counts, session)
            yield
        self._waiting = counts

    def matching(self, topic_filter: bytes) -> "list[Record]":
        """The $SYS messages a filter matches, with the values of this moment, as retained records."""
        try:
            from port.core.monitor.sys_topics import matching
        except ImportError:
            return []
        return matching(self._broker, topic_filter)

    def tick(self, now: int) -> None:
        """Publish a round when it is due."""
        interval = self._broker.options.sys_interval * 1000
        if not interval or now < self._due:
            return
        self._due = now + interval
        broker = self._broker
        if self._job in broker.turns.jobs:  # the last one is still under way
            return
        self._steps = self._round()
        if self._go_on():
            broker.turns.background(self._job)

    def _go_on(self) -> bool:
        """A job, see Turns.background."""
        broker = self._broker
        steps = self._steps
        self._steps = None  # should it fail
        for _ in steps or ():
            if broker.turns.spent > broker.turns.limit:
                self._steps = steps
                return True
        return False

    def _round(self) -> "Iterator[None]":
        """Publish the figures in steps, with the values of one moment: where there are many sessions when all are counted."""
        broker = self._broker
        if len(broker.sessions) > _FEW:
            for _ in self.count():
                broker.turns.spent += _COUNTED
                yield
        try:
            from port.core.monitor.sys_topics import publish
        except ImportError:
            return
        for _ in publish(broker):
            yield


def _tally(counts: "list[int]", session: "Session") -> None:
    counts[0] += len(session.inflight)
    if session.queue:
        counts[1] += len(session.queue)
