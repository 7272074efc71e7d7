"""Load shedding: frees memory of clients when it runs out.

The owner (an address or a user, see port.core.limits.places) that keeps most gives way first, if that is more than its share
(Options.owner_share): first its queues, those of clients that are away before others and larger ones before smaller ones, then
its sessions whose clients are away, at last its clients. While no owner is above its share, the largest queues of all owners go.
"""

from port.core import const
from port.core.wire.reason_codes import DROP_MEMORY, QUOTA_EXCEEDED, MQTTError
from port.core.limits.client_log import shown
from port.core.limits.places import part

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, Optional

    from port.core.sessions.session import Session
    from port.core.broker import Broker

MANY = const(200)  # sessions
SLICE = const(2000)  # units of work in one go: messages dropped, sessions and messages in flight looked at
_ENTRY = const(96)  # bytes of a queued message besides the message itself
_LOOKS = const(8000)  # most units for finding at once the owner that gives way
_GONE_SESSION = const(50)  # units for ending a session
_GONE_QUEUE = const(8)  # units for dropping a queue, besides its messages


def drop_queues(broker: "Broker", most: "Optional[int]") -> int:
    """Drop queues at once, in the order above, until `most` bytes are kept (None: one queue) or a slice of work is done.

    Returns the number of messages dropped; 0 when something else must give way, or finding the queues takes too long.
    """
    left = SLICE
    for client_id in broker.sessions:
        left -= 1 + len(broker.sessions[client_id].inflight)
    if most is not None and left < SLICE - _LOOKS:
        return 0
    broker.turns.spent += SLICE - left
    try:
        return _drop_by_owner(broker, most, left)
    except MemoryError:
        largest = _largest(broker)
    return 0 if largest is None else _drop_queue(broker, largest)


def _drop_by_owner(broker: "Broker", most: "Optional[int]", left: int) -> int:
    """See drop_queues; each owner is weighed once. `left`: units left of the slice."""
    weights: "dict[Any, int]" = {}
    queues: "dict[Any, list[Session]]" = {}  # owner -> its queues; the last one goes first
    for client_id in broker.sessions:
        session = broker.sessions[client_id]
        owner = session.owner_key()
        weights[owner] = weights.get(owner, 0) + session.weight()
        if session.queue:
            queues.setdefault(owner, []).append(session)
    for owner in queues:
        queues[owner].sort(key=_rank)
    count = 0
    while not count if most is None else broker.memory.kept() > most:
        line = _find_line(queues, _above(broker, weights))
        if not line or count and left < 0:
            break
        session = line.pop()
        weights[session.owner_key()] -= session.queued_bytes
        dropped = _drop_queue(broker, session)
        left -= dropped + _GONE_QUEUE + len(weights)
        count += dropped
    return count


def _rank(session: "Session") -> "tuple[bool, int]":
    """Sort key of sessions: a higher one goes first."""
    return session.conn is None, _queue_size(session)


def _find_line(queues: "dict[Any, list[Session]]", key: "Any") -> "list[Session]":
    """The queues of an owner; without a key those of the owner whose queue goes first."""
    line: "list[Session]" = queues.get(key, [])
    for owner in queues if key is None else ():
        other = queues[owner]
        if other and (not line or _rank(other[-1]) > _rank(line[-1])):
            line = other
    return line


def _largest(broker: "Broker") -> "Optional[Session]":
    """The session whose queue goes first, or None. Allocates nothing, as memory may have run out."""
    found = None
    for away in (True, False):
        most = 0
        for client_id in broker.sessions:
            session = broker.sessions[client_id]
            if _is_of(session, None, away) and _queue_size(session) > most:
                most = _queue_size(session)
                found = session
        if found is not None:
            break
    return found


class Shedding:
    """A job in slices that frees memory in the order above until there is `enough`."""

    def __init__(self, broker: "Broker", enough: "Callable[[], bool]") -> None:
        self._broker = broker
        self._enough = enough
        self._left = 0  # units of the slice
        self._steps = self._work()

    def go_on(self) -> bool:
        """Do a slice; False when it is done. See Turns.background."""
        self._left = SLICE
        for _ in self._steps:
            return True
        return False

    def _work(self) -> "Iterator[None]":
        broker = self._broker
        before: "tuple[Any, int]" = (None, 0)
        while not self._enough():
            weights: "dict[Any, int]" = {}
            for session in list(broker.sessions.values()):
                owner = session.owner_key()
                weights[owner] = weights.get(owner, 0) + session.weight()
                self._left -= 1 + len(session.inflight)
                if self._left < 0:
                    yield
            key = _above(broker, weights)
            if key is None:
                yield from self._drop_queues(None)
                return
            if before == (key, weights[key]):
                return  # the owner has nothing left to give up
            before = key, weights[key]
            yield from self._drop_queues(key)
            for away in (True, False):
                for session in list(broker.sessions.values()):
                    if self._enough():
                        return
                    if (session.conn is None) is away and session.expiry >= 0 and session.owner_key() == key:
                        self._left -= _GONE_SESSION
                        self._end(session)
                    self._left -= 1
                    if self._left < 0:
                        yield

    def _drop_queues(self, key: "Any") -> "Iterator[None]":
        """Drop queues of this owner (None: of all), first those larger than half of the largest."""
        for away in (True, False):
            least = 0  # 0 while the largest is being found
            while True:
                most = 0
                for session in list(self._broker.sessions.values()):
                    self._left -= 1
                    if self._left < 0:
                        yield
                    if not _is_of(session, key, away):
                        continue
                    if not least:
                        most = max(most, _queue_size(session))
                    elif _queue_size(session) >= least:
                        if self._enough():
                            return
                        self._left -= _drop_queue(self._broker, session) + _GONE_QUEUE
                if not least and not most:
                    break
                least = 0 if least else most // 2 + 1

    def _end(self, session: "Session") -> None:
        broker = self._broker
        conn = session.conn
        if conn is not None:
            conn.fail(MQTTError(QUOTA_EXCEEDED, "memory is short, and so much is kept for nobody else"))
            if session.conn is not None or broker.session_registry.find(session.client_id) is not session:
                return  # it ends soon, or with its connection
        text = "%s: memory is short, and so much is kept for nobody else: its session ends"
        broker.client_log.line(2, session.address, text, shown(session.client_id))
        broker.session_registry.end(session)


def _above(broker: "Broker", weights: "dict[Any, int]") -> "Any":
    """The owner that keeps most, if that is more than its share, or None."""
    most = part(broker.memory.limit(), broker.options.owner_share)
    found = None
    for key in weights:
        if weights[key] > most:
            most = weights[key]
            found = key
    return found


def _is_of(session: "Session", key: "Any", away: bool) -> bool:
    """True when a session has a queue, belongs to an owner (None: any), and its client is away or not."""
    return bool(session.queue) and (session.conn is None) is away and (key is None or session.owner_key() == key)


def _queue_size(session: "Session") -> int:
    return session.queued_bytes + _ENTRY * len(session.queue or ())


def _drop_queue(broker: "Broker", session: "Session") -> int:
    count = len(session.queue or ())
    broker.counters.drop(DROP_MEMORY, count)
    while session.queue:
        session.drop(session.unqueue())
    session.queue = None
    text = "%s: memory is short, its queue of %d messages is dropped"
    broker.client_log.line(2, session.address, text, shown(session.client_id), count)
    return count
