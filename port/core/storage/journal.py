"""What has changed since the last batch of records, and how batches get to the store.

The broker tells the journal of each change that must outlive it. What is there is overwritten by what comes later; what is
left goes to the store as one batch while the next one is being gathered. Nothing is encoded before that.

This one keeps retained messages and nobody waits for it; port.core.storage.session_journal keeps the sessions, too.
"""

from port.core import const
from port.core.storage.records import RETAINED, TOTALS, TOTALS_KEY, retained_value, totals_value

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.messages.retained import Record as Retained
    from port.core.sessions.session import Session
    from port.core.protocol.connection import Connection
    from port.core.storage.store import Record, Store
    from port.core.broker import Broker

_ROUND = const(10000)  # ms between two looks at the counters
_SET = const(5000)  # ms from which on the host's clock has been set and does not only go a little wrong
_OVERHEAD = const(64)  # bytes a record counts for beyond its own


class Journal:
    """The changes of one broker on their way to its store.

    waits     True when acknowledgements wait for what they promise: the store is to, or fails and does not degrade
    batch     number of the batch that is being gathered; Broker.durable has the last one that is durable
    serial    goes up with each change; `taken_serial` is what it was when the last batch was taken
    size      bytes of the batch that is being gathered; `committing` of the batch on its way
    failing   True while the store cannot write
    offset    turns the broker's clock into the store's, ms, see port.core.storage.records
    """

    def __init__(self, broker: "Broker", store: "Store") -> None:
        self.store = store
        self.waits = False
        self.batch = 1
        self.serial = 0
        self.size = 0
        self.committing = 0
        self.failing = False
        self.failures = 0
        self._broker = broker
        self._records: "dict[bytes, Any]" = {}  # bytes, None, or what is to be encoded
        self.taken_serial = 0
        self._busy = False
        self._batch: "list[Record]" = []
        self._retry = False
        self.offset = 0
        self._wall = 0  # turns the broker's clock into the host's, ms
        self._due = 0  # ms, when the next batch goes where nobody waits
        self._beat = 0  # ms, when one tells the time
        self._counters = b""
        self._counters_due = 0
        self._began = 0  # ms, when the batch on its way was handed over

    # -- changes ------------------------------------------------------------------------------

    def put(self, key: bytes, value: "Any") -> None:
        """A record is to be this, or to go (None)."""
        records = self._records
        before = len(records)
        records[key] = value
        self.serial += 1
        if len(records) > before:
            self.size += len(key) + _OVERHEAD
        if isinstance(value, bytes):
            self.size += len(value)

    def retained(self, name: bytes, record: "Optional[Retained]") -> None:
        """The retained message of a topic was set, or removed."""
        self.put(RETAINED + name, record)
        if record is not None:
            self.size += len(record[1]) + len(record[3])

    def attached(self, session: "Session") -> None:
        """A session has a connection, and with it perhaps another expiry interval and will."""

    def session(self, session: "Session") -> None:
        """A session has changed."""

    def will(self, session: "Session") -> None:
        """A session has a will now, or has none any more."""

    def forget(self, session: "Session") -> None:
        """A session is not kept any more, with all that belongs to it."""

    def weight(self, conn: "Connection") -> int:
        """Bytes of what a client is to be sent that wait for something to be durable, about."""
        return 0

    # -- who waits ------------------------------------------------------------------------------

    def wait(self, conn: "Connection") -> None:
        """What the client is sent from now on promises that the changes up to now are kept."""

    def refusing(self) -> bool:
        """True while the store fails and the broker must not promise what it cannot keep."""
        return False

    def check_backlog(self, conn: "Connection") -> None:
        """Something came from a client that is to be stored: read no more from it while too much waits to be written."""

    def flushed(self) -> None:
        """All that came has been handled, and there are changes that are in no batch yet."""

    # -- batches --------------------------------------------------------------------------------

    def begin(self, offset: int, numbers: int, keys: int) -> None:
        """Go on from what is there: with this `offset`, and the last session and entry."""
        self.offset = offset
        self.serial += 1  # the clock of the day may be another than it was
        self._wall = self._broker.sys.wall() - self._broker.clock()

    def stop(self) -> None:
        """The broker stops: what is stored last are the time and the counters."""
        self._counters_due = 0
        self.serial += 1

    def idle(self) -> bool:
        """True when all changes are durable."""
        return not self._busy and self.serial == self.taken_serial

    def commit(self) -> None:
        """Hand the changes to the store, unless it is still busy with those before."""
        if self._busy:
            return
        try:
            self._batch = self._take()
        except MemoryError:
            self._broker.out_of_memory()
            return
        self._taken()
        self._busy = True
        self.batch += 1
        if self._batch:
            self._hand_over()
        else:
            self._done(None)

    def tick(self, now: int) -> None:
        """A second has passed: try again what failed; write what nobody waits for when it is due, and the time."""
        ahead = self._broker.sys.wall() - now - self._wall
        if not -_SET < ahead < _SET:
            self._broker.log(1, "store: the clock was set %s by %d s", "forward" if ahead > 0 else "back", abs(ahead) // 1000)
            self._wall += ahead
            self._beat = self._due = now
        if now >= self._beat:
            self._beat = now + self.store.heartbeat * 1000
            self.serial += 1
            self.flushed()
        if self._retry:
            self._retry = False
            self._hand_over()
        elif not self.waits and now >= self._due and not self.idle():
            self._due = now + self.store.interval * 1000
            self.commit()

    def _hand_over(self) -> None:
        self._began = self._broker.clock()
        self.store.commit(self._batch, self._done)

    def _take(self) -> "list[Record]":
        """The changes up to now as records; if memory runs out at that, they stay changes."""
        batch: "list[Record]" = []
        records = self._records
        if self.serial != self.taken_serial:
            batch.append(self._totals())
        for key in records:
            value = records[key]
            if value is not None and not isinstance(value, bytes):
                value = self._encoded(value)
            batch.append((key, value))
        return batch

    def _encoded(self, value: "Any") -> bytes:
        return retained_value(value, self.offset)

    def _taken(self) -> None:
        """They are records now."""
        self._records = {}
        self.taken_serial = self.serial
        self.committing = self.size
        self.size = 0

    def _totals(self) -> "Record":
        """The record of the time and the broker's counters, those of the last seconds."""
        broker = self._broker
        now = broker.clock()
        if now >= self._counters_due:
            self._counters_due = now + _ROUND
            self._counters = totals_value([getattr(broker.counters, name) for name in TOTALS])  # subset: ok, names come from TOTALS
        wall = broker.sys.wall()
        self._wall = wall - now
        self._beat = now + self.store.heartbeat * 1000
        now += self.offset
        return TOTALS_KEY, totals_value([now // 1000]) + self._counters + totals_value([wall // 1000, now % 1000, wall % 1000])

    def _done(self, error: "Optional[Exception]") -> None:
        """The store has written a batch, or could not."""
        if error is None:
            measures = self._broker.counters.measures
            if measures is not None and self._batch:
                measures.stored((self._broker.clock() - self._began) * 1000)
            self._busy = False
            self._batch = []
            self.committing = 0
            if self.failing:
                self.failing = False
                self._broker.log(2, "store: works again")
            self._committed()
            return
        self.failures += 1
        self._retry = True
        if not self.failing:
            self.failing = True
            # A disk that is full is no fault of ours, which would want a traceback.
            self._broker.log(3, "store: %s", str(error) if isinstance(error, OSError) else error)
            self._broker.emit("storage", None, error)
        self._failed()

    def _committed(self) -> None:
        """A batch is durable."""
        self._broker.durable = self.batch - 1

    def _failed(self) -> None:
        """A batch is not durable yet."""

    def figures(self) -> "list[tuple[str, Any]]":
        """For $SYS: names below store/."""
        figures: "list[tuple[str, Any]]" = [
            ("batches", self.batch - 1),
            ("failing", int(self.failing)),
            ("failures", self.failures),
            ("waiting/bytes", self.size + self.committing),
        ]
        return figures + self.store.figures()
