"""The body of an HTTP request (RFC 9112 clauses 6 and 7): by its length or in chunks, in any pieces, bounded.

Chunks pass in the plainest form only: a form that a lenient reader in front could read otherwise is refused.
"""

from port.core import const
from port.core.web.http_response import HTTPError

MAX_LINE = const(128)  # bytes of the line before a chunk, with its extensions, which are ignored
MAX_TRAILER = const(1024)  # bytes of the fields behind the last chunk, which are ignored, too
LINES = const(256)  # lines of a chunked body that are looked at before others are served
_SMALL = const(256)  # bytes up to which small pieces are joined
_HEX = b"0123456789ABCDEFabcdef"
_DIGITS = const(8)  # of the size of a chunk

_LINE = const(0)  # the line before a chunk comes next
_DATA = const(1)
_END = const(2)  # the end of a chunk
_TRAILER = const(3)
_BARE = "line feed without carriage return, or the reverse"


class Body:
    """Collects one body.

    parts  its pieces so far
    size   its bytes
    done   True when all has come
    more   True when `take` has left something over that it can go on with
    lines  that it has looked at in its last call
    """

    def __init__(self, length: int, limit: int) -> None:
        """`length`: bytes, or port.core.web.http.CHUNKED; `limit`: bytes it may have. Raises HTTPError 413 when they are more."""
        if length > limit:
            raise _too_large(limit)
        self.parts: "list[bytes]" = []
        self.size = 0
        self.done = not length
        self.more = False
        self.lines = 0
        self._limit = limit
        self._chunked = length < 0
        self._left = max(length, 0)
        self._state = _LINE if self._chunked else _DATA
        self._trailer = 0

    def take(self, data: bytes) -> bytes:
        """Take bytes; returns those left for the next call, or, when `done`, for the next request.

        Raises HTTPError.
        """
        start = self.lines = 0
        self.more = False
        while not self.done:
            if self._state == _DATA:
                count = min(self._left, len(data) - start)
                if not count:
                    break
                self._keep(data[start : start + count])
                self._left -= count
                start += count
                if not self._left:
                    self._state = _END
                    self.done = not self._chunked
                continue
            end = data.find(b"\n", start)
            line = data[start : end if end >= 0 else len(data)]
            if len(line) > MAX_LINE:
                raise HTTPError(400, "a line of the body is too long")
            if end < 0:
                if b"\r" in line[:-1]:
                    raise HTTPError(400, _BARE)
                break
            start = end + 1
            if not line.endswith(b"\r") or b"\r" in line[:-1]:
                raise HTTPError(400, _BARE)
            self._line(line[:-1])
            self.lines += 1
            if self.lines == LINES:
                self.more = not self.done
                break
        return data[start:]

    def _keep(self, piece: bytes) -> None:
        self.size += len(piece)
        parts = self.parts
        if parts and len(parts[-1]) + len(piece) <= _SMALL:
            parts[-1] += piece
        else:
            parts.append(piece)

    def _line(self, line: bytes) -> None:
        if self._state == _LINE:
            digits, _, extension = line.partition(b";")
            digits = digits.rstrip(b" \t") if extension else digits
            if not digits or len(digits) > _DIGITS or digits.strip(_HEX):
                raise HTTPError(400, "invalid size of a chunk")
            if extension and (min(extension.replace(b"\t", b" ")) < 0x20 or b"\x7f" in extension):
                raise HTTPError(400, "control character in a chunk's extension")
            self._left = int(str(digits, "utf-8"), 16)
            if self.size + self._left > self._limit:
                raise _too_large(self._limit)
            self._state = _DATA if self._left else _TRAILER
        elif self._state == _END:
            if line:
                raise HTTPError(400, "a chunk is longer than its size")
            self._state = _LINE
        elif line:
            self._trailer += len(line) + 2
            if self._trailer > MAX_TRAILER:
                raise HTTPError(431, "more than %d bytes of trailer" % MAX_TRAILER)
        else:
            self.done = True


def _too_large(limit: int) -> HTTPError:
    return HTTPError(413, "more than %d bytes of body" % limit)
