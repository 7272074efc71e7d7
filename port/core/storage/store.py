"""Where the broker's state is kept so that it outlives the broker: the seam at which persistence plugs in.

Core turns what must be kept into records, pairs of a key and a value, both bytes (port.core.storage.records tells what they
hold), gathers the changes of a while in a batch (port.core.storage.journal) and hands it to a Store. All of a batch is kept or
nothing of it. A store never looks into keys or values; it needs no more than three methods.
"""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Optional

    Record = tuple[bytes, Optional[bytes]]  # None: it goes


class Store:
    """Base class: what a store has to do, and how the broker is to use it.

    sessions       True: sessions are kept, with all that belongs to them; False: only retained messages
    waits          True: an acknowledgement is sent when what it promises is durable, never before; False: that is so only
                   while batches fail and `on_failure` is refuse
    interval       s between two batches where nobody waits; changes in between that cancel out are never written
    heartbeat      s after which a batch tells the time where nothing has changed, see port.core.storage.records
    backlog_bytes  bytes of messages and other changes not durable yet, and 64 for each, at which no more is read from the
                   clients that bring them
    kind           what it is, for the figures
    place          which file, server or folder it is, for messages
    on_failure     what happens while batches fail: `refuse` (acknowledgements wait, new persistent sessions are refused
                   with 0x88, 3.x: 3) or `degrade` (the broker goes on as if it had no store, and says so); the batch is
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

        Raises OSError or ValueError saying what is wrong with which file or server.
        """
        return ()

    def set_aside(self) -> str:
        """Records cannot be understood: move all to another place, so that `load` finds nothing; after `close`.

        Returns the place, empty when that cannot be done. Raises OSError.
        """
        return ""

    def commit(self, batch: "list[Record]", done: "Callable[[Optional[Exception]], None]") -> None:
        """Put (bytes) and remove (None) these records, all or none of them; no key is twice in a batch.

        When that is durable, or has failed, call `done(None)` or `done(error)` in the broker's thread, at once or
        later. No other batch comes before that. Must not block, nor raise.
        """
        done(None)

    def close(self) -> "Any":
        """Nothing more will come; wait for what is under way. `load` may open the store again. May be async."""

    def figures(self) -> "list[tuple[str, int]]":
        """(name, value) pairs for $SYS/broker/store/."""
        return []
