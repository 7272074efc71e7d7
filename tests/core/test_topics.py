"""Topic names and topic filters (MQTT 5 clause 4.7)."""

from port.core.wire.topics import has_wildcard, is_shared, matches, split_share, valid_filter, valid_name


def test_valid_topic_names():
    for name in (b"a", b"/", b"a/b", b"/a", b"a/", b"a//b", b" ", b"$SYS/x", b"a b/c", "é/ü".encode(), bytes(b"x" * 65535)):
        assert valid_name(name), name


def test_invalid_topic_names():
    for name in (b"", b"a/+", b"#", b"a#", b"a\0b", b"\xed\xa0\x80", b"\xc0\x80", b"\xff"):
        assert not valid_name(name), name


def test_valid_filters():
    for topic_filter in (b"#", b"+", b"/", b"a/#", b"+/#", b"+/a/+", b"/+", b"+/", b"//", b"a", b"$SYS/#", b"#"):
        assert valid_filter(topic_filter), topic_filter


def test_invalid_filters():
    # A wildcard fills its level, and # is the last [MQTT-4.7.1-1] [MQTT-4.7.1-2].
    for topic_filter in (b"", b"a#", b"a/#/b", b"#/", b"##", b"a+", b"+a", b"a/b+/c", b"a/++", b"#+", b"a\0", b"\xed\xb0\x80/#"):
        assert not valid_filter(topic_filter), topic_filter


def test_all_short_filters():
    """Level by level, what the form of a filter is."""
    found = [b""]
    for topic_filter in found:
        if len(topic_filter) < 5:
            found += [topic_filter + bytes((c,)) for c in b"/+#a"]
        levels = topic_filter.split(b"/")
        good = topic_filter != b"" and not any([b"+" in level and level != b"+" for level in levels])
        good = good and not any([b"#" in level for level in levels[:-1]]) and (b"#" not in levels[-1] or levels[-1] == b"#")
        assert valid_filter(topic_filter) is good, topic_filter
    assert len(found) == 1365


def test_wildcards_are_recognized():
    assert has_wildcard(b"a/+")
    assert has_wildcard(b"#")
    assert not has_wildcard(b"a/b")


def test_shared_filters_are_split():
    assert is_shared(b"$share/g/a")
    assert not is_shared(b"$shared/g/a")
    assert not is_shared(b"a/$share/g/a")
    assert split_share(b"$share/g/a/+") == b"a/+"
    assert split_share(b"$share/g//a") == b"/a"  # the filter is "/a"
    for wrong in (b"$share/g", b"$share//a", b"$share/", b"$share", b"$share/g+/a", b"$share/#/a", b"$share/g/"):
        assert split_share(wrong) == b"", wrong


# The examples of clauses 4.7.1 to 4.7.3, and the corners.
MATCHES = (
    (b"sport/tennis/player1/#", b"sport/tennis/player1", True),  # # takes its parent
    (b"sport/tennis/player1/#", b"sport/tennis/player1/ranking", True),
    (b"sport/tennis/player1/#", b"sport/tennis/player1/score/wimbledon", True),
    (b"sport/tennis/player1/#", b"sport/tennis/player11", False),
    (b"sport/#", b"sport", True),
    (b"#", b"a/b/c", True),
    (b"#", b"/", True),
    (b"sport/tennis/+", b"sport/tennis/player1", True),
    (b"sport/tennis/+", b"sport/tennis/player1/ranking", False),
    (b"sport/+", b"sport", False),
    (b"sport/+", b"sport/", True),  # an empty level is a level
    (b"+/+", b"/finance", True),
    (b"/+", b"/finance", True),
    (b"+", b"/finance", False),
    (b"+/tennis/#", b"sport/tennis", True),
    (b"a/+/c", b"a//c", True),
    (b"a/b", b"a/b", True),
    (b"a/b", b"A/b", False),
    (b"a/b", b"a/b/", False),
    (b"a/b/", b"a/b", False),
    (b"#", b"$SYS/x", False),  # [MQTT-4.7.2-1]
    (b"+/x", b"$SYS/x", False),
    (b"$SYS/#", b"$SYS/x", True),
    (b"$SYS/+", b"$SYS/x", True),
    (b"+/$SYS", b"a/$SYS", True),  # only a leading $ hides
)


def test_matching():
    for topic_filter, name, expected in MATCHES:
        assert matches(topic_filter, name) is expected, (topic_filter, name)
