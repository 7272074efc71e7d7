"""A plugin of pytest, for tools/mutants: which lines of the package each test executes, or an end to tests that do not end.

MUTANTS_RECORD   a folder: for each test file a JSON file in it,
                 {test: {"seconds": s, "lines": {path below the root: [line, ...]}}}
MUTANTS_PACKAGE  the folder whose lines are recorded
MUTANTS_LIMITS   a JSON file, {test: seconds}: CPU time after which the process ends by SIGPROF, and after ten times that
                 by SIGALRM, so that what only waits ends, too
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

Local = Callable[[FrameType, str, Any], Any]


class Recorder:
    """Traces what a test, its fixtures among it, executes of the package."""

    def __init__(self, folder: Path, package: str) -> None:
        self._folder = folder
        self._package = package
        self._tests: dict[str, dict[str, dict[str, Any]]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        package = self._package
        seen: dict[str, tuple[set[int], Local]] = {}

        def entered(frame: FrameType, event: str, argument: Any) -> Any:
            path = frame.f_code.co_filename
            if not path.startswith(package):
                return None
            if path not in seen:
                lines: set[int] = set()
                seen[path] = lines, _adder(lines.add)
            seen[path][0].add(frame.f_lineno)
            return seen[path][1]

        start = time.process_time()
        sys.settrace(entered)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            root = item.config.rootpath
            lines = {str(Path(path).relative_to(root)): sorted(numbers) for path, (numbers, _) in seen.items()}
            file = item.nodeid.partition("::")[0]
            self._tests.setdefault(file, {})[item.nodeid] = {"seconds": round(time.process_time() - start, 3), "lines": lines}

    def pytest_sessionfinish(self) -> None:
        for file, tests in self._tests.items():
            (self._folder / (file.replace("/", "-") + ".json")).write_text(json.dumps(tests))


def _adder(add: Callable[[int], None]) -> Local:
    def executed(frame: FrameType, event: str, argument: Any) -> Any:
        add(frame.f_lineno)
        return executed

    return executed


class Limits:
    """Ends the process in a test that takes too long."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        seconds = self._seconds.get(item.nodeid, 0)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.setitimer(signal.ITIMER_REAL, 10 * seconds)
        try:
            return (yield)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)


def pytest_configure(config: pytest.Config) -> None:
    if "MUTANTS_RECORD" in os.environ:
        config.pluginmanager.register(Recorder(Path(os.environ["MUTANTS_RECORD"]), os.environ["MUTANTS_PACKAGE"] + "/"))
    if "MUTANTS_LIMITS" in os.environ:
        config.pluginmanager.register(Limits(json.loads(Path(os.environ["MUTANTS_LIMITS"]).read_text())))
