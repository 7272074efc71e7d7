"""What tools/bench found, as Markdown and as a picture."""

import dataclasses
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.brokers import BenchError, Broker
from benchmark.measure import Figures, Results
from benchmark.workloads import Workload

def machine() -> str:
    """What it ran on."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    name = models[0].partition(": ")[2] if models else platform.machine()
    return f"{name}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {platform.system()} {platform.release()}"


def number(value: float) -> str:
    """Three significant digits, or all digits before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


class Report:
    """The text of a run, in parts that can be printed as soon as they are known; `ours`: what others are compared with."""

    def __init__(self, brokers: Sequence[Broker], rounds: int, scale: float, ours: str) -> None:
        self.brokers = brokers
        self.ours = ours
        self.rounds = rounds
        self.scale = scale
        self.machine = machine()
        self.more = ""  # " or more" where several runs are put together
        self.versions = {broker.name: broker.describe() for broker in brokers}
        self.results: Results = {}
        self.loads: list[Workload] = []

    def head(self) -> str:
        """Everything needed to read the table, and its head."""
        versions = "\n".join(f"- {name}: {version}" for name, version in self.versions.items())
        names = [broker.name for broker in self.brokers]
        return (
            f"Machine: {self.machine}; load generator on Python {platform.python_version()}\n\n{versions}\n\n"
            f"Medians of {self.rounds} rounds{self.more} in turns, at scale {self.scale:g}{self.more}. `CPU us` are "
            "microseconds of the broker's processor time, a message counts as often as it is delivered, memory is the growth "
            f"of the resident set. In brackets: {self.ours}'s figure divided by that one (below 1 it needs less, but for "
            "what is told per second, where more is better); a dash: the broker lacks the feature. Spread: how far the rounds of one "
            "broker are apart at most, as a part of their median.\n\n"
            f"| workload | figure | {' | '.join(names)} | spread |\n|---|---|{'---:|' * (len(names) + 1)}"
        )

    def add(self, load: Workload, figures: dict[str, Figures]) -> str:
        """Take one workload's figures, return its rows."""
        self.loads.append(load)
        self.results[load.name] = figures
        return self.rows(load)

    def rows(self, load: Workload) -> str:
        """A workload's lines of the table."""
        figures = self.results[load.name]
        units = dict.fromkeys(unit for own in figures.values() for unit in own.values) or {"": None}
        rows = []
        for unit in units:
            ours = figures[self.ours].median(unit) if self.ours in figures else None
            cells = []
            spreads = []
            for name, own in figures.items():
                value = own.median(unit)
                if value is None:
                    cells.append("FAILED" if own.failure else "-")
                    continue
                ratio = f" ({number(ours / value)})" if name != self.ours and ours is not None and value > 0 else ""
                cells.append(number(value) + ratio)
                if value > 0:
                    spreads.append((max(own.values[unit]) - min(own.values[unit])) / value)
            spread = f"{max(spreads):.0%}" if spreads else "-"
            rows.append(f"| {load.name} | {unit} | {' | '.join(cells)} | {spread} |")
        return "\n".join(rows)

    def features(self) -> str:
        """What a feature costs each broker: the workload with it against that without."""
        rows = []
        for load in self.loads:
            bare = self.results.get(load.beside)
            if not bare:
                continue
            unit, ratios = "CPU us/message", []
            for name, own in self.results[load.name].items():
                value, other = own.median(unit), bare[name].median(unit)
                ratios.append(f"{value / other:.2f}" if value and other else "-")
            rows.append(f"| {load.name} / {load.beside} | {' | '.join(ratios)} |")
        if not rows:
            return ""
        names = [broker.name for broker in self.brokers]
        head = f"| workloads | {' | '.join(names)} |\n|---|{'---:|' * len(names)}\n"
        return "What a feature costs: CPU with it divided by CPU without.\n\n" + head + "\n".join(rows)

    def failures(self) -> list[str]:
        """A line for each broker that failed in a workload."""
        return [
            f"- {load.name}, {name}: {own.failure}"
            for load in self.loads for name, own in self.results[load.name].items() if own.failure
        ]

    def workloads(self) -> str:
        """What each workload does."""
        return "\n".join(f"- {load.name}: {load.said}" for load in self.loads)

    def known(self, data: dict[str, Any]) -> Results:
        """The figures of an earlier run, as `data` gave them. Raises BenchError for one of other brokers."""
        if list(data["brokers"]) != list(self.versions):
            raise BenchError(f"other brokers were measured then: {', '.join(data['brokers'])}")
        self.versions = data["brokers"]
        self.machine = data["machine"]
        self.more = " or more"
        self.rounds = min(self.rounds, data["rounds"])
        self.scale = min(self.scale, data["scale"])
        return {
            name: {broker: Figures(**own) for broker, own in figures.items()} for name, figures in data["workloads"].items()
        }

    def data(self) -> dict[str, Any]:
        """All figures of all rounds."""
        return {
            "machine": self.machine,
            "rounds": self.rounds,
            "scale": self.scale,
            "brokers": self.versions,
            "workloads": {
                name: {broker: dataclasses.asdict(own) for broker, own in figures.items()}
                for name, figures in self.results.items()
            },
        }

    def write(self, folder: Path, name: str) -> None:
        """NAME.md and NAME.svg in a folder. Raises ImportError where there is no matplotlib."""
        folder.mkdir(parents=True, exist_ok=True)
        rows = [self.rows(load) for load in self.loads]
        failures = "\n".join(self.failures())
        parts = [
            "# Benchmark", f"Made by `tools/bench{' --stores' if name == 'stores' else ''} --report`.",
            f"![CPU time for each message]({name}.svg)",
            self.head() + "\n" + "\n".join(rows), self.features(), f"Failed:\n\n{failures}" if failures else "",
            "## Workloads", self.workloads(),
        ]
        (folder / f"{name}.md").write_text("\n\n".join(part for part in parts if part) + "\n")
        draw(self, folder / f"{name}.svg")


def draw(report: Report, path: Path) -> None:
    """Bars: what each broker needs for a message, a connection, a subscription. Raises ImportError."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "bench"  # the same figures make the same file
    matplotlib.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot

    panels = [
        (title, [load for load in report.loads if any(unit in own.values for own in report.results[load.name].values())], unit)
        for title, unit in (
            ("Messages per second", "messages/s"), ("CPU microseconds per message delivered", "CPU us/message"), ("Latency, 99th percentile, microseconds", "p99 us"),
            ("Bytes per idle connection", "bytes/connection"), ("Bytes per subscription", "bytes/subscription"),
        )
    ]
    panels = [panel for panel in panels if panel[1]]
    if not panels:
        return
    heights = [len(loads) + 1 for _, loads, _ in panels]
    figure, axes = pyplot.subplots(
        len(panels), 1, figsize=(9, 0.32 * sum(heights) + 1), height_ratios=heights, squeeze=False, layout="constrained"
    )
    width = 0.8 / len(report.brokers)
    for (title, loads, unit), (axis,) in zip(panels, axes, strict=True):
        for place, broker in enumerate(report.brokers):
            values = [report.results[load.name][broker.name].median(unit) or 0 for load in loads]
            at = [row + (place - (len(report.brokers) - 1) / 2) * width for row in range(len(loads))]
            axis.barh(at, values, height=width, label=broker.name)
        axis.set_yticks(range(len(loads)), [load.name for load in loads], fontsize=7)
        axis.set_xscale("log")
        axis.margins(y=0.01)
        axis.invert_yaxis()
        axis.set_title(title, fontsize=9)
        axis.tick_params(axis="x", labelsize=7)
    axes[0][0].legend(fontsize=7)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
