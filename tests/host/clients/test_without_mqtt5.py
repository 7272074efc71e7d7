"""A broker with the files of a package that lacks MQTT 5: it refuses that, and serves MQTT 3.1 and 3.1.1 as ever."""

import shutil
import socket
import subprocess

import pytest

import toolchain
from bundling import mpy_set
from bundling.packages import files
from drivers.paho import Paho
from server_process import ServerProcess
from tests.host.clients.test_clients import (  # noqa: F401
    connect,
    name,
    named,
    test_every_qos,
    test_large_payload,
    test_persistent_session,
    test_retained,
    test_takeover,
    test_unsubscribed,
    test_will,
)

SCRIPT = """\
import asyncio, sys
from port.micropython import Server

server = Server()
server.listen("127.0.0.1", int(sys.argv[1]))
asyncio.run(server.serve())
"""
REFUSED = b"\x20\x03\x00\x84\x00"  # CONNACK with properties: Unsupported Protocol Version


def sources(folder, package):
    for file in files(package):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(toolchain.ROOT / file, folder / file)


@pytest.fixture(scope="module", params=[(sources, "smallest"), (mpy_set.build, "smallest"), (mpy_set.build, "without-mqtt5")],
                ids=["sources, smallest", "smallest", "without-mqtt5"])
def package(request):
    """How it is made, and its name."""
    return request.param


@pytest.fixture(scope="module")
def folder(package, tool, tmp_path_factory):
    tool("micropython")
    tool("mpy-cross")
    folder = tmp_path_factory.mktemp("package") / "port-and-script"
    package[0](folder, package[1])
    return folder


@pytest.fixture(scope="module")
def broker(folder):
    """It runs where nothing else of the broker is to be found."""
    script = folder / "broker.py"
    script.write_text(SCRIPT)
    with ServerProcess("micropython", script=script, variables={"MICROPYPATH": f"{folder}:.frozen"}) as server:
        yield server
        assert not server.trouble()


@pytest.fixture(params=[(Paho, 3), (Paho, 4)], ids=named)
def library(request):
    return request.param


def answer(broker, packet):
    """All that comes until the broker closes the connection."""
    with socket.create_connection(("127.0.0.1", broker.port), 10) as sock:
        sock.sendall(packet)
        received = b""
        while data := sock.recv(100):
            received += data
        return received


@pytest.mark.parametrize("level", [5, 6, 0x85], ids=hex)
def test_mqtt_5_is_refused(broker, level):
    assert answer(broker, b"\x10\x0e\x00\x04MQTT" + bytes((level, 2)) + b"\x00\x3c\x00\x00\x01c") == REFUSED


def test_its_will_is_not_sent(broker, connect, name):  # noqa: F811
    watching = connect(name)
    watching.subscribe(name)
    topic = name.encode()
    body = b"\x00\x04MQTT\x05\x06\x00\x3c\x00\x00\x01c\x00\x00" + bytes((len(topic),)) + topic + b"\x00\x04will"
    assert answer(broker, bytes((0x10, len(body))) + body) == REFUSED
    watching.publish(name, b"alive")
    assert watching.receive().payload == b"alive"


def test_a_client_that_falls_back(broker, connect, name):  # noqa: F811
    """What a library does that speaks both: it is refused, and then comes with MQTT 3.1.1."""
    with pytest.raises(AssertionError, match="Unsupported protocol version"):
        Paho(broker.port, name, 5)
    client = connect(name)
    client.subscribe(name, 2)
    client.publish(name, b"hello", 2)
    assert client.receive().payload == b"hello"


def test_shared_subscription(connect, name, package):  # noqa: F811
    """Not in MQTT 3.x, but useful to its clients, too. A broker without them says so [MQTT-3.9.3-2], as far as MQTT 3.1 lets it."""
    if package[1] == "smallest":
        client = connect(name)
        assert client.subscribe("$share/group/" + name, 1) == (1 if client.version == 3 else 0x80)
        return
    first, second = connect(name + "1"), connect(name + "2")
    for client in (first, second):
        client.subscribe("$share/group/" + name, 1)
    for _ in range(4):
        first.publish(name, b"turn", 1)
    for client in (first, second):
        assert [client.receive().payload for _ in range(2)] == [b"turn", b"turn"]


ABSENT = """\
from port.broker import Broker
from port.micropython import Message, Server

class Transport:
    sent = b""
    def send(self, chunks):
        self.sent += b"".join([bytes(chunk) for chunk in chunks])
        return len(self.sent)
    def close(self, *_): pass
    def pause_reading(self): pass
    def resume_reading(self): pass
    def certificate(self): pass

class Disk:
    waits = True
    def commit(self, batch, done): pass

def answer(address):
    transport = Transport()
    broker = Broker()
    broker.accept_connection(transport, address).take(b"\\x10\\x0d\\0\\4MQTT\\4\\2\\0\\0\\0\\1c")
    broker.flush()
    return transport.sent[3]

print(answer("192.0.2.1:1"), answer("127.0.0.1:1"))
server = Server()
for ask in (
    lambda: server.on("connect", print),
    lambda: server.set_acl([]),
    lambda: server.rights_changed(),
    lambda: server.listen(port=1883, id="x"),
    lambda: Server(max_message_rate=1),
    lambda: server.publish("a", "b", properties={2: 1}),
    lambda: Server(store=Disk()).open_store(),
    lambda: Server(store=1),
    lambda: Server(max_mesage_rate=1),
):
    try:
        ask()
    except (ImportError, ValueError) as e:
        print(str(e).split(".")[-1].strip("'"))
"""


def test_what_is_absent_is_named_and_nobody_comes_in_unasked(folder, package, tool):
    if package[1] != "smallest":
        return
    text = ABSENT.replace("port.broker", "port.core.broker" if package[0] is sources else "port.broker")
    done = subprocess.run([tool("micropython"), "-c", text], cwd=folder, env={"MICROPYPATH": f"{folder}:.frozen"}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    assert done.stdout.split("\n") == [
        "5 0", "hooks", "acl", "reauthorize", "listeners", "rate_limit", "properties", "recovery", "arguments",
        "unknown option max_mesage_rate", ""]
