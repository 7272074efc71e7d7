"""Walks through the retained messages, with changes between any two steps."""

from port.core.wire.topics import matches
from port.core.messages.message import Message
from port.core.messages.retained import Retained, record

FILTERS = (
    b"#", b"+", b"+/#", b"a/#", b"a/+", b"+/a/+", b"a/a/a/a/+/#", b"a/+/a/+/a/+", b"$c/#", b"$c/+", b"a/b", b"+/+/a/a/#",
    b"a/a/a/a/a/a/a/b",
)  # fmt: skip
LEVELS = (b"a", b"b", b"", b"$c")


class Dice:
    """Numbers that look like chance, the same each time."""

    def __init__(self, seed):
        self.state = seed * 7919 + 12345

    def __call__(self, sides):
        self.state = (self.state * 1103515245 + 12345) & 0x3FFFFFFF
        return (self.state >> 8) % sides


def filled(names):
    """A store with messages of these names."""
    store = Retained(100000, 1 << 28)
    for name in names:
        assert store.put(message(name))
    return store


def message(name, payload=b"x"):
    return record(Message(name, payload, 0, True))


def names_of(records):
    return sorted([record[0] for record in records if record is not None])


def a_name(dice):
    """Up to twelve levels, mostly `a`: long ways with nothing beside them, that part and join again."""
    levels: "list[bytes]" = []
    for _ in range((1, 2, 3, 4, 8, 12)[dice(6)]):
        levels.append(LEVELS[dice(4)] if not levels or not dice(4) else b"a")
    return b"/".join(levels) or b"a"


def test_a_walk_gives_what_a_filter_matches_each_once():
    names = []
    dice = Dice(1)
    for _ in range(300):
        name = a_name(dice)
        if name not in names:
            names.append(name)
    store = filled(names)
    for topic_filter in FILTERS:
        assert names_of(store.walk(topic_filter)) == sorted([n for n in names if matches(topic_filter, n)]), topic_filter
    assert names_of(store.walk(None)) == sorted(names)


def test_a_walk_rests_often():
    names = [b"n%d" % i for i in range(1000)]
    for topic_filter, found in ((b"#", 1000), (b"+", 1000), (b"+/x", 0), (b"n1/#", 1)):
        given = since = rests = 0
        for record in filled(names).walk(topic_filter):
            if record is None:
                since = 0
                rests += 1
            else:
                since += 1
                given += 1
            assert since <= 64
        assert given == found
        assert rests >= (15 if b"+" in topic_filter or topic_filter == b"#" else 0)


def test_a_walk_through_an_empty_store():
    for topic_filter in (b"#", b"+", b"a", b"a/b/#", None):
        assert names_of(filled([]).walk(topic_filter)) == []


def test_what_is_given_is_what_the_topic_has_at_that_moment():
    names = [b"a/%d/x/y/%d" % (i % 3, i) for i in range(200)]
    store = filled(names)
    given = 0
    for record in store.walk(b"#"):
        if record is not None:
            given += 1
            assert record is store.get(record[0])
            for name in names[given % 7 : given % 7 + 90]:
                store.put(message(name, b"%d" % given))
    assert given == 200


class Watched:
    """A walk under changes, and what it must have given at its end."""

    def __init__(self, store, model, topic_filter, removals):
        self.steps = store.walk(topic_filter)
        self.topic_filter = topic_filter
        self.must = {name: True for name in model if matches(topic_filter, name)}
        self.given = {}
        self.removals = removals

    def step(self, model, removals):
        """Go on; False at the end."""
        try:
            record = next(self.steps)
        except StopIteration:
            missing = [name for name in self.must if name not in self.given]
            assert not missing, (self.topic_filter, missing)
            return False
        if record is not None:
            name = record[0]
            assert record[1] == model[name]
            assert matches(self.topic_filter, name)
            assert name not in self.given or removals != self.removals, name
            self.given[name] = True
        return True


def tried(seed, changes, new_name):
    """Walks in all directions while names come and go."""
    dice = Dice(seed)
    store = filled([])
    model: "dict[bytes, bytes]" = {}
    walks: "list[Watched]" = []
    removals = 0
    for i in range(changes):
        grows = dice(changes) > i if seed % 2 else dice(2)
        if grows or not model:
            name = new_name(dice)
            model[name] = b"%d" % i
            store.put(message(name, model[name]))
        else:
            name = sorted(model)[dice(len(model))]
            assert store.remove(name)
            del model[name]
            removals += 1
            for watched in walks:
                watched.must.pop(name, None)
        if not dice(8):
            walks.append(Watched(store, model, FILTERS[dice(len(FILTERS))], removals))
        for _ in range(dice(4)):
            if walks:
                watched = walks[dice(len(walks))]
                if not watched.step(model, removals):
                    walks.remove(watched)
    for watched in walks:
        while watched.step(model, removals):
            pass


def test_walks_while_names_come_and_go():
    for seed in range(12):
        tried(seed, 150, a_name)


def test_walks_through_many_names_while_they_come_and_go():
    def one_of_many(dice):
        return (b"a/n%d" if dice(3) else b"n%d/a/a") % dice(400)

    for seed in range(3):
        tried(seed, 700, one_of_many)


def test_a_walk_ends_though_names_come_and_go_all_the_time():
    store = filled([b"n%d" % i for i in range(300)])
    fresh: "list[bytes]" = []
    steps = 0
    for record in store.walk(b"#"):
        steps += 1
        assert steps < 20000
        if record is not None:
            store.remove(record[0])
        # Wherever the walk comes there are new ones, the last of them deep.
        for name in (b"n%d" % (steps % 300), b"n%d/x/%d" % (steps * 7 % 300, steps), b"n%d/x/y/z/%d" % (steps * 11 % 300, steps)):
            store.put(message(name))
            fresh.append(name)
        while len(fresh) > 600:
            store.remove(fresh.pop(0))
    assert steps >= 300
