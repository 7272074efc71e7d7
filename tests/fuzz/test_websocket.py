"""WebSocket and HTTP: any split of a conversation says the same, any bytes do no harm and take no memory."""

from hypothesis import given
from hypothesis import strategies as st

from port.core.web import http
from port.core.web.http_response import HTTPError
from port.core.web.websocket import WebSocket

HEAD = (
    b"GET /mqtt HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)
MAX_FRAME = 3000
MAX_OUT = 512  # bytes of answers that may wait
MAX_CONTROL = 139  # bytes of a control frame with the longest head

sizes = st.just([1]) | st.lists(st.integers(1, 200) | st.integers(1, 5), min_size=1, max_size=8)
keys = st.binary(min_size=4, max_size=4)
payloads = st.binary(max_size=20) | st.integers(0, MAX_FRAME).map(lambda n: bytes(i * 7 + (i >> 8) & 255 for i in range(n)))
heads = st.just(HEAD) | st.binary(max_size=60) | st.builds(
    lambda at, junk: HEAD[:at] + junk + HEAD[at:], st.integers(0, len(HEAD)), st.binary(min_size=1, max_size=3)
)


def frame(first: int, payload: bytes, key: bytes) -> bytes:
    n = len(payload)
    size = bytes([0x80 | n]) if n < 126 else b"\xfe" + n.to_bytes(2, "big")
    return bytes([first]) + size + key + bytes(byte ^ key[i & 3] for i, byte in enumerate(payload))


@st.composite
def conversations(draw):
    """(frames a client may send, the MQTT in them, the payloads of the PINGs)."""
    data, mqtt, pings = b"", b"", []
    for _ in range(draw(st.integers(0, 5))):
        pieces = draw(st.lists(payloads, min_size=1, max_size=4))
        for i, piece in enumerate(pieces):
            for ping in draw(st.lists(st.binary(max_size=125), max_size=2)):
                pings.append(ping)
                data += frame(0x89, ping, draw(keys)) + frame(0x8A, ping, draw(keys))
            data += frame((0 if i else 2) | (0x80 if i == len(pieces) - 1 else 0), piece, draw(keys))
            mqtt += piece
    return data, mqtt, pings


def memory(socket: WebSocket) -> int:
    """Bytes the socket holds."""
    values = [getattr(socket, name) for name in socket.__slots__]
    return sum(len(value) for value in values if isinstance(value, (bytes, bytearray, memoryview)))


def feed(socket, data, pieces, view, taken):
    """(payload, what was written); `taken` says after which pieces `out` is written."""
    payload = out = b""
    i = n = 0
    while i < len(data):
        piece = data[i : i + pieces[n % len(pieces)]]
        i += len(piece)
        payload += socket.receive(memoryview(piece) if view else piece)
        limit = MAX_CONTROL if socket.open else http.MAX_HEAD
        assert memory(socket) <= limit + MAX_OUT + 4
        if taken[n % len(taken)]:
            out += socket.out
            socket.out = b""
        n += 1
    return payload, out + socket.out


def whole(data):
    socket = WebSocket(("/mqtt",), (), MAX_FRAME)
    payload = socket.receive(data)
    return socket, payload


@given(conversations(), sizes, st.booleans())
def test_any_split_says_the_same(conversation, pieces, view):
    data, mqtt, pings = conversation
    socket, payload = whole(HEAD + data)
    assert payload == mqtt
    socket = WebSocket(("/mqtt",), (), MAX_FRAME)
    payload, out = feed(socket, HEAD + data, pieces, view, [True])
    assert payload == mqtt
    assert not socket.closed
    if pieces == [1]:
        pongs = b"".join(bytes([0x8A, len(ping)]) + ping for ping in pings)
        assert out.partition(b"\r\n\r\n")[2] == pongs
    elif pings:
        assert out.endswith(bytes([0x8A, len(pings[-1])]) + pings[-1])


@given(heads, conversations() | st.tuples(st.binary(max_size=300)), st.integers(0, 2000), st.binary(max_size=4), sizes,
       st.booleans(), st.lists(st.booleans(), min_size=1, max_size=4))
def test_any_bytes_do_no_harm(head, conversation, at, junk, pieces, view, taken):
    data = conversation[0]
    data = head + data[:at] + junk + data[at + len(junk):]
    reference, expected = whole(data)
    socket = WebSocket(("/mqtt",), (), MAX_FRAME)
    payload, out = feed(socket, data, pieces, view, taken)
    assert payload == expected
    assert (socket.open, socket.closed, socket.reason) == (reference.open, reference.closed, reference.reason)
    if socket.closed:
        assert socket.reason
        assert socket.receive(data) == b""
        assert socket.close() == b""
        if socket.open:
            # The last frame is a close frame with a code that may be sent, or none.
            code = out[-2:] if out[-4:-2] == b"\x88\x02" else b""
            assert code or out.endswith(b"\x88\x00")
        else:
            assert out.startswith(b"HTTP/1.1 4") or out.startswith(b"HTTP/1.1 5")


@given(st.binary(max_size=400) | heads)
def test_any_head_is_parsed_or_refused(data):
    try:
        found = http.parse(data)
    except HTTPError as e:
        assert 400 <= e.status <= 505
        assert e.answer().startswith(b"HTTP/1.1 %d " % e.status)
        return
    assert (found is None) == (b"\r\n\r\n" not in data)
    if found:
        request, size = found
        assert data[:size].endswith(b"\r\n\r\n")
        assert request.method and request.path.startswith(b"/")
        assert all(name and name == name.lower() for name in request.headers)
        target = request.path + (b"?" + request.query if request.query else b"")
        again = b"%s %s HTTP/1.%d\r\n" % (request.method, target, request.minor)
        again += b"".join(b"%s: %s\r\n" % field for field in request.headers.items()) + b"\r\n"
        second, _ = http.parse(again)
        assert (second.path, second.query, second.headers) == (request.path, request.query, request.headers)
