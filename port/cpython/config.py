"""Command line and configuration file: where the options of a server come from.

Defaults, then the TOML file, then the command line. Every key is an option of
port.core.options.Options, or `host`, `port`.
"""

from __future__ import annotations

import argparse
import difflib
import re
import tomllib
from dataclasses import dataclass, field
from typing import Any

from port.core import __version__
from port.core.options import TABLE, Options


class ConfigError(Exception):
    """The configuration is wrong; the text says where and what."""


@dataclass
class Config:
    """What the command line and the file say."""

    host: str = "127.0.0.1"
    port: int = 1883
    verbosity: int = 0
    loop: str = "auto"
    values: dict[str, Any] = field(default_factory=dict)

    def options(self) -> Options:
        """The options; raises ConfigError naming a wrong one."""
        try:
            return Options(**self.values)
        except ValueError as e:
            raise ConfigError(str(e)) from None


def descriptions() -> dict[str, str]:
    """What each option means, from the docstring of Options."""
    return dict(re.findall(r"^    (\w+): (.*)$", Options.__doc__ or "", re.MULTILINE))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m port.cpython",
        description="ucomqtt %s, an MQTT 3.1, 3.1.1 and 5.0 broker." % __version__,
        epilog="A configuration file is TOML with the same names: `max_connections = 100`.",
    )
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1; 0.0.0.0 for all)")
    parser.add_argument("--port", type=int, help="port to listen on (default 1883; 0: any free one)")
    parser.add_argument("--config", metavar="FILE", help="read options from this TOML file")
    parser.add_argument(
        "--loop",
        choices=("auto", "asyncio", "uvloop"),
        default="auto",
        help="event loop (default auto: uvloop when it is installed, else asyncio)",
    )
    parser.add_argument("-v", "--verbose", action="count", default=0, help="log clients as they come and go; twice: all there is")
    parser.add_argument("--version", action="version", version="ucomqtt " + __version__)
    group = parser.add_argument_group("broker options")
    texts = descriptions()
    for name, _, default, least, most, unit in TABLE:
        if isinstance(least, tuple):
            hint = "one of %s, default %s" % (", ".join(least), default)
        elif isinstance(default, bool):
            hint = "true or false, default %s" % str(default).lower()
        elif isinstance(default, str):
            hint = 'default "%s"' % default
        else:
            hint = "%d to %d%s, default %d" % (least, most, " " + unit if unit else "", default)
        parser.add_argument(
            "--" + name.replace("_", "-"), metavar="VALUE", help=("%s (%s)" % (texts[name], hint)).replace("%", "%%")
        )
    return parser


def _value(name: str, text: str, default: Any) -> Any:
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


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as e:
        raise ConfigError("cannot read %s: %s" % (path, e.strerror)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigError("%s: %s" % (path, e)) from None


def load(arguments: list[str]) -> Config:
    """The configuration the command line asks for. Raises ConfigError; argparse ends the program on misuse."""
    args = _parser().parse_args(arguments)
    config = Config(verbosity=args.verbose, loop=args.loop)
    names = {row[0]: row[2] for row in TABLE}
    if args.config:
        for key, value in _read(args.config).items():
            if key == "host" and isinstance(value, str):
                config.host = value
            elif key == "port" and isinstance(value, int) and not isinstance(value, bool):
                config.port = value
            elif key in ("host", "port"):
                raise ConfigError("%s: %s has the wrong type: %r" % (args.config, key, value))
            elif key in names:
                config.values[key] = value
            else:
                near = difflib.get_close_matches(key, [*names, "host", "port"], 1, 0.0)
                raise ConfigError("%s: unknown option %s, did you mean %s?" % (args.config, key, near[0]))
    for name, default in names.items():
        text = getattr(args, name)
        if text is not None:
            config.values[name] = _value(name, text, default)
    if args.host is not None:
        config.host = args.host
    if args.port is not None:
        config.port = args.port
    if not 0 <= config.port <= 65535:
        raise ConfigError("port must be from 0 to 65535, not %d" % config.port)
    config.options()
    return config
