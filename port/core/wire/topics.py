"""Topic names and topic filters: validity and matching (MQTT 5 clause 4.7).

Names and filters are UTF-8 bytes throughout the core: on the wire, as dictionary keys, in calls.
"""

from port.core import const
from port.core.wire.codec import is_utf8

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Sequence

_SHARE = b"$share/"
_PLUS = const(0x2B)  # CPython finds an int in bytes six times as fast as a bytes object
_HASH = const(0x23)
_SLASH = const(0x2F)


def valid_name(name: bytes) -> bool:
    """True for a topic name of a PUBLISH: not empty, UTF-8, no wildcard [MQTT-3.3.2-2] [MQTT-4.7.3-1]."""
    return len(name) > 0 and not has_wildcard(name) and is_utf8(name)


def valid_filter(topic_filter: bytes) -> bool:
    """True for a topic filter whose wildcards stand alone in their levels, `#` last [MQTT-4.7.1-1] [MQTT-4.7.1-2]."""
    if not topic_filter or not is_utf8(topic_filter):
        return False
    if not has_wildcard(topic_filter):
        return True
    ends = topic_filter.count(b"#")
    if ends and (ends > 1 or topic_filter != b"#" and not topic_filter.endswith(b"/#")):
        return False
    singles = topic_filter.count(b"+")
    # A slash between two levels belongs to both.
    return not singles or (b"/" + topic_filter + b"/").replace(b"/", b"//").count(b"/+/") == singles


def has_wildcard(topic_filter: bytes) -> bool:
    """True when a valid filter holds a wildcard."""
    return _PLUS in topic_filter or _HASH in topic_filter


def is_shared(topic_filter: bytes) -> bool:
    """True when the filter asks for a shared subscription, valid or not."""
    return topic_filter == b"$share" or topic_filter.startswith(_SHARE)


def split_share(topic_filter: bytes) -> bytes:
    """The filter inside `$share/NAME/filter`; empty when the form is wrong [MQTT-4.8.2-1] [MQTT-4.8.2-2]."""
    rest = topic_filter[len(_SHARE) :]
    slash = rest.find(b"/")
    if slash < 1 or has_wildcard(rest[:slash]):
        return b""
    return rest[slash + 1 :]


def without_share(topic_filter: bytes) -> bytes:
    """The filter inside `$share/NAME/filter`, empty when its form is wrong; any other filter as it is."""
    return split_share(topic_filter) if is_shared(topic_filter) else topic_filter


def matches(topic_filter: bytes, name: bytes) -> bool:
    """True when the filter matches the topic name; `$` names hide from leading wildcards [MQTT-4.7.2-1]."""
    if name.startswith(b"$") and has_wildcard(topic_filter[:1]):
        return False
    if topic_filter[-1:] != b"#":
        return match_end(topic_filter, name, 0) == len(name)
    return len(topic_filter) == 1 or match_end(topic_filter[:-2], name, 0) >= 0


def levels_match(filters: "Sequence[bytes]", levels: "Sequence[bytes]", i: int) -> bool:
    """True when the levels of a filter match those of a topic name, from level i on."""
    count = len(levels)
    while i < len(filters):
        level = filters[i]
        if level == b"#":
            return True
        if i >= count or level != b"+" and level != levels[i]:
            return False
        i += 1
    return len(filters) == count


def match_end(pattern: bytes, name: bytes, place: int) -> int:
    """The end of the part of a name, from `place` on, that a filter without `#` matches level by level; -1 without a match.

    The levels between two wildcards are compared as one.
    """
    pieces = pattern.split(b"+")
    last = pieces.pop()
    for piece in pieces:
        if not name.startswith(piece, place):
            return -1
        place = name.find(b"/", place + len(piece))
        if place < 0:
            place = len(name)
    if not name.startswith(last, place):
        return -1
    place += len(last)
    return place if place == len(name) or name[place] == _SLASH else -1
