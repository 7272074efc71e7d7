"""Shared subscriptions (MQTT 5 clause 4.8.2): each message goes to one member of the group."""

from port.core import const
from port.core.subscriptions import limited

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.message import Message
    from port.core.session import Entry, Session

_QOS = const(3)
_RETAIN_AS_PUBLISHED = const(8)
_QOS_BITS = const(6)


class SharedGroup:
    """The sessions that share one `$share/NAME/filter`, served in turn.

    Members that are online and have room in their receive window come first, then others
    online; a member that is away only gets what nobody online can take, and only QoS 1 and 2.
    """

    subscriptions = None

    def __init__(self, topic_filter: bytes, founder: "Session", owner: "Any") -> None:
        """`owner`: the Session.owner_key of the founder, for whom the group counts until he leaves."""
        self.topic_filter = topic_filter
        self.founder = founder
        self.owner = owner
        self.members: "list[tuple[Session, int]]" = []  # those before `_next` have had their turn
        self._places: "dict[Session, int]" = {}  # of the members, in that list
        self._next = 0

    @property
    def group(self) -> "SharedGroup":
        """Itself: tells a group from the other kinds of subscriber."""
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

    def remove(self, session: "Session") -> None:
        """Take a member away, if it is one. Takes no memory."""
        at = self._places.get(session)
        if at is None:
            return
        members = self.members
        if at < self._next:  # one that had its turn comes to its place, and the last of all to that one's
            self._next -= 1
            self._put(at, members[self._next])
            at = self._next
        last = members.pop()
        if at < len(members):
            self._put(at, last)
        del self._places[session]

    def _put(self, at: int, member: "tuple[Session, int]") -> None:
        self.members[at] = member
        self._places[member[0]] = at

    def deliver(self, message: "Message", leaving: "Optional[Session]" = None) -> bool:
        """Hand the message to one member, `leaving` excepted; False when there is nobody to take it."""
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
        qos = min(message.qos, options & _QOS)
        retain = 1 if options & _RETAIN_AS_PUBLISHED and message.retain else 0
        identifiers = (options >> 8,) if options >> 8 else None
        session.deliver(message, qos << 1 | retain, identifiers, self)

    def turn(self, name: bytes, family: int) -> "Optional[Session]":
        """Whose turn it is to take a QoS 0 message, without RETAIN, as it came; None where it is nobody's, or in another form."""
        at = self._choose(name, 0, None)
        if at < 0:
            return None
        session, options = self.members[at]
        if session.family != family or options >> 8:
            return None
        self._next = at + 1
        return session

    def leave(self, session: "Session", sent: bool, groups: "Optional[dict[SharedGroup, bool]]" = None, stays: bool = False) -> None:
        """A member leaves: what it has through the group, or several of its groups, goes to others, unless it has expired.

        `sent`: QoS 1 that is in flight, too. `stays`: what nobody takes stays with it.
        """
        heirs: "dict[SharedGroup, _Heirs]" = {}
        for entry in _take(session, groups or {self: True}, sent):
            group = entry[3]
            if group not in heirs:
                heirs[group] = _Heirs(group, session)
            if not heirs[group].take(entry[0]) and stays:
                session.enqueue(session.own_entry(*entry[:4]))

    def has_others(self, session: "Session") -> bool:
        """True when some other member is connected."""
        for other, _ in self.members:
            if other is not session and other.conn is not None:
                return True
        return False

    def hand_back(self, entry: "Entry", leaving: "Session") -> bool:
        """Give what a leaving member had to another one; False when nobody takes it, though it has not expired."""
        message = entry[0]
        return message.expired(leaving.broker.clock()) or self.deliver(message, leaving)

    def _choose(self, name: bytes, qos: int, leaving: "Optional[Session]") -> int:
        """Which member is to take a message, -1 when there is none."""
        members = self.members
        count = len(members)
        best = -1
        best_rank = 0
        at = self._next
        for looked in range(count):
            if looked & 3 == 3:  # which a member that has room spares the others
                members[0][0].broker.spent += 1
            if at >= count:
                at = 0
            session, options = members[at]
            if session is leaving or session.access is not None and session.access.receive(name) < 0:
                pass
            elif session.out is not None:
                if len(session.inflight) < session.room or session.has_room():
                    return at
                if best_rank < 2:
                    best, best_rank = at, 2
            elif min(qos, options & _QOS) or session.keeps_qos0():  # else it would be dropped there
                rank = 2 if session.conn is not None else 1
                if best_rank < rank:
                    best, best_rank = at, rank
            at += 1
        return best


class _Heirs:
    """The members of a group that may take what one that leaves had, each looked at once, not once for each message.

    They are in three lists, of which the first that has somebody serves: those with room in their receive window,
    others that are online, and those that are away.
    """

    def __init__(self, group: SharedGroup, leaving: "Session") -> None:
        self._group = group
        self._leaving = leaving
        self._lists: "list[list[tuple[Session, int]]]" = [[], [], []]
        self._next = 0
        leaving.broker.spent += len(group.members) >> 2
        for member in group.members:
            session = member[0]
            if session is not leaving:
                self._lists[0 if session.out is not None else 1 if session.conn is not None else 2].append(member)

    def take(self, message: "Message") -> bool:
        """Hand the message to one of them, in turn; False when nobody takes it, though it has not expired."""
        if message.expired(self._leaving.broker.clock()):
            return True
        ready, there, _ = self._lists
        for members in self._lists:
            left = len(members)
            while left > 0:
                left -= 1
                if self._next >= len(members):
                    self._next = 0
                session, options = members[self._next]
                if members is ready and len(session.inflight) >= session.room and not session.has_room():
                    there.append(members.pop(self._next))
                    continue
                self._next += 1
                if session.access is not None and session.access.receive(message.name) < 0:
                    continue
                if session.out is None and not min(message.qos, options & _QOS) and not session.keeps_qos0():
                    continue  # it would be dropped there
                self._group.give(message, session, options)
                return True
        return False


def _take(session: "Session", groups: "dict[SharedGroup, bool]", sent: bool) -> "list[Any]":
    """Take from a member what came through the groups and may go to another one.

    That is what is still queued and, if `sent`, QoS 1 in flight without acknowledgement; QoS 2
    that was sent stays [MQTT-4.8.2-4] [MQTT-4.8.2-5].
    """
    taken: "list[Any]" = []
    for packet_id in session.inflight_ids() if sent else ():
        entry = session.inflight[packet_id]
        if type(entry) is not bytes and entry[3] in groups and entry[1] & _QOS_BITS == 2:
            taken.append(entry)
            session.land(packet_id, entry)
    queue = session.queue
    for _ in range(len(queue or ())):
        entry = session.unqueue()
        if entry[3] in groups:
            taken.append(entry)
            session.drop(entry)
        else:
            session.requeue(entry)
    return taken
