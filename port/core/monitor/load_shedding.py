"""What gives way when memory for clients runs out.

Who keeps most of it, an address or a user by port.core.limits.places, gives way first if that is more than his share (Options.
owner_share): his queues, the largest first and those of clients that are away before others, then sessions of his, of clients
that are away, and at last clients. Where nobody is above his share the largest queues go, whose ever they are.
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
SLICE = const(2000)  # units of work in one go: messages that are dropped, sessions and messages in flight that are looked at
_ENTRY = const(96)  # bytes of memory that a queued message takes besides its own
_LOOKS = const(8000)  # units that it may take to find out at once who has to give way
_GONE_SESSION = const(50)  # what it costs to end a session, in the same units
_GONE_QUEUE = const(8)  # and to drop a queue, besides its messages


def drop_queues(broker: "Broker", most: "Optional[int]") -> int:
    """Drop queues at once, see above, until no more than `most` bytes are kept (None: one queue), or that is a slice of work.

    Returns how many messages that were; 0 where it is not queues that must give way, or it takes too long to find out.
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
    """See drop_queues; everybody is weighed once. `left`: of the slice."""
    weights: "dict[Any, int]" = {}
    queues: "dict[Any, list[Session]]" = {}  # of each owner, the first to go last
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
    """What is higher goes first."""
    return session.conn is None, _queue_size(session)


def _find_line(queues: "dict[Any, list[Session]]", key: "Any") -> "list[Session]":
    """The queues of an owner, or (None) those among which is the one that goes first of all."""
    line: "list[Session]" = queues.get(key, [])
    for owner in queues if key is None else ():
        other = queues[owner]
        if other and (not line or _rank(other[-1]) > _rank(line[-1])):
            line = other
    return line


def _largest(broker: "Broker") -> "Optional[Session]":
    """Whose queue goes first of all, or None. Takes no memory: there may be none left."""
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
    """A job in slices in which everything gives way that does, until there is `enough`."""

    def __init__(self, broker: "Broker", enough: "Callable[[], bool]") -> None:
        self._broker = broker
        self._enough = enough
        self._left = 0  # of the slice
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
                return  # he has nothing more that could give way
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
        """Drop queues of this owner, or all, those first that are more than half as large as the largest."""
        for away in (True, False):
            least = 0  # while the largest is looked for
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
                return  # it is over soon, or ended with its connection
        text = "%s: memory is short, and so much is kept for nobody else: its session ends"
        broker.client_log.line(2, session.address, text, shown(session.client_id))
        broker.session_registry.end(session)


def _above(broker: "Broker", weights: "dict[Any, int]") -> "Any":
    """The owner who keeps most, if that is more than his share, or None."""
    most = part(broker.memory.limit(), broker.options.owner_share)
    found = None
    for key in weights:
        if weights[key] > most:
            most = weights[key]
            found = key
    return found


def _is_of(session: "Session", key: "Any", away: bool) -> bool:
    """Whether a session has a queue, belongs to an owner (None: whoever), and its client is away or not."""
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
