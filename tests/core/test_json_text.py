"""JSON in pieces: what it says is what it was given, on both runtimes."""

import json

from harness import raises
from port.core.web.json_text import pieces, quoted


def text(value):
    return "".join(pieces(value))


def test_values():
    for value, expected in (
        (None, "null"), (True, "true"), (False, "false"), (0, "0"), (-5, "-5"), (1 << 70, str(1 << 70)), (1.5, "1.5"),
        (float("inf"), "null"), (float("-inf"), "null"), (float("nan"), "null"), ("", '""'), (b"", '""'), ([], "[]"), ((), "[]"),
        ({}, "{}"), ([1, [2, "x"], None], '[1, [2, "x"], null]'), ({"a": [{}]}, '{"a": [{}]}'), ({b"k": b"v"}, '{"k": "v"}'),
        (iter([1, 2]), "[1, 2]"), ({"a": (i for i in (1, 2))}, '{"a": [1, 2]}'), (iter([]), "[]"),
    ):  # fmt: skip
        assert text(value) == expected, expected


def test_strings():
    for value in (
        "plain", 'a"b\\c/d', "\x00\x01\x1f\x20\x7f\x80\x9f", "\n\r\t", "\xe9\u2028\uffff\U0001f600", "</script>", "\ue000\ud7ff",
    ):  # fmt: skip
        assert json.loads(quoted(value)) == value
        assert json.loads(quoted(value.encode())) == value
        assert min(quoted(value)) >= " " and "\x7f" not in quoted(value)
    for c, expected in (("\\", "\\\\"), ('"', '\\"'), ("\ud800", "\\ud800"), ("\udfff", "\\udfff"), ("\ue000", "\ue000"), ("\x1f", "\\u001f"), ("\x7f", "\\u007f"), ("\x9f", "\\u009f"), ("\xa0", "\xa0"), (" ", " "), ("~", "~")):
        assert quoted(c) == '"%s"' % expected
    assert quoted('\n"\x01') == '"\\n\\"\\u0001"'


def test_bytes_that_are_no_text():
    for value, expected in (
        (b"\xff", "\ufffd"), (b"a\xc0\x80b", "a\ufffd\ufffdb"), (b"\xed\xa0\x80", "\ufffd" * 3), (b'"\xff\n', '"\ufffd\n'),
        (b"\xc3\xa9\xff", "\ufffd" * 3), (b"\xf4\x90\x80\x80", "\ufffd" * 4),
    ):  # fmt: skip
        assert json.loads(quoted(value)) == expected, value


def test_a_list_is_made_as_it_is_read():
    made = []

    def items():
        for i in range(3):
            made.append(i)
            yield {"n": i}
            yield ""  # work without a result

    found = pieces({"items": items()})
    seen = ""
    while not made:
        seen += next(found)
    assert made == [0]
    assert json.loads(seen + "".join(found)) == {"items": [{"n": 0}, {"n": 1}, {"n": 2}]}
    assert "" in list(pieces(items()))
    assert text(["", ""]) == '["", ""]'  # of a list they are what they are


def test_what_cannot_be_json():
    for value in (object(), 1j, len, {1: 2}):
        raises((TypeError, AttributeError), text, value)
