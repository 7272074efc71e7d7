"""Types that a configuration asks for by name: listeners, stores, authenticators. All are registered in the same way.

    AUTHENTICATORS.add("ldap", load)    # load() returns the class

A type is loaded only when a configuration asks for it. So `load` is a function that imports the class:

    def load():
        from my_module import LdapAuthenticator

        return LdapAuthenticator

The core's types are registered here, a host's in the host; programs and other packages call `Server.register`.
"""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Sequence

    Load = Callable[[], Any]


def _nothing() -> "Sequence[tuple[str, Load]]":
    return ()


def told(where: str, e: Exception) -> Exception:
    """The error that says of an exception of a type's code what a configuration's author may read.

    ValueError, OSError, ImportError and MemoryError are returned as they are. Of any other the class alone is named: its text may hold
    a secret. `where` names the type.
    """
    if isinstance(e, (ValueError, OSError, ImportError, MemoryError)):
        return e
    return ValueError("%s: %s" % (where, type(e).__name__))


class Registry:
    """The types of one kind.

    made    name of the class of what `make` makes, and a method it must have
    others  a function that returns (name, load) of types registered elsewhere, see `also`
    """

    def __init__(self, *made: str) -> None:
        self.made = made
        self.others: "Callable[[], Iterable[tuple[str, Load]]]" = _nothing
        self._own: "list[tuple[str, Load]]" = []  # a dict has no order on MicroPython

    def add(self, name: str, load: "Load") -> None:
        """Register a type, replacing one of this name."""
        for i in range(len(self._own)):
            if self._own[i][0] == name:
                self._own[i] = (name, load)
                return
        self._own.append((name, load))

    def also(self, others: "Callable[[], Iterable[tuple[str, Load]]]") -> None:
        """Have `others()` return the types registered elsewhere, at each look-up; types of this registry come first."""
        self.others = others

    def names(self) -> "list[str]":
        """All names, in the order in which they were registered."""
        found: "list[str]" = []
        for rows in (self._own, self.others()):
            for row in rows:
                if row[0] not in found:
                    found.append(row[0])
        return found

    def load(self, name: str) -> "Any":
        """The class, or another maker.

        Raises ValueError for an unknown name or a loader that fails, ImportError for a part that was left out.
        """
        for rows in (self._own, self.others()):
            for row in rows:
                if row[0] == name:
                    try:
                        return row[1]()
                    except Exception as e:  # any exception of foreign code
                        raise told("type %s" % name, e)
        from port.core.wire.suggest import unknown

        raise ValueError(unknown("type", name, self.names()))

    def make(self, name: str, args: "tuple[Any, ...]", values: "dict[str, Any]") -> "Any":
        """An object of a type, made with these arguments. Raises ValueError naming the fault, ImportError as `load` does."""
        found = self.load(name)
        try:
            made = found(*args, **values)
        except Exception as e:  # any exception of foreign code
            raise told("type %s" % name, e)
        if self.made and not hasattr(made, self.made[1]):  # subset: ok, there are two such names
            raise ValueError("type %s makes no %s but %r" % (name, self.made[0], made))
        return made


def _tcp() -> "Any":
    from port.core.config.listener_types import Tcp

    return Tcp


def _websocket() -> "Any":
    from port.core.config.listener_types import WebSocket

    return WebSocket


def _unix() -> "Any":
    from port.core.config.listener_types import Unix

    return Unix


def _http() -> "Any":
    from port.core.config.listener_types import Http

    return Http


def _allow() -> "Any":
    from port.core.auth.allow_deny import AllowAll

    return AllowAll


def _deny() -> "Any":
    from port.core.auth.allow_deny import DenyAll

    return DenyAll


LISTENERS = Registry()  # subclasses of port.core.config.listener_types.ListenerType
LISTENERS.add("tcp", _tcp)
LISTENERS.add("websocket", _websocket)
LISTENERS.add("unix", _unix)
LISTENERS.add("http", _http)
STORES = Registry("Store", "commit")  # make a Store of the settings of [store], given by name
AUTHENTICATORS = Registry("Authenticator", "authenticate")  # make an Authenticator of the settings of [[auth]], a dict
AUTHENTICATORS.add("allow", _allow)
AUTHENTICATORS.add("deny", _deny)
REGISTRIES = {"listener": LISTENERS, "store": STORES, "auth": AUTHENTICATORS}  # by table of a configuration
