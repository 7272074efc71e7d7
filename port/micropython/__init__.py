"""ucomqtt on MicroPython: `from port.micropython import Server`, or `micropython -m port.micropython`.

Batch, FilterWatcher, FlashStore, ListenerType, LocalClient, Store, Watcher, read_config, serve_stream, `run`, the main program of a
board, and the names for HTTP in port.micropython.web are loaded when they are asked for.
"""

import gc

# Frequent collections keep the objects that imports leave side by side: garbage between them would leave a small heap free in small
# pieces only. A large heap keeps its threshold: MicroPython's unix port has crashed when collected so often.
_heap = gc.mem_alloc() + gc.mem_free()
if _heap < 250000:
    gc.threshold(_heap // 48)

from port.core import const
from port.core.limits.options import Options
from port.core.messages.message import Message
from port.core.auth.authenticator import Authenticator
from port.micropython.server import Server

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from port.core.messages.batch import Batch as Batch
    from port.core.config.listener_types import ListenerType as ListenerType
    from port.core.monitor.watchers import FilterWatcher as FilterWatcher
    from port.core.monitor.watchers import Watcher as Watcher
    from port.core.protocol.local_client import LocalClient as LocalClient
    from port.core.storage.store import Store as Store
    from port.core.streams import serve_stream as serve_stream
    from port.micropython.board.program import run as run
    from port.micropython.config.config_file import read_config as read_config
    from port.micropython.flash import FlashStore as FlashStore
    from port.micropython.web import HTTPError as HTTPError
    from port.micropython.web import Query as Query
    from port.micropython.web import Response as Response
    from port.micropython.web import listed as listed
    from port.micropython.web import stored_file as stored_file

__all__ = ("Authenticator", "Message", "Options", "Server")


def __getattr__(name: str) -> "Any":
    if name == "FlashStore":
        place = "port.micropython.flash"
    elif name == "run":
        place = "port.micropython.board.program"
    elif name == "Store":
        place = "port.core.storage.store"
    elif name == "Watcher" or name == "FilterWatcher":
        place = "port.core.monitor.watchers"
    elif name == "ListenerType":
        place = "port.core.config.listener_types"
    elif name == "LocalClient":
        place = "port.core.protocol.local_client"
    elif name == "Batch":
        place = "port.core.messages.batch"
    elif name == "read_config":
        place = "port.micropython.config.config_file"
    elif name == "serve_stream":
        place = "port.core.streams"
    elif name in ("HTTPError", "Query", "Response", "listed", "stored_file"):
        place = "port.micropython.web"
    else:
        raise AttributeError(name)
    return getattr(__import__(place, None, None, (name,)), name)  # subset: ok, the names are those above
