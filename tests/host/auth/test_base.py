"""What all authentication back ends have in common: bounds, time limits, faults, remembered answers, settings."""

import asyncio
import logging
import subprocess
import sys
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from back_ends import Clock, admitted, answer, begin, broker_with, figure, finish, until
from port.core.wire.codec import PUBACK
from port.core.wire.reason_codes import BAD_USER_NAME_OR_PASSWORD
from port.core.acl.acl_rule import rule
from port.cpython.auth import passwords
from port.cpython.auth import renewals as renewals_module
from port.cpython.auth.accounts import ACCOUNTS, Account, AccountAuthenticator
from port.cpython.auth.base import (
    CACHING,
    FORBIDDEN,
    NEXT,
    REFUSED,
    WAITING,
    AsyncAuthenticator,
    BackEnd,
    BackEndError,
    Verdict,
    flag,
    from_json,
)
from port.cpython.auth.cache import Cache
from port.cpython.auth.http import HttpAuthenticator
from port.cpython.auth.jwt import JwtAuthenticator
from port.cpython.auth.mysql import MysqlAuthenticator
from port.cpython.auth.postgresql import PostgresqlAuthenticator
from port.cpython.auth.redis import RedisAuthenticator
from port.cpython.auth.renewals import Renewals
from port.cpython.auth.rights import longest_first
from port.cpython.auth.settings import Setting, explain
from port.cpython.auth.sql import Query, SqlAuthenticator, server_settings
from port.cpython.extras import install
from toolchain import ROOT


class Oracle(AsyncAuthenticator):
    """Answers when `let` is set: a user called as a verdict gets that."""

    SETTINGS = (*WAITING, *CACHING)
    VERDICTS = {"allow": Verdict(), "refuse": REFUSED, "forbid": FORBIDDEN, "next": NEXT}

    def __init__(self, clock=None, **settings):
        super().__init__(settings, *([clock, clock] if clock else []))
        self.let = asyncio.Event()
        self.let.set()
        self.asked = []
        self.running = self.most = 0

    async def check(self, info):
        self.asked.append(info)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.let.wait()
        finally:
            self.running -= 1
        if info.user == "broken":
            raise ValueError("no such thing\nas that")
        return self.VERDICTS[info.user]


async def test_verdicts():
    first, second = Oracle(), Oracle()
    async with broker_with(first, second) as world:
        for version, codes in ((3, (0, 4, 5)), (4, (0, 4, 5)), (5, (0, 0x86, 0x87))):
            for user, code in zip((b"allow", b"refuse", b"forbid"), codes, strict=True):
                assert await answer(world, user, b"x", version=version, client_id=user.decode()) == code
        assert not second.asked
        assert await answer(world, b"next", b"x") == BAD_USER_NAME_OR_PASSWORD
        assert [info.user for info in second.asked] == ["next"]
        assert await answer(world) == 0x87  # no user name: neither was asked
        assert len(first.asked) == 10 and len(second.asked) == 1
        assert (figure(first, "accepted"), figure(first, "refused"), figure(first, "waiting")) == (3, 6, 0)


async def test_what_a_back_end_is_told():
    oracle = Oracle()
    async with broker_with(oracle) as world:
        await admitted(world, b"allow", b"\xff", client_id="\u00fc", address="[fe80::1]:99")
        info = oracle.asked[0]
        assert (info.client_id, info.user, info.password, info.address) == ("\u00fc", "allow", b"\xff", "fe80::1")
        assert "xff" not in repr(info)


async def test_user_rules_and_expiry_take_effect():
    clock = Clock()
    oracle = Oracle(clock)
    rules = [rule({"topic": "%u/#"})]
    oracle.VERDICTS = {"x": Verdict(user="other", rules=rules, expires_at=clock.now + 90)}
    async with broker_with(oracle) as world:
        client = await admitted(world, b"x", b"x")
        assert client.conn.session.user == b"other"
        client.subscribe("other/a", 1)
        client.subscribe("x/a", 1, code=0x87)
        world.advance(89_000)
        client.ping()
        world.advance(1_000)
        client.expect_close(0xA0)


async def test_one_that_has_expired_already_is_disconnected_at_once():
    oracle = Oracle()
    oracle.VERDICTS = {"x": Verdict(expires_at=1.0)}
    async with broker_with(oracle) as world:
        client = await admitted(world, b"x", b"x")
        world.advance(1_000)
        client.expect_close(0xA0)


async def test_only_so_many_ask_and_wait():
    oracle = Oracle(max_concurrent=2, max_waiting=3)
    async with broker_with(oracle) as world:
        oracle.let.clear()
        clients = [begin(world, str(i), user=b"allow") for i in range(5)]
        assert await answer(world, b"allow", client_id="6") == 0x89
        assert await answer(world, b"allow", client_id="7", version=4) == 3
        await until(lambda: oracle.running == 2)
        assert figure(oracle, "waiting") == 5 and figure(oracle, "busy") == 2
        oracle.let.set()
        assert [await finish(client) for client in clients] == [0] * 5
        assert oracle.most == 2 and len(oracle.asked) == 5
        assert await answer(world, b"allow", client_id="8") == 0


async def test_one_address_does_not_take_the_places_of_others():
    oracle = Oracle(max_concurrent=4, max_concurrent_per_address=2, max_waiting=40, max_waiting_per_address=30)
    async with broker_with(oracle, max_connections_per_address=0) as world:
        oracle.let.clear()
        many = [begin(world, "m%d" % i, user=b"allow") for i in range(90)]
        honest = [begin(world, "h%d" % i, user=b"allow", address="10.0.1.%d:1" % i) for i in range(14)]
        assert figure(oracle, "waiting") == 2 + 30 + 14 and figure(oracle, "busy") == 58
        await until(lambda: oracle.running == 4)
        assert [info.client_id for info in oracle.asked] == ["m0", "m1", "h0", "h1"]
        oracle.let.set()
        assert [await finish(client) for client in honest] == [0] * 14
        codes = [await finish(client) for client in many]
        assert codes == [0] * 30 + [0x89] * 60 and figure(oracle, "busy") == 60  # two gave way
        order = [info.client_id for info in oracle.asked]
        # Each of the others has its turn before that address has had many.
        assert max(order.index("h%d" % i) for i in range(14)) < 4 + 14 + 4 and oracle.most == 4


async def test_the_last_of_the_longest_line_gives_way():
    oracle = Oracle(max_concurrent=1, max_waiting=6)
    async with broker_with(oracle) as world:
        oracle.let.clear()
        many = [begin(world, "m%d" % i, user=b"allow") for i in range(9)]
        assert [client.connack.get("code") for client in many] == [None] * 7 + [0x89] * 2
        other = [begin(world, "o%d" % i, user=b"allow", address="10.0.0.2:1") for i in range(5)]
        assert [await finish(client) for client in many[4:7]] == [0x89] * 3
        assert [client.connack.get("code") for client in other] == [None] * 3 + [0x89] * 2
        assert figure(oracle, "waiting") == 7 and figure(oracle, "busy") == 7 and not figure(oracle, "errors")
        oracle.let.set()
        assert [await finish(client) for client in many[:4] + other[:3]] == [0] * 7
        assert [info.client_id for info in oracle.asked] == ["m0", "m1", "o0", "m2", "o1", "m3", "o2"]


async def test_a_turn_is_not_lost_with_who_gives_up():
    oracle = Oracle(max_concurrent=1, timeout=0.1)
    async with broker_with(oracle) as world:
        oracle.let.clear()
        clients = [begin(world, str(i), user=b"allow", address="10.0.0.%d:1" % i) for i in range(5)]
        clients[3].lose()
        for i in (0, 1, 2, 4):
            assert await finish(clients[i]) == 0x88
        oracle.let.set()
        assert await answer(world, b"allow") == 0
        await until(lambda: not figure(oracle, "waiting"))
        assert [await answer(world, b"allow", client_id=str(i)) for i in range(3)] == [0] * 3


@pytest.mark.parametrize(("version", "code"), ((3, 3), (4, 3), (5, 0x88)))
async def test_no_answer_in_time(version, code):
    slow, other = Oracle(timeout=0.1, max_concurrent=1), Oracle()
    async with broker_with(slow) as world, broker_with(other) as busy:
        slow.let.clear()
        clients = [begin(world, str(i), version, user=b"allow") for i in range(3)]
        for i in range(20):  # meanwhile
            client = await admitted(busy, b"allow", client_id=str(i))
            client.publish("t", b"", 1, code=0x10)  # nobody subscribes
        for client in clients:
            assert await finish(client) == code
        assert figure(slow, "timeouts") == 3 and figure(slow, "accepted") == figure(slow, "errors") == 0
        slow.let.set()
        assert await answer(world, b"allow", version=version) == 0


async def test_connected_clients_are_served_while_others_wait():
    oracle = Oracle()
    async with broker_with(oracle) as world:
        client = await admitted(world, b"allow", client_id="in")
        oracle.let.clear()
        waiting = begin(world, "waits", user=b"allow")
        client.subscribe("t", 1)
        client.send_publish("t", b"x", 1)
        client.take(PUBACK, client.packet_id, 0)
        client.expect_message("t", b"x", 1)
        assert not waiting.inbox
        oracle.let.set()
        assert await finish(waiting) == 0


async def test_a_fault_refuses_or_is_left_to_the_next(caplog):
    strict, lenient, last = Oracle(), Oracle(on_error="next"), Oracle()
    last.VERDICTS = {"broken": Verdict()}
    last.check = lambda info: asyncio.sleep(0, Verdict())  # type: ignore[method-assign]
    async with broker_with(strict) as world:
        assert await answer(world, b"broken", b"secret") == 0x88
        assert figure(strict, "errors") == 1 and figure(strict, "refused") == 0
    async with broker_with(lenient, last) as world:
        assert await answer(world, b"broken", b"secret") == 0
        assert figure(lenient, "errors") == figure(last, "accepted") == 1


async def test_faults_are_logged_once_a_minute_and_on_one_line(caplog):
    oracle, other = Oracle(), Oracle()
    async with broker_with(oracle) as world, broker_with(other) as world2:
        oracle.name = "mine"
        for _ in range(5):
            assert await answer(world, b"broken", b"secret") == 0x88
        assert await answer(world2, b"broken", b"secret") == 0x88
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert lines == ["authenticator %s: ValueError: no such thing\\nas that" % name for name in ("mine", "a")]
    assert "secret" not in caplog.text


async def test_secrets_stay_out_of_the_log(caplog):
    oracle = Oracle()
    oracle._secrets.append("hunter2")
    oracle.report("cannot log in as root with hunter2")
    assert "cannot log in" in caplog.text and "hunter2" not in caplog.text


async def test_nobody_asks_for_a_client_that_has_gone():
    oracle = Oracle(max_concurrent=1)
    async with broker_with(oracle) as world:
        oracle.let.clear()
        first = begin(world, "1", user=b"allow")
        gone = begin(world, "2", user=b"refuse")
        await until(lambda: oracle.running == 1)
        gone.lose()
        oracle.let.set()
        assert await finish(first) == 0
        await until(lambda: not figure(oracle, "waiting"))
        assert [info.client_id for info in oracle.asked] == ["1"]
        assert figure(oracle, "errors") == figure(oracle, "refused") == 0


async def test_one_that_goes_while_it_waits_is_not_counted():
    oracle = Oracle()
    async with broker_with(oracle) as world:
        oracle.let.clear()
        client = begin(world, user=b"allow")
        await until(lambda: oracle.running == 1)
        client.lose()
        oracle.let.set()
        await until(lambda: not figure(oracle, "waiting"))
        assert figure(oracle, "accepted") == 0 and not world.broker.sessions


async def test_closing_answers_those_who_wait():
    oracle = Oracle()
    async with broker_with(oracle) as world:
        oracle.let.clear()
        clients = [begin(world, str(i), user=b"allow", address="10.0.0.%d:5000" % i) for i in range(40)]
        await until(lambda: oracle.running == 32)
        await oracle.close()
        assert [await finish(client) for client in clients] == [0x88] * 40
        assert await answer(world, b"allow") == 0x88  # it is closed
        oracle.let.set()
        await oracle.open()
        assert await answer(world, b"allow") == 0


# -- answers of the wrong type ----------------------------------------------------------------


def test_yes_and_no_as_databases_say_it():
    for value in (True, 1, 1.0, Decimal(1), "1", "true", "T", "YES", b"\1", b"1", bytearray(b"t")):
        assert flag(value, "it") is True, value
    for value in (False, 0, Decimal("0.0"), "0", "False", "f", "no", "", b"\0", b"0", b""):
        assert flag(value, "it") is False, value
    strange: list[Any] = [None, 2, -1, 0.5, Decimal(7), Decimal("NaN"), float("nan"), "maybe", "None", b"\2", b"\0\1", [], [1], {}, object()]
    for value in strange:
        with pytest.raises(BackEndError, match="it is neither yes nor no"):
            flag(value, "it")


def test_json_of_a_back_end():
    assert from_json('{"a": 1}', "it") == {"a": 1}
    for text in ("", "{", "[" * 100_000, '{"a":' * 100_000, "1" * 5000, b"\xff"):
        with pytest.raises(BackEndError, match="it is no JSON"):
            from_json(text, "it")


def test_rights_of_the_wrong_type():
    assert longest_first({"a": 1, "b/c": "read", "d": "3"}) == (("b/c", "read"), ("d", "3"), ("a", "1"))
    wrong: list[Any] = [True, False, None, 1.0, [], {}, [1]]
    for access in wrong:
        with pytest.raises(BackEndError, match="access to topic 'a' is neither a number nor a word"):
            longest_first({"a": access})


@pytest.mark.parametrize(
    ("row", "code"),
    (
        ({"allow": "0"}, 0x87),
        ({"allow": "false"}, 0x87),
        ({"allow": b"\0"}, 0x87),
        ({"allow": None}, 0x87),
        ({"allow": "1"}, 0),
        ({"allow": "perhaps"}, 0x88),
        ({"superuser": "0"}, 0),
        ({"superuser": "2"}, 0x88),
        ({"password": 5}, 0x88),
        ({"username": 5}, 0x88),
    ),
)
async def test_columns_of_other_types(caplog, row, code):
    """In a text column "0" is no, though Python takes it for true; a bit of MySQL's comes as bytes."""

    class Rows(SqlAuthenticator):
        SETTINGS = server_settings(1, "d", "p")

        def query(self, setting):
            return Query(setting, self.settings[setting], lambda n: "?", False)

        async def fetch(self, query, values, most):
            if "acl" in query.text:
                return [{"topic": "mine", "access": Decimal(3)}]
            return [{"username": values[0], "password": "right", **row}]

    authenticator = Rows({"plain_passwords": True, "refresh": 0})
    async with broker_with(authenticator) as world:
        client = begin(world, user=b"ann", password=b"right")
        assert await finish(client) == code
        if code == 0x88:
            assert figure(authenticator, "errors") == 1 and "authenticator a: " in caplog.text
        if code == 0:
            client.subscribe("mine")
            client.subscribe("all/#", code=0x87)  # no superuser


# -- remembered answers ---------------------------------------------------------------------


async def test_answers_are_not_remembered_unless_asked_for():
    oracle = Oracle()
    async with broker_with(oracle) as world:
        for _ in range(3):
            await admitted(world, b"allow", b"x")
        assert len(oracle.asked) == 3 and figure(oracle, "cache_hits") == 0


async def test_remembered_answers():
    clock = Clock()
    oracle = Oracle(clock, auth_cache_ttl=10)
    async with broker_with(oracle) as world:
        for _ in range(3):
            assert await answer(world, b"allow", b"x") == 0
            assert await answer(world, b"refuse", b"x") == 0x86
            assert await answer(world, b"broken", b"x") == 0x88  # a fault is no answer
        assert len(oracle.asked) == 5 and figure(oracle, "cache_hits") == 4
        for change in ({"password": b"y"}, {"password": None}, {"client_id": "d"}, {"address": "10.0.0.2:5000"}):
            before = len(oracle.asked)
            await answer(world, b"allow", **{"password": b"x", **change})  # type: ignore[arg-type]
            assert len(oracle.asked) == before + 1, change
        await answer(world, b"allow", b"x", address="10.0.0.1:5001")  # the port is of no account
        clock.now += 9.9
        assert await answer(world, b"allow", b"x") == 0
        assert len(oracle.asked) == 9
        clock.now += 0.1
        oracle.VERDICTS = {"allow": REFUSED}
        assert await answer(world, b"allow", b"x") == 0x86
        assert len(oracle.asked) == 10


async def test_remembered_passwords_cannot_be_found():
    oracle = Oracle(auth_cache_ttl=1000)
    async with broker_with(oracle) as world:
        await admitted(world, b"allow", b"hunter2")
        assert len(oracle._answers) == 1 and "hunter2" not in repr(vars(oracle._answers))


def test_cache():
    clock = Clock()
    cache: Any = Cache(3, 10, clock)
    keys = [cache.key(b"%d" % i) for i in range(5)]
    for i in range(3):
        cache.put(keys[i], i)
    cache.put(keys[0], 7)
    cache.put(keys[3], 3)
    assert [cache.get(key) for key in keys] == [7, None, 2, 3, None]
    clock.now += 5
    cache.put(keys[4], 4)
    assert len(cache) == 3 and cache.left(keys[4]) == 10 and cache.left(keys[3]) == 5 and cache.left(keys[1]) == 0
    clock.now += 5
    assert [cache.get(key) for key in keys] == [None, None, None, None, 4]
    assert len({cache.key(b"a", b"b"), cache.key(b"ab", b""), cache.key(b"ab"), cache.key(b"ab", None)}) == 4
    assert Cache(3, 10).key(b"a") != Cache(3, 10).key(b"a")


# -- asking again ---------------------------------------------------------------------------------


class Accounts(AccountAuthenticator):
    """A dict in place of a database: name -> (record, rights); what is no such pair is raised."""

    SETTINGS = (*ACCOUNTS, *WAITING, *CACHING)

    def __init__(self, accounts, **settings):
        super().__init__({"plain_passwords": True, "refresh": 0, **settings})
        self.accounts = accounts
        self.found: list[str] = []
        self.running = self.most = 0

    def subject(self, info):
        return info.user

    async def find(self, info):
        self.found.append(info.user)
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        found = self.accounts.get(info.user)
        if isinstance(found, Exception):
            raise found
        return None if found is None else Account(found[0])

    async def rights(self, info):
        return self.accounts[info.user][1]


async def test_an_account_that_cannot_be_read_does_not_keep_others_in():
    everything = (("#", "3"),)
    authenticator = Accounts({str(i): ("p", everything) for i in range(30)})
    async with broker_with(authenticator) as world:
        clients = [await admitted(world, b"%d" % i, b"p", client_id=str(i)) for i in range(30)]
        for i in range(5):
            authenticator.accounts[str(i)] = ValueError("a record of another kind")
        for i in range(5, 10):
            del authenticator.accounts[str(i)]
        await authenticator.refresh()
        assert [client.closed for client in clients] == [False] * 5 + [True] * 5 + [False] * 20
        for name in authenticator.accounts:  # it is away: clients keep what they have, and it is not asked a thousand times
            authenticator.accounts[name] = ConnectionError()
        authenticator.found.clear()
        await authenticator.refresh()
        assert len(authenticator.found) == 10
        assert [client.closed for client in clients].count(False) == 25


async def test_renewals_are_one_after_the_other():
    authenticator = Accounts({str(i): ("p", ()) for i in range(500)})
    async with broker_with(authenticator) as world:
        clients = [await admitted(world, b"%d" % i, b"p", client_id=str(i)) for i in range(500)]
        clients += [await admitted(world, b"0", b"p", client_id="more%d" % i) for i in range(300)]
        authenticator.accounts = {str(i): ("p", (("a", "3"),)) for i in range(500)}
        authenticator.found.clear()
        authenticator.most = 0
        changed = []
        set_rules = world.broker.set_rules

        def note(session, rules):
            changed.append(session)
            set_rules(session, rules)

        world.broker.set_rules = note
        task = asyncio.ensure_future(authenticator.refresh())
        most = 0
        while not task.done():
            before = len(changed)
            await asyncio.sleep(0)
            most = max(most, len(changed) - before)
        assert most == 1 and len(changed) == 800 and authenticator.most == 1 and len(authenticator.found) == 500
        await puback(clients[799])


async def puback(client):
    client.publish("a", b"", 1, code=0x10)


async def test_a_round_is_spread_over_its_time(monkeypatch):
    asked = []
    now = [100.0]

    class Loop:
        def time(self):
            return now[0]

    async def sleep(seconds):
        now[0] += seconds

    async def job(i):
        for _ in range(3 if i == 0 else 1):
            asked.append((i, now[0] - 100))
            yield

    async def jobs():
        for i in range(10):
            yield i, job(i)

    monkeypatch.setattr(renewals_module, "asyncio", SimpleNamespace(get_running_loop=Loop, sleep=sleep))
    renewals = Renewals(jobs, BackEndError, lambda error: pytest.fail(str(error)))
    await renewals.round(0.5)
    assert sorted(i for i, _ in asked) == [0, 0, 0, *range(1, 10)]
    assert now[0] == pytest.approx(100.5)
    firsts: dict[int, float] = {}
    for i, when in asked:
        firsts.setdefault(i, when)
    assert sorted(firsts.values()) == pytest.approx([0.05 * place for place in range(10)])
    await renewals.round()
    assert len(asked) == 24


async def test_a_login_that_was_right_is_not_computed_again(monkeypatch):
    verified = []
    verify = passwords.verify

    def noted(record, password):
        verified.append(password)
        return verify(record, password)

    monkeypatch.setattr(passwords, "verify", noted)
    right, other = (passwords.hash_password(secret, iterations=1) for secret in (b"right", b"other"))
    authenticator = Accounts({"ann": (right, ()), "bob": (other, ())})
    async with broker_with(authenticator) as world:
        for _ in range(3):
            assert await answer(world, b"ann", b"right") == 0
        assert verified == [b"right"]
        for user, password in ((b"ann", b"wrong"), (b"ann", b"wrong"), (b"bob", b"right"), (b"eve", b"right"), (b"ann", b"right\0")):
            assert await answer(world, user, password, client_id=user) == 0x86
        assert verified[1:] == [b"wrong", b"wrong", b"right", b"right", b"right\0"]
        authenticator.accounts["ann"] = (other, ())
        assert await answer(world, b"ann", b"right") == 0x86


# -- settings -------------------------------------------------------------------------------


class Settings(BackEnd):
    SETTINGS = (
        Setting("count", 3, "how many", "apples", 1, 10),
        Setting("share", 0.5, "how much", "", 0, 1),
        Setting("open", True, "whether"),
        Setting("mode", "a", "which", choices=("a", "b")),
        Setting("names", (), "who"),
        Setting("password", "", "secret", secret=True),
    )


def test_settings():
    assert Settings({}).settings == {"count": 3, "share": 0.5, "open": True, "mode": "a", "names": (), "password": ""}
    values = {"count": 10, "share": 1, "open": False, "mode": "b", "names": ["x"], "password": "p"}
    assert Settings(values).settings == {**values, "names": ("x",)}
    assert "count: how many (from 1 to 10 apples, default 3)" in explain(Settings.SETTINGS)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    (
        ("count", 0, "count must be from 1 to 10 apples, not 0"),
        ("count", 11, "from 1 to 10"),
        ("count", 1.5, "count must be a whole number, not 1.5"),
        ("count", True, "count must be a whole number, not True"),
        ("share", "x", "share must be a number, not 'x'"),
        ("share", float("nan"), "share must be from 0 to 1, not nan"),
        ("open", 1, "open must be true or false, not 1"),
        ("mode", "c", "mode must be one of a, b, not 'c'"),
        ("mode", 1, "mode must be a string, not 1"),
        ("names", "x", "names must be a list of strings, not 'x'"),
        ("names", [1], "names must be a list of strings, not 1"),
        ("cuont", 1, "unknown key cuont, did you mean count?"),
    ),
)
def test_wrong_settings(name, value, text):
    with pytest.raises(ValueError) as caught:
        Settings({name: value})
    assert text in str(caught.value)


def test_a_wrong_secret_is_not_shown():
    with pytest.raises(ValueError) as caught:
        Settings({"password": 271828})
    assert "password must be a string" in str(caught.value) and "271828" not in str(caught.value)


BACK_ENDS = (RedisAuthenticator, HttpAuthenticator, MysqlAuthenticator, PostgresqlAuthenticator, JwtAuthenticator)


@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_every_setting_is_explained_and_its_default_is_right(back_end):
    names = [setting.name for setting in back_end.SETTINGS]
    assert len(set(names)) == len(names)
    for setting in back_end.SETTINGS:
        setting.check(setting.default or (setting.choices[:1] if setting.required and setting.choices else setting.default))
        assert setting.text and setting.explain().startswith(setting.name + ": ")


@pytest.mark.parametrize("kind", ("redis", "http", "mysql", "postgresql", "jwt"))
def test_a_missing_library_is_named(kind):
    """On an interpreter without any library, all can be explained, and what is missing is said when it is configured."""
    script = """
import sys
sys.path.insert(0, %r)
module = __import__("port.cpython.auth." + %r, fromlist=["*"])
back_end = next(value for name, value in vars(module).items() if name.lower() == %r + "authenticator")
needed = {"user_url": "http://localhost/", "algorithms": ["HS256"], "secret": "x" * 32}
try:
    back_end({s.name: needed[s.name] for s in back_end.SETTINGS if s.name in needed})
except ValueError as e:
    print(e)
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script % (str(ROOT), kind, kind)], capture_output=True, text=True, timeout=60
    )
    assert install(kind) in done.stdout, done.stdout + done.stderr
