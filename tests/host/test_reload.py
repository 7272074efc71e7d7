"""SIGHUP: another configuration for a running broker, whole or not at all."""

import contextlib
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
from port.cpython import passwords
from server_process import free_port


class Client:
    """A paho client that notes why it was disconnected and what it got."""

    def __init__(self, port, user, password):
        self.reason: Any = None
        self.got: list[str] = []
        self.ready = threading.Event()
        self.gone = threading.Event()
        self.paho: Any = paho.Client(CallbackAPIVersion.VERSION2, client_id=user, protocol=paho.MQTTv5)
        self.paho.username_pw_set(user, password)
        self.paho.on_connect = self._connected
        self.paho.on_disconnect = self._disconnected
        self.paho.on_message = lambda _, __, message: self.got.append(message.topic)
        self.paho.connect("127.0.0.1", port, properties=Properties(1))
        self.paho.loop_start()
        assert self.ready.wait(20)

    def _connected(self, client, userdata, flags, reason, properties):
        self.connack = reason.value
        self.ready.set()

    def _disconnected(self, client, userdata, flags, reason, properties):
        self.reason = reason.value
        self.paho.loop_stop()
        self.gone.set()


def written(tmp_path, users, rest=""):
    """Write users and configuration; the latter's path."""
    lines = ["%s:%s" % (name, passwords.hash_password(password, iterations=10)) for name, password in users.items()]
    (tmp_path / "users.txt").write_text("\n".join(lines) + "\n")
    path = tmp_path / "broker.toml"
    path.write_text("[[auth]]\ntype = 'password_file'\nfile = 'users.txt'\n" + rest)
    return str(path)


def reload(broker, text):
    """Send SIGHUP and wait for what the broker says to it."""
    before = broker.output.count(text)
    broker.signal(signal.SIGHUP)
    deadline = time.monotonic() + 20
    while broker.output.count(text) == before:
        assert time.monotonic() < deadline, broker.output
        time.sleep(0.05)


def test_users_and_rules(start_broker, tmp_path):
    path = written(tmp_path, {"alice": b"1", "bob": b"2"})
    broker = start_broker("cpython", "--config", path)
    alice, bob = Client(broker.port, "alice", "1"), Client(broker.port, "bob", "2")
    assert (alice.connack, bob.connack) == (0, 0)
    kept = (tmp_path / "users.txt").read_text().splitlines()[0]
    written(tmp_path, {}, "[[acl]]\ntopic = 'home/#'\n")
    (tmp_path / "users.txt").write_text(kept + "\n")
    reload(broker, "the configuration was read again")
    assert bob.gone.wait(20) and bob.reason == 0x87
    assert not alice.gone.is_set()
    info = alice.paho.publish("other", "x", 1)
    info.wait_for_publish(20)
    again = Client(broker.port, "bob", "2")
    assert again.connack == 0x86
    alice.paho.disconnect()


def test_a_wrong_configuration_changes_nothing(start_broker, tmp_path):
    path = written(tmp_path, {"alice": b"1"})
    broker = start_broker("cpython", "--config", path)
    alice = Client(broker.port, "alice", "1")
    for wrong in ("max_qos = 9\n", "[[acl]]\ntopic = 'a#'\n", "[[listener]]\nid = 'x'\nport = 1\nauth = ['nobody']\n", "= broken"):
        users = (tmp_path / "users.txt").read_text()
        (tmp_path / "broker.toml").write_text(wrong)
        reload(broker, "the configuration was not changed")
        (tmp_path / "users.txt").write_text(users)
    assert not alice.gone.is_set()
    alice.paho.publish("t", "x", 1).wait_for_publish(20)
    assert Client(broker.port, "alice", "1").connack == 0


def test_certificates(start_broker, tmp_path, certificates):  # noqa: F811
    port = free_port()
    made, others = certificates(), certificates("others")
    for source, name in ((made.server, "server.pem"), (made.key, "server.key")):
        (tmp_path / name).write_bytes(open(source, "rb").read())
    path = tmp_path / "broker.toml"
    path.write_text("[[listener]]\nid = 'tls'\nport = %d\ntls = { certificate = 'server.pem', key = 'server.key' }\n" % port)
    broker = start_broker("cpython", "--config", str(path))

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
    reload(broker, "the configuration was read again")
    with pytest.raises(ssl.SSLError):
        connect(made.ca)
    connect(others.ca).close()
    (tmp_path / "server.key").write_text("damaged")
    reload(broker, "the configuration was not changed")
    connect(others.ca).close()
    old.sendall(b"\xc0\0")
    assert old.recv(2) == b"\xd0\0"  # it never noticed
    old.close()


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
