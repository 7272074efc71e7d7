"""The table of tools/stress."""

from __future__ import annotations

import dataclasses
import platform
from typing import Any

from benchmark.report import machine
from stressing.broker import LOOP
from stressing.run import LATENCY, MEMORY, MIB, OVER, SLICE, WORST, Row, Settings

HEAD = (
    "| attack | p99, ms: attacked | idle | longest slice, ms | loop | CPU, s | strangers let in | RSS, MiB: before | peak | "
    "allocated: before | after | wrong |\n|---|" + "---:|" * 10 + "---|"
)


def line(row: Row) -> str:
    """A row of the table."""
    cells = ["%s %s" % (row.name, row.said)]
    if row.attacked:
        cells += ["%.1f" % row.attacked["p99"], "%.1f" % row.idle["p99"]]
    else:
        cells += ["-", "-"]
    if row.slices:
        cells += ["%.1f %s" % (row.longest()[1], row.longest()[0]), "%.1f" % row.slices[LOOP]["longest"], "%.1f" % row.cpu]
    else:
        cells += ["-", "-", "-"]
    cells.append("%d of %d" % (row.attacked["let in"], row.attacked["tried"]) if row.attacked else "-")
    cells += [
        "%.0f" % (row.memory[what] / MIB) if row.memory else "-" for what in ("rss before", "rss peak", "before", "after")
    ]
    cells.append("; ".join(row.wrong) or "nothing")
    return "| %s |" % " | ".join(cells)


def head(settings: Settings) -> str:
    """What is needed to read the table."""
    return (
        "Machine: %s; Python %s\n\n%g s for each attack at full speed, %d honest clients that publish ten times a second, and "
        "strangers that connect; the same clients of an idle broker at the same time. Goals: p99 at most %.0f ms above that of "
        "the idle broker, no message lost, every stranger let in; slices of %.0f ms of CPU, the longest %.0f ms; memory (RSS at "
        "the peak, allocated %g s after) %d MiB at most, and a quarter more at the peak (%d MiB)."
        % (
            machine(), platform.python_version(), settings.seconds, settings.clients, LATENCY, SLICE, WORST, settings.settle,
            MEMORY // MIB, int(MEMORY * OVER) // MIB,
        )
    )  # fmt: skip


def data(rows: list[Row], settings: Settings) -> dict[str, Any]:
    """All figures."""
    return {"machine": machine(), "settings": dataclasses.asdict(settings), "rows": [dataclasses.asdict(row) for row in rows]}


def table(rows: list[Row], settings: Settings) -> str:
    """The whole report, Markdown."""
    wrong = sum(bool(row.wrong) for row in rows)
    return "%s\n\n%s\n%s\n\n%d of %d attacks are felt.\n" % (
        head(settings), HEAD, "\n".join(line(row) for row in rows), wrong, len(rows),
    )  # fmt: skip
