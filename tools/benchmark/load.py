"""Load generator of tools/bench: one process, raw sockets.

Contract: it knows MQTT and a port, never which broker listens there, so that every broker gets the same load. It is
started with one JSON object (a kind of workload, its fields, the port and the CA of the broker's certificate). It prints
one JSON object a line: {"mark": NAME} when the broker is to be looked at, after which it waits for a line on standard
input; and in the end the outcome: what was lost, what came too often, and figures of its own; or {"error": TEXT}.
"""

import functools
import json
import sys
from typing import Any

from benchmark import flows, scale
from benchmark.packets import LoadError
from benchmark.wire import Wire, WireError
from benchmark.workloads import KINDS, Away, Filters, Flows, Idle, Retained, Storm

RUN: dict[type, Any] = {
    Flows: flows.run,
    Away: flows.away,
    Idle: scale.idle,
    Filters: scale.filters,
    Retained: scale.retained,
    Storm: scale.storm,
}


def mark(name: str) -> None:
    """Have the broker looked at. Raises SystemExit when the driver is gone."""
    print(json.dumps({"mark": name}), flush=True)
    if not sys.stdin.readline():
        sys.exit(1)


def main() -> None:
    """Run one workload as the module's contract says."""
    arguments = json.loads(sys.argv[1])
    load = KINDS[arguments["kind"]](**arguments["load"])
    connect = functools.partial(Wire, arguments["port"], load.way, arguments["ca"])
    try:
        outcome = {"lost": 0, "surplus": 0, **RUN[type(load)](load, connect, mark)}
    except (LoadError, WireError, OSError) as error:
        outcome = {"error": str(error)}
    print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main()
