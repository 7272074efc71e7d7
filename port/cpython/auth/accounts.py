"""Back ends with accounts: for each user a password record and a list of rights.

The record is verified in a thread here, as hashes are slow by design. An unknown user takes as long as a known one. Rights are
read when a client connects and again every `refresh` seconds; a client whose account is gone by then, or has another password, is
disconnected.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
from collections.abc import AsyncIterator, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from port.core.auth.authenticator import Identity
from port.core.auth.recent_logins import Recent
from port.core.acl.acl import Rule
from port.core.acl.acl_rule import rule
from port.cpython.auth import passwords
from port.cpython.auth.base import (
    FORBIDDEN,
    REFUSED,
    AsyncAuthenticator,
    BackEndError,
    ClientInfo,
    Verdict,
)
from port.cpython.auth.renewals import Job
from port.cpython.auth.rights import Right, rules_of
from port.cpython.auth.settings import Setting

ACCOUNTS = (
    Setting("plain_passwords", False, "whether a record that is no hash is the password itself"),
    Setting("refresh", 60.0, "how often the accounts of connected clients are read again, one after the other; 0: never", "s", 0, 86400),
    Setting("max_rules", 1000, "rights one user may have; who has more is not let in", "", 1, 1000000),
    Setting("access", "comqtt1", "what numbers for access mean, comqtt1: 1 publish, 2 subscribe; comqtt2: 1 subscribe, "
            "2 publish; with both 0 is neither, 3 is both, and words say it as well: deny, read, write, readwrite",
            choices=("comqtt1", "comqtt2")),
)  # fmt: skip

_KEY = os.urandom(32)
_ALL = ({"topic": "#"}, {"topic": "$SYS/#"})  # rights of a superuser


@dataclass(frozen=True)
class Account:
    """The account of a user.

    record     the password record
    allowed    False: the user may not connect
    superuser  True: everything is allowed, whatever the rights
    """

    record: str
    allowed: bool = True
    superuser: bool = False


@dataclass(frozen=True)
class _Known:
    """State of a connected client: the rights behind its rules, and a fingerprint of its password record."""

    record: bytes
    superuser: bool
    rights: tuple[Right, ...] | None
    numbers: str


class AccountAuthenticator(AsyncAuthenticator):
    """Subclasses implement `subject`, `find` and `rights`."""

    def prepare(self) -> None:
        """See AsyncAuthenticator.prepare."""
        self.numbers: str = self.settings.get("access", "comqtt1")
        # A record to verify for unknown users, which takes as long.
        self._dummy = passwords.hash_password(secrets.token_urlsafe().encode())
        self._threads: ThreadPoolExecutor | None = None
        self._recent = Recent(passwords.MAX_RECENT)

    # -- for subclasses -----------------------------------------------------------------------

    def subject(self, info: ClientInfo) -> Hashable:
        """The key of a client's account; clients with the same key have the same account. None without an account."""
        raise NotImplementedError

    async def find(self, info: ClientInfo) -> Account | None:
        """The account, or None."""
        raise NotImplementedError

    async def rights(self, info: ClientInfo) -> tuple[Right, ...] | None:
        """The account's rights in the order of asking, None when the back end has none configured."""
        raise NotImplementedError

    # -- start and stop -----------------------------------------------------------------------

    async def open(self) -> None:
        """See AsyncAuthenticator.open."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(os.cpu_count() or 1, "passwords")
            await super().open()

    async def close(self) -> None:
        """See AsyncAuthenticator.close."""
        await super().close()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    # -- a client connects ----------------------------------------------------------------------

    def concerns(self, info: ClientInfo) -> bool:
        """See AsyncAuthenticator.concerns."""
        return self.subject(info) is not None

    async def check(self, info: ClientInfo) -> Verdict:
        """See AsyncAuthenticator.check."""
        account = await self.find(info)
        right = await self._verify(account, info)
        if account is None or not right:
            return REFUSED
        if not account.allowed:
            return FORBIDDEN
        known = await self._known(account, info)
        return Verdict(rules=self._rules(known), state=known)

    async def _verify(self, account: Account | None, info: ClientInfo) -> bool:
        known = account is not None and account.record != ""
        record = account.record if account is not None and known else self._dummy
        password = info.password
        if passwords.is_hash(record):
            name = repr(self.subject(info)).encode()
            if self._recent.knows(name, record, password or b"") and known:
                return True
            loop = asyncio.get_running_loop()
            try:
                same = await loop.run_in_executor(self._threads, passwords.verify, record, password or b"")
            except ValueError:  # its text may quote the record
                raise BackEndError("a password record cannot be read") from None
            if same and known and password is not None:
                self._recent.add(name, record, password, os.urandom)
        elif self.settings["plain_passwords"]:
            same = hmac.compare_digest(record.encode(), password or b"")
        else:
            raise BackEndError("a password record is no hash of a known scheme, and plain_passwords is not set")
        self._dummy = record
        return same and known and password is not None

    async def _known(self, account: Account, info: ClientInfo) -> _Known:
        rights = None
        if not account.superuser:
            rights = await self.rights(info)
            if rights is not None and len(rights) > self.settings["max_rules"]:
                raise BackEndError("a user has %d rights, which is more than max_rules" % len(rights))
        return _Known(hmac.digest(_KEY, account.record.encode(), "sha256"), account.superuser, rights, self.numbers)

    def _rules(self, known: _Known) -> list[Rule] | None:
        if known.superuser:
            return [rule(values) for values in _ALL]
        return None if known.rights is None else rules_of(known.rights, known.numbers)

    # -- while it is connected --------------------------------------------------------------------

    async def renewals(self) -> AsyncIterator[tuple[Hashable, Job]]:
        """See AsyncAuthenticator.renewals; one question for all clients of an account."""
        subjects: dict[Hashable, list[Identity]] = {}
        async for client in self.admitted(_Known):
            subjects.setdefault(self.subject(_info(client)), []).append(client)
        for subject, clients in subjects.items():
            yield subject, self._renew(clients)

    async def _renew(self, clients: list[Identity]) -> Job:
        found = await self.ask_within(partial(self._read, _info(clients[0])))
        for client in clients:
            if self._apply(client, found):
                yield  # changing one client's rights is a slice of work

    async def _read(self, info: ClientInfo) -> tuple[_Known, list[Rule] | None] | None:
        account = await self.find(info)
        if account is None or not account.allowed:
            return None
        known = await self._known(account, info)
        return known, self._rules(known)

    def _apply(self, client: Identity, found: tuple[_Known, list[Rule] | None] | None) -> bool:
        """Apply the changes of an account to one client; True when there were any."""
        session = client.conn.session
        if session is None or client.gone or found is not None and found[0] == client.auth_state:
            return False
        if found is None or found[0].record != client.auth_state.record:
            self.expel(client)
        else:
            client.auth_state = found[0]
            client.broker.set_rules(session, found[1])
        return True


def _info(client: Identity) -> ClientInfo:
    return ClientInfo.of(client, client.user, None)
