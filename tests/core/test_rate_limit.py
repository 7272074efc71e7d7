"""How fast a client may send: allowances, waiting, disconnecting."""

from harness import VERSIONS, World
from port.core.wire.codec import PINGREQ, PUBLISH, SUBSCRIBE
from port.core.limits.options import Options
from port.core.limits.rate_limit import Rate
from port.core.protocol.client_packets import encode
from rights import Asked, world_with


def publishes(client, count, topic=b"t", size=0, first=0):
    """That many QoS 0 PUBLISH packets with numbers as payload."""
    packets = [
        encode({"type": PUBLISH, "topic": topic, "payload": b"%d" % i + b"." * size, "qos": 0}, client.version)
        for i in range(first, first + count)
    ]
    return b"".join(packets)


def watching(world):
    """Numbers of the messages that come through the broker, in order."""
    seen = []
    world.broker.subscribe("#", lambda message: seen.append(int(message.payload.split(b".")[0])))
    return seen


# -- allowances --------------------------------------------------------------------------------------


def test_an_allowance_fills_up_at_its_rate_and_no_further():
    for messages, octets, take in (
        (10, 0, lambda rate, options, count, now: rate.take(options, count, 1000000, now)),
        (0, 10, lambda rate, options, count, now: rate.take(options, 1000000, count, now)),
        (10, 10, lambda rate, options, count, now: rate.take(options, count, count, now)),
    ):
        options = Options(max_message_rate=messages, max_byte_rate=octets, rate_burst=2)
        rate = Rate(options, 5000)
        for now, count, expected in (
            (5000, 20, True), (5000, 1, False), (5099, 0, False), (5100, 0, True), (5100, 1, False), (5300, 1, True), (5300, 1, False),
            (99999, 20, True), (99999, 1, False), (200000, 120, False), (209999, 0, False), (210000, 0, True), (300000, 20, True),
            (300050, 0, True), (300100, 1, True), (300100, 0, True), (300150, 1, False), (300200, 0, True),
        ):  # fmt: skip
            assert take(rate, options, count, now) == expected, (messages, octets, now)


def test_either_allowance_can_be_overdrawn():
    options = Options(max_message_rate=10, max_byte_rate=100, rate_burst=1)
    assert Rate(options, 0).take(options, 10, 100, 0)
    assert not Rate(options, 0).take(options, 11, 0, 0)
    assert not Rate(options, 0).take(options, 0, 101, 0)


# -- a client that waits --------------------------------------------------------------------------------


def test_who_is_too_fast_is_read_again_when_it_has_paid():
    for version in VERSIONS:
        world = World(max_message_rate=10, rate_burst=1)
        seen = watching(world)
        client = world.connect("c", version)
        client.feed(publishes(client, 10))
        assert not client.held
        client.feed(publishes(client, 35, first=10))  # one read is taken whole
        assert seen == list(range(45)) and client.held and world.broker.counters.rate_limited == 1
        client.feed(publishes(client, 5, first=45))
        client.say(PINGREQ)
        world.advance(3000)
        assert client.held and len(seen) == 45
        world.advance(1000)  # 35 messages take 3.5 s at 10 a second, looked at once a second
        assert not client.held
        client.feed(b"")
        assert seen == list(range(50)) and not client.held
        client.expect(13)
        assert world.broker.counters.rate_limited == 1 and not client.closed


def test_bytes_are_counted_whatever_they_are():
    for data in (b"\xc0\0" * 600, b"\x30\xb0\x09\0\1t" + b"x" * 1197):
        world = World(max_byte_rate=1000, rate_burst=1)
        client = world.connect("c", 4)
        client.feed(data)
        assert client.held, data[:2]
        world.advance(1000)
        assert not client.held
    world = World(max_message_rate=1, rate_burst=1)
    client = world.connect("c", 4)
    client.feed(b"\xc0\0" * 600)  # no PUBLISH packets
    assert not client.held


def test_on_average_no_more_than_the_rate_gets_through():
    world = World(max_message_rate=20, rate_burst=2)
    seen = watching(world)
    client = world.connect("c")
    for second in range(60):
        for i in range(100):
            if not client.held:
                client.feed(publishes(client, 1))
        world.advance(1000)
    assert 60 * 20 <= len(seen) <= 62 * 20 + 1


def test_half_a_packet_waits_too():
    world = World(max_message_rate=1, rate_burst=1)
    seen = watching(world)
    client = world.connect("c")
    data = publishes(client, 4)
    half = len(data) - 3
    client.feed(data[:half])
    assert client.held and seen == [0, 1, 2]
    client.feed(data[half:])
    world.advance(2000)
    client.feed(b"")
    assert seen == [0, 1, 2, 3]


def test_a_client_that_is_held_is_not_silent_and_others_are_served():
    world = World(max_message_rate=1, rate_burst=1)
    client, other = world.connect("c", keep_alive=10), world.connect("o")
    client.feed(publishes(client, 101))
    for _ in range(9):
        world.advance(10000)
        assert client.held and not client.closed
        other.publish("t", "x", 1, 0x10)
    world.advance(10000)
    assert not client.held
    world.advance(10000)
    client.ping()
    world.advance(17000)
    client.expect_close(0x8D)


def test_who_is_held_still_receives_and_can_be_ended():
    world = World(max_message_rate=1, rate_burst=1)
    client, other = world.connect("c"), world.connect("o")
    client.subscribe("t")
    client.feed(publishes(client, 30, b"u"))
    assert client.held
    other.publish("t", "x")
    client.expect_message("t", "x")
    world.broker.disconnect("c")
    client.expect_close(0x98)
    lost = world.connect("d")
    lost.feed(publishes(lost, 30, b"u"))
    lost.lose()
    world.advance(100000)
    assert not world.errors() and world.session("d") is None


def test_other_limits_hold_from_now_on():
    world = World(max_message_rate=1, rate_burst=1)
    client = world.connect("c")
    client.feed(publishes(client, 500))
    world.broker.rights_changed()
    world.advance(5000)
    assert client.held  # settling rights is no way to get a new allowance
    world.broker.options.max_message_rate = 0
    world.broker.rights_changed()
    world.advance(1000)
    assert not client.held
    client.feed(publishes(client, 500))
    assert not client.held


def test_a_client_that_is_asked_about_and_too_fast():
    world = World(max_message_rate=2, rate_burst=1)
    authorizer = Asked()
    world.broker.authenticators.append(authorizer)
    seen = watching(world)
    client = world.connect("c", user=b"u")
    client.feed(publishes(client, 4))
    for now in (0, 5000):
        world.advance(now)
        assert client.held and seen == []  # one does not undo the other
    authorizer.answer(6)
    assert seen == [0, 1, 2, 3] and client.held  # counted once, 2 too many
    world.advance(1000)
    assert not client.held and world.broker.counters.rate_limited == 1


# -- a client that is disconnected --------------------------------------------------------------------------


def test_who_is_too_fast_can_be_disconnected():
    for version in VERSIONS:
        for options, data in (
            ({"max_message_rate": 5}, lambda client: publishes(client, 11)),
            ({"max_byte_rate": 500}, lambda client: publishes(client, 1, size=1000)),
            ({"max_byte_rate": 500}, lambda client: b"\xc0\0" * 501),
        ):
            world = World(rate_exceeded="disconnect", **options)
            client = world.connect("c", version)
            client.stop_reading()  # PINGRESP packets
            client.feed(data(client))
            client.go_on_reading()
            client.inbox = client.inbox[-1:] if version == 5 else []
            client.expect_close(0x96)
            assert world.broker.counters.rate_limited == 1


def test_up_to_the_rate_nobody_is_disconnected():
    world = World(rate_exceeded="disconnect", max_message_rate=5, rate_burst=2)
    client = world.connect("c")
    client.feed(publishes(client, 10))
    for _ in range(20):
        world.advance(1000)
        client.feed(publishes(client, 5))
    client.ping()


def test_limits_of_single_clients_and_the_figure():
    world = world_with()
    world.broker.client_limits = [(b"slow", None, {"max_message_rate": 1, "rate_burst": 1}), (None, b"fast*", {"max_message_rate": 0})]
    slow, fast = world.connect("c", user=b"slow"), world.connect("fast1", user=b"u")
    for client in (slow, fast):
        client.feed(publishes(client, 100))
    assert slow.held and not fast.held
    fast.feed(encode({"type": SUBSCRIBE, "packet_id": 1, "filters": [(b"$SYS/broker/clients/rate/limited", 0)]}, 5))
    assert fast.inbox[-1]["payload"] == b"1"
