"""A configuration as the file of either runtime: TOML for CPython, JSON for MicroPython."""

import json


def write(path, runtime, values):
    """Write a configuration, a nested dict; the path as text."""
    path.write_text(toml(values) if runtime == "cpython" else json.dumps(values))
    return str(path)


def toml(values):
    """The same as TOML; JSON's strings, numbers and words are TOML's."""
    lines = ["%s = %s" % (key, _inline(value)) for key, value in values.items() if not _is_tables(value)]
    for key, value in values.items():
        if _is_tables(value):
            for table in value:
                lines += ["[[%s]]" % key, *("%s = %s" % (name, _inline(item)) for name, item in table.items())]
    return "\n".join(lines) + "\n"


def _is_tables(value):
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _inline(value):
    if isinstance(value, dict):
        return "{ %s }" % ", ".join("%s = %s" % (json.dumps(key), _inline(item)) for key, item in value.items())
    if isinstance(value, list):
        return "[%s]" % ", ".join(_inline(item) for item in value)
    return json.dumps(value)
