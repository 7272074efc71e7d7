"""What a program on a board sees of TLS: contexts of its own, and what a client costs before it is welcome."""

import socket
import ssl
import time

import pytest

from certificates import certificates  # noqa: F401
from drivers import TIMEOUT
from server_process import free_port

CONNECT = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c"
HANDSHAKES = 8  # connections that may be without CONNECT

# Two listeners, plain and TLS, the latter with an SSLContext of the program's own; tells when TLS begins with a client.
PROGRAM = """
import asyncio, sys, {module}
from port.micropython import Server
from port.micropython.net.tls import Context

plain, port, certificate, key, authority = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5]
context = {module}.SSLContext({module}.PROTOCOL_TLS_SERVER)
if {module}.__name__ == "ssl":
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(authority)
else:
    files = [open(path, "rb").read() for path in (certificate, key, authority)]
    context.load_cert_chain(files[0], files[1])
    context.load_verify_locations(files[2])
context.verify_mode = {module}.{mode}

wrap = Context.wrap
def told(self, sock):
    print("TLS begins")
    return wrap(self, sock)
Context.wrap = told


async def main():
    server = Server(max_connections=2, connect_timeout=3600)
    server.listen("127.0.0.1", port, tls=context)
    server.listen("127.0.0.1", plain)
    server.on("connect", lambda client: print("certificate", client.conn.transport.certificate()))
    await server.serve()


asyncio.run(main())
"""


@pytest.fixture
def board(start_broker, certificates, tmp_path):  # noqa: F811
    """Run the program: board(module, verify_mode) -> (process, port of the TLS listener)."""

    def start(module="tls", mode="CERT_NONE"):
        path, port, ours = tmp_path / "main.py", free_port(), certificates()
        authority = tmp_path / "ca.der"
        authority.write_bytes(ssl.PEM_cert_to_DER_cert(open(ours.ca).read()))
        path.write_text(PROGRAM.format(module=module, mode=mode))
        arguments = (str(port), ours.server_der, ours.key_der, str(authority))
        return start_broker("micropython", *arguments, script=path), port

    return start


def connect(port, folder, client=None):
    context = ssl.create_default_context(cafile=folder.ca)
    if client is not None:
        context.load_cert_chain(*client)
    sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port), TIMEOUT), server_hostname="localhost")
    sock.sendall(CONNECT)
    assert sock.recv(4) == b"\x20\x02\0\0"
    return sock


@pytest.mark.parametrize("module", ["tls", "ssl"])
def test_a_context_of_the_programs_own(board, certificates, module):  # noqa: F811
    server, port = board(module, "CERT_REQUIRED")
    connect(port, certificates(), certificates().client("alice")).close()
    assert "certificate {" in server.output and "'alice'" in server.output
    with pytest.raises(OSError):
        connect(port, certificates(), certificates("others").client("alice"))


def test_a_certificate_that_nobody_verified_says_nothing(board, certificates):  # noqa: F811
    """Where certificates are optional mbedtls lets in those with a bad one, too."""
    server, port = board("tls", "CERT_OPTIONAL")
    connect(port, certificates(), certificates("others").client("alice")).close()
    assert "certificate None" in server.output


def test_unfinished_handshakes_are_bounded(board, certificates):  # noqa: F811
    server, port = board()
    silent = [socket.create_connection(("127.0.0.1", port), TIMEOUT) for _ in range(HANDSHAKES)]
    deadline = time.monotonic() + TIMEOUT
    while server.output.count("TLS begins") < HANDSHAKES:
        assert time.monotonic() < deadline, server.output
        time.sleep(0.02)
    for _ in range(5):  # each takes the place of the oldest one
        silent.append(socket.create_connection(("127.0.0.1", port), TIMEOUT))
        with silent.pop(0) as sock:
            try:
                assert sock.recv(1) == b""
            except ConnectionResetError:
                pass
    while server.output.count("above owner_share") < 5:  # told after they are closed
        assert time.monotonic() < deadline, server.output
        time.sleep(0.02)
    assert server.output.count("above owner_share") == 5
    for sock in silent:
        sock.close()
    while True:
        try:
            connect(port, certificates()).close()
            break
        except OSError:  # it has not noticed yet
            assert time.monotonic() < deadline, server.output
    assert "certificate None" in server.output
    # One for each that was not turned away, and no other.
    assert server.output.count("TLS begins") == HANDSHAKES + 6
