"""Shared subscriptions (clause 4.8.2)."""

from harness import VERSIONS, World
from port.core import TYPE_CHECKING
from port.core.wire.codec import PUBLISH, PUBREL, UNSUBSCRIBE
from port.core.wire.properties import MESSAGE_EXPIRY_INTERVAL, RECEIVE_MAXIMUM, SESSION_EXPIRY_INTERVAL, SUBSCRIPTION_IDENTIFIER
from port.core.routing.shared_subscription import SharedGroup
from port.core.sessions.session import Session
from port.core.protocol.client_packets import encode

if TYPE_CHECKING:
    from typing import Any

KEPT = {SESSION_EXPIRY_INTERVAL: 1000}


def members(world, names, qos=1, topic_filter="$share/g/t", version=5, **fields):
    """Clients that share a subscription."""
    found = []
    for name in names:
        client = world.connect(name, version, **fields)
        client.subscribe(topic_filter, qos=qos)
        found.append(client)
    return found


def publish(world, count, qos=1, start=0):
    for i in range(start, start + count):
        world.broker.publish("t", b"%d" % i, qos)


def flood(client, count, start=0, qos=0, properties=None):
    """Messages of a client, in one piece."""
    data = b""
    packet = {"type": PUBLISH, "topic": b"t", "qos": qos, "properties": properties or {}}
    for i in range(start, start + count):
        packet["payload"] = b"%d" % i
        if qos:
            packet["packet_id"] = client.next_id()
        data += encode(packet, client.version)
    client.feed(data)


def numbers(client):
    return [int(payload) for payload in client.payloads()]


def test_each_message_goes_to_one_member():
    for version in VERSIONS:
        world = World()
        group = members(world, "abc", version=version)
        for qos in (0, 1):
            publish(world, 30, qos)
            got = [client.payloads() for client in group]
            assert [len(payloads) for payloads in got] == [10, 10, 10]
            assert sorted(got[0] + got[1] + got[2]) == sorted([b"%d" % i for i in range(30)])


def test_members_take_turns_whatever_they_speak():
    for version in VERSIONS:
        for spoken in ((version,) * 3, VERSIONS):
            world = World()
            group = [members(world, [b"%d" % i], 0, version=spoken[i])[0] for i in range(3)]
            publisher, other = world.connect("publisher", version), world.connect("other", version)
            for start in (0, 30):
                flood(publisher, 30, start)
                assert [numbers(client) for client in group] == [list(range(start + i, start + 30, 3)) for i in range(3)]
            if version == 5:
                flood(publisher, 30, properties={MESSAGE_EXPIRY_INTERVAL: 60})  # which the broker looks into
                assert [numbers(client) for client in group] == [list(range(i, 30, 3)) for i in range(3)]
            for qos in (1, 2):
                for client in group:
                    client.subscribe("$share/g/t", qos)
                for start in (0, 4, 8):
                    flood(publisher, 4, start, qos)
                assert [numbers(client) for client in group] == [list(range(i, 12, 3)) for i in range(3)]
            # Beside a plain subscription, then a second shared one.
            other.subscribe("t")
            flood(publisher, 30)
            assert numbers(other) == list(range(30))
            assert [len(client.messages()) for client in group] == [10] * 3
            other.subscribe("$share/h/+")
            flood(publisher, 30)
            assert sorted(numbers(other)) == [i // 2 for i in range(60)]
            assert [len(client.messages()) for client in group] == [10] * 3
            assert world.broker.counters.dropped == 0


def test_members_that_cannot_take_turns_are_passed_over():
    world = World(outbox_bytes=1024)
    properties = {SESSION_EXPIRY_INTERVAL: 1000, RECEIVE_MAXIMUM: 1}
    away, full, slow, there = members(world, ["away", "full", "slow", "there"], properties=properties)
    publisher = world.connect("publisher")
    away.lose()
    publish(world, 3)
    full.expect(PUBLISH, payload=b"0")
    slow.expect_message("t", b"1", 1)
    there.expect_message("t", b"2", 1)
    flood(publisher, 10)
    assert [len(client.messages()) for client in (full, slow, there)] == [0, 5, 5]
    slow.stop_reading()
    flood(publisher, 300)  # all at once
    flood(publisher, 10, 300)
    assert numbers(there)[-10:] == list(range(300, 310))
    there.lose()
    full.expect_nothing()
    flood(publisher, 2)
    assert numbers(full) == [0, 1]
    full.lose()
    flood(publisher, 2)
    publish(world, 2, start=7)  # they wait for who is there, though there is nothing it takes now
    assert not world.session("away").queue and len(world.session("slow").queue) == 3
    slow.go_on_reading()
    assert {0, 7, 8} <= set(numbers(slow))
    flood(publisher, 2, 5)
    assert numbers(slow) == [5, 6]


def test_turns_beside_other_subscriptions():
    for version in VERSIONS:
        world = World()
        group = members(world, ["a", "b"], 0, version=version)
        publisher = world.connect("publisher", version)
        heard: "list[bytes]" = []
        handle = world.broker.subscribe("t", lambda message: heard.append(message.payload))
        flood(publisher, 4)
        assert heard == [b"0", b"1", b"2", b"3"]
        world.broker.unsubscribe(handle)
        other = world.connect("other", 4 if version == 5 else 5)  # decoded as what it speaks
        other.subscribe("t")
        flood(publisher, 4)
        assert numbers(other) == [0, 1, 2, 3]
        other.unsubscribe("t")
        if version == 5:
            publisher.subscribe("t", identifier=7)
            flood(publisher, 4)
            assert [packet["properties"] for packet in publisher.messages()] == [{SUBSCRIPTION_IDENTIFIER: [7]}] * 4
        assert [len(client.messages()) for client in group] == ([6, 6] if version == 5 else [4, 4])


def test_turns_of_members_with_an_identifier():
    world = World()
    one = members(world, ["one"], 0)[0]
    two = world.connect("two")
    two.subscribe("$share/g/t", identifier=7)
    flood(world.connect("publisher"), 4)
    assert [packet["properties"] for packet in one.messages()] == [{}] * 2
    assert [packet["properties"] for packet in two.messages()] == [{SUBSCRIPTION_IDENTIFIER: [7]}] * 2


def test_groups_are_served_independently():
    world = World()
    one = members(world, ["a"], topic_filter="$share/g/t")[0]
    two = members(world, ["b"], topic_filter="$share/h/t")[0]
    three = members(world, ["c"], topic_filter="$share/g/+")[0]
    publish(world, 3)
    assert [len(client.messages()) for client in (one, two, three)] == [3, 3, 3]


def test_a_plain_subscription_gets_its_own_copy():
    world = World()
    client = members(world, ["a"])[0]
    client.subscribe("t")
    publish(world, 1)
    assert len(client.messages()) == 2


def test_the_qos_granted_to_each_member_holds():
    # [MQTT-4.8.2-3]
    world = World()
    low = members(world, ["low"], qos=0)[0]
    high = members(world, ["high"], qos=2)[0]
    publish(world, 10, qos=2)
    assert [packet["qos"] for packet in low.messages()] == [0] * 5
    assert [packet["qos"] for packet in high.messages()] == [2] * 5


def test_a_member_gets_its_own_identifier_only():
    world = World()
    for name, identifier in (("a", 1), ("b", 2)):
        world.connect(name).subscribe("$share/g/t", identifier=identifier)
    clients = {1: world.session("a").conn.transport, 2: world.session("b").conn.transport}
    publish(world, 4, qos=0)
    for identifier in clients:
        found = [packet["properties"] for packet in clients[identifier].messages()]
        assert found == [{SUBSCRIPTION_IDENTIFIER: [identifier]}] * 2


def test_subscribing_again_is_not_a_second_membership():
    world = World()
    one, two = members(world, "ab")
    one.subscribe("$share/g/t", qos=1)
    one.subscribe("$share/g/t", qos=0)
    publish(world, 10)
    assert len(two.messages()) == 5
    assert [packet["qos"] for packet in one.messages()] == [0] * 5
    one.unsubscribe("$share/g/t")
    publish(world, 2)
    one.expect_nothing()


def test_retain_as_published_on_a_shared_subscription():
    for options, kept in ((0, False), (8, True)):
        world = World()
        client = world.connect("c")
        client.subscribe("$share/g/t", qos=1, options=options)
        for qos in (0, 1):
            world.broker.publish("t", "x", qos, retain=True)
            client.expect_message("t", "x", qos=qos, retain=kept)
            world.broker.publish("t", "x", qos)
            client.expect_message("t", "x", qos=qos, retain=False)


def test_members_that_are_away_get_nothing_while_others_are_there():
    world = World()
    away, here = members(world, "ab", properties=KEPT)
    away.lose()
    publish(world, 6)
    assert len(here.messages()) == 6
    world.connect("a", clean_start=False, properties=KEPT).expect_nothing()


def test_messages_wait_when_all_members_are_away():
    world = World()
    for client in members(world, "ab", properties=KEPT):
        client.lose()
    publish(world, 6)
    publish(world, 6, qos=0)  # QoS 0 does not wait
    got = []
    for name in "ab":
        got += world.connect(name, clean_start=False, properties=KEPT).payloads()
    assert sorted(got) == [b"0", b"1", b"2", b"3", b"4", b"5"]


def test_a_member_whose_window_is_full_is_passed_over():
    world = World()
    slow, quick = members(world, "ab", properties={RECEIVE_MAXIMUM: 2})
    for i in range(10):
        publish(world, 1, start=i)
        quick.messages()
    assert len(slow.inbox) == 2


def test_what_a_member_had_not_acknowledged_goes_to_another_when_it_is_lost():
    world = World()
    one, two = members(world, "ab", properties=KEPT)
    publish(world, 6)
    one.puback(one.inbox.pop(0))
    kept = [packet["payload"] for packet in one.inbox]
    one.lose()
    two.ack(two.inbox.pop(0))
    got = two.payloads()
    assert len(kept) == 2 and sorted(got[-2:]) == sorted(kept)
    world.connect("a", clean_start=False, properties=KEPT).expect_nothing()


def test_what_a_member_had_waits_for_it_when_nobody_else_is_there():
    world = World()
    one = members(world, "a", properties=KEPT)[0]
    publish(world, 2)
    one.inbox.clear()
    one.lose()
    one = world.connect("a", clean_start=False, properties=KEPT)
    assert [packet["dup"] for packet in one.messages()] == [True, True]


def test_what_no_other_member_can_take_is_not_lost():
    # The only other member takes QoS 0 and is slow: it would be dropped there.
    world = World(outbox_bytes=256)
    one = members(world, "a", qos=1, properties=KEPT)[0]
    publish(world, 3)
    one.inbox.clear()
    slow = members(world, "b", qos=0)[0]
    slow.subscribe("fill")
    slow.stop_reading()
    for _ in range(20):
        world.broker.publish("fill", bytes(50))
    one.lose()
    one = world.connect("a", clean_start=False, properties=KEPT)
    assert one.payloads() == [b"0", b"1", b"2"]


def test_who_leaves_after_his_turn_and_comes_again_takes_nobodys_place():
    world = World()
    one, two = members(world, "ab", qos=0)
    publish(world, 1, qos=0)
    assert len(one.payloads()) == 1  # he had his turn
    one.unsubscribe("$share/g/t")
    one.subscribe("$share/g/t")
    publish(world, 6, qos=0)
    assert (len(one.payloads()), len(two.payloads())) == (3, 3)
    two.unsubscribe("$share/g/t")
    publish(world, 3, qos=0)
    assert (len(one.payloads()), len(two.payloads())) == (3, 0)
    one.unsubscribe("$share/g/t")
    one.disconnect()
    two.disconnect()
    assert not world.broker.memory.kept() and not world.broker.router.subscriptions.count


def test_members_come_and_go_in_any_order_with_turns_in_between():
    seed = 1
    world = World()
    clients = [world.connect("c%d" % i) for i in range(6)]
    there: list[Any] = []
    for _ in range(400):
        seed = (seed * 1103515245 + 12345) & 0x3FFFFFFF
        client = clients[(seed >> 8) % 6]
        if (seed >> 16) % 3 == 0:
            publish(world, 1, qos=0)
            got = [i for i in range(6) if clients[i].payloads()]
            assert len(got) == (1 if there else 0) and (not got or clients[got[0]] in there)
        elif client in there:
            client.unsubscribe("$share/g/t")
            there.remove(client)
        else:
            client.subscribe("$share/g/t")
            there.append(client)
        if there and (seed >> 20) % 7 == 0:  # everybody has as many turns as others
            publish(world, 2 * len(there), qos=0)
            assert [len(client.payloads()) for client in there] == [2] * len(there)
    for client in clients:
        client.disconnect()
    assert not world.broker.memory.kept() and not world.broker.router.subscriptions.count


def test_what_a_member_had_goes_to_others_when_its_session_ends():
    world = World()
    one, two = members(world, "ab", qos=2)
    publish(world, 2, qos=1)
    one.inbox.clear()
    one.disconnect()
    assert sorted(two.payloads()) == [b"0", b"1"]


def test_what_was_queued_for_a_member_goes_to_others_when_it_unsubscribes():
    world = World()
    one = members(world, "a", properties={RECEIVE_MAXIMUM: 1})[0]
    two = members(world, "b")[0]
    two.stop_reading()
    two.conn.pause_writing()
    publish(world, 4)
    sent = one.expect(PUBLISH)
    two.go_on_reading()
    two.messages()
    one.unsubscribe("$share/g/t")
    assert len(two.messages()) >= 1
    # What was sent to it stays with it [MQTT-3.10.4-3].
    assert list(world.session("a").inflight) == [sent["packet_id"]]
    one.puback(sent)
    assert world.session("a").inflight == {}


def test_a_qos_2_message_that_was_sent_is_not_handed_over():
    # [MQTT-4.8.2-4] [MQTT-4.8.2-5]
    world = World()
    one = members(world, "a", qos=2, properties=KEPT)[0]
    publish(world, 2, qos=2)
    released = one.expect(PUBLISH, payload=b"0")
    one.pubrec(released)
    one.expect(PUBLISH, payload=b"1")
    two = members(world, "b", qos=2)[0]
    one.lose()
    two.expect_nothing()
    one = world.connect("a", clean_start=False, properties=KEPT)
    one.expect(PUBREL, packet_id=released["packet_id"])
    one.expect_message("t", "1", qos=2, dup=True)
    one.lose()
    publish(world, 1, qos=2, start=2)
    two.expect_message("t", "2", qos=2)
    world.advance(2000000)  # the session of the first ends
    two.expect_nothing()


def test_what_the_last_member_online_had_goes_to_those_away_in_turn():
    # Each of them is looked at once, not once for each message.
    spent = []
    for count in (10, 30):
        world = World(max_queued_messages=100)
        for i in range(count):
            members(world, [b"away%d" % i], properties=KEPT)[0].lose()
        last = members(world, ["last"], properties={RECEIVE_MAXIMUM: 1})[0]
        last.stop_reading()
        publish(world, 100)
        world.broker.turns.spent = 0
        last.disconnect()
        spent.append(world.broker.turns.spent)
        counts = [len(world.session(b"away%d" % i).queue or ()) for i in range(count)]
        assert sum(counts) == 100 and max(counts) - min(counts) <= 1, counts
    assert spent[1] - spent[0] <= 20


def test_who_takes_nothing_is_looked_at_once_when_a_member_leaves():
    """Members that are away at QoS 0, whatever number of messages there is to hand over."""
    looks = []
    keeps = Session.keeps_qos0

    def counting(session):
        looks.append(session)
        return keeps(session)

    setattr(Session, "keeps_qos0", counting)
    try:
        for takers in (0, 2):
            world = World(max_queued_messages=100)
            for i in range(20):
                members(world, [b"away%d" % i], qos=0, properties=KEPT)[0].lose()
            members(world, ["last"], properties=KEPT)[0].lose()
            publish(world, 100)
            for client in members(world, "ab"[:takers], properties=KEPT):
                client.lose()
            looks.clear()
            world.connect("last").disconnect()
            assert len(looks) <= 2 * 20, len(looks)
            assert [len(world.session(name).queue) for name in "ab"[:takers]] == [50] * takers
    finally:
        setattr(Session, "keeps_qos0", keeps)


def test_what_nobody_may_receive_is_not_offered_again():
    world = World(max_queued_messages=100, anonymous="all")
    world.broker.set_acl([{"client_id": "away*", "allow": False, "actions": ["receive"], "topic": "t"}, {"topic": "#"}])
    for i in range(20):
        members(world, [b"away%d" % i], topic_filter="$share/g/+", properties=KEPT)[0].lose()
    members(world, ["last"], topic_filter="$share/g/+", properties=KEPT)[0].lose()
    publish(world, 50)
    for _ in range(21):  # a turn of each
        world.broker.publish("other", "x", 1)
    assert len(world.session("last").queue) == 51
    world.broker.turns.spent = 0
    world.connect("last").disconnect()
    assert sum([len(world.session(b"away%d" % i).queue or ()) for i in range(20)]) == 21
    assert world.broker.turns.spent < 20 * 50, world.broker.turns.spent


def test_queues_gone_through_count_for_the_turn():
    """An UNSUBSCRIBE of many shared subscriptions whose client has much in its queue."""
    spent = []
    for count in (0, 80):
        world = World(max_queued_messages=100, receiver_patience=0)
        client = world.connect("c", properties={RECEIVE_MAXIMUM: 1})
        client.subscribe("t", 1)
        filters = [b"$share/g%d/u" % i for i in range(20)]
        for topic_filter in filters:
            client.subscribe(topic_filter)
        publish(world, 1 + count)
        client.say(UNSUBSCRIBE, packet_id=9, filters=filters, properties={})
        spent.append(world.broker.turns.spent)
        assert len(world.session("c").queue or ()) == count
    assert spent[1] - spent[0] >= 20 * 80 // 4, spent


def test_a_group_knows_how_many_are_online():
    seed = 1
    world = World()
    clients: "dict[int, Any]" = {}
    for step in range(300):
        seed = (seed * 1103515245 + 12345) & 0x3FFFFFFF
        i = (seed >> 8) % 6
        client = clients.get(i)
        what = (seed >> 16) % 4
        if client is None or client.closed or what == 0:  # taken over, or come back
            clients[i] = world.connect("c%d" % i, clean_start=step % 7 == 0, properties=KEPT)
        elif what == 1:
            client.lose()
            clients[i] = None
        elif what == 2:
            client.subscribe("$share/g/t", qos=step % 2)
        else:
            client.unsubscribe("$share/g/t", 0 if b"$share/g/t" in world.session("c%d" % i).subscriptions else 0x11)
        group = world.broker.router.group(b"$share/g/t")
        if group is not None:
            assert group.online == len([session for session, _ in group.members if session.conn is not None])


def test_others_are_not_looked_for_when_a_member_leaves():
    class Unseen:
        def __len__(self):
            return 2

    world = World()
    one, two = members(world, "ab", properties=KEPT)
    two.lose()
    publish(world, 1)
    group = world.broker.router.group(b"$share/g/t")
    members_of_it = group.members
    group.members = Unseen()
    one.lose()
    group.members = members_of_it
    assert not world.errors() and len(world.session("a").inflight) == 1


def test_who_has_room_takes_what_a_member_had_before_who_has_none():
    world = World()
    full = members(world, "f", properties={RECEIVE_MAXIMUM: 2})[0]
    publish(world, 2)
    last = members(world, "l", properties={RECEIVE_MAXIMUM: 30})[0]
    publish(world, 10, start=2)
    roomy = members(world, "r", properties={RECEIVE_MAXIMUM: 7})[0]
    gone = members(world, "g", properties=KEPT)[0]
    gone.lose()
    last.disconnect()
    assert len(world.session("r").inflight) == 7
    assert sorted(numbers(full) + numbers(roomy)) == list(range(12))
    assert not world.session("g").queue


def test_an_expired_message_is_not_handed_over():
    world = World()
    one, two = members(world, "ab", properties=KEPT)
    world.broker.publish("t", "x", 1, expiry=5)
    holder, other = (one, two) if one.inbox else (two, one)
    holder.inbox.clear()
    world.advance(6000)
    holder.lose()
    other.expect_nothing()


def test_a_message_answered_with_an_error_is_not_tried_elsewhere():
    # [MQTT-4.8.2-6]
    world = World()
    one, two = members(world, "ab")
    publish(world, 1)
    holder, other = (one, two) if one.inbox else (two, one)
    holder.puback(holder.expect(PUBLISH), 0x83)
    other.expect_nothing()
    holder.disconnect()
    other.expect_nothing()


def test_the_last_to_leave_ends_the_shared_subscription():
    world = World()
    one, two = members(world, "ab")
    one.unsubscribe("$share/g/t")
    two.disconnect()
    assert world.broker.router.subscriptions.count == 0
    assert world.broker.publish("t") is False
    publisher = world.connect("p")
    publisher.publish("t", "x", 1, code=0x10)


class Member:
    """Stands for a session that takes what comes."""

    def __init__(self, n):
        self.n = n
        self.access = None
        self.out = []
        self.conn = None
        self.inflight = ()
        self.send_window = 1
        self.broker = self
        self.turns = self
        self.spent = 0


def new_group():
    kind: "Any" = SharedGroup
    return kind(b"$share/g/t", None, b"owner")


def test_who_joins_and_leaves_a_large_group_is_not_searched_for():
    group = new_group()
    all_of_them = [Member(n) for n in range(500)]
    for member in all_of_them:
        group.add(member, 0)
    looks = []

    class Members:
        def __init__(self, members):
            self.list = members
            self.append = members.append
            self.pop = members.pop

        def __len__(self):
            return len(self.list)

        def __getitem__(self, i):
            looks.append(i)
            return self.list[i]

        def __setitem__(self, i, member):
            self.list[i] = member

    members: "Any" = Members(group.members)
    group.members = members
    for n in range(499, 0, -5):
        group.add(all_of_them[n], 1)
        group.remove(all_of_them[n])
        group.remove(all_of_them[n])  # it is none any more
    assert len(members) == 400 and sorted([m.n for m, _ in members.list]) == [n for n in range(500) if n % 5 != 4]
    assert len(looks) < 10 * 100, len(looks)


def test_members_take_turns_however_many_leave():
    """In each round everybody who stays is served once, whoever leaves or joins in its course."""
    state = [1]

    def dice(n):
        state[0] = (state[0] * 1103515245 + 12345) & 0x3FFFFFFF
        return (state[0] >> 12) % n

    group = new_group()
    there = [Member(n) for n in range(9)]
    for member in there:
        group.add(member, 0)
    count = 9
    for _ in range(40):
        served = []
        at_start = list(there)
        group._next = 0
        for _ in range(3):
            if dice(3) and len(there) > 4:
                gone = there.pop(dice(len(there)))
                group.remove(gone)
            if dice(2):
                there.append(Member(count))
                count += 1
                group.add(there[-1], 0)
            at = group._choose(b"t", 0, None)
            served.append(group.members[at][0])
            group._next = at + 1
        while group._next < len(group.members):
            at = group._choose(b"t", 0, None)
            served.append(group.members[at][0])
            group._next = at + 1
        assert len(set([m.n for m in served])) == len(served)
        missed = [m.n for m in at_start if m in there and m not in served]
        assert not missed, missed


def test_a_group_counts_for_one_who_stays_when_its_founder_leaves():
    for how in ("unsubscribe", "disconnect"):
        world = World(max_shared_subscriptions=2, anonymous="all")
        founded = world.broker.router.subscriptions.founded
        founder = world.connect("f", address="10.0.0.1:1")
        guest = world.connect("g", address="10.0.0.2:1")
        for client in (founder, guest):
            client.subscribe("$share/a/t")
            client.subscribe("$share/b/t")
        founder.subscribe("$share/c/t", code=0x97)
        if how == "unsubscribe":
            founder.unsubscribe("$share/a/t")
            founder.unsubscribe("$share/b/t")
            founder.subscribe("$share/c/t")
            assert sorted(founded.values()) == [1, 2]
        else:
            founder.disconnect()
            world.connect("n", address="10.0.0.1:2").subscribe("$share/c/t")
        guest.subscribe("$share/d/t", code=0x97)
        # Who was not first may go, and nothing changes.
        other = world.connect("o", address="10.0.0.3:1")
        other.subscribe("$share/a/t")
        other.unsubscribe("$share/a/t")
        guest.unsubscribe("$share/a/t")
        guest.unsubscribe("$share/b/t")
        guest.subscribe("$share/d/t")
        guest.disconnect()
        for client_id in ("f", "n"):
            if world.session(client_id) is not None:
                world.broker.end_client(client_id)
        assert not founded and not world.broker.router.subscriptions.count


def test_shared_subscriptions_and_dollar_topics():
    world = World()
    client = members(world, ["a"], topic_filter="$share/g/#")[0]
    world.broker.publish("$app/x", "hidden")
    client.expect_nothing()
    client.subscribe("$share/g/$app/#")
    world.broker.publish("$app/x", "seen")
    client.expect_message("$app/x", "seen")
