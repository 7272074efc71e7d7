"""Limits that are not the same for all clients: what is shared between clients must not carry one past another's."""

from harness import VERSIONS, World
from port.core.wire.properties import MAXIMUM_PACKET_SIZE, RECEIVE_MAXIMUM, SESSION_EXPIRY_INTERVAL, TOPIC_ALIAS
from port.core.limits.listener import Listener
from port.core.limits.options import Options
from port.core.config.apply_config import begin, reconfigure
from port.core.config.config import Config
from port.core.config.listener_config import new_listener
from rights import ALL, will, world_asking, world_with

KEEP = {SESSION_EXPIRY_INTERVAL: 1000}


def way_in(world, **overrides):
    """A listener whose clients have these options."""
    broker = world.broker
    return broker.add_listener(Listener("special", "tcp", broker.options, broker.authenticators, None, overrides))


# -- packets: [MQTT-3.1.2-24] ---------------------------------------------------------------------------


def test_no_packet_is_larger_than_its_receiver_allows():
    larger = {"max_packet_size": 2000}
    for how in ("client", "listener", "client reloaded", "listener reloaded", "broker reloaded"):
        for tables in ((), (ALL,)):
            world = world_with(*tables, max_packet_size=200)
            broker = world.broker
            through = way_in(world) if "listener" in how else None
            receiver = world.connect("r", properties={MAXIMUM_PACKET_SIZE: 200})
            receiver.subscribe("t")
            if how == "client":
                broker.client_limits = [(None, b"p", larger)]
            elif how == "listener":
                through = way_in(world, **larger)
            publisher = world.connect("p", listener=through)
            publisher.publish("t", "small")
            if how == "client reloaded":
                broker.client_limits = [(None, b"p", larger)]
            elif how == "listener reloaded":
                through.overrides = larger
            elif how == "broker reloaded":
                broker.options.assign(Options(sys_interval=0, max_packet_size=2000))
            broker.rights_changed()
            for _ in range(3):
                publisher.publish("t", "x" * 300)  # the harness looks at the size
                publisher.publish("t", "small")
            assert receiver.payloads() == [b"small"] * 4 and broker.counters.dropped == 3, how


def test_the_smallest_limits_there_are():
    world = World(max_packet_size=128)
    receiver, publisher = world.connect("r", properties={MAXIMUM_PACKET_SIZE: 128}), world.connect("p")
    receiver.subscribe("t")
    for size in (122, 123):  # packets of 128 and 129 bytes
        for _ in range(3):
            publisher.publish("t", "x" * size)
    assert [len(payload) for payload in receiver.payloads()] == [122] * 3


def test_who_takes_all_packets_gets_them_as_they_came():
    world = World(max_packet_size=200)
    receiver = world.connect("r", properties={MAXIMUM_PACKET_SIZE: 2000})
    receiver.subscribe("t")
    publisher = world.connect("p", listener=way_in(world, max_packet_size=2000))
    publisher.publish("t", "x" * 1000)
    assert b"t" in world.broker.fast[1]
    publisher.publish("t", "x" * 1000)
    assert len(receiver.payloads()) == 2


# -- topic names -----------------------------------------------------------------------------------------


def test_names_keep_to_the_limits_of_who_sends_them():
    for strict, name in (({"max_topic_levels": 2}, "a/b/c"), ({"max_topic_length": 4}, "a/bcd")):
        for single in (False, True):
            for tables in ((), (ALL,)):
                for version in VERSIONS:
                    world = world_with(*tables)
                    through = None
                    if single:
                        world.broker.client_limits = [(None, b"s*", strict)]
                    else:
                        through = way_in(world, **strict)
                    seen = world.connect("r", version, user=b"u")
                    seen.subscribe("#")
                    free = world.connect("f", version, user=b"u")
                    for i in range(3):
                        free.publish(name, "long")  # from now on its way is known
                        free.publish("a/b", "short")
                        for qos in (0, 1):
                            bound = world.connect("s%d" % i, version, user=b"u", listener=through)
                            bound.publish("a/b", "short", qos)
                            bound.send_publish(name, "too long", qos)
                            bound.expect_close(0x90)
                    assert seen.payloads() == [b"long", b"short", b"short", b"short"] * 3
                    at_will = world.client(version, listener=through)
                    at_will.connect("s", user=b"u", will=will(name.encode()))
                    assert at_will.connack["code"] == (0x90 if version == 5 else 3)
                    if not tables:
                        assert b"a/b" in world.broker.fast[version == 5]  # that is within the limits of all


def test_names_behind_an_alias_and_names_asked_about_keep_to_them_too():
    world, authorizer = world_asking()
    world.broker.client_limits = [(None, b"s", {"max_topic_levels": 2})]
    for properties in ({}, {TOPIC_ALIAS: 1}):
        bound = world.connect("s", user=b"u")
        bound.send_publish("a/b/c", "x", properties=properties)
        bound.expect_close(0x90)
    assert not authorizer.asked


def test_a_listener_may_allow_longer_names_than_the_broker():
    world = World(max_topic_levels=2)
    seen = world.connect("r")
    seen.subscribe("#")
    free = world.connect("f", listener=way_in(world, max_topic_levels=4))
    for _ in range(2):
        free.publish("a/b/c", "x", 1)
        bound = world.connect("s")
        bound.send_publish("a/b/c", "y")
        bound.expect_close(0x90)
    assert seen.payloads() == [b"x", b"x"]


def test_names_after_a_reload():
    for named in (False, True):
        world = World()
        if named:
            world.broker.client_limits = [(None, b"c", {"max_qos": 1})]
        client, seen = world.connect("c"), world.connect("r")
        seen.subscribe("#")
        client.publish("a/b/c", "x")
        world.broker.options.assign(Options(sys_interval=0, max_topic_levels=2))
        world.broker.rights_changed()
        client.publish("a/b", "x")
        client.send_publish("a/b/c", "x")
        client.expect_close(0x90)
        assert len(seen.payloads()) == 2


# -- queues -----------------------------------------------------------------------------------------------


def reload(world, values):
    reconfigure(world.broker, Config(values), [])


def world_of(values):
    config = Config(values)
    world = World(**config.options.values())
    begin(world.broker, config)
    for entry in config.listeners:
        new_listener(world.broker, entry, [])
    return world


def test_queues_of_those_who_are_away_take_other_limits():
    def values(**limits):
        return {"sys_interval": 0, "listener": [dict({"id": "a", "anonymous": "all"}, **limits), {"id": "b"}]}

    def named(**limits):
        return {
            "sys_interval": 0, "listener": [{"id": "a"}, {"id": "b"}], "client_limits": [dict({"client_id": "c"}, **limits)]
        }  # fmt: skip

    for of in (values, named):
        world = world_of(of(max_queued_messages=3))
        listener = world.broker.listeners[0]
        for client_id, through in (("c", listener), ("d", world.broker.listeners[1])):
            client = world.connect(client_id, listener=through, clean_start=False, properties=KEEP)
            client.subscribe("t", 1)
            client.lose()

        def publish(*payloads):
            for payload in payloads:
                world.broker.publish("t", payload, 1)

        publish("1", "2", "3", "4")
        reload(world, of(max_queued_messages=5))
        publish("5", "6", "7")
        reload(world, of(max_queued_messages=2, queue_full="oldest"))
        session = world.session("c")
        assert len(session.queue) == 5
        publish("8")
        assert len(session.queue) == 2 and session.queued_bytes == 4
        reload(world, of(max_queued_messages=3, queue_full="oldest"))
        publish("9")
        reload(world, of(max_queued_messages=3, max_queued_bytes=64, queue_full="oldest"))
        publish("x" * 62)
        assert session.queued_bytes == 63
        again = world.connect("c", listener=listener, clean_start=False, properties=KEEP)
        assert again.payloads() == [b"x" * 62]
        other = world.connect("d", clean_start=False, properties=KEEP)
        assert len(other.payloads()) == 10


def test_a_queue_takes_the_limits_of_the_connection():
    world = World(max_queued_messages=2)
    client = world.connect("c", clean_start=False, properties=KEEP)
    client.subscribe("t", 1)
    client.lose()
    for i in range(2):
        world.broker.publish("t", "%d" % i, 1)
    one_by_one = dict(KEEP)
    one_by_one[RECEIVE_MAXIMUM] = 1
    again = world.connect("c", listener=way_in(world, max_queued_messages=5), clean_start=False, properties=one_by_one)
    for i in range(2, 8):
        world.broker.publish("t", "%d" % i, 1)
    assert again.payloads() == [b"0", b"1", b"2", b"3", b"4", b"5"] and world.broker.counters.dropped == 2


def test_a_pattern_for_users_means_nobody_without_a_name():
    for pattern, user, limited in (
        (b"*", None, False), (b"*", b"ann", True), (b"a*", None, False), (b"", None, True), (b"", b"ann", False), (b"ann", None, False),
    ):  # fmt: skip
        world = world_with()
        world.broker.client_limits = [(pattern, None, {"max_subscriptions": 1})]
        client = world.connect("c", user=user)
        client.subscribe("a")
        client.subscribe("b", code=0x97 if limited else 0)
