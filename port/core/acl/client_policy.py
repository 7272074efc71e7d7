"""What each client may do and which options hold for it, settled at CONNECT; protocol.reauthorize does so when that changes.

An Access (port.core.acl.acl) says what a client may do; clients without one may do everything.
"""

from port.core import const
from port.core.auth.authenticator import fits

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional, Sequence

    from port.core.limits.listener import Listener
    from port.core.limits.options import Options
    from port.core.sessions.session import Session
    from port.core.auth.authenticator import Identity
    from port.core.acl.acl import Access, Acl, Rule
    from port.core.protocol.connection import Connection
    from port.core.broker import Broker


_NONE: "dict[bytes, Any]" = {}  # never changed


def new_acl(broker: "Broker", rules: "Optional[Sequence[Rule]]" = None) -> "Acl":
    """A list of rules, or a place for those of single clients; the module is loaded when the first one is wanted."""
    from port.core.acl.acl import Acl

    acl = Acl(broker.options.route_cache, broker)
    acl.replace(None if rules is None else list(rules))
    return acl


def client_options(broker: "Broker", listener: "Listener", user: "Optional[bytes]", client_id: bytes) -> "Options":
    """The options that hold for a client: its listener's, unless it is named in `client_limits`."""
    options = listener.options
    own = listener.own_options(client_id)
    if own is not None:
        options = listener.limited(own)
    for limits in broker.client_limits if own is None else ():
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
    return listener.acl or (None if listener.local else broker.acl)


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
    """The topic names to which an open connection's packets take the fast path, see Router, from now on.

    There are none for a client whose packets have to be looked at one by one.
    """
    if conn.options.message_size_limit or session.mount is not None:
        conn.fast = conn.granted = _NONE
        return
    names: "Any" = session.access or conn.broker.router
    i: "int" = session.version5
    conn.fast = names.fast[i]
    conn.granted = names.granted[i] if conn.options.max_qos == 2 else {}
