"""The workloads of tools/bench: what each one asks of a broker, and what is read from it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self


@dataclasses.dataclass(frozen=True)
class Sample:
    """What the broker's process had used up, and what it held, at one moment."""

    cpu: float  # seconds
    memory: int  # bytes, resident


@dataclasses.dataclass(frozen=True)
class Workload:
    """What all have in common."""

    name: str
    amount: int  # of messages, connections or filters: what --scale multiplies
    version: int = 4  # protocol level: 4 is MQTT 3.1.1, 5 is MQTT 5
    rules: int = 0  # of the broker's ACL, the last of which allows everything that is sent
    way: str = "tcp"  # tcp, ws, tls or wss
    patience: float = 10.0  # seconds without anything arriving after which the rest is lost
    kept: bool = False  # what it leaves is to outlive the broker: sessions, retained messages
    beside: str = ""  # the workload without this one's feature: both are measured in turns and compared

    FRESH: ClassVar[bool] = False  # True: each round wants a broker that has just started
    LEAST: ClassVar[int] = 1  # of the amount

    def scaled(self, factor: float) -> Self:
        """The same with more or less to do."""
        return dataclasses.replace(self, amount=max(self.LEAST, round(self.amount * factor)))

    def figures(self, samples: Mapping[str, Sample], outcome: Mapping[str, float]) -> dict[str, float]:
        """What one round gave, by unit, the most important first.

        samples: what was read when the load generator said so, "start" and "end" at least; outcome: what it said.
        """
        raise NotImplementedError

    @property
    def needs(self) -> frozenset[str]:
        """What a broker must be able to do beyond MQTT 3.1.1 with QoS 0 and 1 over TCP."""
        return frozenset(feature for feature, needed in self._features().items() if needed)

    def _features(self) -> dict[str, bool]:
        return {
            "MQTT 5": self.version == 5, "ACL": self.rules > 0,
            "WebSocket": self.way.startswith("ws"), "TLS": self.way in ("tls", "wss"),
        }

    @property
    def said(self) -> str:
        """What it does, in words."""
        raise NotImplementedError

    def _said(self, what: str) -> str:
        parts = [what]
        if self.version == 5:
            parts.append("MQTT 5")
        if self.rules:
            parts.append(f"{self.rules} ACL rules")
        if self.kept:
            parts.append("kept")
        if self.way != "tcp":
            parts.append({"ws": "WebSocket", "tls": "TLS", "wss": "WebSocket over TLS"}[self.way])
        return ", ".join(parts)


@dataclasses.dataclass(frozen=True)
class Flows(Workload):
    """Traffic: `flows` topics, each with its publishers and its subscribers; `amount`: messages a flow.

    Where it is kept, all clients have sessions that stay, and how fast it goes is told, too: the disk takes its time.
    """

    flows: int = 1
    publishers: int = 1  # of each flow
    subscribers: int = 1  # of each flow
    shared: bool = False  # the subscribers share one subscription
    qos: int = 0
    size: int = 16  # payload bytes
    window: int = 0  # messages of one flow in flight; 0 floods (QoS 0 only)
    properties: bool = False  # each PUBLISH has some (MQTT 5)
    retain: bool = False
    topics: int = 1  # a publisher's, in turn, where nobody subscribes; a divisor of 4 * window

    @property
    def deliveries(self) -> int:
        """How many messages the broker must deliver."""
        return self.amount * self.flows * (1 if self.shared or not self.subscribers else self.subscribers)

    def figures(self, samples: Mapping[str, Sample], outcome: Mapping[str, float]) -> dict[str, float]:
        rate = {"messages/s": self.deliveries / outcome["seconds"]} if self.kept else {}
        return rate | {"CPU us/message": (samples["end"].cpu - samples["start"].cpu) * 1e6 / self.deliveries}

    def _features(self) -> dict[str, bool]:
        return super()._features() | {"QoS 2": self.qos == 2, "shared subscriptions": self.shared, "sessions": self.kept}

    @property
    def said(self) -> str:
        flows = f"{self.flows} x " if self.flows > 1 else ""
        window = f"window {self.window}" if self.window else "flood"
        size = f"{self.size // 1024} KB" if self.size >= 1024 else f"{self.size} B"
        to = f"{self.publishers} to {self.subscribers}{' that share' if self.shared else ''}"
        if self.topics > 1:
            to = f"{self.publishers} to {self.topics} topics"
        if self.retain:
            to += ", retained"
        return self._said(f"{flows}{to}, QoS {self.qos}, {size}, {window}{', properties' if self.properties else ''}")


@dataclasses.dataclass(frozen=True)
class Away(Flows):
    """The subscribers are away while the messages are published; then they come back for them."""

    FRESH: ClassVar[bool] = True  # what the one before was still to be told would come, too

    def figures(self, samples: Mapping[str, Sample], outcome: Mapping[str, float]) -> dict[str, float]:
        start, queued, end = samples["start"], samples["queued"], samples["end"]
        return {
            "messages/s queued": self.deliveries / outcome["queueing"],
            "CPU us/queued": (queued.cpu - start.cpu) * 1e6 / self.deliveries,
            "messages/s fetched": self.deliveries / outcome["seconds"],
            "CPU us/fetched": (end.cpu - queued.cpu) * 1e6 / self.deliveries,
        }

    @property
    def said(self) -> str:
        return f"{super().said}, the subscribers away and then back"


@dataclasses.dataclass(frozen=True)
class Latency(Workload):
    """Messages at a fixed rate, timed from the moment each was due; `amount`: messages."""

    rate: int = 1000  # messages/s
    pairs: int = 10  # of publishers and subscribers, in turn
    qos: int = 0
    size: int = 16
    LEAST: ClassVar[int] = 100

    def figures(self, samples: Mapping[str, Sample], outcome: Mapping[str, float]) -> dict[str, float]:
        cpu = (samples["end"].cpu - samples["start"].cpu) * 1e6 / self.amount
        return {
            "p50 us": outcome["p50_us"],
            "p99 us": outcome["p99_us"],
            "p99 us of the generator": outcome["late_p99_us"],  # it was late itself
            "CPU us/message": cpu,
        }

    @property
    def said(self) -> str:
        return self._said(f"{self.rate:,} messages/s, {self.pairs} x 1 to 1, QoS {self.qos}, {self.size} B")


@dataclasses.dataclass(frozen=True)
class Idle(Workload):
    """Connections that do nothing; `amount`: connections."""

    hold: float = 3.0  # seconds they do nothing
    FRESH: ClassVar[bool] = True

    def figures(self, samples: Mapping[str, Sample], outcome: Mapping[str, float]) -> dict[str, float]:
        start, connected, end = samples["start"], samples["connected"], samples["end"]
        return {
            "bytes/connection": (connected.memory - start.memory) / self.amount,
            "CPU us/s held": (end.cpu - connected.cpu) * 1e6 / outcome["held"],
        }

    def scaled(self, factor: float) -> Self:
        return dataclasses.replace(super().scaled(factor), hold=self.hold * min(1, factor ** 0.5))

    @property
    def said(self) -> str:
        return self._said(f"{self.amount:,} idle connections")


@dataclasses.dataclass(frozen=True)
class Filters(Workload):
    """A quarter each of filters without wildcard, with + within, # at the end, + at the front; `amount`: filters."""

    messages: int = 20_000  # each of which three filters match
    FRESH: ClassVar[bool] = True
    LEAST: ClassVar[int] = 400

    def figures(self, samples: Mapping[str, Sample], outcome: Mapping[str, float]) -> dict[str, float]:
        start, subscribed, missed, hit, end = (samples[name] for name in ("start", "subscribed", "missed", "warm", "end"))
        new = (missed.cpu - subscribed.cpu) * 1e6 / self.messages
        same = (end.cpu - hit.cpu) * 1e6 / self.messages
        return {
            "bytes/subscription": (subscribed.memory - start.memory) / self.amount,
            "CPU us/subscribe": (subscribed.cpu - start.cpu) * 1e6 / self.amount,
            "CPU us/message, other topics": new,
            "CPU us/message, same topics": same,
            "CPU us/new topic": new - same,  # how much more it takes when the receivers are not known yet
        }

    def scaled(self, factor: float) -> Self:
        return dataclasses.replace(super().scaled(factor), messages=max(50, round(self.messages * factor)))

    @property
    def said(self) -> str:
        return self._said(f"{self.amount:,} filters, three of which match each message")


@dataclasses.dataclass(frozen=True)
class Retained(Workload):
    """Retained messages on as many topics, then a subscriber to all of them; `amount`: messages."""

    size: int = 16
    FRESH: ClassVar[bool] = True

    def figures(self, samples: Mapping[str, Sample], outcome: Mapping[str, float]) -> dict[str, float]:
        start, stored, end = samples["start"], samples["stored"], samples["end"]
        return {
            "CPU us/delivered": (end.cpu - stored.cpu) * 1e6 / self.amount,
            "ms to deliver all": outcome["seconds"] * 1e3,
            "CPU us/stored": (stored.cpu - start.cpu) * 1e6 / self.amount,
            "bytes/retained": (stored.memory - start.memory) / self.amount,
        }

    def _features(self) -> dict[str, bool]:
        return super()._features() | {"many retained messages": True}

    @property
    def said(self) -> str:
        return self._said(f"{self.amount:,} retained messages of {self.size} B")


@dataclasses.dataclass(frozen=True)
class Storm(Workload):
    """Clients that connect and disconnect; `amount`: clients."""

    persistent: bool = False  # every client comes twice: the second time it finds its session
    FRESH: ClassVar[bool] = True

    def figures(self, samples: Mapping[str, Sample], outcome: Mapping[str, float]) -> dict[str, float]:
        count = self.amount * (2 if self.persistent else 1)
        return {
            "CPU us/connect": (samples["end"].cpu - samples["start"].cpu) * 1e6 / count,
            "connects/s": count / outcome["seconds"],
        }

    def _features(self) -> dict[str, bool]:
        return super()._features() | {"sessions": self.persistent}

    @property
    def said(self) -> str:
        sessions = "twice, with a session that stays" if self.persistent else "with a clean session"
        return self._said(f"{self.amount:,} clients connect {sessions}, and disconnect, 50 at a time")


KINDS: dict[str, type[Workload]] = {kind.__name__: kind for kind in (Flows, Away, Latency, Idle, Filters, Retained, Storm)}


def _beside(base: Flows, suffix: str, **changes: Any) -> Flows:
    return dataclasses.replace(base, name=f"{base.name}-{suffix}", beside=base.name, **changes)


_FLOOD = Flows("qos0-1-flood", 300_000)
_QOS0 = Flows("qos0-10-w100", 30_000, flows=10, window=100)
_ONE_EACH = Flows("qos0-500-w1", 200, flows=500, window=1)
_QOS1 = Flows("qos1-10", 10_000, flows=10, qos=1, window=20)
_RULES = 100

# Sized to keep mosquitto busy for one to three seconds. The names of stressers: QoS, flows, window.
WORKLOADS: tuple[Workload, ...] = (
    _FLOOD,
    _beside(_FLOOD, "acl", rules=_RULES),
    Flows("qos0-1-w100", 150_000, window=100),
    Flows("qos0-1-w1", 15_000, window=1),
    Flows("qos0-10-flood", 30_000, flows=10),
    _QOS0,
    _beside(_QOS0, "acl", rules=_RULES),
    _beside(_QOS0, "v5", version=5),
    _beside(_QOS0, "v5props", version=5, properties=True),
    _beside(_QOS0, "ws", way="ws"),
    _beside(_QOS0, "tls", way="tls"),
    _beside(_QOS0, "wss", way="wss"),
    Flows("qos0-10-w1", 3_000, flows=10, window=1),
    Flows("qos0-500-flood", 600, flows=500),
    Flows("qos0-500-w100", 600, flows=500, window=100),
    _ONE_EACH,
    _beside(_ONE_EACH, "acl", rules=_RULES),
    Flows("qos1-1", 60_000, qos=1, window=20),
    _QOS1,
    _beside(_QOS1, "acl", rules=_RULES),
    _beside(_QOS1, "v5", version=5),
    Flows("qos1-500-w1", 100, flows=500, qos=1, window=1),
    Flows("qos2-1", 30_000, qos=2, window=20),
    Flows("qos2-10", 5_000, flows=10, qos=2, window=20),
    Flows("payload-1k", 20_000, flows=10, size=1024, window=100),
    Flows("payload-1k-qos1", 8_000, flows=10, size=1024, qos=1, window=20),
    Flows("payload-64k", 1_000, flows=10, size=65536, window=2),
    Flows("fanout-100", 4_000, subscribers=100, window=50),
    Flows("fanout-1000", 400, subscribers=1000, window=10),
    Flows("fanout-100-qos1", 1_000, subscribers=100, qos=1, window=10),
    Flows("fanin-100", 100_000, publishers=100, window=1000),
    Flows("shared-10", 100_000, subscribers=10, shared=True, window=100),
    Latency("latency-1000", 5_000, rate=1000),
    Latency("latency-10000", 30_000, rate=10000),
    Idle("idle-1000", 1_000),
    Idle("idle-10000", 10_000),
    Filters("filters-100000", 100_000),
    Retained("retained-100000", 100_000),
    Storm("storm", 5_000),
    Storm("storm-sessions", 3_000, persistent=True),
    Flows("kept-qos1-10", 4_000, flows=10, qos=1, window=100, kept=True),
    Flows("kept-qos2-10", 2_000, flows=10, qos=2, window=100, kept=True),
    Away("kept-away", 2_000, flows=10, qos=1, window=100, kept=True),
    Flows("kept-retained", 4_000, flows=10, subscribers=0, qos=1, window=100, retain=True, topics=100, kept=True),
)


def topic_of(flow: int, publisher: int | None = None) -> str:
    """The topic a flow, or one publisher of it, publishes to."""
    return f"bench/{flow:04}" if publisher is None else f"bench/{flow:04}/{publisher:04}"


def rules(count: int) -> list[str]:
    """The topic filters of an ACL: all belong to the broker's anonymous clients, only the last fits a flow's topic."""
    return [f"bench/room{number:03}/+/state" for number in range(count - 1)] + ["bench/#"]
