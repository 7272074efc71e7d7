"""Listeners, stores and authenticators of other packages: an entry point names each class, under the type that a
configuration asks for.

    [project.entry-points."ucomqtt.authenticators"]
    ldap = "my_package:LdapAuthenticator"

An authenticator's class is called with the settings of its [[auth]], a store's with those of [store] by name; a listener's is a
port.core.config.listener_types.ListenerType. A ValueError names wrong settings. An authenticator or store may have `SETTINGS`,
port.cpython.auth.settings.Setting objects, which --print-config shows; a listener type has its keys in its docstring, as in
`key: meaning`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any

# Table of a configuration -> the group of its types.
GROUPS = {"listener": "ucomqtt.listeners", "store": "ucomqtt.stores", "auth": "ucomqtt.authenticators"}


@cache
def installed(kind: str) -> list[tuple[str, Callable[[], Any]]]:
    """The types installed for this table of a configuration, and the loader of each."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUPS[kind]):
        if point.value not in [other.value for other in found.get(point.name, ())]:
            found.setdefault(point.name, []).append(point)
    return [(name, partial(_load, points)) for name, points in found.items()]


def _load(points: list[EntryPoint]) -> Any:
    """The class of a type. Raises ValueError naming a class that cannot be loaded, and the reason."""
    point, *others = points
    if others:
        raise ValueError("type %s is in more than one package: %s, %s" % (point.name, point.value, others[0].value))
    try:
        return point.load()
    except Exception as e:  # any exception of foreign code
        raise ValueError(
            "type %s is %s, which cannot be loaded: %s: %s" % (point.name, point.value, type(e).__name__, e)
        ) from None
