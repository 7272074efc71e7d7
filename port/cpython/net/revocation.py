"""Which certificates revocation lists name (RFC 5280 clause 5): for connections that are there when lists are read again.

In a handshake OpenSSL looks them up, and checks who has signed the lists; Python's ssl tells nothing of them.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

from port.core.auth.certificate import item

_BEGIN = "-----BEGIN X509 CRL-----"
_END = "-----END X509 CRL-----"
_INTEGER = 0x02
_SEQUENCE = 0x30
_VERSION = 0xA0  # of a certificate, not there in version 1
_TIMES = (0x17, 0x18)


class Revoked:
    """The certificates that the lists in a PEM file name."""

    def __init__(self, path: str) -> None:
        """Raises ValueError naming the file when it cannot be read, or a list in it makes no sense."""
        self._named: set[tuple[bytes, bytes]] = set()  # issuer and serial number
        try:
            text = Path(path).read_text("ascii", "replace")
            for block in text.split(_BEGIN)[1:]:
                self._add(b64decode(block.partition(_END)[0]))
        except OSError as e:
            raise ValueError("crl %s: %s" % (path, e.strerror)) from None
        except (IndexError, ValueError, StopIteration):
            raise ValueError("crl %s: is damaged" % path) from None

    def _add(self, data: bytes) -> None:
        parts = _body(data)
        tag, value = next(parts)
        if tag == _INTEGER:  # the version, not there in version 1
            next(parts)
        issuer = next(parts)[1]
        for tag, value in parts:
            if tag == _SEQUENCE:  # the certificates; before them is when the list was made, and when the next will be
                for _, entry in _parts(value):
                    self._named.add((issuer, next(_parts(entry))[1]))
            if tag not in _TIMES:
                break

    def names(self, certificate: bytes | None) -> bool:
        """True for a certificate, in DER, that is revoked."""
        if certificate is None:
            return False
        parts = _body(certificate)
        tag, serial = next(parts)
        if tag == _VERSION:
            serial = next(parts)[1]
        next(parts)
        return (next(parts)[1], serial) in self._named


def _body(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tags and contents of what is signed in a certificate or a list."""
    return _parts(next(_parts(next(_parts(data))[1]))[1])


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        tag, start, at = item(data, at)
        yield tag, data[start:at]
