"""ucomqtt with one SQLite transaction per operation: what its batches are measured against, see tools/bench --stores.

    python3 -m tools.benchmark.each --config broker.toml

CoMQTT keeps its state like this, in Bolt: each message that is queued, each acknowledgement, each retained message is
written and committed at once, where it happens, before anything else is done. Here all is the broker's own, the records,
the file, its settings and the statements; only when a transaction ends differs. `durability` is how durable each is:
`sync` waits for the disk, as Bolt does, `batch` does not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from port.core.storage.records import MESSAGE
from port.cpython import __main__ as program
from port.cpython.stores import sqlite

if TYPE_CHECKING:
    from port.core.storage.store import Record
    from port.cpython.stores.writer import Done


class EachStore(sqlite.SQLiteStore):
    """One transaction per operation, on the event loop's thread."""

    def commit(self, batch: list[Record], done: Done) -> None:
        """See Store.commit."""
        for operation in operations(batch):
            error = self._write(operation)
            if error is not None:
                done(error)
                return
        done(None)


def operations(batch: Sequence[Record]) -> Iterator[list[Record]]:
    """The parts of a batch that belong together: a record, and with a message's the entry that refers to it."""
    part: list[Record] = []
    for record in batch:
        joined = bool(part) and (
            _is_message(part[-1]) and part[-1][1] is not None  # put before its entry
            or _is_message(record) and record[1] is None  # removed after its entry
        )  # fmt: skip
        if part and not joined:
            yield part
            part = []
        part.append(record)
    if part:
        yield part


def _is_message(record: Record) -> bool:
    return record[0].startswith(MESSAGE)


if __name__ == "__main__":
    sqlite.SQLiteStore = EachStore  # type: ignore[misc]  # what [store] of a configuration asks for
    sys.exit(program.main())
