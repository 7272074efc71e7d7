"""Clients that want less than TLS 1.2 with forward secrecy, or come to the wrong door, at the brokers of both runtimes."""

import contextlib
import json
import socket
import ssl
import subprocess
import threading

import pytest

from certificates import certificates  # noqa: F401
from drivers import TIMEOUT
from server_process import environment, interpreter
from tests.host.tls.test_broker import CONNACK, CONNECT, Client, start, trusting  # noqa: F401

REFUSED = (OSError, EOFError)

# Protocol version, ciphers for versions up to 1.2. The key is RSA's, so that all of them could be had.
DOWNGRADES = (
    (ssl.TLSVersion.TLSv1, "ALL"),
    (ssl.TLSVersion.TLSv1_1, "ALL"),
    (ssl.TLSVersion.TLSv1_2, "eNULL"),  # nothing is encrypted
    (ssl.TLSVersion.TLSv1_2, "aNULL"),  # anybody may be at the other end
    (ssl.TLSVersion.TLSv1_2, "kRSA"),  # who gets the key can read what was recorded before
)


@pytest.fixture
def anything_goes(certificates):  # noqa: F811
    """The port of a server in this process that takes whatever OpenSSL can: it is not the client who cannot."""
    ours = certificates(key="rsa")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:eNULL:aNULL:@SECLEVEL=0")
    context.load_cert_chain(ours.server, ours.key)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    sock = server.accept()[0]
                except OSError:
                    return
                with sock, contextlib.suppress(OSError), context.wrap_socket(sock, server_side=True) as secure:
                    secure.recv(100)
                    secure.sendall(CONNACK)
                    secure.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def weak_context(ours, version, ciphers):
    """A client that can do nothing else."""
    context = trusting(ours)
    if version < ssl.TLSVersion.TLSv1_2:
        with pytest.warns(DeprecationWarning):
            context.minimum_version = context.maximum_version = version
    else:
        context.minimum_version = context.maximum_version = version
    context.set_ciphers(ciphers + ":@SECLEVEL=0")
    return context


def test_downgrade(start, runtime, certificates, anything_goes):  # noqa: F811
    ours = certificates(key="rsa")
    _, port = start(runtime, certificate=ours.server, key=ours.key)
    for version, ciphers in DOWNGRADES:
        client = Client(anything_goes, b"c", weak_context(ours, version, ciphers))
        assert client.connack == CONNACK, (version, ciphers)
        client.sock.close()
        with pytest.raises(REFUSED):
            Client(port, b"c", weak_context(ours, version, ciphers))
    good = Client(port, b"c", trusting(ours))
    assert good.connack == CONNACK and good.sock.version() in ("TLSv1.2", "TLSv1.3")


def test_no_older_version_can_be_configured(runtime, certificates, tmp_path):  # noqa: F811
    ours = certificates()
    path = tmp_path / "broker.conf"
    for version in ("1.0", "1.1", "SSLv3", ""):
        tls = {"certificate": ours.server, "key": ours.key, "minimum_version": version}
        if runtime == "cpython":
            table = ", ".join("%s = %s" % (key, json.dumps(value)) for key, value in tls.items())
            path.write_text("[[listener]]\ntls = { %s }\n" % table)
        else:
            path.write_text(json.dumps({"listener": [{"tls": tls}]}))
        command = [interpreter(runtime), "-m", "port." + runtime, "--config", str(path)]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=TIMEOUT)
        assert done.returncode == 2 and "minimum_version" in done.stdout + done.stderr, version


def everything(sock):
    """What comes until the connection ends."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while more := sock.recv(4096):
            data += more
    return data


def test_the_wrong_door(start, runtime, certificates):  # noqa: F811
    """TLS where there is none, none where there is TLS, HTTP at either: that ends, and nobody is let in."""
    plain, port = start(runtime)
    http = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    for _ in range(3):
        with pytest.raises(REFUSED):
            Client(plain, b"c", trusting(certificates()))
        for where, request in ((plain, http), (port, http), (port, CONNECT + b"c")):
            with socket.create_connection(("127.0.0.1", where), TIMEOUT) as sock:
                sock.sendall(request)
                answer = everything(sock)
                assert answer == b"" or where == port and answer[0] == 0x15, answer  # an alert of TLS at most
    assert Client(plain, b"c").connack == Client(port, b"d", trusting(certificates())).connack == CONNACK
