"""mosquitto's ACL file, read as it is into our rules.

In its order of precedence: what is denied to a user, what the user is allowed, then the patterns.
`topic` lines before the first `user` are for clients without a user name. mosquitto grants every
subscription and asks again at delivery, and so do the rules made here.
"""

from __future__ import annotations

from typing import Any

from port.core.acl import Rule, rule

_ACCESS: dict[str, list[str] | None] = {
    "read": ["receive"],
    "write": ["publish"],
    "readwrite": ["receive", "publish"],
    "deny": None,
}


def rules(path: str) -> list[Rule]:
    """The rules of an ACL file. Raises OSError, or ValueError naming file and line."""
    groups: tuple[list[Rule], ...] = ([], [], [], [])  # denied to users, allowed, patterns that deny, that allow
    user = ""
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            keyword, _, rest = line.partition(" ")
            rest = rest.strip()
            try:
                if keyword == "user" and rest:
                    user = rest
                elif keyword in ("topic", "pattern") and rest:
                    denied, values = _values(rest, keyword == "pattern", user)
                    groups[(2 if keyword == "pattern" else 0) + (0 if denied else 1)].append(rule(values))
                else:
                    raise ValueError("neither user, topic nor pattern")
            except ValueError as e:
                raise ValueError("%s, line %d: %s" % (path, number, e)) from None
    granted = [rule({"actions": ["subscribe_only"], "topic": topic}) for topic in ("#", "$SYS/#")]
    return [found for group in groups for found in group] + granted


def _values(text: str, pattern: bool, user: str) -> tuple[bool, dict[str, Any]]:
    """Whether a line denies, and its rule."""
    access, _, topic = text.partition(" ")
    if access not in _ACCESS or not topic:
        access, topic = "readwrite", text
    if not pattern and ("%u" in topic or "%c" in topic):
        raise ValueError("%u and %c stand for something in a pattern only")
    actions = _ACCESS[access]
    values: dict[str, Any] = {"topic": topic.strip(), "allow": actions is not None}
    values["actions"] = actions or ["receive", "publish"]
    if not pattern:
        values["user"] = user
    return actions is None, values
