"""The head of one HTTP/1.1 request, and a whole response (RFC 9110, RFC 9112).

Enough for a WebSocket handshake and for the info pages: one request a connection, without a
body. `parse` is given all that came so far and says None until the head is complete; whatever
is not plainly a request is refused with HTTPError. Everything is bytes, as it came.
"""

import binascii

from port.core import const
from port.core.wire.codec import is_utf8
from port.core.limits import ip_address
from port.core.limits.client_log import shown

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional, Sequence

    Fields = tuple[tuple[str, str], ...]

MAX_HEAD = const(4096)  # bytes of request line and header fields, the empty line included
MAX_HEADERS = const(64)  # header fields
_SHOWN = const(64)  # bytes

_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CREDENTIALS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+/="
_METHOD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_TEXTS = {
    101: "Switching Protocols",
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    421: "Misdirected Request",
    426: "Upgrade Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


class HTTPError(Exception):
    """The answer to a request that is refused.

    status  400 and up
    text    why, for the body and the log; it quotes nothing of the request
    fields  further header fields of the answer
    about   what of the request was wrong, for the log alone
    """

    def __init__(self, status: int, text: str, fields: "Fields" = (), about: bytes = b"") -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.fields = fields
        self.about = about

    def told(self) -> str:
        """For the log."""
        about = self.about
        if not about:
            return "%d, %s" % (self.status, self.text)
        return "%d, %s: %s" % (self.status, self.text, shown(about) if is_utf8(about) else repr(about[:_SHOWN]))

    def answer(self) -> bytes:
        """The whole response."""
        return response(self.status, (("Content-Type", "text/plain"),) + self.fields, self.text.encode() + b"\n")


class Request:
    """The head of a request.

    method   e.g. b"GET"
    path     of the request target, not decoded, without the query
    query    what followed "?", else empty
    minor    HTTP/1.minor
    headers  {lower-case name: value}; the values of a repeated field joined by ", "
    """

    __slots__ = ("method", "path", "query", "minor", "headers")

    def __init__(self, method: bytes, target: bytes, minor: int, headers: "dict[bytes, bytes]") -> None:
        self.method = method
        self.path, _, self.query = target.partition(b"?")
        self.minor = minor
        self.headers = headers

    def members(self, name: bytes) -> "list[bytes]":
        """The members of a field that is a comma-separated list, empty if there is no such field."""
        members = [member.strip(b" \t") for member in self.headers.get(name, b"").split(b",")]
        return [member for member in members if member]

    def credentials(self) -> "Optional[tuple[bytes, bytes]]":
        """User name and password of the scheme Basic (RFC 7617), or None. Raises HTTPError 401 for what is nothing like it."""
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
    """True for a host, with or without a port, that leads to the same machine whoever says so, and for these names.

    Any other name can be made to lead here by whoever it belongs to, who then has browsers ask in its name (DNS rebinding).
    """
    if not is_utf8(authority):
        return False
    name = ip_address.host(str(authority, "utf-8").lower()).rstrip(".")
    return name == "localhost" or name in names or "*" in names or ip_address.parse(name) is not None


def unauthorized() -> HTTPError:
    """What asks for a user name and password."""
    text = "user name and password are needed"
    return HTTPError(401, text, (("WWW-Authenticate", 'Basic realm="ucomqtt", charset="UTF-8"'),))


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
    if b"transfer-encoding" in headers:
        raise HTTPError(400, "Transfer-Encoding: a request must not have a body here")
    length = headers.get(b"content-length", b"0")
    if not length.isdigit():
        raise HTTPError(400, "invalid Content-Length")
    if length.strip(b"0"):
        raise HTTPError(413, "a request must not have a body here")
    return Request(method, target, minor, headers), end


def _request_line(line: bytes) -> "tuple[bytes, bytes, int]":
    """Method, target and minor version (RFC 9112 clause 3)."""
    parts = line.split(b" ")
    if len(parts) != 3 or not parts[0] or parts[0].strip(_TOKEN):
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
        if not colon or not name or name.strip(_TOKEN):
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


def response(status: int, fields: "Fields", body: bytes = b"") -> bytes:
    """A whole response, after which the connection is closed unless it is a 101."""
    return head(status, fields, len(body)) + body


def head(status: int, fields: "Fields", size: int) -> bytes:
    """What comes before a body of this size."""
    lines = ["HTTP/1.1 %d %s" % (status, _TEXTS[status])]
    for field in fields:
        lines.append("%s: %s" % field)
    if status != 101:
        lines.append("Content-Length: %d" % size)
        lines.append("Connection: close")
    return "\r\n".join(lines).encode() + b"\r\n\r\n"
