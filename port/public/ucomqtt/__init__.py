"""ucomqtt, an MQTT 3.1, 3.1.1 and 5.0 broker: `from ucomqtt import Server`, or `python -m ucomqtt`.

The public names of port.cpython, where the broker for CPython is, loaded when they are asked for; ucomqtt.testing has a broker
for tests. Asking for one raises ImportError that names the file where something else called `port`, such as a port.py beside
the program, hides that package.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from port.core import __version__
    from port.cpython import Authenticator, EventLoop, HTTPError, Message, Options, Query, Response, Server, listed, stored_file

__all__ = [
    "Authenticator", "EventLoop", "HTTPError", "Message", "Options", "Query", "Response", "Server", "__version__", "listed",
    "stored_file",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    try:
        import port.core
        import port.cpython
    except ModuleNotFoundError as e:
        if not (e.name or "").startswith("port"):
            raise
        import port

        raise ImportError(f"{port.__file__ or port.__path__} hides the package `port` of ucomqtt: give it another name") from None
    found = globals()[name] = getattr(port.core if name == "__version__" else port.cpython, name)
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
