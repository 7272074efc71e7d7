"""Rights and options of each client, settled at CONNECT; protocol.reauthorize settles them again after changes.

An Access (port.core.acl.acl) holds a client's rights; clients without one have all rights.
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
    """A new Acl, with rules or for the own rules of clients; its module is loaded with the first one."""
    from port.core.acl.acl import Acl

    acl = Acl(broker.options.route_cache, broker.turns)
    acl.replace(None if rules is None else list(rules))
    return acl


def client_options(broker: "Broker", listener: "Listener", user: "Optional[bytes]", client_id: bytes) -> "Options":
    """The options of a client: its listener's, unless `client_limits` names it."""
    options = listener.options
    own = listener.own_options(client_id)
    if own is not None:
        options = listener.limited(own)
    for limits in broker.client_limits if own is None else ():
        if fits(limits[0], user) and fits(limits[1], client_id):
            options = listener.limited(limits[2])
            break
    broker.session_registry.allow_for(options)
    return options


def find_access(broker: "Broker", conn: "Connection", identity: "Identity") -> "Optional[Access]":
    """The Access of a client by its listener's rules and its own; None for all rights."""
    acl = rules_of(broker, conn.listener)
    if acl is None:
        if identity.rules is None and identity.authorizer is None:
            return None
        acl = broker.acl = new_acl(broker)
    return acl.find(identity.user, conn.client_id, conn.address, identity.rules, identity.authorizer)


def rules_of(broker: "Broker", listener: "Listener") -> "Optional[Acl]":
    """The rules for the clients of a listener, or None."""
    return listener.acl or (None if listener.local else broker.acl)


def set_access(broker: "Broker", session: "Session", access: "Optional[Access]") -> None:
    """Give a session another Access or None; call the Access' `purge` afterwards."""
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
    """Set the topic names whose packets take the fast lanes from now on, see Router.

    A client whose packets need a look at each gets none.
    """
    if conn.options.message_size_limit or session.mount is not None:
        conn.fast = conn.granted = _NONE
        return
    names: "Any" = session.access or conn.broker.router
    i: "int" = session.version5
    conn.fast = names.fast[i]
    conn.granted = names.granted[i] if conn.options.max_qos == 2 else {}
