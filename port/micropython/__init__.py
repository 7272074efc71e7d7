"""ucomqtt on MicroPython: `from port.micropython import Server`, or `micropython -m port.micropython`."""

import gc

# What imports leave is to lie side by side: with garbage in between, later everywhere, a small heap would be free in small pieces
# only. A large one is left as it is: MicroPython's unix port has crashed where it was collected so often.
_heap = gc.mem_alloc() + gc.mem_free()
if _heap < 250000:
    gc.threshold(_heap // 48)

from port.core.limits.options import Options
from port.core.messages.message import Message
from port.core.auth.authenticator import Authenticator
from port.micropython.server import Server

__all__ = ("Authenticator", "Message", "Options", "Server")
