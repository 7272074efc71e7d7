"""The broker on CPython for 32-bit ARM, as on a Raspberry Pi: the core's tests, and a message over a socket."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import server_process
import toolchain
from debian.archive import Unavailable
from debian.arm_python import python
from drivers.paho import Paho
from tests.host.clients.test_clients import connect, name, named, test_every_qos  # noqa: F401

CORE_TESTS = sorted(path.relative_to(toolchain.ROOT) for path in (toolchain.ROOT / "tests" / "core").glob("test_*.py"))
PROCESSES = 2  # with two runs each, so that neither waits long for the other
SECONDS = 900


@pytest.fixture(scope="module")
def arm_python():
    """The interpreter; without what it takes skip the test, or fail it in CI."""
    try:
        return python()
    except Unavailable as error:
        (pytest.fail if toolchain.in_ci() else pytest.skip)(str(error))


@pytest.fixture(scope="module")
def broker(arm_python):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(arm_python))
        patch.setattr(server_process, "START_SECONDS", 120.0)
        server = server_process.ServerProcess("cpython")
    with server:
        yield server
        assert not server.trouble()


@pytest.fixture(params=[(Paho, 4), (Paho, 5)], ids=named)
def library(request):
    return request.param


def test_core(arm_python):
    def run(paths):
        return subprocess.run([str(arm_python), "tests/run_on_micropython.py", *map(str, paths)], cwd=toolchain.ROOT,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=SECONDS)

    with ThreadPoolExecutor(PROCESSES) as pool:
        for done in pool.map(run, [CORE_TESTS[i::2 * PROCESSES] for i in range(2 * PROCESSES)]):
            assert done.returncode == 0, done.stdout
            assert done.stdout.count(" run, 0 failed") == done.stdout.count(" run, ") >= len(CORE_TESTS) // (2 * PROCESSES)
