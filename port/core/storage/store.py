"""The interface of stores, which keep the broker's state beyond its end.

Core turns state into records, pairs of a key and a value, both bytes (port.core.storage.records has their contents), gathers
changes in a batch (port.core.storage.journal) and hands it to a Store, which keeps the whole batch or nothing of it. A
store never looks into keys or values; it needs only three methods.
"""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Optional

    Record = tuple[bytes, Optional[bytes]]  # None: remove it


class Store:
    """Base class: the duties of a store, and how the broker is to use it.

    sessions       True: sessions and all that belongs to them are kept; False: only retained messages
    waits          True: an acknowledgement is never sent before what it promises is durable; False: that holds only
                   while batches fail and `on_failure` is refuse
    interval       s between two batches while no client waits; changes in between that cancel out are never written
    heartbeat      s without changes after which a batch with the time is written, see port.core.storage.records
    backlog_bytes  bytes of messages and other changes not durable yet, with 64 more for each, at which the clients that send
                   them are not read any more
    kind           its type, for $SYS and metrics
    place          its file, server or folder, for messages
    on_failure     what happens while batches fail: `refuse` (acknowledgements wait, new persistent sessions are refused
                   with 0x88, 3.x: 3) or `degrade` (the broker goes on as if it had no store, and logs it); the batch is
                   tried again every second either way. Records that cannot be understood stop the start, or are set aside
    """

    sessions = True
    waits = True
    interval = 1
    heartbeat = 60
    backlog_bytes = 16777216
    on_failure = "refuse"
    kind = "other"
    place = "the store"

    def load(self) -> "Iterable[tuple[bytes, bytes]]":
        """Open the store and return all records in the order of their keys, before anything is committed.

        Raises OSError or ValueError naming the file or server and its fault.
        """
        return ()

    def set_aside(self) -> str:
        """Move all records, which cannot be understood, to another place, so that `load` finds none; after `close`.

        Returns the place, empty when that cannot be done. Raises OSError.
        """
        return ""

    def commit(self, batch: "list[Record]", done: "Callable[[Optional[Exception]], None]") -> None:
        """Put (bytes) and remove (None) these records, all or none of them; no key is twice in a batch.

        When that is durable call `done(None)`, when it has failed `done(error)`, in the broker's thread, at once or later. No
        other batch comes before that. Must not block; an OSError that it raises counts as `done(error)`.
        """
        done(None)

    def close(self) -> "Any":
        """Wait for the batch under way; no more will come. `load` may open the store again. May be async."""

    def figures(self) -> "list[tuple[str, int]]":
        """(name, value) pairs for $SYS/broker/store/."""
        return []
