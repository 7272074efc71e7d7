"""Firmware of a board from a checkout of MicroPython: what it takes, the build, and what is in the result."""

from __future__ import annotations

import os
import re
import subprocess  # nosec B404 # programs are started from lists of arguments
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from debian.archive import Unavailable, run
from toolchain import ROOT, find

# Of MicroPython: what is older misses something the broker needs; what is newer was not there yet.
OLDEST = (1, 23)
NEWEST_KNOWN = (1, 29)

# Command -> Debian's package.
PROGRAMS = {"make": "make", "cmake": "cmake", "gcc": "gcc", "arm-none-eabi-gcc": "gcc-arm-none-eabi",
            "arm-none-eabi-g++": "gcc-arm-none-eabi"}
# What a compiler without it lacks, too.
LIBRARIES = {"libc.a": "libnewlib-arm-none-eabi", "libstdc++.a": "libstdc++-arm-none-eabi-newlib"}

LOG = "build.log"
_LAST_LINES = 30
# Symbols of our modules, frozen: fun_data_port_core_broker_Broker.
_OURS = re.compile(r"^(children|const_\w+?|frozen_module|fun_data|proto_fun|raw_code)_port_")


class Board(NamedTuple):
    """How a board's firmware is made.

    port        MicroPython's folder for it
    variants    name -> prefix of the programs that look into its firmware; "" is the board itself
    submodules  of MicroPython, that it is made of
    image       what is written to the board; `program` what has to fit into `room` bytes of flash
    """

    port: str
    variants: dict[str, str]
    submodules: tuple[str, ...]
    image: str
    program: str
    elf: str
    room: dict[str, int]
    flash: str


BOARDS = {
    "rpi-pico-w": Board(
        "rp2", {"": "arm-none-eabi-", "PICO2_W": "arm-none-eabi-"},
        ("lib/btstack", "lib/cyw43-driver", "lib/lwip", "lib/mbedtls", "lib/micropython-lib", "lib/pico-sdk", "lib/tinyusb"),
        "firmware.uf2", "firmware.bin", "firmware.elf", {"": 1200 * 1024, "PICO2_W": 1536 * 1024},
        "hold BOOTSEL, plug the board in, copy the image to the drive that appears"),
    "esp32": Board(
        "esp32", {"": "xtensa-esp32-elf-", "SPIRAM": "xtensa-esp32-elf-", "C3": "riscv32-esp-elf-",
                  "S3": "xtensa-esp32s3-elf-"},
        ("lib/berkeley-db-1.xx", "lib/micropython-lib"),
        "firmware.bin", "micropython.bin", "micropython.elf", dict.fromkeys(("", "SPIRAM", "C3", "S3"), 0x1F0000),
        "make -C {port} {arguments} PORT=/dev/ttyUSB0 erase deploy"),
}


class Build:
    """One firmware. Raises Unavailable when the checkout is none, or misses something."""

    def __init__(self, checkout: Path, name: str, variant: str, folder: Path) -> None:
        self.board = BOARDS[name]
        if variant not in self.board.variants:
            known = ", ".join(filter(None, self.board.variants))
            raise Unavailable(f"{name} has no variant {variant!r}, but {known}")
        self._variant = variant
        self._checkout = checkout.absolute()
        self._folder = folder.absolute()
        self._arguments = [f"BOARD_DIR={ROOT / 'boards' / name}", f"BUILD={self._folder}"]
        if variant:
            self._arguments.append(f"BOARD_VARIANT={variant}")
        self.version = _version(self._checkout)
        self._check_port()

    def toolchain(self) -> str:
        """The toolchain it will be built with. Raises Unavailable with the names of all that is missing."""
        return _esp_idf() if self.board.port == "esp32" else _arm(self._checkout)

    def make(self) -> None:
        """Build it. Raises Unavailable with the end of what the build said; all of it is in LOG."""
        cache = self._folder / "CMakeCache.txt"
        port = self._checkout / "ports" / self.board.port
        if cache.exists() and not re.search(f"^CMAKE_HOME_DIRECTORY:INTERNAL={re.escape(str(port.resolve()))}$",
                                            cache.read_text(), re.MULTILINE):
            raise Unavailable(f"{self._folder} holds a build of something else: remove it, or name another with --build")
        self._folder.mkdir(parents=True, exist_ok=True)
        # It is not written again when only the list of modules has changed.
        (self._folder / "frozen_content.c").unlink(missing_ok=True)
        jobs = f"-j{os.cpu_count() or 1}"
        with (self._folder / LOG).open("w") as log:
            for command in (["make", "-C", str(self._checkout / "mpy-cross"), jobs],
                            ["make", "-C", str(port), jobs, *self._arguments]):
                print(" ".join(command), flush=True)
                done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log,  # nosec B603 # no shell
                                      stderr=subprocess.STDOUT)
                if done.returncode:
                    lines = (self._folder / LOG).read_text(errors="replace").splitlines()
                    raise Unavailable("\n".join(["the build failed:", *lines[-_LAST_LINES:], f"All of it: {log.name}"]))

    def report(self) -> str:
        """Where it is and what is in it. Raises Unavailable when there is none."""
        board = self.board
        for name in (board.image, board.program, board.elf):
            if not (self._folder / name).exists():
                raise Unavailable(f"the build has left no {self._folder / name}")
        size = (self._folder / board.program).stat().st_size
        room = board.room[self._variant]
        ours, heap = contents(self._folder / board.elf, board.variants[self._variant])
        lines = [f"image: {self._folder / board.image}",
                 f"flash: {size:,} of {room:,} bytes, {ours:,} of them the broker without the names it uses"]
        if heap:
            lines.append(f"heap:  {heap:,} bytes")
        how = board.flash.format(port=self._checkout / "ports" / board.port, arguments=" ".join(self._arguments))
        return "\n".join([*lines, f"write: {how}"])

    def _check_port(self) -> None:
        port = self._checkout / "ports" / self.board.port
        if not (port / "Makefile").exists():
            raise Unavailable(f"{port} is missing, this is not the whole of MicroPython")
        missing = [name for name in self.board.submodules if not _filled(self._checkout / name)]
        if missing:
            raise Unavailable(f"submodules of MicroPython are missing: {' '.join(missing)}\n"
                              f"To get them: make -C {port} {' '.join(self._arguments)} submodules")


def contents(elf: Path, prefix: str) -> tuple[int, int]:
    """Bytes of flash that are ours, and bytes of MicroPython's heap (0: not known before it runs)."""
    ours = 0
    ends = {}
    for line in run(find(prefix + "nm") or prefix + "nm", "-S", str(elf)).splitlines():
        fields = line.split()
        if len(fields) == 4 and _OURS.search(fields[3]):
            ours += int(fields[1], 16)
        elif fields[-1] in ("__GcHeapStart", "__GcHeapEnd"):
            ends[fields[-1]] = int(fields[0], 16)
    return ours, ends.get("__GcHeapEnd", 0) - ends.get("__GcHeapStart", 0)


def arm_problems(programs: Callable[[str], str | None] = find) -> Iterator[str]:
    """What the compiler for ARM misses, as Debian's packages."""
    for program, package in PROGRAMS.items():
        if not programs(program):
            yield f"{program} ({package})"
    for library, package in LIBRARIES.items():
        compiler = programs("arm-none-eabi-g++")
        # A compiler that has no such file answers with its name alone.
        if compiler and "/" not in run(compiler, "-print-file-name=" + library):
            yield f"{library} ({package})"


def _version(checkout: Path) -> str:
    """The version of a checkout."""
    try:
        text = (checkout / "py" / "mpconfig.h").read_text()
    except OSError:
        raise Unavailable(f"{checkout} is no checkout of MicroPython: no py/mpconfig.h in it") from None
    numbers = [re.search(rf"#define MICROPY_VERSION_{part}\s+(\d+)", text) for part in ("MAJOR", "MINOR", "MICRO")]
    major, minor, micro = (int(found[1]) if found else 0 for found in numbers)
    version = f"{major}.{minor}.{micro}"
    if (major, minor) < OLDEST:
        raise Unavailable(f"{checkout} is MicroPython {version}, the broker needs {'.'.join(map(str, OLDEST))} or newer")
    if (major, minor) > NEWEST_KNOWN:
        version += f" (newer than {'.'.join(map(str, NEWEST_KNOWN))}, which this was written for)"
    return version


def _filled(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _arm(checkout: Path) -> str:
    missing = list(arm_problems())
    sdk = checkout / "lib" / "pico-sdk" / "pico_sdk_version.cmake"
    found = re.search(r"PICO_SDK_VERSION_MAJOR (\d+)", sdk.read_text()) if sdk.exists() else None
    if found and int(found[1]) >= 2 and not (find("picotool") or find("git")):
        missing.append("picotool, or git with which Raspberry Pi's SDK fetches it")
    if missing:
        raise Unavailable("missing (Debian's packages): " + ", ".join(missing))
    return run(find("arm-none-eabi-gcc") or "", "--version").splitlines()[0]


def _esp_idf() -> str:
    missing = [program for program in ("make", "cmake", "gcc") if not find(program)]
    if missing:
        raise Unavailable("missing: " + " ".join(missing))
    path = os.environ.get("IDF_PATH", "")
    file = Path(path) / "tools" / "cmake" / "version.cmake"
    if not path or not file.exists():
        raise Unavailable("no ESP-IDF: IDF_PATH is " + (f"{path}, without tools/cmake/version.cmake" if path else "not set")
                          + "\nMicroPython's ports/esp32/README.md tells which one it needs; its export.sh sets IDF_PATH")
    version = [int(number) for number in re.findall(r"set\(IDF_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)\)", file.read_text())]
    if version[:1] != [5]:
        raise Unavailable(f"{path} is ESP-IDF {'.'.join(map(str, version))}, MicroPython needs 5")
    if not find("idf.py"):
        raise Unavailable(f"idf.py is not in PATH: . {path}/export.sh")
    return "ESP-IDF " + ".".join(map(str, version))
