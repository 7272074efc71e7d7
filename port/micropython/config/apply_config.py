"""Applies a configuration to a server on MicroPython; loaded by Server.configure and Server.change."""

import json

from port.core import const
from port.core.checks import check_settings
from port.core.config import apply_config
from port.core.config.config import Config
from port.core.config.registry import AUTHENTICATORS, STORES
from port.micropython.config.config_file import LEVELS, PROGRAM
from port.micropython.net import listeners  # registers the types
from port.micropython.server import registered
from port.micropython.starting import open_authenticators

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from port.core.auth.authenticator import Authenticator
    from port.core.storage.store import Store
    from port.micropython.server import Server

_FILES = ("file", "certificate", "key", "client_ca", "folder")  # keys that name a file or folder, in any table
_DEEPEST = const(8)  # deepest nesting of objects and lists; a configuration has five levels


def read_file(path: str) -> "dict[str, Any]":
    """See port.micropython.config.config_file.read_config."""
    try:
        with open(path) as file:
            text = file.read()
    except OSError as e:
        raise ValueError("cannot read %s: %r" % (path, e))
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise ValueError("%s: not a JSON object" % path)
    try:
        found: "dict[str, Any]" = _resolved(values, path[: path.rfind("/") + 1], _DEEPEST)
    except ValueError as e:
        raise ValueError("%s: %s" % (path, e))
    return found


def _resolved(value: "Any", folder: str, depth: int) -> "Any":
    """A copy with file names resolved in this folder, except names of users. Raises ValueError."""
    if not isinstance(value, (list, dict)):
        return value
    if not depth:  # a board's stack allows little more
        raise ValueError("nested too deep")
    if isinstance(value, list):
        return [_resolved(item, folder, depth - 1) for item in value]
    found = {}
    for key in value:
        item = value[key]
        if key in _FILES and isinstance(item, str):
            found[key] = item if item.startswith("/") else folder + item
        else:
            found[key] = item if key == "users" else _resolved(item, folder, depth - 1)
    return found


def configure(server: "Server", config: "Any", made: "Optional[list[Authenticator]]") -> None:
    """See Server.configure."""
    config, made, level = _checked(config, made)
    if level:
        server.set_log_level(level)
    if server.store is None and config.store is not None:
        from port.core.config.store_config import make_store  # where there is none it need not be there

        server.store = make_store(config.store)
        if server.store is not None and hasattr(server.store, "log"):
            server.store.log = server.log
    apply_config.set_up(server, config, made)


async def change(server: "Server", config: "Any", made: "Optional[list[Authenticator]]") -> None:
    """See Server.change."""
    config, made, level = _checked(config, made)
    found = apply_config.changed_listeners(server, config)
    changes = [(entrance, entry, apply_config.prepare(entrance, entry)) for entrance, entry in found]
    old = server.all_authenticators()
    fresh = [authenticator for authenticator in made if authenticator not in old]
    before = [(listener, listener.authenticators) for listener in server.listeners]
    await open_authenticators(server, fresh)
    try:
        apply_config.change_listeners(server, changes)
        apply_config.reconfigure(server, config, made)
        server.fit()
        if level:
            server.set_log_level(level)
    except Exception:
        for listener, authenticators_before in before:
            listener.authenticators = authenticators_before
        await server.close_authenticators(fresh)
        raise
    now = server.all_authenticators()
    await server.close_authenticators([authenticator for authenticator in old if authenticator not in now])


def _checked(config: "Any", made: "Optional[list[Authenticator]]") -> "tuple[Config, list[Authenticator], str]":
    """The configuration, its authenticators, and its log level, empty without one. Raises ValueError."""
    if isinstance(config, Config):
        return config, made or [], ""
    log_level(config)
    found = Config(config, True, PROGRAM)
    if made is None:
        made = authenticators(found)
    return found, made, config.get("log_level", "")


def log_level(values: "dict[str, Any]") -> int:
    """The number of its log level. Raises ValueError."""
    level = values.get("log_level", "warning")
    if level not in LEVELS:
        raise ValueError("log_level must be one of %s, not %r" % (", ".join(LEVELS), level))
    return LEVELS.index(level)


def authenticators(config: Config) -> "list[Authenticator]":
    """The authenticators of its [[auth]], in order. Raises ValueError naming the fault."""
    if config.acl_file:
        raise ValueError("acl_file is for CPython only, put the rules into acl")
    return [apply_config.make_authenticator(entry) for entry in config.auth]


# -- types of boards, registered as this is loaded; their modules are loaded when a configuration asks for them --

_FLASH = {"folder": str, "interval": int, "bytes_per_day": int, "sessions": bool, "durability": str}


def _flash(**settings: "Any") -> "Store":
    """Type flash: see port.micropython.flash."""
    from port.micropython.flash import FlashStore

    check_settings(settings, _FLASH)
    return FlashStore(**settings)


def _password_file(settings: "dict[str, Any]") -> "Authenticator":
    """type password_file: `file`, made by `python3 -m port.cpython passwd`."""
    from port.core.auth.password_file import parse
    from port.core.auth.passwords import PasswordAuthenticator

    check_settings(settings, {"file": str}, ("file",))
    path = settings["file"]
    try:
        with open(path, "rb") as file:
            return PasswordAuthenticator(parse(file))
    except OSError as e:
        raise ValueError("cannot read %s: %r" % (path, e))
    except ValueError as e:
        raise ValueError("%s: %s" % (path, e))


def _users(settings: "dict[str, Any]") -> "Authenticator":
    """type users: `users`, an object of user names and hashes as a password file has them."""
    from port.core.auth.password_file import parse, table_lines
    from port.core.auth.passwords import PasswordAuthenticator

    check_settings(settings, {"users": dict})
    return PasswordAuthenticator(parse(table_lines(settings.get("users", {}))))


def _certificate(settings: "dict[str, Any]") -> "Authenticator":
    """type certificate: see port.core.auth.certificate.make."""
    from port.core.auth.certificate import make
    from port.micropython.net.tls import check_names

    check_names()
    return make(settings)


def _others(kind: str) -> "Callable[[], list[tuple[str, Any]]]":
    return lambda: [(name, load) for table, name, load in registered if table == kind]


STORES.add("flash", lambda: _flash)
AUTHENTICATORS.add("password_file", lambda: _password_file)
AUTHENTICATORS.add("users", lambda: _users)
AUTHENTICATORS.add("certificate", lambda: _certificate)
STORES.also(_others("store"))
AUTHENTICATORS.also(_others("auth"))
