"""The files of a configuration: the main file and those of its `include_dir`, each a part of the whole.

All `*.toml` of that folder are read, in the order of their names. Lists of tables are joined; any other key may be set once.
Paths are relative to the folder of the file that has them.
"""

from __future__ import annotations

import os
import pathlib
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from port.cpython.config import toml_lines
from port.cpython.config.toml_lines import Path

# Keys that name a file, in any table.
_FILES = (
    "file", "acl_file", "certificate", "key", "key_password_file", "chain", "client_ca", "crl", "psk_file", "ca_file", "key_file",
    "secret_file", "password_file", "token_file",
)  # fmt: skip

LEVELS = ("debug", "info", "warning", "error")  # values of log_level


class ConfigError(Exception):
    """The configuration is wrong; the text says where and why."""


@dataclass
class Source:
    """A file and its values."""

    name: str
    values: dict[str, Any]
    text: str = ""

    def lines(self) -> dict[Path, int]:
        """The line of each key and table."""
        return toml_lines.lines(self.text)


def read(path: str) -> list[Source]:
    """The configuration file and the files that it includes. Raises ConfigError."""
    found = [_read(path)]
    folder = found[0].values.pop("include_dir", None)
    if folder is None:
        return found
    if not isinstance(folder, str) or not folder:
        raise ConfigError("%s: include_dir must be the name of a folder, not %r" % (path, folder))
    folder = os.path.join(os.path.dirname(path), folder)
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".toml") and not name.startswith("."))
    except OSError as e:
        raise ConfigError("%s: cannot read the include_dir %s: %s" % (path, folder, e.strerror)) from None
    for name in names:
        source = _read(os.path.join(folder, name))
        if os.path.samefile(path, source.name):
            raise ConfigError("%s: the include_dir must not hold this file itself" % path)
        if "include_dir" in source.values:
            raise ConfigError("%s: include_dir is for %s only" % (source.name, path))
        found.append(source)
    return found


def read_config(path: str) -> dict[str, Any]:
    """What a configuration file says, with those it includes: for Server.configure and Server.change.

    Names of files in it are relative to its folder. Raises ValueError naming the file.
    """
    try:
        return merged(read(path))
    except ConfigError as e:
        raise ValueError(str(e)) from None


def merged(sources: Iterable[Source]) -> dict[str, Any]:
    """The values of all files together. Raises ConfigError naming both files for a key that is set twice."""
    values: dict[str, Any] = {}
    first: dict[str, str] = {}
    for source in sources:
        for key, value in source.values.items():
            if key not in values:
                values[key] = value
                first[key] = source.name
            elif _is_list_of_tables(value) and _is_list_of_tables(values[key]):
                values[key] = values[key] + value
            else:
                raise ConfigError("%s: %s is set in %s, too" % (source.name, key, first[key]))
    return values


def _is_list_of_tables(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _read(path: str) -> Source:
    try:
        with open(path, "rb") as file:
            text = file.read().decode()
        folder = pathlib.Path(path).resolve().parent
        return Source(path, {key: _resolved(key, value, folder) for key, value in tomllib.loads(text).items()}, text)
    except OSError as e:
        raise ConfigError("cannot read %s: %s" % (path, e.strerror)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigError("%s: %s" % (path, e)) from None
    except RecursionError:
        raise ConfigError("%s: nested too deep" % path) from None


def _resolved(key: str, value: Any, folder: pathlib.Path) -> Any:
    """A value with absolute paths; the names of users are left as they are."""
    if key in _FILES and isinstance(value, str):
        return str(folder / value)
    if isinstance(value, dict) and key != "users":
        return {name: _resolved(name, item, folder) for name, item in value.items()}
    return [_resolved("", item, folder) for item in value] if isinstance(value, list) else value
