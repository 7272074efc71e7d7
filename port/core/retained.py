"""The retained messages: one per topic name, bounded in number and bytes (clause 3.3.1.3).

They are kept as records, tuples (name, payload, qos, properties, expires) that cost a board
half of what Message objects do; `message` makes one when it is needed.
"""

from port.core import const, trie
from port.core.message import Message

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

    Record = tuple[bytes, bytes, int, bytes, "Optional[int]"]


def retained_message(record: "Record") -> Message:
    """The message a record stands for."""
    return Message(record[0], record[1], record[2], True, record[3], record[4])


def record(message: Message) -> "Record":
    """The record that stands for a message."""
    return message.name, message.payload, message.qos, message.properties, message.expires


def expired(record: "Record", now: int) -> bool:
    """True when the message must not go out any more at `now`, ms on the broker's clock [MQTT-3.3.2-5]."""
    return record[4] is not None and record[4] <= now


def _size(record: "Record") -> int:
    return len(record[0]) + len(record[1]) + len(record[3])


class Retained:
    """Keeps the last retained message of each topic.

    max_count, max_bytes: the limits; at either a new topic is refused (`put` returns False),
    what is there stays and can still be replaced or removed.
    """

    def __init__(self, max_count: int, max_bytes: int) -> None:
        self.max_count = max_count
        self.max_bytes = max_bytes
        self.count = 0
        self.bytes = 0
        self.expiring = False  # some may have an expiry
        self._root: "trie.Node" = {}

    def get(self, name: bytes) -> "Optional[Record]":
        """The record of a topic's retained message, expired or not, or None."""
        record: "Optional[Record]" = trie.get(self._root, name)
        return record

    def put(self, message: Message) -> bool:
        """Store `message` as its topic's retained message [MQTT-3.3.1-5]; False when there is no room."""
        new = record(message)
        old = self.get(message.name)
        count = self.count + (old is None)
        size = self.bytes + _size(new) - (_size(old) if old else 0)
        if count > self.max_count or size > self.max_bytes:
            return False
        self._set(new)
        self.count = count
        self.bytes = size
        return True

    def load(self, record: "Record") -> None:
        """Take in a record whatever the limits: it was promised before."""
        old = self._set(record)
        self.count += 1
        self.bytes += _size(record)
        if old is not None:
            self.count -= 1
            self.bytes -= _size(old)

    def _set(self, record: "Record") -> "Optional[Record]":
        """Put a record in place of the one that is returned, or None."""
        if record[4] is not None:
            self.expiring = True
        old: "Optional[Record]" = trie.put(self._root, record)
        return old

    def remove(self, name: bytes) -> bool:
        """Forget the topic's retained message [MQTT-3.3.1-6]; False when there was none."""
        record = trie.remove(self._root, name)
        if record is None:
            return False
        self.count -= 1
        self.bytes -= _size(record)
        return True

    def matching(self, topic_filter: bytes) -> "list[Record]":
        """The records of the retained messages a filter matches, those that have expired included."""
        return trie.matching_names(self._root, topic_filter)

    def expire(self, now: int) -> "list[bytes]":
        """Remove what has expired by `now` (ms); returns the names of what went [MQTT-3.3.2-5]."""
        records = self.matching(b"#")
        for level in self._root:
            if level is not None and level.startswith(b"$"):  # `#` does not see those
                records += self.matching(level + b"/#")
        expiring = [record for record in records if record[4] is not None]
        gone = [record[0] for record in expiring if expired(record, now)]
        for name in gone:
            self.remove(name)
        self.expiring = len(gone) < len(expiring)
        return gone
