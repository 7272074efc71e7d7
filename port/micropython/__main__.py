"""`micropython -m port.micropython [--host HOST] [--port PORT] [--config FILE] [-v] [--OPTION VALUE ...]`."""

import asyncio
import errno
import json
import sys

from port.core import TYPE_CHECKING
from port.core.options import TABLE
from port.micropython.server import Server, log, log_all

if TYPE_CHECKING:
    from typing import Any

_HELP = """usage: micropython -m port.micropython [--host HOST] [--port PORT] [--config FILE] [-v] [--OPTION VALUE ...]

  --host HOST    address to listen on (default 127.0.0.1; 0.0.0.0 for all)
  --port PORT    port to listen on (default 1883)
  --config FILE  read options from this JSON file: {"max_connections": 10}
  -v             log clients as they come and go
  --OPTION       any option of the broker; what they mean: port/core/options.py
"""


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
        return int(text)
    except ValueError:
        raise ValueError("%s must be a whole number, not %s" % (name, text))


def _read(path: str) -> "dict[str, Any]":
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


def load(arguments: "list[str]") -> "tuple[dict[str, Any], str, int, bool]":
    """(values, host, port, verbose) from the command line; ValueError says what is wrong."""
    rows = _rows()
    values: "dict[str, Any]" = {}
    given: "dict[str, Any]" = {}
    verbose = False
    i = 0
    while i < len(arguments):
        argument = arguments[i]
        i += 1
        if argument == "-v":
            verbose = True
            continue
        name = argument[2:].replace("-", "_")
        if not argument.startswith("--") or name not in rows and name not in ("host", "port", "config"):
            raise ValueError("unknown argument %s" % argument)
        if i >= len(arguments):
            raise ValueError("%s needs a value" % argument)
        if name == "config":
            values = _read(arguments[i])
        elif name == "port":
            given[name] = _value(name, arguments[i], 0)
        elif name == "host":
            given[name] = arguments[i]
        else:
            given[name] = _value(name, arguments[i], rows[name][1])
        i += 1
    values.update(given)
    host = values.pop("host", "127.0.0.1")
    port = values.pop("port", 1883)
    if not isinstance(host, str):
        raise ValueError("host must be a string, not %r" % (host,))
    if isinstance(port, bool) or not isinstance(port, int):
        raise ValueError("port must be a whole number, not %r" % (port,))
    return values, host, port, verbose


async def _run(server: Server, host: str, port: int) -> None:
    await server.start()
    print("ucomqtt: listening on %s:%d" % (host, port))
    await server.serve()


def main(arguments: "list[str]") -> int:
    """Run the broker; returns the exit status."""
    if "--help" in arguments or "-h" in arguments:
        _help()
        return 0
    try:
        values, host, port, verbose = load(arguments)
        server = Server(None, log_all if verbose else log, None, **values)
        server.listen(host, port)
    except (ValueError, TypeError) as e:
        print("ucomqtt:", e)
        return 2
    try:
        asyncio.run(_run(server, host, port))
    except OSError as e:
        text = "the port is in use" if e.errno == errno.EADDRINUSE else repr(e)
        print("ucomqtt: cannot listen on %s:%d: %s" % (host, port, text))
        return 1
    except KeyboardInterrupt:
        asyncio.run(server.stop())
        print("ucomqtt: stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
