"""Bridges of other brokers: what bit 7 of the protocol level changes, a custom of mosquitto's."""

from harness import VERSIONS, World
from port.core.wire.codec import PUBACK


def test_no_local_and_retain_as_published_before_mqtt_5():
    for version in VERSIONS:
        for bridge in (False, True):
            special = bridge and version != 5
            world = World()
            client = world.connect("b", version, bridge=bridge)
            other = world.connect("o")
            for topic_filter in ("t/#", "u"):
                client.subscribe(topic_filter, 1)
            for topic in ("t/1", "u"):
                client.send_publish(topic, "own", 1)
                client.take(PUBACK, client.packet_id, 0)
                assert client.payloads() == ([] if special else [b"own"])
                other.publish(topic, "other", 1, retain=True)
                client.expect_message(topic, "other", 1, retain=special)
                other.publish(topic, "plain")
                client.expect_message(topic, "plain")
            assert world.broker.retained.get(b"u") is not None


def test_retained_messages_for_a_bridge():
    world = World()
    world.broker.publish("t", "kept", retain=True)
    client = world.connect("b", 4, bridge=True)
    client.subscribe("t")
    client.expect_message("t", "kept", retain=True)


def test_a_bridges_shared_subscription_is_no_error():
    for version in (3, 4):
        world = World()
        client = world.connect("b", version, bridge=True)
        client.subscribe("$share/g/t")
        world.connect("o").publish("t", "x", retain=True)
        client.expect_message("t", "x", retain=True)
        client.ping()


def test_a_session_that_goes_on():
    world = World()
    client = world.connect("b", 4, clean_start=False)
    client.subscribe("t", 1)
    client.disconnect()
    client = world.connect("b", 4, clean_start=False, bridge=True)
    client.subscribe("t", 1)
    client.publish("t", "own", 1)
    client.expect_nothing()
    client.disconnect()
    client = world.connect("b", 4, clean_start=False)  # no bridge any more
    client.subscribe("t", 1)
    client.publish("t", "own", 1)
    client.expect_message("t", "own", 1)
