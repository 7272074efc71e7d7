"""The virtual board of boards/qemu-mps2: MicroPython on an emulated Cortex-M3, sockets of lwIP, the broker frozen."""

import subprocess

import pytest

import toolchain
from debian.archive import Unavailable
from swarm import Swarm
from virtual_board.board import Board, build


@pytest.fixture(scope="session")
def firmware():
    """The firmware; without what it takes to make it skip the test, or fail it in CI."""
    try:
        return build()
    except Unavailable as error:
        (pytest.fail if toolchain.in_ci() else pytest.skip)(str(error))


@pytest.fixture
def start_board(firmware):
    """Start a board that is switched off after the test, and must be healthy then."""
    started = []

    def start(**settings):
        started.append(Board(**settings))
        return started[-1]

    yield start
    troubles = []
    for board in started:
        with board:
            troubles.append(board.trouble())
    assert not any(troubles), "\n".join(troubles)


@pytest.fixture(scope="module")
def board(firmware):
    """A board that the tests of a module share."""
    with Board() as found:
        yield found
        assert not found.trouble()


@pytest.fixture
def swarm_of():
    """Clients of a board: swarm_of(board)."""
    swarms = []

    def make(board):
        swarms.append(Swarm(board.port, True))
        return swarms[-1]

    yield make
    for swarm in swarms:
        swarm.__exit__()


@pytest.fixture
def mpremote(tool, tmp_path):
    """Run mpremote on a board's console: mpremote(board, "exec", "print(1)") is what it prints."""
    program = tool("mpremote")

    def run(board, *arguments):
        done = subprocess.run([program, "connect", board.console, *map(str, arguments)], timeout=60, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        assert done.returncode == 0, done.stdout
        return done.stdout

    return run
