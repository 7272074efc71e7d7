"""The server on MicroPython in as little memory as a board has, and in less.

The heap sizes are those of a 64-bit interpreter, where an object takes twice as much: 380 KB
there are a board's 190. The broker's code is in it, too, which a board has in its flash: what is less than that is as much as the
code and a few clients take.
"""

import subprocess

import pytest

import toolchain
from fuzzing.core import Random
from fuzzing.packets import connect, publish, subscribe
from swarm import Client, packet_id_of

BOARD = "380k"


def dropped(output):
    """The lines with which the broker reported that it was out of memory."""
    return [line for line in output.splitlines() if "memory" in line]


def test_thirty_clients_at_qos1(start_broker, swarm_of, full):
    """Each publishes to its neighbour and gets everything, in order."""
    server = start_broker("micropython", heapsize=BOARD)
    swarm = swarm_of(server)
    clients = []
    for i in range(30):
        client = swarm.connect(b"client-%05d" % i, 4 + i % 2)
        swarm.exchange(client, subscribe(4 + i % 2, 1, [(b"board/%d/+" % i, 1)]))
        clients.append(client)
    rounds = 500 if full else 100
    received: list[list[int]] = [[] for _ in clients]
    for k in range(rounds):
        for i, client in enumerate(clients):
            topic = b"board/%d/value" % ((i + 1) % 30)
            swarm.send(client, publish(4 + i % 2, topic, b"%06d" % k + bytes(64), 1, k + 1))
        done = 0
        while done < 60:  # a message and an acknowledgement each
            swarm.step()
            for i, client in enumerate(clients):
                assert not client.closed, server.output
                for first, body in client.take():
                    done += 1
                    if first & 0xF0 == 0x30:
                        received[i].append(int(body[-70:-64]))
                        swarm.send(client, b"\x40\2" + packet_id_of(body))
    assert all(numbers == list(range(rounds)) for numbers in received)
    assert not dropped(server.output)


@pytest.mark.parametrize("version", [4, 5])
def test_more_clients_than_allowed(start_broker, swarm_of, version):
    server = start_broker("micropython", heapsize=BOARD, max_connections=10)
    swarm = swarm_of(server)
    clients = [swarm.connect(b"client-%d" % i, version) for i in range(10)]
    for i in range(20):
        late = swarm.open(connect(version, b"late-%d" % i))
        swarm.wait(lambda: late.closed)
        (first, body), = late.packets
        assert (first, body[1]) == (0x20, 0x97 if version == 5 else 3)
    assert all(swarm.ping(client) for client in clients)
    clients[0].send(b"\xe0\0")
    swarm.wait(lambda: clients[0].closed)
    swarm.connect(b"next", version)


@pytest.mark.parametrize("heapsize", ["330k", "430k"])
def test_more_than_fits(start_broker, swarm_of, heapsize, full):
    """More clients, retained messages and large payloads than there is memory for: the broker turns some away."""
    server = start_broker("micropython", heapsize=heapsize, max_retained_bytes=1000000)
    swarm = swarm_of(server)
    for turn in range(10 if full else 3):
        clients = [swarm.open(connect(4 + i % 2, b"squeeze-%02d-%d" % (i, turn))) for i in range(32)]
        swarm.wait(lambda: all(client.packets or client.closed for client in clients))
        for i, client in enumerate(clients):
            if client.closed:
                continue
            version = 4 + i % 2
            swarm.send(client, subscribe(version, 1, [(b"large/#", 1), (b"many/+/%d" % i, 1)]))
            for k in range(6):
                swarm.send(client, publish(version, b"many/%d/%d" % (k, i), bytes(200), 1, k + 1, True))
            swarm.send(client, publish(version, b"large/%d" % i, bytes(7000), i % 3, 20, i % 2 == 0))
            swarm.send(client, publish(version, b"large/x", bytes(8000), 1, 21))
            swarm.send(client, b"\xc0\0")
        swarm.wait(lambda: all(client.closed or (0xD0, b"") in client.packets for client in clients))
        for client in clients:
            swarm.forget(client)
            client.abort()
    # Who comes afterwards gets an answer: there may be no room but for that.
    guest = swarm.open(connect(4, b"guest"))
    swarm.wait(lambda: guest.packets or guest.closed)
    assert guest.packets and guest.packets[0][0] == 0x20


@pytest.mark.parametrize("seed", [1, 2])
def test_no_memory_at_odd_moments(start_broker, swarm_of, full, seed):
    """Whatever the broker is doing when memory runs out: it goes on, and in the end nothing is left over."""
    random = Random(seed)
    script = toolchain.ROOT / "tests" / "robustness" / "squeezed_broker.py"
    server = start_broker("micropython", script=script, heapsize="440k")
    swarm = swarm_of(server)
    count = 0
    clients: list[tuple[Client, int]] = []
    while "calm" not in server.output:
        assert server.returncode is None, server.output
        clients = [(client, version) for client, version in clients if not client.closed]
        if len(clients) < 15:
            count += 1
            version = 4 + count % 2
            clients.append((swarm.open(
                connect(version, b"client-%d" % random.below(25), count % 3 != 0, will=(b"w/x", bytes(50), 1, False))
                + subscribe(version, 1, [(b"t/#", random.below(3)), (b"w/+", 1), (b"$share/g/t/+", 1)])), version))
        client, version = random.choice(clients)
        what = random.below(8)
        if what < 3:
            size = random.choice((10, 500, 4000))
            swarm.send(client, publish(version, b"t/%d" % random.below(9), bytes(size), random.below(3),
                                       1 + random.below(8), random.below(3) == 0))
        elif what < 6:
            swarm.send(client, b"".join(b"\x40\2\0" + bytes((i,)) for i in range(1, 5)))
        elif what < 7:
            swarm.send(client, b"\xc0\0")
        else:
            swarm.forget(client)
            client.abort()
            client.closed = True
        swarm.step(0.001)
    for client, _ in clients:
        swarm.forget(client)
        client.abort()
    while "left:" not in server.output:
        assert server.returncode is None, server.output
        swarm.step(0.05)
    assert "left: 0 0 0 0" in server.output, server.output
    guest = swarm.connect(b"guest")
    swarm.exchange(guest, subscribe(4, 1, [(b"after", 1)]))
    packets = swarm.exchange(guest, publish(4, b"after", b"all", 1, 1), 2)
    assert sorted(first for first, _ in packets) == [0x32, 0x40]


@pytest.mark.parametrize("level", [0, 1])
def test_stalled_subscriber(start_broker, swarm_of, full, level):
    """One never reads: the other loses nothing, and memory suffices."""
    server = start_broker("micropython", heapsize=BOARD)
    swarm = swarm_of(server)
    good, slow = swarm.connect(b"good"), swarm.connect(b"slow")
    for client in (good, slow):
        swarm.exchange(client, subscribe(4, 1, [(b"flow", level)]))
    swarm.forget(slow)
    publisher = swarm.connect(b"publisher")
    for i in range(100_000 if full else 10_000):
        swarm.send(publisher, publish(4, b"flow", b"%08d" % i + bytes(500), level, i % 60000 + 1))
        swarm.wait(lambda: good.packets)
        (_, body), = good.take()
        start = 8 if level else 6
        assert int(body[start : start + 8]) == i
        if level:
            swarm.send(good, b"\x40\2" + packet_id_of(body))
    assert not dropped(server.output)
    assert swarm.ping(good)


def test_visits_leave_nothing_behind(tool, full):
    """Ten thousand clients come and go without growth, in memory; tools/measure does it over sockets."""
    done = subprocess.run(
        [tool("micropython"), "-X", "heapsize=2m", "tests/robustness/cycles.py", "100000" if full else "10000"],
        cwd=toolchain.ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, done.stdout
    assert int(done.stdout) < 1024


def test_visits_over_sockets(start_broker, swarm_of, full):
    server = start_broker("micropython", heapsize=BOARD)
    swarm = swarm_of(server)
    for i in range(10000 if full else 1000):
        version = 4 + i % 2
        client = swarm.connect(b"visit-%d" % i, version)
        swarm.exchange(client, subscribe(version, 1, [(b"visit/+", 1)]))
        packets = swarm.exchange(client, publish(version, b"visit/%d" % i, b"x", 1, 1), 2)
        assert sorted(first for first, _ in packets) == [0x32, 0x40]
        swarm.send(client, b"\xe0\0")
        swarm.wait(lambda: client.closed)
        swarm.clients.remove(client)
        client.abort()
    assert not dropped(server.output)
