"""MicroPython's unix port from Debian's source, with the broker frozen into it, for words of 64 and 32 bits."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess  # nosec B404 # programs are started from lists of arguments
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from bundling.bundles import FROZEN, Bundles
from bundling.packages import files
from debian.archive import RELEASE, Archive, Unavailable, fetch_sources, run
from measuring.heap_visits import VISITS, configuration, visit
from server_process import free_port
from toolchain import CACHE, ROOT, find

FOLDER = CACHE / "frozen-unix"
# SHA-1 for WebSocket, which MicroPython itself has only from a TLS library.
SHA1 = ROOT / "boards" / "qemu-mps2"
SHA1_FILES = ("sha1.c", "lib/axtls/crypto/crypto.h")

# Prefix of the compiler's name, and what the linker is told. A static program needs no libraries of i386.
TARGETS = {64: ("", ""), 32: ("i686-linux-gnu-", "-static")}
PROGRAMS = ("make", "mpy-cross", "dpkg-source")

# A board's heap; objects take twice as much where words have 64 bits.
HEAPS = {64: "380k", 32: "190k"}
# Programs, and what boards alone can import or this build has not.
NOT_LOADED = (
    "port.micropython.__main__", "port.micropython.board.program", "port.micropython.board.wifi", "port.micropython.net.tls",
)  # fmt: skip

OPTIONS = ("MICROPY_PY_SSL=0", "MICROPY_SSL_MBEDTLS=0", "MICROPY_SSL_AXTLS=0", "MICROPY_PY_BTREE=0", "MICROPY_PY_FFI=0",
           "CFLAGS_EXTRA=-DMICROPY_PY_HASHLIB_SHA1=1 -DMICROPY_SSL_AXTLS=1", "MICROPY_MPYCROSS_DEPENDENCY=")

MANIFEST = f"""\
include("$(MPY_DIR)/extmod/asyncio")
include("{ROOT / "manifest.py"}")
package("port/core/protocol", ("client_packets.py",), base_path="{ROOT}", opt=3)  # for the tests
module("frozen_heap.py", base_path="{ROOT / "tools" / "measuring"}", opt=3)
"""
MODULE = """\
SRC_USERMOD_C += $(USERMOD_DIR)/sha1.c
CFLAGS_USERMOD += -I$(USERMOD_DIR)
"""


def build(bits: int) -> Path:
    """The interpreter, made unless it is there for these very sources. Raises Unavailable."""
    prefix, linker = TARGETS[bits]
    missing = [program for program in (prefix + "gcc", *PROGRAMS) if not find(program)]
    if missing:
        raise Unavailable("missing: " + " ".join(missing))
    FOLDER.mkdir(parents=True, exist_ok=True)
    with _lock():
        source = fetch_sources(FOLDER, _unpack) / "micropython"
        binary = FOLDER / f"micropython{bits}"
        stamp = FOLDER / f"micropython{bits}.stamp"
        wanted = _inputs(prefix + "gcc")
        if not (binary.exists() and stamp.exists() and stamp.read_text() == wanted):
            stamp.unlink(missing_ok=True)
            made = FOLDER / f"build{bits}"
            modules = _modules()
            manifest = FOLDER / "manifest.py"
            manifest.write_text(MANIFEST)
            # make would keep it when the manifest names less, or files that are older.
            (made / "frozen_content.c").unlink(missing_ok=True)
            run("make", "-C", str(source / "ports" / "unix"), "-j2", f"BUILD={made}", f"FROZEN_MANIFEST={manifest}",
                f"USER_C_MODULES={modules}", f"MICROPY_MPYCROSS={find('mpy-cross')}", f"CROSS_COMPILE={prefix}",
                f"LDFLAGS_EXTRA={linker}", *OPTIONS)
            shutil.copy(made / "micropython", binary.with_suffix(".new"))
            binary.with_suffix(".new").rename(binary)
            stamp.write_text(wanted)
        return binary


def environment(sources: bool = False) -> dict[str, str]:
    """The environment in which an interpreter imports the broker from itself, or from this repository.

    The folder of the script comes first; for -c and -m the working directory.
    """
    return {**os.environ, "MICROPYPATH": f"{ROOT}:.frozen" if sources else ".frozen"}


def everything() -> list[str]:
    """The names of all modules that are frozen, but for NOT_LOADED and other names of what is in a bundle."""
    return sorted(set(Bundles(files()).modules) - set(NOT_LOADED))


def heap(bits: int, sources: bool = False, whole: bool = False) -> dict[str, int]:
    """Bytes of the heap in use after each step of a broker's start, see measuring/frozen_heap.py: "import", "listen", "start".

    `whole`: it has everything but TLS, and "used" is when clients have come, used it and gone, see measuring/heap_visits.py.
    Raises Unavailable, MemoryError when that is what it ends with.
    """
    with tempfile.TemporaryDirectory() as name:
        ports = [free_port() for _ in range(3)]
        file = Path(name) / "broker.json"
        file.write_text(json.dumps(configuration(ports, f"{name}/store")))
        given = [str(file), str(VISITS)] if whole else [str(ports[0])]
        with subprocess.Popen(  # nosec B603 # no shell
                [str(build(bits)), "-X", "heapsize=" + HEAPS[bits], "-m", "frozen_heap", *given],
                cwd=name, env=environment(sources), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
            printed = ""
            output = cast(IO[str], running.stdout)
            try:
                printed = output.readline()
                found: dict[str, int] = json.loads(printed)
                if whole:
                    visit(ports)
                    printed = output.readline()
                    found.update(json.loads(printed))
            except (ValueError, OSError) as error:
                running.kill()
                printed += output.read()
                short = isinstance(error, OSError) or "MemoryError" in printed  # the one: a client was turned away
                raise (MemoryError if short else Unavailable)(f"{error}: {printed}") from None
            return found


@contextmanager
def _lock() -> Iterator[None]:
    """Keep two runs at the same time from writing the same files."""
    with (FOLDER / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _unpack(archive: Archive, folder: Path) -> None:
    archive.unpack_source(folder / "micropython", "micropython")


def _modules() -> Path:
    """SHA-1 as a module in C of MicroPython's build."""
    folder = FOLDER / "modules"
    for name in SHA1_FILES:
        place = folder / "sha1" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SHA1 / name, place)
    (folder / "sha1" / "micropython.mk").write_text(MODULE)
    return folder


def _inputs(compiler: str) -> str:
    """A hash of all that the interpreter is made of."""
    versions = run(find(compiler) or "", "--version") + run(find("mpy-cross") or "", "--version")
    found = hashlib.sha256(f"{RELEASE} {versions}".encode())
    for top in (*FROZEN, ROOT / "tools" / "measuring" / "frozen_heap.py", Path(__file__), *(SHA1 / name for name in SHA1_FILES)):
        for path in sorted(top.rglob("*.py")) if top.is_dir() else [top]:
            found.update(f"{path.relative_to(ROOT)} {path.stat().st_size} ".encode() + path.read_bytes())
    return found.hexdigest()
