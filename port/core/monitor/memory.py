"""Bytes kept for clients: counted as they are taken and given back, and bounded together by `max_memory`."""

from port.core import const
from port.core.constants import ENTRY_MESSAGE
from port.core.messages.message import LIGHT, Message
from port.core.sessions.session import is_for_all
from port.core.monitor.load_shedding import MANY, Shedding, drop_queues

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from port.core.broker import Broker

_MESSAGE = const(18)  # words of a kept message, besides its name, payload and properties
_ENTRY = const(10)  # words of an entry
_IDENTIFIER = const(12)  # words of an identifier in a growing dict
_SLOT = const(2)  # words of an entry's place in a queue or window
_SHED = const(200)  # ms
_PACKETS = const(4)  # packets of the largest size that always have room


class Memory:
    """The memory kept for clients, in bytes.

    word            bytes of a word, the unit of objects' sizes
    slot, place     bytes of an entry's place in a queue or window; the same with the entry
    identifier      bytes of a kept packet identifier
    message_bytes   of messages in queues, in flight and held for a batch of the store, see `keep`
    session_bytes   of client ids, wills, aliases and QoS 2 identifiers; sessions themselves are bounded in number
    partial_bytes   of incomplete packets
    unsent_bytes    of data that sockets have not taken, if the host knows; updated once a second
    shortage        degree to which the host's memory is short, see monitor.memory_guard.MemoryGuard
    look            checks that before another session is kept, or None
    """

    def __init__(self, broker: "Broker", word: int) -> None:
        self._broker = broker
        self.word = word
        self.slot = _SLOT * word
        self.place = (_SLOT + _ENTRY) * word
        self.identifier = _IDENTIFIER * word
        self.message_bytes = 0
        self.session_bytes = 0
        self.partial_bytes = 0
        self.unsent_bytes = 0
        self.shortage = 0
        self.look: "Optional[Callable[[], None]]" = None
        self._shed_at = 0  # time from which on queues may give way again at once, ms
        self._sheds_at = 0  # and in the background
        self._shedding: "Any" = None  # the last job in which they gave way

    def kept(self) -> int:
        """Bytes kept for clients at present, see Options.max_memory."""
        return (
            self.message_bytes + self.partial_bytes + self.unsent_bytes + self.session_bytes
            + self._broker.retained.bytes + self._broker.router.subscriptions.bytes
        )  # fmt: skip

    def limit(self) -> int:
        """Most bytes kept for all clients together: max_memory, but at least room for some packets."""
        options = self._broker.options
        return max(options.max_memory, _PACKETS * options.max_packet_size)

    def is_half_full(self) -> bool:
        """True when messages for clients and packets from them take half of the limit less the other bytes."""
        passing = self.message_bytes + self.partial_bytes
        return passing * 2 > self.limit() - self.kept() + passing

    def lacks(self, size: int) -> bool:
        """True when `size` bytes more would be above the limit for all clients together.

        When less than an eighth is free, the largest queues give way until three sixteenths are, or sessions if queues do not
        take the memory, see monitor.load_shedding; again after _SHED ms at the earliest. At the limit queues give way at once.
        """
        broker = self._broker
        limit = self.limit()
        kept = self.kept() + size
        if kept <= limit - limit // 8:
            return False
        now = broker.clock()
        if kept > limit and now >= self._shed_at and len(broker.sessions) < MANY:
            self._shed_at = now + _SHED
            drop_queues(broker, limit - limit // 8 + self._leaving() - size)
            kept = self.kept() + size
        if kept > limit - limit // 8 and now >= self._sheds_at and self._shedding not in broker.turns.jobs:
            self._sheds_at = now + _SHED
            self._shedding = Shedding(broker, self._has_shed).go_on
            broker.turns.background(self._shedding)
        return kept > limit

    def _has_shed(self) -> bool:
        return self.kept() <= self.limit() * 13 // 16 + self._leaving()

    def _leaving(self) -> int:
        """Bytes still kept that are being given back."""
        return sum([session.subscription_bytes for session in self._broker.session_registry.ended])

    def weight(self, message: Message) -> int:
        """Bytes of a message with the entry that its receivers share.

        A large payload is also in its packet, and large properties once more in the part of packets that receivers share.
        """
        size = message.size()
        if size > LIGHT:
            size *= 2 if len(message.properties) <= LIGHT else 3
        return size + (_MESSAGE + _ENTRY) * self.word

    def keep(self, entry: "Any", weight: int = 0) -> None:
        """A queue or a window has taken in an entry, see sessions.session; a message counts once for all its entries.

        `weight`: that of its message, if known.
        """
        message = entry[ENTRY_MESSAGE]
        size = self.slot if is_for_all(entry) else self.place
        if not message.kept:
            size += weight or self.weight(message)
        message.kept += 1
        self.message_bytes += size

    def let_go(self, entry: "Any") -> None:
        """A queue or a window has let go of an entry, see `keep`."""
        message = entry[ENTRY_MESSAGE]
        size = self.slot if is_for_all(entry) else self.place
        message.kept -= 1
        if not message.kept:
            size += self.weight(message)
        self.message_bytes -= size
