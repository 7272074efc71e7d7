"""TLS for listeners on CPython: a context from settings, and what a client's certificate says.

To change a certificate while the broker runs, make another context for the handshakes to come.
Connections keep the one they began with; a context in use is never altered.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import tempfile
from pathlib import Path
from typing import Any

from port.core.checks import check_settings
from port.core.auth.certificate import parts
from port.cpython.auth.settings import secret
from port.cpython.net import tls_psk

_SETTINGS = {
    "certificate": str,
    "key": str,
    "key_password_file": str,
    "chain": str,
    "client_ca": str,
    "require_client_certificate": bool,
    "crl": str,
    "minimum_version": str,
    "ciphers": str,
    "psk_file": str,
    "psk_hint": str,
}
_WITH_KEYS = ("psk_file", "psk_hint", "minimum_version", "ciphers")  # what there is where keys are in place of certificates
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
# Of TLS 1.2, whatever Python's default is: who gets the server's key later cannot read what was recorded before (no RSA key
# exchange), and nothing depends on the order of MAC and padding (no CBC).
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_MAX_PASSWORD = 1024  # bytes, OpenSSL's own limit
_BLOCK = re.compile("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_NAMES = ("DNS", "email", "URI", "IP Address")  # kinds of alternative names that are text


def server_context(settings: dict[str, Any]) -> ssl.SSLContext:
    """The context of a listener.

    certificate                 PEM file with the server's certificate and those between it and the authority's
    key                         PEM file with its private key
    key_password_file           file whose first line is the password of the key (default: it has none)
    chain                       PEM file of an authority, or with many: those between it and the server's certificate are sent, too,
                                where `certificate` does not have them (default: what `client_ca` has of them)
    client_ca                   PEM file with the authorities whose client certificates are believed (default: none is asked for)
    require_client_certificate  whether a client without a certificate is turned away (default true with client_ca)
    crl                         PEM file with revocation lists: client certificates they name are turned away (needs client_ca)
    minimum_version             "1.2" or "1.3" (default "1.2")
    ciphers                     OpenSSL's cipher list for TLS 1.2 (default: ECDHE with AES-GCM or ChaCha20-Poly1305); those of
                                TLS 1.3 are always allowed
    psk_file                    in place of certificates: file of the keys that clients know, a line IDENTITY:KEY each, the key in
                                hexadecimal (Python 3.13 or newer; default cipher of TLS 1.2: ECDHE-PSK with ChaCha20-Poly1305);
                                an identity is no user name: Python's ssl does not say which connection it is of
    psk_hint                    what clients of TLS 1.2 are told to choose their identity by (default: nothing)

    A certificate that is presented must be good even where none is required. With `crl` there must be a list of whoever has
    issued it, and one that has not expired: else it is turned away, too. Authorities between it and client_ca are not looked
    up in the lists. Raises ValueError naming the setting or file and what is wrong with it.
    """
    with_keys = "psk_file" in settings
    check_settings(settings, _SETTINGS, () if with_keys else ("certificate", "key"))
    for name in settings:
        if with_keys and name not in _WITH_KEYS:
            raise ValueError("psk_file is in place of certificates, %s cannot be beside it" % name)
    if "psk_hint" in settings and not with_keys:
        raise ValueError("psk_hint needs psk_file")
    client_ca = settings.get("client_ca")
    required = settings.get("require_client_certificate", client_ca is not None)
    if required and client_ca is None:
        raise ValueError("require_client_certificate needs client_ca")
    if "crl" in settings and client_ca is None:
        raise ValueError("crl needs client_ca")
    version = settings.get("minimum_version", "1.2")
    if version not in _VERSIONS:
        raise ValueError("minimum_version must be 1.2 or 1.3, not %r" % version)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[version]
    # Compressed secrets can be guessed from lengths; renegotiation costs the server more than the client.
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    ciphers = settings.get("ciphers", tls_psk.CIPHERS if with_keys else _CIPHERS)
    try:
        context.set_ciphers(ciphers)
    except ssl.SSLError:
        raise ValueError("ciphers: OpenSSL knows none of %r" % ciphers) from None
    if with_keys:
        tls_psk.use(context, settings["psk_file"], settings.get("psk_hint"))
        return context
    _load_certificate(context, settings)
    if client_ca is not None:
        _check_pem("client_ca", client_ca, "CERTIFICATE")
        _load_authorities(context, "client_ca", client_ca)
        if not context.get_ca_certs():
            raise ValueError("client_ca %s: holds no certificate of an authority" % client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    if "crl" in settings:
        _check_pem("crl", settings["crl"], "X509 CRL")
        _load_authorities(context, "crl", settings["crl"])
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context


def _load_certificate(context: ssl.SSLContext, settings: dict[str, Any]) -> None:
    certificate: str = settings["certificate"]
    key: str = settings["key"]
    _check_pem("certificate", certificate, "CERTIFICATE")
    _check_pem("key", key, "PRIVATE KEY")
    password_file = settings.get("key_password_file")
    text = None if password_file is None else _password(password_file)
    asked = False

    def password() -> str:  # without this, OpenSSL would ask on the terminal
        nonlocal asked
        asked = True
        if text is None:
            raise ValueError("key %s: is encrypted, and key_password_file is missing" % key)
        return text

    try:
        if "chain" in settings:
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
                file.write(_completed(certificate, settings["chain"]))
                file.flush()
                context.load_cert_chain(file.name, key, password)
        else:
            context.load_cert_chain(certificate, key, password)
    except ssl.SSLError as e:
        reason = e.reason or ""
        # The last of these: a key of another kind.
        if reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
            raise ValueError("key %s: does not belong to certificate %s" % (key, certificate)) from None
        if "TOO_SMALL" in reason or "TOO_WEAK" in reason:
            raise ValueError("certificate %s: %s" % (certificate, words(e))) from None
        # OpenSSL does not say which file; whether the certificate is sound can be tried apart.
        _load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), "certificate", certificate)
        if asked:
            raise ValueError("key_password_file %s: is not the password of key %s" % (password_file, key)) from None
        raise ValueError("key %s: is damaged or of an unknown kind" % key) from None


def _password(path: str) -> str:
    """The first line of key_password_file."""
    try:
        found = secret({"key_password": "", "key_password_file": path}, "key_password")  # nosec B105 # that there is none
    except OSError as e:
        raise ValueError("key_password_file %s: %s" % (path, e.strerror)) from None
    if not 0 < len(found.encode()) <= _MAX_PASSWORD:
        raise ValueError("key_password_file %s: the first line must have from 1 to %d bytes" % (path, _MAX_PASSWORD))
    return found


def _completed(certificate: str, chain: str) -> str:
    """The certificates of the first file, and of the second one those between them and an authority's own, which clients have."""
    found = _blocks("certificate", certificate)
    others: dict[bytes, tuple[bytes, bytes]] = {}
    for block in _blocks("chain", chain):
        issuer, subject = _issuer_and_subject("chain", chain, block)
        others.setdefault(subject, (issuer, block))
    issuer, subject = _issuer_and_subject("certificate", certificate, found[-1])
    if issuer not in others:
        raise ValueError("chain %s: has no issuer of certificate %s" % (chain, certificate))
    while issuer in others:
        subject = issuer
        issuer, block = others.pop(subject)
        if issuer != subject:
            found.append(block)
    return "".join([ssl.DER_cert_to_PEM_cert(block) for block in found])


def _blocks(name: str, path: str) -> list[bytes]:
    """The certificates of a PEM file in DER."""
    _check_pem(name, path, "CERTIFICATE")
    _load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), name, path)  # which finds what is damaged
    return [ssl.PEM_cert_to_DER_cert(block) for block in _BLOCK.findall(Path(path).read_text("ascii", "replace"))]


def _issuer_and_subject(name: str, path: str, certificate: bytes) -> tuple[bytes, bytes]:
    try:
        _, _, issuer, _, subject, *_ = parts(certificate)
    except (IndexError, ValueError):
        raise ValueError("%s %s: is damaged" % (name, path)) from None
    return certificate[issuer[1] : issuer[2]], certificate[subject[1] : subject[2]]


def _load_authorities(context: ssl.SSLContext, name: str, path: str) -> None:
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as e:
        raise ValueError("%s %s: is damaged (%s)" % (name, path, words(e))) from None


def _check_pem(name: str, path: str, label: str) -> None:
    """Raise ValueError unless the file can be read and has such a block; OpenSSL's errors name no file."""
    try:
        text = Path(path).read_text("ascii", "replace")
    except OSError as e:
        raise ValueError("%s %s: %s" % (name, path, e.strerror)) from None
    if label + "-----" not in text:
        raise ValueError("%s %s: holds no %s in PEM format" % (name, path, label.lower()))


def words(error: ssl.SSLError) -> str:
    """OpenSSL's reason as text."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "client certificate: " + error.verify_message
    return (error.reason or "unknown error").lower().replace("_", " ")


def peer_certificate(transport: asyncio.BaseTransport) -> dict[str, Any] | None:
    """What the client's certificate says, see Transport.certificate; None without a verified one."""
    connection = transport.get_extra_info("ssl_object")
    found = connection.getpeercert() if connection is not None else None
    if not found:
        return None
    common = [value for part in found["subject"] for kind, value in part if kind == "commonName"]
    alternative = [value for kind, value in found.get("subjectAltName", ()) if kind in _NAMES]
    return {"cn": common[0] if common else None, "san": alternative, "der": connection.getpeercert(True)}
