"""Access control: rules for publishing, subscribing and receiving, and a client's rights under them.

The first rule that applies decides. With a list of rules, an empty one too, everything that no rule allows is denied; without a
list everything is allowed. Rules are asked when a client publishes, when it subscribes, and again when the receivers of a
topic are resolved, so a wildcard subscription gets nothing that a rule withholds.

An Access holds the rules that apply to one client, with user name and client id filled in, and caches decisions on topic
names. Clients with equal rules share one.
"""

from port.core import const
from port.core.constants import (
    ALLOWED,
    DENIED,
    ENTRY_GROUP,
    ENTRY_MESSAGE,
    MAY_PUBLISH,
    MAY_RECEIVE,
    MAY_RETAIN,
    MAY_SUBSCRIBE,
    RECORD_NAME,
    RECORD_QOS,
    RECORD_SOURCE,
    UNDECIDED,
)
from port.core.wire.topics import has_wildcard, is_shared, levels_match, matches, valid_filter
from port.core.limits.turns import Turns
from port.core.messages import topic_trie
from port.core.auth.authenticator import fits, may_be_anonymous
from port.core.acl.client_policy import rules_of

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Iterable, Optional, Sequence

    from port.core.limits.ip_network import Network
    from port.core.messages.message import Message
    from port.core.messages.retained import Record
    from port.core.sessions.session import Session
    from port.core.auth.authenticator import Authorizer
    from port.core.broker import Broker

    Entry = tuple[int, bytes, int]  # actions, topic filter, verdict
    Source = tuple[Optional[bytes], bytes, str, str]  # of a retained message: user name, client id, address, id of the listener

_LONGEST = const(256)  # bytes of the longest topic name cached, so that invented names cannot fill the memory
_ALONE = const(1024)  # most topic names cached for a client that shares its Access with no other
_OWN = const(64)  # the same for rules that name one client, as each client may have such an Access
_SHORT = const(128)  # bytes of the longest of those
_FEW = const(8)  # most sessions with the same Access for which a session that ends clears its cache
_ANSWERS = const(1024)  # most answers of an authorizer cached for a client
_SOURCES = const(32)  # publishers of retained messages whose rules are cached

# Costs, in deliveries (Turns.spent): a look through rules, each rule, a decision on a retained message, one on a queued
# message, and putting a filter into a trie.
_LOOKED = const(2)
_TRIED = const(3)
_JUDGED = const(4)
_WAITING = const(3)
_FOUND = const(10)


class Rule:
    """One rule, see port.core.acl.acl_rule."""

    __slots__ = ("entry", "user", "client_id", "network", "personal")

    def __init__(
        self,
        entry: "Entry",
        user: "Optional[bytes]" = None,
        client_id: "Optional[bytes]" = None,
        network: "Optional[Network]" = None,
    ) -> None:
        self.entry = entry
        self.user = user
        self.client_id = client_id
        self.network = network
        self.personal = b"%u" in entry[1] or b"%c" in entry[1]

    def applies(self, user: "Optional[bytes]", client_id: bytes, address: str) -> bool:
        """True when the rule applies to this client."""
        if not fits(self.user, user) or not fits(self.client_id, client_id):
            return False
        return self.network is None or self.network.contains(address)

    def for_client(self, user: "Optional[bytes]", client_id: bytes) -> "Optional[Entry]":
        """The rule with user name and client id filled in; None when they would change its meaning.

        A name with a wildcard never allows more, nor denies less, than a name without.
        """
        if not self.personal:
            return self.entry
        actions, topic, verdict = self.entry
        for mark, value in ((b"%u", user), (b"%c", client_id)):
            if mark in topic and not value:
                return None
            # A client called `+` must not get other clients' topics; a denial may cover too much.
            if mark in topic and verdict != DENIED and (has_wildcard(value) or b"/" in value):  # type: ignore[arg-type, operator]
                return None
        # Both marks at once: a user may be called `%c`.
        topic = (user or b"").join([part.replace(b"%c", client_id) for part in topic.split(b"%u")])
        if not valid_filter(topic):
            if verdict != DENIED:
                return None
            first = self.entry[1].split(b"/")[0]
            # The widest filter that fits: no filter matches both $ topics and others.
            return actions, first + b"/#" if first.startswith(b"$") and b"%" not in first else b"#", verdict
        if verdict != DENIED and topic.startswith(b"$") and not self.entry[1].startswith(b"$"):
            return None  # a client called `$SYS`
        return actions, topic, verdict


def covers(rule_filter: bytes, topic_filter: bytes) -> bool:
    """True when every topic name that `topic_filter` matches is matched by `rule_filter`, too."""
    if topic_filter[-1:] == b"#":
        if topic_filter == b"#":
            return rule_filter == b"#" or rule_filter == b"+/#"  # every name has a first level
        if rule_filter[-1:] != b"#":
            return False
        topic_filter = topic_filter[:-2]  # below that level both filters match the same
    return matches(rule_filter, topic_filter)  # only a + matches a + as a level


class _Came:
    """Finds the messages that a session has got through lost filters.

    lost  those filters
    """

    def __init__(self, session: "Session", lost: "Sequence[bytes]") -> None:
        self.lost: "dict[bytes, bool]" = {topic_filter: True for topic_filter in lost}
        self._session = session
        self._wild = self._with_wildcards(lost)  # trie of lost filters
        self._left: "Any" = None  # trie of the remaining filters
        self._known: "dict[bytes, bool]" = {}  # by topic name

    def _with_wildcards(self, filters: "Iterable[bytes]") -> "Any":
        """A trie of the filters with wildcards."""
        root: "dict[Any, Any]" = {}
        for topic_filter in filters:
            if has_wildcard(topic_filter) and not is_shared(topic_filter):
                topic_trie.put(root, (topic_filter,))
                self._session.broker.turns.spent += _FOUND
        return root

    def through_lost(self, name: bytes) -> bool:
        """True when a message with this topic name came through a lost filter and through no remaining one."""
        known = self._known.get(name)
        if known is None:
            known = name in self.lost or self._matches(self._wild, name)
            if known:
                subscriptions = self._session.subscriptions
                if self._left is None:
                    self._left = self._with_wildcards(subscriptions)
                known = name not in subscriptions and not self._matches(self._left, name)
            self._known[name] = known
        return known

    def _matches(self, root: "Any", name: bytes) -> bool:
        found: "list[Any]" = []
        self._session.broker.turns.spent += topic_trie.matching_filters(root, name, found)
        return bool(found)


def _entries(rules: "Sequence[Rule]", user: "Optional[bytes]", client_id: bytes, address: str) -> "tuple[Entry, ...]":
    """The entries of the rules that apply to a client, in order."""
    entries = []
    for rule in rules:
        if rule.applies(user, client_id, address):
            entry = rule.for_client(user, client_id)
            if entry is not None:
                entries.append(entry)
    return tuple(entries)


def _first(turns: "Turns", entries: "Sequence[Entry]", action: int, name: bytes) -> "Optional[int]":
    """The verdict of the first entry that applies, None without one; the cost counts in `turns`."""
    found = None
    spent = _LOOKED + (len(name) >> 9)
    levels = name.split(b"/") if len(name) <= _LONGEST and not name.startswith(b"$") else None  # other names may have too many levels
    for actions, topic_filter, verdict in entries:
        spent += _TRIED
        if actions & action and (
            matches(topic_filter, name) if levels is None else levels_match(topic_filter.split(b"/"), levels, 0)
        ):
            found = verdict
            break
    turns.spent += spent
    return found


def made(rules: "Sequence[Any]") -> "list[Rule]":
    """Rules made of Rule objects and of dicts as in [[acl]]. Raises ValueError naming a wrong one by its number."""
    found: "list[Rule]" = []
    for rule in rules:
        if not isinstance(rule, Rule):
            from port.core.acl.acl_rule import numbered

            rule = numbered(rule, "acl", len(found) + 1)
        found.append(rule)
    return found


class Access:
    """The rights of a client, or of several clients with the same rules.

    acl         the list it was made from
    rules       the client's own rules, from an authenticator, or None
    authorizer  asked when no rule decides, or None
    entries     the rules that apply, in order
    users       sessions that hold it
    personal    True when the rules may hold names that a client chose; each client may have such an Access
    room        most topic names cached
    fast        topic names that may be published at QoS 0, with their receivers: see Router.fast; valid
                while `generation` is the router's
    granted     the same for QoS 1 and 2, see Router.granted
    """

    __slots__ = (
        "acl", "rules", "authorizer", "users", "personal", "fast", "granted", "generation", "entries", "room", "_publish", "_receive",
        "_asked", "_fresh",
    )  # fmt: skip

    def __init__(
        self, entries: "tuple[Entry, ...]", acl: "Acl", rules: "Any", authorizer: "Optional[Authorizer]", personal: bool = True
    ) -> None:
        self.acl = acl
        self.rules = rules
        self.authorizer = authorizer
        self.users = 0
        self.personal = personal
        self.fast: "tuple[dict[bytes, Any], dict[bytes, Any]]" = ({}, {})
        self.granted: "tuple[dict[bytes, Any], dict[bytes, Any]]" = ({}, {})
        self.generation = -1
        self.entries = entries
        self._publish: "dict[bytes, int]" = {}
        self._receive: "dict[bytes, int]" = {}
        self.room: int
        self._settle_room()
        self._asked: "dict[tuple[int, bytes], tuple[int, int]]" = {}
        self._fresh: "dict[tuple[int, bytes], int]" = {}  # the authorizer's answers for the packet that waits for them

    def hold(self) -> None:
        """Count a session in; sessions with equal rules share it from now on."""
        self.users += 1
        self._settle_room()
        if self.rules is None and self.authorizer is None:
            self.acl.shared[self.entries] = self

    def release(self) -> None:
        """Count a session out."""
        self.users -= 1
        self._settle_room()
        shared = self.acl.shared
        if not self.users and shared.get(self.entries) is self:
            del shared[self.entries]

    def _settle_room(self) -> None:
        room = self.acl.room
        if self.personal:
            room = min(room, _OWN * max(self.users, 1))
        elif self.users < 2:
            room = min(room, _ALONE)
        self.room = room

    def rest(self, asked: bool) -> None:
        """A client has left: clear the caches if few sessions share them. `asked`: the authorizer's answers, too."""
        if self.users <= (_FEW if self.personal else 1):
            for table in self.fast + self.granted + (self._publish, self._receive):
                table.clear()
            if asked:
                self._asked.clear()

    def same(self, other: "Optional[Access]") -> bool:
        """True when another Access always gives the same verdicts."""
        return other is not None and self.authorizer is None and other.authorizer is None and self.entries == other.entries

    def publish(self, name: bytes, now: int) -> int:
        """The verdict on publishing to a topic name; `now`: ms. An authorizer's fresh answer counts once."""
        verdict = self._publish.get(name)
        if verdict is None:
            verdict = self._decide(MAY_PUBLISH, name)
            if verdict == UNDECIDED:
                verdict = self._answered(MAY_PUBLISH, name, now)
                self._fresh.clear()
            else:
                self._remember_name(self._publish, name, verdict)
        return verdict

    def judge(self, message: "Message", now: int) -> int:
        """The verdict on publishing this message, with its QoS and RETAIN; `now`: ms."""
        verdict = self.publish(message.name, now)
        if verdict >= 0 and (message.qos > verdict & 3 or message.retain and not verdict & MAY_RETAIN):
            return DENIED
        return verdict

    def lasting(self, name: bytes) -> int:
        """Highest QoS that rules allow for publishing to a topic name; -1 when an authorizer decides, whose answers expire."""
        verdict = self._publish.get(name, -1)
        return verdict & 3 if verdict >= 0 else -1

    def receive(self, name: bytes) -> int:
        """The verdict on receiving messages of a topic name."""
        verdict = self._receive.get(name)
        if verdict is None:
            verdict = self._decide(MAY_RECEIVE, name)
            if verdict == UNDECIDED:
                verdict = ALLOWED  # the authorizer has allowed the subscription
            self._remember_name(self._receive, name, verdict)
        return verdict

    def subscribe(self, topic_filter: bytes, now: int) -> int:
        """The verdict on subscribing to a filter, for `$share/NAME/filter` to the inner one; `now`: ms.

        An authorizer's fresh answers count until `subscribed` is called.
        """
        found = None
        spent = _LOOKED + (len(topic_filter) >> 9)
        for actions, allowed, verdict in self.entries:
            spent += _TRIED
            if (actions & MAY_SUBSCRIBE or actions & MAY_RECEIVE and verdict == DENIED) and covers(allowed, topic_filter):
                found = verdict
                break
        self.acl.turns.spent += spent
        if found is not None:
            return found
        return DENIED if self.authorizer is None else self._answered(MAY_SUBSCRIBE, topic_filter, now)

    def subscribed(self) -> None:
        """Forget fresh answers: the SUBSCRIBE is done."""
        self._fresh.clear()

    def purge(self, session: "Session", lost: "Sequence[bytes]" = ()) -> None:
        """Drop queued messages that a session may not receive any more; those of a shared subscription go to other members.

        Messages in flight stay, as they count for the receive maximum, and are not sent again, see Session.resume.
        `lost`: filters that the client has lost while it was away. Messages that came through these alone are dropped,
        in flight or queued.
        """
        came = _Came(session, lost) if lost else None
        refused: "list[Any]" = []
        queue: "Any" = session.queue or ()
        session.broker.turns.spent += _WAITING * len(queue)
        for entry in queue:
            name = entry[ENTRY_MESSAGE].name
            if self.receive(name) < 0 or came is not None and entry[ENTRY_GROUP] is None and came.through_lost(name):
                refused.append(entry)
        if refused:
            gone = 0
            for _ in range(len(queue)):
                entry = session.unqueue()
                if gone < len(refused) and entry is refused[gone]:
                    gone += 1
                    session.drop(entry)
                else:
                    session.requeue(entry)
        if came is not None:
            if session.replay is not None:
                session.replay.drop(came.lost)
            for packet_id in list(session.inflight):
                sent = session.sent(packet_id)
                message = sent[ENTRY_MESSAGE]
                if message is not None and sent[ENTRY_GROUP] is None and came.through_lost(message.name):
                    session.land(packet_id, sent)
        shared = [entry for entry in refused if entry[ENTRY_GROUP] is not None]
        if shared:
            shared[0][ENTRY_GROUP].hand_over(shared, session)

    def _decide(self, action: int, name: bytes) -> int:
        verdict = _first(self.acl.turns, self.entries, action, name)
        if verdict is None:
            return DENIED if self.authorizer is None else UNDECIDED
        return verdict

    def _remember_name(self, decisions: "dict[bytes, int]", name: bytes, verdict: int) -> None:
        if len(name) <= (_SHORT if self.personal else _LONGEST):
            _remember(decisions, name, verdict, self.room)

    def _answered(self, action: int, topic: bytes, now: int) -> int:
        verdict = self._fresh.get((action, topic))
        if verdict is not None:
            return verdict
        answer = self._asked.get((action, topic))
        return UNDECIDED if answer is None or answer[1] <= now else answer[0]

    def answer(self, action: int, topic: bytes, verdict: "Any", until: int) -> None:
        """Take the authorizer's answer: it counts for the waiting packet, and on the broker's clock until `until`, ms.

        Raises TypeError for True and False, which would mean QoS 1 and 0.
        """
        if isinstance(verdict, bool):
            raise TypeError("an authorizer answers ALLOWED or DENIED of port.core.acl.acl, not %r" % verdict)
        self._fresh[(action, topic)] = verdict
        if len(topic) <= _LONGEST:
            _remember(self._asked, (action, topic), (verdict, until), min(self.acl.room, _ANSWERS))


def _remember(decisions: "dict[Any, Any]", topic: "Any", verdict: "Any", room: int) -> None:
    if len(decisions) >= room:
        decisions.clear()
    decisions[topic] = verdict


class Acl:
    """An ordered list of rules, and the Access objects made of it.

    rules   None: clients may do everything unless they have rules of their own
    room    topic names that each Access caches
    turns   its `spent` counts the cost of looking through rules
    shared  the Access objects in use, by their entries
    """

    def __init__(self, room: int, turns: "Optional[Turns]" = None) -> None:
        self.rules: "Optional[list[Rule]]" = None
        self.room = room
        self.turns = turns or Turns(None, 0)
        self.shared: "dict[Any, Access]" = {}
        self._sources: "dict[Any, tuple[Entry, ...]]" = {}

    def find(
        self, user: "Optional[bytes]", client_id: bytes, address: str, own: "Any", authorizer: "Optional[Authorizer]"
    ) -> "Optional[Access]":
        """The Access of a client; None for all rights.

        own         the client's own rules, asked before the list's, or None
        authorizer  asked when no rule decides, or None
        """
        if self.rules is None and own is None and authorizer is None:
            return None
        key = _entries(own or (), user, client_id, address) + _entries(self.rules or (), user, client_id, address)
        if own is None and authorizer is None:
            access = self.shared.get(key)
            if access is not None:
                return access
        common = {rule.entry: True for rule in self.rules or () if not rule.personal}
        return Access(key, self, own, authorizer, own is not None or not all([entry in common for entry in key]))

    def replace(self, rules: "Optional[Sequence[Any]]") -> None:
        """Replace the rules, by others or by None, see `made`; sessions then need a new Access."""
        self.rules = None if rules is None else made(rules)
        self.shared = {}
        self._sources = {}

    def allows(self, source: "Source", name: bytes, qos: int) -> bool:
        """True when the present rules allow the source of a retained message to publish it."""
        if self.rules is None:
            return True
        entries = self._sources.get(source)
        if entries is None:
            if len(self._sources) >= _SOURCES:
                self._sources.clear()
            self.turns.spent += len(self.rules) >> 2
            entries = self._sources[source] = _entries(self.rules, source[0], source[1], source[2])
        verdict = _first(self.turns, entries, MAY_PUBLISH, name)
        return verdict is not None and verdict >= 0 and verdict & MAY_RETAIN != 0 and qos <= verdict & 3


def source_of(sender: "Session", message: "Message", old: "Optional[Record]") -> "Optional[Source]":
    """The source of a message that its sender retains; None when it is not kept, see Options.check_retain_source.

    It is not kept for clients with own rules or an authorizer, as these cannot be asked while the client is away.

    old  the topic's record so far; its source is used again when it is the same
    """
    access = sender.access
    # A hook may have moved it to another topic: then the program is the publisher.
    if access is None or access.rules is not None or access.authorizer is not None or access.judge(message, 0) < 0:
        return None
    source = (sender.user, sender.client_id, sender.address, sender.listener.id)
    return old[RECORD_SOURCE] if old is not None and old[RECORD_SOURCE] == source else source


def may_still(broker: "Broker", record: "Record", source: "Source") -> bool:
    """True when the publisher of a retained message would be let in now and might publish it."""
    listener = broker.default_listener
    for candidate in broker.listeners:
        if candidate.id == source[3]:
            listener = candidate
    broker.turns.spent += _JUDGED
    for authenticator in listener.authenticators:
        if authenticator.knows(source[0]):
            break
    else:
        if source[0] is not None or not may_be_anonymous(listener, source[2]):
            return False
    acl = rules_of(broker, listener)
    return acl is None or acl.allows(source, record[RECORD_NAME], record[RECORD_QOS] & 3)
