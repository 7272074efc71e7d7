"""mosquitto's ACL file, converted to our rules.

They stand in mosquitto's order of precedence: denials of a user, its permissions, patterns that deny, patterns that allow.
`topic` lines before the first `user` are for clients without a user name, `pattern` lines for every client. mosquitto grants
every subscription and checks at delivery; the rules made here do the same.

One difference: for a client whose user name or client id contains `+`, `#` or `/`, mosquitto skips all patterns, our rules only
those with that name in them.
"""

from __future__ import annotations

from typing import Any

from port.core.acl.acl import Rule
from port.core.acl.acl_rule import rule

_ACCESS = {"read": ["receive"], "write": ["publish"], "readwrite": ["publish", "receive"], "deny": ["publish", "receive"]}


def rules(path: str) -> list[Rule]:
    """The rules of an ACL file. Raises OSError, or ValueError naming file and line."""
    return [rule(values) for values in tables(path)]


def tables(path: str) -> list[dict[str, Any]]:
    """The same rules as tables of [[acl]]."""
    with open(path, "rb") as file:
        lines = file.read().split(b"\n")
    groups: tuple[list[dict[str, Any]], ...] = ([], [], [], [])  # denials of users, permissions, patterns that deny, that allow
    prefixes = {"#": None, "$SYS/#": None}  # the filters that cover all others
    user = ""
    for number, line in enumerate(lines, 1):
        try:
            keyword, _, rest = line.decode().strip().partition(" ")
            rest = rest.strip()
            if keyword.startswith("#") or not keyword:
                continue
            if keyword == "user":
                user = _user(rest)
            elif keyword in ("topic", "pattern"):
                values = _values(rest, keyword == "pattern", user)
                rule(values)  # raises ValueError for a wrong one
                groups[2 * (keyword == "pattern") + values["allow"]].append(values)
                if values["topic"].startswith("$"):
                    prefixes[values["topic"].partition("/")[0] + "/#"] = None
            else:
                raise ValueError("neither user, topic nor pattern: %r" % keyword)
        except UnicodeDecodeError:
            raise ValueError("%s, line %d: not valid UTF-8" % (path, number)) from None
        except ValueError as e:
            raise ValueError("%s, line %d: %s" % (path, number, e)) from None
    granted: list[dict[str, Any]] = [{"actions": ["subscribe_only"], "topic": topic} for topic in prefixes]
    return granted + [found for group in groups for found in group]


def _user(name: str) -> str:
    if not name:
        raise ValueError("the user name is missing")
    if name.endswith("*"):  # our rules would match several users
        raise ValueError("a user name that ends in * is not supported: %r" % name)
    return name


def _values(text: str, pattern: bool, user: str) -> dict[str, Any]:
    """The rule of a topic or pattern line."""
    access, _, topic = text.partition(" ")
    topic = topic.strip()
    if not topic:
        access, topic = "readwrite", text
    if not topic:
        raise ValueError("the topic is missing")
    if access not in _ACCESS:
        raise ValueError("access must be one of %s, not %r" % (", ".join(_ACCESS), access))
    if not pattern and ("%u" in topic or "%c" in topic):
        raise ValueError("%%u and %%c have a meaning in a pattern only, not in topic %r" % topic)
    values: dict[str, Any] = {"topic": topic, "allow": access != "deny", "actions": _ACCESS[access]}
    if not pattern:
        values["user"] = user
    return values
