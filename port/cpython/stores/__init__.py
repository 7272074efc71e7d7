"""The stores of a configuration on CPython, by `type` of its table [store].

    memory    nothing outlives the broker
    sqlite    a file, see port.cpython.stores.sqlite
    redis     a Redis server, see port.cpython.stores.redis; needs the extra `redis`
    others    from installed packages, see port.cpython.third_party, or registered by a program
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from port.core.wire.suggest import unknown
from port.core.config.registry import STORES
from port.core.config.store_config import StoreConfig, make_store
from port.core.storage.store import Store
from port.cpython import built_in
from port.cpython.auth.settings import Setting, settings_of

TYPES = ("memory", *built_in.TYPES["store"])


def settings(kind: str) -> list[Setting]:
    """The settings that the class of a type declares. Raises ValueError."""
    return [] if kind == "memory" else settings_of(STORES.load(kind))


def make(config: StoreConfig | None) -> Store | None:
    """The store of a configuration, not opened yet; None for memory.

    Raises ValueError naming what is wrong, OSError for a file with a password.
    """
    if config is not None:
        try:
            _check(config.type, config.settings)
        except ValueError as e:
            raise ValueError("store: %s" % e) from None
    made: Store | None = make_store(config)
    return made


def _check(kind: str, values: Mapping[str, Any]) -> None:
    """Raise ValueError for a setting that the store cannot take, as far as its class tells."""
    known = {setting.name: setting for setting in settings(kind)}
    taken = None if kind == "memory" else _parameters(STORES.load(kind))
    for key, value in values.items():
        if key in known:
            known[key].check(value)
        elif kind == "memory" or taken is not None and key not in taken:
            others = [other for other in TYPES if other != kind and key in [setting.name for setting in settings(other)]]
            if others:
                raise ValueError("%s is for type %s, not %s" % (key, " or ".join(others), kind))
            raise ValueError(unknown("key", key, ["type", *known, *sorted(taken or ())]))
    for setting in known.values():
        if setting.required and not values.get(setting.name):
            raise ValueError("%s is missing" % setting.name)


def _parameters(made_by: Any) -> set[str] | None:
    """The settings that a class takes; None where it takes any, or does not tell."""
    try:
        found = inspect.signature(made_by).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind == parameter.VAR_KEYWORD for parameter in found):
        return None
    return {parameter.name for parameter in found}
