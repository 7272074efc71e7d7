"""What tests/host asks of a broker with mosquitto_pub and mosquitto_sub, asked of the virtual board."""

import pytest

from tests.host.clients.test_mosquitto_clients import *  # noqa: F403


@pytest.fixture(scope="module")
def broker(board):
    return board
