"""The types of listeners on boards, and listeners that are more than an address for plain TCP: what is asked for is checked, and made.

A type makes a ListeningSocket, which knows nothing of configurations: this module is forgotten when the server has started.
"""

from port.core import const
from port.core.config.listener_config import add_listener, describe
from port.core.config.listener_types import Http, Tcp, Unix, WebSocket
from port.core.config.registry import LISTENERS
from port.micropython.net.listening_socket import ListeningSocket

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.limits.listener import Listener
    from port.core.auth.authenticator import Authenticator
    from port.core.config.listener_config import ListenerConfig
    from port.micropython.net.tls import Context
    from port.micropython.server import Server


_CPYTHON = "Unix sockets and PROXY protocol are for CPython only"


class _OnSocket:
    """A type whose clients come over a socket of TCP: a ListenerType, with methods that make and change a ListeningSocket."""

    def __init__(self, kind: "Any") -> None:
        self._kind = kind

    def __getattr__(self, name: str) -> "Any":
        return getattr(self._kind, name)  # subset: ok, names of ListenerType

    def check(self, config: "ListenerConfig") -> None:
        """See ListenerType.check."""
        if config.proxy_protocol or config.trusted_proxies:
            raise ValueError(_CPYTHON)
        self._kind.check(config)
        if self._kind is WebSocket:
            import hashlib

            if not hasattr(hashlib, "sha1"):
                raise ValueError("WebSocket needs SHA-1, and this firmware's hashlib has none")

    def make(self, server: "Server", config: "ListenerConfig", listener: "Listener", tls: "Any" = None) -> ListeningSocket:
        """See ListenerType.make."""
        given = context(config, tls)
        if ":" in config.host:
            raise ValueError("listener %s: host must be an IPv4 address or a name, not %r" % (config.id, config.host))
        if not config.port:  # nobody could be told which one it is
            raise ValueError("listener %s: port must be from 1 to 65535, not 0" % config.id)
        entrance = ListeningSocket(server, config.host, config.port, listener, given)
        _furnish(entrance, config)
        return entrance

    def prepare(self, entrance: ListeningSocket, config: "ListenerConfig") -> "Any":
        """See ListenerType.prepare."""
        return config, context(config)

    def change(self, entrance: ListeningSocket, prepared: "Any") -> None:
        """See ListenerType.change."""
        entrance.tls = prepared[1]
        _furnish(entrance, prepared[0])


class _NoUnix(Unix):
    @classmethod
    def check(cls, config: "ListenerConfig") -> None:
        """See ListenerType.check."""
        raise ValueError(_CPYTHON)


def _furnish(entrance: ListeningSocket, config: "ListenerConfig") -> None:
    """Give a socket what it needs of a configuration beside the address, and nothing else."""
    settings = config.settings
    if "paths" in settings:
        entrance.paths = settings["paths"]
        entrance.origins = settings["origins"]
    if "hosts" in settings:
        entrance.pages = config.kind.pages(config, _own_names())
        if entrance.site is not None:
            entrance.site.change(entrance.pages)


def _own_names() -> "tuple[str, ...]":
    """What the board is called in its network."""
    try:
        import network

        name = network.hostname().lower()
    except (ImportError, AttributeError):  # the unix port, older firmware
        return ()
    return name, name + ".local"


def context(config: "ListenerConfig", given: "Any" = None) -> "Optional[Context]":
    """The TLS context a listener asks for, around the SSLContext `given` if that is one. Raises ValueError."""
    if config.tls is None:
        return None
    from port.micropython.net.tls import Context, server_context

    return server_context(config.tls) if given is None or isinstance(given, dict) else Context(given)


def _registered() -> "list[tuple[str, Any]]":
    from port.micropython.server import registered

    return [(name, load) for kind, name, load in registered if kind == "listener"]


# Registered when this is loaded; what a configuration does not ask for is not.
LISTENERS.add("tcp", lambda: _OnSocket(Tcp))
LISTENERS.add("websocket", lambda: _OnSocket(WebSocket))
LISTENERS.add("http", lambda: _OnSocket(Http))
LISTENERS.add("unix", lambda: _NoUnix)
LISTENERS.also(_registered)


def listen(
    server: "Server",
    host: str,
    port: "Optional[int]",
    kind: str,
    tls: "Any",
    authenticators: "list[Authenticator]",
    acl: "Any",
    values: "dict[str, Any]",
) -> "Listener":
    """Add a listener, see Server.listen. Raises ValueError or TypeError naming what is wrong."""
    if tls is not None and not isinstance(tls, dict) and not hasattr(tls, "wrap_socket"):
        raise TypeError("tls must be an SSLContext, or a dict with certificate and key, not %r" % (tls,))
    listener = add_listener(server, describe(server, host, port, kind, tls, acl, values), [], tls)
    listener.authenticators = authenticators
    return listener
