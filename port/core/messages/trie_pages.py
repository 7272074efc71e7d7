"""A trie of topic names in pages: the names that a filter matches, each page from the end of the page before.

Names have an order of their own: level by level, and levels by their hash in the order of a port.core.messages.wide_node.Wide's parts. So
the next name is found by looking at the nodes on the way to the last one, and at few keys of each; and the order is the same
however the trie is divided or has changed meanwhile. A cursor is all that is kept between two pages, and the client keeps it. A
name that stays from the first page to the last is listed once.
"""

from binascii import hexlify, unhexlify

from port.core import const
from port.core.wire.topics import levels_match
from port.core.messages.trie_walk import below, passes

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.messages.topic_trie import Node

    Rank = tuple[int, int, Optional[bytes]]

_END = const(65536)  # port.core.messages.wide_node has it
_MASK = const(0xFFFFFFFFFFFFFFFF)
LONG = const(512)  # bytes of a name from which on a cursor has the hashes of its levels in place of it
_MOST = const(4096)  # characters of a cursor
_BEFORE: "Rank" = (-2, 0, b"")  # before all that is in a node
_OWN: "Rank" = (-1, 0, b"")  # of the key None, the name that ends there
# The meaning of a cursor for its path.
_DONE = const(0)  # all below it is listed
_INSIDE = const(1)  # it is listed itself, the names below it come next


def rank(level: "Optional[bytes]") -> "Rank":
    """By which the keys of a node are in order."""
    if level is None:
        return _OWN
    found = hash(level) & _MASK
    return (found & 15) << 12 | (found & 0xF0) << 4 | found >> 4 & 0xF0 | found >> 12 & 15, found, level


def _is_behind(one: "Rank", other: "Rank") -> bool:
    """True when a key comes after a place; the place may know of its key only the hash."""
    if other[2] is None:
        return (one[0], one[1]) > (other[0], other[1])
    return one > other  # type: ignore[operator,unused-ignore]


def _is_at(one: "Rank", other: "Rank") -> bool:
    return one[1] == other[1] and one[0] == other[0] and (other[2] is None or one[2] == other[2])


class TriePage:
    """One page of the names that a filter matches.

    values  of the trie, in its order
    cursor  for the next page, "" for the last one
    steps   entries that were looked at
    """

    def __init__(self, root: "Node", topic_filter: bytes, hidden: bool, cursor: str, limit: int, steps: int) -> None:
        """Find `limit` values at most, and look at about `steps` entries for them.

        hidden: whether wildcards at the top do not match `$` names [MQTT-4.7.2-1]. Raises ValueError for an invalid cursor.
        """
        self.values: "list[Any]" = []
        self.cursor = ""
        self.steps = 0
        self._filters = topic_filter.split(b"/")
        self._every = self._filters[-1] == b"#"
        self._wild = len(self._filters) - self._every  # from this depth on everything matches, or nothing
        self._hidden = hidden
        # For each node on the way: [the node, its depth, its path, the rank behind which it goes on, keys to come, the place of
        # the keys behind those].
        self._frames: "list[list[Any]]" = []
        self._last = b""
        self._kind = _DONE
        if cursor:
            self._go_to(root, _decoded(cursor), cursor[0] == "1")
        else:
            self._push(root, 0, b"", _BEFORE)
        while self._frames:
            if self._step() and (len(self.values) >= limit or self.steps >= steps) and self._frames:
                self.cursor = _encoded(self._last, self._kind)
                break

    def _push(self, node: "Node", depth: int, path: bytes, after: "Rank") -> None:
        place = 0 if after[0] < 0 or isinstance(node, dict) else after[0]
        self._frames.append([node, depth, path, after, [], place])

    def _go_to(self, root: "Node", ranks: "list[Rank]", inside: bool) -> None:
        """Go on behind a cursor."""
        node = root
        depth = 0
        path = b""
        while True:
            if depth == len(ranks):
                if inside:
                    self._push(node, depth, path, _OWN)
                return
            self._push(node, depth, path, ranks[depth])
            level = _find(node, ranks[depth])
            if level is None:
                return
            entry = node.get(level)
            path = path + b"/" + level if depth else level
            depth += 1
            if not isinstance(entry, tuple):
                node = entry
                continue
            whole = entry[0]
            more = whole.split(b"/")[depth:] if whole is not None else entry[1].split(b"/")
            order = _compared(more, ranks[depth:])
            if order < 0 and whole is None and len(more) <= len(ranks) - depth and _is_start(more, ranks[depth:]):
                node = entry[2]
                depth += len(more)
                path += b"/" + entry[1]
                continue
            # All of it comes, or nothing.
            if order > 0 and (inside or not _is_start(ranks[depth:], more)):
                self._push({level: entry}, depth - 1, path[: -len(level) - 1], _BEFORE)
            return

    def _step(self) -> bool:
        """Look at one entry more; True when `_last` is the end of the listed names."""
        frame = self._frames[-1]
        node, depth, path, _, keys, place = frame
        if not keys:
            if place == _END:
                self._frames.pop()
                self._last = path
                self._kind = _DONE
                return True
            self._fill(frame)
            return False
        key = keys.pop()
        entry = node.get(key)
        self.steps += 1
        if key is not None:
            path = path + b"/" + key if depth else key
            depth += 1
        if entry is None:
            return False
        if not isinstance(entry, tuple):
            self._push(entry, depth, path, _BEFORE)
            return False
        if entry[0] is not None:
            self._last = entry[0]
            self._kind = _INSIDE
            if self._every and depth >= self._wild or levels_match(self._filters, entry[0].split(b"/"), depth):
                self.values.append(entry)
            return True
        self._last = path + b"/" + entry[1]
        self._kind = _DONE
        depth = passes(entry[1].split(b"/"), self._filters, depth, self._wild)
        if not depth:
            return True
        self._push(entry[2], depth, self._last, _BEFORE)
        return False

    def _fill(self, frame: "list[Any]") -> None:
        """Take more keys of a node, those the filter lets pass, in order, the first one last."""
        node, depth, _, after, _, place = frame
        if depth >= self._wild and not self._every:
            keys: "Any" = (None,)
            frame[5] = _END
        else:
            level = self._filters[depth] if depth < self._wild else b"#"
            if level != b"+" and level != b"#":
                keys = (level,)
                frame[5] = _END
            elif isinstance(node, dict):
                keys = node
                frame[5] = _END
            else:
                keys, frame[5] = node.some(place)
                keys = [key for key in keys if key is not None]
                if after is _BEFORE and not place:
                    keys.append(None)  # it is the first one, in whatever part of a Wide
            self.steps += len(keys) >> 2
        own = depth >= self._wild
        hides = self._hidden and not depth and self._filters[0] in (b"+", b"#")
        found = []
        for key in keys:
            if (own if key is None else not hides or not key.startswith(b"$")) and _is_behind(rank(key), after):
                found.append(key)
        found.sort(key=rank, reverse=True)
        frame[4] = found


def _find(node: "Node", wanted: "Rank") -> "Optional[bytes]":
    """The key of a node that a cursor means, or None."""
    if wanted[2] is not None:
        return None if node.get(wanted[2]) is None else wanted[2]
    keys = node if isinstance(node, dict) else node.some(wanted[0])[0]
    for key in keys:
        if key is not None and _is_at(rank(key), wanted):
            return key  # type: ignore[no-any-return]
    return None


def _is_start(short: "Any", long: "Any") -> bool:
    """True when a path, of levels or ranks, begins with the other."""
    if len(short) > len(long):
        return False
    for i in range(len(short)):
        one, other = short[i], long[i]
        if not _is_at(rank(one), other) if isinstance(one, bytes) else not _is_at(rank(other), one):
            return False
    return True


def _compared(levels: "list[bytes]", ranks: "list[Rank]") -> int:
    """Where levels stand to a cursor: behind it 1, else -1."""
    for i in range(min(len(levels), len(ranks))):
        found = rank(levels[i])
        if not _is_at(found, ranks[i]):
            return 1 if _is_behind(found, ranks[i]) else -1
    return 1 if len(levels) > len(ranks) else -1


def _encoded(path: bytes, kind: int) -> str:
    """The cursor for a path."""
    if len(path) < LONG:
        return "%d%s" % (kind, str(hexlify(path), "utf-8"))
    return "%dh" % kind + "".join(["%016x" % rank(level)[1] for level in path.split(b"/")])


def _decoded(cursor: str) -> "list[Rank]":
    """The levels of a cursor's path. Raises ValueError."""
    if cursor[0] not in "01" or len(cursor) > _MOST:
        raise ValueError("no cursor")
    text = cursor[1:]
    if not text.startswith("h"):
        return [rank(level) for level in unhexlify(text.encode()).split(b"/")]
    found: "list[Rank]" = []
    if len(text) < 17 or len(text) % 16 != 1:
        raise ValueError("no cursor")
    for at in range(1, len(text), 16):
        digits = int(text[at : at + 16], 16)
        found.append(((digits & 15) << 12 | (digits & 0xF0) << 4 | digits >> 4 & 0xF0 | digits >> 12 & 15, digits, None))
    return found


class LevelPage:
    """One page of the levels below a topic name.

    items   (topic name, the value with this name or None, True with longer names)
    cursor  for the next page, "" for the last one
    steps   entries that were looked at
    """

    def __init__(self, root: "Node", parent: "Optional[bytes]", cursor: str, limit: int) -> None:
        """`parent`: a topic name, None for the first levels. Raises ValueError for an invalid cursor."""
        depth = 0 if parent is None else parent.count(b"/") + 1
        node, _ = below(root, parent or b"", depth)
        after = _decoded(cursor)[0] if cursor else _OWN
        self.items: "list[tuple[bytes, Any, bool]]" = []
        self.cursor = ""
        self.steps = 0
        place = 0 if isinstance(node, dict) or not cursor else after[0]
        while place < _END:
            keys, place = (list(node), _END) if isinstance(node, dict) else node.some(place)
            self.steps += 1 + (len(keys) >> 2)
            keys = [key for key in keys if _is_behind(rank(key), after)]
            keys.sort(key=rank)
            for key in keys:
                if len(self.items) >= limit:
                    return
                self._add(key if parent is None else parent + b"/" + key, node.get(key))
                self.cursor = _encoded_level(key)
        self.cursor = ""

    def _add(self, name: bytes, entry: "Any") -> None:
        self.steps += 1
        value = None
        longer = True
        if isinstance(entry, tuple):
            if entry[0] == name:
                value = entry
                longer = False
        else:
            value = entry.get(None)
            longer = len(entry) > (value is not None)
        self.items.append((name, value, longer))


def _encoded_level(level: bytes) -> str:
    """The cursor behind one level."""
    if len(level) < LONG:
        return "0" + str(hexlify(level), "utf-8")
    return "0h%016x" % rank(level)[1]
