"""Which passwords were right a moment ago: whoever comes again with the same one need not be checked at length."""

from hashlib import sha256

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Callable

_SIZE = const(16)  # bytes of a hash that are kept
_KEY = const(32)


def equal(one: bytes, other: bytes) -> bool:
    """Whether they are equal; how long that takes does not tell where they differ."""
    if len(one) != len(other):
        return False
    difference = 0
    for i in range(len(one)):
        difference |= one[i] ^ other[i]
    return difference == 0


class Recent:
    """A keyed hash of the last right password of up to `most` users.

    The key is random and never leaves the process. Only what was right is kept, together with the record it was
    right for, so another record makes it void. There is nothing for wrong passwords: each is checked at length.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._key = b""
        self._hashes: "dict[bytes, bytes]" = {}

    def add(self, user: bytes, record: str, password: bytes, random: "Callable[[int], bytes]") -> None:
        """The password is right; `random`: (size) -> bytes nobody can guess."""
        if not self._key:
            self._key = random(_KEY)
        if user not in self._hashes and len(self._hashes) >= self._most:
            for other in self._hashes:  # on CPython the first that came
                del self._hashes[other]
                break
        self._hashes[user] = self._hash(record, password)

    def knows(self, user: bytes, record: str, password: bytes) -> bool:
        """Whether this very password was right for this very record of the user; takes as long for users nobody has."""
        if not self._key:
            return False
        return equal(self._hash(record, password), self._hashes.get(user, b"\0" * _SIZE))

    def clear(self) -> None:
        """Forget all."""
        self._hashes = {}

    def _hash(self, record: str, password: bytes) -> bytes:
        first = sha256(self._key)
        first.update(b"%d:" % len(record))  # so that no record and password look like others
        first.update(record.encode())
        first.update(password)
        second = sha256(self._key)
        second.update(first.digest())
        found: bytes = second.digest()
        return found[:_SIZE]
