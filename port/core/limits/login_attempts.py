"""Login attempts: repeated failures delay the client that fails, and spare the others behind its address.

Failures are counted for each pair of address and user name. The first `max_auth_failures` of a pair cost nothing. Each
further failure makes the pair wait: one second, then two, four and so on, `auth_backoff` at most. A success clears the failures
of its pair. The pairs of one address together have ten times as many free failures, then one in each tenth of `auth_backoff`:
this bounds guesses at the passwords of many users.

A client that was let in is known from then on by address, user name and client id, and waits for its own failures only. So
neither a device with a wrong password nor one under the common user name locks out the others behind an address. A known user
with another client id waits for the failures of its pair only.

An attempt whose check takes time counts as a failure until it succeeds or its client is gone, so a hundred attempts at once
are not a hundred guesses.

`max_tracked_addresses` bounds the addresses and pairs remembered; one address has a quarter of them at most. Pairs without room
count for their address alone, and all addresses without room count as one. So no failure is forgotten before its time because
others failed.
"""

from port.core import const
from port.core.limits.ip_address import is_loopback, peer

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.broker import Broker

    Who = tuple[Any, int, int]
    Begun = tuple[Any, int, bool]

_WIDER = const(10)  # free failures of an address to those of a pair; also further failures of an address in `auth_backoff`


class _Failures:
    """The failures of one address.

    until  ms when all failures of the address as a whole are forgotten; each failure adds a tenth of `auth_backoff`
    pairs  hash of a pair, or of address, user name and client id -> (failures, blocked until (ms))
    """

    __slots__ = ("until", "pairs")

    def __init__(self) -> None:
        self.until = 0
        self.pairs: "dict[int, tuple[int, int]]" = {}


class Attempts:
    """The login attempts at one broker. Times are ms on its clock.

    addresses  address -> its remembered failures; empty while there are none
    """

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._options = broker.options
        self._salt = b""
        self.addresses: "dict[Any, _Failures]" = {}  # under None: addresses without room
        self._pairs = 0
        # Clients that were let in, as hashes: address, user name and client id -> 0; pair -> number of client ids; address -> 0.
        # A client is forgotten when as many others are let in before it comes again.
        self._known: "dict[int, int]" = {}
        self._known_before: "dict[int, int]" = {}

    def find(self, address: str, user: "Optional[bytes]", client_id: bytes) -> "Optional[Who]":
        """The keys of a client that tries to log in, for the methods below; None for a client that never waits."""
        if not self._options.max_auth_failures or is_loopback(address):
            return None
        key = peer(address)
        pair = self._hash(key, b"" if user is None else b"\1" + user)
        return key, pair, self._hash(pair, client_id)

    def closed(self, address: str, now: int) -> bool:
        """True while an address is blocked for every client."""
        if not self.addresses:
            return False
        key = peer(address)
        record = self._record(key)
        return record is not None and self._over(record, now) and not self._knows(self._hash(key, b""))

    def wait(self, who: "Who", now: int) -> bool:
        """True while a client has to wait."""
        record = self._record(who[0])
        if record is None:
            return False
        own = self._own(who)
        pair = record.pairs.get(own or who[1])
        return pair is not None and pair[1] > now or not own and self._over(record, now)

    def begin(self, who: "Who", now: int) -> "Begun":
        """Count an attempt that begins, or has failed at once. Returns the argument of `over`."""
        most = self._options.max_tracked_addresses
        size = len(self.addresses) + self._pairs
        record = self._record(who[0])
        if record is None:
            record = self.addresses[who[0] if size < most else None] = _Failures()
        own = self._own(who)
        pair = own or who[1]
        if not own:
            record.until = max(record.until, now) + self._step()
        # Without room for a pair the address alone waits. Known clients always have room, as their number is bounded.
        if own or pair in record.pairs or size < most and len(record.pairs) < max(1, most // 4):
            self._count(record, pair, 1, now)
        return who[0], pair, not own

    def over(self, begun: "Begun", now: int, failed: bool) -> None:
        """End an attempt: after a failure its wait begins now, after a success it counts no more."""
        record = self._record(begun[0])
        if record is not None:
            if begun[1] in record.pairs:
                self._count(record, begun[1], 0 if failed else -1, now)
            if begun[2] and not failed:
                record.until = max(record.until - self._step(), now)

    def succeed(self, who: "Who") -> None:
        """A client was let in: its failures are forgotten, and it is known from now on."""
        address, pair, three = who
        record = self._record(address)
        if record is not None and record.pairs.pop(self._own(who) or pair, None) is not None:
            self._pairs -= 1
        most = 2 * self._options.max_tracked_addresses
        known = self._known
        if three in known:
            return
        if len(known) >= most:
            self._known_before = known
            known = self._known = {}
        count = known.get(pair, 0)
        if count < most // 2:  # no user displaces all others
            try:
                known[self._hash(address, b"")] = 0
                known[pair] = count + 1
                known[three] = 0
            except MemoryError:  # a client is let in rather than remembered
                self._known_before = self._known = {}

    def forget(self, now: int) -> None:
        """Forget failures older than twice `auth_backoff`."""
        old = now - 2000 * self._options.auth_backoff
        for key in list(self.addresses):
            record = self.addresses[key]
            for name in [name for name in record.pairs if record.pairs[name][1] < old]:
                del record.pairs[name]
                self._pairs -= 1
            if not record.pairs and record.until <= now:
                del self.addresses[key]

    def _hash(self, first: "Any", name: bytes) -> int:
        """A salted hash in place of a long name, as a board's memory is small; clients cannot find a collision."""
        from hashlib import sha256

        if not self._salt:
            self._salt = self._broker.random(16)
        digest = sha256(self._salt + repr(first).encode() + name).digest()
        return int.from_bytes(digest[:4], "big") >> 2 or 1

    def _record(self, address: "Any") -> "Optional[_Failures]":
        return self.addresses.get(address) or self.addresses.get(None)

    def _step(self) -> int:
        return self._options.auth_backoff * 1000 // _WIDER

    def _over(self, record: _Failures, now: int) -> bool:
        return record.until > now + self._options.max_auth_failures * _WIDER * self._step()

    def _knows(self, name: int) -> bool:
        return name in self._known or name in self._known_before

    def _own(self, who: "Who") -> int:
        """The key of a known client's own failures; 0 for an unknown client."""
        return who[2] if self._knows(who[2]) else who[1] if self._knows(who[1]) else 0

    def _count(self, record: _Failures, pair: int, more: int, now: int) -> None:
        """Add `more` failures to a pair."""
        options = self._options
        pairs = record.pairs
        count, until = pairs.get(pair, (0, 0))
        if not count:
            self._pairs += 1
        count += more
        excess = count - options.max_auth_failures
        if more >= 0:
            until = now + (min(options.auth_backoff, 1 << min(excess - 1, 16)) * 1000 if excess > 0 else 0)
        elif excess <= 0:
            until = min(until, now)
        pairs[pair] = (count, until)
        if not count:
            self._pairs -= 1
            del pairs[pair]
