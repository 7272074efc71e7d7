"""Work on many things of one kind in slices, so that no client waits for all of it."""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from port.core.broker import Broker

_LOOKED = const(2)  # cost of a look at one item, in deliveries (Turns.spent); `look` adds the cost of its work


class Sweep:
    """Calls `look(item)` for each of `items`, then `done()`; `go_on` is the job for Turns.background."""

    __slots__ = ("_broker", "_items", "_look", "_done")

    def __init__(
        self, broker: "Broker", items: "list[Any]", look: "Callable[[Any], Any]", done: "Optional[Callable[[], Any]]" = None
    ) -> None:
        """Items are looked at in order; the list is reversed, and empty at the end."""
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
