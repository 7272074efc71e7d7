"""Who gets what: all subscriptions of all sessions, and the route of a topic name.

Filters without wildcard stand in one flat dict, filter -> subscribers; the others in a trie,
as values (filter, subscribers). Subscribers are the one subscriber itself, or a dict of
them from the second on. What the options of a subscription are, the session knows.

Options of a subscription are one int: the options byte of SUBSCRIBE (QoS, no local,
retain as published, retain handling; clause 3.8.3.1) with the subscription identifier
above it (bits 8 and up).
"""

from port.core import const, trie
from port.core.topics import has_wildcard, is_shared, split_share

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional, Sequence

    from port.core.session import Session
    from port.core.shared import SharedGroup

_SPECIAL = const(~0xFB)  # no local, a subscription identifier


class LocalSubscriber:
    """A subscription of the embedding program: `callback(message)` at each match."""

    subscriptions = None  # class attributes tell the three kinds of subscriber apart
    group = None

    def __init__(self, callback: "Any") -> None:
        self.callback = callback


class Route:
    """Where messages of one topic name go, resolved once and cached.

    plain    (session, option) for sessions with one matching filter, no identifier, no no local
    special  (session, options of all its matching filters) for the others
    groups   shared subscriptions
    locals   in-process subscribers
    long     True when the name may be over the limits of some client
    quick    `plain`, where a message from a client without an ACL, not retained, needs no more than Session.deliver for all of it
    untried  whether the name may take the fast path has still to be found out: bit 0 for MQTT 3.x, bit 1 for MQTT 5
    """

    __slots__ = ("plain", "special", "groups", "locals", "long", "quick", "untried")

    def __init__(
        self,
        plain: "Sequence[tuple[Session, int]]",
        special: "Sequence[tuple[Session, tuple[int, ...]]]",
        groups: "Sequence[SharedGroup]",
        locals: "Sequence[LocalSubscriber]",
    ) -> None:
        self.plain = plain
        self.special = special
        self.groups = groups
        self.locals = locals
        self.long = False
        self.quick: "Sequence[tuple[Session, int]]" = ()
        self.untried = 0

    def empty(self) -> bool:
        """True when there is no subscriber at all."""
        return not (self.plain or self.special or self.groups or self.locals)


class Subscriptions:
    """The broker's subscriptions. Subscribers are Session, SharedGroup and LocalSubscriber objects."""

    def __init__(self) -> None:
        self.count = 0  # subscriptions of sessions, shared ones included
        self._exact: "dict[bytes, Any]" = {}
        self._wild: "trie.Node" = {}
        self._groups: "dict[bytes, SharedGroup]" = {}

    def add(self, topic_filter: bytes, subscriber: "Any", options: int) -> None:
        """Add or change the subscription of a session or an in-process subscriber to a valid filter."""
        subscriptions = subscriber.subscriptions
        if subscriptions is None:
            self._add(topic_filter, subscriber, options)
            return
        new = topic_filter not in subscriptions
        if not subscriptions:
            subscriptions = subscriber.subscriptions = {}  # see session.NOTHING
        subscriptions[topic_filter] = options
        try:
            self._add(topic_filter, subscriber, options)
        except MemoryError:
            if new:
                del subscriptions[topic_filter]
            raise
        self.count += new

    def _add(self, topic_filter: bytes, subscriber: "Any", options: int) -> None:
        if not is_shared(topic_filter):
            self._put(topic_filter, subscriber)
            return
        group = self._groups.get(topic_filter)
        if group is None:
            from port.core.shared import SharedGroup

            group = SharedGroup(topic_filter)
            self._put(split_share(topic_filter), group)
            self._groups[topic_filter] = group
        group.add(subscriber, options)

    def remove(self, topic_filter: bytes, subscriber: "Any") -> None:
        """Take a subscription away, if there is one."""
        subscriptions = subscriber.subscriptions
        if subscriptions is not None and topic_filter not in subscriptions:
            return
        if is_shared(topic_filter):
            group = self._groups[topic_filter]
            group.remove(subscriber)
            if not group.members:
                self._take(split_share(topic_filter), group)
                del self._groups[topic_filter]
        else:
            self._take(topic_filter, subscriber)
        if subscriptions is not None:
            # Last: if memory runs out before, it can be tried again.
            del subscriptions[topic_filter]
            self.count -= 1

    def group(self, topic_filter: bytes) -> "Optional[SharedGroup]":
        """The shared subscription with this filter, or None."""
        return self._groups.get(topic_filter)

    def _get(self, topic_filter: bytes) -> "Any":
        """A filter's subscribers: None, one, or a dict of them."""
        if not has_wildcard(topic_filter):
            return self._exact.get(topic_filter)
        value = trie.get(self._wild, topic_filter)
        return None if value is None else value[1]

    def _set(self, topic_filter: bytes, subscribers: "Any") -> None:
        if not has_wildcard(topic_filter):
            if subscribers is None:
                del self._exact[topic_filter]
            else:
                self._exact[topic_filter] = subscribers
        elif subscribers is None:
            trie.remove(self._wild, topic_filter)
        else:
            trie.put(self._wild, (topic_filter, subscribers))

    def _put(self, topic_filter: bytes, subscriber: "Any") -> None:
        subscribers = self._get(topic_filter)
        if subscribers is None:
            self._set(topic_filter, subscriber)
        elif isinstance(subscribers, dict):
            subscribers[subscriber] = True
        elif subscribers is not subscriber:
            self._set(topic_filter, {subscribers: True, subscriber: True})

    def _take(self, topic_filter: bytes, subscriber: "Any") -> None:
        subscribers = self._get(topic_filter)
        if isinstance(subscribers, dict):
            subscribers.pop(subscriber, None)
            if len(subscribers) < 2:
                left = None
                for left in subscribers:
                    pass
                self._set(topic_filter, left)
        elif subscribers is subscriber:
            self._set(topic_filter, None)

    def route(self, name: bytes) -> Route:
        """Resolve a topic name: one target per session, with the options of all its matching filters."""
        plain: "list[tuple[Session, int]]" = []
        special: "list[tuple[Session, tuple[int, ...]]]" = []
        groups: "list[SharedGroup]" = []
        locals: "list[LocalSubscriber]" = []
        found: "dict[Session, int]" = {}
        several: "dict[Session, tuple[int, ...]]" = {}  # for whom more than one filter matches
        values = trie.matching_filters(self._wild, name)
        exact = self._exact.get(name)
        if exact is not None:
            values.append((name, exact))
        for topic_filter, subscribers in values:
            for subscriber in subscribers if isinstance(subscribers, dict) else (subscribers,):
                subscriptions = subscriber.subscriptions
                if subscriptions is None:
                    (locals if subscriber.group is None else groups).append(subscriber)
                    continue
                options = subscriptions[topic_filter]
                if subscriber.access is not None:
                    verdict = subscriber.access.receive(name)
                    if verdict < 0:
                        continue
                    options = limited(options, verdict)
                if subscriber in found:
                    several[subscriber] = several.get(subscriber, (found[subscriber],)) + (options,)
                    continue
                found[subscriber] = options
                if options & _SPECIAL:
                    special.append((subscriber, (options,)))
                else:
                    plain.append((subscriber, options))
        if several:
            plain = [pair for pair in plain if pair[0] not in several]
            special = [pair for pair in special if pair[0] not in several]
            for session in several:
                special.append((session, several[session]))
        return Route(plain or (), special or (), groups or (), locals or ())  # most are empty, and then take no room


def limited(options: int, verdict: int) -> int:
    """The options of a subscription with the QoS an ACL's verdict leaves."""
    qos = verdict & 3
    return options if options & 3 <= qos else options & ~3 | qos
