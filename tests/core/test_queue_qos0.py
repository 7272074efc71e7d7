"""queue_qos0_messages: QoS 0 waits for persistent sessions that are away or slow, as QoS 1 and 2 do."""

from disk import Disk, restart
from harness import VERSIONS, World
from port.core.wire.codec import PUBLISH
from port.core.wire.properties import MESSAGE_EXPIRY_INTERVAL, RECEIVE_MAXIMUM, SESSION_EXPIRY_INTERVAL, TOPIC_ALIAS_MAXIMUM
from port.core.limits.listener import Listener
from port.core.messages.message import Message
from port.core.protocol.client_packets import encode
from rights import change, world_with

ALL = {"topic": "#"}


def keeping(world, client_id="c", version=5, listener=None, **properties):
    """A client whose session stays."""
    found = {SESSION_EXPIRY_INTERVAL: 1000}
    found.update(properties.pop("properties", {}))
    return world.connect(client_id, version, listener=listener, clean_start=False, properties=found if version == 5 else None)


def numbers(start, end):
    return [b"%d" % i for i in range(start, end)]


def publish(world, start, end, qos=0, topic="t", size=0):
    for i in range(start, end):
        world.broker.publish(topic, b"%d" % i + bytes(size), qos)


def test_who_is_away():
    for version in VERSIONS:
        world = World(queue_qos0_messages=True)
        keeping(world, "c", version).subscribe("t", 2)
        world.connect("clean", version).subscribe("t", 2)
        sender = world.connect("p", version)
        for client_id in ("c", "clean"):
            world.session(client_id).conn.lost()
        for i in range(9):
            sender.publish("t", b"%d" % i, i % 3)
        client = keeping(world, "c", version)
        assert [(p["payload"], p["qos"]) for p in client.messages()] == [(b"%d" % i, i % 3) for i in range(9)]
        assert world.broker.counters.dropped == 0 and world.session("clean") is None
        assert world.broker.memory.message_bytes == 0 and world.session("c").queued_bytes == 0
        sender.publish("t", "now")
        client.expect_message("t", "now")


def test_it_is_off_unless_asked_for():
    assert World().broker.options.queue_qos0_messages is False


def test_names_that_take_the_fast_path_for_others():
    """Rows of packets and single ones, known before the client left."""
    for version in VERSIONS:
        world = World(queue_qos0_messages=True)
        sender, other = world.connect("p", version), world.connect("o", version)
        other.subscribe("t")
        sender.publish("t", "first")
        keeping(world, "c", version).subscribe("t")
        sender.publish("t", "second")
        world.session("c").conn.lost()
        data = encode({"type": PUBLISH, "topic": b"t", "payload": b"x"}, version)
        for count in (1, 4):
            sender.feed(data * count)
        assert keeping(world, "c", version).payloads() == [b"x"] * 5
        assert other.payloads() == [b"first", b"second"] + [b"x"] * 5


def test_who_does_not_read():
    for version in VERSIONS:
        world = World(queue_qos0_messages=True, outbox_bytes=1024, max_queued_messages=200)
        client = keeping(world, "c", version)
        client.subscribe("t", 1)
        client.stop_reading()
        publish(world, 0, 100, size=50)
        assert client.unread() < 1500 and world.broker.counters.dropped == 0
        publish(world, 100, 110, 1)
        publish(world, 110, 120)
        client.go_on_reading()
        assert [payload.rstrip(b"\0") for payload in client.payloads()] == numbers(0, 120)


def test_what_comes_meanwhile_stays_behind_what_waits():
    for version in VERSIONS:
        world = World(queue_qos0_messages=True, outbox_bytes=256)
        keeping(world, "c", version).subscribe("t")
        world.session("c").conn.lost()
        publish(world, 0, 50, size=50)
        client = world.client(version)
        got: "list[bool]" = []
        late = Message(b"t", b"late")
        received = client._received

        def take(data):
            received(data)
            if len(client.inbox) == 5 and not got:  # in the middle of it
                got.append(True)
                world.broker.router.distribute(late, world.broker.router.resolve(b"t"), None)

        client._received = take
        client.connect("c", clean_start=False, properties={SESSION_EXPIRY_INTERVAL: 1000} if version == 5 else {})
        world.settle()
        assert got and [payload.rstrip(b"\0") for payload in client.payloads()] == numbers(0, 50) + [b"late"]


def test_a_full_window_holds_no_qos_0_that_is_at_its_turn():
    world = World(queue_qos0_messages=True)
    keeping(world).subscribe("t", 1)
    world.session("c").conn.lost()
    for qos in (1, 0, 0, 1, 0):
        world.broker.publish("t", "%d" % qos, qos)
    client = keeping(world, properties={RECEIVE_MAXIMUM: 1})
    packets = client.messages(False)
    assert [p["payload"] for p in packets] == [b"1", b"0", b"0"]
    client.puback(packets[0])
    assert client.payloads() == [b"1", b"0"]


def test_the_limits_of_the_queue():
    for limits, left in (
        ({"max_queued_messages": 3}, [0, 1, 2]),
        ({"max_queued_messages": 3, "queue_full": "oldest"}, [7, 8, 9]),
        ({"max_queued_bytes": 64}, [0, 1, 2]),
    ):
        world = World(queue_qos0_messages=True, **limits)
        keeping(world).subscribe("t")
        world.session("c").conn.lost()
        publish(world, 0, 10, size=19)
        assert world.broker.counters.dropped == 7
        assert [payload.rstrip(b"\0") for payload in keeping(world).payloads()] == [b"%d" % i for i in left]


def test_messages_that_expire_or_are_too_large():
    world = World(queue_qos0_messages=True)
    keeping(world).subscribe("t")
    world.session("c").conn.lost()
    world.broker.publish("t", "short", expiry=5)
    world.broker.publish("t", "long", expiry=50)
    world.broker.publish("t", "x" * 200)
    world.broker.publish("t", "last")
    world.advance(10000)
    client = keeping(world, properties={39: 100})
    assert [(p["payload"], p["properties"]) for p in client.messages()] == [(b"long", {MESSAGE_EXPIRY_INTERVAL: 40}), (b"last", {})]


def test_shared_subscriptions():
    for wanted in (False, True):
        world = World(queue_qos0_messages=wanted)
        for client_id in ("a", "b"):
            keeping(world, client_id).subscribe("$share/g/t")
            world.session(client_id).conn.lost()
        sender = world.connect("p")
        for i in range(4):
            sender.publish("t", b"%d" % i)
        assert sorted(keeping(world, "a").payloads() + keeping(world, "b").payloads()) == (numbers(0, 4) if wanted else [])


def test_it_outlives_the_broker():
    disk = Disk()
    world = World(store=disk, queue_qos0_messages=True)
    keeping(world).subscribe("t", 1)
    world.session("c").conn.lost()
    for i in range(4):
        world.broker.publish("t", b"%d" % i, i % 2)
    world = restart(world, queue_qos0_messages=True)
    other = world.connect("o")
    other.subscribe("t")
    sender = world.connect("p")
    for i in range(4, 8):
        sender.publish("t", b"%d" % i)
    client = keeping(world)
    assert client.payloads() == numbers(0, 8)
    client.disconnect()
    assert not [key for key in disk.records if key[0] in (5, 6)]


def test_of_a_listener_and_when_the_configuration_changes():
    world = world_with(ALL)
    own = world.broker.add_listener(
        Listener("own", "tcp", world.broker.options, world.broker.authenticators, None, {"queue_qos0_messages": True})
    )
    keeping(world, "own", listener=own).subscribe("t")
    keeping(world, "other").subscribe("t")
    keeping(world, "third").subscribe("t")
    sender = world.connect("p")
    sender.publish("t", "0")
    for client_id in ("own", "other"):
        world.session(client_id).conn.lost()
    sender.publish("t", "1")
    world.broker.options.queue_qos0_messages = True
    own.overrides = {"queue_qos0_messages": False}
    change(world, ALL)
    world.session("third").conn.lost()
    sender.publish("t", "2")
    assert keeping(world, "own", listener=own).payloads() == [b"1"]
    assert keeping(world, "other").payloads() == [b"2"] == keeping(world, "third").payloads()


def test_rights_that_were_lost_meanwhile():
    world = world_with(ALL, queue_qos0_messages=True)
    keeping(world).subscribe("#")
    world.session("c").conn.lost()
    publish(world, 0, 1, topic="a")
    publish(world, 1, 2, topic="b")
    change(world, {"topic": "a", "allow": False}, ALL)
    assert keeping(world).payloads() == [b"1"]


def test_where_memory_is_short():
    world = World(queue_qos0_messages=True)
    keeping(world).subscribe("t")
    world.session("c").conn.lost()
    world.broker.memory.shortage = 2
    publish(world, 0, 2)
    assert world.broker.counters.dropped == 2 and not world.session("c").queue


def test_a_session_that_ends_with_its_connection():
    """Nothing waits for it, whatever its packets look like."""
    world = World(queue_qos0_messages=True, outbox_bytes=256, outbound_topic_aliases=1)
    client = world.connect("c", properties={TOPIC_ALIAS_MAXIMUM: 1})
    client.subscribe("t")
    client.stop_reading()
    publish(world, 0, 100)
    assert world.broker.counters.dropped > 50 and not world.session("c").queue
