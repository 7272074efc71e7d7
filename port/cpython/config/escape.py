"""Text from outside, escaped for a terminal, a comment, or TOML."""

from __future__ import annotations

import json


def printable(text: str) -> str:
    """The text with unprintable characters (control characters, line ends, halves of surrogate pairs) in Python's escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def toml_string(text: str) -> str:
    """A TOML string with unprintable characters escaped. It is JSON's string, except for DEL, which JSON does not escape.

    TOML has no halves of surrogate pairs: they stay in the text, which cannot be encoded then.
    """
    return "".join(map(_toml_char, json.dumps(text, ensure_ascii=False)))


def _toml_char(char: str) -> str:
    if char.isprintable() or "\ud800" <= char <= "\udfff":
        return char
    return "\\u%04x" % ord(char) if char <= "\uffff" else "\\U%08x" % ord(char)
