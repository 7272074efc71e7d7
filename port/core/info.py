"""The pages of the info listener: GET or HEAD /, /healthz, /metrics, one request a connection.

/         JSON with the fields and names of CoMQTT's system.Info. Two differ in what they can say here:
          memory_alloc is 0 where the host tells no heap figures, and inflight_dropped is always 0, because
          messages in flight go only with their session.
/healthz  "ok"; whoever asks from this machine is told
/metrics  Prometheus text format 0.0.4. Counters: ucomqtt_bytes_received_total, ucomqtt_bytes_sent_total,
          ucomqtt_packets_received_total, ucomqtt_packets_sent_total, ucomqtt_messages_received_total,
          ucomqtt_messages_sent_total, ucomqtt_messages_dropped_total, ucomqtt_connections_total,
          ucomqtt_connections_refused_total, ucomqtt_sessions_expired_total, ucomqtt_auth_failed_total,
          ucomqtt_auth_timeouts_total, ucomqtt_auth_blocked_total, ucomqtt_publishes_denied_total,
          ucomqtt_subscriptions_denied_total, ucomqtt_rate_limited_total. Gauges: ucomqtt_info (its label is
          the version), ucomqtt_uptime_seconds, ucomqtt_clients_connected, ucomqtt_clients_disconnected,
          ucomqtt_clients_maximum, ucomqtt_clients_total, ucomqtt_retained_messages,
          ucomqtt_inflight_messages, ucomqtt_stored_messages, ucomqtt_subscriptions. Every other numeric
          figure of $SYS/broker/ is there, too, untyped, as ucomqtt_ and its topic, with _ for what a name
          cannot hold.

Who may see them: those whom the listener's authenticators admit, with user name and password by HTTP Basic
authentication, or by a client certificate; and those who may be anonymous. No ACL holds here.
"""

from port.core import const
from port.core.address import is_loopback
from port.core.auth import PENDING, Identity, may_be_anonymous
from port.core.connect import failed
from port.core.http import HTTPError, parse, response, unauthorized
from port.core.reason import SERVER_BUSY, SERVER_UNAVAILABLE, SUCCESS

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional, Protocol

    from port.core.broker import Broker
    from port.core.codec import Buffer
    from port.core.http import Request
    from port.core.listener import Listener

    class Host(Protocol):
        """What an InfoConnection needs of the socket's side."""

        def answer(self, data: bytes) -> None:
            """Send the whole answer and close."""
            ...

        def certificate(self) -> "Optional[dict[str, Any]]":
            """See port.core.transport.Transport."""
            ...


def may_ask(listener: "Listener", address: str) -> bool:
    """False for those who would get no page whatever they send: they can be turned away at once."""
    return bool(listener.authenticators) or is_loopback(address) or may_be_anonymous(listener, address)


class _Credentials:
    """User name and password, as of a CONNECT."""

    def __init__(self, given: "Optional[tuple[bytes, bytes]]") -> None:
        self.user: "Optional[bytes]" = None
        self.password: "Optional[bytes]" = None
        if given is not None:
            self.user, self.password = given


_GET = ("GET", "HEAD")
# (figure of $SYS, metric, type, help)
_METRICS = (
    ("uptime", "uptime_seconds", "gauge", "Time since the broker started"),
    ("bytes/received", "bytes_received_total", "counter", "Bytes received"),
    ("bytes/sent", "bytes_sent_total", "counter", "Bytes sent"),
    ("messages/received", "packets_received_total", "counter", "MQTT packets received"),
    ("messages/sent", "packets_sent_total", "counter", "MQTT packets sent"),
    ("messages/publish/received", "messages_received_total", "counter", "PUBLISH packets received"),
    ("messages/publish/sent", "messages_sent_total", "counter", "PUBLISH packets sent"),
    ("messages/publish/dropped", "messages_dropped_total", "counter", "Messages not delivered to one receiver"),
    ("connections/total", "connections_total", "counter", "Network connections accepted"),
    ("connections/refused", "connections_refused_total", "counter", "Network connections turned away"),
    ("clients/connected", "clients_connected", "gauge", "Clients connected"),
    ("clients/disconnected", "clients_disconnected", "gauge", "Sessions without a connection"),
    ("clients/maximum", "clients_maximum", "gauge", "Most clients connected at a time"),
    ("clients/total", "clients_total", "gauge", "Sessions"),
    ("clients/expired", "sessions_expired_total", "counter", "Sessions that expired"),
    ("clients/rate/limited", "rate_limited_total", "counter", "Times a client sent too fast"),
    ("auth/failed", "auth_failed_total", "counter", "CONNECT packets refused by authentication"),
    ("auth/timeouts", "auth_timeouts_total", "counter", "Clients about whom there was no answer in time"),
    ("auth/blocked", "auth_blocked_total", "counter", "Connections refused after too many failures"),
    ("acl/publish/denied", "publishes_denied_total", "counter", "Messages refused by the ACL"),
    ("acl/subscribe/denied", "subscriptions_denied_total", "counter", "Subscriptions refused by the ACL"),
    ("messages/retained/count", "retained_messages", "gauge", "Retained messages"),
    ("messages/inflight", "inflight_messages", "gauge", "QoS 1 and 2 messages sent and not acknowledged"),
    ("messages/stored", "stored_messages", "gauge", "Messages retained, in flight and queued"),
    ("subscriptions/count", "subscriptions", "gauge", "Subscriptions"),
)
# Other names of figures in the table, and what is no figure of the broker.
_LEFT_OUT = (
    "version", "timestamp", "load/bytes/received", "load/bytes/sent", "publish/messages/dropped",
    "publish/messages/received", "publish/messages/sent", "retained messages/count", "store/messages/count",
    "clients/active", "clients/inactive",
)  # fmt: skip


class InfoConnection:
    """One connection of the info listener; for authenticators it is what a Connection is for MQTT."""

    __slots__ = ("broker", "listener", "address", "transport", "identity", "client_id", "_held", "_request", "_done")

    def __init__(self, broker: "Broker", listener: "Listener", address: str, host: "Host") -> None:
        """`address`: the peer's, `host:port`."""
        self.broker = broker
        self.listener = listener
        self.address = address
        self.transport = host
        self.identity: "Optional[Identity]" = None
        self.client_id = b""
        self._held = b""
        self._request: "Optional[Request]" = None
        self._done = False

    def receive(self, data: "Buffer") -> None:
        """Take what came from the socket. The host is given the answer at once, or when an authenticator has decided."""
        if self._done or self._request is not None:
            return
        held = self._held + bytes(data)
        try:
            found = parse(held)
        except HTTPError as e:
            self._answer(e.answer())
            return
        if found is None:
            self._held = held
            return
        self._held = b""
        self._request = found[0]
        self._go_on(None)

    def lost(self) -> None:
        """The socket is closed; no answer is wanted any more."""
        self._done = True

    def knows(self, identity: "Identity") -> bool:
        """See Connection.knows."""
        return self.identity is identity and not self._done

    def authenticated(self, code: "Optional[int]") -> None:
        """See Identity.authenticated. Who was asked before a reload, and is not asked now, admits nobody."""
        self._go_on(code if self.identity.current else SERVER_BUSY)  # type: ignore[union-attr]

    def _go_on(self, code: "Optional[int]") -> None:
        """Ask the authenticators, from the next one on unless one has decided, and answer."""
        request: "Request" = self._request  # type: ignore[assignment]
        try:
            if request.path != b"/healthz" or not is_loopback(self.address):
                code = self._decide(request) if code is None else code
                if code == PENDING:
                    return
                self._admit(code)
            data = answer(self.broker, request)
        except HTTPError as e:
            data = e.answer()
        except MemoryError:
            self.broker.out_of_memory()
            data = HTTPError(503, "out of memory").answer()
        except Exception as e:
            self.broker.crashed(None, e)
            data = HTTPError(500, "internal error").answer()
        self._answer(data)

    def _decide(self, request: "Request") -> int:
        if self.identity is None:
            credentials = _Credentials(request.credentials())
            if credentials.user is not None and self.broker.peers.blocked(self.address, self.broker.clock()):
                self.broker.auth_blocked += 1
                raise HTTPError(429, "too many failures to authenticate")
            self.identity = Identity(self, credentials)  # type: ignore[arg-type]
        return self.identity.decide()

    def _admit(self, code: int) -> None:
        """Raise HTTPError unless `code` allows. Who gave no user name has not failed, only to be asked for one."""
        identity: Identity = self.identity  # type: ignore[assignment]
        if code == SUCCESS:
            if identity.authenticator is not None:
                self.broker.peers.succeeded(self.address, identity.connect.user)  # type: ignore[union-attr]
            return
        if identity.connect.user is not None:  # type: ignore[union-attr]
            failed(self, code)  # type: ignore[arg-type]
        if code in (SERVER_BUSY, SERVER_UNAVAILABLE):
            raise HTTPError(503, "try again later")
        if not self.listener.authenticators:
            raise HTTPError(403, "not one of those who may be anonymous")
        raise unauthorized()

    def _answer(self, data: bytes) -> None:
        self._done = True
        self.transport.answer(data)


def answer(broker: "Broker", request: "Request") -> bytes:
    """The whole response to a request. Raises HTTPError where it is to be refused."""
    page = _PAGES.get(request.path)
    if page is None:
        raise HTTPError(404, "there are /, /healthz and /metrics")
    method = str(request.method, "utf-8")
    if method not in _GET:
        raise HTTPError(405, "only GET and HEAD", (("Allow", ", ".join(_GET)),))
    kind, body = page(broker)
    fields = (("Content-Type", kind), ("Cache-Control", "no-store"))
    return response(200, fields, body.encode(), method == "HEAD")


def _figures(broker: "Broker") -> "dict[str, Any]":
    return dict(broker.sys.figures())


def _system(broker: "Broker") -> "tuple[str, str]":
    """CoMQTT's system.Info."""
    figures = _figures(broker)
    now = figures["timestamp"]
    # This order, which a dict would not keep on MicroPython.
    fields = (
        ("version", _quoted(figures["version"])),
        ("started", max(now - figures["uptime"], 0)),
        ("time", now),
        ("uptime", figures["uptime"]),
        ("bytes_received", broker.bytes_received),
        ("bytes_sent", broker.bytes_sent),
        ("clients_connected", figures["clients/connected"]),
        ("clients_disconnected", figures["clients/disconnected"]),
        ("clients_maximum", figures["clients/maximum"]),
        ("clients_total", figures["clients/total"]),
        ("messages_received", broker.publishes_received),
        ("messages_sent", broker.published),
        ("messages_dropped", broker.dropped),
        ("retained", figures["messages/retained/count"]),
        ("inflight", figures["messages/inflight"]),
        ("inflight_dropped", 0),
        ("subscriptions", figures["subscriptions/count"]),
        ("packets_received", broker.packets_received),
        ("packets_sent", broker.packets_sent),
        ("memory_alloc", figures.get("heap/current", 0)),
        ("threads", figures.get("threads", 1)),
    )
    return "application/json", "{\n%s\n}\n" % ",\n".join(['  "%s": %s' % field for field in fields])


def _health(broker: "Broker") -> "tuple[str, str]":
    return "text/plain; charset=utf-8", "ok\n"


def _metrics(broker: "Broker") -> "tuple[str, str]":
    """The Prometheus exposition format."""
    pairs = broker.sys.figures()
    figures = dict(pairs)
    lines = [
        "# HELP ucomqtt_info The broker's version",
        "# TYPE ucomqtt_info gauge",
        'ucomqtt_info{version=%s} 1' % _quoted(figures["version"]),
    ]
    seen = {"info": True}  # a metric may be there only once
    for figure, name, kind, text in _METRICS:
        seen[name] = True
        if figure in figures:
            _add(lines, name, kind, text, figures[figure])
    known = {row[0]: True for row in _METRICS}
    for figure, value in pairs:
        name = _valid_name(figure)
        if figure not in known and figure not in _LEFT_OUT and name not in seen and _is_number(value):
            seen[name] = True
            _add(lines, name, "untyped", "$SYS/broker/" + _line(figure), value)
    return "text/plain; version=0.0.4; charset=utf-8", "\n".join(lines) + "\n"


def _add(lines: "list[str]", name: str, kind: str, text: str, value: "Any") -> None:
    lines.append("# HELP ucomqtt_%s %s" % (name, text))
    lines.append("# TYPE ucomqtt_%s %s" % (name, kind))
    lines.append("ucomqtt_%s %s" % (name, value))


def _is_number(value: "Any") -> bool:
    """True for what Prometheus takes as a value; some figures are text."""
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return not value.strip("0123456789.-")
    return not isinstance(value, bool) and isinstance(value, (int, float))


def _valid_name(figure: str) -> str:
    """What stands for a figure in a metric's name, of which only these characters may be."""
    name = ""
    for c in figure:
        name += c if "a" <= c <= "z" or "A" <= c <= "Z" or "0" <= c <= "9" else "_"
    return name


def _line(text: str) -> str:
    """Text that ends with its line."""
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    """Text as JSON and as a label's value."""
    return '"%s"' % _line(text).replace('"', '\\"')


_PAGES = {b"/": _system, b"/healthz": _health, b"/metrics": _metrics}
