"""Workloads, measured: rounds in turns on all brokers; CPU time and memory from /proc."""

import contextlib
import dataclasses
import hashlib
import json
import os
import statistics
import subprocess  # nosec B404 # programs are started from lists of arguments
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmark.brokers import BenchError, Broker, running, stop
from benchmark.workloads import Latency, Sample, Workload
from toolchain import CACHE, ROOT, find

TOOLS = ROOT / "tools"
LATENCY_SOURCE = TOOLS / "benchmark" / "latency.c"


@dataclasses.dataclass
class Figures:
    """What the rounds of one broker in one workload gave."""

    amount: int  # of the workload, as this broker got it
    rounds: list[dict[str, float]] = dataclasses.field(default_factory=list)  # the outcome of each
    values: dict[str, list[float]] = dataclasses.field(default_factory=dict)  # by unit, one a round
    failure: str = ""

    def median(self, unit: str) -> float | None:
        """The figure to compare, unless a round failed."""
        values = self.values.get(unit)
        return statistics.median(values) if values and not self.failure else None


# By workload, then by broker.
Results = dict[str, dict[str, Figures]]


def sample(pid: int) -> Sample:
    """What a process, its threads and its living children have used up and hold.

    /proc/PID/stat counts ended threads too, but in ticks of 10 ms; the scheduler's nanoseconds are exact, but of living
    threads only. Neither exceeds the truth, so the larger one is taken.
    """
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
    memory = int(stat[21]) * os.sysconf("SC_PAGE_SIZE")
    exact = children = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError, ValueError):  # a thread may end meanwhile, a kernel may lack the figure
            exact += int((task / "schedstat").read_text().split()[0]) / 1e9
        with contextlib.suppress(OSError):
            for child in (task / "children").read_text().split():
                found = sample(int(child))
                children += found.cpu
                memory += found.memory
    return Sample(max(ticks, exact) + children, memory)


def latency_program() -> str:
    """Compile the generator that measures latency, unless that has been done. Raises BenchError."""
    program = CACHE / f"bench_latency-{hashlib.sha256(LATENCY_SOURCE.read_bytes()).hexdigest()[:16]}"
    if not program.exists():
        compiler = find("gcc")
        if not compiler:
            raise BenchError("latency is measured by a program in C: gcc is missing")
        CACHE.mkdir(exist_ok=True)
        new = program.with_suffix(f".{os.getpid()}")
        command = [compiler, "-O2", "-o", str(new), str(LATENCY_SOURCE)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # nosec B603 # no shell
        if done.returncode:
            raise BenchError(f"gcc failed: {done.stderr.strip()}")
        new.replace(program)
    return str(program)


def generator(load: Workload, port: int, certificates: Path) -> list[str]:
    """The command that makes the load."""
    if isinstance(load, Latency):
        numbers = (port, load.amount, load.rate, load.pairs, load.size, load.patience)
        return [latency_program(), *map(str, numbers)]
    arguments = {
        "kind": type(load).__name__, "load": dataclasses.asdict(load), "port": port, "ca": str(certificates / "ca.pem"),
    }
    return [sys.executable, "-m", "benchmark.load", json.dumps(arguments)]


def hurry(pid: int) -> None:
    """Let a process go before others, where we may: not the neighbours' work is to be measured, which comes in slices of
    milliseconds. Whether that was enough shows in how late the generator was.
    """
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            os.sched_setscheduler(int(task.name), os.SCHED_RR, os.sched_param(1))


def run_load(load: Workload, pid: int, port: int, certificates: Path) -> tuple[dict[str, float], dict[str, float]]:
    """One round: drive the load through the broker; the outcome as the generator told it, and the figures.

    Raises BenchError when the broker failed, lost messages or sent too many.
    """
    process = subprocess.Popen(  # nosec B603 # no shell
        generator(load, port, certificates), cwd=TOOLS,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )
    assert process.stdin and process.stdout  # nosec B101 # for mypy, which cannot know it
    samples = {}
    try:
        if isinstance(load, Latency):
            hurry(pid)
            hurry(process.pid)
        while True:
            said = json.loads(process.stdout.readline() or '{"error": "the load generator died"}')
            if "mark" not in said:
                break
            samples[said["mark"]] = sample(pid)
            process.stdin.write("go\n")
            process.stdin.flush()
        if "error" in said:
            raise BenchError(said["error"])
        for fault in ("lost", "surplus"):
            if said[fault]:
                raise BenchError(f"{said[fault]} messages {fault}")
        samples["end"] = sample(pid)
        return said, load.figures(samples, said)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise BenchError("the broker died") from error
    finally:
        stop(process)
        process.stdin.close()
        process.stdout.close()


def measure(
    loads: Sequence[Workload], brokers: Sequence[Broker], rounds: int, scale: float, certificates: Path,
    progress: Callable[[str], None],
) -> Results:
    """All rounds of some workloads in turns, A1 B1 A2 B2, A1 B1 ...

    What is compared shares the ups and downs of the machine. Each broker keeps running for all rounds of a workload,
    unless that wants a new one each time.
    """
    results: Results = {load.name: {} for load in loads}
    runs = []
    for load in loads:
        for broker in brokers:
            kind = "kept" if load.kept else type(load).__name__
            own = load.scaled(scale * broker.shares.get(kind, broker.share))
            results[load.name][broker.name] = Figures(own.amount)
            if not load.needs & broker.lacks:
                runs.append((own, broker))
    with contextlib.ExitStack() as stack:
        started: dict[tuple[str, str], tuple[int, int]] = {}
        for number in range(rounds):
            for load, broker in runs:
                figures = results[load.name][broker.name]
                if figures.failure:
                    continue
                progress(f"{load.name} {number + 1}/{rounds} {broker.name}")
                key = load.name, broker.name
                try:
                    if load.FRESH:
                        with running(broker, load, certificates) as (pid, port):
                            outcome, values = run_load(load, pid, port, certificates)
                    else:
                        if key not in started:
                            started[key] = stack.enter_context(running(broker, load, certificates))
                        outcome, values = run_load(load, *started[key], certificates)
                except BenchError as error:
                    figures.failure = str(error)
                    continue
                figures.rounds.append(outcome)
                for unit, value in values.items():
                    figures.values.setdefault(unit, []).append(value)
    progress("")
    return results
