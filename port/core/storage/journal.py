"""The journal: changes since the last batch of records, and the way of batches to the store.

The broker tells the journal of each change that must outlive it. A later change replaces an earlier one of the same record; the
rest goes to the store as one batch while the next one is gathered. Nothing is encoded before that.

This one keeps retained messages, for which no client waits; port.core.storage.session_journal keeps the sessions, too.
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

_ROUND = const(10000)  # ms between two records of the counters
_SET = const(5000)  # ms of difference from which on the host's clock counts as set, not just as inexact
_OVERHEAD = const(64)  # bytes counted for a record, besides its own


class Journal:
    """The changes of a broker that its store does not have yet.

    waits     True while acknowledgements wait for durable batches: the store demands it, or fails and does not degrade
    batch     number of the batch being gathered; Broker.durable is the last durable one
    serial    number of the last change; `taken_serial`: its value when the last batch was taken
    size      bytes of the batch being gathered; `committing`: of the batch on its way
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
        self._records: "dict[bytes, Any]" = {}  # by key: bytes, None, or an object to encode
        self.taken_serial = 0
        self._busy = False
        self._batch: "list[Record]" = []
        self._retry = False
        self.offset = 0
        self._wall = 0  # difference between the host's clock and the broker's, ms
        self._due = 0  # ms, when the next batch is due without a client that waits
        self._beat = 0  # ms, when a batch with the time is due
        self._counters = b""
        self._counters_due = 0
        self._began = 0  # ms, when the batch on its way was handed to the store

    # -- changes ------------------------------------------------------------------------------

    def put(self, key: bytes, value: "Any") -> None:
        """Set a record, or remove it (None)."""
        records = self._records
        before = len(records)
        records[key] = value
        self.serial += 1
        if len(records) > before:
            self.size += len(key) + _OVERHEAD
        if isinstance(value, bytes):
            self.size += len(value)

    def retained(self, name: bytes, record: "Optional[Retained]") -> None:
        """The retained message of a topic was set or removed."""
        self.put(RETAINED + name, record)
        if record is not None:
            self.size += len(record[1]) + len(record[3])

    def attached(self, session: "Session") -> None:
        """A session has connected, perhaps with another expiry interval and will."""

    def session(self, session: "Session") -> None:
        """A session has changed."""

    def will(self, session: "Session") -> None:
        """The will of a session was set or removed."""

    def forget(self, session: "Session") -> None:
        """Remove a session, and all that belongs to it."""

    def weight(self, conn: "Connection") -> int:
        """Bytes for a client that wait for a durable batch, about."""
        return 0

    # -- waiting clients ------------------------------------------------------------------------------

    def wait(self, conn: "Connection") -> None:
        """Let everything sent to the client from now on wait for the changes up to now, as it promises that they are kept."""

    def refusing(self) -> bool:
        """True while the store fails and the broker must not promise persistence."""
        return False

    def check_backlog(self, conn: "Connection") -> None:
        """A client's packet has changed stored state: stop reading the client while too many changes wait to be written."""

    def flushed(self) -> None:
        """All received packets are handled, and changes are in no batch yet."""

    # -- batches --------------------------------------------------------------------------------

    def begin(self, offset: int, numbers: int, keys: int) -> None:
        """Begin after recovery: with this `offset`, and the last session number and entry key."""
        self.offset = offset
        self.serial += 1  # the host's clock may have changed
        self._wall = self._broker.sys.wall() - self._broker.clock()

    def stop(self) -> None:
        """The broker stops: store the time and the counters last."""
        self._counters_due = 0
        self.serial += 1

    def idle(self) -> bool:
        """True when all changes are durable."""
        return not self._busy and self.serial == self.taken_serial

    def commit(self) -> None:
        """Hand the changes to the store, unless it is still busy with the batch before."""
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
        """A second has passed: repeat a failed batch; write changes for which no client waits when due, and the time."""
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
        try:
            self.store.commit(self._batch, self._done)
        except OSError as e:
            self._done(e)

    def _take(self) -> "list[Record]":
        """The changes up to now as records; they stay changes if memory runs out."""
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
        """The changes have become records."""
        self._records = {}
        self.taken_serial = self.serial
        self.committing = self.size
        self.size = 0

    def _totals(self) -> "Record":
        """The record of the time and the broker's counters; these may be some seconds old."""
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
        """The store has written a batch, or failed to."""
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
            # A full disk is no fault of the program, and deserves no traceback.
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
