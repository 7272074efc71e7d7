"""What is remembered of each peer address: its connections, and its failures to authenticate.

An IPv6 peer is known by its /64 network, which is what one subscriber usually has.
"""

from port.core import const
from port.core.address import host, is_loopback, parse

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.options import Options

_SEVERAL = b"\0"  # in place of a user name, which cannot hold that [MQTT-1.5.4-2]: different ones
_LONGEST = const(64)  # longest user name remembered, bytes


def _key(address: str) -> "Any":
    """What the peer `address`, `host:port`, is known by."""
    name = host(address)
    data = parse(name)
    return name if data is None else data[:8] if len(data) == 16 else data


class Peers:
    """Counts connections per address, and makes those wait that fail to authenticate again and again.

    The first `max_auth_failures` failures cost nothing; from then on each one blocks the address, for
    one second, then two, four and so on, `auth_backoff` at most. A success clears it
    when all failures were of the same user: who may come in must not get new attempts at others'
    passwords by that. This machine is excepted from both: its address may stand for everybody who
    comes through a proxy on it.
    """

    def __init__(self) -> None:
        self._connections: "dict[Any, int]" = {}
        self._failures: "dict[Any, tuple[int, int, Optional[bytes]]]" = {}  # how many, blocked until (ms), whose

    def enter(self, address: str, options: "Options") -> "Any":
        """Count a new connection: returns what `leave` takes, None when its address has too many.

        """
        if is_loopback(address):
            return ""
        limit = options.max_connections_per_address
        key = _key(address)
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
        """True while the address has to wait; `now`: ms."""
        if not self._failures:
            return False
        failure = self._failures.get(_key(address))
        return failure is not None and failure[1] > now

    def failed(self, address: str, now: int, options: "Options", user: "Optional[bytes]" = None) -> None:
        """A client from this address could not authenticate; `user`: the name it gave."""
        allowed = options.max_auth_failures
        if not allowed or is_loopback(address):
            return
        failures = self._failures
        key = _key(address)
        if key not in failures and len(failures) >= options.max_tracked_addresses:
            self._make_room()
        if user is not None and len(user) > _LONGEST:
            user = _SEVERAL
        before = failures.get(key)
        count = 1
        if before is not None:
            count = before[0] + 1
            if before[2] != user:
                user = _SEVERAL
        wait = 0
        if count > allowed:
            wait = min(options.auth_backoff, 1 << min(count - allowed - 1, 16)) * 1000
        failures[key] = (count, now + wait, user)

    def succeeded(self, address: str, user: "Optional[bytes]" = None) -> None:
        """A client from this address was let in; `user`: the name it gave."""
        if self._failures:
            key = _key(address)
            failure = self._failures.get(key)
            if failure is not None and failure[2] == user:
                del self._failures[key]

    def forget(self, now: int, options: "Options") -> None:
        """Forget the addresses whose last failure is more than twice `auth_backoff` ago."""
        old = now - 2000 * options.auth_backoff
        for key in [key for key in self._failures if self._failures[key][1] < old]:
            del self._failures[key]

    def _make_room(self) -> None:
        """Forget the one whose block ends, or ended, first."""
        first = None
        for key in self._failures:
            if first is None or self._failures[key][1] < self._failures[first][1]:
                first = key
        if first is not None:
            del self._failures[first]
