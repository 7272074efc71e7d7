"""Counters and timings for port.core.monitor.metrics alone.

Counters.measures is None unless a listener has info pages. Messages that are delivered cost nothing here.
"""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

    from port.core.limits.listener import Listener
    from port.core.auth.authenticator import Authenticator
    from port.core.protocol.connection import Connection

# Upper bounds of the buckets in microseconds, and in seconds as text.
BOUNDS = (
    (1000, "0.001"), (2000, "0.002"), (5000, "0.005"), (10000, "0.01"), (20000, "0.02"), (50000, "0.05"), (100000, "0.1"),
    (200000, "0.2"), (500000, "0.5"), (1000000, "1.0"), (2000000, "2.0"), (5000000, "5.0"), (10000000, "10.0"),
)  # fmt: skip


class Histogram:
    """Durations counted in buckets.

    counts  by BOUNDS; the last one counts all above them
    total   microseconds
    """

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0

    def add(self, took: int) -> None:
        """Count a duration of `took` microseconds."""
        i = 0
        for bound in BOUNDS:
            if took <= bound[0]:
                break
            i += 1
        self.counts[i] += 1
        self.total += took


class Measures:
    """The measures of one broker.

    received QoS 0 messages received, at the last page
    drops    messages not delivered, by reason, see port.core.wire.reason_codes; the rest of Counters.dropped has the reason 0
    ends     ended connections by reason code, plus 256 for those of clients that had been let in
    entered  by listener: connections accepted to wait for CONNECT
    away     by listener and reason: connections closed before CONNECT
    clients  by listener and protocol level: connected clients
    batches  time from handing a batch of records to the store until it is durable; None before the first
    answers  by authenticator_label: time from asking an authenticator until its answer
    """

    def __init__(self) -> None:
        self.received = 0
        self.drops = [0] * 7
        self.ends: "dict[int, int]" = {}
        self.entered: "dict[str, int]" = {}
        self.away: "dict[tuple[str, int], int]" = {}
        self.clients: "dict[tuple[str, int], int]" = {}
        self.batches: "Optional[Histogram]" = None
        self.answers: "dict[str, Histogram]" = {}

    def accepted(self, listener: "Listener") -> None:
        """Count a connection that waits for CONNECT."""
        self.entered[listener.id] = self.entered.get(listener.id, 0) + 1

    def turned_away(self, listener: "Listener", reason: int) -> None:
        """Count a connection closed before CONNECT."""
        key = (listener.id, reason)
        self.away[key] = self.away.get(key, 0) + 1

    def came(self, conn: "Connection") -> None:
        """Count a client that was let in."""
        key = (conn.listener.id, conn.version)
        self.clients[key] = self.clients.get(key, 0) + 1

    def went(self, conn: "Connection", code: int, was_open: bool) -> None:
        """Count a connection that ended."""
        if was_open:
            code += 256
            key = (conn.listener.id, conn.version)
            self.clients[key] = max(0, self.clients.get(key, 0) - 1)  # it was not counted if memory had run out
        self.ends[code] = self.ends.get(code, 0) + 1

    def stored(self, took: int) -> None:
        """Count a batch that became durable after `took` microseconds."""
        if self.batches is None:
            self.batches = Histogram()
        self.batches.add(took)

    def answered(self, authenticator: "Authenticator", took: int) -> None:
        """Count an answer of an authenticator after `took` microseconds."""
        name = authenticator_label(authenticator)
        if name not in self.answers:
            self.answers[name] = Histogram()
        self.answers[name].add(took)


def authenticator_label(authenticator: "Authenticator") -> str:
    """An authenticator's label in the metrics: its name, or without one the name of its class."""
    return authenticator.name or type(authenticator).__name__
