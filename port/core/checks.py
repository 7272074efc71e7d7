"""Values of a configuration or a program: of the type that is asked for, or an error that names them."""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

_WORDS = {str: "a string", int: "a whole number", bool: "true or false", dict: "a table"}


def check_settings(settings: "dict[str, Any]", known: "dict[str, Any]", required: "tuple[str, ...]" = ()) -> None:
    """Raise ValueError for a setting that is unknown, of the wrong type, or required and missing; `known`: type by name."""
    for key in settings:
        if key not in known:
            from port.core.wire.suggest import unknown

            raise ValueError(unknown("key", key, sorted(known)))
        check_type(key, settings[key], known[key])
    for key in required:
        if key not in settings:
            raise ValueError("%s is missing" % key)


def check_type(where: str, value: "Any", kind: "Any") -> None:
    """Raise ValueError unless `value` is of the type `kind`, or for a tuple (type,) a list of such."""
    if isinstance(kind, tuple):
        kind = kind[0]
        fits = isinstance(value, (list, tuple)) and all([isinstance(item, kind) for item in value])
        word = "a list of tables" if kind is dict else "a list of strings"
    else:
        fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        word = _WORDS[kind]
    if not fits:
        shown = "" if where.endswith("password") or where == "users" else ", not %r" % (value,)
        raise ValueError("%s must be %s%s" % (where, word, shown))
