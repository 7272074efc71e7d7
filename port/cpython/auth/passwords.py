"""Password records of all schemes on CPython, and the authenticator that checks them in threads.

    $pbkdf2-sha256$i=N$SALT$HASH    made here, and the scheme of boards
    $argon2id$...                   made here (extra `passwords`), and by mosquitto_passwd from 2.1 on
    $2b$...                         bcrypt (extra `passwords`)
    $6$SALT$HASH, $7$N$SALT$HASH    mosquitto's: SHA-512, and PBKDF2-HMAC-SHA512
    $sha256$SALT$HASH               hexadecimal SHA-256 of salt and password: weak, for existing databases

A password with a NUL is never right, see port.core.auth.passwords; nor is one of more than 72 bytes for bcrypt, which ignores
further bytes.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
import re
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from port.core.wire.reason_codes import BAD_USER_NAME_OR_PASSWORD, SERVER_UNAVAILABLE, SUCCESS
from port.core.auth import password_file
from port.core.auth import passwords as core
from port.cpython.extras import install

if TYPE_CHECKING:
    from port.core.auth.authenticator import Identity

    Verifier = Callable[[bytes], bool]

ITERATIONS = 100_000  # of PBKDF2 in records made here; a board's limit is port.core.auth.passwords.MAX_ITERATIONS
MOST_ITERATIONS = 10_000_000
MOST_ARGON2_MEMORY = 1_048_576  # KiB
MOST_ARGON2_PASSES = 100
MOST_BCRYPT_ROUNDS = 16  # as a power of two
MAX_PENDING = 1024  # passwords being checked or waiting for their check
MAX_ADDRESS = 64  # the same of one address
MAX_RECENT = 10_000  # users whose last right password is remembered: 1.7 MB
_THREADS = 2
_BCRYPT_BYTES = 72  # of a password that bcrypt reads
_BCRYPT_SCHEMES = ("2a", "2b", "2y")
_BCRYPT_TAIL = 53  # characters of salt and hash
_ARGON2 = re.compile(
    r"\$argon2id\$v=19\$m=(\d{1,10}),t=(\d{1,10}),p=(\d{1,3})\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{16,}", re.ASCII
)
_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}", re.ASCII)


def is_hash(record: str) -> bool:
    """True for a record of a known scheme."""
    return record[:1] == "$" and _scheme(record) in _VERIFIERS


def check_record(record: str) -> None:
    """Raise ValueError, without quoting it, unless `record` may stand in a password file. Does no hashing."""
    verifier(record)
    if _scheme(record) == "sha256":
        raise ValueError("scheme sha256 is too weak for a password file")


def verify(record: str, password: bytes) -> bool:
    """True when the password is the record's; takes the time of a hash. Raises ValueError as `verifier` does."""
    return verifier(record)(password)


def verifier(record: str) -> Verifier:
    """A function that tells whether a password is the record's, and takes the time of a hash.

    Raises ValueError, without quoting it, for a record that is malformed, of an unknown scheme or too slow; and ValueError
    naming the extra when a library is missing.
    """
    if not is_hash(record):
        raise ValueError("unknown scheme, or not hashed")
    check = _VERIFIERS[_scheme(record)](record)
    return lambda password: check(password) and b"\0" not in password


def _scheme(record: str) -> str:
    return record[1:].partition("$")[0]


def _pbkdf2_sha256(record: str) -> Verifier:
    iterations, salt, digest = core.read_record(record, MOST_ITERATIONS)
    return lambda password: hmac.compare_digest(hashlib.pbkdf2_hmac("sha256", password, salt, iterations), digest)


def _sha512(record: str) -> Verifier:
    salt, digest = _mosquitto(record.split("$")[2:])
    return lambda password: hmac.compare_digest(hashlib.sha512(password + salt).digest(), digest)


def _pbkdf2_sha512(record: str) -> Verifier:
    count, _, rest = record[3:].partition("$")
    salt, digest = _mosquitto(rest.split("$"))
    if not re.fullmatch(r"[0-9]{1,8}", count) or not 1 <= int(count) <= MOST_ITERATIONS:
        raise ValueError("iterations must be from 1 to %d" % MOST_ITERATIONS)
    iterations = int(count)
    return lambda password: hmac.compare_digest(hashlib.pbkdf2_hmac("sha512", password, salt, iterations), digest)


def _mosquitto(parts: list[str]) -> tuple[bytes, bytes]:
    """Salt and hash of the last two parts of a record."""
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in parts)
    except (binascii.Error, ValueError):
        salt = digest = b""
    if not salt or len(digest) != 64:
        raise ValueError("salt and hash of 64 bytes must stand in base64 at the end of a record of mosquitto's")
    return salt, digest


def _argon2id(record: str) -> Verifier:
    found = _ARGON2.fullmatch(record)
    if found is None:
        raise ValueError("not of the form $argon2id$v=19$m=KIB,t=PASSES,p=LANES$SALT$HASH")
    memory, passes, lanes = (int(text) for text in found.groups())
    if not 8 * lanes <= memory <= MOST_ARGON2_MEMORY or not 1 <= passes <= MOST_ARGON2_PASSES or not lanes:
        raise ValueError("argon2id parameters out of range: m to %d, t to %d" % (MOST_ARGON2_MEMORY, MOST_ARGON2_PASSES))
    argon2 = _library("argon2")

    def check(password: bytes) -> bool:
        try:
            return bool(argon2.PasswordHasher().verify(record, password))
        except argon2.exceptions.VerifyMismatchError:
            return False
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            raise ValueError("malformed argon2id record") from None

    return check


def _bcrypt(record: str) -> Verifier:
    found = _BCRYPT.fullmatch(record)
    if found is None:
        raise ValueError("not of the form $2b$ROUNDS$ and 53 characters")
    if not 4 <= int(found[1]) <= MOST_BCRYPT_ROUNDS:
        raise ValueError("bcrypt rounds must be from 04 to %d" % MOST_BCRYPT_ROUNDS)
    bcrypt = _library("bcrypt")

    def check(password: bytes) -> bool:
        # The same work for every password; some versions of the library raise an error for longer ones or NULs.
        same = bcrypt.checkpw(password.replace(b"\0", b"0")[:_BCRYPT_BYTES], record.encode())
        return bool(same) and len(password) <= _BCRYPT_BYTES

    return check


def _sha256(record: str) -> Verifier:
    parts = record.split("$")
    if len(parts) != 4 or not re.fullmatch(r"[0-9A-Fa-f]{64}", parts[3]):
        raise ValueError("not of the form $sha256$SALT$HASH with 64 hexadecimal digits")
    salt, digest = parts[2].encode(), bytes.fromhex(parts[3])
    return lambda password: hmac.compare_digest(hashlib.sha256(salt + password).digest(), digest)


_VERIFIERS: dict[str, Callable[[str], Verifier]] = {
    core.SCHEME: _pbkdf2_sha256,
    "argon2id": _argon2id,
    **dict.fromkeys(_BCRYPT_SCHEMES, _bcrypt),
    "6": _sha512,
    "7": _pbkdf2_sha512,
    "sha256": _sha256,
}


def _library(name: str) -> Any:
    """A library of the extra `passwords`. Raises ValueError saying how to install it."""
    try:
        if name == "argon2":
            import argon2

            return argon2
        import bcrypt

        return bcrypt
    except ImportError:
        raise ValueError("needs %s: %s" % (name, install("passwords"))) from None


def hash_password(password: bytes, scheme: str = core.SCHEME, iterations: int = ITERATIONS) -> str:
    """A new record of scheme pbkdf2-sha256, with `iterations`, or argon2id. Raises ValueError for other schemes, and for NULs."""
    password_file.check_password(password)
    if scheme == "argon2id":
        return str(_library("argon2").PasswordHasher().hash(password))
    if scheme != core.SCHEME:
        raise ValueError("unknown scheme %s, there are %s and argon2id" % (scheme, core.SCHEME))
    if not 1 <= iterations <= MOST_ITERATIONS:
        raise ValueError("iterations must be from 1 to %d, not %d" % (MOST_ITERATIONS, iterations))
    salt = os.urandom(core.SALT_SIZE)
    return password_file.write_record(iterations, salt, hashlib.pbkdf2_hmac("sha256", password, salt, iterations))


def read(path: str) -> dict[bytes, str]:
    """Users and records of a password file, ours or mosquitto's. Raises OSError, or ValueError naming file and line."""
    with open(path, "rb") as file:
        try:
            return password_file.parse(file, check_record)
        except ValueError as e:
            raise ValueError("%s: %s" % (path, e)) from None


def _give_way() -> None:
    """Lower this thread's priority below the broker's; on Linux a thread has its own."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)


class FilePasswords(core.PasswordAuthenticator):
    """PasswordAuthenticator for all schemes; checks run in threads."""

    at_a_time = _THREADS
    max_recent = MAX_RECENT

    def __init__(
        self, users: dict[bytes, str] | None = None, max_pending: int = MAX_PENDING, max_address: int | None = MAX_ADDRESS
    ) -> None:
        super().__init__(users, max_pending, max_address)
        self._threads = ThreadPoolExecutor(_THREADS, "passwords", initializer=_give_way)

    def kind(self, record: str) -> str:
        """See PasswordAuthenticator.kind; bcrypt's records have no `$` between salt and hash."""
        return record[:-_BCRYPT_TAIL] if _scheme(record) in _BCRYPT_SCHEMES else super().kind(record)

    def start(self, client: Identity, user: bytes, record: str, password: bytes) -> None:
        """See PasswordAuthenticator.start."""

        def finished(done: asyncio.Future[bool]) -> None:
            if done.cancelled() or done.exception() is not None:
                text = "auth %s: a password could not be checked"
                client.broker.client_log.line(3, client.address, text, self.name)
                code = SERVER_UNAVAILABLE
            else:
                code = SUCCESS if done.result() else BAD_USER_NAME_OR_PASSWORD
            self.done(client, user, record, password, code)

        asyncio.get_running_loop().run_in_executor(self._threads, verify, record, password).add_done_callback(finished)

    async def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
