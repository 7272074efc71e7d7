"""Authenticators and authorizers that answer later: the client is held until they have answered."""

from port.core import const
from port.core.constants import ASKING, AUTHENTICATING, CLOSED, OPEN, TURN
from port.core.wire.reason_codes import NOT_AUTHORIZED, SUCCESS, MQTTError
from port.core.auth.authenticator import Identity
from port.core.acl.client_policy import find_access
from port.core.protocol.handle_connect import decided

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from port.core.protocol.connection import Connection

_ASKED = const(60)  # cost of asking, in deliveries (Turns.spent)


def ask(conn: "Connection", action: int, topic: bytes) -> None:
    """Ask the authorizer, and hold the client until the answer."""
    identity = conn.identity
    broker = conn.broker
    spent = broker.turns.spent
    conn.hold(ASKING)
    identity.access.authorizer.ask(identity, action, topic)  # type: ignore[arg-type, union-attr]
    broker.turns.spent = max(broker.turns.spent, spent) + _ASKED  # an answer at once has begun another turn inside this one


def wait_turn(conn: "Connection") -> None:
    """Hold a client whose CONNECT takes longer than a turn, until others have been served."""

    def go_on() -> bool:
        if conn.state == AUTHENTICATING and conn.held & TURN:
            conn.held &= ~TURN
            _go_on(conn, lambda: SUCCESS)
        return False

    conn.hold(TURN)
    conn.broker.turns.give(go_on)


def authenticated(conn: "Connection", code: "Optional[int]") -> None:
    """Take a decision that an authenticator had left PENDING, see Identity.authenticated."""
    identity = conn.identity
    if conn.state != AUTHENTICATING or not conn.held or identity is None:
        return  # the client has gone meanwhile
    _go_on(conn, identity.decide if code is None else lambda: code)


def authorized(conn: "Connection", action: int, topic: bytes, verdict: "Any", ttl: int) -> None:
    """Take the answer to `ask`, see Identity.authorized."""
    session = conn.session
    identity = conn.identity
    access = session.access if session is not None else identity.access if identity is not None else None
    if access is None or conn.state == CLOSED or not conn.held & ASKING:
        return
    access.answer(action, topic, verdict, conn.broker.clock() + ttl)
    if conn.state == AUTHENTICATING:
        _go_on(conn, lambda: SUCCESS)
    else:
        conn.go_on(ASKING)
        conn.broker.flush()


def reconsider(conn: "Connection") -> None:
    """Rights and authenticators have changed: let the new ones decide about the client."""
    identity = conn.identity
    connect = conn.connect
    if conn.state != AUTHENTICATING or identity is None or connect is None:
        return
    connect.undecided()
    if identity.enhanced:
        if identity.authenticator not in conn.listener.authenticators:
            conn.fail(MQTTError(NOT_AUTHORIZED, "the authentication method is not there any more"))
            return
    elif conn.held & ASKING and not identity.current:
        # Ask from the first authenticator on; a pending answer is ignored.
        attempt = identity.attempt
        conn.identity = identity = Identity(conn, connect.user or None, connect.password)
        identity.attempt = attempt
        _go_on(conn, identity.decide)
        return
    if identity.access is not None:
        identity.access = find_access(conn.broker, conn, identity)


def _go_on(conn: "Connection", decide: "Callable[[], int]") -> None:
    """Go on with the CONNECT that was held."""
    conn.held &= ~ASKING
    try:
        decided(conn, decide())
    except Exception as e:
        conn.fault(e)
    if conn.state == OPEN and not conn.held:
        conn.read_on()
    conn.broker.flush()
