"""Topic aliases, both ways (clauses 3.1.2.11.5, 3.2.2.3.8, 3.3.2.3.4)."""

from harness import World
from port.core.wire.codec import PUBLISH
from port.core.wire.properties import MAXIMUM_PACKET_SIZE, SESSION_EXPIRY_INTERVAL, TOPIC_ALIAS, TOPIC_ALIAS_MAXIMUM
from rights import world_with

# -- from the client ------------------------------------------------------------------------


def test_a_client_may_leave_out_a_topic_name_it_has_given_an_alias():
    world = World(topic_alias_maximum=5)
    watcher = world.connect("w")
    watcher.subscribe("#", qos=1)
    client = world.connect("c")
    client.publish("a/long/name", "1", properties={TOPIC_ALIAS: 5})
    client.publish("", "2", properties={TOPIC_ALIAS: 5})
    client.publish("", "3", 1, properties={TOPIC_ALIAS: 5})
    for payload, qos in (("1", 0), ("2", 0), ("3", 1)):
        watcher.expect_message("a/long/name", payload, qos=qos, properties={})  # not passed on


def test_an_alias_can_be_given_to_another_name():
    world = World()
    watcher = world.connect("w")
    watcher.subscribe("#")
    client = world.connect("c")
    for topic in ("a", "", "b", ""):
        client.publish(topic, properties={TOPIC_ALIAS: 1})
    assert [packet["topic"] for packet in watcher.messages()] == [b"a", b"a", b"b", b"b"]


def test_aliases_out_of_range():
    for alias in (4, 65535):
        client = World(topic_alias_maximum=3).connect("c")
        client.send_publish("t", properties={TOPIC_ALIAS: alias})
        client.expect_close(0x94)
    client = World().connect("c")
    client.feed(b"\x30\x07\x00\x01t\x03\x23\x00\x00")
    client.expect_close(0x94)  # [MQTT-3.3.2-8]
    client = World(topic_alias_maximum=0).connect("c")
    client.send_publish("t", properties={TOPIC_ALIAS: 1})
    client.expect_close(0x94)


def test_an_alias_nobody_has_defined():
    client = World().connect("c")
    client.send_publish("", properties={TOPIC_ALIAS: 1})
    client.expect_close(0x82)


def test_aliases_end_with_their_connection():
    # [MQTT-3.3.2-7]
    world = World()
    client = world.connect("c", properties={SESSION_EXPIRY_INTERVAL: 100})
    client.publish("t", properties={TOPIC_ALIAS: 1})
    client.lose()
    client = world.connect("c", clean_start=False)
    client.send_publish("", properties={TOPIC_ALIAS: 1})
    client.expect_close(0x82)


def test_aliases_of_two_clients_are_apart():
    world = World()
    watcher = world.connect("w")
    watcher.subscribe("#")
    one, two = world.connect("1"), world.connect("2")
    one.publish("one", properties={TOPIC_ALIAS: 1})
    two.publish("two", properties={TOPIC_ALIAS: 1})
    one.publish("", properties={TOPIC_ALIAS: 1})
    two.publish("", properties={TOPIC_ALIAS: 1})
    assert [packet["topic"] for packet in watcher.messages()] == [b"one", b"two", b"one", b"two"]


def test_an_invalid_name_with_an_alias():
    client = World().connect("c")
    client.send_publish("t", properties={TOPIC_ALIAS: 1})
    client.feed(b"\x30\x07\x00\x01+\x03\x23\x00\x01")
    client.expect_close(0x81)


def test_a_name_that_is_too_long_is_refused_with_an_alias_as_without():
    for too_long in ("x" * 41, "/" * 8):
        for denied in (False, True):  # what rules deny is not looked at any further
            world = world_with({"topic": "other"}) if denied else World()
            world.broker.options.max_topic_length = 40
            world.broker.options.max_topic_levels = 8
            client = world.connect("c")
            client.publish(too_long[1:], properties={TOPIC_ALIAS: 1})
            client.send_publish(too_long, properties={TOPIC_ALIAS: 1})
            client.expect_close(0x90)


def test_names_behind_aliases_count_until_the_connection_ends():
    world = World()
    client = world.connect("c")
    before = world.broker.memory.kept()
    client.publish("x" * 100, properties={TOPIC_ALIAS: 1})
    client.publish("", properties={TOPIC_ALIAS: 1})
    one = world.broker.memory.kept() - before
    assert one > 100
    client.publish("x" * 100, properties={TOPIC_ALIAS: 1})
    assert world.broker.memory.kept() - before == one
    client.publish("y" * 80, properties={TOPIC_ALIAS: 1})
    assert world.broker.memory.kept() - before == one - 20
    client.publish("x" * 100, properties={TOPIC_ALIAS: 2})
    assert world.broker.memory.kept() - before == 2 * one - 20
    assert world.session("c").weight() >= 2 * one - 20
    client.lose()
    assert not world.broker.memory.kept()


def test_an_alias_there_is_no_room_for_ends_the_connection():
    world = World(max_memory=4096, max_packet_size=1024, topic_alias_maximum=1000, max_topic_length=1000)
    other = world.connect("other")
    other.publish("y" * 100, properties={TOPIC_ALIAS: 1})
    client = world.connect("c")
    for i in range(3):
        client.publish("%d" % i * 900, properties={TOPIC_ALIAS: 1 + i})
        assert world.broker.memory.kept() <= 4096
    client.send_publish("3" * 900, properties={TOPIC_ALIAS: 4})
    client.expect_close(0x97)
    other.publish("", properties={TOPIC_ALIAS: 1})
    other.ping()
    other.lose()
    assert not world.broker.memory.kept()


# -- from the broker ------------------------------------------------------------------------


class Reader:
    """A client that resolves aliases."""

    def __init__(self, client):
        self.client = client
        self.names = {}

    def topics(self):
        """(topic, name left out) of each message received."""
        found = []
        for packet in self.client.messages():
            alias = packet["properties"].get(TOPIC_ALIAS)
            name = packet["topic"]
            if alias is not None and name:
                self.names[alias] = name
            found.append(((name or self.names[alias]).decode(), not name))
        return found


def subscriber(world, maximum, **properties):
    client = world.connect("s", properties={TOPIC_ALIAS_MAXIMUM: maximum, SESSION_EXPIRY_INTERVAL: 100})
    client.subscribe("#", qos=1)
    return client


def test_the_broker_uses_no_aliases_the_client_did_not_allow():
    for allowed, own in ((0, 10), (10, 0)):
        world = World(outbound_topic_aliases=own)
        client = subscriber(world, allowed)
        for _ in range(3):
            world.broker.publish("t", "x", 1)
            world.connect("p").publish("t", "x")
        for packet in client.messages():
            assert packet["topic"] == b"t" and packet["properties"] == {}
    world = World(outbound_topic_aliases=10)
    client = world.connect("silent")  # says nothing about aliases: 0
    client.subscribe("t")
    for _ in range(2):
        world.broker.publish("t")
        client.expect_message("t", properties={})


def test_the_broker_uses_as_many_aliases_as_both_allow():
    for allowed, own in ((2, 10), (10, 2)):
        world = World(outbound_topic_aliases=own)
        reader = Reader(subscriber(world, allowed))
        publisher = world.connect("p", 4)
        for topic in ("a", "b", "c", "a", "b", "c", "a"):
            publisher.publish(topic, "x")
        assert reader.topics() == [
            ("a", False), ("b", False), ("c", False), ("a", True), ("b", True), ("c", False), ("a", True)
        ]  # fmt: skip
        assert sorted(reader.names) == [1, 2]


def test_queued_messages_use_aliases_in_order():
    world = World(outbound_topic_aliases=10, max_inflight=2)
    reader = Reader(subscriber(world, 10))
    for i in range(10):
        world.broker.publish("abc"[i % 3], b"%d" % i, 1)
    assert [topic for topic, _ in reader.topics()] == ["abc"[i % 3] for i in range(10)]


def test_aliases_start_anew_after_a_reconnect():
    world = World(outbound_topic_aliases=10)
    client = subscriber(world, 10)
    world.broker.publish("t", "1", 1)
    world.broker.publish("t", "2", 1)
    assert [packet["topic"] for packet in client.messages(acknowledge=False)] == [b"t", b""]
    client.lose()
    client = world.connect("s", clean_start=False, properties={TOPIC_ALIAS_MAXIMUM: 10})
    first = client.expect(PUBLISH, dup=True, topic=b"t", properties={TOPIC_ALIAS: 1})
    client.ack(first)
    client.expect_message("", "2", qos=1, dup=True, properties={TOPIC_ALIAS: 1})


def test_an_alias_the_client_never_heard_of_is_not_used():
    # The packet that would have brought it was too large to be sent.
    world = World(outbound_topic_aliases=10)
    client = world.connect("s", properties={TOPIC_ALIAS_MAXIMUM: 10, MAXIMUM_PACKET_SIZE: 60})
    client.subscribe("#")
    reader = Reader(client)
    world.broker.publish("first", "x")
    world.broker.publish("large", bytes(100))
    world.broker.publish("large", "x")
    world.broker.publish("other", "x")
    world.broker.publish("first", "x")
    assert [topic for topic, _ in reader.topics()] == ["first", "large", "other", "first"]


def test_names_the_broker_has_given_aliases_count_until_the_connection_ends():
    world = World(outbound_topic_aliases=10)
    client = world.connect("s", properties={TOPIC_ALIAS_MAXIMUM: 10, MAXIMUM_PACKET_SIZE: 200, SESSION_EXPIRY_INTERVAL: 100})
    client.subscribe("#")
    before = world.broker.memory.kept()
    for topic in ("x" * 50, "x" * 50, "y" * 30):
        world.broker.publish(topic)
    two = world.broker.memory.kept() - before
    assert two > 80 and world.session("s").weight() >= two
    world.broker.publish("z", bytes(300))  # too large: the client does not hear of the alias
    assert world.broker.memory.kept() - before == two
    client.lose()
    assert world.broker.memory.kept() == before
    client = world.connect("s", clean_start=False, properties={TOPIC_ALIAS_MAXIMUM: 10, SESSION_EXPIRY_INTERVAL: 100})
    assert world.broker.memory.kept() == before
    world.broker.publish("x" * 50)
    other = world.connect("s", clean_start=False)  # takes the session over
    assert client.closed and world.broker.memory.kept() == before
    world.broker.publish("x" * 50)
    other.expect_message("x" * 50, properties={})
