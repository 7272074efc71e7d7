"""What MQTT 3.1 allows and its successors do not."""

from harness import World, raw
from port.core.wire.codec import CONNACK, PINGRESP, PUBCOMP, PUBLISH, PUBREL, SUBACK, UNSUBACK
from port.core.protocol.client_packets import decode
from rights import ALL, rules, world_with

PROTOCOL = "0006 4d5149736470 03"


def send_connect(client, flags, rest):
    body = raw("%s %s 0000 %s" % (PROTOCOL, flags, rest))
    client.feed(bytes((0x10, len(body))) + body)


def test_connect_flags_without_a_meaning():
    for flags in ("03", "0a", "1a", "22", "3b"):  # bit 0; QoS and RETAIN of a will that is not there
        client = World().client(3)
        send_connect(client, flags, "0001 63")
        client.expect(CONNACK, code=0)
        client.ping()
    world = World()  # bit 0 beside a will, which goes out
    watcher = world.connect("w")
    watcher.subscribe("t", 1)
    client = world.client(3)
    send_connect(client, "0f", "0001 63 0001 74 0001 78")
    client.expect(CONNACK, code=0)
    client.lose()
    watcher.expect_message("t", "x", 1)


def test_faulty_connects():
    for flags, rest in (
        ("1e", "0001 63 0001 74 0001 78"),  # will QoS 3
        ("42", "0001 63 0001 70"),  # a password without a user name
        ("82", "0001 63 0002 75"),  # a user name that ends too soon
        ("c2", "0001 63 0001 75 0002 70"),
        ("02", "0001 63 00"),
    ):
        client = World().client(3)
        send_connect(client, flags, rest)
        client.expect_close()


def test_user_name_and_password_flags_without_the_fields():
    for flags, rest, user, password in (
        ("82", "", None, None),
        ("c2", "", None, None),
        ("c2", "0001 75", b"u", None),
        ("c2", "0001 75 0001 70", b"u", b"p"),
    ):
        world = world_with(ALL)
        client = world.client(3)
        send_connect(client, flags, "0001 63" + rest)
        client.expect(CONNACK, code=0)
        assert world.session("c").user == user
        body = raw("%s %s 0000 0001 63 %s" % (PROTOCOL, flags, rest))
        packet = decode(bytes((0x10, len(body))) + body, 3)
        assert packet["user"] == user and packet["password"] == password
    client = World(anonymous="none").client(3)  # who gives no name is anonymous
    send_connect(client, "c2", "0001 63")
    client.expect(CONNACK, code=5)
    client.expect_close()


def test_flags_of_packets_that_are_no_publish():
    world = World()
    for text, kind in (
        ("8a 06  0001 0001 74 01", SUBACK), ("80 06  0002 0001 74 01", SUBACK), ("8f 06  0003 0001 74 01", SUBACK),
        ("aa 05  0004 0001 74", UNSUBACK), ("a0 05  0005 0001 74", UNSUBACK), ("6a 02  0006", PUBCOMP),
        ("60 02  0007", PUBCOMP), ("c8 00", PINGRESP),
    ):  # fmt: skip
        client = world.connect("c", 3)
        client.feed(raw(text))
        packet = client.expect(kind)
        assert packet.get("packet_id", 0) == (0 if kind == PINGRESP else raw(text)[3]), text
        client.ping()
        assert decode(raw(text), 3)["type"] == raw(text)[0] >> 4
    client = world.connect("d", 3, will={"topic": b"will", "payload": b""})
    watcher = world.connect("w")
    watcher.subscribe("will")
    client.feed(raw("e8 00"))
    client.expect_close()
    watcher.expect_nothing()


def test_acknowledgements_with_flags():
    world = World()
    client = world.connect("c", 3)
    client.subscribe("t", 2)
    world.broker.publish("t", "x", 1)
    world.broker.publish("t", "y", 2)
    first, second = client.expect(PUBLISH), client.expect(PUBLISH)
    client.feed(bytes((0x48, 2, 0, first["packet_id"], 0x58, 2, 0, second["packet_id"])))
    client.expect(PUBREL, packet_id=second["packet_id"])
    client.feed(bytes((0x78, 2, 0, second["packet_id"])))
    assert not world.session("c").inflight
    client.ping()


def test_a_pubrel_sent_again_after_a_reconnect():
    world = World()
    client = world.connect("c", 3, clean_start=False)
    packet_id = client.send_publish("t", "x", 2)
    client.lose()
    client = world.connect("c", 3, clean_start=False)
    client.feed(bytes((0x6A, 2, 0, packet_id)))
    client.expect(PUBCOMP, packet_id=packet_id)
    assert not world.session("c").received


def test_dup_with_qos_0():
    world = World()
    for version in (3, 4):
        watcher = world.connect("w", version)
        watcher.subscribe("t")
        client = world.connect("c", 3)
        client.feed(raw("38 04  0001 74 78"))
        watcher.expect_message("t", "x")
        client.ping()
        assert decode(raw("38 04  0001 74 78"), 3)["payload"] == b"x"


def test_a_suback_tells_no_refusal():
    world = world_with(ALL)
    world.broker.set_acl(rules({"topic": "ok"}))
    for version, codes in ((3, b"\1\2\0"), (4, b"\1\x80\x80")):
        client = world.connect("c", version, user=b"u")
        client.feed(raw("82 12  0001  0002 6f6b 01  0003 6e6f31 02  0002 6e6f 00"))
        client.expect(SUBACK, codes=codes)
        assert list(world.session("c").subscriptions) == [b"ok"]
        for topic in ("ok", "no1", "no"):
            world.broker.publish(topic, "x")
        client.expect_message("ok", "x")
        client.expect_nothing()
    limited = World(max_qos=1, max_subscriptions=1).connect("c", 3)
    limited.feed(raw("82 0e  0001  0001 61 02  0001 62 02  0001 63 01"))
    limited.expect(SUBACK, codes=b"\1\1\1")


def test_the_other_bits_of_a_requested_qos():
    world = World()
    client = world.connect("c", 3)
    client.feed(raw("82 06  0001  0001 74 fd"))
    client.expect(SUBACK, codes=b"\1")
    client.publish("t", "x", 1)
    client.expect_message("t", "x", 1)  # no "no local"
    client.feed(raw("82 06  0002  0001 74 03"))
    client.expect_close()
