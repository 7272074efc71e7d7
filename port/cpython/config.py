"""Where a server's configuration comes from: a TOML file, the environment, the command line.

Each overrides the one before. The file's keys are those of port.core.config and, for the program
itself, `log_level` and `loop`. An environment variable is UCOMQTT_ and an option in capitals. Paths of
files are relative to the folder of the configuration file; `store` as an option is a file for its [store].
"""

from __future__ import annotations

import argparse
import inspect
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from port.core import __version__
from port.core.auth import Authenticator
from port.core.config import Config
from port.core.nearest import unknown
from port.core.options import TABLE, Options
from port.cpython import authenticators, mosquitto, stores
from port.cpython.stores.writer import WriterStore

PROGRAM = ("log_level", "loop")  # keys at the top level that are no option of the broker
LEVELS = ("debug", "info", "warning", "error")
LOOPS = ("auto", "asyncio", "uvloop")
_PREFIX = "UCOMQTT_"
# Keys that name a file, wherever they stand.
_FILES = ("file", "acl_file", "certificate", "key", "client_ca", "ca_file", "key_file", "secret_file", "password_file", "token_file")


class ConfigError(Exception):
    """The configuration is wrong; the text says where and what."""


@dataclass
class Program:
    """What is to be run.

    values          the effective configuration, before it was checked
    config          the same, checked
    authenticators  those of its [[auth]]
    store           that of its [store], not opened, or None
    """

    values: dict[str, Any]
    config: Config
    authenticators: list[Authenticator]
    store: WriterStore | None

    @property
    def log_level(self) -> str:
        """debug, info, warning or error."""
        return str(self.values.get("log_level", "warning"))

    @property
    def loop(self) -> str:
        """auto, asyncio or uvloop."""
        return str(self.values.get("loop", "auto"))


def descriptions(documented: type) -> dict[str, str]:
    """What each key means, from the docstring of Options or ListenerConfig."""
    # CPython 3.13 and newer have taken the indentation away already.
    text = inspect.cleandoc(documented.__doc__ or "")
    return dict(re.findall(r"^(\w+): (.*)$", text, re.MULTILINE))


def hint(row: tuple[Any, ...]) -> str:
    """Range, unit and default of a row of the options' table, as text."""
    _, _, default, least, most, unit = row
    if isinstance(least, tuple):
        return "one of %s, default %s" % (", ".join(least), default)
    if isinstance(default, bool):
        return "true or false, default %s" % str(default).lower()
    if isinstance(default, str):
        return 'default "%s"' % default
    return "%d to %d%s, default %d" % (least, most, " " + unit if unit else "", default)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        prog="python3 -m port.cpython",
        description="ucomqtt %s, an MQTT 3.1, 3.1.1 and 5.0 broker." % __version__,
        epilog="`python3 -m port.cpython passwd --help` tells how to manage a password file. All that a configuration "
        "file can hold, listeners and authentication too: --print-config.",
    )
    found.add_argument("--host", help="address to listen on (default 127.0.0.1; 0.0.0.0 for all)")
    found.add_argument("--port", help="port to listen on (default 1883; 0: any free one)")
    found.add_argument("--config", metavar="FILE", help="read this TOML file; SIGHUP reads it again")
    text = "keep sessions and messages in this file, so that nothing is lost at a restart; more in [store] of the configuration"
    found.add_argument("--store", metavar="FILE", help=text)
    found.add_argument("--check-config", action="store_true", help="say whether the configuration is right, and end")
    found.add_argument("--print-config", action="store_true", help="print the effective configuration, with explanations, and end")
    text = "event loop: %s (default auto: uvloop when it is installed, else asyncio, on Linux with a poll of our own)"
    found.add_argument("--loop", help=text % ", ".join(LOOPS))
    found.add_argument("--log-level", metavar="LEVEL", help="%s (default warning)" % ", ".join(LEVELS))
    found.add_argument("-v", "--verbose", action="count", default=0, help="log clients as they come and go; twice: all there is")
    found.add_argument("--version", action="version", version="ucomqtt " + __version__)
    group = found.add_argument_group("broker options")
    texts = descriptions(Options)
    for row in TABLE:
        text = "%s (%s)" % (texts[row[0]], hint(row))
        group.add_argument("--" + row[0].replace("_", "-"), metavar="VALUE", help=text.replace("%", "%%"))
    return found


def _value(name: str, text: str) -> Any:
    """An option's value from the text of a command line or variable."""
    default = _defaults()[name]
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise ConfigError("%s must be true or false, not %r" % (name, text))
        return text.lower() == "true"
    if isinstance(default, str):
        return text
    try:
        return int(text)
    except ValueError:
        raise ConfigError("%s must be a whole number, not %r" % (name, text)) from None


def _defaults() -> dict[str, Any]:
    """What can be given as text: name -> default."""
    return {"host": "", "port": 0, "log_level": "", "loop": "", "store": "", **{row[0]: row[2] for row in TABLE}}


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as e:
        raise ConfigError("cannot read %s: %s" % (path, e.strerror)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigError("%s: %s" % (path, e)) from None


def _resolved(value: Any, folder: Path) -> Any:
    """The same with paths made absolute; users may be called anything."""
    if isinstance(value, dict):
        found = {}
        for key, item in value.items():
            if key in _FILES and isinstance(item, str):
                found[key] = str(folder / item)
            else:
                found[key] = item if key == "users" else _resolved(item, folder)
        return found
    return [_resolved(item, folder) for item in value] if isinstance(value, list) else value


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    known = _defaults()
    found = {}
    for variable, text in environ.items():
        name = variable.removeprefix(_PREFIX).lower()
        if not variable.startswith(_PREFIX) or name == "config":
            continue
        if name not in known:
            raise ConfigError("%s: %s" % (variable, unknown("option", name, [*known, "config"])))
        found[name] = _value(name, text)
    return found


def _store(table: Any, file: str) -> dict[str, Any]:
    """The table [store] with this file in place of its own."""
    kept = table if isinstance(table, dict) and table.get("type") == "sqlite" else {}
    return {**kept, "type": "sqlite", "file": os.path.abspath(file)}


def gather(args: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The effective configuration, not checked yet. Raises ConfigError."""
    path = args.config or environ.get(_PREFIX + "CONFIG")
    values = _resolved(_read(path), Path(path).resolve().parent) if path else {}
    given = _from_environment(environ)
    for name in _defaults():
        text = getattr(args, name)
        if text is not None:
            given[name] = _value(name, text)
    if "store" in given:
        given["store"] = _store(values.get("store"), given["store"])
    values.update(given)
    if args.verbose and args.log_level is None:
        values["log_level"] = LEVELS[max(0, 2 - args.verbose)]
    return values


def check(values: dict[str, Any], running: list[Authenticator] | None = None) -> Program:
    """Check a configuration and read the files it names, certificates apart. Raises ConfigError.

    `running`: the authenticators of the configuration that holds now; those that can go on are used again.
    """
    for name, choices in (("log_level", LEVELS), ("loop", LOOPS)):
        if values.get(name, choices[0]) not in choices:
            raise ConfigError("%s must be one of %s, not %r" % (name, ", ".join(choices), values[name]))
    try:
        config = Config(values, False, PROGRAM)
        if config.acl_file:
            config.rules += mosquitto.rules(config.acl_file)
        made = [authenticators.make(entry, running or []) for entry in config.auth]
        store = stores.make(config.store)
    except OSError as e:
        raise ConfigError("cannot read %s: %s" % (e.filename, e.strerror)) from None
    except ValueError as e:
        raise ConfigError(str(e)) from None
    return Program(values, config, made, store)
