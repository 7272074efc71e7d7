"""The pages of the HTTP info listener.

/          JSON: the figures CoMQTT's info page has, under its names
/healthz   "ok" while the broker answers at all
/metrics   Prometheus' text format: every numeric $SYS figure as ucomqtt_ and its name with _ for each / and blank;
           what only ever grows ends in _total

Who may look is decided as for a client without a user name: see the option `anonymous`.
"""

import json

from port.core import TYPE_CHECKING, __version__
from port.core.auth import may_be_anonymous
from port.core.http import MAX_HEAD, HTTPError, parse, response

if TYPE_CHECKING:
    from typing import Any

    from port.core.broker import Broker
    from port.core.http import Request
    from port.core.listener import Listener

_JSON = (("Content-Type", "application/json"),)
_TEXT = (("Content-Type", "text/plain; version=0.0.4"),)
# $SYS figures that only ever grow.
_COUNTERS = (
    "load/bytes/received", "load/bytes/sent", "connections/total", "messages/received", "messages/sent",
    "messages/publish/dropped", "messages/publish/received", "messages/publish/sent", "bytes/received", "bytes/sent",
    "publish/messages/dropped", "publish/messages/received", "publish/messages/sent", "clients/expired",
    "connections/refused", "auth/failed", "auth/blocked", "acl/publish/denied", "acl/subscribe/denied",
    "clients/rate/limited", "uptime",
)  # fmt: skip


class InfoConnection:
    """One HTTP connection: a request in, the whole answer out."""

    def __init__(self, broker: "Broker", listener: "Listener", address: str) -> None:
        self.broker = broker
        self.listener = listener
        self.address = address
        self._head = b""

    def receive(self, data: "Any") -> bytes:
        """Take in what came; the answer, after which the connection is to be closed, or nothing yet."""
        self._head += bytes(data[: MAX_HEAD + 1 - len(self._head)])
        try:
            found = parse(self._head)
            if found is None:
                return b""
            if not may_be_anonymous(self):
                raise HTTPError(403, "only for those who may be anonymous here")
            return answer(self.broker, found[0])
        except HTTPError as e:
            return e.answer()


def answer(broker: "Broker", request: "Request") -> bytes:
    """The response to a request. Raises HTTPError."""
    if request.method not in (b"GET", b"HEAD"):
        raise HTTPError(405, "GET or HEAD", (("Allow", "GET, HEAD"),))
    head_only = request.method == b"HEAD"
    if request.path == b"/":
        return response(200, _JSON, json.dumps(summary(broker)).encode(), head_only)
    if request.path == b"/healthz":
        return response(200, _TEXT, b"ok\n", head_only)
    if request.path == b"/metrics":
        return response(200, _TEXT, metrics(broker).encode(), head_only)
    raise HTTPError(404, "there are /, /healthz and /metrics")


def summary(broker: "Broker") -> "dict[str, Any]":
    """The figures of the page /."""
    figures: "dict[str, Any]" = {}
    for name, value in broker.sys.figures():
        figures[name] = value
    now = figures["timestamp"]
    return {
        "version": __version__,
        "started": now - figures["uptime"],
        "time": now,
        "uptime": figures["uptime"],
        "bytes_received": broker.bytes_received,
        "bytes_sent": broker.bytes_sent,
        "clients_connected": broker.connected,
        "clients_disconnected": figures["clients/disconnected"],
        "clients_maximum": broker.clients_maximum,
        "clients_total": figures["clients/total"],
        "messages_received": broker.publishes_received,
        "messages_sent": broker.published,
        "messages_dropped": broker.dropped,
        "retained": broker.retained.count,
        "inflight": figures["messages/inflight"],
        "inflight_dropped": 0,
        "subscriptions": figures["subscriptions/count"],
        "packets_received": broker.packets_received,
        "packets_sent": broker.packets_sent,
        "memory_alloc": figures.get("heap/current", 0),
        "threads": 1,
    }


def metrics(broker: "Broker") -> str:
    """The page /metrics."""
    lines = []
    seen: "dict[str, bool]" = {}
    for name, value in broker.sys.figures():
        if not isinstance(value, (int, float)):
            try:
                value = float(value)
            except ValueError:
                continue  # the version, which is no number
        metric = "ucomqtt_" + _valid(name)
        kind = "gauge"
        if name in _COUNTERS:
            metric += "_total"
            kind = "counter"
        if metric not in seen:
            seen[metric] = True
            lines.append("# HELP %s $SYS/broker/%s" % (metric, name))
            lines.append("# TYPE %s %s" % (metric, kind))
            lines.append("%s %s" % (metric, value))
    return "\n".join(lines) + "\n"


def _valid(name: str) -> str:
    """A figure's name with what a metric's name cannot hold replaced."""
    letters = [c if "a" <= c <= "z" or "A" <= c <= "Z" or "0" <= c <= "9" else "_" for c in name]
    return "".join(letters)
