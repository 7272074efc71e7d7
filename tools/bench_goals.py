"""What the project wants to reach, and whether tools/bench found it reached.

All with pure Python on asyncio, but for the goals that name uvloop.
"""

import dataclasses
import fnmatch
from collections.abc import Iterator

from bench_measure import Results

OURS, UVLOOP = "ucomqtt", "ucomqtt-uvloop"


@dataclasses.dataclass(frozen=True)
class Goal:
    """At most so much, or, where a peer is named, so many times what the peer needs."""

    workloads: str  # a name; * stands for any part
    unit: str
    most: float
    peer: str = ""
    ours: str = OURS


_CPU = "CPU us/message"
GOALS = (
    *(
        Goal(name, _CPU, most, peer)
        for name in ("qos0-1-flood", "qos0-1-w100", "qos0-10-flood", "qos0-10-w100")
        for most, peer in ((0.33, "mosquitto"), (1.0, "iotcore"))
    ),
    Goal("qos0-500-w1", _CPU, 1.2, "mosquitto"),
    Goal("qos0-500-w1", _CPU, 1.0, "mosquitto", UVLOOP),
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
    *(
        Goal(name, _CPU, 0.02, "amqtt")
        for name in ("qos0-1-flood", "qos0-10-w100", "qos0-500-w1", "qos1-10", "qos2-10", "payload-1k", "fanout-100")
    ),
)


def judge(results: Results) -> str:
    """A table: each goal, what was found, whether it is reached."""
    lines = ["| workload | figure | of | at most | found | reached |", "|---|---|---|---:|---:|---|"]
    for goal in GOALS:
        for name, found in _found(goal, results):
            of = f"{goal.ours} / {goal.peer}" if goal.peer else goal.ours
            lines.append(
                f"| {name} | {goal.unit} | {of} | {goal.most:g} | {found:.3g} | {'yes' if found <= goal.most else 'NO'} |"
            )
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
