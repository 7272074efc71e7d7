"""Passwords that were right lately, so that a client that comes again needs no long check."""

from hashlib import sha256

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Callable

_SIZE = const(16)  # bytes kept of a hash
_KEY = const(32)


def equal(one: bytes, other: bytes) -> bool:
    """True when both are equal; the time does not reveal where they differ."""
    if len(one) != len(other):
        return False
    difference = 0
    for i in range(len(one)):
        difference |= one[i] ^ other[i]
    return difference == 0


class Recent:
    """A keyed hash of the last right password of up to `most` users.

    The key is random and never leaves the process. A hash covers the password and the record that it matched, so a new record
    makes it void. Wrong passwords are not remembered: each takes a long check.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._key = b""
        self._hashes: "dict[bytes, bytes]" = {}

    def add(self, user: bytes, record: str, password: bytes, random: "Callable[[int], bytes]") -> None:
        """Remember a right password; `random`: (size) -> bytes, such as os.urandom."""
        if not self._key:
            self._key = random(_KEY)
        if user not in self._hashes and len(self._hashes) >= self._most:
            for other in self._hashes:  # on CPython the oldest
                del self._hashes[other]
                break
        self._hashes[user] = self._hash(record, password)

    def knows(self, user: bytes, record: str, password: bytes) -> bool:
        """True when this password was right for this record of the user; takes as long for unknown users."""
        if not self._key:
            return False
        return equal(self._hash(record, password), self._hashes.get(user, b"\0" * _SIZE))

    def clear(self) -> None:
        """Forget all."""
        self._hashes = {}

    def _hash(self, record: str, password: bytes) -> bytes:
        first = sha256(self._key)
        first.update(b"%d:" % len(record))  # so that different records and passwords never give the same bytes
        first.update(record.encode())
        first.update(password)
        second = sha256(self._key)
        second.update(first.digest())
        found: bytes = second.digest()
        return found[:_SIZE]
