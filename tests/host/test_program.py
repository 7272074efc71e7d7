"""The brokers as an operator meets them: command line, configuration file, signals, log."""

import json
import re
import signal
import socket
import subprocess

import pytest

from port.core.options import TABLE
from server_process import environment, free_port, interpreter
from tests.host.drivers import TIMEOUT
from tests.host.drivers.paho import Paho
from toolchain import ROOT

OPTIONS = [row[0] for row in TABLE]


@pytest.fixture
def program(tool):
    """Run a broker that is to end at once: (exit status, all it printed)."""

    def run(runtime, *arguments):
        if runtime == "micropython":
            tool(runtime)
        done = subprocess.run(
            [interpreter(runtime), "-m", "port." + runtime, *arguments], cwd=ROOT, env=environment(), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT,
        )  # fmt: skip
        assert "Traceback" not in done.stdout
        return done.returncode, done.stdout

    return run


# -- command line ------------------------------------------------------------------------------


def test_help_names_every_option(runtime, program):
    status, output = program(runtime, "--help")
    assert status == 0
    for name in ["host", "port", "config", *OPTIONS]:
        assert re.search(r"^ +--%s\b" % name.replace("_", "-"), output, re.MULTILINE), name


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["--max-conections", "3"], "--max-conections"),
        (["--max-connections", "0"], "max_connections"),
        (["--max-connections", "many"], "max_connections"),
        (["--max-connections"], "--max-connections"),
        (["--retain-available", "maybe"], "retain_available"),
        (["--queue-full", "panic"], "queue_full"),
        (["--port", "65536"], "port"),
        (["--port", "-1"], "port"),
        (["--port", "http"], "port"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_arguments(runtime, program, arguments, named):
    status, output = program(runtime, *arguments)
    assert status == 2
    assert re.search(r"(?<![.\w])%s\b" % named, output), output


def test_busy_port(runtime, program):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        status, output = program(runtime, "--port", str(port))
    assert status == 1
    assert "cannot listen on 127.0.0.1:%d" % port in output
    assert "in use" in output


def test_wrong_host(runtime, program):
    status, output = program(runtime, "--host", "203.0.113.1", "--port", str(free_port()))  # nobody has this address
    assert status == 1
    assert "cannot listen on 203.0.113.1:" in output


# -- configuration file ------------------------------------------------------------------------


@pytest.fixture
def write(tmp_path):
    """Write a configuration file in the runtime's format; its path."""

    def write(runtime, text=None, **values):
        path = tmp_path / "broker.conf"
        if text is None and runtime == "cpython":
            text = "".join("%s = %s\n" % (name, json.dumps(value)) for name, value in values.items())
        path.write_text(json.dumps(values) if text is None else text)
        return str(path)

    return write


def test_configuration_file(runtime, start_broker, write):
    path = write(runtime, max_packet_size=500, max_qos=1, shared_subscriptions=False, queue_full="oldest")
    broker = start_broker(runtime, "--config", path, max_packet_size=600)  # the command line counts more
    client = Paho(broker.port, "client", 5)
    assert client.connack["MaximumPacketSize"] == 600
    assert client.connack["MaximumQoS"] == 1
    assert client.connack["SharedSubscriptionAvailable"] == 0
    client.disconnect()


def test_port_in_the_configuration_file(runtime, program, write):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        status, output = program(runtime, "--config", write(runtime, host="127.0.0.1", port=port))
    assert status == 1 and "127.0.0.1:%d" % port in output


@pytest.mark.parametrize(
    "values, named",
    [
        ({"max_conections": 3}, "max_conections"),
        ({"max_connections": 0}, "max_connections"),
        ({"max_connections": "3"}, "max_connections"),
        ({"max_connections": True}, "max_connections"),
        ({"retain_available": 1}, "retain_available"),
        ({"queue_full": "panic"}, "queue_full"),
        ({"port": "1883"}, "port"),
        ({"port": 65536}, "port"),
        ({"host": 1}, "host"),
    ],
)
def test_wrong_configuration(runtime, program, write, values, named):
    status, output = program(runtime, "--config", write(runtime, **values))
    assert status == 2
    assert re.search(r"(?<![.\w])%s\b" % named, output), output


def test_unknown_key_names_the_nearest(program, write):
    for key, nearest in (("max_conections", "max_connections"), ("prt", "port"), ("anonymos", "anonymous")):
        status, output = program("cpython", "--config", write("cpython", **{key: 1}))
        assert status == 2 and "unknown option %s, did you mean %s?" % (key, nearest) in output


def test_configuration_file_that_cannot_be_read(runtime, program, write, tmp_path):
    status, output = program(runtime, "--config", str(tmp_path / "nowhere"))
    assert status == 2 and "nowhere" in output
    for text in ("{{", "\x80" if runtime == "cpython" else "[1]"):
        status, output = program(runtime, "--config", write(runtime, text))
        assert status == 2 and "broker.conf" in output


# -- signals -------------------------------------------------------------------------------------

# MicroPython has nothing to catch SIGTERM with.
SIGNALS = [("cpython", signal.SIGTERM), ("cpython", signal.SIGINT), ("micropython", signal.SIGINT)]


@pytest.mark.parametrize("runtime, number", SIGNALS)
def test_graceful_stop(runtime, number, start_broker):
    broker = start_broker(runtime)
    new, old = Paho(broker.port, "new", 5), Paho(broker.port, "old", 4)
    broker.signal(number)
    assert new.closed() == 0x8B
    old.closed()
    assert broker.wait() == 0
    assert "ucomqtt: stopped" in broker.output
    new.disconnect()
    old.disconnect()


# -- log -----------------------------------------------------------------------------------------


def test_verbose_log(runtime, start_broker):
    broker = start_broker(runtime, "-v")
    client = Paho(broker.port, "thermometer", 5)
    address = "127.0.0.1:%d" % client.local_port
    client.disconnect()
    Paho(broker.port, "after it", 4).disconnect()
    found = [line for line in broker.output.splitlines() if "thermometer" in line]
    assert len(found) == 2 and all(address in line for line in found)
    assert "connected, MQTT 5" in found[0] and "disconnected" in found[1]


def test_quiet_log(runtime, start_broker):
    """Without -v nobody's coming and going is told, but a fault is."""
    broker = start_broker(runtime)
    Paho(broker.port, "thermometer", 5).disconnect()
    assert "thermometer" not in broker.output
    with socket.create_connection(("127.0.0.1", broker.port)) as sock:
        sock.sendall(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04evil" + b"\x00\x00")
        while sock.recv(100):
            pass
    assert "evil 127.0.0.1:" in broker.output


# -- who may connect -----------------------------------------------------------------------------


def other_address():
    """An address of this machine that is not a loopback one, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("203.0.113.1", 9))  # sends nothing, only looks for the way
            address = sock.getsockname()[0]
        except OSError:
            return None
    return None if address.startswith("127.") else address


def test_only_this_machine_may_connect(runtime, start_broker):
    address = other_address()
    if address is None:
        pytest.skip("this machine has the loopback interface only")
    broker = start_broker(runtime, "--host", "0.0.0.0")
    Paho(broker.port, "local", 5).disconnect()
    for version, answer in ((4, b"\x20\x02\x00\x05"), (5, b"\x20")):
        with socket.create_connection((address, broker.port), TIMEOUT) as sock:
            sock.sendall(CONNECT[version])
            received = sock.recv(100)
            assert received.startswith(answer) and received[3] == {4: 0x05, 5: 0x87}[version]
            assert sock.recv(100) == b""


def test_everybody_may_connect(runtime, start_broker):
    address = other_address()
    if address is None:
        pytest.skip("this machine has the loopback interface only")
    broker = start_broker(runtime, "--host", "0.0.0.0", anonymous="all")
    with socket.create_connection((address, broker.port), TIMEOUT) as sock:
        sock.sendall(CONNECT[4])
        assert sock.recv(100) == b"\x20\x02\x00\x00"


CONNECT = {
    4: b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a",
    5: b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01a",
}
