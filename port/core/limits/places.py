"""Places of one kind, their owners, and the owner that gives way when all are taken.

An owner is an address, with the key limits.ip_address.peer, or an authenticated user, with the key (user,). Each owner has a
share of the places, and may have more while places are free. When none is free, only an owner above its share gives one up.
That owner, and the thing that leaves, are found without a search: things that may give way form a ring of their owner, linked
through their own attributes, because MicroPython's dicts have no order and leaving must not allocate.
"""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional


def part(limit: int, percent: int) -> int:
    """An owner's share of `limit` places or bytes."""
    return max(1, limit * percent // 100)


def leave(thing: "Any") -> None:
    """Give up a thing's place, if it has one. Allocates nothing, as memory may have run out."""
    owner = thing.owner
    if owner is not None:
        stay(thing)
        thing.owner = None
        places = owner.places
        places.count -= 1
        owner.count -= 1
        if owner.count <= places.share:
            places.above.pop(owner, None)
            if not owner.count:
                places.owners.pop(owner.key, None)


def stay(thing: "Any") -> None:
    """Take a thing off the ring, so that it no longer gives way. Allocates nothing."""
    after = thing.after
    if after is not None:
        owner = thing.owner
        if owner.middle is thing:
            owner.middle = None if thing.before is owner else thing.before
        thing.before.after = after
        after.before = thing.before
        thing.before = thing.after = None
        if owner.after is owner:
            owner.places.above.pop(owner, None)


class Owner:
    """An owner of places, and the head of the ring of its things that may give way: `after` leaves first.

    count   its places
    middle  the last thing in the ring that was offered `early`, or None
    weight  bytes, see Broker.expect
    """

    __slots__ = ("places", "key", "count", "before", "after", "middle", "weight")

    def __init__(self, places: "Places", key: "Any") -> None:
        self.places = places
        self.key = key
        self.before: "Any" = self
        self.after: "Any" = self
        self.middle: "Any" = None
        self.count = 0
        self.weight = 0


class Places:
    """All places of one kind. A thing with a place has the attributes `owner`, `before` and `after`, None at first.

    count   places taken
    share   places of one owner when all are taken
    owners  by key
    above   owners above their share with something that may give way
    """

    def __init__(self, limit: int, percent: int) -> None:
        self.count = 0
        self.share = part(limit, percent)
        self.owners: "dict[Any, Owner]" = {}
        self.above: "dict[Owner, bool]" = {}

    def enter(self, thing: "Any", key: "Any") -> None:
        """Give a thing a place of the owner `key`; it may have had a place before. It stands in no ring afterwards."""
        owner = thing.owner
        if owner is not None and owner.key == key:
            stay(thing)
            return
        leave(thing)
        thing.owner = thing.before = thing.after = None
        owner = self.owners.get(key)
        if owner is None:
            owner = self.owners[key] = Owner(self, key)
        thing.owner = owner
        owner.count += 1
        self.count += 1
        self._settle(owner)

    def offer(self, thing: "Any", early: bool = False) -> None:
        """Let a thing give way from now on, after those offered before it; `early`: before all that are not early."""
        owner = thing.owner
        if owner is not None and thing.after is None:
            before = (owner.middle or owner) if early else owner.before
            if early:
                owner.middle = thing
            after = before.after
            thing.before = before
            thing.after = after
            before.after = after.before = thing
            self._settle(owner)

    def _settle(self, owner: Owner) -> None:
        if owner.count > self.share and owner.after is not owner:
            self.above[owner] = True

    def find(self, key: "Any", limit: int, percent: int) -> "Optional[Owner]":
        """The owner that gives way to `key` when `limit` places are taken: `key` itself if it is above its share."""
        share = part(limit, percent)
        if share != self.share:
            self.share = share
            self.above.clear()
            for owner in self.owners.values():
                self._settle(owner)
        own = self.owners.get(key)
        if own is not None and own in self.above:
            return own
        for owner in self.above:
            return owner
        return None
