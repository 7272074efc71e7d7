"""The pages of the info listener."""

import binascii

from harness import World
from port.core import __version__
from port.core.limits.listener import Listener
from port.core.auth.allow_deny import AllowAll, DenyAll
from port.core.auth.authenticator import PENDING, Authenticator
from port.core.auth.certificate import CertificateAuthenticator
from port.core.auth.password_file import make_record
from port.core.auth.passwords import SALT_SIZE, PasswordAuthenticator
from port.core.web.http import MAX_HEAD
from rights import Users
from visitor import Visitor, new_site

# The fields of CoMQTT's system.Info.
COMQTT = (
    "version", "started", "time", "uptime", "bytes_received", "bytes_sent", "clients_connected", "clients_disconnected",
    "clients_maximum", "clients_total", "messages_received", "messages_sent", "messages_dropped", "retained", "inflight",
    "inflight_dropped", "subscriptions", "packets_received", "packets_sent", "memory_alloc", "threads",
)  # fmt: skip


def connection(world, address="127.0.0.1:1", listener=None, certificate=None, names=("h",)):
    """(connection, its host)"""
    host = Visitor(world, new_site(world, listener, names), address, certificate)
    return host.conn, host


def ask(world, target="/", method="GET", size=1 << 30):
    """(status, {field: value}, body) of an answer, the request being sent in pieces of `size`."""
    info, host = connection(world)
    request = ("%s %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" % (method, target)).encode()
    for i in range(0, len(request), size):
        assert not host.data
        info.receive(memoryview(request)[i : i + size])
    while world.broker.work():
        assert not host.data
    info.receive(request)  # one request a connection
    assert host.closed
    return read(host.data, method)


def read(answer, method="GET"):
    """(status, {field: value}, body) of an answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    fields = {}
    for line in lines[1:]:
        name, _, value = line.partition(": ")
        fields[name] = value
    assert fields["Connection"] == "close"
    if method != "HEAD":
        assert fields["Content-Length"] == str(len(body))
    return int(lines[0].split(" ")[1]), fields, body.decode()


def busy():
    """A world in which there is something to count."""
    world = World()
    broker = world.broker
    broker.sys.wall = lambda: 1700000000000
    broker.counters.bytes_received = 4321
    world.connect("gone").disconnect()
    world.connect("away", properties={0x11: 1000}).lose()
    here = world.connect("here")
    here.subscribe("t", qos=1)
    here.subscribe("u", qos=1)
    publisher = world.connect("p")
    publisher.publish("t", "x", 0)
    publisher.publish("r", "x", retain=True)
    publisher.publish("u", "x", 1)  # which "here" does not acknowledge
    world.advance(60000)
    return world


def system(world):
    """The page / as {name: text of the value}, in order."""
    status, fields, body = ask(world)
    assert status == 200 and fields["Content-Type"] == "application/json"
    assert body.startswith("{\n") and body.endswith("\n}\n")
    pairs = []
    for line in body[2:-3].split(",\n"):
        name, _, value = line.strip().partition(": ")
        assert name[0] == name[-1] == '"'
        pairs.append((name[1:-1], value))
    return pairs


def test_system_has_comqtts_fields():
    pairs = system(busy())
    assert tuple([name for name, _ in pairs]) == COMQTT
    values = dict(pairs)
    expected = {
        "version": '"ucomqtt %s"' % __version__, "started": 1699999940, "time": 1700000000, "uptime": 60,
        "bytes_received": 4321, "clients_connected": 2, "clients_disconnected": 1, "clients_maximum": 2, "clients_total": 3,
        "messages_received": 3, "messages_sent": 2, "messages_dropped": 0, "retained": 1, "inflight": 1,
        "inflight_dropped": 0, "subscriptions": 2, "memory_alloc": 0, "threads": 1,
    }  # fmt: skip
    for name in expected:
        assert values[name] == str(expected[name]), (name, values[name])


def test_system_follows_the_counters():
    world = busy()
    broker = world.broker
    before = dict(system(world))
    broker.counters.drop(1, 5)
    broker.counters.bytes_sent += 7
    broker.counters.packets_received += 9
    broker.counters.packets_sent += 11
    after = dict(system(world))
    for name, change in (("messages_dropped", 5), ("bytes_sent", 7), ("packets_received", 9), ("packets_sent", 11)):
        assert int(after[name]) - int(before[name]) == change, name


def test_the_host_tells_heap_and_threads():
    world = World()
    world.broker.sys.extras.append(lambda: [("heap/current", 12345), ("heap/free", 1), ("threads", 3)])
    values = dict(system(world))
    assert (values["memory_alloc"], values["threads"]) == ("12345", "3")


def test_a_host_without_a_clock():
    assert dict(system(World()))["started"] == "0"


def test_health():
    status, fields, body = ask(World(), "/healthz")
    assert (status, body) == (200, "ok\n") and fields["Content-Type"].startswith("text/plain")


def test_head_has_no_body():
    world = busy()
    for target in ("/", "/healthz", "/metrics"):
        status, fields, body = ask(world, target, "HEAD")
        assert (status, body) == (200, "")
        assert fields["Content-Length"] == str(len(ask(world, target)[2]))


def test_a_query_changes_nothing_and_pieces_neither():
    world = busy()
    assert ask(world, "/?x=y") == ask(world, "/") == ask(world, "/", size=1) == ask(world, "/", size=7)


def test_refusals():
    world = World()
    for target in ("/x", "/metrics/", "/healthz/x", "//", "/Metrics", "/%2e"):
        assert ask(world, target)[0] == 404, target
    for method in ("POST", "PUT", "DELETE", "HEADS"):
        status, fields, _ = ask(world, "/metrics", method)
        assert (status, fields["Allow"]) == (405, "GET, HEAD"), method
    info, host = connection(world)
    info.receive(b"\x10\x0e\x00\x04MQTT")
    assert host.data.startswith(b"HTTP/1.1 400 ")
    info.receive(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")


def test_an_endless_request_is_refused():
    info, host = connection(World())
    fed = 0
    while not host.data:
        info.receive(b"GET / HTTP/1.1\r\n" if not fed else b"A: b\r\n")
        fed += 6
        assert fed <= MAX_HEAD + 6
    assert host.data.startswith(b"HTTP/1.1 431 ")


# -- who may ask --------------------------------------------------------------------------------------------

HERE, THERE = "127.0.0.1:1", "10.0.0.1:1"
PAGES = ("/", "/metrics", "/healthz", "/nothing")


def basic(user, password):
    return b"Basic " + binascii.b2a_base64(b"%s:%s" % (user, password)).strip()


def request(path, authorization=None):
    extra = b"" if authorization is None else b"Authorization: %s\r\n" % authorization
    return b"GET %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n%s\r\n" % (path.encode(), extra)


def status(world, path="/metrics", authorization=None, address=THERE, listener=None, certificate=None):
    """The status of an answer; 401 has to ask for a user name and password."""
    info, host = connection(world, address, listener, certificate)
    info.receive(request(path, authorization))
    code, fields, _ = read(host.data)
    asks = fields.get("WWW-Authenticate") == 'Basic realm="ucomqtt", charset="UTF-8"'
    assert asks == (code == 401)
    return code


def world_of(*authenticators, **options):
    world = World(**options)
    world.broker.authenticators += authenticators
    return world


def test_users_of_the_listener_may_ask():
    for anonymous in ("auto", "none", "loopback", "all"):
        world = world_of(Users(ann="apple", bob=""), anonymous=anonymous)
        for authorization, code in (
            (basic(b"ann", b"apple"), 200), (basic(b"ann", b"wrong"), 401), (basic(b"eve", b"apple"), 401), (basic(b"bob", b""), 200),
            (basic(b"ann", b"apple").replace(b"Basic", b"bAsIc"), 200), (basic(b"ann", b"apple").replace(b"Y", b"!Y", 1), 401),
            (b"Basic", 401), (b"Basic YQ", 401),
            (basic(b"\xff", b"x"), 401), (b"Bearer abc", 401), (b"", 401), (b"Basic " + binascii.b2a_base64(b"ann").strip(), 401),
            (basic(b"ann", b"apple") + b", " + basic(b"ann", b"apple"), 401), (None, 200 if anonymous == "all" else 401),
        ):  # fmt: skip
            for path in PAGES:
                assert status(world, path, authorization) == (404 if code == 200 and path == "/nothing" else code), authorization


def test_the_health_of_the_broker_is_told_to_this_machine():
    for authenticators in ([], [DenyAll()], [Users(ann="apple")]):
        world = world_of(*authenticators, anonymous="none")
        assert status(world, "/healthz", None, HERE) == status(world, "/healthz", basic(b"x", b"y"), "[::1]:1") == 200
        for path in ("/", "/metrics", "/nothing"):
            assert status(world, path, None, HERE) == (401 if authenticators else 403)
        assert new_site(world).may_ask(HERE)
        assert new_site(world).may_ask(THERE) == bool(authenticators)
    world = World()
    assert status(world, "/", None, HERE) == 200 and not new_site(world).may_ask(THERE)
    assert new_site(World(anonymous="all")).may_ask(THERE)


def test_a_listener_asks_its_own_authenticators():
    world = world_of(Users(ann="apple"))
    broker = world.broker
    listener = broker.add_listener(Listener("x", "http", broker.options, [Users(bob="banana")]))
    assert status(world, "/", basic(b"ann", b"apple")) == status(world, "/", basic(b"bob", b"banana"), THERE, listener) == 200
    assert status(world, "/", basic(b"ann", b"apple"), THERE, listener) == 401


def test_a_certificate_will_do():
    world = world_of(CertificateAuthenticator(), Users(ann="apple"))
    assert status(world, "/", None, THERE, None, {"cn": "tom", "san": []}) == 200
    assert status(world) == 401


def test_failures_count_and_make_an_address_wait():
    world = world_of(Users(ann="apple"), max_auth_failures=2)
    broker = world.broker
    for _ in range(5):
        assert status(world) == 401  # only asked
    assert broker.counters.auth_failed == 0
    for _ in range(2):
        for _ in range(2):
            assert status(world, "/", basic(b"ann", b"wrong")) == 401
        assert status(world, "/", basic(b"ann", b"apple")) == 200  # which clears it
    assert [status(world, "/", basic(b"ann", b"wrong")) for _ in range(4)] == [401, 401, 401, 429]
    assert broker.counters.auth_failed == 7 and broker.counters.auth_blocked == 1
    assert status(world, "/", basic(b"bob", b"wrong")) == 401  # somebody else there does not wait
    assert status(world, "/", basic(b"ann", b"apple")) == 429
    assert status(world, "/", basic(b"ann", b"apple"), "10.0.0.2:1") == 200
    assert [status(world, "/", basic(b"ann", b"wrong"), HERE) for _ in range(9)] == [401] * 9
    world.advance(2000)
    assert status(world, "/", basic(b"ann", b"apple")) == 200


class Later(Authenticator):
    """Decides later."""

    def __init__(self):
        self.clients = []

    def authenticate(self, client, user, password):
        assert (user, password) == (b"ann", b"apple") and client.client_id == b"" and client.address == THERE
        self.clients.append(client)
        return PENDING


def test_an_authenticator_may_take_its_time():
    for answers, code in (((0,), 200), ((0x86,), 401), ((0x88,), 503), ((0x89,), 503), ((None, 0), 200), ((None, None), 401)):
        row = [Later() for _ in answers]
        world = world_of(*row)
        info, host = connection(world, THERE)
        info.receive(request("/", basic(b"ann", b"apple")))
        for i in range(len(answers)):
            assert not host.data
            info.receive(b"more")
            row[i].clients[0].authenticated(answers[i])
        assert read(host.data)[0] == code
        row[0].clients[0].authenticated(0)  # answered already
        assert world.broker.counters.auth_failed == (code > 200) and not world.errors() and not world.broker.connections


def test_who_has_gone_and_who_is_not_asked_any_more():
    for gone in (True, False):
        slow = Later()
        world = world_of(slow)
        info, host = connection(world, THERE)
        info.receive(request("/", basic(b"ann", b"apple")))
        if gone:
            info.lost()
            assert slow.clients[0].gone
        else:
            world.broker.authenticators[0] = AllowAll()
            world.broker.rights_changed()
        slow.clients[0].authenticated(0)
        assert host.data == b"" if gone else read(host.data)[0] == 503


def test_an_authenticator_that_raises_shows_nothing():
    class Failing(Authenticator):
        def authenticate(self, client, user, password):
            raise ValueError("secret")

    world = world_of(Failing())
    info, host = connection(world, THERE)
    info.receive(request("/", basic(b"ann", b"apple")))
    assert read(host.data)[0] == 500 and b"secret" not in host.data and len(world.errors()) == 1


def test_passwords_are_checked_in_the_background():
    users = {b"ann": make_record(b"apple", b"s" * SALT_SIZE, 20)}
    for password, code in ((b"apple", 200), (b"pear", 401)):
        world = world_of(PasswordAuthenticator(users))
        info, host = connection(world, THERE)
        info.receive(request("/", basic(b"ann", password)))
        assert not host.data
        while world.broker.work():
            pass
        assert read(host.data)[0] == code


def asked_for(world, names, *hosts):
    """The status of the answers to requests with these Host headers."""
    found = []
    for host in hosts:
        info, answer = connection(world, names=names)
        field = "" if host is None else "Host: %s\r\n" % host
        info.receive(b"GET /metrics HTTP/1.%d\r\nConnection: close\r\n%s\r\n" % (host is not None, field.encode()))
        found.append(read(answer.data)[0])
    return found


def test_names_the_pages_are_asked_for_under():
    """Any other may be the name of somebody's page, who has made it lead here to read ours."""
    world = World()
    good = ("127.0.0.1", "192.0.2.1:8080", "[::1]", "[2001:db8::1]:80", "localhost", "localhost:8080", "LOCALHOST")
    assert asked_for(world, (), *good) == [200] * len(good)
    assert asked_for(world, (), None) == [200]  # HTTP/1.0, which no browser speaks
    bad = ("evil.example", "evil.example:8080", "broker", "broker.local", "127.0.0.1.evil.example", "", "localhost.evil", "1.2.3")
    assert asked_for(world, (), *bad) == [421] * len(bad)
    assert asked_for(world, ("broker", "broker.local"), "Broker:8080", "broker.local.", "broker.local:1", "broker.lan") == [200, 200, 200, 421]
    assert asked_for(world, ("*",), "anything") == [200]


def test_health_is_no_exception():
    info, host = connection(World(), names=())
    info.receive(b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
    assert read(host.data)[0] == 421


def test_an_address_has_so_many_connections():
    """Of all kinds together."""
    world = World(anonymous="all", max_connections_per_address=2, max_connections=3)
    broker = world.broker
    listener = broker.add_listener(Listener("http", "http", broker.options, []))
    site = new_site(world, listener)
    one = Visitor(world, site, "192.0.2.1:1").conn
    world.connect("c", address="192.0.2.1:2")
    assert Visitor(world, site, "192.0.2.1:3").conn is None
    others = [Visitor(world, site, "192.0.2.%d:1" % number).conn for number in (2, 3, 4)]
    assert others[2] is None and listener.connected == 3  # so many has the listener
    assert listener.refused == broker.counters.refused == 2
    for info in (one, one, others[0]):
        info.lost()
    assert listener.connected == 1
    assert Visitor(world, site, "192.0.2.1:4").conn is not None


def test_what_is_no_request_is_refused_and_told():
    world = World()
    visitor = Visitor(world, address="127.0.0.1:5")
    visitor.feed(b"\x10\x0c\x00\x04MQTT\r\n\r\n")
    assert read(visitor.data)[0] == 400 and visitor.closed
    level, text = world.log[-1]
    assert level == 2 and ":5: page refused: 400, " in text, world.log
