"""Rules in the broker: at PUBLISH, at SUBSCRIBE, at delivery, for wills, in the fast path."""

from harness import VERSIONS, World, refusal
from port.core.wire.codec import PUBACK, PUBLISH, PUBREC, SUBACK, SUBSCRIBE, UNSUBSCRIBE
from port.core.wire.properties import (
    REASON_STRING,
    RECEIVE_MAXIMUM,
    REQUEST_PROBLEM_INFORMATION,
    SESSION_EXPIRY_INTERVAL,
    TOPIC_ALIAS,
    WILL_DELAY_INTERVAL,
)
from port.core.wire.reason_codes import NOT_AUTHORIZED
from port.core.messages.message import Message
from port.core.protocol.client_packets import encode
from rights import ALL, change, rules, topics, will, world_with

WATCHER = {"topic": "#", "user": "watcher"}
OWNER = {"topic": "#", "user": "owner"}
SECRET = {"topic": "a/secret", "allow": False}
KEEP = {SESSION_EXPIRY_INTERVAL: 1000}


def watcher_of(world):
    """A client that gets everything."""
    client = world.connect("watcher", user=b"watcher")
    client.subscribe("#", 2)
    return client


# -- PUBLISH ---------------------------------------------------------------------------------


def test_what_may_not_be_published_is_answered_and_goes_nowhere():
    for version in VERSIONS:
        world = world_with(WATCHER, {"topic": "ok", "qos": 1, "retain": False})
        watcher = watcher_of(world)
        client = world.connect("c", version, user=b"u")
        count = 0
        for topic, qos, retain in (
            ("no", 0, False), ("no", 1, False), ("no", 2, False), ("ok", 2, False), ("ok", 0, True), ("ok", 1, True),
            ("$SYS/x", 1, False), ("no", 0, True),
        ):  # fmt: skip
            packet_id = client.send_publish(topic, "x", qos, retain=retain)
            count += 1
            if qos == 1:
                client.take(PUBACK, packet_id, 0x87 if version == 5 else 0)
            elif version == 5 and qos == 2:
                client.take(PUBREC, packet_id, 0x87)
                client.publish("ok", "", 1, packet_id=packet_id)  # the identifier is free again
                watcher.expect_message("ok", "", 1)
            elif qos == 2:  # the four steps tell nothing
                client.take(PUBREC, packet_id, 0)
                client.say(6, packet_id=packet_id)
                client.take(7, packet_id, 0)
            client.expect_nothing()
            watcher.expect_nothing()
        assert world.broker.counters.denied_publishes == world.broker.counters.dropped == count
        assert world.broker.retained.count == 0
        assert not world.session("c").received
        client.publish("ok", "x", 1)
        watcher.expect_message("ok", "x", 1)


def test_a_refusal_tells_why_where_the_client_wants_to_know():
    for asked, properties in ((1, {REASON_STRING: b"not authorized"}), (0, {}), (None, {})):
        wanted = {} if asked is None else {REQUEST_PROBLEM_INFORMATION: asked}
        client = world_with({"topic": "ok"}).connect("c", user=b"u", properties=wanted)
        packet_id = client.send_publish("no", "x", 1)
        client.expect(PUBACK, packet_id=packet_id, code=0x87, properties=properties)


def test_a_topic_alias_is_judged_by_its_topic():
    world = world_with(WATCHER, {"topic": "ok"})
    watcher = watcher_of(world)
    client = world.connect("c", user=b"u")
    client.publish("no", "1", 1, 0x87, properties={TOPIC_ALIAS: 1})  # sets the alias all the same
    client.publish("", "2", 1, 0x87, properties={TOPIC_ALIAS: 1})
    client.publish("", "2", 0, properties={TOPIC_ALIAS: 1})
    client.publish("ok", "3", 1, properties={TOPIC_ALIAS: 1})
    client.publish("", "4", properties={TOPIC_ALIAS: 1})
    assert watcher.payloads() == [b"3", b"4"]


# -- the fast path ------------------------------------------------------------------------------


def chunk(client, *packets):
    """Send packets in one piece."""
    client.feed(b"".join([encode(packet, client.version) for packet in packets]))


def plain(topic, payload):
    return {"type": PUBLISH, "topic": topic, "payload": payload, "qos": 0}


def subscribing(topic_filter, kind=SUBSCRIBE):
    return {"type": kind, "packet_id": 9, "filters": [(topic_filter, 0) if kind == SUBSCRIBE else topic_filter]}


def test_names_that_rules_allow_take_the_fast_path():
    """Where all receivers can take the packet as it came, see the lanes of a PUBLISH in port/README.md."""
    for version in VERSIONS:
        world = world_with({"topic": "low", "qos": 0, "actions": ["publish"]}, {"topic": "high"}, {"topic": "low"})
        receiver, client = world.connect("r", version, user=b"r"), world.connect("c", version, user=b"c")
        for topic in ("low", "high"):
            receiver.subscribe(topic, 2)
        for topic in ("low", "low", "high", "high"):
            client.publish(topic, "x")
        assert sorted(client.conn.fast) == [b"high", b"low"] and sorted(client.conn.granted) == [b"high"]
        other = world.connect("o", 4 if version == 5 else 5, user=b"o")
        other.subscribe("high")
        for topic in ("low", "high"):
            client.publish(topic, "y")
        assert sorted(client.conn.fast) == [b"low"] and not client.conn.granted
        assert receiver.payloads() == [b"x", b"x", b"x", b"x", b"y", b"y"] and other.payloads() == [b"y"]


def test_the_fast_path_sees_what_the_same_chunk_changes():
    for version in VERSIONS:
        world = world_with({"topic": "a"})
        client = world.connect("c", version, user=b"u")
        for _ in range(2):
            chunk(client, plain(b"a", b"1"), plain(b"a", b"2"), plain(b"b", b"no"), subscribing(b"a"), plain(b"a", b"3"),
                  plain(b"a", b"4"), plain(b"b", b"no"), subscribing(b"a", UNSUBSCRIBE), plain(b"a", b"5"))  # fmt: skip
            kinds = [packet["type"] for packet in client.inbox]
            assert [packet["payload"] for packet in client.inbox if packet["type"] == PUBLISH] == [b"3", b"4"], kinds
            client.inbox.clear()
        assert world.broker.counters.denied_publishes == 4


def test_the_fast_path_sees_what_others_change():
    for version in VERSIONS:
        world = world_with({"topic": "a", "user": "p", "actions": ["publish"]}, {"topic": "#", "actions": ["subscribe"]})
        publisher, other = world.connect("p", version, user=b"p"), world.connect("o", version, user=b"o")
        reader, late = world.connect("r", version, user=b"r"), world.connect("l", version, user=b"l")
        reader.subscribe("a")

        def send(payload):
            chunk(publisher, plain(b"a", payload), plain(b"a", payload))
            chunk(other, plain(b"a", b"from another"), plain(b"a", b"from another"))

        send(b"1")
        late.subscribe("+")
        send(b"2")
        assert [reader.payloads(), late.payloads()] == [[b"1", b"1", b"2", b"2"], [b"2", b"2"]]
        reader.unsubscribe("a")
        send(b"3")
        assert [reader.payloads(), late.payloads()] == [[], [b"3", b"3"]]
        reader.subscribe("a")
        send(b"4")
        change(world, {"topic": "a", "user": "p", "actions": ["publish"]}, {"topic": "a", "allow": False, "user": "l",
               "actions": ["receive"]}, {"topic": "#", "actions": ["subscribe"]})  # fmt: skip
        send(b"5")
        assert [reader.payloads(), late.payloads()] == [[b"4", b"4", b"5", b"5"], [b"4", b"4"]]
        change(world, {"topic": "#", "actions": ["subscribe"]})
        send(b"6")
        change(world, {"topic": "#", "actions": ["subscribe"]}, ALL)
        send(b"7")
        assert reader.payloads() == [b"7", b"7", b"from another", b"from another"]
        assert world.broker.counters.denied_publishes == 5 * 2 + 4


def test_a_hook_that_takes_a_right_takes_it_at_once():
    for rules_before in ((), (ALL,)):
        world = world_with(*rules_before)
        reader = world.connect("r", user=b"r")
        reader.subscribe("x")
        client = world.connect("c", user=b"u")
        chunk(client, plain(b"x", b"1"), plain(b"x", b"2"))
        world.broker.on("subscribe", lambda session, *_: world.broker.set_rules(session, rules({"topic": "#", "allow": False})))
        chunk(client, plain(b"x", b"3"), subscribing(b"q"), plain(b"x", b"4"), plain(b"x", b"5"))
        assert reader.payloads() == [b"1", b"2", b"3"]


def test_a_callback_that_takes_a_right_takes_it_at_once():
    for rules_before in ((), (ALL,)):
        world = world_with(*rules_before)
        reader, client = world.connect("r", user=b"r"), world.connect("c", user=b"u")
        reader.subscribe("x")
        chunk(client, plain(b"x", b"1"), plain(b"x", b"2"))
        denied = rules({"topic": "x", "allow": False}, ALL)
        world.broker.subscribe("admin", lambda message: world.broker.set_rules(world.session("c"), denied))
        chunk(client, plain(b"x", b"3"), plain(b"admin", b""), plain(b"x", b"4"), plain(b"x", b"5"))
        assert reader.payloads() == [b"1", b"2", b"3"]


def test_other_rights_see_what_the_same_chunk_changes():
    world = world_with(ALL)
    client = world.connect("c", user=b"u")
    chunk(client, plain(b"x", b"1"))
    world.broker.subscribe("admin", lambda message: world.broker.set_rules(world.session("c"), rules({"topic": "x"})))
    chunk(client, plain(b"admin", b""), plain(b"x", b"2"), plain(b"x", b"3"), subscribing(b"x"), plain(b"x", b"4"))
    assert [packet["payload"] for packet in client.inbox if packet["type"] == PUBLISH] == [b"4"]


def test_a_name_is_allowed_to_each_client_for_itself():
    world = world_with(WATCHER, {"topic": "own/%c"}, {"topic": "both"})
    watcher = watcher_of(world)
    clients = [world.connect("c%d" % i, user=b"u") for i in range(3)]
    for _ in range(3):
        for client in clients:
            chunk(client, *[plain(b"own/c%d" % i, client.conn.client_id) for i in range(3)])
            chunk(client, plain(b"both", client.conn.client_id))
    got = watcher.messages()
    assert len(got) == 3 * 3 * 2
    assert all([packet["topic"] in (b"both", b"own/" + packet["payload"]) for packet in got])


# -- SUBSCRIBE and delivery -----------------------------------------------------------------------


def test_each_filter_gets_its_own_answer():
    asked = (("a/1", 2), ("a/secret", 2), ("#", 1), ("a/+", 2), ("b", 2), ("$SYS/#", 0), ("$share/g/a/secret", 1), ("$share/g/b", 2))
    for version in VERSIONS:
        world = world_with(SECRET, {"topic": "a/#", "qos": 1}, {"topic": "b", "qos": 0})
        client = world.connect("c", version, user=b"u")
        client.say(SUBSCRIBE, packet_id=1, filters=[(topic_filter.encode(), qos) for topic_filter, qos in asked])
        no = [refusal(version, 0x87, qos) for _, qos in asked]
        client.expect(SUBACK, packet_id=1, codes=bytes((1, no[1], no[2], 1, 0, no[5], no[6], 0)))
        assert sorted(world.session("c").subscriptions) == [b"$share/g/b", b"a/+", b"a/1", b"b"]
        assert world.broker.counters.denied_subscriptions == 4


def test_wildcards_and_overlaps_around_a_deny():
    world = world_with(OWNER, SECRET, {"topic": "a/low", "qos": 0}, {"topic": "a/#"})
    owner, client = world.connect("o", user=b"owner"), world.connect("c", user=b"u")
    owner.publish("a/secret", "kept", 1, 0x10, retain=True)
    owner.publish("a/low", "kept", 1, 0x10, retain=True)
    for topic_filter in ("a/+", "a/#", "a/+/#"):
        client.subscribe(topic_filter, 2, identifier=7)
        found = [(packet["topic"], packet["qos"]) for packet in client.messages()]
        assert found == [(b"a/low", 0)], topic_filter
    for qos in (0, 1, 2):
        owner.publish("a/secret", "x", qos, code=0x10 if qos == 1 else 0)
        owner.publish("a/low", "x", qos)
        owner.publish("a/high", "x", qos)
    found = [(packet["topic"], packet["qos"]) for packet in client.messages()]
    assert sorted(found) == [(b"a/high", 0), (b"a/high", 1), (b"a/high", 2), (b"a/low", 0), (b"a/low", 0), (b"a/low", 0)]


def test_a_group_serves_those_who_may_receive_it():
    world = world_with(OWNER, {"topic": "a/secret", "allow": False, "user": "u"}, {"topic": "a/low", "qos": 0}, ALL)
    owner, may, may_not = world.connect("o", user=b"owner"), world.connect("m", user=b"m"), world.connect("u", user=b"u")
    for client in (may, may_not):
        client.subscribe("$share/g/a/+", 2)
    for i in range(6):
        owner.publish("a/secret", "%d" % i, 1)
        owner.publish("a/low", "%d" % i, 2)
    got, rest = may.messages(), may_not.messages()
    assert [packet["payload"] for packet in got if packet["topic"] == b"a/secret"] == [b"%d" % i for i in range(6)]
    assert [packet["topic"] for packet in rest] == [b"a/low"] * len(rest) and len(got) + len(rest) == 12
    assert all([packet["qos"] == (1 if packet["topic"] == b"a/secret" else 0) for packet in got + rest])
    may.lose()
    owner.publish("a/secret", "nobody", 1)
    may_not.expect_nothing()


def test_what_a_hook_republishes_obeys_the_rules_of_receivers():
    world = world_with(OWNER, SECRET, ALL)
    owner, client = world.connect("o", user=b"owner"), world.connect("c", user=b"u")
    for topic_filter in ("#", "a/#", "$share/g/#"):
        client.subscribe(topic_filter, 1)

    def redirect(session, message):
        if message.name == b"a/open":
            changed = Message(b"a/secret", message.payload, message.qos)
            changed.clients = [b"c"]
            return changed

    world.broker.on("message", redirect)
    owner.publish("a/open", "x", 1)
    owner.publish("a/secret", "x", 1)
    world.broker.publish("a/secret", "from the program", 1)
    client.expect_nothing()
    owner.publish("other", "x", 1)
    assert topics(client) == ["other"] * 2


def test_figures_are_for_those_who_may_see_them():
    world = world_with(ALL, {"topic": "$SYS/broker/clients/#", "user": "op", "actions": ["subscribe"]}, sys_interval=10)
    client, operator = world.connect("c", user=b"u"), world.connect("o", user=b"op")
    for topic_filter in ("$SYS/#", "$SYS/broker/version", "$SYS/+/version", "$share/g/$SYS/#"):
        client.subscribe(topic_filter, code=0x87)
        operator.subscribe(topic_filter, code=0x87)
    client.subscribe("#")
    client.subscribe("+/broker/version")
    operator.subscribe("$SYS/broker/clients/#")
    assert topics(operator)
    world.advance(20000)
    client.expect_nothing()
    assert sorted([name for name in topics(operator) if not name.startswith("$SYS/broker/clients/")]) == []
    for who in (client, operator):
        for topic in ("$SYS/broker/clients/connected", "$x", "$share/g/a"):
            who.publish(topic, "1", 1, 0x87)
    assert World().connect("c").publish("$SYS/x", "1", 1, 0x87) is None  # without any rule, too


# -- what waits, and wills ----------------------------------------------------------------------------


def test_what_is_in_flight_is_not_sent_again_without_the_right():
    for qos in (1, 2):
        world = world_with(ALL)
        properties = {SESSION_EXPIRY_INTERVAL: 1000, RECEIVE_MAXIMUM: 2}
        client = world.connect("c", user=b"u", clean_start=False, properties=properties)
        client.subscribe("a/#", qos)
        publisher = world.connect("p", user=b"p")
        for topic in ("a/1", "a/2", "a/1", "a/3"):
            publisher.publish(topic, "x", qos)
        sent = client.messages(False)
        assert [packet["topic"] for packet in sent] == [b"a/1", b"a/2"]
        change(world, {"topic": "a/1", "allow": False, "user": "u", "actions": ["receive"]}, ALL)
        client.expect_nothing()  # it still counts what it has not acknowledged
        client.lose()
        again = world.connect("c", user=b"u", clean_start=False, properties=properties)
        assert [(packet["topic"], packet["dup"]) for packet in again.messages()] == [(b"a/2", True), (b"a/3", False)]
        assert not world.session("c").inflight and not world.session("c").waiting()


def test_a_will_is_checked_when_it_is_left_and_when_it_is_published():
    for version, refused in ((3, 5), (4, 5), (5, 0x87)):
        world = world_with(WATCHER, {"topic": "ok", "qos": 1, "retain": False})
        watcher = watcher_of(world)
        for left, code in (
            (will(b"no"), refused), (will(b"ok", qos=2), refused), (will(b"ok", retain=True), refused), (will(b"$SYS/x"), refused),
            (will(b"ok", qos=1), 0),
        ):  # fmt: skip
            client = world.client(version)
            client.connect("c", user=b"u", will=left)
            assert client.connack["code"] == code, left
            assert (world.session("c") is None) == (code > 0)
        client.lose()
        watcher.expect_message("ok", "gone", 1)
        client = world.connect("c", version, user=b"u", will=will(b"ok"))
        change(world, WATCHER)
        client.lose()
        watcher.expect_nothing()


def test_a_will_that_waits_obeys_the_rules_of_its_moment():
    world = world_with(WATCHER, {"topic": "ok"})
    watcher = watcher_of(world)
    for allowed in (True, False):
        left = will(b"ok", properties={WILL_DELAY_INTERVAL: 5})
        world.connect("c", user=b"u", will=left, clean_start=False, properties=KEEP).lose()
        if not allowed:
            change(world, WATCHER)
        world.advance(6000)
        assert watcher.payloads() == ([b"gone"] if allowed else [])


def test_reasons_of_hooks_and_rules():
    world = world_with({"topic": "a", "actions": ["subscribe"]})
    seen = []

    def refuse(session, topic_filter, options):
        seen.append(topic_filter)
        return NOT_AUTHORIZED

    world.broker.on("subscribe", refuse)
    client = world.connect("c", user=b"u")
    client.subscribe("b", code=0x87)
    assert seen == []  # the rules come first
    client.subscribe("a", code=0x87)
    assert seen == [b"a"] and world.broker.counters.denied_subscriptions == 1
