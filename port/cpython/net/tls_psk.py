"""TLS with keys that both sides know in place of certificates, from Python 3.13 on."""

from __future__ import annotations

import ssl
from pathlib import Path

# Of TLS 1.2: who gets a key later cannot read what was recorded before. TLS 1.3 is always like that here.
CIPHERS = "kECDHEPSK+CHACHA20"
_MOST = 256  # bytes of an identity, a hint or a key, OpenSSL's own limit


def use(context: ssl.SSLContext, path: str, hint: str | None) -> None:
    """Let in who knows one of the keys in the file. Raises ValueError naming what is wrong, or that this Python cannot do it."""
    setter = getattr(context, "set_psk_server_callback", None)
    if setter is None:
        raise ValueError("psk_file needs Python 3.13 or newer")
    if not getattr(ssl, "HAS_PSK", False):
        raise ValueError("psk_file: this Python's TLS library has no pre-shared keys")
    keys = read(path)
    if hint is not None and not 0 < len(hint.encode()) <= _MOST:
        raise ValueError("psk_hint must have from 1 to %d bytes" % _MOST)
    setter(lambda identity: keys.get(identity, b""), hint)


def read(path: str) -> dict[str, bytes]:
    """The keys of a psk_file by identity. Raises ValueError naming what is wrong."""
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except OSError as e:
        raise ValueError("psk_file %s: %s" % (path, e.strerror)) from None
    except UnicodeDecodeError:
        raise ValueError("psk_file %s: is not text in UTF-8" % path) from None
    keys: dict[str, bytes] = {}
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        where = "psk_file %s, line %d: " % (path, number)
        identity, _, text = line.partition(":")
        try:
            key = bytes.fromhex(text)
        except ValueError:
            key = b""
        if not identity or not key:
            raise ValueError(where + "must be IDENTITY:KEY, the key in hexadecimal")
        if len(identity.encode()) > _MOST or len(key) > _MOST:
            raise ValueError(where + "identity and key must have at most %d bytes" % _MOST)
        if identity in keys:
            raise ValueError(where + "there is a key for %s before" % identity)
        keys[identity] = key
    if not keys:
        raise ValueError("psk_file %s: has no key" % path)
    return keys
