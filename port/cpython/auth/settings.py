"""The settings of back ends: one table per back end, for checks and for explanations.

A setting has the type of its default. A file, such as `password_file`, may hold `password` and the like, so that the
configuration holds no secret.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from port.core.wire.suggest import unknown
from port.cpython.extras import install


@dataclass(frozen=True)
class Setting:
    """One setting.

    default      of its type: bool, int, float, str, () for a list of strings, or {} for a table
    text         its meaning
    least, most  range of a number, both included
    choices      allowed values of a string, or of each string of a list; empty for any
    required     True when it must be given
    secret       True when its value must not be shown
    """

    name: str
    default: Any
    text: str
    unit: str = ""
    least: float = 0
    most: float = 0
    choices: tuple[str, ...] = ()
    required: bool = False
    secret: bool = False

    def check(self, value: Any) -> Any:
        """The value; an int becomes a float for a setting of that type. Raises ValueError naming the setting."""
        shown = "that" if self.secret or self.name.endswith("url") else repr(value)  # a URL may hold a password
        default = self.default
        if isinstance(default, bool):
            if not isinstance(value, bool):
                raise ValueError("%s must be true or false, not %s" % (self.name, shown))
        elif isinstance(default, (int, float)):
            whole = isinstance(default, int)
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
                raise ValueError("%s must be a %s, not %s" % (self.name, "whole number" if whole else "number", shown))
            if not self.least <= value <= self.most:
                raise ValueError("%s must be %s, not %s" % (self.name, self.range(), shown))
            return value if whole else float(value)
        elif isinstance(default, str):
            self._check_text(value, shown, "a string")
        elif isinstance(default, dict):
            if not isinstance(value, dict):
                raise ValueError("%s must be a table" % self.name)
        else:
            if not isinstance(value, (list, tuple)):
                raise ValueError("%s must be a list of strings, not %s" % (self.name, shown))
            for item in value:
                self._check_text(item, repr(item), "a list of strings")
            return tuple(value)
        return value

    def _check_text(self, value: Any, shown: str, wanted: str) -> None:
        if not isinstance(value, str):
            raise ValueError("%s must be %s, not %s" % (self.name, wanted, shown))
        if self.choices and value not in self.choices:
            raise ValueError("%s must be one of %s, not %s" % (self.name, ", ".join(self.choices), shown))

    def range(self) -> str:
        """The range of a number, with its unit."""
        return "from %.15g to %.15g%s" % (self.least, self.most, " " + self.unit if self.unit else "")

    def explain(self) -> str:
        """One line: name, meaning, range and default."""
        hints = []
        if self.choices:
            hints.append(("any of " if self.default == () else "one of ") + ", ".join(self.choices))
        if isinstance(self.default, bool):
            default = str(self.default).lower()
        elif isinstance(self.default, (int, float)):
            hints.append(self.range())
            default = "%.15g" % self.default
        else:
            default = self.default and '"%s"' % self.default or "none"
        hints.append("required" if self.required else "default " + default)
        return "%s: %s (%s)" % (self.name, self.text, ", ".join(hints))


Table = Sequence[Setting]


def settings_of(found: Any) -> list[Setting]:
    """What the class of a type says of its settings, `SETTINGS`, if it does."""
    return [setting for setting in getattr(found, "SETTINGS", None) or () if isinstance(setting, Setting)]


def check(table: Table, values: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a table by name: `values` and defaults. Raises ValueError naming a wrong one."""
    known = {setting.name: setting for setting in table}
    for name in values:
        if name not in known:
            raise ValueError(unknown("key", name, sorted(known)))
    for setting in table:
        if setting.required and not values.get(setting.name):
            raise ValueError(setting.name + " is missing")
    return {name: setting.check(values[name]) if name in values else setting.default for name, setting in known.items()}


def explain(table: Table) -> str:
    """The whole table as text, one setting a line."""
    return "\n".join(setting.explain() for setting in table)


def secret(settings: Mapping[str, Any], name: str) -> str:
    """A secret from `name`, or the first line of the file `name`_file. Raises ValueError, OSError naming the file."""
    given: str = settings[name]
    path: str = settings[name + "_file"]
    if given and path:
        raise ValueError("there is %s and %s_file, one of them is enough" % (name, name))
    if not path:
        return given
    try:
        return Path(path).read_text("utf-8").split("\n")[0].rstrip("\r")
    except UnicodeDecodeError:
        raise ValueError("%s_file is not text in UTF-8" % name) from None


def library(module: str, extra: str) -> Any:
    """A module of an optional dependency. Raises ValueError saying how to install it."""
    try:
        return import_module(module)
    except ImportError as e:
        raise ValueError("needs %s: %s" % (e.name or module, install(extra))) from None


def client_context(ca_file: str, verify: bool = True) -> ssl.SSLContext:
    """A TLS context for a client. Raises ValueError when the CA file holds no certificate, OSError naming the file."""
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except ssl.SSLError:
        raise ValueError("ca_file holds no certificate: %s" % ca_file) from None
    except OSError as e:
        raise OSError(e.errno, e.strerror, ca_file) from None
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
