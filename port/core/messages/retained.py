"""The retained messages: one per topic name, bounded in number and bytes (clause 3.3.1.3).

They are kept as records, tuples (name, payload, qos, properties, expires, source, holder) that cost a board
half of what Message objects do; `retained_message` makes one when it is needed. `source` is who
published it, see port.core.acl.acl, or None; the QoS has UNTOLD beside it where the time of expiry
is the broker's, see Options.max_retained_expiry. `holder` is whose room it takes, None for the
broker's own and for what was there before the broker started.
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
    pass  # then one step of a walk is as long as a node has levels

UNTOLD = 8
_WIDE = const(256)  # port.core.messages.topic_trie has it
_QOS = const(3)
_WORDS = const(48)  # that a message takes beside its bytes: the record, their heads, its part of the trie
_SOURCE = const(24)  # and its source


def retained_message(record: "Record") -> Message:
    """The message a record stands for."""
    qos = record[RECORD_QOS]
    expires = None if qos & UNTOLD else record[RECORD_EXPIRES]
    return Message(record[RECORD_NAME], record[RECORD_PAYLOAD], qos & _QOS, True, record[RECORD_PROPERTIES], expires)


def record(
    message: Message, source: "Optional[Source]" = None, until: "Optional[int]" = None, holder: "Optional[Holder]" = None
) -> "Record":
    """The record that stands for a message; until: when it expires if it does not before, ms."""
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
    """An address, or a user somebody vouched for, that has retained messages: how many, and their bytes."""

    __slots__ = ("key", "count", "bytes")

    def __init__(self, key: "Any") -> None:
        self.key = key
        self.count = 0
        self.bytes = 0


class Retained:
    """Keeps the last retained message of each topic.

    max_count, max_bytes: the limits; at either a new topic is refused (`put` returns False),
    what is there stays and can still be replaced or removed.
    share: what a holder may have, in percent, of the room that others leave; above it he is refused

    holders  by key

    count, bytes  what there is, in the sizes of `size_of`
    due           when the first may expire, ms, or None
    sweeping      True between the first and the last call of `expire_some`
    root, version, walked  for walk
    """

    walked: "int"

    def __init__(self, max_count: int, max_bytes: int, word: int = 8, share: int = 100) -> None:
        """`word`: bytes of a word, of which objects are made."""
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
        self._due: "Optional[int]" = None  # as far as the sweep has come

    @property
    def sweeping(self) -> bool:
        """Whether `expire_some` has not come to the end."""
        return self._sweep is not None

    def size_of(self, record: "Record") -> int:
        """Bytes a message takes: the trie has its name's levels a second time."""
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
        """Who has this key, see port.core.limits.places; known from then on only if he has a message."""
        return self.holders.get(key) or Holder(key)

    def put(self, new: "Record") -> bool:
        """Store a record as that of its topic's retained message [MQTT-3.3.1-5]; False when there is no room."""
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
        """Take in a record whatever the limits: it was promised before."""
        if Wide is not None and len(self.root) >= _WIDE and isinstance(self.root, dict):
            self.root = Wide(self.root)
        holder = record[RECORD_HOLDER]
        if holder is not None and not holder.count:  # first: what follows must not fail halfway for want of memory
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
        """A record is there from now on, or (-1) not any more."""
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
        """Give the records a filter matches one by one, those that have expired included, and None for a rest.

        topic_filter: None for all there are, `$` names too

        Between any two steps the store may change, and the walk may rest as long as it likes or be dropped. None comes
        after about 64 steps, as many as `walked` tells, when other work may wait. A name that is there from the beginning
        to the end is given, with its record of that moment, and once unless names near it were removed; one that comes
        meanwhile may be given.
        """
        return walk(self, topic_filter or b"#", topic_filter is not None)

    def matching(self, topic_filter: "Optional[bytes]") -> "list[Record]":
        """The records of `walk`, all at once."""
        return [record for record in self.walk(topic_filter) if record is not None]

    def expire_some(self, now: int, steps: int) -> "list[bytes]":
        """Look at so many records for those that have expired by `now` (ms), and remove them [MQTT-3.3.2-5].

        Returns their names. It goes on where the last call stopped, and begins anew after it came to the end.
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
