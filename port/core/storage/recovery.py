"""Restores the broker's state from the records of a store, at the start: retained messages and totals.

port.core.storage.session_recovery does the same for sessions.
"""

from port.core import const
from port.core.constants import RECORD_EXPIRES, RECORD_NAME, RECORD_SOURCE
from port.core.wire.reason_codes import MQTTError
from port.core.storage.records import AWAY, FORMAT, RETAINED, TOTALS, TOTALS_KEY, VERSION, read_retained, read_totals

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from port.core.storage.journal import Journal
    from port.core.storage.store import Store
    from port.core.broker import Broker

# Exceptions of reading a damaged record.
_UNREADABLE = (MQTTError, ValueError, LookupError, OverflowError)


_ENOMEM = const(12)


class Unreadable(ValueError):
    """A record cannot be understood."""


def restore(broker: "Broker", store: "Store") -> None:
    """Give a broker its journal and its former state. Raises OSError, or ValueError naming the store's fault."""
    try:
        _restore(broker, store)
    except Unreadable as e:
        place = store.set_aside() if store.on_failure == "degrade" else ""
        if not place:
            raise
        broker.log(3, "%s; moved to %s, the broker starts with nothing", str(e), place)
        _forget(broker)
        _restore(broker, store)


def _forget(broker: "Broker") -> None:
    """Discard everything restored before an unreadable record."""
    for session in list(broker.sessions.values()):
        session.set_will(None)
        session.store_id = 0
        broker.session_registry.end(session)
    for record in broker.retained.matching(None):
        broker.retained.remove(record[RECORD_NAME])
    _set_totals(broker, [0] * len(TOTALS))


def _set_totals(broker: "Broker", values: "list[int]") -> None:
    broker.sys.earlier = earlier = {}
    for i in range(min(len(TOTALS), len(values))):
        name = TOTALS[i]
        earlier[name] = values[i]
        setattr(broker.counters, "published0" if name == "published" else name, values[i])  # subset: ok, names come from TOTALS


def _restore(broker: "Broker", store: "Store") -> None:
    if store.sessions:
        from port.core.storage.session_journal import SessionJournal
        from port.core.storage.session_recovery import RestoredSessions

        keeper = SessionJournal(broker, store)
        broker.journal = keeper
        restored: "Restored" = RestoredSessions(broker, keeper)
    else:
        from port.core.storage.journal import Journal

        broker.journal = Journal(broker, store)
        restored = Restored(broker, broker.journal)
    try:
        restored.all_of(store)
    except (OSError, ValueError):
        broker.journal = None
        store.close()
        raise
    kept = broker.retained
    if kept.count > kept.max_count or kept.bytes > kept.max_bytes:
        broker.log(
            2, "the store has %d retained messages, %d bytes: more than max_retained_messages or max_retained_bytes; "
            "they are kept, further ones are refused", kept.count, kept.bytes,
        )  # fmt: skip


class Restored:
    """Takes the records one by one, in the order of their keys, and makes the object of each; then `finish`.

    Objects are made as early as possible, as a board has no memory to gather all records besides.
    """

    def __init__(self, broker: "Broker", journal: "Journal") -> None:
        self._broker = broker
        self._journal = journal
        self._known = False
        self._offset = journal.offset = broker.sys.wall() - broker.clock()

    def all_of(self, store: "Store") -> None:
        """Take all records of a store. Raises OSError, or ValueError naming the store and the wrong record."""
        last = b""
        found = store.load()
        try:
            for key, value in found:
                if key <= last:
                    raise ValueError("does not come in the order of the keys")
                last = key
                self.take(key, value)
            self.finish()
        except _UNREADABLE as e:
            raise Unreadable("%s: record %s: %s" % (store.place, last.hex(), e))
        except MemoryError:
            raise OSError(_ENOMEM, "%s: there is no memory for all that is in it" % store.place)

    def take(self, key: bytes, value: bytes) -> None:
        """Take a record. Raises ValueError when it cannot be understood."""
        kind = key[:1]
        if kind == RETAINED:
            record = read_retained(value, key[1:])
            expires = record[RECORD_EXPIRES]
            if expires is not None:
                record = record[:RECORD_EXPIRES] + (expires - self._offset,) + record[RECORD_SOURCE:]
            self._broker.retained.load(record)
        elif kind == TOTALS_KEY:
            self._read_totals(read_totals(value))
        elif kind == FORMAT:
            if value != VERSION:
                raise ValueError("written by another version: format %r, this one knows %r" % (value, VERSION))
            self._known = True
        else:
            self._take_session(kind, key, value)

    def _take_session(self, kind: bytes, key: bytes, value: bytes) -> None:
        """Remove the record: the store keeps sessions no longer."""
        self._journal.put(key, None)

    def _read_totals(self, values: "list[int]") -> None:
        broker = self._broker
        _set_totals(broker, values[1:])
        written = values[0]
        rest = values[len(TOTALS) + 1 :] or [written]  # old stores used the host's clock
        then, ms, then_ms = (rest + [0, 0])[:3]
        away = broker.sys.wall() - then * 1000 - then_ms - (broker.sys.wall_step - 1)
        self._offset = written * 1000 + ms + (away if 0 < away <= AWAY * 1000 else 0) - broker.clock()
        self._journal.offset = self._offset

    def finish(self) -> None:
        """Finish after the last record."""
        self._begin(0, 0)

    def _begin(self, numbers: int, keys: int) -> None:
        self._journal.begin(self._offset, numbers, keys)
        if not self._known:
            self._journal.put(FORMAT, VERSION)
