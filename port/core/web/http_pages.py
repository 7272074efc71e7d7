"""The pages of the info listener: GET or HEAD /, /healthz, /metrics, one request a connection.

/         JSON with the fields and names of CoMQTT's system.Info. Two differ in what they can say here:
          memory_alloc is 0 where the host tells no heap figures, and inflight_dropped is always 0, because
          messages in flight go only with their session.
/healthz  "ok"; whoever asks from this machine is told
/metrics  for Prometheus, see port.core.monitor.metrics

A page is made in slices, see Turns.limit, so that nobody waits while many clients are counted.

Which requests are answered: those for an IP address, `localhost`, the machine's own name, or one of the listener's `hosts`;
others get 421. A page from elsewhere could otherwise read them, once its own name leads here (DNS rebinding).

Who may see them: those whom the listener's authenticators admit, with user name and password by HTTP Basic
authentication, or by a client certificate; and those who may be anonymous. No ACL holds here.
"""

from port.core import const
from port.core.wire.reason_codes import AWAY_ADDRESS, AWAY_ANONYMOUS, AWAY_CONNECTIONS, SERVER_BUSY, SERVER_UNAVAILABLE, SUCCESS
from port.core.limits.ip_address import is_loopback
from port.core.auth.authenticator import PENDING, Identity, may_be_anonymous
from port.core.web.http import HTTPError, head, leads_here, parse, unauthorized

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Iterator, Optional, Protocol, Sequence

    from port.core.wire.codec import Buffer
    from port.core.limits.listener import Listener
    from port.core.web.http import Fields, Request
    from port.core.broker import Broker

    Page = tuple[str, Iterator[str]]  # its type, and the page in pieces

    class Host(Protocol):
        """What an InfoConnection needs of the socket's side."""

        def answer(self, chunks: "list[Buffer]") -> None:
            """Send the whole answer, which is in pieces, and close."""
            ...

        def certificate(self) -> "Optional[dict[str, Any]]":
            """See port.core.transport.Transport."""
            ...


def new_visitor(
    broker: "Broker", listener: "Listener", address: str, host: "Host", names: "Sequence[str]"
) -> "Optional[InfoConnection]":
    """Somebody has connected: an InfoConnection, to be told when it is `lost`; None when he is turned away."""
    if listener.connected >= listener.options.max_connections:
        why, reason = "max_connections reached", AWAY_CONNECTIONS
    elif not may_ask(listener, address):
        why, reason = "not one of those who may be anonymous", AWAY_ANONYMOUS
    else:
        peer = broker.connection_registry.peers.enter(address, listener.options)
        if peer is not None:
            listener.connected += 1
            return InfoConnection(broker, listener, address, host, names, peer)
        why, reason = "max_connections_per_address reached", AWAY_ADDRESS
    broker.connection_registry.turn_away(listener, address, why, reason)
    return None


def may_ask(listener: "Listener", address: str) -> bool:
    """False for those who would get no page whatever they send: they can be turned away at once."""
    return bool(listener.authenticators) or is_loopback(address) or may_be_anonymous(listener, address)


_GET = (b"GET", b"HEAD")
# What a piece of a page costs, in the units of Turns.limit; an empty one stands for a client that was counted.
_PIECE = const(8)
_COUNTED = const(2)


class InfoConnection:
    """One connection of the info listener; for authenticators it is what a Connection is for MQTT.

    done  True when it was answered, or is lost
    """

    client_id = b""
    session = None

    __slots__ = (
        "broker", "listener", "address", "transport", "identity", "done", "_names", "_peer", "_held", "_request",
        "_pieces", "_found", "_fields",
    )  # fmt: skip

    def __init__(
        self, broker: "Broker", listener: "Listener", address: str, host: "Host", names: "Sequence[str]", peer: "Any"
    ) -> None:
        """`address`: the peer's, `host:port`; `names` the machine has; `peer`: what Peers.enter returned for it."""
        self.broker = broker
        self.listener = listener
        self.address = address
        self.transport = host
        self.identity: "Optional[Identity]" = None
        self.done = False
        self._names = names
        self._peer = peer
        self._held = b""
        self._request: "Optional[Request]" = None
        self._pieces: "Optional[Iterator[str]]" = None  # of the page, as far as it is not there yet
        self._found: "list[Buffer]" = []  # what is there
        self._fields: "Fields" = ()

    def receive(self, data: "Buffer") -> None:
        """Take what came from the socket. The host is given the answer at once, or when an authenticator has decided."""
        if self.done or self._request is not None:
            return
        held = self._held + bytes(data)
        try:
            found = parse(held)
        except HTTPError as e:
            self._refused(e)
            self._answer([e.answer()])
            return
        if found is None:
            self._held = held
            return
        self._held = b""
        self._request = found[0]
        self._go_on(None)

    def lost(self) -> None:
        """The socket is closed; no answer is wanted any more."""
        self.done = True
        if self.identity is not None:
            self.identity.end_attempt(False)
        if self._peer is not None:
            self.broker.connection_registry.peers.leave(self._peer)
            self._peer = None
            self.listener.connected -= 1

    def knows(self, identity: "Identity") -> bool:
        """See Connection.knows."""
        return self.identity is identity and not self.done

    def authorized(self, action: int, topic: bytes, verdict: "Any", ttl: int) -> None:
        """No ACL holds here: nobody was asked."""

    def authenticated(self, code: "Optional[int]") -> None:
        """See Identity.authenticated. Who was asked before a reload, and is not asked now, admits nobody."""
        self._go_on(code if self.identity.current else SERVER_BUSY)  # type: ignore[union-attr]

    def _go_on(self, code: "Optional[int]") -> None:
        """Ask the authenticators, from the next one on unless one has decided, and answer."""
        request: "Request" = self._request  # type: ignore[assignment]
        try:
            if not leads_here(request.headers.get(b"host", b"localhost"), self._names):
                raise HTTPError(421, "this name is not one of the listener's hosts", (), request.headers[b"host"])
            if request.path != b"/healthz" or not is_loopback(self.address):
                code = self._decide(request) if code is None else code
                if code == PENDING:
                    self.identity.begin_attempt()  # type: ignore[union-attr]
                    return
                self._admit(code)
            self._begin(request)
        except Exception as e:
            self._fail(e)

    def _begin(self, request: "Request") -> None:
        """Make the page, or a first slice of it. Raises HTTPError where there is none."""
        page = _PAGES.get(request.path)
        if page is None:
            raise HTTPError(404, "there are /, /healthz and /metrics")
        if request.method not in _GET:
            raise HTTPError(405, "only GET and HEAD", (("Allow", "GET, HEAD"),))
        kind, self._pieces = page(self.broker, request)
        self._fields = (("Content-Type", kind), ("Cache-Control", "no-store"))
        self.broker.turns.spent = 0
        if self._go_on_with_page():
            self.broker.turns.background(self._go_on_with_page)

    def _go_on_with_page(self) -> bool:
        """A job, see Turns.background."""
        broker = self.broker
        try:
            for piece in self._pieces or ():
                if self.done:
                    return False
                if piece:
                    self._found.append(piece.encode())
                broker.turns.spent += _PIECE if piece else _COUNTED
                if broker.turns.spent > broker.turns.limit:
                    return True
            found = self._found  # it is not joined: a board has no room for that
            start = head(200, self._fields, sum([len(piece) for piece in found]))
            self._answer([start] if self._request.method == b"HEAD" else [start] + found)  # type: ignore[union-attr]
        except Exception as e:
            self._fail(e)
        return False

    def _fail(self, error: Exception) -> None:
        """Answer with what has gone wrong."""
        if isinstance(error, MemoryError):
            self.broker.out_of_memory()
            error = HTTPError(503, "out of memory")
        elif not isinstance(error, HTTPError):
            self.broker.crashed(None, error)
            error = HTTPError(500, "internal error")
        else:
            self._refused(error)
        self._answer([error.answer()])

    def _refused(self, error: HTTPError) -> None:
        """Log a request that gets no page. Who is only asked for his name, as browsers are at first, has failed at nothing."""
        from port.core.monitor.refusals import named

        identity = self.identity
        user = None if identity is None else identity.said_user
        level = 1 if error.status == 401 and not user or error.status in (404, 405) else 2
        who = named(b"", user, self.address)
        self.broker.client_log.line(level, self.address, "%s: page refused: %s (listener %s)", who, error.told(), self.listener.id)

    def _decide(self, request: "Request") -> int:
        if self.identity is None:
            user, password = request.credentials() or (None, None)
            identity = Identity(self, user, password)
            if user is not None and identity.must_wait():
                raise HTTPError(429, "max_auth_failures reached")
            self.identity = identity
        return self.identity.decide()

    def _admit(self, code: int) -> None:
        """Raise HTTPError unless `code` allows. Who gave no user name has not failed, only to be asked for one."""
        identity: Identity = self.identity  # type: ignore[assignment]
        if code == SUCCESS:
            if identity.authenticator is not None:
                identity.succeeded()
            return
        if identity.said_user is not None:
            identity.failed(code)
        if code in (SERVER_BUSY, SERVER_UNAVAILABLE):
            raise HTTPError(503, "try again later")
        if not self.listener.authenticators:
            raise HTTPError(403, "not one of those who may be anonymous")
        raise unauthorized()

    def _answer(self, chunks: "list[Buffer]") -> None:
        self.done = True
        self._pieces = None
        self._found = []
        if self.identity is not None:
            self.identity.end_attempt(False)
        self.transport.answer(chunks)


def _system(broker: "Broker", request: "Request") -> "Page":
    """CoMQTT's system.Info."""
    return "application/json", _system_pieces(broker)


def _system_pieces(broker: "Broker") -> "Iterator[str]":
    for _ in broker.sys.count():
        yield ""
    figures = dict(broker.sys.figures())
    now = figures["timestamp"]
    # This order, which a dict would not keep on MicroPython.
    fields = (
        ("version", '"%s"' % figures["version"]),
        ("started", max(now - figures["uptime"], 0)),
        ("time", now),
        ("uptime", figures["uptime"]),
        ("bytes_received", broker.counters.bytes_received),
        ("bytes_sent", broker.counters.bytes_sent),
        ("clients_connected", figures["clients/connected"]),
        ("clients_disconnected", figures["clients/disconnected"]),
        ("clients_maximum", figures["clients/maximum"]),
        ("clients_total", figures["clients/total"]),
        ("messages_received", broker.counters.publishes_received),
        ("messages_sent", broker.counters.published),
        ("messages_dropped", broker.counters.dropped),
        ("retained", figures["messages/retained/count"]),
        ("inflight", figures["messages/inflight"]),
        ("inflight_dropped", 0),
        ("subscriptions", figures["subscriptions/count"]),
        ("packets_received", broker.counters.packets_received),
        ("packets_sent", broker.counters.packets_sent),
        ("memory_alloc", figures.get("heap/current", 0)),
        ("threads", figures.get("threads", 1)),
    )
    yield "{\n%s\n}\n" % ",\n".join(['  "%s": %s' % field for field in fields])


def _health(broker: "Broker", request: "Request") -> "Page":
    return "text/plain; charset=utf-8", iter(("ok\n",))


def _metrics(broker: "Broker", request: "Request") -> "Page":
    from port.core.monitor.metrics import page  # it has many words, which need not be there before somebody asks

    open_metrics = b"application/openmetrics-text" in request.headers.get(b"accept", b"")
    kind = "application/openmetrics-text; version=1.0.0" if open_metrics else "text/plain; version=0.0.4"
    return kind + "; charset=utf-8", page(broker, open_metrics)


_PAGES = {b"/": _system, b"/healthz": _health, b"/metrics": _metrics}
