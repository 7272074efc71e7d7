"""mosquitto's ACL file, read as it is into our rules.

In its order of precedence: what is denied to a user, what the user is allowed, then the patterns
that deny, then those that allow. `topic` lines before the first `user` are for clients without a
user name, `pattern` lines for everybody. mosquitto grants every subscription and asks again at
delivery, and so do the rules made here.

Names with wildcards are treated more finely: where a user name or client id has `+` or `#` in it,
mosquitto passes over all patterns, we over those in which it would stand; `/` counts as they do.
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
    """The same as [[acl]] of a configuration has them."""
    with open(path, "rb") as file:
        lines = file.read().split(b"\n")
    groups: tuple[list[dict[str, Any]], ...] = ([], [], [], [])  # denied to users, allowed, patterns that deny, that allow
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
                rule(values)  # which says what is wrong with it
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
    if name.endswith("*"):  # which would stand for more than one in a rule of ours
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
        raise ValueError("%%u and %%c stand for something in a pattern only, not in topic %r" % topic)
    values: dict[str, Any] = {"topic": topic, "allow": access != "deny", "actions": _ACCESS[access]}
    if not pattern:
        values["user"] = user
    return values
