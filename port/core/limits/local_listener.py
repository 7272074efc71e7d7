"""The way in of in-process clients: nothing that only a stranger's client has to be refused holds there.

Options hold as for other clients, those of `FREE` aside, and an in-process client may have options of its own.
"""

from port.core import const
from port.core.limits.listener import Listener
from port.core.limits.options import Options

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

# Options that refuse something to a client, and what in-process clients have in their place.
FREE = (
    ("message_size_limit", 0), ("max_message_rate", 0), ("max_byte_rate", 0), ("max_qos", 2), ("retain_available", True),
    ("wildcard_subscriptions", True), ("shared_subscriptions", True), ("subscription_identifiers", True),
)  # fmt: skip


class LocalListener(Listener):
    """See Listener; without authenticators, and without the broker's rules."""

    local = True

    __slots__ = ("_own",)

    def __init__(self, options: Options) -> None:
        self._own: "dict[bytes, dict[str, Any]]" = {}  # client id -> options
        super().__init__("in-process", "in-process", options, [])

    def inherit(self, options: Options) -> None:
        """See Listener.inherit."""
        free = {}
        for name, value in FREE:
            if getattr(options, name) != value:  # subset: ok, names of options
                free[name] = value
        self.overrides = free or None
        super().inherit(options)

    def set_options(self, client_id: bytes, options: "dict[str, Any]") -> None:
        """Options for the client with this id, if any, in place of those before. Raises ValueError or TypeError naming a wrong one."""
        old = self._own.get(client_id)
        if options == (old or {}):
            return
        if options:
            self.limited(options)
            self._own[client_id] = options
        else:
            del self._own[client_id]
        if old is not None:
            self._limited = tuple([pair for pair in self._limited if pair[0] is not old])

    def own_options(self, client_id: bytes) -> "Optional[dict[str, Any]]":
        """See Listener.own_options."""
        return self._own.get(client_id)
