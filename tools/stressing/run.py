"""One attack of tools/stress: two brokers, honest clients of both, attackers of one; the figures, and what is wrong with them."""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.brokers import make_certificates
from stressing.attacks import Attack, Case
from stressing.broker import LOOP
from stressing.honest import Group, run as run_honest
from stressing.process import StressedBroker, StressError, hurry
from stressing.service import run as serve

MIB = 1 << 20
MEMORY = 256 * MIB  # what all clients together may take
OVER = 1.25  # how much of it memory may be at the peak
LATENCY = 25.0  # ms that an attack may add to the honest clients' p99
SLICE = 10.0  # ms that a slice may take
FEW = 0.001  # the part of all slices that may be longer
WORST = 50.0  # ms that none may exceed
OPTIONS = {"anonymous": "all", "max_memory": MEMORY}
START = 60.0  # s until all clients are there
PATIENCE = 60.0  # s that a delivery may take beyond the attack's time
_WAIT = 1.0  # s between two looks at the broker

_fork = multiprocessing.get_context("fork")


@dataclass
class Settings:
    """How a run is to be.

    seconds  of each attack; settle: after it, until memory is looked at again
    drain    s that what is on its way is waited for, and strangers wait for their answers
    clients  honest ones, of each broker
    hurry    whether brokers and honest clients go before other processes
    """

    seconds: float = 10.0
    settle: float = 10.0
    drain: float = 10.0
    clients: int = 20
    hurry: bool = False
    python: str = sys.executable
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Row:
    """What one attack gave.

    attacked, idle  reports of the honest clients, see honest.Crowd.report
    tally           the attackers'
    slices, cpu     of the broker that was attacked; cpu_idle: of the other one, s
    memory          bytes: `before`, `after` (both allocated), `rss before`, `rss peak`, `rss after`; limit: what may be kept
    wrong           what does not reach its goal
    """

    name: str
    said: str
    attacked: dict[str, Any] = field(default_factory=dict)
    idle: dict[str, Any] = field(default_factory=dict)
    tally: dict[str, int] = field(default_factory=dict)
    slices: dict[str, dict[str, float]] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    cpu: float = 0.0
    cpu_idle: float = 0.0
    seconds: float = 0.0
    memory: dict[str, int] = field(default_factory=dict)
    limit: int = MEMORY
    log_bytes: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def added(self) -> float:
        """ms that the attack added to the 99th percentile."""
        return float(self.attacked.get("p99", 0.0) - self.idle.get("p99", 0.0))

    def longest(self) -> tuple[str, float]:
        """The longest slice, and its kind; a turn of the event loop is no slice."""
        found = [(kind, own["longest"]) for kind, own in self.slices.items() if kind != LOOP]
        return max(found, key=lambda item: item[1], default=("", 0.0))


class _Child:
    """A process of ours at the other end of a pipe."""

    def __init__(self, call: Any, *args: Any) -> None:
        self.pipe, far = _fork.Pipe()
        self.process = _fork.Process(target=call, args=(far, *args), daemon=True)
        self.process.start()
        far.close()

    def hear(self, seconds: float) -> Any:
        """What it says; None when nothing comes in time or it has ended."""
        with contextlib.suppress(EOFError, OSError):
            if self.pipe.poll(seconds):
                return self.pipe.recv()
        return None

    def say(self, word: str) -> None:
        """Tell it something; it may have ended."""
        with contextlib.suppress(OSError):
            self.pipe.send(word)

    def end(self) -> None:
        """End it now."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def many_files() -> None:
    """As many sockets as the system allows, here and in all processes that are started."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def measure(attack: Attack, settings: Settings) -> Row:
    """Run one attack. Raises StressError when it cannot be set up."""
    row = Row(attack.name, attack.said)
    options = {**OPTIONS, **attack.options, **settings.options}
    row.limit = options["max_memory"]
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        if "tls" in attack.config:
            make_certificates(folder)
        config = attack.config
        if "SERVICE" in config:
            service = _Child(serve)
            stack.callback(service.end)
            config = config.replace("SERVICE", str(service.hear(START)))
        brokers = [
            stack.enter_context(StressedBroker(folder, which, config, options, python=settings.python, unread_log=unread))
            for which, unread in (("attacked", attack.unread_log), ("idle", False))
        ]
        attacked, idle = brokers
        if settings.hurry:
            for broker in brokers:
                hurry(broker.pid)
        case = Case(attacked.ports, attacked.options, folder)
        try:
            attack.prepare(case)
        except OSError as e:
            raise StressError("%s cannot be prepared: %s\n%s" % (attack.name, e, attacked.log.read_text())) from None
        fields = {"patience": settings.drain, **attack.honest}
        if fields.get("ca"):
            fields["ca"] = str(folder / fields["ca"])
        groups = [Group(broker.ports[0], broker.ports[attack.entrance], settings.clients, **fields) for broker in brokers]
        honest = _Child(run_honest, groups, settings.drain)
        stack.callback(honest.end)
        if settings.hurry:
            hurry(honest.process.pid or 0)
        said = honest.hear(START)
        if said != "ready":
            raise StressError("%s: the honest clients cannot begin: %s\n%s" % (attack.name, said, attacked.log.read_text()))
        attackers = []
        for process in attack.processes(case):
            attackers.append(_Child(process, attacked.ports[attack.way], settings.seconds))
            stack.callback(attackers[-1].end)
            if attackers[-1].hear(START) != "ready":
                raise StressError("%s: an attacker cannot begin" % attack.name)
        _watch(row, attack, settings, attacked, idle, honest, attackers)
    row.wrong += faults(row, attack)
    return row


def _watch(
    row: Row, attack: Attack, settings: Settings, attacked: StressedBroker, idle: StressedBroker, honest: _Child,
    attackers: list[_Child],
) -> None:  # fmt: skip
    before = attacked.ask("figures")
    idle_before = idle.ask("figures")
    attacked.ask("reset")
    honest.say("go")
    begun = time.monotonic()
    for child in attackers:
        child.say("go")
    tally: Counter[str] = Counter()
    left = list(attackers)
    end = begun + settings.seconds + (PATIENCE if attack.delivery else 5.0)
    while left and time.monotonic() < end:
        for child in list(left):
            found = child.hear(_WAIT / len(left))
            if found is not None:
                tally.update(found)
                left.remove(child)
            elif not child.process.is_alive():
                row.wrong.append("an attacker has failed")
                left.remove(child)
    row.seconds = time.monotonic() - begun
    row.tally = dict(tally)
    honest.say("end")
    reports = honest.hear(settings.drain + START)
    if reports is None:
        row.wrong.append("the honest clients have failed")
        return
    row.attacked, row.idle = reports
    for child in attackers:
        child.say("end")
        child.end()
    time.sleep(settings.settle)
    if not attacked.running():
        row.wrong.append("the broker has ended: %s" % (attacked.log.read_text()[-2000:] if attacked.log.exists() else ""))
        return
    try:
        after = attacked.ask("figures")
    except OSError:
        row.wrong.append("the broker does not even answer the tool")
        return
    row.slices = after["slices"]
    row.counters = after["counters"]
    row.cpu = after["cpu"] - before["cpu"]
    row.cpu_idle = idle.ask("figures")["cpu"] - idle_before["cpu"]
    row.log_bytes = attacked.log_size()
    row.memory = {
        "before": before["allocated"], "after": after["allocated"], "rss before": before["rss"], "rss peak": after["peak"],
        "rss after": after["rss"],
    }  # fmt: skip


def faults(row: Row, attack: Attack) -> list[str]:
    """What does not reach its goal."""
    found = []
    honest = row.attacked
    if honest:
        if row.added > LATENCY:
            found.append("p99 %+.0f ms" % row.added)
        for what, text in (("lost", "messages lost"), ("refused", "messages refused"), ("disconnected", "honest clients disconnected")):
            if honest[what]:
                found.append("%d %s" % (honest[what], text))
        away = honest["tried"] - honest["let in"]
        if away:
            found.append("%d of %d strangers turned away" % (away, honest["tried"]))
    kind, longest = row.longest()
    if longest > WORST:
        found.append("%s of %.0f ms" % (kind, longest))
    for kind, own in row.slices.items():
        if kind != LOOP and own["long"] > max(1, FEW * own["count"]):
            found.append("%d of %d of kind %s over %.0f ms" % (own["long"], own["count"], kind, SLICE))
    memory = row.memory
    if memory:
        if memory["rss peak"] > OVER * row.limit:
            found.append("%d MiB at the peak" % (memory["rss peak"] // MIB))
        if memory["after"] > row.limit:
            found.append("%d MiB afterwards" % (memory["after"] // MIB))
    if row.log_bytes > attack.log_bytes:
        found.append("%.1f MB of log" % (row.log_bytes / 1e6))
    for what, most in attack.tally.items():
        if row.tally.get(what, 0) > most:
            found.append("%s: %d times" % (what, row.tally[what]))
    if attack.delivery:
        expected, delivered = row.tally.get("expected", 0), row.tally.get("delivered", 0)
        if not expected or delivered < expected:
            found.append("%d of %d delivered" % (delivered, expected))
    return found
