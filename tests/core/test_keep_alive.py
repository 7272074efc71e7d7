"""Keep alive (clause 3.1.2.10)."""

from harness import VERSIONS, World
from port.core.wire.codec import PUBACK, PUBLISH


def silent_until_closed(world, client, at_most):
    """Let time pass; seconds until the broker closes, or None."""
    for second in range(at_most):
        if client.closed:
            return second
        world.advance(1000)
    return None


def test_a_silent_client_is_closed_after_one_and_a_half_times_the_keep_alive():
    for version in VERSIONS:
        world = World()
        client = world.connect("c", version, keep_alive=10)
        seconds = silent_until_closed(world, client, 60)
        assert seconds is not None and 15 <= seconds <= 17, seconds  # [MQTT-3.1.2-22]
        client.expect_close(0x8D)
        assert world.broker.connected == 0


def test_keep_alive_0_means_for_ever():
    for version in VERSIONS:
        world = World()
        client = world.connect("c", version, keep_alive=0)
        assert silent_until_closed(world, client, 7000) is None


def test_every_packet_counts():
    world = World()
    client = world.connect("c", keep_alive=10)
    client.subscribe("t", qos=1)
    for _ in range(10):
        world.advance(9000)
        client.ping()
        world.advance(9000)
        client.publish("x")
        world.advance(9000)
        world.broker.publish("t", "x", 1)
        client.say(PUBACK, packet_id=client.expect(PUBLISH)["packet_id"])
    client.expect_nothing()


def test_what_the_client_receives_does_not_count():
    world = World()
    client = world.connect("c", keep_alive=10)
    client.subscribe("t")
    for _ in range(20):
        world.broker.publish("t", "x")
        world.connect("p", 4).publish("t", "y")
        world.advance(1000)
    assert client.closed


def test_a_packet_that_trickles_in_counts():
    # The client is there, only slow.
    world = World()
    client = world.connect("c", keep_alive=2)
    packet = b"\x30\x20\x00\x01t\x00" + bytes(28)
    for i in range(len(packet)):
        client.feed(packet[i : i + 1])
        world.advance(1000)
    client.ping()


def test_the_servers_keep_alive_is_the_one_that_counts():
    # MQTT 3.x cannot be told, and is held to it as well.
    for version in VERSIONS:
        world = World(max_keep_alive=4)
        for asked, least, most in ((0, 6, 8), (1000, 6, 8), (60000, 6, 8), (2, 3, 5)):
            client = world.connect("c", version, keep_alive=asked)
            for _ in range(3):
                world.advance(3000)
                client.ping()
            seconds = silent_until_closed(world, client, 60)
            assert seconds is not None and least <= seconds <= most, (version, asked, seconds)


def test_the_longest_keep_alive():
    world = World()
    client = world.connect("c", keep_alive=65535)
    world.advance(98000 * 1000)
    client.expect_nothing()
    world.advance(400 * 1000)
    client.expect_close(0x8D)


def test_one_clients_silence_does_not_concern_another():
    world = World()
    silent = world.connect("silent", keep_alive=5)
    busy = world.connect("busy", keep_alive=5)
    for _ in range(20):
        world.advance(1000)
        busy.ping()
    assert silent.closed
    busy.expect_nothing()
