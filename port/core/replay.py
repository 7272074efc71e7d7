"""Retained messages on their way to the new subscriptions of one session (clause 3.3.1.3).

They are looked up while they are sent, some at a time, as fast as the client takes them and others have been served.
"""

from port.core import const
from port.core.retained import expired, retained_message
from port.core.subscriptions import limited

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Iterator, Optional, Sequence

    from port.core.message import Message
    from port.core.session import Session

_QOS_BITS = const(6)

# In the units of Broker.turn: what a message costs to find and send, $SYS. A step of the search costs one.
_SENT = const(32)
_FIGURES = const(400)

_HEARD = const(256)  # topic names that are remembered; what is published to others meanwhile may come twice


class Replay:
    """What is left to send; the session has it as `replay` until all is sent.

    filters  (topic filter, options) of the subscriptions that are still to come, the current one first
    """

    __slots__ = ("_session", "_filters", "_found", "_record", "_asleep", "_sending", "_heard")

    def __init__(self, session: "Session") -> None:
        self._session = session
        self._filters: "list[tuple[bytes, int]]" = []
        self._found: "Optional[Iterator[Any]]" = None  # what the current subscription matches
        self._record: "Any" = None  # found, and waits for room in the window
        self._asleep = True  # no turn is coming
        self._sending = False
        self._heard: "dict[bytes, bool]" = {}  # topic names of which the client has got what was published meanwhile

    def add(self, topic_filter: bytes, options: int) -> None:
        """Send what this subscription matches, too, after the others; one that repeats is sent once more at most."""
        filters = self._filters
        for i in range(len(filters) - 1, 0, -1):
            if filters[i][0] == topic_filter:
                filters[i] = (topic_filter, options)
                break
        else:
            filters.append((topic_filter, options))
        self._heard.clear()  # what came before this subscription does not stand for what it brings [MQTT-3.8.4-3]
        self._session.broker.spent += len(filters) >> 2

    def drop(self, lost: "Sequence[bytes]") -> None:
        """The session has lost these subscriptions."""
        if lost and self._filters:
            current = self._filters[0][0]
            self._filters = [one for one in self._filters if one[0] not in lost]
            if current in lost:
                self._found = self._record = None

    def heard(self, message: "Message", taken: bool) -> None:
        """A message was published; `taken`: it goes to the client, which need not get it a second time as retained."""
        if message.retain and not self._sending:
            if taken and len(self._heard) < _HEARD:
                self._heard[message.name] = True
            else:
                self._heard.pop(message.name, None)

    def wake(self) -> None:
        """There may be room: go on, at once with what is left of this turn."""
        if self._asleep:
            self._asleep = False
            if self.turn():
                self._session.broker.give_turn(self.turn)

    def turn(self) -> bool:
        """Send as much as there is room and time for; False when there is no more of either. A job, see Broker.give_turn."""
        try:
            return self._go_on()
        except Exception as e:
            self._sending = False
            self._asleep = True
            if self._session.conn is not None:
                self._session.conn.fault(e)
            return False

    def _go_on(self) -> bool:
        session = self._session
        broker = session.broker
        room = session.options.outbox_bytes
        now = broker.clock()
        while session.replay is self and session.out is not None:
            if room <= 0 or broker.spent > broker.turn:
                return True
            if not self._filters:
                session.replay = None
                break
            topic_filter, options = self._filters[0]
            if self._record is None:
                self._find(topic_filter)
            record = self._record
            if record is None:
                continue
            flags = self._flags(record, options)
            if flags & _QOS_BITS and (session.queue or not session.has_room()):
                break  # `pump` wakes it
            self._record = None
            if flags and not expired(record, now) and record[0] not in self._heard:
                room -= self._deliver(record, flags, options)
        self._asleep = True
        return False

    def _deliver(self, record: "Any", flags: int, options: int) -> int:
        """Send a message; about how many bytes that takes."""
        message = retained_message(record)
        self._session.broker.spent += _SENT
        self._sending = True
        self._session.deliver(message, flags, (options >> 8,) if options >> 8 else None)
        self._sending = False
        return message.size() + 16

    def _find(self, topic_filter: bytes) -> None:
        """Look for the next message, a little at a time; behind the last one the next subscription is the current one."""
        broker = self._session.broker
        if self._found is None:
            self._found = self._search(topic_filter)
        try:
            self._record = next(self._found)
        except StopIteration:
            self._found = None
            self._filters.pop(0)
            return
        if self._record is None:
            broker.spent += broker.retained.walked

    def _search(self, topic_filter: bytes) -> "Iterator[Any]":
        """What a filter matches, and None from time to time."""
        broker = self._session.broker
        for record in broker.retained.walk(topic_filter):
            yield record
        if topic_filter.startswith(b"$"):
            broker.spent += _FIGURES
            for record in broker.sys.matching(topic_filter):
                yield record

    def _flags(self, record: "Any", options: int) -> int:
        """The flags of the PUBLISH for a message, 0 when the session may not have it."""
        if not self._session.broker.may_replay(record):
            return 0
        access = self._session.access
        if access is not None:
            verdict: int = access.receive(record[0])
            if verdict < 0:
                return 0
            options = limited(options, verdict)
        qos: int = record[2] & 3
        return min(qos, options & 3) << 1 | 1
