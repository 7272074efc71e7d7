"""Attempts to get around rules, authentication and limits, each with the exact answer for MQTT 5 and 3.1.1.

User `u` may publish and subscribe below `u/`, except to `u/secret`, and must not leave a trace elsewhere: `spy` sees
all topics, `$SYS` too, and `v`, the other user, keeps its session.
"""

from harness import World, raw
from port.core.constants import ALLOWED
from port.core.wire.codec import AUTH, CONNACK, CONNECT, DISCONNECT, PINGREQ, PUBACK, PUBLISH, PUBREC, SUBACK, SUBSCRIBE
from port.core.wire.properties import (
    AUTHENTICATION_DATA,
    AUTHENTICATION_METHOD,
    RECEIVE_MAXIMUM,
    SESSION_EXPIRY_INTERVAL,
    TOPIC_ALIAS,
    USER_PROPERTY,
)
from port.core.auth.authenticator import PENDING, Authenticator
from port.core.protocol.client_packets import encode
from rights import Asked, Users, rules, topics, will

KEEP = {SESSION_EXPIRY_INTERVAL: 1000}
TABLES = (
    {"topic": "#", "user": "spy"},
    {"topic": "$SYS/#", "user": "spy"},
    {"topic": "u/secret", "allow": False, "user": "u"},
    {"topic": "%u/#", "user": "u"},
    {"topic": "%u/#", "user": "v"},
)
CLOSED = "closed"  # without a word
NOTHING = None  # no answer at all


class Vault:
    """A broker with three users, an anonymous client allowed nothing, and somebody who watches."""

    def __init__(self, **options):
        self.world = World(anonymous="all", **options)
        self.world.broker.authenticators.append(Users(u="pu", v="pv", spy="ps"))
        self.world.broker.set_acl(rules(*TABLES))
        self.spy = self.connect("spy", 5, b"spy", b"ps")
        self.spy.subscribe("#", 2)
        self.spy.subscribe("$SYS/x/#", 2)

    def connect(self, client_id, version, user=b"u", password=b"pu", **fields):
        return self.world.connect(client_id, version, user=user, password=password, **fields)

    def untouched(self):
        """Nothing has got through, and nothing is kept."""
        self.spy.expect_nothing()
        assert self.world.broker.retained.count == 0 and not self.world.errors()


def answer(client):
    """What the broker says to the last packet: a reason code, CLOSED or NOTHING."""
    if not client.inbox:
        return CLOSED if client.closed else NOTHING
    packet = client.inbox.pop(0)
    assert client.inbox == [], client.inbox
    if packet["type"] == SUBACK:
        assert len(packet["codes"]) == 1
        return packet["codes"][0]
    assert packet["type"] in (PUBACK, PUBREC, DISCONNECT, CONNACK), packet
    assert client.closed == (packet["type"] == DISCONNECT or packet["type"] == CONNACK and packet["code"] > 0)
    return packet["code"]


# -- topics -----------------------------------------------------------------------------------------------

# Topic name, answer to a QoS 1 PUBLISH in MQTT 5, in MQTT 3.1.1.
NAMES = (
    (b"other", 0x87, 0), (b"u", None, None), (b"u/secret", 0x87, 0), (b"U/x", 0x87, 0), (b"u ", 0x87, 0), (b" u/x", 0x87, 0),
    (b"/u/x", 0x87, 0), (b"//u/x", 0x87, 0), (b"u//secret", None, None), (b"u/secret/", None, None), (b"u/Secret", None, None),
    (b"v/x", 0x87, 0), (b"./u/x", 0x87, 0), (b"u/../v/x", None, None), (b"%u/x", 0x87, 0), (b"$SYS/x/y", 0x87, 0), (b"$SYS", 0x87, 0),
    (b"$share/g/u/x", 0x87, 0), (b"$u/x", 0x87, 0), (b"$", 0x87, 0), (b"uu/x", 0x87, 0), (b"", 0x81, CLOSED), (b"/", 0x87, 0),
    (b"+/x", 0x81, CLOSED), (b"u/+", 0x81, CLOSED), (b"u/#", 0x81, CLOSED), (b"#", 0x81, CLOSED), (b"u/a+b", 0x81, CLOSED),
    (b"u\0/x", 0x81, CLOSED), (b"u/\0", 0x81, CLOSED), (b"u/\xff", 0x81, CLOSED), (b"u\xc0\xafsecret", 0x81, CLOSED),
    (b"u/\xed\xa0\x80", 0x81, CLOSED), (b"\xef\xbb\xbfu/x", 0x87, 0), (b"\xef\xbd\x95/x", 0x87, 0), (b"u\xe2\x81\x84x", 0x87, 0),
)  # fmt: skip


def published(client, name, first, alias=None):
    """Send a PUBLISH as raw bytes, some of which the codec would refuse; returns the answer."""
    body = bytes((0, len(name))) + name
    if first & 6:
        body += b"\0\1"
    if client.version == 5:
        body += b"\0" if alias is None else bytes((3, TOPIC_ALIAS, 0, alias))
    client.feed(bytes((first, len(body))) + body)
    return answer(client)


def test_topic_names():
    for version in (5, 4):
        for name, code5, code3 in NAMES:
            expected = code5 if version == 5 else code3
            for first in (0x30, 0x32, 0x34, 0x31, 0x33):
                vault = Vault()
                client = vault.connect("c", version)
                found = published(client, name, first)
                if expected is None:  # it is the user's own
                    assert found in (NOTHING, 0), (name, found)
                    assert [packet["topic"] for packet in vault.spy.messages()] == [name]
                    continue
                refused = expected in (0x81, CLOSED)
                assert found == (expected if first & 6 or refused else NOTHING), (version, name, first, found)
                vault.untouched()


def test_refused_again_and_again():
    for version in (5, 4):
        vault = Vault()
        client = vault.connect("c", version)
        for i in range(3):
            assert published(client, b"u/ok", 0x30) is NOTHING  # now it is in the fast path
            for name in (b"u/secret", b"v/x", b"$SYS/x/y"):
                assert published(client, name, 0x30) is NOTHING
                assert published(client, name, 0x32) == (0x87 if version == 5 else 0)
        assert topics(vault.spy) == ["u/ok"] * 3
        vault.untouched()


# Packets in order, (topic, alias, answer to QoS 1).
ALIASES = (
    ((b"v/x", 1, 0x87), (b"", 1, 0x87)),
    ((b"u/ok", 1, 0), (b"v/x", 1, 0x87), (b"", 1, 0x87)),
    ((b"v/x", 1, 0x87), (b"u/ok", 1, 0), (b"", 1, 0), (b"u/secret", 1, 0x87), (b"", 1, 0x87)),
    ((b"$SYS/x/y", 2, 0x87), (b"", 2, 0x87)),
    ((b"u/ok", 1, 0), (b"", 2, 0x82)),
    ((b"", 1, 0x82),),
    ((b"v/x", 0, 0x94),),
    ((b"v/x", 11, 0x94),),
    ((b"u/+", 1, 0x81),),
)


def test_topic_aliases():
    for packets in ALIASES:
        vault = Vault()
        client = vault.connect("c", 5)
        allowed = 0
        for topic, alias, code in packets:
            assert published(client, topic, 0x32, alias) == code, (packets, topic)
            allowed += code == 0
        assert topics(vault.spy) == ["u/ok"] * allowed
        vault.untouched()


# Topic filter, answers in MQTT 5 and 3.1.1, what comes of it when everything is published.
FILTERS = (
    ("#", 0x87, 0x80, ()), ("+/#", 0x87, 0x80, ()), ("+", 0x87, 0x80, ()), ("+/+", 0x87, 0x80, ()), ("+/secret", 0x87, 0x80, ()),
    ("/#", 0x87, 0x80, ()), ("/+/secret", 0x87, 0x80, ()), ("U/#", 0x87, 0x80, ()), ("v/x", 0x87, 0x80, ()), ("v/#", 0x87, 0x80, ()),
    ("u/secret", 0x87, 0x80, ()), ("u/#", 0, 0, ("u/ok",)), ("u/+", 0, 0, ("u/ok",)), ("u/+/#", 0, 0, ("u/ok",)),
    ("u/secret/#", 0, 0, ()), ("$share/g/u/secret", 0x87, 0x80, ()), ("$share/g/u/#", 0, 0, ("u/ok",)), ("$share/u/v/x", 0x87, 0x80, ()),
    ("$share/g/#", 0x87, 0x80, ()), ("$share/u/#", 0x87, 0x80, ()), ("$share//u/x", 0x8F, 0x80, ()), ("$share/+/u/x", 0x8F, 0x80, ()),
    ("$share/g/", 0x8F, 0x80, ()), ("$share/g", 0x8F, 0x80, ()), ("$share", 0x8F, 0x80, ()), ("$share/g/$SYS/#", 0x87, 0x80, ()),
    ("$share/g/$share/g/v/x", 0x87, 0x80, ()), ("$SYS/#", 0x87, 0x80, ()), ("$SYS/x/y", 0x87, 0x80, ()), ("$SHARE/g/v/x", 0x87, 0x80, ()),
    ("$queue/v/x", 0x87, 0x80, ()), ("%u/#", 0x87, 0x80, ()), ("u//#", 0, 0, ()),
)  # fmt: skip


def test_topic_filters():
    everything = ("u/ok", "u/secret", "v/x", "U/x", "/x", "$SYS/x/y", "$share/g/v/x", "secret")
    for version in (5, 4):
        for topic_filter, code5, code3, expected in FILTERS:
            vault = Vault()
            for topic in everything:
                vault.world.broker.publish(topic, "kept", 1, retain=True)
            client = vault.connect("c", version)
            client.say(SUBSCRIBE, packet_id=1, filters=[(b"u/none", 0)])  # that a first one is allowed is no way in
            client.inbox.clear()
            body = b"\0\2" + (b"\0" if version == 5 else b"") + bytes((0, len(topic_filter))) + topic_filter.encode() + b"\0"
            client.feed(bytes((0x82, len(body))) + body)
            suback = client.inbox.pop(0)
            assert suback["codes"] == bytes((code5 if version == 5 else code3,)), (version, topic_filter, suback)
            retained = () if topic_filter.startswith("$share") else expected
            assert tuple(topics(client)) == retained, topic_filter
            for topic in everything:
                for qos in (0, 1, 0):
                    vault.world.broker.publish(topic, "x", qos)
            assert tuple(topics(client)) == expected * 3, topic_filter


def test_wills():
    for version, refused in ((5, 0x87), (4, 5)):
        for topic, code in (
            (b"u/ok", 0), (b"u/secret", refused), (b"v/x", refused), (b"$SYS/x/y", refused), (b"$SYS/x", refused),
            (b"u/+", 0x81 if version == 5 else CLOSED), (b"", 0x81 if version == 5 else CLOSED), (b"/u/x", refused),
        ):  # fmt: skip
            for retain in (False, True):
                vault = Vault()
                client = vault.world.client(version)
                connect = {"type": CONNECT, "client_id": b"c", "clean_start": True, "user": b"u", "password": b"pu",
                           "will": will(b"TOPIC", retain=retain)}  # fmt: skip
                data = bytearray(encode(connect, version).replace(b"\0\5TOPIC", bytes((0, len(topic))) + topic))
                data[1] += len(topic) - 5
                client.feed(bytes(data))
                assert answer(client) == code, (version, topic)
                if code:
                    vault.untouched()
                    continue
                client.lose()
                vault.spy.expect_message(topic, "gone")


# -- client ids and sessions -----------------------------------------------------------------------------------


def test_another_users_session():
    for version, refused in ((5, 0x87), (4, 5)):
        for connected in (True, False):
            vault = Vault()
            owner = vault.connect("id", 5, b"v", b"pv", clean_start=False, properties=KEEP)
            owner.subscribe("v/#", 1)
            if not connected:
                owner.lose()
            vault.world.broker.publish("v/x", "for v", 1)
            vault.spy.messages()
            for fields in (
                {"user": b"u", "password": b"pu", "clean_start": False}, {"user": b"u", "password": b"pu", "clean_start": True},
                {"clean_start": False}, {"clean_start": True},
            ):  # fmt: skip
                thief = vault.world.client(version)
                thief.connect("id", **fields)
                assert thief.connack["code"] == refused and not thief.connack["session_present"]
                thief.expect_close()
            if connected:
                owner.expect_message("v/x", "for v", 1)
                owner.ping()
            else:
                again = vault.connect("id", 5, b"v", b"pv", clean_start=False, properties=KEEP)
                assert again.connack["session_present"]
                again.expect_message("v/x", "for v", 1)
            vault.untouched()


def test_users_cannot_be_told_apart():
    for version, bad in ((5, 0x86), (4, 4)):
        vault = Vault(max_auth_failures=0)
        vault.connect("id", version, b"v", b"pv").ping()
        seen = []
        for client_id in ("id", "new"):
            for user, password in ((b"v", b"wrong"), (b"nobody", b"wrong"), (b"v", None), (b"nobody", None), (b"v", b"")):
                client = vault.world.client(version)
                client.connect(client_id, user=user, password=password)
                assert client.connack["code"] == bad, (user, password)
                seen.append(client.connack)
        assert all([connack == seen[0] for connack in seen])  # its properties, too


# -- before CONNECT has been answered ------------------------------------------------------------------------------


class Thinking(Authenticator):
    def authenticate(self, client, user, password):
        self.client = client
        return PENDING


def test_what_is_sent_before_the_answer():
    publish = raw("30 07 0003 752f78 00 21")
    for version in (5, 4):
        for code, counted in ((0, True), (0x86, False)):
            world = World(anonymous="all")
            thinking = Thinking()
            world.broker.authenticators.append(thinking)
            seen = []
            world.broker.subscribe("#", lambda message: seen.append(message.name))
            client = world.client(version)
            connect = {"type": CONNECT, "client_id": b"c", "user": b"u", "clean_start": True}
            client.conn.take(encode(connect, version) + publish)
            client.conn.take(publish)
            assert seen == [] and not client.inbox and world.session("c") is None
            thinking.client.authenticated(code)
            client.expect(CONNACK, code=code if version == 5 or not code else 4)
            assert seen == [b"u/x"] * (2 * counted) and client.closed == (not counted)


# Bytes of a whole connection, answers in MQTT 5 and 3.1.1.
CONNECT5 = encode({"type": CONNECT, "client_id": b"c", "user": b"u", "password": b"pu", "clean_start": True}, 5)
CONNECT4 = encode({"type": CONNECT, "client_id": b"c", "user": b"u", "password": b"pu", "clean_start": True}, 4)


def auth_packet(code, method=b"M"):
    properties = {AUTHENTICATION_METHOD: method, AUTHENTICATION_DATA: b"x"} if method else {}
    return encode({"type": AUTH, "code": code, "properties": properties}, 5)


def test_games_with_packets():
    for data5, data4, code5, code4 in (
        (CONNECT5 + CONNECT5, CONNECT4 + CONNECT4, 0x82, CLOSED),  # a second CONNECT [MQTT-3.1.0-2]
        (CONNECT5 + CONNECT4, CONNECT4 + CONNECT5, 0x82, CLOSED),
        (CONNECT5 + auth_packet(0x18), CONNECT4 + b"\xf0\0", 0x82, CLOSED),  # AUTH without a method [MQTT-4.12.0-6]
        (CONNECT5 + auth_packet(0x19), CONNECT4 + b"\xf0\2\x19\0", 0x82, CLOSED),
        (CONNECT5 + b"\xf0\0", CONNECT4 + b"\xf1\0", 0x82, CLOSED),
        (CONNECT5 + b"\x20\3\0\0\0", CONNECT4 + b"\x20\2\0\0", 0x82, CLOSED),  # what only servers send
    ):
        for version, data, code in ((5, data5, code5), (4, data4, code4)):
            client = Vault().world.client(version)
            client.feed(data)
            client.expect(CONNACK, code=0)
            assert answer(client) == code, data
    for first in (0x00, 0x30, 0x82, 0xC0, 0xE0, 0xF0, 0x20, 0x11, 0x1F):  # something else than CONNECT [MQTT-3.1.0-1]
        vault = Vault()
        client = vault.world.client()
        client.feed(bytes((first, 2, 0, 0)) + CONNECT5)
        assert answer(client) == CLOSED
        assert vault.world.session("c") is None


def test_connects_that_take_too_long_or_too_much():
    for data in (CONNECT5, CONNECT4):
        vault = Vault(connect_timeout=10)
        client = vault.world.client(data[8])
        for i in range(len(data)):
            if client.closed:
                break
            client.feed(data[i : i + 1])
            vault.world.advance(1000)
        assert i in (10, 11) and answer(client) == CLOSED
        vault.untouched()
    for size, head in ((5000, b"\x10\x88\x27"), (268435455, b"\x10\xff\xff\xff\x7f")):
        vault = Vault(max_connect_size=2000)
        client = vault.world.client()
        client.feed(head)  # before any of it has come
        assert answer(client) == CLOSED, size
    for head in (b"\x10\xff\xff\xff\xff", b"\x10\xff\xff\xff\xff\x7f"):
        client = Vault().world.client()
        client.feed(head)
        assert answer(client) == CLOSED


def test_waiting_for_a_verdict_is_no_way_past_it():
    for version in (5, 4):
        world = World()
        authorizer = Asked(*rules({"topic": "no", "allow": False}))
        world.broker.authenticators.append(authorizer)
        seen = []
        world.broker.subscribe("#", lambda message: seen.append(message.name))
        client = world.connect("c", version, user=b"u")
        data = encode({"type": PUBLISH, "topic": b"ask", "payload": b"", "qos": 0}, version)
        client.feed(data + encode({"type": PUBLISH, "topic": b"no", "payload": b"", "qos": 0}, version) + data)
        world.broker.rights_changed()
        authorizer.answer(ALLOWED, 0)
        assert seen == [b"ask"] and client.held
        authorizer.answer(-1, 0)
        assert seen == [b"ask"] and not client.held


def test_unfinished_packets_of_strangers_take_so_much_memory_and_no_more():
    """However many connections they come from; who is in a hurry, or inside, does not notice."""
    world = World(anonymous="all", max_connecting_bytes=1000, max_connect_size=300, max_connections=200)
    inside = world.connect("inside")
    payload = encode({"type": PUBLISH, "topic": b"t", "payload": bytes(2000), "qos": 1, "packet_id": 1}, 5)
    inside.feed(payload[:1500])
    long = encode({"type": CONNECT, "client_id": b"c" * 220, "clean_start": True}, 5)
    assert 230 < len(long) < 250
    for _ in range(3):
        waiting = [world.client() for _ in range(10)]
        for client in waiting:
            client.feed(long[:3])
            assert not client.closed  # to announce much takes no room
        for i in range(10):
            waiting[i].feed(long[3:-1])
            assert waiting[max(i - 4, 0)].closed == (i > 3) and not waiting[i].closed, i  # the oldest gives way
            assert world.broker.connection_registry.handshake_bytes <= 1000
        world.connect("whole").ping()
        waiting[9].feed(long[-1:])
        waiting[9].expect(CONNACK, code=0)
        waiting[8].lose()
        world.advance(12000)
        assert waiting[6].closed and waiting[7].closed and not world.broker.connection_registry.handshake_bytes
    inside.feed(payload[1500:])
    assert answer(inside) == 0x10
    assert not world.errors()


def test_what_is_sent_ahead_of_the_answer_takes_so_much_memory_and_no_more():
    for code in (0, 0x86):
        world = World(anonymous="all", max_connecting_bytes=1000)
        thinking = Thinking()
        world.broker.authenticators.append(thinking)
        ping = encode({"type": PINGREQ}, 5)
        clients = [world.client() for _ in range(3)]
        asked = []
        for i in range(3):
            connect = {"type": CONNECT, "client_id": b"c%d" % i, "user": b"u", "clean_start": True}
            clients[i].conn.take(encode(connect, 5) + ping * 200)
            asked.append(thinking.client)
            world.broker.flush()
        clients[0].expect(CONNACK, code=0x97)
        assert clients[0].closed
        for i in (1, 2):
            asked[i].authenticated(code)
            clients[i].expect(CONNACK, code=code)
            assert len(clients[i].inbox) == (0 if code else 200)
        assert not world.broker.connection_registry.handshake_bytes


def test_user_properties_of_strangers_are_not_kept():
    world = World(anonymous="all")
    thinking = Thinking()
    world.broker.authenticators.append(thinking)
    many = {USER_PROPERTY: [(b"", b"")] * 200}
    for properties in (many, {USER_PROPERTY: [(b"a", b"b")], RECEIVE_MAXIMUM: 5}):
        client = world.client()
        client.say(CONNECT, client_id=b"c", user=b"u", clean_start=True, properties=properties)
        assert USER_PROPERTY not in thinking.client.conn.connect.properties
        thinking.client.authenticated(0)
        client.expect(CONNACK, code=0)


def test_what_a_client_calls_itself_does_not_break_up_the_log():
    for name in ("a\nb", "a\r", "\x1b[2J", "\x7f", "\x85", "\x9b2J", "\u2028", "\u2029", "\u202e", "a b", "\xa0", "\ufeff"):
        world = World(anonymous="all")
        world.connect("x" + name + "y").lose()
        lines = [text for level, text in world.log]
        assert len(lines) == 2
        for line in lines:
            assert line.startswith("'x") and all([" " <= c <= "~" for c in line]), (name, line)
