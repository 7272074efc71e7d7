"""Async callbacks of a program: their coroutines become tasks of the event loop.

Their exceptions are logged like those of other callbacks. Hooks whose answer the broker uses cannot be async, as it does not
wait for them. Nor can methods of authenticators.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from port.core.config import arguments

if TYPE_CHECKING:
    from port.core.broker import Broker

_ASKED = ("subscribe", "process_message", "message")  # hooks whose answer the broker uses

# Methods of authenticators that the broker calls, and their arguments.
_METHODS = (
    ("authenticate", ("client", "user", "password")),
    ("exchange", ("client", "data")),
    ("valid", ("client",)),
    ("knows", ("user",)),
)


class Callbacks:
    """The async callbacks of one broker, and their running tasks."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._tasks: set[asyncio.Task[None]] = set()

    def hook(self, event: str, callback: Callable[..., Any]) -> Callable[..., Any]:
        """The function to call in place of a hook. Raises TypeError for a hook that cannot be called, or cannot be async."""
        if is_async(callback) and event in _ASKED:
            text = "the hook %s of %s cannot be async: its answer is needed at once"
            raise TypeError(text % (getattr(callback, "__name__", callback), event))
        return self.awaited(callback)

    def awaited(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        """The function to call in place of a callback: itself, unless it is async. Raises TypeError if it cannot be called."""
        if not callable(callback):
            raise TypeError("a function is wanted, not %r" % (callback,))
        return _Awaited(self, callback) if is_async(callback) else callback

    def begin(self, callback: Callable[..., Any], work: Coroutine[Any, Any, Any]) -> None:
        """Run the coroutine of an async callback in a task."""
        task = asyncio.get_running_loop().create_task(self._run(callback, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """Cancel all tasks: the server stops."""
        for task in self._tasks:
            task.cancel()

    async def _run(self, callback: Callable[..., Any], work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
        except Exception as e:
            name = getattr(callback, "__name__", callback)
            self._broker.client_log.line(3, "broker", "the callback %s failed: %r", name, e)


class _Awaited:
    """Called in place of an async callback, and equal to it, so that it is found when that is removed."""

    def __init__(self, callbacks: Callbacks, callback: Callable[..., Any]) -> None:
        self.__name__ = getattr(callback, "__name__", repr(callback))
        self._callbacks = callbacks
        self._callback = callback

    def __call__(self, *args: Any) -> None:
        self._callbacks.begin(self._callback, self._callback(*args))

    def __eq__(self, other: object) -> bool:
        return other is self or bool(self._callback == other)

    __hash__ = object.__hash__  # the callback may have none


def is_async(callback: Any) -> bool:
    """True for an async function, or an object with an async `__call__`."""
    call = getattr(callback, "__call__", None)  # noqa: B004 # to examine it, not for its presence
    return inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(call)


def refuse_authenticators(found: Any, where: Any) -> None:
    """Raise TypeError unless this is a list of authenticators that the broker can call; `where` is its name or its listener."""
    arguments.refuse_authenticators(found, where)
    for one in found:
        for name, parameters in _METHODS:
            method = getattr(one, name)
            if is_async(method):
                raise TypeError(arguments.ASYNC % (name, one))
            try:
                inspect.signature(method).bind(*parameters)
            except TypeError:
                text = "%s of %r must take (%s), not %s"
                raise TypeError(text % (name, one, ", ".join(parameters), inspect.signature(method))) from None
            except ValueError:  # not written in Python
                pass
