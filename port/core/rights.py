"""What each client may do and which options hold for it: settled at CONNECT, and anew when that changes.

An Access (port.core.acl) says what a client may do; clients without one may do everything.
"""

from port.core import const
from port.core.auth import fits, still_admitted
from port.core.rate import renewed
from port.core.reason import NOT_AUTHORIZED, MQTTError
from port.core.subscriptions import limited
from port.core.topics import is_shared, without_share

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional, Sequence

    from port.core.acl import Access, Acl, Rule
    from port.core.auth import Identity
    from port.core.broker import Broker
    from port.core.connection import Connection
    from port.core.listener import Listener
    from port.core.options import Options
    from port.core.session import Session

_DENIED = const(-1)  # port.core.acl has these two
_UNDECIDED = const(-2)


def new_acl(broker: "Broker", rules: "Sequence[Rule]" = ()) -> "Acl":
    """A list of rules; the module is loaded when the first one is wanted."""
    from port.core.acl import Acl

    acl = Acl(broker.options.route_cache)
    acl.replace(list(rules))
    return acl


def client_options(broker: "Broker", listener: "Listener", user: "Optional[bytes]", client_id: bytes) -> "Options":
    """The options that hold for a client: its listener's, unless it is named in `client_limits`."""
    options = listener.options
    for limits in broker.client_limits:
        if fits(limits[0], user) and fits(limits[1], client_id):
            options = listener.limited(limits[2])
            break
    broker.allow_for(options)
    return options


def find_access(broker: "Broker", conn: "Connection", identity: "Identity") -> "Optional[Access]":
    """What a client may do by its listener's rules and its own; None: everything."""
    acl = rules_of(broker, conn.listener)
    if acl is None:
        if identity.rules is None and identity.authorizer is None:
            return None
        acl = broker.acl = new_acl(broker)
    return acl.find(identity.user, conn.client_id, conn.address, identity.rules, identity.authorizer)


def rules_of(broker: "Broker", listener: "Listener") -> "Optional[Acl]":
    """The rules that hold for the clients of a listener, None where there are none."""
    return listener.acl or broker.acl


def set_access(broker: "Broker", session: "Session", access: "Optional[Access]") -> None:
    """Another Access for a session, or none; to be followed by its `purge`."""
    old = session.access
    if old is access:
        return
    if access is not None:
        access.hold()
    session.access = access
    if old is not None:
        old.release()
    if session.subscriptions:
        broker.router.forget()


def set_fast(conn: "Connection", session: "Session") -> None:
    """The topic names to which an open connection's packets take the fast path, see Router, from now on."""
    names: "Any" = session.access or conn.broker.router
    i = 1 if session.version5 else 0
    conn.fast = names.fast[i]
    conn.granted = names.granted[i] if conn.options.max_qos == 2 else {}


def set_rules(broker: "Broker", session: "Session", rules: "Optional[list[Rule]]") -> None:
    """Other rules of its own for a connected client, see Broker.set_rules."""
    conn = session.conn
    if conn is None:
        return
    if broker.acl is None:
        broker.acl = new_acl(broker)
    if conn.identity is not None:
        conn.identity.rules = rules
    else:  # they stay with its Access
        acl = session.listener.acl or broker.acl
        set_access(broker, session, acl.find(session.user, session.client_id, session.address, rules, None))
    renew(broker, session)


def renew(broker: "Broker", session: "Session") -> None:
    """Settle a connected client's rights anew; it is disconnected if it has lost some."""
    _renew(broker, session)
    _enforce(broker, session)


def renew_all(broker: "Broker") -> None:
    """Settle all clients' rights anew, see Broker.rights_changed."""
    for listener in broker.listeners + [broker.default_listener]:
        listener.inherit(broker.options)
    sessions = list(broker.sessions.values())
    # First everybody's: what one has lost must not go to another who is about to lose it.
    for session in sessions:
        _renew(broker, session)
    for session in sessions:
        _enforce(broker, session)
    for conn in list(broker.connections):
        conn.reconsider()


def _renew(broker: "Broker", session: "Session") -> None:
    """Options and Access as they come out now."""
    conn = session.conn
    identity = None if conn is None else conn.identity
    options = client_options(broker, session.listener, session.user, session.client_id)
    session.set_options(options)
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
    """Take away what the session has and may not have any more; a client that has lost something is disconnected."""
    conn = session.conn
    access = session.access
    if access is not None:
        access.purge(session)
    lost = conn is not None and not still_admitted(conn)
    for topic_filter in list(session.subscriptions) if access is not None else ():
        if access.subscribe(without_share(topic_filter), broker.clock()) == _DENIED:  # type: ignore[union-attr]
            broker.unsubscribe_session(session, topic_filter)
            lost = True
    if conn is not None and lost:
        conn.fail(MQTTError(NOT_AUTHORIZED, "not authorized any more"))


class Judged:
    """The verdicts on the subscriptions of a session that goes on under other rights, asked for one after the other."""

    def __init__(self, session: "Session") -> None:
        self._left = list(session.subscriptions)
        self._verdicts: "list[tuple[bytes, int]]" = []

    def go_on(self, access: "Access", now: int) -> "Optional[bytes]":
        """The next filter the authorizer has to be asked about, None when all are judged; `now`: ms."""
        left = self._left
        while left:
            plain = without_share(left[-1])
            verdict = access.subscribe(plain, now)
            if verdict == _UNDECIDED:
                return plain
            access.subscribed()
            self._verdicts.append((left.pop(), verdict))
        return None

    def enforce(self, broker: "Broker", session: "Session") -> "list[bytes]":
        """Take away, or down to a lower QoS, what is not allowed any more; returns the filters lost."""
        lost = []
        for topic_filter, verdict in self._verdicts:
            options = session.subscriptions.get(topic_filter)
            if options is None:
                continue  # it has unsubscribed meanwhile
            if verdict == _DENIED:
                broker.denied_subscriptions += 1
                broker.unsubscribe_session(session, topic_filter)
                if not is_shared(topic_filter):
                    lost.append(topic_filter)
            elif limited(options, verdict) != options:
                broker.subscribe_session(session, topic_filter, limited(options, verdict))
        return lost
