"""A walk through a trie of topic names, over all that a topic filter matches, which can rest at each step.

The trie may change while the walk rests. The walk keeps its path and some keys of the node there, not a place in a dict,
which a change would break; after a change it looks the path up again. So the trie keeps no record of its walks, and a walk
may be dropped.
"""

from port.core import const
from port.core.wire.topics import levels_match
from port.core.messages.topic_trie import chained

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Iterator

    from port.core.messages.topic_trie import Node

_REST = const(64)  # steps between two rests
_LONGEST = const(1024)  # the same when names are put faster than the walk visits them
_END = const(65536)  # as in port.core.messages.wide_node


def walk(store: "Any", topic_filter: bytes, hidden: bool) -> "Iterator[Any]":
    """Yield the values whose path, read as a topic name, the filter matches, and None for a rest.

    store   has the trie, `root`, and `version`, a number that grows with each name put or removed; gets `walked`, the
            number of steps before the last rest
    hidden  whether wildcards at the top do not match `$` names [MQTT-4.7.2-1]

    None comes after about 64 steps, with a further step for each four levels compared; after more steps when the trie has
    changed much since the beginning, so that the walk ends. A value that stays from the beginning to the end is yielded, as it
    is at that moment, and once unless a value near it was removed; a value put under a new name meanwhile may be yielded.
    """
    filters = topic_filter.split(b"/")
    every = filters[-1] == b"#"
    wild = len(filters) - every  # from this depth on everything matches, or nothing
    # For each node on the way whose keys are visited: [node, version of the trie when it was found, path from the node before,
    # levels above it, keys to visit, place of the next keys].
    frames: "list[list[Any]]" = []
    entry: "Any" = store.root
    edge = b""
    depth = steps = 0
    rest = _REST
    begun = store.version
    while True:
        while entry is not None:
            steps += 1
            if isinstance(entry, tuple):
                levels = (entry[0] or entry[1]).split(b"/")
                steps += len(levels) >> 2
                if entry[0] is not None:
                    if levels_match(filters, levels, depth):
                        yield entry
                    break
                depth = passes(levels, filters, depth, wild)
                if not depth:
                    break
                edge += b"/" + entry[1]
                entry = entry[2]
                continue
            if depth == wild and not every:
                entry = entry.get(None)
                continue
            level = filters[depth] if depth < wild else b"#"
            if level == b"+" or level == b"#":
                frames.append([entry, store.version, edge, depth, (), 0])
                break
            entry = entry.get(level)
            edge = edge + b"/" + level if depth else level
            depth += 1
        if not frames:
            return
        if steps >= rest:
            store.walked = steps
            steps = 0
            yield None
            rest = min(_LONGEST, _REST + (store.version - begun >> 6))
        frame = frames[-1]
        if frame[1] != store.version:
            frame[0], made = below(store.root, b"/".join([above[2] for above in frames if above[3]]), frame[3])
            frame[1] = store.version - made
        node, seen, edge, depth, keys, place = frame
        whole = every and depth >= wild
        entry = None
        while keys and steps < rest:
            steps += 1
            key = keys.pop()
            entry = node.get(key)
            if entry is None:
                continue
            if whole and isinstance(entry, tuple) and entry[0] is not None:
                yield entry
                entry = None
                if seen != store.version:
                    break
                continue
            edge = key
            depth += 1
            break
        if entry is not None or keys:
            continue
        if place == _END:
            frames.pop()
            continue
        keys, frame[5] = (list(node), _END) if isinstance(node, dict) else node.some(place)
        frame[4] = [key for key in keys if (whole if key is None else depth or not hidden or not key.startswith(b"$"))]
        steps += 1


def passes(levels: "list[bytes]", filters: "list[bytes]", depth: int, wild: int) -> int:
    """The depth behind a chain's levels if the filter matches them from `depth` on, or 0."""
    for level in levels:
        if depth < wild:
            if filters[depth] != b"+" and filters[depth] != level:
                return 0
        elif filters[-1] != b"#":
            return 0
        depth += 1
    return depth


def below(root: "Node", path: bytes, depth: int) -> "tuple[Node, bool]":
    """The node under a path of `depth` levels, and True for a node made for this look, which the next look makes again."""
    node = root
    levels = path.split(b"/") if depth else []
    depth = 0
    while depth < len(levels):
        child = node.get(levels[depth])
        depth += 1
        if child is None:
            return {}, True
        if isinstance(child, tuple):
            chain = child[0] is None
            rest = child[1].split(b"/") if chain else child[0].split(b"/")[depth:]
            left = levels[depth:]
            if chain and len(rest) <= len(left):
                if rest != left[: len(rest)]:
                    return {}, True
                depth += len(rest)
                child = child[2]
            elif rest[: len(left)] != left:
                return {}, True
            elif chain:
                return {rest[len(left)]: chained(rest[len(left) + 1 :], child[2])}, True
            else:
                return {rest[len(left)] if len(rest) > len(left) else None: child}, True
        node = child
    return node, False
