"""TLS in a mosquitto.conf: certificates of server and clients, pre-shared keys."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from port.cpython.config.mosquitto.line import Lost

if TYPE_CHECKING:
    from port.cpython.config.mosquitto.listeners import Place


def version(value: str) -> str:
    """tls_version: the lowest version, as in mosquitto. Raises Lost."""
    if value not in ("tlsv1.2", "tlsv1.3"):
        if value not in ("tlsv1", "tlsv1.1"):
            raise Lost("must be tlsv1.2 or tlsv1.3", closed=True)
        raise Lost("TLS below 1.2 is not supported")
    return value[4:]


def finish(place: Place, psk_file: str) -> None:
    """Apply the lines about TLS together. Raises Lost."""
    if "psk_hint" in place.tls:
        if not psk_file:
            raise Lost("psk_hint without psk_file")
        if not hasattr(ssl.SSLContext, "set_psk_server_callback"):
            raise Lost("psk_file, which needs Python 3.13")
        if place.certificate:
            raise Lost("use_identity_as_username with psk_file: the identity is no user name here")
        place.tls["psk_file"] = psk_file
    elif "certificate" not in place.tls and "key" not in place.tls:
        if place.require or place.certificate or "crl" in place.tls:
            raise Lost("certificates of clients without certfile")
        place.tls = {}  # mosquitto speaks no TLS without certfile
        return
    elif place.require or place.certificate:
        if not place.authority:
            raise Lost("certificates of clients without cafile")
        place.tls["client_ca"] = place.authority
        if not place.require:
            place.tls["require_client_certificate"] = False
    elif place.authority:
        place.tls["chain"] = place.authority
    if "crl" in place.tls and "client_ca" not in place.tls:
        del place.tls["crl"]  # no certificate is asked for
