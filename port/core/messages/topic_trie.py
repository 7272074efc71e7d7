"""A compact trie over topic levels, for filters that names look up and for names that filters look up.

A node is a dict of level -> entry; the key None holds the value that ends at the node. An entry is another
node, a value or a chain. A value is a tuple whose first item is its own path, and replaces all nodes of its
path that no other value shares: a lone `home/attic/#` takes one entry instead of three nodes. A chain is a
tuple (None, path, node) that replaces two or more nodes with one entry each, and leads to the node after
them. So memory follows the number and the bytes of the values, however many levels they share. Plain dicts
and tuples take half the memory of objects on a board.

Filters look names up with port.core.messages.trie_walk. For such a walk a node with many levels is a
port.core.messages.wide_node.Wide in place of a dict.
"""

from port.core import const
from port.core.wire.topics import match_end

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    # A dict[bytes | None, Any], or a Wide.
    Node = Any
    Value = tuple[Any, ...]

_WIDE = const(256)  # levels from which on a node becomes a Wide, see port.core.messages.wide_node
_HASH = const(0x23)
_SMALL = const(64)  # levels at which a Wide becomes a dict again
_SIZES = (4, 16, _SMALL, 256, 1024, 4096)  # entries left at which a dict is copied, as dicts never shrink by themselves


def get(root: "Node", path: bytes) -> "Any":
    """The value with this path, or None."""
    node = root
    skip = 0  # levels of a chain, which are compared by the value's path
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
    """Put a value at its path; returns the value before it, or None. `wide`: Wide for a trie with walks."""
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
            # Two values share this level, and maybe more; a node comes where their paths part.
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
    """A level as a key. Wildcards become constants, so that no slice of a path is kept for them."""
    return b"+" if level == b"+" else b"#" if level == b"#" else level


def _exchange(above: "Node", key: "Any", node: "Node") -> None:
    """Replace the node that an entry leads to."""
    entry = above[key]
    above[key] = (None, entry[1], node) if isinstance(entry, tuple) else node


def shrunk(node: "Node") -> "Node":
    """The node, or a smaller copy when few entries are left."""
    count = len(node)
    if count == _SMALL or count in _SIZES and isinstance(node, dict):
        try:
            return {key: node[key] for key in node}
        except MemoryError:
            pass
    return node


def chained(levels: "list[bytes]", entry: "Any") -> "Any":
    """The entry that leads over some levels to another entry: a node, or a chain."""
    if isinstance(entry, tuple):
        levels = levels + entry[1].split(b"/")
        entry = entry[2]
    if len(levels) > 1:
        return None, b"/".join(levels), entry
    return {_as_key(levels[0]): entry} if levels else entry


def remove(root: "Node", path: bytes) -> "Any":
    """Remove the value with this path and the nodes for it alone; returns the value, or None."""
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
        pass  # without memory for it the trie stays as it is, and valid
    return child


def _fold(nodes: "list[Node]", keys: "list[Any]") -> None:
    """From the last node up, replace each node with one entry by that entry."""
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
    """Add to `found` the values whose path, read as a topic filter, matches the topic name; returns the steps taken.

    A step is a look at a node, once for each; a path or chain counts three steps, and one for each `+` in it.
    """
    hidden = name.startswith(b"$")  # [MQTT-4.7.2-1]
    nodes = [root]
    levels = name.split(b"/")
    count = len(levels)
    depth = place = steps = 0  # place: begin, in the name, of the level after depth
    later: "list[tuple[int, int, Node]]" = []  # (depth, place, node) of nodes that chains lead to
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
                    whole = child[0]  # the path of a value; None in a chain
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
                if child is not None:  # a filter ends here
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
