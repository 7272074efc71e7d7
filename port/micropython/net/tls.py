"""TLS for listeners on MicroPython: a context from files, and the socket of one client.

A TlsSocket is read and written as a plain non-blocking socket is: None means "not now". What the
poller watches is its `stream`, which knows of data that mbedtls has decrypted ahead.

What it costs on a PC (tools/measure_tls): 0.7 KB of heap per connection, and for mbedtls 23 KB on
the 64-bit test interpreter, 41 KB on Debian's 32-bit one. The memory for mbedtls comes from the
system there; where firmware has no other heap it comes from MicroPython's. The handshake runs inside
`readinto` and stops everything else meanwhile: 5 to 15 ms with a P-256 key, 10 to 55 ms with RSA of
2048 bits. No board has been measured.

On the unix port one idle TLS client or more take 2 % of a PC's core: what has no file descriptor of its own
is looked at every millisecond there (extmod/modselect.c). Boards look at plain sockets in the same way.
"""

import binascii

from port.core import const
from port.core.checks import check_settings

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.wire.codec import Buffer

_SETTINGS = {"certificate": str, "key": str, "client_ca": str, "require_client_certificate": bool}
_EOF = -0x7280  # mbedtls: the peer closed the connection without saying so in TLS


def server_context(settings: "dict[str, Any]") -> "Context":
    """The context of a listener.

    certificate                 file with the server's certificate, DER or PEM
    key                         file with its private key, DER or PEM, without a password
    client_ca                   file with the authority whose client certificates are believed, DER or PEM
    require_client_certificate  may be given as true, where there is client_ca

    A client certificate can be required, but not left to the client: mbedtls would let in those
    with a bad one, too. Raises ValueError naming the setting or file and what is wrong with it.
    """
    for name in ("crl", "ciphers", "minimum_version", "key_password_file", "chain", "psk_file", "psk_hint"):
        if name in settings:
            raise ValueError("%s is for CPython only" % name)
    check_settings(settings, _SETTINGS, ("certificate", "key"))
    authorities = settings.get("client_ca")
    if settings.get("require_client_certificate", authorities is not None) != (authorities is not None):
        raise ValueError("require_client_certificate must be true with client_ca, and cannot be without it")
    try:
        import tls
    except ImportError:
        raise ValueError("this firmware has no TLS")
    context: "Any" = tls.SSLContext(tls.PROTOCOL_TLS_SERVER)
    # Where the key itself encrypts the secret, who gets it later can read what was recorded before.
    context.set_ciphers([name for name in context.get_ciphers() if not name.startswith("TLS-RSA-")])
    _load_certificate(context, settings["certificate"], settings["key"])
    if authorities is not None:
        for block in _read("client_ca", authorities, "CERTIFICATE"):
            try:
                context.load_verify_locations(block)
            except (ValueError, OSError):
                raise ValueError("client_ca %s: is damaged or of an unknown kind" % authorities)
        context.verify_mode = tls.CERT_REQUIRED
    return Context(context)


def _load_certificate(context: "Any", certificate: str, key: str) -> None:
    certificates = _read("certificate", certificate, "CERTIFICATE")
    keys = _read("key", key, "PRIVATE KEY")
    if len(certificates) > 1:
        # One DER file holds one certificate; a chain can be had from firmware alone that reads PEM.
        with open(certificate, "rb") as file:
            certificates = [file.read()]
    try:
        context.load_cert_chain(certificates[0], keys[0])
    except ValueError as e:
        if "key" in str(e):
            raise ValueError("key %s: is damaged or of an unknown kind" % key)
        raise ValueError("certificate %s: is damaged or of an unknown kind, or too many for this firmware" % certificate)


def _read(name: str, path: str, label: str) -> "list[bytes]":
    """What a DER file holds, or the blocks of a PEM file whose label ends with `label`, as DER."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as e:
        raise ValueError("%s %s: cannot be read: %r" % (name, path, e))
    if data[:1] == b"\x30":
        return [data]
    found = []
    end = label.encode() + b"-----"
    lines: "Optional[list[bytes]]" = None
    for line in data.split(b"\n"):
        line = line.strip()
        if line.startswith(b"-----BEGIN "):
            if line.endswith(b"ENCRYPTED " + end):
                raise ValueError("%s %s: is encrypted, which is not supported" % (name, path))
            lines = [] if line.endswith(end) else None
        elif line.startswith(b"-----END ") and lines is not None:
            try:
                found.append(binascii.a2b_base64(b"".join(lines)))
            except ValueError:
                raise ValueError("%s %s: is damaged" % (name, path))
            lines = None
        elif lines is not None:
            if b":" in line:  # Proc-Type: 4,ENCRYPTED
                raise ValueError("%s %s: is encrypted, which is not supported" % (name, path))
            lines.append(line)
    if not found:
        raise ValueError("%s %s: holds no %s, neither in DER nor in PEM format" % (name, path, label.lower()))
    return found


def check_names() -> None:
    """Raise ValueError where this firmware's TLS does not tell what a client's certificate says."""
    try:
        import tls

        context: "Any" = tls.SSLContext(tls.PROTOCOL_TLS_SERVER)
        context.verify_callback = None
    except ImportError:
        raise ValueError("this firmware has no TLS")
    except AttributeError:
        raise ValueError("this firmware's TLS does not tell the names in a client's certificate")


class Context:
    """What the handshakes of a listener share: an SSLContext of the module `tls`."""

    def __init__(self, context: "Any") -> None:
        """`context`: of the module `tls`, or of `ssl`, which has one inside."""
        import tls

        self._context = context = getattr(context, "_context", context)
        self.leaf: "Optional[bytes]" = None  # a client's certificate that a handshake has just come upon
        # Where certificates are not required, mbedtls lets in those with a bad one, too: its name means nothing.
        if context.verify_mode == tls.CERT_REQUIRED:
            try:
                context.verify_callback = self._seen
            except AttributeError:
                pass  # older firmware: certificates are verified, but nobody learns the name in them

    def _seen(self, certificate: "Any", depth: int) -> int:
        """Called by mbedtls for each certificate of a client's chain; no exception may go through it."""
        try:
            if depth == 0:
                self.leaf = bytes(certificate)
        except MemoryError:
            return -1
        return 0

    def wrap(self, sock: "Any") -> "TlsSocket":
        """TLS on an accepted, non-blocking socket. Raises OSError or MemoryError without memory for it."""
        return TlsSocket(self, sock, self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False))


class TlsSocket:
    """One client's socket: plain on the near side, TLS on the far one.

    stream  what the poller has to watch
    """

    def __init__(self, context: Context, sock: "Any", stream: "Any") -> None:
        self.stream = stream
        self._context = context
        self._sock = sock
        self._leaf: "Optional[bytes]" = None
        self._begun = False  # the handshake is over
        self._stuck = 0  # bytes that mbedtls has encrypted but could not send

    def readinto(self, buffer: "Buffer") -> "Optional[int]":
        """Read; None when nothing has come, 0 when the client has closed. Raises OSError, also for a failed handshake."""
        context = self._context
        if not self._begun:
            context.leaf = None  # one whose handshake has failed may have left its own there
        try:
            count: "Optional[int]" = self.stream.readinto(buffer)
        except ValueError as e:  # the client's certificate is not good
            raise OSError(" ".join(str(e).split()))
        except OSError as e:
            if e.errno == _EOF:
                return 0
            raise
        if not self._begun:
            if context.leaf is not None:
                self._leaf = context.leaf
                context.leaf = None
            if count:
                self._begun = True
        return count

    def recv(self, most: int) -> bytes:
        """What was received before the connection failed, one byte after the other: nothing behind it is looked for."""
        data = bytearray(most)
        view = memoryview(data)
        count = 0
        try:
            while count < most and self.readinto(view[count : count + 1]):
                count += 1
        except OSError:
            if not count:
                raise
        return bytes(view[:count])

    def write(self, data: "Buffer") -> "Optional[int]":
        """Write; the number of bytes that went, None for none. What did not go must come first in the next call."""
        size = len(data)
        done = 0
        if self._stuck and self._stuck < size:
            # mbedtls sends the record it has made already and takes it for whatever it is given
            # now: it must be given the same bytes again, and no more.
            count = self.stream.write(memoryview(data)[: self._stuck]) or 0
            self._stuck -= count
            if self._stuck:
                return count or None
            done = count
        count = self.stream.write(memoryview(data)[done:] if done else data) or 0
        self._stuck = size - done - count
        return done + count or None

    def close(self) -> None:
        """Close the connection; MicroPython does so without a word in TLS."""
        self.stream.close()
        # After a failed handshake the stream has let go of the socket. Twice in a row does no harm.
        self._sock.close()

    def certificate(self) -> "Optional[dict[str, Any]]":
        """What the client's certificate says, see Transport.certificate; None without a verified one."""
        if self._leaf is None or not self._begun:
            return None
        from port.core.auth.certificate import names

        found = names(self._leaf)
        found["der"] = self._leaf
        return found
