"""Rights that are asked for: the client is held until the answer comes, everybody else is served."""

from harness import VERSIONS, refusal
from port.core import TYPE_CHECKING
from port.core.constants import ALLOWED, DENIED, MAY_PUBLISH, MAY_RETAIN, MAY_SUBSCRIBE
from port.core.wire import codec
from port.core.wire.codec import CONNACK, PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBREC, PUBREL, SUBACK
from port.core.protocol.client_packets import encode
from rights import change, rules, topics, will, world_asking

if TYPE_CHECKING:
    from typing import Any


def open_questions(authorizer):
    return [(action, topic) for _, action, topic in authorizer.asked]


def subscribe(client, *filters, packet_id=9):
    client.say(codec.SUBSCRIBE, packet_id=packet_id, filters=[(topic_filter.encode(), 1) for topic_filter in filters])


# -- PUBLISH ---------------------------------------------------------------------------------------


def test_a_publish_waits_for_its_answer():
    for version in VERSIONS:
        for verdict, allowed in (
            (ALLOWED, (True, True, True, True)), (DENIED, (False,) * 4), (0, (True, False, False, False)),
            (1, (True, True, False, False)), (MAY_RETAIN, (True, False, False, True)), (2, (True, True, True, False)),
        ):  # fmt: skip
            world, authorizer = world_asking()
            seen: "list[Any]" = []
            world.broker.subscribe("#", seen.append)
            client = world.connect("c", version, user=b"u")
            for qos, retain, may in ((0, False, allowed[0]), (1, False, allowed[1]), (2, False, allowed[2]), (0, True, allowed[3])):
                packet_id = client.send_publish("t%d%d" % (qos, retain), "x", qos, retain=retain)
                assert client.held and not client.inbox and not seen
                assert authorizer.answer(verdict) == (MAY_PUBLISH, b"t%d%d" % (qos, retain))
                assert not client.held and len(seen) == may, (version, verdict, qos, retain)
                seen.clear()
                code = 0 if may or version != 5 else 0x87
                if qos == 1:
                    client.take(PUBACK, packet_id, code)
                elif qos:
                    client.take(PUBREC, packet_id, code)
                    assert (world.session("c").received == {packet_id: True}) == may
                    if not code:
                        client.say(PUBREL, packet_id=packet_id)
                        client.take(PUBCOMP, packet_id, 0)
                client.expect_nothing()
            assert world.broker.counters.publishes_received == 4  # each once


def test_others_are_served_and_the_order_is_kept():
    world, authorizer = world_asking()
    client, other = world.connect("c", user=b"u"), world.connect("o", user=b"o")
    seen: "list[Any]" = []
    world.broker.subscribe("#", lambda message: seen.append(message.payload))
    data = b""
    for i in range(1, 7):
        fields = {"topic": b"t%d" % (i % 2), "payload": b"%d" % i, "qos": i % 2, "packet_id": i % 2 * i, "type": codec.PUBLISH}
        data += encode(fields, 5)
    client.feed(data[:-3])
    client.feed(data[-3:])  # this, and what follows, when the broker reads again
    client.say(PINGREQ)
    assert open_questions(authorizer) == [(MAY_PUBLISH, b"t1")] and client.inbox == []
    other.ping()
    other.send_publish("t1", "other")
    authorizer.asked.reverse()
    authorizer.answer(ALLOWED)
    assert seen == [b"other"] and client.held
    authorizer.answer(ALLOWED)
    assert open_questions(authorizer) == [(MAY_PUBLISH, b"t0")]
    authorizer.answer(ALLOWED)
    assert seen[1:] == [b"%d" % i for i in range(1, 6)]
    client.feed(b"")
    assert seen[1:] == [b"%d" % i for i in range(1, 7)]
    assert [packet["packet_id"] for packet in client.inbox[:3]] == [1, 3, 5]
    assert [packet["type"] for packet in client.inbox] == [PUBACK] * 3 + [PINGRESP]


def test_an_answer_holds_for_its_time_and_then_is_asked_for_again():
    world, authorizer = world_asking()
    client = world.connect("c", user=b"u")
    seen: "list[Any]" = []
    reader = world.connect("r", user=b"r")
    subscribe(reader, "t")
    authorizer.answer(ALLOWED)
    reader.expect(SUBACK, codes=b"\1")
    for ttl in (0, 500, 5000):
        client.send_publish("t", "x")
        assert authorizer.answer(ALLOWED, ttl) == (MAY_PUBLISH, b"t")
        for _ in range(3):
            if ttl:
                client.send_publish("t", "x")
        assert not authorizer.asked and not client.held
        seen += reader.messages()
        world.advance(ttl + 1)
    assert len(seen) == 1 + 4 + 4
    client.send_publish("t", "x")
    authorizer.answer(DENIED, 5000)
    client.publish("t", "x", 1, 0x87)
    assert not authorizer.asked
    reader.expect_nothing()


def test_rules_decide_first_and_for_good():
    world, authorizer = world_asking({"topic": "mine/%c"}, {"topic": "no/#", "allow": False})
    client = world.connect("c", user=b"u")
    reader = world.connect("r", user=b"r")
    subscribe(reader, "mine/c")
    authorizer.answer(ALLOWED)
    reader.inbox.clear()
    for _ in range(3):
        client.publish("mine/c", "x")
        client.publish("no/x", "x", 1, 0x87)
        client.subscribe("no/+", code=0x87)
    assert not authorizer.asked and len(reader.messages()) == 3


def test_nobody_is_asked_about_what_nobody_may():
    world, authorizer = world_asking()
    for version in VERSIONS:
        for data, code in (
            (b"\x30\5\0\3a/+", 0x81), (b"\x30\3\0\1#", 0x81), (b"\x30\3\0\1\xff", 0x81), (b"\x32\5\0\1#\0\1", 0x81),
            (b"\x30\2\0\0", 0x81),
        ):  # fmt: skip
            client = world.connect("c", version, user=b"u")
            client.feed(data if version != 5 else bytes((data[0], data[1] + 1)) + data[2:] + b"\0")
            client.expect_close(code)
    assert not authorizer.asked


def test_nobody_is_asked_about_filters_that_are_too_long():
    world, authorizer = world_asking(max_topic_length=20, max_topic_levels=4)
    for version in VERSIONS:
        client = world.connect("c", version, user=b"u")
        subscribe(client, "x" * 21, "a/b/c/d/+", "$share/g/" + "x" * 12)
        assert not client.held and not authorizer.asked
        client.expect(SUBACK, codes=bytes((refusal(version, 0x8F, 1),)) * 3)


# -- SUBSCRIBE -------------------------------------------------------------------------------------


def test_each_filter_of_a_subscribe_is_asked_for():
    for version in VERSIONS:
        world, authorizer = world_asking()
        client = world.connect("c", version, user=b"u")
        subscribe(client, "a", "b/+", "$share/g/c", "a", "d")
        for topic, verdict in ((b"a", 0), (b"b/+", DENIED), (b"c", ALLOWED), (b"d", 1)):
            assert not client.inbox and client.held
            assert authorizer.answer(verdict) == (MAY_SUBSCRIBE, topic)
        client.expect(SUBACK, packet_id=9, codes=bytes((0, refusal(version, 0x87, 1), 1, 0, 1)))
        assert sorted(world.session("c").subscriptions) == [b"$share/g/c", b"a", b"d"]
        assert world.broker.counters.denied_subscriptions == 1 and not client.held


def test_more_filters_than_are_remembered_and_answers_that_do_not_last():
    filters = ["f%d" % i for i in range(20)]
    for room, ttl, wait in ((8, 60000, 0), (100, 0, 0), (100, 1000, 400), (100, 0, 5000), (1, 0, 1000)):
        world, authorizer = world_asking(route_cache=room)
        client = world.connect("c", user=b"u")
        subscribe(client, *filters)
        for name in filters:
            world.advance(wait)
            assert authorizer.answer(DENIED if name == "f3" else ALLOWED, ttl) == (MAY_SUBSCRIBE, name.encode())
        assert not authorizer.asked
        client.expect(SUBACK, codes=bytes([0x87 if name == "f3" else 1 for name in filters]))
        subscribe(client, "f0")
        assert len(authorizer.asked) == (0 if ttl == 60000 and room > 20 else 1)


def test_delivery_is_not_asked_for():
    world, authorizer = world_asking({"topic": "secret", "allow": False, "actions": ["receive"]})
    client = world.connect("c", user=b"u")
    subscribe(client, "#")
    authorizer.answer(ALLOWED)
    client.expect(SUBACK, codes=b"\1")
    for topic in ("secret", "open"):
        world.broker.publish(topic, "x", 1)
    assert not authorizer.asked and topics(client) == ["open"]


# -- wills ---------------------------------------------------------------------------------------------


def test_the_will_is_asked_for_at_connect():
    for version in VERSIONS:
        refused = {3: 5, 4: 5, 5: 0x87}[version]
        for verdict, left, code in (
            (ALLOWED, will(b"w", qos=2, retain=True), 0), (DENIED, will(b"w"), refused), (0, will(b"w"), 0),
            (0, will(b"w", qos=1), refused), (2, will(b"w", retain=True), refused),
        ):  # fmt: skip
            world, authorizer = world_asking()
            seen: "list[Any]" = []
            world.broker.subscribe("w", seen.append)
            client = world.client(version)
            client.connect("c", user=b"u", will=left)
            client.say(codec.PUBLISH, topic=b"t", payload=b"early", qos=0)
            assert client.held and not client.inbox and world.session("c") is None
            assert authorizer.answer(verdict, 0) == (MAY_PUBLISH, b"w")
            client.expect(CONNACK, code=code)
            if code:
                assert client.closed and world.session("c") is None
                continue
            client.feed(b"")
            assert authorizer.answer(ALLOWED) == (MAY_PUBLISH, b"t")
            world.advance(10000)  # the answer on the will is long forgotten, it is not asked for again
            client.lose()
            assert len(seen) == 1 and not authorizer.asked


def test_a_will_denied_later_stays():
    world, authorizer = world_asking()
    client = world.client()
    client.connect("c", user=b"u", will=will(b"w"))
    authorizer.answer(ALLOWED, 0)
    seen: "list[Any]" = []
    world.broker.subscribe("w", seen.append)
    client.send_publish("w", "x")
    authorizer.answer(DENIED, 60000)
    client.lose()
    assert seen == []


def test_rules_that_change_while_a_will_is_asked_for():
    world, authorizer = world_asking()
    client = world.client()
    client.connect("c", user=b"u", will=will(b"w"))
    change(world, {"topic": "a", "allow": False})
    authorizer.answer(ALLOWED)
    client.expect(CONNACK, code=0)
    client.publish("a", "", 1, 0x87)


# -- who comes and goes meanwhile --------------------------------------------------------------------------


def test_a_client_that_has_gone():
    world, authorizer = world_asking()
    for leave in ("lose", "take over", "disconnect"):
        client = world.connect("c", user=b"u")
        client.send_publish("t", "x", 2)
        if leave == "lose":
            client.lose()
        elif leave == "take over":
            world.connect("c", user=b"u")
        else:
            world.broker.disconnect("c")
        assert client.closed or leave == "lose"
        client.inbox.clear()
        authorizer.answer(ALLOWED)
        assert not client.inbox and world.broker.counters.publishes_received == 0
    client = world.client()
    client.connect("d", user=b"u", will=will(b"w"))
    client.lose()
    authorizer.answer(ALLOWED)
    assert world.session("d") is None and not world.errors()


def test_answers_nobody_waits_for_change_nothing():
    world, authorizer = world_asking()
    client = world.connect("c", user=b"u")
    client.send_publish("t", "x")
    identity = authorizer.asked[0][0]
    authorizer.answer(DENIED, 0)
    for topic in (b"t", b"u"):
        identity.authorized(MAY_PUBLISH, topic, ALLOWED, 60000)
    client.send_publish("u", "x", 1)
    assert authorizer.answer(DENIED) == (MAY_PUBLISH, b"u")
    assert client.inbox.pop()["code"] == 0x87
    identity.authenticated(0x87)  # the time for that is over
    client.ping()


def test_an_answer_to_another_question_does_not_let_the_packet_pass():
    world, authorizer = world_asking()
    seen: "list[Any]" = []
    world.broker.subscribe("#", seen.append)
    client = world.connect("c", user=b"u")
    client.send_publish("t", "x", 1)
    for action, topic in ((MAY_PUBLISH, b"u"), (MAY_SUBSCRIBE, b"t"), (MAY_PUBLISH, b"#")):
        identity = authorizer.asked.pop(0)[0]
        identity.authorized(action, topic, ALLOWED, 60000)
        assert client.held and not seen and open_questions(authorizer) == [(MAY_PUBLISH, b"t")]
    authorizer.answer(ALLOWED)
    assert len(seen) == 1


def test_rights_that_change_while_a_client_waits():
    world, authorizer = world_asking()
    client = world.connect("c", user=b"u")
    client.send_publish("t", "x", 1)
    change(world, {"topic": "t", "allow": False})
    authorizer.answer(ALLOWED)  # too late, a rule decides now
    assert client.inbox.pop()["code"] == 0x87 and not client.held
    client.send_publish("u", "x", 1)
    world.broker.set_rules(world.session("c"), rules({"topic": "u"}))
    authorizer.answer(DENIED)
    assert client.inbox.pop()["code"] == 0x10 and not client.held


def test_an_authorizer_that_raises_ends_the_connection():
    world, authorizer = world_asking()
    client = world.connect("c", user=b"u")
    authorizer.asked = None
    client.send_publish("t", "x", 1)
    client.expect_close(0x80)
    assert len(world.errors()) == 1


def test_a_client_that_waits_is_not_taken_for_silent():
    world, authorizer = world_asking(auth_timeout=100)
    client = world.connect("c", user=b"u", keep_alive=10)
    client.send_publish("t", "x", 1)
    world.advance(60000)
    authorizer.answer(ALLOWED)
    client.expect(PUBACK)
    world.advance(10000)
    client.ping()
    world.advance(30000)
    client.expect_close(0x8D)
