"""Registers CPython's types of listeners, stores, authenticators; a module is loaded when a configuration asks for its type.

A type of this package is a line of these tables. Other packages name theirs in entry points, see
port.cpython.third_party; a program registers its own with `Server.register`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from port.core.config.registry import AUTHENTICATORS, LISTENERS, REGISTRIES, STORES
from port.cpython import third_party

_LISTENERS = {
    "tcp": "port.cpython.net.listeners:TcpListener",
    "websocket": "port.cpython.net.listeners:WebSocketListener",
    "unix": "port.cpython.net.unix_listener:UnixListener",
    "http": "port.cpython.net.listeners:HttpListener",
}
_STORES = {
    "sqlite": "port.cpython.stores.sqlite:SQLiteStore",
    "redis": "port.cpython.stores.redis:RedisStore",
}
_AUTHENTICATORS = {
    "password_file": "port.cpython.auth.local:PasswordFile",  # nosec B105 # no password
    "users": "port.cpython.auth.local:Users",
    "certificate": "port.cpython.auth.local:Certificate",
    "redis": "port.cpython.auth.redis:RedisAuthenticator",
    "http": "port.cpython.auth.http:HttpAuthenticator",
    "mysql": "port.cpython.auth.mysql:MysqlAuthenticator",
    "postgresql": "port.cpython.auth.postgresql:PostgresqlAuthenticator",
    "jwt": "port.cpython.auth.jwt:JwtAuthenticator",
}


def _loader(place: str) -> Callable[[], Any]:
    """A function that loads MODULE:NAME, the form of entry points."""
    module, _, name = place.partition(":")
    return lambda: getattr(import_module(module), name)


for _registry, _places in ((LISTENERS, _LISTENERS), (STORES, _STORES), (AUTHENTICATORS, _AUTHENTICATORS)):
    for _name, _place in _places.items():
        _registry.add(_name, _loader(_place))
TYPES = {kind: tuple(registry.names()) for kind, registry in REGISTRIES.items()}  # those of this package
registered: list[tuple[str, str, Callable[[], Any]]] = []  # (table, type, its loader) of programs, see Server.register


def _others(kind: str) -> Callable[[], list[tuple[str, Callable[[], Any]]]]:
    """A function that gives a registry the types from outside this package."""
    return lambda: [row[1:] for row in registered if row[0] == kind] + third_party.installed(kind)


for _kind, _registry in REGISTRIES.items():
    _registry.also(_others(_kind))
