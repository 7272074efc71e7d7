"""ucomqtt on CPython: `from port.cpython import Server`, or `python -m port.cpython`.

The names are loaded when they are asked for: a command that needs no broker starts without one.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from port.core.limits.options import Options
    from port.core.messages.message import Message
    from port.core.auth.authenticator import Authenticator
    from port.core.monitor.query import Query
    from port.core.web.http_response import HTTPError, Response
    from port.core.web.lists import listed
    from port.core.web.stored_file import stored_file
    from port.cpython.net.event_loop import EventLoop
    from port.cpython.server import Server

__all__ = [
    "Authenticator", "EventLoop", "HTTPError", "Message", "Options", "Query", "Response", "Server", "listed", "stored_file",
]  # fmt: skip

_PLACES = {
    "Authenticator": "port.core.auth.authenticator", "EventLoop": "port.cpython.net.event_loop",
    "HTTPError": "port.core.web.http_response", "Query": "port.core.monitor.query", "Response": "port.core.web.http_response",
    "listed": "port.core.web.lists", "stored_file": "port.core.web.stored_file",
    "Message": "port.core.messages.message", "Options": "port.core.limits.options", "Server": "port.cpython.server",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError("module %s has no attribute %s" % (__name__, name))
    found = globals()[name] = getattr(import_module(_PLACES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
