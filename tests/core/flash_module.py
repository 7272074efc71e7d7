"""`flash`, the module port.micropython.flash, on both runtimes; its package needs MicroPython's asyncio, it does not."""

import sys

from port.core import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    flash: Any

_NAME = "port.micropython"

if sys.implementation.name == "micropython":
    flash = __import__(_NAME + ".flash", None, None, ("flash",))
else:
    _package = type(sys)(_NAME)
    _package.__path__ = [__import__("port").__path__[0] + "/micropython"]
    sys.modules[_NAME] = _package
    flash = __import__(_NAME + ".flash", None, None, ("flash",))
    del sys.modules[_NAME]
