"""What happens at the limits of the options, and that nothing grows without one.

Limits with a behaviour of their own are tested where it belongs: connections and sessions in
test_connect, queues, windows and packet sizes in test_flow_control, subscriptions, topic
length and levels in test_subscribe, retained messages in test_retained, aliases in
test_topic_alias, session expiry in test_sessions, keep alive in test_keep_alive.
"""

from harness import VERSIONS, World
from port.core.wire.codec import PUBLISH
from port.core.wire.properties import CONTENT_TYPE, USER_PROPERTY
from port.core.limits.options import TABLE


def test_the_route_cache_is_bounded():
    world = World(route_cache=4)
    watcher = world.connect("w", 4)
    watcher.subscribe("#")
    publisher = world.connect("p", 4)
    for i in range(50):
        publisher.publish("t/%d" % i, b"%d" % i)
        router = world.broker.router
        assert len(router.routes) <= 4 and len(router.fast[0]) <= 4 and len(router.fast[1]) <= 4
    assert len(watcher.messages()) == 50


def test_invalid_topics_do_not_fill_the_route_cache():
    world = World()
    for i in range(20):
        client = world.connect("c", 4)
        client.send_publish("$x/%d" % i)
        client.feed(b"\x30\x03\x00\x01+")
    assert len(world.broker.router.routes) == 0


def test_the_property_cache_is_bounded():
    world = World(route_cache=4)
    client = world.connect("c")
    for i in range(50):
        client.publish("t", properties={CONTENT_TYPE: b"%d" % i})
        client.publish("t", properties={USER_PROPERTY: [(b"%d" % i, bytes(300).replace(b"\0", b"x"))]})
        assert len(world.broker.mqtt5.cache) <= 4
        assert max([len(block) for block in world.broker.mqtt5.cache]) <= 256


def test_faulty_property_blocks_are_found_each_time():
    # The cache must not remember half a block.
    world = World()
    for _ in range(3):
        client = world.connect("c")
        client.feed(b"\x30\x06\x00\x01t\x02\x01\x02")
        client.expect_close(0x82)


def test_a_board_has_smaller_limits():
    larger_on_boards = (
        "anonymous", "queue_full", "server_reference", "response_information", "connect_timeout", "sys_interval", "receiver_patience"
    )  # fmt: skip
    for name, board, server, *_ in TABLE:
        if name not in larger_on_boards:
            assert board <= server, name


def test_the_outbox_of_a_client_that_only_asks_is_taken_at_every_feed():
    # Answers do not pile up in the core; what the host does with them is its business.
    for version in VERSIONS:
        client = World().connect("c", version)
        client.feed(b"\xc0\x00" * 1000)
        assert client.conn.out == []
        assert len(client.inbox) == 1000


def test_the_largest_and_the_smallest_packets():
    for version in VERSIONS:
        world = World(max_packet_size=128)
        client = world.connect("c", version)
        client.subscribe("t")
        overhead = 6 if version == 5 else 5
        for size in (0, 1, 127 - overhead):
            client.publish("t", bytes(size))
            client.expect_message("t", bytes(size))


def test_many_clients_and_subscriptions_come_and_go():
    world = World(max_connections=40, max_subscriptions=5)
    for generation in range(3):
        clients = [world.connect("c%d" % i, 3 + i % 3) for i in range(30)]
        for i in range(30):
            for k in range(5):
                clients[i].subscribe("t/%d/%s" % (i, "abc+#"[k]))
        clients[0].publish("t/7/a", "x")
        assert [len(client.messages()) for client in clients] == [0] * 7 + [1] + [0] * 22
        for client in clients:
            client.disconnect() if generation % 2 else client.lose()
        broker = world.broker
        assert (broker.connected, len(broker.connections), len(broker.sessions)) == (0, 0, 0)
        assert (broker.router.subscriptions.count, broker.router.subscriptions._wild) == (0, {})


def test_subscribing_again_and_again_without_reading_does_not_pile_up_retained_messages():
    world = World()
    for i in range(20):
        world.broker.publish("a/%d" % i, "x", retain=True)
    client = world.connect("s")
    client.conn.pause_writing()
    for topic_filter in ("a/#", "#", "a/+") * 20:
        client.subscribe(topic_filter)
    client.conn.resume_writing()
    world.settle()
    topics = [packet["topic"] for packet in client.inbox if packet["type"] == PUBLISH]
    assert len(set(topics)) == 20
    assert len(topics) <= 4 * 20  # once for each filter, and once more for the one that was under way
