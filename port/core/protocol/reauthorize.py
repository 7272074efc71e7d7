"""Settles rights, options and authenticators of connected clients and sessions anew, after a change."""

from port.core import const
from port.core.constants import DENIED
from port.core.wire.reason_codes import NOT_AUTHORIZED, MQTTError
from port.core.wire.topics import without_share
from port.core.limits.listener import renewed
from port.core.auth.authenticator import may_be_anonymous
from port.core.acl.client_policy import client_options, new_acl, rules_of, set_access, set_fast

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

    from port.core.sessions.session import Session
    from port.core.acl.acl import Rule
    from port.core.protocol.connection import Connection
    from port.core.broker import Broker



def set_rules(broker: "Broker", session: "Session", rules: "Optional[list[Rule]]") -> None:
    """Give a connected client other rules of its own, see Broker.set_rules."""
    conn = session.conn
    if conn is None:
        return
    acl = rules_of(broker, session.listener)
    if acl is None:
        acl = new_acl(broker)
        if session.listener.local:
            session.listener.acl = acl
        else:
            broker.acl = acl
    if conn.identity is not None:
        conn.identity.rules = rules
    else:  # the rules stay in its Access
        set_access(broker, session, acl.find(session.user, session.client_id, session.address, rules, None))
    _renew(broker, session)
    _enforce(broker, session)


def renew(broker: "Broker", session: "Session") -> None:
    """Settle a connected client's rights anew after its authentication; it is disconnected if it has lost any."""
    before = session.access
    _renew(broker, session)
    access = session.access
    if access is None or not access.same(before):
        _enforce(broker, session)
    elif session.conn is not None and not still_admitted(session.conn):
        _expel(session.conn)


def renew_all(broker: "Broker") -> None:
    """Settle all clients' rights anew, see Broker.rights_changed."""
    for listener in broker.listeners + [broker.default_listener]:
        listener.inherit(broker.options)
    if broker.local is not None:
        broker.local.listener.inherit(broker.options)
    sessions = list(broker.sessions.values())
    # First all rights: a lost message must not go to a session that is about to lose it, too.
    for session in sessions:
        _renew(broker, session)
    for session in sessions:
        _enforce(broker, session)
    for conn in list(broker.connections):
        if conn.connect is not None:
            from port.core.protocol.pending_auth import reconsider

            reconsider(conn)


def _renew(broker: "Broker", session: "Session") -> None:
    """Determine options and Access anew."""
    conn = session.conn
    identity = None if conn is None else conn.identity
    options = client_options(broker, session.listener, session.user, session.client_id)
    session.set_options(options)
    broker.session_registry.settle_fast_version(session)
    if conn is not None:
        conn.rate = renewed(conn.rate, options, broker.clock())
    own = identity or session.access  # both have rules and authorizer
    rules, authorizer = (None, None) if own is None else (own.rules, own.authorizer)
    acl = rules_of(broker, session.listener)
    access = None
    if acl is not None:
        access = acl.find(session.user, session.client_id, session.address, rules, authorizer)
    set_access(broker, session, access)
    if identity is not None:
        identity.access = access
    if conn is not None:
        set_fast(conn, session)


def _enforce(broker: "Broker", session: "Session") -> None:
    """Take away what the session may not have any more; a client that has lost anything is disconnected."""
    conn = session.conn
    access = session.access
    if access is not None:
        access.purge(session)
    lost = conn is not None and not still_admitted(conn)
    if access is not None:
        now = broker.clock()
        filters = [found for found in session.subscriptions if access.subscribe(without_share(found), now) == DENIED]
        if filters:
            from port.core.acl.resume_check import take_away

            take_away(broker, session, filters)
            lost = True
    if conn is not None and lost:
        _expel(conn)


def _expel(conn: "Connection") -> None:
    conn.fail(MQTTError(NOT_AUTHORIZED, "not authorized any more"))


def still_admitted(conn: "Connection") -> bool:
    """Whether a connected client would still be let in, after the configuration has changed."""
    if conn.listener.local:
        return True
    identity = conn.identity
    authenticators = conn.listener.authenticators
    authenticator = None if identity is None else identity.authenticator
    if authenticator is None:  # it was let in without a user name
        return may_be_anonymous(conn.listener, conn.address)
    for candidate in authenticators:
        if candidate is authenticator or candidate.name and candidate.name == authenticator.name:
            identity.authenticator = candidate  # type: ignore[union-attr]  # the one for its re-authentication
            return candidate.valid(identity)  # type: ignore[arg-type]
    return False
