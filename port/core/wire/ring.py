"""A ring buffer on a fixed bytearray, for bytes that a socket does not take yet."""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from port.core.wire.codec import Buffer


class Ring:
    """First in, first out, `size` bytes at most. After construction it allocates memoryviews only.

    used: bytes waiting
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        self._data = bytearray(size)
        self._view = memoryview(self._data)
        self._head = 0

    def room(self) -> int:
        """Free bytes."""
        return self.size - self.used

    def put(self, data: "Buffer") -> None:
        """Append `data`; ValueError when there is no room for all of it."""
        count = len(data)
        if count > self.size - self.used:
            raise ValueError("ring full")
        tail = self._head + self.used
        if tail >= self.size:
            tail -= self.size
        first = min(count, self.size - tail)
        if first == count:
            self._data[tail : tail + count] = data
        else:
            view = memoryview(data)
            self._data[tail:] = view[:first]
            self._data[: count - first] = view[first:]
        self.used += count

    def peek(self) -> memoryview:
        """The oldest bytes, as far as they are contiguous; empty when the ring is."""
        return self._view[self._head : min(self._head + self.used, self.size)]

    def take(self, count: int) -> None:
        """Drop the `count` oldest bytes; ValueError when there are fewer."""
        if not 0 <= count <= self.used:
            raise ValueError("ring holds %d bytes, not %d" % (self.used, count))
        self.used -= count
        self._head += count
        if self._head >= self.size:
            self._head -= self.size
        if not self.used:
            self._head = 0
