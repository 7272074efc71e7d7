"""TLS for listeners on CPython: a context from settings, and what a client's certificate says.

To change a certificate while the broker runs, make another context for the handshakes to come.
Connections keep the one they began with; a context in use is never altered.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

from port.core.setup import check_settings

_SETTINGS = {
    "certificate": str,
    "key": str,
    "client_ca": str,
    "require_client_certificate": bool,
    "minimum_version": str,
    "ciphers": str,
}
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_NAMES = ("DNS", "email", "URI", "IP Address")  # kinds of alternative names that are text


def server_context(settings: dict[str, Any]) -> ssl.SSLContext:
    """The context of a listener.

    certificate                 PEM file with the server's certificate and those between it and the authority's
    key                         PEM file with its private key, without a password
    client_ca                   PEM file with the authorities whose client certificates are believed (default: none is asked for)
    require_client_certificate  whether a client without a certificate is turned away (default true with client_ca)
    minimum_version             "1.2" or "1.3" (default "1.2")
    ciphers                     OpenSSL's cipher list for TLS 1.2 (default Python's); those of TLS 1.3 are always allowed

    A certificate that is presented must be good even where none is required. Raises ValueError
    naming the setting or file and what is wrong with it.
    """
    check_settings(settings, _SETTINGS, ("certificate", "key"))
    client_ca = settings.get("client_ca")
    required = settings.get("require_client_certificate", client_ca is not None)
    if required and client_ca is None:
        raise ValueError("require_client_certificate needs client_ca")
    version = settings.get("minimum_version", "1.2")
    if version not in _VERSIONS:
        raise ValueError("minimum_version must be 1.2 or 1.3, not %r" % version)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[version]
    # Compressed secrets can be guessed from lengths; renegotiation costs the server more than the client.
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if "ciphers" in settings:
        try:
            context.set_ciphers(settings["ciphers"])
        except ssl.SSLError:
            raise ValueError("ciphers: OpenSSL knows none of %r" % settings["ciphers"]) from None
    _load_certificate(context, settings["certificate"], settings["key"])
    if client_ca is not None:
        _check_pem("client_ca", client_ca, "CERTIFICATE")
        _load_authorities(context, "client_ca", client_ca)
        if not context.get_ca_certs():
            raise ValueError("client_ca %s: holds no certificate of an authority" % client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return context


def _load_certificate(context: ssl.SSLContext, certificate: str, key: str) -> None:
    _check_pem("certificate", certificate, "CERTIFICATE")
    _check_pem("key", key, "PRIVATE KEY")

    def password() -> str:  # without this, OpenSSL would ask on the terminal
        raise ValueError("key %s: is encrypted, which is not supported" % key)

    try:
        context.load_cert_chain(certificate, key, password)
    except ssl.SSLError as e:
        reason = e.reason or ""
        # The last of these: a key of another kind.
        if reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
            raise ValueError("key %s: does not belong to certificate %s" % (key, certificate)) from None
        if "TOO_SMALL" in reason or "TOO_WEAK" in reason:
            raise ValueError("certificate %s: %s" % (certificate, _words(e))) from None
        # OpenSSL does not say which file; whether the certificate is sound can be tried apart.
        _load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), "certificate", certificate)
        raise ValueError("key %s: is damaged or of an unknown kind" % key) from None


def _load_authorities(context: ssl.SSLContext, name: str, path: str) -> None:
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as e:
        raise ValueError("%s %s: is damaged (%s)" % (name, path, _words(e))) from None


def _check_pem(name: str, path: str, label: str) -> None:
    """Raise ValueError unless the file can be read and has such a block; OpenSSL's errors name no file."""
    try:
        text = Path(path).read_text("ascii", "replace")
    except OSError as e:
        raise ValueError("%s %s: %s" % (name, path, e.strerror)) from None
    if label + "-----" not in text:
        raise ValueError("%s %s: holds no %s in PEM format" % (name, path, label.lower()))


def _words(error: ssl.SSLError) -> str:
    """OpenSSL's reason as text."""
    return (error.reason or "unknown error").lower().replace("_", " ")


def peer_certificate(transport: asyncio.BaseTransport) -> dict[str, Any] | None:
    """What the client's certificate says, {"cn": str or None, "san": [str, ...]}; None without a verified one."""
    connection = transport.get_extra_info("ssl_object")
    found = connection.getpeercert() if connection is not None else None
    if not found:
        return None
    common = [value for part in found["subject"] for kind, value in part if kind == "commonName"]
    alternative = [value for kind, value in found.get("subjectAltName", ()) if kind in _NAMES]
    return {"cn": common[0] if common else None, "san": alternative}
