"""A configuration file on MicroPython: JSON, with the names of port.core.config.config and `log_level`.

    server = Server()
    server.configure(read_config("broker.json"))    # ValueError names what is wrong
    await server.start()
    await server.change(read_config("broker.json"))     # later: what SIGHUP is on CPython

The code is loaded for each call, and unloaded when the server has started, which frees its memory for clients.
"""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

PROGRAM = ("log_level",)  # keys at the top level that are no option of the broker
LEVELS = ("debug", "info", "warning", "error")


def read_config(path: str) -> "dict[str, Any]":
    """The JSON object in a file; names of files in it are relative to its folder. Raises ValueError naming the file."""
    from port.micropython.config.apply_config import read_file

    return read_file(path)
