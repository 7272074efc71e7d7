"""The retained messages: one per topic name, bounded in number and bytes (clause 3.3.1.3)."""

from port.core import TYPE_CHECKING, trie
from port.core.message import Message

if TYPE_CHECKING:
    from typing import Optional


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
        self._root: "trie.Node" = {}

    def get(self, name: bytes) -> "Optional[Message]":
        """The retained message of a topic, expired or not, or None."""
        node = trie.find(self._root, name.split(b"/"))
        return None if node is None else node.get(None)

    def put(self, message: Message) -> bool:
        """Store `message` as its topic's retained message [MQTT-3.3.1-5]; False when there is no room."""
        old = self.get(message.name)
        count = self.count + (old is None)
        size = self.bytes + message.size() - (old.size() if old else 0)
        if count > self.max_count or size > self.max_bytes:
            return False
        trie.grow(self._root, message.name.split(b"/"))[None] = message
        self.count = count
        self.bytes = size
        return True

    def remove(self, name: bytes) -> bool:
        """Forget the topic's retained message [MQTT-3.3.1-6]; False when there was none."""
        levels = name.split(b"/")
        node = trie.find(self._root, levels)
        message = None if node is None else node.pop(None, None)
        if message is None:
            return False
        trie.prune(self._root, levels)
        self.count -= 1
        self.bytes -= message.size()
        return True

    def matching(self, topic_filter: bytes) -> "list[Message]":
        """The retained messages a filter matches, those that have expired included."""
        return trie.values_matching(self._root, topic_filter)

    def expire(self, now: int) -> int:
        """Remove what has expired by `now` (ms); returns how many went [MQTT-3.3.2-5]."""
        gone = [m.name for m in self.matching(b"#") if m.expires is not None and m.expires <= now]
        for name in gone:
            self.remove(name)
        return len(gone)
