"""ucomqtt on MicroPython: `from port.micropython import Server`, or `micropython -m port.micropython`.

FlashStore, `run`, the main program of a board, and what pages need (port.micropython.web) are loaded when they are asked for.
"""

import gc

# What imports leave is to lie side by side: with garbage in between, later everywhere, a small heap would be free in small pieces
# only. A large one is left as it is: MicroPython's unix port has crashed where it was collected so often.
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

    from port.micropython.board.program import run
    from port.micropython.flash import FlashStore
    from port.micropython.web import HTTPError, Query, Response, listed, stored_file

__all__ = ("Authenticator", "Message", "Options", "Server")


def __getattr__(name: str) -> "Any":
    if name == "FlashStore":
        from port.micropython.flash import FlashStore

        return FlashStore
    if name == "run":
        from port.micropython.board.program import run

        return run
    if name in ("HTTPError", "Query", "Response", "listed", "stored_file"):
        import port.micropython.web as web

        return web.__dict__[name]
    raise AttributeError(name)
