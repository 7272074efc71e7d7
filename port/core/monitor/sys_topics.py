"""The $SYS topics: the eighteen that CoMQTT publishes, and those that dashboards for mosquitto read. See monitor.sys_tree."""

from port.core import __version__, const
from port.core.wire.topics import matches
from port.core.messages.message import Message

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Iterator

    from port.core.messages.retained import Record
    from port.core.broker import Broker

_ROOT = b"$SYS/broker/"


def figures(b: "Broker") -> "list[tuple[str, Any]]":
    """See SysInfo.figures."""
    inflight, queued = b.sys.waiting()
    sessions = len(b.sessions)
    counters = b.counters
    found: "list[tuple[str, Any]]" = [
        ("version", "ucomqtt " + __version__),
        ("uptime", (b.clock() - b.sys.started) // 1000),
        ("timestamp", b.sys.wall() // 1000),
        ("load/bytes/received", counters.bytes_received),
        ("load/bytes/sent", counters.bytes_sent),
        ("clients/connected", b.connected),
        ("clients/disconnected", sessions - b.connected),
        ("clients/maximum", counters.clients_maximum),
        ("clients/total", sessions),
        ("connections/total", counters.connections_total),
        ("messages/received", counters.packets_received),
        ("messages/sent", counters.packets_sent),
        ("messages/publish/dropped", counters.dropped),
        ("messages/publish/received", counters.publishes_received),
        ("messages/publish/sent", counters.published),
        ("messages/retained/count", b.retained.count),
        ("messages/inflight", inflight),
        ("subscriptions/count", b.router.subscriptions.count),
        ("bytes/received", counters.bytes_received),
        ("bytes/sent", counters.bytes_sent),
        ("publish/messages/dropped", counters.dropped),
        ("publish/messages/received", counters.publishes_received),
        ("publish/messages/sent", counters.published),
        ("retained messages/count", b.retained.count),
        ("messages/stored", b.retained.count + inflight + queued),
        ("store/messages/count", b.retained.count + inflight + queued),
        ("clients/active", b.connected),
        ("clients/inactive", sessions - b.connected),
        ("clients/expired", counters.clients_expired),
        ("connections/refused", counters.refused),
        ("auth/failed", counters.auth_failed),
        ("auth/timeouts", counters.auth_timeouts),
        ("auth/blocked", counters.auth_blocked),
        ("acl/publish/denied", counters.denied_publishes),
        ("acl/subscribe/denied", counters.denied_subscriptions),
        ("clients/rate/limited", counters.rate_limited),
    ]
    for listener in b.listeners if b.local is None else b.listeners + [b.local.listener]:
        found.append(("listener/%s/connected" % listener.id, listener.connected))
        found.append(("listener/%s/refused" % listener.id, listener.refused))
    for authenticator in b.all_authenticators():
        for name, value in authenticator.figures():
            found.append(("auth/%s/%s" % (authenticator.name, name), value))
    if b.journal is not None:
        for name, value in b.journal.figures():
            found.append(("store/" + name, value))
    for extra in b.sys.extras:
        found += extra()
    return found


def matching(b: "Broker", topic_filter: bytes) -> "list[Record]":
    """See SysInfo.matching."""
    found: "list[Record]" = []
    for name, value in figures(b):
        topic = _ROOT + name.encode()
        if matches(topic_filter, topic):
            found.append((topic, str(value).encode(), 0, b"", None, None, None))
    return found


def publish(b: "Broker") -> "Iterator[None]":
    """Publish a round, a figure in each step; all values are of the moment of the first step."""
    for name, value in figures(b):
        topic = _ROOT + name.encode()
        route = b.router.resolve(topic)
        if not route.empty():
            b.router.distribute(Message(topic, str(value).encode(), 0, True), route, None)
        yield
