"""From the records of a store back to the broker's state, when it starts: retained messages and totals.

port.core.session_restore does the same for sessions.
"""

from port.core import const
from port.core.reason import MQTTError
from port.core.records import FORMAT, RETAINED, TOTALS, TOTALS_KEY, VERSION, read_retained, read_totals

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

    from port.core.broker import Broker
    from port.core.journal import Journal
    from port.core.store import Store

# What reading a record raises that is not what was written.
_UNREADABLE = (MQTTError, ValueError, LookupError, OverflowError)


def restore(broker: "Broker", store: "Store") -> None:
    """Give a broker its journal, and the state it had. Raises OSError, or ValueError saying what is wrong with the store."""
    if store.sessions:
        from port.core.session_journal import SessionJournal
        from port.core.session_restore import RestoredSessions

        keeper = SessionJournal(broker, store)
        broker.journal = keeper
        restored: "Restored" = RestoredSessions(broker, keeper)
    else:
        from port.core.journal import Journal

        broker.journal = Journal(broker, store)
        restored = Restored(broker, broker.journal)
    try:
        restored.all_of(store)
    except (OSError, ValueError):
        broker.journal = None
        store.close()
        raise


class Restored:
    """Takes the records one by one, in the order of their keys or in that in which they were written; then `finish`.

    key  that of the record that is being read
    """

    def __init__(self, broker: "Broker", journal: "Journal") -> None:
        self._broker = broker
        self._journal = journal
        self._written = 0  # s since 1970
        self._known = False
        self._offset = broker.sys.wall() * 1000 - broker.clock()
        self.key = b""

    def all_of(self, store: "Store") -> None:
        """Take all records of a store. Raises OSError, or ValueError naming the store and the record that is wrong."""
        found = store.load()
        try:
            for key, value in found:
                self.key = key
                self.take(key, value)
            self.finish()
        except _UNREADABLE as e:
            raise ValueError("%s: record %s: %s" % (store.place, self.key.hex(), e))

    def take(self, key: bytes, value: "Optional[bytes]") -> None:
        """A record that was put, or removed (None). Raises ValueError when it cannot be understood."""
        kind = key[:1]
        if kind == RETAINED:
            if value is None:
                self._broker.retained.remove(key[1:])
            else:
                self._broker.retained.load(read_retained(value, self._offset, key[1:]))
        elif kind == TOTALS_KEY:
            self._read_totals(read_totals(value or b"\0"))
        elif kind == FORMAT:
            if value != VERSION:
                raise ValueError("written by another version: format %r, this one knows %r" % (value, VERSION))
            self._known = True
        else:
            self._take_session(kind, key, value)

    def _take_session(self, kind: bytes, key: bytes, value: "Optional[bytes]") -> None:
        """Sessions are not kept any more."""
        if value is not None:
            self._journal.put(key, None)

    def _read_totals(self, values: "list[int]") -> None:
        broker = self._broker
        self._written = values[0]
        for i in range(min(len(TOTALS), len(values) - 1)):
            setattr(broker, TOTALS[i], values[i + 1])  # subset: ok, names come from TOTALS
        # With a clock that is not set yet it is as if no time had passed.
        self._offset = max(self._offset, self._written * 1000 - broker.clock())

    def finish(self) -> None:
        """All records are there: make of them what they stand for."""
        self._journal.begin(self._written, 0, 0)
        self._mark()

    def _mark(self) -> None:
        if not self._known:
            self._journal.put(FORMAT, VERSION)
