"""The broker's figures, and when they are published as $SYS topics.

Nothing is stored: a round is published every `sys_interval` seconds to whoever subscribes,
and a new subscriber gets the values of the moment, as if they were retained. A broker that was
installed without port.core.figures has no $SYS topics.
"""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable

    from port.core.broker import Broker
    from port.core.retained import Record


class SysInfo:
    """The broker's figures.

    started  when, ms on the broker's clock
    wall     () -> seconds since 1970, set by the host
    extras   callables that return further (name, value) pairs, added by the host
    """

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self.started = broker.clock()
        self._due = self.started
        self.wall: "Callable[[], int]" = lambda: 0
        self.extras: "list[Callable[[], list[tuple[str, Any]]]]" = []

    def figures(self) -> "list[tuple[str, Any]]":
        """All (topic below $SYS/broker/, value) pairs of this moment."""
        from port.core.figures import figures

        return figures(self._broker)

    def matching(self, topic_filter: bytes) -> "list[Record]":
        """The $SYS messages a filter matches, with the values of this moment, as retained records."""
        try:
            from port.core.figures import matching
        except ImportError:
            return []
        return matching(self._broker, topic_filter)

    def tick(self, now: int) -> None:
        """Publish a round when it is due."""
        interval = self._broker.options.sys_interval * 1000
        if not interval or now < self._due:
            return
        self._due = now + interval
        try:
            from port.core.figures import publish
        except ImportError:
            return
        publish(self._broker)
