"""The brokers' TLS listeners with clients that are slow, unknown or known by their certificate."""

import os
import socket
import ssl
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from certificates import certificates  # noqa: F401
from configuration import write
from drivers import TIMEOUT
from server_process import free_port

CONNECT = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01"  # and one letter, the client id
CONNACK = b"\x20\x02\x00\x00"
MESSAGES = 15000
SIZE = 1000


class Client:
    """A blocking client on a socket or over TLS, just enough."""

    def __init__(self, port, name, context=None, receive_buffer=None):
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(TIMEOUT)
        sock.connect(("127.0.0.1", port))
        self.sock = sock if context is None else context.wrap_socket(sock, server_hostname="localhost")
        self.sock.sendall(CONNECT + name)
        self.connack = self.read(4)

    def read(self, count):
        data = b""
        while len(data) < count:
            more = self.sock.recv(count - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def packet(self):
        """The next packet: (first byte, body)."""
        first, size = self.read(2)
        if size & 0x80:
            size = size & 0x7F | self.read(1)[0] << 7
        return first, self.read(size)

    def subscribe(self, topic):
        self.sock.sendall(b"\x82" + bytes((5 + len(topic), 0, 1, 0, len(topic))) + topic + b"\0")
        return self.packet()

    def ping(self):
        """Wait until everything sent before has been handled."""
        self.sock.sendall(b"\xc0\0")
        assert self.packet() == (0xD0, b"")

    def publish(self, topic, payload):
        size = 2 + len(topic) + len(payload)
        self.sock.sendall(b"\x30" + bytes((size & 0x7F | 0x80, size >> 7, 0, len(topic))) + topic + payload)


class Starter:
    """Starts a broker with a plain and a TLS listener: start(runtime, more keys, **more TLS settings) -> both ports."""

    def __init__(self, start_broker, ours, path):
        self._start = start_broker
        self._ours = ours
        self._path = path

    def __call__(self, runtime, values=None, **more):
        tls = {"certificate": self._ours.server, "key": self._ours.key, **more}
        port = free_port()
        listener = [{"id": "tls", "port": port, "tls": tls}]
        path = write(self._path, runtime, {**(values or {}), "listener": listener})
        self._broker = self._start(runtime, "--config", path)
        return self._broker.port, port

    def files(self):
        """How many files and sockets the broker has open."""
        return len(os.listdir("/proc/%d/fd" % self._broker.pid))


@pytest.fixture
def start(start_broker, certificates, tmp_path):  # noqa: F811
    return Starter(start_broker, certificates(), tmp_path / "broker.conf")


def wait_for_files(start, count):
    """Wait until the broker has no more files open than that."""
    deadline = time.monotonic() + TIMEOUT
    while start.files() > count:
        assert time.monotonic() < deadline, "%d files open, not %d" % (start.files(), count)
        time.sleep(0.05)


def trusting(folder, client=None):
    context = ssl.create_default_context(cafile=folder.ca)
    if client is not None:
        context.load_cert_chain(*client)
    return context


def payload(number):
    return (b"%08d" % number) * (SIZE // 8)


def test_a_subscriber_that_is_slow_to_read(start, runtime, certificates):
    """It loses messages that it had no room for, but what it gets is whole and in order."""
    plain, port = start(runtime)
    subscriber = Client(port, b"s", trusting(certificates()), receive_buffer=4096)
    assert subscriber.subscribe(b"t") == (0x90, b"\0\1\0")
    publisher = Client(plain, b"p")
    for number in range(MESSAGES):
        publisher.publish(b"t", payload(number))
    publisher.ping()
    subscriber.sock.sendall(b"\xc0\0")
    last = -1
    count = 0
    while True:
        first, body = subscriber.packet()
        if first == 0xD0:
            break
        number = int(body[3:11])
        assert (first, body) == (0x30, b"\0\1t" + payload(number)) and number > last
        last = number
        count += 1
    assert 0 < count < MESSAGES  # or it was not slow
    publisher.publish(b"t", payload(MESSAGES))
    assert subscriber.packet()[1][3:] == payload(MESSAGES)


def test_many_clients_come_and_go(start, runtime, certificates):
    _, port = start(runtime)
    for number in range(30):
        client = Client(port, b"c", trusting(certificates()))
        assert client.connack == CONNACK
        if number % 2:
            client.sock.sendall(b"\xe0\0")
        client.sock.close()


def test_only_known_clients_get_in(start, runtime, certificates):
    ours, others = certificates(), certificates("others")
    _, port = start(runtime, client_ca=ours.ca)
    for _ in range(2):
        for certificate in (None, others.client("alice")):
            with pytest.raises((OSError, EOFError)):
                Client(port, b"a", trusting(ours, certificate))
        assert Client(port, b"a", trusting(ours, ours.client("alice"))).connack == CONNACK


VERSIONS = {"cpython": (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3), "micropython": (ssl.TLSVersion.TLSv1_2,)}


def test_who_is_not_known_is_told_so(start, runtime, certificates):
    """An alert arrives before the end, though in TLS 1.3 the client has sent its CONNECT by then, and no reset overtakes it."""
    ours, others = certificates(), certificates("others")
    _, port = start(runtime, client_ca=ours.ca)
    for version in VERSIONS[runtime]:
        for certificate, alerts in (
            (None, ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE")), (ours.expired("alice"), ("CERTIFICATE_EXPIRED",)),
            (others.client("alice"), ("UNKNOWN_CA",)),
        ):  # fmt: skip
            context = trusting(ours, certificate)
            context.minimum_version = context.maximum_version = version
            for _ in range(5):
                with pytest.raises(ssl.SSLError) as caught:
                    Client(port, b"a", context)
                reason = caught.value.reason or ""
                assert "ALERT" in reason and (runtime == "micropython" or reason.endswith(alerts)), (version, certificate, reason)
    assert Client(port, b"a", trusting(ours, ours.client("alice"))).connack == CONNACK


def test_the_name_in_the_certificate_is_the_user(start, runtime, certificates):
    ours = certificates()
    rights = {"auth": [{"type": "certificate"}], "acl": [{"topic": "home/%u"}]}
    plain, port = start(runtime, rights, client_ca=ours.ca)
    clients = {name: Client(port, name[:1], trusting(ours, ours.client(name.decode()))) for name in (b"alice", b"bob")}
    for name, client in clients.items():
        assert client.subscribe(b"home/" + name) == (0x90, b"\0\1\0")
        assert client.subscribe(b"home/" + (b"bob" if name == b"alice" else b"alice")) == (0x90, b"\0\1\x80")
    assert Client(plain, b"x").connack == b"\x20\x02\x00\x05"  # without a certificate


def test_the_subject_of_the_certificate_is_the_user(start, runtime, certificates):
    """As OpenSSL has it in its form for RFC 2253, and mosquitto with use_subject_as_username."""
    ours = certificates()
    _, port = start(runtime, {"auth": [{"type": "certificate", "field": "subject"}], "acl": [{"topic": "home/%u"}]}, client_ca=ours.ca)
    kinds = (NameOID.COUNTRY_NAME, "DE"), (NameOID.ORGANIZATION_NAME, "M\u00fcller, S\u00f6hne"), (NameOID.COMMON_NAME, "alice")
    certificate = ours.called("alice", x509.Name([x509.NameAttribute(*kind) for kind in kinds]))
    command = ["openssl", "x509", "-in", certificate[0], "-noout", "-subject", "-nameopt", "RFC2253"]
    name = subprocess.run(command, check=True, capture_output=True).stdout.strip().removeprefix(b"subject=")
    assert name == b"CN=alice,O=M\\C3\\BCller\\, S\\C3\\B6hne,C=DE"
    client = Client(port, b"a", trusting(ours, certificate))
    assert client.subscribe(b"home/" + name) == (0x90, b"\0\1\0")
    assert client.subscribe(b"home/alice") == (0x90, b"\0\1\x80")


@pytest.mark.parametrize("start_of_handshake", [b"", b"\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03"])
def test_a_handshake_that_is_never_finished(start, runtime, certificates, start_of_handshake):
    """As many as may be without CONNECT: they go when their time is over, and others get in."""
    plain, port = start(runtime, {"connect_timeout": 1})
    first = Client(port, b"a", trusting(certificates()))
    before = start.files()
    socks = [socket.create_connection(("127.0.0.1", port), TIMEOUT) for _ in range(16)]
    for sock in socks:
        sock.sendall(start_of_handshake)
    assert [ended(sock) for sock in socks] == [b""] * 16
    assert Client(plain, b"b").connack == CONNACK
    assert Client(port, b"c", trusting(certificates())).connack == CONNACK
    wait_for_files(start, before)
    first.ping()


def test_handshakes_of_garbage(start, runtime, certificates):
    plain, port = start(runtime)
    first = Client(port, b"a", trusting(certificates()))
    before = start.files()
    for data in (CONNECT + b"x", b"\x16\x03\x01\xff\xff" + b"x" * 20000, b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", b"x" * 100):
        for _ in range(10):
            with socket.create_connection(("127.0.0.1", port), TIMEOUT) as sock:
                sock.sendall(data)
                assert len(ended(sock)) < 100  # an alert at most
    assert Client(port, b"c", trusting(certificates())).connack == CONNACK
    wait_for_files(start, before)
    first.ping()


def ended(sock):
    """What comes until the broker ends the connection."""
    data = b""
    try:
        while True:
            more = sock.recv(1000)
            if not more:
                return data
            data += more
    except ConnectionResetError:
        return data
    finally:
        sock.close()
