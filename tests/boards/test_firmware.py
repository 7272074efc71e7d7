"""tools/firmware on stand-ins of a checkout and of toolchains."""

import os
import subprocess
import sys

import pytest

import toolchain

BOARDS = toolchain.ROOT / "boards"
SUBMODULES = {
    "rp2": ["btstack", "cyw43-driver", "lwip", "mbedtls", "micropython-lib", "pico-sdk", "tinyusb"],
    "esp32": ["berkeley-db-1.xx", "micropython-lib"],
}
VERSION = "#define MICROPY_VERSION_MAJOR 1\n#define MICROPY_VERSION_MINOR {}\n#define MICROPY_VERSION_MICRO 2\n"
# What a port's Makefile is asked for it writes beside three files that look like a firmware.
MAKEFILE = """\
all:
	@echo compiling; mkdir -p $(BUILD); echo "$(BOARD_DIR) $(BOARD_VARIANT)" > $(BUILD)/asked
	@touch $(BUILD)/firmware.uf2 $(BUILD)/firmware.elf $(BUILD)/micropython.elf
	@head -c 4321 /dev/zero > $(BUILD)/firmware.bin; head -c 5432 /dev/zero > $(BUILD)/micropython.bin
"""
SYMBOLS = """\
10001000 00000100 r fun_data_port_core_broker_Broker
10001100 00000020 r const_obj_port___init___0
10001120 00000003 r children_port_micropython_server__lt_module_gt_
10001200 00000999 r fun_data_transport_core_x
10001300 00000999 T mp_support_ports
20002000 A __GcHeapStart
20012000 B __GcHeapEnd
"""


def program(folder, name, lines="exit 0"):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)


@pytest.fixture
def checkout(tmp_path):
    """checkout("rp2") is a folder that looks like MicroPython with that port."""

    def make(port, minor=28):
        folder = tmp_path / "micropython"
        for name in SUBMODULES[port]:
            (folder / "lib" / name).mkdir(parents=True)
            (folder / "lib" / name / "README").touch()
        for place, text in (("py/mpconfig.h", VERSION.format(minor)), ("mpy-cross/Makefile", "all:\n\t@echo mpy-cross\n"),
                            (f"ports/{port}/Makefile", MAKEFILE)):
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).write_text(text)
        return folder

    return make


@pytest.fixture
def programs(tmp_path):
    """A folder with stand-ins of the compilers, and of ESP-IDF."""
    folder = tmp_path / "programs"
    for name in ("arm-none-eabi-gcc", "arm-none-eabi-g++"):
        program(folder, name, 'case $1 in --version) echo "stand-in 1.0";; *) echo "/lib/${1#*=}";; esac')
    for name in ("arm-none-eabi-nm", "xtensa-esp32-elf-nm"):
        program(folder, name, f"cat <<'END'\n{SYMBOLS}END")
    for name in ("cmake", "gcc", "picotool", "idf.py"):
        program(folder, name)
    return folder


@pytest.fixture
def firmware(tmp_path):
    """Run tools/firmware: its exit code and all it prints."""

    def run(checkout, board, *arguments, path=None, **environment):
        variables = {name: value for name, value in os.environ.items() if not name.startswith("IDF_")}
        variables["PATH"] = os.pathsep.join(map(str, [path, os.environ["PATH"]] if path else [tmp_path / "nothing"]))
        done = subprocess.run(
            [sys.executable, str(toolchain.ROOT / "tools" / "firmware"), "--micropython", str(checkout), "--board", board,
             "--build", str(tmp_path / "build"), *arguments], env={**variables, **environment}, timeout=60, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout

    return run


def test_no_checkout(firmware, tmp_path, programs):
    status, printed = firmware(tmp_path, "rpi-pico-w", path=programs)
    assert status == 1 and f"{tmp_path} is no checkout of MicroPython" in printed


def test_too_old(firmware, checkout, programs):
    status, printed = firmware(checkout("rp2", 22), "rpi-pico-w", path=programs)
    assert status == 1 and "is MicroPython 1.22.2, the broker needs 1.23 or newer" in printed


def test_newer_than_known(firmware, checkout, programs):
    status, printed = firmware(checkout("rp2", 99), "rpi-pico-w", "--check", path=programs)
    assert status == 0 and "1.99.2 (newer than" in printed


@pytest.mark.parametrize("board, port, missing", [
    ("rpi-pico-w", "rp2", ["cyw43-driver", "lwip"]), ("esp32", "esp32", ["micropython-lib"])])
def test_submodules(firmware, checkout, programs, board, port, missing):
    folder = checkout(port)
    for name in missing:
        (folder / "lib" / name / "README").unlink()
    status, printed = firmware(folder, board, path=programs)
    assert status == 1 and "are missing: " + " ".join("lib/" + name for name in missing) + "\n" in printed
    assert f"make -C {folder / 'ports' / port} BOARD_DIR={BOARDS / board} " in printed


def test_no_toolchain(firmware, checkout):
    status, printed = firmware(checkout("rp2"), "rpi-pico-w")
    assert status == 1
    for name in ("make (make)", "cmake (cmake)", "gcc (gcc)", "arm-none-eabi-gcc (gcc-arm-none-eabi)"):
        assert name in printed


def test_no_picotool(firmware, checkout, programs):
    folder = checkout("rp2")
    version = folder / "lib" / "pico-sdk" / "pico_sdk_version.cmake"
    program(programs, "make")
    (programs / "picotool").unlink()
    for major, wanted in ((1, 0), (2, 1)):
        version.write_text(f"    set(PICO_SDK_VERSION_MAJOR {major})\n")
        status, printed = firmware(folder, "rpi-pico-w", "--check", PATH=str(programs))
        assert status == wanted and ("picotool, or git" in printed) == bool(wanted)


def test_no_c_library(firmware, checkout, programs):
    program(programs, "arm-none-eabi-g++", 'echo "${1#*=}"')
    status, printed = firmware(checkout("rp2"), "rpi-pico-w", path=programs)
    assert status == 1 and "libc.a (libnewlib-arm-none-eabi), libstdc++.a (libstdc++-arm-none-eabi-newlib)" in printed


def test_esp_idf(firmware, checkout, programs, tmp_path):
    folder = checkout("esp32")
    idf = tmp_path / "idf"
    version = idf / "tools" / "cmake" / "version.cmake"
    assert "IDF_PATH is not set" in firmware(folder, "esp32", path=programs)[1]
    assert f"IDF_PATH is {idf}, without" in firmware(folder, "esp32", path=programs, IDF_PATH=str(idf))[1]
    version.parent.mkdir(parents=True)
    for number, wanted in ((4, "ESP-IDF 4.5.1, MicroPython needs 5"), (5, "idf.py is not in PATH")):
        version.write_text(f"set(IDF_VERSION_MAJOR {number})\nset(IDF_VERSION_MINOR 5)\nset(IDF_VERSION_PATCH 1)\n")
        (programs / "idf.py").unlink(missing_ok=True)
        status, printed = firmware(folder, "esp32", path=programs, IDF_PATH=str(idf))
        assert status == 1 and wanted in printed
    program(programs, "idf.py")
    status, printed = firmware(folder, "esp32", path=programs, IDF_PATH=str(idf))
    assert status == 0 and "ESP-IDF 5.5.1" in printed and "flash: 5,432 of 2,031,616 bytes, 291 of them" in printed


def test_variant(firmware, checkout, programs):
    assert "no variant 'C3', but PICO2_W" in firmware(checkout("rp2"), "rpi-pico-w", "--variant", "C3", path=programs)[1]


@pytest.mark.parametrize("variant, room", [("", 1200), ("PICO2_W", 1536)])
def test_build(firmware, checkout, programs, tmp_path, variant, room):
    status, printed = firmware(checkout("rp2"), "rpi-pico-w", "--variant", variant, path=programs)
    assert status == 0
    assert printed.startswith("MicroPython 1.28.2, stand-in 1.0\n")
    assert f"image: {tmp_path}/build/firmware.uf2\n" in printed
    assert f"flash: 4,321 of {room * 1024:,} bytes, 291 of them the broker" in printed
    assert "heap:  65,536 bytes\n" in printed
    assert (tmp_path / "build" / "asked").read_text() == f"{BOARDS / 'rpi-pico-w'} {variant}\n"


def test_build_fails(firmware, checkout, programs, tmp_path):
    folder = checkout("rp2")
    (folder / "ports" / "rp2" / "Makefile").write_text("all:\n\t@seq 100; false\n")
    status, printed = firmware(folder, "rpi-pico-w", path=programs)
    assert status == 1 and "\n99\n100\n" in printed and "\n9\n" not in printed
    assert f"All of it: {tmp_path}/build/build.log" in printed


def test_no_image(firmware, checkout, programs):
    folder = checkout("rp2")
    (folder / "ports" / "rp2" / "Makefile").write_text("all:\n")
    status, printed = firmware(folder, "rpi-pico-w", path=programs)
    assert status == 1 and "has left no" in printed and "firmware.uf2" in printed


def test_build_folder_of_another(firmware, checkout, programs, tmp_path):
    cache = tmp_path / "build" / "CMakeCache.txt"
    cache.parent.mkdir()
    folder = checkout("rp2")
    for home, wanted in ((tmp_path / "other", 1), (folder / "ports" / "rp2", 0)):
        cache.write_text(f"CMAKE_HOME_DIRECTORY:INTERNAL={home}\n")
        status, printed = firmware(folder, "rpi-pico-w", path=programs)
        assert status == wanted and ("holds a build of something else" in printed) == bool(wanted)
