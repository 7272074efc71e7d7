"""ucomqtt on CPython: `from port.cpython import Server`, or `python -m port.cpython`.

A name is loaded when it is asked for, so a command that needs no broker starts without one.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from port.core.limits.options import Options
    from port.core.messages.batch import Batch
    from port.core.messages.message import Message
    from port.core.auth.authenticator import Authenticator
    from port.core.config.listener_types import ListenerType
    from port.core.monitor.query import Query
    from port.core.monitor.watchers import FilterWatcher, Watcher
    from port.core.protocol.local_client import LocalClient
    from port.core.storage.store import Store
    from port.core.web.http_response import HTTPError, Response
    from port.core.web.lists import listed
    from port.core.web.stored_file import stored_file
    from port.core.streams import serve_stream
    from port.cpython.config.config_sources import read_config
    from port.cpython.net.event_loop import EventLoop
    from port.cpython.server import Server

__all__ = [
    "Authenticator", "Batch", "EventLoop", "FilterWatcher", "HTTPError", "ListenerType", "LocalClient", "Message", "Options",
    "Query", "Response", "Server", "Store", "Watcher", "listed", "read_config", "serve_stream", "stored_file",
]  # fmt: skip

_PLACES = {
    "Authenticator": "port.core.auth.authenticator", "Batch": "port.core.messages.batch",
    "EventLoop": "port.cpython.net.event_loop", "FilterWatcher": "port.core.monitor.watchers",
    "HTTPError": "port.core.web.http_response", "ListenerType": "port.core.config.listener_types",
    "LocalClient": "port.core.protocol.local_client", "Message": "port.core.messages.message",
    "Options": "port.core.limits.options", "Query": "port.core.monitor.query", "Response": "port.core.web.http_response",
    "Server": "port.cpython.server", "Store": "port.core.storage.store", "Watcher": "port.core.monitor.watchers",
    "listed": "port.core.web.lists", "read_config": "port.cpython.config.config_sources", "serve_stream": "port.core.streams",
    "stored_file": "port.core.web.stored_file",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError("module %s has no attribute %s" % (__name__, name))
    found = globals()[name] = getattr(import_module(_PLACES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
