"""Answers to HTTP requests: a handler's Response, an HTTPError, and the head of either (RFC 9110, RFC 9112)."""

from port.core import const
from port.core.wire.codec import is_utf8
from port.core.limits.client_log import shown

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Iterator, Union

    Fields = tuple[tuple[str, str], ...]
    # Bytes or text to send; empty after work, so that others may be served; or ms until the next piece.
    Piece = Union[bytes, bytearray, memoryview, str, int]
    Body = Union[bytes, str, Iterator[Piece]]

TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # the characters of a field's name
_SHOWN = const(64)  # bytes
_FRAMING = ("content-length", "transfer-encoding", "connection")  # fields that tell the end of an answer: the broker's own
# Those used here; a handler's other status codes go without a text.
_TEXTS = {
    100: "Continue",
    101: "Switching Protocols",
    200: "OK",
    201: "Created",
    204: "No Content",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    408: "Request Timeout",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    417: "Expectation Failed",
    421: "Misdirected Request",
    426: "Upgrade Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}
# Every answer has these fields, unless its own say otherwise: browsers do not keep it, do not guess its type, do not show it in
# a frame, and as a page it loads and runs nothing.
_ALWAYS = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
)


class Response:
    """A handler's answer.

    body    bytes, text, or an iterator of pieces; each piece is made when the client has taken those before. An empty piece
            stands for work after which others may be served, a number for ms until the next piece
    kind    Content-Type, empty for none
    status  of RFC 9110; 204 and 304 have no body
    fields  further header fields; they replace fields that all answers have, such as Cache-Control; Content-Length,
            Transfer-Encoding and Connection are the broker's own
    size    bytes of all pieces of an iterator, or -1: then they are sent in chunks (RFC 9112 clause 7.1)
    """

    __slots__ = ("body", "kind", "status", "fields", "size")

    def __init__(
        self, body: "Body" = b"", kind: str = "text/plain; charset=utf-8", status: int = 200, fields: "Fields" = (), size: int = -1
    ) -> None:
        if isinstance(body, (dict, list, tuple)):
            raise TypeError("a body is bytes, text or an iterator of pieces: json_text.pieces() makes JSON of other things")
        self.body = body
        self.kind = kind
        self.status = status
        self.fields = fields
        self.size = size


class HTTPError(Exception):
    """The answer to a request that is refused; a handler may raise it.

    status  400 and up
    text    the reason, for the body and the log; it quotes no part of the request
    fields  further header fields of the answer
    about   the part of the request that is wrong, for the log alone
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

    def response(self) -> Response:
        """The same as a Response."""
        return Response(self.text + "\n", "text/plain", self.status, self.fields)

    def answer(self) -> bytes:
        """The whole response, after which the connection is closed."""
        return response(self.status, (("Content-Type", "text/plain"),) + self.fields, self.text.encode() + b"\n")


def unauthorized() -> HTTPError:
    """The answer that asks for a user name and password."""
    text = "user name and password are needed"
    return HTTPError(401, text, (("WWW-Authenticate", 'Basic realm="ucomqtt", charset="UTF-8"'),))


def response(status: int, fields: "Fields", body: bytes = b"") -> bytes:
    """A whole response, after which the connection is closed unless it is a 101."""
    return head(status, fields, len(body)) + body


def head(status: int, fields: "Fields", size: int) -> bytes:
    """The head before a body of this size, after which the connection is closed."""
    if status != 101:
        fields += (("Content-Length", str(size)), ("Connection", "close"))
    return start(status, fields)


def start(status: int, fields: "Fields") -> bytes:
    """Status line and header fields. Raises ValueError for a name that is no token, or a field that would end before its end."""
    text = _TEXTS.get(status)
    lines = ["HTTP/1.1 %d %s" % (status, text or "")]
    for name, value in fields:
        if not name or name.encode().strip(TOKEN):
            raise ValueError("header field %r: the name is no token" % name)
        if "\r" in value or "\n" in value or "\0" in value:
            raise ValueError("header field %s: control character in %r" % (name, value))
        lines.append("%s: %s" % (name, value))
    lines.append("\r\n")
    return "\r\n".join(lines).encode()


def all_fields(answer: Response) -> "Fields":
    """The fields of a handler's answer with those that all answers have.

    Raises ValueError for a field of the handler's that tells the end of the answer (RFC 9112 clause 6).
    """
    own = [name.lower() for name, _ in answer.fields]
    for name in _FRAMING:
        if name in own:
            raise ValueError("header field %s: not for a handler" % name)
    kind: "Fields" = (("Content-Type", answer.kind),) if answer.kind else ()
    return kind + tuple([field for field in _ALWAYS if field[0].lower() not in own]) + answer.fields
