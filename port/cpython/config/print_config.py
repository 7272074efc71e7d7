"""The effective configuration as TOML, each key with its meaning; secrets are left out."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from port.core.limits.options import TABLE, Options
from port.core.acl.acl_rule import rule
from port.core.config.store_config import StoreConfig
from port.cpython import stores
from port.cpython.auth import registry
from port.cpython.config.config_file import FORMATS, LOOPS, Gathered, Program, descriptions, hint, listener_texts
from port.cpython.config.config_sources import LEVELS
from port.cpython.config.escape import printable, toml_string

_SECRET = re.compile(r"pass|secret|token|credential", re.IGNORECASE)
_OPEN = re.compile(r"_file$|^token_in$")  # the place of a secret, not secret itself
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]*)(:[0-9]{0,5})?", re.ASCII)
_FIRST = re.compile(r"[A-Za-z_]\w*=", re.ASCII)  # name of the first value in a query
_HIDDEN = "***"
KINDS = {
    "auth": "who may connect. They are asked in their order, each allows, denies, or leaves it to the next; without any see `anonymous`",
    "acl": "who may publish and subscribe to what. The first rule that fits decides, what none allows is denied; without the key all is allowed",
    "client_limits": "options of single clients, the first that fits holds",
}
LIMITS = {
    "user": "whose, or its beginning and `*`; an empty string: clients without a user name (default: everybody)",
    "client_id": "the client id, or its beginning and `*` (default: any)",
    "OPTION": "any option that a listener takes",
}
PROGRAM_KEYS = (
    ("log_level", "warning", "what is logged: one of %s" % ", ".join(LEVELS)),
    ("log_format", "text", "how it is logged: one of %s (json: one object a line)" % ", ".join(FORMATS)),
    ("loop", "auto", "event loop: one of %s (auto: uvloop when it is installed)" % ", ".join(LOOPS)),
)


def toml(program: Program) -> str:
    """The whole configuration; unset keys stand as comments with their defaults."""
    lines = ["# The configuration in effect. What is commented out has its default."]
    gathered = program.gathered
    values = program.values
    if len(gathered.files) > 1:
        lines.append("# Read from %s." % printable(", ".join(source.name for source in gathered.files)))
    lines.append("")
    for name, default, text in PROGRAM_KEYS:
        lines += _line(name, text, gathered, default)
    texts = descriptions(Options)
    for row in TABLE:
        lines += _line(row[0], "%s (%s)" % (texts[row[0]], hint(row)), gathered, row[2])
    if values.get("acl") == []:
        lines += ["# no rule allows anything", "acl = []"]
    lines += _line("acl_file", "rules from a mosquitto ACL file, after those of [[acl]]", gathered, "")
    keys = listener_texts()
    tables: list[dict[str, Any]] = values.get("listener", [])
    # The listener of host and port comes before those of the list.
    others = len(program.config.listeners) - len(tables)
    tables = [{}] * others + tables
    for number, (listener, given) in enumerate(zip(program.config.listeners, tables, strict=True)):
        shown = {"id": listener.id, "type": listener.type, **given}
        if listener.kind.PLACE == "port":
            shown.update(host=listener.host, port=listener.port)
        lines += ["", *(_from(gathered.origin("listener", number - others)) if number >= others else []), "[[listener]]"]
        for key, value in shown.items():
            if key != "acl" or not value:
                lines += ["# " + keys[key]] if key in keys else []
                lines.append("%s = %s" % (key, _literal(key, value)))
        lines += _tables("listener.acl", shown.get("acl", []), [])
    lines += ["", "# [[listener]]: where clients come in; besides these keys it takes any option that is not of the whole broker"]
    lines += ["#   %s: %s" % pair for pair in keys.items()]
    for kind, text in KINDS.items():
        found = values.get(kind, [])
        lines += ["", "# [[%s]]: %s" % (kind, text)]
        if kind != "auth":
            lines += ["#   %s: %s" % pair for pair in (descriptions(rule) if kind == "acl" else LIMITS).items()]
        elif not found:
            lines += ["#   %s: %s" % pair for pair in registry.explained("").items()]
        lines += _tables(kind, found, [gathered.origin(kind, number) for number in range(len(found))])
    lines += ["", *_from(gathered.origin("store")), "[store]"]
    lines += _store(program.config.store or StoreConfig({}))
    return "\n".join(lines)


def _store(store: StoreConfig) -> list[str]:
    """The table [store]. Of its settings only those that its class declares as not secret are shown."""
    lines = ["# " + text for text in descriptions(StoreConfig).values()]
    lines.append("type = %s" % _literal("type", store.type))
    known = {setting.name: setting for setting in stores.settings(store.type)}
    for key, value in store.settings.items():
        shown = key in known and not known[key].secret
        lines += ["# " + known[key].explain().partition(": ")[2]] if key in known else []
        lines.append("%s = %s" % (key, _literal(key, value if shown else _HIDDEN)))
    lines += ["# " + setting.explain() for name, setting in known.items() if name not in store.settings]
    for kind in stores.TYPES if store.type == "memory" else ():
        lines += ["#   type %s, %s" % (kind, setting.explain()) for setting in stores.settings(kind)]
    return lines


def _from(name: str) -> list[str]:
    """Comment lines with the file, when there are several."""
    return ["# from " + printable(name)] if name else []


def _line(name: str, text: str, gathered: Gathered, default: Any) -> list[str]:
    if name in gathered.values:
        return ["# " + text, *_from(gathered.origin(name)), "%s = %s" % (name, _literal(name, gathered.values[name]))]
    return ["# " + text, "# %s = %s" % (name, _literal(name, default))]


def _tables(name: str, tables: list[dict[str, Any]], origins: list[str]) -> list[str]:
    lines = []
    for number, table in enumerate(tables):
        lines += ["", *(_from(origins[number]) if origins else []), "[[%s]]" % name]
        texts = registry.explained(str(table.get("type"))) if name == "auth" else {}
        hidden = registry.secrets(str(table.get("type"))) if name == "auth" else []
        for key, value in table.items():
            lines += ["# " + texts[key]] if key in texts else []
            lines.append("%s = %s" % (key, _literal(key, _HIDDEN if key in hidden else value)))
        lines += ["# %s: %s" % (key, text) for key, text in texts.items() if key not in table]
    return lines


def _literal(key: str, value: Any) -> str:
    """A TOML value. TOML has JSON's strings and numbers."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[%s]" % ", ".join(_literal(key, item) for item in value)
    if isinstance(value, dict):
        hidden = "password" if key == "users" else ""  # hashes, which help to guess passwords
        return "{ %s }" % ", ".join("%s = %s" % (toml_string(k), _literal(hidden or k, item)) for k, item in value.items())
    if _SECRET.search(key) and not _OPEN.search(key):
        value = _HIDDEN
    if isinstance(value, str):
        return toml_string(without_secrets(value))
    return str(value)


def without_secrets(text: str) -> str:
    """A text that may be a URL, without its possible secrets: user, password, and the values of its query.

    When the parts are not certain, as with a password that holds a `?`, only the scheme is shown.
    """
    scheme, mark, rest = text.partition("://")
    if not mark:
        return text
    place = rest[:re.search(r"[?#]|$", rest).start()]  # type: ignore[union-attr]
    if "@" in rest[len(place):]:
        return scheme + mark + _HIDDEN
    user, at, place = place.rpartition("@")
    try:
        parts = urlsplit("//" + place)
        certain = _HOST.fullmatch(parts.netloc) is not None
    except ValueError:
        certain = False
    if not certain or not scheme.isalnum():
        return scheme + mark + _HIDDEN if scheme.isalnum() else _HIDDEN
    query = rest[len(user) + len(at) + len(place):]
    if query:
        name = _FIRST.match(query, 1) if query[0] == "?" else None
        query = query[0] + (name[0] if name is not None else "") + _HIDDEN
    return scheme + mark + (_HIDDEN + at if at else "") + place + query
