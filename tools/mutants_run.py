"""Runs tests on a mutated copy of the checkout, for tools/mutants: those that execute the mutated statement, the quickest first.

A Tree is such a copy. Coverage knows which test of tests/core and tests/fuzz executes which line; it is measured once for a test
file and this package, and kept. Where no test executes a statement on CPython, the test files run on MicroPython; what
still lives has to outlive the tests of tests/host named in HOST for its module.
"""

import hashlib
import json
import os
import re
import resource
import shutil
import subprocess  # nosec B404 # programs are started from lists of arguments
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mutations import Mutation

# Beginning of a path below the package -> the files of tests/host about it, test_NAME.py in any folder. The longest one counts.
HOST = {
    "acl/": ("reload",),
    "auth/": ("auth_base", "auth_server"),
    "auth/certificate": ("tls_broker",),
    "auth/password": ("passwd", "user_names"),
    "broker": ("embedding", "reload"),
    "config/": ("config", "mistakes", "reload"),
    "limits/": ("limits", "anteroom"),
    "limits/options": ("config", "without_mqtt5"),
    "monitor/": ("program", "embedding"),
    "monitor/metrics": ("monitoring",),
    "protocol/": ("limits", "leaving"),
    "storage/": ("store_both", "store_program"),
    "storage/flash_log": ("flash",),
    "streams": ("streams",),
    "web/": ("frames", "listeners"),
}
SECONDS = 5.0  # of CPU time that a test may take beside twice the time it took while it was traced
QUICK = 0.5  # s, tests that took less are quick
HOST_SECONDS = 600
MEMORY = 4 << 30  # address space of a test run
# The first counterexample is enough: looking for the smallest takes minutes.
NO_SHRINKING = """
from hypothesis import Phase

settings.register_profile("mutants", settings.get_profile("ci"), phases=[Phase.explicit, Phase.generate])
settings.load_profile("mutants")
"""


class RunError(Exception):
    """The tests fail without a mutation, or cannot be run; the text says what."""


class Result(NamedTuple):
    """How a mutant ended: `outcome` is found, lived or unreached (no test executes the statement); `by` names what found it."""

    outcome: str
    by: str


class Tree:
    """A copy of a checkout in `folder`, without what is installed or built, but with the same .venv and .cache."""

    def __init__(self, checkout: Path, folder: Path, package: str) -> None:
        self.folder = folder
        self.package = package
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(checkout, folder, symlinks=True, ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "dist"))
        for name in (".venv", ".cache"):
            if (checkout / name).exists():
                (folder / name).symlink_to(checkout / name)
        conftest = folder / "tests" / "fuzz" / "conftest.py"
        if conftest.exists():
            conftest.write_text(conftest.read_text() + NO_SHRINKING)
        self._host: dict[str, bool] = {}

    def sources(self) -> dict[str, bytes]:
        """The modules of the package by their paths below the root."""
        files = sorted((self.folder / self.package).rglob("*.py"))
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}

    def pytest(self, *arguments: str, seconds: float | None = None, **variables: str) -> tuple[int, str]:
        """Run pytest with the mutants_plugin; its status, negative for a signal, and what it printed."""
        plugin = str(Path(__file__).resolve().parent)
        environment = {**os.environ, "PYTHONPATH": plugin, "PYTHONDONTWRITEBYTECODE": "1", **variables}
        environment.pop("MICROPYTHON32", None)
        command = [sys.executable, "-m", "pytest", "-p", "mutants_plugin", "-p", "no:cacheprovider", "-q", "--tb=no", *arguments]
        process = subprocess.Popen(  # nosec B603 # no shell
            command, cwd=self.folder, env=environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True, errors="replace", preexec_fn=_bound_memory,
        )  # fmt: skip
        try:
            printed, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            return -9, process.communicate()[0]
        return process.returncode, printed

    def try_mutant(self, path: str, mutation: Mutation, coverage: "Coverage", quick: bool) -> Result:
        """Run the tests on one mutant, the quick ones of CPython alone if wished; the source is as before when it returns.

        Raises RunError.
        """
        source = (self.folder / path).read_bytes()
        (self.folder / path).write_bytes(mutation.edit(source))
        try:
            tests = coverage.tests(path, mutation)
            if quick:
                tests = [test for test in tests if test.seconds < QUICK]
            found = ""
            if tests:
                found = self._find(tests)
            elif not quick:
                found = self._failed("tests/core", "-k", "on_micropython", seconds=HOST_SECONDS)
            if found:
                return Result("found", found)
        finally:
            (self.folder / path).write_bytes(source)
        files = [] if quick else self._host_tests(path)
        (self.folder / path).write_bytes(mutation.edit(source))
        try:
            found = self._failed(*files, seconds=HOST_SECONDS * len(files)) if files else ""
            if found:
                return Result("found", found)
        finally:
            (self.folder / path).write_bytes(source)
        return Result("lived" if tests else "unreached", "")

    def _find(self, tests: "list[Test]") -> str:
        limits, names = self.folder / "mutants-limits.json", self.folder / "mutants-tests"
        limits.write_text(json.dumps({test.name: SECONDS + 2 * test.seconds for test in tests}))
        names.write_text("\n".join(test.name for test in tests))
        return self._failed(f"@{names}", MUTANTS_LIMITS=str(limits))

    def _failed(self, *arguments: str, seconds: float | None = None, **variables: str) -> str:
        """The test that failed, or how else the run ended; empty if all passed."""
        status, printed = self.pytest("-x", *arguments, seconds=seconds, **variables)
        if status in (0, 5):
            return ""
        if status < 0:
            return "time limit" if status in (-27, -14, -9) else f"signal {-status}"
        match = re.search(r"^(?:FAILED|ERROR) (\S+)", printed, re.MULTILINE)
        if match is None:
            raise RunError(f"pytest ended with {status}:\n{printed}")
        return match[1]

    def _host_tests(self, path: str) -> list[str]:
        """The files of tests/host for a module that pass without a mutation."""
        below = path[len(self.package) + 1 :]
        beginning = max((beginning for beginning in HOST if below.startswith(beginning)), key=len, default="")
        files = [str(file.relative_to(self.folder)) for name in HOST.get(beginning, ())
                 for file in sorted((self.folder / "tests" / "host").rglob(f"test_{name}.py"))]  # fmt: skip
        for file in files:
            if file not in self._host:
                failed = self._failed(file, seconds=HOST_SECONDS)
                self._host[file] = not failed
                if failed:
                    print(f"{file} is left out: {failed} fails without a mutation", file=sys.stderr)
        return [file for file in files if self._host[file]]


class Test(NamedTuple):
    """A test: its name for pytest, the seconds of CPU time it took while it was traced."""

    name: str
    seconds: float


class Coverage:
    """Which test executes which line of the package; kept in `folder` until the test file or anything it rests on changes."""

    def __init__(self, folder: Path, tree: Tree, tests: Sequence[str] = ("tests/core", "tests/fuzz")) -> None:
        """Measures what is not known. Raises RunError."""
        common = hashlib.sha256()
        files = []
        for path in (*sorted((tree.folder / tree.package).rglob("*.py")), *_test_files(tree, tests)):
            if path.name.startswith("test_"):
                files.append(path)
            else:
                common.update(path.read_bytes())
        stale = []
        kept: dict[Path, str] = {}
        for path in files:
            name = str(path.relative_to(tree.folder))
            key = hashlib.sha256(common.digest() + path.read_bytes()).hexdigest()
            stored = folder / (name.replace("/", "-") + ".json")
            stamp = stored.with_suffix(".stamp")
            if not stamp.exists() or stamp.read_text() != key:
                stored.unlink(missing_ok=True)
                stale.append(name)
            kept[stored] = key
        if stale:
            print(f"measuring what {len(stale)} test files execute", flush=True)
            folder.mkdir(parents=True, exist_ok=True)
            status, printed = tree.pytest(
                *stale, "-k", "not on_micropython", MUTANTS_RECORD=str(folder), MUTANTS_PACKAGE=str(tree.folder / tree.package)
            )
            # Some count memory, which tracing takes, too.
            failed = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", printed, re.MULTILINE)
            if status not in (0, 5) and (not failed or tree.pytest(*failed)[0]):
                raise RunError(f"the tests fail without a mutation:\n{printed}")
        self._tests: dict[str, dict[int, list[Test]]] = {}
        self._all: set[Test] = set()
        self._texts = {str(path.relative_to(tree.folder)): path.read_text() for path in files}
        for stored, key in kept.items():
            stored.with_suffix(".stamp").write_text(key)
            if stored.exists():  # it has tests for CPython
                self._add(json.loads(stored.read_text()))

    def _add(self, tests: dict[str, dict[str, Any]]) -> None:
        for name, measured in tests.items():
            test = Test(name, measured["seconds"])
            self._all.add(test)
            for path, lines in measured["lines"].items():
                known = self._tests.setdefault(path, {})
                for line in lines:
                    known.setdefault(line, []).append(test)

    def tests(self, path: str, mutation: Mutation) -> list[Test]:
        """The tests that execute a mutated statement, the quickest first; of one executed on import those that use its module."""
        lines = self._tests.get(path, {})
        if mutation.scope == (0, 0):  # the first test to import the module is not the only one that sees it
            module = path.removesuffix(".py").replace("/", ".")
            named = {file for file, text in self._texts.items() if module in text}
            found = {test for test in self._all if test.name.partition("::")[0] in named}
            found = found | _executing(lines, 0, max(lines, default=0)) or self._all
        elif mutation.scope[0] > mutation.span[1]:  # a default
            found = _executing(lines, *mutation.scope)
        else:
            found = _executing(lines, *mutation.span)
        return sorted(found, key=lambda test: test.seconds)


def _executing(lines: dict[int, list[Test]], first: int, last: int) -> set[Test]:
    return {test for line, tests in lines.items() if first <= line <= last for test in tests}


def _test_files(tree: Tree, folders: Sequence[str]) -> list[Path]:
    return [path for folder in folders for path in sorted((tree.folder / folder).rglob("*.py"))]


def _bound_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
