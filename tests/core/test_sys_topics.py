"""The $SYS topics."""

from harness import World
from port.core import __version__

# The eighteen CoMQTT publishes.
COMQTT = (
    "version", "uptime", "timestamp", "load/bytes/received", "load/bytes/sent", "clients/connected",
    "clients/disconnected", "clients/maximum", "clients/total", "connections/total", "messages/received",
    "messages/sent", "messages/publish/dropped", "messages/publish/received", "messages/publish/sent",
    "messages/retained/count", "messages/inflight", "subscriptions/count",
)  # fmt: skip
# The names mosquitto has for the same.
MOSQUITTO = (
    "bytes/received", "bytes/sent", "publish/messages/dropped", "publish/messages/received", "publish/messages/sent",
    "retained messages/count", "messages/stored", "store/messages/count", "clients/active", "clients/inactive",
    "clients/expired", "clients/connected", "clients/disconnected", "clients/maximum", "clients/total",
    "messages/received", "messages/sent", "subscriptions/count", "version", "uptime",
)  # fmt: skip
# What was turned away.
REFUSED = (
    "connections/refused", "auth/failed", "auth/timeouts", "auth/blocked", "acl/publish/denied", "acl/subscribe/denied",
    "clients/rate/limited",
)  # fmt: skip


def figures(client):
    """What a client got: {topic below $SYS/broker/: text}."""
    found = {}
    for packet in client.messages():
        assert packet["topic"].startswith(b"$SYS/broker/")
        found[packet["topic"][12:].decode()] = packet["payload"].decode()
    return found


def test_all_topics_are_there_at_once():
    world = World()
    client = world.connect("c")
    client.subscribe("$SYS/#")
    assert all([packet["retain"] and packet["qos"] == 0 for packet in client.inbox])
    found = figures(client)
    assert sorted(found) == sorted(set(COMQTT + MOSQUITTO + REFUSED))
    assert len(set(COMQTT)) == 18


def test_one_figure_alone():
    client = World().connect("c")
    client.subscribe("$SYS/broker/version", qos=2)
    client.expect_message("$SYS/broker/version", "ucomqtt " + __version__, retain=True)
    client.expect_nothing()
    client.subscribe("$SYS/broker/clients/+")
    assert len(figures(client)) == 7


def test_the_figures_are_right():
    world = World()
    world.broker.sys.wall = lambda: 1700000000000
    world.connect("gone").disconnect()
    away = world.connect("away", properties={0x11: 1000})
    away.subscribe("t", qos=1)
    away.lose()
    here = world.connect("here")
    here.subscribe("t", qos=1)
    here.subscribe("u")
    world.connect("short", properties={0x11: 5}).disconnect()
    publisher = world.connect("p")
    publisher.publish("t", "x", 1)  # sent to one, queued for the other
    publisher.publish("t", "x", 0)  # sent to one, dropped for the other
    publisher.publish("r", "x", retain=True)
    world.advance(60000)
    watcher = world.connect("w")
    before = world.broker.counters.bytes_received
    watcher.subscribe("$SYS/#")
    found = figures(watcher)
    expected = {
        "uptime": 60, "timestamp": 1700000000,
        "clients/connected": 3, "clients/disconnected": 1, "clients/maximum": 3, "clients/total": 4,
        "clients/expired": 1, "clients/active": 3, "clients/inactive": 1, "connections/total": 6,
        "messages/publish/received": 3, "messages/publish/sent": 2, "messages/publish/dropped": 1,
        "messages/retained/count": 1, "messages/inflight": 1, "subscriptions/count": 4,
        "messages/stored": 3, "store/messages/count": 3,
    }  # fmt: skip
    for name in expected:
        assert found[name] == str(expected[name]), (name, found[name])
    assert before == 0  # the host counts the bytes received
    for name, other in (
        ("load/bytes/received", "bytes/received"), ("load/bytes/sent", "bytes/sent"),
        ("messages/publish/dropped", "publish/messages/dropped"), ("messages/publish/sent", "publish/messages/sent"),
        ("messages/publish/received", "publish/messages/received"), ("messages/retained/count", "retained messages/count"),
    ):  # fmt: skip
        assert found[name] == found[other]


def test_packets_and_bytes_are_counted():
    world = World()
    client = world.connect("c", 4)
    broker = world.broker
    assert (broker.counters.packets_received, broker.counters.packets_sent, broker.counters.bytes_sent) == (1, 1, 4)
    client.ping()
    assert (broker.counters.packets_received, broker.counters.packets_sent, broker.counters.bytes_sent) == (2, 2, 6)
    client.subscribe("t")
    client.publish("t", "x")  # itself, and as it came
    assert (broker.counters.packets_received, broker.counters.packets_sent, broker.counters.bytes_sent) == (4, 4, 6 + 5 + 6)
    assert (broker.counters.publishes_received, broker.counters.published) == (1, 1)
    client.publish("t", "x", 1)
    client.inbox.clear()
    assert (broker.counters.publishes_received, broker.counters.published, broker.counters.packets_received) == (2, 2, 5)


def test_each_packet_of_a_row_is_counted():
    world = World()
    broker = world.broker
    publisher = world.connect("p", 4)
    subscriber = world.connect("s", 4)
    subscriber.subscribe("t", 2)
    sent = broker.counters.packets_sent
    publisher.feed(b"".join([b"\x34\x06\0\1t\0" + bytes((n,)) + b"x" for n in range(1, 6)]))
    assert broker.counters.packets_sent == sent + 10  # PUBLISH and PUBREC
    subscriber.feed(b"".join([b"\x50\2\0" + bytes((n,)) for n in range(1, 6)]))
    publisher.feed(b"".join([b"\x62\2\0" + bytes((n,)) for n in range(1, 6)]))
    assert broker.counters.packets_sent == sent + 20  # PUBREL and PUBCOMP
    publisher.feed(b"\x30\4\0\1tx" * 5)
    assert broker.counters.packets_sent == sent + 25
    assert broker.counters.published == broker.counters.publishes_received == 10


def test_a_round_every_interval():
    world = World(sys_interval=10)
    client = world.connect("c")
    client.subscribe("$SYS/broker/uptime", options=0x20)  # nothing of what is retained
    world.advance(35000)
    got = client.messages()
    assert [packet["payload"] for packet in got] == [b"1", b"11", b"21", b"31"]
    assert [packet["retain"] for packet in got] == [False] * 4


def test_a_round_for_many_is_published_in_slices():
    world = World(sys_interval=10)
    broker = world.broker
    clients = [world.connect("c%d" % i) for i in range(20)]
    for client in clients:
        client.subscribe("$SYS/#", options=0x20)
        client.subscribe("$SYS/broker/+/+", options=0x20)
    broker.turns.limit = 1000
    broker.tick()
    most = broker.turns.spent
    assert len(clients[0].inbox) < 10 and most < 3000
    other = world.connect("other")  # served in between, and not counted: the values are those of one moment
    world.advance(20000)  # the next rounds are due, and not begun
    slices = 0
    while broker.work():
        most = max(most, broker.turns.spent)
        broker.flush()
        slices += 1
        other.ping()
    broker.flush()
    assert slices > 10 and most < 3000, (slices, most)
    for client in clients:
        topics = [packet["topic"] for packet in client.inbox]
        assert len(topics) == len(set(topics)) == len(set(COMQTT + MOSQUITTO + REFUSED))
        assert figures(client)["clients/connected"] == "20"
    world.advance(10000)
    while broker.work():
        pass
    broker.flush()
    assert figures(clients[0])["clients/connected"] == "21"


def test_no_rounds_when_switched_off():
    world = World(sys_interval=0)
    client = world.connect("c")
    client.subscribe("$SYS/broker/uptime")
    client.messages()
    world.advance(100000)
    client.expect_nothing()


def test_rounds_reach_the_program_and_shared_subscriptions():
    world = World(sys_interval=10)
    seen = []
    world.broker.subscribe("$SYS/broker/uptime", lambda m: seen.append(m.payload))
    member = world.connect("m")
    member.subscribe("$share/g/$SYS/broker/+")
    world.advance(1000)
    assert seen == [b"1"]
    assert sorted(figures(member)) == ["timestamp", "uptime", "version"]


def test_wildcards_do_not_see_them():
    world = World(sys_interval=1)
    client = world.connect("c")
    for topic_filter in ("#", "+/broker/#", "+/#"):
        client.subscribe(topic_filter)
    world.advance(5000)
    client.expect_nothing()


def test_the_host_may_add_figures():
    world = World()
    world.broker.sys.extras.append(lambda: [("memory/free", 12345)])
    client = world.connect("c")
    client.subscribe("$SYS/broker/memory/free")
    client.expect_message("$SYS/broker/memory/free", "12345", retain=True)
