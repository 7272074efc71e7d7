"""A server of a configuration on MicroPython, and what a running one takes over of another: see config_file."""

import json

from port.core import const
from port.core.checks import check_settings
from port.core.config.apply_config import begin, check_kept, make_authenticator, reconfigure
from port.core.config.config import Config
from port.core.config.listener_config import new_listener
from port.micropython.config.config_file import LEVELS, PROGRAM
from port.micropython.net.listeners import check, context, furnish, new_entrance
from port.micropython.server import Server, logger

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from port.core.auth.authenticator import Authenticator
    from port.core.storage.store import Store

_FILES = ("file", "certificate", "key", "client_ca", "folder")  # keys that name a file or folder, wherever they stand
_DEEPEST = const(8)  # objects and lists in one another; a configuration has five


def read_file(path: str) -> "dict[str, Any]":
    """See port.micropython.config.config_file.read."""
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
    """The same with the names of files in this folder; users may be called anything. Raises ValueError."""
    if not isinstance(value, (list, dict)):
        return value
    if not depth:  # a board's stack holds little more
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


def new_server(values: "dict[str, Any]", log: "Optional[Callable[..., None]]" = None) -> Server:
    """See port.micropython.config.config_file.server."""
    level = log_level(values)
    config = Config(values, True, PROGRAM)
    log = log or logger(level)
    found = Server(config.options, log, _store(config, log))
    made = _authenticators(config)
    begin(found, config)
    for entry in config.listeners:
        tls = context(entry)
        check(entry)
        found.entrances.append(new_entrance(found, entry, new_listener(found, entry, made), tls))
    return found


def change_server(running: Server, values: "dict[str, Any]") -> None:
    """See port.micropython.config.config_file.change."""
    level = log_level(values)
    config = Config(values, True, PROGRAM)
    made = _authenticators(config)
    contexts = []
    for entrance in running.entrances:
        for entry in config.listeners:
            if entry.id == entrance.listener.id:
                check_kept(entry, entrance.listener, entrance.tls is not None)
                contexts.append((entrance, entry, context(entry)))
    for entrance, entry, tls in contexts:
        entrance.tls = tls
        furnish(entrance, entry)
    reconfigure(running, config, made)
    running.fit()
    if "log_level" in values:
        running.log = logger(level)


def log_level(values: "dict[str, Any]") -> int:
    """The number of its log level. Raises ValueError."""
    level = values.get("log_level", "warning")
    if level not in LEVELS:
        raise ValueError("log_level must be one of %s, not %r" % (", ".join(LEVELS), level))
    return LEVELS.index(level)


def _store(config: Config, log: "Callable[..., None]") -> "Optional[Store]":
    """The store of its [store], not opened. Raises ValueError."""
    if config.store is None or config.store.type == "memory":
        return None
    if config.store.type != "flash":
        raise ValueError("store: type must be memory or flash, not %r" % config.store.type)
    from port.micropython.flash import FlashStore

    try:
        return FlashStore(log=log, **config.store.settings)
    except ValueError as e:
        raise ValueError("store: %s" % e)


def _authenticators(config: Config) -> "list[Authenticator]":
    if config.acl_file:
        raise ValueError("acl_file is for CPython only, put the rules into acl")
    types: "dict[str, Callable[[dict[str, Any]], Authenticator]]" = {
        "password_file": _password_file, "users": _users, "certificate": _certificate,
    }  # fmt: skip
    return [make_authenticator(entry, types) for entry in config.auth]


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
