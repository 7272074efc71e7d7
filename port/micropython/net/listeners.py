"""Listeners that are more than an address for plain TCP: what is asked for is checked, and made."""

from port.core import const
from port.core.config.listener_config import describe, new_listener
from port.micropython.net.listening_socket import ListeningSocket

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.limits.listener import Listener
    from port.core.auth.authenticator import Authenticator
    from port.core.config.listener_config import ListenerConfig
    from port.micropython.net.tls import Context
    from port.micropython.server import Server


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
    config = describe(server, host, port, kind, tls, acl, values)
    given = context(config, tls)
    check(config)
    listener = new_listener(server, config, [])
    listener.authenticators = authenticators
    server.entrances.append(new_entrance(server, config, listener, given))
    return listener


def new_entrance(server: "Server", config: "ListenerConfig", listener: "Listener", tls: "Any") -> ListeningSocket:
    """The entrance of a listener as it is configured."""
    entrance = ListeningSocket(server, config.host, config.port, listener, tls)
    furnish(entrance, config)
    return entrance


def furnish(entrance: ListeningSocket, config: "ListenerConfig") -> None:
    """Give an entrance what it needs of a configuration beside the address, and nothing else."""
    if config.type in ("websocket", "http"):
        entrance.paths = config.paths
        entrance.origins = config.origins
    if config.type == "http":
        entrance.pages = config.pages(_own_names())
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


def check(config: "ListenerConfig") -> None:
    """Raise ValueError for a listener that this firmware cannot serve."""
    if config.type == "unix" or config.proxy_protocol or config.trusted_proxies:
        raise ValueError("listener %s: Unix sockets and PROXY protocol are for CPython only" % config.id)
    if ":" in config.host:
        raise ValueError("listener %s: host must be an IPv4 address or a name, not %r" % (config.id, config.host))
    if not config.port:  # nobody could be told which one it is
        raise ValueError("listener %s: port must be from 1 to 65535, not 0" % config.id)
    if config.type == "websocket":
        import hashlib

        if not hasattr(hashlib, "sha1"):
            raise ValueError("listener %s: WebSocket needs SHA-1, and this firmware's hashlib has none" % config.id)


def context(config: "ListenerConfig", given: "Any" = None) -> "Optional[Context]":
    """The TLS context a listener asks for, around the SSLContext `given` if that is one. Raises ValueError."""
    if config.tls is None:
        return None
    from port.micropython.net.tls import Context, server_context

    return server_context(config.tls) if given is None or isinstance(given, dict) else Context(given)
