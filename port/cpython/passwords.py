"""Password records of all schemes CPython can read, and the authenticator that checks them in threads.

    $pbkdf2-sha256$i=N$SALT$HASH    made here, the one boards know, too
    $argon2id$...                   made here (extra `passwords`), and by mosquitto_passwd
    $2b$...                         bcrypt (extra `passwords`)
    $6$SALT$HASH, $7$N$SALT$HASH    mosquitto's: SHA-512, and PBKDF2-HMAC-SHA512
    $sha256$SALT$HASH               hexadecimal SHA-256 of salt and password: weak, for existing databases
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from port.core import passwords as core
from port.core.reason import BAD_USER_NAME_OR_PASSWORD, SERVER_UNAVAILABLE, SUCCESS

if TYPE_CHECKING:
    from port.core.auth import Identity

ITERATIONS = 100_000  # of PBKDF2 for records made here; boards take at most port.core.passwords.MAX_ITERATIONS
MOST_ITERATIONS = 10_000_000
MAX_PENDING = 64  # passwords being checked, or waiting for that, at a time
_THREADS = 2
_SCHEMES = ("$pbkdf2-sha256$", "$argon2id$", "$2b$", "$2a$", "$2y$", "$6$", "$7$", "$sha256$")


def is_hash(record: str) -> bool:
    """True for a record of a scheme that is known here."""
    return record.startswith(_SCHEMES)


def check_record(record: str) -> None:
    """Raise ValueError, without quoting it, unless `record` can be verified."""
    if not is_hash(record):
        raise ValueError("unknown scheme, or not hashed")
    _load(record)
    verify(record, b"")


def verify(record: str, password: bytes) -> bool:
    """Whether the password is the record's. Takes its time. Raises ValueError for a malformed record."""
    scheme, _, rest = record[1:].partition("$")
    try:
        if scheme == core.SCHEME:
            iterations, salt, digest = core.read_record(record, MOST_ITERATIONS)
            return hmac.compare_digest(hashlib.pbkdf2_hmac("sha256", password, salt, iterations), digest)
        if scheme == "argon2id":
            return _verify_argon2(record, password)
        if scheme in ("2b", "2a", "2y"):
            bcrypt = _load(record)
            return len(password) <= 72 and bool(bcrypt.checkpw(password, record.encode()))
        parts = rest.split("$")
        if scheme == "6" and len(parts) == 2:
            salt, digest = (base64.b64decode(part, validate=True) for part in parts)
            return hmac.compare_digest(hashlib.sha512(password + salt).digest(), digest)
        if scheme == "7" and len(parts) == 3 and 0 < int(parts[0]) <= MOST_ITERATIONS:
            salt, digest = (base64.b64decode(part, validate=True) for part in parts[1:])
            return hmac.compare_digest(hashlib.pbkdf2_hmac("sha512", password, salt, int(parts[0])), digest)
        if scheme == "sha256" and len(parts) == 2:
            return hmac.compare_digest(hashlib.sha256(parts[0].encode() + password).hexdigest(), parts[1].lower())
    except (binascii.Error, UnicodeError) as e:
        raise ValueError("malformed password record: %s" % e) from None
    raise ValueError("malformed password record, or of an unknown scheme")


def _verify_argon2(record: str, password: bytes) -> bool:
    argon2 = _load(record)
    try:
        return bool(argon2.PasswordHasher().verify(record, password))
    except argon2.exceptions.VerifyMismatchError:
        return False
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        raise ValueError("malformed password record") from None


def _load(record: str) -> Any:
    """The library a record needs, if any. Raises ValueError naming the extra that brings it."""
    try:
        if record.startswith("$argon2id$"):
            import argon2

            return argon2
        if record.startswith("$2"):
            import bcrypt

            return bcrypt
    except ImportError as e:
        raise ValueError("needs %s: pip install ucomqtt[passwords]" % e.name) from None
    return None


def hash_password(password: bytes, scheme: str = core.SCHEME, iterations: int = ITERATIONS) -> str:
    """A new record: scheme pbkdf2-sha256 or argon2id. Raises ValueError for others."""
    if scheme == "argon2id":
        return str(_load("$argon2id$").PasswordHasher().hash(password))
    if scheme != core.SCHEME:
        raise ValueError("unknown scheme %s, there are %s and argon2id" % (scheme, core.SCHEME))
    salt = os.urandom(core.SALT_SIZE)
    return core.write_record(iterations, salt, hashlib.pbkdf2_hmac("sha256", password, salt, iterations))


def read(path: str) -> dict[bytes, str]:
    """Users and records of a password file, ours or mosquitto's. Raises OSError, or ValueError naming file and line."""
    with open(path, "rb") as file:
        try:
            return core.parse(file, check_record)
        except ValueError as e:
            raise ValueError("%s: %s" % (path, e)) from None


class FilePasswords(core.PasswordAuthenticator):
    """PasswordAuthenticator for all schemes; the work is done in threads."""

    def __init__(self, users: dict[bytes, str] | None = None, max_pending: int = MAX_PENDING) -> None:
        super().__init__(users, max_pending)
        self._threads = ThreadPoolExecutor(_THREADS, "passwords")

    def start(self, client: Identity, user: bytes, record: str, password: bytes) -> None:
        """See PasswordAuthenticator.start."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, verify, record, password)

        def finished(done: asyncio.Future[bool]) -> None:
            if done.cancelled() or done.exception() is not None:
                client.broker.log(3, "auth %s: a password could not be checked", self.name)
                self.done(client, user, record, SERVER_UNAVAILABLE)
            else:
                self.done(client, user, record, SUCCESS if done.result() else BAD_USER_NAME_OR_PASSWORD)

        future.add_done_callback(finished)

    async def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
