"""The table of limits: all that a client can make grow or make work, one row each, and a test of each.

A row names the option, its defaults, what it bounds, and the answer at the limit; `test_NAME` drives a client over it and
looks at the answer, at what is kept, and that another client is served as before. What else belongs to a limit is tested
where its subject is.
"""

from harness import VERSIONS, World, refusal
from port.core.wire.codec import CONNACK, CONNECT, PUBACK, PUBLISH, PUBREC, SUBACK, SUBSCRIBE, UNSUBSCRIBE
from port.core.wire.properties import (
    RECEIVE_MAXIMUM,
    SERVER_KEEP_ALIVE,
    SESSION_EXPIRY_INTERVAL,
    TOPIC_ALIAS,
    TOPIC_ALIAS_MAXIMUM,
    USER_PROPERTY,
)
from port.core.limits.options import TABLE, Options
from port.core.auth.authenticator import PENDING, Authenticator
from port.core.protocol.client_packets import encode
from rights import Users, world_with

# Option, default on a board, on a server, what a client can make grow or make work, answer at the limit.
LIMITS = (
    ("max_connections", 32, 20000, "connections", "CONNACK 0x97 (3.x: 3)"),
    ("max_connections_per_address", 16, 1000, "connections of one address", "closed, or one of its silent ones is"),
    ("connect_timeout", 10, 10, "time without a CONNECT", "closed"),
    ("max_keep_alive", 0, 0, "time of silence", "told in CONNACK, then DISCONNECT 0x8D (3.x: closed)"),
    ("max_connect_size", 2048, 131072, "bytes before anyone is let in", "closed"),
    ("max_connecting_bytes", 8192, 16777216, "those of all such clients", "the oldest of an address above its share is closed"),
    ("max_client_id_length", 256, 1024, "bytes of a client id", "CONNACK 0x85 (3.x: 2)"),
    ("owner_share", 25, 25, "places and bytes of one address or user when all are taken", "closed; 0x97; its session ends"),
    ("max_packet_size", 8192, 2000000, "bytes of a packet", "DISCONNECT 0x95 (3.x: closed)"),
    ("message_size_limit", 0, 0, "bytes of a payload", "PUBACK or PUBREC 0x97 and dropped; a will: CONNACK 0x95 (3.x: 3)"),
    ("max_user_properties", 32, 256, "user properties of a packet or will", "DISCONNECT or CONNACK 0x97"),
    ("max_sessions", 64, 200000, "sessions that outlive their connections", "CONNACK 0x97 (3.x: 3)"),
    ("max_session_expiry", 86400, 4294967295, "time a session is kept", "ended"),
    ("max_filters", 32, 4096, "filters of a SUBSCRIBE or UNSUBSCRIBE", "DISCONNECT 0x97 (3.x: closed)"),
    ("max_subscriptions", 32, 10000, "subscriptions of a session", "SUBACK 0x97 (3.1.1: 0x80)"),
    ("max_subscription_bytes", 8192, 8000000, "bytes that they take", "SUBACK 0x97 (3.1.1: 0x80)"),
    ("max_wide_subscriptions", 16, 500, "those with more than one wildcard; 16 times as many + of an owner", "SUBACK 0x97 (3.1.1: 0x80)"),
    ("max_shared_subscriptions", 8, 50, "shared ones that a user or address has begun", "SUBACK 0x97 (3.1.1: 0x80)"),
    ("max_topic_length", 256, 4096, "bytes of a topic", "DISCONNECT 0x90; SUBACK 0x8F (3.x: closed; 3.1.1: 0x80)"),
    ("max_topic_levels", 16, 128, "levels of a topic", "DISCONNECT 0x90; SUBACK 0x8F (3.x: closed; 3.1.1: 0x80)"),
    ("topic_alias_maximum", 8, 10, "topic aliases; their names within max_memory", "DISCONNECT 0x94; without room 0x97"),
    ("receive_maximum", 16, 200, "messages a client has not released, MQTT 5", "DISCONNECT 0x93"),
    ("max_unreleased", 128, 65535, "messages a client has not released, MQTT 3.x", "closed"),
    ("max_inflight", 8, 64, "messages a client has not acknowledged", "queued"),
    ("max_inflight_bytes", 8192, 4000000, "bytes of the large ones among them", "queued"),
    ("max_queued_messages", 64, 1000, "messages that wait for a client", "dropped and counted, or DISCONNECT 0x97"),
    ("max_queued_bytes", 8192, 16777216, "bytes of these", "dropped and counted, or DISCONNECT 0x97"),
    ("outbox_bytes", 2048, 262144, "bytes a client has not read", "QoS 0 dropped and counted, QoS 1 and 2 queued"),
    ("receiver_patience", 1000, 300, "time publishers wait for it", "they go on"),
    ("max_retained_messages", 64, 1000000, "retained messages", "PUBACK 0x97, not retained"),
    ("max_retained_bytes", 16384, 134217728, "bytes of these", "PUBACK 0x97, not retained"),
    ("retained_share", 75, 75, "the room for these that one address or user may have of what others leave", "PUBACK 0x97, not retained"),
    ("max_retained_expiry", 0, 0, "time a message is retained", "removed"),
    ("max_memory", 40960, 268435456, "bytes kept for all clients", "0x97, or dropped and counted"),
    ("route_cache", 32, 8192, "topic names whose receivers are remembered; 16 times as many receivers", "forgotten"),
    ("max_auth_failures", 10, 10, "guesses at passwords", "CONNACK 0x8A (3.x: 5), or closed"),
    ("auth_timeout", 30, 30, "time an authenticator takes", "CONNACK 0x89 (3.x: 3)"),
    ("max_tracked_addresses", 32, 10000, "addresses and users whose failures are remembered", "counted as one"),
    ("max_log_lines", 10, 60, "lines in the log of an address in a minute", "counted, and told then"),
    ("max_message_rate", 0, 0, "messages a second", "read later, or DISCONNECT 0x96 (3.x: closed)"),
    ("max_byte_rate", 0, 0, "bytes a second", "read later, or DISCONNECT 0x96 (3.x: closed)"),
)

# Numbers among the options that are no limits of what a client may do.
OTHERS = ("max_qos", "outbound_topic_aliases", "sys_interval", "auth_backoff", "rate_burst")

QUOTA_EXCEEDED = 0x97


def test_the_table_is_that_of_the_options():
    """Each limit has a row and each row a test: who adds an option adds both."""
    options = {row[0]: row for row in TABLE}
    for name, board, server, what, answer in LIMITS:
        assert options[name][1:3] == (board, server), name
        assert what and answer
        assert "test_" + name in globals(), "no test of %s" % name
        described = getattr(Options, "__doc__", None)  # MicroPython has dropped it
        assert described is None or "\n    %s: " % name in described or "\n%s: " % name in described, name
    named = [row[0] for row in LIMITS]
    for name in options:
        default = options[name][1]
        if isinstance(default, int) and not isinstance(default, bool) and name not in OTHERS:
            assert name in named, "no row for %s" % name
    assert len(named) == len({name: 0 for name in named})


# -- what the tests share ------------------------------------------------------------------------------


def address(number):
    """An address on another machine."""
    return "10.0.0.%d:5000" % number


def open_world(**options):
    """A world that lets in clients of other machines."""
    options.setdefault("anonymous", "all")
    return World(**options)


def check_served(world):
    """Somebody else is served as if nothing had happened."""
    witness = world.connect("witness", 5, "10.0.9.9:1")
    witness.subscribe("witness")
    witness.publish("witness", "x", 1)
    witness.expect_message("witness", b"x", 0)
    witness.disconnect()
    assert not world.errors()


def refused(world, code, version, **fields):
    """A client that is turned away with a CONNACK: `code` in MQTT 5, 3 in MQTT 3.x."""
    client = world.client(version, fields.pop("address", address(1)))
    client.connect(**fields)
    assert client.connack["code"] == (code if version == 5 else 3), client.connack
    assert client.closed
    return client


def persistent(version):
    """Fields of a CONNECT for a session that stays."""
    return {"clean_start": False, "properties": {SESSION_EXPIRY_INTERVAL: 1000} if version == 5 else {}}


def away(world, version=5, client_id="away", topic_filter="t", at=2):
    """A session that subscribes and goes; its Session."""
    client = world.connect(client_id, version, address(at), **persistent(version))
    client.subscribe(topic_filter, 1)
    client.disconnect()
    return world.session(client_id)


# -- connections ---------------------------------------------------------------------------------------


def test_max_connections():
    for version in VERSIONS:
        world = open_world(max_connections=2)
        clients = [world.connect("c%d" % i, version, address(i)) for i in range(2)]
        for i in range(2, 6):
            refused(world, QUOTA_EXCEEDED, version, client_id="c%d" % i, address=address(i))
        assert world.broker.connected == len(world.broker.connections) == len(world.broker.sessions) == 2
        clients[0].ping()
        clients[1].disconnect()
        check_served(world)


def test_max_connections_per_address():
    world = open_world(max_connections_per_address=2)
    for _ in range(8):
        world.client(5, address(1))
        assert len(world.broker.connections) <= 2
    check_served(world)


def test_connect_timeout():
    world = open_world(connect_timeout=5)
    clients = [world.client(5, address(i)) for i in range(4)]
    clients[0].feed(b"\x10\x7f")
    world.advance(7000)
    for client in clients:
        assert client.closed and not client.inbox
    assert not world.broker.connections and not world.broker.connection_registry.handshake_bytes
    check_served(world)


def test_max_keep_alive():
    world = open_world(max_keep_alive=10)
    for version in VERSIONS:
        client = world.connect("c", version, address(1), keep_alive=0)
        if version == 5:
            assert client.connack["properties"][SERVER_KEEP_ALIVE] == 10
        world.advance(18000)
        client.expect_close(0x8D)
    check_served(world)


def test_max_client_id_length():
    for version in VERSIONS:
        world = open_world(max_client_id_length=23)
        world.connect("i" * 23, version, address(1)).disconnect()
        client = world.client(version, address(1))
        client.connect("i" * 24)
        assert client.connack["code"] == (0x85 if version == 5 else 2) and client.closed
        assert not world.broker.sessions
        check_served(world)


def test_owner_share():
    """Of sessions; of connections without CONNECT, of clients, and of bytes see test_places."""
    for version in VERSIONS:
        world = open_world(max_sessions=4, owner_share=50)
        for i in range(20):
            away(world, version, "away%d" % i, at=1)
            assert len(world.broker.sessions) <= 4
        for i in range(2, 4):
            away(world, version, "other%d" % i, at=i)
        assert sorted(world.broker.sessions) == [b"away18", b"away19", b"other2", b"other3"]
        refused(world, QUOTA_EXCEEDED, version, client_id="more", address=address(4), **persistent(version))


def test_max_connect_size():
    for version in VERSIONS:
        world = open_world(max_connect_size=100)
        for size in (2, 4):  # bytes of the header alone, and with the beginning of the rest
            client = world.client(version, address(1))
            client.feed(b"\x10\xff\x7f\x00\x04"[: size + 1])
            client.expect_close()
        client = world.client(version, address(1))
        client.say(CONNECT, client_id=b"c" * 100, clean_start=True, keep_alive=0, properties={})
        client.expect_close()
        assert not world.broker.connection_registry.handshake_bytes and not world.broker.sessions
        check_served(world)


def test_max_connecting_bytes():
    world = open_world(max_connecting_bytes=400, max_connect_size=200)
    clients = [world.client(5, address(i % 2)) for i in range(6)]
    for client in clients:
        client.feed(b"\x10\xb4\x01\x00")  # 183 bytes in all, which is no room taken
    for client in clients:
        client.feed(bytes(150))
        assert world.broker.connection_registry.handshake_bytes <= 400 and not client.closed
    assert [client.closed for client in clients] == [True] * 4 + [False] * 2
    assert not world.client(5, address(3)).closed
    for client in clients:
        client.lose()
    assert not world.broker.connection_registry.handshake_bytes
    check_served(world)
    # Somebody thinks about complete ones.
    for version in VERSIONS:
        world = open_world(max_connecting_bytes=400, max_connect_size=200)
        world.broker.authenticators.append(Patient())
        first = world.client(version, address(1))
        first.connect("c", user=b"u" * 40, password=b"p" * 100)
        assert 150 < world.broker.connection_registry.handshake_bytes < 200 and not first.closed
        second = world.client(version, address(1))
        second.connect("d", user=b"u" * 40, password=b"p" * 100)
        third = world.client(version, address(1))
        third.connect("e", user=b"u" * 40, password=b"p" * 100)
        assert [client.closed for client in (first, second, third)] == [True, False, False]
        assert first.expect(CONNACK)["code"] == (QUOTA_EXCEEDED if version == 5 else 3) and world.broker.connection_registry.handshake_bytes <= 400
        second.conn.authenticated(0)
        assert second.expect(CONNACK)["code"] == 0
        assert 150 < world.broker.connection_registry.handshake_bytes < 200
        third.conn.authenticated(0x86)
        assert third.closed and not world.broker.connection_registry.handshake_bytes


# -- packets -------------------------------------------------------------------------------------------


def test_max_packet_size():
    for version in VERSIONS:
        world = open_world(max_packet_size=128)
        seen = world.connect("seen", version, address(2))
        seen.subscribe("#")
        client = world.connect("c", version, address(1))
        client.feed(b"\x30\xff\x7f\x00\x01t")  # refused before it is there
        client.expect_close(0x95)
        assert not world.broker.memory.partial_bytes
        seen.expect_nothing()
        check_served(world)


def test_message_size_limit():
    large = {"topic": b"w", "payload": b"12345", "qos": 0, "retain": False, "properties": {}}
    for version in VERSIONS:
        for qos in (0, 1, 2):
            world = open_world(message_size_limit=4)
            seen = world.connect("seen", version, address(2))
            seen.subscribe("#", 2)
            client = world.connect("c", version, address(1))
            for payload, retain in ((b"1234", False), (b"12345", False), (b"12345", True), (b"", False), (b"5" * 2000, False)):
                code = 0x97 if qos and len(payload) > 4 else 0
                for _ in range(3):
                    client.publish("t", payload, qos, code, retain=retain)
            assert seen.payloads() == [b"1234"] * 3 + [b""] * 3, (version, qos)
            assert world.broker.counters.dropped == 9 and world.broker.retained.count == 0
            assert world.session("c").received in (None, {})  # what was refused need not be released
            check_served(world)
        refused_will = world.client(version, address(3))
        refused_will.connect("w", will=large)
        assert refused_will.connack["code"] == (0x95 if version == 5 else 3) and refused_will.closed
        client.feed(b"\x30\x0c\x00\x02t#" + (b"\0" if version == 5 else b"1") + b"1234567")  # no topic for anybody
        client.expect_close(0x81)


def test_message_size_limit_where_others_have_none():
    """Names that others use already, a row in one read, rules, and a limit that comes and goes."""
    for version in VERSIONS:
        world = world_with({"topic": "#"}) if version == 4 else open_world()
        world.broker.client_limits = [(None, b"c", {"message_size_limit": 4})]
        seen = world.connect("seen", version, address(2), user=b"s")
        seen.subscribe("t", 1)
        free = world.connect("free", version, address(3), user=b"f")
        client = world.connect("c", version, address(1), user=b"u")
        tail = b"\0" if version == 5 else b""
        large = b"\x00\x01t" + tail + b"12345"
        for sender, taken in ((free, 4), (client, 0), (free, 4)):
            sender.feed((b"\x30" + bytes((len(large),)) + large) * 4)
            assert seen.payloads() == [b"12345"] * taken
        for sender, code in ((free, 0), (client, 0x97), (free, 0), (client, 0x97)):
            for _ in range(2):
                sender.publish("t", b"12345", 1, code)
            assert seen.payloads() == [b"12345"] * (0 if code else 2)
        world.broker.client_limits = []
        world.broker.rights_changed()
        client.publish("t", b"12345", 1)
        world.broker.client_limits = [(None, b"c", {"message_size_limit": 4})]
        world.broker.rights_changed()
        client.publish("t", b"12345", 1, 0x97)
        assert seen.payloads() == [b"12345"] and not world.errors()


def test_max_user_properties():
    three = {USER_PROPERTY: [(b"k", b"v")] * 3}
    world = open_world(max_user_properties=2)
    for kind in (PUBLISH, SUBSCRIBE, UNSUBSCRIBE):
        client = world.connect("c", 5, address(1))
        if kind == PUBLISH:
            client.publish("t", "x", properties={USER_PROPERTY: [(b"k", b"v")] * 2})
            client.send_publish("t", "x", properties=three)
        else:
            filters = [(b"t", 0)] if kind == SUBSCRIBE else [b"t"]
            client.say(kind, packet_id=1, filters=filters, properties=three)
        client.expect_close(QUOTA_EXCEEDED)
    will = {"topic": b"t", "payload": b"x", "qos": 0, "retain": False, "properties": three}
    for fields in ({"properties": three}, {"will": will}):
        refused(world, QUOTA_EXCEEDED, 5, client_id="c", **fields)
    assert not world.broker.sessions
    check_served(world)


# -- sessions ------------------------------------------------------------------------------------------


def test_max_sessions():
    for version in VERSIONS:
        world = open_world(max_sessions=2)
        for i in range(2):
            away(world, version, "away%d" % i, at=i)
        for i in range(2, 5):
            refused(world, QUOTA_EXCEEDED, version, client_id="c%d" % i, address=address(i), **persistent(version))
        assert sorted(world.broker.sessions) == [b"away0", b"away1"]  # none of theirs has given way
        assert not world.errors()


def test_max_session_expiry():
    for version in VERSIONS:
        world = open_world(max_session_expiry=10)
        away(world, version)
        world.advance(9000)
        assert world.session("away")
        world.advance(3000)
        assert not world.broker.sessions and not world.broker.memory.kept()
        check_served(world)


# -- subscriptions -------------------------------------------------------------------------------------


def test_max_filters():
    for version in VERSIONS:
        world = open_world(max_filters=3)
        for kind in (SUBSCRIBE, UNSUBSCRIBE):
            for count in (3, 4):
                client = world.connect("c", version, address(1))
                names = [b"t/%d" % i for i in range(count)]
                client.say(kind, packet_id=1, filters=[(name, 0) for name in names] if kind == SUBSCRIBE else names)
                if count == 3:
                    assert len(client.inbox) == 1
                    client.disconnect()
                else:
                    client.expect_close(QUOTA_EXCEEDED)
        assert not world.broker.router.subscriptions.count
        check_served(world)


def over(version, options, make):
    """Subscribe until that is refused, and see that it stays so; the world, the client, and how many it has."""
    world = open_world(**options)
    client = world.connect("c", version, address(1))
    count = 0
    for i in range(40):
        client.say(SUBSCRIBE, packet_id=1, filters=[(make(i), 0)])
        granted = make(i) in world.session("c").subscriptions
        client.expect(SUBACK, codes=bytes((0 if granted else refusal(version, QUOTA_EXCEEDED),)))
        if granted:
            assert count == i, "granted after a refusal"
            count += 1
    assert len(world.session("c").subscriptions) == count < 40
    client.say(SUBSCRIBE, packet_id=1, filters=[(make(0), 1)])  # one it has may change
    assert client.expect(SUBACK)["codes"][0] == 1
    check_served(world)
    return world, client, count


def test_max_subscriptions():
    for version in VERSIONS:
        assert over(version, {"max_subscriptions": 3}, lambda i: b"t/%d" % i)[2] == 3


def test_max_subscription_bytes():
    for version in VERSIONS:
        for make in (lambda i: b"%02d" % i + b"n" * 50, lambda i: b"%02d/+/" % i + b"l/" * 10):
            world, client, count = over(version, {"max_subscription_bytes": 4000}, make)
            session = world.session("c")
            assert 0 < count and session.subscription_bytes <= 4000
            assert world.broker.router.subscriptions.bytes == session.subscription_bytes
            client.disconnect()
            assert world.broker.router.subscriptions.bytes == 0


def test_max_wide_subscriptions():
    for version in VERSIONS:
        world, client, count = over(version, {"max_wide_subscriptions": 2}, lambda i: b"+/%d/#" % i)
        assert count == 2
        for topic_filter in ("a/+", "b/#", "c"):
            client.subscribe(topic_filter)


def test_max_shared_subscriptions():
    for version in VERSIONS:
        world, client, count = over(version, {"max_shared_subscriptions": 2}, lambda i: b"$share/g%d/t" % i)
        assert count == 2
        client.subscribe("plain")
        other = world.connect("other", version, address(7))
        for i in range(2):  # of the first one's, which are no more for that, and of its own
            other.subscribe("$share/g%d/t" % i)
            other.subscribe("$share/h%d/t" % i)
        other.subscribe("$share/h2/t", code=QUOTA_EXCEEDED if version == 5 else 0x80)
        client.unsubscribe("$share/g1/t")
        client.subscribe("$share/i/t")  # the other one has it still, and for that one it counts
        other.unsubscribe("$share/h1/t")
        other.subscribe("$share/h2/t", code=QUOTA_EXCEEDED if version == 5 else 0x80)
        other.unsubscribe("$share/g1/t")
        other.subscribe("$share/h2/t")


def test_max_topic_length():
    check_names({"max_topic_length": 8}, "12345678", "123456789")


def test_max_topic_levels():
    check_names({"max_topic_levels": 3}, "a/b/c", "a/b/c/d")


def check_names(options, fits, too_much):
    for version in VERSIONS:
        world = open_world(**options)
        client = world.connect("c", version, address(1))
        client.subscribe(fits)
        client.publish(fits, "x")
        client.expect_message(fits, b"x")
        client.subscribe(too_much, code=0x8F if version == 5 else 0x80)
        client.send_publish(too_much, "x", 1)
        client.expect_close(0x90)
        assert too_much.encode() not in world.broker.router.routes
        check_served(world)


# -- messages ------------------------------------------------------------------------------------------


def test_topic_alias_maximum():
    world = open_world(topic_alias_maximum=2)
    client = world.connect("c", 5, address(1))
    assert client.connack["properties"][TOPIC_ALIAS_MAXIMUM] == 2
    client.publish("t", "x", properties={TOPIC_ALIAS: 2})
    client.send_publish("t", "x", properties={TOPIC_ALIAS: 3})
    client.expect_close(0x94)
    check_served(world)


def test_receive_maximum():
    world = open_world(receive_maximum=2)
    client = world.connect("c", 5, address(1))
    assert client.connack["properties"][RECEIVE_MAXIMUM] == 2
    check_unreleased(world, client)


def test_max_unreleased():
    for version in (3, 4):
        world = open_world(max_unreleased=2)
        check_unreleased(world, world.connect("c", version, address(1)))


def check_unreleased(world, client):
    for packet_id in (1, 2):
        client.send_publish("t", "x", 2, packet_id=packet_id)
        client.expect(PUBREC)
    assert len(world.session("c").received) == 2
    client.send_publish("t", "x", 2, packet_id=3)
    client.expect_close(0x93)
    check_served(world)


def reader(version, count, size, **options):
    """A world with a client that reads but does not acknowledge, and `count` messages for it that were all accepted."""
    world = open_world(**options)
    client = world.connect("r", version, address(1))
    client.subscribe("t", 1)
    publisher = world.connect("p", version, address(2))
    for i in range(count):
        publisher.publish("t", b"%d" % i + bytes(size), 1)
    return world, client


def test_max_inflight():
    for version in VERSIONS:
        world, client = reader(version, 5, 1, max_inflight=2)
        assert len(client.inbox) == len(world.session("r").inflight) == 2
        assert len(client.messages()) == 5  # acknowledged one by one
        assert not world.session("r").inflight
        check_served(world)


def test_max_inflight_bytes():
    for version in VERSIONS:
        world, client = reader(version, 6, 1500, max_inflight_bytes=3500)
        assert len(client.inbox) == 2
        assert world.broker.memory.kept() > 6 * 1500
        assert len(client.messages()) == 6
        check_served(world)
        client.disconnect()
        assert world.broker.memory.message_bytes == 0
    _, client = reader(5, 2, 5000, max_inflight_bytes=3500)
    assert len(client.inbox) == 1  # one is always sent
    assert len(client.messages()) == 2


def queue(version, count, size, **options):
    """A world, with the session of a client that is away and for which so many messages came."""
    world = open_world(**options)
    session = away(world, version)
    publisher = world.connect("p", version, address(1))
    for i in range(count):
        publisher.publish("t", b"%d" % i + bytes(size), 1)
    return world, session


def test_max_queued_messages():
    for version in VERSIONS:
        for policy, left in (("newest", b"012"), ("oldest", b"456")):
            world, session = queue(version, 7, 1, max_queued_messages=3, queue_full=policy)
            assert len(session.queue) == 3 and world.broker.counters.dropped == 4
            back = world.connect("away", version, address(2), **persistent(version))
            assert b"".join([payload[:1] for payload in back.payloads()]) == left
            check_served(world)
    client = reader(5, 5, 1, max_queued_messages=3, max_inflight=1, queue_full="disconnect")[1]
    while client.inbox:
        last = client.inbox.pop(0)
    assert client.closed and last["code"] == QUOTA_EXCEEDED


def test_zero_queues_as_much_as_there_is_memory_for():
    for version in VERSIONS:
        world, session = queue(version, 200, 1, max_queued_messages=0, max_memory=100000, max_packet_size=128)
        assert len(session.queue) == 200 and not world.broker.counters.dropped
        back = world.connect("away", version, address(2), **persistent(version))
        assert len(back.payloads()) == 200
        world, session = queue(version, 200, 30, max_queued_messages=0, max_queued_bytes=3500, max_memory=100000, max_packet_size=128)
        assert 0 < session.queued_bytes <= 3500 and len(session.queue) + world.broker.counters.dropped == 200
        world, session = queue(version, 400, 30, max_queued_messages=0, max_queued_bytes=0, max_memory=65536, max_packet_size=128)
        assert world.broker.memory.kept() <= 65536 and world.broker.counters.dropped > 0
        check_served(world)


def test_zero_lets_as_many_fly_as_there_are_identifiers():
    for version in VERSIONS:
        world, client = reader(version, 100, 1, max_inflight=0)
        assert len(client.inbox) == 100
        world = open_world(receive_maximum=0, max_unreleased=250)
        client = world.connect("c", version, address(1))
        assert RECEIVE_MAXIMUM not in client.connack.get("properties", {})
        for i in range(250):
            client.send_publish("t", "x", 2, i + 1)
        assert len(client.inbox) == 250 and not client.closed


def test_max_queued_bytes():
    for version in VERSIONS:
        world, session = queue(version, 10, 100, max_queued_bytes=350)
        assert 0 < session.queued_bytes <= 350
        assert len(session.queue) + world.broker.counters.dropped == 10
        check_served(world)


def test_outbox_bytes():
    for version in VERSIONS:
        world = open_world(outbox_bytes=256, max_queued_messages=3)
        client = world.connect("slow", version, address(1))
        client.subscribe("q0")
        client.subscribe("q1", 1)
        client.stop_reading()
        publisher = world.connect("p", version, address(2))
        for _ in range(50):
            publisher.publish("q0", bytes(30))
        unread = client.unread()
        assert 256 <= unread < 512 and 0 < world.broker.counters.dropped < 50
        for _ in range(5):
            publisher.publish("q1", bytes(30), 1)
        assert client.unread() == unread and len(world.session("slow").queue) == 3
        check_served(world)


def test_receiver_patience():
    for version in VERSIONS:
        for patience in (0, 30, 300):
            world = open_world(receiver_patience=patience, max_queued_messages=10, max_inflight=1)
            world.connect("stuck", version, address(1)).subscribe("t", 1)
            publisher = world.connect("p", version, address(2))
            one = encode({"type": PUBLISH, "topic": b"t", "payload": b"x", "qos": 1, "packet_id": 1}, version)
            publisher.feed(one * 20)
            waited = 0
            while publisher.conn.held:
                world.now += 1
                waited += 1
                world.broker.work()
                world.settle()
            assert waited == 0 if not patience else patience <= waited <= 2 * patience
            assert len(publisher.inbox) == 20
            check_served(world)


def test_max_retained_messages():
    check_retained({"max_retained_messages": 3, "retained_share": 100}, 3)


def test_retained_share():
    for version in VERSIONS:
        world = open_world(max_retained_messages=10, retained_share=60)
        for greedy, most in ((1, 6), (2, 2), (3, 1)):
            client = world.connect("greedy%d" % greedy, version, address(greedy))
            for i in range(10):
                client.send_publish("%d/%d" % (greedy, i), "x", 1, retain=True)
                assert client.expect(PUBACK)["code"] == (QUOTA_EXCEEDED if version == 5 and i >= most else 0x10 if version == 5 else 0)
            assert len(world.broker.retained.matching(b"%d/#" % greedy)) == most
        check_served(world)


def test_max_retained_bytes():
    check_retained({"max_retained_bytes": 2000, "retained_share": 100}, 4)  # 432 bytes and its name twice each


def test_max_retained_expiry():
    for version in VERSIONS:
        world = open_world(max_retained_expiry=10)
        world.connect("c", version, address(1)).publish("t", "x", 1, 0x10, retain=True)
        world.advance(9000)
        reader = world.connect("r", version, address(2))
        reader.subscribe("t")
        reader.expect_message("t", "x", retain=True, properties={})
        world.advance(2000)
        reader.subscribe("t")
        reader.expect_nothing()
        world.advance(120000)
        assert world.broker.retained.count == world.broker.retained.bytes == 0
        check_served(world)


def check_retained(options, most):
    for version in VERSIONS:
        world = open_world(**options)
        client = world.connect("c", version, address(1))
        seen = world.connect("seen", version, address(2))
        seen.subscribe("t/#")
        refusals = 0
        for i in range(10):
            client.send_publish("t/%d" % i, bytes(40), 1, retain=True)
            code = client.expect(PUBACK)["code"]
            assert code in (0, QUOTA_EXCEEDED)
            refusals += code != 0
        retained = world.broker.retained
        assert 0 < retained.count < 10 and retained.bytes <= options.get("max_retained_bytes", 2000)
        assert most is None or retained.count == most
        assert refusals == (10 - retained.count if version == 5 else 0)
        assert len(seen.messages()) == 10  # delivered all the same
        check_served(world)


def test_max_memory():
    # In the queues of many sessions, in subscriptions, in packets that have not come whole or have many filters.
    for version in VERSIONS:
        world = open_world(max_memory=20000, max_packet_size=5000, max_queued_bytes=8000, max_filters=1000)
        seen = world.connect("seen", version, address(2))
        seen.subscribe("live", 1)
        sessions = [away(world, version, "away%d" % i, "t/%d" % i, i + 3) for i in range(10)]
        publisher = world.connect("p", version, address(1))
        for k in range(10):
            for i in range(10):
                publisher.publish("t/%d" % i, bytes(900), 1)
                assert world.broker.memory.kept() <= 20000
        assert world.broker.counters.dropped > 0
        publisher.subscribe("new/" + "x" * 2000, code=QUOTA_EXCEEDED if version == 5 else 0x80)
        partial = world.connect("partial", version, address(1))
        partial.feed(b"\x30\xf4\x26\x00\x01t" + bytes(4900))
        partial.expect_close(QUOTA_EXCEEDED)
        many = world.connect("many", version, address(1))
        many.say(SUBSCRIBE, packet_id=1, filters=[(b"%03d" % i, 0) for i in range(800)], properties={})
        many.expect_close(QUOTA_EXCEEDED)
        publisher.publish("live", "x", 1)
        seen.expect_message("live", b"x", 1)  # who reads is served as before
        for session in sessions:
            world.broker.session_registry.end(session)
        seen.disconnect()
        publisher.disconnect()
        assert world.broker.memory.kept() == 0
        check_served(world)


def test_route_cache():
    for version in VERSIONS:
        world = open_world(route_cache=4)
        client = world.connect("c", version, address(1))
        for i in range(20):
            client.publish("t/%d" % i, "x")
            router = world.broker.router
            assert len(router.routes) <= 4 and len(router.fast[0]) <= 4 and len(router.fast[1]) <= 4
        check_served(world)


# -- who may come in -----------------------------------------------------------------------------------


def guess(world, number, user="u"):
    """A wrong password; whether it was looked at."""
    client = world.client(5, address(number))
    if client.conn is None:
        return False
    client.connect("g", user=user.encode(), password=b"wrong")
    assert client.closed
    return client.connack.get("code") == 0x86


def test_max_auth_failures():
    world = open_world(max_auth_failures=3)
    world.broker.authenticators.append(Users(u="right"))
    looked_at = sum([guess(world, 1) for _ in range(20)])
    assert looked_at in (3, 4)
    assert guess(world, 2), "another address has to wait"
    world.connect("c", 5, address(3), user=b"u", password=b"right").ping()
    assert not world.errors()


class Patient(Authenticator):
    """Decides later."""

    def authenticate(self, client, user, password):
        return PENDING


def test_auth_timeout():
    for version in VERSIONS:
        world = open_world(auth_timeout=5)
        world.broker.authenticators.append(Patient())
        client = world.client(version, address(1))
        client.connect("c")
        world.advance(4000)
        assert not client.closed and not client.inbox
        world.advance(3000)
        client.expect(CONNACK, code=0x89 if version == 5 else 3)
        assert client.closed and not world.broker.sessions and not world.broker.connections


def test_max_tracked_addresses():
    world = open_world(max_tracked_addresses=4, max_auth_failures=1)
    world.broker.authenticators.append(Users(u="right"))
    for i in range(12):
        assert guess(world, i)
        attempts = world.broker.attempts
        assert len(attempts.addresses) + attempts._pairs <= 6
    world.connect("c", 5, address(100), user=b"u", password=b"right").ping()
    assert guess(world, 12) and not guess(world, 13)  # those without a record of their own have one together


def test_max_log_lines():
    world = World(max_log_lines=3, anonymous="none", max_auth_failures=0)
    found = []
    for i in range(20):
        world.log.clear()
        world.client(4, "10.0.0.1:%d" % i).connect("c%d" % i)
        found += world.log
    assert len([text for level, text in found if level == 2]) == 3
    world.log.clear()
    world.client(4, "10.0.0.2:1").connect("other")
    assert world.log
    world.log.clear()
    world.advance(61000)
    assert (2, "and 17 more like this from 10.0.0.1 in the last minute") in world.log


def test_max_message_rate():
    check_rate({"max_message_rate": 2, "rate_burst": 1}, 1)


def test_max_byte_rate():
    check_rate({"max_byte_rate": 100, "rate_burst": 1}, 60)


def check_rate(options, size):
    for version in VERSIONS:
        for what in ("delay", "disconnect"):
            world = open_world(rate_exceeded=what, **options)
            world.broker.client_limits = [(None, b"witness", {"max_message_rate": 0, "max_byte_rate": 0})]
            client = world.connect("c", version, address(1))
            for i in range(12):
                if not client.held and not client.closed:
                    client.say(PUBLISH, topic=b"t", payload=bytes(size), qos=1, packet_id=i + 1)
            check_served(world)
            answers = [packet for packet in client.inbox if packet["type"] == PUBACK]
            assert 0 < len(answers) < 12
            if what == "disconnect":
                assert client.closed and (version != 5 or client.inbox[-1]["code"] == 0x96)
            else:
                assert client.held and not client.closed
                world.advance(3000)
                assert not client.held
