"""A compact trie over topic levels: a node is a dict of level -> node.

What belongs to the path that ends at a node stands in it under the key None. Plain
dicts cost a board half of what node objects do (about 50 bytes a filter).
"""

from port.core import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    Node = dict[bytes | None, Any]


def grow(root: "Node", levels: "list[bytes]") -> "Node":
    """The node at the end of the path, made where it was missing."""
    node = root
    for level in levels:
        child = node.get(level)
        if child is None:
            child = node[level] = {}
        node = child
    return node


def find(root: "Node", levels: "list[bytes]") -> "Node | None":
    """The node at the end of the path, or None."""
    node: "Node | None" = root
    for level in levels:
        node = node.get(level)  # type: ignore[union-attr]
        if node is None:
            return None
    return node


def prune(root: "Node", levels: "list[bytes]") -> None:
    """Take away the nodes of the path that hold nothing any more, from its end upwards."""
    path = [root]
    for level in levels:
        child = path[-1].get(level)
        if child is None:
            return
        path.append(child)
    for i in range(len(levels), 0, -1):
        if path[i]:
            return
        del path[i - 1][levels[i - 1]]


def nodes_matching(root: "Node", name: bytes) -> "list[Node]":
    """The nodes whose path, read as a topic filter, matches the topic name (`#` matches its parent too)."""
    levels = name.split(b"/")
    hidden = name.startswith(b"$")  # [MQTT-4.7.2-1]
    found: "list[Node]" = []
    nodes = [root]
    for level in levels:
        below: "list[Node]" = []
        for node in nodes:
            child = node.get(level)
            if child is not None:
                below.append(child)
            if hidden:
                continue
            child = node.get(b"+")
            if child is not None:
                below.append(child)
            child = node.get(b"#")
            if child is not None:
                found.append(child)
        hidden = False
        nodes = below
        if not nodes:
            return found
    for node in nodes:
        if None in node:
            found.append(node)
        child = node.get(b"#")
        if child is not None:
            found.append(child)
    return found


def values_matching(root: "Node", topic_filter: bytes) -> "list[Any]":
    """What stands at the nodes whose path, read as a topic name, the topic filter matches."""
    levels = topic_filter.split(b"/")
    nodes = [root]
    for i in range(len(levels)):
        level = levels[i]
        below: "list[Node]" = []
        if level == b"#":
            # `#` takes its parent and everything below it; only at the top does it not see `$`.
            while nodes:
                node = nodes.pop()
                for key in node:
                    if key is None:
                        below.append(node)
                    elif i or not key.startswith(b"$"):
                        nodes.append(node[key])
                i = 1
            return [node[None] for node in below]
        for node in nodes:
            if level == b"+":
                for key in node:
                    if key is not None and (i or not key.startswith(b"$")):
                        below.append(node[key])
            else:
                child = node.get(level)
                if child is not None:
                    below.append(child)
        nodes = below
    return [node[None] for node in nodes if None in node]
