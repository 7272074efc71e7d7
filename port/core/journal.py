"""What has changed since the last batch of records, and how batches get to the store.

The broker tells the journal of each change that must outlive it. What is there is overwritten by what comes later; what is
left goes to the store as one batch while the next one is being gathered. Nothing is encoded before that.

This one keeps retained messages and nobody waits for it; port.core.session_journal keeps the sessions, too.
"""

from port.core import const
from port.core.message import Message
from port.core.records import RETAINED, TOTALS, TOTALS_KEY, message_value, totals_value

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.broker import Broker
    from port.core.connection import Connection
    from port.core.session import Session
    from port.core.store import Record, Store

_ROUND = const(10000)  # ms between two records of the totals
_OVERHEAD = const(32)  # bytes a message takes on its way beyond its own


class Journal:
    """The changes of one broker on their way to its store.

    waits     True when acknowledgements wait for what they promise
    batch     number of the batch that is being gathered; Broker.durable has the last one that is durable
    serial    goes up with each change; `taken_serial` is what it was when the last batch was taken
    size      bytes of messages in the batch that is being gathered; `committing` of the batch on its way
    failing   True while the store cannot write
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
        self._offset = -broker.clock()
        self._due = 0  # ms, when the next batch goes where nobody waits
        self._totals_due = 0

    # -- changes ------------------------------------------------------------------------------

    def put(self, key: bytes, value: "Any") -> None:
        """A record is to be this, or to go (None)."""
        self._records[key] = value
        self.serial += 1

    def retained(self, name: bytes, message: "Optional[Message]") -> None:
        """The retained message of a topic was set, or removed."""
        self.put(RETAINED + name, message)
        if message is not None:
            self.size += message.size() + _OVERHEAD

    def attached(self, session: "Session") -> None:
        """A session has a connection, and with it perhaps another expiry interval and will."""

    def session(self, session: "Session") -> None:
        """A session has changed."""

    def will(self, session: "Session") -> None:
        """A session has a will now, or has none any more."""

    def forget(self, session: "Session") -> None:
        """A session is not kept any more, with all that belongs to it."""

    # -- who waits ------------------------------------------------------------------------------

    def wait(self, conn: "Connection") -> None:
        """What the client is sent from now on promises that the changes up to now are kept."""

    def refusing(self) -> bool:
        """True while the store fails and the broker must not promise what it cannot keep."""
        return False

    def check_backlog(self, conn: "Connection") -> None:
        """Read no more from a client that sends while too much waits to be written."""

    def flushed(self) -> None:
        """All that came has been handled, and there are changes that are in no batch yet."""

    # -- batches --------------------------------------------------------------------------------

    def offset(self) -> int:
        """What turns the broker's clock into ms since 1970. A board's clock may not be set: never before the records'."""
        self._offset = max(self._offset, self._broker.sys.wall() * 1000 - self._broker.clock())
        return self._offset

    def begin(self, written: int, numbers: int, keys: int) -> None:
        """Go on from what is there: when it was written, s since 1970, and the last session and entry."""
        self._offset = written * 1000 - self._broker.clock()

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
            self.store.commit(self._batch, self._done)
        else:
            self._done(None)

    def tick(self, now: int) -> None:
        """A second has passed: try again what failed; write what nobody waits for when it is due."""
        if self._retry:
            self._retry = False
            self.store.commit(self._batch, self._done)
        elif not self.waits and now >= self._due and not self.idle():
            self._due = now + self.store.interval * 1000
            self.commit()

    def _take(self) -> "list[Record]":
        """The changes up to now as records; if memory runs out at that, they stay changes."""
        batch: "list[Record]" = []
        records = self._records
        offset = self.offset()
        now = self._broker.clock()
        if self.serial != self.taken_serial and now >= self._totals_due:
            batch.append(self.totals())
            self._totals_due = now + _ROUND
        for key in records:
            value = records[key]
            if value is not None and not isinstance(value, bytes):
                value = self._encoded(value, offset)
            batch.append((key, value))
        return batch

    def _encoded(self, value: "Any", offset: int) -> bytes:
        return message_value(value, offset, False)

    def _taken(self) -> None:
        """They are records now."""
        self._records = {}
        self.taken_serial = self.serial
        self.committing = self.size
        self.size = 0

    def totals(self) -> "Record":
        """The record of the broker's counters."""
        broker = self._broker
        values = [max((broker.clock() + self.offset()) // 1000, 0)]
        for name in TOTALS:
            values.append(getattr(broker, name))  # subset: ok, names come from TOTALS
        return TOTALS_KEY, totals_value(values)

    def _done(self, error: "Optional[Exception]") -> None:
        """The store has written a batch, or could not."""
        if error is None:
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
            self._broker.tell("storage", None, error)
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
