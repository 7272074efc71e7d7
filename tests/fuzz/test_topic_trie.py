"""The trie and walks through it against a dict, deep paths among them, and what it takes in memory."""

import gc
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from port.core.wire.topics import matches
from port.core.messages import topic_trie
from port.core.messages.retained import Retained

# Ways that run side by side for long and part anywhere.
runs = st.lists(st.sampled_from([b"a", b"a/a", b"a/a/a/a/a", b"b", b"", b"x" * 50]), min_size=1, max_size=5)
deep_names = st.builds(lambda first, rest: b"/".join([first, *rest]), st.sampled_from([b"a", b"b", b"$x"]), runs)
wild_runs = st.lists(st.sampled_from([b"a", b"a/a/a", b"+", b"+/+", b"a/+/a", b"b", b""]), max_size=5)
deep_filters = st.builds(lambda first, rest, end: b"/".join([first, *rest, *end]),
                         st.sampled_from([b"a", b"b", b"$x", b"+"]), wild_runs, st.sampled_from([[], [b"#"]])) | st.just(b"#")


@given(st.lists(st.tuples(st.booleans(), deep_filters), max_size=30), st.lists(deep_names, max_size=6))
def test_filters(steps, names):
    root: dict[bytes | None, Any] = {}
    model: dict[bytes, tuple[bytes, int]] = {}
    for number, (comes, path) in enumerate(steps):
        if comes or not model:
            value = (path, number)
            assert topic_trie.put(root, value) == model.get(path)
            model[path] = value
        else:
            assert topic_trie.remove(root, path) == model.pop(path, None)
        assert topic_trie.get(root, path) == model.get(path)
        for name in names:
            wanted = [value for value in model.values() if matches(value[0], name)]
            found: list[tuple[bytes, int]] = []
            topic_trie.matching_filters(root, name, found)
            assert sorted(found) == sorted(wanted)
    for path in list(model):
        assert topic_trie.remove(root, path) == model[path]
    assert root == {}


class Walks(RuleBasedStateMachine):
    """Names come and go while walks are under way."""

    def __init__(self):
        super().__init__()
        self.store = Retained(10**6, 10**9)
        self.model: dict[bytes, bytes] = {}
        self.walks: list[Any] = []  # (filter, walk, names it must give, those it has given, removals before)
        self.removals = 0
        self.puts = 0

    @rule(name=deep_names)
    def put(self, name):
        self.puts += 1
        self.model[name] = b"%d" % self.puts
        assert self.store.put((name, self.model[name], 0, b"", None, None, None))

    @rule(head=st.sampled_from([b"a", b"a/a/a", b"m"]), count=st.sampled_from([3, 260, 600]))
    def put_many(self, head, count):
        for i in range(count):
            self.put(head + b"/%d" % i)

    @rule(data=st.data())
    def remove(self, data):
        if self.model:
            self._remove(data.draw(st.sampled_from(sorted(self.model))))

    @rule(kept=st.integers(2, 300))
    def remove_many(self, kept):
        for name in sorted(self.model)[::kept] if kept < 20 else sorted(self.model)[kept:]:
            self._remove(name)

    def _remove(self, name):
        assert self.store.remove(name)
        del self.model[name]
        self.removals += 1
        for walk in self.walks:
            walk[2].discard(name)

    @rule(topic_filter=deep_filters | st.none())
    def begin(self, topic_filter):
        must = {name for name in self.model if topic_filter is None or matches(topic_filter, name)}
        self.walks.append((topic_filter, self.store.walk(topic_filter), must, set(), self.removals))

    @rule(data=st.data(), steps=st.sampled_from([1, 2, 5, 100]))
    def go_on(self, data, steps):
        if self.walks:
            walk = data.draw(st.sampled_from(self.walks))
            for _ in range(steps):
                if not self.step(walk):
                    self.walks.remove(walk)
                    break

    def step(self, walk):
        topic_filter, walking, must, given, removals = walk
        try:
            record = next(walking)
        except StopIteration:
            assert must <= given
            return False
        if record is not None:
            name, payload = record[:2]
            assert self.store.get(name) is record and payload == self.model[name]
            assert topic_filter is None or matches(topic_filter, name)
            assert name not in given or removals != self.removals
            given.add(name)
        return True

    @invariant()
    def counted(self):
        assert self.store.count == len(self.model)

    def teardown(self):
        for walk in self.walks:
            while self.step(walk):
                pass
        for name in list(self.model):
            self._remove(name)
        assert not self.store.root and self.store.bytes == 0


TestWalks = Walks.TestCase


def taken(make):
    """Bytes that what `make` returns takes, and it."""
    gc.collect()
    tracemalloc.start()
    try:
        made = make()
        gc.collect()
        return tracemalloc.get_traced_memory()[0], made
    finally:
        tracemalloc.stop()


def fresh(path):
    """A path as it comes from the network, shared with nothing."""
    return bytes(bytearray(path))


PAIRS = [b"/".join([b"%d" % i, *[b"a"] * 197, end]) for i in range(500) for end in (b"b", b"+")]
LONG = [b"/".join([b"%d" % i, *[b"y" * 2000] * 30, end]) for i in range(10) for end in (b"b", b"+")]
COMBS = [b"%d/" % i + b"b/" * j + b"+" for i in range(20) for j in range(120)]
SHAPES = {"pairs": PAIRS, "long": LONG, "combs": COMBS,
          "everyday": [b"site/%d/line/%d/+/temp" % (i // 50, i % 50) for i in range(2000)]}


@pytest.mark.parametrize("shape", SHAPES)
def test_filters_take_what_was_sent_and_so_much_each(shape):
    paths = SHAPES[shape]

    def filled():
        root: dict[bytes | None, Any] = {}
        for path in paths:
            topic_trie.put(root, (fresh(path), 1))
        return root

    size, _ = taken(filled)
    assert size <= sum(map(len, paths)) * 2 + 500 * len(paths)


@pytest.mark.parametrize("shape", [*SHAPES, "many, most removed"])
def test_retained_messages_take_about_what_they_count_for(shape):
    names = [path.replace(b"+", b"c") for path in SHAPES.get(shape, [])]
    if not names:
        names = [b"%d/%d" % (i // 2000, i) for i in range(20000)]

    def filled():
        store = Retained(10**6, 10**9)
        for i, name in enumerate(names):
            assert store.put((fresh(name), b"payload%d" % i, 0, b"", 1000000 + i, None, None))
        if shape not in SHAPES:
            for i, name in enumerate(names):
                if i % 2000 > 3:
                    store.remove(name)
        return store

    size, store = taken(filled)
    assert size <= store.bytes * 1.25


def test_walks_take_little_and_leave_nothing():
    store = Retained(10**6, 10**9)
    for i in range(20000):
        store.put((b"n%d" % i, b"x", 0, b"", None, None, None))

    def begun():
        walks = []
        for _ in range(100):
            walk = store.walk(b"#")
            for _ in range(10):
                next(walk)
            walks.append(walk)
        return walks

    size, _ = taken(begun)
    assert size <= 100 * 8192
    size, _ = taken(lambda: begun().clear())
    assert size < 8192
