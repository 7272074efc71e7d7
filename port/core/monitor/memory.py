"""The bytes that are kept for clients: counted where they are taken and given back, and bounded together by `max_memory`."""

from port.core import const
from port.core.constants import ENTRY_MESSAGE
from port.core.messages.message import LIGHT, Message
from port.core.sessions.session import is_for_all
from port.core.monitor.load_shedding import MANY, Shedding, drop_queues

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from port.core.broker import Broker

_MESSAGE = const(18)  # words a kept message takes beside its name, payload and properties
_ENTRY = const(10)  # words of an entry
_IDENTIFIER = const(12)  # words it takes in a dict that grows
_SLOT = const(2)  # words of its place in a queue or window
_SHED = const(200)  # ms
_PACKETS = const(4)  # of the largest size that have room in any case


class Memory:
    """What is kept for clients, in bytes.

    word            bytes of a word, of which objects are made
    slot, place     bytes of an entry's place in a queue or window; with the entry itself
    identifier      bytes of a packet identifier that is remembered
    message_bytes   in queues, in flight and behind a batch of the store, see `keep`
    session_bytes   client ids, wills, aliases and QoS 2 identifiers; sessions themselves are bounded in number
    partial_bytes   packets that have not come whole
    unsent_bytes    what sockets have not taken, where the host knows; told once a second
    shortage        how short the host's memory is, see monitor.memory_guard.MemoryGuard
    look            looks at that before there is another session that stays, or None
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
        self._shed_at = 0  # when queues may give way again at once, ms
        self._sheds_at = 0  # and in the background
        self._shedding: "Any" = None  # the last job in which they did

    def kept(self) -> int:
        """Bytes kept for clients at this moment, see Options.max_memory."""
        return (
            self.message_bytes + self.partial_bytes + self.unsent_bytes + self.session_bytes
            + self._broker.retained.bytes + self._broker.router.subscriptions.bytes
        )  # fmt: skip

    def limit(self) -> int:
        """Bytes that may be kept for all clients together: max_memory, but room for some packets in any case."""
        options = self._broker.options
        return max(options.max_memory, _PACKETS * options.max_packet_size)

    def is_half_full(self) -> bool:
        """True when what waits for clients, or comes from them, has half of what the rest leaves of that."""
        passing = self.message_bytes + self.partial_bytes
        return passing * 2 > self.limit() - self.kept() + passing

    def lacks(self, size: int) -> bool:
        """True when `size` bytes more would be above the limit for all clients together.

        Where less than an eighth is free, the largest queues and, where queues are not what takes it, sessions give way, see
        monitor.load_shedding, until it is three sixteenths; again after _SHED ms at the earliest. At the limit queues do at once.
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
        """Bytes that are kept, and are being given back."""
        return sum([session.subscription_bytes for session in self._broker.session_registry.ended])

    def weight(self, message: Message) -> int:
        """Bytes a message takes with the entry its receivers share.

        A large payload stands in its packet, too, and large properties once more in what packets made to measure share.
        """
        size = message.size()
        if size > LIGHT:
            size *= 2 if len(message.properties) <= LIGHT else 3
        return size + (_MESSAGE + _ENTRY) * self.word

    def keep(self, entry: "Any", weight: int = 0) -> None:
        """A queue or a window has taken an entry in, see sessions.session; those that share its message count that once.

        `weight`: its message's, where it is known.
        """
        message = entry[ENTRY_MESSAGE]
        size = self.slot if is_for_all(entry) else self.place
        if not message.kept:
            size += weight or self.weight(message)
        message.kept += 1
        self.message_bytes += size

    def let_go(self, entry: "Any") -> None:
        """The opposite of `keep`."""
        message = entry[ENTRY_MESSAGE]
        size = self.slot if is_for_all(entry) else self.place
        message.kept -= 1
        if not message.kept:
            size += self.weight(message)
        self.message_bytes -= size
