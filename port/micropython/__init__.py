"""ucomqtt on MicroPython: `from port.micropython import Server`, or `micropython -m port.micropython`."""

from port.core.auth import Authenticator
from port.core.message import Message
from port.core.options import Options
from port.micropython.server import Server

__all__ = ("Authenticator", "Message", "Options", "Server")
