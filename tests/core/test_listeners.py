"""What a listener has of its own: limits, rules, authenticators, figures; and the limits of single clients."""

from harness import VERSIONS, World, raises
from port.core import TYPE_CHECKING
from port.core.wire.properties import (
    MAXIMUM_PACKET_SIZE,
    MAXIMUM_QOS,
    RECEIVE_MAXIMUM,
    RETAIN_AVAILABLE,
    SERVER_KEEP_ALIVE,
    SESSION_EXPIRY_INTERVAL,
    SHARED_SUBSCRIPTION_AVAILABLE,
    SUBSCRIPTION_IDENTIFIER_AVAILABLE,
    TOPIC_ALIAS_MAXIMUM,
    WILDCARD_SUBSCRIPTION_AVAILABLE,
)
from port.core.limits.listener import Listener
from port.core.limits.options import GLOBAL, TABLE, Options
from port.core.acl.acl import Acl
from port.core.protocol.client_packets import encode
from rights import Users, change, rules, world_with

if TYPE_CHECKING:
    from typing import Any

KEEP = {SESSION_EXPIRY_INTERVAL: 0xFFFFFFFF}


def listener_of(world, acl=None, authenticators=(), **overrides):
    broker = world.broker
    own = None
    if acl is not None:
        own = Acl(100)
        own.replace(rules(*acl))
    return broker.add_listener(Listener("special", "tcp", broker.options, list(authenticators), own, overrides))


# -- limits ------------------------------------------------------------------------------------------


def oversized(client):
    client.send_publish("t", "x" * 300)
    client.expect_close(0x95)


def second_filter(client):
    client.subscribe("a")
    client.subscribe("b", code=0x97)


def deep_filter(client):
    client.subscribe("a/b")
    client.subscribe("a/b/c", code=0x8F)
    client.subscribe("$share/g/a", code=0x8F)


def long_filter(client):
    client.subscribe("a" * 10)
    client.subscribe("a" * 11, code=0x8F)


def no_wildcards(client):
    client.subscribe("a/#", code=0xA2)


def no_shares(client):
    client.subscribe("$share/g/a", code=0x9E)


def no_identifiers(client):
    client.say(8, packet_id=1, filters=[(b"a", 0)], properties={11: 1})
    client.expect_close(0xA1)


def low_qos(client):
    client.subscribe("a", 2, code=1)
    client.send_publish("a", "x", 2)
    client.expect_close(0x9B)


def no_retain(client):
    client.send_publish("a", "x", 0, retain=True)
    client.expect_close(0x9A)


def no_aliases(client):
    client.send_publish("a", "x", 0, properties={35: 1})
    client.expect_close(0x94)


def few_unreleased(client):
    for i in range(2):
        client.send_publish("a", "x", 2)
    client.inbox.clear()
    client.send_publish("a", "x", 2)
    client.expect_close(0x93)


def one_in_flight(client):
    client.subscribe("a", 1)
    for _ in range(3):
        client.world.broker.publish("a", "x", 1)
    assert len(client.inbox) == 1
    assert len(client.messages()) == 3


def short_queue(client):
    client.subscribe("a", 1)
    client.stop_reading()
    client.conn.pause_writing()
    for i in range(5):
        client.world.broker.publish("a", "%d" % i, 1)
    client.go_on_reading()
    assert client.payloads() == [b"3", b"4"]


def short_sessions(client):
    client.disconnect()
    client.world.advance(8000)
    assert client.world.session("c") is None


def keep_alive(client):
    client.world.advance(20000)
    client.expect_close(0x8D)


def test_turns_of_a_group_whose_members_came_through_several():
    world = World()
    some = listener_of(world, ({"topic": "t", "allow": False}, {"topic": "#"}), max_topic_length=10)
    one, two = world.connect("1"), world.connect("2", listener=some)
    free, short = world.connect("3"), world.connect("4", listener=some)
    for client in (one, two):
        client.subscribe("$share/g/#", code=0)
    for topic in (b"t", b"long/enough"):
        data = encode({"type": 3, "topic": topic}, 5)
        free.feed(data * 6)
        assert [len(client.messages()) for client in (one, two)] == ([6, 0] if topic == b"t" else [3, 3])
    short.feed(data)
    short.expect_close(0x90)


# Options of the listener, what the CONNACK says of it, what happens.
LIMITS: "tuple[tuple[dict[str, Any], dict[int, Any], Any], ...]" = (
    ({"max_packet_size": 200}, {MAXIMUM_PACKET_SIZE: 200}, oversized),
    ({"max_subscriptions": 1}, {}, second_filter),
    ({"max_topic_levels": 2}, {}, deep_filter),
    ({"max_topic_length": 10}, {}, long_filter),
    ({"wildcard_subscriptions": False}, {WILDCARD_SUBSCRIPTION_AVAILABLE: 0}, no_wildcards),
    ({"shared_subscriptions": False}, {SHARED_SUBSCRIPTION_AVAILABLE: 0}, no_shares),
    ({"subscription_identifiers": False}, {SUBSCRIPTION_IDENTIFIER_AVAILABLE: 0}, no_identifiers),
    ({"max_qos": 1}, {MAXIMUM_QOS: 1}, low_qos),
    ({"retain_available": False}, {RETAIN_AVAILABLE: 0}, no_retain),
    ({"topic_alias_maximum": 0}, {TOPIC_ALIAS_MAXIMUM: None}, no_aliases),
    ({"receive_maximum": 2}, {RECEIVE_MAXIMUM: 2}, few_unreleased),
    ({"max_inflight": 1}, {}, one_in_flight),
    ({"max_queued_messages": 2, "queue_full": "oldest"}, {}, short_queue),
    ({"max_session_expiry": 5}, {SESSION_EXPIRY_INTERVAL: 5}, short_sessions),
    ({"max_keep_alive": 10}, {SERVER_KEEP_ALIVE: 10}, keep_alive),
)


def test_limits_of_a_listener_and_of_single_clients():
    for overrides, told, happens in LIMITS:
        for single in (False, True):
            world = world_with()
            listener = None
            if single:
                world.broker.client_limits = [(b"somebody", None, {"max_qos": 0}), (b"u*", b"c", overrides)]
                other = world.connect("d", user=b"u")
            else:
                listener = listener_of(world, **overrides)
                other = world.connect("d", user=b"u")
            client = world.connect("c", user=b"u", listener=listener, properties=KEEP)
            for identifier in told:
                assert client.connack["properties"].get(identifier) == told[identifier], (overrides, single)
                assert other.connack["properties"].get(identifier) != told[identifier], (overrides, single)
            happens(client)
            other.publish("a/b/c/d/e/f", "x" * 1000, 2)  # what is another's is not touched
            assert not world.errors()


def test_limits_before_anybody_is_known_are_the_listeners():
    world = World(connect_timeout=100, max_connect_size=1000)
    listener = listener_of(world, connect_timeout=3, max_connect_size=100)
    slow, other = world.client(listener=listener), world.client()
    world.advance(4000)
    slow.expect_close()
    other.connect("o", user=b"x" * 500)
    assert other.connack["code"] == 0
    large = world.client(listener=listener)
    large.feed(encode({"type": 1, "client_id": b"c", "user": b"x" * 500}, 5)[:50])
    large.expect_close()
    old = world.client(4, listener=listener_of(world, accept_protocol_versions=[3, 5]))
    old.connect("c")
    assert old.connack["code"] == 1 and world.connect("c", 4)


def test_connections_of_a_listener():
    for version, code in ((3, 3), (4, 3), (5, 0x97)):
        world = world_with(max_connections=4)
        listener = listener_of(world, None, world.broker.authenticators, max_connections=2)

        def try_one(client_id, through=listener):
            client = world.client(version, listener=through)
            client.connect(client_id, clean_start=False, properties=KEEP if version == 5 else {}, user=b"u")
            return client, client.connack["code"]

        one, two = try_one("1")[0], try_one("2")[0]
        assert try_one("3")[1] == code and listener.connected == 2
        one.lose()  # its session is kept, and does not count
        three, found = try_one("3")
        assert found == 0 and world.session("1") is not None
        assert try_one("1")[1] == code
        assert try_one("2")[1] == 0 and two.closed  # who takes over needs no other place
        assert listener.connected == 2
        assert try_one("4", None)[1] == 0
        assert try_one("4")[1] == code  # from another listener it does
        assert not three.closed and world.session("4").conn is not None
        assert try_one("5", None)[1] == 0
        assert try_one("6", None)[1] == code  # the broker is full
        assert try_one("5", None)[1] == 0
        assert world.broker.connected == 4


def test_limits_of_the_whole_broker_are_no_listeners():
    values = Options().values()
    for name in GLOBAL:
        error = raises(ValueError, Listener, "x", "tcp", Options(), [], None, {name: values[name]})
        assert str(error) == "listener x: %s holds for the whole broker, set it there" % name
    for row in TABLE:
        if row[0] not in GLOBAL:
            assert Listener("x", "tcp", Options(), [], None, {row[0]: values[row[0]]}).options.values() == values


def test_wrong_overrides_are_named():
    for overrides, text in (
        ({"max_qos": 3}, "listener x: max_qos must be from 0 to 2, not 3"),
        ({"max_qos": "1"}, "listener x: max_qos must be a whole number, not '1'"),
        ({"max_quality": 1}, "listener x: unknown option max_quality"),
        ({"rate_exceeded": "drop"}, "listener x: rate_exceeded must be one of delay, disconnect, not 'drop'"),
    ):
        assert str(raises(ValueError, Listener, "x", "tcp", Options(), [], None, overrides)) == text


def test_other_options_of_the_broker_reach_the_listener():
    options = Options()
    listener = Listener("x", "tcp", options, [], None, {"max_qos": 1})
    options.assign(Options(max_qos=0, max_inflight=5))
    listener.inherit(options)
    assert listener.options.max_qos == 1 and listener.options.max_inflight == 5
    listener.overrides = {"max_sessions": 1}
    raises(ValueError, listener.inherit, options)


def test_which_limits_hold_for_a_client():
    def quality(limits, client_id, user, listener_limits):
        world = world_with()
        world.broker.client_limits = limits
        return world.connect(client_id, user=user, listener=listener_of(world, [{"topic": "#"}], world.broker.authenticators,
                             **listener_limits)).connack["properties"].get(MAXIMUM_QOS)  # fmt: skip

    first = [(b"u*", b"c*", {"max_qos": 0}), (b"u", None, {"max_qos": 1}), (None, b"d", {"max_inflight": 1})]
    for client_id, user, expected in (
        ("c1", b"u1", 0), ("d", b"u1", 1), ("d", b"u", 1), ("c", b"u", 0), ("d", b"v", 1), ("e", b"v", 1), ("c", None, 1),
    ):  # fmt: skip
        assert quality(first, client_id, user, {"max_qos": 1}) == expected, (client_id, user)
    assert quality([(b"", None, {"max_qos": 0})], "c", None, {}) == 0
    assert quality([(b"", None, {"max_qos": 0})], "c", b"u", {}) is None
    assert quality([(b"u", None, {"max_inflight": 1})], "c", b"u", {"max_qos": 1}) == 1  # the rest is the listener's


# -- rules, authenticators, figures ---------------------------------------------------------------------


def test_a_listeners_rules_stand_in_place_of_the_brokers():
    for version in VERSIONS:
        world = world_with({"topic": "broker"})
        listener = listener_of(world, [{"topic": "listener"}], world.broker.authenticators)
        free = listener_of(world, [{"topic": "#"}], world.broker.authenticators)
        shut = listener_of(world, [], world.broker.authenticators)
        no = 0x87 if version == 5 else 0x80
        for through, topic, code in (
            (None, "broker", 0), (None, "listener", no), (listener, "listener", 0), (listener, "broker", no), (free, "any", 0),
            (shut, "broker", no), (shut, "any", no),
        ):  # fmt: skip
            client = world.connect("c", version, user=b"u", listener=through)
            client.subscribe(topic, code=code)
        change(world, {"topic": "listener", "allow": False})
        assert not client.closed
        listener.acl.replace(rules({"topic": "other"}))
        world.connect("d", version, user=b"u", listener=listener).subscribe("listener", code=no)


def test_each_listener_asks_its_own_authenticators():
    world = World(anonymous="none")
    one, two = Users(a="1"), Users(b="2")
    world.broker.authenticators.append(one)
    listener = listener_of(world, None, [two])
    loose = listener_of(world, None, [], anonymous="all")
    for through, user, password, code in (
        (None, b"a", b"1", 0), (None, b"b", b"2", 0x86), (listener, b"b", b"2", 0), (listener, b"a", b"1", 0x86),
        (loose, b"a", b"wrong", 0), (loose, None, None, 0), (listener, None, None, 0x87),
    ):  # fmt: skip
        client = world.client(listener=through)
        client.connect((user or b"") + (b"loose" if through is loose else b"c"), user=user, password=password)
        assert client.connack["code"] == code, (user, code)
    assert world.session("aloose").user is None  # there nobody vouches for a name
    assert world.broker.all_authenticators() == [one, two]


def test_the_figures_of_listeners_and_authenticators():
    class Counting(Users):
        name = "count"

        def figures(self):
            return [("hits", 7)]

    world = World(anonymous="all")
    world.broker.authenticators.append(Counting())
    listener = listener_of(world, max_connections_per_address=1, anonymous="all")
    client = world.connect("c", listener=listener, address="10.0.0.1:1")
    for _ in range(3):
        assert world.client(5, "10.0.0.1:1", listener).conn is None
    found = {}
    for topic_filter in ("$SYS/broker/listener/#", "$SYS/broker/auth/count/#"):
        client.subscribe(topic_filter)
        for packet in client.messages():
            found[packet["topic"][12:]] = packet["payload"]
    assert found == {b"listener/special/connected": b"1", b"listener/special/refused": b"3", b"auth/count/hits": b"7"}
    client.lose()
    assert listener.connected == 0
