"""The brokers as an operator meets them: command line, configuration file, signals, log."""

import json
import re
import signal
import socket
import subprocess
import time
import tomllib
from typing import Any

import pytest

import configuration
from certificates import certificates  # noqa: F401
from drivers import TIMEOUT
from drivers.paho import Paho
from port.core.limits.options import TABLE
from port.core.auth.password_file import make_record
from server_process import environment, free_port, interpreter
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
    for name in ["host", "port", "config", "check_config", "print_config", "log_level", *OPTIONS]:
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
        (["--accept-protocol-versions", "4;5"], "accept_protocol_versions"),
        (["--accept-protocol-versions", "4,6"], "accept_protocol_versions"),
        (["--log-level", "loud"], "log_level"),
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
        if text is None:
            return configuration.write(path, runtime, values)
        path.write_text(text)
        return str(path)

    return write


def test_protocol_versions(runtime, start_broker, write):
    broker = start_broker(runtime, "--accept-protocol-versions", "3,5")
    Paho(broker.port, "new", 5).disconnect()
    with socket.create_connection(("127.0.0.1", broker.port), TIMEOUT) as sock:
        sock.sendall(b"\x10\x0d\0\4MQTT\4\2\0\0\0\1c")
        assert sock.recv(100) == b"\x20\2\0\1"
    broker = start_broker(runtime, "--config", write(runtime, accept_protocol_versions=[4]))
    Paho(broker.port, "old", 4).disconnect()
    with pytest.raises(AssertionError, match="Unsupported protocol version"):
        Paho(broker.port, "new", 5)


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
        ({"accept_protocol_versions": 4}, "accept_protocol_versions"),
        ({"port": "1883"}, "port"),
        ({"port": 65536}, "port"),
        ({"host": 1}, "host"),
    ],
)
def test_wrong_configuration(runtime, program, write, values, named):
    status, output = program(runtime, "--config", write(runtime, **values))
    assert status == 2
    assert re.search(r"(?<![.\w])%s\b" % named, output), output


def test_unknown_key_names_the_nearest(runtime, program, write):
    for key, nearest in (("max_conections", "max_connections"), ("prt", "port"), ("anonymos", "anonymous")):
        status, output = program(runtime, "--config", write(runtime, **{key: 1}))
        assert status == 2 and "unknown option %s, did you mean %s?" % (key, nearest) in output
    for key, table, text in (
        ("listener", {"prt": 1}, "listener tcp: unknown key prt, did you mean port?"),
        ("listener", {"auth": ["user"]}, "listener tcp: unknown auth user, did you mean users?"),
        ("auth", {"type": "user"}, "auth user: unknown type user, did you mean users?"),
        ("auth", {"type": "users", "usrs": {}}, "auth users: unknown key usrs, did you mean users?"),
        ("auth", {"type": "certificate", "feld": "cn"}, "auth certificate: unknown key feld, did you mean field?"),
        ("acl", {"topc": "a"}, "acl, rule 1: unknown key topc, did you mean topic?"),
        ("client_limits", {"user": "a", "max_qs": 1}, "client_limits, entry 1: unknown key max_qs, did you mean max_qos?"),
    ):
        tables = {"auth": [{"type": "users"}], key: [table]}
        status, output = program(runtime, "--config", write(runtime, **tables))
        assert status == 2 and text in output, output


# Each key that a board knows, with a value that is not the default.
EVERY: dict[str, Any] = {
    "port": 1900, "log_level": "info", "max_qos": 1, "max_sessions": 10, "accept_protocol_versions": [4, 5],
    "auth": [
        {"type": "users", "name": "one", "users": {"file": make_record(b"x", bytes(16), 2)}},
        {"type": "password_file", "file": "users.txt"}, {"type": "certificate", "field": "san"},
        {"type": "allow"}, {"type": "deny"},
    ],
    "acl": [{"topic": "home/%u/#", "actions": ["publish"], "user": "u", "client_id": "c", "address": "10.0.0.0/8",
             "qos": 1, "retain": False, "allow": False}],
    "client_limits": [{"user": "a*", "max_qos": 0}, {"client_id": "b", "max_message_rate": 5}],
    "listener": [
        {"id": "lan", "type": "tcp", "host": "0.0.0.0", "port": 1901, "auth": ["one"], "acl": [{"topic": "a"}],
         "max_connections": 3, "accept_protocol_versions": [4]},
        {"type": "websocket", "paths": ["/x"], "origins": ["*"]},
        {"type": "http", "auth": [], "tls": {"certificate": "server.pem", "key": "server.key", "client_ca": "ca.pem"}},
    ],
}  # fmt: skip


def test_every_key_that_boards_know(runtime, program, tmp_path, certificates):  # noqa: F811
    """It is right on both runtimes, files are looked for beside it, and what is printed says the same."""
    for name in ("server.pem", "server.key", "ca.pem"):
        (tmp_path / name).write_bytes((certificates().path / name).read_bytes())
    (tmp_path / "users.txt").write_text("alice:%s\n" % make_record(b"x", bytes(16), 2))
    path = configuration.write(tmp_path / "broker.conf", runtime, EVERY)
    status, output = program(runtime, "--config", path, "--check-config")
    assert status == 0 and "the configuration is right" in output, output
    status, printed = program(runtime, "--config", path, "--print-config", "--max-qos", "0")
    assert status == 0, printed
    parse = tomllib.loads if runtime == "cpython" else json.loads
    values = parse(printed)
    assert (values["log_level"], values["max_qos"], values["max_sessions"]) == ("info", 0, 10)
    assert values["accept_protocol_versions"] == [4, 5] and values["listener"][1]["accept_protocol_versions"] == [4]
    assert values["acl"] == EVERY["acl"] and values["client_limits"] == EVERY["client_limits"]
    assert [(entry["id"], entry["port"]) for entry in values["listener"]] == [
        ("default", 1900), ("lan", 1901), ("websocket", 8083), ("http", 8443),
    ]  # fmt: skip
    assert values["listener"][3]["tls"]["key"] == str(tmp_path / "server.key")
    assert values["auth"][0]["users"] == {"file": "***"} and values["auth"][1]["file"] == str(tmp_path / "users.txt")
    (tmp_path / "printed").write_text(printed.replace("***", EVERY["auth"][0]["users"]["file"]))
    status, again = program(runtime, "--config", str(tmp_path / "printed"), "--print-config")
    assert (status, parse(again)) == (0, values)


def test_what_boards_do_not_know(program, tmp_path):
    for values, named in (
        ({"acl_file": "a"}, "acl_file is for CPython only"),
        ({"auth": [{"type": "jwt"}]}, "auth jwt: unknown type jwt"),
        ({"listener": [{"type": "unix", "file": "s"}]}, "listener unix: Unix sockets and PROXY protocol are for CPython only"),
        ({"listener": [{"id": "x", "proxy_protocol": True}]}, "listener x: Unix sockets"),
        ({"host": "::"}, "listener default: host must be an IPv4 address or a name, not '::'"),
        ({"port": 0}, "listener default: port must be from 1 to 65535, not 0"),
    ):
        path = configuration.write(tmp_path / "broker.conf", "micropython", values)
        status, output = program("micropython", "--config", path, "--check-config")
        assert status == 2 and named in output


# Firmware that lacks something, as far as a program can tell.
FIRMWARE = """
import sys
class Module: pass
module = Module()
module.sha256 = object
module.PROTOCOL_TLS_SERVER = 0
class Bare:
    def __init__(self, protocol): pass
    def __setattr__(self, name, value): raise AttributeError(name)
module.SSLContext = Bare
sys.modules[sys.argv[1]] = module
from port.micropython.__main__ import main
sys.exit(main(sys.argv[2:]))
"""


def test_firmware_that_lacks_something(tool, tmp_path):
    for module, values, text in (
        ("hashlib", {"listener": [{"type": "websocket"}]}, "listener websocket: WebSocket needs SHA-1"),
        ("tls", {"auth": [{"type": "certificate"}]}, "auth certificate: this firmware's TLS does not tell"),
    ):
        path = configuration.write(tmp_path / "broker.conf", "micropython", values)
        script = tmp_path / "main.py"
        script.write_text(FIRMWARE)
        command = [tool("micropython"), str(script), module, "--config", path]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=TIMEOUT)
        assert done.returncode == 2 and text in done.stdout, done.stdout + done.stderr


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
    assert re.search(r"\bstopped$", broker.output, re.MULTILINE), broker.output
    new.disconnect()
    old.disconnect()


# -- log -----------------------------------------------------------------------------------------


def test_verbose_log(runtime, start_broker):
    broker = start_broker(runtime, "-v")
    client = Paho(broker.port, "thermometer", 5)
    address = "127.0.0.1:%d" % client.local_port
    client.disconnect()
    Paho(broker.port, "after it", 4).disconnect()
    deadline = time.monotonic() + TIMEOUT
    while "after it" not in broker.output:  # a thread writes the log
        assert time.monotonic() < deadline, broker.output
        time.sleep(0.01)
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
    deadline = time.monotonic() + TIMEOUT
    while "evil 127.0.0.1:" not in broker.output:  # it may close the connection before it says so
        assert time.monotonic() < deadline, broker.output
        time.sleep(0.02)


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
