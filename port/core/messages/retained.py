"""The retained messages: one per topic name, bounded in number and bytes (clause 3.3.1.3).

They are kept as records, tuples (name, payload, qos, properties, expires, source, holder), at half of the
memory of Message objects on a board; `retained_message` makes a Message of one. `source` is the
publisher, see port.core.acl.acl, or None. The QoS includes UNTOLD when the broker has set the time of
expiry, see Options.max_retained_expiry. `holder` is the owner of the room that the message takes, None
for messages of the broker itself and of an earlier run.
"""

from port.core import const
from port.core.constants import (
    RECORD_EXPIRES,
    RECORD_HOLDER,
    RECORD_NAME,
    RECORD_PAYLOAD,
    RECORD_PROPERTIES,
    RECORD_QOS,
    RECORD_SOURCE,
)
from port.core.limits.places import part
from port.core.messages import topic_trie
from port.core.messages.message import Message
from port.core.messages.trie_walk import walk

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Iterator, Optional

    from port.core.acl.acl import Source

    Record = tuple[bytes, bytes, int, bytes, "Optional[int]", "Optional[Source]", "Optional[Holder]"]

Wide: "Any" = None
try:
    from port.core.messages.wide_node import Wide
except ImportError:
    pass  # a package without it: a step of a walk takes time for each level of a node

UNTOLD = 8
_WIDE = const(256)  # as in port.core.messages.topic_trie
_QOS = const(3)
_WORDS = const(48)  # of a message besides its bytes: record, object heads, part of the trie
_SOURCE = const(24)  # words of its source


def retained_message(record: "Record") -> Message:
    """The Message of a record."""
    qos = record[RECORD_QOS]
    expires = None if qos & UNTOLD else record[RECORD_EXPIRES]
    return Message(record[RECORD_NAME], record[RECORD_PAYLOAD], qos & _QOS, True, record[RECORD_PROPERTIES], expires)


def record(
    message: Message, source: "Optional[Source]" = None, until: "Optional[int]" = None, holder: "Optional[Holder]" = None
) -> "Record":
    """The record of a message; `until`: ms when it expires at the latest."""
    qos = message.qos
    expires = message.expires
    if until is not None and (expires is None or expires > until):
        if expires is None:
            qos |= UNTOLD
        expires = until
    return message.name, message.payload, qos, message.properties, expires, source, holder


def expired(record: "Record", now: int) -> bool:
    """True when the message must not go out any more at `now`, ms on the broker's clock [MQTT-3.3.2-5]."""
    expires = record[RECORD_EXPIRES]
    return expires is not None and expires <= now


class Holder:
    """An address or authenticated user that has retained messages: their number and bytes."""

    __slots__ = ("key", "count", "bytes")

    def __init__(self, key: "Any") -> None:
        self.key = key
        self.count = 0
        self.bytes = 0


class Retained:
    """Keeps the last retained message of each topic.

    max_count, max_bytes: the limits; at either a new topic is refused (`put` returns False), while kept messages can
    still be replaced and removed
    share: percent of the room that others leave which one holder may take; above it `put` returns False

    holders  by key

    count, bytes  messages kept, and their bytes by `size_of`
    due           ms when the first may expire, or None
    sweeping      True between the first and the last call of `expire_some`
    root, version, walked  for walk
    """

    walked: "int"

    def __init__(self, max_count: int, max_bytes: int, word: int = 8, share: int = 100) -> None:
        """`word`: bytes of a machine word."""
        self.max_count = max_count
        self.max_bytes = max_bytes
        self.share = share
        self.holders: "dict[Any, Holder]" = {}
        self.count = 0
        self.bytes = 0
        self.due: "Optional[int]" = None
        self.root: "topic_trie.Node" = {}
        self.version = 0
        self._entry = _WORDS * word
        self._source = _SOURCE * word
        self._sweep: "Optional[Iterator[Optional[Record]]]" = None
        self._due: "Optional[int]" = None  # earliest expiry, ms, among the records swept so far

    @property
    def sweeping(self) -> bool:
        """True while `expire_some` is between its first and last record."""
        return self._sweep is not None

    def size_of(self, record: "Record") -> int:
        """Bytes that a message takes; its topic name counts twice, as the trie holds its levels again."""
        size = 2 * len(record[RECORD_NAME]) + len(record[RECORD_PAYLOAD]) + len(record[RECORD_PROPERTIES]) + self._entry
        source = record[RECORD_SOURCE]
        if source is not None:
            size += len(source[0] or b"") + len(source[1]) + len(source[2]) + self._source
        return size

    def get(self, name: bytes) -> "Optional[Record]":
        """The record of a topic's retained message, expired or not, or None."""
        record: "Optional[Record]" = topic_trie.get(self.root, name)
        return record

    def holder(self, key: "Any") -> Holder:
        """The holder with a key, see port.core.limits.places; `holders` has it only once it has a message."""
        return self.holders.get(key) or Holder(key)

    def put(self, new: "Record") -> bool:
        """Store a record for its topic [MQTT-3.3.1-5]; False when there is no room."""
        old = self.get(new[RECORD_NAME])
        more = self.size_of(new)
        if old is None:
            if self.count >= self.max_count:
                return False
        else:
            more -= self.size_of(old)
        if more > 0:
            if self.bytes + more > self.max_bytes:
                return False
            holder = new[RECORD_HOLDER]
            if holder is not None and self.share < 100:
                if holder.bytes + more > part(self.max_bytes - self.bytes + holder.bytes, self.share):
                    return False
                if old is None and holder.count >= part(self.max_count - self.count + holder.count, self.share):
                    return False
        self.load(new)
        return True

    def load(self, record: "Record") -> None:
        """Take in a record of an earlier run, whatever the limits."""
        if Wide is not None and len(self.root) >= _WIDE and isinstance(self.root, dict):
            self.root = Wide(self.root)
        holder = record[RECORD_HOLDER]
        if holder is not None and not holder.count:  # first, so that a MemoryError leaves nothing half done
            self.holders[holder.key] = holder
        old: "Optional[Record]" = topic_trie.put(self.root, record, Wide)
        self._count(record, 1)
        if old is None:
            self.version += 1
        else:
            self._count(old, -1)
        expires = record[RECORD_EXPIRES]
        if expires is not None:
            if self.due is None or expires < self.due:
                self.due = expires
            if self._due is None or expires < self._due:
                self._due = expires

    def remove(self, name: bytes) -> bool:
        """Forget the topic's retained message [MQTT-3.3.1-6]; False when there was none."""
        record = topic_trie.remove(self.root, name)
        if record is None:
            return False
        self.version += 1
        self._count(record, -1)
        self.root = topic_trie.shrunk(self.root)
        return True

    def _count(self, record: "Record", sign: int) -> None:
        """Count a record in (1) or out (-1)."""
        size = sign * self.size_of(record)
        self.count += sign
        self.bytes += size
        holder = record[RECORD_HOLDER]
        if holder is not None:
            holder.count += sign
            holder.bytes += size
            if not holder.count:
                self.holders.pop(holder.key, None)

    def walk(self, topic_filter: "Optional[bytes]") -> "Iterator[Optional[Record]]":
        """Yield the records that a filter matches, expired ones too, and None for a rest.

        topic_filter: None for all records, those of `$` names too

        Between two steps the store may change, and the walk may be dropped. None comes after about 64 steps, whose number is
        `walked`, so that other work can go on. A name that stays from the beginning to the end is yielded with its present
        record, once unless names near it were removed; a name put meanwhile may be yielded.
        """
        return walk(self, topic_filter or b"#", topic_filter is not None)

    def matching(self, topic_filter: "Optional[bytes]") -> "list[Record]":
        """The records of `walk` as a list."""
        return [record for record in self.walk(topic_filter) if record is not None]

    def expire_some(self, now: int, steps: int) -> "list[bytes]":
        """Look at `steps` records and remove those that have expired by `now` (ms) [MQTT-3.3.2-5].

        Returns the names of the removed ones. A call goes on where the last one stopped, and begins anew after the end.
        """
        gone: "list[bytes]" = []
        sweep = self._sweep
        if sweep is None:
            self._sweep = sweep = self.walk(None)
            self._due = None
        while steps > 0:
            try:
                record = next(sweep)
            except StopIteration:
                self._sweep = None
                self.due = self._due
                break
            except MemoryError:
                self._sweep = None  # it cannot go on
                raise
            if record is None:
                steps -= self.walked
                continue
            steps -= 1
            expires = record[RECORD_EXPIRES]
            if expires is None:
                continue
            if expires <= now:
                gone.append(record[RECORD_NAME])
            elif self._due is None or expires < self._due:
                self._due = expires
        for name in gone:
            self.remove(name)
        return gone
