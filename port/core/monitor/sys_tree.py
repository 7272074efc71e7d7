"""The broker's figures, and their publication as $SYS topics.

Figures are not stored. A round is published to subscribers every `sys_interval` seconds, in slices when there are many; a new
subscriber gets the present values, as if they were retained. A package without port.core.monitor.sys_topics has no $SYS topics.
"""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, Optional

    from port.core.messages.retained import Record
    from port.core.sessions.session import Session
    from port.core.broker import Broker


_FEW = const(1000)  # most sessions counted at once
_COUNTED = const(2)  # cost of counting one, in deliveries (Turns.spent)


class SysInfo:
    """The broker's figures.

    started    ms on the broker's clock at the start
    wall       () -> ms since 1970 by the host's clock, set by the host
    wall_step  resolution of `wall`, ms: 1000 for whole seconds
    extras     callables that return further (name, value) pairs, added by the host
    metrics    yields the host's own metrics, as port.core.monitor.metrics.families does, or None
    earlier    the broker's counters of earlier runs, by their names in port.core.storage.records.TOTALS, or None
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
        self._waiting = [0, 0]  # see waiting; the last count
        self._steps: "Optional[Iterator[None]]" = None  # steps of the round under way
        self._job: "Any" = self._go_on

    def figures(self) -> "list[tuple[str, Any]]":
        """The present (topic below $SYS/broker/, value) pairs."""
        from port.core.monitor.sys_topics import figures

        return figures(self._broker)

    def waiting(self) -> "list[int]":
        """Messages in flight and in queues: of the last count when there are many sessions."""
        if len(self._broker.sessions) <= _FEW:
            for _ in self.count():
                pass
        return self._waiting

    def count(self) -> "Iterator[None]":
        """Count for `waiting`, a session in each step."""
        counts = [0, 0]
        for session in list(self._broker.sessions.values()):
            _tally(counts, session)
            yield
        self._waiting = counts

    def matching(self, topic_filter: bytes) -> "list[Record]":
        """The $SYS messages that a filter matches, with present values, as retained records."""
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
        if self._job in broker.turns.jobs:  # the last round is still under way
            return
        self._steps = self._round()
        if self._go_on():
            broker.turns.background(self._job)

    def _go_on(self) -> bool:
        """A job, see Turns.background."""
        broker = self._broker
        steps = self._steps
        self._steps = None  # in case a step fails
        for _ in steps or ():
            if broker.turns.spent > broker.turns.limit:
                self._steps = steps
                return True
        return False

    def _round(self) -> "Iterator[None]":
        """Publish the figures in steps, with the values of one moment: after the count when there are many sessions."""
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
