"""The head of an HTTP request (RFC 9112), whole and in pieces, good and bad."""

from harness import raises
from port.core.web.http import MAX_HEAD, MAX_HEADERS, parse
from port.core.web.http_response import HTTPError, head, response

GET = b"GET / HTTP/1.1\r\nHost: h\r\n"

# (request, status of the refusal)
REFUSED = (
    # not HTTP, to be told at once and not when the time for a request is over
    (b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01a", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00", 400),
    (b"\0", 400),
    (b" GET / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    (b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    (b"get / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    # the request line
    (b"GET /\r\n\r\n", 400),
    (b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    (b"GET / HTTP/1.1 \r\nHost: h\r\n\r\n", 400),
    (b"GET / x HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    (b"GET\t/\tHTTP/1.1\r\nHost: h\r\n\r\n", 400),
    (b"G\xc3T / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    (b"G,T / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    (b"GET  HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    (b"GET x HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    (b"GET * HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    (b"GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    (b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    (b"GET /\x00 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    (b"GET /\x7f HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    (b"GET / HTTP/1.1\rHost: h\r\n\r\n", 400),
    (b"GET / http/1.1\r\nHost: h\r\n\r\n", 400),
    (b"GET / HTTP/1\r\nHost: h\r\n\r\n", 400),
    (b"GET / HTTP/1,1\r\nHost: h\r\n\r\n", 400),
    (b"GET / HTTP/x.1\r\nHost: h\r\n\r\n", 400),
    (b"GET / HTTP/1.x\r\nHost: h\r\n\r\n", 400),
    (b"GET / HTTP/1.11\r\nHost: h\r\n\r\n", 400),
    (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
    (b"GET / HTTP/0.9\r\nHost: h\r\n\r\n", 505),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    # header fields
    (GET + b"A b: c\r\n\r\n", 400),
    (GET + b"A : c\r\n\r\n", 400),
    (GET + b": c\r\n\r\n", 400),
    (GET + b"A\r\n\r\n", 400),
    (GET + b"A(: c\r\n\r\n", 400),
    (GET + b"\xc3\xa9: c\r\n\r\n", 400),
    (GET + b"A: b\r\n c\r\n\r\n", 400),  # folded
    (GET + b"A: b\r\n\tc\r\n\r\n", 400),
    (GET + b" A: b\r\n\r\n", 400),
    (GET + b"A: b\0c\r\n\r\n", 400),
    (GET + b"A: b\x01\r\n\r\n", 400),
    (GET + b"A: \x7f\r\n\r\n", 400),
    (GET + b"A: b\rC: d\r\n\r\n", 400),
    (GET + b"A: b\nC: d\r\n\r\n", 400),
    (b"GET / HTTP/1.1\nHost: h\n\n", 400),
    (b"GET / HTTP/1.1\n", 400),
    # Host
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.9\r\n\r\n", 400),
    (GET + b"host: h\r\n\r\n", 400),
    # bodies
    (GET + b"Transfer-Encoding: chunked\r\n\r\n", 400),
    (GET + b"transfer-encoding:\r\n\r\n", 400),
    (GET + b"Content-Length: 1\r\n\r\nx", 413),
    (GET + b"Content-Length: 99999999999999999999999999\r\n\r\n", 413),
    (GET + b"Content-Length: -1\r\n\r\n", 400),
    (GET + b"Content-Length: +0\r\n\r\n", 400),
    (GET + b"Content-Length:\r\n\r\n", 400),
    (GET + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n", 400),
    # limits
    (GET + b"A: b\nC: " + b"d" * MAX_HEAD, 400),  # the first fault counts, however the request is split
    (GET + b"A: b\r\n" * MAX_HEADERS + b"\r\n", 431),
    (GET + b"A: " + b"b" * MAX_HEAD, 431),
    (b"GET /" + b"a" * MAX_HEAD, 431),
)


def size(data):
    """The size of the head, the whole of which is there."""
    _, end = parse(data)
    return end


def refusal(data):
    return raises(HTTPError, parse, data).status


def test_a_request():
    head = b"GET /mqtt?a=b?c HTTP/1.1\r\nHost: h:80\r\nX-Y:\t a,b \t\r\nx-y: c\r\nEmpty:\r\nHigh: \xff\tx\r\n\r\n"
    request, end = parse(head + b"more")
    assert end == len(head)
    assert (request.method, request.path, request.query, request.minor) == (b"GET", b"/mqtt", b"a=b?c", 1)
    assert request.headers == {b"host": b"h:80", b"x-y": b"a,b, c", b"empty": b"", b"high": b"\xff\tx"}


def test_members_of_lists():
    request, _ = parse(GET + b"A: x , Y,,\tz\r\na: w\r\nB: ,\r\n\r\n")
    assert request.members(b"a") == [b"x", b"Y", b"z", b"w"]
    assert request.members(b"b") == []
    assert request.members(b"c") == []


def test_any_method_and_http_1_0_are_left_to_the_caller():
    request, _ = parse(b"DELETE /x HTTP/1.0\r\n\r\n")
    assert (request.method, request.path, request.minor, request.headers) == (b"DELETE", b"/x", 0, {})
    request, _ = parse(b"HEAD / HTTP/1.2\r\nHost:\r\nContent-Length: 00\r\n\r\n")
    assert (request.method, request.minor) == (b"HEAD", 2)


def test_nothing_is_said_before_the_end():
    head = GET + b"A: b\r\n\r\n"
    for count in range(len(head)):
        assert parse(head[:count]) is None, count
    assert size(head) == len(head)


def test_refusals_whole():
    for data, status in REFUSED:
        assert refusal(data) == status, data[:60]


def test_refusals_byte_by_byte():
    for data, status in REFUSED:
        for count in range(len(data) + 1):
            try:
                assert parse(data[:count]) is None, data[:60]
            except HTTPError as e:
                assert e.status == status, (data[:60], e.status)
                break
        else:
            raise AssertionError("not refused: %r" % data[:60])


def test_the_largest_head_and_the_most_fields():
    filler = b"A: " + b"b" * (MAX_HEAD - len(GET) - 3 - 4)
    assert size(GET + filler + b"\r\n\r\n") == MAX_HEAD
    assert refusal(GET + filler + b"b\r\n\r\n") == 431
    request, _ = parse(GET + b"".join([b"A%d: b\r\n" % i for i in range(MAX_HEADERS - 1)]) + b"\r\n")
    assert len(request.headers) == MAX_HEADERS
    # What follows the head does not count.
    assert size(GET + b"\r\n" + b"\n" * MAX_HEAD) == len(GET) + 2


def test_refusals_quote_nothing():
    for data, _ in REFUSED:
        error = raises(HTTPError, parse, data.replace(b"A", b"secret").replace(b"/", b"/secret"))
        assert b"secret" not in error.answer()


def test_responses():
    assert response(200, (("Content-Type", "text/plain"),), b"hello") == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
    )
    assert head(200, (), 5) == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
    assert response(101, (("Upgrade", "websocket"),)) == b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


def test_the_answer_to_a_refused_request():
    assert HTTPError(405, "only GET", (("Allow", "GET"),)).answer() == (
        b"HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain\r\nAllow: GET\r\n"
        b"Content-Length: 9\r\nConnection: close\r\n\r\nonly GET\n"
    )
