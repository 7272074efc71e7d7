"""Sessions: coming, going, coming back, being taken over (clauses 3.1.2.4, 3.1.2.11.2, 4.1, 4.4)."""

from harness import VERSIONS, World
from port.core.wire.codec import CONNECT, PUBACK, PUBLISH, PUBREC, PUBREL
from port.core.wire.properties import MAXIMUM_PACKET_SIZE, RECEIVE_MAXIMUM, SESSION_EXPIRY_INTERVAL
from port.core.protocol.client_packets import encode

HEAPSIZE = "4m"
FOR_EVER = 0xFFFFFFFF


def kept(version):
    """What a client of this version says in CONNECT to have its session kept."""
    return {"properties": {SESSION_EXPIRY_INTERVAL: 1000}} if version == 5 else {}


def reconnect(world, client_id, version, **fields):
    return world.connect(client_id, version, clean_start=False, **kept(version), **fields)


def test_session_present_is_right_at_once():
    for version in VERSIONS:
        world = World()
        present = version != 3  # MQTT 3.1 has no such flag
        assert not reconnect(world, "c", version).connack["session_present"]
        # While the first is still there, after it has left, after a failure, and clean.
        assert reconnect(world, "c", version).connack["session_present"] is present
        reconnect(world, "c", version).disconnect()
        client = reconnect(world, "c", version)
        assert client.connack["session_present"] is present
        client.lose()
        assert reconnect(world, "c", version).connack["session_present"] is present
        clean = world.connect("c", version, clean_start=True)
        assert clean.connack["session_present"] is False  # [MQTT-3.2.2-2]
        clean.disconnect()
        assert reconnect(world, "c", version).connack["session_present"] is False


def test_a_clean_session_ends_with_its_connection():
    for version in VERSIONS:
        world = World()
        client = world.connect("c", version)
        client.subscribe("t", qos=1)
        client.disconnect()
        assert world.broker.sessions == {}
        assert world.broker.router.subscriptions.count == 0
        world.broker.publish("t", "x", 1)
        reconnect(world, "c", version).expect_nothing()


def test_clean_start_drops_what_there_was():
    for version in VERSIONS:
        world = World()
        client = reconnect(world, "c", version)
        client.subscribe("t", qos=1)
        client.disconnect()
        world.broker.publish("t", "x", 1)
        client = world.connect("c", version, clean_start=True)
        world.broker.publish("t", "y", 1)
        client.expect_nothing()  # [MQTT-3.1.2-4]


def test_messages_wait_for_an_offline_session():
    for version in VERSIONS:
        world = World()
        client = reconnect(world, "c", version)
        client.subscribe("t", qos=2)
        client.disconnect()
        publisher = world.connect("p", version)
        for qos in (0, 1, 2):
            publisher.publish("t", b"%d" % qos, qos)
        client = reconnect(world, "c", version)
        client.expect_message("t", "1", qos=1)  # QoS 0 did not wait
        client.expect_message("t", "2", qos=2)
        client.expect_nothing()


def test_unacknowledged_messages_are_sent_again_with_dup_and_their_identifiers():
    for version in VERSIONS:
        world = World()
        client = reconnect(world, "c", version)
        client.subscribe("t", qos=2)
        for i in range(4):
            world.broker.publish("t", b"%d" % i, 1 + i % 2)
        first = client.messages(acknowledge=False)
        client.puback(first[0])
        client.lose()
        client = reconnect(world, "c", version)
        for packet in first[1:]:
            client.expect(
                PUBLISH, dup=True, packet_id=packet["packet_id"], payload=packet["payload"], qos=packet["qos"]
            )  # [MQTT-4.4.0-1]
        client.expect_nothing()


def test_pubrel_is_sent_again_instead_of_the_message():
    for version in VERSIONS:
        world = World()
        client = reconnect(world, "c", version)
        client.subscribe("t", qos=2)
        world.broker.publish("t", "1", 2)
        world.broker.publish("t", "2", 2)
        first = client.expect(PUBLISH, payload=b"1")
        client.expect(PUBLISH, payload=b"2")
        client.pubrec(first)
        client.lose()
        client = reconnect(world, "c", version)
        client.expect(PUBREL, packet_id=first["packet_id"], code=0)
        client.expect_message("t", "2", qos=2, dup=True)
        client.pubcomp(first)
        assert world.session("c").inflight == {}


def test_what_is_in_flight_is_sent_again_in_the_version_of_the_new_connection():
    """What came when the client had long not acknowledged, too."""
    for before, after in ((4, 5), (5, 4), (3, 5), (4, 4)):
        world = World()
        client, publisher = reconnect(world, "c", before), world.connect("p", before)
        client.subscribe("t", qos=2)
        publisher.publish("t", "1", 1)
        publisher.publish("t", "2", 2)
        world.advance(3000)
        while world.broker.work():
            pass
        publisher.publish("t", "3", 1)
        publisher.publish("t", "4", 2)
        client.lose()
        client = reconnect(world, "c", after)
        for i in range(4):
            client.expect_message("t", str(i + 1), qos=1 + i % 2, dup=True)
        client.expect_nothing()


def test_nothing_is_sent_again_while_connected():
    # [MQTT-4.4.0-1]
    world = World()
    client = world.connect("c")
    client.subscribe("t", qos=1)
    world.broker.publish("t", "x", 1)
    client.expect(PUBLISH)
    world.advance(100000)
    client.expect_nothing()


def test_resends_keep_to_a_smaller_receive_maximum():
    # The window belongs to the connection, clause 4.9; the harness counts.
    world = World()
    client = reconnect(world, "c", 5)
    client.subscribe("t", qos=2)
    for i in range(10):
        world.broker.publish("t", b"%d" % i, 1 + i % 2)
    assert len(client.inbox) == 10
    client.lose()
    world.broker.publish("t", b"10", 1)
    client = world.connect("c", clean_start=False, properties={RECEIVE_MAXIMUM: 2})
    got = client.messages()
    assert [packet["payload"] for packet in got] == [b"%d" % i for i in range(11)]
    assert [packet["dup"] for packet in got] == [True] * 10 + [False]


def test_nothing_new_overtakes_the_resends():
    # [MQTT-4.6.0-5]; they go out in pieces of outbox_bytes, and this one comes with the CONNECT itself.
    world = World(outbox_bytes=256)
    client = reconnect(world, "c", 4)
    client.subscribe("t", qos=1)
    for i in range(10):
        world.broker.publish("t", b"%d" % i + bytes(99), 1)
    client.lose()
    client = world.client(4)
    client.feed(
        encode({"type": CONNECT, "client_id": b"c"}, 4)
        + encode({"type": PUBLISH, "topic": b"t", "payload": b"new", "qos": 1, "packet_id": 1}, 4)
    )
    got = [packet["payload"][:3] for packet in client.inbox if packet["type"] == PUBLISH]
    assert got == [b"%d\0\0" % i for i in range(10)] + [b"new"]


def test_what_no_longer_fits_the_client_is_dropped_at_the_resend():
    world = World()
    client = reconnect(world, "c", 5)
    client.subscribe("t", qos=1)
    world.broker.publish("t", bytes(100), 1)
    world.broker.publish("t", b"small", 1)
    client.lose()
    client = world.connect("c", clean_start=False, properties={MAXIMUM_PACKET_SIZE: 50})
    client.expect_message("t", "small", qos=1, dup=True)  # [MQTT-3.1.2-25]
    client.expect_nothing()


def test_a_takeover_tells_the_old_connection_and_the_new_one_hears():
    for version in VERSIONS:
        for clean_start in (False, True):
            world = World()
            old = reconnect(world, "c", version)
            old.subscribe("t", qos=1)
            new = world.connect("c", version, clean_start=clean_start, **kept(version))
            old.expect_close(0x8E)  # [MQTT-3.1.4-3]
            if clean_start:
                new.subscribe("t", qos=1)
            world.connect("p", version).publish("t", "x", 1)
            new.expect_message("t", "x", qos=1)
            # The end of the old one's socket comes late; it must not concern the new one.
            old.conn.lost()
            world.broker.publish("t", "y", 1)
            new.expect_message("t", "y", qos=1)
            assert world.broker.connected == 2 and len(world.broker.connections) == 2


def test_a_takeover_sends_what_the_old_one_had_not_acknowledged():
    world = World()
    old = reconnect(world, "c", 5)
    old.subscribe("t", qos=1)
    world.broker.publish("t", "x", 1)
    new = reconnect(world, "c", 5)
    new.expect_message("t", "x", qos=1, dup=True)


def test_the_old_connection_is_not_heard_any_more():
    world = World()
    watcher = world.connect("w")
    watcher.subscribe("t")
    old = world.connect("c")
    world.connect("c")
    old.conn.take(b"\x30\x06\x00\x01t\x00hi")  # it was on its way
    old.conn.take(b"\x82\x07\x00\x01\x00\x00\x01t\x00")
    watcher.expect_nothing()
    assert world.session("c").subscriptions == {}


def test_client_ids_are_told_apart_exactly():
    world = World()
    clients = [world.connect(client_id) for client_id in ("c", "C", "c ", "ç")]
    for client in clients:
        client.ping()
    assert len(world.broker.sessions) == 4


# -- session expiry -------------------------------------------------------------------------


def test_a_session_expires():
    world = World()
    world.connect("c", properties={SESSION_EXPIRY_INTERVAL: 10}).disconnect()
    world.advance(9000)
    assert world.session("c")
    world.advance(2000)
    assert world.session("c") is None
    assert world.broker.counters.clients_expired == 1


def test_a_session_that_has_expired_is_not_taken_up():
    """Also before the broker has looked."""
    for late, present in ((-1, True), (0, False)):
        world = World()
        world.connect("c", properties={SESSION_EXPIRY_INTERVAL: 10}).lose()
        world.now += 10000 + late
        client = world.connect("c", clean_start=False, properties={SESSION_EXPIRY_INTERVAL: 10})
        assert client.connack["session_present"] is present
        assert world.broker.counters.clients_expired == (not present)


def test_a_session_in_use_does_not_expire():
    world = World()
    world.connect("c", properties={SESSION_EXPIRY_INTERVAL: 10}).disconnect()
    world.advance(9000)
    client = world.connect("c", clean_start=False, properties={SESSION_EXPIRY_INTERVAL: 10})
    world.advance(60000)
    client.ping()
    assert world.session("c")


def test_a_session_for_ever():
    world = World()
    world.connect("c", properties={SESSION_EXPIRY_INTERVAL: FOR_EVER}).disconnect()
    world.connect("d", 4, clean_start=False).disconnect()
    world.advance(3600 * 1000)
    assert world.session("c") and world.session("d")


def test_session_expiry_changed_at_disconnect():
    world = World()
    world.connect("longer", properties={SESSION_EXPIRY_INTERVAL: 10}).disconnect(properties={SESSION_EXPIRY_INTERVAL: 100})
    world.connect("ended", properties={SESSION_EXPIRY_INTERVAL: 10}).disconnect(properties={SESSION_EXPIRY_INTERVAL: 0})
    assert world.session("ended") is None
    world.advance(50000)
    assert world.session("longer")
    world.advance(60000)
    assert world.session("longer") is None


def test_session_expiry_cannot_be_raised_from_0():
    # Clause 3.14.2.2.2; the DISCONNECT does not count as one, so the will goes out.
    world = World()
    watcher = world.connect("w")
    watcher.subscribe("will")
    client = world.connect("c", will={"topic": b"will"})
    client.disconnect(properties={SESSION_EXPIRY_INTERVAL: 10})
    client.expect_close(0x82)
    watcher.expect_message("will")
    assert world.session("c") is None


def test_the_longest_session_expiry():
    world = World(max_session_expiry=10)
    client = world.connect("c", properties={SESSION_EXPIRY_INTERVAL: FOR_EVER})
    assert client.connack["properties"][SESSION_EXPIRY_INTERVAL] == 10
    client.disconnect(properties={SESSION_EXPIRY_INTERVAL: 1000})
    world.connect("d", 4, clean_start=False).disconnect()  # MQTT 3.1.1 asks for ever
    world.advance(11000)
    assert world.broker.sessions == {}


def test_a_session_reconnected_with_expiry_0_ends_with_that_connection():
    world = World()
    client = reconnect(world, "c", 5)
    client.subscribe("t")
    client.disconnect()
    client = world.connect("c", clean_start=False)
    assert client.connack["session_present"]
    client.disconnect()
    assert world.session("c") is None


# -- the publisher's side -------------------------------------------------------------------


def test_identifiers_of_the_publisher_survive_a_reconnect():
    world = World()
    client = reconnect(world, "c", 5)
    client.send_publish("t", "x", 2, packet_id=5)
    client.expect(PUBREC)
    client.lose()
    client = reconnect(world, "c", 5)
    client.say(PUBREL, packet_id=5)
    assert not world.session("c").received


def test_many_sessions_leave_nothing_behind():
    world = World()
    for i in range(50):
        client = reconnect(world, "c%d" % i, 5)
        client.subscribe("t/%d" % i, qos=1)
        client.subscribe("t/+/x", qos=1)
        client.disconnect()
    world.advance(1001000)
    assert world.broker.sessions == {} and not world.broker.connections
    subscriptions = world.broker.router.subscriptions
    assert (subscriptions.count, subscriptions._exact, subscriptions._wild) == (0, {}, {})
    assert not world.broker.session_registry.due


def test_a_session_that_has_ended_keeps_nothing():
    """Of many filters, which are taken away in the background, and of few."""
    for filters in (300, 1):
        for version in VERSIONS:
            world = World()
            client = reconnect(world, "c", version, will={"topic": b"w", "payload": b"x" * 50})
            for i in range(filters):
                client.subscribe("t/%d" % i, qos=2)
            sender = world.connect("s", version)
            for size in (10, 2000):
                for qos in (1, 2):
                    sender.publish("t/0", bytes(size), qos)
            client.pubrec(client.inbox[1])
            client.lose()
            sender.publish("t/0", bytes(2000), 1)
            sender.disconnect()
            session = world.session("c")
            assert session.inflight and session.queue and session.weight() > 6000
            world.broker.session_registry.end(session)
            while world.broker.work():
                world.broker.flush()
            assert session.weight() == len(session.client_id) and not session.inflight
            assert world.broker.memory.kept() == 0 and not world.broker.sessions


def test_puback_before_the_reconnect_counts():
    world = World()
    client = reconnect(world, "c", 4)
    client.subscribe("t", qos=1)
    world.broker.publish("t", "x", 1)
    client.say(PUBACK, packet_id=client.expect(PUBLISH)["packet_id"])
    client.lose()
    reconnect(world, "c", 4).expect_nothing()
