"""What is counted of each peer address: its connections. Its failures to authenticate are in port.core.limits.login_attempts.

An IPv6 peer is known by its /64 network, which is what one subscriber usually has.
"""

from port.core import const
from port.core.limits.ip_address import is_loopback, peer

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.limits.login_attempts import Attempts
    from port.core.limits.options import Options


class Peers:
    """Counts connections per address. This machine is excepted: its address may stand for everybody who comes through a proxy."""

    def __init__(self, attempts: "Optional[Attempts]" = None) -> None:
        self._connections: "dict[Any, int]" = {}
        self._attempts = attempts

    def enter(self, address: str, options: "Options") -> "Any":
        """Count a new connection: returns what `leave` takes, None when its address has too many."""
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
        """A connection is over for which `enter` returned `key`. Takes no memory: there may be none left."""
        count = self._connections.get(key, 0)
        if count > 1:
            self._connections[key] = count - 1
        else:
            self._connections.pop(key, None)

    def blocked(self, address: str, now: int) -> bool:
        """True while nobody from an address can be let in, whoever he is, see port.core.limits.login_attempts; `now`: ms."""
        return self._attempts is not None and self._attempts.closed(address, now)
