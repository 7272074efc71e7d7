"""Totals since the broker's start. Modules add to them; `$SYS`, the pages and programs read them."""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

    from port.core.monitor.measures import Measures


class Counters:
    """Totals that only grow.

    bytes_received, bytes_sent            of MQTT, on all connections
    packets_received, packets_sent
    publishes_received                    PUBLISH packets received; received1, received2: those of QoS 1 and 2
    published0, published1, published2    PUBLISH packets sent, by QoS
    dropped                               messages not delivered to one receiver
    connections_total                     connections accepted
    clients_maximum                       most clients connected at a time
    clients_expired                       sessions that ended by their expiry interval
    refused                               connections turned away before CONNECT; auth_blocked: those whose address has to wait
    auth_failed, auth_timeouts            CONNECTs refused by authentication; clients disconnected for want of an answer
    denied_publishes, denied_subscriptions
    rate_limited                          number of times a client was too fast
    measures                              totals for /metrics alone, None when no listener has that page
    """

    def __init__(self) -> None:
        self.bytes_received = self.bytes_sent = 0
        self.packets_received = self.packets_sent = 0
        self.publishes_received = 0
        self.received1 = self.received2 = 0
        self.published0 = self.published1 = self.published2 = 0
        self.dropped = 0
        self.connections_total = 0
        self.clients_maximum = 0
        self.clients_expired = 0
        self.refused = 0
        self.auth_failed = 0
        self.auth_timeouts = 0
        self.auth_blocked = 0
        self.denied_publishes = 0
        self.denied_subscriptions = 0
        self.rate_limited = 0
        self.measures: "Optional[Measures]" = None

    @property
    def published(self) -> int:
        """PUBLISH packets sent."""
        return self.published0 + self.published1 + self.published2

    def drop(self, why: int, count: int = 1) -> None:
        """Count messages that are not delivered; `why` is one of the DROP_ reasons in port.core.wire.reason_codes."""
        self.dropped += count
        if self.measures is not None:
            self.measures.drops[why] += count
