"""What client libraries can do where clients come through asyncio's own streams, on both runtimes: port.core.streams."""

import os
from pathlib import Path

import pytest

from server_process import RUNTIMES
from tests.host.drivers.aiomqtt_client import AioMqtt
from tests.host.drivers.mqttjs import MqttJs
from tests.host.drivers.paho import Paho
from tests.host.test_clients import (  # noqa: F401
    LIBRARIES,
    connect,
    name,
    named,
    node,
    test_every_qos,
    test_keep_alive,
    test_large_payload,
    test_persistent_session,
    test_properties,
    test_retained,
    test_shared_subscription,
    test_subscription_identifier,
    test_takeover,
    test_unsubscribed,
    test_will,
)

SCRIPT = Path(__file__).parent / "streams_broker.py"


@pytest.fixture(scope="module", params=RUNTIMES)
def broker(request, server_process):
    with server_process(request.param, script=SCRIPT) as server:
        yield server
        assert not server.trouble()


@pytest.fixture(
    params=LIBRARIES if os.environ.get("UCOMQTT_FULL") == "1" else [(Paho, 3), (Paho, 4), (Paho, 5), (AioMqtt, 5)], ids=named
)
def library(request):
    if request.param[0] is MqttJs:
        MqttJs.node = request.getfixturevalue("node")
    return request.param
