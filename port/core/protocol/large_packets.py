"""Large packets: copies of one message for many receivers are sent in parts, between which other clients are served."""

from port.core import const
from port.core.messages.message import LIGHT

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from port.core.protocol.connection import Connection
    from port.core.broker import Broker

_MUCH = const(2097152)  # bytes of large packets sent in one go


class LargePackets:
    """Large packets in outboxes, see Broker.flush.

    bytes     of large packets in outboxes, to go with the next flush
    flushing  True while a session's waiting messages are sent
    midway    True while a packet is being handled: nothing is stored then, as half of its effects might be lost, and its bytes
              are still needed
    """

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self.bytes = 0
        self.flushing = False
        self.midway = False
        self._later: "list[Connection]" = []  # outboxes left for after other clients
        self._left = _MUCH  # bytes of large packets to send before others are served

    def served(self) -> None:
        """Others have been served: allow the full amount again."""
        self._left = _MUCH

    def put_off(self, large: int) -> None:
        """Leave large outboxes for after other clients, once about _MUCH bytes were sent since these were served."""
        broker = self._broker
        dirty = broker.dirty
        if large * len(dirty) <= _MUCH:
            return
        later: "list[Connection]" = []
        small: "list[Connection]" = []
        for conn in dirty:
            size = sum([len(chunk) for chunk in conn.out])
            if size <= LIGHT or broker.journal is not None and conn.ack_after_batch > broker.durable:
                small.append(conn)
            elif self._left > 0:
                self._left -= size
                small.append(conn)
            else:
                later.append(conn)
        dirty[:] = small
        if later:
            if not self._later:
                broker.turns.give(self._flush_later)
            self._later += later

    def _flush_later(self) -> bool:
        """Take up the outboxes left for later."""
        self._broker.dirty += self._later
        self._later.clear()
        self.bytes = _MUCH
        return False

    def append(self, out: "list[Any]", head: bytes, tail: bytes) -> None:
        """Put a packet with a large payload into an outbox, which does not copy it."""
        out.append(head)
        if tail:
            out.append(tail)
            self._broker.counters.packets_sent -= 1  # `flush` counts it as two
        self.bytes += len(head) + len(tail)

    def send(self) -> None:
        """Send large copies of a message before more are made for the same client: only that shows which clients do not read.

        The packet that brought the message is still being handled, see `midway`.
        """
        broker = self._broker
        if self.bytes > broker.options.outbox_bytes and not self.flushing:
            self.midway = True
            try:
                broker.flush()
            finally:
                self.midway = False
