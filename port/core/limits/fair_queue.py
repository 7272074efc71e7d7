"""A queue for a scarce service, such as checking passwords, that serves addresses in turn.

An address with many entries delays each other address by one entry a round.
"""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional


class Turns:
    """A line for each address, served round robin.

    places  entries in all; when they are taken, the last entry of the longest line gives way to one of a shorter line
    most    entries of one address
    count   entries now
    """

    def __init__(self, places: int, most: int) -> None:
        self.places = places
        self.most = most
        self.count = 0
        self._lines: "dict[Any, list[Any]]" = {}
        self._order: "list[Any]" = []  # addresses, the next one first

    def put(self, who: "Any", waiting: "Any") -> "Optional[Any]":
        """Append `waiting` to the line of the address `who`. Returns the entry that has no place: `waiting`, another, or None."""
        line: "Optional[list[Any]]" = self._lines.get(who)
        length = 0 if line is None else len(line)
        if length >= self.most:
            return waiting
        longest: "Optional[list[Any]]" = None
        if self.count >= self.places:
            most = length + 1
            for other in self._lines.values():
                if len(other) > most:
                    most = len(other)
                    longest = other
            if longest is None:  # no address has more than its share
                return waiting
        if line is None:
            self._lines[who] = [waiting]
            try:
                self._order.append(who)
            except MemoryError:
                del self._lines[who]
                raise
        else:
            line.append(waiting)
        if longest is not None:
            return longest.pop()
        self.count += 1
        return None

    def take(self, full: "Any" = ()) -> "Optional[Any]":
        """Remove and return the next entry, None without one; `full`: addresses to pass over."""
        order = self._order
        for i in range(len(order)):
            who = order[i]
            if who in full:
                continue
            line = self._lines[who]
            waiting = line.pop(0)
            order.pop(i)
            if line:
                order.append(who)
            else:
                del self._lines[who]
            self.count -= 1
            return waiting
        return None

    def discard(self, who: "Any", waiting: "Any") -> None:
        """Remove an entry."""
        line = self._lines.get(who)
        if line is None or waiting not in line:
            return
        line.remove(waiting)
        self.count -= 1
        if not line:
            del self._lines[who]
            self._order.remove(who)
