"""Retained messages on their way to the new subscriptions of one session (clause 3.3.1.3).

The search goes on while messages are sent: in slices, at the client's pace, between the turns of other clients.
"""

from port.core import const
from port.core.constants import RECORD_NAME, RECORD_QOS
from port.core.messages.retained import expired, retained_message
from port.core.routing.subscriptions import limited

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Iterator, Optional, Sequence

    from port.core.messages.message import Message
    from port.core.sessions.session import Session

_QOS_BITS = const(6)

# Costs, in deliveries (Turns.spent): finding and sending a message, searching $SYS. A step of the search costs one.
_SENT = const(32)
_FIGURES = const(400)
_ADDED = const(6)  # noting a subscription
_SEARCHED = const(16)  # beginning and ending a search, even an empty one

# Most topic names cached, and most bytes of them; a message published to a further name meanwhile may come twice.
_HEARD = const(256)
_HEARD_BYTES = const(8192)
_SLACK = const(32)  # stale entries of the line above which they may be removed


class Replay:
    """The retained messages left to send; the session's `replay` until all are sent."""

    __slots__ = (
        "_session", "_line", "_due", "_current", "_found", "_record", "_asleep", "_sending", "_heard", "_heard_bytes",
    )  # fmt: skip

    def __init__(self, session: "Session") -> None:
        self._session = session
        # Subscriptions as lists [topic filter, options]: the current one, and those to come, in a list for their order, which
        # dicts do not keep on MicroPython. An entry of the line that `_due` lacks is stale.
        self._current: "Any" = None
        self._line: "list[list[Any]]" = []
        self._due: "dict[bytes, list[Any]]" = {}
        self._found: "Optional[Iterator[Any]]" = None  # matches of the current subscription
        self._record: "Any" = None  # the match that waits for room in the window
        self._asleep = True  # no turn is scheduled
        self._sending = False
        self._heard: "dict[bytes, bool]" = {}  # topic names whose messages, published meanwhile, the client has received
        self._heard_bytes = 0

    def add(self, topic_filter: bytes, options: int) -> None:
        """Send the matches of this subscription after those of the others; a repeated subscription is sent once more at most."""
        one = self._due.get(topic_filter)
        if one is None:
            one = [topic_filter, options]
            self._line.append(one)
            self._due[topic_filter] = one
        else:
            one[1] = options
        self._heard.clear()  # messages from before this subscription do not stand in for its own [MQTT-3.8.4-3]
        self._heard_bytes = 0
        self._session.broker.turns.spent += _ADDED

    def drop(self, lost: "Sequence[bytes]") -> None:
        """The session has lost these subscriptions."""
        for topic_filter in lost:
            self._due.pop(topic_filter, None)
            if self._current is not None and self._current[0] == topic_filter:
                self._stop()
        line = self._line
        if len(line) > 2 * len(self._due) + _SLACK:
            self._session.broker.turns.spent += len(line) >> 2
            self._line = [one for one in line if self._is_due(one)]

    def _is_due(self, one: "list[Any]") -> bool:
        """Whether an entry of the line is still to come."""
        return self._due.get(one[0]) is one

    def _stop(self) -> None:
        """End the current subscription."""
        self._current = self._found = self._record = None

    def heard(self, message: "Message", taken: bool) -> None:
        """A message was published; `taken`: it goes to the client, which need not get it again as retained."""
        if message.retain and not self._sending:
            name = message.name
            heard = self._heard
            if name in heard:
                if not taken:
                    del heard[name]
                    self._heard_bytes -= len(name)
            elif taken and len(heard) < _HEARD and self._heard_bytes + len(name) <= _HEARD_BYTES:
                heard[name] = True
                self._heard_bytes += len(name)

    def wake(self) -> None:
        """Go on, as there may be room again; at once, with the rest of this turn."""
        if self._asleep:
            self._asleep = False
            if self.turn():
                self._session.broker.turns.give(self.turn)

    def turn(self) -> bool:
        """Send as far as the turn and the window allow; True when only the turn is over. A job, see Turns.give."""
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
            if room <= 0 or broker.turns.spent > broker.turns.limit:
                return True
            if self._current is None:
                packet = session.conn.unfinished  # type: ignore[union-attr]
                if packet is not None and packet.joining:
                    break  # its SUBACK comes first, then `pump` wakes it
                if not self._line:
                    session.replay = None
                    break
                self._next()
                continue
            topic_filter, options = self._current
            if self._record is None:
                self._find(topic_filter)
            record = self._record
            if record is None:
                continue
            flags = self._flags(record, options)
            if flags & _QOS_BITS and (session.queue or not session.has_room()):
                break  # `pump` wakes it
            self._record = None
            if flags and not expired(record, now) and record[RECORD_NAME] not in self._heard:
                room -= self._deliver(record, flags, options)
        self._asleep = True
        return False

    def _deliver(self, record: "Any", flags: int, options: int) -> int:
        """Send a message; returns its bytes, about."""
        message = retained_message(record)
        self._session.broker.turns.spent += _SENT
        self._sending = True
        self._session.deliver(message, flags, (options >> 8,) if options >> 8 else None)
        self._sending = False
        return message.size() + 16

    def _next(self) -> None:
        """Make the first of the line the current subscription, unless it is stale."""
        line = self._line
        self._session.broker.turns.spent += 1 + (len(line) >> 10)
        one = line.pop(0)
        if self._is_due(one):
            del self._due[one[0]]
            self._current = one

    def _find(self, topic_filter: bytes) -> None:
        """Search one step for the next message; after the last one the subscription ends."""
        broker = self._session.broker
        if self._found is None:
            self._found = self._search(topic_filter)
        try:
            self._record = next(self._found)
        except StopIteration:
            broker.turns.spent += _SEARCHED + (len(topic_filter) >> 4)
            self._stop()
            return
        if self._record is None:
            broker.turns.spent += broker.retained.walked

    def _search(self, topic_filter: bytes) -> "Iterator[Any]":
        """The matches of a filter, and None from time to time."""
        broker = self._session.broker
        for record in broker.retained.walk(topic_filter):
            yield record
        if topic_filter.startswith(b"$"):
            broker.turns.spent += _FIGURES
            for record in broker.sys.matching(topic_filter):
                yield record

    def _flags(self, record: "Any", options: int) -> int:
        """The flags of the PUBLISH for a message, 0 when the session may not have it."""
        if not self._session.broker.intake.may_replay(record):
            return 0
        access = self._session.access
        if access is not None:
            verdict: int = access.receive(record[RECORD_NAME])
            if verdict < 0:
                return 0
            options = limited(options, verdict)
        qos: int = record[RECORD_QOS] & 3
        return min(qos, options & 3) << 1 | 1
