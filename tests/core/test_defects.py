"""What other brokers get wrong: one test for each defect, named after the broker that has it.

The defects were seen in CoMQTT 1.2.3, BeehiveMQTT 1.0.0 and amqtt 0.11; the last tests are what
the usual MicroPython clients, mqtt_as and umqtt.simple, need of a broker. Defects of sockets
are tested in tests/host.
"""

from harness import VERSIONS, World
from port.core.wire.codec import CONNACK, DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK
from port.core.wire.properties import MAXIMUM_PACKET_SIZE
from port.core.protocol.client_packets import encode

HEAPSIZE = "4m"  # for the payload of 256 KiB

# -- CoMQTT 1.2.3 ---------------------------------------------------------------------------


def test_comqtt_panics_at_the_257th_message_to_one_connection():
    for version in VERSIONS:
        world = World()
        subscriber = world.connect("s", version)
        subscriber.subscribe("t", qos=2)
        publisher = world.connect("p", version)
        for i in range(600):
            publisher.publish("t", b"%d" % i, 1 + i % 2)
            subscriber.expect_message("t", b"%d" % i, qos=1 + i % 2)


def test_comqtt_raises_the_qos_to_that_of_the_subscription():
    world = World()
    subscriber = world.connect("s")
    subscriber.subscribe("t", qos=2)
    world.connect("p").publish("t", "x", 0)
    subscriber.expect_message("t", "x", qos=0)


def test_comqtt_reuses_the_publishers_packet_identifier():
    # Two publishers with the same one overwrite each other.
    world = World()
    subscriber = world.connect("s", 4)
    subscriber.subscribe("t", qos=1)
    for name in ("1", "2"):
        world.connect("p" + name, 4).send_publish("t", name, 1, packet_id=77)
    one, two = subscriber.expect(PUBLISH, payload=b"1"), subscriber.expect(PUBLISH, payload=b"2")
    assert one["packet_id"] != two["packet_id"]


def test_comqtt_stops_the_publisher_for_one_slow_subscriber():
    world = World(outbox_bytes=1024)
    slow = world.connect("slow", 4)
    slow.subscribe("t", qos=1)
    slow.stop_reading()
    publisher = world.connect("p", 4)
    for i in range(200):
        publisher.publish("t", bytes(100), i % 3)
    publisher.ping()
    assert slow.unread() < 2048


def test_comqtt_never_times_out_a_silent_client_that_receives():
    world = World()
    silent = world.connect("s", 4, keep_alive=10)
    silent.subscribe("t")
    for _ in range(20):
        world.broker.publish("t", "x")
        world.advance(1000)
    assert silent.closed


def test_comqtt_hangs_at_payloads_of_256_kib():
    world = World()
    subscriber = world.connect("s", 4)
    subscriber.subscribe("t")
    publisher = world.connect("p", 4)
    data = encode({"type": PUBLISH, "topic": b"t", "payload": bytes(262144)}, 4)
    for at in range(0, len(data), 65536):
        publisher.feed(data[at : at + 65536])
    subscriber.expect_message("t", bytes(262144))


def test_comqtt_grants_0_in_every_suback():
    for version in VERSIONS:
        client = World().connect("c", version)
        for qos in (0, 1, 2):
            client.subscribe("t", qos=qos)  # expects the QoS it asks for


def test_comqtt_sends_live_messages_with_retain_1():
    world = World()
    subscriber = world.connect("s", 4)
    subscriber.subscribe("t")
    world.connect("p", 4).publish("t", "x", retain=True)
    subscriber.expect_message("t", "x", retain=False)


# -- BeehiveMQTT 1.0.0 ----------------------------------------------------------------------


def test_beehive_leaks_the_socket_of_a_refused_connect():
    world = World(anonymous="none")
    for version in VERSIONS:
        client = world.client(version)
        client.connect("c")
        assert client.closed
    assert not world.broker.connections


def test_beehive_makes_the_session_deaf_after_a_takeover():
    world = World()
    old = world.connect("c", 4, clean_start=False)
    old.subscribe("t")
    new = world.connect("c", 4, clean_start=False)
    old.lose()
    assert old.closed
    world.connect("p", 4).publish("t", "x")
    new.expect_message("t", "x")


def test_beehive_withholds_a_publishers_own_messages():
    client = World().connect("c", 4)
    client.subscribe("t")
    client.publish("t", "x")
    client.expect_message("t", "x")


def test_beehive_counts_offline_sessions_as_clients():
    world = World(max_connections=2)
    for name in "abcd":
        world.connect(name, 4, clean_start=False).disconnect()
    world.connect("e", 4)
    world.connect("f", 4)


def test_beehive_forgets_messages_queued_behind_a_full_window():
    world = World(max_inflight=2)
    subscriber = world.connect("s", 4)
    subscriber.subscribe("t", qos=1)
    for i in range(7):
        world.broker.publish("t", b"%d" % i, 1)
    assert subscriber.payloads() == [b"%d" % i for i in range(7)]


def test_beehive_delivers_again_at_a_second_pubrel():
    world = World()
    watcher = world.connect("w", 4)
    watcher.subscribe("t")
    client = world.connect("c", 4)
    client.send_publish("t", "x", 2, packet_id=1)
    client.expect(PUBREC)
    for _ in range(2):
        client.say(PUBREL, packet_id=1)
        client.expect(PUBCOMP)
    assert watcher.payloads() == [b"x"]


def test_beehive_ignores_the_maximum_packet_size():
    client = World(max_packet_size=1000).connect("c", 4)
    client.send_publish("t", bytes(1001))
    client.expect_close()
    world = World()
    client = world.connect("c", 5, properties={MAXIMUM_PACKET_SIZE: 100})
    client.subscribe("t")
    world.broker.publish("t", bytes(101))
    client.expect_nothing()


def test_beehive_ignores_malformed_packets():
    for data in (b"\x82\x02\x00\x01", b"\x82\x06\x00\x01\x00\x01a\x03", b"\x30\x01\x00", b"\x36\x05\x00\x01t\x00\x01"):
        client = World().connect("c", 4)
        client.feed(data)
        client.expect_close()


def test_beehive_lets_anybody_publish_to_sys():
    world = World()
    watcher = world.connect("w", 4)
    watcher.subscribe("$SYS/broker/fake")
    world.connect("c", 4).publish("$SYS/broker/fake", "x", 1)
    watcher.expect_nothing()


# -- amqtt ----------------------------------------------------------------------------------


def test_amqtt_delivers_at_the_qos_of_the_subscription():
    world = World()
    subscriber = world.connect("s", 4)
    subscriber.subscribe("t", qos=2)
    for qos in (0, 1):
        world.connect("p", 4).publish("t", "x", qos)
        subscriber.expect_message("t", "x", qos=qos)


def test_amqtt_sends_a_copy_for_each_overlapping_filter():
    world = World()
    subscriber = world.connect("s", 4)
    for topic_filter in ("t", "+", "#", "t/#"):
        subscriber.subscribe(topic_filter, qos=1)
    world.connect("p", 4).publish("t", "x", 1)
    subscriber.expect_message("t", "x", qos=1)
    subscriber.expect_nothing()


def test_amqtt_has_queues_without_bounds():
    world = World(max_queued_messages=10)
    world.connect("s", 4, clean_start=False).subscribe("t", qos=1)
    world.session("s").conn.transport.lose()
    publisher = world.connect("p", 4)
    for _ in range(100):
        publisher.publish("t", "x", 1)
    assert len(world.session("s").queue) == 10
    assert world.broker.counters.dropped == 90


# -- what mqtt_as and umqtt.simple need -----------------------------------------------------


def test_mqtt_as_connects_clean_disconnects_and_reconnects_at_once():
    # Its start: a clean connection to get rid of an old session, then one that keeps its own.
    world = World()
    old = world.connect("board", 4, clean_start=False)
    old.subscribe("old", qos=1)
    old.lose()
    clean = world.connect("board", 4, clean_start=True)
    assert not clean.connack["session_present"]
    clean.feed(b"\xe0\x00")
    board = world.connect("board", 4, clean_start=False)
    assert not board.connack["session_present"]
    board.subscribe("t", qos=1)
    # Wi-Fi fails; it is back before the broker has noticed.
    again = world.connect("board", 4, clean_start=False)
    assert again.connack["session_present"]
    assert board.closed
    world.broker.publish("old", "x", 1)
    world.broker.publish("t", "y", 1)
    again.expect_message("t", "y", qos=1)
    again.expect_nothing()


def test_mqtt_as_is_not_sent_aliases_it_did_not_allow():
    world = World(outbound_topic_aliases=10)
    board = world.connect("board", 5)
    board.subscribe("t", qos=1)
    for _ in range(3):
        world.broker.publish("t", "x", 1)
        board.expect_message("t", "x", qos=1, properties={})


def test_umqtt_simple_reads_the_suback_before_any_message():
    # It asserts that CONNACK and SUBACK have their plain forms and come first.
    world = World()
    world.broker.publish("t", "retained", retain=True)
    board = world.client(4)
    board.feed(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c")
    assert encode(board.expect(CONNACK), 4) == b"\x20\x02\x00\x00"
    board.feed(b"\x82\x06\x00\x01\x00\x01t\x00")
    assert encode(board.expect(SUBACK), 4) == b"\x90\x03\x00\x01\x00"
    board.expect_message("t", "retained", retain=True)
    board.feed(b"\x32\x06\x00\x01t\x00\x02x")
    board.expect_message("t", "x")
    assert encode(board.expect(PUBACK), 4) == b"\x40\x02\x00\x02"
    board.feed(b"\xc0\x00")
    board.inbox.pop()
    board.feed(b"\xe0\x00")
    assert board.closed
    assert DISCONNECT not in [packet["type"] for packet in board.inbox]
