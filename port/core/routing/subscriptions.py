"""All subscriptions of all sessions, and the resolution of a topic name to its route.

Filters without wildcard stand in one flat dict, filter -> subscribers; the others in a trie,
as values (filter, subscribers). Subscribers are the subscriber itself while it is the only one, else
a dict of them. The options of a subscription are kept in its session.

Options of a subscription are one int: the options byte of SUBSCRIBE (QoS, no local,
retain as published, retain handling; clause 3.8.3.1) with the subscription identifier
above it (bits 8 and up).
"""

from port.core import const
from port.core.constants import MAY_RECEIVE
from port.core.wire.reason_codes import NOT_AUTHORIZED
from port.core.wire.topics import has_wildcard, is_shared, split_share
from port.core.limits.client_log import denied
from port.core.messages import topic_trie

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional, Sequence

    from port.core.routing.shared_subscription import SharedGroup
    from port.core.sessions.session import Session

_SPECIAL = const(~0xFB)  # no local, a subscription identifier
_MATCHING = const(64)  # matching filters of one session that count for a name, and the one with the highest QoS
_MATCHED = const(6)  # steps counted for each matching subscription
_WORDS = const(32)  # words of memory of a subscription, besides its filter


def is_wide(topic_filter: bytes) -> bool:
    """True for a filter with more than one wildcard: any number of such filters can match the same name."""
    return topic_filter.count(b"+") + (topic_filter[-1:] == b"#") > 1


def _one_more(counts: "dict[Any, int]", key: "Any", more: int = 1) -> None:
    counts[key] = counts.get(key, 0) + more


def _one_less(counts: "dict[Any, int]", key: "Any", less: int = 1) -> None:
    left = counts[key] - less
    if left:
        counts[key] = left
    else:
        del counts[key]


class LocalSubscriber:
    """A subscription of the embedding program: `callback(message)` at each match."""

    subscriptions = None  # class attributes tell the three kinds of subscriber apart
    group = None

    def __init__(self, callback: "Any") -> None:
        self.callback = callback


class Route:
    """The receivers of one topic name, resolved once and cached.

    plain    (session, option) for sessions with one matching filter, no identifier, no no local
    special  (session, options of all its matching filters) for the others
    groups   shared subscriptions
    locals   in-process subscribers
    long     True when the name may be over the limits of some client
    quick    True when there are receivers, all in `plain` and `locals`: a message from a client without an ACL, not
             retained, then needs only Router.deliver_quick
    untried  whether the name may take the fast path is still undecided: bit 0 for MQTT 3.x, bit 1 for MQTT 5
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
        self.quick = False
        self.untried = 0

    def size(self) -> int:
        """Number of receivers; a shared subscription counts as one."""
        return len(self.plain) + len(self.special) + len(self.groups) + len(self.locals)

    def empty(self) -> bool:
        """True when there is no subscriber."""
        return not (self.plain or self.special or self.groups or self.locals)


class Subscriptions:
    """The broker's subscriptions. Subscribers are Session, SharedGroup and LocalSubscriber objects."""

    def __init__(self, word: int = 8) -> None:
        """`word`: see Broker.word."""
        self._entry = _WORDS * word
        self.count = 0  # subscriptions of sessions, shared ones included
        self.bytes = 0  # bytes of memory they take
        self.wide: "dict[Any, int]" = {}  # filters with more than one wildcard, by session
        self.steps = 0  # of the last resolution: those of trie.matching_filters, and _MATCHED for each matching subscription
        self._exact: "dict[bytes, Any]" = {}
        self._wild: "topic_trie.Node" = {}
        self._groups: "dict[bytes, SharedGroup]" = {}
        self.founded: "dict[Any, int]" = {}  # number of shared subscriptions, by SharedGroup.owner
        self.branches: "dict[Any, int]" = {}  # number of `+` in unshared filters with several, by first owner
        self.owners: "dict[bytes, Any]" = {}  # owner of the first subscriber, by filter

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
        if new:
            size = self.size_of(topic_filter)
            self.count += 1
            self.bytes += size
            if is_wide(topic_filter):
                _one_more(self.wide, subscriber)
            subscriber.subscription_bytes += size

    def _add(self, topic_filter: bytes, subscriber: "Any", options: int) -> None:
        if not is_shared(topic_filter):
            self._put(topic_filter, subscriber)
            return
        group = self._groups.get(topic_filter)
        if group is None:
            from port.core.routing.shared_subscription import SharedGroup

            owner = subscriber.owner_key()
            group = SharedGroup(topic_filter, subscriber, owner)
            _one_more(self.founded, owner)
            self._put(split_share(topic_filter), group)
            self._groups[topic_filter] = group
        group.add(subscriber, options)

    def remove(self, topic_filter: bytes, subscriber: "Any") -> None:
        """Remove a subscription, if there is one."""
        subscriptions = subscriber.subscriptions
        if subscriptions is not None and topic_filter not in subscriptions:
            return
        if is_shared(topic_filter):
            group = self._groups[topic_filter]
            group.remove(subscriber)
            if not group.members:
                self._take(split_share(topic_filter), group)
                del self._groups[topic_filter]
                _one_less(self.founded, group.owner)
            elif group.founder is subscriber:  # it counts for a member that stays
                group.founder = group.members[0][0]
                owner = group.founder.owner_key()
                _one_more(self.founded, owner)
                _one_less(self.founded, group.owner)
                group.owner = owner
        else:
            self._take(topic_filter, subscriber)
        if subscriptions is not None:
            # Last, so that it can be tried again if memory runs out before.
            size = self.size_of(topic_filter)
            self.count -= 1
            self.bytes -= size
            if is_wide(topic_filter):
                _one_less(self.wide, subscriber)
            subscriber.subscription_bytes -= size
            del subscriptions[topic_filter]

    def size_of(self, topic_filter: bytes) -> int:
        """Bytes a subscription counts for, see Options.max_subscription_bytes."""
        return len(topic_filter) + self._entry

    def group(self, topic_filter: bytes) -> "Optional[SharedGroup]":
        """The shared subscription with this filter, or None."""
        return self._groups.get(topic_filter)

    def came(self, session: "Session", more: int = 1) -> None:
        """A session has connected, or with -1 lost its connection: its shared subscriptions count their online members.

        Takes no memory.
        """
        groups = self._groups
        if groups:
            session.broker.turns.spent += len(session.subscriptions) >> 2
            for topic_filter in session.subscriptions:
                group = groups.get(topic_filter)
                if group is not None:
                    group.came(session, more)

    def get(self, topic_filter: bytes) -> "Any":
        """A filter's subscribers: None, one, or a dict of them."""
        if not has_wildcard(topic_filter):
            return self._exact.get(topic_filter)
        value = topic_trie.get(self._wild, topic_filter)
        return None if value is None else value[1]

    def _set(self, topic_filter: bytes, subscribers: "Any") -> None:
        if not has_wildcard(topic_filter):
            if subscribers is None:
                del self._exact[topic_filter]
            else:
                self._exact[topic_filter] = subscribers
        elif subscribers is None:
            topic_trie.remove(self._wild, topic_filter)
            owner = self.owners.pop(topic_filter, None)
            if owner is not None:
                _one_less(self.branches, owner, topic_filter.count(b"+"))
        else:
            topic_trie.put(self._wild, (topic_filter, subscribers))

    def _put(self, topic_filter: bytes, subscriber: "Any") -> None:
        subscribers = self.get(topic_filter)
        if subscribers is None:
            more = topic_filter.count(b"+")
            if more > 1 and subscriber.subscriptions is not None and topic_filter not in self.owners:
                owner = subscriber.owner_key()
                _one_more(self.branches, owner, more)
                self.owners[topic_filter] = owner
            self._set(topic_filter, subscriber)  # last: if memory runs out, nothing finds the filter
        elif isinstance(subscribers, dict):
            subscribers[subscriber] = True
        elif subscribers is not subscriber:
            self._set(topic_filter, {subscribers: True, subscriber: True})

    def _take(self, topic_filter: bytes, subscriber: "Any") -> None:
        subscribers = self.get(topic_filter)
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
        several: "dict[Session, list[int]]" = {}  # sessions with more than one matching filter, and the options of these
        values: "list[Any]" = []
        self.steps = topic_trie.matching_filters(self._wild, name, values)
        exact = self._exact.get(name)
        if exact is not None:
            values.append((name, exact))
        for topic_filter, subscribers in values:
            if not isinstance(subscribers, dict):
                subscribers = (subscribers,)
            self.steps += _MATCHED * len(subscribers)
            for subscriber in subscribers:
                subscriptions = subscriber.subscriptions
                if subscriptions is None:
                    (locals if subscriber.group is None else groups).append(subscriber)
                    continue
                options = subscriptions[topic_filter]
                if subscriber.access is not None:
                    verdict = subscriber.access.receive(name)
                    if verdict < 0:
                        if subscriber.broker.debug:
                            denied(subscriber, MAY_RECEIVE, name, NOT_AUTHORIZED)
                        continue
                    options = limited(options, verdict)
                if subscriber in found:
                    matching = several.get(subscriber)
                    if matching is None:
                        several[subscriber] = [found[subscriber], options]
                    elif len(matching) < _MATCHING:
                        matching.append(options)
                    elif options & 3 > matching[-1] & 3:
                        matching[-1] = options
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
                special.append((session, tuple(several[session])))
        return Route(plain or (), special or (), groups or (), locals or ())  # most are empty: () takes no memory


def limited(options: int, verdict: int) -> int:
    """The options of a subscription, its QoS limited to that of an ACL's verdict."""
    qos = verdict & 3
    return options if options & 3 <= qos else options & ~3 | qos
