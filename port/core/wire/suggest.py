"""Suggestions for an unknown name; loaded when a configuration has one."""

from port.core import const

_FEW_NAMES = const(12)


def unknown(what: str, name: str, known: "list[str]") -> str:
    """The text of an error: `name` is unknown, then a near name; without a near name the known ones, if they are few."""
    nearest = ""
    least = max(1, min(3, len(name) // 2)) + 1
    for candidate in known:
        # The beginning of a name counts as near, and so do its letters in another order.
        close = len(name) > 3 and candidate.startswith(name) or sorted(name) == sorted(candidate)
        distance = 1 if close else _distance(name.lower(), candidate)
        if distance < least:
            least = distance
            nearest = candidate
    text = "unknown %s %s" % (what, name)
    if nearest:
        return "%s, did you mean %s?" % (text, nearest)
    if len(known) > _FEW_NAMES:
        return text
    return "%s, there %s" % (text, "are " + ", ".join(known) if known else "is none")


def _distance(a: str, b: str) -> int:
    """Edit distance of two names (Levenshtein): letters to change, add or remove."""
    row = list(range(len(b) + 1))
    for i in range(len(a)):
        last = row[0]
        row[0] = i + 1
        for j in range(len(b)):
            change = last + (a[i] != b[j])
            last = row[j + 1]
            row[j + 1] = min(change, last + 1, row[j] + 1)
    return row[len(b)]
