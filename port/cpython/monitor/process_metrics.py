"""Metrics of the process: its resources, and the delays in it. Names and units are those of Prometheus' own client libraries. Values
that only Linux has, in /proc, are left out elsewhere."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from port.core.monitor.measures import Histogram
from port.cpython.net import file_descriptors

if TYPE_CHECKING:
    from port.core.monitor.metrics import Family, Sample
    from port.core.broker import Broker

_COUNTER, _GAUGE, _HISTOGRAM = 0, 1, 2  # indexes in port.core.monitor.metrics.TYPES
_STARTED = 19  # field of /proc/self/stat behind the program's name: clock ticks after the machine's start


class Process:
    """The process' figures.

    delays  of the event loop's timers
    slices  durations of Broker.work
    """

    def __init__(self) -> None:
        self.delays = Histogram()
        self.slices = Histogram()
        self._started = _started()

    def families(self, broker: Broker) -> Iterator[Family]:
        """See port.core.monitor.metrics.families."""
        text = "How late the event loop is, looked at once a second"
        yield ("ucomqtt_event_loop_delay_seconds", _HISTOGRAM, (), text), _some(self.delays)
        text = "Slices of work that is too much to be done at once"
        yield ("ucomqtt_work_slice_seconds", _HISTOGRAM, (), text), _some(self.slices)
        python = platform.python_implementation(), platform.python_version()
        text = "The Python that runs the broker; always 1"
        yield ("python_info", _GAUGE, ("implementation", "version"), text), [(python, 1)]
        text = "CPU time of the process, user and system"
        yield ("process_cpu_seconds_total", _COUNTER, (), text), _some(time.process_time())
        yield ("process_start_time_seconds", _GAUGE, (), "When the process started, since 1970"), _some(self._started)
        pages = [int(count) * os.sysconf("SC_PAGE_SIZE") for count in _read("/proc/self/statm").split()]
        yield ("process_virtual_memory_bytes", _GAUGE, (), "Memory of the process, all of it"), _some(pages[0] if pages else None)
        yield ("process_resident_memory_bytes", _GAUGE, (), "Memory of the process that is in RAM"), _some(pages[1] if pages else None)
        yield ("process_open_fds", _GAUGE, (), "File descriptors that are open"), _some(_open_files())
        yield ("process_max_fds", _GAUGE, (), "File descriptors that may be open"), _some(file_descriptors.limit() or None)


def _some(value: Any) -> list[Sample]:
    return [] if value is None else [((), value)]


def _open_files() -> int | None:
    """The number of open descriptors, None without /proc."""
    try:
        return os.stat("/proc/self/fd").st_size or len(os.listdir("/proc/self/fd")) - 1  # it is 0 before Linux 6.2
    except OSError:
        return None


def _started() -> float | None:
    """When the process started, seconds since 1970."""
    fields = _read("/proc/self/stat").rpartition(")")[2].split()
    if not fields:
        return None
    running = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[_STARTED]) / os.sysconf("SC_CLK_TCK")
    return round(time.time() - running, 2)


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
