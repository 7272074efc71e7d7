"""Back-pressure: a publisher that sends a burst waits for receivers that read, so that their queues do not overflow.

One read may bring more QoS 1 and 2 messages than a receiver's window and queue take, before the receiver had a chance to
acknowledge any of them. When such a burst has filled half of a queue, its publisher waits until a quarter is left.
Meanwhile a little more of its data is read for acknowledgements, as other publishers may wait for it as a receiver.
Publishers go on one after the other, as far as the receiver's queue allows. While half of the memory for all clients is in use,
a publisher of several messages waits for a receiver before any of them is handled.

A receiver can hold publishers only while it makes progress. A wait is checked `_IDLE` times in `receiver_patience`; when the
broker needs longer than that interval to serve all clients, the check follows that round, as the delay is not the receiver's
fault. A receiver that has taken nothing at so many checks in a row, or less than half of `max_inflight` at `_SLOW` of them, is
late, and no publisher waits for it until its queue is empty. Slow checks count for a minute: `_SLOW` for a receiver,
`_OWNER_SLOW` for all receivers of an address or user. However fast these are, publishers of other owners wait for them no longer
than `_WAITED` of a minute; after that none waits for them before the minute is over. Publishers of one address or user take
turns with those of others. A publisher that sends one message at a time, a few a second, never waits.
"""

from port.core import const
from port.core.constants import CROWDED

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.sessions.session import Session
    from port.core.protocol.connection import Connection
    from port.core.broker import Broker

_BURST = const(32)  # PUBLISH packets that a publisher may send in a second, one at a time, and never wait
_SECOND = const(1000)  # ms
_MINUTE = const(60000)  # ms
_IDLE = const(15)  # checks
_SLOW = const(50)
_OWNER_SLOW = const(100)
_WAITED = const(15000)  # ms
_NOT_SLOW = (0, 0, 0)


def is_crowded(session: "Session", part: int) -> bool:
    """True when 1 / `part` of a session's queue is in use, or any of it and half of the memory for all clients."""
    options = session.options
    queue = session.queue
    if not queue:
        return False
    if len(queue) * part >= options.max_queued_messages or session.queued_bytes * part >= options.max_queued_bytes:
        return True
    return session.broker.memory.is_half_full()


def _owner(conn: "Connection") -> "Any":
    """The address or user of a connected client, see port.core.limits.places."""
    owner = conn.owner
    return owner and owner.key  # None when memory did not suffice for it


class _Wait:
    """Publishers that wait for one receiver.

    since  ms on the broker's clock up to which their waiting has been noted
    at     ms of the next check
    idle   checks since the receiver has taken anything
    slow   checks so far at which it had taken too little
    sent   its last packet identifier at the last check; identifiers count up
    lines  [address or user, connections ...] of the publishers: the first of a line goes on, then the first of the next line
    eased  the receiver has taken enough: they go on
    """

    __slots__ = ("pressure", "session", "since", "at", "idle", "slow", "sent", "lines", "eased")

    def __init__(self, pressure: "Backpressure", session: "Session") -> None:
        self.pressure = pressure
        self.session = session
        self.lines: "list[list[Any]]" = []
        self.slow = 0
        self.begin()

    def begin(self) -> None:
        """Begin a wait."""
        self.eased = False
        self.idle = 0
        self._wait_on()

    def ease(self) -> None:
        """The receiver has taken enough."""
        self.eased = True
        self.pressure.note(self, False)

    def interval(self) -> int:
        """ms between two checks."""
        return max(1, self.session.options.receiver_patience // _IDLE)

    def _wait_on(self) -> None:
        broker = self.pressure.broker
        ms = self.interval()
        self.since = broker.clock()
        self.at = self.since + ms
        self.sent = self.session.packet_id
        broker.wake(ms)

    def add(self, conn: "Connection") -> None:
        """Add a publisher."""
        key = _owner(conn)
        for line in self.lines:
            if line[0] == key:
                line.append(conn)
                return
        self.lines.append([key, conn])

    def leave(self, conn: "Connection") -> None:
        """Remove a publisher that has gone."""
        for line in self.lines:
            if conn in line:
                line.remove(conn)
                if len(line) == 1:
                    self.lines.remove(line)
                return

    def look(self) -> bool:
        """Check the receiver; True when publishers should wait on."""
        session = self.session
        taken = session.packet_id - self.sent & 65535
        self.idle = 0 if taken else self.idle + 1
        slow = 2 * taken < session.options.max_inflight
        self.slow += slow
        self.pressure.note(self, slow)
        self._wait_on()
        return self.idle < _IDLE and self.slow < _SLOW and self.pressure.is_patient(session)

    def next(self) -> bool:
        """Let one publisher go on. A job, see Turns.give."""
        lines = self.lines
        if lines:
            line = lines.pop(0)
            conn = line.pop(1)
            if len(line) > 1:
                lines.append(line)
            conn.relieved()
        if not lines:
            self.pressure.over(self)
        elif self.pressure.waits_for(self.session):
            self.begin()
        else:
            return True
        return False


class Backpressure:
    """The waits of publishers for receivers.

    crowded  the receiver whose queue the present turn has filled most, to a half or more, or None
    """

    def __init__(self, broker: "Broker") -> None:
        self.broker = broker
        self.crowded: "Optional[Session]" = None
        self._waiting: "dict[Session, _Wait]" = {}
        self._sent: "dict[Any, int]" = {}  # PUBLISH packets of a session to crowded receivers since `_since` (ms)
        self._since = 0
        self._late: "dict[Session, bool]" = {}
        # [slow checks, ms waited, time of the last note] since `_minute`, of a session or of an owner, for which simultaneous
        # ones count once
        self._noted: "dict[Any, list[int]]" = {}
        self._minute = 0  # ms

    def queued(self, session: "Session") -> None:
        """A message was queued for a connected client: end the publisher's turn if its queue is too full."""
        if self.waits_for(session):
            # Of several receivers the one that needs longest: the others empty their queues meanwhile.
            if self.crowded is None or len(session.queue or ()) >= len(self.crowded.queue or ()):
                self.crowded = session
            self.broker.turns.spent += self.broker.turns.limit

    def waits_for(self, session: "Session") -> bool:
        """True when a receiver's queue is too full and the receiver is worth waiting for."""
        if session.conn is None or not is_crowded(session, 2) or session in self._late or not session.options.receiver_patience:
            return False
        return self.is_patient(session)

    def is_patient(self, session: "Session") -> bool:
        """True while publishers may wait in this minute for a client, and for others of its address or user."""
        noted = self._noted
        if not noted:
            return True
        if self.broker.clock() - self._minute >= _MINUTE:
            noted.clear()
        owner = noted.get(_owner(session.conn), _NOT_SLOW)  # type: ignore[arg-type]
        return noted.get(session, _NOT_SLOW)[0] < _SLOW and owner[0] < _OWNER_SLOW and owner[1] < _WAITED

    def hold(self, conn: "Connection", messages: int, more: bool) -> bool:
        """A turn with so many PUBLISH packets is over: let the publisher wait if need be; False when it need not.

        `more`: it has sent more packets.
        """
        session = self.crowded
        self.crowded = None
        # A receiver crowded by other work has not ended this turn.
        if session is None or self.broker.turns.spent < self.broker.turns.limit or not self.waits_for(session):
            return False
        now = self.broker.clock()
        if now - self._since >= _SECOND:
            self._since = now
            self._sent.clear()
        messages += self._sent.get(conn.session, 0)
        self._sent[conn.session] = messages
        if messages < _BURST and not more:
            return False
        conn.hold(CROWDED)
        wait = self._waiting.get(session)
        if wait is None:
            wait = self._waiting[session] = _Wait(self, session)
        wait.add(conn)
        if self.broker.memory.is_half_full():
            self.broker.scarce = session
        return True

    def keep_back(self, conn: "Connection") -> bool:
        """Memory was scarce, and a read brings several messages: let the publisher wait for the receiver that others wait for."""
        session: "Session" = self.broker.scarce  # type: ignore[assignment]
        wait = self._waiting.get(session)
        if wait is None or not self.broker.memory.is_half_full() or not self.waits_for(session):
            self.broker.scarce = None
            return False
        conn.hold(CROWDED)
        wait.add(conn)
        return True

    def relieve(self, session: "Session") -> None:
        """A client has been sent queued messages: let publishers that wait for it go on."""
        if not session.queue:
            self._late.pop(session, None)
        wait = self._waiting.get(session)
        if wait is not None and not wait.eased and not is_crowded(session, 4):
            self.broker.turns.give(wait.next)
            wait.ease()

    def over(self, wait: _Wait) -> None:
        """No publisher waits there any more."""
        if self._waiting.get(wait.session) is wait:
            del self._waiting[wait.session]

    def look(self) -> None:
        """Time has passed: end the waits for receivers that make no progress."""
        if not self._waiting:
            return
        now = self.broker.clock()
        for session in list(self._waiting):
            wait = self._waiting[session]
            if not wait.eased and now >= wait.at and not wait.look():
                self._late[session] = True
                self._give_up(wait)

    def note(self, wait: _Wait, slow: bool) -> None:
        """Note a wait since the last note, of one interval at most; `slow`: the receiver had taken too little."""
        noted = self._noted
        now = self.broker.clock()
        if not noted:
            self._minute = now
        session = wait.session
        owner = _owner(session.conn)  # type: ignore[arg-type]
        waited = 0
        for line in wait.lines:
            if line[0] != owner:
                waited = wait.interval()  # at most; waits of an owner's own publishers are unlimited
                break
        for key in (session, owner):
            found = noted.get(key)
            if found is None:
                found = noted[key] = [0, 0, 0]
            if slow and wait.at <= found[2]:
                continue  # another receiver of the owner has counted for this time
            found[0] += slow
            found[1] += max(0, min(now - max(wait.since, found[2]), waited))
            found[2] = now

    def _give_up(self, wait: _Wait) -> None:
        del self._waiting[wait.session]
        for line in wait.lines:
            for conn in line[1:]:
                self.broker.turns.give(conn.relieved)
        wait.lines = []

    def forget(self, session: "Session", conn: "Connection") -> None:
        """A session's connection is over."""
        self._late.pop(session, None)
        self._sent.pop(session, None)
        self._noted.pop(session, None)
        wait = self._waiting.get(session)
        if wait is not None:
            self._give_up(wait)
        if conn.held & CROWDED:
            for wait in self._waiting.values():
                wait.leave(conn)
