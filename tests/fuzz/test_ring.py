"""The ring buffer against bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from port.core.wire.ring import Ring

puts = st.tuples(st.just("put"), st.binary(max_size=24))
takes = st.tuples(st.just("take"), st.integers(0, 24))


@given(st.integers(1, 20), st.lists(puts | takes, max_size=60), st.booleans())
def test_ring_is_a_queue_of_bytes(size, steps, as_view):
    ring = Ring(size)
    held = b""
    for step, argument in steps:
        if step == "put":
            data = memoryview(argument) if as_view else argument
            if len(held) + len(argument) > size:
                with pytest.raises(ValueError):
                    ring.put(data)
            else:
                ring.put(data)
                held += argument
        elif argument > len(held):
            with pytest.raises(ValueError):
                ring.take(argument)
        else:
            ring.take(argument)
            held = held[argument:]
        assert ring.used == len(held)
        assert ring.room() == size - len(held)
        piece = bytes(ring.peek())
        assert held.startswith(piece)
        assert bool(piece) == bool(held)
    while ring.used:
        piece = bytes(ring.peek())
        assert held.startswith(piece)
        ring.take(len(piece))
        held = held[len(piece):]
    assert not held
