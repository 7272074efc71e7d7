"""The definitions of Pico W and ESP32 in MicroPython's own build files: what they set, and that lwIP takes it."""

import os
import re
import runpy
import subprocess

import pytest

import toolchain
from debian.archive import RELEASE
from virtual_board.board import FOLDER

BOARDS = toolchain.ROOT / "boards"
NUMBERS = ("MEMP_NUM_TCP_PCB", "MEMP_NUM_TCP_SEG", "MEM_SIZE", "TCP_MSS", "TCP_WND", "TCP_SND_BUF", "PBUF_POOL_SIZE")
# What MicroPython's build of an ESP32 takes of ESP-IDF, up to the project, where ESP-IDF would begin.
IDF = """\
function(idf_build_set_property)
endfunction()
macro(project)
    file(WRITE ${CMAKE_BINARY_DIR}/told "${IDF_TARGET};${MICROPY_FROZEN_MANIFEST};${MICROPY_DEF_BOARD}")
    return()
endmacro()
"""
RP2 = """\
cmake_minimum_required(VERSION 3.13)
project(stand_in LANGUAGES NONE)
include(${MICROPY_BOARD_DIR}/mpconfigboard.cmake)
if(MICROPY_BOARD_VARIANT)
    include(${MICROPY_BOARD_DIR}/mpconfigvariant_${MICROPY_BOARD_VARIANT}.cmake)
endif()
get_property(found DIRECTORY PROPERTY INCLUDE_DIRECTORIES)
set(told ${MICROPY_FROZEN_MANIFEST} ${MICROPY_PY_NETWORK_CYW43} ${found})
file(WRITE ${CMAKE_BINARY_DIR}/told "${PICO_BOARD};${PICO_PLATFORM};${told}")
"""


@pytest.fixture(scope="module")
def sources(firmware):
    """The folder with Debian's sources of MicroPython and lwIP."""
    return FOLDER / f"sources-{RELEASE}"


@pytest.fixture
def configure(tool, tmp_path):
    """Run CMake on a folder; what it has told, field by field."""
    cmake = tool("cmake")

    def run(source, build, *definitions, **environment):
        done = subprocess.run([cmake, "-S", str(source), "-B", str(build), *("-D" + text for text in definitions)],
                              env={**os.environ, **environment}, timeout=60, text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, done.stdout
        return (build / "told").read_text().split(";")

    return run


@pytest.mark.parametrize("variant, target, holds", [
    ("", "", ""), ("SPIRAM", "", "CONFIG_SPIRAM=y"), ("C3", "esp32c3", ""), ("S3", "esp32s3", "CONFIG_SPIRAM=y")])
@pytest.mark.parametrize("version, count", [((5, 3), 16), ((5, 4), 20), ((5, 10), 20)])
def test_esp32(sources, configure, tmp_path, variant, target, holds, version, count):
    tools = tmp_path / "idf" / "tools" / "cmake"
    tools.mkdir(parents=True)
    (tools / "version.cmake").write_text("set(IDF_VERSION_MAJOR {})\nset(IDF_VERSION_MINOR {})\n".format(*version))
    (tools / "project.cmake").write_text(IDF)
    board = BOARDS / "esp32"
    told = configure(sources / "micropython" / "ports" / "esp32", tmp_path / "build", f"MICROPY_BOARD_DIR={board}",
                     f"MICROPY_BOARD_VARIANT={variant}", IDF_PATH=str(tmp_path / "idf"))
    assert told[:2] == [target, str(board / "manifest.py")]
    text = (tmp_path / "build" / "sdkconfig.combined").read_text()
    settings = dict(re.findall(r"^(CONFIG_\w+)=(.*)$", text, re.MULTILINE))  # the last one counts
    assert settings["CONFIG_LWIP_MAX_SOCKETS"] == str(count)
    assert int(settings["CONFIG_LWIP_MAX_ACTIVE_TCP"]) > count
    assert settings["CONFIG_LWIP_TCP_SND_BUF_DEFAULT"] == "2880"
    assert holds in text and "CONFIG_LWIP_PPP_SUPPORT=y" in text, "MicroPython's own settings are missing"


@pytest.mark.parametrize("variant, wanted", [("", ["pico_w", ""]), ("PICO2_W", ["pico2_w", "rp2350"])])
def test_pico_w(sources, configure, tmp_path, variant, wanted):
    (tmp_path / "CMakeLists.txt").write_text(RP2)
    board = BOARDS / "rpi-pico-w"
    told = configure(tmp_path, tmp_path / "build", f"MICROPY_BOARD_DIR={board}", f"MICROPY_BOARD_VARIANT={variant}",
                     f"MICROPY_PORT_DIR={sources / 'micropython' / 'ports' / 'rp2'}")
    assert told == [*wanted, str(board / "manifest.py"), "ON", str(board / "lwip")]


def test_pico_w_pins(sources):
    ports = sources / "micropython" / "ports" / "rp2" / "boards"
    for name in ("RPI_PICO_W", "RPI_PICO2_W"):
        assert (BOARDS / "rpi-pico-w" / "pins.csv").read_text() == (ports / name / "pins.csv").read_text()


@pytest.fixture
def lwip(sources, tool, tmp_path):
    """Compile with lwIP as a Pico W's firmware does: lwip(options) is what the numbers are, if lwIP's own checks pass."""
    micropython = sources / "micropython"
    (tmp_path / "py").mkdir()
    (tmp_path / "py" / "mpconfig.h").write_text("#include <stdint.h>\n")
    places = [tmp_path, micropython / "ports" / "rp2" / "lwip_inc", micropython / "lib" / "lwip" / "src" / "include",
              micropython, micropython / "extmod" / "lwip-include", sources / "newlib" / "usr" / "include" / "newlib"]

    def compile(*first):
        (tmp_path / "numbers.c").write_text(
            '#include "lwip/opt.h"\n' + "".join(f"char {name}_[{name}];\n" for name in NUMBERS))
        for source in (micropython / "lib" / "lwip" / "src" / "core" / "init.c", tmp_path / "numbers.c"):
            done = subprocess.run(
                [tool("arm-none-eabi-gcc"), "-mcpu=cortex-m0plus", "-Wall", "-Werror", "-c", str(source), "-o",
                 str(tmp_path / "out.o"), *(f"-I{place}" for place in [*first, *places])],
                text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            assert done.returncode == 0, done.stdout
        symbols = subprocess.run([tool("arm-none-eabi-nm"), "-S", str(tmp_path / "out.o")], text=True, capture_output=True)
        return {name.rstrip("_"): int(size, 16) for _, size, _, name in map(str.split, symbols.stdout.splitlines())}

    return compile


def test_pico_w_lwip(lwip):
    stock, ours = lwip(), lwip(BOARDS / "rpi-pico-w" / "lwip")
    assert stock["MEMP_NUM_TCP_PCB"] == 5
    assert ours == {
        **stock, "MEMP_NUM_TCP_PCB": 24, "MEMP_NUM_TCP_SEG": 96, "MEM_SIZE": 16000, "PBUF_POOL_SIZE": 24}
    # What the broker takes for granted where no firmware tells, and what ours tells.
    assert (stock["MEMP_NUM_TCP_SEG"], stock["MEM_SIZE"]) == (32, 8000)
    assert runpy.run_path(str(BOARDS / "rpi-pico-w" / "lwip_pools.py"), {}, "")["SEGMENTS"] == ours["MEMP_NUM_TCP_SEG"]
    assert runpy.run_path(str(BOARDS / "rpi-pico-w" / "lwip_pools.py"), {}, "")["BYTES"] == ours["MEM_SIZE"]
