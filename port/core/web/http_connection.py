"""One connection of an http listener: requests are read, authorized and answered, one after the other.

    head -> Host, route -> authenticators -> role, origin -> body -> handler -> answer, piece by piece -> next head

A connection holds at most a head (http.MAX_HEAD), a body (Site.max_body) and a piece of an answer (Site.piece). The next piece
is made when the socket has taken the one before. Bytes behind a request wait, and are not read beyond one read. Bytes of clients
that are not let in, or need not be, are bounded for all of them together by max_connecting_bytes. Work is done in slices, see
Turns.limit, so that other clients are served while a page is made.

Hosts: a request must name an IP address, `localhost`, the machine's own name, or one of the listener's `hosts`; others get 421.
A page from elsewhere could otherwise read the answer, once its own name leads here (DNS rebinding). Such a page must not send
requests that change something, either: see `_check_origin`.

Clients: the listener's authenticators admit a client by the user name and password of HTTP Basic authentication, or by a client
certificate; `Routes.identify` may know it; or it may be anonymous. No ACL holds here. Each request is decided anew.
"""

from port.core import const
from port.core.wire.reason_codes import AWAY_CONNECTIONS, SERVER_BUSY, SERVER_UNAVAILABLE, SUCCESS
from port.core.limits.client_log import shown
from port.core.limits.ip_address import is_loopback
from port.core.limits.places import leave, part
from port.core.auth.authenticator import PENDING, Identity
from port.core.web.http import MAX_HEAD, leads_here, parse
from port.core.web.http_response import HTTPError, Response, all_fields, start, unauthorized
from port.core.web.routes import LOCAL, OPEN, READ, WRITE

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Iterator, Optional, Protocol

    from port.core.limits.places import Owner
    from port.core.web.http import Request
    from port.core.web.http_body import Body
    from port.core.web.http_response import Fields, Piece
    from port.core.web.routes import Found
    from port.core.web.site import Site

    class Host(Protocol):
        """The socket's side of a connection."""

        def send(self, data: bytes) -> bool:
            """Write; False when the socket has not taken all: then the next call comes after `HttpConnection.resume_writing`."""
            ...

        def close(self, abort: bool, told: bool) -> None:
            """See port.core.transport.Transport."""
            ...

        def pause_reading(self) -> None:
            """See port.core.transport.Transport."""
            ...

        def resume_reading(self) -> None:
            """See port.core.transport.Transport."""
            ...

        def upgrade(self, data: bytes) -> None:
            """The connection is a WebSocket's from now on, and has begun with this."""
            ...

        def certificate(self) -> "Optional[dict[str, Any]]":
            """See port.core.transport.Transport."""
            ...


MAX_REQUESTS = const(1000)  # requests answered on a connection, then it is closed
PATIENCE = const(30000)  # ms in which the client has to take a piece of an answer
_ON_ITS_WAY = const(2000)  # ms

_SAFE = (b"GET", b"HEAD", b"OPTIONS")
_FORMS = (b"application/x-www-form-urlencoded", b"multipart/form-data", b"text/plain")  # the types of a form, which any page can send
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# In the units of Turns.limit: a request with its answer, a piece of that; an empty one stands for a client that was counted.
_REQUEST = const(64)
_PIECE = const(8)
_COUNTED = const(2)
_LINE = const(2)  # of a chunked body

# The next step.
_HEAD = const(0)  # the head of a request
_DECISION = const(1)  # of an authenticator
_BODY = const(2)
_ANSWER = const(3)  # pieces of the answer, from its handler


class HttpConnection:
    """One connection; authenticators see it as they see a Connection of MQTT.

    done      True after the last answer, or when the socket is lost
    deadline  ms on the broker's clock when it is closed, 0: no deadline
    wakes_at  ms on the broker's clock when an answer without a next piece goes on, or 0
    owner, before, after  see port.core.limits.places
    """

    client_id = b""
    session = None

    __slots__ = (
        "site", "broker", "listener", "address", "transport", "identity", "done", "deadline", "wakes_at",
        "owner", "before", "after",
        "_peer", "_held", "_kept", "_early", "_state", "_full", "_paused", "_working", "_requests", "_keep", "_request", "_found", "_body",
        "_answer", "_pieces", "_parts", "_size", "_left", "_started", "_chunked", "_bare",
    )  # fmt: skip

    def __init__(self, site: "Site", address: str, host: "Host", peer: "Any") -> None:
        """`address`: the peer's, `host:port`; `peer`: the result of Peers.enter for it."""
        self.site = site
        self.broker = site.broker
        self.listener = site.listener
        self.address = address
        self.transport = host
        self.identity: "Optional[Identity]" = None
        self.done = False
        self.deadline = self.broker.clock() + self.listener.options.connect_timeout * 1000
        self.wakes_at = 0
        self.owner: "Optional[Owner]" = None
        self.before: "Any" = None
        self.after: "Any" = None
        self._peer = peer
        self._held = b""  # bytes not used yet
        self._kept = 0  # bytes counted in Memory.partial_bytes
        self._early = 0  # and in Site.early
        self._state = _HEAD
        self._full = False  # the socket has not taken all
        self._paused = False  # reading is paused
        self._working = False  # a job of the broker's is to go on
        self._requests = 0
        self._keep = False  # the connection stays open after this answer
        self._request: "Optional[Request]" = None
        self._found: "Optional[Found]" = None
        self._body: "Optional[Body]" = None
        # The answer.
        self._answer: "Optional[Response]" = None
        self._pieces: "Optional[Iterator[Piece]]" = None
        self._parts: "list[Any]" = []  # pieces made and not sent
        self._size = 0  # its bytes
        self._left = -1  # bytes to come by Content-Length, -1: without one
        self._started = False  # its head was sent
        self._chunked = False
        self._bare = False  # it has no body

    def is_idle(self) -> bool:
        """True without a request when all answers are taken, or when the first request is late."""
        if self._state != _HEAD or self._held or self._full or self.done:
            return False
        begun = self.deadline - self.listener.options.connect_timeout * 1000
        return self._requests > 0 or self.broker.clock() - begun >= _ON_ITS_WAY

    # -- from the host -------------------------------------------------------------------------

    def receive(self, data: "Any") -> None:
        """Take bytes from the socket."""
        if self.done:
            return
        if not self._held and self._state == _HEAD and self._requests:
            self.deadline = self.broker.clock() + self.listener.options.connect_timeout * 1000
        self._held = self._held + bytes(data) if self._held else bytes(data)
        self.broker.turns.spent = 0
        self._run()

    def resume_writing(self) -> None:
        """The socket has taken all that was sent."""
        self._full = False
        if not self.done:
            if self._state == _ANSWER:
                self.deadline = 0
            elif self._state == _HEAD:
                self.deadline = self._idle_until()
            self.broker.turns.spent = 0
            self._run()

    def lost(self) -> None:
        """The socket is closed; no answer is wanted any more."""
        if not self.done:
            self._release()

    # -- from the site -------------------------------------------------------------------------

    def give_way(self, why: str, reason: int) -> None:
        """Close, as its time is over or its place is needed; see ConnectionRegistry.turn_away."""
        if self._requests and self.is_idle():
            self._close(False)
            return
        self.broker.connection_registry.turn_away(self.listener, self.address, why, reason)
        if self._state == _BODY or self._state == _HEAD and self._held:
            try:
                self._keep = False
                self._refuse(HTTPError(408, "the request did not come in time"))
                while not self.done and not self._full:
                    self._make()
            except Exception:  # nosec B110 # it is closed, whether that is told or not
                pass
        if not self.done:
            self._close(True)

    def cut_off(self) -> None:
        """Close without an answer, as bytes of clients that are not let in are too many."""
        self.broker.connection_registry.turn_away(self.listener, self.address, "max_connecting_bytes reached", AWAY_CONNECTIONS)
        self._close(True)

    def wake(self) -> None:
        """Go on with an answer after a pause of its own."""
        self.wakes_at = 0
        self.broker.turns.spent = 0
        self._run()

    # -- from authenticators ---------------------------------------------------------------------

    def knows(self, identity: "Identity") -> bool:
        """See Connection.knows."""
        return self.identity is identity and not self.done

    def authorized(self, action: int, topic: bytes, verdict: "Any", ttl: int) -> None:
        """No ACL holds here, so no authorizer is asked."""

    def authenticated(self, code: "Optional[int]") -> None:
        """See Identity.authenticated. An authenticator that a reload has taken away admits no client."""
        if self._state != _DECISION:
            return
        self.broker.turns.spent = 0
        try:
            identity: "Identity" = self.identity  # type: ignore[assignment]
            if not identity.current:
                code = SERVER_BUSY
            elif code is None:
                code = identity.decide()
            if code == PENDING:
                self.deadline = self.broker.clock() + self.listener.options.auth_timeout * 1000
                return
            self._admit(code)
            self._go_on_with_request()
        except Exception as e:
            self._fail(e)
        self._run()

    # -- work ------------------------------------------------------------------------------------

    def _run(self) -> None:
        """Handle the bytes so far, at once with the rest of this turn."""
        if not self._working:
            if self._go_on():
                self.broker.turns.background(self._slice)
                self._working = True
            self._settle()

    def _slice(self) -> bool:
        """A job, see Turns.background."""
        self._working = self._go_on()
        self._settle()
        return self._working

    def _go_on(self) -> bool:
        """True when the turn is over and work is left."""
        broker = self.broker
        going = True
        while going and not self.done:
            if broker.turns.spent > broker.turns.limit:
                return True
            try:
                going = self._step()
            except Exception as e:
                self._fail(e)
        return False

    def _step(self) -> bool:
        """Do the next step; False when it waits for bytes, a decision or the socket."""
        if self._full or self.wakes_at:
            return False
        state = self._state
        if state == _HEAD:
            return self._take_head()
        if state == _BODY:
            return self._take_body()
        if state == _ANSWER:
            return self._make()
        return False

    def _count(self) -> None:
        """Count the bytes kept of the client, see Memory.kept and Site.early."""
        early = size = len(self._held)
        if self._body is not None:
            size += self._body.size
            if self._request is not None and not self._request.role:
                early = size
        self.broker.memory.partial_bytes += size - self._kept
        self._kept = size
        change = early - self._early
        self._early = early
        self.site.early += change
        if self.owner is not None:
            self.owner.weight += change

    def _heaviest(self) -> "HttpConnection":
        """The oldest connection with early bytes, of an address above its share of max_connecting_bytes; else this one."""
        options = self.broker.options
        share = part(options.max_connecting_bytes, options.owner_share)
        owner: Owner = self.owner  # type: ignore[assignment]
        if owner.weight <= share:
            for owner in self.site.places.owners.values():
                if owner.weight > share:
                    break
            else:
                return self
        oldest = owner.after
        while not oldest._early:
            oldest = oldest.after
        return oldest  # type: ignore[no-any-return]

    def _settle(self) -> None:
        """Pause reading while bytes wait for another step."""
        if self.done:
            return
        self._count()
        while self._early > MAX_HEAD and self.site.early > self.broker.options.max_connecting_bytes:
            self._heaviest().cut_off()
            if self.done:
                return
        full = bool(self._held) and (self._full or self._working or self._state in (_DECISION, _ANSWER))
        if full != self._paused:
            self._paused = full
            if full:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    # -- a request -------------------------------------------------------------------------------

    def _take_head(self) -> bool:
        held = self._held
        if not held:
            return False
        self._keep = False
        self._request = None
        found = parse(held)
        if found is None:
            return False
        self.broker.turns.spent += _REQUEST
        request, end = found
        if self._is_websocket(request):
            self._release()
            try:
                self.transport.upgrade(held)
            except Exception:
                self.transport.close(True, False)
                raise
            return False
        self._held = held[end:]
        self._request = request
        self.deadline = 0
        self._requests += 1
        self._keep = request.minor > 0 and self._requests < MAX_REQUESTS and b"close" not in _lower(request.members(b"connection"))
        self._body = None
        self._found = None
        self._begin(request)
        return True

    def _is_websocket(self, request: "Request") -> bool:
        paths = self.site.paths
        if not paths or b"websocket" not in _lower(request.members(b"upgrade")):
            return False
        return "*" in paths or request.path in [path.encode() for path in paths]

    def _begin(self, request: "Request") -> None:
        """Identify the client, unless the route is open to any client."""
        if not leads_here(request.headers.get(b"host", b"localhost"), self.site.hosts):
            raise HTTPError(421, "this name is not one of the listener's hosts", (), request.headers[b"host"])
        request.broker = self.broker
        request.address = self.address
        role = READ
        try:
            self._found = self.site.routes.find(request.method, request.path)
            role = self._found[1]
        except HTTPError:
            pass  # a client that is not let in learns no paths
        if role != OPEN and (role != LOCAL or not is_loopback(self.address)):
            known = None if self.site.routes.identify is None else self.site.routes.identify(request)
            if known is not None:
                request.user, request.role = known
            else:
                code = self._decide(request)
                if code == PENDING:
                    self._state = _DECISION
                    self.deadline = self.broker.clock() + self.listener.options.auth_timeout * 1000
                    self.identity.begin_attempt()  # type: ignore[union-attr]
                    return
                self._admit(code)
        self._go_on_with_request()

    def _decide(self, request: "Request") -> int:
        user, password = request.credentials() or (None, None)
        identity = Identity(self, user, password)
        self.identity = None
        if user is not None and identity.must_wait():
            raise HTTPError(429, "max_auth_failures reached")
        self.identity = identity
        return identity.decide()

    def _admit(self, code: int) -> None:
        """Raise HTTPError unless `code` allows. A client without a user name has not failed: it is asked for one."""
        identity: Identity = self.identity  # type: ignore[assignment]
        request: Request = self._request  # type: ignore[assignment]
        if code == SUCCESS:
            if identity.authenticator is not None:
                identity.succeeded()
            request.user = identity.user
            request.role = self.site.role(identity)
            return
        if identity.said_user is not None:
            identity.failed(code)
        if code in (SERVER_BUSY, SERVER_UNAVAILABLE):
            raise HTTPError(503, "try again later")
        if not self.listener.authenticators:
            raise HTTPError(403, "not one of those who may be anonymous")
        raise unauthorized()

    def _go_on_with_request(self) -> None:
        """The client is let in: check role and origin, and wait for the body."""
        request: Request = self._request  # type: ignore[assignment]
        if self._found is None:
            self._found = self.site.routes.find(request.method, request.path)
        request.parameters = self._found[2]
        if self._found[1] == WRITE and request.role != WRITE:
            raise HTTPError(403, "not one of the listener's writers")
        if request.method not in _SAFE:
            _check_origin(request)
        if not request.length:
            self._call(request)
            return
        from port.core.web.http_body import Body  # most requests have none

        self._body = Body(request.length, self.site.max_body)
        if self.broker.memory.lacks(max(request.length, 0)):
            raise HTTPError(503, "memory is short")
        if request.minor and b"expect" in request.headers:
            if request.headers[b"expect"].lower() != b"100-continue":
                raise HTTPError(417, "only 100-continue")
            if not self._held:
                self._send(_CONTINUE)
        self._state = _BODY
        self.deadline = self.broker.clock() + self.site.body_timeout

    def _take_body(self) -> bool:
        body: Body = self._body  # type: ignore[assignment]
        before = len(self._held)
        self._held = body.take(self._held)
        self.broker.turns.spent += 1 + ((before - len(self._held)) >> 6) + _LINE * body.lines
        if body.done:
            request: Request = self._request  # type: ignore[assignment]
            request.body = body.parts[0] if len(body.parts) == 1 else b"".join(body.parts)
            body.parts = []
            self._call(request)
            return True
        self._count()
        if self.broker.memory.lacks(0):
            raise HTTPError(503, "memory is short")
        return body.more

    def _call(self, request: "Request") -> None:
        """Have the handler answer."""
        answer = self._found[0](request)  # type: ignore[index]
        if not isinstance(answer, Response):
            raise TypeError("the handler of %s answers %r, which is no Response" % (shown(request.path), answer))
        self._respond(answer)

    # -- the answer ------------------------------------------------------------------------------

    def _fail(self, error: Exception) -> None:
        """Answer with the error; cut the answer off if it has begun."""
        try:
            if isinstance(error, MemoryError):
                self.broker.out_of_memory()
                error = HTTPError(503, "out of memory")
            elif not isinstance(error, HTTPError):
                self.broker.crashed(None, error)
                error = HTTPError(500, "internal error")
            else:
                self._log_refusal(error)
            if self._started:
                self._close(True)
            elif not self.done:
                self._refuse(error)
        except MemoryError:
            self._close(True)

    def _refuse(self, error: HTTPError) -> None:
        request = self._request
        if request is None or request.length and (self._body is None or not self._body.done):
            self._keep = False  # the next request begins behind a body that is not read
        self._drop_pieces()
        self._respond(error.response())

    def _log_refusal(self, error: HTTPError) -> None:
        """Log a refusal. A client that is asked for its user name, as browsers are at first, gets no warning."""
        from port.core.monitor.refusals import named

        identity = self.identity
        user = None if identity is None else identity.said_user
        level = 1 if error.status == 401 and not user or error.status in (404, 405) else 2
        who = named(b"", user, self.address)
        self.broker.client_log.line(level, self.address, "%s: page refused: %s (listener %s)", who, error.told(), self.listener.id)

    def _respond(self, answer: Response) -> None:
        """Begin to send an answer."""
        request = self._request
        body = answer.body
        if request is not None and answer.status == 200 and request.method in _SAFE:
            for name, value in answer.fields:
                if name.lower() == "etag" and _is_known(request, value.encode()):
                    _close(body)
                    answer = Response(body=b"", kind="", status=304, fields=answer.fields)
                    body = b""
        self._bare = request is not None and request.method == b"HEAD" or answer.status in (204, 304)
        if isinstance(body, str):
            body = body.encode()
        if isinstance(body, (bytes, bytearray, memoryview)):
            self._left = len(body)
            self._pieces = _cut(body, self.site.piece)
        else:
            self._left = answer.size
            self._pieces = iter(body)
        self._answer = answer
        self._started = self._chunked = False
        self._parts = []
        self._size = 0
        self._state = _ANSWER
        self.deadline = 0

    def _make(self) -> bool:
        """Make a piece of the answer, and send pieces of enough bytes; True when work is left."""
        broker = self.broker
        if self._bare and self._left >= 0:
            self._end()
            return True
        for piece in self._pieces:  # type: ignore[union-attr]
            if isinstance(piece, int):
                self._send_pieces(False)
                if self._bare:
                    break
                self.wakes_at = broker.clock() + max(piece, 1)
                return False
            broker.turns.spent += _PIECE if piece else _COUNTED
            if piece:
                if isinstance(piece, str):
                    piece = piece.encode()
                elif not isinstance(piece, bytes):
                    piece = bytes(piece)  # it may be a buffer that is used again
                self._size += len(piece)
                if not self._bare:
                    self._parts.append(piece)
                    if self._size >= self.site.piece:
                        self._send_pieces(False)
            return True
        self._end()
        return True

    def _end(self) -> None:
        """The answer is made: send the rest."""
        self._send_pieces(True)
        request = self._request
        status = 0 if self._answer is None else self._answer.status
        if request is not None and request.method not in _SAFE and status < 400:
            self._log_write(request, status)
        keep = self._keep
        self._drop_pieces()
        if not keep:
            self._close(False)
            return
        self._request = self._found = self._body = None
        if self.identity is not None:
            self.identity.end_attempt(False)
            self.identity = None
        self._state = _HEAD
        self.deadline = self.deadline if self._full else self._idle_until()

    def _log_write(self, request: "Request", status: int) -> None:
        from port.core.monitor.refusals import named

        who = named(b"", request.user, self.address)
        what = str(request.method, "utf-8"), str(request.path, "utf-8")
        self.broker.client_log.line(1, self.address, "%s: %s %s: %d (listener %s)", who, what[0], what[1], status, self.listener.id)

    def _idle_until(self) -> int:
        """The deadline behind an answer, of a head that has begun or of the next request."""
        time = self.listener.options.connect_timeout * 1000 if self._held else self.site.idle_timeout
        return self.broker.clock() + time

    def _drop_pieces(self) -> None:
        _close(self._pieces)
        self._pieces = self._answer = None
        self._parts = []
        self._size = 0
        self._started = False

    def _send_pieces(self, last: bool) -> None:
        """Send the pieces made, the head before the first. Raises ValueError for another size than the handler's."""
        size = self._size
        found: "list[Any]" = []
        if not self._started:
            found.append(self._head(last))
        if not self._bare:
            if self._left >= 0:
                self._left -= size
                if self._left < 0 or last and self._left:
                    raise ValueError("the answer is not as long as its handler said")
            if self._chunked and size:
                found.append(b"%x\r\n" % size)
                found += self._parts
                found.append(b"\r\n")
            else:
                found += self._parts
            if self._chunked and last:
                found.append(b"0\r\n\r\n")
        self._started = True
        self._parts = []
        self._size = 0
        if found:
            self._send(b"".join(found))

    def _head(self, last: bool) -> bytes:
        """The head of the answer, of which the rest is made if it is the `last` piece."""
        answer: Response = self._answer  # type: ignore[assignment]
        fields: "Fields" = all_fields(answer)
        length = self._left
        if length < 0 and last:
            length = self._size
            self._left = -1 if self._bare else length
        if answer.status in (204, 304):
            pass
        elif length >= 0:
            fields += (("Content-Length", str(length)),)
        elif not self._bare:
            self._chunked = self._request is not None and self._request.minor > 0
            if self._chunked:
                fields += (("Transfer-Encoding", "chunked"),)
            else:
                self._keep = False
        return start(answer.status, fields + (("Connection", "keep-alive" if self._keep else "close"),))

    def _send(self, data: bytes) -> None:
        if not self.transport.send(data):
            self._full = True
            self.deadline = self.broker.clock() + PATIENCE

    # -- the end ---------------------------------------------------------------------------------

    def _close(self, abort: bool) -> None:
        request = self._request
        body = self._body
        unread = request is not None and request.length and (body is None or not body.done)
        told = bool(unread or self._held)
        self._release()
        self.transport.close(abort, told)

    def _release(self) -> None:
        """Give up all places and bytes."""
        self.done = True
        if self.identity is not None:
            self.identity.end_attempt(False)
        self._drop_pieces()
        self._held = b""
        self._body = None
        self._count()
        leave(self)
        self.site.connections.pop(self, None)
        self.listener.connected -= 1
        self.broker.connection_registry.peers.leave(self._peer)


def _lower(members: "list[bytes]") -> "list[bytes]":
    return [member.lower() for member in members]


def _close(pieces: "Any") -> None:
    """Have a handler's generator let go of a file or the like."""
    close = getattr(pieces, "close", None)
    if close is not None:
        try:
            close()
        except ValueError:
            pass  # it is running: its own code has led here, and it ends when it returns


def _cut(body: "Any", size: int) -> "Iterator[Any]":
    """A body of bytes, in pieces."""
    if len(body) <= size:
        return iter((body,))
    view = memoryview(body)
    return (bytes(view[at : at + size]) for at in range(0, len(body), size))


def _is_known(request: "Request", etag: bytes) -> bool:
    """True when the client has the content with this tag (RFC 9110 clause 13.1.2)."""
    for member in request.members(b"if-none-match"):
        if member == b"*" or (member[2:] if member.startswith(b"W/") else member) == etag:
            return True
    return False


def _check_origin(request: "Request") -> None:
    """Raise HTTPError for a request that a page from elsewhere may have had a browser send in its user's name (CSRF).

    Browsers name the page in Sec-Fetch-Site and Origin. Browsers that send neither can be made to send forms only. A request
    without all these is not from a browser, and its fields prove nothing.
    """
    headers = request.headers
    site = headers.get(b"sec-fetch-site", b"none")
    origin = headers.get(b"origin")
    elsewhere = site != b"same-origin" and site != b"none"
    if origin is not None and not elsewhere:
        scheme, _, authority = origin.lower().partition(b"://")
        elsewhere = scheme not in (b"http", b"https") or authority != headers.get(b"host", b"").lower()
    if elsewhere:
        raise HTTPError(403, "pages from elsewhere may not do this", (), site if origin is None else origin)
    if headers.get(b"content-type", b"").partition(b";")[0].strip(b" \t").lower() in _FORMS:
        raise HTTPError(415, "a form may not do this")
