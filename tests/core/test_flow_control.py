"""Receive maximum, queues, slow readers and packet size, both ways (clauses 3.3.4, 4.9)."""

from harness import VERSIONS, World
from port.core.wire.codec import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL
from port.core.wire.properties import MAXIMUM_PACKET_SIZE, RECEIVE_MAXIMUM, REQUEST_PROBLEM_INFORMATION, SESSION_EXPIRY_INTERVAL
from port.core.protocol.client_packets import encode


HEAPSIZE = "8m"  # for payloads of 300,000 bytes


def publish(world, count, qos=1, size=1, start=0):
    for i in range(start, start + count):
        world.broker.publish("t", (b"%d" % i) + bytes(size - 1), qos)


# -- the client's receive maximum -----------------------------------------------------------


def test_no_more_than_the_receive_maximum_is_on_its_way():
    for version in VERSIONS:
        for qos in (1, 2):
            world = World(max_inflight=3)
            subscriber = world.connect("s", version)
            subscriber.subscribe("t", qos=qos)
            publish(world, 10, qos)
            assert len(subscriber.inbox) == 3
            assert subscriber.payloads() == [b"%d" % i for i in range(10)]


def test_the_smaller_of_receive_maximum_and_max_inflight_holds():
    for asked, window in ((1, 1), (5, 5), (100, 8), (None, 8)):
        world = World(max_inflight=8)
        subscriber = world.connect("s", properties={RECEIVE_MAXIMUM: asked} if asked else {})
        subscriber.subscribe("t", qos=1)
        publish(world, 20)
        assert len(subscriber.inbox) == window, asked


def test_the_receive_maximum_is_that_of_the_connection():
    world = World(max_inflight=8)
    for asked, window in ((2, 2), (None, 8), (3, 3), (None, 8)):
        properties = {SESSION_EXPIRY_INTERVAL: 100}
        if asked:
            properties[RECEIVE_MAXIMUM] = asked
        subscriber = world.connect("s", clean=False, properties=properties)
        if not world.session("s").subscriptions:
            subscriber.subscribe("t", qos=1)
        publish(world, 20)
        assert len(subscriber.inbox) == window, asked
        subscriber.payloads()
        subscriber.disconnect()


def test_a_qos_2_message_holds_its_place_until_pubcomp():
    # [MQTT-3.3.4-9]
    world = World()
    subscriber = world.connect("s", properties={RECEIVE_MAXIMUM: 1})
    subscriber.subscribe("t", qos=2)
    publish(world, 2, qos=2)
    message = subscriber.expect(PUBLISH)
    subscriber.pubrec(message)
    subscriber.expect(PUBREL)
    subscriber.expect_nothing()
    subscriber.pubcomp(message)
    subscriber.expect_message("t", "1", qos=2)


def test_qos_0_and_other_packets_pass_a_full_window():
    # [MQTT-4.9.0-3]
    world = World()
    subscriber = world.connect("s", properties={RECEIVE_MAXIMUM: 1})
    subscriber.subscribe("t", qos=1)
    publish(world, 3)
    subscriber.expect(PUBLISH)
    world.broker.publish("t", "plain", 0)
    subscriber.expect_message("t", "plain")
    subscriber.ping()
    subscriber.subscribe("u")


# -- the broker's receive maximum -----------------------------------------------------------


def test_more_unreleased_messages_than_the_broker_takes():
    for version, options in ((5, {"receive_maximum": 3}), (4, {"max_unreleased": 3})):
        world = World(**options)
        client = world.connect("c", version)
        for packet_id in (1, 2, 3):
            client.send_publish("t", "x", 2, packet_id=packet_id)
            client.expect(PUBREC)
        client.send_publish("t", "x", 2, packet_id=2, dup=True)  # no new one
        client.expect(PUBREC)
        client.send_publish("t", "x", 1, packet_id=9)  # acknowledged at once: needs no place
        client.expect(PUBACK)
        client.say(PUBREL, packet_id=1)
        client.expect(PUBCOMP)
        client.send_publish("t", "x", 2, packet_id=4)
        client.expect(PUBREC)
        client.send_publish("t", "x", 2, packet_id=5)
        client.expect_close(0x93)


def test_a_refused_qos_2_message_takes_no_place():
    world = World(receive_maximum=1)
    client = world.connect("c")
    for packet_id in (1, 2, 3):
        client.send_publish("$x", "x", 2, packet_id=packet_id)
        client.expect(PUBREC, code=0x87)
    client.ping()


# -- queues ---------------------------------------------------------------------------------


def offline(**options):
    """(world with an offline session that subscribes to t, a function that brings it back)."""
    world = World(**options)
    properties = {SESSION_EXPIRY_INTERVAL: 1000}
    world.connect("s", properties=properties).subscribe("t", qos=1)
    world.session("s").conn.transport.lose()
    return world, lambda: world.connect("s", clean_start=False, properties=properties)


def test_a_full_queue_drops_the_newest():
    world, back = offline(max_queued_messages=3, queue_full="newest")
    publish(world, 5)
    assert world.broker.counters.dropped == 2
    assert back().payloads() == [b"0", b"1", b"2"]


def test_a_full_queue_drops_the_oldest():
    world, back = offline(max_queued_messages=3, queue_full="oldest")
    publish(world, 5)
    assert world.broker.counters.dropped == 2
    assert back().payloads() == [b"2", b"3", b"4"]


def test_a_full_queue_ends_the_connection():
    world = World(max_inflight=1, max_queued_messages=2, queue_full="disconnect")
    subscriber = world.connect("s", properties={SESSION_EXPIRY_INTERVAL: 1000})
    subscriber.subscribe("t", qos=1)
    publish(world, 3)
    subscriber.expect(PUBLISH)
    subscriber.expect_nothing()
    publish(world, 1, start=3)
    world.settle()
    subscriber.expect_close(0x97)
    # Offline there is nobody to disconnect: the newest is dropped.
    publish(world, 2, start=4)
    subscriber = world.connect("s", clean_start=False, properties={SESSION_EXPIRY_INTERVAL: 1000})
    assert subscriber.payloads() == [b"0", b"1", b"2"]


def test_what_is_in_flight_counts_while_the_client_is_away():
    for version in VERSIONS:
        for qos in (1, 2):
            world = World(max_inflight=10)
            expiry = {SESSION_EXPIRY_INTERVAL: 1000} if version == 5 else None
            client = world.connect("c", version, clean_start=False, properties=expiry)
            client.subscribe("t", qos)
            publisher = world.connect("p", 4)
            publisher.feed(b"".join([encode({"type": PUBLISH, "topic": b"t", "payload": b"x" * 500, "qos": qos, "packet_id": i + 1}, 4)
                                     for i in range(10)]))
            assert len(client.inbox) == 10 and world.broker.memory.message_bytes < 10 * 500
            client.lose()
            assert world.broker.memory.message_bytes > 10 * 500
            client = world.connect("c", version, clean_start=False, properties=expiry)
            assert len(client.messages(acknowledge=False)) == 10
            client.lose()
            assert world.broker.memory.message_bytes > 10 * 500
            client = world.connect("c", version, clean_start=False, properties=expiry)
            assert world.broker.memory.message_bytes < 10 * 500
            assert len(client.messages()) == 10 and world.broker.memory.message_bytes == 0
            client.lose()
            world.connect("c", version, clean_start=True)
            assert world.broker.memory.message_bytes == 0


def test_queues_that_fill_each_other_leave_nothing_behind():
    """One connection ends, its will fills the queue of another one, which is a receiver of the same message and ends, too."""
    for version in VERSIONS:
        world = World(max_inflight=1, max_queued_messages=1, queue_full="disconnect")
        for _ in range(3):
            one = world.connect("a", version, will={"topic": b"w", "payload": b"", "qos": 1, "retain": False, "properties": {}})
            one.subscribe("t", 1)
            other = world.connect("b", version)
            other.subscribe("t", 1)
            other.subscribe("w", 1)
            for payload in ("1", "2", "x" * 5000):
                world.broker.publish("t", payload, 1)
            world.settle()
            assert one.closed and other.closed and world.broker.sessions == {}
            assert world.broker.memory.message_bytes == 0


def test_a_full_queue_may_end_the_publishers_own_connection():
    world = World(max_inflight=1, max_queued_messages=1, queue_full="disconnect")
    client = world.connect("c")
    client.subscribe("t", qos=1)
    for packet_id in (1, 2, 3):
        client.send_publish("t", "x", 1, packet_id=packet_id)
    assert client.closed  # the harness checks that nothing is sent after it
    assert world.broker.sessions == {}


def test_what_follows_a_message_that_ends_its_publisher_is_not_handled():
    for version in VERSIONS:
        world = World(max_inflight=1, max_queued_messages=1, queue_full="disconnect", receiver_patience=0)
        seen = world.connect("seen", version)
        seen.subscribe("#")
        client = world.connect("c", version)
        client.subscribe("t", qos=1)
        client.feed(b"".join([encode({"type": PUBLISH, "topic": topic, "payload": b"", "qos": 1, "packet_id": i + 1}, version)
                              for i, topic in enumerate([b"t", b"t", b"t", b"next"])]))  # fmt: skip
        assert client.closed and [packet["topic"] for packet in seen.messages()] == [b"t", b"t", b"t"]


def test_the_queue_is_bounded_in_bytes_too():
    world, back = offline(max_queued_bytes=1000, queue_full="oldest")
    publish(world, 5, size=299)  # with the topic 300 bytes each
    assert world.session("s").queued_bytes == 900
    publish(world, 1, size=2000)  # does not fit at all
    assert world.session("s").queued_bytes == 0
    publish(world, 1, start=7)
    assert back().payloads() == [b"7"]


def test_the_bytes_of_the_queue_are_given_back():
    world, back = offline()
    publish(world, 10, size=99)
    assert world.session("s").queued_bytes == 1000
    back().messages()
    assert world.session("s").queued_bytes == 0
    assert world.session("s").queue is None


def test_the_queue_keeps_the_order_with_what_comes_later():
    world = World(max_inflight=2)
    subscriber = world.connect("s")
    subscriber.subscribe("t", qos=1)
    publish(world, 5)
    got = []
    number = 5
    while subscriber.inbox:
        packet = subscriber.expect(PUBLISH)
        got.append(packet["payload"])
        if number < 12:
            publish(world, 1, start=number)
            number += 1
        subscriber.ack(packet)
    assert got == [b"%d" % i for i in range(12)]


# -- slow readers ---------------------------------------------------------------------------


def test_a_slow_reader_loses_qos_0_and_keeps_qos_1_and_2():
    for version in VERSIONS:
        world = World(outbox_bytes=1024)
        slow = world.connect("s", version)
        slow.subscribe("t", qos=2)
        slow.stop_reading()
        publish(world, 100, qos=0, size=100)
        assert 1024 <= slow.unread() < 1500
        world.broker.publish("t", "one", 1)
        world.broker.publish("t", "two", 2)
        assert slow.unread() < 1500
        assert world.broker.counters.dropped > 80
        slow.go_on_reading()
        got = slow.payloads()
        assert got[-2:] == [b"one", b"two"]
        assert len(got) == 100 - world.broker.counters.dropped + 2
        world.broker.publish("t", "again", 0)
        slow.expect_message("t", "again")


def test_a_slow_reader_does_not_hold_up_publisher_and_other_subscribers():
    for version in VERSIONS:
        world = World(outbox_bytes=1024)
        slow = world.connect("slow", version)
        slow.subscribe("t", qos=1)
        quick = world.connect("quick", version)
        quick.subscribe("t", qos=1)
        slow.stop_reading()
        publisher = world.connect("p", version)
        for i in range(100):
            publisher.publish("t", b"%d" % i + bytes(100), i % 2)  # acknowledged as ever
        assert len(quick.messages()) == 100
        publisher.ping()


def test_a_fast_path_packet_to_a_slow_reader_is_counted_as_dropped():
    world = World(outbox_bytes=256)
    slow = world.connect("s", 4)
    slow.subscribe("t")
    slow.stop_reading()
    publisher = world.connect("p", 4)
    for _ in range(10):
        publisher.publish("t", bytes(100))
    assert world.broker.counters.dropped == 7
    assert world.broker.counters.published == 3


def test_behind_one_large_packet_there_is_room_for_outbox_bytes():
    """However the small ones come: alone, many in a read, with other properties for the receiver; and no more than that."""
    for version in VERSIONS:
        for rows in (1, 10):
            world = World(outbox_bytes=1024, max_inflight=1)
            slow = world.connect("s", version)
            slow.subscribe("t", qos=1)
            slow.stop_reading(first_counts=False)
            publisher = world.connect("p", version)
            publisher.publish("t", bytes(5000))
            small = encode({"type": PUBLISH, "qos": 0, "retain": False, "dup": False, "topic": b"t", "payload": bytes(40)}, version)
            for _ in range(10):
                publisher.feed(small * rows)
            assert world.broker.counters.dropped == (0 if rows == 1 else 100 - 1024 // len(small)), rows
            world.broker.publish("t", "program", 0)
            world.broker.publish("t", "one", 1)
            publisher.publish("t", bytes(5000))  # another large one
            publisher.publish("t", bytes(1000))
            assert slow.unread() <= 5020 + 1024
            assert world.broker.counters.published + world.broker.counters.dropped == 10 * rows + 4
            slow.go_on_reading()
            sizes = [len(payload) for payload in slow.payloads()]
            taken = 10 if rows == 1 else 1024 // len(small)
            assert sizes == [5000] + [40] * taken + [7, 3]
            assert world.broker.counters.published == len(sizes)


def test_there_is_no_spare_room_for_who_has_left():
    world = World(outbox_bytes=1024)
    properties = {SESSION_EXPIRY_INTERVAL: 100}
    slow = world.connect("s", properties=properties)
    slow.subscribe("t", qos=1)
    slow.stop_reading(first_counts=False)
    publish(world, 1, qos=0, size=5000)
    slow.lose()
    publisher = world.connect("p")
    publisher.publish("t", "x")
    world.broker.publish("t", "x", 0)
    assert world.broker.counters.dropped == 2
    slow = world.connect("s", clean_start=False, properties=properties)
    publisher.publish("t", "y")
    assert slow.payloads() == [b"y"]


def test_a_slow_reader_is_sent_its_backlog_in_pieces():
    world = World(outbox_bytes=1024, max_inflight=1000)
    slow = world.connect("s")
    slow.subscribe("t", qos=1)
    slow.stop_reading()
    publish(world, 100, size=200)
    for _ in range(5):
        assert slow.unread() < 3 * 1024
        slow.stop_reading()  # it reads what there is, and stops again
        slow.conn.resume_writing()
        world.broker.flush()


def test_a_slow_reader_may_leave_and_come_back():
    world = World(outbox_bytes=1024)
    properties = {SESSION_EXPIRY_INTERVAL: 100}
    slow = world.connect("s", properties=properties)
    slow.subscribe("t", qos=1)
    slow.stop_reading()
    publish(world, 30, size=100)
    slow.lose()
    slow = world.connect("s", clean_start=False, properties=properties)
    assert [int(payload[:2].rstrip(b"\0")) for payload in slow.payloads()] == list(range(30))


# -- packet size ----------------------------------------------------------------------------


def test_a_packet_larger_than_the_client_takes_is_not_sent():
    # "\x30 7e 0001 74 00" and the payload: 121 bytes of it make 127.
    for qos, room in ((0, 121), (1, 119), (2, 119)):
        world = World()
        subscriber = world.connect("s", properties={MAXIMUM_PACKET_SIZE: 127})
        subscriber.subscribe("t", qos=qos)
        for version in VERSIONS:
            publisher = world.connect("p", version)
            publisher.publish("t", bytes(room), qos)
            publisher.publish("t", bytes(room + 1), qos)  # acknowledged as any other
        assert [len(payload) for payload in subscriber.payloads()] == [room] * 3  # [MQTT-3.1.2-24]
        assert world.broker.counters.dropped == 3
        assert world.session("s").inflight == {}


def test_a_packet_larger_than_the_broker_takes_ends_the_connection():
    for version in VERSIONS:
        world = World(max_packet_size=200)
        client = world.connect("c", version)
        overhead = 7 if version == 5 else 6  # two bytes of remaining length
        client.send_publish("t", bytes(200 - overhead))
        client.expect_nothing()
        client.send_publish("t", bytes(200 - overhead + 1))
        client.expect_close(0x95)


def test_a_huge_packet_is_refused_before_it_arrives():
    for header in (b"\x30\xff\xff\xff\x7f", b"\x30\xff\xff\x7f", b"\x30\xff\x7f"):
        client = World(max_packet_size=1000).connect("c")
        client.feed(header)
        client.expect_close(0x95)


def test_a_large_payload_arrives():
    for version in VERSIONS:
        world = World()
        subscriber = world.connect("s", version)
        subscriber.subscribe("t", qos=1)
        for size in (262144, 300000):
            for qos in (0, 1):
                world.connect("p", version).publish("t", bytes(size), qos)
                subscriber.expect_message("t", bytes(size), qos=qos)


def test_a_reason_string_is_left_out_when_it_does_not_fit():
    for room, told in ((20, False), (100, True)):
        world = World(max_retained_messages=0)
        client = world.connect("c", properties={MAXIMUM_PACKET_SIZE: room, REQUEST_PROBLEM_INFORMATION: 1})
        client.send_publish("t", "x", 1, retain=True)
        assert (client.expect(PUBACK, code=0x97)["properties"] != {}) is told
        client.feed(b"\x30\x05\x00\x01+\x00x")
        assert (client.inbox[0]["properties"] != {}) is told
        client.expect_close(0x81)


def test_pause_and_resume_of_a_connection_that_is_not_the_sessions():
    world = World()
    old = world.connect("c")
    new = world.connect("c")
    new.subscribe("t")
    old.conn.pause_writing()  # the host is late
    world.broker.publish("t", "x")
    new.expect_message("t", "x")
    old.conn.resume_writing()
    world.broker.publish("t", "y")
    new.expect_message("t", "y")
