"""Files in memory for a flash log: they note what is done to them, fail when told to, and hold so many bytes."""

import io

from port.core.storage.flash_log import FlashLog


class _Writer:
    """A file that is appended to."""

    def __init__(self, files, number):
        self._files = files
        self._number = number
        self._before = files.contents[number]

    def write(self, data):
        files = self._files
        files.step()
        room = files.free()
        files.contents[self._number] += data[:max(room, 0)]
        files.note("write", self._number, bytes(data))
        if len(data) > room:
            if not files.keeps_parts:
                files.contents[self._number] = self._before
            raise OSError(28, "full")
        return len(data)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._files.step()


class MemoryFiles:
    """Files by number.

    contents     {number: bytes}
    trace        what was done while `tracing`: ("make", number), ("write", number, data), ("remove", number)
    capacity     bytes that all files may hold
    keeps_parts  what was written before room ended stays, as on FAT
    fails        which step raises OSError; counts down, 0 is the next one
    """

    place = "memory"

    def __init__(self, contents=None):
        self.contents: "dict[int, bytes]" = dict(contents or {})
        self.trace: "list[tuple]" = []
        self.tracing = False
        self.synced = 0
        self.capacity = 1 << 30
        self.keeps_parts = True
        self.fails = -1

    def note(self, *what):
        if self.tracing:
            self.trace.append(what)

    def step(self):
        self.fails -= 1
        if self.fails == -1:
            raise OSError(5, "broken")

    def free(self):
        return self.capacity - sum([len(content) for content in self.contents.values()])

    def numbers(self):
        return list(self.contents)

    def open(self, number, mode):
        if mode == "rb":
            return io.BytesIO(self.contents[number])
        self.step()
        if number not in self.contents:
            self.contents[number] = b""
            self.note("make", number)
        return _Writer(self, number)

    def remove(self, number):
        self.step()
        if number not in self.contents:
            raise OSError(2, "not there")
        del self.contents[number]
        self.note("remove", number)

    def sync(self):
        self.step()
        self.synced += 1


def opened(files, segment=256, reports=None):
    """A log that was opened; `reports` collects what it reports."""
    reported = [] if reports is None else reports
    log = FlashLog(files, segment, lambda text, *values: reported.append(text % values))
    log.open()
    return log


def content(files, segment=256):
    """What a log has after the power came back."""
    return dict(opened(MemoryFiles(files.contents), segment).live())


def apply(state, batch):
    """The state of records after a batch, as a new dict."""
    after = dict(state)
    for key, value in batch:
        if value is None:
            after.pop(key, None)
        else:
            after[key] = value
    return after


def a_run(count):
    """Batches of many kinds: values that change, keys that come and go, empty values and large ones."""
    for i in range(count):
        yield [
            (b"\7topic/%d" % (i % 5), b"value %d" % i),
            (b"\7other/%d" % (i % 3), None if i % 4 == 3 else b"x" * (i * 7 % 40)),
        ] if i % 6 else [(b"\1", b""), (b"\7once/%d" % i, b"o"), (b"\7once/%d" % (i - 6), None)]
