"""A configuration on MicroPython: a JSON file, or a dict, with the names of port.core.config."""

import json

from port.core import TYPE_CHECKING
from port.core.config import Config
from port.core.setup import check_settings, make_authenticator
from port.micropython.server import Server, log

if TYPE_CHECKING:
    from typing import Any, Callable

    from port.core.auth import Authenticator


def read(path: str) -> "dict[str, Any]":
    """The JSON object in a file. Raises ValueError naming the file."""
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
    return values


def server(values: "dict[str, Any]", log: "Callable[..., None]" = log) -> Server:
    """A server with this configuration. Raises ValueError naming what is wrong."""
    config = Config(values, True)
    found = Server(config.options, log)
    found.configure(config, _authenticators(config))
    return found


def change(server: Server, values: "dict[str, Any]") -> None:
    """Give a running server another configuration. Raises ValueError naming what is wrong, and nothing has changed."""
    config = Config(values, True)
    server.change(config, _authenticators(config))


def _authenticators(config: Config) -> "list[Authenticator]":
    if config.acl_file:
        raise ValueError("acl_file is for CPython only, put the rules into acl")
    types: "dict[str, Callable[[dict[str, Any]], Authenticator]]" = {
        "password_file": _password_file, "users": _users, "certificate": _certificate,
    }  # fmt: skip
    return [make_authenticator(entry, types) for entry in config.auth]


def _password_file(settings: "dict[str, Any]") -> "Authenticator":
    """type password_file: `file`, made by `python3 -m port.cpython passwd`."""
    from port.core.passwords import PasswordAuthenticator, parse

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
    from port.core.passwords import PasswordAuthenticator, parse, table_lines

    check_settings(settings, {"users": dict})
    return PasswordAuthenticator(parse(table_lines(settings.get("users", {}))))


def _certificate(settings: "dict[str, Any]") -> "Authenticator":
    """type certificate: see port.core.certificate.make."""
    from port.core.certificate import make
    from port.micropython.tls import check_names

    check_names()
    return make(settings)
