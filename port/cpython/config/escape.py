"""Text that others have written, made fit for a terminal, a comment, or TOML."""

from __future__ import annotations

import json


def printable(text: str) -> str:
    """The text with all that is not printable (control characters, line ends, halves of surrogate pairs) as Python writes it."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def toml_string(text: str) -> str:
    """A TOML string; what is not printable is escaped. JSON's strings are TOML's, but for DEL, which JSON lets stand as it is.

    TOML has no halves of surrogate pairs: they are left as they are, and cannot be encoded then.
    """
    return "".join(map(_toml_char, json.dumps(text, ensure_ascii=False)))


def _toml_char(char: str) -> str:
    if char.isprintable() or "\ud800" <= char <= "\udfff":
        return char
    return "\\u%04x" % ord(char) if char <= "\uffff" else "\\U%08x" % ord(char)
