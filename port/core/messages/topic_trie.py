"""A compact trie over topic levels, for filters that names look up and for names that filters look up.

A node is a dict of level -> entry; what ends at a node stands in it under the key None. An entry
is another node, a value or a chain. A value is a tuple whose first item is its own path, so it
stands for all of its path that it shares with no other: a lone `home/attic/#` takes one entry, not
three nodes. A chain is a tuple (None, path, node): it stands for two and more nodes that have one
entry each, and the node they lead to. So memory follows the number and the bytes of the values,
however many levels they share. Plain dicts and tuples cost a board half of what objects do.

The walk that filters look names up with is in port.core.messages.trie_walk. For it a node with many levels is
no dict, but a port.core.messages.wide_node.Wide.
"""

from port.core import const
from port.core.wire.topics import match_end

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    # A dict[bytes | None, Any], or a Wide.
    Node = Any
    Value = tuple[Any, ...]

_WIDE = const(256)  # levels from which on a node is divided if it is to be, see port.core.messages.wide_node
_HASH = const(0x23)
_SMALL = const(64)  # levels down to which it is not put together again
_SIZES = (4, 16, _SMALL, 256, 1024, 4096)  # at these a dict from which entries go is made anew: it never gets smaller by itself


def get(root: "Node", path: bytes) -> "Any":
    """The value with this path, or None."""
    node = root
    skip = 0  # levels that a chain stands for; the value's path tells whether they are the same
    for level in path.split(b"/"):
        if skip:
            skip -= 1
            continue
        child = node.get(level)
        if child is None:
            return None
        if isinstance(child, tuple):
            if child[0] is not None:
                return child if child[0] == path else None
            skip = child[1].count(b"/") + 1
            child = child[2]
        node = child
    if skip:
        return None
    child = node.get(None)
    return None if child is None or child[0] != path else child


def put(root: "Node", value: "Value", wide: "Any" = None) -> "Any":
    """Put a value at its path; returns the one that was there, or None. `wide`: Wide for a trie that is walked through."""
    path = value[0]
    levels = path.split(b"/")
    count = len(levels)
    node = root
    above: "Any" = None
    key: "Any" = None
    depth = 0
    while depth < count:
        level = levels[depth]
        depth += 1
        child = node.get(level)
        if child is None and wide is not None and above is not None and len(node) >= _WIDE and isinstance(node, dict):
            node = wide(node)
            _exchange(above, key, node)
        if child is None or isinstance(child, tuple) and child[0] == path:
            node[_as_key(level)] = value
            return child
        if isinstance(child, tuple):
            # Two share this level, and maybe more: where they part comes a node.
            chain = child[0] is None
            other = child[1].split(b"/") if chain else child[0].split(b"/")[depth:]
            same = 0
            while same < len(other) and depth + same < count and other[same] == levels[depth + same]:
                same += 1
            depth += same
            if not chain:
                fork = {_as_key(other[same]) if same < len(other) else None: child}
            elif same < len(other):
                fork = {_as_key(other[same]): chained(other[same + 1 :], child[2])}
            else:
                above = node
                key = level
                node = child[2]
                continue
            fork[_as_key(levels[depth]) if depth < count else None] = value
            node[level] = chained(other[:same], fork)
            return None
        above = node
        key = level
        node = child
    old = node.get(None)
    node[None] = value
    return old


def _as_key(level: bytes) -> bytes:
    """A level as a key. The wildcards are constants: a piece of a path would be kept for each of them."""
    return b"+" if level == b"+" else b"#" if level == b"#" else level


def _exchange(above: "Node", key: "Any", node: "Node") -> None:
    """Put a node in the place of the one that an entry leads to."""
    entry = above[key]
    above[key] = (None, entry[1], node) if isinstance(entry, tuple) else node


def shrunk(node: "Node") -> "Node":
    """The node, or one in its place that takes less, now that so few entries are left."""
    count = len(node)
    if count == _SMALL or count in _SIZES and isinstance(node, dict):
        try:
            return {key: node[key] for key in node}
        except MemoryError:
            pass
    return node


def chained(levels: "list[bytes]", entry: "Any") -> "Any":
    """The entry that leads over some levels to another entry: a node, or a chain in whose place it comes."""
    if isinstance(entry, tuple):
        levels = levels + entry[1].split(b"/")
        entry = entry[2]
    if len(levels) > 1:
        return None, b"/".join(levels), entry
    return {_as_key(levels[0]): entry} if levels else entry


def remove(root: "Node", path: bytes) -> "Any":
    """Take away the value with this path and the nodes it needed; returns it, or None."""
    levels: "list[Any]" = path.split(b"/")
    levels.append(None)
    nodes = [root]
    keys: "list[Any]" = []
    depth = 0
    while True:
        key = levels[depth]
        keys.append(key)
        child = nodes[-1].get(key)
        if child is None:
            return None
        depth += 1
        if isinstance(child, tuple):
            if child[0] is not None:
                break
            depth += child[1].count(b"/") + 1
            if depth >= len(levels):
                return None
            child = child[2]
        nodes.append(child)
    if child[0] != path:
        return None
    del nodes[-1][key]
    try:
        if len(nodes) > 1:
            node = shrunk(nodes[-1])
            if node is not nodes[-1]:
                _exchange(nodes[-2], keys[-2], node)
        _fold(nodes, keys)
    except MemoryError:
        pass  # it can be read as it is
    return child


def _fold(nodes: "list[Node]", keys: "list[Any]") -> None:
    """From the last node up, put in the place of each that has one entry left what that leads to."""
    for i in range(len(nodes) - 1, 0, -1):
        node = nodes[i]
        if len(node) > 1:
            return
        key: "Any" = None
        for key in node:
            pass
        last = node[key]
        if not isinstance(last, tuple) or last[0] is None:
            above = nodes[i - 1][keys[i - 1]]
            levels = above[1].split(b"/") if isinstance(above, tuple) else []
            levels.append(key)
            if len(last) == 1 and not isinstance(last, tuple):
                for key in last:
                    levels.append(key)
                last = last[key]
            last = chained(levels, last)
        nodes[i - 1][keys[i - 1]] = last


def matching_filters(root: "Node", name: bytes, found: "list[Any]") -> int:
    """Add to `found` the values whose path, read as a topic filter, matches the topic name; returns the steps that took.

    A step is a node that is looked at. Each is once at most; a path or chain counts three and one for each `+` in it.
    """
    hidden = name.startswith(b"$")  # [MQTT-4.7.2-1]
    nodes = [root]
    levels = name.split(b"/")
    count = len(levels)
    depth = place = steps = 0  # place: where the level after depth begins in the name
    later: "list[tuple[int, int, Node]]" = []  # nodes that chains lead to, each after its depth and its place
    while True:
        while depth < count:
            level = levels[depth]
            depth += 1
            place += len(level) + 1
            below: "list[Node]" = []
            steps += len(nodes)
            for node in nodes:
                for key in (level,) if hidden else (level, b"+"):
                    child = node.get(key)
                    if not isinstance(child, tuple):
                        if child is not None:
                            below.append(child)
                        continue
                    whole = child[0]  # of a value; otherwise it is a chain
                    path = whole or child[1]
                    steps += 3 + path.count(b"+")
                    more = path[-1] == _HASH
                    at = match_end(path[:-2] if more else path, name, 0 if whole else place)
                    if at >= 0:
                        if not whole:
                            later.append((depth + path.count(b"/") + 1, at + 1, child[2]))
                        elif more or at == len(name):
                            found.append(child)
                child = None if hidden else node.get(b"#")
                if child is not None:  # the last level of a filter
                    found.append(child)
            hidden = False
            nodes = below
            if not nodes:
                break
        for node in nodes:
            for end in (None, b"#"):  # `a/#` matches `a`, too
                child = node.get(end)
                if child is not None:
                    found.append(child)
        if not later:
            return steps
        depth, place, node = later.pop()
        nodes = [node]
