"""A request of HTTP/1.1 (RFC 9110, RFC 9112): its head, and its form for a handler.

`parse` takes all bytes so far and returns None until the head is complete. It refuses a head with any doubt with HTTPError,
above all one that two readers could understand differently: a proxy in front may be the other reader. The body is
port.core.web.http_body's. All values are bytes, as they came, except those that a handler asks for.
"""

import binascii

from port.core import const
from port.core.wire.codec import is_utf8
from port.core.limits import ip_address
from port.core.web.http_response import TOKEN, HTTPError, unauthorized

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional, Sequence

    from port.core.broker import Broker

MAX_HEAD = const(4096)  # bytes of request line and header fields, the empty line included
MAX_HEADERS = const(64)  # header fields
MAX_ARGUMENTS = const(32)  # arguments of a query
CHUNKED = const(-1)  # Request.length
_MOST_DIGITS = const(10)  # of a Content-Length

_CREDENTIALS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+/="
_METHOD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_BARE = (b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"CONNECT")  # whose bodies have no meaning


class Request:
    """A request, as a handler gets it.

    method      e.g. b"GET"
    path        of the request target, not decoded, without the query
    query       what followed "?", else empty
    minor       HTTP/1.minor
    headers     {lower-case name: value}; the values of a repeated field joined by ", "
    length      bytes of the body, or CHUNKED

    Of a request that has come to its handler:

    broker      the broker, which is the Server on either runtime
    parameters  those of the route's path, by name, decoded
    body        bytes
    user        user name as bytes, checked by an authenticator, or None
    role        "read", or "write", which is both
    address     the peer's, `host:port`
    """

    __slots__ = ("method", "path", "query", "minor", "headers", "length", "broker", "parameters", "body", "user", "role", "address")

    def __init__(self, method: bytes, target: bytes, minor: int, headers: "dict[bytes, bytes]", length: int = 0) -> None:
        self.method = method
        self.path, _, self.query = target.partition(b"?")
        self.minor = minor
        self.headers = headers
        self.length = length
        self.broker: "Broker"
        self.parameters: "dict[str, str]" = {}
        self.body = b""
        self.user: "Optional[bytes]" = None
        self.role = ""
        self.address = ""

    def arguments(self) -> "dict[str, str]":
        """The arguments of the query, decoded; of a repeated name the last. Raises HTTPError 400 for invalid ones."""
        found: "dict[str, str]" = {}
        if self.query:
            pairs = self.query.split(b"&")
            if len(pairs) > MAX_ARGUMENTS:
                raise HTTPError(400, "more than %d arguments" % MAX_ARGUMENTS)
            for pair in pairs:
                name, _, value = pair.partition(b"=")
                found[decoded(name.replace(b"+", b" "))] = decoded(value.replace(b"+", b" "))
        return found

    def json(self) -> "Any":
        """The value of a body in JSON. Raises HTTPError 400 for any other body."""
        import json

        if not is_utf8(self.body):
            raise HTTPError(400, "the body is not JSON")
        try:
            return json.loads(str(self.body, "utf-8"))
        except ValueError:
            raise HTTPError(400, "the body is not JSON")

    def members(self, name: bytes) -> "list[bytes]":
        """The members of a field that is a comma-separated list; empty without the field."""
        members = [member.strip(b" \t") for member in self.headers.get(name, b"").split(b",")]
        return [member for member in members if member]

    def credentials(self) -> "Optional[tuple[bytes, bytes]]":
        """User name and password of the scheme Basic (RFC 7617), or None. Raises HTTPError 401 for another scheme or form."""
        value = self.headers.get(b"authorization")
        if value is None:
            return None
        scheme, _, encoded = value.partition(b" ")
        try:
            if scheme.lower() != b"basic" or encoded.strip(_CREDENTIALS):
                raise ValueError
            user, colon, password = binascii.a2b_base64(encoded).partition(b":")
            if not colon or not is_utf8(user):
                raise ValueError
        except ValueError:
            raise unauthorized()
        return user, password


def leads_here(authority: bytes, names: "Sequence[str]" = ()) -> bool:
    """True for a host, with or without a port, that nobody else can make lead to this machine, and for these names.

    The owner of any other name can make it lead here, and then have browsers send requests in its name (DNS rebinding).
    """
    if not is_utf8(authority):
        return False
    name = ip_address.host(str(authority, "utf-8").lower()).rstrip(".")
    return name == "localhost" or name in names or "*" in names or ip_address.parse(name) is not None


def parse(data: bytes) -> "Optional[tuple[Request, int]]":
    """The request at the start of `data` and the size of its head, or None while more has to come.

    Raises HTTPError. Call it with all data since the connection began, each time some more has come.
    """
    if data[:1].strip(_METHOD):
        raise HTTPError(400, "this is not HTTP")  # but perhaps MQTT or TLS, which would wait for an answer for ever
    end = data.find(b"\r\n\r\n") + 4
    head = data[: min(end - 4, MAX_HEAD) if end >= 4 else MAX_HEAD]
    # A lenient proxy in front may take these for the ends of lines, and see another request than we.
    if head.count(b"\n") != head.count(b"\r\n"):
        raise HTTPError(400, "line feed without carriage return")
    if end > MAX_HEAD or end < 4 and len(data) >= MAX_HEAD:
        raise HTTPError(431, "more than %d bytes of header" % MAX_HEAD)
    if end < 4:
        return None
    lines = head.split(b"\r\n")
    if len(lines) > MAX_HEADERS + 1:
        raise HTTPError(431, "more than %d header fields" % MAX_HEADERS)
    method, target, minor = _request_line(lines[0])
    headers = _headers(lines)
    if minor and b"host" not in headers:
        raise HTTPError(400, "no Host")
    return Request(method, target, minor, headers, _length(method, minor, headers)), end


def _length(method: bytes, minor: int, headers: "dict[bytes, bytes]") -> int:
    """Bytes of the body, or CHUNKED (RFC 9112 clause 6). Raises HTTPError for a doubtful one."""
    bare = method in _BARE
    coding = headers.get(b"transfer-encoding")
    if coding is not None:
        if bare:
            raise HTTPError(400, "Transfer-Encoding: a request must not have a body here")
        if b"content-length" in headers:
            raise HTTPError(400, "Content-Length beside Transfer-Encoding")
        if not minor:
            raise HTTPError(400, "Transfer-Encoding in HTTP/1.0")
        if coding.lower() != b"chunked":
            raise HTTPError(501, "only the transfer coding chunked")
        return CHUNKED
    length = headers.get(b"content-length", b"0")
    if not length.isdigit():
        raise HTTPError(400, "invalid Content-Length")
    length = length.lstrip(b"0")
    if length and bare:
        raise HTTPError(413, "a request must not have a body here")
    if len(length) > _MOST_DIGITS:
        raise HTTPError(413, "the body is too large")
    return int(length or b"0")


def decoded(data: bytes) -> str:
    """A part of a path or query without percent-encoding. Raises HTTPError 400 unless it is UTF-8 without NUL."""
    parts = data.split(b"%")
    found = parts[0]
    try:
        for i in range(1, len(parts)):
            found += binascii.unhexlify(parts[i][:2]) + parts[i][2:]
            if len(parts[i]) < 2:
                raise ValueError
    except ValueError:
        raise HTTPError(400, "invalid percent-encoding")
    if not is_utf8(found):
        raise HTTPError(400, "not UTF-8, or with NUL")
    return str(found, "utf-8")


def _request_line(line: bytes) -> "tuple[bytes, bytes, int]":
    """Method, target and minor version (RFC 9112 clause 3)."""
    parts = line.split(b" ")
    if len(parts) != 3 or not parts[0] or parts[0].strip(TOKEN):
        raise HTTPError(400, "invalid request line")
    method, target, version = parts
    if not target.startswith(b"/") or min(target) < 0x21 or max(target) > 0x7E:
        raise HTTPError(400, "the request target must be a path")
    if len(version) != 8 or not version.startswith(b"HTTP/") or version[6] != 0x2E:
        raise HTTPError(400, "invalid request line")
    if not version[5:6].isdigit() or not version[7:].isdigit():
        raise HTTPError(400, "invalid request line")
    if version[5] != 0x31:
        raise HTTPError(505, "only HTTP/1.1 and HTTP/1.0")
    return method, target, version[7] - 0x30


def _headers(lines: "list[bytes]") -> "dict[bytes, bytes]":
    """The header fields (RFC 9112 clause 5), which begin in the second line."""
    headers: "dict[bytes, bytes]" = {}
    for i in range(1, len(lines)):
        name, colon, value = lines[i].partition(b":")
        # A name that begins with a blank would be the rest of a folded line (clause 5.2).
        if not colon or not name or name.strip(TOKEN):
            raise HTTPError(400, "invalid header field name")
        value = value.strip(b" \t")
        if value and (min(value.replace(b"\t", b" ")) < 0x20 or b"\x7f" in value):
            raise HTTPError(400, "control character in a header field")
        name = name.lower()
        if name in headers:
            if name == b"host":
                raise HTTPError(400, "more than one Host")
            value = headers[name] + b", " + value
        headers[name] = value
    return headers
