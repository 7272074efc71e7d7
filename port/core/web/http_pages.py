"""The pages every http listener has: /, /healthz and /metrics.

/         JSON with the fields and names of CoMQTT's system.Info. Two differ in what they can say here:
          memory_alloc is 0 where the host tells no heap figures, and inflight_dropped is always 0, because
          messages in flight go only with their session.
/healthz  "ok", for any client on this machine
/metrics  for Prometheus, see port.core.monitor.metrics
"""

from port.core import const
from port.core.web.http_response import Response
from port.core.web.routes import LOCAL, Routes

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Iterator

    from port.core.web.http import Request
    from port.core.broker import Broker


def new_routes() -> Routes:
    """The routes of a broker, before a program adds its own."""
    routes = Routes()
    routes.add("GET", "/", _system)
    routes.add("GET", "/healthz", _health, LOCAL)
    routes.add("GET", "/metrics", _metrics)
    return routes


def _system(request: "Request") -> Response:
    """CoMQTT's system.Info."""
    return Response(_system_pieces(request.broker), "application/json")


def _system_pieces(broker: "Broker") -> "Iterator[str]":
    for _ in broker.sys.count():
        yield ""
    figures = dict(broker.sys.figures())
    now = figures["timestamp"]
    # This order, which a dict would not keep on MicroPython.
    fields = (
        ("version", '"%s"' % figures["version"]),
        ("started", max(now - figures["uptime"], 0)),
        ("time", now),
        ("uptime", figures["uptime"]),
        ("bytes_received", broker.counters.bytes_received),
        ("bytes_sent", broker.counters.bytes_sent),
        ("clients_connected", figures["clients/connected"]),
        ("clients_disconnected", figures["clients/disconnected"]),
        ("clients_maximum", figures["clients/maximum"]),
        ("clients_total", figures["clients/total"]),
        ("messages_received", broker.counters.publishes_received),
        ("messages_sent", broker.counters.published),
        ("messages_dropped", broker.counters.dropped),
        ("retained", figures["messages/retained/count"]),
        ("inflight", figures["messages/inflight"]),
        ("inflight_dropped", 0),
        ("subscriptions", figures["subscriptions/count"]),
        ("packets_received", broker.counters.packets_received),
        ("packets_sent", broker.counters.packets_sent),
        ("memory_alloc", figures.get("heap/current", 0)),
        ("threads", figures.get("threads", 1)),
    )
    yield "{\n%s\n}\n" % ",\n".join(['  "%s": %s' % field for field in fields])


def _health(request: "Request") -> Response:
    return Response("ok\n")


def _metrics(request: "Request") -> Response:
    from port.core.monitor.metrics import page  # it has many words, loaded by the first request

    open_metrics = b"application/openmetrics-text" in request.headers.get(b"accept", b"")
    kind = "application/openmetrics-text; version=1.0.0" if open_metrics else "text/plain; version=0.0.4"
    return Response(page(request.broker, open_metrics), kind + "; charset=utf-8")
