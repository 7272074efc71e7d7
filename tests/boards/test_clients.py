"""What tests/host asks of a broker with paho-mqtt and mosquitto's clients, asked of the virtual board."""

import pytest

from drivers.paho import Paho
from tests.host.clients.test_clients import (  # noqa: F401
    connect,
    name,
    named,
    test_every_qos,
    test_large_payload,
    test_persistent_session,
    test_retained,
    test_shared_subscription,
    test_takeover,
    test_the_lower_qos_counts,
    test_will,
)


@pytest.fixture
def broker(board):
    return board


@pytest.fixture(params=[(Paho, 3), (Paho, 4), (Paho, 5)], ids=named)
def library(request):
    return request.param
