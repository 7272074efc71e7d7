"""`micropython -m port.micropython [--host HOST] [--port PORT] [--config FILE] [-v] [--OPTION VALUE ...]`; see --help."""

import asyncio
import sys

from port.core import const
from port.core.limits.options import TABLE
from port.micropython.config.config_file import LEVELS, read_config
from port.micropython.server import Server

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

_HELP = """usage: micropython -m port.micropython [--host HOST] [--port PORT] [--config FILE] [-v] [--OPTION VALUE ...]

  --host HOST        address to listen on (default 127.0.0.1; 0.0.0.0 for all)
  --port PORT        port to listen on (default 1883)
  --config FILE      read this JSON file: {"max_connections": 10}; listeners, authentication and ACL: port/core/config/config.py
  --check-config     say whether the configuration is right, and end
  --print-config     print the effective configuration, and end
  --log-level LEVEL  debug, info, warning or error (default warning)
  -v                 log clients as they come and go
  --OPTION           any option of the broker; what they mean: port/core/limits/options.py
"""


_SHORT = {"-p": "--port", "-c": "--config"}  # as mosquitto has them
_OTHERS = ("host", "port", "config", "log_level")  # arguments with a value that are no options of the broker


def _rows() -> "dict[str, tuple[Any, ...]]":
    return {row[0]: row for row in TABLE}


def _help() -> None:
    print(_HELP)
    for name, default, _, least, most, unit in TABLE:
        if isinstance(least, tuple):
            hint = ", ".join(least)
        elif isinstance(default, int) and not isinstance(default, bool):
            hint = "%d to %d %s" % (least, most, unit)
        else:
            hint = ""
        print("  --%s (default %s) %s" % (name.replace("_", "-"), default, hint))


def _value(name: str, text: str, default: "Any") -> "Any":
    if isinstance(default, bool):
        if text not in ("true", "false"):
            raise ValueError("%s must be true or false, not %s" % (name, text))
        return text == "true"
    if isinstance(default, str):
        return text
    try:
        return [int(item) for item in text.split(",")] if isinstance(default, tuple) else int(text)
    except ValueError:
        kind = "whole numbers with commas between them" if isinstance(default, tuple) else "a whole number"
        raise ValueError("%s must be %s, not %s" % (name, kind, text))


def load(arguments: "list[str]") -> "tuple[dict[str, Any], str]":
    """(configuration, check_config, print_config or empty) from the command line; ValueError says what is wrong."""
    rows = _rows()
    values: "dict[str, Any]" = {}
    given: "dict[str, Any]" = {}
    only = ""
    i = 0
    while i < len(arguments):
        argument = arguments[i]
        i += 1
        name = argument[2:].replace("-", "_")
        if argument in ("-v", "-vv"):
            given["log_level"] = LEVELS[3 - len(argument)]
            continue
        if argument in ("--check-config", "--print-config"):
            only = name
            continue
        if not argument.startswith("--") or name not in rows and name not in _OTHERS:
            from port.core.wire.suggest import unknown

            if argument[:2] in _SHORT:
                raise ValueError("unknown argument %s, did you mean %s?" % (argument[:2], _SHORT[argument[:2]]))
            if argument.endswith(".json"):
                raise ValueError("unknown argument %s, did you mean --config %s?" % (argument, argument))
            known = list(_OTHERS) + ["check_config", "print_config"] + list(rows)
            raise ValueError(unknown("argument", argument, ["--" + row.replace("_", "-") for row in known]))
        if i >= len(arguments):
            raise ValueError("%s needs a value" % argument)
        if name == "config":
            values = read_config(arguments[i])
        elif name == "port":
            given[name] = _value(name, arguments[i], 0)
        elif name in _OTHERS:
            given[name] = arguments[i]
        else:
            given[name] = _value(name, arguments[i], rows[name][1])
        i += 1
    values.update(given)
    return values, only


async def _run(server: Server) -> None:
    await server.start()
    for line in server.described():
        print("ucomqtt: " + line)
    await server.serve()


def main(arguments: "list[str]") -> int:
    """Run the broker; returns the exit status."""
    if "--help" in arguments or "-h" in arguments:
        _help()
        return 0
    try:
        values, only = load(arguments)
        broker = Server()
        broker.configure(values)
    except (ValueError, TypeError) as e:
        print("ucomqtt:", e)
        return 2
    if values.get("listener") and ("host" in values or "port" in values) and only != "print_config":
        print("ucomqtt: note: host and port open a listener of their own, beside those of `listener`")
    if only:
        if only == "check_config":
            print("ucomqtt: the configuration is right")
        else:
            from port.micropython.config.print_config import text

            print(text(values))
        return 0
    try:
        asyncio.run(_run(broker))
    except (OSError, ValueError) as e:
        print("ucomqtt:", e.args[1] if len(e.args) > 1 else repr(e))
        return 1
    except KeyboardInterrupt:
        asyncio.run(broker.stop())
        print("ucomqtt: stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
