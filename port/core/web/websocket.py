"""The server's side of a WebSocket that carries MQTT (RFC 6455, MQTT 5 clause 6), without I/O.

An MQTT packet may begin and end anywhere in a frame or message [MQTT-6.0.0-2], so payload is
passed on as it comes: only heads of frames and control frames (139 bytes at most) are ever
held back, besides the handshake (http.MAX_HEAD). No extensions. Clauses without a name are
those of RFC 6455.
"""

import hashlib
from binascii import b2a_base64

from port.core import const
from port.core.wire.codec import is_utf8
from port.core.wire.reason_codes import NOT_AUTHORIZED
from port.core.web.http import leads_here, parse
from port.core.web.http_response import HTTPError, response

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Iterable, Iterator, Optional, Sequence

    from port.core.wire.codec import Buffer
    from port.core.protocol.connection import Connection
    from port.core.web.http import Request

NORMAL = const(1000)  # status codes of clause 7.4.1
PROTOCOL_ERROR = const(1002)
UNSUPPORTED_DATA = const(1003)
INVALID_DATA = const(1007)
TOO_BIG = const(1009)

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_PROTOCOLS = (b"mqtt", b"mqttv3.1")

_TEXT = const(1)
_BINARY = const(2)
_CLOSE = const(8)
_PING = const(9)
_PONG = const(10)
_FIN = const(0x80)
_MASKED = const(0x80)
_WHOLE = const(0x82)  # first byte of a binary message in one frame
_MAX_CONTROL = const(125)  # bytes of a control frame's payload
_MAX_OUT = const(512)  # bytes of answers that may wait to be written
_NOT_BINARY = "text frame, MQTT needs binary ones"  # [MQTT-6.0.0-1]

_BLOCK = const(512)  # bytes unmasked at a time: what boards can spare
_LARGE_BLOCK = const(4096)  # of payload so large that there is no want of memory
_LARGE = const(16384)

_FRAME = const(5)  # what a frame costs in the units of Turns.limit, whatever is in it


class WebSocket:
    """One connection, from the handshake on.

    out     what is to be written to the socket as it is, at once and before any answer to what `receive`
            returned; whoever has written it sets it to b""
    open    True after the handshake
    more    True when the turn was over before all frames were looked at: `receive` is to be called again, be it with nothing
    closed  True when nothing but `out` may be written any more, and the socket is to be closed then
    reason  why it is closed, for the log
    """

    __slots__ = ("out", "open", "more", "closed", "reason", "_rules", "_max_frame", "_held", "_left", "_key", "_more")

    def __init__(self, paths: "Sequence[str]", origins: "Sequence[str]", max_frame: int) -> None:
        """See `_check` for paths and origins; max_frame: bytes of a frame's payload."""
        self.out = b""
        self.open = self.more = False
        self.closed = False
        self.reason = ""
        self._rules: "Optional[tuple[Sequence[str], Sequence[str]]]" = (paths, origins)  # until the handshake is over
        self._max_frame = max_frame
        self._held = b""  # the beginning of the handshake, of a frame's head or of a control frame; or all that is left
        self._left = 0  # bytes to come of a data frame's payload
        self._key = b""  # their mask
        self._more = False  # True inside a message of several frames

    def receive(self, data: "Buffer", turn: int = 0x3FFFFFFF) -> bytes:
        """Take what came from the socket; return the bytes of MQTT it held, also when it closed the connection.

        `turn`: what it may take, in the units of Turns.limit; what is left then waits for the next call.
        """
        self.more = False
        if self.closed:
            return b""
        if self._held:
            data = self._held + data
            self._held = b""
        start = 0
        if not self.open:
            start = self._handshake(bytes(data))
            if not start:
                return b""
        end = len(data)
        parts: "list[bytes]" = []
        if self._left:
            start = self._payload(parts, data, 0, end)
        while start < end:
            turn -= _FRAME
            if turn < 0:
                self.more = True
                self._held = bytes(data[start:])
                break
            # The common case here: a whole message in a small frame that is there to its end.
            size = data[start + 1] - _MASKED if start + 6 <= end else -1
            body = start + 6
            if data[start] == _WHOLE and 0 <= size <= 125 and body + size <= end and not self._more:
                if size:
                    key = bytes(data[start + 2 : body])
                    start = body + size
                    value = int.from_bytes(data[body:start], "little")
                    value ^= int.from_bytes(key * ((size + 3) >> 2), "little")
                    parts.append(value.to_bytes(size + 3, "little")[:size])
                else:
                    start = body
            else:
                after = self._frame(parts, data, start, end)
                if after == start:
                    if not self.closed:
                        self._held = bytes(data[start:])
                    break
                start = after
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def end(self, conn: "Connection") -> None:
        """It is closed: the MQTT connection is lost, or has never begun."""
        if self.open:
            conn.lost(self.reason)
        else:
            conn.close(NOT_AUTHORIZED, self.reason, True)

    def close(self, code: int = NORMAL) -> bytes:
        """What to write when the broker ends the connection, `out` included; empty when it is closed already."""
        if self.closed:
            return b""
        self._end("closed by the broker", bytes((code >> 8, code & 255)) if self.open else None)
        out = self.out
        self.out = b""
        return out

    # -- handshake (clause 4.2) --------------------------------------------------------------

    def _handshake(self, data: bytes) -> int:
        """Take the request or the beginning of it; returns its size, 0 if it is not complete or refused."""
        try:
            found = parse(data)
            if found is None:
                self._held = data
                return 0
            request, size = found
            protocol = _check(request, self._rules)  # type: ignore[arg-type]
        except HTTPError as e:
            self.out = e.answer()
            self._end("WebSocket handshake refused: " + e.told(), None)
            return 0
        # Clause 1.3 wants SHA-1 to tell a WebSocket server from others; nothing is kept safe by it.
        digest = hashlib.sha1(request.headers[b"sec-websocket-key"] + _GUID).digest()  # nosec B324
        accept = str(b2a_base64(digest).strip(), "utf-8")
        self.out = response(101, (
            ("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept),
            ("Sec-WebSocket-Protocol", str(protocol, "utf-8")),
        ))  # fmt: skip
        self._rules = None
        self.open = True
        return size

    # -- frames (clause 5) -------------------------------------------------------------------

    def _frame(self, parts: "list[bytes]", data: "Buffer", start: int, end: int) -> int:
        """Take any frame; returns where the next one begins, `start` if more has to come or the connection is closed."""
        if start + 2 > end:
            return start
        first = data[start]
        size = data[start + 1] - _MASKED
        opcode = first & 15
        fault = self._fault(first, opcode, size)
        if fault:
            return self._fail(UNSUPPORTED_DATA if fault == _NOT_BINARY else PROTOCOL_ERROR, fault, start)
        body = start + (6 if size < 126 else 8 if size == 126 else 14)
        if body > end:
            return start
        if size == 126:
            size = data[start + 2] << 8 | data[start + 3]
            if size < 126:
                return self._fail(PROTOCOL_ERROR, "frame length not in its shortest form", start)
        elif size == 127:
            size = int.from_bytes(data[start + 2 : start + 10], "big")
            if size < 65536 or size >> 63:
                return self._fail(PROTOCOL_ERROR, "invalid frame length", start)
        if opcode > _BINARY:
            if body + size > end:
                return start
            plain: "list[bytes]" = []
            _unmask(plain, data, body, body + size, bytes(data[body - 4 : body]))
            self._control(opcode, plain[0] if plain else b"")
            return start if self.closed else body + size
        if size > self._max_frame:
            return self._fail(TOO_BIG, "frame of more than %d bytes" % self._max_frame, start)
        self._more = not first & _FIN
        self._left = size
        self._key = bytes(data[body - 4 : body])
        return self._payload(parts, data, body, end)

    def _fault(self, first: int, opcode: int, size: int) -> str:
        """What is wrong with a frame by its first two bytes, empty if nothing is."""
        if first & 0x70:
            return "reserved bit set"  # no extension has given them a meaning
        if size < 0:
            return "frame not masked"  # clause 5.1
        if opcode >= _CLOSE:
            if opcode > _PONG:
                return "unknown opcode"
            return "" if first & _FIN and size <= _MAX_CONTROL else "control frame too long or fragmented"
        if opcode > _BINARY:
            return "unknown opcode"
        if self._more == bool(opcode):
            return "message inside a message" if opcode else "continuation of nothing"
        return _NOT_BINARY if opcode == _TEXT else ""

    def _payload(self, parts: "list[bytes]", data: "Buffer", start: int, end: int) -> int:
        """Take what is there of a data frame's payload; returns where it ends."""
        end = min(end, start + self._left)
        key = self._key
        _unmask(parts, data, start, end, key)
        self._left -= end - start
        phase = (end - start) & 3
        self._key = key[phase:] + key[:phase]
        return end

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == _PING:
            if len(self.out) + 2 + len(payload) > _MAX_OUT:
                # Only the latest PING has to be answered (clause 5.5.3): the answers that still wait go.
                handshake = self.out.find(b"\r\n\r\n") + 4 if self.out.startswith(b"HTTP/") else 0
                self.out = self.out[:handshake]
            self.out += bytes((_FIN | _PONG, len(payload))) + payload
        elif opcode == _CLOSE:
            code = payload[0] << 8 | payload[1] if len(payload) > 1 else 0
            if payload and not _valid_code(code):
                self._fail(PROTOCOL_ERROR, "invalid close code", 0)
            elif not _is_text(payload[2:]):
                self._fail(INVALID_DATA, "close reason is not UTF-8", 0)
            else:
                self._end("WebSocket closed by the client (%s)" % (code or "no code"), payload[:2])

    def _fail(self, code: int, text: str, start: int) -> int:
        """End it for the client's fault (clause 7.1.7); returns `start`."""
        self._end("WebSocket: %s (%d)" % (text, code), bytes((code >> 8, code & 255)))
        return start

    def _end(self, reason: str, payload: "Optional[bytes]") -> None:
        """Nothing follows, but a close frame with this payload unless that is None."""
        self.closed = True
        self.reason = reason
        if payload is not None:
            self.out += bytes((_FIN | _CLOSE, len(payload))) + payload
        self._held = self._key = b""
        self._left = 0
        self.more = False


def frames(chunks: "Iterable[Buffer]") -> "Iterator[Buffer]":
    """What to write for whole MQTT packets, of which a chunk may have several, or a part of one: each in a frame of its own.

    Several in a frame are allowed [MQTT-6.0.0-2], but Paho's C client leaves the second one unread.
    """
    left = 0  # bytes of a packet that are in the chunks to come
    for chunk in chunks:
        start = 0
        end = len(chunk)
        while start < end:
            if not left:
                left = packet_size(chunk, start)
                yield frame_head(left)
            stop = min(start + left, end)
            left -= stop - start
            yield chunk if stop - start == end else chunk[start:stop]
            start = stop


def packet_size(data: "Buffer", start: int) -> int:
    """Bytes of the MQTT packet that begins there; its fixed header is complete."""
    at = start + 1
    size = shift = 0
    while True:
        c = data[at]
        at += 1
        size |= (c & 127) << shift
        if c < 128:
            return at - start + size
        shift += 7


def frame_head(size: int) -> bytes:
    """The head of a binary frame with so many bytes."""
    if size < 126:
        return bytes((_WHOLE, size))
    if size < 65536:
        return bytes((_WHOLE, 126, size >> 8, size & 255))
    return b"\x82\x7f" + size.to_bytes(8, "big")


def _valid_code(code: int) -> bool:
    """True for what may stand in a close frame (clause 7.4)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1011 or 3000 <= code <= 4999


def _is_text(data: bytes) -> bool:
    """True for UTF-8; unlike in MQTT a NUL may be in it."""
    return is_utf8(data.replace(b"\0", b" "))


def _unmask(parts: "list[bytes]", data: "Buffer", start: int, end: int, key: bytes) -> None:
    """Append what data[start:end] is without its mask (clause 5.3), in blocks that are a multiple of the key."""
    block = _BLOCK if end - start < _LARGE else _LARGE_BLOCK
    if end - start < block:
        block = (end - start + 3) & ~3
    mask = int.from_bytes(key * (block >> 2), "little")
    while start < end:
        stop = min(start + block, end)
        value = int.from_bytes(data[start:stop], "little") ^ mask
        plain = value.to_bytes(block, "little")
        parts.append(plain if stop - start == block else plain[: stop - start])
        start = stop


def _check(request: "Request", rules: "tuple[Sequence[str], Sequence[str]]") -> bytes:
    """The subprotocol for a request that may become a WebSocket; raises HTTPError for any other.

    rules: (paths, origins). The request's path must be one of the paths, "*" being any. Browsers say in Origin which page
    they act for; empty origins allow only pages of the host and port that is asked, if that is an IP address
    or localhost: the owner of any other name can let it lead here, and his page would be one of "here". Else
    each is scheme://host[:port] or "*" for any. Without Origin it is no browser, and could say what it likes.
    """
    paths, origins = rules
    headers = request.headers
    if request.method != b"GET":
        raise HTTPError(405, "only GET", (("Allow", "GET"),))
    if not request.minor:
        raise HTTPError(505, "HTTP/1.1 is needed")
    if "*" not in paths and request.path not in [path.encode() for path in paths]:
        raise HTTPError(404, "none of the listener's paths", (), request.path)
    if b"websocket" not in _lower(request.members(b"upgrade")):
        fields = (("Upgrade", "websocket"), ("Connection", "Upgrade"))
        raise HTTPError(426, "MQTT over WebSocket is here, and nothing else", fields)
    if b"upgrade" not in _lower(request.members(b"connection")):
        raise HTTPError(400, "no upgrade in Connection")
    if headers.get(b"sec-websocket-version") != b"13":
        raise HTTPError(426, "only WebSocket version 13", (("Sec-WebSocket-Version", "13"),))
    key = headers.get(b"sec-websocket-key", b"")
    # 16 bytes in base64: 22 digits and the padding.
    if len(key) != 24 or not key.endswith(b"==") or key[:22].strip(_BASE64):
        raise HTTPError(400, "invalid Sec-WebSocket-Key")
    origin = headers.get(b"origin")
    if origin is not None and not _allowed(origin.lower(), headers[b"host"].lower(), origins):
        raise HTTPError(403, "none of the listener's origins", (), origin)
    for protocol in request.members(b"sec-websocket-protocol"):
        if protocol in _PROTOCOLS:
            return protocol  # [MQTT-6.0.0-3] [MQTT-6.0.0-4]
    raise HTTPError(400, "Sec-WebSocket-Protocol must offer mqtt")


def _lower(members: "list[bytes]") -> "list[bytes]":
    return [member.lower() for member in members]


def _allowed(origin: bytes, host: bytes, origins: "Sequence[str]") -> bool:
    if not origins:
        scheme, _, authority = origin.partition(b"://")
        return authority == host and scheme in (b"http", b"https") and leads_here(host)
    return "*" in origins or origin in [allowed.lower().encode() for allowed in origins]
