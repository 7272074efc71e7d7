"""Who gets what: all subscriptions of all sessions, and the route of a topic name.

Filters without wildcard stand in one flat dict; the others in a trie. A place in either
holds a leaf: the tuple (subscriber, options) while there is one subscriber, a dict
subscriber -> options from the second on.

Options of a subscription are one int: the options byte of SUBSCRIBE (QoS, no local,
retain as published, retain handling; clause 3.8.3.1) with the subscription identifier
above it (bits 8 and up).
"""

from port.core import TYPE_CHECKING, const, trie
from port.core.topics import has_wildcard, is_shared, split_share

if TYPE_CHECKING:
    from typing import Any, Optional, Union

    from port.core.message import Message
    from port.core.session import Session
    from port.core.shared import SharedGroup

    Leaf = Union[tuple[Any, int], dict[Any, int]]

NO_LOCAL = const(4)
_LAST_PLAIN = const(255)  # above: a subscription identifier


class LocalSubscriber:
    """A subscription of the embedding program: `callback(message)` at each match."""

    session = None  # class attributes tell the three kinds of subscriber apart
    group = None

    def __init__(self, callback: "Any") -> None:
        self.callback = callback


class Route:
    """Where messages of one topic name go, resolved once and cached.

    plain    (session, option) for sessions with one matching filter, no identifier, no no local
    special  (session, options of all its matching filters) for the others
    groups   shared subscriptions
    locals   in-process subscribers
    """

    __slots__ = ("plain", "special", "groups", "locals")

    def __init__(self) -> None:
        self.plain: "list[tuple[Session, int]]" = []
        self.special: "list[tuple[Session, tuple[int, ...]]]" = []
        self.groups: "list[SharedGroup]" = []
        self.locals: "list[LocalSubscriber]" = []

    def empty(self) -> bool:
        """True when there is no subscriber at all."""
        return not (self.plain or self.special or self.groups or self.locals)

    def fast(self, family: int) -> "Optional[tuple[Session, ...]]":
        """The sessions, if a QoS 0 packet of `family` can go to all of them as it came and to nobody else; or None.

        `family` is 4 for MQTT 3.x, 5 for MQTT 5, see Session.family.
        """
        if self.special or self.groups or self.locals:
            return None
        for session, _ in self.plain:
            if session.family != family and session.family != 0:
                return None
        return tuple([session for session, _ in self.plain])


class Subscriptions:
    """The broker's subscriptions. Subscribers are Session, SharedGroup and LocalSubscriber objects."""

    def __init__(self) -> None:
        self.count = 0  # subscriptions of sessions, shared ones included
        self._exact: "dict[bytes, Leaf]" = {}
        self._wild: "trie.Node" = {}
        self._groups: "dict[bytes, SharedGroup]" = {}

    def add(self, topic_filter: bytes, subscriber: "Any", options: int) -> None:
        """Add or change the subscription of a session or an in-process subscriber to a valid filter."""
        if is_shared(topic_filter):
            group = self._groups.get(topic_filter)
            if group is None:
                from port.core.shared import SharedGroup

                group = self._groups[topic_filter] = SharedGroup(topic_filter)
                self._put(split_share(topic_filter), group, 0)
            self.count += group.add(subscriber, options)
        else:
            self.count += self._put(topic_filter, subscriber, options)

    def remove(self, topic_filter: bytes, subscriber: "Any") -> None:
        """Take a subscription away."""
        if is_shared(topic_filter):
            group = self._groups.get(topic_filter)
            if group is not None:
                self.count -= group.remove(subscriber)
                if not group.members:
                    del self._groups[topic_filter]
                    self._take(split_share(topic_filter), group)
        else:
            self.count -= self._take(topic_filter, subscriber)

    def group(self, topic_filter: bytes) -> "Optional[SharedGroup]":
        """The shared subscription with this filter, or None."""
        return self._groups.get(topic_filter)

    def _place(self, topic_filter: bytes) -> "dict[Any, Any]":
        """The dict whose value under `_key` is the filter's leaf."""
        if has_wildcard(topic_filter):
            return trie.grow(self._wild, topic_filter.split(b"/"))
        return self._exact

    def _put(self, topic_filter: bytes, subscriber: "Any", options: int) -> int:
        place = self._place(topic_filter)
        key = None if place is not self._exact else topic_filter
        leaf = place.get(key)
        if leaf is None or isinstance(leaf, tuple) and leaf[0] is subscriber:
            place[key] = (subscriber, options)
            return leaf is None
        if isinstance(leaf, tuple):
            leaf = place[key] = {leaf[0]: leaf[1]}
        new = subscriber not in leaf
        leaf[subscriber] = options
        return new

    def _take(self, topic_filter: bytes, subscriber: "Any") -> int:
        wild = has_wildcard(topic_filter)
        if wild:
            levels = topic_filter.split(b"/")
            place: "Any" = trie.find(self._wild, levels)
            if place is None:
                return 0
            key = None
        else:
            place, key = self._exact, topic_filter
        leaf = place.get(key)
        if isinstance(leaf, dict):
            if leaf.pop(subscriber, None) is None:
                return 0
            if len(leaf) == 1:
                for other in leaf:
                    place[key] = (other, leaf[other])
            return 1
        if leaf is None or leaf[0] is not subscriber:
            return 0
        del place[key]
        if wild:
            trie.prune(self._wild, levels)
        return 1

    def route(self, name: bytes) -> Route:
        """Resolve a topic name: one target per session, with the options of all its matching filters."""
        found: "dict[Any, tuple[int, ...]]" = {}
        leaf = self._exact.get(name)
        if leaf is not None:
            _collect(leaf, found)
        for node in trie.nodes_matching(self._wild, name):
            _collect(node[None], found)
        route = Route()
        for subscriber in found:
            if subscriber.session is not None:
                options = found[subscriber]
                if len(options) == 1 and options[0] <= _LAST_PLAIN and not options[0] & NO_LOCAL:
                    route.plain.append((subscriber, options[0]))
                else:
                    route.special.append((subscriber, options))
            elif subscriber.group is not None:
                route.groups.append(subscriber)
            else:
                route.locals.append(subscriber)
        return route


def _collect(leaf: "Leaf", found: "dict[Any, tuple[int, ...]]") -> None:
    if isinstance(leaf, tuple):
        subscriber, options = leaf
        found[subscriber] = found.get(subscriber, ()) + (options,)
    else:
        for subscriber in leaf:
            found[subscriber] = found.get(subscriber, ()) + (leaf[subscriber],)
