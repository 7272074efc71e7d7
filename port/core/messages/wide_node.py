"""A node of a trie with many levels, in parts: a walk passes a part in short time, and a place in the node outlives changes.

A level belongs to the part that its hash selects, whatever other levels the node has. A part that grows is divided by further
bits of the hash; an empty part takes no memory.
"""

from port.core import const
from port.core.messages.topic_trie import shrunk

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Iterator

WIDE = 256  # levels from which on a node or a part is divided
_PARTS = const(16)
_BITS = const(4)  # bits of the hash that one division uses
_DIGITS = const(16)  # bits of the hash used in all
END = 65536  # the place behind the last: 2 to the power of _DIGITS


class Wide:
    """Replaces the dict of a node, with the methods of a dict that the trie uses."""

    def __init__(self, node: "Any") -> None:
        self._parts = _divide(node, 0)
        self._count = len(node)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> "Iterator[Any]":
        place = 0
        while place < END:
            levels, place = self.some(place)
            for level in levels:
                yield level

    def get(self, level: "Any") -> "Any":
        """The entry of a level, or None."""
        digits = hash(level)
        part: "Any" = self._parts
        while isinstance(part, list):
            part = part[digits % _PARTS]
            digits >>= _BITS
        return None if part is None else part.get(level)

    def __getitem__(self, level: "Any") -> "Any":
        return self.get(level)

    def __setitem__(self, level: "Any", entry: "Any") -> None:
        digits = hash(level)
        parts: "Any" = self._parts
        bits = _BITS
        while True:
            i = digits % _PARTS
            part = parts[i]
            if part is None:
                parts[i] = {level: entry}
                self._count += 1
                return
            if not isinstance(part, list):
                if level in part:
                    part[level] = entry
                    return
                if len(part) < WIDE or bits == _DIGITS:
                    part[level] = entry
                    self._count += 1
                    return
                part = parts[i] = _divide(part, bits)
            parts = part
            digits >>= _BITS
            bits += _BITS

    def __delitem__(self, level: "Any") -> None:
        digits = hash(level)
        part: "Any" = self._parts
        way: "list[Any]" = []
        while isinstance(part, list):
            way.append(part)
            way.append(digits % _PARTS)
            part = part[digits % _PARTS]
            digits >>= _BITS
        del part[level]
        self._count -= 1
        way[-2][way[-1]] = part = shrunk(part)
        while way and not part:
            i = way.pop()
            part = way.pop()
            part[i] = None
            if any(part):
                return
            part = None

    def some(self, place: int) -> "tuple[list[Any], int]":
        """The levels of the part at a place, and the place after it, END after the last. The first place is 0."""
        part: "Any" = self._parts
        size = END
        while isinstance(part, list):
            size //= _PARTS
            part = part[place // size % _PARTS]
        return list(part or ()), (place // size + 1) * size


def _divide(node: "Any", bits: int) -> "list[Any]":
    """The entries of a node by the next bits of their levels' hashes."""
    parts: "list[Any]" = [None] * _PARTS
    for level in node:
        i = (hash(level) >> bits) % _PARTS
        if parts[i] is None:
            parts[i] = {}
        parts[i][level] = node[level]
    return parts
