"""The ring buffer."""

from harness import raises
from port.core.wire.ring import Ring


def take_all(ring):
    """Everything in the ring, as its reader sees it."""
    out = b""
    while ring.used:
        piece = bytes(ring.peek())
        out += piece
        ring.take(len(piece))
    return out


def test_first_in_first_out():
    ring = Ring(8)
    ring.put(b"abc")
    ring.put(b"de")
    assert (ring.used, ring.room()) == (5, 3)
    assert bytes(ring.peek()) == b"abcde"
    ring.take(2)
    assert bytes(ring.peek()) == b"cde"


def test_exactly_full():
    ring = Ring(4)
    ring.put(b"abcd")
    assert ring.room() == 0
    assert take_all(ring) == b"abcd"
    assert ring.room() == 4


def test_wrapping_around_at_every_offset():
    for offset in range(8):
        for size in range(9):
            ring = Ring(8)
            ring.put(b"-" * offset)
            ring.put(b"x")  # so that taking does not start again at the beginning
            ring.take(offset)
            data = b"01234567"[: min(size, ring.room())]
            ring.put(memoryview(data))
            assert take_all(ring) == b"x" + data, (offset, size)


def test_an_emptied_ring_offers_one_piece_again():
    ring = Ring(8)
    ring.put(b"abcdef")
    ring.take(6)
    ring.put(b"12345678")
    assert bytes(ring.peek()) == b"12345678"


def test_more_than_there_is_room_for_is_refused_whole():
    ring = Ring(4)
    ring.put(b"ab")
    raises(ValueError, ring.put, b"cde")
    assert take_all(ring) == b"ab"


def test_taking_more_than_there_is():
    ring = Ring(4)
    ring.put(b"ab")
    raises(ValueError, ring.take, 3)
    raises(ValueError, ring.take, -1)
    assert take_all(ring) == b"ab"


def test_putting_nothing():
    ring = Ring(4)
    ring.put(b"")
    assert ring.used == 0
    assert bytes(ring.peek()) == b""


def test_a_long_history_against_a_plain_bytes_object():
    ring = Ring(61)
    model = b""
    seed = 1
    for _ in range(2000):
        seed = (seed * 1103515245 + 12345) & 0x3FFFFFF
        count = (seed >> 8) % 23
        if seed & 128 and count <= ring.room():
            data = bytes([(seed + i) & 255 for i in range(count)])
            ring.put(data)
            model += data
        else:
            count = min(count, len(ring.peek()))
            assert bytes(ring.peek()) == model[: len(ring.peek())]
            ring.take(count)
            model = model[count:]
        assert ring.used == len(model)
    assert take_all(ring) == model
