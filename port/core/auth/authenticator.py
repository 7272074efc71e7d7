"""The interface of authenticators, and the decision when none of them decides.

A listener's authenticators are asked in order. Each decides about a CONNECT, or answers None and
leaves it to the next one. When all have answered None, a client with a user name is refused; the
option `anonymous` decides about clients without one, and about all clients of a listener without
authenticators. An empty user name counts as none.
"""

from port.core import const
from port.core.wire.reason_codes import BAD_AUTHENTICATION_METHOD, BAD_USER_NAME_OR_PASSWORD, NOT_AUTHORIZED, SUCCESS
from port.core.limits.ip_address import is_loopback

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional, Protocol

    from port.core.limits.listener import Listener
    from port.core.sessions.session import Session
    from port.core.acl.acl import Access, Rule
    from port.core.broker import Broker

    class Authorizer(Protocol):
        """Decides what no rule decides."""

        def ask(self, client: "Identity", action: int, topic: bytes) -> None:
            """Call `client.authorized(action, topic, verdict, ttl)` later, or at once; `action` is one of port.core.constants."""
            ...

    class Certified(Protocol):
        """The end of a connection that knows the peer's certificate."""

        def certificate(self) -> "Optional[dict[str, Any]]":
            """See port.core.transport.Transport."""
            ...

    class Peer(Protocol):
        """What an Identity is about: a connection of any kind, be it MQTT's or HTTP's."""

        @property
        def broker(self) -> Broker:
            """The broker."""
            ...

        @property
        def listener(self) -> Listener:
            """The way it came in."""
            ...

        @property
        def transport(self) -> Certified:
            """Its end of the network connection."""
            ...

        @property
        def address(self) -> str:
            """The peer as text, `host:port`."""
            ...

        @property
        def client_id(self) -> bytes:
            """The client id, UTF-8; empty where there is none."""
            ...

        @property
        def session(self) -> "Optional[Session]":
            """The session, None before there is one, and where there never is."""
            ...

        def knows(self, identity: "Identity") -> bool:
            """True while what is decided about this identity concerns the connection."""
            ...

        def authenticated(self, code: "Optional[int]") -> None:
            """See Identity.authenticated."""
            ...

        def authorized(self, action: int, topic: bytes, verdict: Any, ttl: int) -> None:
            """See Identity.authorized."""
            ...

PENDING = -1


class Authenticator:
    """Base class of authenticators; override the methods you need.

    name    as configured, for the log and $SYS
    method  the enhanced authentication method it implements (MQTT 5 clause 4.12), or None
    """

    name = ""
    method: "Optional[bytes]" = None

    def __repr__(self) -> str:
        return "<%s %s>" % (type(self).__name__, self.name or "without a name")

    def open(self) -> "Any":
        """The server starts, or begins to ask it; may be async. Raises OSError or ValueError: then the server does not start,
        or keeps the configuration it has."""

    def close(self) -> "Any":
        """The server stops, or asks it no more; `open` may follow. May be async. What it raises is logged."""

    def authenticate(self, client: "Identity", user: "Optional[bytes]", password: "Optional[bytes]") -> "Optional[int]":
        """Decide on a CONNECT without enhanced authentication.

        Returns 0 to allow, a reason code from 0x80 to 0xFF to refuse, None to leave it to the next one, or PENDING (-1).
        After PENDING call `client.authenticated` with one of the other answers; the client is not read until then. Any
        other answer, True and False too, refuses the client with an error in the log. Before it allows, it may set
        `user`, `rules`, `expires_at` and `authorizer` of `client`.
        """
        return None

    def exchange(self, client: "Identity", data: "Optional[bytes]") -> "tuple[int, Optional[bytes]]":
        """One step of enhanced authentication: the client sent `data` in CONNECT or AUTH.

        Returns (code, data to send): CONTINUE_AUTHENTICATION for another step, SUCCESS, or a
        reason code from 0x80 to 0xFF. `client.auth_state` is free for state between steps. A connected
        client may authenticate again (clause 4.12.1): then `rules`, `authorizer` and `expires_at` apply
        as they are at the end; another `user` is refused.
        """
        return BAD_AUTHENTICATION_METHOD, None

    def valid(self, client: "Identity") -> bool:
        """True when a client that it let in may stay; asked after a change of the configuration."""
        return True

    def knows(self, user: "Optional[bytes]") -> bool:
        """False when it would certainly refuse this user; asked about users that are away."""
        return True

    def figures(self) -> "list[tuple[str, int]]":
        """Counters for $SYS and the info pages, by name."""
        return []


def may_be_anonymous(listener: "Listener", address: str) -> bool:
    """True when a client that no authenticator lets in may connect."""
    who = listener.options.anonymous
    if who == "auto":
        who = "none" if listener.authenticators else "loopback"
    return who == "all" or who == "loopback" and is_loopback(address)


def fits(pattern: "Optional[bytes]", value: "Optional[bytes]") -> bool:
    """True when a user name or client id fits a pattern, the `user` or `client_id` of a rule or limit.

    None fits everything. `*` at the end of a pattern stands for any end, so `*` alone fits every authenticated user. Only an
    empty pattern fits clients without a user name.
    """
    if pattern is None:
        return True
    if not value:
        return not pattern
    return value.startswith(pattern[:-1]) if pattern.endswith(b"*") else value == pattern


def checked_answer(authenticator: "Any", code: "Any") -> int:
    """An authenticator's answer, checked. Raises TypeError for an invalid one, and for False and True."""
    if isinstance(code, bool) or not isinstance(code, int) or code and not 0x80 <= code <= 0xFF:
        raise TypeError("%r answers %r, not 0, None, PENDING or 0x80 to 0xFF" % (authenticator, code))
    return code


class Identity:
    """A client's identity: its user name, certificate and rights, from CONNECT and from authentication.

    conn           the connection of the client
    credentials    user name and password as the client gave them, until it is let in; then None
    user           user name as bytes, or None; the authenticated one once the client is let in
    certificate    None, or {"cn": str or None, "san": [str, ...], "der": bytes} of a verified client certificate
    rules          ACL rules for this client alone, or None; see port.core.acl.acl
    authorizer     asked when no rule decides, or None: `authorizer.ask(client, action, topic)` has to call
                   `client.authorized(action, topic, verdict, ttl)` later
    expires_at     ms on the broker's clock when the client is disconnected, or None
    authenticator  the one that let the client in, or that is being asked
    auth_state     free for the authenticator
    access         the client's rights; None for all, or before they are known
    options        the client's options until it has a session
    attempt        its undecided login attempt, see port.core.limits.login_attempts
    since          ms on the broker's clock when the authenticator was asked
    """

    __slots__ = (
        "since", "conn", "credentials", "user", "certificate", "rules", "authorizer", "expires_at", "authenticator", "auth_state",
        "asked", "renewing", "access", "options", "attempt",
    )  # fmt: skip

    def __init__(self, conn: "Peer", user: "Optional[bytes]", password: "Optional[bytes]") -> None:
        self.conn = conn
        self.credentials: "Optional[tuple[Optional[bytes], Optional[bytes]]]" = (user, password)
        self.user = user
        self.certificate: "Any" = conn.transport.certificate()
        self.rules: "Optional[list[Rule]]" = None
        self.authorizer: "Optional[Authorizer]" = None
        self.expires_at: "Optional[int]" = None
        self.authenticator: "Optional[Authenticator]" = None
        self.auth_state: "Any" = None
        self.asked = -1  # index of the authenticator asked last
        self.renewing = False  # a re-authentication is under way
        self.access: "Optional[Access]" = None
        self.options = conn.listener.options
        self.attempt: "Any" = None
        self.since: int

    def __repr__(self) -> str:
        from port.core.monitor.refusals import named

        return "<Identity %s>" % named(self.client_id, self.user, self.address)

    @property
    def client_id(self) -> bytes:
        """The client id, UTF-8."""
        return self.conn.client_id

    @property
    def address(self) -> str:
        """The peer as text, `host:port`."""
        return self.conn.address

    @property
    def listener(self) -> "Listener":
        """The client's listener."""
        return self.conn.listener

    @property
    def broker(self) -> "Broker":
        """The broker, for its clock and log."""
        return self.conn.broker

    @property
    def said_user(self) -> "Optional[bytes]":
        """The user the client says it is, until it is let in; then the one vouched for."""
        credentials = self.credentials
        return self.user if credentials is None else credentials[0]

    @property
    def gone(self) -> bool:
        """True when no answer is needed: the client has left, or a reload has asked other authenticators about it."""
        return not self.conn.knows(self)

    @property
    def enhanced(self) -> bool:
        """True when the client authenticates, or has authenticated, by an authentication method (clause 4.12)."""
        return self.asked < 0 and self.authenticator is not None

    @property
    def current(self) -> bool:
        """True while the authenticator asked last has its place in the listener's list."""
        row = self.conn.listener.authenticators
        return self.asked < len(row) and row[self.asked] is self.authenticator

    def authenticated(self, code: "Optional[int]") -> None:
        """Give the answer after PENDING: 0, a reason code from 0x80 to 0xFF, or None for the next authenticator."""
        self._answered()
        if not self.gone:
            self.conn.authenticated(None if code is None else checked_answer(self.authenticator, code))

    def authorized(self, action: int, topic: bytes, verdict: "Any", ttl: int) -> None:
        """Give the answer to `authorizer.ask`, remembered for `ttl` ms."""
        if not self.gone:
            self.conn.authorized(action, topic, verdict, ttl)

    def _answered(self) -> None:
        """Measure the time of the authenticator's answer."""
        measures = self.broker.counters.measures
        if measures is not None and self.authenticator is not None:
            measures.answered(self.authenticator, (self.broker.clock() - self.since) * 1000)

    def decide(self) -> int:
        """Ask the authenticators from the next one on; returns a reason code or PENDING."""
        credentials = self.credentials
        authenticators = self.conn.listener.authenticators
        while credentials is not None and self.asked + 1 < len(authenticators):
            self.asked += 1
            self.authenticator = authenticators[self.asked]
            self.since = self.broker.clock()
            code = self.authenticator.authenticate(self, credentials[0], credentials[1])
            if code == PENDING:
                return PENDING
            if code is not None:
                code = checked_answer(self.authenticator, code)
                self._answered()
                return code
        self.authenticator = None
        if self.user is not None and authenticators:
            return BAD_USER_NAME_OR_PASSWORD
        self.user = None  # no authenticator has confirmed it
        return SUCCESS if may_be_anonymous(self.listener, self.address) else NOT_AUTHORIZED

    # -- attempts, see port.core.limits.login_attempts ---------------------------------------------

    def must_wait(self) -> bool:
        """Whether the client is not even asked for its password, which is counted."""
        broker = self.broker
        who = self._who() if broker.attempts.addresses else None
        if who is None or not broker.attempts.wait(who, broker.clock()):
            return False
        broker.counters.auth_blocked += 1
        return True

    def begin_attempt(self) -> None:
        """It takes time to find out whether the client may come in: the attempt counts already."""
        if self.attempt is None:
            who = self._who()
            if who is not None:
                self.attempt = self.broker.attempts.begin(who, self.broker.clock())

    def failed(self, code: int) -> None:
        """Authentication has come to `code`: count it, and remember a client that does not know the password."""
        self.broker.counters.auth_failed += 1
        if code in (BAD_USER_NAME_OR_PASSWORD, NOT_AUTHORIZED, BAD_AUTHENTICATION_METHOD):
            self.begin_attempt()
            self.end_attempt(True)

    def succeeded(self) -> None:
        """Authentication has let the client in."""
        self.end_attempt(False)
        if self.listener.authenticators:
            who = self._who()
            if who is not None:
                self.broker.attempts.succeed(who)

    def end_attempt(self, failed: bool) -> None:
        """End an attempt that may have begun: it has `failed`, or it is undecided or has succeeded and does not count."""
        begun = self.attempt
        if begun is not None:
            self.attempt = None
            self.broker.attempts.over(begun, self.broker.clock(), failed)

    def _who(self) -> "Any":
        """What `attempts` knows a client by that tries to come in, or again."""
        return self.broker.attempts.find(self.address, self.said_user, self.client_id)
