"""What outlives the broker: killed at any moment and started again with what its store has."""

from disk import Disk, restart
from harness import VERSIONS, World, raises
from port.core.wire.codec import PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, SUBSCRIBE
from port.core.wire.properties import (
    MESSAGE_EXPIRY_INTERVAL,
    RECEIVE_MAXIMUM,
    SESSION_EXPIRY_INTERVAL,
    USER_PROPERTY,
    WILL_DELAY_INTERVAL,
)
from port.core.auth.allow_deny import AllowAll
from port.core.protocol.client_packets import encode
from rights import ALL, Asked, change, rules, world_with

HEAPSIZE = "8m"
KEPT = {SESSION_EXPIRY_INTERVAL: 1000}


def keeper(world, client_id="c", version=5, **fields):
    """A client whose session outlives its connection."""
    properties = fields.pop("properties", KEPT) if version == 5 else None
    return world.connect(client_id, version, clean_start=False, properties=properties, **fields)


def kinds(world):
    """How many records there are of each kind that belongs to sessions and messages."""
    found: "dict[int, int]" = {}
    for key in world.broker.store.records:
        if key[0] > 1:
            found[key[0]] = found.get(key[0], 0) + 1
    return found


# -- sessions ----------------------------------------------------------------------------------


def test_sessions_and_subscriptions_are_there_after_a_restart():
    disk = Disk()
    world = World(store=disk)
    for version in VERSIONS:
        client = keeper(world, "v%d" % version, version)
        client.subscribe("a/+", qos=1)
        client.subscribe("b", qos=2)
        client.subscribe("c")
        client.unsubscribe("c")
    world = restart(world)
    for version in VERSIONS:
        assert world.session("v%d" % version).subscriptions == {b"a/+": 1, b"b": 2}
        assert world.session("v%d" % version).version5 == (version == 5)
    world.broker.publish("c", "2", qos=2)
    world.broker.publish("a/x", "1", qos=2)
    for version in VERSIONS:
        client = keeper(world, "v%d" % version, version)
        assert client.connack["session_present"] == (version != 3)
        client.expect_message("a/x", "1", qos=1)
        client.expect_nothing()


def test_options_of_subscriptions_are_kept():
    world = World(store=Disk())
    client = keeper(world)
    client.subscribe("a", qos=1, options=8 | 4, identifier=268435455)
    world = restart(world)
    assert world.session("c").subscriptions == {b"a": 1 | 8 | 4 | 268435455 << 8}


def test_shared_subscriptions_are_kept_with_what_came_through_them():
    world = World(store=Disk())
    keeper(world).subscribe("$share/g/a", qos=1, identifier=7)
    world.session("c").conn.lost()
    world.broker.publish("a", "1", qos=1)
    world = restart(world)
    world.broker.publish("a", "2", qos=1)
    client = keeper(world)
    assert [(p["payload"], p["properties"]) for p in client.messages()] == [(b"1", {0x0B: [7]}), (b"2", {0x0B: [7]})]


def test_clean_sessions_are_not_stored():
    for version in VERSIONS:
        world = World(store=Disk())
        client = world.connect("c", version)
        client.subscribe("a", qos=2)
        client.publish("a", "x", 2)
        client.messages()
        client.unsubscribe("a")
        client.disconnect()
        assert kinds(world) == {}
        assert restart(world).broker.sessions == {}


def test_a_session_that_ends_leaves_nothing_in_the_store():
    def ended_by_disconnect(world):
        keeper(world).disconnect(properties={SESSION_EXPIRY_INTERVAL: 0})

    def ended_by_clean_start(world):
        world.connect("c", clean_start=True).lose()

    def ended_by_expiry_zero(world):
        world.connect("c", clean_start=False).lose()

    def ended_by_time(world):
        world.advance(1001000)

    for end in (ended_by_disconnect, ended_by_clean_start, ended_by_expiry_zero, ended_by_time):
        world = World(store=Disk())
        client = keeper(world)
        client.subscribe("a/#", qos=2)
        client.subscribe("b", qos=1)
        client.send_publish("x", "", 2)
        client.inbox.clear()
        for i in range(3):
            world.broker.publish("a/b", str(i), qos=2)
            world.broker.publish("b", str(i), qos=1)
        client.pubrec(client.inbox[0])
        client.lose()
        world.broker.publish("b", "later", qos=1)
        assert kinds(world) == {2: 1, 3: 2, 4: 1, 5: 6, 6: 7}, kinds(world)
        end(world)
        assert kinds(world) == {}, (end, kinds(world))
        assert not restart(world).broker.sessions
        assert world.broker.journal.refs == {}


def test_a_session_expires_while_the_broker_is_away():
    world = World(store=Disk())
    keeper(world).lose()
    keeper(world, "connected")
    assert sorted(restart(world, 999000).broker.sessions) == [b"c", b"connected"]
    world = restart(world, 1001000)
    assert list(world.broker.sessions) == [b"connected"]  # it was connected until the broker ended
    world.advance(1001000)
    assert kinds(world) == {}


def test_a_clock_that_is_not_set_does_not_end_sessions():
    world = World(store=Disk(), now=1000000000)
    keeper(world).lose()
    world = World(store=world.broker.store, now=1000)
    world.advance(999000)
    assert list(world.broker.sessions) == [b"c"]
    world.advance(2000)
    assert not world.broker.sessions


def test_a_user_keeps_his_session():
    world = World(store=Disk())
    client = keeper(world)
    world.session("c").user = b"alice"
    client.lose()
    world = restart(world)
    assert world.session("c").user == b"alice"
    other = world.client()
    other.connect("c", clean_start=False)
    assert other.connack["code"] == 0x87


# -- messages ----------------------------------------------------------------------------------


def test_rights_of_its_own_outlive_a_restart():
    """What an authenticator allowed a session that is away is kept, whatever the rules of the configuration say meanwhile."""
    world, authorizer = World(store=Disk()), Asked(*rules({"topic": "a"}))
    world.broker.authenticators.append(authorizer)
    keeper(world, "own").subscribe("a", 1)
    world.broker.authenticators[0] = AllowAll()
    keeper(world, "ruled").subscribe("a", 1)
    again = World(now=world.now)
    again.broker.store = world.broker.store
    again.broker.set_acl(rules({"topic": "b"}))
    again.broker.open_store()
    again.broker.publish("a", "x", qos=1)
    assert len(again.session("own").queue) == 1
    assert not again.session("ruled").queue


def test_what_a_session_may_not_receive_any_more_goes_from_the_store():
    world = world_with(ALL, store=Disk())
    client = keeper(world, user=b"u")
    client.subscribe("#", 1)
    client.lose()
    for topic in ("a/1", "b", "a/2"):
        world.broker.publish(topic, topic, qos=1)
    assert kinds(world) == {2: 1, 3: 1, 5: 3, 6: 3}
    change(world, {"topic": "a/#", "allow": False, "actions": ["receive"]}, ALL)
    world.broker.journal.commit()
    assert kinds(world) == {2: 1, 3: 1, 5: 1, 6: 1}
    again = restart(world)
    again.broker.authenticators.append(AllowAll())
    assert keeper(again, user=b"u").payloads() == [b"b"]


def test_what_was_queued_comes_after_the_restart_in_order():
    disk = Disk()
    for version in VERSIONS:
        world = World(store=disk)
        client = keeper(world, "c%d" % version, version)
        client.subscribe("a/#", qos=2)
        client.lose()
        for i in range(20):
            world.broker.publish("a/%d" % (i % 3), str(i), qos=i % 3)
        world = restart(world)
        world.broker.publish("a/b", "20", qos=1)
        client = keeper(world, "c%d" % version, version)
        expected = [b"%d" % i for i in range(20) if i % 3] + [b"20"]
        assert client.payloads() == expected
        client.disconnect()
        assert restart(world).broker.sessions[b"c%d" % version].queue is None
        world.broker.end_session(world.session("c%d" % version))


def test_what_was_in_flight_goes_out_again_under_its_identifier():
    world = World(store=Disk())
    client = keeper(world)
    client.subscribe("a", qos=2)
    for i in range(6):
        world.broker.publish("a", str(i), qos=1 + i % 2)
    sent = client.messages(False)
    client.ack(sent[2])
    client.pubrec(sent[1])
    world = restart(world)
    client = keeper(world)
    # The released one by PUBREL alone.
    got = [(p["type"], p["packet_id"], p.get("payload", b""), p.get("dup", False)) for p in client.inbox]
    expected = [(PUBLISH, p["packet_id"], p["payload"], True) for p in sent if p is not sent[2] and p is not sent[1]]
    expected.insert(1, (PUBREL, sent[1]["packet_id"], b"", False))
    assert got == expected
    for packet in client.inbox[:]:
        if packet["type"] == PUBREL:
            client.inbox.remove(packet)
            client.pubcomp(packet)
    client.messages()
    world.broker.publish("a", "new", qos=1)
    assert client.messages(False)[0]["packet_id"] not in [p["packet_id"] for p in sent]
    client.disconnect()
    assert kinds(restart(world)) == {2: 1, 3: 1, 5: 1, 6: 1}


def test_a_message_is_stored_once_for_many_sessions():
    world = World(store=Disk())
    clients = [keeper(world, "c%d" % i) for i in range(4)]
    for client in clients:
        client.subscribe("a", qos=1)
    world.broker.publish("a", "x" * 1000, qos=1)
    assert kinds(world)[5] == 1 and kinds(world)[6] == 4
    for client in clients[:3]:
        client.messages()
    assert kinds(world)[5] == 1 and kinds(world)[6] == 1
    world = restart(world)
    assert keeper(world, "c3").payloads() == [b"x" * 1000]
    assert 5 not in kinds(world) and 6 not in kinds(world)


def test_message_properties_and_expiry_are_kept():
    disk = Disk()
    world = World(store=disk)
    keeper(world).subscribe("a", qos=1)
    world.session("c").conn.lost()
    world.broker.publish("a", "x", 1, properties={USER_PROPERTY: [(b"k", b"v")]}, expiry=100)
    world.broker.publish("a", "y", 1, expiry=10)
    world = restart(world, 30000)
    packets = keeper(world).messages()
    assert [(p["payload"], p["properties"]) for p in packets] == [
        (b"x", {USER_PROPERTY: [(b"k", b"v")], MESSAGE_EXPIRY_INTERVAL: 70})
    ]


def test_more_messages_than_the_limit_now_allows_are_kept():
    world = World(store=Disk())
    keeper(world).subscribe("a", qos=1)
    world.session("c").conn.lost()
    for i in range(10):
        world.broker.publish("a", str(i), qos=1)
    world = restart(world, max_queued_messages=4)
    world.broker.publish("a", "one more", qos=1)
    assert keeper(world).payloads() == [b"%d" % i for i in range(10)]


def test_what_is_dropped_from_a_queue_goes_from_the_store():
    world = World(store=Disk(), max_queued_messages=3, queue_full="oldest")
    keeper(world).subscribe("a", qos=1)
    world.session("c").conn.lost()
    for i in range(10):
        world.broker.publish("a", str(i), qos=1, expiry=5 if i == 8 else None)
    assert kinds(world)[6] == 3
    world.advance(6000)
    world = restart(world)
    client = keeper(world)
    assert client.payloads() == [b"7", b"9"]
    assert 6 not in kinds(world)


# -- QoS 2 from clients ------------------------------------------------------------------------


def test_a_qos_2_message_sent_again_after_a_restart_is_not_delivered_twice():
    disk = Disk()
    world = World(store=disk)
    receiver = keeper(world, "r")
    receiver.subscribe("a", qos=2)
    receiver.lose()
    sender = keeper(world, "s")
    sender.send_publish("a", "x", 2, packet_id=7)
    sender.take(PUBREC, 7, 0)
    world = restart(world)
    sender = keeper(world, "s")
    sender.send_publish("a", "x", 2, packet_id=7, dup=True)
    sender.take(PUBREC, 7, 0)
    sender.say(PUBREL, packet_id=7)
    sender.take(PUBCOMP, 7, 0)
    assert keeper(world, "r").payloads() == [b"x"]
    world = restart(world)
    sender = keeper(world, "s")
    sender.send_publish("a", "y", 2, packet_id=7)  # the identifier is free again
    assert keeper(world, "r").payloads() == [b"y"]
    world.broker.end_session(world.session("r"))
    world.broker.end_session(world.session("s"))


# -- retained messages ---------------------------------------------------------------------------


def test_retained_messages_are_kept():
    for sessions in (True, False):
        disk = Disk(sessions=sessions)
        world = World(store=disk)
        broker = world.broker
        broker.publish("a", "old", retain=True)
        broker.publish("a", "1", 1, retain=True, properties={USER_PROPERTY: [(b"k", b"v")]}, expiry=100)
        broker.publish("b", "2", retain=True)
        broker.publish("b", "", retain=True)
        broker.publish("c", "3", 2, retain=True)
        broker.publish("d", "4", retain=True, expiry=10)
        world.advance(2000)
        world = restart(world, 28000)
        client = world.connect()
        client.subscribe("#", qos=2)
        assert sorted([(p["topic"], p["payload"], p["qos"]) for p in client.messages()]) == [
            (b"a", b"1", 1), (b"c", b"3", 2)
        ]  # fmt: skip
        assert world.broker.retained.count == 3
        world.advance(61000)
        assert sorted([key for key in disk.records if key[0] == 7]) == [b"\7a", b"\7c"]
        world.broker.publish("a", "", retain=True)
        world.broker.publish("c", "", retain=True)
        world.advance(2000)
        assert restart(world).broker.retained.count == 0


def test_retained_messages_beyond_the_limits_are_kept():
    world = World(store=Disk())
    for i in range(5):
        world.broker.publish("t/%d" % i, "x", retain=True)
    world = restart(world, max_retained_messages=2)
    assert world.broker.retained.count == 5
    client = world.connect()
    client.publish("t/9", "x", 1, code=0x97, retain=True)
    client.publish("t/0", "y", 1, code=0x10, retain=True)
    assert [text for level, text in world.log if level == 2 and "5 retained messages" in text]
    world = restart(world, max_retained_bytes=100)
    assert world.broker.retained.count == 5 and world.broker.retained.bytes > 100
    assert [text for level, text in world.log if level == 2 and "more than max_retained_messages or max_retained_bytes" in text]
    world = restart(world)
    assert not [text for level, text in world.log if level == 2]


def test_a_retained_message_that_changes_often_is_written_once():
    disk = Disk(waits=False, sessions=False)
    disk.interval = 60
    world = World(store=disk)
    world.advance(1000)
    for i in range(600):
        world.broker.publish("t", str(i), retain=True)
        world.advance(1000)
    assert 9 <= len(disk.written(7)) <= 11


# -- retained messages for new subscriptions ------------------------------------------------------

FEW = {SESSION_EXPIRY_INTERVAL: 1000, RECEIVE_MAXIMUM: 5}


def with_retained(count, qos, disk=None, **options):
    world = World(store=disk or Disk(), **options)
    for i in range(count):
        world.broker.publish("t/%03d" % i, str(i), qos=qos, retain=True)
    return world


def topics(count):
    return [b"t/%03d" % i for i in range(count)]


def read(client, count, seen):
    """Take so many messages; those that did not come before under their identifier go to `seen`."""
    for _ in range(count):
        packet = client.expect(PUBLISH)
        if not packet["dup"]:
            seen.append(packet["topic"])
        client.ack(packet)
    for packet in client.messages(False):
        if not packet["dup"]:
            seen.append(packet["topic"])


def test_what_a_subscription_has_not_brought_yet_comes_after_restarts():
    for qos in (1, 2):
        disk = Disk()
        world = with_retained(60, qos, disk)
        client = keeper(world, properties=FEW)
        client.subscribe("t/#", qos=2, identifier=7)
        seen: "list[bytes]" = []
        read(client, 0, seen)
        for _ in range(3):  # killed while some are in flight, twice in one place
            world = restart(world)
            world = restart(world)
            client = keeper(world, properties=FEW)
            read(client, 7, seen)
        assert 20 < len(seen) < 30 and kinds(world)[9] > 1
        world = restart(world)
        client = keeper(world, properties=FEW)
        for packet in client.messages():
            assert packet["properties"][0x0B] == [7]
            if not packet["dup"]:
                assert packet["retain"]
                seen.append(packet["topic"])
        assert sorted(seen) == topics(60), seen
        client.lose()
        assert kinds(world) == {2: 1, 3: 1, 7: 60}
        keeper(restart(world)).expect_nothing()


def test_a_restart_writes_nothing_that_is_there():
    """A board has no room for all of it twice."""
    world = with_retained(30, 1)
    for i in range(5):
        client = keeper(world, "c%d" % i, properties=FEW)
        client.subscribe("t/#", qos=1)
        client.lose()
    disk = world.broker.store
    before = len(disk.batches)
    world = restart(world)
    world.broker.journal.commit()
    assert [[key for key, _ in batch] for batch in disk.batches[before:]] == [[b"\1"]]
    assert len(keeper(world, "c4").payloads()) == 30


def test_all_subscriptions_that_are_to_bring_something_are_kept():
    world = with_retained(30, 1)
    client = keeper(world, properties=FEW)
    client.subscribe("+/+", qos=1)
    client.inbox.clear()
    for topic_filter in ("t/+", "t/#", "nothing", "t/001", "lost"):
        client.subscribe(topic_filter, qos=1)
    client.unsubscribe("lost")
    world = restart(world)
    client = keeper(world, properties=FEW)
    got = sorted([packet["topic"] for packet in client.messages()])
    assert got == sorted(topics(30) * 3 + [b"t/001"])
    client.lose()
    assert kinds(world) == {2: 1, 3: 5, 7: 30}


def test_a_subscription_that_is_made_again_brings_everything_again_after_a_restart():
    for begun in (True, False):
        world = with_retained(30, 2)
        client = keeper(world, properties=FEW)
        client.subscribe("t/#", qos=2)
        first: "list[bytes]" = []
        read(client, 10, first)
        if not begun:
            world = restart(world)
            client = keeper(world, properties=dict(FEW))
            client.messages(False)
        client.subscribe("t/#", qos=2)
        world = restart(world)
        again = keeper(world, properties=FEW)
        found = [packet["topic"] for packet in again.messages() if not packet["dup"]]
        assert sorted(set(found)) == topics(30), found


def test_a_subscription_that_is_gone_brings_nothing_more():
    for again in (False, True):
        world = with_retained(30, 1)
        client = keeper(world, properties=FEW)
        client.subscribe("t/#", qos=1)
        sent = [client.expect(PUBLISH) for _ in range(5)]
        client.unsubscribe("t/#")  # [MQTT-3.10.4-2]
        if again:
            world = restart(world)
            client = keeper(world, properties=FEW)
            assert len(client.messages()) == 5
        else:
            for packet in sent:
                client.ack(packet)
        client.expect_nothing()
        client.lose()
        assert kinds(world) == {2: 1, 7: 30}


def test_what_subscriptions_have_brought_is_remembered_up_to_a_limit():
    """Beyond it a message comes again; none is lost."""
    world = with_retained(60, 1, max_queued_messages=10)
    client = keeper(world, properties=FEW)
    client.subscribe("t/#", qos=1)
    seen: "list[bytes]" = []
    read(client, 30, seen)
    stored = [value for key, value in world.broker.store.records.items() if key[0] == 9]
    assert sum([value.count(b"t/0") for value in stored]) == 10
    world = restart(world, max_queued_messages=10)
    client = keeper(world, properties=FEW)
    again = [packet["topic"] for packet in client.messages() if not packet["dup"]]
    assert len(again) == 50 and sorted(set(seen + again)) == topics(60)


def test_what_subscriptions_have_brought_is_remembered_up_to_some_bytes():
    """As many names of 64 bytes as messages may be queued; of longer ones more come again."""
    options = {"max_queued_messages": 10, "max_topic_length": 500, "max_retained_bytes": 100000, "max_memory": 1000000}
    world = World(store=Disk(), **options)
    for i in range(10):
        world.broker.publish("t/%d" % i + "x" * 200, "x", 1, retain=True)
    client = keeper(world, properties=FEW)
    client.subscribe("t/#", qos=1)
    seen: "list[bytes]" = []
    read(client, 4, seen)
    stored = [value for key, value in world.broker.store.records.items() if key[0] == 9]
    assert sum([value.count(b"t/") for value in stored]) - len(stored) == 4  # and the filter
    client = keeper(restart(world, **options), properties=FEW)
    seen += [packet["topic"] for packet in client.messages() if not packet["dup"]]
    assert len(set(seen)) == 10


def test_who_has_suback_gets_retained_messages_after_a_restart():
    """Of all subscriptions, also where the packet took several turns and as many batches."""
    disk = Disk(manual=True)
    world = World(store=disk)
    disk.complete_all()
    for name in topics(100):
        world.broker.publish(name, "x", qos=1, retain=True)
    disk.complete_all()
    client = world.client()
    client.connect("c", clean_start=False, properties=FEW)
    disk.complete_all()
    client.inbox.clear()
    world.broker.turn = 300
    client.conn.take(encode({"type": SUBSCRIBE, "packet_id": 1, "filters": [(name, 1) for name in topics(100)], "properties": {}}, 5))
    while True:
        world.broker.work()
        world.broker.flush()
        if client.inbox:
            break
        if disk.busy():
            disk.complete()
    client.expect(SUBACK)
    seen = [packet["topic"] for packet in client.inbox]
    disk.manual = False
    world = restart(world)
    client = keeper(world, properties=FEW)
    seen += [packet["topic"] for packet in client.messages()]
    assert sorted(set(seen)) == topics(100)


def test_a_session_that_ends_leaves_nothing_of_what_it_was_to_be_sent():
    for how in ("end", "clean start", "not kept"):
        world = with_retained(30, 1)
        client = keeper(world, properties=FEW)
        client.subscribe("t/#", qos=1)
        assert kinds(world)[9] == 1
        client.lose()
        if how == "end":
            world.broker.end_client("c")
        elif how == "clean start":
            world.connect("c")
        else:
            client = world.connect("c", clean_start=False)
            assert len(client.messages()) == 30
        assert kinds(world) == {7: 30}, how


# -- wills ---------------------------------------------------------------------------------------


def test_the_will_of_a_client_that_was_connected_is_sent_after_the_restart():
    disk = Disk()
    world = World(store=disk)
    watcher = keeper(world, "w")
    watcher.subscribe("will/#", qos=1)
    will = {"topic": b"will/1", "payload": b"gone", "qos": 1}
    world.connect("clean", will=will)
    keeper(world, "kept", will=dict(will, topic=b"will/2"))
    keeper(world, "late", will=dict(will, topic=b"will/3", properties={WILL_DELAY_INTERVAL: 60}))
    keeper(world, "back", will=dict(will, topic=b"will/4", properties={WILL_DELAY_INTERVAL: 60}))
    world.connect("left", will=will).disconnect()
    world = restart(world)
    watcher = keeper(world, "w")
    assert sorted([p["topic"] for p in watcher.messages()]) == [b"will/1", b"will/2"]
    assert world.session("late").will_at == world.now + 60000
    keeper(world, "back")
    world.advance(61000)
    assert [p["topic"] for p in watcher.messages()] == [b"will/3"]
    world = restart(world)
    watcher = keeper(world, "w")
    watcher.expect_nothing()
    for session in list(world.broker.sessions.values()):
        if session.conn is None:
            world.broker.end_session(session)
    assert 8 not in kinds(world)
    watcher.disconnect()
    world.broker.end_session(world.session("w"))


def test_a_delayed_will_is_sent_when_it_is_due():
    world = World(store=Disk())
    will = {"topic": b"will", "retain": True, "payload": b"x", "properties": {WILL_DELAY_INTERVAL: 60}}
    keeper(world, will=will).lose()
    world.advance(30000)
    world = restart(world, 20000)
    world.advance(8000)
    assert world.broker.retained.count == 0
    world.advance(3000)
    assert world.broker.retained.count == 1


# -- the rest --------------------------------------------------------------------------------------


def test_totals_go_on():
    world = World(store=Disk())
    client = world.connect()
    for i in range(200):
        client.publish("a", "x", 1, code=0x10)
    world.advance(11000)
    world.broker.publish("a", "x", retain=True)
    broker = world.broker
    again = restart(world).broker
    before, after = dict(broker.sys.figures()), dict(again.sys.figures())
    assert before["messages/publish/received"] == after["messages/publish/received"] == 200
    for name in ("messages/received", "messages/sent", "messages/publish/sent", "messages/publish/dropped", "connections/total"):
        assert before[name] == after[name], name
    assert after["connections/total"] == 1 and after["clients/maximum"] == 1


def test_records_of_another_version_are_refused():
    world = World(store=Disk())
    world.broker.publish("a", "x", retain=True)
    disk = world.broker.store
    disk.records[b"\0"] = b"\x09"
    assert "version" in str(raises(ValueError, World, disk))
    disk.records[b"\0"] = b"\x01"
    disk.records[b"\x0a"] = b""
    assert "unknown kind" in str(raises(ValueError, World, disk))


def filled():
    """A store with all kinds of records."""
    world = World(store=Disk())
    away = keeper(world, "away", will={"topic": b"w", "properties": {WILL_DELAY_INTERVAL: 100}})
    away.subscribe("a", qos=1)
    away.lose()
    sender = keeper(world, "sender")
    sender.send_publish("a", "x", qos=2)
    sender.lose()
    world.broker.publish("r", "x", retain=True)
    disk = world.broker.store
    for topic in ("r1", "r2"):
        world.broker.publish(topic, "x", 1, retain=True)
    later = keeper(world, "later", properties={SESSION_EXPIRY_INTERVAL: 1000, RECEIVE_MAXIMUM: 1})
    later.subscribe("+", qos=1)
    later.lose()
    assert sorted({key[0] for key in disk.records}) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    return disk


def test_a_record_that_cannot_be_read_stops_the_start():
    for kind in (1, 2, 3, 5, 6, 7, 8, 9):
        disk = filled()
        key = [key for key in disk.records if key[0] == kind][0]
        disk.records[key] = b"\x80" if kind == 1 else disk.records[key][: {5: 2, 7: 1}.get(kind, -3)]
        text = str(raises(ValueError, World, disk))
        assert text.startswith("the store: record %s: " % key.hex()), (kind, text)
        assert disk.closed == 1


def test_a_start_without_the_memory_for_it_says_so():
    disk = filled()
    whole = disk.load

    def lacking():
        for record in whole():
            if record[0][0] == 6:
                raise MemoryError
            yield record

    disk.load = lacking  # type: ignore[method-assign]
    assert raises(OSError, World, disk).args[1] == "the store: there is no memory for all that is in it"
    assert disk.closed == 1
    disk.load = whole  # type: ignore[method-assign]
    assert World(store=disk).broker.sessions


def test_records_in_another_order_are_refused():
    disk = filled()
    records = list(disk.load())
    disk.load = lambda: list(reversed(records))  # type: ignore[method-assign]
    text = str(raises(ValueError, World, disk))
    assert "does not come in the order of the keys" in text


def test_a_record_that_cannot_be_read_is_set_aside_by_a_broker_that_degrades():
    """With all the others: the broker starts with nothing."""
    for kind in (0, 1, 2, 3, 5, 6, 7, 8, 9, 10):
        disk = filled()
        disk.on_failure = "degrade"
        key = [key for key in disk.records if key[0] == kind][0] if kind < 10 else b"\x0a"
        value = disk.records.get(key, b"")
        disk.records[key] = {0: b"\x09", 1: b"\x80"}.get(kind, value[: {5: 2, 7: 1}.get(kind, -3)])
        had = disk.records
        world = World(store=disk)
        assert disk.aside is had, kind
        text = [text for level, text in world.log if level == 3][0]
        assert text.startswith("the store: record %s: " % key.hex()) and "moved to elsewhere" in text
        broker = world.broker
        assert not broker.sessions and not broker.retained.count and not broker.publishes_received
        assert not broker.router.subscriptions.bytes and not broker.staying.count and not broker.due
        client = keeper(world, "away")
        assert not client.connack["session_present"]
        client.subscribe("a", qos=1)
        client.lose()
        broker.publish("a", "x", qos=1)
        broker.publish("w", "x", 1, retain=True)
        assert kinds(world) == {2: 1, 3: 1, 5: 1, 6: 1, 7: 1}
        assert keeper(restart(world), "away").payloads() == [b"x"]


def test_a_start_that_failed_is_tried_again():
    disk = filled()
    key = [key for key in disk.records if key[0] == 6][0]
    good = disk.records[key]
    disk.records[key] = good[:-3]
    world = World()
    world.broker.store = disk
    raises(ValueError, world.broker.open_store)
    disk.records[key] = good
    world.broker.open_store()
    world.broker.publish("r", "y", retain=True)
    back = keeper(world, "away")
    assert back.connack["session_present"] and back.payloads() == [b"x"]
    assert world.broker.retained.count == 3


def test_sessions_go_from_the_store_when_they_are_no_longer_kept():
    disk = Disk()
    world = World(store=disk)
    client = keeper(world, will={"topic": b"w"})
    client.subscribe("a", qos=1)
    world.broker.publish("a", "x", qos=1)
    world.broker.publish("r", "x", retain=True)
    disk.sessions = False
    world = restart(world)
    assert not world.broker.sessions
    world.broker.journal.commit()
    assert kinds(world) == {7: 1}


def test_records_that_refer_to_nothing_are_cleared_away():
    world = World(store=Disk())
    client = keeper(world)
    client.subscribe("a", qos=1)
    client.lose()
    world.broker.publish("a", "x", qos=1)
    records = world.broker.store.records
    del records[b"\2\0\0\0\1"]
    world = restart(world)
    world.broker.journal.commit()
    assert kinds(world) == {}


def test_a_restarted_broker_that_is_restarted_again_has_all():
    disk = Disk()
    world = World(store=disk)
    keeper(world).subscribe("a", qos=2)
    world.session("c").conn.lost()
    for i in range(30):
        world.broker.publish("a", str(i), qos=1 + i % 2)
        world = restart(world)
        if i % 10 == 9:
            client = keeper(world)
            sent = client.messages(False)
            client.ack(sent[0])
            client.lose()
    client = keeper(world)
    assert [int(p) for p in client.payloads()] == list(range(3, 30))
