"""What is counted of addresses: their connections."""

from harness import World, raises
from port.core.limits.listener import Listener

HERE, THERE = "10.0.0.1:1", "10.0.0.2:1"


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
            assert world.broker.counters.refused == world.broker.default_listener.refused == 3
            clients[0].connect("c")
            clients[0].disconnect()
            assert world.client(5, same % 60).conn is not None
            assert world.client(5, same % 61).conn is None
            assert world.broker.counters.connections_total == limit + 2


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
