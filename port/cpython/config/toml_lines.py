"""The lines of keys and tables in a TOML file, which tomllib does not tell.

The text is one that tomllib has parsed; this module checks nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Path = tuple[str | int, ...]  # keys, and indexes in lists, such as ("listener", 1, "tls", "key")

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r'[ \t]*([A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\')[ \t]*')
_STRING = re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', re.DOTALL)
_OTHER = re.compile(r"[^,\]}#\n]*")


def lines(text: str) -> dict[Path, int]:
    """Path -> number of its line, from 1."""
    return dict(_Scan(text).places())


class _Scan:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._counts: dict[Path, int] = {}  # number of tables in each list so far
        self._counted = (0, 1)  # position up to which lines are counted, and its line

    def places(self) -> Iterator[tuple[Path, int]]:
        """All paths with their lines, tables before their keys."""
        table: Path = ()
        while self._skip():
            line = self._line()
            if self._text[self._at] == "[":
                several = self._text.startswith("[[", self._at)
                self._at += 1 + several
                table = self._header(self._keys(), several)
                self._at += 1 + several
                yield table, line
            else:
                yield from self._pair(table)

    def _skip(self) -> bool:
        """Skip spaces and comments; False at the end."""
        self._at = _end(_BLANK, self._text, self._at)
        return self._at < len(self._text)

    def _line(self) -> int:
        at, line = self._counted
        self._counted = (self._at, line + self._text.count("\n", at, self._at))
        return self._counted[1]

    def _keys(self) -> list[str]:
        """The parts of a key with dots."""
        found = []
        while match := _KEY.match(self._text, self._at):
            found.append(match[1].strip("\"'"))
            self._at = match.end()
            if not self._text.startswith(".", self._at):
                break
            self._at += 1
        return found

    def _header(self, keys: list[str], several: bool) -> Path:
        path: Path = ()
        for i, key in enumerate(keys):
            path += (key,)
            last = several and i == len(keys) - 1
            if last:
                self._counts[path] = self._counts.get(path, 0) + 1
            if path in self._counts:  # of a list the last table is meant
                path += (self._counts[path] - 1,)
        return path

    def _pair(self, table: Path) -> Iterator[tuple[Path, int]]:
        """A key and its value."""
        line = self._line()
        keys = self._keys()
        if not keys:  # unknown syntax
            self._at = len(self._text)
            return
        path = table
        for key in keys:
            path += (key,)
            yield path, line
        self._at = self._text.index("=", self._at) + 1
        yield from self._value(path)

    def _value(self, path: Path) -> Iterator[tuple[Path, int]]:
        self._skip()
        first = self._text[self._at]
        if first in "[{":
            self._at += 1
            number = 0
            while self._skip() and self._text[self._at] not in "]}":
                if first == "{":
                    yield from self._pair(path)
                else:
                    yield (*path, number), self._line()
                    yield from self._value((*path, number))
                    number += 1
                self._skip()
                self._at += self._text.startswith(",", self._at)
            self._at += 1
        else:
            self._at = _end(_STRING if first in "\"'" else _OTHER, self._text, self._at)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return at + 1 if match is None else match.end()
