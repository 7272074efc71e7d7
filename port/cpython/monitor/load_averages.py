"""Load averages over 1, 5 and 15 minutes, under mosquitto's names."""

from __future__ import annotations

import math
from typing import Any

from port.core.broker import Broker

_MINUTES = (1, 5, 15)
_NAMES = (
    ("messages/received", "packets_received"),
    ("messages/sent", "packets_sent"),
    ("publish/dropped", "dropped"),
    ("publish/received", "publishes_received"),
    ("publish/sent", "published"),
    ("bytes/received", "bytes_received"),
    ("bytes/sent", "bytes_sent"),
    ("connections", "connections_total"),
)


class LoadAverages:
    """Exponentially weighted rates per minute of the broker's counters."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._last = [0] * len(_NAMES)
        self._rates = [[0.0] * len(_MINUTES) for _ in _NAMES]
        self._weights = [math.exp(-1 / (60 * minutes)) for minutes in _MINUTES]

    def begin(self) -> None:
        """Count from now on, without the stored counters of earlier runs."""
        self._last = [getattr(self._broker.counters, attribute) for _, attribute in _NAMES]

    def tick(self) -> None:
        """Read the counters; call it once a second."""
        for i, (_, attribute) in enumerate(_NAMES):
            count = getattr(self._broker.counters, attribute)
            rate = (count - self._last[i]) * 60
            self._last[i] = count
            for k, weight in enumerate(self._weights):
                self._rates[i][k] = rate + (self._rates[i][k] - rate) * weight

    def figures(self) -> list[tuple[str, Any]]:
        """The averages as $SYS figures."""
        return [
            ("load/%s/%dmin" % (name, minutes), "%.2f" % rate)
            for (name, _), rates in zip(_NAMES, self._rates, strict=True)
            for minutes, rate in zip(_MINUTES, rates, strict=True)
        ]
