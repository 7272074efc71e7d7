"""MicroPython for an RP2040 from Debian's sources, with the broker frozen into it, and its emulator.

Its lwIP is set up by boards/rpi-pico-w, but no network is behind it: Wi-Fi needs a driver that is in no archive.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import struct
import sys
import tomllib
from pathlib import Path

from bundling.bundles import FROZEN
from debian.archive import RELEASE, Archive, Unavailable, fetch_sources, run
from firmwares.boards import arm_problems, contents
from toolchain import CACHE, ROOT, find

FOLDER = CACHE / "rp2040"
LWIP = ROOT / "boards" / "rpi-pico-w" / "lwip"
CHECK = ROOT / "tools" / "firmwares" / "rp2040_check.py"

MANIFEST = f"""\
freeze("$(PORT_DIR)/modules")
include("$(MPY_DIR)/extmod/asyncio")
include("{ROOT / "manifest.py"}")
"""
# A Pico with lwIP, as a board of its own.
BOARD = {
    "manifest.py": MANIFEST,
    "mpconfigboard.cmake": f"""\
include(${{MICROPY_PORT_DIR}}/boards/RPI_PICO/mpconfigboard.cmake)
set(MICROPY_PY_LWIP ON)
include_directories(BEFORE {LWIP})
""",
    "mpconfigboard.h": """\
#include "boards/RPI_PICO/mpconfigboard.h"
#define MICROPY_PY_NETWORK (1)
""",
}

_FLASH = 0x10000000
_UF2 = struct.Struct("<8I476sI")
_FAMILY = 0xE48BFF56  # RP2040


def build() -> Path:
    """The image, made unless it is there for these very sources. Raises Unavailable."""
    missing = [*arm_problems(), *(name for name in ("dpkg-source", "mpy-cross") if not find(name))]
    if missing:
        raise Unavailable("missing (Debian's packages): " + ", ".join(missing))
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sources = fetch_sources(FOLDER, _unpack)
        image, stamp, made = (FOLDER / name for name in ("firmware.uf2", "firmware.stamp", "build"))
        wanted = _inputs()
        if not (image.exists() and stamp.exists() and stamp.read_text() == wanted):
            stamp.unlink(missing_ok=True)
            board = FOLDER / "board"
            board.mkdir(exist_ok=True)
            for name, text in BOARD.items():
                (board / name).write_text(text)
            environment = {**os.environ, "MICROPY_MPYCROSS": find("mpy-cross") or ""}
            # MicroPython's Makefile insists on submodules that Debian's source has not.
            run("cmake", "-S", str(sources / "micropython" / "ports" / "rp2"), "-B", str(made), "-DMICROPY_BOARD=rp2040",
                f"-DMICROPY_BOARD_DIR={board}", f"-DMICROPY_FROZEN_MANIFEST={board / 'manifest.py'}", "-DPICO_CLIB=newlib",
                "-DPICO_NO_PICOTOOL=1", env=environment)
            # It is not written again when the manifest alone has changed.
            (made / "frozen_content.c").unlink(missing_ok=True)
            run("make", "-C", str(made), f"-j{os.cpu_count() or 1}", env=environment)
            image.write_bytes(uf2((made / "firmware.bin").read_bytes()))
            stamp.write_text(wanted)
        return image


def facts() -> tuple[int, int, int]:
    """Bytes of flash in all, those of them that are the broker, and of the heap; after `build`."""
    made = FOLDER / "build"
    return ((made / "firmware.bin").stat().st_size, *contents(made / "firmware.elf", "arm-none-eabi-"))


def start(script: Path) -> str:
    """Boot the image in the emulator and run a script on it: what it printed. Raises Unavailable."""
    image = build()
    # Without a level it prints warnings between the lines of the script.
    return run(_emulator(), "--log-level", "error", "micropython", "--image", str(image), str(script))


def _unpack(archive: Archive, folder: Path) -> None:
    """The sources of MicroPython and of what it is made of for an RP2040."""
    archive.unpack_alone(folder / "packages", "pico-sdk-source", "tinyusb-source")
    for package in ("micropython", "mbedtls", "lwip"):
        archive.unpack_source(folder / package, package)
    for library, place in (("pico-sdk", "packages/usr/src/pico-sdk"), ("tinyusb", "packages/usr/src/tinyusb"),
                           ("mbedtls", "mbedtls"), ("lwip", "lwip")):
        link = folder / "micropython" / "lib" / library
        shutil.rmtree(link)
        link.symlink_to(Path("..", "..", place))
    # MicroPython's build looks for this file, to see whether the submodule is there.
    (folder / "micropython" / "lib" / "micropython-lib" / "README.md").touch()


def _inputs() -> str:
    """A hash of all that the firmware is made of."""
    versions = run(find("arm-none-eabi-gcc") or "", "--version") + run(find("mpy-cross") or "", "--version")
    found = hashlib.sha256(f"{RELEASE} {versions}".encode())
    for top in (*FROZEN, LWIP, Path(__file__)):
        for path in sorted(top.rglob("*.*")) if top.is_dir() else [top]:
            if path.suffix != ".pyc":
                found.update(f"{path.relative_to(ROOT)} {path.stat().st_size} ".encode() + path.read_bytes())
    return found.hexdigest()


def uf2(data: bytes) -> bytes:
    """A firmware as a Pico takes it: blocks of 256 bytes, each with its place in flash."""
    count = -(-len(data) // 256)
    return b"".join(
        _UF2.pack(0x0A324655, 0x9E5D5157, 0x2000, _FLASH + 256 * i, 256, i, count, _FAMILY, data[256 * i:256 * i + 256],
                  0x0AB16F30)
        for i in range(count))


def _emulator() -> str:
    """The command of the emulator, installed unless it is there."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        pins = tomllib.load(file)["tool"]["ucomqtt"]["tools"]["rp2040"]
    folder = FOLDER / "emulator"
    command, stamp = folder / "bin" / "rp2040py", folder / "stamp"
    if not (command.exists() and stamp.exists() and stamp.read_text() == repr(pins)):
        shutil.rmtree(folder, ignore_errors=True)
        run(sys.executable, "-m", "venv", str(folder))
        run(str(folder / "bin" / "python"), "-m", "pip", "-qq", "--disable-pip-version-check", "install", *pins)
        stamp.write_text(repr(pins))
    return str(command)
