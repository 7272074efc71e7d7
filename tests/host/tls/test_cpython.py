"""TLS on CPython: what a context made from settings lets in, what it says of a client, what it refuses to load."""

import asyncio
import ssl
import subprocess
from types import SimpleNamespace

import pytest
import uvloop

from certificates import Chain, certificates  # noqa: F401
from port.cpython.net.tls import peer_certificate, server_context


def settings(folder, **more):
    return {"certificate": folder.server, "key": folder.key, **more}


def client_context(folder, client=None, version=None, **options):
    context = ssl.create_default_context(cafile=folder.ca)
    if client is not None:
        context.load_cert_chain(*client)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    for name, value in options.items():
        setattr(context, name, value)
    return context


class Echo(asyncio.Protocol):
    """Answers with what it was sent; remembers whom it met."""

    met: list

    def connection_made(self, transport):
        self.transport = transport
        self.met.append(peer_certificate(transport))

    def data_received(self, data):
        self.transport.write(data)


class Visit:
    """One connection to an echo server with this context."""

    def __init__(self, context, client):
        self.context = context
        self.client = client
        self.met = []

    async def __aenter__(self):
        self.server = await asyncio.get_running_loop().create_server(
            lambda: type("_", (Echo,), {"met": self.met})(), "127.0.0.1", 0, ssl=self.context
        )
        port = self.server.sockets[0].getsockname()[1]
        try:
            self.reader, self.writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=self.client, server_hostname="localhost"
            )
        except BaseException:
            self.server.close()
            raise
        return self

    async def __aexit__(self, *_):
        self.writer.transport.abort()
        self.server.close()

    async def echo(self):
        """What comes back; in TLS 1.3 a client learns only now that it was refused."""
        self.writer.write(b"hello")
        return await self.reader.readexactly(5)

    def version(self):
        return self.writer.get_extra_info("ssl_object").version()


async def _met(context, client):
    async with Visit(context, client) as visit:
        assert await visit.echo() == b"hello"
        return visit.met[0]


@pytest.fixture(params=["asyncio", "uvloop"])
def met(request):
    """Visit a server: met(context, client) -> what it says of the client; OSError or EOFError when it does not answer."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    def run(context, client):
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.get_loop().set_exception_handler(lambda *_: None)  # failed handshakes are what is tested
            return runner.run(_met(context, client))

    return run


@pytest.fixture
def refused():
    """The text of the ValueError for these settings."""

    def text(values):
        with pytest.raises(ValueError) as caught:
            server_context(values)
        return str(caught.value)

    return text


REFUSED = (OSError, EOFError)


# -- who gets in ---------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["ec", "rsa"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_that_knows_the_authority(met, certificates, key, version):
    folder = certificates(key=key)
    assert met(server_context(settings(folder)), client_context(folder, version=version)) is None
    with pytest.raises(ssl.SSLCertVerificationError):
        met(server_context(settings(folder)), client_context(certificates("others")))


def test_minimum_version(met, certificates):
    folder = certificates()
    old = client_context(folder, version=ssl.TLSVersion.TLSv1_2)
    with pytest.raises(REFUSED):
        met(server_context(settings(folder, minimum_version="1.3")), old)
    ancient = client_context(folder)
    with pytest.warns(DeprecationWarning):
        ancient.minimum_version = ancient.maximum_version = ssl.TLSVersion.TLSv1_1
    ancient.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(REFUSED):
        met(server_context(settings(folder)), ancient)


def test_ciphers(met, certificates):
    folder = certificates()
    context = server_context(settings(folder, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256"))
    client = client_context(folder, version=ssl.TLSVersion.TLSv1_2)
    assert met(context, client) is None
    client.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    with pytest.raises(REFUSED):
        met(context, client)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_client_certificates(met, certificates, version):
    ours, others = certificates(), certificates("others")
    required = server_context(settings(ours, client_ca=ours.ca))
    optional = server_context(settings(ours, client_ca=ours.ca, require_client_certificate=False))
    alice = client_context(ours, ours.client("alice"), version)
    nobody = client_context(ours, None, version)
    stranger = client_context(ours, others.client("alice"), version)
    server = client_context(ours, (ours.server, ours.key), version)  # good, but for servers
    assert met(required, alice) == met(optional, alice) == ours.says("alice")
    assert met(optional, nobody) is None
    for context, client in ((required, nobody), (required, stranger), (optional, stranger), (required, server)):
        with pytest.raises(REFUSED):
            met(context, client)
    # Where no certificate is asked for, one that is there says nothing.
    assert met(server_context(settings(ours)), alice) is None


def test_ciphers_of_tls_1_2(certificates):
    """By themselves none without forward secrecy, none with CBC, whatever this Python's default is."""
    names = [cipher["name"] for cipher in server_context(settings(certificates())).get_ciphers() if cipher["protocol"] != "TLSv1.3"]
    assert names
    for name in names:
        assert name.startswith("ECDHE-") and ("-GCM-" in name or name.endswith("-CHACHA20-POLY1305")), name


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_revoked_certificates(met, certificates, version, tmp_path):
    ours, others = certificates(), certificates("others")
    path = tmp_path / "crl.pem"
    alice, bob = (client_context(ours, ours.client(name), version) for name in ("alice", "bob"))

    def context(*lists, **more):
        path.write_bytes(b"".join(lists))
        return server_context(settings(ours, client_ca=ours.ca, crl=str(path), **more))

    for lists in ([ours.revocations("alice")], [others.revocations("bob"), ours.revocations("alice")]):
        for more in ({}, {"require_client_certificate": False}):
            with pytest.raises(REFUSED):
                met(context(*lists, **more), alice)
            assert met(context(*lists, **more), bob) == ours.says("bob")
    assert met(context(ours.revocations()), alice) == ours.says("alice")
    # Whether a certificate is revoked has to be known.
    for lists in ([others.revocations()], [ours.revocations(days=-1)]):
        with pytest.raises(REFUSED):
            met(context(*lists), alice)


def test_a_connection_outlives_its_context(certificates):
    """What a reload does: another context for those to come, and nothing happens to those that are there."""
    ours, others = certificates(), certificates("others")

    async def run():
        async with Visit(server_context(settings(ours)), client_context(ours)) as before:
            async with Visit(server_context(settings(others)), client_context(others)) as after:
                assert await before.echo() == await after.echo() == b"hello"

    asyncio.run(run())


def test_neither_compression_nor_renegotiation(certificates):
    context = server_context(settings(certificates()))
    assert context.options & ssl.OP_NO_COMPRESSION and context.options & ssl.OP_NO_RENEGOTIATION


# -- what a certificate says ---------------------------------------------------------------------


class Transport(asyncio.BaseTransport):
    """Tells what Python's ssl module would, see SSLSocket.getpeercert."""

    def __init__(self, found):
        super().__init__({"ssl_object": SimpleNamespace(getpeercert=lambda der=False: b"der" if der else found)})


def test_names_in_a_certificate():
    found = {
        "subject": ((("countryName", "DE"),), (("commonName", "first"), ("userId", "x")), (("commonName", "second"),)),
        "subjectAltName": (
            ("DirName", ((("commonName", "no"),),)), ("email", "a@example.org"), ("URI", "urn:x"), ("DNS", "host"),
            ("IP Address", "192.0.2.1"), ("othername", "<unsupported>"),
        ),
    }  # fmt: skip
    expected = {"cn": "first", "san": ["a@example.org", "urn:x", "host", "192.0.2.1"], "der": b"der"}
    assert peer_certificate(Transport(found)) == expected
    assert peer_certificate(Transport({"subject": ()})) == {"cn": None, "san": [], "der": b"der"}
    assert peer_certificate(Transport({})) is None  # not verified
    assert peer_certificate(Transport(None)) is None
    assert peer_certificate(asyncio.BaseTransport()) is None


# -- what the server shows ------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_chain_is_completed(met, certificates, tmp_path, version):
    """A client knows the authority alone: without those between it cannot tell whether the certificate is good."""
    made = Chain(tmp_path)
    plain = {"certificate": made.server, "key": made.key}
    others = certificates("others")
    client = ssl.create_default_context(cafile=made.root)
    client.minimum_version = client.maximum_version = version
    with pytest.raises(ssl.SSLCertVerificationError):
        met(server_context(plain), client)
    for values in (
        {**plain, "chain": made.all},
        {**plain, "certificate": made.half, "chain": made.all},
        {**plain, "client_ca": made.all, "require_client_certificate": False},
        {**plain, "chain": made.all, "client_ca": others.ca, "require_client_certificate": False},
    ):
        assert met(server_context(values), client) is None
    # Who issued the server's certificate need not be believed about clients.
    client.load_cert_chain(made.client)
    with pytest.raises(REFUSED):
        met(server_context({**plain, "chain": made.all, "client_ca": others.ca}), client)
    assert met(server_context({**plain, "client_ca": made.all}), client)["cn"] == "client"


def test_a_key_with_a_password(met, refused, certificates, tmp_path):
    ours = certificates()
    file = tmp_path / "password"
    for form in (("pkcs8", "-topk8"), ("ec", "-aes128")):
        key = str(tmp_path / form[0])
        subprocess.run(["openssl", *form, "-in", ours.key, "-out", key, "-passout", "pass:s3cret"], check=True)
        file.write_text("s3cret\nmore\n")
        values = {**settings(ours), "key": key, "key_password_file": str(file)}
        assert met(server_context(values), client_context(ours)) is None
        file.write_text("wrong")
        said = refused(values)
        assert said == "key_password_file %s: is not the password of key %s" % (file, key)
        assert refused({**settings(ours), "key": key}) == "key %s: is encrypted, and key_password_file is missing" % key
        for text in ("", "\ns3cret", "x" * 1025):
            file.write_text(text)
            assert refused(values) == "key_password_file %s: the first line must have from 1 to 1024 bytes" % file
        file.write_bytes(b"\xff")
        assert refused(values) == "key_password_file is not text in UTF-8"
        assert "No such file" in refused({**values, "key_password_file": str(tmp_path / "nowhere")})


# -- what is refused -----------------------------------------------------------------------------


def test_wrong_settings(refused, certificates):
    good = settings(certificates())
    assert "certificate is missing" in refused({"key": good["key"]})
    assert "key is missing" in refused({"certificate": good["certificate"]})
    assert "certficate" in refused({**good, "certficate": "x"})
    for name, value in (("certificate", 1), ("client_ca", True), ("require_client_certificate", "yes"), ("minimum_version", 1.3)):
        assert name in refused({**good, name: value})
    assert "minimum_version" in refused({**good, "minimum_version": "1.1"})
    assert "client_ca" in refused({**good, "require_client_certificate": True})
    assert refused({**good, "crl": good["certificate"]}) == "crl needs client_ca"
    assert "no-such-cipher" in refused({**good, "ciphers": "no-such-cipher"})


def test_files_that_cannot_be_used(refused, certificates, tmp_path):
    ours, others = certificates(), certificates("others")
    damaged = tmp_path / "damaged.pem"
    damaged_key = tmp_path / "damaged.key"
    text = tmp_path / "text"
    encrypted = tmp_path / "encrypted.key"
    lines = open(ours.server).read().splitlines()
    damaged.write_text("\n".join([lines[0], lines[1][:-9] + "AAAAAAAA=", *lines[2:]]))
    lines = open(ours.key).read().splitlines()
    damaged_key.write_text("\n".join([lines[0], "A" + lines[1][1:], *lines[2:]]))
    text.write_text("hello")
    subprocess.run(["openssl", "pkcs8", "-topk8", "-in", ours.key, "-out", encrypted, "-passout", "pass:x"], check=True)
    nowhere = str(tmp_path / "nowhere")
    damaged_list = tmp_path / "crl.pem"
    lines = ours.revocations().decode().splitlines()
    damaged_list.write_text("\n".join([lines[0], "A" + lines[1][1:], *lines[2:]]))
    for name, path, reason in (
        ("certificate", nowhere, "No such file"),
        ("certificate", str(tmp_path), "Is a directory"),
        ("certificate", str(text), "no certificate in PEM"),
        ("certificate", ours.server_der, "no certificate in PEM"),
        ("certificate", str(damaged), "damaged"),
        ("key", nowhere, "No such file"),
        ("key", str(text), "no private key in PEM"),
        ("key", ours.key_der, "no private key in PEM"),
        ("key", str(damaged_key), "damaged"),
        ("key", str(encrypted), "encrypted"),
        ("key", others.key, "does not belong"),
        ("key", certificates(key="rsa").key, "does not belong"),
        ("client_ca", nowhere, "No such file"),
        ("client_ca", str(text), "no certificate in PEM"),
        ("client_ca", str(damaged), "damaged"),
        ("chain", nowhere, "No such file"),
        ("chain", str(text), "no certificate in PEM"),
        ("chain", str(damaged), "damaged"),
        ("chain", others.ca, "has no issuer of certificate %s" % ours.server),
        ("crl", nowhere, "No such file"),
        ("crl", str(text), "no x509 crl in PEM"),
        ("crl", ours.ca, "no x509 crl in PEM"),
        ("crl", str(damaged_list), "damaged"),
    ):
        said = refused({**settings(ours, client_ca=ours.ca), name: path})
        assert said.startswith("%s %s: " % (name, path)) and reason in said, said


def test_a_client_authority_that_is_none(refused, certificates):
    ours = certificates()
    said = refused(settings(ours, client_ca=ours.server))
    assert said.startswith("client_ca " + ours.server)


def test_a_weak_key_is_told_from_a_wrong_one(refused, tmp_path):
    certificate, key = tmp_path / "weak.pem", tmp_path / "weak.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:512", "-nodes", "-keyout", key, "-out", certificate,
                    "-subj", "/CN=localhost"], check=True, capture_output=True)  # fmt: skip
    said = refused({"certificate": str(certificate), "key": str(key)})
    assert said.startswith("certificate %s: " % certificate) and "small" in said
