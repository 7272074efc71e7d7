"""The MQTT 5 properties a program gives with a message, checked: the core takes them as they are."""

from __future__ import annotations

from typing import Any

from port.core.wire import properties
from port.core.wire.properties import encode_one

_NAMES = {name.lower(): value for name, value in vars(properties).items() if name.isupper() and name[0] != "_" and isinstance(value, int)}


def checked(given: dict[Any, Any]) -> dict[int, Any]:
    """The same with bytes for str. Raises ValueError naming the property that is unknown or cannot have this value."""
    if not isinstance(given, dict):
        raise ValueError("properties are a dict, not %r" % (given,))
    found: dict[int, Any] = {}
    for name, value in given.items():
        if not isinstance(name, int):
            known = _NAMES.get(str(name).lower())
            hint = "" if known is None else ", %s of port.core.wire.properties is 0x%02x" % (str(name).upper(), known)
            raise ValueError("unknown property %r: they are numbers%s" % (name, hint))
        found[name] = [_as_bytes(item) for item in value] if isinstance(value, list) else _as_bytes(value)
        for item in found[name] if isinstance(value, list) else (found[name],):
            try:
                encode_one(name, item)
            except (TypeError, IndexError, AttributeError, OverflowError):
                raise ValueError("property 0x%02x cannot be %r" % (name, value)) from None
    return found


def _as_bytes(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple(_as_bytes(item) for item in value)
    return value.encode() if isinstance(value, str) else value
