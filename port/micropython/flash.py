"""The flash store: retained messages, optionally sessions, in a folder on littlefs or FAT.

    server = Server(store=FlashStore("/store"))

It needs only `os` and `time`, and so runs on CPython, too.
"""

import os
import time

from port.core import const
from port.core.storage.flash_log import BLOCK, FlashLog
from port.core.storage.store import Store

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, Optional

    from port.core.storage.store import Record

_SEGMENT = const(16384)  # bytes
_DAY = const(86400)  # s
_SKIPPED = const(63)  # most attempts left out in a row while writing fails


class Folder:
    """The files of a log, for port.core.storage.flash_log; a file's name is its number."""

    def __init__(self, place: str) -> None:
        self.place = place

    def numbers(self) -> "list[int]":
        """The numbers of the existing files; the folder is made if need be."""
        try:
            os.mkdir(self.place)
        except OSError:
            pass
        return [int(name[:-4]) for name in os.listdir(self.place) if name[-4:] == ".log" and name[:-4].isdigit()]

    def free(self) -> int:
        """Bytes of free space."""
        found = os.statvfs(self.place)
        return found[1] * found[4]

    def path(self, number: int) -> str:
        """The path of a file."""
        return "%s/%08d.log" % (self.place, number)

    def open(self, number: int, mode: str) -> "Any":
        """Open a file."""
        return open(self.path(number), mode)

    def remove(self, number: int) -> None:
        """Remove a file."""
        os.remove(self.path(number))

    def set_aside(self) -> str:
        """Rename the folder to the first free name of NAME.corrupt-1, NAME.corrupt-2 ...; returns it."""
        number = 0
        place = self.place
        while _exists(place):
            number += 1
            place = "%s.corrupt-%d" % (self.place, number)
        os.rename(self.place, place)
        return place

    def sync(self) -> None:
        """Call os.sync on boards that have it; on littlefs closing a file is enough."""
        if hasattr(os, "sync"):
            os.sync()  # subset: ok, checked before


def _exists(path: str) -> bool:
    try:
        os.stat(path)
        return True
    except OSError:
        return False


class FlashStore(Store):
    """A log in a folder, with limits of how often and how much is written to it.

    folder: folder of the files (default /store)
    interval: s between two batches that no client waits for; longer when the budget is used up (default 60)
    bytes_per_day: the budget, most bytes written to the flash in a day (default 8388608)
    sessions: whether sessions are kept besides retained messages (default false)
    durability: none, or batch: acknowledgements wait until their changes are written; the budget only warns (default none)

    The whole budget may be written at once; it then fills up again at its daily rate. The file system copies the last block
    at each append, so that 4,096 bytes count besides the data. 8 MiB a day wear out 75 free blocks that last 100,000 cycles in
    ten years, and are enough for a batch of 1.7 KB a minute. A record that cannot be understood stops the start with durability
    batch; with none all records are moved to FOLDER.corrupt-1. `log(level, text, *values)` is that of the server when a
    configuration asks for the store. ValueError names a wrong value.
    """

    kind = "flash"
    heartbeat = 900

    def __init__(
        self,
        folder: str = "/store",
        interval: int = 60,
        bytes_per_day: int = 8388608,
        sessions: bool = False,
        durability: str = "none",
        log: "Optional[Callable[..., None]]" = None,
        clock: "Callable[[], float]" = time.time,
    ) -> None:
        if durability not in ("none", "batch"):
            raise ValueError("durability must be none or batch, not %r" % durability)
        for name, value, least in (("interval", interval, 1), ("bytes_per_day", bytes_per_day, BLOCK)):
            if value < least:
                raise ValueError("%s must be at least %d, not %r" % (name, least, value))
        if log is None:
            from port.micropython.server import logger

            log = logger(2)
        self.sessions = sessions
        self.waits = durability == "batch"
        self.on_failure = "refuse" if self.waits else "degrade"
        self.interval = self._interval = interval
        self.backlog_bytes = _SEGMENT
        self.place = folder
        self.log = log
        self._files = Folder(folder)
        self._log = FlashLog(self._files, _SEGMENT, self._report)
        self._clock = clock
        self._budget = self._left = bytes_per_day
        self._at = self._day = int(clock())
        self._counted = self._before = 0  # bytes charged to the budget, and those before this day
        self._warned = False
        self._failures = 0
        self._skip = 0
        self._error: "Optional[Exception]" = None

    def _report(self, text: str, *values: "Any") -> None:
        self.log(2, "store: " + text, *values)

    def load(self) -> "Iterator[tuple[bytes, bytes]]":
        """See Store: in the order of the keys."""
        try:
            self._log.open()
        except OSError as e:
            raise OSError(e.errno, "cannot open %s: %r" % (self.place, e))
        return self._log.live()

    def set_aside(self) -> str:
        """See Store.set_aside. The folder of a file system of its own cannot be moved."""
        try:
            return self._files.set_aside()
        except OSError as e:
            raise OSError(e.errno, "cannot move %s aside: %r" % (self.place, e))

    def commit(self, batch: "list[Record]", done: "Callable[[Optional[Exception]], None]") -> None:
        """See Store. While it fails, attempts get rarer, as each wears out flash."""
        if self._skip:
            self._skip -= 1
        else:
            try:
                self._log.commit(batch)
                self._error = None
                self._failures = 0
            except (OSError, MemoryError) as e:
                self._error = OSError("cannot write to %s: %r" % (self.place, e))
                self._failures = self._skip = min(2 * self._failures + 1, _SKIPPED)
            self._count()
        done(self._error)

    def _count(self) -> None:
        """Charge written bytes to the budget, and set the interval accordingly."""
        now = int(self._clock())
        budget = self._budget
        written = self._log.written
        filled = min(self._left + max(now - self._at, 0) * budget // _DAY, budget)
        if not 0 <= now - self._day < _DAY:
            self._day = now
            self._before = self._counted
        left = self._left = filled - written + self._counted
        self._at = now
        self._counted = written
        self.interval = max(self._interval, -left * _DAY // budget)
        if left < 0 and not self._warned:
            self._report("%s: the budget of %d bytes a day is used up", self.place, budget)
        self._warned = left < budget // 2 and (self._warned or left < 0)

    def figures(self) -> "list[tuple[str, int]]":
        """Bytes written count as the budget does."""
        log = self._log
        return [
            ("appends", log.appends),
            ("bytes", log.size),
            ("bytes/written", log.written),
            ("bytes/today", log.written - self._before),
            ("bytes/cut", log.cut),
            ("compactions", log.compactions),
        ]
