"""The common part of CPython's stores: a thread that writes, so that the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Optional

from port.core.storage.store import Store
from port.cpython.auth.settings import Setting

if TYPE_CHECKING:
    from port.core.storage.store import Record

    Done = Callable[[Optional[Exception]], None]
    Work = Optional[tuple[list[Record], Done, asyncio.AbstractEventLoop]]

logger = logging.getLogger("ucomqtt")

ON_FAILURE = ("refuse", "degrade")
BACKLOG_BYTES = 16777216
_LEAST_BACKLOG, _MOST_BACKLOG = 65536, 1 << 40


def writer_settings(levels: tuple[str, ...]) -> tuple[Setting, ...]:
    """What all stores that write in a thread can be told; `levels`: the values of durability."""
    text = "behaviour while writing fails: refuse: clients wait; degrade: the broker goes on without the store"
    backlog = (
        "bytes of messages and other changes not written yet, with 64 more for each, "
        "at which the clients that send them are not read any more"
    )
    return (
        Setting("durability", "batch", "extent of possible loss, see the module of the type", choices=levels),
        Setting("on_failure", "refuse", text, choices=ON_FAILURE),
        Setting("backlog_bytes", BACKLOG_BYTES, backlog, "bytes", _LEAST_BACKLOG, _MOST_BACKLOG),
    )


class WriterStore(Store):
    """A store that blocks while it writes. Subclasses open, read, write and close it.

    batches, records   batches written and their records, removed ones included
    failures           failed attempts to write a batch
    longest            ms of the slowest batch
    """

    pulse: float | None = None  # s without a batch after which `idle` is called

    def __init__(self, durability: str, levels: tuple[str, ...], on_failure: str, backlog_bytes: int) -> None:
        """Raises ValueError naming what is wrong."""
        for name, value, choices in (("durability", durability, levels), ("on_failure", on_failure, ON_FAILURE)):
            if value not in choices:
                raise ValueError("%s must be one of %s, not %r" % (name, ", ".join(choices), value))
        if isinstance(backlog_bytes, bool) or not isinstance(backlog_bytes, int) or not (
            _LEAST_BACKLOG <= backlog_bytes <= _MOST_BACKLOG
        ):
            raise ValueError("backlog_bytes must be from %d to %d, not %r" % (_LEAST_BACKLOG, _MOST_BACKLOG, backlog_bytes))
        self.durability = durability
        self.waits = durability != "none"
        self.on_failure = on_failure
        self.backlog_bytes = backlog_bytes
        self.batches = 0
        self.records = 0
        self.failures = 0
        self.longest = 0
        self._work: SimpleQueue[Work] = SimpleQueue()
        self._thread: threading.Thread | None = None

    # -- for subclasses -------------------------------------------------------------------------

    def open(self) -> None:
        """Open the store and check that every record is readable. Raises OSError or ValueError."""
        raise NotImplementedError

    def read(self) -> Iterator[tuple[bytes, bytes]]:
        """All records of the open store in the order of their keys."""
        raise NotImplementedError

    def write(self, puts: list[tuple[bytes, bytes]], removed: list[bytes]) -> None:
        """Put and remove records, all or none; runs in the writing thread. Raises OSError after a failure."""
        raise NotImplementedError

    def idle(self) -> None:
        """Called after `pulse` seconds without a batch; runs in the writing thread."""

    def shut(self) -> None:
        """Close the store, while no batch is under way. Must not raise."""
        raise NotImplementedError

    def obstacles(self) -> Iterable[str]:
        """What on this machine keeps it from being opened, a text each; asked before the start, opens nothing."""
        return ()

    # -- see Store ------------------------------------------------------------------------------

    def load(self) -> Iterable[tuple[bytes, bytes]]:
        """See Store.load."""
        self.open()
        self._thread = threading.Thread(target=self._run, name="ucomqtt store", daemon=True)
        self._thread.start()
        return self.read()

    def commit(self, batch: list[Record], done: Done) -> None:
        """See Store.commit; in the thread of an event loop."""
        if self._thread is None:
            done(OSError("the store is not open"))
            return
        self._work.put((batch, done, asyncio.get_running_loop()))

    def close(self) -> None:
        """See Store.close."""
        if self._thread is not None:
            self._work.put(None)
            self._thread.join()
            self._thread = None
            self.shut()

    def figures(self) -> list[tuple[str, int]]:
        """See Store.figures; the journal has batches and failures."""
        return [("records", self.records), ("longest", self.longest)]

    # -- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            try:
                work = self._work.get(timeout=self.pulse)
            except Empty:
                self.idle()
                continue
            if work is None:
                return
            batch, done, loop = work
            error = self._write(batch)
            try:
                loop.call_soon_threadsafe(done, error)
            except RuntimeError:  # the loop is closed: no client waits
                pass

    def _write(self, batch: list[Record]) -> Exception | None:
        start = time.monotonic()
        try:
            puts = [(key, value) for key, value in batch if value is not None]
            self.write(puts, [key for key, value in batch if value is None])
        except Exception as e:
            self.failures += 1
            return e
        self.batches += 1
        self.records += len(batch)
        self.longest = max(self.longest, int((time.monotonic() - start) * 1000))
        return None
