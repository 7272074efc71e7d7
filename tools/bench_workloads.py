"""The workloads of tools/bench: what each one asks of a broker."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Load:
    """The shape of one workload: `publishers` flows, each with its own topic and `subscribers` receivers."""

    name: str
    messages: int  # per publisher
    publishers: int = 1
    subscribers: int = 1
    qos: int = 0
    size: int = 16  # payload bytes
    window: int = 0  # messages of one flow in flight; 0 floods
    version: int = 4  # protocol level: 4 is MQTT 3.1.1, 5 is MQTT 5
    properties: bool = False  # each PUBLISH has some (MQTT 5)
    rules: int = 0  # of the broker's ACL, the last of which allows everything that is sent
    way: str = "tcp"  # tcp, ws, tls or wss
    patience: float = 10.0  # seconds without anything arriving after which the rest is lost
    beside: str = ""  # the workload without this one's feature: both are measured in turns and compared

    @property
    def deliveries(self) -> int:
        """How many messages the broker must deliver."""
        return self.messages * self.publishers * self.subscribers

    @property
    def needs(self) -> frozenset[str]:
        """What a broker must be able to do beyond MQTT 3.1.1 over TCP."""
        has = {
            "MQTT 5": self.version == 5, "ACL": self.rules > 0,
            "WebSocket": self.way.startswith("ws"), "TLS": self.way in ("tls", "wss"),
        }
        return frozenset(feature for feature, needed in has.items() if needed)

    def __str__(self) -> str:
        window = f"window {self.window}" if self.window else "flood"
        ways = {"tcp": "", "ws": ", WebSocket", "tls": ", TLS", "wss": ", WebSocket over TLS"}
        return (
            f"{self.name:<12} {self.publishers} x {self.subscribers}, QoS {self.qos}, {self.size} B, {window}, "
            f"MQTT {'5' if self.version == 5 else '3.1.1'}{' with properties' if self.properties else ''}"
            f"{f', {self.rules} ACL rules' if self.rules else ''}{ways[self.way]}, {self.deliveries:,} deliveries"
        )


def _beside(base: Load, suffix: str, **changes: object) -> Load:
    return dataclasses.replace(base, name=f"{base.name}-{suffix}", beside=base.name, **changes)  # type: ignore[arg-type]


_FLOOD = Load("qos0-flood", 300_000)
_QOS0 = Load("qos0-w100", 30_000, publishers=10, window=100)
_ONE_EACH = Load("qos0-500", 200, publishers=500, window=1)
_QOS1 = Load("qos1", 10_000, publishers=10, qos=1, window=20)
_RULES = 100

# Sized to keep mosquitto busy for one to three seconds.
WORKLOADS = (
    _FLOOD,
    _beside(_FLOOD, "acl", rules=_RULES),
    _QOS0,
    _beside(_QOS0, "acl", rules=_RULES),
    _beside(_QOS0, "v5", version=5),
    _beside(_QOS0, "v5props", version=5, properties=True),
    _beside(_QOS0, "ws", way="ws"),
    _beside(_QOS0, "tls", way="tls"),
    _beside(_QOS0, "wss", way="wss"),
    _ONE_EACH,
    _beside(_ONE_EACH, "acl", rules=_RULES),
    _QOS1,
    _beside(_QOS1, "acl", rules=_RULES),
    Load("qos2", 5_000, publishers=10, qos=2, window=20),
    Load("payload-1k", 20_000, publishers=10, size=1024, window=100),
    Load("fanout-100", 4_000, subscribers=100, window=50),
)


def topic_of(flow: int) -> str:
    """The topic a flow publishes to."""
    return f"bench/{flow:04}"


def rules(count: int) -> list[str]:
    """The topic filters of an ACL: all belong to the broker's anonymous clients, only the last fits a flow's topic."""
    return [f"bench/room{number:03}/+/state" for number in range(count - 1)] + ["bench/#"]
