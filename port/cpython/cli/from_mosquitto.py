"""`ucomqtt from-mosquitto FILE`: print a mosquitto.conf as a TOML configuration."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from port.cpython.cli import command, fail
from port.cpython.config.escape import toml_string

SOME_LOST = 3
_TITLES = {"lost": "Not carried over:", "different": "Carried over with a difference:", "needless": "Not needed here:"}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        prog=command() + " from-mosquitto",
        description="Print the configuration that does what a mosquitto.conf does, with listeners, users, rights, limits, "
        "persistence and the files of its include_dir. Password and ACL files are read as they are. What cannot be carried over "
        "is named on standard error, with file and line, and in the output as a comment; a listener that would be open wider "
        "without it is left out, and so are all where a folder or option that may guard them cannot be read. Relative names of files are taken as `mosquitto -c FILE` would take them here.",
        epilog="Exit status: 0 all was carried over, %d some lines were not, 1 the file cannot be read, 2 misuse." % SOME_LOST,
    )
    found.add_argument("file", metavar="FILE", help="mosquitto.conf")
    return found


def main(arguments: list[str]) -> int:
    """Run the command; exit status as in the parser's epilog."""
    args = parser().parse_args(arguments)
    from port.cpython.config.mosquitto.translation import Translation

    try:
        found = Translation(args.file)
    except OSError as e:
        return fail("from-mosquitto: cannot read %s: %s" % (e.filename, e.strerror))
    lost = [note for note in found.notes if note.lost]
    for note in lost:
        print(note, file=sys.stderr)
    if not found.values["listener"]:
        return fail("from-mosquitto: no listener is left", SOME_LOST)
    text = toml(found)
    try:
        text.encode()
    except UnicodeEncodeError as e:  # such as a relative name in a folder whose name is not UTF-8
        return fail("from-mosquitto: TOML cannot have what is not UTF-8: %s" % text[max(0, e.start - 60) : e.end].split("\n")[-1])
    print(text)
    return SOME_LOST if lost else 0


def toml(translation: Any) -> str:
    """The translation as a TOML file."""
    lines = ["# Made of a mosquitto.conf. `%s --print-config --config FILE` explains all there is." % command()]
    for kind, title in _TITLES.items():
        notes = [note for note in translation.notes if note.kind == kind]
        lines += ["#", "# " + title] if notes else []
        lines += ["#   " + str(note) for note in notes]
    values: dict[str, Any] = translation.values
    lines.append("")
    lines += ["%s = %s" % (key, literal(value)) for key, value in values.items() if not _is_table(value)]
    for key, value in values.items():
        if isinstance(value, dict):
            lines += ["", "[%s]" % key, *("%s = %s" % (name, literal(item)) for name, item in value.items())]
        elif _is_table(value):
            for table in value:
                lines += _table(key, table)
    return "\n".join(lines)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or isinstance(value, list) and value != [] and all(isinstance(item, dict) for item in value)


def _table(name: str, table: dict[str, Any]) -> list[str]:
    lines = ["", "[[%s]]" % name]
    lines += ["%s = %s" % (key, literal(value)) for key, value in table.items() if key != "acl" or not value]
    for rule in table.get("acl", ()):
        lines += _table(name + ".acl", rule)
    return lines


def literal(value: Any) -> str:
    """A TOML value. TOML has JSON's strings and numbers."""
    if isinstance(value, dict):
        return "{ %s }" % ", ".join("%s = %s" % (key, literal(item)) for key, item in value.items())
    if isinstance(value, list):
        return "[%s]" % ", ".join(map(literal, value))
    return toml_string(value) if isinstance(value, str) else json.dumps(value)
