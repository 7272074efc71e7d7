"""What an unknown name could have been meant to be."""

from port.core.wire.suggest import unknown

KNOWN = ["max_connections", "max_sessions", "port", "users"]


def test_a_name_that_is_near_is_suggested():
    for name, near in (
        ("max_conections", "max_connections"),  # a letter is missing
        ("max_conneksions", "max_connections"),  # two are others
        ("MAX_SESSIONS", "max_sessions"),
        ("max_c", "max_connections"),  # the beginning
        ("prot", "port"),  # letters in another order
        ("pork", "port"),
        ("por", "port"),
        ("usrs", "users"),
        ("sessions", None),
        ("max", None),  # many begin so
        ("potx", "port"),
        ("pxxx", None),  # more than half of it is wrong
        ("x", None),
    ):  # fmt: skip
        text = unknown("key", name, KNOWN)
        if near is None:
            assert text == "unknown key %s, there are max_connections, max_sessions, port, users" % name
        else:
            assert text == "unknown key %s, did you mean %s?" % (name, near)


def test_all_names_are_told_where_they_are_few():
    many = ["name%d" % i for i in range(12)]
    assert unknown("key", "x", many) == "unknown key x, there are " + ", ".join(many)
    assert unknown("key", "x", many + ["name12"]) == "unknown key x"
    assert unknown("key", "x", []) == "unknown key x, there is none"
