"""Checks that a valid configuration can start: addresses, certificates, folders.

`check_listeners` looks at the configuration alone. `check` has each type look at this machine and changes nothing: it opens no
listener and no store. A port in use is not an error, as the running broker itself may use it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import ip_address

from port.core.config.config import Config
from port.core.config.listener_config import ListenerConfig
from port.core.storage.store import Store

_EVERYWHERE = ("0.0.0.0", "::")  # nosec B104
_NUMBERS = re.compile(r"[0-9.]+")


class CannotStart(Exception):
    """The configuration cannot start; `args` are the reasons, one text each."""


def check_listeners(listeners: Sequence[ListenerConfig]) -> None:
    """Raise ValueError for two listeners in one place, and for a host that looks like an address but is not valid."""
    for number, listener in enumerate(listeners):
        if listener.kind.PLACE == "port" and (_NUMBERS.fullmatch(listener.host) or ":" in listener.host):
            try:
                ip_address(listener.host.partition("%")[0])
            except ValueError:
                raise ValueError("listener %s: host is no IP address: %r" % (listener.id, listener.host)) from None
        for other in listeners[:number]:
            if _meet(listener, other):
                key = listener.kind.PLACE
                value = listener.port if key == "port" else listener.settings[key]
                raise ValueError("listener %s: %s is that of listener %s already: %s" % (listener.id, key, other.id, value))


def _meet(one: ListenerConfig, other: ListenerConfig) -> bool:
    """True when both would listen in the same place."""
    if one.kind.PLACE != "port" or other.kind.PLACE != "port":
        return one.type == other.type and one.place() == other.place()
    if one.kind.NETWORK != other.kind.NETWORK or one.port != other.port or not one.port:
        return False
    return one.host == other.host or one.host in _EVERYWHERE and (one.host == "::" or ":" not in other.host) or (
        other.host in _EVERYWHERE and (other.host == "::" or ":" not in one.host))


def check(config: Config, store: Store | None) -> None:
    """Raise CannotStart with the errors that a start would meet on this machine; `store`: that of the configuration, not opened."""
    found = ["listener %s: %s" % (listener.id, text) for listener in config.listeners for text in listener.kind.obstacles(listener)]
    obstacles: Callable[[], Iterable[str]] = getattr(store, "obstacles", tuple)
    found += ["store: %s" % text for text in obstacles()]
    if found:
        raise CannotStart(*found)


def of_folder(path: str) -> Iterator[str]:
    """The reasons why no file can be made there."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        yield "there is no folder %s" % folder
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield "nothing may be written into the folder %s" % folder
