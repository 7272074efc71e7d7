"""Who may connect: the interface of authenticators, and what holds when none has an opinion.

A listener's authenticators are asked in order. Each decides on a CONNECT, or answers "next"
(None) and leaves it to the one after it. When all say next, a client that gave a user name is
refused, unless there is no authenticator at all; for the others the option `anonymous` decides. An
empty user name is none.
"""

from port.core import const
from port.core.wire.reason_codes import BAD_AUTHENTICATION_METHOD, BAD_USER_NAME_OR_PASSWORD, NOT_AUTHORIZED, SUCCESS
from port.core.limits.ip_address import is_loopback

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.limits.listener import Listener
    from port.core.acl.acl import Access, Rule
    from port.core.protocol.connection import Connection
    from port.core.protocol.handle_connect import Connect
    from port.core.broker import Broker

PENDING = -1


class Authenticator:
    """Base class; override what is needed.

    name    as configured, for the log and the figures
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

        Returns 0 to allow, a reason code from 0x80 to 0xFF to refuse, None to leave it to the next, or
        PENDING (-1); after PENDING one of the others goes to `client.authenticated(code)` later, and the
        client is not read until then. Anything else, True and False among it, lets nobody in, and the
        log says so. Before it allows, it may set `user`, `rules`, `expires_at` and `authorizer` of `client`.
        """
        return None

    def exchange(self, client: "Identity", data: "Optional[bytes]") -> "tuple[int, Optional[bytes]]":
        """One step of enhanced authentication: the client sent `data` in CONNECT or AUTH.

        Returns (code, data to send): CONTINUE_AUTHENTICATION for another step, SUCCESS, or a
        reason code from 0x80 to 0xFF. `client.auth_state` is free for what must be kept between steps.
        A connected client may go through it again (clause 4.12.1): `rules`, `authorizer` and `expires_at`
        hold as they are at its end, another `user` is refused.
        """
        return BAD_AUTHENTICATION_METHOD, None

    def valid(self, client: "Identity") -> bool:
        """Whether a client it admitted may stay, asked when the configuration has changed."""
        return True

    def knows(self, user: "Optional[bytes]") -> bool:
        """Whether it may let this user in: False where it is sure that it does not. Asked about who is away."""
        return True

    def figures(self) -> "list[tuple[str, int]]":
        """Counters for $SYS and the info pages, by name."""
        return []


def may_be_anonymous(listener: "Listener", address: str) -> bool:
    """Whether somebody for whom nobody vouches may come in."""
    who = listener.options.anonymous
    if who == "auto":
        who = "none" if listener.authenticators else "loopback"
    return who == "all" or who == "loopback" and is_loopback(address)


def fits(pattern: "Optional[bytes]", value: "Optional[bytes]") -> bool:
    """Whether a user name or client id is one a pattern means; all rules and limits mean this by `user` and `client_id`.

    None means everybody. With `*` at its end a pattern means any end, so `*` any user: somebody vouched for. Clients
    without a user name are meant by an empty pattern alone.
    """
    if pattern is None:
        return True
    if not value:
        return not pattern
    return value.startswith(pattern[:-1]) if pattern.endswith(b"*") else value == pattern


def checked_answer(authenticator: "Any", code: "Any") -> int:
    """An authenticator's decision. Raises TypeError for one that is none, or would be taken for another, as False for 0."""
    if isinstance(code, bool) or not isinstance(code, int) or code and not 0x80 <= code <= 0xFF:
        raise TypeError("%r answers %r, not 0, None, PENDING or 0x80 to 0xFF" % (authenticator, code))
    return code


class Identity:
    """Who a client is: what it said in CONNECT, and what authentication made of that.

    user           user name as bytes, or None; the one vouched for once the client is let in
    certificate    None, or {"cn": str or None, "san": [str, ...], "der": bytes} of a verified client certificate
    rules          ACL rules for this client alone, or None; see port.core.acl.acl
    authorizer     asked when no rule decides, or None: `authorizer.ask(client, action, topic)`, which has to
                   call `client.authorized(action, topic, verdict, ttl)` later
    expires_at     ms on the broker's clock when the client is disconnected, or None
    authenticator  the one that let the client in, or that is asked
    auth_state     free for the authenticator
    access         what the client may do, None: everything, or not known yet
    options        those that hold for the client until it has a session
    attempt        an attempt that has begun and is not decided, see port.core.limits.login_attempts
    since          ms on the broker's clock when the authenticator was asked
    """

    __slots__ = (
        "since", "conn", "user", "certificate", "rules", "authorizer", "expires_at", "authenticator", "auth_state",
        "connect", "asked", "renewing", "access", "options", "attempt",
    )  # fmt: skip

    def __init__(self, conn: "Connection", connect: "Connect") -> None:
        self.conn = conn
        self.user = connect.user
        self.certificate: "Any" = conn.transport.certificate()
        self.rules: "Optional[list[Rule]]" = None
        self.authorizer: "Any" = None
        self.expires_at: "Optional[int]" = None
        self.authenticator: "Optional[Authenticator]" = None
        self.auth_state: "Any" = None
        self.connect: "Optional[Connect]" = connect  # until the client is let in
        self.asked = -1  # which of the authenticators was asked last
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
        """The way it came in."""
        return self.conn.listener

    @property
    def broker(self) -> "Broker":
        """The broker, for its clock and log."""
        return self.conn.broker

    @property
    def gone(self) -> bool:
        """True when nobody waits for the answer: the client has gone, or others were asked about it after a reload."""
        return not self.conn.knows(self)

    @property
    def enhanced(self) -> bool:
        """True when the client authenticates, or has done so, by an authentication method (clause 4.12)."""
        return self.asked < 0 and self.authenticator is not None

    @property
    def current(self) -> bool:
        """True while the authenticator that was asked last is where it was."""
        row = self.conn.listener.authenticators
        return self.asked < len(row) and row[self.asked] is self.authenticator

    def authenticated(self, code: "Optional[int]") -> None:
        """The decision that was left PENDING: 0, a reason code from 0x80 to 0xFF, or None for the next one."""
        self._answered()
        if not self.gone:
            self.conn.authenticated(None if code is None else checked_answer(self.authenticator, code))

    def authorized(self, action: int, topic: bytes, verdict: "Any", ttl: int) -> None:
        """The answer to `authorizer.ask`, to be remembered for `ttl` ms."""
        if not self.gone:
            self.conn.authorized(action, topic, verdict, ttl)

    def _answered(self) -> None:
        """The authenticator that was asked has answered."""
        measures = self.broker.measures
        if measures is not None and self.authenticator is not None:
            measures.answered(self.authenticator, (self.broker.clock() - self.since) * 1000)

    def decide(self) -> int:
        """Ask the authenticators, from the next one on; a reason code, or PENDING."""
        connect = self.connect
        authenticators = self.conn.listener.authenticators
        while connect is not None and self.asked + 1 < len(authenticators):
            self.asked += 1
            self.authenticator = authenticators[self.asked]
            self.since = self.broker.clock()
            code = self.authenticator.authenticate(self, connect.user, connect.password)
            if code == PENDING:
                return PENDING
            if code is not None:
                code = checked_answer(self.authenticator, code)
                self._answered()
                return code
        self.authenticator = None
        if self.user is not None and authenticators:
            return BAD_USER_NAME_OR_PASSWORD
        self.user = None  # nobody has vouched for it
        return SUCCESS if may_be_anonymous(self.listener, self.address) else NOT_AUTHORIZED
