"""Answers that hold for a while: a bounded table, and keys that betray nothing of the secrets they are made of."""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Cache(Generic[T]):
    """Up to `size` answers, each for `ttl` s; the oldest gives way when there are more.

    `clock` says seconds from any start.
    """

    def __init__(self, size: int, ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._ttl = ttl
        self._clock = clock
        self._key = os.urandom(32)
        self._entries: dict[bytes, tuple[T, float]] = {}

    def key(self, *parts: bytes | None) -> bytes:
        """A keyed hash: it cannot be turned back into its parts, nor compared with another process's."""
        digest = hmac.new(self._key, digestmod=hashlib.sha256)
        for part in parts:
            # With their lengths, so that no two lists of parts look the same.
            digest.update(b"-" if part is None else b"%d:" % len(part) + part)
        return digest.digest()

    def get(self, key: bytes) -> T | None:
        """The answer kept under a key, None when there is none any more."""
        found = self._entries.get(key)
        return None if found is None or found[1] <= self._clock() else found[0]

    def left(self, key: bytes) -> float:
        """For how many seconds an answer holds yet."""
        found = self._entries.get(key)
        return 0.0 if found is None else max(0.0, found[1] - self._clock())

    def put(self, key: bytes, answer: T) -> None:
        """Keep an answer, unless nothing is to be kept at all."""
        if self._ttl <= 0:
            return
        self._entries.pop(key, None)  # so that it stands last: they are in the order of their age
        while len(self._entries) >= self._size:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (answer, self._clock() + self._ttl)

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
