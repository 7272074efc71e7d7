"""What rules cost: each one that is tried counts for a turn, so does each refusal, and what is remembered of names is bounded."""

from harness import VERSIONS, World
from port.core import TYPE_CHECKING
from port.core.wire.codec import AUTH, CONNACK, CONNECT, PINGREQ, PINGRESP, PUBACK, PUBLISH
from port.core.wire.properties import AUTHENTICATION_METHOD, RECEIVE_MAXIMUM, SESSION_EXPIRY_INTERVAL
from port.core.wire.reason_codes import SUCCESS
from port.core.auth.authenticator import Authenticator
from port.core.protocol.client_packets import encode
from rights import ALL, rules, topics, world_asking, world_with
from test_turns import TURN, begin, packet, served_in_between, subscribe_packet

if TYPE_CHECKING:
    from typing import Any

HEAPSIZE = "4m"
RULES = 40
KEEP: "dict[str, Any]" = {"clean_start": False, "properties": {SESSION_EXPIRY_INTERVAL: 1000}}


def rooms(topic="home/+/room%d/#", **fields):
    """Rules none of which says anything about a topic below `home/b`."""
    return [dict(fields, topic=topic % i) for i in range(RULES)]


def turns(world):
    """Do all turns that are left; how many that took."""
    count = 0
    while world.broker.turns.clients:
        world.broker.work()
        world.broker.flush()
        count += 1
    return count


def publishes(names, qos=0, version=5, payload=b"x"):
    """PUBLISH packets in a row."""
    fields: "dict[str, Any]" = {"type": PUBLISH, "payload": payload, "qos": qos, "properties": {}}
    return b"".join([encode(dict(fields, topic=names[i], packet_id=i + 1 if qos else 0), version) for i in range(len(names))])


def test_each_refusal_of_a_publish_counts_for_the_turn():
    for version in VERSIONS:
        for what in ("reserved", "size", "denied", "dropped by a hook"):
            for qos in (0, 1):
                world = World(message_size_limit=1) if what == "size" else world_with(*rooms()) if what == "denied" else World()
                if what == "dropped by a hook":
                    world.broker.on("message", lambda session, message: False)
                client, other = world.connect("c", version, user=b"u" if what == "denied" else None), world.connect("o")
                world.broker.turns.limit = TURN
                name = b"$x" if what == "reserved" else b"home/b"
                begin(client, publishes([name] * 100, qos, version, b"xx"))
                assert client.held and served_in_between(other) >= 100 * 40 // (TURN + 400) - 1, (version, what)
                assert [found["type"] for found in client.inbox] == [PUBACK] * (100 * qos), (version, what)
                client.inbox = []
                client.ping()
                assert not world.errors()


def test_each_rule_that_is_tried_counts_for_the_turn():
    for names in (
        [b"home/b/%d" % i for i in range(20)],
        [b"home/b/" + b"a/" * 60 + b"%d" % i for i in range(20)],
        [b"home/b/" + b"a/" * 2000 + b"%d" % i for i in range(20)],  # refused by the rules before its length is looked at
    ):
        world = world_with(*rooms())
        client = world.connect("c")
        world.broker.turns.limit = TURN
        begin(client, publishes(names, 1))
        assert client.held and turns(world) >= 20 * RULES * 3 // TURN // 2
        assert [found["code"] for found in client.inbox] == [0x87] * 20
    client.inbox = []
    begin(client, subscribe_packet([b"home/b/%d" % i for i in range(20)]))
    assert turns(world) >= 9  # two filters each
    assert client.inbox[0]["codes"] == b"\x87" * 20


def test_an_allowed_name_that_is_too_long_ends_the_connection_and_a_denied_one_does_not():
    world = world_with({"topic": "a/#"}, max_topic_levels=4)
    client = world.connect("c")
    client.publish("b/1/2/3/4", "x", 1, 0x87)
    client.send_publish("a/1/2/3/4", "x", 1, 7)
    client.expect_close(0x90)


def test_the_rules_of_receivers_count_for_who_publishes():
    for topic_filter in ("#", "$share/g/#"):
        world = world_with({"topic": "#", "user": "p"}, *(rooms("home/%%c/%d/#") + [{"topic": "#", "actions": ["subscribe_only"]}]))
        for i in range(20):
            world.connect("c%d" % i, user=b"u").subscribe(topic_filter)
        publisher = world.connect("p", user=b"p")
        world.broker.turns.limit = TURN
        begin(publisher, publishes([b"a/%d" % i for i in range(8)]))
        assert publisher.held and turns(world) == 7  # 20 times 41 rules are more than a turn


def test_the_rules_for_retained_messages_count_for_who_subscribes():
    world = world_with(*(rooms() + [ALL]))
    publisher, client = world.connect("p", user=b"u"), world.connect("c", user=b"u")
    for i in range(20):
        publisher.publish("home/b/%d" % i, "x", retain=True)
    world.broker.turns.limit = TURN
    begin(client, subscribe_packet([b"home/#"]))
    assert turns(world) >= 20 * 2 * RULES * 3 // (TURN + 400)  # those of the source and those of the receiver
    client.inbox.pop(0)
    assert len(client.messages()) == 20


class Again(Authenticator):
    """An authentication method after which a client has, by turns, one or the other rules."""

    method = b"AGAIN"

    def __init__(self, *tables):
        self.tables = list(tables)

    def exchange(self, client, data):
        self.tables.append(self.tables.pop(0))
        client.rules = rules(*self.tables[0])
        return SUCCESS, None


def test_a_reauthentication_looks_at_subscriptions_where_the_rights_have_changed():
    properties = {AUTHENTICATION_METHOD: b"AGAIN"}
    rounds: "list[int]" = []
    for tables in ([rooms() + [ALL]], [rooms() + [ALL], [ALL] + rooms()]):
        world = World()
        world.broker.authenticators.append(Again(*tables))
        client = world.connect("c", properties=properties)
        for i in range(30):
            client.subscribe("a/%d" % i)
        world.broker.turns.limit = TURN
        begin(client, encode({"type": AUTH, "code": 0x19, "properties": properties}, 5) * 10)
        rounds.append(turns(world))
        for _ in range(10):
            client.expect(AUTH, code=0)
        client.ping()
        assert len(world.session("c").subscriptions) == 30
    assert rounds[1] >= rounds[0] + 3  # those with many rules a turn each


def test_what_is_lost_through_several_groups_goes_to_others():
    world = world_with({"topic": "#", "address": "127.0.0.1"}, {"topic": "b/#"}, anonymous="all")
    client = world.connect("c", user=b"u", **KEEP)
    for topic_filter in ("$share/g/a/1", "$share/h/a/2", "b/#"):
        client.subscribe(topic_filter, 1)
    client.lose()
    heir = world.connect("heir", user=b"u")
    for topic in ("a/1", "b/1", "a/2"):
        heir.publish(topic, "x", 1)
    heir.subscribe("$share/g/a/1", 1)
    heir.subscribe("$share/h/a/2", 1)
    heir.expect_nothing()
    again = world.connect("c", address="127.0.0.2:1", user=b"u", **KEEP)
    assert topics(heir) == ["a/1", "a/2"] and topics(again) == ["b/1"]
    assert list(world.session("c").subscriptions) == [b"b/#"]


def random_filters(choose, count):
    found = []
    for _ in range(count):
        levels = [(b"a", b"b", b"c", b"+")[choose(4)] for _ in range(1 + choose(3))]
        if not choose(4):
            levels.append(b"#")
        found.append(b"/".join(levels))
    return found


def test_what_came_through_a_lost_subscription_alone_does_not_wait_any_longer():
    """For filters of all kinds, what a comparison of each message with each filter says."""
    from port.core.wire.topics import matches

    seed = [7]

    def choose(below):
        seed[0] = seed[0] * 1103515245 + 12345 & 0x7FFFFFFF
        return (seed[0] >> 8) % below

    names = [b"/".join(levels) for levels in ([b"a"], [b"a", b"b"], [b"b", b"a", b"c"], [b"c", b"c"], [b"b", b"b", b"b", b"b"])]
    gone = stayed = 0
    for _ in range(30):
        lost = [found for found in random_filters(choose, 4) if found[0] != 43]
        left = [found for found in random_filters(choose, 4) if found not in lost]
        tables = [{"topic": str(found, "utf-8"), "address": "127.0.0.1"} for found in lost]
        kept = [{"topic": str(found, "utf-8"), "actions": ["subscribe"]} for found in left]
        world = world_with(*(kept + tables + [{"topic": "#", "actions": ["publish", "receive"]}]), anonymous="all")
        client = world.connect("c", user=b"u", **dict(KEEP, properties={SESSION_EXPIRY_INTERVAL: 1000, RECEIVE_MAXIMUM: 1}))
        for topic_filter in lost + left:
            client.subscribe(str(topic_filter, "utf-8"), 1)
        publisher = world.connect("p", user=b"u")
        for name in names:
            publisher.publish(str(name, "utf-8"), "x", 1, 0x10 if not any([matches(f, name) for f in lost + left]) else 0)
        client.lose()
        again = world.connect("c", address="127.0.0.2:1", user=b"u", **KEEP)
        subscriptions = list(world.session("c").subscriptions)
        expected = []
        for name in names:
            if any([matches(f, name) for f in lost + left]):
                if any([matches(f, name) for f in subscriptions]):
                    expected.append(str(name, "utf-8"))
                    stayed += 1
                else:
                    gone += 1
        assert topics(again) == expected, (lost, left)
        assert not world.errors()
    assert gone and stayed


def test_filters_are_not_compared_with_each_message_that_waits():
    import port.core.acl.acl

    acl: "Any" = port.core.acl.acl
    compared = [0]
    before = acl.matches

    def counted(topic_filter, name):
        compared[0] += 1
        return before(topic_filter, name)

    world = world_with({"topic": "#", "address": "127.0.0.1"}, {"topic": "pub/#"}, anonymous="all")
    client = world.connect("c", user=b"u", **KEEP)
    client.subscribe("#", 1)
    for i in range(50):
        client.subscribe("pub/%d/x" % i, 1)
        client.subscribe("pub/+/%d" % i, 1)
    client.lose()
    publisher = world.connect("p", user=b"u")
    for i in range(40):
        publisher.publish("pub/%d/%s" % (i, "x" if i & 1 else "y"), "x", 1)
    acl.matches = counted
    try:
        again = world.connect("c", address="127.0.0.2:1", user=b"u", **KEEP)
    finally:
        acl.matches = before
    assert compared[0] < 400  # each filter with the rules, and not 40 times 101
    assert topics(again) == ["pub/%d/x" % i for i in range(1, 40, 2)]


def test_an_authorizer_that_answers_at_once_is_asked_in_turns():
    world, authorizer = world_asking()
    authorizer.ask = lambda client, action, topic: client.authorized(action, topic, 6, 60000)
    client = world.connect("c", user=b"u")
    world.broker.turns.limit = TURN
    begin(client, publishes([b"t/%d" % i for i in range(50)]))
    assert client.held and turns(world) >= 50 * 60 // (TURN + 100)


# -- what is remembered ----------------------------------------------------------------------------------


def remembered(access):
    """Topic names in all tables of an Access."""
    return sum([len(table) for table in access.fast + access.granted + (access._publish, access._receive)])


def test_names_are_remembered_for_a_client_while_it_is_there():
    for own in (False, True):
        world = world_with(*([{"topic": "%c/#"}, {"topic": "all/#"}] if own else [ALL]), route_cache=1000)
        client = world.connect("c", user=b"u", **KEEP)
        client.subscribe("c/#", 1)
        for i in range(100):
            client.publish("c/%d" % i, "x")
            client.publish("no/%d" % i, "x")
            client.publish("c/%s%d" % ("x" * 130, i), "x")
        access = world.session("c").access
        if own:  # there can be one for each client
            assert 0 < remembered(access) <= 6 * 64
            assert max([len(name) for table in access.fast + (access._publish, access._receive) for name in table]) <= 128
        else:
            assert len(access._publish) == 300
        client.lose()
        assert not remembered(access)
        again = world.connect("c", user=b"u", **KEEP)
        again.publish("c/1", "x", 1)
        assert remembered(world.session("c").access)


def test_names_stay_remembered_for_others_with_the_same_rights():
    world = world_with(ALL, route_cache=1000)
    client, other = world.connect("c", user=b"u", **KEEP), world.connect("o", user=b"u", **KEEP)
    for i in range(100):
        client.publish("%d" % i, "x", 1, 0x10)
    access = world.session("c").access
    client.lose()
    assert remembered(access) >= 100
    other.lose()
    assert remembered(access) >= 100  # as many as the rules there are allow
    world.broker.end_client("c")
    again = world.connect("o", user=b"u", **KEEP)
    again.lose()
    assert not remembered(access)


# -- a session that goes on under other rights -----------------------------------------------------------


def connect_packet(client_id=b"c", version=5):
    """A CONNECT for a session that stays."""
    fields: "dict[str, Any]" = {"type": CONNECT, "client_id": client_id, "keep_alive": 0, "user": b"u", "password": b""}
    return encode(dict(fields, **KEEP), version)


def world_of_moves():
    """A world in which a client that is away may have less from elsewhere: (world, a client there that serves as the other)."""
    tables = rooms(actions=["subscribe_only"]) + [{"topic": "#", "address": "127.0.0.1"}, {"topic": "a/#"}]
    world = world_with(*tables, anonymous="all", max_subscriptions=100)
    client = world.connect("c", user=b"u", **KEEP)
    for i in range(30):
        client.subscribe("a/%d" % i, 1)
        client.subscribe("b/%d" % i, 1)
    client.lose()
    other = world.connect("o", user=b"u")
    for topic in ("a/1", "b/1", "a/2"):
        other.publish(topic, "x", 1)
    world.broker.turns.limit = TURN
    return world, other


def test_other_rights_are_settled_in_turns_before_the_session_goes_on():
    world, other = world_of_moves()
    again = world.client(5, "127.0.0.2:1")
    begin(again, connect_packet() + packet(PINGREQ))
    rounds = 0
    while not again.inbox:
        assert again.held and len(world.session("c").subscriptions) == 60  # nothing is lost before the client is let in
        begin(other, packet(PINGREQ))
        other.expect(PINGRESP)
        world.broker.work()
        world.broker.flush()
        rounds += 1
    assert rounds >= 60 * RULES * 3 // (TURN + 200)
    world.settle()
    again.expect(CONNACK, code=0, session_present=True)
    assert [found["type"] for found in again.inbox if found["type"] != PUBLISH] == [PINGRESP]
    again.inbox = [found for found in again.inbox if found["type"] == PUBLISH]
    assert topics(again) == ["a/1", "a/2"]
    assert sorted(world.session("c").subscriptions) == sorted([b"a/%d" % i for i in range(30)])
    assert not world.errors()


def test_a_client_that_goes_or_comes_again_while_its_rights_are_settled():
    for what in ("lost", "again", "rules", "subscribes", "ends"):
        world, other = world_of_moves()
        if what == "subscribes":
            there = world.connect("c", user=b"u", **KEEP)
            there.messages()
        again = world.client(5, "127.0.0.2:1")
        begin(again, connect_packet())
        world.broker.work()
        assert again.held and not again.inbox
        if what == "lost":
            again.lose()
        elif what == "again":
            begin(world.client(5, "127.0.0.1:9"), connect_packet())
        elif what == "rules":
            world.broker.set_acl(rules({"topic": "b/#"}))
            world.broker.rights_changed()
        elif what == "subscribes":
            begin(there, subscribe_packet([b"b/x", b"a/x"], 7, 1))
        elif what == "ends":
            world.broker.end_client("c")
        world.settle()
        subscriptions = world.session("c").subscriptions if world.session("c") else {}
        if what == "lost":
            assert len(subscriptions) == 60
        elif what == "rules":
            assert sorted(subscriptions) == sorted([b"b/%d" % i for i in range(30)])
        elif what == "ends":
            assert not subscriptions
            again.expect(CONNACK, code=0, session_present=False)
        else:
            assert b"b/x" not in subscriptions and (b"a/x" in subscriptions) == (what == "subscribes"), what
            assert len(subscriptions) == (31 if what == "subscribes" else 30), what
        begin(other, packet(PINGREQ))
        assert not world.errors()
