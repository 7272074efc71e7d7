"""A bounded table of answers that hold for a while, under keys that do not reveal the secrets in them."""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Cache(Generic[T]):
    """Up to `size` answers, each for `ttl` s; the oldest leaves for a new one.

    `clock`: () -> seconds.
    """

    def __init__(self, size: int, ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._ttl = ttl
        self._clock = clock
        self._key = os.urandom(32)
        self._entries: dict[bytes, tuple[T, float]] = {}

    def key(self, *parts: bytes | None) -> bytes:
        """A keyed hash of the parts; the key is random in each process."""
        digest = hmac.new(self._key, digestmod=hashlib.sha256)
        for part in parts:
            # With their lengths, so that different lists of parts give different bytes.
            digest.update(b"-" if part is None else b"%d:" % len(part) + part)
        return digest.digest()

    def get(self, key: bytes) -> T | None:
        """The answer under a key, or None."""
        found = self._entries.get(key)
        return None if found is None or found[1] <= self._clock() else found[0]

    def left(self, key: bytes) -> float:
        """Seconds that an answer still holds."""
        found = self._entries.get(key)
        return 0.0 if found is None else max(0.0, found[1] - self._clock())

    def put(self, key: bytes, answer: T) -> None:
        """Keep an answer, unless ttl is 0."""
        if self._ttl <= 0:
            return
        self._entries.pop(key, None)  # removed first, so that entries stay in the order of age
        while len(self._entries) >= self._size:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (answer, self._clock() + self._ttl)

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
