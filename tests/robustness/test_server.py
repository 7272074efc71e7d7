"""The server on CPython with many clients, slow ones, silent ones and unwelcome ones."""

from pathlib import Path

import pytest

from fuzzing.packets import connect, publish, subscribe
from swarm import packet_id_of, topic_of


def open_files(server):
    """How many files and sockets the broker has open."""
    return len(list(Path(f"/proc/{server.pid}/fd").iterdir()))


def closed_down_to(swarm, server, files):
    """Wait until the broker has no more files open than these: some sockets it keeps open for a while."""
    while open_files(server) > files:
        swarm.step(0.05)


def test_ten_thousand_idle_clients(start_broker, swarm_of, many_files):
    count = min(10000, many_files - 200)
    server = start_broker("cpython")
    swarm = swarm_of(server)
    before = server.resident()
    clients = swarm.connect_many(count, lambda i: connect(4 + i % 2, b"idle-%d" % i) + subscribe(4 + i % 2, 1, [(b"all", 0)]))
    swarm.wait(lambda: all(client.packets for client in clients))
    assert all(client.take()[0][0] == 0x90 for client in clients)
    publisher = swarm.connect(b"publisher")
    assert swarm.figure(publisher, b"clients/connected") == count + 1
    swarm.send(publisher, publish(4, b"all", b"to everybody"))
    swarm.wait(lambda: all(client.packets for client in clients))
    for i, client in enumerate(clients):
        assert client.take() == [(0x30, b"\0\x03all" + (b"\0" if i % 2 else b"") + b"to everybody")]
    assert (server.resident() - before) / count < 16 * 1024


def stalled(swarm, client_id, options):
    """A subscriber that never reads, and the one that reads everything."""
    good = swarm.connect(b"good")
    assert swarm.exchange(good, subscribe(4, 1, [(b"flow", options)]))[0][0] == 0x90
    slow = swarm.connect(client_id)
    assert swarm.exchange(slow, subscribe(4, 1, [(b"flow", options)]))[0][0] == 0x90
    swarm.forget(slow)
    return good, slow


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_stalled_subscriber(start_broker, swarm_of, full, loop):
    """One never reads: the other loses nothing, and the broker does not keep what it cannot send."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    messages = 1_000_000 if full else 200_000
    size = 500
    server = start_broker("cpython", "--loop", loop)
    swarm = swarm_of(server)
    good, slow = stalled(swarm, b"slow", 0)
    publisher = swarm.connect(b"publisher")
    before = server.resident()
    batch = 250  # less than outbox_bytes: who reads is never taken for slow
    for start in range(0, messages, batch):
        swarm.send(publisher, b"".join(publish(4, b"flow", b"%08d" % i + bytes(size)) for i in range(start, start + batch)))
        swarm.wait(lambda: len(good.packets) >= batch or good.closed)
        assert [int(body[6:14]) for _, body in good.take()] == list(range(start, start + batch))
    assert server.resident() - before < 12e6  # of 100 MB that passed, of 500 at full size
    swarm.watch(slow)
    swarm.wait(lambda: slow.packets)
    numbers = [int(body[6:14]) for _, body in slow.take()]
    assert numbers == list(range(len(numbers)))
    assert swarm.figure(good, b"publish/messages/dropped") > messages // 2


def test_stalled_subscriber_qos1(start_broker, swarm_of, full):
    """At QoS 1 it gets what its window and its queue held, once it reads again."""
    messages = 200_000 if full else 20_000
    server = start_broker("cpython", max_inflight=20, max_queued_messages=500)
    swarm = swarm_of(server)
    good, slow = stalled(swarm, b"slow", 1)
    publisher = swarm.connect(b"publisher")
    before = server.resident()
    batch = 100
    for start in range(0, messages, batch):
        swarm.send(publisher, b"".join(publish(4, b"flow", b"%08d" % i + bytes(500), 1, i % 60000 + 1)
                                       for i in range(start, start + batch)))
        got: list[int] = []
        while len(got) < batch:
            swarm.wait(lambda: good.packets)
            some = good.take()
            got += [int(body[8:16]) for _, body in some]
            swarm.send(good, b"".join(b"\x40\2" + packet_id_of(body) for _, body in some))
        assert got == list(range(start, start + batch))
        swarm.wait(lambda: len(publisher.packets) >= batch)
        publisher.take()
    assert server.resident() - before < 12e6
    swarm.watch(slow)
    late: list[int] = []
    while len(late) < 520:
        swarm.wait(lambda: slow.packets)
        some = slow.take()
        late += [int(body[8:16]) for _, body in some]
        swarm.send(slow, b"".join(b"\x40\2" + packet_id_of(body) for _, body in some))
    assert swarm.ping(slow) and not slow.packets
    assert late == list(range(520))


def test_silent_clients_are_disconnected_and_their_wills_sent(start_broker, swarm_of):
    count = 1000
    server = start_broker("cpython")
    swarm = swarm_of(server)
    watcher = swarm.connect(b"watcher")
    swarm.exchange(watcher, subscribe(4, 1, [(b"will/+", 0)]))
    files = open_files(server)
    clients = swarm.connect_many(count, lambda i: connect(
        4, b"silent-%d" % i, keep_alive=1, will=(b"will/%d" % i, b"gone", 0, False)))
    for client in clients:
        swarm.forget(client)  # open, but dead: it neither reads nor writes nor closes
    swarm.wait(lambda: len(watcher.packets) >= count)
    assert sorted(topic_of(body) for _, body in watcher.take()) == sorted(b"will/%d" % i for i in range(count))
    assert swarm.figure(watcher, b"clients/connected") == 1
    for client in clients:
        client.read()
        assert client.closed
    closed_down_to(swarm, server, files)


def test_connections_without_connect_are_dropped(start_broker, swarm_of):
    """Silent, or sending their CONNECT byte by byte and never all of it."""
    server = start_broker("cpython", connect_timeout=1)
    swarm = swarm_of(server)
    guest = swarm.connect(b"guest")
    files = open_files(server)
    packet = connect(4, b"never" * 40)
    clients = [swarm.open(packet[: i % 10]) for i in range(300)]
    sent = 10
    while not all(client.closed for client in clients):
        swarm.step(0.05)
        assert sent < len(packet)  # before its CONNECT is complete each of them is gone
        for client in clients[9::10]:
            if not client.closed:
                swarm.send(client, packet[sent - 1 : sent])
        sent += 1
    assert not any(client.packets for client in clients)
    assert swarm.ping(guest)
    closed_down_to(swarm, server, files)


def test_reconnect_storm(start_broker, swarm_of, full):
    """Clients that come and go all the time, politely or not, or take over from themselves."""
    cycles = 20000 if full else 2000
    server = start_broker("cpython")
    swarm = swarm_of(server)
    guest = swarm.connect(b"guest")
    files = open_files(server)
    batch = 50
    for start in range(0, cycles, batch):
        some = swarm.connect_many(batch, lambda i: connect(
            4, b"storm-%d" % (i % 40), will=(b"will", b"", 0, False)), batch)
        for i, client in enumerate(some):
            if i % 2:
                client.send(b"\xe0\0")
            swarm.forget(client)
            client.abort()
            swarm.clients.remove(client)
    while swarm.figure(guest, b"clients/total") > 1:
        swarm.step(0.01)
    assert swarm.figure(guest, b"subscriptions/count") == 1  # its own, to the figure
    closed_down_to(swarm, server, files)


@pytest.mark.parametrize("version", [4, 5])
def test_more_clients_than_allowed(start_broker, swarm_of, version):
    """Those beyond max_connections are refused politely, even when all come at once."""
    server = start_broker("cpython", max_connections=50)
    swarm = swarm_of(server)
    clients = [swarm.open(connect(version, b"flood-%d" % i)) for i in range(200)]
    swarm.wait(lambda: all(client.packets or client.closed for client in clients))
    answers = [client.packets[0][1][1] if client.packets else None for client in clients]
    refusal = 0x97 if version == 5 else 3
    assert (answers.count(0), answers.count(refusal)) == (50, 150), answers
    accepted = [client for client in clients if client.packets[0][1][1] == 0]
    swarm.wait(lambda: all(client.closed for client in clients if client not in accepted))
    for client in accepted:
        client.take()
        assert swarm.ping(client)
    accepted[0].send(b"\xe0\0")
    swarm.wait(lambda: accepted[0].closed)
    swarm.connect(b"next")
