"""The virtual board of boards/qemu-mps2: builds its firmware, and runs it in QEMU."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import struct
import subprocess  # nosec B404 # programs are started from lists of arguments
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from bundling.bundles import FROZEN
from debian.archive import Archive, Unavailable, fetch_sources, run
from server_process import free_port
from toolchain import CACHE, ROOT, find

BOARD = ROOT / "boards" / "qemu-mps2"
FOLDER = CACHE / "qemu-mps2"
PROGRAMS = ("arm-none-eabi-gcc", "dpkg-source", "make", "mpy-cross", "qemu-system-arm")

PCBS = 24  # TCP connections the firmware has room for
STOCK_PCBS = 5  # and a stock Pico W
# Segments, bytes for them, and frames that lwIP has in the firmware, as on boards/rpi-pico-w; and on a stock Pico W.
SEGMENTS, STOCK_SEGMENTS = 96, 32
BYTES, STOCK_BYTES = 16000, 8000
FRAMES, STOCK_FRAMES = 24, 16

# Where the firmware finds its settings, see mphalport.h: four words of seed, the PCBs to leave unused, the heap's size, what
# to leave unused of lwIP's segments, bytes and frames. And where it tells how much of each is in use.
SETTINGS = 0x21FFFF00
POOLS = 0x21FFFE00
ADDRESS = "10.0.2.15"  # of the board, in QEMU's network

START_SECONDS = 60.0
ANSWER_SECONDS = 10.0

_TROUBLE = re.compile(r'FATAL|File "(port/|main\.py)|internal error|hook failed|never retrieved|not implemented')
_LISTENING = re.compile(r"bytes in use, \d+ free")  # said when all listeners are open


def build() -> Path:
    """The firmware as an ELF file, made unless it is there for these very sources. Raises Unavailable."""
    missing = [program for program in PROGRAMS if not find(program)]
    if missing:
        raise Unavailable("missing: " + " ".join(missing))
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sources = fetch_sources(FOLDER, _unpack)
        stamp = FOLDER / "firmware.stamp"
        firmware = FOLDER / "firmware.elf"
        wanted = _inputs(sources)
        if not (firmware.exists() and stamp.exists() and stamp.read_text() == wanted):
            stamp.unlink(missing_ok=True)
            made = FOLDER / "build"
            # make would keep it when the manifest names less, or files that are older.
            (made / "frozen_content.c").unlink(missing_ok=True)
            run("make", "-C", str(BOARD), "-j", str(os.cpu_count() or 1), f"TOP={sources / 'micropython'}",
                f"NEWLIB={sources / 'newlib' / 'usr' / 'include' / 'newlib'}", f"BUILD={made}", f"TCP_PCBS={PCBS}",
                f"MICROPY_MPYCROSS={find('mpy-cross')}", "MICROPY_MPYCROSS_DEPENDENCY=")
            shutil.copyfile(made / "firmware.elf", firmware.with_suffix(".new"))
            firmware.with_suffix(".new").rename(firmware)
            stamp.write_text(wanted)
        return firmware


def _unpack(archive: Archive, folder: Path) -> None:
    """The sources of MicroPython and lwIP and the headers of a C library."""
    archive.unpack(folder / "newlib", "libnewlib-dev")
    for package in ("micropython", "lwip"):
        archive.unpack_source(folder / package, package)
    place = folder / "micropython" / "lib" / "lwip"
    shutil.rmtree(place)
    place.symlink_to(Path("..", "..", "lwip"))


def _inputs(sources: Path) -> str:
    """A hash of all that the firmware is made of."""
    compiler = run("arm-none-eabi-gcc", "--version") + run(find("mpy-cross") or "", "--version")
    found = hashlib.sha256(f"{sources} {compiler} {PCBS}".encode())
    paths = [path for folder in (BOARD, *FROZEN) for path in (sorted(folder.rglob("*")) if folder.is_dir() else [folder])]
    for path in paths:
        if path.is_file() and path.suffix not in (".md", ".pyc"):
            found.update(f"{path.relative_to(ROOT)} {path.stat().st_size} ".encode() + path.read_bytes())
    return found.hexdigest()


class BoardError(Exception):
    """The board does not do what it should; the text holds its output."""


def expect(holds: bool, what: str) -> None:
    """Raise BoardError unless that is so."""
    if not holds:
        raise BoardError(what)


class Pool(NamedTuple):
    """One of lwIP's: how much is in use, the most that was at a time, how often there was none left."""

    used: int
    most: int
    failed: int


class Board:
    """A running board.

    port, websocket_port, http_port   on 127.0.0.1, of its ports 1883, 8083 and 8080
    console                           its serial console, for mpremote, ampy or a terminal program
    pid                               of QEMU
    runtime                           "micropython", as a ServerProcess has it

    ports                             of the PC, `doors` of them, that all lead to port 1883, `port` is the first: QEMU lets
                                      in only a few clients at once at each, the others some seconds later

    `pcbs` TCP connections (at most PCBS) and `heap` bytes (0: all). If `roomy` lwIP has as much memory as on a Pico W with
    the firmware of boards/rpi-pico-w, else as with a stock one. If `slow` QEMU takes 64 ns for an instruction, a Pico's
    speed or less; if `fast`, too, but the time in which the board has nothing to do is skipped.
    """

    runtime = "micropython"

    def __init__(
        self, *, port: int = 0, websocket_port: int = 0, http_port: int = 0, pcbs: int = PCBS, heap: int = 0,
        roomy: bool = False, doors: int = 1, slow: bool = False, fast: bool = False
    ) -> None:
        """Raises Unavailable when there is no firmware, BoardError when it does not start."""
        self.port = port or free_port()
        self.ports = [self.port] + [free_port() for _ in range(doors - 1)]
        self.websocket_port = websocket_port or free_port()
        self.http_port = http_port or free_port()
        firmware = build()
        self._folder = tempfile.TemporaryDirectory(prefix="board-")
        self._log = Path(self._folder.name) / "console"
        self._monitor = Path(self._folder.name) / "monitor"
        self._seen = 0  # of the output, by wait_until_it_listens
        unused = (0, 0, 0) if roomy else (SEGMENTS - STOCK_SEGMENTS, BYTES - STOCK_BYTES, FRAMES - STOCK_FRAMES)
        words = [secrets.randbits(32) for _ in range(4)] + [PCBS - pcbs, heap, *unused]
        forwarded = (*((each, 1883) for each in self.ports), (self.websocket_port, 8083), (self.http_port, 8080))
        command = [
            find("qemu-system-arm") or "qemu-system-arm", "-machine", "mps2-an385", "-display", "none", "-monitor", "none",
            "-kernel", str(firmware), "-qmp", f"unix:{self._monitor},server=on,wait=off",
            "-chardev", f"pty,id=console,logfile={self._log}", "-serial", "chardev:console",
            # restrict: the board reaches neither the host nor any network.
            "-nic", "user,id=lan,model=lan9118,restrict=on" + "".join(
                f",hostfwd=tcp:127.0.0.1:{outside}-{ADDRESS}:{inside}" for outside, inside in forwarded),
        ]
        for i, word in enumerate(words):
            command += ["-device", f"loader,addr={SETTINGS + 4 * i:#x},data={word:#x},data-len=4"]
        if slow or fast:
            command += ["-icount", "shift=6," + ("sleep=off" if fast else "align=on")]
        self._process = subprocess.Popen(  # nosec B603 # no shell
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.pid = self._process.pid
        try:
            self.console = self._find_console()
            self.wait_until_it_listens()
        except BaseException:
            self.stop()
            raise

    @property
    def output(self) -> str:
        """What has come over the console so far."""
        return self._log.read_bytes().decode(errors="replace") if self._log.exists() else ""

    def trouble(self) -> str:
        """Empty, or what a healthy board would not have done."""
        if self._process.poll() is not None:
            return "QEMU has ended\n" + self.output
        return self.output if _TROUBLE.search(self.output) else ""

    def pools(self) -> dict[str, Pool]:
        """What lwIP has given away: segments, bytes, frames, connections."""
        file = Path(self._folder.name) / "pools"
        self._command("pmemsave", {"val": POOLS, "size": 48, "filename": str(file)})
        words = struct.unpack("<12I", file.read_bytes())
        return {name: Pool(*words[3 * i : 3 * i + 3]) for i, name in enumerate(("segments", "bytes", "frames", "connections"))}

    def set_link(self, up: bool) -> None:
        """Pull the network cable out, or put it in again."""
        self._command("set_link", {"name": "lan", "up": up})

    def wait_until_it_listens(self) -> None:
        """Wait for the broker of the last start. Raises BoardError when it does not come.

        The console says it: a connection made to find out would take one of the board's few, longer than it seems.
        """
        deadline = time.monotonic() + START_SECONDS
        while (found := _LISTENING.search(self.output, self._seen)) is None:
            if self.trouble() or time.monotonic() > deadline:
                raise BoardError("the broker does not listen\n" + self.output)
            time.sleep(0.02)
        self._seen = found.end()

    def wait(self) -> None:
        """Wait until QEMU ends."""
        self._process.wait()

    def stop(self) -> None:
        """Switch it off."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._folder.cleanup()

    def __enter__(self) -> Board:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _find_console(self) -> str:
        """QEMU prints the name of the terminal it has made."""
        lines = []
        for line in self._process.stdout or ():
            found = re.search(r"redirected to (\S+)", line)
            if found:
                return found[1]
            lines.append(line)
        raise BoardError("QEMU does not start\n" + "".join(lines))

    def _command(self, name: str, arguments: dict[str, object]) -> None:
        """Have QEMU's monitor do something."""
        with socket.socket(socket.AF_UNIX) as sock, sock.makefile("rw") as monitor:
            sock.settimeout(ANSWER_SECONDS)
            sock.connect(str(self._monitor))
            for command in ({"execute": "qmp_capabilities"}, {"execute": name, "arguments": arguments}):
                monitor.write(json.dumps(command))
                monitor.flush()
                for line in monitor:
                    answer = json.loads(line)
                    if "error" in answer:
                        raise BoardError(f"QEMU cannot {name}: {answer['error']['desc']}")
                    if "return" in answer:
                        break
