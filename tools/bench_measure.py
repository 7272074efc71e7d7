"""One workload, measured: rounds in turns on all brokers, CPU time from /proc."""

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess  # nosec B404 # programs are started from lists of arguments
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import bench_load
from bench_brokers import BenchError, Broker, running, stop
from bench_workloads import Load


@dataclasses.dataclass
class Figures:
    """What the rounds of one broker in one workload gave."""

    messages: int
    rounds: list[dict[str, float]] = dataclasses.field(default_factory=list)
    microseconds: list[float] = dataclasses.field(default_factory=list)  # of broker CPU per message, one a round
    failure: str = ""

    @property
    def median(self) -> float | None:
        """The figure to compare, unless a round failed."""
        return statistics.median(self.microseconds) if self.microseconds and not self.failure else None

    def cell(self) -> str:
        """The table cell: the median and the range it comes from."""
        if self.median is None:
            return "FAILED" if self.failure else "-"
        return f"{self.median:.2f} ({min(self.microseconds):.2f}-{max(self.microseconds):.2f})"


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, all its threads and its living children so far.

    /proc/PID/stat counts ended threads too, but in ticks of 10 ms; the scheduler's nanoseconds are exact, but of living
    threads only. Neither exceeds the truth, so the larger one is taken.
    """
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
    exact = children = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError, ValueError):  # a thread may end meanwhile, a kernel may lack the figure
            exact += int((task / "schedstat").read_text().split()[0]) / 1e9
        with contextlib.suppress(OSError):
            children += sum(cpu_seconds(int(child)) for child in (task / "children").read_text().split())
    return max(ticks, exact) + children


def run_load(load: Load, pid: int, port: int, certificates: Path) -> dict[str, float]:
    """One round: drive the load through the broker and give the outcome with the broker's CPU time."""
    arguments = json.dumps({"load": dataclasses.asdict(load), "port": port, "ca": str(certificates / "ca.pem")})
    process = subprocess.Popen(  # nosec B603 # no shell
        [sys.executable, bench_load.__file__, arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )
    assert process.stdin and process.stdout  # nosec B101 # for mypy, which cannot know it
    try:
        line = process.stdout.readline()
        if line == "ready\n":
            before = cpu_seconds(pid)
            process.stdin.write("go\n")
            process.stdin.flush()
            line = process.stdout.readline()
        outcome = json.loads(line or '{"error": "the load generator died"}')
        if "error" in outcome:
            raise BenchError(outcome["error"])
        for fault in ("lost", "surplus"):
            if outcome[fault]:
                raise BenchError(f"{outcome[fault]} of {load.deliveries} messages {fault}")
        return {**outcome, "broker_cpu_seconds": cpu_seconds(pid) - before}
    except (FileNotFoundError, ProcessLookupError) as error:
        raise BenchError("the broker died") from error
    finally:
        stop(process)
        process.stdin.close()
        process.stdout.close()


def measure(
    loads: Sequence[Load], brokers: Sequence[Broker], rounds: int, scale: float, certificates: Path,
    progress: Callable[[str], None],
) -> dict[str, dict[str, Figures]]:
    """All rounds of some workloads in turns, A1 B1 A2 B2, A1 B1 ...: figures by workload and broker.

    What is compared shares the ups and downs of the machine. Each broker keeps running for all rounds of a workload.
    """
    figures: dict[str, dict[str, Figures]] = {load.name: {} for load in loads}
    runs = []
    for load in loads:
        for broker in brokers:
            own = dataclasses.replace(load, messages=max(1, round(load.messages * scale * broker.share)))
            figures[load.name][broker.name] = Figures(own.deliveries)
            if not load.needs & broker.lacks:
                runs.append((own, broker))
    with contextlib.ExitStack() as stack:
        started: dict[tuple[str, str], tuple[int, int]] = {}
        for number in range(rounds):
            for load, broker in runs:
                own_figures = figures[load.name][broker.name]
                if own_figures.failure:
                    continue
                progress(f"{load.name} {number + 1}/{rounds} {broker.name}")
                key = load.name, broker.name
                try:
                    if key not in started:
                        started[key] = stack.enter_context(running(broker, load, certificates))
                    outcome = run_load(load, *started[key], certificates)
                except BenchError as error:
                    own_figures.failure = str(error)
                    continue
                own_figures.rounds.append(outcome)
                own_figures.microseconds.append(outcome["broker_cpu_seconds"] * 1e6 / own_figures.messages)
    progress("")
    return figures
