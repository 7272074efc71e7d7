"""Authenticators and stores of other packages: each names its classes in an entry point, under the type a configuration asks for.

    [project.entry-points."ucomqtt.authenticators"]
    ldap = "my_package:LdapAuthenticator"

An authenticator's class is called with the settings of its [[auth]], a store's with those of [store] by name; ValueError says what
is wrong with them. `SETTINGS`, if the class has it, are port.cpython.auth.settings.Setting objects, of which --print-config tells.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

AUTHENTICATORS = "ucomqtt.authenticators"
STORES = "ucomqtt.stores"


@cache
def types(group: str) -> dict[str, EntryPoint]:
    """What is installed, by type."""
    return {point.name: point for point in entry_points(group=group)}


def load(group: str, kind: str) -> Any:
    """The class of a type. Raises ValueError naming what cannot be loaded, and why."""
    point = types(group)[kind]
    try:
        return point.load()
    except Exception as e:  # whatever the code of others raises
        raise ValueError("type %s is %s, which cannot be loaded: %s: %s" % (kind, point.value, type(e).__name__, e)) from None


def make(group: str, kind: str, base: type, *args: Any, **values: Any) -> Any:
    """An object of a type, which has to be a `base`. Raises ValueError."""
    try:
        made = load(group, kind)(*args, **values)
    except TypeError as e:
        raise ValueError("type %s: %s" % (kind, e)) from None
    if not isinstance(made, base):
        raise ValueError("type %s makes no %s but %r" % (kind, base.__name__, made))
    return made
