"""tools/cert: what it makes holds good for OpenSSL, and it spares what is there."""

import ipaddress
import ssl
import stat
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certificates import cert


def certificate(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def extension(found, kind):
    return found.extensions.get_extension_for_class(kind)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module", params=["ec", "rsa"])
def made(request, tmp_path_factory):
    """A folder with everything in it."""
    folder = tmp_path_factory.mktemp("cert") / "new"
    done = cert(folder, "--host", "broker.local", "192.0.2.7", "2001:db8::7", "--client", "alice", "sensor 7",
                "--key", request.param, "--days", 30)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def test_openssl_believes_them_for_their_purpose_alone(made):
    def verify(purpose, name):
        command = ["openssl", "verify", "-x509_strict", "-CAfile", made / "ca.pem", "-purpose", purpose, made / name]
        return subprocess.run(command, capture_output=True).returncode == 0

    assert verify("sslserver", "server.pem") and not verify("sslclient", "server.pem")
    for name in ("client-alice.pem", "client-sensor 7.pem"):
        assert verify("sslclient", name) and not verify("sslserver", name)


def test_names_and_extensions(made):
    authority, server = certificate(made / "ca.pem"), certificate(made / "server.pem")
    names = extension(server, x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["broker.local"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("192.0.2.7"), ipaddress.ip_address("2001:db8::7")
    ]  # fmt: skip
    assert list(extension(server, x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    for found, is_authority in ((authority, True), (server, False)):
        constraints = extension(found, x509.BasicConstraints)
        assert constraints.critical and constraints.value.ca is is_authority
        usage = extension(found, x509.KeyUsage)
        assert usage.critical and usage.value.key_cert_sign is is_authority
        assert usage.value.digital_signature is not is_authority
    client = certificate(made / "client-sensor 7.pem")
    assert client.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "sensor 7"
    lasts = server.not_valid_after_utc - server.not_valid_before_utc
    assert 30 <= lasts.days <= 31


def test_keys_are_for_the_owner_alone_and_belong_to_their_certificates(made):
    keys = [path for path in made.iterdir() if ".key" in path.name]
    assert len(keys) == 5
    for path in keys:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for name in ("server", "client-alice", "client-sensor 7"):
        context.load_cert_chain(made / f"{name}.pem", made / f"{name}.key")


def test_der_files_hold_the_same(made):
    server = x509.load_der_x509_certificate((made / "server.der").read_bytes())
    key = serialization.load_der_private_key((made / "server.key.der").read_bytes(), None)
    assert server == certificate(made / "server.pem")
    assert key.public_key() == server.public_key()


def test_without_host_it_is_for_this_machine(tmp_path):
    assert cert(tmp_path).returncode == 0
    names = extension(certificate(tmp_path / "server.pem"), x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(value) for value in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]


def test_the_authority_is_used_again(tmp_path):
    cert(tmp_path, "--client", "alice")
    before = contents(tmp_path)
    done = cert(tmp_path, "--client", "bob")
    assert done.returncode == 0 and "used again" in done.stdout
    after = contents(tmp_path)
    assert set(after) - set(before) == {"client-bob.pem", "client-bob.key"}
    assert before.items() <= after.items()
    certificate(tmp_path / "client-bob.pem").verify_directly_issued_by(certificate(tmp_path / "ca.pem"))
    cert(tmp_path, "--host", "broker.local")  # a new server certificate, by the same authority
    assert contents(tmp_path)["ca.pem"] == before["ca.pem"]
    assert contents(tmp_path)["server.pem"] != before["server.pem"]


def test_force_makes_a_new_authority(tmp_path):
    cert(tmp_path)
    before = contents(tmp_path)
    assert cert(tmp_path, "--force").returncode == 0
    after = contents(tmp_path)
    assert all(after[name] != before[name] for name in before)
    certificate(tmp_path / "server.pem").verify_directly_issued_by(certificate(tmp_path / "ca.pem"))


@pytest.mark.parametrize(
    "name, content", [("ca.pem", None), ("ca.key", None), ("ca.pem", b"nonsense"), ("ca.key", b"nonsense")]
)
def test_a_spoilt_authority_is_not_replaced(tmp_path, name, content):
    cert(tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    before = contents(tmp_path)
    done = cert(tmp_path, "--client", "bob")
    assert done.returncode == 1 and name in done.stderr and "--force" in done.stderr
    assert "Traceback" not in done.stderr and contents(tmp_path) == before


def test_another_authoritys_key_is_found_out(tmp_path):
    cert(tmp_path / "one")
    cert(tmp_path / "two")
    (tmp_path / "one" / "ca.key").write_bytes((tmp_path / "two" / "ca.key").read_bytes())
    done = cert(tmp_path / "one", "--client", "bob")
    assert done.returncode == 1 and "does not belong" in done.stderr


@pytest.mark.parametrize(
    "arguments, named",
    [
        (("--host", "not a host"), "not a host"),
        (("--host", "300.0.0.1"), "300.0.0.1"),
        (("--host", "bücher.example"), "bücher.example"),
        (("--client", "../evil"), "../evil"),
        (("--client", ""), "--client"),
        (("--client", "x" * 65), "x" * 65),
        (("--days", "0"), "--days"),
        (("--days", "soon"), "soon"),
    ],
)
def test_wrong_arguments(tmp_path, arguments, named):
    done = cert(tmp_path / "new", *arguments)
    assert done.returncode != 0 and named in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    done = cert(tmp_path / "file")
    assert done.returncode == 1 and str(tmp_path / "file") in done.stderr and "Traceback" not in done.stderr


def test_it_prints_a_command_for_the_files(made):
    done = cert(made, "--client", "alice")
    command = done.stdout.strip().splitlines()[-1]
    assert "mosquitto_pub" in command and str(made / "ca.pem") in command and str(made / "client-alice.pem") in command
