"""The effective configuration as TOML, each key with what it means; secrets are left out."""

from __future__ import annotations

import json
import re
from typing import Any

from port.core.listener_config import ListenerConfig
from port.core.options import TABLE, Options
from port.core.store_config import StoreConfig
from port.cpython.config import LEVELS, LOOPS, Program, descriptions, hint

_SECRET = re.compile(r"password$|secret$|token$")
_IN_URL = re.compile(r"(?<=://)[^/@]*:[^/@]*(?=@)")
_IN_QUERY = re.compile(r"(?<==)[^&]+")
_PROGRAM = (
    ("log_level", "warning", "what is logged: one of %s" % ", ".join(LEVELS)),
    ("loop", "auto", "event loop: one of %s (auto: uvloop when it is installed)" % ", ".join(LOOPS)),
)


def toml(program: Program) -> str:
    """The whole configuration; what is not set stands there with its default, as a comment."""
    lines = ["# The configuration in effect. What is commented out has its default.", ""]
    values = program.values
    for name, default, text in _PROGRAM:
        lines += _line(name, text, values, default)
    texts = descriptions(Options)
    for row in TABLE:
        lines += _line(row[0], "%s (%s)" % (texts[row[0]], hint(row)), values, row[2])
    lines += _line("acl_file", "rules from a mosquitto ACL file, after those of [[acl]]", values, "")
    keys = descriptions(ListenerConfig)
    tables: list[dict[str, Any]] = values.get("listener", [])
    # The one that host and port describe stands before those of the list.
    tables = [{}] * (len(program.config.listeners) - len(tables)) + tables
    for listener, given in zip(program.config.listeners, tables, strict=True):
        shown = {"id": listener.id, "type": listener.type, **given}
        if listener.type != "unix":
            shown.update(host=listener.host, port=listener.port)
        lines += ["", "[[listener]]"]
        for key, value in shown.items():
            if key != "acl":
                lines += ["# " + keys[key]] if key in keys else []
                lines.append("%s = %s" % (key, _literal(key, value)))
        lines += _tables("listener.acl", shown.get("acl", []))
    for kind in ("auth", "acl", "client_limits"):
        lines += _tables(kind, values.get(kind, []))
    lines += ["", "[store]"]
    keys = descriptions(StoreConfig)
    store = program.config.store or StoreConfig({})
    shown = {"type": store.type, **store.settings}
    for key, text in keys.items():
        if key in shown:
            lines += ["# " + text, "%s = %s" % (key, _literal(key, shown[key]))]
        elif "type flash" not in text:
            lines.append("# %s: %s" % (key, text))
    return "\n".join(lines)


def _line(name: str, text: str, values: dict[str, Any], default: Any) -> list[str]:
    if name in values:
        return ["# " + text, "%s = %s" % (name, _literal(name, values[name]))]
    return ["# " + text, "# %s = %s" % (name, _literal(name, default))]


def _tables(name: str, tables: list[dict[str, Any]]) -> list[str]:
    lines = []
    for table in tables:
        lines += ["", "[[%s]]" % name]
        lines += ["%s = %s" % (key, _literal(key, value)) for key, value in table.items()]
    return lines


def _literal(key: str, value: Any) -> str:
    """A TOML value. JSON's strings and numbers are TOML's."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps("***" if _SECRET.search(key) else _without_secrets(value), ensure_ascii=False)
    if isinstance(value, list):
        return "[%s]" % ", ".join(_literal(key, item) for item in value)
    if isinstance(value, dict):
        hidden = "password" if key == "users" else ""  # what passwords can be guessed from
        return "{ %s }" % ", ".join("%s = %s" % (json.dumps(k), _literal(hidden or k, item)) for k, item in value.items())
    return str(value)


def _without_secrets(text: str) -> str:
    """Text that may be a URL, without what may be secret in one: password, and the values of its query."""
    if "://" not in text:
        return text
    place, mark, query = text.partition("?")
    return _IN_URL.sub("***", place) + mark + _IN_QUERY.sub("***", query)
