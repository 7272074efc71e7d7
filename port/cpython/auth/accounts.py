"""Back ends that know users by name: a password record and a list of rights each.

The record is verified here, in a thread, because that is meant to take long. An unknown user costs as
much as a known one. Rights are read when a client connects and again every `refresh` seconds; who is
not there any more by then, or has another password, is disconnected.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from port.core.acl import Rule
from port.core.acl_rule import rule
from port.core.auth import Identity
from port.core.reason import NOT_AUTHORIZED
from port.cpython import passwords
from port.cpython.auth.base import (
    FORBIDDEN,
    REFUSED,
    AsyncAuthenticator,
    BackEndError,
    ClientInfo,
    Verdict,
    describe,
)
from port.cpython.auth.rights import Right, rules_of
from port.cpython.auth.settings import Setting

ACCOUNTS = (
    Setting("plain_passwords", False, "whether a record that is no hash is the password itself"),
    Setting("refresh", 60.0, "how often the accounts of connected clients are read again; 0: never", "s", 0, 86400),
    Setting("max_rules", 1000, "rights one user may have; who has more is not let in", "", 1, 1000000),
    Setting("access", "comqtt1", "what numbers for access mean, comqtt1: 1 publish, 2 subscribe; comqtt2: 1 subscribe, "
            "2 publish; with both 0 is neither, 3 is both, and words say it as well: deny, read, write, readwrite",
            choices=("comqtt1", "comqtt2")),
)  # fmt: skip

_KEY = os.urandom(32)
_ALL = ({"topic": "#"}, {"topic": "$SYS/#"})  # what a superuser may do


@dataclass(frozen=True)
class Account:
    """What a back end knows of a user.

    record     the password record
    allowed    False: may not connect
    superuser  True: may do everything, the rights do not count
    """

    record: str
    allowed: bool = True
    superuser: bool = False


@dataclass(frozen=True)
class _Known:
    """Of a connected client: what its rules were made of, and a fingerprint of its password record."""

    record: bytes
    superuser: bool
    rights: tuple[Right, ...] | None
    numbers: str


class AccountAuthenticator(AsyncAuthenticator):
    """Subclasses implement `subject`, `find` and `rights`."""

    def prepare(self) -> None:
        """See AsyncAuthenticator.prepare."""
        self.numbers: str = self.settings.get("access", "comqtt1")
        # Somebody's record, to be verified for those who have none: that takes as long.
        self._dummy = passwords.hash_password(secrets.token_bytes(16))
        self._threads: ThreadPoolExecutor | None = None

    # -- for subclasses -----------------------------------------------------------------------

    def subject(self, info: ClientInfo) -> Hashable:
        """What an account is found by; clients for whom it is the same have the same account. None: there is none."""
        raise NotImplementedError

    async def find(self, info: ClientInfo) -> Account | None:
        """The account, None when there is none."""
        raise NotImplementedError

    async def rights(self, info: ClientInfo) -> tuple[Right, ...] | None:
        """Its rights in the order in which they count, None when the back end does not say."""
        raise NotImplementedError

    # -- start and stop -----------------------------------------------------------------------

    async def open(self) -> None:
        """See AsyncAuthenticator.open."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(os.cpu_count() or 1, "passwords")
            await super().open()
            if self.settings["refresh"]:
                self.start(self._refresh_for_ever())

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
        right = await self._verify(account, info.password)
        if account is None or not right:
            return REFUSED
        if not account.allowed:
            return FORBIDDEN
        known = await self._known(account, info)
        return Verdict(rules=self._rules(known), state=known)

    async def _verify(self, account: Account | None, password: bytes | None) -> bool:
        known = account is not None and account.record != ""
        record = account.record if account is not None and known else self._dummy
        if passwords.is_hash(record):
            loop = asyncio.get_running_loop()
            try:
                same = await loop.run_in_executor(self._threads, passwords.verify, record, password or b"")
            except ValueError:  # whose text may quote the record
                raise BackEndError("a password record cannot be read") from None
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

    async def _refresh_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self.settings["refresh"])
            try:
                await self.refresh()
            except Exception as e:
                self.report("while refreshing: %s" % describe(e))

    async def refresh(self) -> None:
        """Read the accounts of all connected clients again and put into effect what has changed.

        Ends at the first account that cannot be read: clients keep what they have while the back end is away.
        """
        subjects: dict[Hashable, list[Identity]] = {}
        for client in self._admitted():
            subjects.setdefault(self.subject(_info(client)), []).append(client)
        for clients in subjects.values():
            try:
                found = await self.ask_within(partial(self._read, _info(clients[0])))
            except BackEndError:
                return
            for client in clients:
                self._apply(client, found)

    def _admitted(self) -> list[Identity]:
        """The clients that are connected by word of this back end, or of its predecessor of the same name."""
        found = []
        for conn in self.broker.connections if self.broker is not None else ():
            client = conn.identity
            if client is None or conn.session is None or client.authenticator is None:
                continue
            if client.authenticator.name == self.name and isinstance(client.auth_state, _Known):
                found.append(client)
        return found

    async def _read(self, info: ClientInfo) -> tuple[_Known, list[Rule] | None] | None:
        account = await self.find(info)
        if account is None or not account.allowed:
            return None
        known = await self._known(account, info)
        return known, self._rules(known)

    def _apply(self, client: Identity, found: tuple[_Known, list[Rule] | None] | None) -> None:
        session = client.conn.session
        if session is None or client.gone:
            return
        if found is None or found[0].record != client.auth_state.record:
            client.broker.disconnect(client.client_id, NOT_AUTHORIZED, "not authorized any more")
        elif found[0] != client.auth_state:
            client.auth_state = found[0]
            client.broker.set_rules(session, found[1])


def _info(client: Identity) -> ClientInfo:
    return ClientInfo.of(client, client.user, None)
