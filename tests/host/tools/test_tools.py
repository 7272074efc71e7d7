"""What a tool does on a fresh clone: it tells what it is for, and changes nothing by that; and what it does without."""

import os
import subprocess
import sys
import tomllib

import pytest

from room import clone
from toolchain import CACHE, ROOT

with (ROOT / "pyproject.toml").open("rb") as file:
    PROGRAMS = tomllib.load(file)["tool"]["ucomqtt"]["debian"]

TOOLS = sorted(path.name for path in (ROOT / "tools").iterdir() if path.is_file() and os.access(path, os.X_OK))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """The files of this checkout without what was installed into it."""
    return clone(ROOT, tmp_path_factory.mktemp("fresh") / "clone")


@pytest.mark.parametrize("tool", TOOLS)
def test_help(fresh, tool, tmp_path):
    before = sorted(fresh.rglob("*"))
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([fresh / "tools" / tool, "--help"], env=environment, cwd=tmp_path, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert tool in done.stdout and not done.stderr
    assert sorted(fresh.rglob("*")) == before


@pytest.mark.parametrize("ci", [False, True])
def test_packages_of_node_that_cannot_be_installed(tool, tmp_path, ci):
    """A person gets along without them; CI does not, and shows why."""
    for command in PROGRAMS if ci else ():
        tool(command)  # else it would begin to install what is not there
    checkout = clone(ROOT, tmp_path / "ucomqtt", ".venv")
    (checkout / ".cache").mkdir()
    for path in CACHE.iterdir():
        if path.name not in ("node", "node.stamp", "lock"):
            (checkout / ".cache" / path.name).symlink_to(path)
    (tmp_path / "npm").write_text("#!/bin/sh\necho 'no way to the registry' >&2; exit 1\n")
    (tmp_path / "npm").chmod(0o755)
    environment = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin", **({"CI": "true"} if ci else {})}
    command = [sys.executable, "tools/test", "-q", "tests/core/test_topics.py", "-k", "not micropython"]
    done = subprocess.run(command, cwd=checkout, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert "no way to the registry" in done.stderr
    assert done.returncode == int(ci)
    assert (" passed" in done.stdout and "node: not installed, tests that need it are skipped" in done.stderr) == (not ci)
