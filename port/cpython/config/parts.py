"""Checks a configuration, a nested dict, and makes its parts on CPython."""

from __future__ import annotations

from typing import Any

from port.core.auth.authenticator import Authenticator
from port.core.config.config import Config
from port.core.storage.store import Store
from port.cpython import stores
from port.cpython.auth import registry
from port.cpython.config import preflight
from port.cpython.config.mosquitto import acl


def parts(
    values: dict[str, Any], extra: tuple[str, ...], running: list[Authenticator]
) -> tuple[Config, list[Authenticator], Store | None]:
    """The configuration, the authenticators of its [[auth]], and its store, not opened; its files are read, except certificates.

    extra    further keys at the top level
    running  the present authenticators: those that still fit are used again

    Raises ValueError naming the fault, OSError for a file.
    """
    config = Config(values, False, extra)
    if config.acl_file:
        config.rules = (config.rules or []) + acl.rules(config.acl_file)
    made = [registry.make(entry, running) for entry in config.auth]
    store = stores.make(config.store)
    preflight.check_listeners(config.listeners)
    return config, made, store
