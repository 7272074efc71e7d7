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
    from typing import Any, Optional

    from port.core.session import Session
    from port.core.shared import SharedGroup

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
    long     True when the name may be over the limits of some client
    """

    __slots__ = ("plain", "special", "groups", "locals", "long")

    def __init__(self) -> None:
        self.plain: "list[tuple[Session, int]]" = []
        self.special: "list[tuple[Session, tuple[int, ...]]]" = []
        self.groups: "list[SharedGroup]" = []
        self.locals: "list[LocalSubscriber]" = []
        self.long = False

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
        self._exact: "dict[bytes, Any]" = {}
        self._wild: "trie.Node" = {}
        self._groups: "dict[bytes, SharedGroup]" = {}

    def add(self, topic_filter: bytes, subscriber: "Any", options: int) -> None:
        """Add or change the subscription of a session or an in-process subscriber to a valid filter."""
        session = subscriber.session
        if session is None:
            self._add(topic_filter, subscriber, options)
            return
        new = topic_filter not in session.subscriptions
        session.subscriptions[topic_filter] = options
        try:
            self._add(topic_filter, subscriber, options)
        except MemoryError:
            if new:
                del session.subscriptions[topic_filter]
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
        session = subscriber.session
        if session is not None and topic_filter not in session.subscriptions:
            return
        if is_shared(topic_filter):
            group = self._groups[topic_filter]
            group.remove(subscriber)
            if not group.members:
                self._take(split_share(topic_filter), group)
                del self._groups[topic_filter]
        else:
            self._take(topic_filter, subscriber)
        if session is not None:
            # Last: if memory runs out before, it can be tried again.
            del session.subscriptions[topic_filter]
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
        found: "dict[Any, list[bytes]]" = {}
        subscribers = self._exact.get(name)
        if subscribers is not None:
            _collect(name, subscribers, found)
        for topic_filter, subscribers in trie.matching_filters(self._wild, name):
            _collect(topic_filter, subscribers, found)
        route = Route()
        for subscriber in found:
            session = subscriber.session
            if session is not None:
                options = tuple([session.subscriptions[topic_filter] for topic_filter in found[subscriber]])
                if session.access is not None:
                    verdict = session.access.receive(name)
                    if verdict < 0:
                        continue
                    options = tuple([limited(option, verdict) for option in options])
                if len(options) == 1 and options[0] <= _LAST_PLAIN and not options[0] & NO_LOCAL:
                    route.plain.append((session, options[0]))
                else:
                    route.special.append((session, options))
            elif subscriber.group is not None:
                route.groups.append(subscriber)
            else:
                route.locals.append(subscriber)
        return route


def limited(options: int, verdict: int) -> int:
    """The options of a subscription with the QoS an ACL's verdict leaves."""
    qos = verdict & 3
    return options if options & 3 <= qos else options & ~3 | qos


def _collect(topic_filter: bytes, subscribers: "Any", found: "dict[Any, list[bytes]]") -> None:
    for subscriber in subscribers if isinstance(subscribers, dict) else (subscribers,):
        found.setdefault(subscriber, []).append(topic_filter)
