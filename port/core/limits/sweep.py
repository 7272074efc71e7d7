"""Work on many things of one kind, some at a time, so that nobody waits for all of it."""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from port.core.broker import Broker

_LOOKED = const(2)  # what it costs to look at one, in the units of Turns.limit; `look` adds what it does


class Sweep:
    """Calls `look(item)` for each of `items`, then `done()`; a job is its `go_on`, see Turns.background."""

    __slots__ = ("_broker", "_items", "_look", "_done")

    def __init__(
        self, broker: "Broker", items: "list[Any]", look: "Callable[[Any], Any]", done: "Optional[Callable[[], Any]]" = None
    ) -> None:
        """`items` are taken in their order; the list is turned round, and becomes empty meanwhile."""
        items.reverse()
        self._broker = broker
        self._items = items
        self._look = look
        self._done = done

    def go_on(self) -> bool:
        """Do a slice; False when all is done."""
        broker = self._broker
        items = self._items
        while items:
            if broker.turns.spent > broker.turns.limit:
                return True
            broker.turns.spent += _LOOKED
            self._look(items.pop())
        if self._done is not None:
            self._done()
        return False
