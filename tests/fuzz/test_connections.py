"""Whole connections: any bytes, and valid conversations with changes, in chunks of any size.

What must never happen stands in tools/fuzzing/world.py; tools/fuzz runs many more of these.
"""

from hypothesis import given
from hypothesis import strategies as st

from fuzzing.core import Random, Run
from fuzzing.packets import connect, corpus
from fuzzing.world import PRESETS, Peer, World
from port.core.wire.codec import packet

CORPUS = corpus()
presets = st.integers(0, len(PRESETS) - 1)
chunks = st.lists(st.integers(1, 200), min_size=1, max_size=5)


def feed(world, data, sizes, as_buffer):
    """One client that sends `data` in chunks of these sizes, over and over."""
    peer = Peer(world)
    if peer.refused:
        return peer
    i = n = 0
    while i < len(data) and not peer.closed and not peer.held:
        size = sizes[n % len(sizes)]
        (peer.feed_buffer if as_buffer else peer.feed)(data[i : i + size])
        i += size
        n += 1
        world.check()
    return peer


@given(st.binary(max_size=100), presets, chunks, st.booleans())
def test_any_bytes(data, preset, sizes, as_buffer):
    world = World(preset)
    feed(world, data, sizes, as_buffer)
    world.end()


@given(st.sampled_from([3, 4, 5]), st.lists(st.binary(max_size=30), max_size=4),
       st.lists(st.integers(0, 255), max_size=4), presets, chunks, st.booleans())
def test_any_bodies_after_connect(version, bodies, firsts, preset, sizes, as_buffer):
    world = World(preset)
    data = connect(version, b"c", False)
    for first, body in zip(firsts, bodies):
        data += packet(first, body)
    feed(world, data, sizes, as_buffer)
    world.end()


changes = st.tuples(st.sampled_from(["flip", "insert", "delete", "cut", "set"]), st.integers(0, 400), st.binary(min_size=1, max_size=4))


def change(data, how, at, more):
    """Change one place of a conversation."""
    at %= len(data) + 1
    if how == "flip":
        return data[:at] + bytes(byte ^ more[0] for byte in data[at : at + 1]) + data[at + 1 :]
    if how == "insert":
        return data[:at] + more + data[at:]
    if how == "delete":
        return data[:at] + data[at + len(more) :]
    if how == "cut":
        return data[:at]
    return data[:at] + more + data[at + len(more) :]


@given(st.lists(st.tuples(st.integers(0, len(CORPUS) - 1), st.lists(changes, max_size=4), st.booleans()),
                min_size=1, max_size=5), presets, chunks, st.booleans())
def test_changed_conversations(clients, preset, sizes, as_buffer):
    world = World(preset)
    for number, steps, leaves in clients:
        data = b"".join(CORPUS[number][1])
        for how, at, more in steps:
            data = change(data, how, at, more)
        peer = feed(world, data, sizes, as_buffer)
        if leaves and not peer.closed and not peer.refused:
            peer.lost()
        world.tick(1)
        world.check()
    world.end()


def test_valid_conversations_stay_open_to_their_end():
    """The corpus is what it says: with a server's limits nothing in it is refused."""
    for version, packets in CORPUS:
        for size in (1, 7, 10000):
            world = World(0)
            peer = feed(world, b"".join(packets), [size], size == 7)
            if peer.held:
                peer.conn.authenticated(0)
            for first, body in peer.received:
                assert first >> 4 != 14, (packets, body.hex())
            refused = b"bad" in packets[0]
            closes = refused or packets[-1][0] == 0xE0
            assert peer.closed == closes, packets
            connack = next(body for first, body in peer.received if first == 0x20)
            assert connack[1] == (0 if not refused else 0x87 if version == 5 else 5)
            world.end()


def test_chunks_make_no_difference():
    """What the broker answers does not depend on how the bytes were cut."""
    for _, packets in CORPUS:
        answers = []
        for size in (1, 2, 13, 10000):
            world = World(0)
            peer = feed(world, b"".join(packets), [size], False)
            again = feed(World(0), b"".join(packets), [size], True)
            assert peer.received == again.received
            answers.append([p for p in peer.received if b"$SYS" not in p[1]])
        assert all(answer == answers[0] for answer in answers)


def test_seeded_run():
    """A short run of tools/fuzz."""
    run = Run(20)
    done = 0
    while done < 4000:
        run.world(4000 - done)
        done += len(run.last)
    assert run.packets > done


def test_random_is_the_same_everywhere():
    random = Random(7)
    assert [random.below(1000) for _ in range(4)] == [294, 68, 653, 256]
