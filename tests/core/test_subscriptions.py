"""The trie and the subscriptions: whom a topic name finds."""

from port.core.wire.topics import matches
from port.core.messages import topic_trie
from port.core.messages.trie_walk import walk
from port.core.routing.subscriptions import LocalSubscriber, Subscriptions
from test_topics import MATCHES


class Receiver:
    """Stands for a session."""

    group = None
    access = None
    subscription_bytes = 0
    conn = None

    def owner_key(self):
        return b"owner"

    def __init__(self, name):
        self.name = name
        self.fast_version = 4
        self.subscriptions: "dict[bytes, int]" = {}

    @property
    def session(self):
        return self


def found(subscriptions, name):
    """What a name finds: {receiver: sorted options}."""
    route = subscriptions.route(name)
    result = {}
    for receiver, option in route.plain:
        result[receiver.name] = [option]
    for receiver, options in route.special:
        result[receiver.name] = sorted(options)
    return result


def test_the_trie_agrees_with_the_matching_of_single_filters():
    for topic_filter, name, expected in MATCHES:
        subscriptions = Subscriptions()
        subscriptions.add(topic_filter, Receiver("r"), 0)
        assert bool(found(subscriptions, name)) is expected, (topic_filter, name)


def test_every_filter_against_every_name_in_one_trie():
    filters = sorted(set([row[0] for row in MATCHES]))
    names = sorted(set([row[1] for row in MATCHES]))
    subscriptions = Subscriptions()
    for topic_filter in filters:
        subscriptions.add(topic_filter, Receiver(topic_filter), 0)
    for name in names:
        wanted = sorted([f for f in filters if matches(f, name)])
        assert sorted(found(subscriptions, name)) == wanted, name


def test_overlapping_subscriptions_are_gathered():
    subscriptions = Subscriptions()
    receiver = Receiver("r")
    for topic_filter, options in ((b"a/b", 0), (b"a/+", 1), (b"a/#", 2), (b"#", 0)):
        subscriptions.add(topic_filter, receiver, options)
    assert found(subscriptions, b"a/b") == {"r": [0, 0, 1, 2]}
    assert subscriptions.count == 4


def test_subscribing_again_replaces():
    subscriptions = Subscriptions()
    one, two = Receiver("one"), Receiver("two")
    for topic_filter in (b"a", b"+"):
        subscriptions.add(topic_filter, one, 0)
        subscriptions.add(topic_filter, one, 2)
        subscriptions.add(topic_filter, two, 1)
        subscriptions.add(topic_filter, two, 0)
    assert subscriptions.count == 4
    assert found(subscriptions, b"a") == {"one": [2, 2], "two": [0, 0]}


def test_removing_leaves_the_others_and_then_nothing():
    subscriptions = Subscriptions()
    receivers = [Receiver(n) for n in "abc"]
    for topic_filter in (b"x/y", b"x/+", b"x/+/z", b"#"):
        for receiver in receivers:
            subscriptions.add(topic_filter, receiver, 1)
    for topic_filter in (b"x/y", b"x/+", b"x/+/z", b"#"):
        subscriptions.remove(topic_filter, receivers[1])
    assert sorted(found(subscriptions, b"x/y")) == ["a", "c"]
    for topic_filter in (b"x/y", b"x/+", b"x/+/z", b"#"):
        subscriptions.remove(topic_filter, receivers[0])
        subscriptions.remove(topic_filter, receivers[2])
    assert found(subscriptions, b"x/y") == {}
    assert subscriptions.count == 0
    # No node may stay behind: a broker lives for years.
    assert subscriptions._wild == {}
    assert subscriptions._exact == {}


def test_removing_what_is_not_there_changes_nothing():
    subscriptions = Subscriptions()
    one, two = Receiver("one"), Receiver("two")
    subscriptions.add(b"a/+", one, 0)
    for topic_filter in (b"a/+", b"a/#", b"b/+", b"a", b"$share/g/a"):
        subscriptions.remove(topic_filter, two)
    assert subscriptions.count == 1
    assert found(subscriptions, b"a/b") == {"one": [0]}


def test_a_filter_inside_a_longer_one_can_go():
    subscriptions = Subscriptions()
    receiver = Receiver("r")
    subscriptions.add(b"a/+", receiver, 0)
    subscriptions.add(b"a/+/b/#", receiver, 1)
    subscriptions.remove(b"a/+", receiver)
    assert found(subscriptions, b"a/x") == {}
    assert found(subscriptions, b"a/x/b") == {"r": [1]}


def test_shared_subscriptions_are_one_group_each():
    subscriptions = Subscriptions()
    one, two = Receiver("one"), Receiver("two")
    subscriptions.add(b"$share/g/a/+", one, 0)
    subscriptions.add(b"$share/g/a/+", two, 0)
    subscriptions.add(b"$share/h/a/+", two, 0)
    assert subscriptions.count == 3
    route = subscriptions.route(b"a/b")
    assert sorted([group.topic_filter for group in route.groups]) == [b"$share/g/a/+", b"$share/h/a/+"]
    subscriptions.remove(b"$share/g/a/+", one)
    subscriptions.remove(b"$share/g/a/+", two)
    subscriptions.remove(b"$share/h/a/+", two)
    assert subscriptions.count == 0
    assert subscriptions._wild == {}
    assert subscriptions.group(b"$share/g/a/+") is None


def test_subscribers_of_the_program_are_told_apart():
    subscriptions = Subscriptions()
    local = LocalSubscriber(print)
    subscriptions.add(b"a/#", local, 0)
    route = subscriptions.route(b"a")
    assert route.locals == [local]
    assert not route.plain and not route.special


class Names:
    """A trie of names, as a walk wants it."""

    version = 0

    def __init__(self, root):
        self.root = root


def matching_names(root, topic_filter):
    """The values a filter finds."""
    return [value for value in walk(Names(root), topic_filter, True) if value is not None]


NAMES = (b"a", b"a/b", b"a/b/c", b"a//c", b"/", b"$SYS/x", b"$SYS", b"b/b", b"a/b/c/d/e/f")
FILTERS = (
    b"#", b"+", b"+/b", b"a/#", b"a/+", b"a/+/c", b"+/+/c", b"/", b"+/", b"/+", b"$SYS/#", b"$SYS/+", b"a/b", b"x", b"+/#",
    b"a/b/c/d/#", b"+/+/+/+/+/+", b"#",
)  # fmt: skip


def test_a_filter_finds_the_names_below():
    root: "topic_trie.Node" = {}
    for name in NAMES:
        topic_trie.put(root, (name, len(name)))
    for topic_filter in FILTERS:
        wanted = sorted([name for name in NAMES if matches(topic_filter, name)])
        assert sorted([value[0] for value in matching_names(root, topic_filter)]) == wanted, topic_filter


def test_a_value_is_replaced_and_removed():
    root: "topic_trie.Node" = {}
    for number in (1, 2):
        for name in NAMES:
            topic_trie.put(root, (name, number))
    assert [topic_trie.get(root, name) for name in NAMES] == [(name, 2) for name in NAMES]
    for missing in (b"b", b"a/b/", b"a/b/c/d", b"a/b/c/d/e/f/g", b"", b"$SYS/x/y"):
        assert topic_trie.get(root, missing) is None, missing
        assert topic_trie.remove(root, missing) is None, missing
    for name in NAMES:
        assert topic_trie.remove(root, name) == (name, 2)
        assert topic_trie.get(root, name) is None
    assert root == {}


def random_path(seed, wildcards):
    """A path of up to four levels from few letters, so that many share their beginnings."""
    letters = (b"a", b"b", b"", b"$c", b"+", b"#") if wildcards else (b"a", b"b", b"", b"$c")
    levels = []
    for _ in range(1 + seed % 4):
        seed = seed // 7 + 11
        level = letters[seed % len(letters)]
        levels.append(level)
        if level == b"#":
            break
    return b"/".join(levels)


def test_the_trie_against_a_plain_dict():
    # Puts and removals in any order, each followed by a look-up.
    for wildcards in (False, True):
        root: "topic_trie.Node" = {}
        model: "dict[bytes, tuple[bytes, int]]" = {}
        seed = 12345
        for step in range(3000):
            seed = (seed * 1103515245 + 12345) & 0x3FFFFFFF
            path = random_path(seed >> 8, wildcards) or b"a"
            if seed & 64:
                model[path] = (path, step)
                topic_trie.put(root, model[path])
            else:
                assert topic_trie.remove(root, path) == model.pop(path, None), path
            other = random_path(seed >> 5, not wildcards) or b"b"
            if wildcards:
                found: "list[tuple[bytes, int]]" = []
                topic_trie.matching_filters(root, other, found)
                wanted = [value for value in model.values() if matches(value[0], other)]
            else:
                found = matching_names(root, other)
                wanted = [value for value in model.values() if matches(other, value[0])]
            assert sorted(found) == sorted(wanted), (path, other)
            assert topic_trie.get(root, path) == model.get(path)
        for path in list(model):
            topic_trie.remove(root, path)
        assert root == {}
