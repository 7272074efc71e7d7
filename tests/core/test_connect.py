"""CONNECT and CONNACK (clauses 3.1 and 3.2)."""

from harness import VERSIONS, World, raw
from port.core.wire.codec import CONNACK, CONNECT, DISCONNECT, PINGREQ, PUBLISH, SUBACK, SUBSCRIBE
from port.core.wire.properties import (
    ASSIGNED_CLIENT_IDENTIFIER,
    MAXIMUM_PACKET_SIZE,
    MAXIMUM_QOS,
    REASON_STRING,
    RECEIVE_MAXIMUM,
    REQUEST_RESPONSE_INFORMATION,
    RESPONSE_INFORMATION,
    RETAIN_AVAILABLE,
    SERVER_KEEP_ALIVE,
    SERVER_REFERENCE,
    SESSION_EXPIRY_INTERVAL,
    SHARED_SUBSCRIPTION_AVAILABLE,
    SUBSCRIPTION_IDENTIFIER_AVAILABLE,
    TOPIC_ALIAS_MAXIMUM,
    WILDCARD_SUBSCRIPTION_AVAILABLE,
)
from port.core.limits.listener import Listener
from port.core.auth.authenticator import PENDING, Authenticator
from port.core.protocol.client_packets import decode, encode


def refused(world, code, version=5, **fields):
    """Connect, be refused with this code, and see the connection closed."""
    client = world.client(version)
    client.connect(**fields)
    assert client.connack["code"] == code, client.connack
    assert client.connack["session_present"] is False  # [MQTT-3.2.2-6]
    assert client.closed
    return client


def test_the_answer_byte_by_byte():
    for version, text, expected in (
        (3, "10 0f  0006 4d5149736470 03 02 0000  0001 63", "20 02 00 00"),
        (4, "10 0d  0004 4d515454 04 02 0000  0001 63", "20 02 00 00"),
        # Receive maximum 16, topic alias maximum 8, maximum packet size 8192.
        (5, "10 0e  0004 4d515454 05 02 0000 00  0001 63", "20 0e 00 00 0b  21 0010  22 0008  27 00002000"),
    ):
        world = World()
        for name in ("receive_maximum", "topic_alias_maximum", "max_packet_size"):
            board = {"receive_maximum": 16, "topic_alias_maximum": 8, "max_packet_size": 8192}
            setattr(world.broker.options, name, board[name])  # subset: ok, the names exist
        client = world.client(version)
        client.feed(raw(text))
        assert encode(client.expect(CONNACK), version) == raw(expected), version


def test_the_connack_tells_what_is_limited():
    world = World(
        receive_maximum=5, topic_alias_maximum=3, max_packet_size=1000, max_qos=1, retain_available=False,
        wildcard_subscriptions=False, subscription_identifiers=False, shared_subscriptions=False,
        max_keep_alive=30, max_session_expiry=60, response_information="base/",
    )  # fmt: skip
    wishes = {SESSION_EXPIRY_INTERVAL: 100, REQUEST_RESPONSE_INFORMATION: 1}
    client = world.connect("", keep_alive=60, properties=wishes)
    assert client.connack["properties"].pop(ASSIGNED_CLIENT_IDENTIFIER).startswith(b"auto-")
    assert client.connack["properties"] == {
        RECEIVE_MAXIMUM: 5,
        TOPIC_ALIAS_MAXIMUM: 3,
        MAXIMUM_PACKET_SIZE: 1000,
        MAXIMUM_QOS: 1,
        RETAIN_AVAILABLE: 0,
        WILDCARD_SUBSCRIPTION_AVAILABLE: 0,
        SUBSCRIPTION_IDENTIFIER_AVAILABLE: 0,
        SHARED_SUBSCRIPTION_AVAILABLE: 0,
        SERVER_KEEP_ALIVE: 30,
        SESSION_EXPIRY_INTERVAL: 60,
        RESPONSE_INFORMATION: b"base/",
    }


def test_the_connack_is_silent_about_what_is_not():
    world = World(receive_maximum=65535, topic_alias_maximum=0, max_packet_size=268435460, response_information="base/")
    client = world.connect("c", keep_alive=60, properties={SESSION_EXPIRY_INTERVAL: 100})
    assert client.connack["properties"] == {}


def test_server_keep_alive_also_for_clients_that_want_none():
    world = World(max_keep_alive=30)
    for asked, told in ((0, 30), (31, 30), (30, None), (29, None)):
        client = world.connect("c%d" % asked, keep_alive=asked)
        assert client.connack["properties"].get(SERVER_KEEP_ALIVE) == told, asked


def test_response_information_only_on_request():
    world = World(response_information="base/")
    for asked, told in ((None, None), (0, None), (1, b"base/")):
        properties = {} if asked is None else {REQUEST_RESPONSE_INFORMATION: asked}
        client = world.connect("c%s" % asked, properties=properties)
        assert client.connack["properties"].get(RESPONSE_INFORMATION) == told, asked


# -- client ids -----------------------------------------------------------------------------


def test_an_assigned_client_id_can_be_used_to_come_back():
    world = World()
    client = world.connect("", clean_start=False, properties={SESSION_EXPIRY_INTERVAL: 100})
    client_id = client.connack["properties"][ASSIGNED_CLIENT_IDENTIFIER]
    other = world.connect("")
    assert other.connack["properties"][ASSIGNED_CLIENT_IDENTIFIER] != client_id
    client.disconnect()
    again = world.connect(client_id, clean_start=False)
    assert again.connack["session_present"]


def test_an_assigned_client_id_is_never_one_in_use():
    numbers = [b"\1" * 8, b"\2" * 8]
    world = World()
    world.broker.random = lambda size: numbers.pop(0)
    world.connect("auto-" + "01" * 8)
    assert world.connect("").connack["properties"][ASSIGNED_CLIENT_IDENTIFIER] == b"auto-" + b"02" * 8


def test_client_ids_begin_as_asked():
    world = World(auto_id_prefix="x" * 7, max_client_id_length=23)
    other = Listener("other", "tcp", world.broker.options, [], None, {"auto_id_prefix": "\u00e4/"})
    for listener, prefix in ((None, b"x" * 7), (other, "\u00e4/".encode())):
        client_id = world.connect("", listener=listener).connack["properties"][ASSIGNED_CLIENT_IDENTIFIER]
        assert client_id.startswith(prefix) and len(client_id) == len(prefix) + 16
        world.connect("", 4, listener=listener)
        assert sum([name.startswith(prefix) for name in world.broker.sessions]) == 2


def test_empty_client_ids_that_are_not_allowed():
    world = World(allow_zero_length_clientid=False)
    free = Listener("free", "tcp", world.broker.options, [], None, {"allow_zero_length_clientid": True})
    for version, code in ((4, 2), (5, 0x85)):
        refused(world, code, version=version, client_id="")
        world.connect("", version, listener=free)
        world.connect("c", version)


def test_an_empty_client_id_in_mqtt_3():
    # 3.1.1 [MQTT-3.1.3-7] [MQTT-3.1.3-8]: allowed with clean session; MQTT 3.1 wants 1 to 23 characters.
    accepted = World().client(4)
    accepted.feed(raw("10 0c  0004 4d515454 04 02 0000  0000"))
    accepted.expect(CONNACK, code=0)
    for version, text in ((4, "10 0c  0004 4d515454 04 00 0000  0000"), (3, "10 0e  0006 4d5149736470 03 02 0000  0000")):
        client = World().client(version)
        client.feed(raw(text))
        client.expect(CONNACK, code=2)
        client.expect_close()


def test_a_client_id_that_is_not_utf8():
    for version, level, code in ((4, "04", 2), (5, "05", 0x85)):
        client = World().client(version)
        properties = "00" if version == 5 else ""
        body = raw("0004 4d515454" + level + "02 0000" + properties + "0003 eda080")
        client.feed(bytes((0x10, len(body))) + body)
        client.expect(CONNACK, code=code)
        client.expect_close()


def test_a_client_id_over_the_limit():
    world = World(max_client_id_length=23, max_topic_length=10)
    world.connect("x" * 23)  # all servers must allow that many [MQTT-3.1.3-5]
    refused(world, 0x85, client_id="x" * 24)
    refused(world, 2, version=4, client_id="x" * 24)


# -- protocol and flags ---------------------------------------------------------------------


def test_unknown_protocol_levels_are_told_what_is_wrong():
    for text, version, code in (
        ("10 0d  0004 4d515454 02 02 0000  0001 63", 5, 0x84),
        ("10 0e  0004 4d515454 06 02 0000 00  0001 63", 5, 0x84),
        ("10 0d  0004 4d515454 03 02 0000  0001 63", 4, 1),  # MQTT 3.1.1's name with MQTT 3.1's level
        ("10 0f  0006 4d5149736470 04 02 0000  0001 63", 4, 1),
    ):
        client = World().client(version)
        client.feed(raw(text))
        client.expect(CONNACK, code=code)
        client.expect_close()


def test_protocol_versions_that_are_not_accepted():
    refusals = {3: 1, 4: 1, 5: 0x84}
    for accepted in ((3,), [4], (5,), [3, 4], (4, 5), [3, 5], [5, 4, 3]):
        world = World(accept_protocol_versions=accepted)
        for version in VERSIONS:
            client = world.client(version)
            client.connect("c", version=version)
            assert client.connack["code"] == (0 if version in accepted else refusals[version]), (accepted, version)
            assert client.closed == (version not in accepted)
        assert (world.broker.mqtt5 is not None) == (5 in accepted)
        assert version in accepted or "MQTT level 5" in world.log[-1][1]


def test_an_unknown_protocol_name_is_not_answered():
    client = World().client(4)
    client.feed(raw("10 0d  0004 48545450 04 02 0000  0001 63"))
    client.expect_close()


def test_bridges_may_set_bit_7_of_the_level():
    for version, text in ((3, "10 0f  0006 4d5149736470 83 02 0000  0001 63"), (4, "10 0d  0004 4d515454 84 02 0000  0001 63")):
        client = World().client(version)
        client.feed(raw(text))
        client.expect(CONNACK, code=0)


# Faulty in every version: flags, the rest of the body.
FAULTY = (
    ("03", "0001 63"),  # the reserved flag [MQTT-3.1.2-3]
    ("0a", "0001 63"),  # will QoS without a will [MQTT-3.1.2-11]
    ("22", "0001 63"),  # will retain without a will [MQTT-3.1.2-13]
    ("1e", "0001 63 0001 74 0001 78"),  # will QoS 3 [MQTT-3.1.2-12]
    ("06", "0001 63 0001 23 0001 78"),  # a wildcard in the will topic
    ("06", "0001 63 0000 0001 78"),  # an empty will topic
    ("06", "0001 63 0002 c080 0001 78"),  # U+0000, overlong
    ("06", "0001 63 0001 74"),  # the will's payload is missing
    ("82", "0001 63"),  # the user name is missing
    ("82", "0001 63 0002 eda0"),  # and is not UTF-8
    ("c2", "0001 63 0001 75"),  # the password is missing
    ("02", "0001 63 00"),  # something left over
    ("02", "0002 63"),  # longer than the packet
    ("02", ""),  # no client id
)


def test_faulty_connects():
    for version in (4, 5):
        for flags, rest in FAULTY:
            if version == 5 and flags in ("06", "1e"):
                rest = rest.replace("0001 63", "0001 63 00")  # a will has properties
            body = raw("0004 4d515454 0%d %s 0000 %s %s" % (version, flags, "00" if version == 5 else "", rest))
            client = World().client(version)
            client.feed(bytes((0x10, len(body))) + body)
            if version == 5:
                client.expect(CONNACK, code=0x81)
            client.expect_close()


def test_a_password_without_a_user_name():
    # Forbidden before MQTT 5: 3.1.1 [MQTT-3.1.2-22].
    client = World().client(4)
    client.feed(raw("10 10  0004 4d515454 04 42 0000  0001 63  0001 70"))
    client.expect_close()
    client = World().client(5)
    client.feed(raw("10 11  0004 4d515454 05 42 0000 00  0001 63  0001 70"))
    client.expect(CONNACK, code=0)


def test_faulty_connect_properties():
    for properties, code in (
        ("03 21 0000", 0x82),  # receive maximum 0
        ("05 27 00000000", 0x82),  # maximum packet size 0
        ("02 17 02", 0x82),  # request problem information 2
        ("02 19 02", 0x82),
        ("04 19 01 19 01", 0x82),  # twice
        ("03 23 0001", 0x82),  # not in a CONNECT
        ("04 16 0001 78", 0x82),  # authentication data without a method
        ("02 7e 00", 0x81),
        ("03 11 0000", 0x81),  # cut off
    ):
        body = raw("0004 4d515454 05 02 0000" + properties + "0001 63")
        client = World().client(5)
        client.feed(bytes((0x10, len(body))) + body)
        client.expect(CONNACK, code=code)
        client.expect_close()


def test_the_first_packet_must_be_a_connect():
    for version in (4, 5):
        subscribe = {"packet_id": 1, "filters": [(b"a", 0)]}
        for kind, fields in ((PINGREQ, {}), (PUBLISH, {"topic": b"t"}), (DISCONNECT, {}), (SUBSCRIBE, subscribe)):
            client = World().client(version)
            client.say(kind, **fields)
            client.expect_close()  # [MQTT-3.1.0-1]


def test_a_second_connect_is_a_protocol_error():
    for version in VERSIONS:
        client = World().connect("c", version)
        client.connect("c")
        client.expect_close(0x82)  # [MQTT-3.1.0-2]


def test_connect_in_pieces_with_what_follows():
    world = World()
    data = encode({"type": CONNECT, "client_id": b"slow", "clean_start": True}, 5)
    data += encode({"type": SUBSCRIBE, "packet_id": 3, "filters": [(b"a", 0)]}, 5)
    client = world.client()
    for i in range(len(data)):
        client.feed(data[i : i + 1])
    client.expect(CONNACK, code=0)
    client.expect(SUBACK, packet_id=3)


def test_packets_sent_before_the_connack_are_handled():
    world = World()
    watcher = world.connect("w")
    watcher.subscribe("t")
    client = world.client()
    client.feed(
        encode({"type": CONNECT, "client_id": b"c", "clean_start": True}, 5)
        + encode({"type": PUBLISH, "topic": b"t", "payload": b"early"}, 5)
        + encode({"type": DISCONNECT}, 5)
    )
    watcher.expect_message("t", "early")
    assert client.closed


# -- limits and refusals --------------------------------------------------------------------


def test_a_connect_over_its_limit_is_dropped_before_it_is_there():
    world = World(max_connect_size=100)
    client = world.client()
    client.feed(b"\x10\xff\xff\x7f")
    client.expect_close()


def test_a_connect_that_never_comes():
    world = World(connect_timeout=5)
    client = world.client()
    client.feed(b"\x10\x20\x00")
    world.advance(4000)
    client.expect_nothing()
    world.advance(2000)
    assert client.closed and client.aborted
    assert not world.broker.connections


def test_too_many_connections():
    world = World(max_connections=2)
    first = world.connect("1")
    world.connect("2")
    refused(world, 0x97, client_id="3")
    refused(world, 3, version=4, client_id="3")
    first.disconnect()
    world.connect("3")


def test_a_takeover_needs_no_room():
    world = World(max_connections=1)
    first = world.connect("1")
    world.connect("1")
    first.expect_close(0x8E)


def test_too_many_connections_with_another_server_to_go_to():
    world = World(max_connections=1, server_reference="other:1883")
    world.connect("1")
    client = refused(world, 0x9C, client_id="2")
    assert client.connack["properties"][SERVER_REFERENCE] == b"other:1883"
    refused(world, 3, version=4, client_id="2")


def test_too_many_sessions():
    world = World(max_sessions=1)
    kept = {SESSION_EXPIRY_INTERVAL: 100}
    world.connect("1", properties=kept).disconnect()
    refused(world, 0x97, client_id="2", properties=kept)
    refused(world, 3, version=4, client_id="2", clean_start=False)
    world.connect("2").disconnect()  # a clean one takes no place
    world.connect("1").disconnect()  # nor does this one any more
    world.connect("2", properties=kept)


def test_too_many_sockets_that_say_nothing():
    world = World(max_connections=4)
    clients = [world.client(5, "10.0.0.%d:1" % (i // 2)) for i in range(world.broker.connection_registry.handshakes)]
    assert world.client(5, "10.0.1.1:1").conn is None  # nobody has more than a quarter of the places
    clients[0].lose()
    assert world.client(5, "10.0.1.1:1").conn is not None


def test_a_connack_larger_than_the_client_allows():
    world = World(response_information="x" * 100)
    properties = {MAXIMUM_PACKET_SIZE: 60, REQUEST_RESPONSE_INFORMATION: 1}
    client = refused(world, 0x95, properties=properties)  # the harness checks the size
    assert client.world.broker.sessions == {}


def test_a_connack_that_just_fits_is_sent():
    for text in ("", "x" * 150):
        client = World(response_information=text).client()
        sizes: "list[int]" = []
        client._received = lambda data: sizes.append(len(data))
        client.connect("c", properties={REQUEST_RESPONSE_INFORMATION: 1})
        for room, code in ((sizes[0] - 1, 0x95), (sizes[0], 0)):
            client = World(response_information=text).client()
            client.connect("c", properties={MAXIMUM_PACKET_SIZE: room, REQUEST_RESPONSE_INFORMATION: 1})
            assert client.connack["code"] == code


def test_a_refusal_may_leave_out_its_text_for_want_of_room():
    client = World().client()
    client.connect("c", properties={MAXIMUM_PACKET_SIZE: 5, 0x15: b"unknown"})
    assert client.connack["code"] == 0x8C
    assert client.connack["properties"] == {}
    client = World().client()
    client.connect("c", properties={0x15: b"unknown"})
    assert REASON_STRING in client.connack["properties"]


def test_wills_the_server_does_not_support():
    world = World(max_qos=1, retain_available=False)
    refused(world, 0x9B, will={"topic": b"t", "qos": 2})  # [MQTT-3.2.2-12]
    refused(world, 0x9A, will={"topic": b"t", "retain": True})  # [MQTT-3.2.2-13]
    refused(world, 0x87, will={"topic": b"$SYS/t"})
    refused(world, 5, version=4, will={"topic": b"$SYS/t"})
    refused(World(max_topic_levels=2), 0x90, will={"topic": b"a/b/c"})


def test_anonymous_clients():
    local = ("127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "unix")
    for anonymous, address, code in (
        [("loopback", address, 0) for address in local]
        + [("loopback", "192.168.1.2:1", 0x87), ("all", "192.168.1.2:1", 0), ("none", "127.0.0.1:1", 0x87)]
    ):
        client = World(anonymous=anonymous).client(5, address)
        client.connect()
        assert client.connack["code"] == code, (anonymous, address)


def test_a_stopping_broker_refuses_who_is_not_in_yet_with_a_code_connack_has():
    # 0x8B is for DISCONNECT alone [MQTT-3.2.2-8].
    world = World(server_reference="other")
    inside = world.connect("c")
    outside = world.client()
    world.broker.authenticators.append(Thinking())
    outside.connect("d")
    world.broker.disconnect_all()
    assert inside.inbox[0]["properties"][SERVER_REFERENCE] == b"other"
    inside.expect_close(0x8B)
    outside.expect(CONNACK, code=0x88)
    outside.expect_close()


class Thinking(Authenticator):
    def authenticate(self, conn, user, password):
        return PENDING


def test_return_codes_of_mqtt_3_are_those_of_the_standard():
    assert decode(raw("20 02 00 05"), 4)["code"] == 5
    world = World(anonymous="none")
    refused(world, 5, version=3)
    refused(world, 5, version=4)
