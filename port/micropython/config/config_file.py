"""A configuration on MicroPython: a JSON file, or a dict, with the names of port.core.config.config and `log_level`.

    broker = server(read("broker.json"))    # ValueError names what is wrong
    await broker.start()
    change(broker, read("broker.json"))     # later: what SIGHUP is on CPython

What does it is loaded for each call, and forgotten when the server has started: it takes memory that clients can use.
"""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from port.micropython.server import Server

PROGRAM = ("log_level",)  # keys at the top level that are no option of the broker
LEVELS = ("debug", "info", "warning", "error")


def read(path: str) -> "dict[str, Any]":
    """The JSON object in a file; names of files in it are relative to its folder. Raises ValueError naming the file."""
    from port.micropython.config.apply_config import read_file

    return read_file(path)


def server(values: "dict[str, Any]", log: "Optional[Callable[..., None]]" = None) -> "Server":
    """A server with this configuration; `log` in place of what prints from `log_level` on.

    Raises ValueError naming what is wrong: whoever wants to check a configuration makes a server of it.
    """
    from port.micropython.config.apply_config import new_server

    return new_server(values, log)


def change(running: "Server", values: "dict[str, Any]") -> None:
    """Give a running server another configuration, see apply_config.reconfigure, and the `log_level` in it if there is one.

    Certificates are read again. Raises ValueError naming what is wrong, and then nothing has changed.
    """
    from port.micropython.config.apply_config import change_server
    from port.micropython.server import forget

    try:
        change_server(running, values)
    finally:
        forget()
