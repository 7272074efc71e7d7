"""Mount points: a prefix before all topics of a listener's clients, which they do not see."""

from disk import Disk, restart
from harness import VERSIONS, World, raises, refusal
from port.core.wire.codec import SUBACK, SUBSCRIBE
from port.core.wire.properties import (
    MESSAGE_EXPIRY_INTERVAL,
    RESPONSE_TOPIC,
    SESSION_EXPIRY_INTERVAL,
    SUBSCRIPTION_IDENTIFIER,
    TOPIC_ALIAS,
    TOPIC_ALIAS_MAXIMUM,
    WILL_DELAY_INTERVAL,
)
from port.core.limits.listener import Listener
from port.core.sessions.mount_point import find
from port.core.auth.allow_deny import AllowAll
from port.core.config.apply_config import reconfigure
from port.core.config.config import Config
from port.core.config.listener_config import ListenerConfig, new_listener
from rights import Asked, rules, topics, will

KEEP = {SESSION_EXPIRY_INTERVAL: 1000}


def mounted(world, prefix=b"a/", id="x"):
    """A listener with a mount point."""
    listener = world.broker.add_listener(Listener(id, "tcp", world.broker.options, world.broker.authenticators))
    listener.mount = find(world.broker, prefix)
    return listener


def keeping(world, listener, version=5, client_id="c", **fields):
    """A client whose session stays."""
    properties = KEEP if version == 5 else None
    return world.connect(client_id, version, listener=listener, clean_start=False, properties=properties, **fields)


def test_what_goes_in_and_out():
    for version in VERSIONS:
        for qos in (0, 1, 2):
            world = World(outbound_topic_aliases=5)
            listener = mounted(world)
            inside, outside = world.connect("in", version, listener=listener), world.connect("out", version)
            for client in (inside, outside):
                client.subscribe("#", qos)
            for _ in range(3):
                inside.publish("t/1", "x", qos)
                assert topics(inside) == ["t/1"] and topics(outside) == ["a/t/1"], (version, qos)
                outside.publish("a/t/1", "y" * 3000, qos)
                assert topics(inside) == ["t/1"] and topics(outside) == ["a/t/1"]
                outside.publish("t/1", "z", qos)
                outside.publish("a", "z", qos)
                assert topics(inside) == [] and topics(outside) == ["t/1", "a"]
            assert not world.errors()


def test_filters():
    for version in VERSIONS:
        world = World()
        client = world.connect("in", version, listener=mounted(world))
        for topic_filter in ("t", "+/u", "v/#"):
            client.subscribe(topic_filter)
        names = ("a", "a/t", "a/t/u", "a/v", "a/v/w", "t", "a/a/t", "a/$x/u", "v/w", "a/")
        for name in names:
            world.broker.publish(name, "x")
        world.broker.flush()
        assert topics(client) == ["t", "t/u", "v", "v/w", "$x/u"]
        for topic_filter in ("t", "+/u", "v/#"):
            client.unsubscribe(topic_filter)
        assert world.session("in").subscriptions == {}
        client.unsubscribe("a/t", 0x11)
        client.subscribe("a/t")
        world.broker.publish("a/t", "x")
        client.expect_nothing()


def test_shared_subscriptions():
    for version in VERSIONS:
        world = World()
        listener = mounted(world)
        one, two, outside = world.connect("1", version, listener=listener), world.connect("2", version, listener=listener), world.connect("3")
        for client in (one, two):
            client.subscribe("$share/g/t", 1)
        outside.subscribe("$share/g/t", 1)
        for _ in range(4):
            outside.publish("a/t", "x", 1)
        assert [len(client.messages()) for client in (one, two, outside)] == [2, 2, 0]
        for wrong in (b"$share/g", b"$share/g/", b"$share//t"):
            body = b"\x00\x09" + (b"\0" if version == 5 else b"") + bytes((0, len(wrong))) + wrong + b"\0"
            one.feed(bytes((0x82, len(body))) + body)
            one.expect(SUBACK, codes=bytes((refusal(version, 0x8F),)))
        one.unsubscribe("$share/g/t")
        outside.publish("a/t", "x", 1)
        assert two.payloads() == [b"x"]


def test_names_and_filters_that_are_wrong():
    """The prefix makes none of them right."""
    for version in VERSIONS:
        more = b"\0" if version == 5 else b""
        for first, body in (
            (0x30, b"\x00\x01#" + more), (0x30, b"\x00\x00" + more), (0x82, b"\x00\x01" + more + b"\x00\x01\xff\x00"),
            (0x82, b"\x00\x01" + more + b"\x00\x02#t\x00"), (0x82, b"\x00\x01" + more + b"\x00\x00\x00"),
        ):  # fmt: skip
            world = World()
            client = world.connect("in", version, listener=mounted(world))
            client.feed(bytes((first, len(body))) + body)
            client.expect_close(0x81)


def test_sys_and_other_topics_of_the_broker():
    for version in VERSIONS:
        world = World(sys_interval=1)
        client = world.connect("in", version, listener=mounted(world))
        client.subscribe("#")
        client.subscribe("$SYS/#")
        world.advance(5000)
        client.expect_nothing()
        client.publish("$SYS/x", "x", 1, 0x87)
        client.publish("$x", "x", 1, 0x87)
        client.expect_nothing()


def test_retained_messages():
    for version in VERSIONS:
        world = World()
        listener = mounted(world)
        world.broker.publish("t", "outside", retain=True)
        world.connect("p", version, listener=listener).publish("t", "inside", 1, 0x10, retain=True)
        record = world.broker.retained.get(b"a/t")
        assert record is not None and record[1] == b"inside"
        client = world.connect("in", version, listener=listener)
        client.subscribe("#")
        client.expect_message("t", "inside", retain=True)
        client.publish("t", "", retain=True)
        client.expect_message("t", "")
        assert world.broker.retained.get(b"a/t") is None and world.broker.retained.get(b"t") is not None


def test_wills():
    for version in VERSIONS:
        world = World()
        listener = mounted(world)
        outside = world.connect("out")
        outside.subscribe("#")
        world.connect("in", version, listener=listener, will=will(b"w")).lose()
        outside.expect_message("a/w", "gone")
        client = world.client(version, listener=listener)
        client.connect("in", will=will(b"$w"))
        assert client.connack["code"] == (0x87 if version == 5 else 5)


def test_topic_aliases_identifiers_and_expiry():
    world = World(outbound_topic_aliases=5)
    listener = mounted(world)
    sender = world.connect("s", listener=listener)
    client = world.connect("in", listener=listener, properties={TOPIC_ALIAS_MAXIMUM: 5})
    plain = world.connect("plain", listener=listener)
    client.subscribe("t/#", 1, identifier=7)
    plain.subscribe("t/#", 1)
    sender.publish("t/1", "1", 1, properties={TOPIC_ALIAS: 3, MESSAGE_EXPIRY_INTERVAL: 9, RESPONSE_TOPIC: b"r"})
    sender.publish("", "2", 1, properties={TOPIC_ALIAS: 3})
    first = {MESSAGE_EXPIRY_INTERVAL: 9, RESPONSE_TOPIC: b"r", TOPIC_ALIAS: 1, SUBSCRIPTION_IDENTIFIER: [7]}
    assert [(p["topic"], p["payload"], p["properties"]) for p in client.messages()] == [
        (b"t/1", b"1", first), (b"", b"2", {TOPIC_ALIAS: 1, SUBSCRIPTION_IDENTIFIER: [7]})
    ]  # fmt: skip
    assert topics(plain) == ["t/1", "t/1"]


def test_what_is_too_large_for_a_receiver_gives_away_no_alias():
    """The client never saw the packet with the alias."""
    world = World(outbound_topic_aliases=5)
    client = world.connect("in", listener=mounted(world), properties={TOPIC_ALIAS_MAXIMUM: 5, 39: 50})
    client.subscribe("#")
    for payload in (b"x" * 100, b"y"):
        world.broker.publish("a/t", payload)
    assert client.messages()[0]["topic"] == b"t"


def test_rules_and_hooks_have_the_whole_topic():
    for version in VERSIONS:
        world = World(anonymous="all")
        seen = []
        world.broker.set_acl(rules({"topic": "a/ok"}, {"topic": "other"}))
        world.broker.on("subscribe", lambda client, topic_filter, options: seen.append(topic_filter))
        client = world.connect("in", version, listener=mounted(world))
        client.subscribe("ok", 1)
        client.subscribe("other", 1, code=refusal(version, 0x87, 1))
        client.publish("ok", "x", 1)
        client.publish("other", "x", 1, 0x87)
        assert topics(client) == ["ok"] and seen == [b"a/ok"]
        world.broker.on("process_message", lambda client, message: seen.append(message.name))
        client.publish("ok", "x", 1)
        assert seen == [b"a/ok", b"a/ok"] and topics(client) == ["ok"]
        assert not world.errors()


def test_an_authorizer_is_asked_about_the_whole_topic():
    world = World()
    authorizer = Asked()
    world.broker.authenticators.append(authorizer)
    client = world.connect("in", user=b"u", listener=mounted(world))
    client.send_publish("t", "x", 1)
    assert authorizer.answer(6) == (1, b"a/t")
    client.say(SUBSCRIBE, packet_id=5, filters=[(b"$share/g/t", 1)], properties={})
    assert authorizer.answer(6) == (2, b"a/t")


def test_what_waits_for_a_session():
    for version in VERSIONS:
        world = World()
        listener = mounted(world)
        keeping(world, listener, version).subscribe("t/#", 1)
        world.session("c").conn.lost()
        world.broker.publish("a/t/1", "x", qos=1)
        client = keeping(world, listener, version)
        assert client.connack["session_present"] == (version != 3)
        packet = client.messages(False)[0]
        assert packet["topic"] == b"t/1"
        client.lose()
        client = keeping(world, listener, version)
        client.expect_message("t/1", "x", 1, dup=True)


def test_a_session_does_not_go_from_one_mount_point_to_another():
    for version in VERSIONS:
        world = World()
        one, same, other = mounted(world), mounted(world, id="y"), mounted(world, b"b/", "z")
        keeping(world, one, version).subscribe("t", 1)
        for listener, there in ((same, True), (other, False), (one, False), (None, False), (one, False)):
            world.session("c").conn.lost()
            world.broker.publish("a/t", "x", qos=1)
            client = keeping(world, listener, version)
            assert client.connack["session_present"] == (there and version != 3)
            assert topics(client) == (["t"] if there else [])
            assert (world.session("c").subscriptions != {}) == there
        other = keeping(world, other, version)  # while the other is connected
        assert client.closed and other.connack["session_present"] is False


def test_it_outlives_the_broker():
    disk = Disk()
    world = World(store=disk)
    keeping(world, mounted(world), will=will(b"w", properties={WILL_DELAY_INTERVAL: 5})).subscribe("t", 1)
    world.session("c").conn.lost()
    world.broker.publish("a/t", "x", qos=1)
    world = restart(world)
    assert world.session("c").mount.prefix == b"a/" and world.session("c").subscriptions == {b"a/t": 1}
    outside = world.connect("out")
    outside.subscribe("#")
    world.advance(6000)
    outside.expect_message("a/w", "gone")
    client = keeping(world, mounted(world))
    assert client.connack["session_present"]
    client.expect_message("t", "x", 1)
    client.lose()
    client = keeping(restart(world), None)  # the listener has none any more
    assert not client.connack["session_present"]


def test_others_keep_the_fast_path():
    for version in VERSIONS:
        world = World()
        listener = mounted(world)
        inside = world.connect("in", version, listener=listener)
        one, two = world.connect("1", version), world.connect("2", version)
        two.subscribe("t", 1)
        for qos in (0, 1):
            one.publish("t", "x", qos)
            inside.publish("t", "x", qos, 0x10 if qos else 0)
        fast = world.broker.fast[version == 5]
        assert list(fast) == [b"t"] and fast[b"t"] == (world.session("2"),)
        assert two.payloads() == [b"x", b"x"] and topics(inside) == []
        assert inside.conn.fast == {} and inside.conn.granted == {}


def test_a_configuration():
    world = World()
    listener = new_listener(world.broker, ListenerConfig({"id": "x", "mount_point": "a/b/"}), [])
    assert listener.mount.prefix == b"a/b/" and new_listener(world.broker, ListenerConfig({"id": "y"}), []).mount is None
    for wrong in ("a", "/$", "$a/", "a/#/", "+/", "a\0/"):
        text = str(raises(ValueError, ListenerConfig, {"mount_point": wrong}))
        assert text == "listener tcp: mount_point must be a topic that ends in / and does not begin with $, not %r" % wrong
    assert "type tcp or websocket or unix only" in str(raises(ValueError, ListenerConfig, {"type": "http", "mount_point": "a/"}))
    assert "must be a string" in str(raises(ValueError, ListenerConfig, {"mount_point": 1}))


def test_another_configuration_is_for_those_who_come_from_now_on():
    world = World()
    world.broker.authenticators.append(AllowAll())
    made = world.broker.authenticators
    listener = new_listener(world.broker, ListenerConfig({"id": "x", "mount_point": "a/"}), made)
    client = world.connect("c", listener=listener, user=b"u")
    client.subscribe("#")
    values = {"listener": [{"id": "x", "mount_point": "b/"}], "sys_interval": 0}
    reconfigure(world.broker, Config(values), made)
    other = world.connect("d", listener=listener, user=b"u")
    other.subscribe("#")
    client.publish("t", "1")
    other.publish("t", "2")
    assert client.payloads() == [b"1"] and other.payloads() == [b"2"]
    reconfigure(world.broker, Config({"listener": [{"id": "x"}], "sys_interval": 0}), made)
    world.connect("e", listener=listener, user=b"u").publish("a/t", "3")
    client.expect_message("t", "3")


def test_the_mount_point_itself_is_no_topic_of_theirs():
    """`#` and `+` match it, and there is no name for it."""
    for version in VERSIONS:
        world = World()
        listener = mounted(world)
        for name in ("a", "a/"):
            world.broker.publish(name, "retained", retain=True)
        client = keeping(world, listener, version)
        for topic_filter in ("#", "+", "$share/g/+"):
            client.subscribe(topic_filter, 1)
        for name in ("a", "a/"):
            world.broker.publish(name, "x", qos=1)
        client.expect_nothing()
        client.lose()
        world.broker.publish("a/t", "1", qos=1)
        for name in ("a", "a/"):
            world.broker.publish(name, "x", qos=1)
        client = keeping(world, listener, version)
        assert topics(client) == ["t", "t"]  # one through the shared subscription
        assert not world.errors()


def test_the_mount_point_itself_where_many_are_away():
    for version in VERSIONS:
        world = World()
        for client_id, listener, topic_filter in (("out", None, "a/#"), ("c", mounted(world), "#")):
            keeping(world, listener, version, client_id).subscribe(topic_filter, 1)
            world.session(client_id).conn.lost()
        for name in ("a/t", "a/", "a"):
            world.broker.publish(name, "x", qos=1)
        assert len(world.session("out").queue) == 3 and len(world.session("c").queue) == 1


def test_a_mount_point_that_was_another_for_a_while():
    world = World()
    listener = mounted(world)
    keeping(world, listener).subscribe("t", 1)
    world.session("c").conn.lost()
    listener.mount = None
    listener.mount = find(world.broker, b"b/")
    listener.mount = find(world.broker, b"a/")
    assert keeping(world, listener).connack["session_present"]
