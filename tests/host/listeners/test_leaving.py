"""Clients that say goodbye and close without having read everything: what they sent before the reset counts."""

import os
import signal
import socket
import ssl
import time
from pathlib import Path

import pytest

from certificates import certificates  # noqa: F401
from configuration import write
from drivers import TIMEOUT
from server_process import free_port

CONNECT = b"\x10\x16\0\4MQTT\4\6\0\0\0\1%c\0\1w\0\4will"
DISCONNECT = b"\xe0\0"
SUBSCRIBE = b"\x82\6\0\1\0\1%c\0"


def publish(number, qos=0):
    identifier = number.to_bytes(2, "big") if qos else b""
    payload = b"%05d" % number
    return bytes((0x30 | qos << 1, 8 + len(identifier))) + b"\0\1m" + identifier + payload


@pytest.fixture(params=["tcp", "tls"])
def broker(request, runtime, start_broker, certificates, tmp_path):  # noqa: F811
    """The broker and the port of a listener of each kind."""
    port = free_port()
    made = certificates()
    pem = runtime == "cpython"
    tls = {"certificate": made.server if pem else made.server_der, "key": made.key if pem else made.key_der}
    values = {"max_queued_messages": 1000, "listener": [{"port": port, **({"tls": tls} if request.param == "tls" else {})}]}
    process = start_broker(runtime, "--config", write(tmp_path / "broker.conf", runtime, values))
    deadline = time.monotonic() + TIMEOUT
    while process.output.count("listening on") < 2:
        assert time.monotonic() < deadline, process.output
        time.sleep(0.02)
    context = ssl.create_default_context(cafile=made.ca)

    def connect():
        sock = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        return sock if request.param == "tcp" else context.wrap_socket(sock, server_hostname="localhost")

    return process, connect


def enter(sock, name):
    sock.sendall(CONNECT % name)
    assert sock.recv(4) == b"\x20\2\0\0"


def reach(pid, state):
    """Return when the process sleeps (S), or has stopped (T)."""
    deadline = time.monotonic() + TIMEOUT
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != state:
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("qos, count", [(0, 1), (0, 1200), (1, 300)])
def test_what_came_before_a_reset_counts(broker, qos, count):
    """A read does not lose what it has got to the error behind it, nor does a failed write, nor a turn that is over."""
    process, connect = broker
    packets = b"".join([publish(number + 1, qos) for number in range(count)]) + DISCONNECT
    with socket.create_connection(("127.0.0.1", process.port), TIMEOUT) as monitor, monitor.makefile("rb") as file:
        enter(monitor, ord("m"))
        for topic in b"mw":
            monitor.sendall(SUBSCRIBE % topic)
            assert file.read(5) == b"\x90\3\0\1\0"
        for name in range(10):
            sock = connect()
            enter(sock, ord("a") + name)
            sock.sendall(SUBSCRIBE % ord("x"))
            assert sock.recv(5) == b"\x90\3\0\1\0"
            monitor.sendall(b"\x30\x84\1\0\1x" + b"x" * 129 + b"\xc0\0")  # it will not read this
            assert file.read(2) == b"\xd0\0"
            reach(process.pid, "S")  # it waits for something, and is not about to read
            os.kill(process.pid, signal.SIGSTOP)  # so that it finds all of it, and the reset
            reach(process.pid, "T")
            try:
                sock.sendall(packets)
                sock.close()
            finally:
                os.kill(process.pid, signal.SIGCONT)
            assert file.read(10 * count) == b"".join([publish(number + 1) for number in range(count)])
        monitor.sendall(b"\xc0\0")
        assert file.read(2) == b"\xd0\0"  # and no will


@pytest.mark.parametrize("count", [20, 60, 600, 700])
def test_the_goodbye_of_a_publisher_that_waits_counts(broker, count):
    """It waits for a receiver that takes nothing, and leaves meanwhile: what it has sent is handled, and then its DISCONNECT."""
    process, connect = broker
    with socket.create_connection(("127.0.0.1", process.port), TIMEOUT) as monitor, monitor.makefile("rb") as file:
        enter(monitor, ord("m"))
        for topic in b"lw":
            monitor.sendall(SUBSCRIBE % topic)
            assert file.read(5) == b"\x90\3\0\1\0"
        with connect() as stuck, connect() as sock:
            enter(stuck, ord("s"))
            stuck.sendall(b"\x82\6\0\1\0\1m\1")
            assert stuck.recv(5) == b"\x90\3\0\1\1"
            enter(sock, ord("p"))
            sock.sendall(b"".join([publish(number + 1, 1) for number in range(count)]) + b"\x30\7\0\1llast" + DISCONNECT)
            if isinstance(sock, ssl.SSLSocket):
                sock.close()
            else:
                sock.shutdown(socket.SHUT_WR)
            assert file.read(9) == b"\x30\7\0\1llast"
            monitor.sendall(b"\xc0\0")
            assert file.read(2) == b"\xd0\0"  # and no will
