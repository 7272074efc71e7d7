"""The authenticators of a configuration on CPython, by `type`.

    allow, deny      every client, no client
    password_file    `file`: users and hashes, made by `python3 -m port.cpython passwd` or by mosquitto_passwd
    users            `users`: a table of user names and hashes as in a password file
    certificate      `field`: cn, san or subject of the client's certificate becomes the user name
    redis, http, mysql, postgresql, jwt    see the modules of port.cpython.auth
    others           from installed packages, see port.cpython.third_party
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any

from port.core.checks import check_settings
from port.core.auth import certificate
from port.core.auth.authenticator import Authenticator
from port.core.auth.password_file import parse, table_lines
from port.core.config.apply_config import make_authenticator
from port.cpython import third_party
from port.cpython.auth.passwords import FilePasswords, check_record, read

_BACK_ENDS = {
    "redis": "RedisAuthenticator",
    "http": "HttpAuthenticator",
    "mysql": "MysqlAuthenticator",
    "postgresql": "PostgresqlAuthenticator",
    "jwt": "JwtAuthenticator",
}


def make(entry: dict[str, Any], running: list[Authenticator]) -> Authenticator:
    """The authenticator of one [[auth]]; one of `running` if that is a back end with the same settings.

    Raises ValueError naming what is wrong, OSError for a file that cannot be read.
    """
    for authenticator in running:
        if authenticator.name == entry["name"] and getattr(authenticator, "entry", None) == entry:
            return authenticator
    made = make_authenticator(entry, _types())
    if entry["type"] in _BACK_ENDS or entry["type"] not in TYPES:
        made.entry = entry  # type: ignore[attr-defined]
    return made


def _is_installed(kind: str) -> bool:
    return kind not in TYPES and kind in third_party.types(third_party.AUTHENTICATORS)


def _types() -> dict[str, Callable[[dict[str, Any]], Authenticator]]:
    found = [kind for kind in third_party.types(third_party.AUTHENTICATORS) if kind not in TYPES]
    return {**{kind: partial(third_party.make, third_party.AUTHENTICATORS, kind, Authenticator) for kind in found}, **_TYPES}


def explained(kind: str) -> dict[str, str]:
    """The meaning of each key of an [[auth]] of this type."""
    found = {"name": "what listeners, the log and $SYS call it (default: its type)", "type": "one of %s" % ", ".join({**dict.fromkeys(TYPES), **_types()})}
    found.update(_TEXTS.get(kind, {}))
    settings: Sequence[Any] = ()
    if kind in _BACK_ENDS:
        settings = getattr(import_module("port.cpython.auth." + kind), _BACK_ENDS[kind]).SETTINGS
    elif _is_installed(kind):
        settings = third_party.settings(third_party.AUTHENTICATORS, kind)
    found.update({setting.name: setting.explain().partition(": ")[2] for setting in settings})
    return found


def secrets(kind: str) -> list[str]:
    """Secret settings of an [[auth]] of this type, besides those with a name that says so."""
    if not _is_installed(kind):
        return []
    return [setting.name for setting in third_party.settings(third_party.AUTHENTICATORS, kind) if setting.secret]


def _password_file(settings: dict[str, Any]) -> Authenticator:
    check_settings(settings, {"file": str}, ("file",))
    return FilePasswords(read(settings["file"]))


def _users(settings: dict[str, Any]) -> Authenticator:
    check_settings(settings, {"users": dict})
    users = settings.get("users", {})
    try:
        return FilePasswords(parse(table_lines(users), check_record))
    except ValueError as e:
        line, _, text = str(e).removeprefix("line ").partition(": ")
        raise ValueError("users: %s: %s" % (list(users)[int(line) - 1], text) if line.isdecimal() else str(e)) from None


def _back_end(kind: str) -> Callable[[dict[str, Any]], Authenticator]:
    """A back end's class; its module and library are loaded when it is configured."""

    def make(settings: dict[str, Any]) -> Authenticator:
        module = import_module("port.cpython.auth." + kind)
        authenticator: Authenticator = getattr(module, _BACK_ENDS[kind])(settings)
        return authenticator

    return make


_TEXTS = {
    "password_file": {"file": "users and hashes, made by `passwd`, or mosquitto's own password file (required)"},
    "users": {"users": "table of user names and hashes as a password file has them"},
    "certificate": {"field": "which part of the client's certificate becomes the user name: cn, san or subject (default cn)"},
}
_TYPES: dict[str, Callable[[dict[str, Any]], Authenticator]] = {
    "password_file": _password_file,
    "users": _users,
    "certificate": certificate.make,
    **{kind: _back_end(kind) for kind in _BACK_ENDS},
}
TYPES = ("allow", "deny", *_TYPES)
