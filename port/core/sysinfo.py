"""The $SYS topics: the eighteen CoMQTT publishes and the names mosquitto's dashboards read.

Nothing is stored: a round is published every `sys_interval` seconds to whoever subscribes,
and a new subscriber gets the values of the moment, as if they were retained.
"""

from port.core import __version__, const
from port.core.message import Message
from port.core.topics import matches

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable

    from port.core.broker import Broker
    from port.core.retained import Record

_ROOT = b"$SYS/broker/"


class SysInfo:
    """The broker's figures.

    wall    () -> seconds since 1970, set by the host
    extras  callables that return further (name, value) pairs, added by the host
    """

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._started = broker.clock()
        self._due = self._started
        self.wall: "Callable[[], int]" = lambda: 0
        self.extras: "list[Callable[[], list[tuple[str, Any]]]]" = []

    def figures(self) -> "list[tuple[str, Any]]":
        """All (topic below $SYS/broker/, value) pairs of this moment."""
        b = self._broker
        inflight = queued = 0
        for session in b.sessions.values():
            inflight += len(session.inflight)
            if session.queue:
                queued += len(session.queue)
        sessions = len(b.sessions)
        figures: "list[tuple[str, Any]]" = [
            ("version", "ucomqtt " + __version__),
            ("uptime", (b.clock() - self._started) // 1000),
            ("timestamp", self.wall()),
            ("load/bytes/received", b.bytes_received),
            ("load/bytes/sent", b.bytes_sent),
            ("clients/connected", b.connected),
            ("clients/disconnected", sessions - b.connected),
            ("clients/maximum", b.clients_maximum),
            ("clients/total", sessions),
            ("connections/total", b.connections_total),
            ("messages/received", b.packets_received),
            ("messages/sent", b.packets_sent),
            ("messages/publish/dropped", b.dropped),
            ("messages/publish/received", b.publishes_received),
            ("messages/publish/sent", b.published),
            ("messages/retained/count", b.retained.count),
            ("messages/inflight", inflight),
            ("subscriptions/count", b.router.subscriptions.count),
            ("bytes/received", b.bytes_received),
            ("bytes/sent", b.bytes_sent),
            ("publish/messages/dropped", b.dropped),
            ("publish/messages/received", b.publishes_received),
            ("publish/messages/sent", b.published),
            ("retained messages/count", b.retained.count),
            ("messages/stored", b.retained.count + inflight + queued),
            ("store/messages/count", b.retained.count + inflight + queued),
            ("clients/active", b.connected),
            ("clients/inactive", sessions - b.connected),
            ("clients/expired", b.clients_expired),
            ("connections/refused", b.refused),
            ("auth/failed", b.auth_failed),
            ("auth/timeouts", b.auth_timeouts),
            ("auth/blocked", b.auth_blocked),
            ("acl/publish/denied", b.denied_publishes),
            ("acl/subscribe/denied", b.denied_subscriptions),
            ("clients/rate/limited", b.rate_limited),
        ]
        for listener in b.listeners:
            figures.append(("listener/%s/connected" % listener.id, listener.connected))
            figures.append(("listener/%s/refused" % listener.id, listener.refused))
        for authenticator in b.all_authenticators():
            for name, value in authenticator.figures():
                figures.append(("auth/%s/%s" % (authenticator.name, name), value))
        if b.journal is not None:
            for name, value in b.journal.figures():
                figures.append(("store/" + name, value))
        for extra in self.extras:
            figures += extra()
        return figures

    def matching(self, topic_filter: bytes) -> "list[Record]":
        """The $SYS messages a filter matches, with the values of this moment, as retained records."""
        found: "list[Record]" = []
        for name, value in self.figures():
            topic = _ROOT + name.encode()
            if matches(topic_filter, topic):
                found.append((topic, str(value).encode(), 0, b"", None))
        return found

    def tick(self, now: int) -> None:
        """Publish a round when it is due."""
        b = self._broker
        interval = b.options.sys_interval * 1000
        if not interval or now < self._due:
            return
        self._due = now + interval
        for name, value in self.figures():
            topic = _ROOT + name.encode()
            route = b.router.resolve(topic)
            if not route.empty():
                b.router.distribute(Message(topic, str(value).encode(), 0, True), route, None)
