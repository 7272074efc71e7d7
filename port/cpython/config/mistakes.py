"""File and line of a mistake in a configuration, found from the text of the error, which begins with the table, as in
"listener lan: port must be ...", and names the key. The text stays as it is; file and line come before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from port.cpython.config.config_sources import Source
from port.cpython.config.toml_lines import Path

_WORD = re.compile(r"[A-Za-z_]\w*")
_CANNOT_READ = re.compile(r"cannot read (.*): [^:]*")


def place(files: list[Source], values: dict[str, Any], given: dict[str, Any], names: dict[str, str], text: str) -> str:
    """"FILE:LINE" of the mistake of an error's text; the file alone without a known line; empty without a file.

    `values`: the whole configuration; `given`: the part of environment and command line; `names`: the environment variables,
    each of which is the place of its own mistakes.
    """
    path = _path(values, text)
    if not path or path[0] in given:
        return names.get(str(path[0]), "") if path else ""
    key, *rest = path
    number = rest[0] if rest and isinstance(rest[0], int) else 0
    for source in files:
        value = source.values.get(str(key))
        count = len(value) if isinstance(value, list) else int(value is not None)
        if number < count:
            if rest and isinstance(rest[0], int):
                rest[0] = number
            line = _line(source, (key, *rest))
            return "%s:%d" % (source.name, line) if line else source.name
        number -= count
    return ""


def _line(source: Source, path: Path) -> int:
    """The line of a path, or of its table; 0 when unknown."""
    known = source.lines()
    if (*path, 0) in known:  # a list of tables, which has no line
        path = (*path, 0)
    while path and path not in known:
        path = path[:-1]
    return known.get(path, 0)


def _path(values: dict[str, Any], text: str) -> Path:
    """The path that the text is about; empty without one."""
    match = _CANNOT_READ.fullmatch(text)
    if match is not None:
        return next(_paths_to(values, match[1], ()), ())
    path: Path = ()
    beginning = ""
    for known, begins in _tables(values):
        if text.startswith(begins) and text[len(begins):len(begins) + 1] in (":", ",", "") and len(begins) >= len(beginning):
            path, beginning = known, begins
    table: Any = values
    for step in path:
        table = table[step]
    for word in _WORD.findall(text[len(beginning):].partition(", not ")[0]):
        key = word if isinstance(table, dict) and word in table else word + "s"  # "unknown action" is in `actions`
        if isinstance(table, dict) and key in table:
            path += (key,)
            table = table[key]
    return path


def _tables(values: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """(path, beginning of its errors) of each table, in order."""
    ids: list[Any] = []
    if "host" in values or "port" in values:
        yield (), "listener default"
    for number, table in enumerate(_list(values, "listener")):
        kind = table.get("type", "tcp")
        ids.append(table.get("id", kind if kind not in ids else "%s%d" % (kind, len(ids) + 1)))
        yield ("listener", number), "listener %s" % ids[-1]
        for rule, _ in enumerate(_list(table, "acl")):
            yield ("listener", number, "acl", rule), "listener %s, rule %d" % (ids[-1], rule + 1)
    for number, table in enumerate(_list(values, "auth")):
        yield ("auth", number), "auth %s" % table.get("name", table.get("type"))
        yield ("auth", number), "auth, entry %d" % (number + 1)
    for number, _ in enumerate(_list(values, "acl")):
        yield ("acl", number), "acl, rule %d" % (number + 1)
    for number, _ in enumerate(_list(values, "client_limits")):
        yield ("client_limits", number), "client_limits, entry %d" % (number + 1)
    if isinstance(values.get("store"), dict):
        yield ("store",), "store"


def _list(values: dict[str, Any], key: str) -> list[dict[str, Any]]:
    tables = values.get(key)
    return [table for table in tables if isinstance(table, dict)] if isinstance(tables, list) else []


def _paths_to(value: Any, wanted: str, path: Path) -> Iterator[Path]:
    """The paths of this text."""
    if value == wanted:
        yield path
    elif isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _paths_to(item, wanted, (*path, key))
