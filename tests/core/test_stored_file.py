"""Files served as they are stored."""

from harness import World
from port.core.web.http import Request
from port.core.web.stored_file import stored_file, takes_gzip
from visitor import Visitor, request

CONTENT = bytes([i * 7 & 255 for i in range(5000)])


class File:
    """What the host has opened."""

    opened = 0

    def __init__(self, fails=-1):
        File.opened += 1
        self._at = 0
        self._fails = fails

    def read(self, n):
        if 0 <= self._fails <= self._at:
            raise OSError(5)
        data = CONTENT[self._at : self._at + n]
        self._at += n
        return data

    def close(self):
        File.opened -= 1


def visitor_of(reads=True, **keys):
    world = World(outbox_bytes=2048)
    world.broker.route("GET", "/f", stored_file(File, "text/html", "v1", **keys), "open")
    return Visitor(world, reads=reads)


def test_a_compressed_file():
    for keys in ({}, {"size": 5000}):
        visitor = visitor_of(**keys)
        status, fields, body = visitor.ask("GET", "/f", accept_encoding="gzip, deflate, br")
        assert (status, body) == (200, CONTENT) and max(visitor.sizes) < 2048 and not File.opened
        assert (fields["content-type"], fields["content-encoding"], fields["etag"]) == ("text/html", "gzip", '"v1"')
        assert (fields["vary"], fields["cache-control"]) == ("Accept-Encoding", "no-cache")
        assert fields.get("content-length") == ("5000" if keys else None)
        status, fields, body = visitor.ask("GET", "/f", if_none_match='"v1"', accept_encoding="gzip")
        assert (status, body, fields["etag"]) == (304, b"", '"v1"')
        assert visitor.ask("HEAD", "/f")[0] == 200 and not File.opened
        assert visitor.ask("GET", "/f", accept_encoding="identity")[0] == 406
        assert visitor.ask("GET", "/f")[2] == CONTENT


def test_a_plain_file():
    visitor = visitor_of(compressed=False, fields=(("Cache-Control", "max-age=60"),))
    status, fields, body = visitor.ask("GET", "/f", accept_encoding="identity")
    assert (status, body, fields["cache-control"]) == (200, CONTENT, "max-age=60") and "content-encoding" not in fields


def test_the_file_is_closed_when_nobody_waits_for_it():
    visitor = visitor_of(reads=False)
    visitor.feed(request("GET", "/f"))
    assert File.opened == 1
    visitor.conn.lost()
    assert not File.opened


def test_a_file_that_cannot_be_read():
    for fails in (0, 3000):
        world = World(outbox_bytes=2048)
        world.broker.route("GET", "/f", stored_file(lambda fails=fails: File(fails), "text/html", "v1"))
        visitor = Visitor(world)
        visitor.feed(request("GET", "/f"))
        assert not File.opened and len(world.errors()) == 1
        assert visitor.closed == (True, False) if fails else visitor.answer()[0] == 500


def test_who_takes_gzip():
    for value, expected in (
        (None, True), ("gzip", True), ("GZIP", True), ("x-gzip", True), ("deflate, gzip;q=0.5", True), ("*", True), ("*;q=0.1", True),
        ("gzip;q=1.0, *;q=0", True), ("", False), ("identity", False), ("gzip;q=0", False), ("gzip; q=0.0", False), ("br, *;q=0", False),
        ("*, gzip;q=0", False), ("gzip;q=0, *", False), ("gzip;q=0.000", False), ("gzip;q=0.001", True),
    ):  # fmt: skip
        headers = {} if value is None else {b"accept-encoding": value.encode()}
        assert takes_gzip(Request(b"GET", b"/", 1, headers)) == expected, value
