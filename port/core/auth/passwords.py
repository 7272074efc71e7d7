"""User names and passwords: PBKDF2 in slices, and the authenticator that checks passwords.

Both runtimes know the record `$pbkdf2-sha256$i=ITERATIONS$SALT$HASH` (RFC 8018 clause 5.2), salt of 16
and hash of 32 bytes in base64 without padding. A password is checked a few iterations at a time, so
that even a slow board goes on serving other clients. Addresses take turns with their checks.

A password with a NUL is never right: HMAC pads its key with NULs (RFC 2104 clause 2), so `pw` and `pw\\0` are the same
to PBKDF2, and to bcrypt, too.
"""

import binascii
from hashlib import sha256

from port.core import const
from port.core.wire.reason_codes import BAD_USER_NAME_OR_PASSWORD, SERVER_BUSY, SUCCESS
from port.core.limits.fair_queue import Turns
from port.core.limits.ip_address import peer
from port.core.auth.authenticator import PENDING, Authenticator
from port.core.auth.recent_logins import Recent, equal

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

    from port.core.auth.authenticator import Identity

SCHEME = "pbkdf2-sha256"
MAX_ITERATIONS = 10000  # of a record on a board: with more, clients give up before the check is done
SALT_SIZE = 16
MAX_PENDING = 8  # passwords being checked or waiting for their check
MAX_RECENT = 16  # users whose last right password is remembered: 1 KB on a board

_HASH_SIZE = const(32)
_BLOCK = const(64)  # bytes, of SHA-256
# Iterations in one go; an iteration takes 2.1 to 2.7 us on a PC, an estimated 0.1 to 0.3 ms on a board.
_SLICE = const(16)


class Pbkdf2:
    """PBKDF2-HMAC-SHA256 with one block of output, computed in steps.

    MicroPython's hashlib cannot copy a running hash, so each HMAC hashes its padded key again.
    """

    def __init__(self, password: bytes, salt: bytes, iterations: int) -> None:
        """Raises ValueError for less than one iteration."""
        if iterations < 1:
            raise ValueError("iterations must be at least 1, not %d" % iterations)
        if len(password) > _BLOCK:  # RFC 2104 clause 2
            password = sha256(password).digest()
        key = password + bytes(_BLOCK - len(password))
        self._inner = bytes([byte ^ 0x36 for byte in key])
        self._outer = bytes([byte ^ 0x5C for byte in key])
        self._last = salt + b"\0\0\0\1"
        self._sum = 0
        self._left = iterations

    def step(self, count: int) -> "Optional[bytes]":
        """Do up to `count` more iterations; returns the 32 bytes after the last one, else None."""
        inner = self._inner
        outer = self._outer
        last = self._last
        total = self._sum
        count = min(count, self._left)
        for _ in range(count):
            first = sha256(inner)
            first.update(last)
            second = sha256(outer)
            second.update(first.digest())
            last = second.digest()
            total ^= int.from_bytes(last, "big")
        self._last = last
        self._sum = total
        self._left -= count
        return None if self._left else total.to_bytes(_HASH_SIZE, "big")


def read_record(record: str, most: int = MAX_ITERATIONS) -> "tuple[int, bytes, bytes]":
    """(iterations, salt, hash) of a record. Raises ValueError with the reason, without the record.

    most  largest number of iterations allowed
    """
    parts = record.split("$")
    if len(parts) < 3 or parts[0]:
        raise ValueError("a password must be hashed, as in $%s$..." % SCHEME)
    if parts[1] != SCHEME:
        raise ValueError("unknown scheme, this broker knows %s" % SCHEME)
    if len(parts) != 5:
        raise ValueError("not of the form $%s$i=ITERATIONS$SALT$HASH" % SCHEME)
    try:
        iterations = int(parts[2][2:])
    except ValueError:
        iterations = 0
    if parts[2] != "i=%d" % iterations or not 1 <= iterations <= most:
        raise ValueError("iterations must be i=1 to i=%d" % most)
    return iterations, _unbase64(parts[3], SALT_SIZE, "salt"), _unbase64(parts[4], _HASH_SIZE, "hash")


def base64(data: bytes) -> str:
    """Without padding, as a record has it."""
    return binascii.b2a_base64(data).decode().rstrip("=\n")


def _unbase64(text: str, size: int, what: str) -> bytes:
    try:
        data = binascii.a2b_base64(text + "=" * (-len(text) % 4))
    except ValueError:
        data = b""
    # Decoders skip characters that are not base64; only proper base64 encodes to the same text again.
    if len(data) != size or base64(data) != text:
        raise ValueError("%s must be %d bytes in base64 without padding" % (what, size))
    return data


class PasswordAuthenticator(Authenticator):
    """Lets a client in when its password is that of its user.

    A client without a user name, or with an unknown one, is left to the next authenticator. An unknown user takes as long
    as a known one, so that the time does not reveal which users exist. A client without a password is answered at
    once, and so is one whose password was right before.

    users        records by user name, see `parse`; `replace` changes them
    max_pending  passwords being checked or waiting for their check. Without a place, the newest of the address with most
                 waiting is refused with 0x89 (3.x: return code 3)
    max_address  the same for one address, None: max_pending
    """

    at_a_time = 1  # so that the first client is let in soon
    max_recent = MAX_RECENT

    def __init__(
        self,
        users: "Optional[dict[bytes, str]]" = None,
        max_pending: int = MAX_PENDING,
        max_address: "Optional[int]" = None,
    ) -> None:
        # At most `at_a_time` are being checked; the others wait.
        waiting = max(0, max_pending - self.at_a_time)
        self._turns = Turns(waiting, waiting if max_address is None else max_address)
        self._recent = Recent(self.max_recent)
        self._running = 0
        self.accepted = 0
        self.refused = 0
        self.busy = 0
        self.replace(users or {})

    @property
    def pending(self) -> int:
        """Passwords being checked or waiting for their check."""
        return self._running + self._turns.count

    def replace(self, users: "dict[bytes, str]") -> None:
        """Replace the users; the broker's `rights_changed` then ends the connections of changed users."""
        self.users = users
        self._recent.clear()
        # The record for unknown user names: of the kind that most users have.
        kinds: "dict[str, int]" = {}
        for user in users:
            kind = self.kind(users[user])
            kinds[kind] = kinds.get(kind, 0) + 1
        self._decoy = ""
        most = 0
        for user in users:
            count = kinds[self.kind(users[user])]
            if count > most:
                self._decoy = users[user]
                most = count

    def kind(self, record: str) -> str:
        """The part of a record that decides how long its check takes: all before salt and hash."""
        return record.rsplit("$", 2)[0]

    def authenticate(self, client: "Identity", user: "Optional[bytes]", password: "Optional[bytes]") -> "Optional[int]":
        """See Authenticator.authenticate."""
        if user is None or not self.users:
            return None
        record = self.users.get(user)
        if password is None:
            if record is None:
                return None
            self.refused += 1
            return BAD_USER_NAME_OR_PASSWORD
        known = self._recent.knows(user, record or self._decoy, password)
        if known and record is not None:
            self.accepted += 1
            client.auth_state = record
            return SUCCESS
        check = (client, user, self._decoy if record is None else record, password)
        if self._running < self.at_a_time:
            self._begin(check)
            return PENDING
        late = self._turns.put(peer(client.address), check)
        if late is not None:
            self.busy += 1
            if late is check:
                return SERVER_BUSY
            self._turn_away(late[0])
        return PENDING

    def _turn_away(self, client: "Identity") -> None:
        """Refuse a client that has lost its place; later, as another client's packet is being handled."""

        def tell() -> bool:
            client.authenticated(SERVER_BUSY)
            return False

        client.broker.turns.background(tell)

    def _begin(self, check: "tuple[Identity, bytes, str, bytes]") -> None:
        self.start(*check)
        self._running += 1

    def start(self, client: "Identity", user: bytes, record: str, password: bytes) -> None:
        """Check the password in the background, then call `done`."""
        iterations, salt, digest = read_record(record)
        work = Pbkdf2(password, salt, iterations)

        def go_on() -> bool:
            code = SERVER_BUSY
            try:
                if not client.gone:
                    found = work.step(_SLICE)
                    if found is None:
                        return True
                    code = SUCCESS if equal(found, digest) and b"\0" not in password else BAD_USER_NAME_OR_PASSWORD
            except MemoryError:
                client.broker.out_of_memory()
            self.done(client, user, record, password, code)
            return False

        client.broker.turns.background(go_on)

    def done(self, client: "Identity", user: bytes, record: str, password: bytes, code: int) -> None:
        """Answer after the check against `record`; for an unknown user the result does not count.

        code  SUCCESS, BAD_USER_NAME_OR_PASSWORD, or the reason why the check failed
        """
        self._running -= 1
        self._next()
        current = self.users.get(user)  # `replace` may have run meanwhile
        if code == SUCCESS and current == record:
            try:
                self._recent.add(user, record, password, client.broker.random)
            except MemoryError:
                self._recent.clear()
        if client.gone:
            return
        if current is None:
            client.authenticated(None)
            return
        if code == SUCCESS and current != record:
            code = BAD_USER_NAME_OR_PASSWORD
        if code == SUCCESS:
            self.accepted += 1
            client.auth_state = record
        elif code == BAD_USER_NAME_OR_PASSWORD:
            self.refused += 1
        client.authenticated(code)

    def _next(self) -> None:
        """Begin the next checks; clients that have left are skipped."""
        while self._running < self.at_a_time:
            check = self._turns.take()
            if check is None:
                return
            if not check[0].gone:
                try:
                    self._begin(check)
                except Exception as e:
                    check[0].conn.fault(e)

    def valid(self, client: "Identity") -> bool:
        """False when the user is gone or has another password."""
        return client.user is not None and self.users.get(client.user, "") == client.auth_state

    def knows(self, user: "Optional[bytes]") -> bool:
        """See Authenticator.knows."""
        return user is not None and user in self.users

    def figures(self) -> "list[tuple[str, int]]":
        """See Authenticator.figures."""
        return [("accepted", self.accepted), ("refused", self.refused), ("busy", self.busy)]
