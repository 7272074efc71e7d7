"""Certificates for tests, made by tools/cert once for each kind of key and each authority.

    from certificates import certificates

    def test_it(certificates):
        ours, others = certificates(), certificates("others")
"""

import datetime
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from toolchain import ROOT

CLIENTS = ("alice", "bob")


class Folder:
    """What tools/cert made: `ca`, `server`, `key` and their DER forms as text, `client(name)`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ca = str(path / "ca.pem")
        self.server = str(path / "server.pem")
        self.key = str(path / "server.key")
        self.server_der = str(path / "server.der")
        self.key_der = str(path / "server.key.der")

    def revocations(self, *names: str, days: int = 30) -> bytes:
        """A revocation list in PEM that names these clients' certificates and is to be followed after so many days."""
        authority = x509.load_pem_x509_certificate(Path(self.ca).read_bytes())
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(authority.subject)
            .last_update(now - datetime.timedelta(days=60))
            .next_update(now + datetime.timedelta(days=days))
        )
        for name in names:
            serial = x509.load_pem_x509_certificate(Path(self.client(name)[0]).read_bytes()).serial_number
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
            )
        return builder.sign(self._key(), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def expired(self, name: str) -> tuple[str, str]:
        """Certificate and key of a client, as `client` has them but of times gone by."""
        return self._other(name, "expired", -30)

    def called(self, name: str, subject: x509.Name) -> tuple[str, str]:
        """Certificate and key of a client, as `client` has them but with another subject."""
        return self._other(name, "called", 30, subject)

    def says(self, name: str) -> dict[str, object]:
        """What a broker knows of a client by its certificate, see Transport.certificate."""
        return {"cn": name, "san": [], "der": ssl.PEM_cert_to_DER_cert(Path(self.client(name)[0]).read_text())}

    def _other(self, name: str, kind: str, days: int, subject: x509.Name | None = None) -> tuple[str, str]:
        """Another certificate for a client's key, good until so many days from now."""
        certificate, key = self.client(name)
        found = x509.load_pem_x509_certificate(Path(certificate).read_bytes())
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject or found.subject)
            .issuer_name(found.issuer)
            .public_key(found.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=60))
            .not_valid_after(now + datetime.timedelta(days=days))
        )
        for extension in found.extensions:
            builder = builder.add_extension(extension.value, extension.critical)
        path = self.path / f"{kind}-{name}.pem"
        path.write_bytes(builder.sign(self._key(), hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return str(path), key

    def _key(self):
        return serialization.load_pem_private_key((self.path / "ca.key").read_bytes(), None)

    def client(self, name: str) -> tuple[str, str]:
        """Certificate and key of a client."""
        return str(self.path / f"client-{name}.pem"), str(self.path / f"client-{name}.key")


class Chain:
    """Files of an authority, two others between it and a server and a client, and the certificates of these.

    root     the authority
    all      the three
    server   its certificate alone; key: its key
    half     its certificate and the lowest authority's
    client   certificate and key of a client
    """

    root: str
    all: str
    server: str
    half: str
    key: str
    client: str

    def __init__(self, path: Path) -> None:
        self._now = datetime.datetime.now(datetime.timezone.utc)
        top = self._make("top")
        middle = self._make("middle", top)
        lowest = self._make("lowest", middle)
        server = self._make("server", lowest, "localhost")
        client = self._make("client", lowest, "client")
        for name, parts in (
            ("root", top[:1]), ("all", (middle[0], top[0], lowest[0])), ("server", server[:1]), ("half", (server[0], lowest[0])),
            ("key", server[1:]), ("client", client),
        ):  # fmt: skip
            file = path / f"chain-{name}.pem"
            file.write_bytes(b"".join(_pem(part) for part in parts))
            setattr(self, name, str(file))

    def _make(self, name: str, issuer: Any = None, host: str = "") -> tuple[Any, Any]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer[0].subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - datetime.timedelta(days=1))
            .not_valid_after(self._now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(not host, None), True)
            .add_extension(_usage(not host), True)
            # Python 3.13 and newer look for these.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key((issuer[1] if issuer else key).public_key()), False)
        )
        if host:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), False)
        return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def _usage(signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, key_cert_sign=signs, crl_sign=signs, key_encipherment=False, content_commitment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _pem(part: Any) -> bytes:
    if isinstance(part, x509.Certificate):
        return part.public_bytes(serialization.Encoding.PEM)
    return part.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def cert(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run tools/cert."""
    command = [sys.executable, str(ROOT / "tools" / "cert"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


_made: dict[tuple[str, str], Folder] = {}


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """Return a function: the folder of an authority, which has its name only for us, and of a kind of key."""

    def get(authority: str = "ours", key: str = "ec") -> Folder:
        if (authority, key) not in _made:
            path = tmp_path_factory.mktemp("certificates")
            done = cert(path, "--client", *CLIENTS, "--key", key)
            assert done.returncode == 0, done.stderr
            _made[authority, key] = Folder(path)
        return _made[authority, key]

    return get
