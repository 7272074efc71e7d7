"""The authenticators of a configuration on CPython, by `type`.

    allow, deny      every client, no client
    password_file, users, certificate          see port.cpython.auth.local
    redis, http, mysql, postgresql, jwt        see the modules of port.cpython.auth
    others           from installed packages, see port.cpython.third_party, or registered by a program
"""

from __future__ import annotations

from typing import Any

from port.core.auth.authenticator import Authenticator
from port.core.config.apply_config import make_authenticator
from port.core.config.registry import AUTHENTICATORS
from port.cpython import built_in
from port.cpython.auth.settings import Setting, settings_of

TYPES = built_in.TYPES["auth"]


def make(entry: dict[str, Any], running: list[Authenticator]) -> Authenticator:
    """The authenticator of one [[auth]]; one of `running` if that has the same settings, and nothing to read again.

    Raises ValueError naming what is wrong, OSError for a file that cannot be read.
    """
    for authenticator in running:
        if authenticator.name == entry["name"] and getattr(authenticator, "entry", None) == entry:
            return authenticator
    made = make_authenticator(entry)
    if hasattr(made, "settings") or entry["type"] not in TYPES:
        made.entry = entry  # type: ignore[attr-defined]
    return made


def settings(kind: str) -> list[Setting]:
    """What the class of a type says of its settings. Raises ValueError."""
    return settings_of(AUTHENTICATORS.load(kind)) if kind in AUTHENTICATORS.names() else []


def explained(kind: str) -> dict[str, str]:
    """The meaning of each key of an [[auth]] of this type."""
    found = {"name": "what listeners, the log and $SYS call it (default: its type)", "type": "one of %s" % ", ".join(AUTHENTICATORS.names())}
    return {**found, **{setting.name: setting.explain().partition(": ")[2] for setting in settings(kind)}}


def secrets(kind: str) -> list[str]:
    """Secret settings of an [[auth]] of this type, besides those with a name that says so."""
    return [setting.name for setting in settings(kind) if setting.secret]
