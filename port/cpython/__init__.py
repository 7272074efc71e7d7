"""ucomqtt on CPython: `from port.cpython import Server`, or `python -m port.cpython`."""

from port.core.auth import Authenticator
from port.core.message import Message
from port.core.options import Options
from port.cpython.poller import EventLoop
from port.cpython.server import Server

__all__ = ["Authenticator", "EventLoop", "Message", "Options", "Server"]
