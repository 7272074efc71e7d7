"""The pages of the info listener."""

from harness import World
from port.core import __version__
from port.core.http import MAX_HEAD
from port.core.info import InfoConnection

# The fields of CoMQTT's system.Info.
COMQTT = (
    "version", "started", "time", "uptime", "bytes_received", "bytes_sent", "clients_connected", "clients_disconnected",
    "clients_maximum", "clients_total", "messages_received", "messages_sent", "messages_dropped", "retained", "inflight",
    "inflight_dropped", "subscriptions", "packets_received", "packets_sent", "memory_alloc", "threads",
)  # fmt: skip


def ask(world, target="/", method="GET", size=1 << 30):
    """(status, {field: value}, body) of an answer, the request being sent in pieces of `size`."""
    connection = InfoConnection(world.broker)
    request = ("%s %s HTTP/1.1\r\nHost: h\r\n\r\n" % (method, target)).encode()
    answer = b""
    for i in range(0, len(request), size):
        assert not answer
        answer = connection.receive(memoryview(request)[i : i + size])
    assert connection.receive(request) == b""  # one request a connection
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    fields = {}
    for line in lines[1:]:
        name, _, value = line.partition(": ")
        fields[name] = value
    assert fields["Connection"] == "close"
    if method != "HEAD":
        assert fields["Content-Length"] == str(len(body))
    return int(lines[0].split(" ")[1]), fields, body.decode()


def busy():
    """A world in which there is something to count."""
    world = World()
    broker = world.broker
    broker.sys.wall = lambda: 1700000000
    broker.bytes_received = 4321
    world.connect("gone").disconnect()
    world.connect("away", properties={0x11: 1000}).lose()
    here = world.connect("here")
    here.subscribe("t", qos=1)
    here.subscribe("u", qos=1)
    publisher = world.connect("p")
    publisher.publish("t", "x", 0)
    publisher.publish("r", "x", retain=True)
    publisher.publish("u", "x", 1)  # which "here" does not acknowledge
    world.advance(60000)
    return world


def system(world):
    """The page / as {name: text of the value}, in order."""
    status, fields, body = ask(world)
    assert status == 200 and fields["Content-Type"] == "application/json"
    assert body.startswith("{\n") and body.endswith("\n}\n")
    pairs = []
    for line in body[2:-3].split(",\n"):
        name, _, value = line.strip().partition(": ")
        assert name[0] == name[-1] == '"'
        pairs.append((name[1:-1], value))
    return pairs


def metrics(world):
    """The page /metrics as {name: (type, value)}, its form checked."""
    status, fields, body = ask(world, "/metrics")
    assert status == 200 and fields["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert body.endswith("\n")
    lines = body[:-1].split("\n")
    assert len(lines) % 3 == 0
    found = {}
    for i in range(0, len(lines), 3):
        name, value = lines[i + 2].rsplit(" ", 1)
        plain = name.split("{")[0]
        assert plain.startswith("ucomqtt_") and not plain[8:].strip("abcdefghijklmnopqrstuvwxyz_0123456789"), plain
        assert lines[i].startswith("# HELP %s " % plain), lines[i]
        kind = lines[i + 1][len("# TYPE %s " % plain) :]
        assert lines[i + 1] == "# TYPE %s %s" % (plain, kind) and kind in ("counter", "gauge", "untyped")
        assert plain.endswith("_total") or kind != "counter"
        assert name not in found, name
        found[name] = (kind, value)
        float(value)
    return found


def test_system_has_comqtts_fields():
    pairs = system(busy())
    assert tuple([name for name, _ in pairs]) == COMQTT
    values = dict(pairs)
    expected = {
        "version": '"ucomqtt %s"' % __version__, "started": 1699999940, "time": 1700000000, "uptime": 60,
        "bytes_received": 4321, "clients_connected": 2, "clients_disconnected": 1, "clients_maximum": 2, "clients_total": 3,
        "messages_received": 3, "messages_sent": 2, "messages_dropped": 0, "retained": 1, "inflight": 1,
        "inflight_dropped": 0, "subscriptions": 2, "memory_alloc": 0, "threads": 1,
    }  # fmt: skip
    for name in expected:
        assert values[name] == str(expected[name]), (name, values[name])


def test_system_follows_the_counters():
    world = busy()
    broker = world.broker
    before = dict(system(world))
    broker.dropped += 5
    broker.bytes_sent += 7
    broker.packets_received += 9
    broker.packets_sent += 11
    after = dict(system(world))
    for name, change in (("messages_dropped", 5), ("bytes_sent", 7), ("packets_received", 9), ("packets_sent", 11)):
        assert int(after[name]) - int(before[name]) == change, name


def test_the_host_tells_heap_and_threads():
    world = World()
    world.broker.sys.extras.append(lambda: [("heap/current", 12345), ("heap/free", 1), ("threads", 3)])
    values = dict(system(world))
    assert (values["memory_alloc"], values["threads"]) == ("12345", "3")


def test_a_host_without_a_clock():
    assert dict(system(World()))["started"] == "0"


def test_health():
    status, fields, body = ask(World(), "/healthz")
    assert (status, body) == (200, "ok\n") and fields["Content-Type"].startswith("text/plain")


def test_metrics_are_right():
    found = metrics(busy())
    assert found['ucomqtt_info{version="ucomqtt %s"}' % __version__] == ("gauge", "1")
    for name, kind, value in (
        ("uptime_seconds", "gauge", 60), ("bytes_received_total", "counter", 4321), ("messages_received_total", "counter", 3),
        ("messages_sent_total", "counter", 2), ("messages_dropped_total", "counter", 0), ("clients_connected", "gauge", 2),
        ("clients_disconnected", "gauge", 1), ("clients_maximum", "gauge", 2), ("clients_total", "gauge", 3),
        ("connections_total", "counter", 4), ("connections_refused_total", "counter", 0), ("retained_messages", "gauge", 1),
        ("inflight_messages", "gauge", 1), ("stored_messages", "gauge", 2), ("subscriptions", "gauge", 2),
        ("sessions_expired_total", "counter", 0), ("auth_failed_total", "counter", 0), ("auth_blocked_total", "counter", 0),
        ("publishes_denied_total", "counter", 0), ("subscriptions_denied_total", "counter", 0),
        ("rate_limited_total", "counter", 0),
    ):  # fmt: skip
        assert found["ucomqtt_" + name] == (kind, str(value)), name
    assert found["ucomqtt_packets_received_total"][0] == found["ucomqtt_packets_sent_total"][0] == "counter"


def test_each_figure_is_a_metric_once():
    world = busy()
    plain = len(metrics(world))
    # The figures of $SYS/broker/ less the other names some have and the time of day.
    aliases = 11
    assert plain == len(world.broker.sys.figures()) - aliases + 1


def test_metrics_of_further_figures():
    world = World()
    without = metrics(world)
    world.broker.sys.extras.append(lambda: [
        ("load/messages/received/1min", "1.50"), ("auth/Redis-1/errors", 4), ("listener/a b\\c\n/connected", 2),
        ("a/b", 1), ("a b", 2), ("uptime/seconds", 9), ("text", "yes"), ("cpu", "nan"), ("hex", "1_000"), ("flag", True),
        ("ratio", 0.25), ("info", 7),
    ])  # fmt: skip
    status, _, body = ask(world, "/metrics")
    body = body.replace("Redis", "redis")  # the one name here with a capital
    assert "\nucomqtt_auth_redis_1_errors 4\n" in body
    assert "# HELP ucomqtt_listener_a_b_c__connected $SYS/broker/listener/a b\\\\c\\n/connected\n" in body
    names = {}
    for line in body.split("\n"):
        if line and line[0] != "#":
            name, value = line.rsplit(" ", 1)
            assert name not in names, name
            names[name] = value
    new = {name: names[name] for name in names if name not in without}
    assert new == {
        "ucomqtt_load_messages_received_1min": "1.50", "ucomqtt_auth_redis_1_errors": "4",
        "ucomqtt_listener_a_b_c__connected": "2", "ucomqtt_a_b": "1", "ucomqtt_ratio": "0.25",
    }  # fmt: skip
    assert names["ucomqtt_uptime_seconds"] == "0"


def test_head_has_no_body():
    world = busy()
    for target in ("/", "/healthz", "/metrics"):
        status, fields, body = ask(world, target, "HEAD")
        assert (status, body) == (200, "")
        assert fields["Content-Length"] == str(len(ask(world, target)[2]))


def test_a_query_changes_nothing_and_pieces_neither():
    world = busy()
    assert ask(world, "/?x=y") == ask(world, "/") == ask(world, "/", size=1) == ask(world, "/", size=7)


def test_refusals():
    world = World()
    for target in ("/x", "/metrics/", "/healthz/x", "//", "/Metrics", "/%2e"):
        assert ask(world, target)[0] == 404, target
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "HEADS"):
        status, fields, _ = ask(world, "/metrics", method)
        assert (status, fields["Allow"]) == (405, "GET, HEAD"), method
    connection = InfoConnection(world.broker)
    assert connection.receive(b"\x10\x0e\x00\x04MQTT").startswith(b"HTTP/1.1 400 ")
    assert connection.receive(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n") == b""


def test_an_endless_request_is_refused():
    connection = InfoConnection(World().broker)
    fed = 0
    answer = b""
    while not answer:
        answer = connection.receive(b"GET / HTTP/1.1\r\n" if not fed else b"A: b\r\n")
        fed += 6
        assert fed <= MAX_HEAD + 6
    assert answer.startswith(b"HTTP/1.1 431 ")
