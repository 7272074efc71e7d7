"""The connections of each peer address, counted. Failures to authenticate are in port.core.limits.login_attempts.

An IPv6 peer counts by its /64 network, the usual size of one subscriber's network.
"""

from port.core import const
from port.core.limits.ip_address import is_loopback, peer

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.limits.login_attempts import Attempts
    from port.core.limits.options import Options


class Peers:
    """Counts connections per address, but none of this machine's: a proxy here may stand for any number of clients."""

    def __init__(self, attempts: "Optional[Attempts]" = None) -> None:
        self._connections: "dict[Any, int]" = {}
        self._attempts = attempts

    def enter(self, address: str, options: "Options") -> "Any":
        """Count a new connection. Returns the key for `leave`, or None when its address has too many."""
        if is_loopback(address):
            return b""
        limit = options.max_connections_per_address
        key = peer(address)
        count = self._connections.get(key, 0)
        if limit and count >= limit:
            return None
        self._connections[key] = count + 1
        return key

    def leave(self, key: "Any") -> None:
        """Count off the connection for which `enter` returned `key`. Allocates nothing, as memory may have run out."""
        count = self._connections.get(key, 0)
        if count > 1:
            self._connections[key] = count - 1
        else:
            self._connections.pop(key, None)

    def blocked(self, address: str, now: int) -> bool:
        """True while an address is blocked for every client, see port.core.limits.login_attempts; `now`: ms."""
        return self._attempts is not None and self._attempts.closed(address, now)
