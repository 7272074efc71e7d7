"""The broker itself, free of any I/O: fed bytes and time, it answers with bytes.

Runs unchanged on CPython 3.11+ and MicroPython 1.23+. Nothing in this package
touches a socket, a file, a thread or a clock; see `broker.Broker` for the three
small interfaces (transport, store, log) through which it calls its host.
"""

TYPE_CHECKING = False  # subset: ok, const is made below
if TYPE_CHECKING:
    from typing import TypeVar

    _Number = TypeVar("_Number", bound=int)

    def const(value: _Number) -> _Number: ...
else:
    try:
        from micropython import const
    except ImportError:

        def const(value):
            """Stand-in for MicroPython's compile-time constant."""
            return value


__version__ = "0.1.0"
