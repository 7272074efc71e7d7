"""Retained messages in pages, with changes between any two pages."""


from harness import raises
from port.core.wire.topics import matches
from port.core.messages.retained import Retained
from port.core.messages.trie_pages import LONG, LevelPage, TriePage
from test_trie_walk import FILTERS, Dice, a_name, filled, message


HEAPSIZE = "4000k"


def pages(store, topic_filter, limit, steps=1 << 30, change=None, hidden=True):
    """All values in pages; `change(page)` is called after each."""
    found = []
    cursor = ""
    while True:
        page = TriePage(store.root, topic_filter, hidden, cursor, limit, steps)
        assert len(page.values) <= limit
        found += [record[0] for record in page.values]
        cursor = page.cursor
        if change is not None:
            change(page)
        if not cursor:
            return found
        assert len(cursor) <= 4096 and page.values or steps < 1 << 30


def a_store(seed, count):
    dice = Dice(seed)
    names: "list[bytes]" = []
    while len(names) < count:
        name = a_name(dice)
        if name not in names:
            names.append(name)
    return filled(names), names


def test_pages_have_what_a_filter_matches_each_once():
    store, names = a_store(1, 200)
    for topic_filter in FILTERS:
        expected = sorted([name for name in names if matches(topic_filter, name)])
        for limit in (1, 2, 7, 1000):
            assert sorted(pages(store, topic_filter, limit)) == expected, (topic_filter, limit)
        assert pages(store, topic_filter, 1) == pages(store, topic_filter, 1000), topic_filter  # in one order
    assert sorted(pages(store, b"#", 10, hidden=False)) == sorted(names)
    assert pages(Retained(10, 1000), b"#", 10) == []


def test_pages_that_may_look_at_little_lead_on():
    store, names = a_store(2, 200)
    for topic_filter in FILTERS:
        expected = sorted([name for name in names if matches(topic_filter, name)])
        for steps in (1, 5, 50):
            assert sorted(pages(store, topic_filter, 5, steps)) == expected, (topic_filter, steps)


def test_what_stays_is_given_once_whatever_comes_and_goes():
    for seed in range(12):
        store, names = a_store(seed, 120)
        dice = Dice(seed + 100)
        come: "list[bytes]" = []
        while len(come) < 120:
            name = a_name(dice)
            if name not in names:
                come.append(name)
        stay = [name for name in names if dice(2)]
        go = [name for name in names if name not in stay]

        def change(page, store=store, go=go, come=come, dice=dice):
            for _ in range(dice(6)):
                if go and dice(2):
                    store.remove(go.pop(dice(len(go))))
                elif come:
                    store.put(message(come.pop()))

        for topic_filter in (b"#", b"a/#", b"+/a/+", b"a/+", b"+/#"):
            if not go:
                break
            found = pages(store, topic_filter, 3, change=change)
            for name in stay:
                expected = 1 if matches(topic_filter, name) else 0
                assert found.count(name) == expected, (seed, topic_filter, name)
            for name in found:
                assert matches(topic_filter, name)
                assert found.count(name) == 1, (seed, topic_filter, name)


def test_a_node_that_is_divided_meanwhile():
    """From a dict to a Wide and back: the order is the same."""
    names = [b"t/%d" % i for i in range(200)] + [b"t", b"u/v"]
    store = filled(names)

    def change(page):
        for i in range(len(page.values)):
            if store.count < 700:
                store.put(message(b"t/more/%d" % store.count))
                store.put(message(b"t/n%d" % store.count))

    found = pages(store, b"#", 4, change=change)
    for name in names:
        assert found.count(name) == 1, name

    def shrink(page):
        for record in page.values:
            if record[0] not in names:
                store.remove(record[0])

    found = pages(store, b"t/+", 4, change=shrink)
    for name in names[:200]:
        assert found.count(name) == 1, name
    assert sorted(pages(store, b"#", 5)) == sorted([record[0] for record in store.matching(b"#")])


def test_a_page_looks_at_little_more_than_it_gives():
    """But for the keys of the nodes on the way, of which it looks at a part, and which it does not count one by one."""
    store = filled([b"t/%d/%d" % (i % 40, i) for i in range(3000)])
    cursor = ""
    most = 0
    while True:
        page = TriePage(store.root, b"#", True, cursor, 20, 1 << 30)
        most = max(most, page.steps)
        cursor = page.cursor
        if not cursor:
            break
    assert most < 150, most


def test_names_too_long_for_a_cursor():
    long = b"x" * LONG
    names = [b"%s/%d" % (long, i) for i in range(5)] + [b"a/%s/%d/b" % (long, i) for i in range(5)] + [long, b"%d%s" % (1, long)]
    store = filled(names)
    for limit in (1, 2, 3):
        assert sorted(pages(store, b"#", limit)) == sorted(names)
    page = TriePage(store.root, b"#", True, "", 1, 1 << 30)
    assert len(page.cursor) < 200
    found = []
    cursor = ""
    while True:
        level = LevelPage(store.root, None, cursor, 1)
        found += [item[0] for item in level.items]
        cursor = level.cursor
        if not cursor:
            break
    assert sorted(found) == sorted([long, b"a", b"1" + long])


def test_what_is_no_cursor():
    store, _ = a_store(1, 50)
    for cursor in ("x", "2", "061f", "1zz", "0h", "0h12", "1h" + "g" * 16, "1" + "61" * 4096, "\u0661"):
        try:
            TriePage(store.root, b"#", True, cursor, 5, 100)
        except ValueError:
            continue
        assert cursor == "061f", cursor
    for cursor in ("x", "0h", "1h"):
        raises(ValueError, TriePage, store.root, b"#", True, cursor, 5, 100)
        raises(ValueError, LevelPage, store.root, None, cursor, 5)


def test_levels():
    names = [b"a", b"a/b", b"a/b/c", b"d/e/f", b"d/e/g", b"h", b"/x", b"$i/j"] + [b"w/%d/x" % i for i in range(400)]
    store = filled(names)

    def below(parent, limit):
        found = {}
        cursor = ""
        while True:
            page = LevelPage(store.root, parent, cursor, limit)
            assert len(page.items) <= limit
            for name, value, longer in page.items:
                assert name not in found
                found[name] = (value is not None and value[0], longer)
            cursor = page.cursor
            if not cursor:
                return found

    for limit in (1, 3, 1000):
        assert below(None, limit) == {
            b"a": (b"a", True), b"d": (False, True), b"h": (b"h", False), b"": (False, True), b"$i": (False, True), b"w": (False, True),
        }  # fmt: skip
        assert below(b"a", limit) == {b"a/b": (b"a/b", True)}
        assert below(b"a/b", limit) == {b"a/b/c": (b"a/b/c", False)}
        assert below(b"d", limit) == {b"d/e": (False, True)}
        assert below(b"d/e", limit) == {b"d/e/f": (b"d/e/f", False), b"d/e/g": (b"d/e/g", False)}
        assert below(b"", limit) == {b"/x": (b"/x", False)}
        assert below(b"h", limit) == below(b"a/x", limit) == below(b"z", limit) == {}
    for limit in (7, 1000):
        assert below(b"w", limit) == {b"w/%d" % i: (False, True) for i in range(400)}


def test_levels_while_they_change():
    store = filled([b"t/%d" % i for i in range(300)])
    found = []
    cursor = ""
    number = 0
    while True:
        page = LevelPage(store.root, b"t", cursor, 10)
        found += [item[0] for item in page.items]
        cursor = page.cursor
        if not cursor:
            break
        for _ in range(20):
            number += 1
            store.put(message(b"t/new/%d" % number if number % 2 else b"t/n%d" % number))
            store.remove(b"t/%d" % (300 - number // 3) if number < 300 else b"t/n%d" % (number - 100))
    for i in range(200):
        assert found.count(b"t/%d" % i) == 1, i
    for name in found:
        assert found.count(name) == 1, name
