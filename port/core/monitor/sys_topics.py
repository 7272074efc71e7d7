"""What the $SYS topics say: the eighteen CoMQTT publishes and the names mosquitto's dashboards read. See monitor.sys_tree."""

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
    found: "list[tuple[str, Any]]" = [
        ("version", "ucomqtt " + __version__),
        ("uptime", (b.clock() - b.sys.started) // 1000),
        ("timestamp", b.sys.wall() // 1000),
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
    """Send a round to whoever subscribes, a figure in each step; all have the values of the moment of the first."""
    for name, value in figures(b):
        topic = _ROOT + name.encode()
        route = b.router.resolve(topic)
        if not route.empty():
            b.router.distribute(Message(topic, str(value).encode(), 0, True), route, None)
        yield
