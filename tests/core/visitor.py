"""Somebody who asks an http listener for pages, seen from the far end; and the socket's side of the core's HttpConnection."""

from port.core import TYPE_CHECKING
from port.core.config.listener_config import ListenerConfig
from port.core.web.site import Site

if TYPE_CHECKING:
    from typing import Any

HERE, THERE = "127.0.0.1:1", "10.0.0.1:1"


def new_site(world, listener=None, names=("h",), **keys):
    """What the connections of an http listener share; `keys` are those of its configuration."""
    return Site(world.broker, listener or world.broker.default_listener, pages(keys, names))


def pages(keys, names=("h",)):
    """What a Site takes of a listener with these keys."""
    keys["type"] = "http"
    config = ListenerConfig(keys)
    return config.kind.pages(config, names)


class Visitor:
    """One connection.

    data     what was answered and not looked at yet
    closed   None, or how the broker has closed the connection: (abort, told)
    reads    False while it takes nothing: the socket has not taken what is sent then
    held     True while the broker does not read
    socket   what a WebSocket is given that the connection has become
    """

    def __init__(self, world, site=None, address=HERE, certificate=None, reads=True):
        self.world = world
        self.site = site or new_site(world)
        self.data = b""
        self.closed: "Any" = None
        self.reads = reads
        self.held = False
        self.socket: "bytes | None" = None
        self.verified = certificate
        self.sizes: "list[int]" = []  # of what was sent at a time
        self.conn = self.site.visit(address, self)

    # -- the Host ------------------------------------------------------------------------

    def send(self, data):
        assert self.closed is None and data
        assert not self.conn._full, "sent before the last was taken"
        self.data += data
        self.sizes.append(len(data))
        return self.reads

    def close(self, abort, told):
        assert self.closed is None, "closed twice"
        self.closed = (abort, told)

    def pause_reading(self):
        self.held = True

    def resume_reading(self):
        self.held = False

    def upgrade(self, data):
        self.socket = data

    def certificate(self):
        return self.verified

    # -- what it does ----------------------------------------------------------------------

    def feed(self, data, size=1 << 30):
        """Send bytes, `size` at a time; the broker does all that is to do."""
        for i in range(0, len(data), size):
            self.conn.receive(memoryview(data)[i : i + size])
            self.work()

    def work(self):
        while self.world.broker.work():
            pass

    def take(self):
        """Take what waits in the socket."""
        self.conn.resume_writing()
        self.work()

    def ask(self, method, target, body=None, **fields):
        """Send a request; return its (status, {field: value}, body)."""
        self.feed(request(method, target, body, **fields))
        return self.answer(method)

    def answer(self, method="GET"):
        """The next answer, which must be there: (status, {field: value}, body)."""
        status, fields, body, self.data = read(self.data, method)
        return status, fields, body


def request(method, target, body=None, **fields):
    """A request of HTTP/1.1, with Content-Length if there is a body; `content_type` stands for Content-Type, and so on."""
    lines = ["%s %s HTTP/1.1" % (method, target), "Host: h"]
    if body is not None:
        lines.append("Content-Length: %d" % len(body))
    for name in fields:
        lines.append("%s: %s" % (name.replace("_", "-"), fields[name]))
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


def read(data, method="GET"):
    """(status, {lower-case field: value}, body, what follows) of an answer, which must be whole."""
    head, end, rest = data.partition(b"\r\n\r\n")
    assert end, data
    lines = head.decode().split("\r\n")
    assert lines[0].startswith("HTTP/1.1 ")
    status = int(lines[0].split(" ")[1])
    fields = {}
    for line in lines[1:]:
        name, _, value = line.partition(": ")
        assert name.lower() not in fields
        fields[name.lower()] = value
    if method == "HEAD" or status in (204, 304) or status < 200:
        return status, fields, b"", rest
    if fields.get("transfer-encoding") == "chunked":
        assert "content-length" not in fields
        body = b""
        while True:
            line, end, rest = rest.partition(b"\r\n")
            size = int(line.decode(), 16)
            assert end and len(rest) >= size + 2 and rest[size : size + 2] == b"\r\n", rest
            body += rest[:size]
            rest = rest[size + 2 :]
            if not size:
                return status, fields, body, rest
    if "content-length" not in fields:
        assert fields["connection"] == "close"
        return status, fields, rest, b""
    size = int(fields["content-length"])
    assert len(rest) >= size, rest
    return status, fields, rest[:size], rest[size:]
