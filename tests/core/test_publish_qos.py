"""PUBLISH and its acknowledgements: QoS 0, 1 and 2 both ways (clauses 3.3 to 3.7, 4.3)."""

from harness import VERSIONS, World, raw, split
from port.core.wire.codec import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL
from port.core.wire.properties import (
    MESSAGE_EXPIRY_INTERVAL,
    REQUEST_PROBLEM_INFORMATION,
    SUBSCRIPTION_IDENTIFIER,
    TOPIC_ALIAS_MAXIMUM,
    USER_PROPERTY,
)

HEAPSIZE = "4m"
TIMEOUT = 240  # the test with 70,000 messages


def test_the_packets_byte_by_byte():
    world = World()
    publisher = world.connect("p", 4)
    subscriber = world.connect("s", 4)
    subscriber.subscribe("a/b", qos=2)
    received = []
    subscriber._received = lambda data: received.append(data)
    publisher.feed(raw("30 07  0003 612f62  6869"))
    publisher.feed(raw("32 09  0003 612f62  1234  6869"))
    publisher.feed(raw("34 09  0003 612f62  1235  6869"))
    assert received == [
        raw("30 07  0003 612f62  6869"),
        raw("32 09  0003 612f62  1234  6869"),  # nothing is in flight, so that this identifier is as good as any
        raw("34 09  0003 612f62  1235  6869"),  # and this one is the next
    ]
    world.connect("q", 4).feed(raw("32 09  0003 612f62  1235  6869") + raw("34 09  0003 612f62  1239  6869"))
    assert received[3:] == [
        raw("32 09  0003 612f62  1236  6869"),  # with an identifier of the receiver's own
        raw("34 09  0003 612f62  1237  6869"),
    ]


def test_every_qos_between_all_versions():
    for sender in VERSIONS:
        for receiver in VERSIONS:
            world = World()
            publisher = world.connect("p", sender)
            subscriber = world.connect("s", receiver)
            for granted in (0, 1, 2):
                subscriber.subscribe("t/#", qos=granted)
                for qos in (0, 1, 2):
                    publisher.publish("t/x", "payload", qos)
                    subscriber.expect_message("t/x", "payload", qos=min(qos, granted))
                    subscriber.expect_nothing()
            publisher.expect_nothing()


def test_qos_1_is_acknowledged_with_the_publishers_identifier():
    for version in VERSIONS:
        client = World().connect("c", version)
        client.send_publish("t", "x", 1, packet_id=0xABCD)
        client.expect(PUBACK, packet_id=0xABCD)
        client.expect_nothing()


def test_qos_2_in_four_steps_from_the_publisher():
    for version in VERSIONS:
        world = World()
        watcher = world.connect("w", version)
        watcher.subscribe("t")
        client = world.connect("c", version)
        client.send_publish("t", "x", 2, packet_id=7)
        client.expect(PUBREC, packet_id=7, code=0)
        client.say(PUBREL, packet_id=7)
        client.expect(PUBCOMP, packet_id=7, code=0)
        assert watcher.payloads() == [b"x"]


def test_qos_2_in_four_steps_to_the_subscriber():
    for version in VERSIONS:
        world = World()
        subscriber = world.connect("s", version)
        subscriber.subscribe("t", qos=2)
        world.connect("p", version).publish("t", "x", 2)
        message = subscriber.expect(PUBLISH, qos=2)
        subscriber.pubrec(message)
        subscriber.expect(PUBREL, packet_id=message["packet_id"], code=0)
        subscriber.pubcomp(message)
        subscriber.expect_nothing()
        assert world.session("s").inflight == {}


def test_a_qos_2_message_sent_again_is_delivered_once():
    world = World()
    watcher = world.connect("w")
    watcher.subscribe("t")
    client = world.connect("c")
    client.send_publish("t", "x", 2, packet_id=7)
    client.expect(PUBREC, packet_id=7)
    client.send_publish("t", "x", 2, packet_id=7, dup=True)
    client.expect(PUBREC, packet_id=7)  # [MQTT-4.3.3-10]
    assert watcher.payloads() == [b"x"]
    # After PUBREL the identifier stands for a new message [MQTT-4.3.3-11].
    client.say(PUBREL, packet_id=7)
    client.expect(PUBCOMP, packet_id=7, code=0)
    client.say(PUBREL, packet_id=7)
    client.expect(PUBCOMP, packet_id=7, code=0x92)
    client.send_publish("t", "y", 2, packet_id=7)
    assert watcher.payloads() == [b"y"]


def test_pubrels_for_identifiers_nobody_knows():
    """MQTT 5 is told so, whatever comes in one read with it (clause 3.7.2.1)."""
    for version in VERSIONS:
        for row in ((9,), (1, 9), (9, 1), (1, 9, 2), (9, 10, 1, 2, 11, 3, 4, 12), (1, 1, 2)):
            world = World()
            client = world.connect("c", version)
            known = {packet_id for packet_id in row if packet_id < 9}
            for packet_id in known:
                client.send_publish("t", "x", 2, packet_id=packet_id)
            client.inbox.clear()
            sent = world.broker.packets_sent
            client.feed(b"".join([bytes((0x62, 2, 0, packet_id)) for packet_id in row]))
            for packet_id in row:
                code = 0 if version != 5 or packet_id in known else 0x92
                client.expect(PUBCOMP, packet_id=packet_id, code=code)
                known.discard(packet_id)
            client.expect_nothing()
            assert world.broker.packets_sent == sent + len(row)
            if version == 5:
                client.say(PUBREL, packet_id=9, code=0x92)
                client.expect(PUBCOMP, packet_id=9, code=0x92)


def test_a_qos_2_message_sent_again_after_a_reconnect_is_delivered_once():
    world = World()
    watcher = world.connect("w")
    watcher.subscribe("t")
    client = world.connect("c", properties={0x11: 100})
    client.send_publish("t", "x", 2, packet_id=7)
    client.lose()
    client = world.connect("c", clean_start=False)
    client.send_publish("t", "x", 2, packet_id=7, dup=True)
    client.expect(PUBREC, packet_id=7)
    assert watcher.payloads() == [b"x"]


def test_dup_is_not_passed_on():
    # [MQTT-3.3.1-3]
    world = World()
    subscriber = world.connect("s")
    subscriber.subscribe("t", qos=2)
    publisher = world.connect("p")
    for qos in (1, 2):
        publisher.send_publish("t", "x", qos, packet_id=qos, dup=True)
        subscriber.expect_message("t", "x", qos=qos, dup=False)


def test_each_receiver_has_identifiers_of_its_own():
    world = World()
    receivers = [world.connect("s%d" % i) for i in range(3)]
    for i in range(3):
        for k in range(i):
            receivers[i].subscribe("only/%d" % i, qos=1)
            world.broker.publish("only/%d" % i, b"%d" % k, 1)
            receivers[i].expect(PUBLISH)
        receivers[i].subscribe("all", qos=1)
    world.connect("p").publish("all", "x", 1)
    assert [receiver.expect(PUBLISH)["packet_id"] for receiver in receivers] == [1, 2, 3]


def test_two_publishers_with_the_same_identifier():
    world = World()
    subscriber = world.connect("s")
    subscriber.subscribe("t", qos=2)
    one, two = world.connect("one"), world.connect("two")
    for qos in (1, 2):
        one.send_publish("t", "1", qos, packet_id=9)
        two.send_publish("t", "2", qos, packet_id=9)
    got = subscriber.messages(acknowledge=False)
    assert [packet["payload"] for packet in got] == [b"1", b"2", b"1", b"2"]
    assert len(set([packet["packet_id"] for packet in got])) == 4


def test_a_publisher_gets_its_own_messages():
    for version in VERSIONS:
        client = World().connect("c", version)
        client.subscribe("t", qos=2)
        for qos in (0, 1, 2):
            client.publish("t", "x", qos)
            client.expect_message("t", "x", qos=qos)


def test_order_is_kept_per_topic():
    world = World()
    subscriber = world.connect("s")
    subscriber.subscribe("t", qos=2)
    publisher = world.connect("p")
    for qos in (1, 2):
        for i in range(20):
            publisher.publish("t", b"%d" % i, qos)
        assert subscriber.payloads() == [b"%d" % i for i in range(20)]


def test_no_subscriber():
    client = World().connect("c")
    client.publish("t", "x", 1, code=0x10)
    client.publish("t", "x", 2)
    client = World().connect("c", 4)
    client.publish("t", "x", 1)


def test_topic_names():
    for version in VERSIONS:
        for name in (b"a/+", b"#", b"a\0b", b"\xed\xa0\x80", b"\xc0\x80", b"\xff\xfe"):
            client = World().connect("c", version)
            body = b"\0" + bytes((len(name),)) + name + (b"\0" if version == 5 else b"")
            client.feed(bytes((0x30, len(body))) + body)
            client.expect_close(0x81)
    client = World().connect("c")
    client.feed(raw("30 03  0000 00"))
    client.expect_close(0x81)  # neither topic nor alias
    client = World().connect("c", 4)
    client.feed(raw("30 02  0000"))
    client.expect_close()


def test_clients_cannot_publish_to_dollar_topics():
    world = World()
    watcher = world.connect("w")
    watcher.subscribe("$SYS/#")
    watcher.inbox.clear()
    for version in VERSIONS:
        client = world.connect("c", version)
        client.publish("$SYS/broker/version", "mine", 0)
        client.publish("$SYS/broker/version", "mine", 1, code=0x87)
        client.publish("$x", "mine", 2, code=0x87, retain=True)
        client.ping()  # it is still welcome
    watcher.expect_nothing()
    assert world.broker.retained.count == 0


def test_malformed_publishes():
    for version, text, code in (
        (4, "36 05  0001 74 0001", None),  # QoS 3 [MQTT-3.3.1-4]
        (5, "36 06  0001 74 0001 00", 0x81),
        (4, "38 03  0001 74", None),  # DUP with QoS 0 [MQTT-3.3.1-2]
        (5, "38 04  0001 74 00", 0x81),
        (5, "32 06  0001 74 0000 00", 0x82),  # identifier 0 [MQTT-2.2.1-3]
        (5, "30 03  0001 74", 0x81),  # no properties
        (5, "32 04  0001 74 00", 0x81),  # half an identifier
        (5, "30 05  0002 74 00 00", 0x81),  # topic "t" and U+0000
        (5, "30 06  0001 74 02 01 02", 0x82),  # payload format indicator 2
        (5, "30 05  0001 74 05 01", 0x81),  # properties longer than the packet
        (5, "30 06  0001 74 02 0b 01", 0x82),  # a subscription identifier [MQTT-3.3.4-6]
        (5, "30 08  0001 74 04 08 0001 23", 0x82),  # a wildcard in the response topic [MQTT-3.3.2-14]
        (5, "30 07  0001 74 03 08 0000", 0x82),  # an empty one
        (5, "30 07  0001 74 03 22 0001", 0x82),  # topic alias maximum
        (4, "30 02  0005", None),  # longer than the packet
        (4, "30 01  00", None),
        (4, "30 00", None),
        (5, "30 00", 0x81),
    ):
        client = World().connect("c", version)
        client.feed(raw(text))
        assert client.closed, text
        assert code is None or client.inbox[0]["code"] == code, (text, client.inbox)


def test_malformed_publishes_to_a_topic_in_use():
    # The route is cached: nothing but the packet itself can be looked at.
    for version, text in (
        (5, "30 03  0001 74  00"),  # no properties; the byte behind belongs to the next packet
        (5, "30 03  0001 74"),
        (5, "30 05  0001 74 05 01"),
        (5, "30 06  0001 74 02 01 02"),
        (4, "30 04  0003 74 00  74"),
        (4, "38 03  0001 74"),
    ):
        world = World()
        subscriber = world.connect("s", version)
        subscriber.subscribe("t")
        client = world.connect("c", version)
        client.publish("t", "x")
        client.publish("t", "")
        assert len(subscriber.messages()) == 2
        client.feed(raw(text))
        assert client.closed, text
        subscriber.expect_nothing()


def test_acknowledgements_with_reason_codes_and_properties():
    world = World()
    subscriber = world.connect("s")
    subscriber.subscribe("t", qos=2)
    user = {USER_PROPERTY: [(b"a", b"b")]}
    world.broker.publish("t", "1", 1)
    message = subscriber.expect(PUBLISH)
    del subscriber.unacked[message["packet_id"]]
    subscriber.say(PUBACK, packet_id=message["packet_id"], code=0x97, properties=user)
    world.broker.publish("t", "2", 2)
    message = subscriber.expect(PUBLISH)
    subscriber.say(PUBREC, packet_id=message["packet_id"], code=0x10, properties=user)
    subscriber.expect(PUBREL, packet_id=message["packet_id"])
    subscriber.say(PUBCOMP, packet_id=message["packet_id"], code=0x92, properties=user)
    assert world.session("s").inflight == {}
    subscriber.expect_nothing()


def test_a_pubrec_with_an_error_ends_the_delivery():
    world = World()
    subscriber = world.connect("s", properties={0x21: 1, 0x11: 100})
    subscriber.subscribe("t", qos=2)
    world.broker.publish("t", "1", 2)
    world.broker.publish("t", "2", 2)
    message = subscriber.expect(PUBLISH, payload=b"1")
    subscriber.pubrec(message, 0x83)
    # No PUBREL, the window is open again, and nothing is sent again later [MQTT-4.4.0-2].
    subscriber.expect_message("t", "2", qos=2)
    subscriber.lose()
    world.connect("s", clean_start=False).expect_nothing()


def test_acknowledgements_nobody_waits_for():
    for version in VERSIONS:
        client = World().connect("c", version)
        client.say(PUBACK, packet_id=9)
        client.say(PUBCOMP, packet_id=9)
        client.expect_nothing()
        client.say(PUBREC, packet_id=9)
        # "Packet identifier not found" is said in MQTT 5 (clause 3.6.2.1).
        client.expect(PUBREL, packet_id=9, code=0x92 if version == 5 else 0)
        client.say(PUBREL, packet_id=9)
        client.expect(PUBCOMP, packet_id=9)
        client.ping()


def test_the_wrong_acknowledgement():
    for qos, kind in ((1, PUBREC), (2, PUBACK), (2, PUBCOMP)):
        world = World()
        subscriber = world.connect("s")
        subscriber.subscribe("t", qos=qos)
        world.broker.publish("t", "x", qos)
        subscriber.say(kind, packet_id=subscriber.expect(PUBLISH)["packet_id"])
        subscriber.expect_close(0x82)


def test_malformed_acknowledgements():
    for text, code in (
        ("40 02 0000", 0x82),
        ("50 02 0000", 0x82),
        ("62 02 0000", 0x82),
        ("70 02 0000", 0x82),
        ("40 01 00", 0x81),
        ("40 00", 0x81),
        ("40 03 0001 01", 0x82),  # no such reason code
        ("62 03 0001 10", 0x82),
        ("70 03 0001 80", 0x82),
        ("40 05 0001 00 00 00", 0x81),  # something left over
        ("40 06 0001 00 02 01 01", 0x82),  # a property of PUBLISH
        ("40 06 0001 00 02 1f 00", 0x81),  # a property cut off
        ("60 02 0001", 0x82),  # PUBREL with flags 0 [MQTT-3.6.1-1]
        ("42 02 0001", 0x81),
    ):
        client = World().connect("c")
        client.feed(raw(text))
        assert client.inbox[0]["code"] == code, (text, client.inbox)
        client.expect_close(code)
    for text in ("40 03 0001 00", "62 04 0001 00 00", "60 02 0001", "40 02 0000"):
        client = World().connect("c", 4)
        client.feed(raw(text))
        client.expect_close()


def test_a_reason_string_only_where_problem_information_is_wanted():
    for wanted in (None, 1, 0):
        properties = {} if wanted is None else {REQUEST_PROBLEM_INFORMATION: wanted}
        client = World(max_retained_messages=0).connect("c", properties=properties)
        for qos, kind in ((1, PUBACK), (2, PUBREC)):
            client.send_publish("t", "x", qos, retain=True)
            told = client.expect(kind, code=0x97)["properties"]
            # [MQTT-3.1.2-29]; not asked for is not wanted: there are clients that cannot read a PUBACK with properties.
            assert (told != {}) is (wanted == 1), wanted


def test_user_properties_keep_their_order_and_duplicates():
    world = World()
    subscriber = world.connect("s")
    subscriber.subscribe("t", qos=1)
    user = [(b"z", b"1"), (b"a", b""), (b"z", b"1"), (b"", b"2"), (b"m", "ü".encode())]
    for qos in (0, 1):
        world.connect("p").publish("t", "x", qos, properties={USER_PROPERTY: user})
        subscriber.expect_message("t", "x", qos=qos, properties={USER_PROPERTY: user})  # [MQTT-3.3.2-18]


def test_all_properties_of_a_message_are_forwarded():
    world = World()
    subscriber = world.connect("s")
    subscriber.subscribe("t", qos=2)
    properties = {0x01: 1, 0x03: b"text/plain", 0x08: b"answer/here", 0x09: b"\0\xff", USER_PROPERTY: [(b"a", b"b")]}
    world.connect("p").publish("t", "x", 2, properties=properties)
    subscriber.expect_message("t", "x", qos=2, properties=properties)
    old = world.connect("old", 4)
    old.subscribe("t")
    world.connect("p").publish("t", "x", properties=properties)
    old.expect_message("t", "x")


def test_packets_cut_anywhere():
    # The end of a packet and the start of the next arrive together, however the network cuts them.
    frames = (
        raw("30 07  0003 612f62  6869")
        + bytes((0x30, 0xAC, 0x02))  # 300 bytes
        + b"\0\3a/b"
        + bytes(295)
        + raw("32 09  0003 612f62  0001  6869")
        + bytes((0x30, 0xF0, 0xA2, 0x04))  # 70,000 bytes
        + b"\0\3a/b"
        + bytes(69995)
        + bytes((0x30, 0x80, 0x02))
        + b"\0\3a/b"
        + bytes(251)
    )
    edges = [0, 9, 9 + 303, 9 + 303 + 11, len(frames) - 259 - 70004, len(frames) - 259]
    for edge in edges:
        for shift in (1, 2, 3, 4, 5):
            world = World()
            subscriber = world.connect("s", 4)
            subscriber.subscribe("a/b")
            publisher = world.connect("p", 4)
            publisher.feed(frames[: edge + shift])
            publisher.feed(frames[edge + shift :])
            sizes = [len(packet["payload"]) for packet in subscriber.messages()]
            assert sizes == [2, 295, 2, 69995, 251], (edge, shift)


def test_more_messages_than_there_are_packet_identifiers():
    # Without the harness' client, which would be too slow for 70,000 messages.
    world = World(max_inflight=64)
    publisher = world.connect("p", 4)
    subscriber = world.connect("s", 4)
    subscriber.subscribe("t", qos=1)
    wire = []

    def take(chunks):
        for chunk in chunks:
            wire.extend(split(bytes(chunk)))
        return 0

    subscriber.send = take
    publisher.send = lambda chunks: 0
    publisher.send_publish("t", "stays in flight", 1)
    assert wire.pop()[5:7] == b"\0\1"
    number = 0
    expected_id = 1
    while number < 70000:
        batch = b""
        for i in range(number, number + 50):
            batch += b"\x32\x09\0\1t\0\1" + bytes((i >> 24, i >> 16 & 255, i >> 8 & 255, i & 255))
        publisher.feed(batch)
        assert len(wire) == 50
        acks = b""
        for packet in wire:
            expected_id = expected_id + 1 if expected_id < 65535 else 2
            wanted = b"\x32\x09\0\1t" + bytes((expected_id >> 8, expected_id & 255))
            wanted += bytes((number >> 24, number >> 16 & 255, number >> 8 & 255, number & 255))
            assert packet == wanted, number
            acks += b"\x40\x02" + wanted[5:7]
            number += 1
        wire.clear()
        subscriber.feed(acks)
    assert list(world.session("s").inflight) == [1]


def test_an_identifier_still_in_use_is_skipped_at_the_wrap_around():
    world = World()
    subscriber = world.connect("s", properties={0x11: 100})
    subscriber.subscribe("t", qos=1)
    world.session("s").packet_id = 65533
    for i in range(2):
        world.broker.publish("t", b"%d" % i, 1)
    world.session("s").packet_id = 65533  # as if 65,535 others had come and gone since
    for i in range(2, 5):
        world.broker.publish("t", b"%d" % i, 1)
    got = subscriber.messages(acknowledge=False)
    assert [packet["packet_id"] for packet in got] == [65534, 65535, 1, 2, 3]
    # Order survives the wrap-around also when all are sent again.
    subscriber.lose()
    subscriber = world.connect("s", clean_start=False)
    again = subscriber.messages()
    assert [packet["payload"] for packet in again] == [b"0", b"1", b"2", b"3", b"4"]
    assert [packet["packet_id"] for packet in again] == [65534, 65535, 1, 2, 3]


# -- packets that are passed on as they came ----------------------------------------------------------


def test_what_was_passed_on_is_sent_again_to_the_client_that_comes_back():
    for version in (4, 5):
        for qos in (1, 2):
            world = World()
            publisher = world.connect("p", version)
            subscriber = world.connect("s", version, clean_start=False, properties={0x11: 100} if version == 5 else {})
            subscriber.subscribe("t", qos=2)
            more = {"properties": {USER_PROPERTY: [(b"k", b"v")]}} if version == 5 else {}
            publisher.publish("t", "makes route and properties known", **more)
            for payload in ("a", "b", "c"):
                publisher.publish("t", payload, qos, **more)
            assert all([type(entry) is bytes for entry in world.session("s").inflight.values()])
            sent = subscriber.inbox[1:]
            subscriber.lose()
            subscriber = world.connect("s", version, clean_start=False, properties={0x11: 100} if version == 5 else {})
            again = subscriber.inbox[:]
            assert [packet["payload"] for packet in again] == [b"a", b"b", b"c"]
            for before, after in zip(sent, again):
                assert after["dup"] and not before["dup"]
                before["dup"] = True
                assert before == after
            if qos == 1:
                for packet in again:
                    subscriber.say(PUBACK, packet_id=packet["packet_id"])
            else:
                for packet in again:
                    subscriber.say(PUBREC, packet_id=packet["packet_id"])
                    subscriber.say(PUBCOMP, packet_id=packet["packet_id"])
            assert not world.session("s").inflight


def test_what_was_passed_on_is_sent_again_in_the_version_the_client_comes_back_with():
    for version, other in ((4, 5), (5, 4), (3, 5), (5, 3)):
        for qos in (1, 2):
            world = World()
            publisher = world.connect("p", version)
            subscriber = world.connect("s", version, clean_start=False, properties={0x11: 100} if version == 5 else {})
            subscriber.subscribe("t", qos=2)
            for payload in ("a", "b", "c"):
                publisher.publish("t", payload, qos)
            assert type(world.session("s").inflight[3]) is bytes
            subscriber.lose()
            subscriber = world.connect("s", other, clean_start=False, properties={0x11: 100} if other == 5 else {})
            assert [packet["payload"] for packet in subscriber.inbox] == [b"a", b"b", b"c"]
            assert subscriber.payloads() == [b"a", b"b", b"c"]


def test_one_that_cannot_take_it_as_it_came_gets_it_later_or_in_another_way():
    for version in (4, 5):
        for qos in (1, 2):
            world = World(max_inflight=1)
            publisher = world.connect("p", version)
            full, free = [world.connect(name, version) for name in ("full", "free")]
            away = world.connect("away", version, clean_start=False, properties={0x11: 100} if version == 5 else {})
            for client in (full, free, away):
                client.subscribe("t", qos=2)
            publisher.publish("t", "makes the route known")
            away.lose()
            publisher.publish("t", "1", qos)
            packet_id = next(iter(world.session("free").inflight))
            if qos == 1:
                free.say(PUBACK, packet_id=packet_id)
            else:
                free.say(PUBREC, packet_id=packet_id)
                free.say(PUBCOMP, packet_id=packet_id)
            free.inbox.clear()
            publisher.publish("t", "2", qos)
            free.expect_message("t", "2", qos=qos)
            assert full.inbox[-1]["payload"] == b"1"
            waiting = world.session("full").queue[0][0]
            assert waiting.payload == b"2" and waiting is world.session("away").queue[1][0]  # they share it


def test_a_qos_2_packet_sent_twice_is_passed_on_once():
    for version in (4, 5):
        world = World()
        publisher = world.connect("p", version)
        subscriber = world.connect("s", version)
        subscriber.subscribe("t", qos=2)
        publisher.publish("t", "makes the route known")
        for _ in range(2):  # without DUP, too
            publisher.send_publish("t", "x", 2, packet_id=7)
            publisher.take(PUBREC, 7, 0)
        assert len(subscriber.inbox) == 2
        publisher.say(PUBREL, packet_id=7)
        publisher.take(PUBCOMP, 7, 0)
        publisher.send_publish("t", "y", 2, packet_id=7)
        assert subscriber.inbox[-1]["payload"] == b"y"


def test_the_wrong_acknowledgement_of_what_was_passed_on():
    for qos, wrong in ((1, PUBREC), (1, PUBCOMP), (2, PUBACK), (2, PUBCOMP)):
        world = World()
        publisher = world.connect("p")
        subscriber = world.connect("s")
        subscriber.subscribe("t", qos=2)
        publisher.publish("t", "makes the route known")
        publisher.publish("t", "x", qos)
        packet_id = subscriber.inbox[-1]["packet_id"]
        subscriber.inbox.clear()
        subscriber.say(wrong, packet_id=packet_id)
        subscriber.expect_close(0x82)


def test_malformed_packets_to_a_known_route():
    for version in (4, 5):
        for wire, code in (
            ("32 03  0001 74", 0x81),  # no packet identifier
            ("32 04  0001 74 00", 0x81),
            ("32 06  0001 74 0000 00", 0x82),
            ("34 06  0001 74 0000 00", 0x82),
            ("32 05  0001 74 0001", 0x81),  # MQTT 5: no property length
            ("32 06  0001 74 0001 05", 0x81),  # properties that are not there
        ):
            if version == 4 and wire in ("32 05  0001 74 0001", "32 06  0001 74 0001 05"):
                continue
            world = World()
            publisher = world.connect("p", version)
            subscriber = world.connect("s", version)
            subscriber.subscribe("t", qos=2)
            publisher.publish("t", "makes the route known", 1)
            count = len(subscriber.inbox)
            publisher.feed(raw(wire))
            publisher.expect_close(code)
            assert len(subscriber.inbox) == count


def test_properties_seen_before_are_passed_on_as_they_came():
    for qos in (0, 1, 2):
        world = World()
        publisher = world.connect("p")
        subscriber = world.connect("s")
        subscriber.subscribe("t", qos=2)
        for i in range(3):
            for properties in (
                {USER_PROPERTY: [(b"k", b"v")]}, {0x02: 10}, {0x02: 10, USER_PROPERTY: [(b"k", b"v")]}, {},
            ):  # fmt: skip
                publisher.publish("t", "%d" % i, qos, properties=properties)
                assert subscriber.inbox[-1]["payload"] == b"%d" % i
                assert subscriber.inbox[-1]["properties"] == properties
                world.advance(1000)
                if qos:
                    packet_id = subscriber.inbox[-1]["packet_id"]
                    if qos == 2:
                        subscriber.say(PUBREC, packet_id=packet_id)
                    subscriber.say(PUBACK if qos == 1 else PUBCOMP, packet_id=packet_id)
        assert len(world.broker.mqtt5.cache) == 3


def test_a_large_payload_is_copied_for_nobody_whatever_properties_come_with_it():
    for qos in (0, 1, 2):
        for properties in ({}, {MESSAGE_EXPIRY_INTERVAL: 60}, {USER_PROPERTY: [(b"a", b"b")]}):
            world = World()
            payloads = []
            for i in range(4):
                client = world.connect("c%d" % i, properties={TOPIC_ALIAS_MAXIMUM: i & 1})
                client.subscribe("t", qos, identifier=i if i > 1 else 0)
                send = client.send

                def watched(chunks, send=send):
                    payloads.extend([chunk for chunk in chunks if len(chunk) > 2000])
                    return send(chunks)

                client.send = watched
            publisher = world.connect("p")
            publisher.send_publish("t", b"x" * 3000, qos, properties=properties)
            # Two receivers have nothing of their own and share all; the others have a head of their own.
            assert len(payloads) == 4 and len(set([id(part) for part in payloads])) <= 2


def large_chunks(client, found):
    """Put the large pieces of what the client is sent into `found`."""
    send = client.send

    def watched(chunks):
        found.extend([chunk for chunk in chunks if len(chunk) > 2000])
        return send(chunks)

    client.send = watched


def test_large_properties_are_copied_for_nobody_whatever_comes_with_them():
    properties = {USER_PROPERTY: [(b"a", b"b" * 3000)]}
    for qos in (0, 1, 2):
        for expiry in ({}, {MESSAGE_EXPIRY_INTERVAL: 60}):
            world = World()
            clients = []
            chunks: "list[bytes]" = []
            for i in range(6):
                client = world.connect("c%d" % i, properties={TOPIC_ALIAS_MAXIMUM: i & 1})
                client.subscribe("t", qos, identifier=i if i > 1 else 0)
                client.subscribe("+", qos, identifier=9)  # another identifier for the same packet
                large_chunks(client, chunks)
                clients.append(client)
            world.connect("p").send_publish("t", b"x", qos, properties=joined(properties, expiry))
            assert len(chunks) == 6 and len(set([id(chunk) for chunk in chunks])) == 1
            for i in range(6):
                wanted = joined(properties, expiry, {SUBSCRIPTION_IDENTIFIER: [i, 9] if i > 1 else [9]})
                found = clients[i].expect(PUBLISH, topic=b"t", payload=b"x", qos=qos)["properties"]
                found[SUBSCRIPTION_IDENTIFIER].sort()
                assert found == wanted


def joined(*several):
    """One dict of several."""
    whole = {}
    for properties in several:
        whole.update(properties)
    return whole


def test_the_packets_of_a_message_share_what_is_large_whatever_their_qos_and_retain():
    for properties, payload in (({}, 3000), ({USER_PROPERTY: [(b"a", b"b" * 3000)]}, 1)):
        world = World()
        chunks: "list[bytes]" = []
        clients = []
        for qos in (0, 1, 2):
            for as_published in (0, 8):
                client = world.connect("c%d%d" % (qos, as_published))
                client.subscribe("t", qos, as_published)
                client.inbox = []
                large_chunks(client, chunks)
                clients.append((client, qos, as_published > 0))
        world.connect("p").send_publish("t", b"x" * payload, 2, 1, retain=True, properties=properties)
        assert len(chunks) == 6 and len(set([id(chunk) for chunk in chunks])) == 1
        for client, qos, retain in clients:
            client.expect_message("t", b"x" * payload, qos, retain, properties=properties)
            client.expect_nothing()


def test_large_properties_in_flight_count_and_are_bounded_as_a_payload_is():
    properties = {USER_PROPERTY: [(b"a", b"b" * 3000)]}
    for qos in (1, 2):
        world = World(max_inflight_bytes=7000)
        client = world.connect("c")
        client.subscribe("t", qos)
        publisher = world.connect("p")
        for i in range(4):
            publisher.publish("t", b"%d" % i, qos, properties=properties)
        assert len(world.session("c").inflight) == len(client.inbox) == len(world.session("c").queue) == 2
        assert world.broker.message_bytes > 4 * 3000
        assert client.payloads() == [b"0", b"1", b"2", b"3"]
        assert not world.broker.message_bytes


def test_rows_of_acknowledgements_are_each_for_their_own_message():
    """In any order, with packet identifiers of which either byte is the same."""
    ids = [1, 257, 2, 513, 258, 512, 256]

    def row(first):
        return b"".join([bytes((first, 2, packet_id >> 8, packet_id & 255)) for packet_id in ids])

    for version in VERSIONS:
        for qos in (1, 2):
            world = World(max_inflight=600)
            client, publisher = world.connect("c", version), world.connect("p", version)
            client.subscribe("t", qos)
            for _ in range(520):
                publisher.publish("t", "x", qos)
            client.inbox.clear()
            session = world.session("c")
            if qos == 1:
                client.feed(row(0x40))
            else:
                client.feed(row(0x50))
                assert [packet["packet_id"] for packet in client.inbox if packet["type"] == PUBREL] == ids
                assert [i for i in sorted(session.inflight) if session.sent(i)[0] is None] == sorted(ids)
                client.feed(row(0x70))
            assert sorted(session.inflight) == [i + 1 for i in range(520) if i + 1 not in ids]
        for packet_id in ids:
            client.send_publish("t", "x", 2, packet_id=packet_id)
        client.inbox.clear()
        client.feed(row(0x62))
        assert [packet["packet_id"] for packet in client.inbox if packet["type"] == PUBCOMP] == ids
        assert not [packet for packet in client.inbox if packet.get("code")] and not session.received


def test_a_long_topic_name_is_not_taken_for_its_beginning():
    """Each of 300 and 44 bytes, which have one byte of their length in common."""
    for version in VERSIONS:
        for qos in range(3):
            world = World()
            client, publisher = world.connect("c", version), world.connect("p", version)
            client.subscribe("#", qos)
            for size in (44, 44, 300, 300, 44, 300):
                publisher.publish("x" * size, b"%d" % size, qos)
                client.expect_message("x" * size, b"%d" % size, qos)
