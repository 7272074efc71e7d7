"""Answers that come late, never, or from somebody who is not asked any more; and what is asked again at a resumption."""

from disk import Disk, restart
from harness import VERSIONS, World
from port.core import TYPE_CHECKING
from port.core.constants import ALLOWED, DENIED, MAY_PUBLISH, MAY_SUBSCRIBE
from port.core.wire import codec
from port.core.wire.codec import AUTH, CONNACK, SUBACK
from port.core.wire.properties import AUTHENTICATION_DATA, AUTHENTICATION_METHOD, RECEIVE_MAXIMUM, SESSION_EXPIRY_INTERVAL
from port.core.limits.listener import Listener
from port.core.auth.allow_deny import AllowAll, DenyAll
from port.core.auth.authenticator import PENDING, Authenticator
from port.core.acl.acl import Acl
from rights import change, rules, topics, will, world_asking

if TYPE_CHECKING:
    from typing import Any

KEEP = {SESSION_EXPIRY_INTERVAL: 1000}


class Slow(Authenticator):
    """Leaves everything open, and keeps the clients to decide on."""

    def __init__(self):
        self.clients = []

    def authenticate(self, client, user, password):
        self.clients.append(client)
        return PENDING


def slow_world(*row, **options):
    """(world, its slow authenticator, a client about whom it is asked, its listener)."""
    world = World(anonymous="none", **options)
    slow = Slow()
    listener = world.broker.add_listener(Listener("x", "tcp", world.broker.options, list(row) + [slow]))
    client = world.client(listener=listener)
    client.connect("c", user=b"u")
    assert client.held and len(slow.clients) == 1
    return world, slow, client, listener


# -- no answer at all -----------------------------------------------------------------------------------


def test_an_authorizer_that_never_answers():
    for version in VERSIONS:
        for what in ("PUBLISH", "SUBSCRIBE", "will"):
            world, authorizer = world_asking(auth_timeout=20)
            other = world.connect("o", version, user=b"o")
            client = world.client(version)
            client.connect("c", user=b"u", keep_alive=5, will=will(b"w") if what == "will" else None)
            if what == "PUBLISH":
                client.send_publish("t", "x")
            elif what == "SUBSCRIBE":
                client.say(codec.SUBSCRIBE, packet_id=1, filters=[(b"t", 0)])
            assert client.held
            world.advance(19000)
            assert not client.closed
            world.advance(2000)
            if what == "will":
                client.expect(CONNACK, code=0x89 if version == 5 else 3)
                assert client.closed
            else:
                client.expect_close(0x89)
            assert world.broker.counters.auth_timeouts == 1
            authorizer.answer(ALLOWED)
            assert world.session("c") is None and not world.errors()
            other.ping()


def test_each_answer_has_its_time_and_none_is_needed_after_the_last():
    world, authorizer = world_asking(auth_timeout=20)
    client = world.connect("c", user=b"u", keep_alive=10)
    for _ in range(3):
        client.say(codec.SUBSCRIBE, packet_id=1, filters=[(b"a", 0), (b"b", 0)])
        for _ in range(2):
            world.advance(15000)
            authorizer.answer(ALLOWED, 0)
        client.expect(SUBACK)
        world.advance(9000)
        client.ping()
    world.advance(21000)
    client.expect_close(0x8D)
    quiet = world.connect("q", user=b"u", keep_alive=0)
    quiet.send_publish("t", "x")
    authorizer.answer(ALLOWED)
    world.advance(100000)
    quiet.ping()
    assert world.broker.counters.auth_timeouts == 0


def test_a_listener_has_a_time_of_its_own():
    world, authorizer = world_asking(auth_timeout=100)
    broker = world.broker
    short = broker.add_listener(Listener("x", "tcp", broker.options, broker.authenticators, None, {"auth_timeout": 5}))
    for listener, closed in ((short, True), (None, False)):
        client = world.connect("c", user=b"u", listener=listener)
        client.send_publish("t", "x")
        world.advance(7000)
        assert client.closed == closed


# -- who is not asked any more -----------------------------------------------------------------------------


def test_an_authenticator_that_goes_while_it_thinks_admits_nobody():
    for answer in (0, 0x87, None):
        for now, code in (([DenyAll()], 0x86), ([AllowAll()], 0), ([], 0x87)):
            world, slow, client, listener = slow_world()
            listener.authenticators = list(now)
            world.broker.rights_changed()
            client.expect(CONNACK, code=code)
            slow.clients[0].authenticated(answer)
            assert (world.session("c") is None) == (code > 0) and client.closed == (code > 0)
            assert slow.clients[0].gone and not client.inbox and not world.errors()
            if not code:
                client.ping()


def test_its_successor_is_asked_and_its_own_answer_is_for_nobody():
    world, slow, client, listener = slow_world()
    successor = Slow()
    successor.name = slow.name = "slow"
    listener.authenticators = [successor]
    world.broker.rights_changed()
    slow.clients[0].authenticated(0)
    assert client.held and not client.inbox and len(successor.clients) == 1
    successor.clients[0].authenticated(0)
    client.expect(CONNACK, code=0)
    client.ping()


def test_one_that_stays_goes_on():
    for row in ([], [Authenticator()]):
        world, slow, client, listener = slow_world(*row)
        listener.authenticators = list(listener.authenticators)
        world.broker.rights_changed()
        assert len(slow.clients) == 1 and client.held
        slow.clients[0].authenticated(0)
        client.expect(CONNACK, code=0)


def test_one_that_comes_before_it_is_asked():
    world, slow, client, listener = slow_world()
    listener.authenticators = [DenyAll(), slow]
    world.broker.rights_changed()
    client.expect(CONNACK, code=0x86)
    slow.clients[0].authenticated(0)
    assert world.session("c") is None


def test_an_authorizer_that_goes_while_it_thinks():
    for open_before in (True, False):
        world, authorizer = world_asking()
        client = world.client()
        client.connect("c", user=b"u", will=None if open_before else will(b"w"))
        if open_before:
            client.send_publish("t", "x", 1)
        seen: "list[Any]" = []
        world.broker.subscribe("#", seen.append)
        world.broker.authenticators.clear()
        world.broker.authenticators.append(DenyAll())
        world.broker.rights_changed()
        if open_before:
            client.expect_close(0x87)
        else:
            client.expect(CONNACK, code=0x86)
        authorizer.answer(ALLOWED)
        assert client.closed and not seen and world.session("c") is None


def test_a_method_that_goes_in_the_middle_of_an_exchange():
    class Talking(Authenticator):
        method = b"TALK"

        def exchange(self, client, data):
            return (0x18 if data == b"more" else 0), None

    for now, code in (([], 0x87), ([Talking()], 0x87), (None, 0)):
        world = World(anonymous="none")
        listener = world.broker.add_listener(Listener("x", "tcp", world.broker.options, [Talking()]))
        client = world.client(listener=listener)
        client.connect("c", properties={AUTHENTICATION_METHOD: b"TALK", AUTHENTICATION_DATA: b"more"})
        client.expect(AUTH, code=0x18)
        if now is not None:
            listener.authenticators = list(now)
        world.broker.rights_changed()
        if not code:
            client.say(AUTH, code=0x18, properties={AUTHENTICATION_METHOD: b"TALK", AUTHENTICATION_DATA: b"done"})
        client.expect(CONNACK, code=code)
        assert client.closed == (code > 0)


# -- a session goes on ---------------------------------------------------------------------------------------


def granted(client, authorizer, *filters, qos=1):
    """Subscribe and have it allowed."""
    for topic_filter in filters:
        client.say(codec.SUBSCRIBE, packet_id=9, filters=[(topic_filter.encode(), qos)])
        authorizer.answer(ALLOWED)
        client.expect(SUBACK, codes=bytes((qos,)))


def coming_back(world, version=5, **fields):
    client = world.client(version)
    client.connect("c", user=b"u", clean_start=False, properties=KEEP if version == 5 else {}, **fields)
    return client


def answer_all(authorizer, verdicts, ttl=60000):
    """Answer questions about subscriptions as they come; what is not listed is allowed."""
    asked = []
    while authorizer.asked:
        action, topic = authorizer.asked[0][1:]
        asked.append((action, topic))
        authorizer.answer(verdicts.get(topic, ALLOWED), ttl)
    return sorted(asked)


def test_subscriptions_are_asked_about_again_before_anything_goes_out():
    for version in VERSIONS:
        for ttl in (60000, 0):
            world, authorizer = world_asking()
            client = coming_back(world, version)
            granted(client, authorizer, "a", "b/+", "c/#", "$share/g/d", "c/both")
            client.lose()
            for topic in ("a", "b/1", "b/2", "c/1", "c/both", "d", "a"):
                world.broker.publish(topic, "x", 1)
            other = world.connect("o", version, user=b"o")
            again = coming_back(world, version)
            assert again.held and not again.inbox and not again.connack
            other.ping()
            world.broker.publish("a", "late", 1)
            asked = answer_all(authorizer, {b"a": DENIED, b"c/#": DENIED, b"d": DENIED}, ttl)
            assert asked == [(MAY_SUBSCRIBE, topic) for topic in (b"a", b"b/+", b"c/#", b"c/both", b"d")]
            again.expect(CONNACK, code=0)
            assert topics(again) == ["b/1", "b/2", "c/both"]
            session = world.session("c")
            assert sorted(session.subscriptions) == [b"b/+", b"c/both"] and session.queued_bytes == 0
            world.broker.publish("a", "x", 1)
            world.broker.publish("b/3", "x", 1)
            assert topics(again) == ["b/3"] and world.broker.counters.denied_subscriptions == 3


def test_what_was_in_flight_is_not_sent_again_without_the_right():
    for qos in (1, 2):
        world, authorizer = world_asking(store=Disk())
        client = coming_back(world)
        granted(client, authorizer, "a", "b", qos=qos)
        for topic in ("a", "b"):
            world.broker.publish(topic, "x", qos)
        client.lose()
        again = coming_back(world)
        answer_all(authorizer, {b"a": DENIED})
        again.expect(CONNACK, code=0)
        assert [(packet["topic"], packet["dup"]) for packet in again.messages()] == [(b"b", True)]
        assert not world.session("c").inflight
        assert not [key for key in world.broker.store.records if key[0] in (5, 6)]  # messages, and who gets them


def test_it_is_asked_after_a_restart_of_the_broker():
    world, authorizer = world_asking(store=Disk())
    granted(coming_back(world), authorizer, "a", "b")
    for topic in ("a", "b"):
        world.broker.publish(topic, "x", 1)
    world = restart(world)
    world.broker.authenticators.append(authorizer)
    world.broker.publish("b", "y", 1)
    again = coming_back(world)
    assert len(answer_all(authorizer, {b"a": DENIED})) == 2
    again.expect(CONNACK, code=0)
    assert topics(again) == ["b", "b"] and sorted(world.session("c").subscriptions) == [b"b"]


def test_retained_messages_that_wait_are_not_sent_without_the_right():
    world, authorizer = world_asking()
    for name in ("a/1", "a/2", "b/1", "b/2"):
        world.broker.publish(name, "x", 1, True)
    slow = dict(KEEP)
    slow[RECEIVE_MAXIMUM] = 1
    client = world.connect("c", user=b"u", clean_start=False, properties=slow)
    for topic_filter in ("b/#", "a/#"):
        client.say(codec.SUBSCRIBE, packet_id=9, filters=[(topic_filter.encode(), 1)])
        authorizer.answer(ALLOWED)
    client.lose()
    again = coming_back(world)
    answer_all(authorizer, {b"a/#": DENIED})
    again.expect(CONNACK, code=0)
    found = topics(again)
    assert found and "a/1" not in found and "a/2" not in found


def test_a_lower_quality_of_service_is_all_there_is():
    world, authorizer = world_asking()
    granted(coming_back(world), authorizer, "a", qos=2)
    again = coming_back(world)
    answer_all(authorizer, {b"a": 0})
    again.expect(CONNACK, code=0)
    world.broker.publish("a", "x", 2)
    again.expect_message("a", "x", 0)


def test_the_old_connection_goes_on_until_the_answers_have_come():
    world, authorizer = world_asking()
    old = coming_back(world)
    granted(old, authorizer, "a", "b")
    again = coming_back(world)
    world.broker.publish("a", "x", 1)
    old.expect_message("a", "x", 1)
    old.unsubscribe("b")
    old.say(codec.SUBSCRIBE, packet_id=9, filters=[(b"c", 1)])
    first, second = authorizer.asked
    assert second[1:] == (MAY_SUBSCRIBE, b"c")
    second[0].authorized(MAY_SUBSCRIBE, b"c", ALLOWED, 60000)
    old.expect(SUBACK, codes=b"\1")
    authorizer.asked.pop()
    assert {topic for _, topic in answer_all(authorizer, {b"a": DENIED, b"b": DENIED})} == {b"a", b"b"}
    old.expect_close(0x8E)
    again.expect(CONNACK, code=0)
    assert sorted(world.session("c").subscriptions) == [b"c"]  # that was asked about a moment ago


def test_with_a_will_and_answers_that_do_not_last():
    world, authorizer = world_asking()
    client = coming_back(world)
    granted(client, authorizer, "a", "b", "c")
    client.lose()
    again = coming_back(world, will=will(b"w"))
    assert authorizer.answer(ALLOWED, 0) == (MAY_PUBLISH, b"w")
    assert len(answer_all(authorizer, {}, 0)) == 3  # each once, the will not again
    again.expect(CONNACK, code=0)
    again.say(codec.SUBSCRIBE, packet_id=9, filters=[(b"a", 1)])
    assert authorizer.answer(DENIED) == (MAY_SUBSCRIBE, b"a")  # an answer without time to hold counted once
    again.expect(SUBACK, codes=b"\x87")


def test_who_never_gets_an_answer_does_not_come_back():
    world, authorizer = world_asking(auth_timeout=10)
    client = coming_back(world)
    granted(client, authorizer, "a", "b")
    client.lose()
    world.broker.publish("a", "x", 1)
    again = coming_back(world)
    authorizer.answer(DENIED)
    world.advance(12000)
    again.expect(CONNACK, code=0x89)
    assert again.closed and sorted(world.session("c").subscriptions) == [b"a", b"b"]


def test_rules_that_change_while_it_is_asked():
    world, authorizer = world_asking()
    client = coming_back(world)
    granted(client, authorizer, "a", "b")
    client.lose()
    again = coming_back(world)
    authorizer.answer(ALLOWED)
    change(world, {"topic": "a", "allow": False})
    answer_all(authorizer, {})
    again.expect(CONNACK, code=0)
    assert sorted(world.session("c").subscriptions) == [b"b"]


def test_a_clean_start_asks_nothing():
    world, authorizer = world_asking()
    granted(coming_back(world), authorizer, "a")
    world.connect("c", user=b"u").ping()
    assert not authorizer.asked


def test_another_listener_has_other_rules_for_what_is_resumed():
    world, authorizer = world_asking()
    client = coming_back(world)
    granted(client, authorizer, "a", "b")
    client.lose()
    broker = world.broker
    own = Acl(10)
    own.replace(rules({"topic": "b"}, {"topic": "#", "allow": False, "actions": ["subscribe_only"]}, {"topic": "#"}))
    other = broker.add_listener(Listener("x", "tcp", broker.options, [AllowAll()], own))
    again = world.connect("c", user=b"u", clean_start=False, properties=KEEP, listener=other)
    assert again.connack["session_present"] and sorted(world.session("c").subscriptions) == [b"b"]
