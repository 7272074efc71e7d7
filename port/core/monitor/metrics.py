"""The page /metrics of the info listener, in Prometheus' text format 0.0.4 or, on request, OpenMetrics 1.0.0.

`families` yields the metrics of every host; a host adds its own to SysInfo.metrics. Labels hold names of the configuration, of
the program and of this module, never a client's address or a name that a client has chosen. Counters begin with 0 when the
broker starts, whatever its store knows: after a crash a stored counter can go back a little, which Prometheus would take for a
restart followed by as many events as the counter shows.
"""

from port.core import __version__, const
from port.core.monitor.measures import BOUNDS, Histogram, Measures, authenticator_label

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Iterable, Iterator

    from port.core.broker import Broker
    Row = tuple[str, int, tuple[str, ...], str]  # name with unit, index of the type in TYPES, labels, help
    Sample = tuple[tuple[str, ...], Any]  # values of the labels; a number, or a Histogram
    Family = tuple[Row, Iterable[Sample]]

TYPES = ("counter", "gauge", "histogram", "untyped")
_COUNTER = const(0)
_GAUGE = const(1)
_HISTOGRAM = const(2)
_UNTYPED = const(3)

# Of each of the following the first ones are on the page even while they are 0.
_USUAL = const(4)
# By the reasons of ConnectionRegistry.turn_away.
_AWAY = ("handshake", "connections", "address", "blocked", "anonymous", "proxy", "files", "gave_way", "timeout", "stopping")
# By the indexes of Measures.drops.
_DROPS = ("not_reading", "queue_full", "too_large", "memory", "not_authorized", "reserved_topic", "retained_full")
# By reason code.
_REFUSED = (0x80, 0x86, 0x87, 0x97, 0x00, 0x81, 0x82, 0x84, 0x85, 0x88, 0x89, 0x8A, 0x8B, 0x8C, 0x8D, 0x90, 0x95, 0x9A, 0x9B, 0x9C)
_ENDED = (0x00, 0x80, 0x8D, 0x8E, 0x04, 0x81, 0x82, 0x83, 0x87, 0x88, 0x89, 0x8B, 0x8C, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0xA0)
_WORDS = (
    (0x00, "normal"), (0x04, "with_will"), (0x80, "unspecified"), (0x81, "malformed_packet"), (0x82, "protocol_error"),
    (0x83, "implementation_specific"), (0x84, "protocol_version"), (0x85, "client_id"), (0x86, "bad_user_name_or_password"),
    (0x87, "not_authorized"), (0x88, "server_unavailable"), (0x89, "server_busy"), (0x8A, "banned"), (0x8B, "server_shutting_down"),
    (0x8C, "authentication_method"), (0x8D, "keep_alive_timeout"), (0x8E, "session_taken_over"), (0x90, "topic_name"),
    (0x93, "receive_maximum"), (0x94, "topic_alias"), (0x95, "packet_too_large"), (0x96, "message_rate"), (0x97, "quota_exceeded"),
    (0x98, "administrative_action"), (0x9A, "retain_not_supported"), (0x9B, "qos_not_supported"), (0x9C, "use_another_server"),
    (0xA0, "maximum_connect_time"),
)  # fmt: skip
# Figure of an authenticator -> its answer, as a label.
_RESULTS = (("accepted", "accepted"), ("refused", "refused"), ("errors", "error"), ("timeouts", "timeout"), ("busy", "busy"))
_NUMBERED = ("cache_hits", "acl_requests", "waiting")  # further figures of the broker's own authenticators


def page(broker: "Broker", open_metrics: bool) -> "Iterator[str]":
    """The page in pieces; pieces are empty while work for the page is under way."""
    for _ in broker.sys.count():
        yield ""
    for tell in (families, broker.sys.metrics):
        if tell is not None:
            for row, samples in tell(broker):
                for piece in _family(row, samples, open_metrics):
                    yield piece
    if open_metrics:
        yield "# EOF\n"


def families(broker: "Broker") -> "Iterator[Family]":
    """All families; those without samples are left off the page."""
    measures = Measures() if broker.counters.measures is None else broker.counters.measures
    earlier = broker.sys.earlier or {}
    extras = {}
    for extra in broker.sys.extras:
        extras.update(dict(extra()))
    yield ("ucomqtt_build_info", _GAUGE, ("version",), "Version of the broker; always 1"), (((__version__,), 1),)
    uptime = (broker.clock() - broker.sys.started) // 1000
    yield ("ucomqtt_uptime_seconds", _GAUGE, (), "Time since the broker started"), _one(uptime)
    for family in _traffic(broker, measures, earlier):
        yield family
    for family in _connections(broker, measures):
        yield family
    for family in _authentication(broker, measures, earlier):
        yield family
    for family in _kept(broker, earlier):
        yield family
    for family in _memory(broker, extras):
        yield family
    for family in _store(broker, measures):
        yield family
    others = []
    for figure in extras:
        if figure.split("/")[0] not in ("load", "memory", "heap") and _is_number(extras[figure]):
            others.append(((figure,), extras[figure]))
    yield ("ucomqtt_figure", _UNTYPED, ("topic",), "Other figures of $SYS/broker/"), others


def _one(value: "Any") -> "tuple[Sample, ...]":
    return (((), value),)


def _by_qos(counts: "tuple[int, ...]") -> "list[Sample]":
    return [((str(qos),), counts[qos]) for qos in range(3)]


def _traffic(broker: "Broker", measures: "Measures", earlier: "dict[str, int]") -> "Iterator[Family]":
    count = broker.counters.bytes_received - earlier.get("bytes_received", 0)
    yield ("ucomqtt_received_bytes_total", _COUNTER, (), "Bytes received from MQTT clients"), _one(count)
    count = broker.counters.bytes_sent - earlier.get("bytes_sent", 0)
    yield ("ucomqtt_sent_bytes_total", _COUNTER, (), "Bytes sent to MQTT clients"), _one(count)
    count = broker.counters.packets_received - earlier.get("packets_received", 0)
    yield ("ucomqtt_packets_received_total", _COUNTER, (), "MQTT packets received"), _one(count)
    count = broker.counters.packets_sent - earlier.get("packets_sent", 0)
    yield ("ucomqtt_packets_sent_total", _COUNTER, (), "MQTT packets sent"), _one(count)
    count = broker.counters.publishes_received - earlier.get("publishes_received", 0) - broker.counters.received1 - broker.counters.received2
    # Messages in a packet that broke the protocol are only partly in the sum, and a counter must not go back.
    measures.received = max(measures.received, count)
    samples = _by_qos((measures.received, broker.counters.received1, broker.counters.received2))
    yield ("ucomqtt_messages_received_total", _COUNTER, ("qos",), "PUBLISH packets received"), samples
    samples = _by_qos((broker.counters.published0 - earlier.get("published", 0), broker.counters.published1, broker.counters.published2))
    yield ("ucomqtt_messages_sent_total", _COUNTER, ("qos",), "PUBLISH packets sent"), samples
    drops = list(measures.drops)
    drops[0] = broker.counters.dropped - earlier.get("dropped", 0) - sum(drops)
    samples = [((_DROPS[i],), drops[i]) for i in range(len(drops))]
    yield ("ucomqtt_messages_dropped_total", _COUNTER, ("reason",), "Messages that one receiver did not get, or nobody"), samples
    yield ("ucomqtt_rate_limited_total", _COUNTER, (), "Times a client sent faster than it may"), _one(broker.counters.rate_limited)


def _connections(broker: "Broker", measures: "Measures") -> "Iterator[Family]":
    connected: "dict[str, int]" = {}  # a program may give two listeners one name
    limits: "dict[str, int]" = {}
    names: "list[str]" = []  # of listeners for clients
    for listener in broker.listeners if broker.local is None else broker.listeners + [broker.local.listener]:
        name = listener.id
        connected[name] = connected.get(name, 0) + listener.connected
        limits[name] = limits.get(name, 0) + listener.options.max_connections
        if listener.kind != "http" and name not in names:
            names.append(name)
    samples: "list[Sample]" = []
    for name in names:
        for level, version in ((3, "3.1"), (4, "3.1.1"), (5, "5.0")):
            samples.append(((name, version), measures.clients.get((name, level), 0)))
    yield ("ucomqtt_clients_connected", _GAUGE, ("listener", "version"), "Clients connected"), samples
    text = "Most clients connected at a time, in earlier runs, too, where there is a store"
    yield ("ucomqtt_clients_connected_max", _GAUGE, (), text), _one(broker.counters.clients_maximum)
    yield ("ucomqtt_clients_limit", _GAUGE, (), "Clients that may be connected"), _one(broker.options.max_connections)
    samples = [((name,), connected[name]) for name in connected]
    yield ("ucomqtt_listener_connections", _GAUGE, ("listener",), "Connections of a listener's clients, or visitors"), samples
    samples = [((name,), limits[name]) for name in limits]
    yield ("ucomqtt_listener_connections_limit", _GAUGE, ("listener",), "Connections that a listener may have"), samples
    samples = [((name,), measures.entered.get(name, 0)) for name in names]
    text = "Network connections on which a CONNECT was waited for"
    yield ("ucomqtt_connections_accepted_total", _COUNTER, ("listener",), text), samples
    samples = []
    for name in connected:
        for i in range(len(_AWAY)):
            count = measures.away.get((name, i), 0)
            if count or i < _USUAL:
                samples.append(((name, _AWAY[i]), count))
    text = "Network connections turned away before that"
    yield ("ucomqtt_connections_refused_total", _COUNTER, ("listener", "reason"), text), samples
    text = "Connections over before the client was let in, by MQTT 5 reason code"
    yield ("ucomqtt_connects_refused_total", _COUNTER, ("reason",), text), _ends(measures, _REFUSED, 0)
    text = "Connections of clients that are over, by MQTT 5 reason code; unspecified: mostly lost"
    yield ("ucomqtt_disconnects_total", _COUNTER, ("reason",), text), _ends(measures, _ENDED, 256)


def _ends(measures: "Measures", codes: "tuple[int, ...]", base: int) -> "list[Sample]":
    others = sum([measures.ends[end] for end in measures.ends if end & 256 == base])
    samples: "list[Sample]" = []
    for i in range(len(codes)):
        count = measures.ends.get(codes[i] + base, 0)
        others -= count
        if count or i < _USUAL:
            samples.append((tuple([word for code, word in _WORDS if code == codes[i]]), count))
    samples.append((("other",), others))
    return samples


def _authentication(broker: "Broker", measures: "Measures", earlier: "dict[str, int]") -> "Iterator[Family]":
    count = broker.counters.auth_failed - earlier.get("auth_failed", 0)
    yield ("ucomqtt_auth_failures_total", _COUNTER, (), "Refusals by authentication"), _one(count)
    text = "Clients about whom there was no answer in time"
    yield ("ucomqtt_auth_timeouts_total", _COUNTER, (), text), _one(broker.counters.auth_timeouts)
    text = "Attempts not even looked at after too many failures"
    yield ("ucomqtt_auth_blocked_total", _COUNTER, (), text), _one(broker.counters.auth_blocked)
    samples = (("publish",), broker.counters.denied_publishes), (("subscribe",), broker.counters.denied_subscriptions)
    yield ("ucomqtt_acl_denied_total", _COUNTER, ("action",), "Messages and subscriptions that no rule allowed"), samples

    found: "dict[tuple[str, str], int]" = {}  # unnamed ones may share a name
    for authenticator in broker.all_authenticators():
        label = authenticator_label(authenticator)
        for figure, value in authenticator.figures():
            found[(figure, label)] = found.get((figure, label), 0) + value

    def told(figure: str) -> "list[Sample]":
        return [((key[1],), found[key]) for key in found if key[0] == figure]

    names = ("authenticator",)
    answers = [((key[1], result), found[key]) for figure, result in _RESULTS for key in found if key[0] == figure]
    text = "What an authenticator has said"
    yield ("ucomqtt_authenticator_answers_total", _COUNTER, ("authenticator", "result"), text), answers
    yield ("ucomqtt_authenticator_cache_hits_total", _COUNTER, names, "Answers that it remembered"), told(_NUMBERED[0])
    text = "Questions about topics to its service"
    yield ("ucomqtt_authenticator_acl_requests_total", _COUNTER, names, text), told(_NUMBERED[1])
    yield ("ucomqtt_authenticator_waiting", _GAUGE, names, "Clients that wait for its answer"), told(_NUMBERED[2])
    known = _NUMBERED + tuple([figure for figure, _ in _RESULTS])
    others = [((key[1], key[0]), found[key]) for key in found if key[0] not in known]
    text = "What a program's own authenticator counts"
    yield ("ucomqtt_authenticator_figure", _UNTYPED, ("authenticator", "figure"), text), others
    times = [((label,), measures.answers[label]) for label in measures.answers]
    text = "Time until an authenticator has decided"
    yield ("ucomqtt_authenticator_duration_seconds", _HISTOGRAM, names, text), times


def _kept(broker: "Broker", earlier: "dict[str, int]") -> "Iterator[Family]":
    samples = (("connected",), broker.connected), (("disconnected",), len(broker.sessions) - broker.connected)
    yield ("ucomqtt_sessions", _GAUGE, ("state",), "Sessions"), samples
    text = "Sessions that may outlive their connections"
    yield ("ucomqtt_sessions_limit", _GAUGE, (), text), _one(broker.options.max_sessions)
    count = broker.counters.clients_expired - earlier.get("clients_expired", 0)
    yield ("ucomqtt_sessions_expired_total", _COUNTER, (), "Sessions that expired"), _one(count)
    yield ("ucomqtt_subscriptions", _GAUGE, (), "Subscriptions"), _one(broker.router.subscriptions.count)
    yield ("ucomqtt_retained_messages", _GAUGE, (), "Retained messages"), _one(broker.retained.count)
    inflight, queued = broker.sys.waiting()
    yield ("ucomqtt_inflight_messages", _GAUGE, (), "QoS 1 and 2 messages sent and not acknowledged"), _one(inflight)
    yield ("ucomqtt_queued_messages", _GAUGE, (), "Messages that wait in queues"), _one(queued)


def _memory(broker: "Broker", extras: "dict[str, Any]") -> "Iterator[Family]":
    samples = (
        (("messages",), broker.memory.message_bytes), (("partial_packets",), broker.memory.partial_bytes), (("unsent",), broker.memory.unsent_bytes),
        (("sessions",), broker.memory.session_bytes), (("retained",), broker.retained.bytes),
        (("subscriptions",), broker.router.subscriptions.bytes),
    )  # fmt: skip
    text = "What is kept for clients; messages: in queues, and in flight to those who are away"
    yield ("ucomqtt_memory_bytes", _GAUGE, ("use",), text), samples
    text = "What may be kept for clients, max_memory"
    yield ("ucomqtt_memory_limit_bytes", _GAUGE, (), text), _one(broker.memory.limit())
    text = "0: memory suffices; 1: no new clients; 2: no QoS 0 either; 3: queues are dropped"
    yield ("ucomqtt_memory_shortage", _GAUGE, (), text), _one(broker.memory.shortage)
    free = [((figure[7:-5],), extras[figure]) for figure in extras if figure.startswith("memory/") and figure.endswith("/free")]
    yield ("ucomqtt_memory_free_bytes", _GAUGE, ("memory",), "What is free of a memory that is watched"), free
    used = [((), extras["heap/current"])] if "heap/current" in extras else []
    yield ("ucomqtt_heap_used_bytes", _GAUGE, (), "MicroPython's heap in use"), used
    left = [((), extras["heap/free"])] if "heap/free" in extras else []
    yield ("ucomqtt_heap_free_bytes", _GAUGE, (), "MicroPython's heap that is free"), left


def _store(broker: "Broker", measures: "Measures") -> "Iterator[Family]":
    figures = {}
    kind = ()
    times: "list[Sample]" = []
    if broker.journal is not None:
        figures = dict(broker.journal.figures())
        kind = (broker.store.kind,)  # type: ignore[union-attr, assignment]
        times.append((kind, measures.batches or Histogram()))

    def told(figure: str) -> "list[Sample]":
        return [(kind, figures[figure])] if figure in figures else []

    names = ("store",)
    yield ("ucomqtt_store_failing", _GAUGE, names, "1 while the store cannot write, else 0"), told("failing")
    yield ("ucomqtt_store_batches_total", _COUNTER, names, "Batches of changes that went to the store"), told("batches")
    yield ("ucomqtt_store_batch_failures_total", _COUNTER, names, "Attempts to write one that failed"), told("failures")
    text = "Batches acknowledged unwritten, on_failure being degrade"
    yield ("ucomqtt_store_undurable_batches_total", _COUNTER, names, text), told("undurable")
    yield ("ucomqtt_store_pending_bytes", _GAUGE, names, "Changes that are not durable yet"), told("waiting/bytes")
    yield ("ucomqtt_store_records_total", _COUNTER, names, "Records written and removed"), told("records")
    yield ("ucomqtt_store_size_bytes", _GAUGE, names, "What the store takes on disk or flash"), told("bytes")
    text = "What was written to flash, as its budget counts"
    yield ("ucomqtt_store_written_bytes_total", _COUNTER, names, text), told("bytes/written")
    yield ("ucomqtt_store_appends_total", _COUNTER, names, "Times a file on flash was written to"), told("appends")
    yield ("ucomqtt_store_compactions_total", _COUNTER, names, "Times the log on flash was compacted"), told("compactions")
    yield ("ucomqtt_store_batch_duration_seconds", _HISTOGRAM, names, "Time until a batch was durable"), times


def _family(row: "Row", samples: "Iterable[Sample]", open_metrics: bool) -> "Iterator[str]":
    """The lines of a family, each a piece."""
    name, kind, names, text = row
    fresh = True
    for labels, value in samples:
        if fresh:
            fresh = False
            # In OpenMetrics _total is not part of the name.
            head = name[:-6] if open_metrics and kind == _COUNTER else name
            word = "unknown" if open_metrics and kind == _UNTYPED else TYPES[kind]
            yield "# HELP %s %s\n# TYPE %s %s\n" % (head, text, head, word)
        if kind == _HISTOGRAM:
            for piece in _buckets(name, names, labels, value):
                yield piece
        else:
            yield _line(name, names, labels, value)


def _line(name: str, names: "tuple[str, ...]", labels: "tuple[str, ...]", value: "Any") -> str:
    pairs = ['%s="%s"' % (names[i], _escaped(labels[i])) for i in range(len(names))]
    return "%s%s %s\n" % (name, "{%s}" % ",".join(pairs) if pairs else "", value)


def _buckets(name: str, names: "tuple[str, ...]", labels: "tuple[str, ...]", histogram: "Histogram") -> "Iterator[str]":
    count = 0
    for i in range(len(BOUNDS) + 1):
        count += histogram.counts[i]
        bound = BOUNDS[i][1] if i < len(BOUNDS) else "+Inf"
        yield _line(name + "_bucket", names + ("le",), labels + (bound,), count)
    yield _line(name + "_sum", names, labels, "%d.%06d" % (histogram.total // 1000000, histogram.total % 1000000))
    yield _line(name + "_count", names, labels, count)


def _escaped(text: str) -> str:
    """Text escaped for the quotes of a label's value."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _is_number(value: "Any") -> bool:
    """True for a value that Prometheus accepts; some figures are text."""
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return not value.strip("0123456789.-")
    return not isinstance(value, bool) and isinstance(value, (int, float))
