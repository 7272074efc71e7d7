"""Client certificates: the names in one, and the authenticator that makes one of them the user name.

The TLS library verifies certificates; this module only reads them.
"""

from port.core import const
from port.core.checks import check_settings
from port.core.wire.codec import is_utf8
from port.core.wire.reason_codes import SUCCESS
from port.core.auth.authenticator import Authenticator

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Iterator, Optional

    from port.core.auth.authenticator import Identity

_MOST = const(64)  # most items of a kind that are read, such as alternative names
_COMMON_NAME = b"\x55\x04\x03"
_ALTERNATIVE_NAMES = b"\x55\x1d\x11"


class CertificateAuthenticator(Authenticator):
    """Lets clients with a verified certificate in, under the name in it; the user name of CONNECT does not count."""

    def __init__(self, field: str = "cn") -> None:
        """`field`: "cn", the common name, "san", the first alternative name, or "subject", see auth.certificate_subject.

        Raises ValueError for any other, ImportError for "subject" in a package without that module.
        """
        if field not in ("cn", "san", "subject"):
            raise ValueError("field must be cn, san or subject, not %r" % field)
        self._field = field
        if field == "subject":
            from port.core.auth.certificate_subject import subject

            self._subject = subject

    def authenticate(self, client: "Identity", user: "Optional[bytes]", password: "Optional[bytes]") -> "Optional[int]":
        """See Authenticator.authenticate; None for a client without a certificate, or without such a name in it."""
        certificate = client.certificate
        if certificate is None:
            return None
        name: "Optional[str]" = certificate["cn"]
        if self._field == "san":
            name = certificate["san"][0] if certificate["san"] else None
        elif self._field == "subject":
            name = self._subject(certificate["der"])
        if not name:
            return None
        user = name.encode()
        if not is_utf8(user):  # not allowed in a user name [MQTT-1.5.4-1] [MQTT-1.5.4-2]
            return None
        client.user = user
        return SUCCESS


def make(settings: "dict[str, Any]") -> Authenticator:
    """The authenticator of [[auth]] type certificate: `field`, see CertificateAuthenticator. Raises ValueError."""
    check_settings(settings, {"field": str})
    return CertificateAuthenticator(settings.get("field", "cn"))


def names(certificate: bytes) -> "dict[str, Any]":
    """The common name and alternative names in a DER certificate (RFC 5280): {"cn": str or None, "san": [str, ...]}.

    Unreadable names are left out. For hosts whose TLS library gives the bare certificate.
    """
    found: "dict[str, Any]" = {"cn": None, "san": []}
    try:
        pieces = parts(certificate)
        found["cn"] = _common_name(certificate, pieces[4])
        if pieces[-1][0] == 0xA3:
            found["san"] = _alternative_names(certificate, pieces[-1])
    except (IndexError, ValueError):
        pass
    return found


def parts(certificate: bytes) -> "list[tuple[int, int, int]]":
    """The items in a DER certificate, see `item`; number 4 is the subject. Raises IndexError or ValueError for other data."""
    _, at, _ = item(certificate, 0)
    found = list(_items(certificate, *item(certificate, at)[1:]))
    if found[0][0] == 0xA0:  # the version, absent in version 1
        found.pop(0)
    return found


def item(data: bytes, at: int) -> "tuple[int, int, int]":
    """(tag, begin of the content, its end) of the item at `at`."""
    size = data[at + 1]
    start = at + 2
    if size & 0x80:
        count = size & 0x7F
        size = int.from_bytes(data[start : start + count], "big")
        start += count
    if start + size > len(data):
        raise ValueError
    return data[at], start, start + size


def _items(data: bytes, at: int, end: int) -> "Iterator[tuple[int, int, int]]":
    for _ in range(_MOST):
        if at >= end:
            return
        found = item(data, at)
        yield found
        at = found[2]


def _common_name(data: bytes, name: "tuple[int, int, int]") -> "Optional[str]":
    for _, start, end in _items(data, name[1], name[2]):
        for _, start, end in _items(data, start, end):
            kind, value = _items(data, start, end)
            if data[kind[1] : kind[2]] == _COMMON_NAME:
                # UTF8String, PrintableString, IA5String; the others are not UTF-8
                return data[value[1] : value[2]].decode() if value[0] in (0x0C, 0x13, 0x16) else None
    return None


def _alternative_names(data: bytes, extensions: "tuple[int, int, int]") -> "list[str]":
    found = []
    _, start, end = item(data, extensions[1])
    for _, start, end in _items(data, start, end):
        parts = list(_items(data, start, end))
        if data[parts[0][1] : parts[0][2]] == _ALTERNATIVE_NAMES:
            _, start, end = item(data, parts[-1][1])
            for tag, start, end in _items(data, start, end):
                if tag in (0x81, 0x82, 0x86):  # e-mail address, DNS name, URI
                    found.append(data[start:end].decode())
                elif tag == 0x87 and end - start == 4:
                    found.append(".".join([str(b) for b in data[start:end]]))
                elif tag == 0x87 and end - start == 16:
                    found.append(":".join(["%X" % (data[i] << 8 | data[i + 1]) for i in range(start, end, 2)]))
    return found
