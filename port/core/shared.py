"""Shared subscriptions (MQTT 5 clause 4.8.2): each message goes to one member of the group."""

from port.core import const
from port.core.subscriptions import limited

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

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

    def __init__(self, topic_filter: bytes) -> None:
        self.topic_filter = topic_filter
        self.members: "list[tuple[Session, int]]" = []
        self._next = 0

    @property
    def group(self) -> "SharedGroup":
        """Itself: tells a group from the other kinds of subscriber."""
        return self

    def add(self, session: "Session", options: int) -> None:
        """Add a member or change its options."""
        for i in range(len(self.members)):
            if self.members[i][0] is session:
                self.members[i] = (session, options)
                return
        self.members.append((session, options))

    def remove(self, session: "Session") -> None:
        """Take a member away."""
        for i in range(len(self.members)):
            if self.members[i][0] is session:
                del self.members[i]
                if self._next > i:
                    self._next -= 1
                return

    def deliver(self, message: "Message", leaving: "Optional[Session]" = None) -> bool:
        """Hand the message to one member, `leaving` excepted; False when there is nobody to take it."""
        at = self._choose(message.name, message.qos, leaving)
        if at < 0:
            return False
        self._next = at + 1
        session, options = self.members[at]
        if session.access is not None:
            options = limited(options, session.access.receive(message.name))
        qos = min(message.qos, options & _QOS)
        retain = 1 if options & _RETAIN_AS_PUBLISHED and message.retain else 0
        identifiers = (options >> 8,) if options >> 8 else None
        session.deliver(message, qos << 1 | retain, identifiers, self)
        return True

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

    def leave(self, session: "Session", sent: bool) -> "list[Entry]":
        """A member leaves: what it has through the group goes to others, unless it has expired; returns what nobody took.

        `sent`: QoS 1 that is in flight, too.
        """
        return self.hand_back(self._take(session, sent), session)

    def away(self, session: "Session") -> None:
        """A member's connection is over: the same, and what nobody takes stays with it."""
        for other, _ in self.members:
            if other is not session and other.conn is not None:
                for message, flags, identifiers, group, _ in self.leave(session, True):
                    key = session.broker.journal.new_key() if session.number else 0
                    session.enqueue((message, flags, identifiers, group, key))
                break

    def hand_back(self, entries: "list[Entry]", leaving: "Session") -> "list[Entry]":
        """Give what a leaving member had to others, unless it has expired; returns what nobody could take."""
        now = leaving.broker.clock()
        return [e for e in entries if not e[0].expired(now) and not self.deliver(e[0], leaving)]

    def _take(self, session: "Session", sent: bool) -> "list[Entry]":
        """Take from a member what came through the group and may go to another one.

        That is what is still queued and, if `sent`, QoS 1 in flight without acknowledgement; QoS 2
        that was sent stays [MQTT-4.8.2-4] [MQTT-4.8.2-5].
        """
        taken: "list[Entry]" = []
        for packet_id in session.inflight_ids() if sent else ():
            entry = session.inflight[packet_id]
            if type(entry) is not bytes and entry[3] is self and entry[1] & _QOS_BITS == 2:
                taken.append(entry)
                del session.inflight[packet_id]
                session.drop(entry)
        queue = session.queue
        if queue:
            for _ in range(len(queue)):
                entry = session.unqueue()
                if entry[3] is self:
                    taken.append(entry)
                    session.drop(entry)
                else:
                    queue.append(entry)
                    session.queued_bytes += entry[0].size()
        return taken

    def _choose(self, name: bytes, qos: int, leaving: "Optional[Session]") -> int:
        """Which member is to take a message, -1 when there is none."""
        members = self.members
        count = len(members)
        best = -1
        best_rank = 0
        at = self._next
        for _ in range(count):
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
            elif min(qos, options & _QOS):  # else it would be dropped there
                rank = 2 if session.conn is not None else 1
                if best_rank < rank:
                    best, best_rank = at, rank
            at += 1
        return best
