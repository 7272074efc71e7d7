"""JSON in pieces, so that a list of any length needs the memory of one item (RFC 8259); the same text on both runtimes.

    Response(pieces({"items": (describe(one) for one in found)}), JSON)
"""

from port.core import const
from port.core.wire.codec import is_utf8

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Iterator, Union

JSON = "application/json"
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_REPLACED = "\\ufffd"


def quoted(value: "Union[str, bytes]") -> str:
    """A JSON string. Bytes are UTF-8, as client ids and topic names are; of others each byte that is not ASCII is U+FFFD."""
    if isinstance(value, str):
        text = value
    elif is_utf8(value.replace(b"\0", b" ")):
        text = str(value, "utf-8")
    else:
        return '"%s"' % "".join([_escaped(chr(byte)) if byte < 0x80 else _REPLACED for byte in value])
    for c in text:
        if c == '"' or c == "\\" or _is_hidden(ord(c)):
            return '"%s"' % "".join([_escaped(c) for c in text])
    return '"%s"' % text


def _escaped(c: str) -> str:
    found = _ESCAPES.get(c)
    if found is not None:
        return found
    return "\\u%04x" % ord(c) if _is_hidden(ord(c)) else c


def _is_hidden(code: int) -> bool:
    """True for control characters and surrogates."""
    return code < 0x20 or 0x7F <= code <= 0x9F or 0xD800 <= code <= 0xDFFF


def pieces(value: "Any") -> "Iterator[str]":
    """The JSON text of None, bool, int, float, str, bytes (see `quoted`), dicts with such keys, lists, tuples and iterators.

    An iterator becomes an array, each item made when its turn comes. An empty str of an iterator is an empty piece: work
    without an item yet. Raises TypeError for other values.
    """
    if isinstance(value, dict):
        start = "{"
        for key in value:
            yield start + quoted(key) + ": "
            for piece in pieces(value[key]):
                yield piece
            start = ", "
        yield "}" if start != "{" else "{}"
    elif isinstance(value, (str, bytes)):
        yield quoted(value)
    elif value is None or value is True or value is False:
        yield "null" if value is None else "true" if value else "false"
    elif isinstance(value, int):
        yield str(value)
    elif isinstance(value, float):
        yield repr(value) if value - value == 0 else "null"  # JSON has neither infinity nor NaN
    else:
        if not isinstance(value, (list, tuple)) and not hasattr(value, "__next__"):
            raise TypeError("%r cannot be JSON" % (value,))
        start = "["
        for item in value:
            if isinstance(item, str) and not item and not isinstance(value, (list, tuple)):
                yield ""
                continue
            yield start
            for piece in pieces(item):
                yield piece
            start = ", "
        yield "]" if start != "[" else "[]"
