"""A connection of an http listener: requests one after the other, bodies, answers in pieces, who may do what."""

import binascii

from harness import World
from port.core import TYPE_CHECKING
from port.core.limits.listener import Listener
from port.core.web.http import MAX_HEAD
from port.core.web.http_connection import MAX_REQUESTS, PATIENCE
from port.core.web.http_response import HTTPError, Response
from rights import Users
from visitor import THERE, Visitor, new_site, pages, read, request

if TYPE_CHECKING:
    from typing import Any


def world_with(handler, method="GET", path="/x", role="read", **options):
    """A world whose broker has one more route."""
    world = World(**options)
    world.broker.route(method, path, handler, role)
    return world


def echo(request):
    """Tells what a handler is told."""
    return Response("%s %s %s" % (str(request.method, "utf-8"), str(request.path, "utf-8"), str(request.body, "utf-8")))


def basic(user, password):
    return "Basic " + str(binascii.b2a_base64(("%s:%s" % (user, password)).encode()).strip(), "utf-8")


# -- one after the other -------------------------------------------------------------------------------------


def test_a_connection_is_kept():
    visitor = Visitor(world_with(echo))
    for _ in range(3):
        status, fields, body = visitor.ask("GET", "/x?y")
        assert (status, body, fields["connection"]) == (200, b"GET /x ", "keep-alive")
        assert visitor.ask("GET", "/nothing")[0] == 404
        status, _, body = visitor.ask("HEAD", "/x")
        assert (status, body) == (200, b"")
        assert visitor.ask("DELETE", "/x")[0] == 405
    assert visitor.closed is None and not visitor.data
    assert visitor.ask("GET", "/x", connection="x, Close")[1]["connection"] == "close"
    assert visitor.closed == (False, False)


def test_http_1_0_ends_with_the_answer():
    visitor = Visitor(world_with(echo))
    visitor.feed(b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    status, fields, body = visitor.answer()
    assert (status, fields["connection"], body) == (200, "close", b"GET /x ") and visitor.closed


def test_so_many_requests_on_a_connection():
    visitor = Visitor(world_with(echo))
    for number in range(1, MAX_REQUESTS + 1):
        assert (visitor.ask("GET", "/x")[1]["connection"] == "close") == (number == MAX_REQUESTS)
    assert visitor.closed == (False, False)


def test_pipelined_requests_are_answered_in_order():
    for size in (1, 7, 100000):
        visitor = Visitor(world_with(echo, "PUT"))
        data = b"".join([request("PUT", "/x", b"%d" % i) for i in range(20)])
        visitor.feed(data, size)
        for i in range(20):
            assert visitor.answer()[2] == b"PUT /x %d" % i
        assert not visitor.data and visitor.closed is None


def test_pipelined_requests_wait_for_the_answer_before():
    visitor = Visitor(world_with(echo), reads=False)
    visitor.feed(request("GET", "/x") * 3)
    assert visitor.held and visitor.answer()[0] == 200 and not visitor.data
    visitor.take()
    assert visitor.held and visitor.answer()[0] == 200 and not visitor.data
    visitor.take()
    assert not visitor.held and visitor.answer()[0] == 200
    visitor.take()
    assert visitor.ask("GET", "/x")[0] == 200


def test_many_small_requests_are_no_work_for_one_turn():
    world = world_with(echo)
    visitor = Visitor(world)
    visitor.conn.receive(request("GET", "/x") * 300)
    assert 0 < visitor.data.count(b"200 OK") < 200
    assert visitor.held  # no more is read before these are answered
    visitor.work()
    assert visitor.data.count(b"200 OK") == 300 and not visitor.held


def test_many_chunks_are_no_work_for_one_turn():
    world = world_with(echo, "POST")
    visitor = Visitor(world)
    data = request("POST", "/x", transfer_encoding="chunked") + b"1\r\ny\r\n" * 20000
    visitor.conn.receive(data)
    assert visitor.held and 0 < visitor.conn._body.size < 20000
    visitor.work()
    assert not visitor.held and visitor.conn._body.size == 20000
    visitor.feed(b"0\r\n\r\n")
    assert visitor.answer()[0] == 200


def test_nonsense_ends_the_connection():
    for data, status in (
        (b"\x10\x0e\x00\x04MQTT", 400), (b"GET /x\r\n\r\n", 400), (b"GET /x HTTP/1.1\r\n\r\n", 400), (b"A" * (MAX_HEAD + 1), 431),
        (b"GET /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nGET", 413),
        (b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\nabc", 400),
        (b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n", 501),
        (b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 501),
        (b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nHost: h\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /x HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\n\n", 400),
        (b"POST /x HTTP/1.1\nHost: h\nContent-Length: 0\n\n", 400),
        (b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n", 413),
    ):  # fmt: skip
        for size in (1, 1 << 30):
            visitor = Visitor(world_with(echo, "POST"))
            for i in range(0, len(data), size):
                visitor.feed(data[i : i + size])
            status_, fields, _ = visitor.answer()
            assert (status_, fields["connection"]) == (status, "close"), data
            assert not visitor.data and visitor.closed and not visitor.closed[0]
            visitor.feed(request("GET", "/healthz"))  # what looks like another request behind it is none
            assert not visitor.data


# -- bodies --------------------------------------------------------------------------------------------------


def chunked(body, size):
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join([b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]) + b"0\r\n\r\n"


def test_bodies():
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        visitor = Visitor(world_with(echo, method))
        assert visitor.ask(method, "/x")[2] == b"%s /x " % method.encode()
        assert visitor.ask(method, "/x", b"")[2] == b"%s /x " % method.encode()
        assert visitor.ask(method, "/x", b"hello")[2] == b"%s /x hello" % method.encode()
        for size in (1, 2, 3, 100):
            visitor.feed(request(method, "/x", transfer_encoding="Chunked") + chunked(b"hello there", size), size)
            assert visitor.answer()[2] == b"%s /x hello there" % method.encode()
        assert visitor.closed is None and visitor.world.broker.memory.partial_bytes == 0


def test_a_body_that_is_too_large_is_not_read():
    world = world_with(echo, "POST")
    site = new_site(world, max_body=10)
    assert Visitor(world, site).ask("POST", "/x", b"0123456789")[0] == 200
    for data in (request("POST", "/x", b"0123456789a"), request("POST", "/x", transfer_encoding="chunked") + chunked(b"0123456789a", 4)):
        visitor = Visitor(world, site)
        visitor.feed(data)
        status, fields, _ = visitor.answer()
        assert (status, fields["connection"], visitor.closed) == (413, "close", (False, True)) and not visitor.data
    assert world.broker.memory.partial_bytes == 0
    assert new_site(World(max_packet_size=4000)).max_body == 1000
    visitor = Visitor(world, site)
    visitor.feed(b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n")
    assert visitor.answer()[0] == 413 and not visitor.data


def test_a_client_that_waits_for_leave_gets_it():
    visitor = Visitor(world_with(echo, "POST"))
    head = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n"
    visitor.feed(head)
    assert visitor.data == b"HTTP/1.1 100 Continue\r\n\r\n"
    visitor.data = b""
    visitor.feed(b"hello")
    assert visitor.answer()[2] == b"POST /x hello"
    visitor.feed(head + b"hello")  # who does not wait is not told
    assert visitor.answer()[2] == b"POST /x hello" and not visitor.data
    visitor.feed(head.replace(b"100-Continue", b"tea"))
    assert visitor.answer()[0] == 417 and visitor.closed
    visitor = Visitor(visitor.world)
    visitor.feed(head.replace(b"/x", b"/nothing"))
    assert visitor.answer()[0] == 404 and visitor.closed  # whether the body comes is not known


def test_a_refused_request_with_a_body_ends_the_connection():
    world = world_with(echo, "POST")
    visitor = Visitor(world)
    visitor.feed(request("POST", "/nothing", b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"))
    status, fields, _ = visitor.answer()
    assert (status, fields["connection"]) == (404, "close") and not visitor.data and visitor.closed


def test_bytes_of_bodies_are_kept_for_clients():
    world = world_with(echo, "POST")
    visitor = Visitor(world)
    visitor.feed(request("POST", "/x", b"y" * 1000)[:-200])
    assert world.broker.memory.partial_bytes == 800 and world.broker.memory.kept() >= 800
    visitor.conn.lost()
    assert world.broker.memory.partial_bytes == 0
    visitor = Visitor(world)
    visitor.feed(request("POST", "/x", b"y" * 1000)[:500])
    visitor.feed(request("POST", "/x", b"y" * 1000)[500:])
    assert visitor.answer()[0] == 200 and world.broker.memory.partial_bytes == 0


def test_bytes_of_those_who_are_not_let_in_are_bounded_for_all_together():
    world = world_with(echo, "POST", role="open", anonymous="all", max_connecting_bytes=20000, owner_share=50)
    world.broker.route("GET", "/big", streamed(100))
    site = new_site(world, max_body=9000)
    waiting = [Visitor(world, site, "10.0.0.%d:1" % i, reads=False) for i in range(3)]
    for visitor in waiting:
        visitor.feed(request("GET", "/big") + b"x" * 6000)  # what is behind it waits for its answer
    assert site.early == 18000 and not [visitor for visitor in waiting if visitor.closed]
    visitor = Visitor(world, site)
    visitor.feed(request("POST", "/x", b"y" * 9000)[:-10])  # of a route that is open to anybody
    assert visitor.closed[0] and site.early == 18000
    assert Visitor(world, site).ask("POST", "/x", b"y" * 1000)[0] == 200
    for visitor in waiting:
        visitor.conn.lost()
    assert site.early == 0


def test_an_address_with_more_than_its_share_of_early_bytes_gives_them_up():
    world = world_with(echo, "POST", role="open", anonymous="all", max_connecting_bytes=20000, owner_share=50)
    site = new_site(world, max_body=9000)
    idle = Visitor(world, site, THERE)
    many = [Visitor(world, site, THERE) for _ in range(5)]
    for visitor in many:
        visitor.feed(b"GET /x HTTP/1.1\r\nHost: h\r\nA: " + b"a" * 3900)
    visitor = Visitor(world, site)
    visitor.feed(request("POST", "/x", b"y" * 6000)[:-1])
    assert [one.closed for one in many] == [(True, True)] * 2 + [None] * 3 and idle.closed is None  # the oldest that hold some
    visitor.feed(b"y")
    assert visitor.answer()[0] == 200
    for visitor in many[2:]:
        visitor.conn.lost()
    assert site.early == 0 and not [owner for owner in site.places.owners.values() if owner.weight]


def test_where_memory_is_short_there_is_no_body():
    world = world_with(echo, "POST", max_memory=4096, max_packet_size=128)
    world.broker.memory.message_bytes = 4000
    visitor = Visitor(world, new_site(world, max_body=1000))
    visitor.feed(request("POST", "/x", b"y" * 500))
    assert visitor.answer()[0] == 503 and visitor.closed
    world.broker.memory.message_bytes = 0


def test_time_for_a_head_a_body_and_between_requests():
    world = world_with(echo, "POST", connect_timeout=5)
    site = new_site(world, body_timeout=7, idle_timeout=9)

    def closes(visitor, ms):
        """Whether it is closed after so long, and not a second before."""
        for _ in range(ms // 1000 - 1):
            world.advance(1000)
            site.tick(world.now)
        open_ = visitor.closed is None
        world.advance(2000)
        site.tick(world.now)
        return open_ and visitor.closed is not None

    refused = world.broker.counters.refused
    assert closes(Visitor(world, site), 5000)
    assert world.broker.counters.refused == refused + 1
    visitor = Visitor(world, site)
    visitor.feed(b"POST /x HT")
    assert closes(visitor, 5000) and visitor.answer()[0] == 408
    visitor = Visitor(world, site)
    visitor.feed(request("POST", "/x", b"hello")[:-1])
    assert closes(visitor, 7000) and visitor.answer()[0] == 408
    refused = world.broker.counters.refused
    visitor = Visitor(world, site)
    assert visitor.ask("POST", "/x", b"hello")[0] == 200
    assert closes(visitor, 9000) and visitor.closed == (False, False)
    assert world.broker.counters.refused == refused  # who has been answered was not turned away
    visitor = Visitor(world, site)
    assert visitor.ask("POST", "/x", b"hello")[0] == 200
    visitor.feed(b"G")
    assert closes(visitor, 5000) and visitor.answer()[0] == 408
    for reads in (True, False):
        visitor = Visitor(world, site, reads=reads)
        visitor.feed(request("POST", "/x", b"hello") + b"G")  # the next head has begun behind a request
        if not reads:
            visitor.take()
        assert visitor.answer()[0] == 200 and closes(visitor, 5000) and visitor.answer()[0] == 408
    assert not site.connections and world.broker.default_listener.connected == 0


def test_crumbs_do_not_make_the_time_longer():
    world = world_with(echo, "POST", connect_timeout=5)
    site = new_site(world, body_timeout=7)
    visitor = Visitor(world, site)
    data = request("POST", "/x", b"hello" * 100)
    head = len(data) - 500
    visitor.feed(data[:head])
    for i in range(6):
        visitor.feed(data[head + i : head + i + 1])
        world.advance(1000)
        site.tick(world.now)
        assert visitor.closed is None
    world.advance(2000)
    site.tick(world.now)
    assert visitor.closed and visitor.answer()[0] == 408


# -- answers in pieces -----------------------------------------------------------------------------------------


def streamed(count, size=1000, told=-1, made=None):
    """A handler whose answer has so many pieces."""

    def pieces():
        for i in range(count):
            if made is not None:
                made.append(i)
            yield b"%03d" % i + b"." * (size - 3)

    return lambda request: Response(pieces(), size=told)


def expected(count, size=1000):
    return b"".join([b"%03d" % i + b"." * (size - 3) for i in range(count)])


def test_pieces_are_sent_in_chunks_where_the_size_is_not_known():
    world = world_with(streamed(10), outbox_bytes=2048)
    visitor = Visitor(world)
    status, fields, body = visitor.ask("GET", "/x")
    assert (status, fields["transfer-encoding"], fields["connection"]) == (200, "chunked", "keep-alive")
    assert body == expected(10) and max(visitor.sizes) < 2500
    assert visitor.ask("GET", "/healthz")[2] == b"ok\n"
    visitor.feed(b"GET /x HTTP/1.0\r\n\r\n")
    status, fields, body = visitor.answer()
    assert body == expected(10) and "transfer-encoding" not in fields and visitor.closed == (False, False)


def test_what_fits_into_one_piece_has_a_length():
    world = world_with(streamed(3, 100), outbox_bytes=2048)
    _, fields, body = Visitor(world).ask("GET", "/x")
    assert fields["content-length"] == "300" and body == expected(3, 100)


def test_a_size_that_is_told():
    for size, count, good in ((5000, 5, True), (0, 0, True), (5001, 5, False), (4999, 5, False), (0, 1, False)):
        visitor = Visitor(world_with(streamed(count, told=size), outbox_bytes=2048))
        if good:
            _, fields, body = visitor.ask("GET", "/x")
            assert fields["content-length"] == str(size) and body == expected(count)
            assert visitor.ask("HEAD", "/x")[1]["content-length"] == str(size)
        else:
            visitor.feed(request("GET", "/x"))
            assert len(visitor.world.errors()) == 1
            assert visitor.closed == (True, False) or visitor.answer()[0] == 500, (size, count)


def test_large_bytes_go_in_pieces():
    world = world_with(lambda request: Response(expected(50)), outbox_bytes=2048)
    visitor = Visitor(world)
    _, fields, body = visitor.ask("GET", "/x")
    assert fields["content-length"] == "50000" and body == expected(50) and max(visitor.sizes) < 1500
    assert visitor.ask("HEAD", "/x")[1]["content-length"] == "50000"


def test_nothing_is_made_while_the_socket_has_not_taken_what_is_there():
    made: "list[int]" = []
    world = world_with(streamed(20, made=made), outbox_bytes=2048)
    visitor = Visitor(world, reads=False)
    visitor.feed(request("GET", "/x"))
    for i in range(10):
        assert len(made) == 2 * i + 2 and visitor.conn._size == 0
        visitor.take()
    assert len(made) == 20
    visitor.take()
    assert visitor.answer()[2] == expected(20)


def endless(closed):
    """Pieces without end. Their end is told to the list."""
    try:
        while True:
            yield b"x" * 2000
    finally:
        closed.append(1)


def test_who_does_not_take_his_answer_is_cut_off():
    closed: "list[int]" = []
    world = world_with(lambda request: Response(endless(closed)), outbox_bytes=2048)
    visitor = Visitor(world, reads=False)
    visitor.feed(request("GET", "/x"))
    for _ in range(PATIENCE // 1000 - 1):
        world.advance(1000)
        visitor.site.tick(world.now)
    visitor.take()  # it was slow
    for _ in range(PATIENCE // 1000 - 1):
        world.advance(1000)
        visitor.site.tick(world.now)
    assert visitor.closed is None and not closed
    world.advance(1000)
    visitor.site.tick(world.now)
    assert visitor.closed == (True, False) and closed == [1]


def test_who_goes_ends_what_is_made_for_him():
    closed: "list[int]" = []
    world = world_with(lambda request: Response(endless(closed)), outbox_bytes=2048)
    visitor = Visitor(world, reads=False)
    visitor.feed(request("GET", "/x"))
    visitor.conn.lost()
    assert closed == [1] and not visitor.site.connections
    visitor.conn.resume_writing()
    visitor.conn.receive(b"x")
    visitor.work()
    assert visitor.closed is None


def test_a_long_answer_is_made_in_slices():
    def pieces():
        for _ in range(20000):
            yield ""  # work
        yield "done"

    world = world_with(lambda request: Response(pieces()))
    visitor = Visitor(world)
    visitor.conn.receive(request("GET", "/x"))
    slices = 0
    assert not visitor.data
    while world.broker.work():
        slices += 1
    assert slices >= 20000 * 2 // world.broker.turns.limit - 1 > 2 and visitor.answer()[2] == b"done"


def test_an_answer_may_wait():
    """As events do that come now and then: what is there is sent, and the connection stays."""

    def pieces():
        for i in range(3):
            yield "event %d\n" % i
            yield 5000

    world = world_with(lambda request: Response(pieces(), "text/event-stream"))
    visitor = Visitor(world)
    visitor.feed(request("GET", "/x"))
    for i in range(3):
        assert visitor.data.count(b"event %d" % i) == 1 and b"event %d" % (i + 1) not in visitor.data
        for _ in range(4):
            world.advance(1000)
            visitor.site.tick(world.now)
            visitor.work()
            assert visitor.data.count(b"event %d" % i) == 1 and b"event %d" % (i + 1) not in visitor.data and visitor.closed is None
        world.advance(1000)
        visitor.site.tick(world.now)
        visitor.work()
    assert visitor.answer()[2] == b"event 0\nevent 1\nevent 2\n"
    assert visitor.ask("HEAD", "/x")[0] == 200 and not visitor.data


def test_a_handler_that_fails():
    def fails(request):
        raise KeyError("secret")

    def refuses(request):
        raise HTTPError(409, "not now", (("Retry-After", "5"),))

    def fails_later(request):
        def pieces():
            yield b"x" * 3000
            raise KeyError("secret")

        return Response(pieces())

    world = World(outbox_bytes=2048)
    handlers: "tuple[tuple[str, Any], ...]" = (
        ("/fails", fails), ("/refuses", refuses), ("/later", fails_later), ("/none", lambda request: None), ("/text", lambda request: "x"),
        ("/split", lambda request: Response("x", fields=(("A", "b\r\nC: d"),))),
        ("/name", lambda request: Response("x", fields=(("A: b\r\nC", "d"),))),
        ("/space", lambda request: Response("x", fields=(("A ", "b"),))),
        ("/nameless", lambda request: Response("x", fields=(("", "b"),))),
        ("/length", lambda request: Response("x", fields=(("Content-Length", "2"),))),
        ("/chunked", lambda request: Response("x", fields=(("transfer-encoding", "chunked"),))),
        ("/close", lambda request: Response("x", fields=(("Connection", "close"),))),
    )  # fmt: skip
    for path, handler in handlers:
        world.broker.route("GET", path, handler)
    visitor = Visitor(world)
    wrong = ("/fails", "/none", "/text", "/split", "/name", "/space", "/nameless", "/length", "/chunked", "/close")
    for path in wrong:
        status, fields, body = visitor.ask("GET", path)
        assert (status, body, fields["connection"]) == (500, b"internal error\n", "keep-alive"), path
    assert len(world.errors()) == len(wrong)
    status, fields, body = visitor.ask("GET", "/refuses")
    assert (status, fields["retry-after"], body) == (409, "5", b"not now\n")
    visitor.feed(request("GET", "/later"))
    assert visitor.closed == (True, False) and not visitor.data.endswith(b"0\r\n\r\n")  # nobody may take it for whole
    assert len(world.errors()) == len(wrong) + 1


def test_a_handler_without_memory():
    def fails(request):
        raise MemoryError

    world = world_with(fails)
    noted: "list[int]" = []
    try:
        world.broker.out_of_memory = lambda: noted.append(1)  # type: ignore[method-assign]
    except AttributeError:
        return  # a compiled broker's methods stay what they are
    visitor = Visitor(world)
    status, fields, body = visitor.ask("GET", "/x")
    assert (status, body, fields["connection"], noted) == (503, b"out of memory\n", "keep-alive", [1])
    assert visitor.ask("GET", "/healthz")[0] == 200 and not world.errors()


def test_what_all_answers_have():
    world = world_with(lambda request: Response("x", "text/html", fields=(("content-security-policy", "default-src 'self'"), ("Cache-Control", "no-cache"))))
    visitor = Visitor(world)
    for path in ("/healthz", "/nothing", "/x"):
        _, fields, _ = visitor.ask("GET", path)
        assert fields["x-content-type-options"] == "nosniff"
        own = path == "/x"
        assert fields["cache-control"] == ("no-cache" if own else "no-store")
        assert fields["content-security-policy"] == ("default-src 'self'" if own else "default-src 'none'; frame-ancestors 'none'")


def test_what_the_client_has_is_not_sent_again():
    opened = []

    def pieces():
        opened.append(1)
        yield "text"

    world = world_with(lambda request: Response(pieces(), fields=(("ETag", '"v1"'),)))
    visitor = Visitor(world)
    for tags, known in (
        ('"v1"', True), ('W/"v1"', True), ('"v0", "v1"', True), ("*", True), ('"v0"', False), ("v1", False), ('"v1', False), ("", False),
    ):  # fmt: skip
        opened.clear()
        status, fields, body = visitor.ask("GET", "/x", if_none_match=tags)
        assert (status, body, fields["etag"]) == ((304, b"", '"v1"') if known else (200, b"text", '"v1"')), tags
        assert bool(opened) == (not known) and "content-length" not in fields or not known
    assert visitor.ask("HEAD", "/x", if_none_match="*")[0] == 304


# -- who may do what -----------------------------------------------------------------------------------------------


def users(**keys):
    """A world with users ann and bob, and a site with these keys."""
    world = World()
    world.broker.authenticators.append(Users(ann="apple", bob="banana"))
    for role in ("read", "write", "open", "local"):
        world.broker.route("GET", "/" + role, lambda request: Response("%r %s" % (request.user, request.role)), role)
        world.broker.route("POST", "/" + role, echo, role)
    return world, new_site(world, **keys)


def status(world, site, method, path, user="", address=THERE, **fields):
    if user:
        fields["authorization"] = basic(user, {"ann": "apple", "bob": "banana"}.get(user, ""))
    return Visitor(world, site, address).ask(method, path, **fields)[0]


def test_roles():
    world, site = users()
    for method in ("GET", "POST"):
        assert status(world, site, method, "/open") == 200
        assert status(world, site, method, "/local") == 401 and status(world, site, method, "/local", "", "127.0.0.1:5") == 200
        for path in ("/read", "/write", "/nothing"):
            assert status(world, site, method, path) == status(world, site, method, path, "eve") == 401
        for path in ("/read", "/write", "/local", "/open"):
            assert status(world, site, method, path, "ann") == status(world, site, method, path, "bob") == 200
    _, site = users(writers=["ann"])
    site = new_site(world, writers=["ann"])
    assert [status(world, site, "GET", "/write", user) for user in ("ann", "bob", "eve")] == [200, 403, 401]
    assert [status(world, site, "GET", "/read", user) for user in ("ann", "bob", "eve")] == [200, 200, 401]
    site = new_site(world, writers=[])
    assert [status(world, site, "GET", "/write", user) for user in ("ann", "bob")] == [403, 403]
    site = new_site(world, writers=["b*"])
    assert [status(world, site, "GET", "/write", user) for user in ("ann", "bob")] == [403, 200]


def test_a_handler_is_told_who_asks():
    world, site = users(writers=["ann"])
    for user, said in (("ann", b"b'ann' write"), ("bob", b"b'bob' read")):
        assert Visitor(world, site).ask("GET", "/read", authorization=basic(user, "apple" if user == "ann" else "banana"))[2] == said
    assert Visitor(world, site).ask("GET", "/open")[2] == b"None "


def test_who_is_anonymous_may_read():
    world = World(anonymous="all")
    for role in ("read", "write"):
        world.broker.route("GET", "/" + role, echo, role)
    site = new_site(world)
    assert status(world, site, "GET", "/read") == 200 and status(world, site, "GET", "/write") == 403
    site = new_site(world, writers=["*", ""])
    assert status(world, site, "GET", "/read") == status(world, site, "GET", "/write") == 200


def test_each_request_is_decided_anew():
    world, site = users()
    visitor = Visitor(world, site, THERE)
    ann = basic("ann", "apple")
    for fields, code in (({}, 401), ({"authorization": ann}, 200), ({}, 401), ({"authorization": "Basic x"}, 401), ({"authorization": ann}, 200)):
        assert visitor.ask("GET", "/read", **fields)[0] == code
    world.broker.authenticators[:] = [Users(eve="x")]
    assert visitor.ask("GET", "/read", authorization=ann)[0] == 401


def test_tokens_are_asked_first():
    world, site = users()
    seen = []

    def identify(request):
        seen.append(request.path)
        value = request.headers.get(b"authorization", b"")
        if not value.startswith(b"Bearer "):
            return None
        if value != b"Bearer good":
            raise HTTPError(401, "unknown token")
        return b"robot", "read"

    world.broker.find_routes().identify = identify
    for value, path, code in (
        ("Bearer good", "/read", 200), ("Bearer good", "/write", 403), ("Bearer bad", "/read", 401), (basic("ann", "apple"), "/write", 200), ("", "/read", 401),
    ):  # fmt: skip
        assert Visitor(world, site, THERE).ask("GET", path, authorization=value)[0] == code
    assert Visitor(world, site).ask("GET", "/read", authorization="Bearer good")[2] == b"b'robot' read"
    assert len(seen) == 6 and status(world, site, "GET", "/open") == 200 and len(seen) == 6
    world = World()  # without users, from elsewhere
    world.broker.find_routes().identify = identify
    assert new_site(world).may_ask(THERE) and Visitor(world, None, THERE).ask("GET", "/", authorization="Bearer good")[0] == 200


def test_pages_from_elsewhere_may_not_change_anything():
    world, site = users()
    json = {"content_type": "application/json"}
    for fields, code in (
        ({}, 200), (json, 200), ({"origin": "http://h"}, 200), ({"origin": "https://H"}, 200), ({"sec_fetch_site": "same-origin"}, 200),
        ({"sec_fetch_site": "none"}, 200), ({"sec_fetch_site": "same-origin", "origin": "http://h"}, 200),
        ({"origin": "http://evil"}, 403), ({"origin": "null"}, 403), ({"origin": "http://h:81"}, 403), ({"origin": "ftp://h"}, 403),
        ({"origin": "http://h.evil"}, 403), ({"origin": ""}, 403), ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403), ({"sec_fetch_site": "cross-site", "origin": "http://h"}, 403),
        ({"content_type": "text/plain"}, 415), ({"content_type": "Application/X-WWW-Form-Urlencoded; charset=utf-8"}, 415),
        ({"content_type": "multipart/form-data; boundary=x"}, 415),
    ):  # fmt: skip
        for method in ("POST",):
            assert status(world, site, method, "/write", "ann", **fields) == code, fields
        if "content_type" not in fields:
            assert status(world, site, "GET", "/read", "ann", **fields) == 200, fields  # which it cannot read


def test_writes_are_logged_with_who_did_it():
    world, site = users()
    assert status(world, site, "POST", "/write", "ann") == 200
    assert [text for _, text in world.log if "POST /write: 200" in text and "ann" in text and THERE in text]
    status(world, site, "GET", "/write", "ann")
    assert not [text for _, text in world.log if "GET /write" in text]


# -- MQTT on the same port, places -----------------------------------------------------------------------------------

UPGRADE = {"upgrade": "WebSocket", "connection": "upgrade", "sec_websocket_version": "13"}


def test_a_connection_becomes_a_websocket():
    world = world_with(echo)
    listener = world.broker.default_listener
    for paths, path, becomes in (
        (None, "/mqtt", True), (None, "/", False), (["/a", "/b"], "/b", True), (["*"], "/x", True), ([], "/mqtt", False),
    ):  # fmt: skip
        visitor = Visitor(world, new_site(world) if paths is None else new_site(world, paths=paths))
        assert visitor.ask("GET", "/x")[0] == 200 and listener.connected == 1
        data = request("GET", path, **UPGRADE)
        visitor.feed(data + b"more")
        if becomes:
            assert visitor.socket == data + b"more" and not visitor.site.connections and listener.connected == 0
        else:
            assert visitor.socket is None and visitor.answer()[0] in (200, 404)
            visitor.conn.lost()


def test_public_pages_are_no_way_in_for_mqtt():
    """Who gave a listener of pages users of its own, or none, has not meant MQTT."""
    for keys, paths in (({}, ("/mqtt",)), ({"auth": []}, ()), ({"anonymous": "all"}, ()), ({"auth": [], "paths": ["/ws"]}, ("/ws",))):
        assert new_site(World(), **keys).paths == paths


def test_an_idle_connection_gives_up_its_place():
    world = world_with(echo, max_connections=3, anonymous="all", owner_share=100)
    listener = world.broker.add_listener(Listener("x", "http", world.broker.options, []))
    site = new_site(world, listener)
    first, second, third = [Visitor(world, site, "10.0.0.%d:1" % i) for i in (1, 2, 3)]
    assert Visitor(world, site, "10.0.0.4:1").conn is None  # who has just come is about to ask
    for visitor in (second, first):
        world.advance(1000)
        visitor.ask("GET", "/x")
    third.feed(b"GET /x")
    fourth = Visitor(world, site, "10.0.0.4:1")
    assert fourth.conn is not None and second.closed == (False, False) and first.closed is third.closed is None
    assert site.make_room() and first.closed == (False, False)  # for somebody who speaks MQTT
    assert not site.make_room() and third.closed is None
    world.advance(3000)  # who says nothing for so long does not mean to ask now
    assert site.make_room() and fourth.closed == (True, False)


def test_an_address_with_more_than_its_share_gives_way():
    world = world_with(echo, max_connections=4, anonymous="all", owner_share=50)
    listener = world.broker.add_listener(Listener("x", "http", world.broker.options, []))
    site = new_site(world, listener)
    many = [Visitor(world, site, "10.0.0.1:%d" % i) for i in range(4)]
    for visitor in many:
        visitor.feed(b"G")
    other = Visitor(world, site, "10.0.0.2:1")
    assert other.conn is not None and many[0].closed and not many[1].closed
    assert site.places.count == 4
    assert Visitor(world, site, "10.0.0.1:9").conn is None
    for visitor in many[1:] + [other]:
        visitor.conn.lost()
    assert site.places.count == 0 and not site.places.owners and not site.connections


def test_the_host_may_allow_fewer():
    world = World()
    site = new_site(world)
    site.most = 2
    visitors = [Visitor(world, site, "127.0.0.1:%d" % i) for i in range(3)]
    assert [visitor.conn is None for visitor in visitors] == [False, False, True]
    site.close()
    assert visitors[0].closed and visitors[1].closed and world.broker.default_listener.connected == 0


def test_another_configuration_holds_from_the_next_request_on():
    world, site = users()
    visitor = Visitor(world, site, THERE)
    ann = basic("ann", "apple")
    assert visitor.ask("GET", "/write", authorization=ann)[0] == 200
    values = {"writers": ["bob"], "hosts": ["Other"], "max_body": 3, "paths": []}
    site.change(pages(values))
    assert visitor.ask("GET", "/write", authorization=ann)[0] == 403
    assert visitor.ask("GET", "/write", authorization=basic("bob", "banana"))[0] == 200
    assert visitor.ask("POST", "/read", b"abcd", authorization=ann)[0] == 413
    visitor = Visitor(world, site, THERE)
    visitor.feed(request("GET", "/read", authorization=ann).replace(b"Host: h", b"Host: other:80"))
    assert visitor.answer()[0] == 200
    visitor.feed(request("GET", "/mqtt", **UPGRADE))
    assert visitor.socket is None and visitor.answer()[0] == 401


def test_an_answer_can_be_read_by_the_tests():
    """What the helper takes for an answer is one."""
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nnext"
    assert read(data)[2:] == (b"abc", b"next")


def test_limits_follow_the_options_of_the_listener():
    """A reload changes the site first, and the listener's options after that."""
    world = World(max_packet_size=4000)
    site = new_site(world)
    assert site.max_body == 1000
    world.broker.options.max_packet_size = 8000
    assert site.max_body == 2000
    site.change(pages({"max_body": 10}))
    assert site.max_body == 10
