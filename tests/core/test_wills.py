"""Will messages (clauses 3.1.2.5, 3.1.3.2 and 3.14.4)."""

from harness import VERSIONS, World
from port.core import TYPE_CHECKING
from port.core.wire.properties import MESSAGE_EXPIRY_INTERVAL, SESSION_EXPIRY_INTERVAL, USER_PROPERTY, WILL_DELAY_INTERVAL
from port.core.messages.message import Message

if TYPE_CHECKING:
    from typing import Any


def scene(version=5, will=None, expiry=0, **fields):
    """(world, client with a will, somebody who watches for it)."""
    world = World()
    watcher = world.connect("watcher", version)
    watcher.subscribe("will", qos=2)
    will = will or {"topic": b"will", "payload": b"gone"}
    if version == 5:
        fields["properties"] = {SESSION_EXPIRY_INTERVAL: expiry}
    client = world.connect("c", version, will=will, **fields)
    return world, client, watcher


def delayed(delay):
    return {"topic": b"will", "payload": b"gone", "properties": {WILL_DELAY_INTERVAL: delay}}


def test_the_will_is_sent_when_the_connection_is_lost():
    for version in VERSIONS:
        _, client, watcher = scene(version)
        client.lose()
        watcher.expect_message("will", "gone")
        watcher.expect_nothing()


def test_the_will_is_sent_on_a_protocol_error():
    for version in VERSIONS:
        _, client, watcher = scene(version)
        client.feed(b"\x00\x00")
        assert client.closed
        watcher.expect_message("will", "gone")


def test_the_will_is_not_sent_after_disconnect():
    for version in VERSIONS:
        world, client, watcher = scene(version)
        client.disconnect()  # [MQTT-3.14.4-3]
        world.advance(100000)
        watcher.expect_nothing()


def test_the_will_is_sent_after_disconnect_with_any_other_code():
    for code in (0x04, 0x80, 0x93):
        _, client, watcher = scene()
        client.disconnect(code)
        watcher.expect_message("will", "gone")


def test_the_will_is_sent_on_keep_alive_timeout():
    world, client, watcher = scene(keep_alive=10)
    world.advance(20000)
    client.expect_close(0x8D)
    watcher.expect_message("will", "gone")


def test_the_will_is_sent_on_takeover():
    for version in VERSIONS:
        world, client, watcher = scene(version)
        world.connect("c", version)
        watcher.expect_message("will", "gone")
        assert client.closed


def test_the_will_is_sent_when_the_broker_stops():
    world, client, _ = scene()
    seen: "list[Message]" = []
    world.broker.subscribe("will", seen.append)
    world.broker.disconnect_all()
    client.expect_close(0x8B)
    assert [message.payload for message in seen] == [b"gone"]
    assert world.broker.sessions == {}


def test_qos_retain_and_properties_of_the_will():
    user = [(b"b", b"1"), (b"a", b"2")]
    for qos in (0, 1, 2):
        will = {"topic": b"will", "payload": b"gone", "qos": qos, "retain": True, "properties": {USER_PROPERTY: user, 0x01: 1}}
        world, client, watcher = scene(will=will)
        client.lose()
        watcher.expect_message("will", "gone", qos=qos, retain=False, properties={USER_PROPERTY: user, 0x01: 1})
        late = world.connect("late")
        late.subscribe("will", qos=2)
        late.expect_message("will", "gone", qos=qos, retain=True, properties={USER_PROPERTY: user, 0x01: 1})


def test_a_retained_empty_will_clears():
    world, client, watcher = scene(will={"topic": b"will", "retain": True})
    world.broker.publish("will", "here", 0, True)
    watcher.expect_message("will", "here")
    client.lose()
    watcher.expect_message("will", "")
    assert world.broker.retained.count == 0


def test_the_will_is_sent_after_its_delay():
    world, client, watcher = scene(will=delayed(10), expiry=100)
    client.lose()
    world.advance(9000)
    watcher.expect_nothing()
    world.advance(2000)
    watcher.expect_message("will", "gone")
    world.advance(200000)
    watcher.expect_nothing()


def test_a_reconnect_in_time_cancels_the_will():
    world, client, watcher = scene(will=delayed(10), expiry=100)
    client.lose()
    world.advance(5000)
    world.connect("c", clean_start=False, properties={SESSION_EXPIRY_INTERVAL: 100})
    world.advance(60000)
    watcher.expect_nothing()  # [MQTT-3.1.3-9]


def test_a_reconnect_that_comes_too_late_cancels_nothing():
    """Also before the broker has looked."""
    world, client, watcher = scene(will=delayed(10), expiry=100)
    client.lose()
    world.now += 10000
    client = world.connect("c", clean_start=False, properties={SESSION_EXPIRY_INTERVAL: 100})
    assert client.connack["session_present"]
    watcher.expect_message("will", "gone")
    world.advance(60000)
    watcher.expect_nothing()


def test_a_takeover_cancels_a_delayed_will_too():
    world, client, watcher = scene(will=delayed(10), expiry=100)
    world.connect("c", clean_start=False, properties={SESSION_EXPIRY_INTERVAL: 100})
    world.advance(60000)
    watcher.expect_nothing()


def test_a_clean_start_ends_the_session_and_sends_the_delayed_will():
    world, client, watcher = scene(will=delayed(10), expiry=100)
    client.lose()
    watcher.expect_nothing()
    world.connect("c", clean_start=True)
    watcher.expect_message("will", "gone")


def test_the_end_of_the_session_comes_before_the_delay():
    world, client, watcher = scene(will=delayed(100), expiry=10)
    client.lose()
    world.advance(9000)
    watcher.expect_nothing()
    world.advance(2000)
    watcher.expect_message("will", "gone")
    assert world.session("c") is None
    world.advance(200000)
    watcher.expect_nothing()


def test_a_session_that_ends_with_the_connection_sends_a_delayed_will_at_once():
    _, client, watcher = scene(will=delayed(100), expiry=0)
    client.lose()
    watcher.expect_message("will", "gone")


def test_session_expiry_0_at_disconnect_with_will_sends_it_at_once():
    _, client, watcher = scene(will=delayed(100), expiry=50)
    client.disconnect(0x04, properties={SESSION_EXPIRY_INTERVAL: 0})
    watcher.expect_message("will", "gone")


def test_the_wills_message_expiry_counts_from_its_publication():
    will = {
        "topic": b"will", "payload": b"gone", "retain": True,
        "properties": {WILL_DELAY_INTERVAL: 30, MESSAGE_EXPIRY_INTERVAL: 20},
    }  # fmt: skip
    world, client, watcher = scene(will=will, expiry=100)
    client.lose()
    world.advance(31000)
    watcher.expect_message("will", "gone", properties={MESSAGE_EXPIRY_INTERVAL: 20})
    world.advance(15000)
    late = world.connect("late")
    late.subscribe("will")
    assert 4 <= late.messages()[0]["properties"][MESSAGE_EXPIRY_INTERVAL] <= 6
    world.advance(10000)
    later = world.connect("later")
    later.subscribe("will")
    later.expect_nothing()


def test_a_new_connection_without_a_will_has_none():
    world, client, watcher = scene(expiry=100)
    client.lose()
    watcher.expect_message("will", "gone")
    world.connect("c", clean_start=False, properties={SESSION_EXPIRY_INTERVAL: 100}).lose()
    watcher.expect_nothing()


def test_the_will_reaches_offline_subscribers_and_the_client_itself():
    world, client, _ = scene(will={"topic": b"will", "payload": b"gone", "qos": 1}, expiry=100)
    client.subscribe("will", qos=1)
    client.lose()
    client = world.connect("c", clean_start=False, properties={SESSION_EXPIRY_INTERVAL: 100})
    client.expect_message("will", "gone", qos=1)


def test_no_will_without_an_accepted_connect():
    world = World(anonymous="none")
    seen: "list[Message]" = []
    world.broker.subscribe("#", seen.append)
    client = world.client()
    client.connect("c", will={"topic": b"will"})
    assert client.closed and seen == []


def test_a_bridge_is_let_in_without_its_will():
    # As mosquitto's have it unless they are told otherwise. Wills at other $ topics are refused.
    for version in VERSIONS:
        world = World(max_qos=0, retain_available=False)
        watcher = world.connect("w")
        watcher.subscribe("$SYS/broker/connection/#")
        topic = b"$SYS/broker/connection/home/state"
        client = world.connect("c", version, will={"topic": topic, "payload": b"0", "qos": 1, "retain": True})
        assert "left out: " + topic.decode() in world.log[-2][1]
        client.ping()
        client.lose()
        watcher.expect_nothing()
        assert not world.errors() and world.broker.retained.get(topic) is None
        near = world.client(version)
        near.connect("d", will={"topic": b"$SYS/broker/connections", "payload": b"0"})
        assert near.connack["code"] == (0x87 if version == 5 else 5)


HEAPSIZE = "2m"
ALL_WILLS = sorted([b"will/%d" % i for i in range(60)])


def topics(client):
    """Of all messages that have come, in order of their names."""
    return sorted([packet["topic"] for packet in client.messages()])


def vanish(world, clients):
    """All connections are lost at the same instant."""
    for client in clients:
        client.conn.lost()


def with_wills(world, count, receivers, **fields):
    """Clients with wills, and those who get them."""
    watchers = [world.connect("w%d" % i) for i in range(receivers)]
    for watcher in watchers:
        watcher.subscribe("will/#", qos=1)
    clients = [world.connect("c%d" % i, will={"topic": b"will/%d" % i, "payload": b"gone"}, **fields) for i in range(count)]
    return watchers, clients


def test_wills_of_many_that_vanish_at_once_go_out_in_slices():
    world = World()
    watchers, clients = with_wills(world, 60, 25)
    world.broker.turns.spent = 0
    vanish(world, clients)
    assert world.broker.turns.spent <= world.broker.turns.limit + 1000 and not world.broker.connected - 25
    slices = 0
    going = True
    while going:
        going = world.broker.work()
        assert world.broker.turns.spent <= world.broker.turns.limit + 1000
        world.broker.flush()
        slices += 1
    assert slices > 2
    for watcher in watchers:
        assert topics(watcher) == ALL_WILLS
    assert len(world.broker.sessions) == 25


def test_who_comes_back_before_it_is_seen_to_finds_what_the_end_of_the_connection_has_left():
    world = World()
    watchers, clients = with_wills(world, 60, 25)
    vanish(world, clients)
    assert world.broker.session_registry.settling
    for client_id in sorted([session.client_id for session in world.broker.session_registry.settling])[:5]:
        client = world.connect(client_id, clean_start=False)
        assert not client.connack["session_present"]
    while world.broker.work():
        pass
    world.broker.flush()
    assert topics(watchers[0]) == ALL_WILLS


def test_a_broker_that_stops_sends_all_wills_before():
    world = World()
    watchers, clients = with_wills(world, 60, 25)
    vanish(world, clients)
    assert world.broker.session_registry.settling
    world.broker.disconnect_all()
    assert not world.broker.session_registry.settling and not world.broker.sessions
    assert world.broker.router.subscriptions.count == 0


def test_wills_of_many_go_out_in_the_order_in_which_their_clients_went():
    world = World()
    watchers, clients = with_wills(world, 60, 25)
    clients.reverse()
    vanish(world, clients)
    assert world.broker.session_registry.settling
    while world.broker.work():
        pass
    world.broker.flush()
    for watcher in watchers:
        came = [packet["topic"] for packet in watcher.messages()]
        assert came == [b"will/%d" % i for i in range(59, -1, -1)]


def test_delayed_wills_of_many_go_out_in_their_order():
    world = World(max_sessions=300, max_connections=300, max_connections_per_address=0)
    watcher = world.connect("w")
    watcher.subscribe("will/#", qos=1)
    properties = {SESSION_EXPIRY_INTERVAL: 100}
    for i in range(210):
        will = {"topic": b"will/%d" % i, "payload": b"gone", "properties": {WILL_DELAY_INTERVAL: 1}}
        world.connect("c%d" % i, will=will, properties=properties).lose()
    waiting = [session.will[0].name for session in world.broker.session_registry.due if session.will is not None]
    assert len(waiting) == 210
    world.advance(2000)
    while world.broker.work():
        pass
    world.broker.flush()
    assert [packet["topic"] for packet in watcher.messages()] == waiting


class Full:
    """In place of a dict or a list: there is no memory for another entry."""

    def __setitem__(self, key, value):
        raise MemoryError

    def append(self, value):
        raise MemoryError

    def __contains__(self, key):
        return False

    def __len__(self):
        return 0

    def pop(self, key, default):
        return default


def test_sessions_that_no_memory_is_left_for_to_wait_are_seen_to_by_the_next_tick():
    for which in ("line", "dict"):
        world = World()
        watchers, clients = with_wills(world, 60, 25)
        full: "Any" = Full()
        try:
            if which == "line":
                world.broker.session_registry._to_settle = full
            else:
                world.broker.session_registry.settling = full
        except TypeError:
            return  # a compiled broker takes nothing but lists and dicts there
        vanish(world, clients)
        assert len(world.broker.sessions) > 25
        if which == "line":
            world.broker.session_registry._to_settle = []
        else:
            world.broker.session_registry.settling = {}
        world.advance(1000)
        while world.broker.work():
            pass
        world.broker.flush()
        assert topics(watchers[0]) == ALL_WILLS and len(world.broker.sessions) == 25, which
        world.broker.disconnect_all()
        assert not world.broker.sessions


def test_wills_that_are_due_at_once_go_out_in_slices():
    world = World()
    properties = {SESSION_EXPIRY_INTERVAL: 100}
    watchers = [world.connect("w%d" % i) for i in range(25)]
    for watcher in watchers:
        watcher.subscribe("will/#", qos=1)
    for i in range(60):
        will = {"topic": b"will/%d" % i, "payload": b"gone", "properties": {WILL_DELAY_INTERVAL: 5}}
        world.connect("c%d" % i, will=will, properties=properties).lose()
    world.now += 6000
    world.broker.tick()
    assert 0 < len(watchers[0].inbox) < 60
    while world.broker.work():
        assert world.broker.turns.spent <= world.broker.turns.limit + 1000
    world.broker.flush()
    assert topics(watchers[0]) == ALL_WILLS
