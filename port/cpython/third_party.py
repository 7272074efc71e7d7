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

from port.cpython.auth.settings import Setting

AUTHENTICATORS = "ucomqtt.authenticators"
STORES = "ucomqtt.stores"


@cache
def types(group: str) -> dict[str, list[EntryPoint]]:
    """What is installed, by type; whoever asks takes its own types first."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=group):
        if point.value not in [other.value for other in found.get(point.name, ())]:
            found.setdefault(point.name, []).append(point)
    return found


def load(group: str, kind: str) -> Any:
    """The class of a type. Raises ValueError naming what cannot be loaded, and why."""
    point, *others = types(group)[kind]
    if others:
        raise ValueError("type %s is in more than one package: %s, %s" % (kind, point.value, others[0].value))
    try:
        return point.load()
    except Exception as e:  # whatever the code of others raises
        raise ValueError("type %s is %s, which cannot be loaded: %s: %s" % (kind, point.value, type(e).__name__, e)) from None


def settings(group: str, kind: str) -> list[Setting]:
    """What its class says of its settings. Raises ValueError."""
    return [setting for setting in getattr(load(group, kind), "SETTINGS", None) or () if isinstance(setting, Setting)]


def make(group: str, kind: str, base: type, /, *args: Any, **values: Any) -> Any:
    """An object of a type, which has to be a `base`. Raises ValueError, OSError."""
    found = load(group, kind)
    try:
        made = found(*args, **values)
    except (ValueError, OSError):
        raise
    except Exception as e:  # whatever the code of others raises
        raise ValueError("type %s: %s: %s" % (kind, type(e).__name__, e)) from None
    if not isinstance(made, base):
        raise ValueError("type %s makes no %s but %r" % (kind, base.__name__, made))
    return made
