"""Attempts to authenticate: who fails again and again has to wait, and those who share his address do not.

Failures are counted for each user name at an address, a pair. The first `max_auth_failures` of a pair cost nothing; from
then on each one makes it wait, for one second, then two, four and so on, `auth_backoff` at most. A success clears those of
its pair. All the pairs of an address together may fail ten times as often, and from then on once in a tenth of
`auth_backoff`: that bounds the guesses at many users' passwords.

Who was let in is known from then on, by address, user name and client id: his own failures count for him, and no others.
So neither a device with a wrong password, nor one with the user name of all, shuts the others behind an address out. A user
who is known with another client id waits for the failures of his pair alone.

An attempt whose check takes time counts as a failure until it has succeeded, or nobody waits for the answer any more: a
hundred at once are not a hundred guesses.

`max_tracked_addresses` bounds the addresses and pairs remembered; an address has a quarter of them. Pairs for which there is
no room count for their address alone, and addresses for which there is none are counted as one: nobody's failures are
forgotten before their time because somebody else has failed.
"""

from port.core import const
from port.core.limits.ip_address import is_loopback, peer

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.broker import Broker

    Who = tuple[Any, int, int]
    Begun = tuple[Any, int, bool]

_WIDER = const(10)  # times as many failures of an address as of a pair, and so many of them in `auth_backoff` from then on


class _Failures:
    """Those of one address.

    until  when all that were counted for the address as a whole are forgotten, ms: each adds a tenth of `auth_backoff`
    pairs  hash of a pair, or of address, user name and client id -> (how many, blocked until (ms))
    """

    __slots__ = ("until", "pairs")

    def __init__(self) -> None:
        self.until = 0
        self.pairs: "dict[int, tuple[int, int]]" = {}


class Attempts:
    """Those at one broker. Times are ms on its clock.

    addresses  those whose failures are remembered; empty while nobody has failed lately
    """

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._options = broker.options
        self._salt = b""
        self.addresses: "dict[Any, _Failures]" = {}  # the key None: those without a record of their own
        self._pairs = 0
        # Who was let in: hashes of address, user name and client id with 0, of a pair with how many client ids, of an
        # address with 0. Who is not let in again while as many others are is forgotten.
        self._known: "dict[int, int]" = {}
        self._known_before: "dict[int, int]" = {}

    def find(self, address: str, user: "Optional[bytes]", client_id: bytes) -> "Optional[Who]":
        """What somebody who tries is known by, for the methods below; None when he need never wait."""
        if not self._options.max_auth_failures or is_loopback(address):
            return None
        key = peer(address)
        pair = self._hash(key, b"" if user is None else b"\1" + user)
        return key, pair, self._hash(pair, client_id)

    def closed(self, address: str, now: int) -> bool:
        """True while nobody from an address can be let in, whoever he is."""
        if not self.addresses:
            return False
        key = peer(address)
        record = self._record(key)
        return record is not None and self._over(record, now) and not self._knows(self._hash(key, b""))

    def wait(self, who: "Who", now: int) -> bool:
        """True while somebody has to wait."""
        record = self._record(who[0])
        if record is None:
            return False
        own = self._own(who)
        pair = record.pairs.get(own or who[1])
        return pair is not None and pair[1] > now or not own and self._over(record, now)

    def begin(self, who: "Who", now: int) -> "Begun":
        """An attempt begins, or has failed at once: it counts. Returns what `over` takes."""
        most = self._options.max_tracked_addresses
        size = len(self.addresses) + self._pairs
        record = self._record(who[0])
        if record is None:
            record = self.addresses[who[0] if size < most else None] = _Failures()
        own = self._own(who)
        pair = own or who[1]
        if not own:
            record.until = max(record.until, now) + self._step()
        # Without room for a pair the address alone waits. There are only so many who are known: for them there is room.
        if own or pair in record.pairs or size < most and len(record.pairs) < max(1, most // 4):
            self._count(record, pair, 1, now)
        return who[0], pair, not own

    def over(self, begun: "Begun", now: int, failed: bool) -> None:
        """An attempt that had begun has failed: who waits for it does so from now on. Or it has not: it does not count."""
        record = self._record(begun[0])
        if record is not None:
            if begun[1] in record.pairs:
                self._count(record, begun[1], 0 if failed else -1, now)
            if begun[2] and not failed:
                record.until = max(record.until - self._step(), now)

    def succeed(self, who: "Who") -> None:
        """Somebody was let in: what he failed at before is forgotten, and he is known from now on."""
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
        if count < most // 2:  # one user does not make all the others forgotten
            try:
                known[self._hash(address, b"")] = 0
                known[pair] = count + 1
                known[three] = 0
            except MemoryError:  # to be known is not worth being turned away
                self._known_before = self._known = {}

    def forget(self, now: int) -> None:
        """Forget the failures that are more than twice `auth_backoff` ago."""
        old = now - 2000 * self._options.auth_backoff
        for key in list(self.addresses):
            record = self.addresses[key]
            for name in [name for name in record.pairs if record.pairs[name][1] < old]:
                del record.pairs[name]
                self._pairs -= 1
            if not record.pairs and record.until <= now:
                del self.addresses[key]

    def _hash(self, first: "Any", name: bytes) -> int:
        """In place of what may be long, a number nobody can find another name for: the memory of a board is small."""
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
        """Under what the failures of somebody who is known are counted, apart from those of others; 0: he is not."""
        return who[2] if self._knows(who[2]) else who[1] if self._knows(who[1]) else 0

    def _count(self, record: _Failures, pair: int, more: int, now: int) -> None:
        """So many more failures of a pair."""
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
