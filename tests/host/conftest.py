"""Brokers on both runtimes, each a process of its own."""

import pytest

from server_process import RUNTIMES, ServerProcess


@pytest.fixture(scope="session")
def server_process(tool):
    """Start a broker: server_process("cpython", "-v", max_connections=3)."""

    def start(runtime, *arguments, **options):
        if runtime == "micropython":
            tool("micropython")
        return ServerProcess(runtime, *arguments, **options)

    return start


@pytest.fixture(scope="module", params=RUNTIMES)
def broker(request, server_process):
    """A broker with default options that all tests of a module share, once on each runtime."""
    with server_process(request.param) as server:
        yield server
        assert not server.trouble()


@pytest.fixture(params=RUNTIMES)
def runtime(request):
    """The name of each runtime in turn."""
    return request.param


@pytest.fixture
def start_broker(server_process):
    """Start a broker that lives until the test ends: start_broker(runtime, max_connections=3)."""
    started = []

    def start(runtime, *arguments, **options):
        started.append(server_process(runtime, *arguments, **options))
        return started[-1]

    yield start
    troubles = []
    for server in started:
        with server:
            if server.returncode is None:
                troubles.append(server.trouble())
    assert not any(troubles), "\n".join(troubles)
