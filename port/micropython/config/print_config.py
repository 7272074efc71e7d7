"""The effective configuration as JSON: each option, each listener with its defaults. Users' hashes are hidden."""

import json

from port.core import const
from port.core.limits.options import TABLE
from port.core.config.config import Config
from port.micropython.config.apply_config import log_level
from port.micropython.config.config_file import LEVELS, PROGRAM

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

_TABLES = ("auth", "acl", "client_limits")


def text(values: "dict[str, Any]") -> str:
    """One key a line, one table a line. Raises ValueError naming the fault."""
    config = Config(values, True, PROGRAM)
    options = config.options.values()
    lines = [_line("log_level", LEVELS[log_level(values)])]
    lines += [_line(row[0], options[row[0]]) for row in TABLE]
    given = values.get("listener", [])
    # The listener of host and port precedes those of the list.
    given = [{}] * (len(config.listeners) - len(given)) + given
    found = []
    for i in range(len(given)):
        listener = config.listeners[i]
        shown = {"id": listener.id, "type": listener.type, "host": listener.host, "port": listener.port}
        shown.update(given[i])
        found.append(shown)
    lines.append(_list("listener", found))
    lines += [_list(key, [_hidden(table) for table in values[key]]) for key in _TABLES if key in values]
    return "{\n" + ",\n".join(lines) + "\n}"


def _hidden(table: "dict[str, Any]") -> "dict[str, Any]":
    users = table.get("users")
    if isinstance(users, dict):
        table = dict(table)
        table["users"] = {name: "***" for name in users}
    return table


def _line(key: str, value: "Any") -> str:
    return "  %s: %s" % (json.dumps(key), json.dumps(value))


def _list(key: str, tables: "list[dict[str, Any]]") -> str:
    rows = ",\n".join(["    " + json.dumps(table) for table in tables])
    return "  %s: [\n%s\n  ]" % (json.dumps(key), rows)
