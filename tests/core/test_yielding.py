"""Memory for clients that no queue takes: what is not acknowledged counts, and who keeps more than his share gives way."""

from harness import VERSIONS, World
from port.core.wire.codec import DISCONNECT, PUBLISH, SUBACK, SUBSCRIBE
from port.core.wire.properties import SESSION_EXPIRY_INTERVAL, WILL_DELAY_INTERVAL
from port.core.sessions.session import Session
from port.core.protocol.client_packets import encode

HEAPSIZE = "8m"
GREEDY, HONEST = "10.0.0.1:1", "10.0.0.2:1"
MEMORY = 30000
LIVE = encode({"type": PUBLISH, "topic": b"live", "qos": 1, "packet_id": 1, "properties": {}, "payload": b""}, 4)
LIMITS = {"max_memory": MEMORY, "max_packet_size": 2000, "max_inflight": 8, "anonymous": "all"}


def work(world):
    """Everything in the background."""
    while world.broker.work():
        pass
    world.broker.flush()


def seconds(world, count):
    for _ in range(count):
        world.advance(1000)
        work(world)


def comes(world, name, version=4, address=GREEDY):
    """A client that subscribes to a topic of its own."""
    properties = {SESSION_EXPIRY_INTERVAL: 1000} if version == 5 else None
    client = world.connect(name, version, address, clean_start=False, properties=properties)
    client.subscribe("t/" + name, 1)
    return client


def hold(world, client, name, count=8):
    """It leaves so many messages unacknowledged."""
    data = b""
    packet = {"type": PUBLISH, "topic": b"t/" + name.encode(), "qos": 1, "properties": {}, "payload": bytes(300)}
    for _ in range(count):
        packet["packet_id"] = client.next_id()
        data += encode(packet, client.version)
    client.feed(data)
    client.inbox.clear()


def holding(world, name, version=4, count=8):
    client = comes(world, name, version)
    hold(world, client, name, count)
    return client


def served(world):
    """Others' messages are queued and retained."""
    seconds(world, 1)
    reader = world.connect("reader", 4, HONEST, clean_start=False)
    reader.subscribe("honest", 1)
    reader.lose()
    writer = world.connect("writer", 4, HONEST)
    for _ in range(2):
        writer.publish("honest", "x" * 100, 1, retain=True)
    writer.disconnect()
    reader = world.connect("reader", 4, HONEST, clean_start=False)
    found = len(reader.messages())
    reader.subscribe("honest", 1)
    return found + len(reader.messages())


def test_what_is_not_acknowledged_in_time_counts():
    for version in VERSIONS:
        world = World(**LIMITS)
        client = holding(world, "c", version, 5)
        assert not world.broker.message_bytes
        seconds(world, 3)
        assert world.broker.message_bytes >= 5 * 300
        for packet_id in sorted(world.session("c").inflight):
            client.feed(bytes((0x40, 2, packet_id >> 8, packet_id & 255)))
        assert not world.broker.message_bytes
        seconds(world, 2)
        assert not world.session("c").counted


def test_the_time_in_which_it_does_not_count_is_that_in_which_others_wait():
    """What is slow where the one is slow where the other is: 22 who send to all at once need their time."""
    world = World(receiver_patience=10000, **LIMITS)
    holding(world, "c", 4, 5)
    seconds(world, 9)
    assert not world.broker.message_bytes
    seconds(world, 12)
    assert world.broker.message_bytes >= 5 * 300


def test_what_is_acknowledged_in_turn_does_not_count():
    world = World(**LIMITS)
    client = world.connect("c", 4)
    client.subscribe("t", 1)
    world.broker.publish("t", "x", 1)
    for _ in range(10):
        seconds(world, 1)
        assert not world.broker.message_bytes
        world.broker.publish("t", "x", 1)
        world.broker.flush()
        client.puback(client.expect(PUBLISH))


def test_what_goes_out_while_others_are_stuck_counts_soon_and_comes_off_again():
    world = World(**LIMITS)
    client = holding(world, "c", 4, 3)
    seconds(world, 3)
    before = world.broker.message_bytes
    other = world.connect("o", 4, GREEDY)
    for _ in range(3):
        other.publish("t/c", bytes(300), 1)
    seconds(world, 2)
    assert world.broker.message_bytes > before
    client.lose()
    work(world)
    client = world.connect("c", 4, GREEDY, clean_start=False)
    assert len(client.messages()) == 6
    assert not world.broker.message_bytes


def test_sessions_of_who_keeps_most_end_when_memory_is_short():
    for version in (4, 5):
        world = World(**LIMITS)
        clients = [comes(world, "greedy%d" % i, version) for i in range(8)]
        for i in range(8):
            hold(world, clients[i], "greedy%d" % i)
            clients[i].lose()
        assert served(world) == 3
        assert world.broker.kept() <= MEMORY
        left = [name for name in world.broker.sessions if name.startswith(b"greedy")]
        assert 1 < len(left) < 8
        assert [text for level, text in world.log if level == 2 and "its session ends" in text]


def test_clients_of_who_keeps_most_are_disconnected_when_memory_is_short():
    world = World(**LIMITS)
    clients = [comes(world, "greedy%d" % i, 5) for i in range(12)]
    for i in range(12):
        hold(world, clients[i], "greedy%d" % i)
    seconds(world, 3)
    assert served(world) == 3
    gone = [client for client in clients if client.closed]
    assert 1 < len(gone) < 12
    assert gone[0].inbox[-1]["type"] == DISCONNECT and gone[0].inbox[-1]["code"] == 0x97
    assert world.broker.kept() <= MEMORY
    for client in clients:
        client.lose()
    world.advance(2000000)
    work(world)
    assert not world.broker.message_bytes


def test_nobody_gives_way_who_has_no_more_than_his_share():
    for share in (60, 25):
        world = World(owner_share=share, **LIMITS)
        clients = [comes(world, "c%d" % i, 4, "10.0.0.%d:1" % (i % 2)) for i in range(8)]
        for i in range(8):
            hold(world, clients[i], "c%d" % i)
            clients[i].lose()
        seconds(world, 1)
        assert world.broker.kept() > MEMORY or share < 50
        assert (len(world.broker.sessions) == 8) is (share > 50)


def test_who_keeps_most_gives_way_before_others_above_their_share():
    for first in (0, 1):
        world = World(owner_share=20, **LIMITS)
        owners = [("most", GREEDY, 5), ("more", HONEST, 2)]
        names = [(name + str(i), address) for name, address, count in (owners[first], owners[1 - first]) for i in range(count)]
        clients = [comes(world, name, 4, address) for name, address in names]
        for client in clients:
            hold(world, client, client.conn.client_id.decode())
        for client in clients:
            client.lose()
        assert world.broker.kept() > MEMORY - MEMORY // 8
        seconds(world, 1)
        left = [name[:4] for name in world.broker.sessions]
        assert left.count(b"more") == 2 and 0 < left.count(b"most") < 5, left


def test_the_queue_of_who_has_no_more_than_his_share_stays():
    """Though it is the largest one; many small ones of another are more."""
    world = World(max_memory=60000, max_packet_size=2000, anonymous="all")
    for name, address in [("honest", HONEST)] + [("greedy%d" % i, GREEDY) for i in range(30)]:
        client = world.connect(name, 4, address, clean_start=False)
        client.subscribe("t/" + name, 1)
        client.lose()
    for _ in range(10):
        world.broker.publish("t/honest", bytes(700), 1)
    for k in range(10):
        for i in range(30):
            world.broker.publish("t/greedy%d" % i, bytes(300), 1)
        work(world)
        if k % 3 == 0:
            seconds(world, 1)
    assert world.broker.dropped > 50 and world.broker.kept() <= 60000
    assert len(world.session("honest").queue) == 10


def full_of_small_queues(world):
    """Sessions of one client that have a message each, up to the limit."""
    for i in range(90):
        client = world.connect("greedy%d" % i, 4, GREEDY, clean_start=False)
        client.subscribe("t/greedy%d" % i, 1)
        client.lose()
    honest = world.connect("honest", 4, HONEST, clean_start=False)
    honest.subscribe("t", 1)
    honest.lose()
    for _ in range(5):
        world.broker.publish("t", bytes(900), 1)
    for i in range(90):
        world.broker.publish("t/greedy%d" % i, bytes(900), 1)
        if world.broker.dropped:
            return
    raise AssertionError("there is room for all")


def weighed(call):
    """How many sessions are weighed in the course of that."""
    looks = []
    weight = Session.weight

    def counting(session):
        looks.append(session)
        return weight(session)

    setattr(Session, "weight", counting)
    try:
        call()
    finally:
        setattr(Session, "weight", weight)
    return len(looks)


def test_everybody_is_weighed_once_however_many_queues_give_way_at_once():
    world = World(max_memory=130000, max_packet_size=2000, max_queued_messages=10, anonymous="all")
    assert weighed(lambda: full_of_small_queues(world)) == 91
    assert world.broker.dropped > 5 and world.broker.kept() <= 130000 * 7 // 8 + 1500
    assert world.broker.spent > 91
    assert len(world.session("honest").queue) == 5


def test_nobody_is_weighed_at_once_where_that_takes_long():
    """Much is in flight: queues give way in the background alone."""
    world = World(max_memory=130000, max_packet_size=2000, max_queued_messages=10, max_inflight=600, receiver_patience=0, anonymous="all")
    readers = [world.connect("reader%d" % i, 4, GREEDY) for i in range(16)]
    for reader in readers:
        reader.subscribe("live", 1)
    publisher = world.connect("p", 4, HONEST)
    while len(world.session("reader0").inflight) < 500:
        publisher.feed(LIVE * 20)
        for client in readers + [publisher]:
            client.inbox.clear()
    assert weighed(lambda: full_of_small_queues(world)) == 0
    assert world.broker.dropped == 1
    work(world)
    assert world.broker.dropped > 5 and len(world.session("honest").queue) == 5


def test_queues_of_others_stay_where_wills_take_the_memory():
    for version in (4, 5):
        world = World(max_memory=60000, max_packet_size=2000, anonymous="all")
        honest = world.connect("honest", 4, HONEST, clean_start=False)
        honest.subscribe("t", 1)
        honest.lose()
        for _ in range(10):
            world.broker.publish("t", bytes(700), 1)
        lasting = {SESSION_EXPIRY_INTERVAL: 100000}
        for i in range(60):
            client = world.connect("greedy%d" % i, version, GREEDY, clean_start=False, properties=lasting if version == 5 else None,
                                   will={"topic": b"w", "payload": bytes(1500), "properties": {WILL_DELAY_INTERVAL: 100000}
                                         if version == 5 else {}, "qos": 0, "retain": False})
            if version == 5:
                client.lose()
            seconds(world, 1)
        assert world.broker.kept() <= 60000 and not world.broker.dropped
        assert len(world.session("honest").queue) == 10


def test_sessions_that_end_with_many_filters_free_memory_later_and_nobody_pays_for_that():
    """Their filters are taken away in the background; no more sessions end for that, and nobody else's queue goes."""
    world = World(max_memory=300000, max_packet_size=2000, anonymous="all")
    honest = world.connect("honest", 4, HONEST, clean_start=False)
    honest.subscribe("t", 1)
    honest.lose()
    for _ in range(20):
        world.broker.publish("t", bytes(700), 1)
    for i in range(5):
        client = world.connect("greedy%d" % i, 4, GREEDY, clean_start=False)
        for k in range(0, 210, 30):
            filters = [(b"greedy%d/%d" % (i, j), 1) for j in range(k, k + 30)]
            client.feed(encode({"type": SUBSCRIBE, "packet_id": 1 + k, "properties": {}, "filters": filters}, 4))
            world.settle()
        client.lose()
        seconds(world, 1)
    assert len(world.session("honest").queue) == 20 and not world.broker.dropped
    assert 4 <= len(world.broker.sessions) < 6
    assert not world.broker.ended and world.broker.kept() <= 300000


def test_identifiers_of_unreleased_messages_count():
    world = World(**LIMITS)
    client = world.connect("c", 4, GREEDY, clean_start=False)
    before = world.broker.kept()
    for packet_id in range(1, 21):
        client.feed(encode({"type": PUBLISH, "topic": b"t", "qos": 2, "packet_id": packet_id, "properties": {}, "payload": b""}, 4))
    counted = world.broker.kept() - before
    assert counted >= 20 * 24
    client.feed(b"".join([bytes((0x62, 2, 0, packet_id)) for packet_id in range(1, 11)]))
    assert world.broker.kept() - before == counted // 2
    client.lose()
    assert world.broker.kept() - before == counted // 2
    world.connect("c", 4, GREEDY).disconnect()
    assert not world.broker.kept()


def test_what_short_filters_of_a_packet_take_counts():
    for version in (4, 5):
        world = World(max_packet_size=100000, max_filters=2000, max_subscriptions=2000, max_memory=10000000)
        broker = world.broker
        broker.turn = 400
        client = world.connect("c", version)
        before = broker.partial_bytes
        filters = [(b"%c%c" % (97 + i // 26, 97 + i % 26), 0) for i in range(600)]
        data = encode({"type": SUBSCRIBE, "packet_id": 1, "properties": {}, "filters": filters}, version)
        client.conn.take(data)
        most = 0
        while broker.turns:
            most = max(most, broker.partial_bytes)
            broker.work()
        broker.flush()
        assert most - before > 600 * 20 * broker.word
        client.expect(SUBACK, codes=b"\0" * 600)
        assert broker.partial_bytes == before
        client.lose()


def test_a_packet_with_many_filters_counts_until_it_is_answered():
    for how in ("answered", "lost"):
        world = World(max_packet_size=100000, max_filters=2000, max_subscriptions=2000)
        client = world.connect("c", 4)
        before = world.broker.kept()
        client.conn.take(encode({"type": SUBSCRIBE, "packet_id": 1, "properties": {}, "filters": [(b"%04d/same" % (i % 7), 0) for i in range(2000)]}, 4))
        assert world.broker.kept() >= before + 2 * 2000 * 10
        if how == "lost":
            client.lose()
        world.settle()
        client.inbox.clear()
        if how == "answered":
            client.unsubscribe("0000/same")
            client.lose()
        assert not world.broker.kept()
