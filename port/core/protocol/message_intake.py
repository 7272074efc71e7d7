"""Takes in a message: checks its sender's rights, retains it if asked, and distributes it.

Lane 6 of port/README.md, which all other lanes come down to.
"""

from port.core import const
from port.core.constants import MAY_PUBLISH, RECORD_SOURCE, UNDECIDED
from port.core.wire.reason_codes import (
    DROP_MEMORY,
    DROP_NOT_AUTHORIZED,
    DROP_RESERVED_TOPIC,
    DROP_RETAINED_FULL,
    DROP_TOO_LARGE,
    MALFORMED_PACKET,
    NO_MATCHING_SUBSCRIBERS,
    NOT_AUTHORIZED,
    QUOTA_EXCEEDED,
    SUCCESS,
    MQTTError,
)
from port.core.wire.topics import valid_name
from port.core.limits.client_log import denied
from port.core.messages.message import Message
from port.core.messages.retained import record
from port.core.routing.router import check_name
from port.core.sessions.session import Session

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

    from port.core.messages.retained import Record
    from port.core.routing.subscriptions import Route
    from port.core.acl.acl import Access
    from port.core.broker import Broker

_SWEEP = const(60000)  # ms between two searches for expired retained messages and failures to authenticate
_SOME = const(256)  # retained messages examined in one slice of that
_REFUSED = const(40)  # cost of refusing a PUBLISH, in deliveries (Turns.spent)


class MessageIntake:
    """Takes in messages of clients, wills among them."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._sweep_at = 0  # time of the next search, ms
        self._sweeping = False  # whether a search is under way

    def accept(self, message: Message, sender: Session) -> "tuple[int, str]":
        """Take in a message from a client: (reason code for its acknowledgement, reason string).

        Raises MQTTError for a topic name that no client may publish to. The code is UNDECIDED, with
        nothing done, when the authorizer has to be asked.
        """
        access = sender.access
        limit = sender.options.message_size_limit
        if limit and len(message.payload) > limit:
            self._broker.turns.spent += _REFUSED
            if not valid_name(message.name):
                raise MQTTError(MALFORMED_PACKET, "invalid topic name")
            self._broker.counters.drop(DROP_TOO_LARGE)
            text = "payload of %d bytes" % len(message.payload)
            denied(sender, MAY_PUBLISH, message.name, QUOTA_EXCEEDED, text)
            return QUOTA_EXCEEDED, text
        if access is not None:
            code = self.may_publish(message, sender, access)
            if code:
                return code, "not authorized"
        return self.take_in(message, sender, access)

    def may_publish(self, message: Message, sender: Session, access: "Access") -> int:
        """0, NOT_AUTHORIZED or UNDECIDED."""
        broker = self._broker
        verdict = access.judge(message, broker.clock())
        if verdict >= 0:
            return SUCCESS
        if not valid_name(message.name):
            raise MQTTError(MALFORMED_PACKET, "invalid topic name")
        if verdict == UNDECIDED:
            check_name(message.name, sender.options)
            return verdict
        broker.turns.spent += _REFUSED
        broker.counters.denied_publishes += 1
        broker.counters.drop(DROP_NOT_AUTHORIZED)
        denied(sender, MAY_PUBLISH, message.name, NOT_AUTHORIZED)
        return NOT_AUTHORIZED

    def take_in(self, message: Message, sender: Session, access: "Optional[Access]") -> "tuple[int, str]":
        """Take in a message that its sender may publish."""
        broker = self._broker
        if broker.message_hooks:
            broker.turns.spent += _REFUSED  # hooks may refuse it
            code, text = broker.hooks.accept(message, sender)  # type: ignore[union-attr]
            if code == NOT_AUTHORIZED:
                denied(sender, MAY_PUBLISH, message.name, code, text)
            return code, text
        route = broker.router.route(message.name, sender.options)
        if route is None:  # $-topics belong to the broker
            broker.turns.spent += _REFUSED
            broker.counters.drop(DROP_RESERVED_TOPIC)
            denied(sender, MAY_PUBLISH, message.name, NOT_AUTHORIZED, "clients cannot publish to $ topics")
            return NOT_AUTHORIZED, "clients cannot publish to $ topics"
        if access is not None:
            broker.router.allow(sender, access, message.name, route)
        return self.distribute(message, route, sender)

    def distribute(self, message: Message, route: "Route", sender: "Optional[Session]") -> "tuple[int, str]":
        """Retain a message that asks for it, and give it to its receivers: (reason code, reason string)."""
        code, text = SUCCESS, ""
        if message.retain and not self._retain(message, sender):
            code, text = QUOTA_EXCEEDED, "no room for another retained message"
            if sender is not None:
                denied(sender, MAY_PUBLISH, message.name, code)
        if not self._broker.router.distribute(message, route, sender):
            code = code or NO_MATCHING_SUBSCRIBERS
        return code, text

    def _retain(self, message: Message, sender: "Optional[Session]") -> bool:
        broker = self._broker
        name = message.name
        if not message.payload:
            if broker.retained.remove(name) and broker.journal is not None:
                broker.journal.retained(name, None)
            return True
        old = broker.retained.get(name)
        if broker.memory.lacks(message.size()) and old is None:
            broker.counters.drop(DROP_MEMORY)
            return False
        source = None
        if sender is not None and sender.access is not None and broker.options.check_retain_source:
            from port.core.acl.acl import source_of

            source = source_of(sender, message, old)
        interval = broker.options.max_retained_expiry
        holder = None if sender is None else broker.retained.holder(sender.owner_key())
        new = record(message, source, broker.clock() + interval * 1000 if interval else None, holder)
        if not broker.retained.put(new):
            self._expire_some()  # the rest of the search under way
            self._expire_some()
            if not broker.retained.put(new):
                broker.counters.drop(DROP_RETAINED_FULL)
                return False
        if broker.journal is not None:
            broker.journal.retained(name, new)
        return True

    def may_replay(self, found: "Record") -> bool:
        """Whether a retained message may go to new subscriptions, see Options.check_retain_source."""
        source = found[RECORD_SOURCE]
        if source is None or not self._broker.options.check_retain_source:
            return True
        from port.core.acl.acl import may_still

        return may_still(self._broker, found, source)

    def _expire_some(self) -> bool:
        """Remove some of the expired retained messages; True when more are to be examined [MQTT-3.3.2-5]."""
        broker = self._broker
        retained = broker.retained
        now = broker.clock()
        if retained.due is None or retained.due > now:
            return False
        for name in retained.expire_some(now, _SOME):
            if broker.journal is not None:
                broker.journal.retained(name, None)
        return retained.sweeping

    def _sweep_retained(self) -> bool:
        """A job, see Turns.background: remove expired retained messages."""
        self._sweeping = False  # in case it fails
        self._sweeping = self._expire_some()
        return self._sweeping

    def sweep(self, now: int) -> None:
        """Remove what has expired, and check whether memory is short."""
        broker = self._broker
        broker.memory.lacks(0)
        if now >= self._sweep_at:
            self._sweep_at = now + _SWEEP
            broker.attempts.forget(now)
            if not self._sweeping and self._sweep_retained():
                broker.turns.background(self._sweep_retained)
