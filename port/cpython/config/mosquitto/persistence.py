"""Persistence in a mosquitto.conf: a store of our own in place of mosquitto.db, which cannot be read."""

from __future__ import annotations

import os
from typing import Any

from port.cpython.config.mosquitto.line import Draft, Lost, boolean, number

STORE = "ucomqtt.db"
_DAYS = {"h": 3600, "d": 86400, "w": 7 * 86400, "m": 30 * 86400, "y": 365 * 86400}


class Persistence:
    """The lines about persistence: extent, place and expiry."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._store: dict[str, Any] = {}
        self._persistent = False
        self._location = ""

    def persistence(self, value: str) -> None:
        """persistence"""
        self._persistent = boolean(value)

    def persistence_location(self, value: str) -> None:
        """persistence_location"""
        self._location = value

    def autosave_on_changes(self, value: str) -> None:
        """autosave_on_changes"""
        self._store["durability"] = "sync" if boolean(value) else "none"

    def expiry(self, value: str) -> None:
        """persistent_client_expiration"""
        value = value.split(" ")[0]
        unit = value[-1].lower()
        if unit not in _DAYS:
            raise Lost("must be a number and one of h, d, w, m, y")
        self._draft.option("max_session_expiry", number(value[:-1], 1) * _DAYS[unit])

    def finish(self) -> None:
        """The table [store]."""
        if self._persistent:
            folder = os.path.abspath(self._location or ".")
            self._draft.values["store"] = {"type": "sqlite", "file": os.path.join(folder, STORE), **self._store}
