"""A session that is resumed under other rights: its subscriptions are checked against them."""

from port.core import const
from port.core.constants import ALLOWED, DENIED, MAY_SUBSCRIBE, UNDECIDED
from port.core.wire.reason_codes import NOT_AUTHORIZED
from port.core.wire.topics import is_shared, without_share
from port.core.limits.client_log import denied
from port.core.routing.subscriptions import limited

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional, Sequence

    from port.core.sessions.session import Session
    from port.core.acl.acl import Access
    from port.core.broker import Broker

# Costs, in deliveries (Turns.spent): checking a subscription without its rules, and removing one.
_LOOKED = const(4)
_REMOVED = const(60)


def take_away(broker: "Broker", session: "Session", filters: "Sequence[bytes]") -> None:
    """Do as SessionRegistry.unsubscribe for many filters, with one look through the session's queue."""
    groups: "Any" = {}
    for topic_filter in filters:
        broker.turns.spent += _REMOVED
        group = broker.router.group(topic_filter)
        if group is not None:
            groups[group] = True
        broker.router.remove(session, topic_filter)
        if session.store_id:
            broker.journal.subscription(session, topic_filter, None)
    if session.replay is not None:
        session.replay.drop({topic_filter: True for topic_filter in filters})
    for group in groups:
        group.leave(session, session.conn is None, groups)
        break


class Judged:
    """The verdicts on the subscriptions of a resumed session, asked for one after the other.

    session  the session
    done     True when every subscription has a verdict
    """

    def __init__(self, session: "Session") -> None:
        self.session = session
        self.done = False
        self._left = list(session.subscriptions)
        self._late = False  # the rest was subscribed to later
        self._verdicts: "dict[bytes, int]" = {}

    def go_on(self, access: "Access", now: int) -> "Optional[bytes]":
        """The next filter to ask the authorizer about, None when all have verdicts or the turn is over; `now`: ms."""
        session = self.session
        broker = session.broker
        left = self._left
        if access.same(session.access):  # the same rights allowed them
            self.done = True
        while not self.done:
            if not left:  # after a new SUBSCRIBE the authorizer's answers to it hold
                left = self._left = [found for found in session.subscriptions if found not in self._verdicts]
                self._late = True
                self.done = not left
                continue
            broker.turns.spent += _LOOKED
            plain = without_share(left[-1])
            verdict = access.subscribe(plain, now)
            if verdict == UNDECIDED:
                if not self._late:
                    return plain
                verdict = ALLOWED
            access.subscribed()
            self._verdicts[left[-1]] = verdict
            left.pop()
            if broker.turns.spent > broker.turns.limit:
                break
        return None

    def enforce(self, broker: "Broker", session: "Session") -> "list[bytes]":
        """Remove subscriptions that are not allowed any more, or lower their QoS; returns the filters lost."""
        lost = []
        for topic_filter in self._verdicts:
            verdict = self._verdicts[topic_filter]
            options = session.subscriptions.get(topic_filter)
            if options is None:
                continue  # unsubscribed meanwhile
            if verdict == DENIED:
                broker.counters.denied_subscriptions += 1
                denied(session, MAY_SUBSCRIBE, topic_filter, NOT_AUTHORIZED)
                lost.append(topic_filter)
            elif limited(options, verdict) != options:
                broker.session_registry.subscribe(session, topic_filter, limited(options, verdict))
        take_away(broker, session, lost)
        return [topic_filter for topic_filter in lost if not is_shared(topic_filter)]
