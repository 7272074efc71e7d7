"""What is remembered of addresses: their connections, and how long those wait who cannot authenticate."""

from harness import World, raises
from port.core.auth import Authenticator
from port.core.listener import Listener
from port.core.options import Options
from port.core.peers import Peers
from rights import Users

HERE, THERE = "10.0.0.1:1", "10.0.0.2:1"


class Failing(Authenticator):
    """Refuses with whatever code the password is."""

    def authenticate(self, client, user, password):
        return password[0]


def world_with(authenticator, **options):
    options.setdefault("connect_timeout", 3600)
    world = World(**options)
    world.broker.authenticators.append(authenticator)
    return world


def attempt(world, address, password=b"wrong", version=5, user=b"u"):
    """The code of a CONNECT's answer; None when the connection is not accepted at all."""
    client = world.client(version, address)
    if client.conn is None:
        return None
    client.connect("c" + address, user=user, password=password)
    code = client.connack["code"]
    if not code:
        client.disconnect()
    assert client.closed
    return code


# -- connections ------------------------------------------------------------------------------------


def test_connections_of_one_address_are_counted():
    for limit in (1, 3):
        for addresses in (
            ("10.0.0.1:%d", "10.0.0.2:%d"), ("10.0.0.1:%d", "[::1:10.0.0.1]:%d"), ("[fd00::%d]:1", "[fd00:0:0:1::%d]:1"),
            ("[2001:db8:1:2:3::%d]:1", "[2001:db8:1:3:3::%d]:1"),
        ):  # fmt: skip
            world = World(max_connections_per_address=limit, anonymous="all")
            same, other = addresses
            clients = [world.client(5, same % (i + 1)) for i in range(limit)]
            assert all([client.conn is not None for client in clients])
            for i in range(3):
                assert world.client(5, same % (50 + i)).conn is None, same
            assert world.client(5, other % 1).conn is not None, other
            assert world.broker.refused == world.broker.default_listener.refused == 3
            clients[0].connect("c")
            clients[0].disconnect()
            assert world.client(5, same % 60).conn is not None
            assert world.client(5, same % 61).conn is None
            assert world.broker.connections_total == limit + 2


def test_mapped_addresses_are_the_same_as_plain_ones():
    world = World(max_connections_per_address=1)
    assert world.client(5, "10.0.0.1:1").conn is not None
    assert world.client(5, "[::ffff:10.0.0.1]:1").conn is None


def test_this_machine_may_have_any_number_and_zero_is_no_limit():
    world = World(max_connections_per_address=1)
    for address in ("127.0.0.1:1", "[::1]:1", "unix", "[::ffff:127.0.0.1]:1"):
        for _ in range(3):
            assert world.client(5, address).conn is not None
    world = World(max_connections_per_address=0)
    assert all([world.client(5, HERE).conn is not None for _ in range(50)])


def test_every_end_of_a_connection_is_counted_once():
    world = World(max_connections_per_address=1, connect_timeout=5, anonymous="all")

    def gone(client):
        assert world.client(5, HERE).conn is None  # as long as it is there

    for end in ("lost", "refused", "timeout", "taken over", "disconnect", "lost twice"):
        client = world.client(5, HERE)
        assert client.conn is not None, end
        gone(client)
        if end == "refused":
            client.feed(b"\x30\0")
        elif end == "timeout":
            world.advance(7000)
        elif end == "taken over":
            client.connect("c")
            world.connect("c")
        elif end == "disconnect":
            client.connect("c")
            client.disconnect()
        else:
            client.conn.lost()
            client.conn.lost()
    assert world.client(5, HERE).conn is not None


def test_memory_that_runs_out_leaves_no_connection_counted():
    world = World(max_connections_per_address=1)
    clock = world.broker.clock
    calls = [0]

    def failing():
        calls[0] += 1
        if calls[0] == 2:  # while the connection is made
            raise MemoryError
        return clock()

    world.broker.clock = failing
    raises(MemoryError, world.client, 5, HERE)
    assert calls[0] == 2 and not world.broker.connections
    assert world.client(5, HERE).conn is not None


def test_a_listener_has_its_own_limit_of_the_same_count():
    world = World(max_connections_per_address=5)
    broker = world.broker
    narrow = broker.add_listener(Listener("n", "tcp", broker.options, [], None, {"max_connections_per_address": 2}))
    assert world.client(5, HERE).conn is not None
    assert world.client(5, HERE, narrow).conn is not None
    assert world.client(5, HERE, narrow).conn is None
    assert world.client(5, HERE).conn is not None
    assert narrow.refused == 1 and broker.default_listener.refused == 0


# -- failures ----------------------------------------------------------------------------------------


def test_ten_failures_are_free_then_each_doubles_the_wait():
    world = world_with(Users(u="right"))
    assert [attempt(world, HERE) for _ in range(11)] == [0x86] * 11
    for wait in (1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300):
        assert attempt(world, HERE, b"right") is None
        world.advance(wait * 1000 - 1)
        assert attempt(world, HERE, b"right") is None, wait
        world.advance(1)
        assert attempt(world, THERE, b"right") == 0  # others do not wait
        assert attempt(world, HERE) == 0x86, wait
    assert world.broker.auth_failed >= 22


def test_a_success_clears_the_failures():
    world = world_with(Users(u="right"), max_auth_failures=2)
    for _ in range(3):
        assert [attempt(world, HERE) for _ in range(2)] == [0x86] * 2
        assert attempt(world, HERE, b"right") == 0
    assert [attempt(world, HERE) for _ in range(3)] == [0x86] * 3
    assert attempt(world, HERE, b"right") is None


def test_a_success_clears_no_failures_of_others():
    """Or whoever has an account, or needs none, would get new attempts at another's password by it."""
    for own in ((b"me", b"mine"), (None, None), (b"x" * 65, b"long")):
        world = world_with(Users(u="right", me="mine", **{"x" * 65: "long"}), max_auth_failures=4, anonymous="all")
        answers = []
        for _ in range(3):
            answers += [attempt(world, HERE), attempt(world, HERE), attempt(world, HERE, own[1], user=own[0])]
        assert answers[:6] == [0x86, 0x86, 0] * 2 and answers[6] == 0x86 and answers[7] is None, own
    # Nor does it help to fail oneself, before or after.
    world = world_with(Users(u="right", me="mine"), max_auth_failures=4)
    for first, second in ((b"u", b"me"), (b"me", b"u")):
        assert [attempt(world, HERE, user=first), attempt(world, HERE, user=second)] == [0x86] * 2
        assert attempt(world, HERE, b"mine", user=b"me") == 0
    assert attempt(world, HERE) == 0x86 and attempt(world, HERE) is None


def test_time_clears_the_failures():
    world = world_with(Users(u="right"), max_auth_failures=2, auth_backoff=4)
    assert [attempt(world, HERE) for _ in range(3)] == [0x86] * 3
    world.advance(120000)
    assert [attempt(world, HERE) for _ in range(3)] == [0x86] * 3


def test_who_was_there_before_is_told_so_at_connect():
    for version, code in ((3, 5), (4, 5), (5, 0x8A)):
        world = world_with(Users(u="right"), max_auth_failures=1, auth_backoff=4)
        waiting = [world.client(version, HERE) for _ in range(2)]
        other = world.client(version, THERE)
        assert [attempt(world, HERE) for _ in range(2)] == [0x86] * 2
        waiting[0].connect("c", user=b"u", password=b"right")
        assert waiting[0].connack["code"] == code and waiting[0].closed
        other.connect("d", user=b"u", password=b"right")
        assert other.connack["code"] == 0
        before = world.broker.auth_failed
        world.advance(1000)
        waiting[1].connect("c", user=b"u", password=b"right")  # being refused has not made it longer
        assert waiting[1].connack["code"] == 0
        assert world.broker.auth_failed == before and world.broker.auth_blocked == 1


def test_this_machine_does_not_wait():
    for address in ("127.0.0.1:1", "[::1]:1", "unix", "[::ffff:127.0.0.1]:1"):
        world = world_with(Users(u="right"), max_auth_failures=1)
        assert [attempt(world, address) for _ in range(20)] == [0x86] * 20
        assert attempt(world, address, b"right") == 0  # somebody else, through the same proxy
        assert world.broker.auth_failed == 20


def test_what_counts_as_a_failure():
    for code, counts in ((0x86, True), (0x87, True), (0x88, False), (0x89, False), (0x80, False)):
        world = world_with(Failing(), max_auth_failures=1)
        for _ in range(5):
            attempt(world, HERE, bytes((code,)))
        assert (world.client(5, HERE).conn is None) == counts, code
    world = world_with(Users(u="right"), max_auth_failures=1)
    for _ in range(5):
        world.client(5, HERE).feed(b"\x10\2\0\0")  # malformed
    assert world.client(5, HERE).conn is not None
    world = world_with(Users(u="right"), max_auth_failures=0)
    assert [attempt(world, HERE) for _ in range(50)] == [0x86] * 50  # never


def test_the_table_of_failures_is_bounded():
    options = Options(max_tracked_addresses=8, max_auth_failures=2, auth_backoff=100)
    peers = Peers()
    for _ in range(4):
        peers.failed("1.1.1.1:1", 0, options)
    for i in range(1000):
        peers.failed("10.0.%d.%d:1" % (i >> 8, i & 255), 0, options)
        assert len(peers._failures) <= 8
    assert peers.blocked("1.1.1.1:1", 1999) and not peers.blocked("1.1.1.1:1", 2000)  # it is kept, as it has to wait
    for i in range(1000):
        for _ in range(4):
            peers.failed("[fd00:0:0:%x::1]:1" % i, 0, options)
        assert len(peers._failures) <= 8
    assert peers.blocked("[fd00:0:0:3e7::2]:9", 1999)
    peers.forget(200000, options)
    assert len(peers._failures) == 8
    peers.forget(202001, options)
    assert len(peers._failures) == 0


def test_the_figures_tell():
    world = world_with(Users(u="right"), max_auth_failures=1, max_connections_per_address=2)
    assert [attempt(world, HERE) for _ in range(3)] == [0x86, 0x86, None]
    clients = [world.client(5, THERE) for _ in range(3)]
    clients[0].connect("c", user=b"u", password=b"right")
    clients[0].subscribe("$SYS/#")
    figures = {}
    for packet in clients[0].messages():
        figures[packet["topic"][12:]] = packet["payload"]
    assert figures[b"auth/failed"] == b"2" and figures[b"auth/blocked"] == b"1" and figures[b"connections/refused"] == b"2"
