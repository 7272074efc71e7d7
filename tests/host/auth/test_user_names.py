"""Nobody learns which users there are: an unknown one costs the work, and gets the answer, of a known one.

The work is counted by the calls of the functions that do it, with what makes them long; no time is taken.
"""

import base64
import hashlib
import hmac

import argon2
import bcrypt
import pytest

from back_ends import Clock, Service, begin, broker_with, finish
from harness import World
from port.core.auth.allow_deny import DenyAll
from port.core.auth.password_file import make_record
from port.cpython.auth import passwords
from port.cpython.auth.accounts import ACCOUNTS, Account, AccountAuthenticator
from port.cpython.auth.base import CACHING, WAITING
from port.cpython.auth.http import HttpAuthenticator
from port.cpython.auth.jwt import JwtAuthenticator

SALT = bytes(range(16))


def mosquitto(password, iterations=None):
    """A record as mosquitto_passwd writes it."""
    if iterations is None:
        digest, kind = hashlib.sha512(password + SALT).digest(), "$6"
    else:
        digest, kind = hashlib.pbkdf2_hmac("sha512", password, SALT, iterations), "$7$%d" % iterations
    return "%s$%s$%s" % (kind, *(base64.b64encode(data).decode() for data in (SALT, digest)))


# By scheme: records of the kind that most users have, and one that costs less.
RECORDS = {
    "pbkdf2": (lambda password: make_record(password, SALT, 50), make_record(b"x", SALT, 10)),
    "argon2id": (
        lambda password: argon2.PasswordHasher(2, 64, 1).hash(password),
        argon2.PasswordHasher(1, 32, 1).hash(b"x"),
    ),
    "bcrypt": (
        lambda password: bcrypt.hashpw(password, bcrypt.gensalt(5)).decode(),
        bcrypt.hashpw(b"x", bcrypt.gensalt(4)).decode(),
    ),
    "mosquitto $6": (mosquitto, make_record(b"x", SALT, 10)),
    "mosquitto $7": (lambda password: mosquitto(password, 30), mosquitto(b"x", 3)),
}


@pytest.fixture
def work(monkeypatch):
    """What was computed to check passwords, in order: function and all that makes it take long."""
    done: list[tuple] = []

    def spy(owner, name, cost):
        function = getattr(owner, name)

        def counted(*arguments, **more):
            done.append((name, *cost(*arguments, **more)))
            return function(*arguments, **more)

        monkeypatch.setattr(owner, name, counted)

    spy(hashlib, "pbkdf2_hmac", lambda name, password, salt, iterations: (name, len(password), iterations))
    spy(hashlib, "sha512", lambda data: (len(data),))
    spy(bcrypt, "checkpw", lambda password, record: (len(password), record[:6]))
    spy(argon2.PasswordHasher, "verify", lambda self, record, password: (len(password), record.rsplit("$", 2)[0]))
    spy(hmac, "compare_digest", lambda one, other: (len(one), len(other)))
    return done


@pytest.mark.parametrize("scheme", RECORDS)
async def test_password_files(work, scheme):
    record, cheaper = RECORDS[scheme]
    # The first one is not like the others.
    authenticator = passwords.FilePasswords({b"odd": cheaper, b"ann": record(b"right"), b"bob": record(b"other")})
    world = World(anonymous="none", max_auth_failures=0)
    world.broker.authenticators.append(authenticator)
    for version in (4, 5):
        seen = {}
        authenticator.replace(authenticator.users)  # nobody has been right before
        for user, password in ((b"ann", b"right"), (b"ann", b"wrong"), (b"eve", b"wrong"), (b"eve", b"right"), (b"eve", b"a\0bcd")):
            work.clear()
            client = begin(world, user=user, password=password, version=version)
            await finish(client)
            seen[user, password] = (list(work), client.connack)
        known = seen[b"ann", b"wrong"]
        assert known[0] and known[0] == seen[b"ann", b"right"][0]
        assert seen[b"ann", b"right"][1]["code"] == 0
        for key, found in seen.items():
            assert key == (b"ann", b"right") or found == known, key
    await authenticator.close()


class Accounts(AccountAuthenticator):
    """What Redis and the databases have in common, with a dict in their place."""

    SETTINGS = (*ACCOUNTS, *WAITING, *CACHING)
    accounts: dict = {}

    def subject(self, info):
        return info.user

    async def find(self, info):
        record = self.accounts.get(info.user)
        return None if record is None else Account(record, info.user != "shut")

    async def rights(self, info):
        return None


@pytest.mark.parametrize("scheme", [*RECORDS, "plain"])
async def test_accounts(work, scheme):
    record = RECORDS[scheme][0] if scheme != "plain" else bytes.decode
    authenticator = Accounts({"plain_passwords": scheme == "plain", "refresh": 0})
    authenticator.accounts = {"ann": record(b"right"), "shut": record(b"right"), "none": ""}
    async with broker_with(authenticator) as world:
        assert await finish(begin(world, user=b"ann", password=b"right")) == 0
        for version in (4, 5):
            seen = []
            for user, password in (
                (b"ann", b"wrong"), (b"eve", b"wrong"), (b"eve", b"right"), (b"shut", b"wrong"), (b"none", b"right"),
                (b"none", b"wrong"),
            ):  # fmt: skip
                work.clear()
                client = begin(world, user=user, password=password, version=version)
                assert await finish(client) == (4 if version == 4 else 0x86), user
                seen.append((list(work), client.connack))
            assert seen[0][0] and seen == [seen[0]] * len(seen)


# What a service says of somebody it does not know, and of a wrong password.
@pytest.mark.parametrize("unknown", ((404, ""), (401, ""), (403, ""), (200, "ignore"), (200, "deny"), (200, "0")))
@pytest.mark.parametrize("wrong", ((401, ""), (403, ""), (200, "deny"), (200, '{"result": "deny"}')))
async def test_http(unknown, wrong):
    service = Service()
    try:
        service.answer = lambda path, fields: wrong if fields["user"] == "ann" else unknown
        async with broker_with(HttpAuthenticator({"user_url": service.url, "timeout": 20})) as world:
            for version in (4, 5):
                known, stranger = (begin(world, user=user, password=b"x", version=version) for user in (b"ann", b"eve"))
                assert await finish(known) == await finish(stranger) == (4 if version == 4 else 0x86)
                assert known.connack == stranger.connack
    finally:
        service.stop()


async def test_tokens():
    settings = {"algorithms": ["HS256"], "secret": "s" * 32}
    async with broker_with(JwtAuthenticator(settings, Clock())) as world:
        for version in (4, 5):
            clients = [begin(world, user=b"ann", password=password, version=version) for password in (b"x", b"a.b.c", b"..", b"")]
            assert [await finish(client) for client in clients] == [4 if version == 4 else 0x86] * 4
            assert all(client.connack == clients[0].connack for client in clients)


@pytest.mark.parametrize("last", ("nothing", "deny", "accounts", "http"))
async def test_whoever_is_asked_last(last):
    """Whether it is the first that refuses, or the last of a chain, does not show."""
    first = passwords.FilePasswords({b"ann": make_record(b"right", SALT, 10)})
    service = Service()
    service.answer = lambda path, fields: (403, "")
    chain = {
        "nothing": lambda: [],
        "deny": lambda: [],
        "accounts": lambda: [Accounts({"refresh": 0})],
        "http": lambda: [HttpAuthenticator({"user_url": service.url, "timeout": 20})],
    }[last]()
    try:
        async with broker_with(*chain) as world:
            world.broker.authenticators.insert(0, first)
            if last == "deny":
                world.broker.authenticators.append(DenyAll())
            for version in (4, 5):
                for password in (b"wrong", None):
                    known, stranger = (
                        begin(world, user=user, password=password, version=version) for user in (b"ann", b"eve")
                    )
                    assert await finish(known) == await finish(stranger) == (4 if version == 4 else 0x86)
                    assert known.connack == stranger.connack
    finally:
        service.stop()
        await first.close()

