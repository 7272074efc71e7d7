"""The stores of a configuration on CPython, by `type` of its table [store].

    memory    nothing outlives the broker
    sqlite    a file, see port.cpython.stores.sqlite
    redis     a Redis server, see port.cpython.stores.redis; needs the extra `redis`
    others    from installed packages, see port.cpython.third_party
"""

from __future__ import annotations

from port.core.config.store_config import StoreConfig
from port.cpython import third_party
from port.cpython.stores.writer import WriterStore

TYPES = ("memory", "sqlite", "redis")


def installed() -> list[str]:
    """The types of other packages."""
    return [kind for kind in third_party.types(third_party.STORES) if kind not in (*TYPES, "flash")]


def make(config: StoreConfig | None) -> WriterStore | None:
    """The store of a configuration, not opened yet; None for memory.

    Raises ValueError naming what is wrong, OSError for a file with a password.
    """
    if config is None or config.type == "memory":
        return None
    try:
        if config.type == "sqlite":
            from port.cpython.stores.sqlite import SQLiteStore

            return SQLiteStore(**config.settings)
        if config.type == "redis":
            from port.cpython.stores.redis import RedisStore

            return RedisStore(**config.settings)
        if config.type in installed():
            made: WriterStore = third_party.make(third_party.STORES, config.type, WriterStore, **config.settings)
            return made
    except ValueError as e:
        raise ValueError("store: %s" % e) from None
    raise ValueError("store: type must be one of %s, not %r" % (", ".join([*TYPES, *installed()]), config.type))
