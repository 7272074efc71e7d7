"""Which handler answers which request."""

from harness import raises
from port.core.web.http import MAX_ARGUMENTS, Request, decoded
from port.core.web.http_response import HTTPError, Response
from port.core.web.routes import LOCAL, OPEN, READ, WRITE, Routes


def handler(name):
    return lambda request: Response(name)


def table(*routes):
    """Routes such as "GET /a"; their handlers answer with the path."""
    found = Routes()
    for text in routes:
        method, path = text.split(" ")
        found.add(method, path, handler(path))
    return found


def which(routes, method, path):
    """(path of the route, parameters)"""
    found, _, parameters = routes.find(method.encode(), path.encode())
    return found(None).body, parameters


def refusal(routes, method, path):
    return raises(HTTPError, routes.find, method.encode(), path.encode())


def test_paths_and_parameters():
    routes = table("GET /", "GET /a", "GET /a/{id}", "GET /a/{id}/b", "GET /{x}/c", "GET /t/{topic...}", "GET /a/me")
    for path, expected, parameters in (
        ("/", "/", {}), ("/a", "/a", {}), ("/a/1", "/a/{id}", {"id": "1"}), ("/a/me", "/a/me", {}), ("/a/", "/a/{id}", {"id": ""}),
        ("/a/1/b", "/a/{id}/b", {"id": "1"}), ("/z/c", "/{x}/c", {"x": "z"}), ("/a/c", "/a/{id}", {"id": "c"}),
        ("/t/x/y//z", "/t/{topic...}", {"topic": "x/y//z"}), ("/t/c", "/t/{topic...}", {"topic": "c"}),
        ("/a/%41%2fb%20%c3%a9", "/a/{id}", {"id": "A/b \xe9"}), ("/a/+", "/a/{id}", {"id": "+"}),
        ("/t/a%2Fb/c", "/t/{topic...}", {"topic": "a/b/c"}),
    ):  # fmt: skip
        assert which(routes, "GET", path) == (expected, parameters), path
    for path in ("/b", "/a/1/", "/a/1/c", "/a/1/b/", "//", "/t", "/%61", "/A"):
        assert refusal(routes, "GET", path).status == 404, path


def test_the_order_of_adding_does_not_matter():
    texts = ["GET /a/{id}", "GET /a/me", "GET /{x}/me", "GET /a/{rest...}", "GET /{all...}", "GET /a/{id}/c"]
    for i in range(len(texts)):
        routes = table(*(texts[i:] + texts[:i]))
        for path, expected in (
            ("/a/me", "/a/me"), ("/a/x", "/a/{id}"), ("/b/me", "/{x}/me"), ("/a/x/c", "/a/{id}/c"), ("/a/x/d", "/a/{rest...}"), ("/b/x", "/{all...}"),
        ):  # fmt: skip
            assert which(routes, "GET", path)[0] == expected, (i, path)


def test_methods():
    routes = table("GET /a", "POST /a", "DELETE /a/{id}", "GET /a/me", "PUT /p", "PATCH /p")
    assert which(routes, "HEAD", "/a") == which(routes, "GET", "/a") == which(routes, "POST", "/a")
    assert which(routes, "DELETE", "/a/me") == ("/a/{id}", {"id": "me"})  # the other path has no such method
    for method, path, allow in (
        ("PUT", "/a", "GET, HEAD, POST"), ("get", "/a", "GET, HEAD, POST"), ("HEAD", "/p", "PUT, PATCH"), ("GET", "/a/1", "DELETE"),
        ("POST", "/a/me", "GET, HEAD, DELETE"), ("TRACE", "/p", "PUT, PATCH"),
    ):  # fmt: skip
        error = refusal(routes, method, path)
        assert (error.status, error.fields) == (405, (("Allow", allow),)), (method, path)
    found, role, _ = routes.find(b"OPTIONS", b"/a")
    answer = found(Request(b"OPTIONS", b"/a", 1, {}))
    assert (answer.status, answer.fields, role) == (204, (("Allow", "GET, HEAD, POST"),), READ)
    assert refusal(routes, "OPTIONS", "/b").status == 404


def test_what_cannot_be_decoded():
    routes = table("GET /{a}/{b...}")
    for path in ("/%/x", "/%4/x", "/%zz/x", "/x/%", "/x/a%0", "/%ff/x", "/%c0%80/x", "/%ed%a0%80/x", "/%00/x", "/x/%f4%90%80%80"):
        assert refusal(routes, "GET", path).status == 400, path
    assert decoded(b"%25%2B+") == "%++"


def test_routes_that_cannot_be():
    for method, path, role in (
        ("HEAD", "/a", READ), ("get", "/a", READ), ("", "/a", READ), ("OPTIONS", "/a", READ),
        ("GET", "a", READ), ("GET", "", READ), ("GET", "/a?b", READ), ("GET", "/a#b", READ), ("GET", "/{a", READ), ("GET", "/a}", READ),
        ("GET", "/x{a}", READ), ("GET", "/{a}x", READ), ("GET", "/{}", READ), ("GET", "/{...}", READ), ("GET", "/{a}/{a}", READ),
        ("GET", "/{a...}/b", READ), ("GET", "/a", "all"), ("GET", "/a", ""),
    ):  # fmt: skip
        raises(ValueError, Routes().add, method, path, handler(""), role)
    raises(TypeError, Routes().add, "GET", "/a", None)
    routes = table("GET /a", "GET /b/{id}")
    for text in ("GET /a", "GET /b/{id}"):
        raises(ValueError, routes.add, text.split(" ")[0], text.split(" ")[1], handler(""))
    raises(ValueError, routes.add, "PUT", "/b/{name}", handler(""))
    for role in (READ, WRITE, OPEN, LOCAL):
        routes.add("GET", "/" + role, handler(""), role)
        assert routes.find(b"GET", b"/" + role.encode())[1] == role


def arguments(query):
    return Request(b"GET", b"/?" + query, 1, {}).arguments()


def test_arguments():
    for query, expected in (
        (b"", {}), (b"a=b", {"a": "b"}), (b"a=b&c=d+e%2b", {"a": "b", "c": "d e+"}), (b"a", {"a": ""}), (b"a=b=c", {"a": "b=c"}),
        (b"a=1&a=2", {"a": "2"}), (b"%c3%a9=%c3%a9", {"\xe9": "\xe9"}), (b"&", {"": ""}),
    ):  # fmt: skip
        assert arguments(query) == expected, query
    assert len(arguments(b"&".join([b"a%d=" % i for i in range(MAX_ARGUMENTS)]))) == MAX_ARGUMENTS
    for query in (b"a=%", b"%zz=1", b"a=%ff", b"&".join([b"a%d=" % i for i in range(MAX_ARGUMENTS + 1)])):
        assert raises(HTTPError, arguments, query).status == 400


def test_a_body_of_json():
    request = Request(b"POST", b"/", 1, {})
    request.body = b'{"a": [1, "\xc3\xa9"]}'
    assert request.json() == {"a": [1, "\xe9"]}
    for body in (b"", b"nonsense", b'"\xff"', b'"\xed\xa0\x80"'):
        request.body = body
        assert raises(HTTPError, request.json).status == 400, body
