"""A private certificate authority in a folder, and the certificates that it issues, for `ucomqtt cert`.

Needs the library cryptography (extra `cert`), 38 or newer. Raises CertError that names the file or argument at fault.
"""

from __future__ import annotations

import argparse
import datetime
import ipaddress
import os
import re
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from port.cpython.cli.cert import CA_DAYS, HOSTS

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

RSA_BITS = 2048
NAME_MOST = 64  # characters of a common name
SKEW = datetime.timedelta(days=1)  # clocks of devices may be wrong

_DNS = re.compile(r"(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_CLIENT = re.compile(r"[^/\0\\.][^/\0\\]*")


class CertError(Exception):
    """An error; its text names the file or argument at fault."""


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, certificate: x509.Certificate, key: Key) -> None:
        self.certificate = certificate
        self.key = key

    @classmethod
    def create(cls, folder: Path, kind: str) -> Authority:
        """Make a new authority and save it."""
        key = new_key(kind)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ucomqtt private CA " + os.urandom(4).hex())])
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - SKEW)
            .not_valid_after(now + datetime.timedelta(days=CA_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        made = cls(builder.sign(key, hashes.SHA256()), key)
        write(folder / "ca.key", key_pem(key), 0o600)
        write(folder / "ca.pem", pem(made.certificate))
        return made

    @classmethod
    def load(cls, folder: Path) -> Authority:
        """The authority saved in the folder. Raises CertError."""
        try:
            certificate = x509.load_pem_x509_certificate(read(folder / "ca.pem"))
        except ValueError:
            raise CertError(f"{folder / 'ca.pem'} is no PEM certificate; --force makes a new authority") from None
        try:
            key = serialization.load_pem_private_key(read(folder / "ca.key"), None)
        except (ValueError, TypeError):
            raise CertError(f"{folder / 'ca.key'} is no PEM key without password; --force makes a new authority") from None
        if not isinstance(key, Key) or key.public_key() != certificate.public_key():
            raise CertError(f"{folder / 'ca.key'} does not belong to ca.pem; --force makes a new authority")
        if end_of(certificate) <= datetime.datetime.now(datetime.timezone.utc):
            raise CertError(f"{folder / 'ca.pem'} has expired; --force makes a new authority")
        return cls(certificate, key)

    def issue(
        self, name: str, alternatives: list[x509.GeneralName], purpose: x509.ObjectIdentifier, key: Key, days: int
    ) -> x509.Certificate:
        """A certificate signed by this authority, valid no longer than the authority's."""
        now = datetime.datetime.now(datetime.timezone.utc)
        end = min(now + datetime.timedelta(days=days), end_of(self.certificate))
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - SKEW)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage(enciphers_keys=isinstance(key, rsa.RSAPrivateKey)), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        return builder.sign(self.key, hashes.SHA256())


def end_of(certificate: x509.Certificate) -> datetime.datetime:
    """The time of expiry. cryptography before 42 has no `_utc`."""
    if hasattr(certificate, "not_valid_after_utc"):
        return certificate.not_valid_after_utc
    return certificate.not_valid_after.replace(tzinfo=datetime.timezone.utc)


def usage(signs_certificates: bool = False, enciphers_keys: bool = False) -> x509.KeyUsage:
    """The permitted uses of a key."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates, key_encipherment=enciphers_keys, key_cert_sign=signs_certificates,
        crl_sign=signs_certificates, content_commitment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def new_key(kind: str) -> Key:
    """A private key; boards are fastest with P-256."""
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    return ec.generate_private_key(ec.SECP256R1())


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: Key) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def key_der(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertError(f"cannot read {path}: {error.strerror}; --force makes a new authority") from None


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write all of a file or nothing, with access rights `mode` from the beginning."""
    new = path.with_name(path.name + ".new")
    try:
        new.unlink(missing_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
        new.replace(path)
    except OSError as error:
        raise CertError(f"cannot write {path}: {error.strerror}") from None


def host(text: str) -> x509.GeneralName:
    """A host as an alternative name of a certificate. Raises CertError unless it is a name or an address."""
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    # A name whose last part is a number is a mistyped address.
    if len(text) > 253 or not _DNS.fullmatch(text) or text.rpartition(".")[2].isdigit():
        raise CertError(f"--host {text!r} is neither a host name in ASCII nor an IP address")
    return x509.DNSName(text.lower())


def client(text: str) -> str:
    """A client's name, checked for use in a file name. Raises CertError."""
    if len(text) > NAME_MOST or not _CLIENT.fullmatch(text) or not text.isprintable():
        raise CertError(f"--client {text!r} must have 1 to {NAME_MOST} characters, no slash and no dot at the front")
    return text


def make(options: argparse.Namespace) -> list[str]:
    """Make the certificates of the command line; returns the lines to print."""
    names = options.host or HOSTS
    hosts = [host(text) for text in names]
    clients = [client(text) for text in options.client]
    folder: Path = options.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CertError(f"cannot make the folder {folder}: {error.strerror}") from None
    report = []
    if options.force or not ((folder / "ca.pem").exists() or (folder / "ca.key").exists()):
        authority = Authority.create(folder, options.key)
        report.append("ca.pem, ca.key: a new authority")
        fresh = True
    else:
        authority = Authority.load(folder)
        report.append("ca.pem, ca.key: used again")
        fresh = False
    if fresh or options.host or not (folder / "server.pem").exists():
        key = new_key(options.key)
        certificate = authority.issue(str(names[0])[:NAME_MOST], hosts, ExtendedKeyUsageOID.SERVER_AUTH, key, options.days)
        write(folder / "server.key", key_pem(key), 0o600)
        write(folder / "server.key.der", key_der(key), 0o600)
        write(folder / "server.pem", pem(certificate))
        write(folder / "server.der", certificate.public_bytes(serialization.Encoding.DER))
        report.append("server.pem, server.key (MicroPython: server.der, server.key.der): for " + ", ".join(names))
    for name in clients:
        key = new_key(options.key)
        certificate = authority.issue(name, [], ExtendedKeyUsageOID.CLIENT_AUTH, key, options.days)
        write(folder / f"client-{name}.key", key_pem(key), 0o600)
        write(folder / f"client-{name}.pem", pem(certificate))
        report.append(f"client-{name}.pem, client-{name}.key: for the client {name}")
    return report
