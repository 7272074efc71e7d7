"""What a program gives a Broker or Server: errors that say what is expected; loaded where there is something to check."""

from port.core import const
from port.core.auth import Authenticator
from port.core.options import TABLE, Options

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any


def _plain() -> None:
    pass


def _generator() -> "Any":
    yield


def refuse_arguments(kind: str, options: "Any", clock: "Any", log: "Any", store: "Any", example: str) -> None:
    """Raise TypeError for an argument of a constructor that is of a wrong type; `kind`: the class, `example`: a store."""
    if options is not None and not isinstance(options, Options):
        text = "%s takes options by name, as in %s(max_connections=100), or an Options object, not %r"
        raise TypeError(text % (kind, kind, options))
    for name, value, arguments in (("clock", clock, ""), ("log", log, "level, text, *args")):
        if not callable(value):
            raise TypeError("%s must be a function (%s), not %r" % (name, arguments, value))
    if store is not None and (isinstance(store, type) or not hasattr(store, "commit")):
        more = ", as in " + example if example else " of port.core.store"
        raise TypeError("store must be a Store%s, not %r" % (more, store))


def refuse_values(kind: str, options: "Any", values: "dict[str, Any]") -> None:
    """Raise TypeError or ValueError where options by name are not for this class, or stand beside an Options object."""
    if options is not None and values:
        raise TypeError("%s takes options by name or an Options object, not both" % kind)
    known = [row[0] for row in TABLE]
    for name in values:
        if name not in known:
            from port.core.listener_config import LISTENER_KEYS

            if name in LISTENER_KEYS:
                raise ValueError("%s is no option of %s but of a listener: server.listen(%s=...)" % (name, kind, name))


def refuse_authenticators(found: "Any", where: str) -> None:
    """Raise TypeError unless this is a list of authenticators; `where` names it.

    Async methods are known on MicroPython, where they are of a type of their own; CPython's Server looks at them itself.
    """
    if not isinstance(found, (list, tuple)):
        raise TypeError("%s must be a list of Authenticator objects, not %r" % (where, found))
    for one in found:
        if isinstance(one, type) and issubclass(one, Authenticator):
            text = "%s must hold Authenticator objects, not the class %s: %s(...) makes one"
            raise TypeError(text % (where, one.__name__, one.__name__))
        if not isinstance(one, Authenticator):
            raise TypeError("%s must hold objects of subclasses of Authenticator, not %r" % (where, one))
        if type(_generator) is not type(_plain):
            kind: "Any" = type(one)
            for name, method in (("authenticate", kind.authenticate), ("exchange", kind.exchange)):
                if type(method) is type(_generator):
                    raise TypeError(ASYNC % (name, one))


ASYNC = "%s of %r cannot be async: authenticate answers PENDING instead, and client.authenticated(code) is called later"
