"""The sources of a server's configuration: a TOML file, the environment, the command line.

Each source overrides the one before. The file's keys are those of port.core.config.config and, for the
program itself, `log_level`, `log_format`, `loop`, and `include_dir`: a folder with further files, see
port.cpython.config.config_sources. The name of an environment variable is UCOMQTT_ and an option in
capitals. Paths are relative to the folder of their configuration file; the option `store` is the file of [store].
"""

from __future__ import annotations

import argparse
import inspect
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from port.core import __version__
from port.core.wire.suggest import unknown
from port.core.limits.options import NO_LIMIT, TABLE, Options
from port.core.auth.authenticator import Authenticator
from port.core.config.config import Config
from port.core.config.listener_config import LISTENER_KEYS, ListenerConfig, types_with
from port.core.config.registry import LISTENERS
from port.core.storage.store import Store
from port.cpython.cli import command as command
from port.cpython.cli import listing
from port.cpython.config import mistakes
from port.cpython.config.config_sources import LEVELS, ConfigError, Source, merged, read
from port.cpython.config.parts import parts

PROGRAM = ("log_level", "log_format", "loop", "include_dir")  # keys at the top level besides the broker's options
FORMATS = ("text", "json")
LOOPS = ("auto", "asyncio", "uvloop")
_LISTS = ("listener", "auth", "acl", "client_limits")
_PREFIX = "UCOMQTT_"
_LONGEST = 400  # most characters of an error
_SHORT = {"-p": "--port", "-c": "--config"}  # mosquitto's flags


@dataclass
class Gathered:
    """A configuration, not checked.

    values  the effective values
    files   its files
    given   the values of environment and command line
    names   the environment variables of these, by key
    """

    values: dict[str, Any]
    files: list[Source]
    given: dict[str, Any]
    names: dict[str, str] = field(default_factory=dict)

    def origin(self, key: str, number: int = 0) -> str:
        """The file that sets a key, or has this table of a list; empty with fewer than two files."""
        if len(self.files) > 1 and key not in self.given:
            for source in self.files:
                value = source.values.get(key)
                count = len(value) if isinstance(value, list) else int(value is not None)
                if number < count:
                    return source.name
                number -= count
        return ""

    def error(self, text: str, blamed: str = "") -> ConfigError:
        """The error with this text after its file and line; `blamed`: the file, if known."""
        where = mistakes.place(self.files, self.values, self.given, self.names, text) or blamed
        return ConfigError("%s: %s" % (where, text) if where else text)

    def notes(self) -> list[str]:
        """Notes about values that are valid but probably not meant."""
        found = []
        if self.values.get("listener") and ("host" in self.values or "port" in self.values):
            text = "host and port at the top level open a listener of their own, `default`, beside those of [[listener]]"
            found.append(str(self.error(text)))
        return found


@dataclass
class Program:
    """A checked configuration with all that a server needs of it.

    gathered        the effective configuration before the check
    config          the same, checked
    authenticators  those of its [[auth]]
    store           that of its [store], not opened, or None
    """

    gathered: Gathered
    config: Config
    authenticators: list[Authenticator]
    store: Store | None

    @property
    def values(self) -> dict[str, Any]:
        """The effective configuration before the check."""
        return self.gathered.values

    @property
    def log_level(self) -> str:
        """debug, info, warning or error."""
        return str(self.values.get("log_level", "warning"))

    @property
    def log_format(self) -> str:
        """text or json."""
        return str(self.values.get("log_format", "text"))

    @property
    def loop(self) -> str:
        """auto, asyncio or uvloop."""
        return str(self.values.get("loop", "auto"))


def descriptions(documented: object) -> dict[str, str]:
    """The meaning of each key, from the docstring of its class, such as Options or ListenerConfig."""
    # CPython 3.13 and newer remove the indentation themselves.
    text = inspect.cleandoc(documented.__doc__ or "")
    return dict(re.findall(r"^(\w+): (.*)$", text, re.MULTILINE))


def listener_texts(kind: str = "") -> dict[str, str]:
    """What each key of a [[listener]] means: of this type, or of all."""
    found = descriptions(ListenerConfig)
    kinds = {}
    for name in LISTENERS.names():
        try:
            kinds[name] = LISTENERS.load(name)
        except ValueError:  # of another package, which is not asked for
            pass
    found["type"] = "%s (default tcp)" % "; ".join(["%s: %s" % (name, _summary(known)) for name, known in kinds.items()])
    ports = ["%s %d" % (name, known.PORTS[0]) for name, known in kinds.items() if known.PLACE == "port"]
    secure = ["%s %d" % (name, known.PORTS[1]) for name, known in kinds.items() if known.PLACE == "port" and "tls" not in known.WITHOUT]
    found["port"] = "port to listen on (default %s; with TLS %s)" % (", ".join(ports), ", ".join(secure))
    for name in [kind] if kind else kinds:
        for base in reversed(kinds[name].__mro__):
            found.update({key: text for key, text in descriptions(base).items() if key in kinds[name].KEYS})
    return found


def _summary(kind: type) -> str:
    """The first sentence of a type, without the end of a sentence."""
    docs = [(base.__doc__ or "").strip().partition("\n")[0] for base in kind.__mro__]
    return next((text for text in docs if text and not text.startswith("See ")), "").rstrip(".")


def extent(row: tuple[Any, ...]) -> str:
    """Range and unit of a row of the options' table, as text; empty for any string."""
    name, _, default, least, most, unit = row
    if isinstance(least, tuple):
        return "one of %s" % ", ".join(least)
    if isinstance(default, bool):
        return "true or false"
    if isinstance(default, tuple):
        return "some of %s" % ", ".join(map(str, default))
    if isinstance(default, str):
        return ""
    others = " or 0" if name in NO_LIMIT else ""
    return "%d to %d%s%s" % (least, most, " " + unit if unit else "", others)


def shown_default(row: tuple[Any, ...], default: Any) -> str:
    """A default of a row of the options' table, as text."""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return "all"
    if isinstance(default, str) and not isinstance(row[3], tuple):
        return '"%s"' % default
    return str(default)


def hint(row: tuple[Any, ...]) -> str:
    """Range, unit and default of a row of the options' table, as text."""
    found = extent(row)
    return "%sdefault %s" % (found + ", " if found else "", shown_default(row, row[2]))


class _Formatter(argparse.HelpFormatter):
    """Keeps the lines of the description."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


class _Parser(argparse.ArgumentParser):
    """Reports an error in two lines, with a near name."""

    def error(self, message: str) -> NoReturn:
        """End the program with status 2."""
        what, mark, names = message.partition("unrecognized arguments: ")
        wrong = next((name.partition("=")[0] for name in names.split() if name.startswith("-")), "")
        key = wrong.lstrip("-").replace("-", "_")
        if mark and wrong and not wrong.startswith("--"):
            short = wrong[:2]
            message = "unknown argument " + (short + ", did you mean %s?" % _SHORT[short] if short in _SHORT else wrong)
        elif mark and wrong and (key in LISTENER_KEYS or types_with(key) or key in _LISTS):
            where = "[[%s]]" % key if key in _LISTS else "%s of a [[listener]]" % key
            message = "unknown argument %s; it is a part of the configuration, %s: --config FILE" % (wrong, where)
        elif mark and wrong:
            message = unknown("argument", wrong, list(self._option_string_actions))
        self.exit(2, "%s: %s\n%s --help tells what there is\n" % (self.prog, message[:_LONGEST], self.prog))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = _Parser(
        prog=command(),
        usage="%s [options]\n       %s COMMAND ..." % (command(), command()),
        description="ucomqtt %s, an MQTT 3.1, 3.1.1 and 5.0 broker. Without a command it runs.\n\n%s" % (__version__, listing()),
        epilog="--print-config prints every key of a configuration file, listeners and authentication too.",
        formatter_class=_Formatter,
    )
    found.add_argument("--host", help="address to listen on (default 127.0.0.1; 0.0.0.0 for all of IPv4, :: for all of IPv4 and IPv6)")
    found.add_argument("--port", help="port to listen on (default 1883; 0: any free one)")
    found.add_argument("--config", metavar="FILE", help="read this TOML file; SIGHUP reads it again")
    text = "keep sessions and messages over restarts in this file; more in [store] of the configuration"
    found.add_argument("--store", metavar="FILE", help=text)
    found.add_argument("--check-config", action="store_true", help="say whether the configuration is right, and end")
    found.add_argument("--print-config", action="store_true", help="print the effective configuration, with explanations, and end")
    text = "event loop: %s (default auto: uvloop when it is installed, else asyncio, on Linux with a poll of our own)"
    found.add_argument("--loop", help=text % ", ".join(LOOPS))
    found.add_argument("--log-level", metavar="LEVEL", help="%s (default warning)" % ", ".join(LEVELS))
    found.add_argument("--log-format", metavar="FORMAT", help="%s (default text; json: one object a line)" % ", ".join(FORMATS))
    found.add_argument("-v", "--verbose", action="count", default=0, help="log connections and refusals of clients; twice: debug lines, too")
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
        return [int(item) for item in text.split(",")] if isinstance(default, tuple) else int(text)
    except ValueError:
        kind = "whole numbers with commas between them" if isinstance(default, tuple) else "a whole number"
        raise ConfigError("%s must be %s, not %r" % (name, kind, text)) from None


def _defaults() -> dict[str, Any]:
    """The keys that can be given as text: name -> default."""
    return {"host": "", "port": 0, "log_level": "", "log_format": "", "loop": "", "store": "", **{row[0]: row[2] for row in TABLE}}


def _from_environment(environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of the environment, and the names of its variables, both by key."""
    known = _defaults()
    found = {}
    names = {}
    for variable, text in environ.items():
        name = variable.removeprefix(_PREFIX).lower()
        if not variable.startswith(_PREFIX) or name == "config":
            continue
        if name not in known:
            raise ConfigError("%s: %s" % (variable, unknown("option", name, [*known, "config"])))
        try:
            found[name] = _value(name, text)
        except ConfigError as e:
            raise ConfigError("%s: %s" % (variable, e)) from None
        names[name] = variable
    return found, names


def _store(table: Any, file: str) -> dict[str, Any]:
    """The table [store] with another file."""
    kept = table if isinstance(table, dict) and table.get("type") == "sqlite" else {}
    return {**kept, "type": "sqlite", "file": os.path.abspath(file)}


def gather(args: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Gathered:
    """The effective configuration before the check. Raises ConfigError."""
    path = args.config or environ.get(_PREFIX + "CONFIG")
    try:
        files = read(path) if path else []
    except ConfigError as e:
        if args.config is None and str(e).startswith("cannot read %s:" % path):
            raise ConfigError("%sCONFIG: %s" % (_PREFIX, e)) from None
        raise
    values = merged(files)
    given, names = _from_environment(environ)
    for name in _defaults():
        text = getattr(args, name)
        if text is not None:
            given[name] = _value(name, text)
            names.pop(name, None)
    if "store" in given:
        given["store"] = _store(values.get("store"), given["store"])
    if args.verbose and args.log_level is None:
        given["log_level"] = LEVELS[max(0, 2 - args.verbose)]
        names.pop("log_level", None)
    return Gathered({**values, **given}, files, given, names)


def check(gathered: Gathered, running: list[Authenticator] | None = None) -> Program:
    """Check a configuration and read its files, except certificates. Raises ConfigError.

    `running`: the authenticators in use; those with unchanged settings are used again.
    """
    try:
        return Program(gathered, *_checked(gathered.values, running or []))
    except ConfigError as e:
        name = _blamed(gathered, str(e), running or []) if len(gathered.files) > 1 else ""
        raise gathered.error(str(e), name) from None


def _blamed(gathered: Gathered, text: str, running: list[Authenticator]) -> str:
    """The file with a mistake: the first whose values give this error, together with the files before it. Empty without one."""
    for count in range(len(gathered.files) + 1):
        try:
            _checked({**merged(gathered.files[:count]), **gathered.given}, running)
        except ConfigError as e:
            if str(e) == text:
                return gathered.files[count - 1].name if count else ""
    return ""


def _checked(values: dict[str, Any], running: list[Authenticator]) -> tuple[Config, list[Authenticator], Store | None]:
    for name, choices in (("log_level", LEVELS), ("log_format", FORMATS), ("loop", LOOPS)):
        if values.get(name, choices[0]) not in choices:
            raise ConfigError("%s must be one of %s, not %r" % (name, ", ".join(choices), values[name]))
    for name in _LISTS:
        if isinstance(values.get(name), dict):
            raise ConfigError("%s must be a list of tables: [[%s]] in place of [%s]" % (name, name, name))
    try:
        return parts(values, PROGRAM, running)
    except OSError as e:
        raise ConfigError("cannot read %s: %s" % (e.filename, e.strerror)) from None
    except ValueError as e:
        raise ConfigError(str(e)) from None
