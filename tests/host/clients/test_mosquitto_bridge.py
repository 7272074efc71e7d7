"""A mosquitto that bridges to our broker, with default settings."""

import subprocess
import time

import pytest

from drivers import TIMEOUT
from drivers.paho import Paho
from server_process import free_port

CONFIGURATION = """\
listener %d 127.0.0.1
allow_anonymous true
connection home
address 127.0.0.1:%d
bridge_protocol_version %s
topic %s/# both 1
"""


@pytest.fixture(params=["mqttv31", "mqttv311", "mqttv50"])
def topic(request):
    """Below this everything is bridged; the protocol version."""
    return request.param


@pytest.fixture
def mosquitto(topic, tool, broker, tmp_path):
    """The port of a mosquitto with a bridge to the broker."""
    port = free_port()
    file = tmp_path / "mosquitto.conf"
    file.write_text(CONFIGURATION % (port, broker.port, topic, topic))
    process = subprocess.Popen([tool("mosquitto"), "-c", str(file)], stderr=subprocess.DEVNULL)
    yield port
    process.kill()
    process.wait(TIMEOUT)


def connect(port):
    for _ in range(500):
        try:
            return Paho(port, "theirs", 4)
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise AssertionError("mosquitto does not listen")


def test_both_ways(mosquitto, broker, topic):
    """Each message arrives once, and retained where it was published so."""
    theirs, ours = connect(mosquitto), Paho(broker.port, "ours", 4)
    theirs.subscribe("$SYS/broker/connection/+/state", 1)
    while theirs.receive().payload != b"1":
        pass
    theirs.unsubscribe("$SYS/broker/connection/+/state")
    for client in (theirs, ours):
        client.subscribe(topic + "/#", 1)
    ours.publish(topic + "/down", b"down", 1, retain=True)
    assert theirs.receive().payload == ours.receive().payload == b"down"
    theirs.publish(topic + "/up", b"up", 1, retain=True)
    assert ours.receive().payload == b"up"
    ours.publish(topic + "/last", b"last", 1)  # behind whatever may come back
    assert ours.receive().payload == b"last"
    assert [theirs.receive().payload for _ in range(2)] == [b"up", b"last"]
    for port, name in ((mosquitto, b"down"), (broker.port, b"up")):
        late = Paho(port, "late", 4)
        late.subscribe(topic + "/" + name.decode(), 1)
        message = late.receive()
        assert (message.payload, message.retain) == (name, True)
