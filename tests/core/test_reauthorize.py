"""Rights that change while clients are connected, or away: set_acl, set_rules, rights_changed."""

from harness import VERSIONS, World
from port.core.wire.codec import DISCONNECT, PUBREL
from port.core.wire.properties import RECEIVE_MAXIMUM, SESSION_EXPIRY_INTERVAL
from port.core.limits.listener import Listener
from port.core.messages.message import Message
from port.core.auth.allow_deny import AllowAll
from port.core.acl.acl import Acl
from rights import ALL, Users, change, rules, topics, will, world_with

KEEP = {SESSION_EXPIRY_INTERVAL: 1000}
NOT_A = {"topic": "a/#", "allow": False, "user": "u"}


def keeping(world, client_id="c", user=b"u", **fields):
    """A client whose session outlives its connection."""
    return world.connect(client_id, user=user, clean_start=False, properties=KEEP, **fields)


def ended(client, code=0x87, text=b"not authorized any more"):
    """It was disconnected with a reason code and string."""
    if client.version == 5:
        assert client.expect(DISCONNECT, code=code)["properties"] == {31: text}
    client.expect_close()


# -- who stays -----------------------------------------------------------------------------------------


def test_those_who_lose_a_subscription_are_disconnected_and_others_keep_everything():
    for version in VERSIONS:
        world = world_with(ALL)
        clients = {}
        for name, topic_filter in (("wide", "#"), ("exact", "a/1"), ("shared", "$share/g/a/1"), ("other", "b"), ("none", None)):
            clients[name] = world.connect(name, version, user=b"u")
            if topic_filter:
                clients[name].subscribe(topic_filter, 1)
        change(world, NOT_A, ALL)
        for name in clients:
            if name in ("exact", "shared"):
                ended(clients[name])
                assert world.session(name) is None
            else:
                clients[name].ping()
        publisher = world.connect("p", version, user=b"p")
        publisher.publish("a/1", "x", 1, 0x10)
        publisher.publish("b", "x", 1)
        assert [topics(clients[name]) for name in ("wide", "other", "none")] == [["b"], ["b"], []]
        change(world, NOT_A, ALL)  # nothing new
        for name in ("wide", "other", "none"):
            clients[name].ping()


def test_who_may_only_publish_less_stays():
    world = world_with(ALL)
    client = world.connect("c", user=b"u")
    client.publish("a/1", "x", 1, 0x10)
    change(world, NOT_A, ALL)
    client.publish("a/1", "x", 1, 0x87)
    change(world)  # no rule any more, everything is allowed again
    client.publish("a/1", "x", 1, 0x10)


def test_rules_that_come_and_go():
    world = world_with()
    client = world.connect("c", user=b"u")
    client.subscribe("a/1")
    client.publish("a/1", "1")
    assert client.payloads() == [b"1"]
    change(world, {"topic": "a/1", "actions": ["subscribe"]})
    client.publish("a/1", "2", 1, 0x87)
    world.broker.publish("a/1", "3")
    assert client.payloads() == [b"3"]
    change(world, {"topic": "a/1", "qos": 1})
    client.publish("a/1", "4", 2, 0x87)
    client.publish("a/1", "5", 1)
    assert client.payloads() == [b"5"]
    change(world)
    client.publish("a/1", "6", 2)
    assert client.payloads() == [b"6"]


def test_an_authenticator_does_not_know_its_client_any_more():
    for version in VERSIONS:
        world = World(anonymous="none")
        users = Users(one="1", two="2")
        world.broker.authenticators.append(users)
        one = world.connect("1", version, user=b"one", password=b"1", will=will(b"w"))
        two = world.connect("2", version, user=b"two", password=b"2")
        two.subscribe("w")
        del users.users["one"]
        world.broker.rights_changed()
        ended(one)
        two.expect_message("w", "gone")
        two.ping()


def test_an_authenticator_that_has_gone():
    world = World()
    first, second = Users(one="1"), Users(two="2")
    first.name, second.name = "first", "second"
    listener = world.broker.add_listener(Listener("x", "tcp", world.broker.options, [first, second]))
    one = world.connect("1", user=b"one", password=b"1", listener=listener)
    two = world.connect("2", user=b"two", password=b"2", listener=listener)
    again = Users(two="other")  # of the same name: it is asked in the old one's place
    again.name = "second"
    listener.authenticators = [again]
    world.broker.rights_changed()
    ended(one)
    two.ping()
    listener.authenticators = [AllowAll()]
    world.broker.rights_changed()
    ended(two)
    three = world.connect("3", user=b"three", listener=listener)
    listener.authenticators = [AllowAll()]  # another one; those without a name are not the same
    world.broker.rights_changed()
    ended(three)


def test_who_came_without_a_user_name():
    for before, after, address, stays in (
        ("all", "all", "10.0.0.1:1", True), ("all", "loopback", "10.0.0.1:1", False), ("all", "loopback", "127.0.0.1:1", True),
        ("all", "none", "127.0.0.1:1", False), ("loopback", "none", "127.0.0.1:1", False), ("all", "auto", "127.0.0.1:1", False),
    ):  # fmt: skip
        for version in VERSIONS:
            world = World(anonymous=before)
            users = Users(one="1")
            world.broker.authenticators.append(users)
            client = world.connect("c", version, address)
            known = world.connect("k", version, address, user=b"one", password=b"1")
            world.broker.options.anonymous = after
            world.broker.rights_changed()
            known.ping()
            if stays:
                client.ping()
            else:
                ended(client)


def test_authenticators_where_there_were_none():
    world = World()
    named, nameless = world.connect("1", user=b"one"), world.connect("2")
    world.broker.rights_changed()
    named.ping()
    nameless.ping()
    world.broker.authenticators.append(Users(one="1"))
    world.broker.rights_changed()
    ended(named)  # nobody has vouched for it
    ended(nameless)


# -- rules of a single client ------------------------------------------------------------------------------


def test_rules_of_one_client():
    for tables in ((), (ALL,)):
        for authenticators in ([AllowAll()], []):
            world = World()
            world.broker.authenticators += authenticators
            if tables:
                world.broker.set_acl(rules(*tables))
            client, other = world.connect("c", user=b"u"), world.connect("d", user=b"u")
            for each in (client, other):
                each.subscribe("a/+", 1)
            world.broker.set_rules(world.session("c"), rules({"topic": "a/#", "qos": 1}, {"topic": "#", "allow": False}))
            client.publish("b", "x", 1, 0x87)
            client.publish("a/2", "x", 2, 0x87)
            client.publish("a/1", "x", 1)
            other.publish("b", "x", 1, 0x10)
            assert topics(client) == topics(other) == ["a/1"]
            world.broker.rights_changed()  # they stay
            client.publish("b", "x", 1, 0x87)
            world.broker.set_rules(world.session("c"), rules({"topic": "b"}, {"topic": "#", "allow": False}))
            ended(client)
            other.ping()
            again = world.connect("c", user=b"u")
            again.publish("c", "x", 1, 0x10)  # those of the last connection


def test_rules_of_one_client_are_taken_back():
    for authenticators in ([AllowAll()], []):
        world = World()
        world.broker.authenticators += authenticators
        client = world.connect("c")
        world.broker.set_rules(world.session("c"), rules({"topic": "a"}))
        client.publish("b", "x", 1, 0x87)
        world.broker.set_rules(world.session("c"), None)
        client.publish("b", "x", 1, 0x10)
        client.lose()
    world = world_with(ALL)
    keeping(world).lose()
    world.broker.set_rules(world.session("c"), rules({"topic": "a"}))  # nobody is connected: nothing to do
    keeping(world).publish("b", "x", 1, 0x10)


def test_rights_can_change_in_the_middle_of_a_client_chunk():
    world = world_with(ALL)
    client = world.connect("c", user=b"u")
    client.subscribe("a/1", 1)

    def admin(message):
        change(world, {"topic": str(message.payload, "utf-8")})

    world.broker.subscribe("admin", admin)
    client.publish("admin", "a/1", 1, 0)
    client.publish("admin", "a/1", 1, 0x87)
    client.publish("a/1", "x", 1)
    assert topics(client) == ["a/1"]


# -- sessions without a connection, and what waits ---------------------------------------------------------------


def test_sessions_whose_clients_are_away():
    world = world_with(ALL)
    client = keeping(world)
    for topic_filter in ("a/1", "+/2", "$share/g/a/3", "b"):
        client.subscribe(topic_filter, 1)
    client.lose()
    for topic in ("a/1", "a/2", "a/3", "b", "b/2"):
        world.broker.publish(topic, "x", 1)
    change(world, NOT_A, ALL)
    session = world.session("c")
    assert sorted(session.subscriptions) == [b"+/2", b"b"] and len(session.queue) == 2
    assert session.queued_bytes == sum([entry[0].size() for entry in session.queue])
    world.broker.publish("a/2", "x", 1)
    change(world, ALL)
    world.broker.publish("a/1", "x", 1)  # what is gone is gone
    again = keeping(world)
    assert again.connack["session_present"] and topics(again) == ["b", "b/2"]


def test_who_is_away_is_judged_by_the_listener_it_came_through():
    for tables, kept in (((ALL,), [b"a/1", b"b"]), ((NOT_A, ALL), [b"b"]), ((), [])):
        world = world_with()
        broker = world.broker
        own = Acl(10)
        own.replace(rules(*tables))
        listener = broker.add_listener(Listener("own", "tcp", broker.options, broker.authenticators, None))
        for client_id in ("c", "d"):
            client = keeping(world, client_id, listener=listener if client_id == "c" else None)
            client.subscribe("a/1", 1)
            client.subscribe("b", 1)
            client.lose()
        listener.acl = own
        change(world, {"topic": "a/#"})
        assert sorted(world.session("c").subscriptions) == kept
        assert sorted(world.session("d").subscriptions) == [b"a/1"]


def test_rules_that_changed_unnoticed_hold_when_a_client_comes_back():
    world = world_with(ALL)
    client = keeping(world)
    client.subscribe("+/1", 1)
    client.lose()
    for topic in ("a/1", "b/1"):
        world.broker.publish(topic, "x", 1)
    world.broker.set_acl(rules(NOT_A, ALL))
    again = keeping(world)
    assert again.connack["session_present"] and topics(again) == ["b/1"]


def test_what_was_released_before_the_rights_went_is_brought_to_its_end():
    world = world_with(ALL)
    client = keeping(world)
    client.subscribe("a/1", 2)
    client.subscribe("b", 2)
    for topic in ("a/1", "b", "a/1"):
        world.broker.publish(topic, "x", 2)
    packets = client.messages(acknowledge=False)
    client.pubrec(packets[0])
    client.lose()
    world.broker.set_acl(rules(NOT_A, ALL))
    again = keeping(world)
    again.expect(PUBREL, packet_id=packets[0]["packet_id"])
    again.pubcomp(packets[0])
    again.expect_message("b", "x", 2, dup=True)
    again.expect_nothing()
    assert not world.session("c").inflight and not world.errors()


def test_what_is_in_flight_to_a_member_that_loses_its_group_goes_to_another():
    world = world_with(ALL)
    one = keeping(world, "1", b"one")
    one.subscribe("$share/g/a", 1)
    world.broker.publish("a", "x", 1)
    one.lose()
    two = world.connect("2", user=b"two")
    two.subscribe("$share/g/a", 1)
    world.broker.set_acl(rules({"topic": "a", "allow": False, "user": "one"}, ALL))
    again = keeping(world, "1", b"one")
    assert topics(two) == ["a"] and topics(again) == []


def test_retained_messages_that_have_not_gone_out_yet():
    world = world_with(ALL)
    for i in range(20):
        world.broker.publish("a/%d" % i if i % 2 else "b/%d" % i, "x" * 50, 1, True)
    client = world.connect("c", user=b"u", properties={RECEIVE_MAXIMUM: 1})
    client.subscribe("#", 1)
    assert len(client.inbox) == 1
    change(world, {"topic": "a/#", "allow": False, "actions": ["receive"]}, ALL)
    found = topics(client)
    assert [name for name in found[1:] if name.startswith("a/")] == [] and len(found) >= 10


def test_the_window_holds_when_rights_go():
    world = world_with(ALL)
    client = world.connect("c", user=b"u", properties={RECEIVE_MAXIMUM: 1})
    client.subscribe("#", 2)
    for topic in ("a/1", "b"):
        world.broker.publish(topic, "x", 2)
    change(world, {"topic": "a/#", "allow": False, "actions": ["receive"]}, ALL)
    world.broker.publish("b", "y", 2)  # the harness looks after the receive maximum
    assert topics(client) == ["a/1", "b", "b"]


def test_what_one_of_a_group_may_not_have_goes_to_another():
    world = world_with(ALL)
    one = keeping(world, "1", b"one")
    one.subscribe("$share/g/a/#", 1)
    one.lose()
    for topic in ("a/1", "a/2"):
        world.broker.publish(topic, "x", 1)
    two, three = world.connect("2", user=b"two"), world.connect("3", user=b"three")
    for client in (two, three):
        client.subscribe("$share/g/a/#", 1)
    lost = {"topic": "a/1", "allow": False, "actions": ["receive"]}
    change(world, dict(lost, user="one"), dict(lost, user="two"), ALL)
    assert topics(three) == ["a/1"] and topics(two) == []
    assert topics(keeping(world, "1", b"one")) == ["a/2"]


def test_sessions_are_not_counted_twice():
    world = world_with(ALL)
    for i in range(5):
        keeping(world, "c%d" % i).subscribe("a/1", 1)
    keeping(world, "away").lose()
    for tables in ((NOT_A, ALL), (ALL,), ({"topic": "b"},), (), (ALL,)):
        change(world, *tables)
        shared = world.broker.acl.shared
        assert sum([access.users for access in shared.values()]) == (len(world.broker.sessions) if tables else 0)
    for session in list(world.broker.sessions.values()):
        world.broker.session_registry.end(session)
    assert world.broker.acl.shared == {} and world.broker.router.subscriptions.count == 0


def test_the_wills_of_those_who_are_disconnected_obey_the_new_rules():
    world = world_with(ALL)
    watcher = world.connect("w", user=b"w")
    watcher.subscribe("#")
    for name, topic in (("1", b"a/will"), ("2", b"b")):
        world.connect(name, user=b"u", will=will(topic)).subscribe("a/x")
    change(world, NOT_A, ALL)
    assert topics(watcher) == ["b"]


def test_messages_of_hooks_after_a_change():
    world = world_with(ALL)
    client = world.connect("c", user=b"u")
    client.subscribe("+/1")
    world.broker.on("message", lambda session, message: Message(b"a/1", message.payload))
    world.broker.publish("b/1", "1")
    change(world, NOT_A, ALL)
    world.broker.publish("b/1", "2")
    assert client.payloads() == [b"1"]
