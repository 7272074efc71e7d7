"""Brokers and clients under load. UCOMQTT_FULL=1 makes all numbers as large as they are promised."""

import os
import resource

import pytest

from bundling import mpy_set
from server_process import ServerProcess
from swarm import Swarm

FULL = os.environ.get("UCOMQTT_FULL") == "1"


@pytest.fixture(scope="session", autouse=True)
def many_files():
    """As many open files as the system allows, here and in the brokers."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@pytest.fixture
def full():
    """Whether to run at full size."""
    return FULL


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """Where the broker is compiled as for a board, which has no memory to compile it itself."""
    folder = tmp_path_factory.mktemp("compiled")
    mpy_set.build(folder, all_names=True)
    return folder


@pytest.fixture
def start_broker(tool, compiled):
    """Start a broker that ends with the test, and must be healthy then."""
    started = []

    def start(runtime, *arguments, **options):
        if runtime == "micropython":
            tool("micropython")
            options["folder"] = compiled
        started.append(ServerProcess(runtime, *arguments, **options))
        return started[-1]

    yield start
    troubles = []
    for server in started:
        with server:
            troubles.append(server.trouble())
    assert not any(troubles), "\n".join(troubles)


@pytest.fixture
def swarm_of():
    """Clients of a broker: swarm_of(server)."""
    swarms = []

    def make(server):
        swarms.append(Swarm(server.port))
        return swarms[-1]

    yield make
    for swarm in swarms:
        swarm.__exit__()
