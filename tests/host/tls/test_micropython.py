"""TLS on MicroPython: port.micropython.net.tls under a small server that serves its sockets as the broker does.

The server is told in a line what to do: `echo TEXT`, `name` (what it knows of the client), or
`send COUNT`: that many bytes, offered bit by bit while the client may be slow to read.
"""

import contextlib
import json
import os
import socket
import ssl
import subprocess
import time

import pytest

from certificates import certificates  # noqa: F401
from server_process import environment, free_port

TIMEOUT = 30
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
INTERPRETERS = ["micropython"] + ["micropython32"] * bool(os.environ.get("MICROPYTHON32"))

SERVER = """
import json, select, socket, sys
from binascii import hexlify
from port.micropython.net.tls import server_context

port, settings = int(sys.argv[1]), json.loads(sys.argv[2])
try:
    context = server_context(settings)
except ValueError as e:
    print("refused", e)
    sys.exit()
listening = socket.socket()
listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listening.bind(socket.getaddrinfo("127.0.0.1", port)[0][-1])
listening.listen(8)
listening.setblocking(False)
poll = select.poll()
poll.register(listening, select.POLLIN)
links = {}


class Link:
    def __init__(self, sock):
        self.sock = context.wrap(sock)
        self.line = b""
        self.queue = b""
        self.owed = self.sent = 0
        self.waited = False  # the socket took less than it was offered

    def ready(self, events):
        if events & select.POLLOUT:
            self.write()
        if events & ~select.POLLOUT:
            buffer = bytearray(20)
            count = self.sock.readinto(buffer)
            if count == 0:
                raise OSError("end")
            self.line += buffer[: count or 0]
            while b"\\n" in self.line:
                line, self.line = self.line.split(b"\\n", 1)
                self.obey(line.decode().split(" ", 1))

    def obey(self, words):
        if words[0] == "echo":
            self.queue += words[1].encode()
        elif words[0] == "name":
            found = self.sock.certificate()
            if found is not None:
                found["der"] = str(hexlify(found["der"]), "ascii")
            self.queue += json.dumps(found).encode() + b"\\n"
        else:
            self.owed = int(words[1])
        self.write()

    def write(self):
        while self.queue or self.owed:
            # What is offered after a refusal is longer than what was refused.
            more = min(self.owed, 1 + self.sent * 7 % 3000)
            self.queue += bytes([(self.sent + i) % 251 for i in range(more)])
            self.sent += more
            self.owed -= more
            count = self.sock.write(self.queue)
            if count is not None:
                self.queue = self.queue[count:]
            if self.queue:
                if not self.waited:
                    print("waits")
                self.waited = True
                poll.modify(self.sock.stream, select.POLLIN | select.POLLOUT)
                return
        poll.modify(self.sock.stream, select.POLLIN)


def finish(link):
    poll.unregister(link.sock.stream)
    del links[link.sock.stream]
    link.sock.close()


print("ready")
while True:
    for stream, events in poll.poll():
        if stream is listening:
            sock, _ = listening.accept()
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, 7, 4096)  # SO_SNDBUF: little can be sent ahead
            link = Link(sock)
            links[link.sock.stream] = link
            poll.register(link.sock.stream, select.POLLIN)
            continue
        try:
            links[stream].ready(events)
        except OSError as e:
            finish(links[stream])
            print("gone", e)
"""


NAMES = """
import json, sys
from port.core.auth.certificate import names

with open(sys.argv[1], "rb") as file:
    data = file.read()
for size in range(len(data)):
    names(data[:size])  # damaged ones raise nothing
print(json.dumps([names(data), names(b""), names(b"0\\0")]))
"""


class Server:
    """The small server; as context manager it ends with the block."""

    def __init__(self, interpreter, script, settings):
        self.port = free_port()
        command = [interpreter, script, str(self.port), json.dumps(settings)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment())
        self.said = self.line()

    def line(self):
        """The next line that it prints."""
        return self._process.stdout.readline().rstrip("\n")

    def files(self):
        """How many files and sockets it has open."""
        return len(os.listdir("/proc/%d/fd" % self._process.pid))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture(params=INTERPRETERS)
def serve(request, tool, tmp_path):
    """Start a server with TLS settings: serve(settings)."""
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    started = []

    def start(settings):
        started.append(Server(tool(request.param), str(script), settings))
        return started[-1]

    yield start
    for server in started:
        server.__exit__()


@pytest.fixture(params=INTERPRETERS)
def read_names(request, tool, tmp_path):
    """What the module reads in a DER certificate, and in two that are none."""
    path = tmp_path / "certificate.der"

    def read(data):
        path.write_bytes(data)
        command = [tool(request.param), "-c", NAMES, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=TIMEOUT)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    return read


def settings(folder, **more):
    return {"certificate": folder.server, "key": folder.key, **more}


class Client:
    """A blocking client."""

    def __init__(self, server, folder, client=None, version=None, receive_buffer=None):
        context = ssl.create_default_context(cafile=folder.ca)
        if version is not None:
            context.maximum_version = version
        if client is not None:
            context.load_cert_chain(*client)
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(TIMEOUT)
        sock.connect(("127.0.0.1", server.port))
        self.sock = sock
        self.tls = context.wrap_socket(sock, server_hostname="localhost")

    def ask(self, line):
        """Send a line, receive one."""
        self.tls.sendall(line.encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            answer += self.receive(1)
        return answer.decode()[:-1]

    def receive(self, count):
        data = bytearray()
        while len(data) < count:
            more = self.tls.recv(count - len(data))
            if not more:
                raise EOFError
            data += more
        return bytes(data)


REFUSED = (OSError, EOFError)


# -- the connection ------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("key", ["ec", "rsa"])
@pytest.mark.parametrize("form", ["PEM", "DER"])
def test_every_kind_of_certificate(serve, certificates, form, key, version):
    folder = certificates(key=key)
    der = {"certificate": folder.server_der, "key": folder.key_der}
    server = serve(settings(folder) if form == "PEM" else der)
    client = Client(server, folder, version=version)
    assert client.ask("name") == "null"
    with pytest.raises(ssl.SSLCertVerificationError):
        Client(server, certificates("others"), version=version)


def test_a_record_larger_than_the_buffer(serve, certificates):
    """What mbedtls has decrypted but nobody has read yet wakes the poller though nothing comes from the network."""
    folder = certificates()
    client = Client(serve(settings(folder)), folder)
    text = "x" * 5000
    client.tls.sendall(b"echo %s\n" % text.encode())
    assert client.receive(5000) == text.encode()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_that_is_slow_to_read(serve, certificates, version):
    """Every byte arrives once, though records are refused by the socket and more has been offered by then."""
    folder = certificates()
    server = serve(settings(folder))
    client = Client(server, folder, version=version, receive_buffer=4096)
    count = 1_000_000
    client.tls.sendall(b"send %d\n" % count)
    assert server.line() == "waits"
    received = bytearray()
    while len(received) < count:
        received += client.receive(min(4000, count - len(received)))
        time.sleep(0.001)  # it fills the buffers again and has to wait again
    pattern = bytes(range(251))
    assert received == (pattern * (count // 251 + 1))[:count]
    assert client.ask("name") == "null"


def test_a_handshake_byte_by_byte(serve, certificates):
    folder = certificates()
    server = serve(settings(folder))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context(cafile=folder.ca).wrap_bio(incoming, outgoing, server_hostname="localhost")
    other = Client(server, folder)
    with socket.create_connection(("127.0.0.1", server.port), TIMEOUT) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in outgoing.read():
                    sock.sendall(bytes((byte,)))
                assert other.ask("echo hello\necho \nname") == "hellonull"  # nobody else waits for it
                incoming.write(sock.recv(65536))


def test_failed_handshakes_leave_nothing_open(serve, certificates):
    folder = certificates()
    server = serve(settings(folder))
    Client(server, folder).ask("name")
    assert server.line().startswith("gone")
    before = server.files()
    for data in (b"", b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00", b"\x16\x03\x01\x00\x05", b"\x16\x03\x01\x40\x01" + b"x" * 20000):
        with socket.create_connection(("127.0.0.1", server.port), TIMEOUT) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            try:
                while sock.recv(1000):
                    pass
            except ConnectionResetError:
                pass
        assert server.line() == "gone end" if not data else server.line().startswith("gone")
    for _ in range(5):
        with pytest.raises(ssl.SSLCertVerificationError):
            Client(server, certificates("others"))
        assert server.line().startswith("gone")
    # One more, which shows that the server goes on and that the last one is closed by now.
    client = Client(server, folder)
    client.ask("name")
    assert server.files() == before + 1


@pytest.mark.parametrize("polite", [True, False])
def test_the_client_closes(serve, certificates, polite):
    folder = certificates()
    server = serve(settings(folder))
    client = Client(server, folder)
    client.ask("name")
    if polite:  # with a word in TLS; the answer is the end of the connection, which not every OpenSSL takes for an error
        with contextlib.suppress(*REFUSED):
            client.tls.unwrap()
    else:
        client.tls.close()
    assert server.line() == "gone end"


def knows(answer):
    """The answer to `name`."""
    found = json.loads(answer)
    found["der"] = bytes.fromhex(found["der"])
    return found


# -- client certificates -------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_client_certificates(serve, certificates, version):
    ours, others = certificates(), certificates("others")
    server = serve(settings(ours, client_ca=ours.ca))
    for name in ("alice", "bob", "alice"):
        client = Client(server, ours, ours.client(name), version)
        assert knows(client.ask("name")) == ours.says(name)
        client.tls.close()
    for certificate in (None, others.client("alice"), (ours.server, ours.key)):
        with pytest.raises(REFUSED):
            Client(server, ours, certificate, version).ask("name")


def test_two_handshakes_at_a_time_are_not_mixed_up(serve, certificates):
    folder = certificates()
    server = serve(settings(folder, client_ca=folder.ca))
    clients = []
    for name in ("alice", "bob"):
        context = ssl.create_default_context(cafile=folder.ca)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(*folder.client(name))
        bios = ssl.MemoryBIO(), ssl.MemoryBIO()
        sock = socket.create_connection(("127.0.0.1", server.port), TIMEOUT)
        clients.append((context.wrap_bio(*bios, server_hostname="localhost"), *bios, sock, name))
    done = 0
    while done < 2:  # one flight of each in turn
        done = 0
        for client, incoming, outgoing, sock, _ in clients:
            try:
                client.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                pass
            sock.sendall(outgoing.read())
            if client.version() is None or incoming.pending == 0 and done < 2:
                sock.settimeout(0.2)
                try:
                    incoming.write(sock.recv(65536))
                except TimeoutError:
                    pass
    for client, incoming, outgoing, sock, name in clients:
        sock.settimeout(TIMEOUT)
        client.write(b"name\n")
        sock.sendall(outgoing.read())
        incoming.write(sock.recv(65536))
        assert knows(client.read(4000)) == folder.says(name)
        sock.close()


def test_names_in_a_certificate(read_names, certificates, tmp_path):
    """The same names that OpenSSL reads."""
    path = tmp_path / "names.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "key", "-out", path, "-utf8",
         "-subj", "/C=DE/O=\u00e4/CN=g\u00fcnther/CN=second/OU=x", "-addext",
         "subjectAltName=email:a@example.org,URI:urn:x,DNS:host.example,IP:192.0.2.1,IP:2001:db8::ff"],
        check=True, capture_output=True,
    )  # fmt: skip
    nothing: dict[str, object] = {"cn": None, "san": []}
    assert read_names(ssl.PEM_cert_to_DER_cert(path.read_text())) == [
        {"cn": "g\u00fcnther", "san": ["a@example.org", "urn:x", "host.example", "192.0.2.1", "2001:DB8:0:0:0:0:0:FF"]},
        nothing,
        nothing,
    ]
    server = open(certificates().server_der, "rb").read()
    assert read_names(server)[0] == {"cn": "localhost", "san": ["localhost", "127.0.0.1", "0:0:0:0:0:0:0:1"]}


# -- what is refused -----------------------------------------------------------------------------


def test_wrong_settings(serve, certificates):
    good = settings(certificates())
    for values, named in (
        ({"key": good["key"]}, "certificate is missing"),
        ({"certificate": good["certificate"]}, "key is missing"),
        ({**good, "certficate": "x"}, "certficate"),
        ({**good, "key": 1}, "key"),
        ({**good, "key_password_file": "x"}, "key_password_file is for CPython only"),
        ({"psk_file": "x"}, "psk_file is for CPython only"),
        ({**good, "chain": "x"}, "chain is for CPython only"),
        ({**good, "require_client_certificate": True}, "require_client_certificate"),
        ({**good, "client_ca": good["certificate"], "require_client_certificate": False}, "require_client_certificate"),
    ):
        said = serve(values).said
        assert said.startswith("refused ") and named in said, said


def test_files_that_cannot_be_used(serve, certificates, tmp_path):
    folder = certificates()
    text, encrypted, old, damaged = tmp_path / "text", tmp_path / "encrypted", tmp_path / "old", tmp_path / "damaged"
    text.write_text("hello")
    damaged.write_bytes(open(folder.server_der, "rb").read()[:-100])
    subprocess.run(["openssl", "pkcs8", "-topk8", "-in", folder.key, "-out", encrypted, "-passout", "pass:x"], check=True)
    subprocess.run(["openssl", "ec", "-aes128", "-in", folder.key, "-out", old, "-passout", "pass:x"], check=True)
    for name, path, reason in (
        ("certificate", tmp_path / "nowhere", "cannot be read"),
        ("certificate", text, "holds no certificate"),
        ("certificate", folder.key, "holds no certificate"),
        ("certificate", damaged, "damaged"),
        ("certificate", folder.key_der, "damaged"),
        ("key", text, "holds no private key"),
        ("key", folder.server, "holds no private key"),
        ("key", folder.server_der, "damaged"),
        ("key", encrypted, "is encrypted"),
        ("key", old, "is encrypted"),
        ("client_ca", text, "holds no certificate"),
        ("client_ca", damaged, "damaged"),
    ):
        said = serve({**settings(folder, client_ca=folder.ca), name: str(path)}).said
        assert said.startswith("refused %s %s: " % (name, path)) and reason in said, said
