"""Bodies of requests by length and in chunks, whole and in crumbs, good and bad."""

from harness import raises
from port.core.web.http import CHUNKED
from port.core.web.http_body import LINES, MAX_LINE, MAX_TRAILER, Body
from port.core.web.http_response import HTTPError

LIMIT = 100

# (chunked body, what it holds)
GOOD = (
    (b"0\r\n\r\n", b""),
    (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
    (b"1\r\na\r\n02\r\nbc\r\n000\r\n\r\n", b"abc"),
    (b"A\r\n0123456789\r\nb\r\n0123456789x\r\n0\r\n\r\n", b"01234567890123456789x"),
    (b"2;a=b\r\n\r\n\r\n0;x\r\n\r\n", b"\r\n"),
    (b'2 ;a="b"\r\nab\r\n0\r\n\r\n', b"ab"),
    (b"1\r\na\r\n0\r\nA: b\r\nC: d\r\n\r\n", b"a"),
    (b"64\r\n" + b"x" * 100 + b"\r\n0\r\n\r\n", b"x" * 100),
)
BAD = (
    (b"\r\n", 400), (b"x\r\n", 400), (b"-1\r\n", 400), (b"+1\r\n", 400), (b"0x1\r\n", 400), (b" 1\r\n", 400), (b"1 \r\n", 400), (b"1_0\r\n", 400),
    (b"1\n", 400), (b"1\r\r\n", 400), (b"\n", 400), (b"1\r2\r\n", 400), (b"1\r\na\n", 400), (b"1\r\nab\r\n", 400), (b"1\r\na\r\r\n", 400),
    (b"000000001\r\n", 400), (b"1;\x01\r\n", 400), (b"1;\x7f\r\n", 400), (b";a\r\n", 400), (b"1;a\rb\r\n", 400),
    (b"65\r\n", 413), (b"ffffffff\r\n", 413), (b"64\r\n" + b"x" * 100 + b"\r\n1\r\n", 413),
    (b"1;" + b"a" * MAX_LINE, 400), (b"0\r\n" + b"A: " + b"b" * MAX_LINE, 400), (b"0\r\nA: b\n", 400),
    (b"0\r\n" + b"A: b\r\n" * (MAX_TRAILER // 6 + 1), 431),
)  # fmt: skip


def take(body, data, size):
    """Feed it in pieces of `size`; returns what is left over."""
    held = b""
    for i in range(0, len(data), size):
        held = body.take(held + data[i : i + size])
        while body.more:
            held = body.take(held)
        if body.done:
            return held + data[i + size :]
    return held


def test_chunks():
    for data, expected in GOOD:
        for size in (1, 2, 3, 7, 1000):
            body = Body(CHUNKED, LIMIT)
            assert take(body, data + b"NEXT", size) == b"NEXT", data
            assert body.done and b"".join(body.parts) == expected and body.size == len(expected)


def test_nothing_is_done_before_the_end():
    for data, _ in GOOD:
        for count in range(len(data)):
            body = Body(CHUNKED, LIMIT)
            take(body, data[:count], 1000)
            assert not body.done, (data, count)


def test_what_is_refused():
    for data, status in BAD:
        for size in (1, 2, 5, 1000):
            assert raises(HTTPError, take, Body(CHUNKED, LIMIT), data, size).status == status, (data, size)


def test_a_length():
    for size in (1, 3, 1000):
        body = Body(5, LIMIT)
        assert not body.done and take(body, b"helloNEXT", size) == b"NEXT"
        assert body.done and b"".join(body.parts) == b"hello"
    assert Body(LIMIT, LIMIT).size == 0
    assert raises(HTTPError, Body, LIMIT + 1, LIMIT).status == 413
    assert Body(0, LIMIT).done and Body(0, 0).done


def test_crumbs_take_no_more_memory_than_what_they_are():
    body = Body(CHUNKED, 2000)
    for _ in range(2000):
        assert body.take(b"1\r\nx\r\n") == b""
    assert body.size == 2000 and len(body.parts) < 20 and b"".join(body.parts) == b"x" * 2000


def test_many_chunks_are_no_work_for_one_turn():
    body = Body(CHUNKED, 10000)
    left = body.take(b"1\r\nx\r\n" * 1000 + b"0\r\n\r\n")
    assert body.more and body.size <= LINES and len(left) > 4000
    turns = 0
    while body.more:
        left = body.take(left)
        turns += 1
    assert body.done and turns > 4 and body.size == 1000 and left == b""
