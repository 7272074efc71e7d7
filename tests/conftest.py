"""Runs tests/core on two runtimes, and finds the tools that tests of tests/host need.

A file of tests/core is plain `def test_x()` or `async def test_x()` with plain
`assert`. Each of its functions runs here, on CPython, and the whole file once
more on a real MicroPython, as the item `on_micropython`. Such a file may set

    HEAPSIZE = "380k"   # of the MicroPython that runs it
    TIMEOUT = 300       # seconds for the whole file there
"""

import asyncio
import inspect
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import toolchain

CORE = toolchain.ROOT / "tests" / "core"
RUNNER = "tests/run_on_micropython.py"
HEAPSIZE = "1200k"
TIMEOUT = 60

# Where a test's `node` finds the pinned packages.
os.environ.setdefault("NODE_PATH", str(toolchain.NODE_MODULES))


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """Return a function: the path of a command, such as tool("mosquitto")."""
    return _tool


def _tool(name: str) -> str:
    """Return the path of a command; without it skip the test, or fail it in CI."""
    path = toolchain.find(name)
    if path is None or name == "node" and not toolchain.NODE_MODULES.exists():  # it is of use with its packages
        (pytest.fail if toolchain.in_ci() else pytest.skip)(f"no {name} on this machine")
    return path


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in wanted}))
    return True


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> Any:
    """Collect a file of tests/core for both runtimes."""
    if module_path.parent == CORE:
        return CoreModule.from_parent(parent, path=module_path)
    return None


class CoreModule(pytest.Module):
    """A test file that runs on CPython and on MicroPython."""

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        yield from super().collect()
        yield OnMicroPython.from_parent(self, name="on_micropython", command="micropython")
        if os.environ.get("MICROPYTHON32"):
            yield OnMicroPython.from_parent(self, name="on_micropython32", command="micropython32")


class OnMicroPython(pytest.Item):
    """All tests of one file in one process of a real MicroPython."""

    def __init__(self, *, command: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.command = command

    def runtest(self) -> None:
        module = self.getparent(pytest.Module)
        assert module is not None
        heapsize = getattr(module.obj, "HEAPSIZE", HEAPSIZE)
        timeout = getattr(module.obj, "TIMEOUT", TIMEOUT)
        command = [_tool(self.command), "-X", "heapsize=" + heapsize, RUNNER,
                   str(self.path.relative_to(toolchain.ROOT))]
        try:
            done = subprocess.run(command, cwd=toolchain.ROOT, timeout=timeout, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  errors="replace", stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired as error:
            printed = (error.stdout or b"").decode(errors="replace")
            raise MicroPythonError(f"{printed}not done after {timeout} s") from None
        if done.returncode:
            raise MicroPythonError(f"{done.stdout}exit code {done.returncode}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show what MicroPython printed instead of a traceback of this file."""
        if isinstance(excinfo.value, MicroPythonError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, f"{self.path.stem} {self.name}"


class MicroPythonError(Exception):
    """The tests failed on MicroPython; the text is its output."""
