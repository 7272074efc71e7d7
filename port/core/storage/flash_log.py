"""Records in an append-only log of files, for flash: a batch is kept whole or not at all, whenever the power fails.

A segment is a file of batches; its number is its place in the log. A batch:

    length   4 bytes, of the records that follow
    CRC-32   4 bytes, of length and records; it starts from the segment's number and the batch's place in it, so that
             left-overs of an old file in a block are never taken for a batch of this one
    records  length of the key (4 bytes), length of the value + 1 or 0 to remove the record (4 bytes), key, value

Nothing is changed in place. Reading a segment ends at the first batch that is not whole; the next batch then goes
into a new segment. Compaction writes the records in force into a new segment, in the order of their keys, and behind them a
batch of length 0, which allows all segments before it to be removed. Until then the new one only repeats the others, so no
file has to be renamed, which FAT does in more than one step.

`files` is an object of the host, which names files by number; all of its methods may raise OSError:

    place               the folder's name, for messages
    free()              bytes of free space
    numbers()           numbers of the existing files
    open(number, mode)  a file to be used in `with`; mode "rb", or "ab", which makes it if need be
    remove(number)
    sync()              make the contents of closed files durable
"""

from binascii import crc32

from port.core import const
from port.core.wire.codec import u32

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator, Optional

    from port.core.storage.store import Record

BLOCK = const(4096)  # bytes that an append wears out, besides its own
_HEAD = const(8)
_CHUNK = const(512)  # bytes read at a time, and about as many of records copied in one batch
_KEYS = const(32)  # keys in memory at a time; more of them take another reading of the log
_SEGMENTS = const(8)  # more segments than these make the next batch compact


def _seed(number: int, at: int) -> int:
    return (number << 20 ^ at) & 0x3FFFFFFF  # fits a board's small integer


def _key(key: bytes, value: "Optional[bytes]") -> bytes:
    """The part of a record before its value."""
    return u32(len(key)) + u32(0 if value is None else len(value) + 1) + key


def _int(data: bytes) -> int:
    return int.from_bytes(data, "big")


class FlashLog:
    """A log in `files`; a segment ends at `segment` bytes; failures are told to `report(text, *values)`.

    size         bytes of the log
    appends      number of times a file was opened and written to
    written      bytes written so far, and a BLOCK for each append
    compactions  number of compactions
    cut          bytes found outside whole batches
    """

    def __init__(self, files: "Any", segment: int, report: "Callable[..., None]") -> None:
        self._files = files
        self._segment = segment
        self._report = report
        self._segments: "list[tuple[int, int]]" = []  # number, bytes of whole batches; in the order of the log
        self._next = 0
        self._torn = False  # no batch may follow the last one in its segment
        self._base = 0  # size at the last compaction, or attempt at one
        self._limit = 0  # size at which it is compacted
        self.size = self.appends = self.written = self.compactions = self.cut = 0

    def open(self) -> None:
        """Read the existing segments. Raises OSError."""
        numbers = sorted(self._files.numbers())
        self._segments = []
        self._next = numbers[-1] + 1 if numbers else 1
        self._torn = False
        self._base = self.size = 0
        while numbers and not self._base:
            number = numbers.pop()
            end, size, self._base = self._check(number)
            if size > end:
                self.cut += size - end
                self._report("%s: %d bytes at the end of file %d are no whole batch", self._files.place, size - end, number)
                self._torn |= not self._segments
            self._segments.insert(0, (number, end))
            self.size += size
        self._limit = 0 if len(self._segments) > _SEGMENTS else 2 * self._base + self._segment
        self._drop(numbers)

    def _check(self, number: int) -> "tuple[int, int, int]":
        """Read a segment: (end of its whole batches, its size, end of its copies, 0 unless it has all of them)."""
        end = size = base = 0
        try:
            with self._files.open(number, "rb") as file:
                size = file.seek(0, 2)
                while size - end >= _HEAD:
                    file.seek(end)
                    head = file.read(_HEAD)
                    after = end + _HEAD + _int(head[:4])
                    crc = crc32(head[:4], _seed(number, end))
                    left = after - end - _HEAD
                    while left > 0:
                        data = file.read(min(left, _CHUNK))
                        crc = crc32(data, crc)
                        left -= len(data) or left
                    if crc != _int(head[4:]):
                        break
                    if after - end == _HEAD:
                        base = after
                    end = after
        except OSError:  # the file system has found damage itself
            size = max(size, end + 1)
        return end, size, base

    def _records(self) -> "Iterator[tuple[bytes, int]]":
        """The keys of all records, and their places in the log."""
        start = 0
        for number, end in self._segments:
            if not end:  # it may be unreadable
                continue
            with self._files.open(number, "rb") as file:
                at = 0
                while at < end:
                    file.seek(at)
                    at += _HEAD
                    stop = at + _int(file.read(4))
                    while at < stop:
                        file.seek(at)
                        size = _int(file.read(4))
                        value = _int(file.read(4))
                        yield file.read(size), start + at
                        at += _HEAD + size + max(value - 1, 0)
            start += end

    def live(self) -> "Iterator[tuple[bytes, bytes]]":
        """The records in force, in the order of their keys. Raises OSError."""
        last = b""
        more = True
        while more:
            more = False
            top = b""
            found: "dict[bytes, int]" = {}  # the first keys after `last`, and the place of their last record
            for key, at in self._records():
                if key <= last:
                    continue
                if key not in found and len(found) >= _KEYS:
                    more = True
                    if key > top:
                        continue
                    del found[top]
                    top = max(found)
                found[key] = at
                if key > top:
                    top = key
            for key in sorted(found):
                value = self._value(key, found[key])
                if value is not None:
                    yield key, value
            last = top

    def _value(self, key: bytes, at: int) -> "Optional[bytes]":
        """The value of the record at this place in the log."""
        for number, end in self._segments:
            if at < end:
                break
            at -= end
        with self._files.open(number, "rb") as file:
            file.seek(at + 4)
            size = _int(file.read(4))
            file.seek(at + _HEAD + len(key))
            value: "bytes" = file.read(max(size - 1, 0))
            return value if size else None

    def commit(self, batch: "list[Record]") -> None:
        """Append a batch; compact the log when that is due. Raises OSError or MemoryError, and the log is as before."""
        if not batch:  # it would end copies
            return
        try:
            self._commit(batch)
        except OSError:
            if self.size <= self._base:
                raise
            self.compact()  # the file system may be full
            self._commit(batch)
        try:
            tight = self.size > 2 * self._base and self._files.free() < self.size + 2 * BLOCK
            if tight or self.size > self._limit:  # copies need room, too
                self.compact()
        except (OSError, MemoryError) as e:
            self._limit = self.size + self._segment
            self._base = self.size
            self._report("%s: cannot compact: %r", self._files.place, e)

    def _commit(self, batch: "list[Record]") -> None:
        segments = self._segments
        if not segments or self._torn or segments[-1][1] >= self._segment:
            end = self._append(self._next, 0, (batch,))
            self.size += end
            segments.append((self._next - 1, end))
        else:
            number, at = segments[-1]
            end = self._append(number, at, (batch,))
            self.size += end - at
            segments[-1] = (number, end)

    def compact(self) -> None:
        """Write the records in force into a new segment, remove the others. Raises OSError or MemoryError, losing nothing."""
        end = self._append(self._next, 0, self._copies())
        numbers = [number for number, _ in self._segments]
        self._segments = [(self._next - 1, end)]
        self._base = self.size = end
        self._limit = 2 * end + self._segment
        self.compactions += 1
        self._drop(numbers)

    def _copies(self) -> "Iterator[list[Record]]":
        """Batches of the records in force, and the empty one that ends them."""
        batch: "list[Record]" = []
        size = 0
        for record in self.live():
            batch.append(record)
            size += _HEAD + len(record[0]) + len(record[1])
            if size > _CHUNK:
                yield batch
                batch = []
                size = 0
        if batch:
            yield batch
        yield []

    def _append(self, number: int, end: int, batches: "Iterable[list[Record]]") -> int:
        """Write batches at `end` of a segment, 0 for a new one; returns their end."""
        fresh = not end
        self._torn = True
        self.appends += 1
        self.written += BLOCK
        if fresh:
            self._next += 1
        try:
            with self._files.open(number, "ab") as file:
                for batch in batches:
                    size = 0
                    for key, value in batch:
                        size += _HEAD + len(key) + len(value or b"")
                    head = u32(size)
                    crc = crc32(head, _seed(number, end))
                    for key, value in batch:
                        crc = crc32(value or b"", crc32(_key(key, value), crc))
                    file.write(head + u32(crc))
                    for key, value in batch:  # again: a list of all parts might find no memory on a board
                        file.write(_key(key, value))
                        if value:
                            file.write(value)
                    end += _HEAD + size
                    self.written += _HEAD + size
            self._files.sync()
        except (OSError, MemoryError):
            if fresh:
                self._drop([number])
            raise
        self._torn = False
        return end

    def _drop(self, numbers: "list[int]") -> None:
        """Remove segments, oldest first; the next opening of the log removes those that cannot be removed now."""
        for number in numbers:
            try:
                self._files.remove(number)
            except OSError:
                pass
