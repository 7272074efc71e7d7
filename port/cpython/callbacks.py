"""Callbacks of a program that are async functions: their coroutines become tasks of the event loop.

What they raise is logged, as that of any other callback. Hooks whose answer decides something cannot be async: the broker does
not wait for them.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from port.core.broker import Broker

_TOLD = ("connect", "disconnect", "unsubscribe", "error", "storage")  # hooks that answer nothing
_ASKED = ("subscribe", "process_message", "message")


class Callbacks:
    """The async callbacks of one broker, and the tasks they are at work in."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._tasks: set[asyncio.Task[None]] = set()
        self._wrapped: dict[Any, Callable[..., None]] = {}

    def hook(self, event: str, callback: Callable[..., Any]) -> Callable[..., Any]:
        """What is to be called in place of a hook. Raises TypeError for one that cannot be called, or cannot be async."""
        if is_async(callback) and event in _ASKED:
            text = "the hook %s of %s cannot be async: its answer is needed at once"
            raise TypeError(text % (getattr(callback, "__name__", callback), event))
        return self.awaited(callback)

    def awaited(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        """What is to be called in place of a callback: itself, unless it is async. Raises TypeError for what cannot be called."""
        if not callable(callback):
            raise TypeError("a function is wanted, not %r" % (callback,))
        if not is_async(callback):
            return callback

        def call(*args: Any) -> None:
            task = asyncio.get_running_loop().create_task(self._run(callback, callback(*args)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        call.__name__ = getattr(callback, "__name__", "callback")
        self._wrapped[callback] = call
        return call

    def known(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        """What is called in its place."""
        return self._wrapped.get(callback, callback)

    def cancel(self) -> None:
        """The server stops."""
        for task in self._tasks:
            task.cancel()

    async def _run(self, callback: Callable[..., Any], work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
        except Exception as e:
            name = getattr(callback, "__name__", callback)
            self._broker.client_log.line(3, "broker", "the callback %s failed: %r", name, e)


def is_async(callback: Any) -> bool:
    """True for an async function, or an object that is called like one."""
    call = getattr(callback, "__call__", None)  # noqa: B004 # not whether there is one
    return inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(call)
