"""Shared subscriptions (MQTT 5 clause 4.8.2): each message goes to one member of the group."""

from port.core import const
from port.core.constants import ENTRY_FLAGS, ENTRY_GROUP, ENTRY_MESSAGE, QOS, RETAIN_AS_PUBLISHED
from port.core.routing.subscriptions import limited

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.messages.message import Message
    from port.core.sessions.session import Session

_QOS_BITS = const(6)


class SharedGroup:
    """The sessions that share one `$share/NAME/filter`, served in turn.

    Online members with room in their receive window come first, then other online members. An offline member
    gets only messages that no online member can take, and only QoS 1 and 2.

    online  members that are connected
    """

    subscriptions = None

    def __init__(self, topic_filter: bytes, founder: "Session", owner: "Any") -> None:
        """`owner`: the Session.owner_key of the founder; the group counts for it until the founder leaves."""
        self.topic_filter = topic_filter
        self.founder = founder
        self.owner = owner
        self.members: "list[tuple[Session, int]]" = []  # those before `_next` have had their turn
        self._places: "dict[Session, int]" = {}  # index of each member in `members`
        self._next = 0
        self.online = 0

    @property
    def group(self) -> "SharedGroup":
        """The group itself; distinguishes it from the other kinds of subscriber."""
        return self

    def add(self, session: "Session", options: int) -> None:
        """Add a member or change its options."""
        member = (session, options)
        at = self._places.get(session)
        if at is not None:
            self.members[at] = member
            return
        self.members.append(member)
        try:
            self._places[session] = len(self.members) - 1
        except MemoryError:
            self.members.pop()
            raise
        if session.conn is not None:
            self.online += 1

    def came(self, session: "Session", more: int) -> None:
        """A member has connected (1) or lost its connection (-1)."""
        if session in self._places:
            self.online += more

    def remove(self, session: "Session") -> None:
        """Remove a session, if it is a member. Takes no memory."""
        at = self._places.get(session)
        if at is None:
            return
        members = self.members
        if at < self._next:  # a member that had its turn moves to the gap, and the last of all to that member's place
            self._next -= 1
            self._put(at, members[self._next])
            at = self._next
        last = members.pop()
        if at < len(members):
            self._put(at, last)
        del self._places[session]
        if session.conn is not None:
            self.online -= 1

    def _put(self, at: int, member: "tuple[Session, int]") -> None:
        self.members[at] = member
        self._places[member[0]] = at

    def deliver(self, message: "Message", leaving: "Optional[Session]" = None) -> bool:
        """Hand the message to one member, `leaving` excepted; False when no member can take it."""
        at = self._choose(message.name, message.qos, leaving)
        if at < 0:
            return False
        self._next = at + 1
        self.give(message, *self.members[at])
        return True

    def give(self, message: "Message", session: "Session", options: int) -> None:
        """Hand the message to this member."""
        if session.access is not None:
            options = limited(options, session.access.receive(message.name))
        qos = min(message.qos, options & QOS)
        retain = 1 if options & RETAIN_AS_PUBLISHED and message.retain else 0
        identifiers = (options >> 8,) if options >> 8 else None
        session.deliver(message, qos << 1 | retain, identifiers, self)

    def turn(self, name: bytes, version: int) -> "Optional[Session]":
        """The member to take a QoS 0 message without RETAIN as it came; None when no member can, or it needs another form."""
        at = self._choose(name, 0, None)
        if at < 0:
            return None
        session, options = self.members[at]
        if session.fast_version != version or options >> 8:
            return None
        self._next = at + 1
        return session

    def leave(self, session: "Session", sent: bool, groups: "Optional[dict[SharedGroup, bool]]" = None, stays: bool = False) -> None:
        """A member leaves: its messages from the group, or from several groups, go to other members, unless they have expired.

        `sent`: QoS 1 in flight, too. `stays`: messages that no other member takes stay with it.
        """
        self.hand_over(_take(session, groups or {self: True}, sent), session, stays)

    def hand_over(self, entries: "list[Any]", leaving: "Session", stays: bool = False) -> None:
        """Give entries already taken from a member, of this group or others, to other members, see `leave`."""
        heirs: "dict[SharedGroup, _Heirs]" = {}
        for entry in entries:
            group = entry[ENTRY_GROUP]
            if group not in heirs:
                heirs[group] = _Heirs(group, leaving)
            if not heirs[group].take(entry[ENTRY_MESSAGE]) and stays:
                leaving.enqueue(leaving.own_entry(*entry[:4]))

    def has_others(self, session: "Session") -> bool:
        """True when another member is connected."""
        return self.online > (session.conn is not None)

    def _choose(self, name: bytes, qos: int, leaving: "Optional[Session]") -> int:
        """Index of the member to take a message, -1 for none."""
        members = self.members
        count = len(members)
        best = -1
        best_rank = 0
        at = self._next
        for looked in range(count):
            if looked & 3 == 3:  # a long search, which a member with room would end
                members[0][0].broker.turns.spent += 1
            if at >= count:
                at = 0
            session, options = members[at]
            if session is leaving or session.access is not None and session.access.receive(name) < 0:
                pass
            elif session.out is not None:
                if len(session.inflight) < session.send_window or session.has_room():
                    return at
                if best_rank < 2:
                    best, best_rank = at, 2
            elif min(qos, options & QOS) or session.keeps_qos0():  # else this member would drop it
                rank = 2 if session.conn is not None else 1
                if best_rank < rank:
                    best, best_rank = at, rank
            at += 1
        return best


class _Heirs:
    """The members of a group that may take the messages of a leaving one; each is examined once instead of once a message.

    They are in three lists, of which the first non-empty one serves: members with room in their receive window, other
    online members, offline members. An offline member that would drop all messages is in none.
    """

    def __init__(self, group: SharedGroup, leaving: "Session") -> None:
        self._group = group
        self._leaving = leaving
        self._lists: "list[list[tuple[Session, int]]]" = [[], [], []]
        self._next = 0
        self._refused: "dict[tuple[bytes, bool], bool]" = {}  # (topic name, whether QoS 0) of messages that no member took
        leaving.broker.turns.spent += len(group.members) >> 2
        for member in group.members:
            session, options = member
            if session is leaving:
                continue
            if session.out is not None:
                self._lists[0].append(member)
            elif options & QOS or session.keeps_qos0():
                self._lists[1 if session.conn is not None else 2].append(member)

    def take(self, message: "Message") -> bool:
        """Hand the message to one of them, in turn; False when none takes it, though it has not expired."""
        broker = self._leaving.broker
        if message.expired(broker.clock()):
            return True
        alike = message.name, not message.qos
        if alike in self._refused:
            return False
        ready, there, _ = self._lists
        for members in self._lists:
            left = len(members)
            while left > 0:
                left -= 1
                if self._next >= len(members):
                    self._next = 0
                session, options = members[self._next]
                if members is ready and len(session.inflight) >= session.send_window and not session.has_room():
                    there.append(members.pop(self._next))
                    continue
                self._next += 1
                if session.access is not None and session.access.receive(message.name) < 0:
                    broker.turns.spent += 1
                    continue
                if session.out is None and not message.qos and not session.keeps_qos0():
                    broker.turns.spent += 1
                    continue  # this member would drop it
                self._group.give(message, session, options)
                return True
        self._refused[alike] = True
        return False


def _take(session: "Session", groups: "dict[SharedGroup, bool]", sent: bool) -> "list[Any]":
    """Take from a member the messages of the groups that may go to another member.

    They are the queued ones and, if `sent`, unacknowledged QoS 1 in flight; QoS 2
    that was sent stays [MQTT-4.8.2-4] [MQTT-4.8.2-5].
    """
    taken: "list[Any]" = []
    broker = session.broker
    inflight = session.inflight
    if sent:
        broker.turns.spent += len(inflight) >> 2
        for packet_id in inflight:
            if _is_through(inflight[packet_id], groups):
                break
        else:
            sent = False
    for packet_id in session.inflight_ids() if sent else ():
        entry = inflight[packet_id]
        if _is_through(entry, groups) and entry[ENTRY_FLAGS] & _QOS_BITS == 2:
            taken.append(entry)
            session.land(packet_id, entry)
    queue: "Any" = session.queue or ()
    broker.turns.spent += len(queue) >> 2
    for entry in queue:
        if entry[ENTRY_GROUP] in groups:
            break
    else:
        return taken
    broker.turns.spent += len(queue) >> 1
    for _ in range(len(queue)):
        entry = queue[0]
        if entry[ENTRY_GROUP] in groups:
            taken.append(entry)
            session.drop(session.unqueue())
        else:  # to the end, so that the others keep their order
            queue.append(queue.popleft())
    return taken


def _is_through(entry: "Any", groups: "dict[SharedGroup, bool]") -> bool:
    """Whether an entry in flight came through one of the groups."""
    return type(entry) is not bytes and entry[ENTRY_GROUP] in groups
