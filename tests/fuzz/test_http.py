"""HTTP: any split of requests is answered the same, any bytes do no harm and leave nothing behind."""

from hypothesis import given
from hypothesis import strategies as st

from port.core.config.listener_config import ListenerConfig
from port.core.limits.options import Options
from port.core.web.http import CHUNKED, MAX_HEAD
from port.core.web.http_body import MAX_LINE, Body
from port.core.web.http_response import HTTPError, Response
from port.core.web.json_text import quoted
from port.core.web.site import Site
from port.core.broker import Broker

LIMIT = 200

sizes = st.just([1]) | st.lists(st.integers(1, 60), min_size=1, max_size=6)
bodies = st.binary(max_size=60)


class Socket:
    """The socket's side: what was sent, and whether it takes it at once."""

    def __init__(self, takes):
        self.data = b""
        self.closed = False
        self._takes = takes
        self._count = 0
        self.full = False

    def send(self, data):
        assert data and not self.closed and not self.full
        self.data += data
        self._count += 1
        self.full = not self._takes[self._count % len(self._takes)]
        return not self.full

    def close(self, abort, told):
        assert not self.closed
        self.closed = True

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass

    def upgrade(self, data):
        self.closed = True

    def certificate(self):
        return None


def handler(request):
    text = b"%s %s %s" % (request.method, request.path, request.body)
    return Response(iter([text[i : i + 7] for i in range(0, len(text), 7)]))


def new_broker():
    broker = Broker(Options(outbox_bytes=256, anonymous="all"))
    for method in ("GET", "PUT", "POST"):
        broker.route(method, "/a/{rest...}", handler, "open")
    return broker


def converse(data, pieces, takes):
    """(what is answered, whether the connection is closed) to these bytes."""
    broker = new_broker()
    config = ListenerConfig({"type": "http", "max_body": LIMIT})
    site = Site(broker, broker.default_listener, config.kind.pages(config, ["h"]))
    sock = Socket(takes)
    conn = site.visit("127.0.0.1:1", sock)
    i = n = 0
    while i < len(data) and not sock.closed:
        piece = data[i : i + pieces[n % len(pieces)]]
        i += len(piece)
        n += 1
        conn.receive(memoryview(piece))
        while broker.work() or sock.full:
            if sock.full:
                sock.full = False
                conn.resume_writing()
        assert len(conn._held) <= MAX_HEAD + MAX_LINE + max(pieces)
    closed = sock.closed
    if not closed:
        conn.lost()
    assert not site.connections and not broker.memory.partial_bytes and not broker.default_listener.connected
    return sock.data, closed


@st.composite
def requests(draw):
    """(a request that is right, method and path, its body)"""
    method = draw(st.sampled_from(["GET", "PUT", "POST", "HEAD"]))
    path = "/a/" + draw(st.text("abc/%20", max_size=8)).replace("%", "")
    head = f"{method} {path} HTTP/1.1\r\nHost: h\r\n".encode()
    if method in ("GET", "HEAD"):
        return head + b"\r\n", method, path, b""
    body = draw(bodies)
    if draw(st.booleans()):
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body, method, path, body
    cut = draw(st.lists(st.integers(1, 20), max_size=6))
    chunks, at = b"", 0
    for size in [*cut, LIMIT]:
        piece = body[at : at + size]
        at += len(piece)
        if piece:
            chunks += b"%x\r\n%s\r\n" % (len(piece), piece)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n", method, path, body


def answers(data):
    """The bodies of the answers, those to HEAD left out; all of them must be whole."""
    found = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        assert end and head.startswith(b"HTTP/1.1 200 OK"), head
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if b"Content-Length" in fields:
            size = int(fields[b"Content-Length"])
            if data.startswith(b"HTTP/1.1 ") or not data and size:
                continue
            assert len(data) >= size
            found.append(data[:size])
            data = data[size:]
            continue
        assert fields[b"Transfer-Encoding"] == b"chunked"
        body = Body(CHUNKED, 1 << 20)
        data = body.take(data)
        assert body.done
        found.append(b"".join(body.parts))
    return found


@given(st.lists(requests(), max_size=5), sizes, st.lists(st.booleans(), min_size=1, max_size=4))
def test_any_split_is_answered_the_same(asked, pieces, takes):
    data = b"".join(one[0] for one in asked)
    answer, closed = converse(data, pieces, takes)
    assert (answer, closed) == converse(data, [1 << 20], [True]) and not closed
    expected = [b"%s %s %s" % (m.encode(), p.encode(), body) for _, m, p, body in asked if m != "HEAD"]
    assert answers(answer) == expected


@given(st.lists(requests(), max_size=4), st.integers(0, 400), st.binary(min_size=1, max_size=4), st.integers(0, 3), sizes)
def test_any_bytes_do_no_harm(asked, at, junk, gone, pieces):
    data = b"".join(one[0] for one in asked)
    data = data[:at] + junk + data[at + gone :]
    answer, closed = converse(data, pieces, [True, False])
    assert (answer, closed) == converse(data, [1 << 20], [True])
    if closed and answer:
        last = answer[answer.rindex(b"HTTP/1.1 ") :]
        assert b"Connection: close" in last
    assert b"HTTP/1.1 500" not in answer


@given(st.binary(max_size=300) | st.lists(st.sampled_from([b"5", b"\r\n", b"0", b"a", b";", b"\n", b"hello", b"ff", b" "])).map(b"".join), sizes)
def test_any_chunks_are_taken_or_refused(data, pieces):
    def take(pieces):
        body = Body(CHUNKED, LIMIT)
        held = b""
        i = n = 0
        try:
            while i < len(data) and not body.done:
                held = body.take(held + data[i : i + pieces[n % len(pieces)]])
                i += pieces[n % len(pieces)]
                n += 1
                while body.more:
                    held = body.take(held)
                assert len(held) <= MAX_LINE + 1 and body.size <= LIMIT
        except HTTPError as e:
            return e.status, b""
        return body.done, b"".join(body.parts) if body.done else b""

    assert take(pieces) == take([1 << 20])


@given(st.binary(max_size=30) | st.text(max_size=30))
def test_any_string_is_json(value):
    import json

    found = json.loads(quoted(value))
    if isinstance(value, str):
        assert found == value
    else:
        try:
            assert found == value.decode()
        except UnicodeDecodeError:
            assert len(found) == len(value)
