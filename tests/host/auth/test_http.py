"""A real HTTP service that decides who may connect and what he may do."""

import asyncio
import gzip
import json
import ssl
import threading
import tracemalloc

import pytest

from back_ends import Clock, Service, admitted, answer, begin, broker_with, figure, finish, hanging_server, until
from certificates import certificates  # noqa: F401
from port.core.wire.codec import PUBACK, SUBACK, SUBSCRIBE
from port.core.wire.properties import SESSION_EXPIRY_INTERVAL
from port.core.acl.acl_rule import rule
from port.cpython.auth.http import HttpAuthenticator
from server_process import free_port


@pytest.fixture
def service():
    service = Service()
    yield service
    service.stop()


@pytest.fixture
def make(service):
    """make(acl=True, cache_ttl=5): an authenticator that asks the service."""

    def make(clock=None, acl=False, **settings):
        clocks = [clock, clock] if clock else []
        urls = {"user_url": service.url + "/user", **({"acl_url": service.url + "/acl"} if acl else {})}
        return HttpAuthenticator({"timeout": 20, **urls, **settings}, *clocks)

    return make


async def suback(client, topic_filter):
    """The code of the answer to a subscription, which may take its time."""
    client.say(SUBSCRIBE, packet_id=client.next_id(), filters=[(topic_filter.encode(), 1)])
    await until(lambda: client.inbox)
    return client.expect(SUBACK)["codes"][0]


async def puback(client, topic):
    """The same of a publication."""
    client.send_publish(topic, b"x", 1)
    await until(lambda: client.inbox)
    return client.expect(PUBACK)["code"]


@pytest.mark.parametrize(
    ("status", "body", "code"),
    (
        (200, "", 0),
        (204, "", 0),
        (200, "1", 0),
        (200, " 1\n", 0),
        (200, "allow", 0),
        (200, '"allow"', 0),
        (200, "true", 0x88),  # neither is a number
        (200, '{"result": "allow"}', 0),
        (200, "0", 0x86),
        (200, "false", 0x88),
        (200, "1.0", 0x88),
        (200, '"1"', 0x88),
        (200, '"true"', 0x88),
        (200, "null", 0x88),
        (200, '{"result": 1}', 0x88),
        (200, '{"result": "ALLOW"}', 0x88),
        (200, '{"result": "allow", "expire_at": NaN}', 0x88),
        (200, '{"result": "allow", "expire_at": true}', 0x88),
        (200, '{"result": "allow", "acl": [{"topic": "a", "allow": 1}]}', 0x88),
        (200, "deny", 0x86),
        (200, '{"result": "deny"}', 0x86),
        (401, "", 0x86),
        (403, "1", 0x86),
        (404, "", 0x86),  # the next, and there is none
        (200, "ignore", 0x86),
        (200, '{"result": "ignore"}', 0x86),
        (200, "2", 0x88),
        (200, "[]", 0x88),
        (200, "[" * 5000, 0x88),
        (200, "<html>Welcome", 0x88),
        (200, b"\xff\xfe", 0x88),
        (200, "{}", 0x88),
        (200, '{"result": true}', 0x88),
        (200, '{"result": ["allow"]}', 0x88),
        (200, '{"result": "allow", "acl": {}}', 0x88),
        (200, '{"result": "allow", "acl": [1]}', 0x88),
        (200, '{"result": "allow", "acl": [{"topic": "a#"}]}', 0x88),
        (200, '{"result": "allow", "acl": [{"topic": "a"}, {"topic": "b"}, {"topic": "c"}]}', 0x88),
        (200, '{"result": "allow", "user": 1}', 0x88),
        (200, '{"result": "allow", "user": ""}', 0x88),
        (200, '{"result": "allow", "user": "\\ud800"}', 0x88),
        (200, '{"result": "allow", "acl": [{"topic": "\\ud800"}]}', 0x88),
        (200, '{"result": "allow", "expire_at": Infinity}', 0),
        (200, '{"result": "allow", "expire_at": 1%s}' % ("0" * 400), 0),
        (200, '{"result": "allow", "expire_at": "soon"}', 0x88),
        (200, "1" + " " * 1000, 0x88),
        (201, "1", 0x88),
        (202, "", 0x88),
        (400, "", 0x88),
        (500, "1", 0x88),
    ),
)
async def test_answers(service, make, status, body, code):
    service.answer = lambda path, fields: (status, body)
    authenticator = make(max_answer=512 if len(body) < 2000 else 8192, max_rules=2)
    async with broker_with(authenticator) as world:
        assert await answer(world, b"ann", b"right") == code
        assert figure(authenticator, "errors") == (code == 0x88)


@pytest.mark.parametrize("form", ("json", "form"))
async def test_what_is_asked(service, make, form):
    async with broker_with(make(format=form, token="t0ken")) as world:
        await admitted(world, "j\u00fcrgen&x=1\"'\r\n".encode(), b"p&w=+%", client_id="\u00fc")
        expected = {"user": "j\u00fcrgen&x=1\"'\r\n", "password": "p&w=+%", "client_id": "\u00fc"}
        expected.update(address="10.0.0.1", listener="default")
        assert service.requests == [("/user", expected)]
        assert service.headers["Authorization"] == "Bearer t0ken"
        await admitted(world, b"ann")
        assert "password" not in service.requests[-1][1]


async def test_passwords_that_are_no_text(service, make):
    async with broker_with(make()) as world:
        assert await answer(world, b"ann", b"\xff") == 0x86
        assert not service.requests
    async with broker_with(make(format="form")) as world:
        assert await answer(world, b"ann", b"\xff") == 0
        assert service.requests[0][1]["password"] == b"\xff".decode(errors="replace")


async def test_clients_without_a_user_name(service, make):
    async with broker_with(make()) as world:
        assert await answer(world) == 0x87 and not service.requests
    async with broker_with(make(anonymous=True)) as world:
        assert await answer(world) == 0
        assert "user" not in service.requests[0][1]


async def test_user_rules_and_expiry(service, make):
    clock = Clock()
    result = {"result": "allow", "user": "real", "expire_at": clock.now + 60,
              "acl": [{"allow": False, "topic": "%u/no"}, {"topic": "%u/#", "actions": ["subscribe"]}]}  # fmt: skip
    service.answer = lambda path, fields: (200, json.dumps(result))
    async with broker_with(make(clock)) as world:
        client = await admitted(world, b"ann", b"x")
        assert client.conn.session.user == b"real"
        client.subscribe("real/a", 1)
        client.subscribe("real/no", 1, code=0x87)
        client.publish("real/a", b"", 1, code=0x87)
        world.advance(60_000)
        client.expect_close(0xA0)


async def test_no_redirects(service, make):
    other = Service()
    try:
        service.answer = lambda path, fields: (307, "", ("Location", other.url + "/user"))
        async with broker_with(make()) as world:
            assert await answer(world, b"ann", b"right") == 0x88
        assert not other.requests
    finally:
        other.stop()


async def test_no_cookies(service, make):
    """What a service gives one client is not shown on behalf of another."""
    service.answer = lambda path, fields: (200, "allow", ("Set-Cookie", "session=%s; Path=/" % fields["user"]))
    async with broker_with(make()) as world:
        for user in (b"ann", b"bob"):
            assert await answer(world, user, b"x", client_id=user) == 0
            assert service.headers["Cookie"] is None


async def test_nothing_is_decompressed(service, make):
    """A small answer cannot become a large one."""
    bomb = gzip.compress(b"1" + bytes(50_000_000))
    data = {"ann": gzip.compress(b"1"), "bomb": bomb}
    service.answer = lambda path, fields: (200, data[fields["user"]], ("Content-Encoding", "gzip"))
    authenticator = make()
    async with broker_with(authenticator) as world:
        tracemalloc.start()
        try:
            assert [await answer(world, user, b"x") for user in (b"ann", b"bomb")] == [0x88, 0x88]
            assert tracemalloc.get_traced_memory()[1] < 10_000_000
        finally:
            tracemalloc.stop()
        assert service.headers["Accept-Encoding"] == "identity"


async def test_no_proxy_from_the_environment(service, make, monkeypatch):
    other = Service()
    try:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, other.url)
        async with broker_with(make()) as world:
            assert await answer(world, b"ann", b"right") == 0
        assert service.requests and not other.requests
    finally:
        other.stop()


# -- topics -----------------------------------------------------------------------------------


async def test_topics(service, make):
    def decide(path, fields):
        return 200 if path == "/user" or fields["topic"] == "yes/" + fields["action"] else 403, ""

    service.answer = decide
    authenticator = make(acl=True)
    async with broker_with(authenticator) as world:
        client = await admitted(world, b"ann", b"x")
        assert await suback(client, "yes/subscribe") == 1
        assert await suback(client, "yes/publish") == 0x87
        assert await suback(client, "#") == 0x87
        assert await puback(client, "yes/publish") == 0x10
        assert await puback(client, "yes/subscribe") == 0x87
        fields = {"user": "ann", "client_id": "c", "address": "10.0.0.1", "listener": "default"}
        assert service.requests[1:3] == [
            ("/acl", {**fields, "action": "subscribe", "topic": "yes/subscribe"}),
            ("/acl", {**fields, "action": "subscribe", "topic": "yes/publish"}),
        ]
        assert figure(authenticator, "acl_requests") == 5


@pytest.mark.parametrize(
    ("body", "may_publish", "may_subscribe"),
    (
        ("allow", True, True),
        ("", True, True),
        ("deny", False, False),
        ("ignore", False, False),
        ('{"result": "allow"}', True, True),
        ('{"result": "deny"}', False, False),
        ("0", False, False),
        ("1", True, False),
        ("2", False, True),
        ("3", True, True),
        ('{"a/#": 3, "a/b": 0}', False, False),
        ('{"#": 0, "a/+": 1}', False, True),
        ('{"#": 0, "a/+": 2}', True, False),
        ('{"a/b": 3, "#": 0}', True, True),
        ('{"b": 3}', False, False),
        ("{}", False, False),
        ("7", False, False),
        ('{"a/b": "x"}', False, False),
        ("true", False, False),
        ('{"a/b": true}', False, False),
        ('{"a/b": 3.0}', False, False),
        ('{"result": 1}', False, False),
        ('{"result": true}', False, False),
        ("nonsense", False, False),
        ("[]", False, False),
    ),
)
async def test_answers_about_topics(service, make, body, may_publish, may_subscribe):
    service.answer = lambda path, fields: (200, "" if path == "/user" else body)
    async with broker_with(make(acl=True)) as world:
        client = await admitted(world, b"ann", b"x")
        assert await puback(client, "a/b") == (0x10 if may_publish else 0x87)
        assert await suback(client, "a/b") == (1 if may_subscribe else 0x87)


async def test_answers_about_topics_are_remembered(service, make):
    clock = Clock()
    authenticator = make(clock, acl=True, cache_ttl=30)
    async with broker_with(authenticator) as world:
        client = await admitted(world, b"ann", b"x")
        for _ in range(3):
            assert await puback(client, "t") == 0x10
        assert figure(authenticator, "acl_requests") == 1 and figure(authenticator, "cache_hits") == 0
        client.lose()
        client = await admitted(world, b"ann", b"x")  # another connection
        clock.now += 20
        assert await puback(client, "t") == 0x10
        assert figure(authenticator, "acl_requests") == 1 and figure(authenticator, "cache_hits") == 1
        service.answer = lambda path, fields: (403, "")
        world.advance(9_900)
        clock.now += 9.9
        assert await puback(client, "t") == 0x10
        world.advance(100)  # the core holds it no longer than the cache
        clock.now += 0.1
        assert await puback(client, "t") == 0x87
        assert figure(authenticator, "acl_requests") == 2


async def test_answers_are_for_one_client_only(service, make):
    service.answer = lambda path, fields: (200 if path == "/user" or fields["user"] == "ann" else 403, "")
    async with broker_with(make(acl=True)) as world:
        assert await puback(await admitted(world, b"ann", b"x", client_id="1"), "t") == 0x10
        assert await puback(await admitted(world, b"bob", b"x", client_id="2"), "t") == 0x87


async def test_rules_come_before_the_service(service, make):
    acl = [{"topic": "free"}, {"allow": False, "topic": "closed"}]
    service.answer = lambda path, fields: (200, json.dumps({"result": "allow", **({"acl": acl} if path == "/user" else {})}))
    authenticator = make(acl=True)
    async with broker_with(authenticator) as world:
        client = await admitted(world, b"ann", b"x")
        client.publish("free", b"", 1, code=0x10)
        client.publish("closed", b"", 1, code=0x87)
        assert figure(authenticator, "acl_requests") == 0
        assert await puback(client, "else") == 0x10
        assert figure(authenticator, "acl_requests") == 1


async def test_what_the_service_says_later_holds_for_those_who_are_in(service, make):
    said = {b"ann": {"result": "allow", "acl": [{"topic": "a"}]}, b"bob": {"result": "allow"}, b"eve": {"result": "allow"}}
    said[b"may"] = {"result": "allow"}
    service.answer = lambda path, fields: (200, json.dumps(said[fields["user"].encode()]))
    clock = Clock()
    async with broker_with(make(clock)) as world:
        clients = {user: await admitted(world, user, b"secret", client_id=user.decode()) for user in said}
        clients[b"ann"].subscribe("a", 1)
        count = len(service.requests)
        authenticator = world.broker.authenticators[0]
        await authenticator.refresh()
        assert len(service.requests) == count + 4
        assert service.requests[-1][1]["password"] == "secret"
        assert [client.closed for client in clients.values()] == [False] * 4
        said[b"ann"] = {"result": "allow", "acl": [{"topic": "b"}]}
        said[b"bob"] = {"result": "deny"}
        said[b"eve"] = {"result": "allow", "user": "other"}
        said[b"may"] = {"result": "allow", "expire_at": clock.now + 60}
        await authenticator.refresh()
        for user in (b"ann", b"bob", b"eve"):  # one lost a subscription, one everything, one would be somebody else
            clients[user].expect_close(0x87)
        assert not world.session(b"ann")
        world.advance(60_000)
        clients[b"may"].expect_close(0xA0)


async def test_a_service_that_is_away_throws_nobody_out(service, make):
    async with broker_with(make(refresh=0.01)) as world:
        client = await admitted(world, b"ann", b"right")
        await until(lambda: len(service.requests) > 5)
        service.answer = lambda path, fields: (500, "")
        count = len(service.requests)
        await until(lambda: len(service.requests) > count + 5)
        client.ping()
        service.answer = lambda path, fields: (401, "")
        await until(lambda: client.closed)


async def test_subscriptions_are_asked_about_again(service, make):
    allowed = {"a", "b/#", "c"}
    service.answer = lambda path, fields: (200, "allow" if path == "/user" or fields["topic"] in allowed else "deny")
    authenticator = make(acl=True, cache_ttl=0)
    async with broker_with(authenticator) as world:
        world.broker.set_acl([rule({"topic": "mine/#"})])
        client = await admitted(world, b"ann", b"x", properties={SESSION_EXPIRY_INTERVAL: 1000})
        client.subscribe("mine/x", 1)
        for topic in ("a", "b/#", "$share/g/c"):
            assert await suback(client, topic) == 1
        service.requests.clear()
        await authenticator.refresh()
        assert [fields.get("topic") for _, fields in service.requests] == [None, "a", "b/#", "c"]
        client.ping()
        allowed.clear()
        allowed.update(("a", "c"))
        await authenticator.refresh()
        client.expect_close(0x87)
        assert list(world.session("c").subscriptions) == [b"mine/x", b"a", b"$share/g/c"]


async def test_nothing_is_asked_again_where_that_is_not_wanted(service, make):
    async with broker_with(make(refresh=0)) as world:
        client = await admitted(world, b"ann", b"hunter2")
        count = len(service.requests)
        await world.broker.authenticators[0].refresh()
        assert len(service.requests) == count and "hunter2" not in repr(client.conn.identity.auth_state)
        assert client.conn.identity.auth_state.info is None


async def test_no_answer_about_a_topic(service, make):
    service.answer = lambda path, fields: (200 if path == "/user" else 500, "")
    authenticator = make(acl=True, on_error="next")
    async with broker_with(authenticator) as world:
        client = await admitted(world, b"ann", b"x")
        assert await puback(client, "t") == 0x87
        assert figure(authenticator, "errors") == 1
        service.answer = lambda path, fields: (200, "")
        world.advance(1_000)
        assert await puback(client, "t") == 0x10  # it is asked again soon


async def test_too_many_questions_about_topics(service, make):
    let = threading.Event()

    def slow(path, fields):
        if path == "/acl":
            let.wait(30)
        return 200, ""

    service.answer = slow
    authenticator = make(acl=True, max_concurrent=1, max_waiting=1)
    async with broker_with(authenticator) as world:
        clients = [await admitted(world, b"ann", b"x", client_id=str(i)) for i in range(3)]
        await until(lambda: not authenticator.waiting)  # an answer is given before its place is free
        for client in clients:
            client.send_publish("t", b"x", 1)
        await until(lambda: clients[2].inbox)
        clients[2].take(PUBACK, 1, 0x87)
        assert figure(authenticator, "busy") == 1 and not clients[0].inbox
        let.set()
        for client in clients[:2]:
            await until(lambda client=client: client.inbox)
            client.take(PUBACK, 1, 0x10)


async def test_closing_while_a_topic_is_asked_about(service, make):
    let = threading.Event()
    service.answer = lambda path, fields: (200 if path == "/user" or let.wait(30) else 200, "")
    authenticator = make(acl=True)
    async with broker_with(authenticator) as world:
        client = await admitted(world, b"ann", b"x")
        client.send_publish("t", b"x", 1)
        await until(lambda: figure(authenticator, "acl_requests"))
        await authenticator.close()
        client.take(PUBACK, 1, 0x87)
        let.set()


async def test_another_service_after_a_reload(service, make):
    """Who has the old authorizer is disconnected: nobody answers for it any more."""
    first, second = make(acl=True), make(acl=True)
    async with broker_with(first) as world:
        client = await admitted(world, b"ann", b"x")
        second.name = first.name
        world.broker.rights_changed()
        client.ping()
        world.broker.authenticators[:] = [second]
        world.broker.rights_changed()
        client.expect_close(0x87)


# -- a service that is not well -----------------------------------------------------------------


async def test_down_and_coming_back(make, caplog):
    port = free_port()
    authenticator = make(user_url="http://127.0.0.1:%d/user" % port)
    async with broker_with(authenticator) as world:
        assert await answer(world, b"ann", b"hunter2") == 0x88
        service = Service(port)
        try:
            assert await answer(world, b"ann", b"hunter2") == 0
        finally:
            service.stop()
        assert await answer(world, b"ann", b"hunter2") == 0x88
        assert figure(authenticator, "errors") == 2
    assert "ConnectError" in caplog.text and "hunter2" not in caplog.text


async def test_hanging(service, make):
    with hanging_server() as port:
        hanging = make(user_url="http://127.0.0.1:%d/" % port, timeout=0.5, max_concurrent=2, on_error="next")
        alive = make()
        async with broker_with(hanging, alive) as world, broker_with(make()) as other:
            clients = [begin(world, str(i), user=b"ann", password=b"x") for i in range(5)]
            for i in range(5):
                await admitted(other, b"ann", b"x", client_id=str(i))
            assert [await finish(client) for client in clients] == [0] * 5
            assert figure(hanging, "timeouts") + figure(hanging, "errors") == 5 and figure(alive, "accepted") == 5


async def test_an_answer_that_never_ends(service, make):
    """Neither the time limit nor the size is got around by sending bit by bit."""
    listener = await asyncio.start_server(_drip, "127.0.0.1", 0)
    async with listener:
        authenticator = make(user_url="http://127.0.0.1:%d/" % listener.sockets[0].getsockname()[1], timeout=0.5)
        async with broker_with(authenticator) as world:
            assert await answer(world, b"ann", b"x") == 0x88
            assert figure(authenticator, "timeouts") == 1


async def _drip(reader, writer):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    try:
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)
    except OSError:
        writer.close()


async def test_tls(make, certificates):  # noqa: F811
    ours, others = certificates(), certificates("others")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ours.server, ours.key)
    service = Service(tls=context)
    try:
        url = service.url + "/user"
        right, wrong, any_one = {"ca_file": ours.ca}, {"ca_file": others.ca}, {"tls_verify": False}
        for settings, code in ((right, 0), (wrong, 0x88), ({}, 0x88), (any_one, 0)):
            async with broker_with(make(user_url=url, **settings)) as world:
                assert await answer(world, b"ann", b"x") == code, settings
        assert len(service.requests) == 2
    finally:
        service.stop()


@pytest.mark.parametrize(
    ("settings", "text"),
    (
        ({"user_url": ""}, "user_url is missing"),
        ({"user_url": "ftp://x/"}, "user_url must be an http or https URL"),
        ({"user_url": "http://"}, "user_url must be an http or https URL"),
        ({"user_url": "http://x:99999/"}, "user_url must be an http or https URL"),
        ({"acl_url": "http://u:pw@x/"}, "acl_url must not hold a user name or password"),
        ({"format": "xml"}, "format must be one of json, form"),
        ({"method": "get"}, "unknown key method"),
    ),
)
def test_wrong_settings(make, settings, text):
    with pytest.raises(ValueError) as caught:
        make(**settings)
    assert text in str(caught.value) and "pw" not in str(caught.value)


def test_ca_file_that_is_none(make, tmp_path):
    path = tmp_path / "ca.pem"
    with pytest.raises(OSError) as caught:
        make(ca_file=str(path))
    assert caught.value.filename == str(path)
    path.write_text("nothing")
    with pytest.raises(ValueError, match="ca_file holds no certificate"):
        make(ca_file=str(path))
