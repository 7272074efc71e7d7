"""What every client library can do, each in each protocol version it speaks, with both brokers."""

import itertools
import time
from functools import partial
from typing import Any

import pytest

from drivers.aiomqtt_client import AioMqtt
from drivers.gmqtt_client import Gmqtt
from drivers.mqttjs import MqttJs, Node
from drivers.paho import Paho

NAMES = {3: "3.1", 4: "3.1.1", 5: "5.0"}
LIBRARIES: list[tuple[Any, int]] = [
    (Paho, 3), (Paho, 4), (Paho, 5),
    (AioMqtt, 4), (AioMqtt, 5),
    (Gmqtt, 4), (Gmqtt, 5),
    (MqttJs, 3), (MqttJs, 4), (MqttJs, 5),
]  # fmt: skip

numbers = itertools.count(1)


def named(library):
    return "%s-%s" % (library[0].__name__, NAMES[library[1]])


def only(version):
    """For tests of what came with a protocol version."""
    libraries = [library for library in LIBRARIES if library[1] >= version]
    return pytest.mark.parametrize("library", libraries, ids=named, indirect=True)


@pytest.fixture(scope="session")
def node(tool):
    process = Node(tool("node"))
    yield process
    process.close()


@pytest.fixture(params=LIBRARIES, ids=named)
def library(request):
    """A client library and a protocol version."""
    if request.param[0] is MqttJs:
        MqttJs.node = request.getfixturevalue("node")
    return request.param


@pytest.fixture
def connect(broker, library):
    """Connect a client of the library: connect("client id", persistent=True)."""
    driver, version = library
    clients = []

    def connect(client_id, **options):
        clients.append(driver(broker.port, client_id, version, **options))
        return clients[-1]

    yield connect
    for client in clients:
        client.disconnect()


@pytest.fixture
def name():
    """A client id and topic of the test's own."""
    return "n%d" % next(numbers)


def payload(client):
    return client.receive().payload


def text(message):
    return message.topic, message.payload, message.qos, message.retain


def test_every_qos(connect, name):
    client = connect(name)
    for qos in (0, 1, 2):
        assert client.subscribe("%s/%d/+" % (name, qos), qos) == qos
        client.publish("%s/%d/x" % (name, qos), b"\x00\xff payload", qos)
        assert text(client.receive()) == ("%s/%d/x" % (name, qos), b"\x00\xff payload", qos, False)


def test_the_lower_qos_counts(connect, name):
    client = connect(name)
    client.subscribe(name, 1)
    client.publish(name, b"2 to 1", 2)
    client.publish(name, b"0 to 1", 0)
    assert [client.receive().qos, client.receive().qos] == [1, 0]


def test_unsubscribed(connect, name):
    client = connect(name)
    client.subscribe(name + "/a", 1)
    client.subscribe(name + "/b", 1)
    client.unsubscribe(name + "/a")
    client.publish(name + "/a", b"no", 1)
    client.publish(name + "/b", b"yes", 1)
    assert client.receive().payload == b"yes"


def test_retained(connect, name):
    client = connect(name)
    client.publish(name, b"kept", 1, retain=True)
    client.subscribe(name, 1)
    assert text(client.receive()) == (name, b"kept", 1, True)
    client.publish(name, b"", 1, retain=True)  # deletes it, and is passed on like any other message
    assert text(client.receive()) == (name, b"", 1, False)
    other = connect(name + "b")
    other.subscribe(name, 1)
    client.publish(name, b"live", 1)
    assert text(other.receive()) == (name, b"live", 1, False)


def test_will(connect, name):
    watcher = connect(name + "w")
    watcher.subscribe(name, 1)
    connect(name + "a", will=(name, b"left in order", 1)).disconnect()
    connect(name + "b", will=(name, b"lost", 1)).kill()
    assert text(watcher.receive()) == (name, b"lost", 1, False)


def test_persistent_session(connect, name):
    client = connect(name, persistent=True)
    assert not client.session_present
    client.subscribe(name, 2)
    client.disconnect()
    other = connect(name + "b")
    for n in range(10):
        other.publish(name, b"%d" % n, n % 3)
    client = connect(name, persistent=True)
    assert client.session_present == (client.version > 3)  # MQTT 3.1 does not tell
    # QoS 0 is not kept for who is away; the order holds within QoS 1 and within QoS 2.
    messages = [client.receive() for n in range(10) if n % 3]
    for qos in (1, 2):
        assert [m.payload for m in messages if m.qos == qos] == [b"%d" % n for n in range(10) if n % 3 == qos]
    client.disconnect()
    client = connect(name)
    assert not client.session_present
    client.publish(name, b"nobody subscribes", 1)
    client.subscribe(name + "/live", 1)
    client.publish(name + "/live", b"live", 1)
    assert client.receive().payload == b"live"


def test_large_payload(connect, name, broker):
    size = 256 * 1024 if broker.runtime == "cpython" else 8000
    payload = bytes(range(256)) * (size // 256)
    client = connect(name)
    client.subscribe(name, 2)
    for qos in (0, 1, 2):
        client.publish(name, payload, qos)
        message = client.receive()
        assert message.payload == payload and message.qos == qos


@only(5)
def test_properties(connect, name):
    properties = {
        "user": [("b", "1"), ("a", "2"), ("ä", "€"), ("b", "3")],
        "content_type": "text/plain",
        "response_topic": name + "/answer",
        "correlation_data": b"\x00\x01\xff",
    }
    client = connect(name)
    client.subscribe(name, 2)
    for qos in (0, 1, 2):
        client.publish(name, b"x", qos, properties=properties)
        received = client.receive().properties
        if isinstance(client, MqttJs):  # groups user properties by name, when it sends them too
            assert received["user"] == [("b", "1"), ("b", "3"), ("a", "2"), ("ä", "€")]
            received["user"] = properties["user"]
        assert received == properties


@only(5)
def test_subscription_identifier(connect, name):
    client = connect(name)
    client.subscribe(name, 1, identifier=268435455)
    client.publish(name, b"x", 1)
    assert client.receive().properties["subscription_identifier"] == [268435455]


@only(5)
def test_retained_keeps_its_properties(connect, name):
    client = connect(name)
    client.publish(name, b"x", 1, retain=True, properties={"content_type": "a", "user": [("b", "c")]})
    client.subscribe(name, 1)
    assert client.receive().properties == {"content_type": "a", "user": [("b", "c")]}
    client.publish(name, b"", 1, retain=True)


def test_shared_subscription(connect, name):
    members = [connect(name + "a"), connect(name + "b")]
    for member in members:
        assert member.subscribe("$share/group/%s/+" % name, 1) == 1
        member.subscribe(name + "/to/all", 1)
    publisher = connect(name + "p")
    for n in range(20):
        publisher.publish("%s/%d" % (name, n % 4), b"%d" % n, 1)
    publisher.publish(name + "/to/all", b"end", 1)
    received = [list(iter(partial(payload, member), b"end")) for member in members]
    assert all(received)
    assert sorted(received[0] + received[1], key=int) == [b"%d" % n for n in range(20)]


def test_takeover(connect, name):
    watcher = connect(name + "w")
    watcher.subscribe(name, 1)
    first = connect(name, persistent=True, will=(name, b"taken over", 1))
    first.subscribe(name + "/x", 1)
    second = connect(name, persistent=True)
    assert second.session_present == (second.version > 3)
    code = first.closed()
    assert code == 0x8E or first.version < 5
    assert watcher.receive().payload == b"taken over"
    watcher.publish(name + "/x", b"goes on", 1)
    assert second.receive().payload == b"goes on"
    second.disconnect()
    connect(name)


def test_keep_alive(broker, node):
    """Clients that hang are given up after one and a half times their keep alive; idle ones are not."""
    MqttJs.node = node
    watcher = Paho(broker.port, "watcher", 4)
    watcher.subscribe("frozen/+", 1)
    idle = [driver(broker.port, "idle%d" % n, version, keep_alive=2, will=("frozen/idle", b"", 1))
            for n, (driver, version) in enumerate(LIBRARIES) if driver is not MqttJs]  # fmt: skip
    frozen = [driver(broker.port, "frozen%d" % n, version, keep_alive=2, will=("frozen/%d" % n, b"", 1))
              for n, (driver, version) in enumerate(LIBRARIES)]  # fmt: skip
    start = time.monotonic()
    for client in frozen:
        client.freeze()
    try:
        found = {watcher.receive().topic for _ in frozen}
        assert found == {"frozen/%d" % n for n in range(len(frozen))}
        assert time.monotonic() - start > 2  # not before its time
    finally:
        for client in frozen:
            client.thaw()
        for client in [watcher, *idle, *frozen]:
            client.disconnect()
