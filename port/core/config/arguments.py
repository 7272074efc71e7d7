"""Checks arguments of Broker and Server; their errors name the expected type. Loaded with the first argument to check."""

from port.core import const
from port.core.auth.authenticator import Authenticator

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from port.core.broker import Broker

ASYNC = "%s of %r cannot be async: authenticate answers PENDING instead, and client.authenticated(code) is called later"


def _plain() -> None:
    pass


def _generator() -> "Any":
    yield


def _has_own_type() -> bool:
    """True on MicroPython, where functions with `yield` or `async` have a type of their own."""
    return type(_generator) is not type(_plain)


def refuse_arguments(broker: "Broker", options: "Any", clock: "Any", log: "Any", store: "Any") -> None:
    """Raise TypeError naming the argument of a wrong type; called when a constructor has one."""
    if not callable(clock):
        raise TypeError("clock must be a function, not %r" % (clock,))
    if not callable(log):
        raise TypeError("log must be a function (level, text, *args), not %r" % (log,))
    if store is not None and (isinstance(store, type) or not hasattr(store, "commit")):
        example = 'SQLiteStore("broker.db") of port.cpython.stores.sqlite'
        if _has_own_type():
            example = 'FlashStore("/store") of port.micropython.flash'
        raise TypeError("store must be a Store such as %s, not %r" % (example, store))
    kind = type(broker).__name__
    text = "%s takes options by name, as in %s(max_connections=100), or an Options object, not %r"
    raise TypeError(text % (kind, kind, options))


def unknown_option(name: str, known: "list[str]") -> str:
    """The text of an error: the option is unknown, with a near name."""
    from port.core.config.listener_config import LISTENER_KEYS, types_with

    if name in LISTENER_KEYS or types_with(name):
        return "%s is no option of Server but of a listener: server.listen(%s=...)" % (name, name)
    from port.core.wire.suggest import unknown

    return unknown("option", name, known)


def refuse_authenticators(found: "Any", where: "Any") -> None:
    """Raise TypeError unless this is a list of authenticators; `where`: its name, or its listener.

    Async methods are found on MicroPython, where they have a type of their own; CPython's Server looks for them itself.
    """
    if not isinstance(where, str):
        where = "the authenticators of listener " + where.id
    if not isinstance(found, (list, tuple)):
        raise TypeError("%s must be a list of Authenticator objects, not %r" % (where, found))
    for one in found:
        if not isinstance(one, Authenticator):
            more = ": it is a class, and is to be called" if isinstance(one, type) else ""
            raise TypeError("%s must hold Authenticator objects, not %r%s" % (where, one, more))
        kind: "Any" = type(one)
        for name, method in (("authenticate", kind.authenticate), ("exchange", kind.exchange)):
            if _has_own_type() and type(method) is type(_generator):
                raise TypeError(ASYNC % (name, one))
