"""Another configuration for a running broker, whole or not at all: SIGHUP on CPython, `change` on MicroPython."""

import contextlib
import queue
import re
import signal
import socket
import ssl
import struct
import threading
import time
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties

from certificates import certificates  # noqa: F401
from configuration import write
from port.cpython.auth import passwords
from server_process import free_port
from toolchain import ROOT

MAIN = ROOT / "tests" / "support" / "programs" / "board_reload.py"


class Client:
    """A paho client that notes how it was received and why it was disconnected."""

    def __init__(self, port, user, password=None):
        self.reason: Any = None
        self.ready = threading.Event()
        self.gone = threading.Event()
        self.paho: Any = paho.Client(CallbackAPIVersion.VERSION2, client_id=user, protocol=paho.MQTTv5)
        if password is not None:
            self.paho.username_pw_set(user, password)
        self.paho.on_connect = self._connected
        self.paho.on_disconnect = self._disconnected
        self.paho.connect("127.0.0.1", port, properties=Properties(1))
        self.paho.loop_start()
        assert self.ready.wait(20)

    def _connected(self, client, userdata, flags, reason, properties):
        self.connack = reason.value
        self.properties = properties
        self.ready.set()

    def publish(self, topic):
        """Publish at QoS 1; the reason code of the acknowledgement."""
        codes: queue.Queue[int] = queue.Queue()
        self.paho.on_publish = lambda client, userdata, mid, reason, properties: codes.put(reason.value)
        self.paho.publish(topic, "x", 1)
        return codes.get(timeout=20)

    def _disconnected(self, client, userdata, flags, reason, properties):
        self.reason = reason.value
        self.paho.loop_stop()
        self.gone.set()


class Broker:
    """A broker with a configuration of its own that is read again: on SIGHUP, or by a call of the board's program."""

    def __init__(self, runtime, start, path):
        self.runtime = runtime
        self._start = start
        self._path = path

    def start(self, values):
        """Start it; `port` is where it listens."""
        self.port = free_port()
        path = self.write(values)
        if self.runtime == "cpython":
            self._process = self._start("cpython", "--config", path)
            self.port = self._process.port
        else:
            self._process = self._start("micropython", path, script=MAIN)

    def write(self, values):
        """Write another configuration, or text in place of one."""
        if isinstance(values, str):
            self._path.write_text(values)
            return str(self._path)
        return write(self._path, self.runtime, {"port": self.port, **values})

    @property
    def output(self):
        """What the broker has printed so far."""
        return self._process.output

    def reload(self, text):
        """Have it read again, and wait for what the broker says to it."""
        before = self._process.output.count(text)
        if self.runtime == "cpython":  # there --port counts more than the file
            self._process.signal(signal.SIGHUP)
        else:
            socket.create_connection(("127.0.0.1", self._process.port), 20).close()
        deadline = time.monotonic() + 20
        while self._process.output.count(text) == before:
            assert time.monotonic() < deadline, self._process.output
            time.sleep(0.05)


AGAIN = "the configuration was read again"
REFUSED = "the configuration was not changed"
NOBODY = 0x10  # no matching subscribers: the message was accepted


@pytest.fixture
def broker(runtime, start_broker, tmp_path):
    return Broker(runtime, start_broker, tmp_path / "broker.conf")


USERS = {name: passwords.hash_password(name.encode(), iterations=10) for name in ("alice", "bob")}


def users(*names):
    """The configuration's part with these users."""
    return {"auth": [{"type": "users", "users": {name: USERS[name] for name in names}}]}


def test_users_and_rules(broker):
    broker.start(users("alice", "bob"))
    alice, bob = Client(broker.port, "alice", "alice"), Client(broker.port, "bob", "bob")
    assert (alice.connack, bob.connack) == (0, 0)
    broker.write({**users("alice"), "acl": [{"topic": "home/#"}]})
    broker.reload(AGAIN)
    assert bob.gone.wait(20) and bob.reason == 0x87
    assert not alice.gone.is_set()
    assert [alice.publish(topic) for topic in ("home/x", "other")] == [NOBODY, 0x87]
    assert Client(broker.port, "bob", "bob").connack == 0x86
    alice.paho.disconnect()


def test_password_files(broker, tmp_path):
    path = tmp_path / "users.txt"
    values = {"auth": [{"type": "password_file", "file": "users.txt"}]}  # relative to the configuration
    path.write_text("alice:%s\n" % USERS["alice"])
    broker.start(values)
    assert Client(broker.port, "bob", "bob").connack == 0x86
    path.write_text("bob:%s\n" % USERS["bob"])
    broker.reload(AGAIN)
    assert Client(broker.port, "bob", "bob").connack == 0
    path.write_text("damaged\n")
    broker.reload(REFUSED)
    assert Client(broker.port, "bob", "bob").connack == 0


def test_limits(broker):
    broker.start({**users("alice", "bob"), "max_connections": 1})
    alice = Client(broker.port, "alice", "alice")
    assert Client(broker.port, "bob", "bob").connack == 0x97
    broker.write({**users("alice", "bob"), "max_connections": 2, "client_limits": [{"user": "b*", "max_qos": 0}]})
    broker.reload(AGAIN)
    bob = Client(broker.port, "bob", "bob")
    assert (bob.connack, bob.properties.MaximumQoS) == (0, 0)
    assert not alice.gone.is_set()
    again = Client(broker.port, "alice", "alice")
    assert again.connack == 0 and not hasattr(again.properties, "MaximumQoS")


def test_the_limits_of_a_listener(broker):
    port = free_port()
    broker.start({"listener": [{"id": "other", "port": port, "max_qos": 1}]})
    assert Client(port, "alice").properties.MaximumQoS == 1
    broker.write({"max_packet_size": 1000, "listener": [{"id": "other", "port": port, "max_qos": 0}]})
    broker.reload(AGAIN)
    client = Client(port, "alice")
    assert (client.properties.MaximumQoS, client.properties.MaximumPacketSize) == (0, 1000)


def upgraded(port, path):
    """Whether a WebSocket opens at that path."""
    with socket.create_connection(("127.0.0.1", port), 20) as sock:
        head = "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        sock.sendall((head % path + "Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Key: %s==\r\n\r\n" % ("A" * 22)).encode())
        return sock.recv(12) == b"HTTP/1.1 101"


def test_the_paths_of_a_listener(broker):
    port = free_port()
    broker.start({"listener": [{"type": "websocket", "port": port}]})
    assert [upgraded(port, path) for path in ("/mqtt", "/other")] == [True, False]
    broker.write({"listener": [{"type": "websocket", "port": port, "paths": ["/other"]}]})
    broker.reload(AGAIN)
    assert [upgraded(port, path) for path in ("/mqtt", "/other")] == [False, True]


def test_what_takes_a_restart_is_told(broker):
    first, second = free_port(), free_port()
    broker.start({"listener": [{"id": "moved", "port": first}, {"id": "old", "port": second}]})
    broker.write({
        "listener": [{"id": "moved", "port": first + 1}, {"id": "new", "type": "websocket"}],
        "store": {"type": "sqlite", "file": "broker.db"} if broker.runtime == "cpython" else {"type": "flash"},
    })
    broker.reload(AGAIN)
    for line in (
        "listener moved: it stays on 127.0.0.1:%d, and takes a restart to be on 127.0.0.1:%d" % (first, first + 1),
        "listener new: it takes a restart to open it",
        "listener old: it is not in the configuration, and stays open until a restart",
        "store: it stays memory, and takes a restart to be %s" % ("sqlite" if broker.runtime == "cpython" else "flash"),
    ):
        assert line in broker.output, broker.output
    assert Client(second, "alice").connack == 0
    broker.write({"listener": [{"id": "moved", "port": first}, {"id": "old", "type": "websocket", "port": second}]})
    broker.reload(REFUSED + ": listener old: type cannot become websocket while it is open as tcp")


def test_a_wrong_configuration_changes_nothing(broker):
    broker.start(users("alice"))
    alice = Client(broker.port, "alice", "alice")
    other = {"id": "x", "port": 1, "auth": ["nobody"]}
    for wrong in (
        {"max_qos": 9}, {"acl": [{"topic": "a#"}]}, {"listener": [other]}, {"log_level": "loud"}, {"auth": [{"type": "ldap"}]},
        "= broken",
    ):  # fmt: skip
        broker.write(wrong)
        broker.reload(REFUSED)
    assert not alice.gone.is_set()
    assert alice.publish("t") == NOBODY
    assert Client(broker.port, "alice", "alice").connack == 0


def test_the_log_level(broker):
    broker.start({})
    Client(broker.port, "thermometer").paho.disconnect()
    broker.write({"log_level": "info"})
    broker.reload(AGAIN)
    Client(broker.port, "barometer").paho.disconnect()
    deadline = time.monotonic() + 20
    while not re.search(r"barometer .*: connected", broker.output):
        assert time.monotonic() < deadline, broker.output
        time.sleep(0.05)
    assert not re.search(r"thermometer .*: connected", broker.output)  # that it has gone may have been told since


def test_certificates(broker, tmp_path, certificates):  # noqa: F811
    port = free_port()
    made, others = certificates(), certificates("others")
    for source, name in ((made.server, "server.pem"), (made.key, "server.key")):
        (tmp_path / name).write_bytes(open(source, "rb").read())
    values = {"listener": [{"id": "tls", "port": port, "tls": {"certificate": "server.pem", "key": "server.key"}}]}
    broker.start(values)

    def connect(authority, client_id=b"n"):
        context = ssl.create_default_context(cafile=authority)
        sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10), server_hostname="127.0.0.1")
        body = b"\0\x04MQTT\x04\x02\0\0" + struct.pack("!H", 1) + client_id
        sock.sendall(b"\x10" + bytes((len(body),)) + body)
        assert sock.recv(4) == b"\x20\x02\0\0"
        return sock

    old = connect(made.ca, b"o")
    for source, name in ((others.server, "server.pem"), (others.key, "server.key")):
        (tmp_path / name).write_bytes(open(source, "rb").read())
    broker.reload(AGAIN)
    with pytest.raises(ssl.SSLError):
        connect(made.ca)
    connect(others.ca).close()
    (tmp_path / "server.key").write_text("damaged")
    broker.reload(REFUSED)
    broker.write({"listener": [{"id": "tls", "port": port}]})  # without TLS, all of a sudden
    broker.reload(REFUSED)
    connect(others.ca).close()
    old.sendall(b"\xc0\0")
    assert old.recv(2) == b"\xd0\0"  # it never noticed
    old.close()


def test_revoked_certificates(start_broker, tmp_path, certificates):  # noqa: F811
    """A list that is read again ends the connections of those it names; on MicroPython there is none."""
    port = free_port()
    ours = certificates()
    path = tmp_path / "crl.pem"
    path.write_bytes(ours.revocations())
    tls = {"certificate": ours.server, "key": ours.key, "client_ca": ours.ca, "crl": "crl.pem"}
    configuration = write(tmp_path / "broker.toml", "cpython", {"listener": [{"id": "tls", "port": port, "tls": tls}]})
    broker = start_broker("cpython", "--config", configuration)

    def connect(name):
        context = ssl.create_default_context(cafile=ours.ca)
        context.load_cert_chain(*ours.client(name))
        sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 20), server_hostname="127.0.0.1")
        sock.sendall(b"\x10\x12\0\4MQTT\5\2\0\0\0\0\5" + name.encode().ljust(5))
        answer = sock.recv(1000)
        assert (answer[0], answer[3]) == (0x20, 0)
        return sock

    def reload(text):
        before = broker.output.count(text)
        broker.signal(signal.SIGHUP)
        deadline = time.monotonic() + 20
        while broker.output.count(text) == before:
            assert time.monotonic() < deadline, broker.output
            time.sleep(0.05)

    alice, bob = connect("alice"), connect("bob")
    path.write_bytes(ours.revocations("alice"))
    reload(AGAIN)
    received = b""
    while more := alice.recv(1000):
        received += more
    assert received[0] == 0xE0 and received[2] == 0x87  # DISCONNECT: not authorized
    assert "the client's certificate has been revoked" in broker.output
    with pytest.raises((OSError, IndexError)):
        connect("alice")
    bob.sendall(b"\xc0\0")
    received = b""
    while not received.endswith(b"\xd0\0"):
        received += bob.recv(1000)
    path.write_text("damaged")
    reload(REFUSED)
    connect("bob").close()
    bob.close()


def proxied(version, address):
    """A PROXY header that names a client's address."""
    if version == 1:
        return b"PROXY TCP4 %s 127.0.0.1 4000 1883\r\n" % address.encode()
    body = socket.inet_aton(address) + socket.inet_aton("127.0.0.1") + struct.pack("!HH", 4000, 1883)
    return b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack("!H", len(body)) + body


def test_the_address_a_load_balancer_tells(start_broker, tmp_path):
    port = free_port()
    path = tmp_path / "broker.toml"
    path.write_text(
        "[[listener]]\nid = 'lb'\nport = %d\nproxy_protocol = true\ntrusted_proxies = ['127.0.0.0/8']\n" % port
        + "anonymous = 'all'\n[[acl]]\naddress = '10.0.0.0/8'\ntopic = '#'\n"
    )
    broker = start_broker("cpython", "--config", str(path), "-v")
    for version, address, granted in ((1, "10.1.2.3", 0), (2, "10.1.2.3", 0), (1, "11.1.2.3", 0x80), (2, "11.1.2.3", 0x80)):
        with socket.create_connection(("127.0.0.1", port), 10) as sock:
            sock.sendall(proxied(version, address))
            sock.sendall(b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c")
            assert sock.recv(4) == b"\x20\x02\0\0"
            sock.sendall(b"\x82\x06\0\1\0\1t\0")
            assert sock.recv(5)[4] == granted
    assert "10.1.2.3:4000" in broker.output
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c")
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(4) == b""


def test_a_unix_socket(start_broker, tmp_path):
    path = tmp_path / "broker.toml"
    path.write_text("[[listener]]\ntype = 'unix'\nfile = 'mqtt.sock'\nmode = '600'\n")
    start_broker("cpython", "--config", str(path))
    file = tmp_path / "mqtt.sock"
    assert file.stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(file))
        sock.sendall(b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c")
        assert sock.recv(4) == b"\x20\x02\0\0"


@pytest.mark.parametrize("runtime", ["cpython"])  # boards have one file
def test_files_that_are_included(broker, tmp_path):
    folder = tmp_path / "conf.d"
    folder.mkdir()
    rules = folder / "10-rules.toml"
    broker.start({**users("alice"), "include_dir": "conf.d"})
    alice = Client(broker.port, "alice", "alice")
    assert alice.publish("other") == NOBODY
    rules.write_text('[[acl]]\ntopic = "home/#"\n')
    broker.reload(AGAIN)
    assert [alice.publish(topic) for topic in ("home/x", "other")] == [NOBODY, 0x87]
    (folder / "20-more.toml").write_text("max_qos = 9\n")
    broker.reload("%s: %s/20-more.toml:1: max_qos must be" % (REFUSED, folder))
    rules.unlink()
    (folder / "20-more.toml").unlink()
    broker.reload(AGAIN)
    assert alice.publish("other") == NOBODY
    alice.paho.disconnect()
