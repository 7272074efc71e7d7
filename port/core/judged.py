"""A session that goes on under other rights: its subscriptions are judged by them."""

from port.core import const
from port.core.clientlog import denied
from port.core.reason import NOT_AUTHORIZED
from port.core.subscriptions import limited
from port.core.topics import is_shared, without_share

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

    from port.core.acl import Access
    from port.core.broker import Broker
    from port.core.session import Session

_DENIED = const(-1)  # port.core.acl has these two
_UNDECIDED = const(-2)
_SUBSCRIBE = const(2)


class Judged:
    """The verdicts on the subscriptions of a session that goes on under other rights, asked for one after the other."""

    def __init__(self, session: "Session") -> None:
        self._left = list(session.subscriptions)
        self._verdicts: "list[tuple[bytes, int]]" = []

    def go_on(self, access: "Access", now: int) -> "Optional[bytes]":
        """The next filter the authorizer has to be asked about, None when all are judged; `now`: ms."""
        left = self._left
        while left:
            plain = without_share(left[-1])
            verdict = access.subscribe(plain, now)
            if verdict == _UNDECIDED:
                return plain
            access.subscribed()
            self._verdicts.append((left.pop(), verdict))
        return None

    def enforce(self, broker: "Broker", session: "Session") -> "list[bytes]":
        """Take away, or down to a lower QoS, what is not allowed any more; returns the filters lost."""
        lost = []
        for topic_filter, verdict in self._verdicts:
            options = session.subscriptions.get(topic_filter)
            if options is None:
                continue  # it has unsubscribed meanwhile
            if verdict == _DENIED:
                broker.denied_subscriptions += 1
                denied(session, _SUBSCRIBE, topic_filter, NOT_AUTHORIZED)
                broker.unsubscribe_session(session, topic_filter)
                if not is_shared(topic_filter):
                    lost.append(topic_filter)
            elif limited(options, verdict) != options:
                broker.subscribe_session(session, topic_filter, limited(options, verdict))
        return lost
