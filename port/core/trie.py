"""A compact trie over topic levels, for filters that names look up and for names that filters look up.

A node is a dict of level -> node or value; what ends at a node stands in it under the key
None. A value is a tuple whose first item is its own path, so it stands for all of its path
that it shares with no other: a lone `home/attic/#` takes one entry, not three nodes. Plain
dicts and tuples cost a board half of what objects do.
"""

from port.core import const
from port.core.topics import levels_match, matches

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    Node = dict[bytes | None, Any]
    Value = tuple[Any, ...]


def get(root: "Node", path: bytes) -> "Any":
    """The value with this path, or None."""
    node = root
    for level in path.split(b"/"):
        child = node.get(level)
        if child is None:
            return None
        if isinstance(child, tuple):
            return child if child[0] == path else None
        node = child
    return node.get(None)


def put(root: "Node", value: "Value") -> "Any":
    """Put a value at its path; returns the one that was there, or None."""
    path = value[0]
    node = root
    depth = 0
    for level in path.split(b"/"):
        depth += 1
        child = node.get(level)
        if child is None or isinstance(child, tuple) and child[0] == path:
            # The wildcards are constants: a piece of `path` would be kept for each of them.
            node[b"+" if level == b"+" else b"#" if level == b"#" else level] = value
            return child
        if isinstance(child, tuple):  # two share this level: the other one moves one further down
            rest = child[0].split(b"/")
            child = node[level] = {rest[depth] if depth < len(rest) else None: child}
        node = child
    old = node.get(None)
    node[None] = value
    return old


def remove(root: "Node", path: bytes) -> "Any":
    """Take away the value with this path and the nodes it needed; returns it, or None."""
    levels: "list[Any]" = []
    nodes = [root]
    for level in path.split(b"/"):
        levels.append(level)
        child = nodes[-1].get(level)
        if child is None:
            return None
        if isinstance(child, tuple):
            break
        nodes.append(child)
    else:
        levels.append(None)
    value = nodes[-1].get(levels[-1])
    if value is None or value[0] != path:
        return None
    del nodes[-1][levels[-1]]
    # A node with one value left is that value; an empty one is nothing.
    for i in range(len(nodes) - 1, 0, -1):
        node = nodes[i]
        if len(node) > 1:
            break
        last = None
        for key in node:
            last = node[key]
        if last is None:
            del nodes[i - 1][levels[i - 1]]
        elif isinstance(last, tuple):
            nodes[i - 1][levels[i - 1]] = last
        else:
            break
    return value


def matching_filters(root: "Node", name: bytes) -> "list[Any]":
    """The values whose path, read as a topic filter, matches the topic name."""
    hidden = name.startswith(b"$")  # [MQTT-4.7.2-1]
    found: "list[Any]" = []
    nodes = [root]
    levels = name.split(b"/")
    depth = 0
    for level in levels:
        depth += 1
        below: "list[Node]" = []
        for node in nodes:
            child = node.get(level)
            if child is not None:
                if not isinstance(child, tuple):
                    below.append(child)
                elif levels_match(child[0].split(b"/"), levels, depth):
                    found.append(child)
            if hidden:
                continue
            child = node.get(b"+")
            if child is not None:
                if not isinstance(child, tuple):
                    below.append(child)
                elif levels_match(child[0].split(b"/"), levels, depth):
                    found.append(child)
            child = node.get(b"#")
            if child is not None:  # the last level of a filter
                found.append(child)
        hidden = False
        nodes = below
        if not nodes:
            return found
    for node in nodes:
        for end in (None, b"#"):  # `a/#` matches `a`, too
            child = node.get(end)
            if child is not None:
                found.append(child)
    return found


def matching_names(root: "Node", topic_filter: bytes) -> "list[Any]":
    """The values whose path, read as a topic name, the topic filter matches."""
    found: "list[Any]" = []
    nodes: "list[Any]" = [root]
    top = True  # where wildcards do not see `$`
    for level in topic_filter.split(b"/"):
        below: "list[Any]" = []
        for node in nodes:
            if isinstance(node, tuple):
                below.append(node)
            elif level == b"#":
                below += _everything(node, top)
            elif level == b"+":
                for key in node:
                    if key is not None and not (top and key.startswith(b"$")):
                        below.append(node[key])
            elif level in node:
                below.append(node[level])
        top = False
        nodes = below
    for node in nodes:
        if not isinstance(node, tuple):
            node = node.get(None)
        if node is not None and matches(topic_filter, node[0]):
            found.append(node)
    return found


def _everything(root: "Node", top: bool) -> "list[Any]":
    """All values at and below a node."""
    found: "list[Any]" = []
    nodes = [root]
    while nodes:
        node = nodes.pop()
        for key in node:
            if top and key is not None and key.startswith(b"$"):
                continue
            child = node[key]
            if isinstance(child, tuple):
                found.append(child)
            else:
                nodes.append(child)
        top = False
    return found
