"""SUBSCRIBE and UNSUBSCRIBE (clauses 3.8 to 3.11)."""

from harness import VERSIONS, World, raw, refusal
from port.core.wire.codec import PUBLISH, SUBACK, SUBSCRIBE, UNSUBACK, UNSUBSCRIBE
from port.core.wire.properties import MAXIMUM_PACKET_SIZE, SUBSCRIPTION_IDENTIFIER, TOPIC_ALIAS_MAXIMUM, USER_PROPERTY
from port.core.protocol.client_packets import encode

NO_LOCAL = 4
RETAIN_AS_PUBLISHED = 8


def test_the_packets_byte_by_byte():
    client = World().connect("c", 4)
    client.feed(raw("82 0e 1234  0003 612f62 01  0003 632f64 02"))
    assert encode(client.expect(SUBACK), 4) == raw("90 04 1234 01 02")
    client.feed(raw("a2 07 1235  0003 612f62"))
    assert encode(client.expect(UNSUBACK), 4) == raw("b0 02 1235")
    client = World().connect("c", 5)
    client.feed(raw("82 0f 1234 00  0003 612f62 01  0003 632f64 02"))
    assert encode(client.expect(SUBACK), 5) == raw("90 05 1234 00 01 02")
    client.feed(raw("a2 0d 1235 00  0003 612f62  0003 782f79"))
    assert encode(client.expect(UNSUBACK), 5) == raw("b0 05 1235 00 00 11")


def test_each_filter_gets_its_answer_in_order():
    for version in VERSIONS:
        client = World(max_subscriptions=3).connect("c", version)
        client.say(SUBSCRIBE, packet_id=1, filters=[(b"a", 2), (b"b", 0), (b"c", 1), (b"d", 1), (b"a", 1)])
        client.expect(SUBACK, codes=bytes((2, 0, 1, refusal(version, 0x97, 1), 1)))


def test_the_qos_granted_is_not_above_the_maximum():
    client = World(max_qos=1).connect("c")
    client.subscribe("a", qos=2, code=1)
    client.publish("a", "x", 1)
    client.expect_message("a", "x", qos=1)
    client.send_publish("a", "x", 2)
    client.expect_close(0x9B)  # [MQTT-3.2.2-11]


def test_overlapping_subscriptions_get_one_copy_with_the_highest_qos():
    for version in VERSIONS:
        world = World()
        subscriber = world.connect("s", version)
        for topic_filter, qos in (("a/+", 0), ("a/#", 2), ("a/b", 1), ("+/b", 0)):
            subscriber.subscribe(topic_filter, qos=qos)
        publisher = world.connect("p", version)
        for qos in (0, 1, 2):
            publisher.publish("a/b", "x", qos)
            subscriber.expect_message("a/b", "x", qos=qos)
            subscriber.expect_nothing()


def test_overlapping_subscriptions_bring_all_their_identifiers():
    world = World()
    subscriber = world.connect("s")
    subscriber.subscribe("a/+", identifier=1)
    subscriber.subscribe("a/#", qos=1, identifier=268435455)
    subscriber.subscribe("a/b", qos=2)
    subscriber.subscribe("#", identifier=1)
    world.connect("p").publish("a/b", "x", 1)
    message = subscriber.expect_message("a/b", "x", qos=1)
    assert sorted(message["properties"][SUBSCRIPTION_IDENTIFIER]) == [1, 1, 268435455]  # [MQTT-3.3.4-4]
    subscriber.expect_nothing()


def test_an_identifier_belongs_to_the_last_subscribe():
    world = World()
    subscriber = world.connect("s")
    publisher = world.connect("p")
    for identifier in (5, 6, 0):
        subscriber.subscribe("t", identifier=identifier)
        publisher.publish("t")
        expected = {SUBSCRIPTION_IDENTIFIER: [identifier]} if identifier else {}
        subscriber.expect_message("t", properties=expected)


def test_identifiers_come_with_plain_messages_of_other_versions():
    world = World()
    subscriber = world.connect("s")
    subscriber.subscribe("t", qos=1, identifier=200)
    for version in VERSIONS:
        for qos in (0, 1):
            world.connect("p", version).publish("t", "x", qos)
            subscriber.expect_message("t", "x", qos=qos, properties={SUBSCRIPTION_IDENTIFIER: [200]})


def test_no_local():
    world = World()
    client = world.connect("c")
    other = world.connect("o")
    for each in (client, other):
        each.subscribe("t", options=NO_LOCAL)
    client.publish("t", "mine", 1)
    client.expect_nothing()
    other.expect_message("t", "mine")
    # An overlapping subscription without it gets the message, with its own QoS only.
    client.subscribe("+", qos=1, options=NO_LOCAL)
    client.subscribe("#", qos=0)
    client.publish("t", "mine", 1)
    client.expect_message("t", "mine", qos=0)
    client.expect_nothing()


def test_no_local_on_a_shared_subscription_is_a_protocol_error():
    client = World().connect("c")
    client.feed(raw("82 10 0001 00  000a 2473686172652f672f61 04"))
    client.expect_close(0x82)  # [MQTT-3.8.3-4]


def test_subscribing_again_replaces_qos_and_options():
    world = World()
    subscriber = world.connect("s")
    subscriber.subscribe("t", qos=2, options=NO_LOCAL)
    subscriber.subscribe("t", qos=0)
    subscriber.publish("t", "x", 2)
    subscriber.expect_message("t", "x", qos=0)
    subscriber.expect_nothing()
    assert len(world.session("s").subscriptions) == 1


def test_unsubscribe_ends_the_subscription():
    for version in VERSIONS:
        world = World()
        client = world.connect("c", version)
        client.subscribe("a/+")
        client.unsubscribe("a/b", code=0x11)  # a filter, not a topic: it must be the same
        client.unsubscribe("a/+")
        client.publish("a/b")
        client.expect_nothing()
        client.unsubscribe("a/+", code=0x11)


def test_several_filters_in_one_unsubscribe():
    client = World().connect("c")
    client.subscribe("a")
    client.subscribe("$share/g/a")
    client.say(UNSUBSCRIBE, packet_id=7, filters=[b"a", b"b", b"$share/g/a"], properties={USER_PROPERTY: [(b"a", b"b")]})
    client.expect(UNSUBACK, packet_id=7, codes=b"\x00\x11\x00")


def test_what_was_on_its_way_is_completed_after_unsubscribe():
    # [MQTT-3.10.4-3]
    world = World()
    client = world.connect("c", properties={0x11: 100})
    client.subscribe("t", qos=2)
    world.broker.publish("t", "x", 2)
    message = client.expect(PUBLISH)
    client.unsubscribe("t")
    client.lose()
    client = world.connect("c", clean_start=False)
    client.expect_message("t", "x", qos=2, dup=True, packet_id=message["packet_id"])


def test_invalid_filters_are_malformed():
    # Filter in hex, for each version.
    for version in VERSIONS:
        for text in ("", "612f23 2f62", "6123", "612b", "2b61", "2323", "00", "eda080", "c080"):
            topic_filter = raw(text)
            body = b"\0\1" + (b"\0" if version == 5 else b"") + b"\0" + bytes((len(topic_filter),)) + topic_filter
            for first, rest in ((0x82, b"\0"), (0xA2, b"")):
                client = World().connect("c", version)
                client.feed(bytes((first, len(body + rest))) + body + rest)
                client.expect_close(0x81)


def test_malformed_subscribes():
    for version, text, code in (
        (4, "82 02 0001", 0x81),  # no filter [MQTT-3.8.3-2]
        (5, "82 03 0001 00", 0x81),
        (5, "a2 03 0001 00", 0x81),  # [MQTT-3.10.3-2]
        (4, "82 06 0000 0001 61 00", 0x81),  # identifier 0 [MQTT-2.2.1-3]
        (4, "a2 05 0000 0001 61", 0x81),
        (4, "82 05 0001 0001 61", 0x81),  # no options
        (4, "82 06 0001 0001 61 03", 0x81),  # QoS 3
        (5, "82 07 0001 00 0001 61 03", 0x81),
        (4, "82 06 0001 0001 61 04", 0x81),  # options of MQTT 5
        (5, "82 07 0001 00 0001 61 40", 0x81),  # reserved bits [MQTT-3.8.3-5]
        (5, "82 07 0001 00 0001 61 80", 0x81),
        (5, "82 07 0001 00 0001 61 30", 0x81),  # retain handling 3
        (5, "82 09 0001 02 0b00 0001 61 00", 0x82),  # subscription identifier 0
        (5, "82 0b 0001 04 0b01 0b02 0001 61 00", 0x82),  # twice
        (5, "82 09 0001 02 0101 0001 61 00", 0x81),  # a property of PUBLISH
        (4, "80 06 0001 0001 61 00", 0x81),  # flags [MQTT-3.8.1-1]
        (4, "83 06 0001 0001 61 00", 0x81),
        (5, "a0 06 0001 00 0001 61", 0x81),  # [MQTT-3.10.1-1]
    ):
        client = World().connect("c", version)
        client.feed(raw(text))
        assert version != 5 or client.inbox[0]["code"] == code, (text, client.inbox)
        client.expect_close(code)


def test_a_faulty_filter_leaves_no_subscription_of_the_packet():
    world = World()
    client = world.connect("c", properties={0x11: 100})
    client.feed(raw("82 0b 0001 00  0001 61 00  0001 62 03"))
    client.expect_close(0x81)
    assert world.session("c").subscriptions == {}


def test_shared_filters_that_are_wrong_are_refused_alone():
    client = World().connect("c")
    for wrong in ("$share/g", "$share//a", "$share/g+/a", "$share/g/a#", "$share/g/"):
        text = wrong.encode()
        body = b"\0\1\0\0" + bytes((len(text),)) + text + b"\0"
        client.feed(bytes((0x82, len(body))) + body)
        client.expect(SUBACK, codes=b"\x8f")
    client.ping()


def test_what_is_switched_off():
    client = World(wildcard_subscriptions=False, shared_subscriptions=False).connect("c")
    client.subscribe("a/+", code=0xA2)
    client.subscribe("a/#", code=0xA2)
    client.subscribe("$share/g/a", code=0x9E)
    client.subscribe("a")
    old = World(wildcard_subscriptions=False).connect("c", 4)
    old.subscribe("#", code=0x80)
    client = World(subscription_identifiers=False).connect("c")
    client.say(SUBSCRIBE, packet_id=1, filters=[(b"a", 0)], properties={SUBSCRIPTION_IDENTIFIER: 1})
    client.expect_close(0xA1)


def test_limits_of_filters():
    client = World(max_topic_length=8, max_topic_levels=3, max_subscriptions=2).connect("c")
    client.subscribe("12345678")
    client.subscribe("123456789", code=0x8F)
    client.subscribe("a/b/c")
    client.subscribe("a/b/c/d", code=0x8F)
    client.subscribe("b", code=0x97)
    client.subscribe("a/b/c", qos=1)  # one that is there can change
    client.unsubscribe("a/b/c")
    client.subscribe("b")
    old = World(max_topic_levels=3).connect("c", 4)
    old.subscribe("a/b/c/d", code=0x80)


def test_limits_of_topic_names():
    for version in VERSIONS:
        for topic, fits in (("12345678", True), ("123456789", False), ("a/b/c", True), ("a/b/c/d", False)):
            client = World(max_topic_length=8, max_topic_levels=3).connect("c", version)
            client.send_publish(topic)
            if fits:
                client.expect_nothing()
            else:
                client.expect_close(0x90)


def test_dollar_topics_are_hidden_from_wildcards():
    world = World()
    subscriber = world.connect("s")
    for topic_filter in ("#", "+/x", "+/#"):
        subscriber.subscribe(topic_filter)
    world.broker.publish("$app/x", "hidden")
    subscriber.expect_nothing()
    subscriber.subscribe("$app/#", qos=1)
    world.broker.publish("$app/x", "seen", 1)
    subscriber.expect_message("$app/x", "seen", qos=1)
    subscriber.expect_nothing()


def test_subscribers_of_all_versions_get_the_packet_as_it_came_or_translated():
    world = World()
    subscribers = [world.connect("s%d" % version, version) for version in VERSIONS]
    for subscriber in subscribers:
        subscriber.subscribe("t")
    for version in VERSIONS:
        publisher = world.connect("p", version)
        for size in (0, 1, 130, 20000):  # all sizes of the remaining length
            publisher.publish("t", bytes(size))
            for subscriber in subscribers:
                subscriber.expect_message("t", bytes(size))


def test_publishers_of_all_versions_reach_a_subscriber_of_one():
    # What a route remembers for one version must not serve another.
    for receiver in VERSIONS:
        world = World()
        subscriber = world.connect("s", receiver)
        subscriber.subscribe("t")
        publishers = [world.connect("p%d" % version, version) for version in VERSIONS]
        for publisher in publishers + publishers:
            publisher.publish("t", "x")
            subscriber.expect_message("t", "x")


def test_plain_qos_0_packets_are_passed_on_as_they_came():
    # Not what is sent but how: without this a broker in Python is slow.
    for version in VERSIONS:
        world = World()
        fast, other = world.broker.fast[version // 5], world.broker.fast[1 - version // 5]
        world.connect("c", version).subscribe("t", qos=1)
        world.connect("away", version, clean_start=False, **({"properties": {0x11: 9}} if version == 5 else {})).subscribe("t")
        world.session("away").conn.transport.lose()
        publisher = world.connect("p", version)
        publisher.publish("t")
        assert b"t" in fast and b"t" not in other
        handle = world.broker.subscribe("#", lambda message: None)
        publisher.publish("t")
        assert b"t" not in fast
        world.broker.unsubscribe(handle)
        publisher.publish("t")
        assert b"t" in fast
        world.broker.on("message", lambda client, message: None)
        publisher.publish("t")
        assert b"t" not in fast


def test_packets_that_need_a_receivers_own_form_are_not():
    for topic_filter, fields, properties in (
        ("t", {"identifier": 1}, {}),
        ("t", {"options": NO_LOCAL}, {}),
        ("$share/g/t", {}, {}),
        ("t", {}, {MAXIMUM_PACKET_SIZE: 1000}),
        ("t", {}, {TOPIC_ALIAS_MAXIMUM: 1}),
    ):
        world = World(outbound_topic_aliases=1)
        client = world.connect("c", properties=properties)
        client.subscribe(topic_filter, **fields)
        world.connect("p").publish("t")
        assert b"t" not in world.broker.fast[1], (topic_filter, fields, properties)
        client.expect_message("t")


def test_new_subscribers_are_seen_by_a_route_that_is_in_use():
    world = World()
    publisher = world.connect("p", 4)
    late = []
    for i, topic_filter in enumerate(("t/a", "t/+", "#", "$share/g/t/a", "t/a")):
        publisher.publish("t/a", b"%d" % i)
        client = world.connect("c%d" % i, 4)
        client.subscribe(topic_filter)
        late.append(client)
    publisher.publish("t/a", "all")
    assert [len(client.messages()) for client in late] == [5, 4, 3, 2, 1]
    for client in late:
        client.disconnect()
    publisher.publish("t/a", "nobody")
    publisher.expect_nothing()


def test_a_client_of_another_version_may_take_over_a_session():
    # What is passed on as it came depends on the subscriber's version.
    world = World()
    publisher = world.connect("p", 4)
    subscriber = world.connect("s", 4, clean_start=False)
    subscriber.subscribe("t")
    publisher.publish("t", "1")
    subscriber.expect_message("t", "1")
    subscriber.disconnect()
    subscriber = world.connect("s", 5, clean_start=False)
    publisher.publish("t", "2")
    subscriber.expect_message("t", "2")


def test_retain_as_published_is_per_subscription():
    world = World()
    one, two = world.connect("1"), world.connect("2")
    one.subscribe("t", options=RETAIN_AS_PUBLISHED)
    two.subscribe("t")
    world.connect("p").publish("t", "x", retain=True)
    one.expect_message("t", "x", retain=True)
    two.expect_message("t", "x", retain=False)
