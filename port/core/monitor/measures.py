"""What is counted and timed for port.core.monitor.metrics alone.

It is there where a listener has info pages; elsewhere Counters.measures is None. Nothing here is asked for with each message.
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
    """How often something took how long.

    counts  by BOUNDS, the last one is for all that is above
    total   microseconds
    """

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0

    def add(self, took: int) -> None:
        """It took so many microseconds this time."""
        i = 0
        for bound in BOUNDS:
            if took <= bound[0]:
                break
            i += 1
        self.counts[i] += 1
        self.total += took


class Measures:
    """The figures of one broker.

    received messages of QoS 0 received, as last told
    drops    messages not delivered, by reason, see port.core.wire.reason_codes; what is left of Counters.dropped has the reason 0
    ends     connections that are over, by reason code, and 256 more for those of clients that had been let in
    entered  by listener: connections on which a CONNECT was waited for
    away     by listener and reason: connections turned away before that
    clients  by listener and protocol level: clients that are connected
    batches  from a batch of records being handed to the store until it is durable; None before the first
    answers  by authenticator_label: from an authenticator being asked until it has decided
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
        """A connection is there whose client has to send CONNECT."""
        self.entered[listener.id] = self.entered.get(listener.id, 0) + 1

    def turned_away(self, listener: "Listener", reason: int) -> None:
        """A connection is closed before CONNECT."""
        key = (listener.id, reason)
        self.away[key] = self.away.get(key, 0) + 1

    def came(self, conn: "Connection") -> None:
        """A client has been let in."""
        key = (conn.listener.id, conn.version)
        self.clients[key] = self.clients.get(key, 0) + 1

    def went(self, conn: "Connection", code: int, was_open: bool) -> None:
        """A connection is over."""
        if was_open:
            code += 256
            key = (conn.listener.id, conn.version)
            self.clients[key] = max(0, self.clients.get(key, 0) - 1)  # there may have been no memory to count it in
        self.ends[code] = self.ends.get(code, 0) + 1

    def stored(self, took: int) -> None:
        """A batch is durable after so many microseconds."""
        if self.batches is None:
            self.batches = Histogram()
        self.batches.add(took)

    def answered(self, authenticator: "Authenticator", took: int) -> None:
        """An authenticator has taken so many microseconds to decide."""
        name = authenticator_label(authenticator)
        if name not in self.answers:
            self.answers[name] = Histogram()
        self.answers[name].add(took)


def authenticator_label(authenticator: "Authenticator") -> str:
    """What an authenticator is called in the metrics: its name, or its class's where a program has not given it one."""
    return authenticator.name or type(authenticator).__name__
