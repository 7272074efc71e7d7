"""What the project wants to reach, and whether tools/bench found it reached.

All with pure Python on asyncio, but for the goals that name uvloop or the compiled core.
"""

import dataclasses
import fnmatch
from collections.abc import Iterator

from benchmark.measure import Results

OURS, UVLOOP, COMPILED, BATCH = "ucomqtt", "ucomqtt-uvloop", "ucomqtt-compiled", "ucomqtt-batch"


@dataclasses.dataclass(frozen=True)
class Goal:
    """At most (or at least) so much, or, where a peer is named, so many times what the peer needs (or does)."""

    workloads: str  # a name; * stands for any part
    unit: str
    bound: float
    peer: str = ""
    ours: str = OURS
    least: bool = False  # at least `bound`, not at most

    def reached(self, found: float) -> bool:
        """Whether what was found is what is wanted."""
        return found >= self.bound if self.least else found <= self.bound


_CPU = "CPU us/message"
GOALS = (
    *(
        Goal(name, _CPU, most, peer)
        for name in ("qos0-1-flood", "qos0-1-w100", "qos0-10-flood", "qos0-10-w100")
        for most, peer in ((0.33, "mosquitto"), (1.0, "iotcore"))
    ),
    Goal("qos0-500-w1", _CPU, 1.2, "mosquitto"),
    Goal("qos0-500-w1", _CPU, 1.0, "mosquitto", UVLOOP),
    Goal("qos0-500-w1", _CPU, 0.8, "mosquitto", COMPILED),
    *(Goal(name, _CPU, 0.35, "mosquitto") for name in ("qos1-1", "qos1-10")),
    *(Goal(name, _CPU, 0.25, "mosquitto") for name in ("qos2-1", "qos2-10")),
    Goal("payload-1k", _CPU, 0.3, "mosquitto"),
    Goal("fanout-100", _CPU, 0.1, "mosquitto"),
    Goal("fanout-100", _CPU, 0.4, "iotcore"),
    Goal("latency-1000", "p50 us", 1.5, "mosquitto"),
    Goal("latency-1000", "p99 us", 1.5, "mosquitto"),
    Goal("idle-10000", "bytes/connection", 3072),
    Goal("filters-100000", "bytes/subscription", 400),
    Goal("filters-100000", "CPU us/new topic", 15),
    Goal("*", _CPU, 0.02, "amqtt"),
    *(Goal("kept-qos1-10", "messages/s", factor, peer, BATCH, least=True)
      for factor, peer in ((1, "mosquitto-saving"), (10, "ucomqtt-each"))),
    *(Goal(name, _CPU, 1.05, "ucomqtt", BATCH) for name in ("qos0-10-w100", "qos0-10-flood")),
)


def judge(results: Results) -> str:
    """A table: each goal, what was found, whether it is reached."""
    lines = ["| workload | figure | of | wanted | found | reached |", "|---|---|---|---:|---:|---|"]
    for goal in GOALS:
        for name, found in _found(goal, results):
            of = f"{goal.ours} / {goal.peer}" if goal.peer else goal.ours
            wanted = f"at {'least' if goal.least else 'most'} {goal.bound:g}"
            reached = "yes" if goal.reached(found) else "NO"
            lines.append(f"| {name} | {goal.unit} | {of} | {wanted} | {found:.3g} | {reached} |")
    return "\n".join(lines)


def _found(goal: Goal, results: Results) -> Iterator[tuple[str, float]]:
    """The workloads it is about, with what was found in each."""
    for name, figures in results.items():
        if not fnmatch.fnmatchcase(name, goal.workloads) or goal.ours not in figures:
            continue
        value = figures[goal.ours].median(goal.unit)
        if value is not None and goal.peer:
            other = figures[goal.peer].median(goal.unit) if goal.peer in figures else None
            value = value / other if other else None
        if value is not None:
            yield name, value
