"""Places of one kind, who has them, and who gives way when all are taken.

An owner is an address, by limits.ip_address.peer, or a user somebody vouched for, by (user,). Each has a share of the places,
and may have more while there are some. When there are none, somebody who is above his share gives one up, and nobody else
does. Who that is, and what of his, is known without a search: what may give way stands in a ring of its owner's, linked
through its own attributes, for MicroPython's dicts have no order, and to leave must take no memory.
"""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional


def part(limit: int, percent: int) -> int:
    """An owner's share of `limit` places or bytes."""
    return max(1, limit * percent // 100)


def leave(thing: "Any") -> None:
    """What had a place, or had none, has none any more. Takes no memory: there may be none left."""
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
    """What had to give way if need be does so no more. Takes no memory."""
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
    """Somebody who has places, and the head of the ring of what gives way: `after` is the first to go.

    count   places he has
    middle  the last of those in the ring that go before the others, or None
    weight  for whoever needs it, see Broker.expect
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
    """All places of one kind. What takes one has the attributes `owner`, `before` and `after`, None at first.

    count   places taken
    share   what an owner may have when all are taken
    owners  by key
    above   those who are above their share, and have something that may give way
    """

    def __init__(self, limit: int, percent: int) -> None:
        self.count = 0
        self.share = part(limit, percent)
        self.owners: "dict[Any, Owner]" = {}
        self.above: "dict[Owner, bool]" = {}

    def enter(self, thing: "Any", key: "Any") -> None:
        """Something takes a place in the name of `key`; it may have been in another's, and then does not give way."""
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
        """What has a place gives way from now on, after what was offered before it; `early`: before all that are not."""
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
        """Whose turn it is to give way to `key` when `limit` places are taken: his own, if he is above his share."""
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
