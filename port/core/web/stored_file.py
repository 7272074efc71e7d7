"""A file served as it is stored, in pieces, compressed beforehand: a board can neither hold nor compress one.

    server.route("GET", "/app.js", stored_file(lambda: open("app.js.gz", "rb"), "text/javascript", "v1"), "open")

The host opens it, once for each answer; core touches no file. A client that has the file gets 304 (RFC 9110 clause 13.1.2). A
client that does not accept gzip gets 406, on both runtimes: a board has too little memory to inflate.
"""

from port.core import const
from port.core.web.http_response import HTTPError, Response

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Callable, Iterator, Protocol

    from port.core.web.http import Request
    from port.core.web.http_response import Fields
    from port.core.web.routes import Handler

    class Reader(Protocol):
        """The part of an open file that is used."""

        def read(self, __n: int) -> bytes:
            """Up to so many bytes, none at the end."""
            ...

        def close(self) -> object:
            """Close it."""
            ...


_PIECE = const(512)  # bytes that are read at a time


def stored_file(
    opened: "Callable[[], Reader]", kind: str, tag: str, size: int = -1, compressed: bool = True, fields: "Fields" = ()
) -> "Handler":
    """A handler for GET that answers with a file.

    opened      opens it for reading, in binary
    kind        Content-Type of its content
    tag         name of its content, another one when the content changes; without quotation marks
    size        its bytes, -1: unknown
    compressed  whether it is stored as gzip
    fields      further header fields, see Response
    """
    always: "Fields" = (("ETag", '"%s"' % tag),)
    if compressed:
        always += (("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding"))
    if "cache-control" not in [name.lower() for name, _ in fields]:
        always += (("Cache-Control", "no-cache"),)  # kept, and asked for each time whether it is still that
    always += fields

    def handler(request: "Request") -> Response:
        if compressed and not takes_gzip(request):
            raise HTTPError(406, "this is stored as gzip, which the client does not accept", (("Vary", "Accept-Encoding"),))
        return Response(_pieces(opened), kind, 200, always, size)

    return handler


def takes_gzip(request: "Request") -> bool:
    """Whether a client accepts gzip (RFC 9110 clause 12.5.3); without the field it accepts any coding."""
    if b"accept-encoding" not in request.headers:
        return True
    others = False
    for member in request.members(b"accept-encoding"):
        coding, _, weight = member.lower().partition(b";")
        accepted = weight.replace(b" ", b"").replace(b"\t", b"").rstrip(b".0") not in (b"q=", b"q")
        coding = coding.strip(b" \t")
        if coding == b"gzip" or coding == b"x-gzip":
            return accepted
        if coding == b"*":
            others = accepted
    return others


def _pieces(opened: "Callable[[], Reader]") -> "Iterator[bytes]":
    file = opened()
    try:
        while True:
            data = file.read(_PIECE)
            if not data:
                break
            yield data
    finally:
        file.close()
