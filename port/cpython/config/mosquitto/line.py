"""One line of a mosquitto.conf: its value, and the notes about it.

Values are parsed as mosquitto does: true, false and numbers end at the next space, and the rest of the line is ignored; a
name or file is the whole rest, and has no control characters.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from port.core.limits.options import Options
from port.cpython.config.escape import printable

LOST_LINE, NEEDLESS, DIFFERENT = "lost", "needless", "different"
BLANKS = " \t\n\v\f\r"  # the characters of C's isspace(), removed at both ends
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f]")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?= |\Z)", re.ASCII)


class Lost(Exception):
    """A line cannot be carried over; the text gives the reason. `closed`: its listener cannot be opened without it."""

    def __init__(self, text: str, closed: bool = False) -> None:
        super().__init__(text)
        self.closed = closed


class Note(NamedTuple):
    """A note about a line of a file. `kind`: LOST_LINE, NEEDLESS, or DIFFERENT for one carried over with a difference."""

    file: str
    line: int
    option: str
    text: str
    kind: str

    @property
    def lost(self) -> bool:
        """True when the line is not carried over."""
        return self.kind == LOST_LINE

    def __str__(self) -> str:
        text = "%s:%d: %s: %s" % self[:4] if self.line else "%s: %s" % (self.file, self.text)
        return printable(text)


def text(value: str) -> str:
    """A value without blanks around it. Raises Lost for characters that mosquitto does not take."""
    value = value.strip(BLANKS)
    match = _CONTROL.search(value)
    if match is not None:
        raise Lost("there is a control character in its value: %r" % match[0])
    return value


def boolean(value: str) -> bool:
    """A switch. Raises Lost."""
    value = value.split(" ")[0]
    if value.lower() not in ("true", "1", "false", "0"):
        raise Lost("must be true or false")
    return value.lower() in ("true", "1")


def number(value: str, least: int, most: int = 1 << 62) -> int:
    """A whole number. Raises Lost."""
    match = _NUMBER.match(value)
    if match is None:
        raise Lost("must be a whole number")
    found = int(match[0])
    if not least <= found <= most:
        raise Lost("must be from %d to %d" % (least, most) if most < 1 << 62 else "must be %d or more" % least)
    return found


def checked(name: str, value: Any) -> Any:
    """The value of an option of ours. Raises Lost."""
    try:
        Options(**{name: value})
    except ValueError as e:
        raise Lost(str(e)) from None
    return value


class Draft:
    """The translation of the lines so far.

    values  our configuration, as a TOML file has it
    notes   notes about single lines, in their order
    at      the present line: file, number, option
    """

    def __init__(self, path: str) -> None:
        self.values: dict[str, Any] = {}
        self.notes: list[Note] = []
        self.at: tuple[str, int, str] = (path, 0, "")

    def note(self, text: str, kind: str) -> None:
        """Add a note about the present line."""
        self.notes.append(Note(*self.at, text, kind))

    def option(self, name: str, value: Any) -> None:
        """Set an option of the broker."""
        self.values[name] = checked(name, value)
