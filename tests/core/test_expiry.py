"""Message expiry (clause 3.3.2.3.3)."""

from disk import Disk, restart
from harness import World
from port.core.wire.codec import PUBLISH
from port.core.wire.properties import MESSAGE_EXPIRY_INTERVAL, RECEIVE_MAXIMUM, SESSION_EXPIRY_INTERVAL, USER_PROPERTY
from port.core.messages.message import Message

KEPT = {SESSION_EXPIRY_INTERVAL: 1000}


def expiring(seconds):
    return {MESSAGE_EXPIRY_INTERVAL: seconds}


def test_the_interval_is_forwarded_at_once():
    world = World()
    subscriber = world.connect("s")
    subscriber.subscribe("t", qos=2)
    for qos in (0, 1, 2):
        for seconds in (0, 1, 4294967295):
            world.connect("p").publish("t", "x", qos, properties=expiring(seconds))
            subscriber.expect_message("t", "x", qos=qos, properties=expiring(seconds))


def test_what_is_left_of_the_interval_is_forwarded():
    # [MQTT-3.3.2-6]
    world = World()
    world.connect("s", properties=KEPT).subscribe("t", qos=1)
    world.session("s").conn.transport.lose()
    publisher = world.connect("p")
    publisher.publish("t", "x", 1, properties={MESSAGE_EXPIRY_INTERVAL: 60, USER_PROPERTY: [(b"a", b"b")]})
    world.advance(10000)
    subscriber = world.connect("s", clean_start=False, properties=KEPT)
    subscriber.expect_message("t", "x", qos=1, properties={MESSAGE_EXPIRY_INTERVAL: 50, USER_PROPERTY: [(b"a", b"b")]})


def test_an_expired_message_in_the_queue_is_not_delivered():
    # [MQTT-3.3.2-5]
    world = World()
    world.connect("s", properties=KEPT).subscribe("t", qos=2)
    world.session("s").conn.transport.lose()
    publisher = world.connect("p")
    publisher.publish("t", "short", 1, properties=expiring(10))
    publisher.publish("t", "long", 2, properties=expiring(100))
    publisher.publish("t", "for ever", 1)
    world.advance(10000)
    subscriber = world.connect("s", clean_start=False, properties=KEPT)
    assert subscriber.payloads() == [b"long", b"for ever"]
    assert world.session("s").queued_bytes == 0


def test_an_expired_message_behind_a_full_window_is_not_delivered():
    world = World()
    subscriber = world.connect("s", properties={RECEIVE_MAXIMUM: 1})
    subscriber.subscribe("t", qos=1)
    publisher = world.connect("p")
    for i in range(3):
        publisher.publish("t", b"%d" % i, 1, properties=expiring(5 if i == 1 else 60))
    world.advance(6000)
    assert subscriber.payloads() == [b"0", b"2"]


def test_an_expired_message_in_flight_is_not_sent_again():
    world = World()
    subscriber = world.connect("s", properties=KEPT)
    subscriber.subscribe("t", qos=1)
    world.connect("p").publish("t", "x", 1, properties=expiring(5))
    subscriber.expect(PUBLISH)
    subscriber.lose()
    world.advance(6000)
    world.connect("s", clean_start=False, properties=KEPT).expect_nothing()
    assert world.session("s").inflight == {}


def test_an_expired_qos_2_message_in_flight_is_completed():
    # Its delivery has begun: the client may hold its identifier.
    world = World()
    subscriber = world.connect("s", properties=KEPT)
    subscriber.subscribe("t", qos=2)
    world.connect("p").publish("t", "x", 2, properties=expiring(5))
    subscriber.expect(PUBLISH)
    subscriber.lose()
    world.advance(6000)
    subscriber = world.connect("s", clean_start=False, properties=KEPT)
    subscriber.expect_message("t", "x", qos=2, dup=True, properties=expiring(0))
    assert world.session("s").inflight == {}


def test_mqtt_3_receivers_see_no_interval_but_it_counts():
    world = World()
    world.connect("s", 4, clean_start=False).subscribe("t", qos=1)
    world.session("s").conn.transport.lose()
    publisher = world.connect("p")
    publisher.publish("t", "short", 1, properties=expiring(5))
    publisher.publish("t", "long", 1, properties=expiring(50))
    world.advance(6000)
    subscriber = world.connect("s", 4, clean_start=False)
    subscriber.expect_message("t", "long", qos=1)
    subscriber.expect_nothing()


def test_expiry_of_what_the_program_publishes():
    world = World()
    subscriber = world.connect("s")
    subscriber.subscribe("t")
    world.broker.publish("t", "x", expiry=30, retain=True)
    subscriber.expect_message("t", "x", properties=expiring(30))
    world.advance(31000)
    subscriber.subscribe("t")
    subscriber.expect_nothing()
    seen: "list[Message]" = []
    world.broker.subscribe("t", seen.append)
    assert seen == []  # nor does the program get it


def test_expired_retained_messages_go_without_being_asked_for():
    world = World()
    world.broker.publish("a", "x", retain=True, expiry=30)
    world.broker.publish("b", "x", retain=True, expiry=300)
    world.broker.publish("c", "x", retain=True)
    world.advance(100000)
    assert world.broker.retained.count == 2
    world.advance(300000)
    assert world.broker.retained.count == 1
    assert world.broker.retained.due is None


def test_expired_messages_make_room_in_a_full_queue():
    world = World(max_queued_messages=2)
    away = world.connect("s", properties=KEPT)
    away.subscribe("t", qos=1)
    away.lose()
    for i in range(2):
        world.broker.publish("t", "old", 1, expiry=5)
    world.advance(10000)
    world.broker.publish("t", "new", 1)
    back = world.connect("s", clean_start=False, properties=KEPT)
    back.expect_message("t", "new", qos=1)


def test_the_brokers_interval_for_retained_messages():
    """A shorter interval of its own counts, a longer one does not; receivers hear of none that is not the publisher's."""
    world = World(max_retained_expiry=10)
    client = world.connect("c")
    client.publish("none", "x", retain=True)
    client.publish("short", "x", retain=True, properties={MESSAGE_EXPIRY_INTERVAL: 5})
    client.publish("long", "x", retain=True, properties={MESSAGE_EXPIRY_INTERVAL: 50})
    world.broker.publish("own", "x", retain=True)
    client.subscribe("#", 1)
    told = {p["topic"]: (p["qos"], p["properties"].get(MESSAGE_EXPIRY_INTERVAL)) for p in client.messages()}
    assert told == {b"none": (0, None), b"short": (0, 5), b"long": (0, 10), b"own": (0, None)}
    for seconds, left in ((5, [b"long", b"none", b"own"]), (4, [b"long", b"none", b"own"]), (1, [])):
        world.advance(seconds * 1000)
        client.subscribe("#")
        assert sorted([p["topic"] for p in client.messages()]) == left
    client.publish("none", "y", retain=True)  # from now on anew
    client.messages()
    world.advance(9000)
    client.subscribe("#")
    client.expect_message("none", "y", retain=True)


def test_the_brokers_interval_outlives_the_broker():
    world = World(store=Disk(), max_retained_expiry=10)
    world.connect("c").publish("t", "x", 1, 0x10, retain=True)
    before = world.broker.retained.get(b"t")
    world = restart(world, 5000)  # without an interval: what was retained before keeps its own
    after = world.broker.retained.get(b"t")
    assert before and after and after[:6] == before[:6]
    client = world.connect("r")
    client.subscribe("t", 1)
    client.expect_message("t", "x", 1, retain=True, properties={})
    world.advance(6000)
    client.subscribe("t", 1)
    client.expect_nothing()
