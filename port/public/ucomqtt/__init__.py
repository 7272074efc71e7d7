"""ucomqtt, an MQTT 3.1, 3.1.1 and 5.0 broker: `from ucomqtt import Server`, or `python -m ucomqtt`.

The names are those of port.cpython, each loaded when it is asked for; ucomqtt.testing has a broker for tests. When another module
called `port` hides ours, such as a port.py beside the program, a name raises ImportError with the path of that module.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from port.core import __version__
    from port.cpython import (
        Authenticator,
        Batch,
        EventLoop,
        FilterWatcher,
        HTTPError,
        ListenerType,
        LocalClient,
        Message,
        Options,
        Query,
        Response,
        Server,
        Store,
        Watcher,
        listed,
        read_config,
        serve_stream,
        stored_file,
    )

__all__ = [
    "Authenticator", "Batch", "EventLoop", "FilterWatcher", "HTTPError", "ListenerType", "LocalClient", "Message", "Options",
    "Query", "Response", "Server", "Store", "Watcher", "__version__", "listed", "read_config", "serve_stream", "stored_file",
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
