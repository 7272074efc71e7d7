"""The page /metrics."""

import disk
from harness import World
from port.core import __version__
from port.core.limits.listener import Listener
from port.core.limits.options import Options
from port.core.auth.authenticator import PENDING, Authenticator
from port.core.monitor.measures import BOUNDS, Histogram, Measures
from port.core.monitor.metrics import TYPES, families
from test_http_pages import ask, connection

HEAPSIZE = "8m"
NAME = "abcdefghijklmnopqrstuvwxyz_"


def page(world):
    """{sample with its labels, as it is written: value as text}, the form of all of it checked."""
    status, fields, body = ask(world, "/metrics")
    assert status == 200 and fields["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return samples(body)


def samples(body):
    assert body.endswith("\n")
    lines = body[:-1].split("\n")
    found = {}
    families = []
    kind = name = ""
    for i in range(len(lines)):
        line = lines[i]
        if line.startswith("# HELP "):
            name, help_text = line[7:].split(" ", 1)
            assert help_text and name not in families and not name.strip(NAME), line
            families.append(name)
            assert lines[i + 1].startswith("# TYPE %s " % name)
            kind = lines[i + 1].rsplit(" ", 1)[1]
            assert kind in TYPES and name.endswith("_total") == (kind == "counter"), line
        elif not line.startswith("# TYPE "):
            sample, value = line.rsplit(" ", 1)
            float(value)
            of = sample.split("{")[0]
            suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
            assert of in [name + suffix for suffix in suffixes], line  # behind its own head
            assert sample not in found, line
            found[sample] = value
    return found


def with_listeners(store=None, **options):
    """A world that has two listeners for clients and one for pages, as a host has them."""
    world = World(store, **options)
    broker = world.broker
    for name, kind in (("lan", "tcp"), ("browser", "websocket"), ("info", "http")):
        broker.add_listener(Listener(name, kind, broker.options, broker.authenticators))
    broker.counters.measures = Measures()
    return world


def test_every_metric_is_described():
    rows = [row for row, _ in families(World().broker)]
    names = [row[0] for row in rows]
    assert len(names) > 50 and len(set(names)) == len(names) == len(set([row[3] for row in rows]))
    for name, kind, labels, text in rows:
        assert name.startswith("ucomqtt_") and text and "\n" not in text and "\\" not in text
        assert name.endswith("_total") == (TYPES[kind] == "counter"), name
        assert "le" not in labels
        if TYPES[kind] == "histogram":
            assert name.endswith("_seconds")


def test_what_a_broker_at_rest_tells():
    world = with_listeners(max_connections=7, max_sessions=5)
    world.advance(60000)
    found = page(world)
    assert found['ucomqtt_build_info{version="%s"}' % __version__] == "1"
    for sample, value in (
        ("uptime_seconds", "60"), ("received_bytes_total", "0"), ('messages_received_total{qos="0"}', "0"), ("clients_limit", "7"),
        ('messages_dropped_total{reason="not_reading"}', "0"), ('messages_dropped_total{reason="memory"}', "0"),
        ('clients_connected{listener="lan",version="3.1.1"}', "0"), ('clients_connected{listener="browser",version="5.0"}', "0"),
        ('listener_connections{listener="info"}', "0"), ('listener_connections_limit{listener="lan"}', "7"),
        ('connections_refused_total{listener="lan",reason="connections"}', "0"), ('connects_refused_total{reason="not_authorized"}', "0"),
        ('disconnects_total{reason="session_taken_over"}', "0"), ('disconnects_total{reason="other"}', "0"), ("sessions_limit", "5"),
        ('sessions{state="connected"}', "0"), ("memory_shortage", "0"), ('memory_bytes{use="unsent"}', "0"),
        ("memory_limit_bytes", str(world.broker.memory.limit())),
    ):  # fmt: skip
        assert found["ucomqtt_" + sample] == value, sample
    for sample in found:  # no store, no heap, no authenticator
        for absent in ("store", "heap", "authenticator", "figure"):
            assert not sample.startswith("ucomqtt_" + absent), sample
    assert not [sample for sample in found if sample.startswith("ucomqtt_clients_connected{") and "info" in sample]


def test_messages_are_counted_by_qos():
    world = with_listeners()
    lan = world.broker.listeners[0]
    for version in (3, 4, 5):
        before = page(world)
        publisher = world.connect("p%d" % version, version, listener=lan)
        subscriber = world.connect("s%d" % version, version, listener=lan)
        subscriber.subscribe("t", 2)
        for qos, count in ((0, 3), (1, 4), (2, 5)):
            for _ in range(count):
                publisher.publish("t", "x", qos)
                subscriber.messages()
            publisher.publish("t", "", qos, retain=True)  # not by the short way
            subscriber.messages()
        after = page(world)
        for qos, count in ((0, 4), (1, 5), (2, 6)):
            for direction in ("received", "sent"):
                name = 'ucomqtt_messages_%s_total{qos="%d"}' % (direction, qos)
                assert int(after[name]) - int(before[name]) == count, (version, name)
        subscriber.unsubscribe("t", code=0)


def test_rows_are_counted_by_qos():
    """Many alike packets in one read."""
    world = with_listeners()
    publisher = world.connect("p", 4)
    subscriber = world.connect("s", 4)
    subscriber.subscribe("t", 2)
    publisher.feed(b"".join([b"\x30\4\0\1tx"] * 7))
    publisher.feed(b"".join([b"\x32\x06\0\1t\0" + bytes((n,)) + b"x" for n in range(1, 6)]))
    publisher.feed(b"".join([b"\x34\x06\0\1t\0" + bytes((n,)) + b"x" for n in range(6, 9)]))
    found = page(world)
    for qos, count in (("0", "7"), ("1", "5"), ("2", "3")):
        for direction in ("received", "sent"):
            assert found['ucomqtt_messages_%s_total{qos="%s"}' % (direction, qos)] == count, (direction, qos)


def test_a_counter_does_not_go_back():
    """What came in one read with a packet that is wrong."""
    world = with_listeners()
    good = world.connect("good", 4)
    good.publish("t", "x")
    bad = world.connect("bad", 4)
    bad.feed(b"\x32\x06\0\1t\0\1x" + b"\x32\x06\0\1t\0\2x" + b"\xf0\0")
    assert bad.closed
    found = page(world)
    assert found['ucomqtt_messages_received_total{qos="0"}'] == "0" and found['ucomqtt_messages_received_total{qos="1"}'] == "2"
    for _ in range(3):
        good.publish("t", "x")
    assert int(page(world)['ucomqtt_messages_received_total{qos="0"}']) >= 1


def test_a_qos_2_message_that_is_sent_again():
    world = with_listeners()
    client = world.connect("c", 4)
    for _ in range(2):
        client.send_publish("t", "x", 2, packet_id=7)
    assert page(world)['ucomqtt_messages_received_total{qos="2"}'] == "2"


def test_a_packet_that_comes_again_counts_once():
    """While an authorizer thinks, or a receiver's queue is full, the same packet waits."""

    class Thinker(Authenticator):
        asked = None

        def authenticate(self, client, user, password):
            client.authorizer = self
            return 0

        def ask(self, client, action, topic):
            self.asked = (client, action, topic)

    thinker = Thinker()
    world = with_listeners()
    world.broker.authenticators.append(thinker)
    publisher = world.connect("p", 4, user=b"u")
    for qos in (0, 1, 2):
        publisher.send_publish("t%d" % qos, "x", qos)
        client, action, topic = thinker.asked
        found = page(world)
        assert found['ucomqtt_messages_received_total{qos="%d"}' % qos] == "0", qos
        client.authorized(action, topic, 5, 1000)
        world.settle()
        assert page(world)['ucomqtt_messages_received_total{qos="%d"}' % qos] == "1", qos


def test_drops_have_reasons():
    world = with_listeners(max_queued_messages=2, max_retained_messages=1, message_size_limit=50)
    away = world.connect("away", properties={0x11: 1000})
    away.subscribe("t", 1)
    away.lose()
    small = world.connect("small", properties={0x27: 20})
    small.subscribe("s")
    publisher = world.connect("p")
    for _ in range(5):
        publisher.publish("t", "x", 1)  # two wait
    publisher.publish("t", "x")
    publisher.publish("s", "x" * 40)
    publisher.publish("s", "x" * 60, 1, code=0x97)
    publisher.publish("r/1", "x", retain=True)
    publisher.publish("r/2", "x", 1, retain=True, code=0x97)
    publisher.publish("$x", "x", 1, code=0x87)
    found = page(world)
    for reason, count in (
        ("not_reading", 1), ("queue_full", 3), ("too_large", 2), ("memory", 0), ("not_authorized", 0), ("reserved_topic", 1),
        ("retained_full", 1),
    ):  # fmt: skip
        assert found['ucomqtt_messages_dropped_total{reason="%s"}' % reason] == str(count), reason
    assert found["ucomqtt_queued_messages"] == "2" and found["ucomqtt_retained_messages"] == "1"
    assert int(found['ucomqtt_memory_bytes{use="messages"}']) == world.broker.memory.message_bytes > 0


def test_what_the_rules_deny():
    from port.core.acl.acl_rule import rule

    world = with_listeners()
    world.broker.set_acl([rule({"topic": "a/#"})])
    client = world.connect("c")
    client.publish("b", "x", 1, code=0x87)
    client.subscribe("b", 1, code=0x87)
    client.subscribe("c", 1, code=0x87)
    found = page(world)
    assert found['ucomqtt_acl_denied_total{action="publish"}'] == "1" and found['ucomqtt_acl_denied_total{action="subscribe"}'] == "2"
    assert found['ucomqtt_messages_dropped_total{reason="not_authorized"}'] == "1"


def test_connections_by_listener_version_and_reason():
    world = with_listeners(anonymous="all", max_connections_per_address=2)
    lan, browser, _ = world.broker.listeners
    world.connect("3", 3, listener=lan)
    four = world.connect("4", 4, listener=lan)
    world.connect("4", 4, listener=browser)  # takes it over
    world.connect("5", 5, listener=browser).disconnect()
    bad = world.client(5, listener=lan)
    bad.feed(b"\x30\0")  # no CONNECT
    for _ in range(3):
        world.client(4, "192.0.2.1:1", browser)
    assert four.closed and bad.closed
    found = page(world)
    for sample, count in (
        ('clients_connected{listener="lan",version="3.1"}', 1), ('clients_connected{listener="lan",version="3.1.1"}', 0),
        ('clients_connected{listener="browser",version="3.1.1"}', 1), ('clients_connected{listener="browser",version="5.0"}', 0),
        ('connections_accepted_total{listener="lan"}', 3), ('connections_accepted_total{listener="browser"}', 4),
        ('connections_refused_total{listener="browser",reason="address"}', 1),
        ('connections_refused_total{listener="lan",reason="address"}', 0),
        ('disconnects_total{reason="session_taken_over"}', 1), ('disconnects_total{reason="normal"}', 1),
        ('connects_refused_total{reason="protocol_error"}', 1), ('listener_connections{listener="lan"}', 1),
        ("clients_connected_max", 3),
    ):  # fmt: skip
        assert found["ucomqtt_" + sample] == str(count), sample


def test_a_client_chooses_no_label():
    """Whatever it calls itself and does, there are no more samples than before, but for reasons that are known."""
    world = with_listeners()
    lan = world.broker.listeners[0]
    world.connect("warm", listener=lan).disconnect()
    before = page(world)
    for code in range(256):
        client = world.connect('c"%d' % code, listener=lan, user=b"u%d" % code)
        client.subscribe("evil/%d" % code)
        client.publish("evil/%d" % code, "x")
        client.inbox.clear()
        client.feed(b"\xe0\1" + bytes((code,)))  # DISCONNECT
        world.see_off()
    after = page(world)
    assert "evil" not in "".join(after) and "u1" not in "".join(after)
    new = [sample for sample in after if sample not in before]
    assert len(new) < 40
    for sample in new:
        assert sample.startswith("ucomqtt_disconnects_total{reason="), sample
    assert sum([int(after[sample]) for sample in after if sample.startswith("ucomqtt_disconnects_total")]) == 257


# Reason codes (clause 2.4) as labels: of connections over before the client was let in, of those that were open, of both.
REFUSED = {0x84: "protocol_version", 0x85: "client_id", 0x86: "bad_user_name_or_password", 0x8A: "banned", 0x9A: "retain_not_supported",
           0x9B: "qos_not_supported", 0x9C: "use_another_server"}  # fmt: skip
ENDED = {0x04: "with_will", 0x83: "implementation_specific", 0x8E: "session_taken_over", 0x93: "receive_maximum", 0x94: "topic_alias",
         0x96: "message_rate", 0x98: "administrative_action", 0xA0: "maximum_connect_time"}  # fmt: skip
BOTH = {0x00: "normal", 0x80: "unspecified", 0x81: "malformed_packet", 0x82: "protocol_error", 0x87: "not_authorized",
        0x88: "server_unavailable", 0x89: "server_busy", 0x8B: "server_shutting_down", 0x8C: "authentication_method",
        0x8D: "keep_alive_timeout", 0x90: "topic_name", 0x95: "packet_too_large", 0x97: "quota_exceeded"}  # fmt: skip


def test_each_reason_code_is_counted_under_its_name():
    world = with_listeners()
    for code in range(256):
        world.client(4).conn.close(code, "")
        world.connect("c", 4).conn.close(code, "")
        world.see_off()
    found = page(world)
    for metric, own in (("connects_refused", REFUSED), ("disconnects", ENDED)):
        names = list(own.values()) + list(BOTH.values())
        for name in names:
            assert found['ucomqtt_%s_total{reason="%s"}' % (metric, name)] == "1", name
        assert found['ucomqtt_%s_total{reason="other"}' % metric] == str(256 - len(names))
        assert len([sample for sample in found if sample.startswith("ucomqtt_%s_total" % metric)]) == len(names) + 1


class Later(Authenticator):
    """Decides later."""

    name = 'a"b\\c\nd'

    def __init__(self):
        self.clients = []

    def authenticate(self, client, user, password):
        self.clients.append(client)
        return PENDING

    def figures(self):
        return [("accepted", 1), ("errors", 2), ("cache_hits", 3), ("waiting", 4), ("own", 5)]


class Own(Authenticator):
    """One without a name, and there are two of its kind."""

    def authenticate(self, client, user, password):
        return 0 if user == b"own" else None

    def figures(self):
        return [("refused", 1)]


def test_authenticators():
    later = Later()
    world = with_listeners()
    lan = world.broker.listeners[0]
    lan.authenticators = [Own(), Own(), later]
    world.connect("own", user=b"own", listener=lan)
    for took in (3, 700, 30000):
        client = world.client(listener=lan)
        client.connect("c%d" % took, user=b"u")
        world.now += took
        later.clients.pop().authenticated(0)
        world.settle()
    found = page(world)
    label = '{authenticator="a\\"b\\\\c\\nd"'
    for sample, value in (
        ("answers_total%s,result=\"accepted\"}" % label, "1"), ("answers_total%s,result=\"error\"}" % label, "2"),
        ("cache_hits_total%s}" % label, "3"), ("waiting%s}" % label, "4"), ("figure%s,figure=\"own\"}" % label, "5"),
        ('answers_total{authenticator="Own",result="refused"}', "2"),
        ('duration_seconds_count{authenticator="Own"}', "1"),  # who says nothing is not counted
        ("duration_seconds_bucket%s,le=\"0.002\"}" % label, "0"), ("duration_seconds_bucket%s,le=\"0.005\"}" % label, "1"),
        ("duration_seconds_bucket%s,le=\"0.5\"}" % label, "1"), ("duration_seconds_bucket%s,le=\"1.0\"}" % label, "2"),
        ("duration_seconds_bucket%s,le=\"10.0\"}" % label, "2"), ("duration_seconds_bucket%s,le=\"+Inf\"}" % label, "3"),
        ("duration_seconds_count%s}" % label, "3"), ("duration_seconds_sum%s}" % label, "30.703000"),
    ):  # fmt: skip
        assert found["ucomqtt_authenticator_" + sample] == value, sample


def test_two_listeners_of_one_name_are_one():
    world = with_listeners()
    broker = world.broker
    again = broker.add_listener(Listener("lan", "tcp", broker.options, []))
    for listener in (broker.listeners[0], again):
        world.connect(str(id(listener)), listener=listener)
    assert page(world)['ucomqtt_clients_connected{listener="lan",version="5.0"}'] == "2"


def test_histogram():
    histogram = Histogram()
    for bound, _ in BOUNDS:
        histogram.add(bound)  # belongs to it
        histogram.add(bound + 1)
    assert histogram.counts == [1] + [2] * (len(BOUNDS) - 1) + [1]
    assert histogram.total == sum([2 * bound + 1 for bound, _ in BOUNDS])
    for bound, text in BOUNDS:
        assert "." in text and abs(float(text) * 1000000 - bound) < 1


def test_the_store():
    store = disk.Disk(manual=True)
    world = with_listeners(store)
    client = world.client()
    client.connect("c", properties={0x11: 1000})
    store.complete_all()
    client.say(8, packet_id=1, filters=[(b"a", 1)], properties={})
    world.now += 10
    store.complete(OSError("full"))  # which takes no time that counts
    assert page(world)['ucomqtt_store_failing{store="other"}'] == "1"
    world.advance(990)
    assert store.busy()
    world.now += 30
    store.complete_all()
    found = page(world)
    count = int(found['ucomqtt_store_batch_duration_seconds_count{store="other"}'])
    assert count > 0 and found['ucomqtt_store_failing{store="other"}'] == "0"
    assert count <= int(found['ucomqtt_store_batches_total{store="other"}'])
    assert found['ucomqtt_store_batch_duration_seconds_bucket{store="other",le="0.02"}'] == str(count - 1)
    assert found['ucomqtt_store_batch_duration_seconds_sum{store="other"}'] == "0.030000"


def test_counters_begin_anew_with_the_broker():
    """A store that is a little behind after a crash would have Prometheus take all that was counted before for new."""
    store = disk.Disk()
    world = with_listeners(store)
    client = world.connect("c")
    client.publish("t", "x", 1, code=0x10)
    world.advance(11000)
    world.broker.publish("t", "x", retain=True)
    world.broker.disconnect_all()
    assert page(world)['ucomqtt_messages_received_total{qos="1"}'] == "1"
    world = with_listeners(store)
    assert dict(world.broker.sys.figures())["messages/publish/received"] == 1
    found = page(world)
    for sample in found:
        if "_total" in sample and not sample.startswith("ucomqtt_store"):
            assert found[sample] == "0", sample
    assert found["ucomqtt_clients_connected_max"] == "1"


def test_figures_that_a_program_adds():
    world = World()
    world.broker.sys.extras.append(lambda: [
        ("load/messages/received/1min", "1.50"), ("heap/current", 12), ("heap/free", 34), ("memory/step", 2), ("memory/clients/free", 56),
        ("a b\\c\n\"/d", 2), ("text", "yes"), ("cpu", "nan"), ("hex", "1_000"), ("flag", True), ("ratio", 0.25), ("half", "1.5"),
    ])  # fmt: skip
    found = page(world)
    assert (found["ucomqtt_heap_used_bytes"], found["ucomqtt_heap_free_bytes"]) == ("12", "34")
    assert found['ucomqtt_memory_free_bytes{memory="clients"}'] == "56"
    own = {}
    for sample in found:
        if sample.startswith("ucomqtt_figure"):
            own[sample] = found[sample]
    assert own == {
        'ucomqtt_figure{topic="a b\\\\c\\n\\"/d"}': "2", 'ucomqtt_figure{topic="ratio"}': "0.25", 'ucomqtt_figure{topic="half"}': "1.5",
    }  # fmt: skip


def test_a_host_adds_its_own():
    world = World()
    histogram = Histogram()
    histogram.add(1500)
    world.broker.sys.metrics = lambda broker: iter((
        (("own_total", 0, (), "Own"), [((), 7)]), (("never", 1, (), "Not there"), []), (("own_seconds", 2, (), "Too"), [((), histogram)]),
    ))  # fmt: skip
    found = page(world)
    assert found["own_total"] == "7" and found['own_seconds_bucket{le="0.001"}'] == "0" and found['own_seconds_bucket{le="+Inf"}'] == "1"
    assert found["own_seconds_sum"] == "0.001500" and "never" not in found


def test_open_metrics_where_it_is_asked_for():
    world = with_listeners()
    world.broker.sys.extras.append(lambda: [("own", 1)])
    info, host = connection(world)
    info.receive(b"GET /metrics HTTP/1.1\r\nHost: h\r\nAccept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n\r\n")
    head, _, body = host.data.decode().partition("\r\n\r\n")
    assert "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n" in head
    lines = body.split("\n")
    assert lines[-2:] == ["# EOF", ""]
    assert "# TYPE ucomqtt_received_bytes counter" in lines and "ucomqtt_received_bytes_total 0" in lines
    assert "# TYPE ucomqtt_figure unknown" in lines and "# TYPE ucomqtt_clients_limit gauge" in lines
    plain = samples(ask(world, "/metrics")[2])
    values = {}
    for line in lines[:-2]:
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            values[name] = value
    assert values == plain


SESSIONS = 1200  # more than are counted in one go


def many():
    world = with_listeners(max_sessions=SESSIONS)
    broker = world.broker
    broker.turns.limit = 512
    for i in range(SESSIONS):
        session = broker.session_registry.new(b"%d" % i)
        if not i % 2:
            session.inflight = {1: b"\x32\0"}
    return world


def test_a_page_is_made_in_slices():
    """Nobody waits for all sessions to be counted: in each slice there is about a turn's work."""
    for target in (b"/metrics", b"/"):
        world = many()
        broker = world.broker
        info, host = connection(world)
        info.receive(b"GET %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" % target)
        slices = 1
        assert not host.data
        while broker.work():
            assert not host.data and broker.turns.spent <= broker.turns.limit + 8
            slices += 1
        assert slices >= SESSIONS * 2 // (broker.turns.limit + 8)
        body = host.data.decode().partition("\r\n\r\n")[2]
        inflight = "ucomqtt_inflight_messages %d\n" if target == b"/metrics" else '"inflight": %d,\n'
        assert inflight % (SESSIONS // 2) in body and not broker.turns.jobs
        assert info.done


def test_who_goes_in_between_is_forgotten():
    world = many()
    info, host = connection(world)
    info.receive(b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n")
    assert world.broker.turns.jobs
    info.lost()
    while world.broker.work():
        pass
    assert not host.data and not world.errors()


def test_what_fails_is_told():
    for error, status in ((ValueError("secret"), 500), (MemoryError(), 503)):
        world = World()

        def fail(error=error):
            raise error

        world.broker.sys.extras.append(fail)
        assert ask(world, "/metrics")[0] == status
        assert len(world.errors()) == (status == 500)


def test_listeners_of_other_options():
    world = with_listeners()
    broker = world.broker
    broker.add_listener(Listener("few", "tcp", broker.options, [], None, {"max_connections": 3}))
    assert page(world)['ucomqtt_listener_connections_limit{listener="few"}'] == "3"
    assert Options().max_connections != 3
