"""What a name that is unknown could have been meant to be; loaded when there is such a name."""


def unknown(what: str, name: str, known: "list[str]") -> str:
    """The text of an error: there is no `name`, and what it could have been."""
    nearest = ""
    least = 1000
    for candidate in known:
        distance = _distance(name, candidate)
        if distance < least:
            least = distance
            nearest = candidate
    return "unknown %s %s" % (what, name) + (", did you mean %s?" % nearest if nearest else "")


def _distance(a: str, b: str) -> int:
    """How many letters have to be changed, added or left out to make `b` of `a` (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i in range(len(a)):
        last = row[0]
        row[0] = i + 1
        for j in range(len(b)):
            change = last + (a[i] != b[j])
            last = row[j + 1]
            row[j + 1] = min(change, last + 1, row[j] + 1)
    return row[len(b)]
