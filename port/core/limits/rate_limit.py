"""The rate at which one client may send: two token buckets, for messages and for bytes."""

from port.core import const
from port.core.constants import OPEN, RATE
from port.core.wire.reason_codes import MESSAGE_RATE_TOO_HIGH, MQTTError

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from port.core.limits.options import Options
    from port.core.protocol.connection import Connection



class Rate:
    """Allowances that fill at the options' rates, up to `rate_burst` seconds' worth.

    The packets of a read are taken off after it, so an allowance can be overdrawn; then the client is read later or
    disconnected, as `rate_exceeded` says.
    """

    __slots__ = ("_messages", "_bytes", "_at")

    def __init__(self, options: "Options", now: int) -> None:
        """Both allowances begin full; `now`: ms."""
        self._messages = options.max_message_rate * options.rate_burst * 1000
        self._bytes = options.max_byte_rate * options.rate_burst * 1000
        self._at = now

    def take(self, options: "Options", messages: int, size: int, now: int) -> bool:
        """Take off `messages` PUBLISH packets and `size` bytes; False when that overdraws an allowance.

        A token is a thousandth, so that a rate per second fills by the millisecond.
        """
        passed = now - self._at
        self._at = now
        burst = options.rate_burst * 1000
        rate = options.max_message_rate
        if rate:
            self._messages = min(self._messages + passed * rate, rate * burst) - messages * 1000
        size_rate = options.max_byte_rate
        if size_rate:
            self._bytes = min(self._bytes + passed * size_rate, size_rate * burst) - size * 1000
        return (not rate or self._messages >= 0) and (not size_rate or self._bytes >= 0)

    def check(self, conn: "Connection", messages: int, size: int) -> None:
        """Take a read's packets off the client's allowances; a client that has overdrawn waits. May raise MQTTError."""
        broker = conn.broker
        if conn.state != OPEN or self.take(conn.options, messages, size, broker.clock()):
            return
        broker.counters.rate_limited += 1
        if conn.options.rate_exceeded == "disconnect":
            raise MQTTError(MESSAGE_RATE_TOO_HIGH, "message rate too high")
        conn.hold(RATE)
