"""Retained messages, the store of them and the protocol (clauses 3.3.1.3 and 3.8.3.1)."""

from harness import VERSIONS, World
from port.core.wire.codec import PUBACK, PUBLISH, SUBACK, SUBSCRIBE
from port.core.wire.properties import RECEIVE_MAXIMUM, SUBSCRIPTION_IDENTIFIER, USER_PROPERTY
from port.core.messages.message import Message
from port.core.messages.retained import Retained, record

HEAPSIZE = "8m"

RETAIN_AS_PUBLISHED = 8
ONLY_IF_NEW = 16
NEVER = 32


def message(name, payload=b"x", expires=None):
    return record(Message(name, payload, 0, True, b"", expires))


def size(name, payload):
    """Bytes a message without properties counts for."""
    return Retained(1, 1).size_of((name, payload, 0, b"", None, None, None))


def payload(store, name):
    """The payload of a topic's retained message."""
    return store.get(name)[1]


# -- the store ------------------------------------------------------------------------------


def test_the_store_counts_and_replaces():
    store = Retained(10, 10000)
    assert store.put(message(b"a/b", b"12"))
    assert store.put(message(b"a", b"1"))
    assert (store.count, store.bytes) == (2, size(b"a/b", b"12") + size(b"a", b"1"))
    assert store.put(message(b"a/b", b"12345"))
    assert (store.count, store.bytes) == (2, size(b"a/b", b"12345") + size(b"a", b"1"))
    assert payload(store, b"a/b") == b"12345"
    assert store.get(b"a/b/c") is None


def test_the_store_forgets():
    store = Retained(10, 10000)
    store.put(message(b"a/b/c"))
    assert not store.remove(b"a/b")
    assert store.remove(b"a/b/c")
    assert not store.remove(b"a/b/c")
    assert (store.count, store.bytes) == (0, 0)
    assert store.root == {}  # no node stays behind


def test_the_store_refuses_what_is_too_much_but_replaces():
    store = Retained(2, size(b"a", b"x") + size(b"b", bytes(17)))
    assert store.put(message(b"a")) and store.put(message(b"b"))
    assert not store.put(message(b"c"))
    assert store.put(message(b"b", bytes(17)))
    assert not store.put(message(b"b", bytes(18)))
    assert len(payload(store, b"b")) == 17


def test_nobody_has_all_the_room():
    store = Retained(100, 1 << 20, share=75)

    def put(key, name, payload=b"x"):
        return store.put(record(Message(name, payload, 0, True), holder=store.holder(key)))

    def fill(key, most=200, payload=b"x"):
        return len([i for i in range(most) if put(key, b"%s/%d" % (key, i), payload)])

    assert fill(b"a") == 75
    assert put(b"a", b"a/0", b"other")  # what he has he may change
    assert fill(b"b") == 18  # three quarters of what is left
    assert store.put(message(b"own"))  # the broker's own has no share
    assert fill(b"c") == 4
    assert store.remove(b"a/1") and not put(b"a", b"a/1")  # others have some of it now
    for i in range(75):
        store.remove(b"a/%d" % i)
    assert fill(b"a") == 57
    assert put(b"b", b"a/3")  # it is b's from now on
    assert (store.holders[b"b"].count, store.holders[b"a"].count) == (19, 56)
    for found in store.matching(b"#"):
        store.remove(found[0])
    assert store.holders == {} and (store.count, store.bytes) == (0, 0)


def test_nobody_has_all_the_bytes():
    store = Retained(1000, 100000, share=50)
    a, b = store.holder("a"), store.holder("b")
    large = Message(b"large", bytes(40000), 0, True)
    assert store.put(record(large, holder=a))
    assert not store.put(record(Message(b"more", bytes(20000), 0, True), holder=a))
    assert not store.put(record(Message(b"large", bytes(60000), 0, True), holder=a))
    assert store.put(record(Message(b"more", bytes(20000), 0, True), holder=b))
    assert store.put(record(Message(b"large", b"", 0, True), holder=a))


def retain(client, topic):
    """The answer to a retained message."""
    client.send_publish(topic, "x", 1, retain=True)
    return client.expect(PUBACK)["code"]


def test_a_client_that_retains_all_it_can_leaves_room_for_others():
    world = World(max_retained_messages=20, anonymous="all")
    for limit, share in ((15, 75), (20, 100)):
        world.broker.retained.share = share
        greedy = world.connect("greedy", address="10.0.0.1:1")
        codes = [retain(greedy, "g/%d" % i) for i in range(25)]
        assert codes == [0x10] * limit + [0x97] * (25 - limit)
        other = world.connect("other", address="10.0.0.2:1")
        assert retain(other, "o") == (0x10 if share < 100 else 0x97)
        for name in ["o"] + ["g/%d" % i for i in range(25)]:
            other.publish(name, "", retain=True)
        assert not world.broker.retained.count


def test_what_is_above_the_limits_stays_and_can_get_smaller():
    for store in (Retained(1, 10000), Retained(10, 10)):
        for name in (b"a", b"b"):
            store.load((name, b"12345", 0, b"", None, None, None))
        assert store.count == 2
        assert not store.put(message(b"c")) and not (store.max_bytes == 10 and store.put(message(b"a", b"123456")))
        assert store.put(message(b"a", b"1234"))
        assert store.remove(b"b")
        assert payload(store, b"a") == b"1234" and store.get(b"b") is None


def test_the_store_drops_what_has_expired():
    store = Retained(10, 10000)
    store.put(message(b"a", expires=50))
    store.put(message(b"$x/b", expires=50))
    store.put(message(b"$x/c", expires=51))
    store.put(message(b"c"))
    assert store.due == 50
    assert sorted(store.expire_some(50, 100)) == [b"$x/b", b"a"]
    assert store.get(b"a") is None and store.get(b"$x/b") is None and store.get(b"$x/c") is not None
    assert store.count == 2
    assert store.due == 51 and not store.sweeping
    assert store.expire_some(51, 100) == [b"$x/c"]
    assert store.due is None


def test_what_has_expired_goes_some_at_a_time():
    store = Retained(1000, 1000000)
    for i in range(600):
        store.put(message(b"t/%d" % i, expires=10 + i % 3))
    gone: "list[bytes]" = []
    calls = 0
    while not calls or store.sweeping:
        some = store.expire_some(11, 50)
        assert len(some) <= 50
        gone += some
        calls += 1
        # What comes meanwhile is not forgotten.
        store.put(message(b"new/%d" % calls, expires=5))
    assert calls >= 8
    assert sorted([name for name in gone if name.startswith(b"t/")]) == sorted([b"t/%d" % i for i in range(600) if i % 3 < 2])
    assert store.due == 5
    while store.due is not None and store.due <= 12:
        store.expire_some(12, 50)
    assert store.count == 0 and store.due is None


# -- set, replace, clear --------------------------------------------------------------------


def test_a_new_subscriber_gets_the_last_retained_message():
    for version in VERSIONS:
        world = World()
        publisher = world.connect("p", version)
        publisher.publish("t/1", "old", retain=True)
        publisher.publish("t/1", "new", retain=True)
        publisher.publish("t/1", "live")
        subscriber = world.connect("s", version)
        subscriber.subscribe("t/#")
        subscriber.expect_message("t/1", "new", retain=True)
        subscriber.expect_nothing()


def test_an_empty_payload_clears_and_is_not_retained_itself():
    world = World()
    publisher = world.connect("p")
    watcher = world.connect("w")
    watcher.subscribe("t")
    publisher.publish("t", "x", retain=True)
    watcher.expect_message("t", "x")
    publisher.publish("t", "", retain=True)
    watcher.expect_message("t", "")  # it is delivered as any other [MQTT-3.3.1-6]
    watcher.subscribe("t")
    watcher.expect_nothing()
    assert world.broker.retained.count == 0


def test_an_established_subscription_gets_it_with_retain_0():
    for version in VERSIONS:
        world = World()
        subscriber = world.connect("s", version)
        subscriber.subscribe("t")
        world.connect("p", version).publish("t", "x", retain=True)
        subscriber.expect_message("t", "x", retain=False)


def test_retain_as_published_keeps_the_flag_of_live_messages():
    world = World()
    subscriber = world.connect("s")
    subscriber.subscribe("t", options=RETAIN_AS_PUBLISHED)
    publisher = world.connect("p")
    publisher.publish("t", "retained", retain=True)
    publisher.publish("t", "not")
    subscriber.expect_message("t", "retained", retain=True)
    subscriber.expect_message("t", "not", retain=False)


def test_the_qos_is_the_lower_of_message_and_subscription():
    world = World()
    publisher = world.connect("p")
    for qos in (0, 1, 2):
        publisher.publish("t/%d" % qos, "x", qos, code=0x10 if qos == 1 else 0, retain=True)
    for granted in (0, 1, 2):
        subscriber = world.connect("s")
        for qos in (0, 1, 2):
            subscriber.subscribe("t/%d" % qos, qos=granted)
            subscriber.expect_message("t/%d" % qos, "x", qos=min(qos, granted), retain=True)


def test_properties_and_identifier_come_with_it():
    world = World()
    user = [(b"b", b"1"), (b"a", b"2"), (b"b", b"1")]
    world.connect("p").publish("t", "x", retain=True, properties={USER_PROPERTY: user})
    subscriber = world.connect("s")
    subscriber.subscribe("t", identifier=7)
    subscriber.expect_message("t", "x", retain=True, properties={USER_PROPERTY: user, SUBSCRIPTION_IDENTIFIER: [7]})


def test_the_suback_comes_before_the_retained_messages():
    world = World()
    world.connect("p").publish("t", "x", retain=True)
    subscriber = world.connect("s")
    subscriber.say(SUBSCRIBE, packet_id=1, filters=[(b"t", 0), (b"+", 0)])
    subscriber.expect(SUBACK, codes=b"\0\0")
    # Once for each of the two subscriptions.
    subscriber.expect_message("t", "x", retain=True)
    subscriber.expect_message("t", "x", retain=True)
    subscriber.expect_nothing()


# -- retain handling ------------------------------------------------------------------------


def test_retain_handling_0_sends_at_every_subscribe():
    world = World()
    world.connect("p").publish("t", "x", retain=True)
    subscriber = world.connect("s")
    for _ in range(2):
        subscriber.subscribe("t")
        subscriber.expect_message("t", "x", retain=True)


def test_retain_handling_1_sends_only_for_a_new_subscription():
    world = World()
    world.connect("p").publish("t", "x", retain=True)
    subscriber = world.connect("s")
    subscriber.subscribe("t", options=ONLY_IF_NEW)
    subscriber.expect_message("t", "x", retain=True)
    subscriber.subscribe("t", options=ONLY_IF_NEW)
    subscriber.expect_nothing()
    subscriber.unsubscribe("t")
    subscriber.subscribe("t", options=ONLY_IF_NEW)
    subscriber.expect_message("t", "x", retain=True)


def test_retain_handling_2_never_sends():
    world = World()
    world.connect("p").publish("t", "x", retain=True)
    subscriber = world.connect("s")
    subscriber.subscribe("t", options=NEVER)
    subscriber.expect_nothing()


def test_a_shared_subscription_gets_none():
    world = World()
    world.connect("p").publish("t", "x", retain=True)
    subscriber = world.connect("s")
    subscriber.subscribe("$share/g/t")
    subscriber.expect_nothing()  # clause 4.8.2


def test_wildcards_do_not_find_dollar_topics():
    world = World()
    world.broker.publish("$app/x", "hidden", retain=True)
    world.broker.publish("app/x", "seen", retain=True)
    subscriber = world.connect("s")
    subscriber.subscribe("#")
    subscriber.expect_message("app/x", "seen", retain=True)
    subscriber.expect_nothing()
    subscriber.subscribe("$app/#")
    subscriber.expect_message("$app/x", "hidden", retain=True)


# -- expiry ---------------------------------------------------------------------------------


def test_an_expired_retained_message_is_not_sent():
    world = World()
    world.connect("p").publish("t", "x", retain=True, properties={2: 10})
    world.advance(4500)
    early = world.connect("early")
    early.subscribe("t")
    early.expect_message("t", "x", retain=True, properties={2: 6})
    world.advance(6000)
    late = world.connect("late")
    late.subscribe("t")
    late.expect_nothing()


# -- long replays ---------------------------------------------------------------------------


def fill(world, count, qos=1, size=20):
    publisher = world.connect("filler")
    for i in range(count):
        publisher.publish("t/%03d" % i, b"%03d" % i + bytes(size - 3), qos, code=0x10 if qos == 1 else 0, retain=True)


def test_a_replay_larger_than_the_receive_window():
    world = World()
    fill(world, 50)
    subscriber = world.connect("s", properties={RECEIVE_MAXIMUM: 3})
    subscriber.subscribe("t/#", qos=1)
    assert len(subscriber.inbox) == 3  # the harness checks that there are never more
    assert len(subscriber.payloads()) == 50


def test_a_replay_larger_than_the_outbox_waits_for_a_slow_reader():
    world = World(outbox_bytes=1024)
    fill(world, 100, qos=0, size=100)
    subscriber = world.connect("s")
    subscriber.stop_reading()
    subscriber.say(SUBSCRIBE, packet_id=1, filters=[(b"t/#", 0)])
    assert subscriber.unread() < 3 * 1024  # not all 10,000 bytes at once
    subscriber.go_on_reading()
    subscriber.expect(SUBACK)
    assert len(subscriber.payloads()) == 100


def test_a_replay_goes_on_after_a_reconnect():
    world = World()
    fill(world, 20)
    subscriber = world.connect("s", properties={RECEIVE_MAXIMUM: 4, 0x11: 100})
    subscriber.subscribe("t/#", qos=1)
    seen = [subscriber.expect(PUBLISH) for _ in range(4)]
    subscriber.lose()
    subscriber = world.connect("s", clean_start=False, properties={RECEIVE_MAXIMUM: 4, 0x11: 100})
    again = subscriber.messages()
    assert [packet["payload"] for packet in again[:4]] == [packet["payload"] for packet in seen]
    assert sorted([packet["topic"] for packet in again]) == [b"t/%03d" % i for i in range(20)]


def test_a_message_replaced_during_the_replay_comes_once_and_last():
    world = World()
    fill(world, 6)
    subscriber = world.connect("s", properties={RECEIVE_MAXIMUM: 1})
    subscriber.subscribe("t/#", qos=1)
    waiting = set([b"t/%03d" % i for i in range(6)]) - {subscriber.inbox[0]["topic"]}
    replaced = sorted(waiting)[0]
    world.connect("p").publish(replaced.decode(), "new", 1, retain=True)
    got = [(packet["topic"], packet["payload"][:3]) for packet in subscriber.messages()]
    assert len(got) == 6
    assert [payload for topic, payload in got if topic == replaced] == [b"new"]


def test_a_message_cleared_during_the_replay_does_not_come():
    world = World()
    fill(world, 4)
    subscriber = world.connect("s", properties={RECEIVE_MAXIMUM: 1})
    subscriber.subscribe("t/#", qos=1)
    gone = sorted(set([b"t/%03d" % i for i in range(4)]) - {subscriber.inbox[0]["topic"]})[0]
    world.connect("p").publish(gone.decode(), "", 0, retain=True)
    assert gone not in [packet["topic"] for packet in subscriber.messages() if packet["payload"]]


def test_names_that_came_meanwhile_are_remembered_up_to_some_bytes():
    """What was published during the replay comes once; with names as long as these some of it comes again as retained."""
    for length, most in ((20, 1), (4000, 9)):
        world = World(max_topic_length=5000, max_packet_size=10000, max_retained_bytes=1000000, max_memory=1000000)
        names = ["%d" % i + "x" * length for i in range(10)]
        for name in names:
            world.broker.publish(name, "old", 1, retain=True)
        subscriber = world.connect("s", properties={RECEIVE_MAXIMUM: 1})
        subscriber.subscribe("#", qos=1)
        for name in names:
            world.broker.publish(name, "new", retain=True)
        got = subscriber.messages()
        assert sorted([packet["topic"] for packet in got if not packet["retain"]]) == [name.encode() for name in names]
        assert most - 1 <= len([packet for packet in got if packet["retain"]]) <= most
        assert world.session("s").replay is None


# -- limits ---------------------------------------------------------------------------------


def test_no_room_for_another_retained_message_is_answered_but_delivered():
    world = World(max_retained_messages=1)
    publisher = world.connect("p")
    publisher.subscribe("#")
    publisher.publish("a", "1", 1, retain=True)
    publisher.publish("b", "2", 1, code=0x97, retain=True)
    publisher.publish("a", "3", 1, retain=True)  # replacing needs no room
    assert publisher.payloads() == [b"1", b"2", b"3"]
    assert world.broker.retained.count == 1


def test_an_expired_message_makes_room():
    world = World(max_retained_messages=1)
    publisher = world.connect("p")
    publisher.publish("a", "1", retain=True, properties={2: 1})
    world.advance(2000)
    publisher.publish("b", "2", 1, code=0x10, retain=True)
    assert payload(world.broker.retained, b"b") == b"2"


def test_a_full_store_is_looked_through_a_little_for_each_message():
    world = World(max_retained_messages=2000)
    for i in range(2000):
        world.broker.publish("t/%d" % i, "x", retain=True, expiry=1 if i % 2 else 1000)
    world.now += 2000  # before the next tick
    publisher = world.connect("p")
    left = 0
    for i in range(20):
        publisher.publish("new/%d" % i, "x", 1, code=0x10, retain=True)
        # At most 512 records are looked at for one message.
        assert world.broker.retained.count >= 2000 - 512 + left
        left = world.broker.retained.count - 2000
        if left < -512:
            break
    world.advance(61000)
    while world.broker.work():
        pass
    assert world.broker.retained.count == 1000 + i + 1


def test_many_that_have_expired_go_in_slices():
    world = World(max_retained_messages=3000)
    for i in range(3000):
        world.broker.publish("t/%d" % i, "x", retain=True, expiry=i % 50)
    world.now += 100000
    world.broker.tick()
    slices = 0
    last = world.broker.retained.count
    assert last >= 3000 - 256
    while world.broker.work():
        world.broker.tick()  # begins no other
        assert len(world.broker.turns.jobs) == 1
        assert last - world.broker.retained.count <= 256
        last = world.broker.retained.count
        slices += 1
    assert slices >= 10 and world.broker.retained.count == 0


def test_the_limit_in_bytes():
    world = World(max_retained_bytes=size(b"a", bytes(99)), retained_share=100)
    publisher = world.connect("p")
    publisher.send_publish("a", bytes(99), 1, retain=True)
    assert publisher.expect(PUBACK)["code"] == 0x10
    publisher.send_publish("b", b"1", 1, retain=True)
    assert publisher.expect(PUBACK)["code"] == 0x97


def test_retained_messages_not_available():
    world = World(retain_available=False)
    client = world.connect("c")
    assert client.connack["properties"][0x25] == 0
    client.send_publish("a", "1", retain=True)
    client.expect_close(0x9A)  # [MQTT-3.2.2-14]
