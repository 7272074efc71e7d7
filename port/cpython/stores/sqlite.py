"""The broker's state in a file, with the SQLite of the standard library.

    server = Server(store=SQLiteStore("broker.db"))

`durability` sets the possible loss:

none     Acknowledgements do not wait for the store, except while it fails with on_failure `refuse`. An orderly stop loses nothing.
         A crash of the broker (kill -9) loses about the last second. A power cut loses the last minutes, and may damage the file.
batch    A crash of the broker loses nothing that was acknowledged, as the operating system has it. A power cut or a crash of the
         operating system can lose the last moments that were not on the disk yet: whole batches from some batch on, never
         part of a batch, and never the file.
sync     A power cut, too, loses nothing that was acknowledged: each batch is on the disk (fsync) before its acknowledgements.
         The fsync takes a few to some ten ms on SD cards, once for all clients that wait for the batch.

`sync` needs a disk that obeys fsync; some do not.

Each batch is a transaction in WAL mode. The file belongs to one broker at a time, which holds a lock on it. A checksum of each record
reveals damage by the disk. When the file is unreadable or invalid at the start, the broker does not start (on_failure `refuse`), or
moves the file aside (FILE.corrupt-1 ...) and starts without records (`degrade`).
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar
from zlib import crc32

from port.cpython.auth.settings import Setting
from port.cpython.config.preflight import of_folder
from port.cpython.stores.writer import BACKLOG_BYTES, WriterStore, logger, writer_settings

T = TypeVar("T")

_SYNCHRONOUS = {"none": "OFF", "batch": "NORMAL", "sync": "FULL"}
LEVELS = tuple(_SYNCHRONOUS)
_OLDEST = (3, 32, 0)  # older versions allow 999 parameters in a statement only
_APPLICATION = 0x75635154  # marks our files
# The step from version i to i + 1 of a file; PRAGMA user_version has the version.
STEPS = ["CREATE TABLE record (key BLOB PRIMARY KEY, value BLOB NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID"]
_BEGINNING = b"SQLite format 3\0"  # of a database
_SMALLEST = 512  # bytes of a database
_CHECKPOINT = 4000  # pages of 4 KB in the log at which they are written to the file; fewer writes than with SQLite's 1000
_CACHE = 8192  # KB of pages in memory
_ROWS = 1000  # rows fetched at a time
_COPIES = 20  # attempts to copy a file that its broker writes to
_WAL_HEADER = 32  # bytes, with a number that changes each time the log begins anew

# A statement takes the GIL once, however many rows it has, so a batch is as few statements as possible. Statements have these
# sizes only, so that each is compiled once; a part with fewer rows repeats its last row.
_SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 160, 192, 256, 320, 384, 448, 512)
_PUT = {n: "INSERT OR REPLACE INTO record VALUES " + ",".join(["(?,?,?)"] * n) for n in _SIZES}
_REMOVE = {n: "DELETE FROM record WHERE key IN (%s)" % ",".join("?" * n) for n in _SIZES}  # nosec B608 # numbers of our own

_REASONS = {
    sqlite3.SQLITE_FULL: "cannot be written, the disk is full",
    sqlite3.SQLITE_READONLY: "may not be written, or its folder may not",
    sqlite3.SQLITE_PERM: "must not be opened",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: its folder must be there, and may be written to",
    sqlite3.SQLITE_IOERR: "cannot be read or written",
}
_IN_USE = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _obstacles(path: str) -> Iterator[str]:
    if not os.path.exists(path):
        yield from of_folder(path)
        return
    try:
        with open(path, "r+b") as file:
            start = file.read(len(_BEGINNING))
    except OSError as e:
        yield e.strerror or str(e)
        return
    if start and start != _BEGINNING:
        yield "is no SQLite database"


class _DamagedError(Exception):
    """The file cannot be read; the text says why."""


class SQLiteStore(WriterStore):
    """See the module for what `durability` and `on_failure` mean.

    file           path; the file is made at the start of the broker, readable by its owner only
    backlog_bytes  see Store
    """

    SETTINGS = (Setting("file", "", "the database", required=True), *writer_settings(LEVELS))
    kind = "sqlite"

    def __init__(
        self, file: str | os.PathLike[str], durability: str = "batch", on_failure: str = "refuse",
        backlog_bytes: int = BACKLOG_BYTES,
    ) -> None:  # fmt: skip
        """Raises ValueError naming what is wrong; touches no file."""
        super().__init__(durability, LEVELS, on_failure, backlog_bytes)
        if sqlite3.sqlite_version_info < _OLDEST:
            raise ValueError("needs SQLite %d.%d or newer, this is %s" % (*_OLDEST[:2], sqlite3.sqlite_version))
        if not os.fspath(file):
            raise ValueError("file must not be empty")
        self.file = Path(file).absolute()
        self.place = str(self.file)
        self._at = self.file  # the opened file, or a copy of it
        self._connection: Any = None

    def obstacles(self) -> Iterator[str]:
        """See WriterStore.obstacles."""
        for text in _obstacles(self.place):
            yield "file %s: %s" % (self.place, text)

    # -- opening --------------------------------------------------------------------------------

    def open(self) -> None:
        """See WriterStore.open."""
        self._at = self.file
        try:
            self._open()
        except _DamagedError as e:
            text = "%s: %s" % (self.file, e)
            if self.on_failure == "refuse":
                raise ValueError(
                    '%s; put a copy in its place, or move it away, or set on_failure = "degrade" to have that done' % text
                ) from None
            logger.error("%s; moved to %s, the broker starts with nothing", text, self._move_aside())
            try:
                self._open()
            except _DamagedError as again:
                raise ValueError("%s: %s" % (self.file, again)) from None

    def open_copy(self, at: Path, live: bool = False) -> None:
        """Copy the file to this path and open the copy; the file stays as it is, whatever is wrong with it.

        live  True when a broker may have the file open; otherwise that is an error

        Raises OSError or ValueError.
        """
        self._at = at.absolute()
        for _ in range(_COPIES):
            if not live:
                self._ask_for_lock()
            if self._copy():
                break
        else:
            raise OSError("%s: is written to faster than it can be copied" % self.file)
        if not live:
            self._ask_for_lock()
        if not at.stat().st_size:
            raise ValueError("%s: is empty, there was never a store in it, or it was cut off" % self.file)
        try:
            self._connect()
        except _DamagedError as e:
            raise ValueError("%s: %s" % (self.file, e)) from None

    def _ask_for_lock(self) -> None:
        """Raise OSError when another connection has the file. SQLite stops at the lock and writes nothing."""
        with closing(sqlite3.connect(self.file.as_uri() + "?mode=ro", uri=True, timeout=0)) as connection:
            try:
                connection.execute("PRAGMA locking_mode=EXCLUSIVE")
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            except sqlite3.Error as e:
                if _code(e) in _IN_USE:
                    raise self._error(e) from None

    def _copy(self) -> bool:
        """Copy the file and its log; False when the copies may not belong together.

        A checkpoint moves pages from the log to the file. Until the log begins anew it still has all pages moved meanwhile, so
        the log, copied last, completes the copy up to its last whole transaction.
        """
        before = self._generation()
        shutil.copyfile(self.file, self._at)
        for ending in ("-wal", "-journal"):
            try:
                shutil.copyfile(self._beside(ending), self._at.with_name(self._at.name + ending))
            except FileNotFoundError:
                self._at.with_name(self._at.name + ending).unlink(missing_ok=True)
        return self._generation() == before

    def _generation(self) -> object:
        """A value that changes when the log begins anew; without a log, when the file is written."""
        try:
            with open(self._beside("-wal"), "rb") as log:
                head = log.read(_WAL_HEADER)
        except FileNotFoundError:
            head = b""
        if head:
            return head
        found = self.file.stat()
        return found.st_size, found.st_mtime_ns

    def _open(self) -> None:
        self._create()
        self._connect()

    def _connect(self) -> None:
        try:
            self._connection = sqlite3.connect(
                self._at.as_uri() + "?mode=rw", uri=True, timeout=0, isolation_level=None, check_same_thread=False
            )
            self._prepare()
            self._check()
        except BaseException as e:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            if isinstance(e, sqlite3.Error):
                if _code(e) in _DAMAGE:
                    raise _DamagedError(str(e)) from None
                raise self._error(e) from None
            raise

    def _create(self) -> None:
        """Make the file unless it exists; SQLite's own would be readable by every user."""
        try:
            os.close(os.open(self.file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            # Checked without opening it: closing a file drops the locks of the process on it.
            if not os.access(self.file, os.R_OK | os.W_OK) or not os.access(self.file.parent, os.W_OK | os.X_OK):
                raise OSError("%s: may not be written, or its folder may not" % self.file) from None
            # SQLite would take the file for a new one and delete its log.
            if self.file.stat().st_size < (_SMALLEST if self.size() else 0):
                raise _DamagedError("the file is cut off") from None
            if not self.size():
                logger.warning("%s: is empty, the broker starts with nothing", self.file)
        except OSError as e:
            raise OSError(e.errno, "%s: cannot be made: %s" % (self.file, e.strerror)) from None

    def _prepare(self) -> None:
        """Lock the file, bring it to the newest version, and write to it, so that an error shows at the start."""
        execute = self._connection.execute
        execute("PRAGMA locking_mode=EXCLUSIVE")
        execute("PRAGMA synchronous=FULL")
        execute("PRAGMA cache_size=-%d" % _CACHE)
        application = execute("PRAGMA application_id").fetchone()[0]
        version = execute("PRAGMA user_version").fetchone()[0]
        tables = execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application != _APPLICATION and (application or version or tables):
            raise ValueError("%s: is a database of another program" % self.file)
        if version > len(STEPS):
            raise ValueError(
                "%s: was written by a newer version (format %d, this one knows %d)" % (self.file, version, len(STEPS))
            )
        execute("PRAGMA journal_mode=WAL")
        execute("BEGIN EXCLUSIVE")
        for step in STEPS[version:]:
            execute(step)
        execute("PRAGMA application_id=%d" % _APPLICATION)
        execute("PRAGMA user_version=%d" % len(STEPS))
        execute("COMMIT")
        execute("PRAGMA synchronous=" + _SYNCHRONOUS[self.durability])
        execute("PRAGMA wal_autocheckpoint=%d" % _CHECKPOINT)
        execute("PRAGMA journal_size_limit=%d" % (2 * _CHECKPOINT * 4096))

    def _check(self) -> None:
        """Raise _DamagedError unless every record is readable with a right checksum."""
        found = self._connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise _DamagedError("the file is damaged (%s)" % " ".join(found.split()))
        for rows in self._rows("key, value, sum"):
            for key, value, total in rows:
                if crc32(value, crc32(key)) != total:  # _sum without a call
                    raise _DamagedError("the file is damaged (wrong checksum of record %s)" % key[:20].hex())

    def _beside(self, ending: str) -> Path:
        return self.file.with_name(self.file.name + ending)

    def set_aside(self) -> str:
        """See Store.set_aside."""
        return str(self._move_aside())

    def _move_aside(self) -> Path:
        """Rename the file and its log to the first free name; returns the new name."""
        number = 1
        while self._beside(".corrupt-%d" % number).exists():
            number += 1
        aside = self._beside(".corrupt-%d" % number)
        for ending in ("-wal", "-journal", "-shm", ""):
            if self._beside(ending).exists():
                os.replace(self._beside(ending), aside.with_name(aside.name + ending))
        return aside

    # -- reading and writing --------------------------------------------------------------------

    def _rows(self, columns: str) -> Iterator[list[Any]]:
        cursor = self._connection.execute("SELECT %s FROM record ORDER BY key" % columns)  # nosec B608 # columns of our own
        while rows := cursor.fetchmany(_ROWS):
            yield rows

    def read(self) -> Iterator[tuple[bytes, bytes]]:
        """See WriterStore.read."""
        try:
            for rows in self._rows("key, value"):
                yield from rows
        except sqlite3.Error as e:
            raise self._error(e) from None

    def write(self, puts: list[tuple[bytes, bytes]], removed: list[bytes]) -> None:
        """See WriterStore.write."""
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            for keys, size in _portions(removed):
                connection.execute(_REMOVE[size], keys)
            for records, size in _portions(puts):
                row = [column for key, value in records for column in (key, value, _sum(key, value))]
                connection.execute(_PUT[size], row)
            connection.execute("COMMIT")
        except BaseException as e:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if isinstance(e, sqlite3.Error):
                raise self._error(e) from None
            raise

    def shut(self) -> None:
        """See WriterStore.shut. Removes the log, so that a copy of the file is whole."""
        try:
            if self.durability == "none":
                self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as e:
            logger.error("%s; what it lacks stays in its log", self._error(e))
        try:
            self._connection.close()
        except sqlite3.Error as e:
            logger.error("%s", self._error(e))
        self._connection = None

    def compact(self) -> tuple[int, int]:
        """Give free space in the file back to the file system; returns bytes before and after. Raises OSError."""
        execute = self._connection.execute
        try:
            execute("PRAGMA wal_checkpoint(TRUNCATE)")
            before = self.size()
            execute("VACUUM")
            execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as e:
            raise self._error(e) from None
        return before, self.size()

    def size(self) -> int:
        """Bytes of the file and its log."""
        return sum(path.stat().st_size for path in (self.file, self._beside("-wal")) if path.exists())

    def figures(self) -> list[tuple[str, int]]:
        """See Store.figures; `longest` in ms, `bytes` of file and log."""
        return [*super().figures(), ("bytes", self.size())]

    def _error(self, e: sqlite3.Error) -> OSError:
        reason = _REASONS.get(_code(e))
        if _code(e) in _IN_USE:
            reason = "is in use, by another broker or program" + _holders(self.file)
        if _code(e) in _DAMAGE:
            reason = "is damaged"
        return OSError("%s: %s" % (self.file, "%s (%s)" % (reason, e) if reason else e))


def _code(e: sqlite3.Error) -> int:
    """SQLite's primary result code."""
    return getattr(e, "sqlite_errorcode", 0) & 0xFF


def _holders(file: Path) -> str:
    """": process 1 (name)" of the processes with a lock on the file; empty without /proc."""
    try:
        found = file.stat()
        place = "%02x:%02x:%d" % (os.major(found.st_dev), os.minor(found.st_dev), found.st_ino)
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        names = []
        for pid in sorted({words[-4] for words in locks if words[-3] == place}):
            names.append("process %s (%s)" % (pid, Path("/proc/%s/comm" % pid).read_text().strip()))
    except (OSError, LookupError):
        return ""
    return ": " + ", ".join(names) if names else ""


def _sum(key: bytes, value: bytes) -> int:
    return crc32(value, crc32(key))


def _portions(rows: Sequence[T]) -> Iterator[tuple[list[T], int]]:
    """(part, size) of `rows` for statements of these sizes; the last part is filled up with its last row."""
    for start in range(0, len(rows), _SIZES[-1]):
        part = list(rows[start : start + _SIZES[-1]])
        size = _SIZES[bisect_left(_SIZES, len(part))]
        yield part + part[-1:] * (size - len(part)), size
