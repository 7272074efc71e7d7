"""Who has the places of connections that are no clients, and who gives way."""

import random
from collections import Counter

import pytest

from port.cpython.net.anteroom import Anteroom


class Somebody:
    def __init__(self, key, deadline=0.0):
        self.key = key
        self.deadline = deadline
        self.why = None

    def give_way(self, why, reason):
        assert self.why is None
        self.why = why

    def step(self):
        pass


def filled(size, *keys):
    room = Anteroom(size)
    found = [Somebody(key) for key in keys]
    assert all(room.enter(somebody) for somebody in found)
    return room, found


@pytest.mark.parametrize("keys, newcomer, gone", [
    ("aaaa", "b", 0), ("aaaa", "a", 0), ("baaa", "b", 1), ("abab", "c", 0), ("abab", "a", 0), ("bbab", "a", 0), ("cabb", "d", 2),
    ("cabb", "c", 0), ("abcd", "a", 0), ("abcd", "d", 3), ("abcd", "e", None), ("", "a", None),
])  # fmt: skip
def test_who_gives_way(keys, newcomer, gone):
    """The oldest of the address that has most; an address that has as much itself gives its own; nobody his only one to another."""
    room, found = filled(len(keys), *keys)
    somebody = Somebody(newcomer)
    assert room.enter(somebody) == (gone is not None)
    assert [number for number, other in enumerate(found) if other.why] == ([] if gone is None else [gone])
    assert len(room) == len(keys)


def test_nobody_gives_way_while_there_is_room():
    room, found = filled(5, *"aaaa")
    assert room.enter(Somebody("b")) and not any(other.why for other in found)


def test_whoever_leaves_leaves_once():
    room, found = filled(4, *"abab")
    for _ in range(2):
        room.leave(found[0])
    assert len(room) == 3
    assert room.enter(Somebody("c")) and not any(other.why for other in found)


def test_time():
    room = Anteroom(9)
    found = [Somebody("a", 1.0), Somebody("a", 3.0), Somebody("b", 2.0)]
    for somebody in found:
        room.enter(somebody)
    room.expire(2.0)
    assert [bool(somebody.why) for somebody in found] == [True, False, True] and len(room) == 1
    room.clear()
    assert found[1].why and not len(room)


@pytest.mark.parametrize("seed", range(20))
def test_shares(seed):
    """Whatever came before, an address that wants few places has them while others want all."""
    numbers = random.Random(seed)
    size = numbers.randint(4, 40)
    room = Anteroom(size)
    present: list[Somebody] = []
    for _ in range(2000):
        key = numbers.choices("abcd", (50, 30, 2, 1))[0]
        somebody = Somebody(key)
        if numbers.random() < 0.2 and present:
            room.leave(present.pop(numbers.randrange(len(present))))
        before = Counter(other.key for other in present)
        if room.enter(somebody):
            present.append(somebody)
        else:
            assert len(present) == size and not before[key] and max(before.values()) == 1
        gone = [other for other in present if other.why]
        present = [other for other in present if not other.why]
        assert len(gone) <= 1 and len(present) == len(room) <= size
        for other in gone:
            assert len(before) and len(present) == size
            assert other.key == key and before[key] + 1 >= max(before.values()) or before[other.key] == max(before.values()) > before[key] + 1
