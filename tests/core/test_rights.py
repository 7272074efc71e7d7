"""What clients may do: rules at publish, at subscribe and at delivery, limits, and rights that change."""

from harness import World, raises
from port.core.acl import ALLOWED, DENIED, PUBLISH, SUBSCRIBE, Access, Acl, covers, rule
from port.core.address import Network, host, parse
from port.core.auth import PENDING, AllowAll, Authenticator
from port.core.listener import Listener

USERS = {b"user": b"1", b"other": b"2"}


def world_with(rules, **options):
    """A world whose clients get the user name they say, and these rules."""
    world = World(**options)
    world.broker.authenticators.append(AllowAll())
    world.broker.set_acl([rule(values) for values in rules])
    return world


# -- rules ----------------------------------------------------------------------------------


def test_wrong_rules_are_named():
    for values, text in (
        ({}, "an ACL rule needs a topic"),
        ({"topic": 5}, "topic in an ACL rule must be a string, not 5"),
        ({"topic": "a#"}, "topic in an ACL rule must be a topic filter, not 'a#'"),
        ({"topic": "$share/g/a"}, "topic in an ACL rule must be a topic filter, not '$share/g/a'"),
        ({"topic": "a", "qos": 3}, "qos in an ACL rule must be 0, 1 or 2, not 3"),
        ({"topic": "a", "allow": 1}, "allow in an ACL rule must be true or false, not 1"),
        ({"topic": "a", "actions": "publish"}, "actions in an ACL rule must be a list, not 'publish'"),
        ({"topic": "a", "adress": "x"}, "unknown key adress in an ACL rule, there are "),
        ({"topic": "a", "address": "10.0.0"}, "'10.0.0' is neither an IP address nor a network such as 192.168.1.0/24"),
        ({"topic": "a", "address": "10.0.0.0/33"}, "'10.0.0.0/33': the prefix length must be from 0 to 32"),
    ):
        assert str(raises(ValueError, rule, values)).startswith(text)


def test_addresses_and_networks():
    for text, address, inside in (
        ("10.0.0.0/8", "10.1.2.3:5", True), ("10.0.0.0/8", "11.1.2.3:5", False), ("10.0.0.1", "10.0.0.1:5", True),
        ("10.0.0.0/9", "10.128.0.1:5", False), ("fd00::/8", "[fd12::1]:5", True), ("fd00::/8", "[fe80::1]:5", False),
        ("::1", "[0:0:0:0:0:0:0:1]:5", True), ("10.0.0.1", "[::ffff:10.0.0.1]:5", True), ("0.0.0.0/0", "unix", False),
        ("loopback", "unix", True), ("loopback", "127.9.9.9:1", True), ("loopback", "10.0.0.1:1", False),
    ):  # fmt: skip
        assert Network(text).contains(address) == inside, (text, address)
    for text in ("", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1::2::3", ":::", "12345::", "1:2:3:4:5:6:7:8:9", "g::", "::1.2.3"):
        assert parse(text) is None, text
    assert host("[::1]:5") == "::1" and host("1.2.3.4:5") == "1.2.3.4" and host("unix") == "unix"


def test_one_filter_covers_another():
    for wide, narrow, expected in (
        (b"#", b"a/b", True), (b"#", b"#", True), (b"#", b"$SYS/#", False), (b"+/+", b"a/+", True), (b"+", b"#", False),
        (b"a/#", b"a", True), (b"a/#", b"a/+/b", True), (b"a/+", b"a/#", False), (b"a/b", b"a/+", False),
        (b"a/+/c", b"a/b/c", True), (b"a", b"a/b", False), (b"+/#", b"a", True),
    ):  # fmt: skip
        assert covers(wide, narrow) == expected, (wide, narrow)


def find(rules, user=b"u", client_id=b"c", address="10.0.0.1:1"):
    acl = Acl(10)
    acl.replace([rule(values) for values in rules])
    access = acl.find(user, client_id, address, None, None)
    assert isinstance(access, Access)
    return access


def test_the_first_rule_that_applies_decides():
    access = find([
        {"topic": "a/secret", "allow": False}, {"topic": "a/#", "actions": ["publish"], "qos": 1, "retain": False},
        {"topic": "b/#", "user": "someone"}, {"topic": "c/#", "user": "u"}, {"topic": "d/#", "client_id": "c*"},
        {"topic": "e/#", "address": "10.0.0.0/8"}, {"topic": "f/#", "address": "11.0.0.0/8"}, {"topic": "g", "user": ""},
    ])  # fmt: skip
    for name, verdict in (
        (b"a/secret", DENIED), (b"a/x", 1), (b"b/x", DENIED), (b"c/x", ALLOWED), (b"d/x", ALLOWED), (b"e/x", ALLOWED),
        (b"f/x", DENIED), (b"g", DENIED), (b"h", DENIED), (b"$SYS/x", DENIED),
    ):  # fmt: skip
        assert access.publish(name, 0) == verdict, name
    assert access.receive(b"a/x") == DENIED and access.subscribe(b"a/#", 0) == DENIED
    assert access.subscribe(b"c/+", 0) == ALLOWED and access.subscribe(b"#", 0) == DENIED


def test_names_that_stand_in_a_rule_cannot_widen_it():
    rules = [{"topic": "home/%u/%c/#"}, {"topic": "all/#"}]
    assert find(rules, b"u", b"c").publish(b"home/u/c/x", 0) == ALLOWED
    assert find(rules, b"%c", b"c").publish(b"home/%c/c/x", 0) == ALLOWED
    for user, client_id, name in (
        (b"+", b"c", b"home/x/c/y"), (b"#", b"c", b"home/x"), (b"a/b", b"c", b"home/a/b/c/x"), (None, b"c", b"home//c/x"),
        (b"", b"c", b"home//c/x"), (b"u", b"+", b"home/u/x/y"), (b"%c", b"c", b"home/c/c/x"),
    ):  # fmt: skip
        assert find(rules, user, client_id).publish(name, 0) == DENIED, (user, client_id)
    deny = [{"topic": "x/%u", "allow": False}, {"topic": "#"}]
    assert find(deny, b"+").publish(b"x/anything", 0) == DENIED  # too much rather than too little


# -- in the broker ------------------------------------------------------------------------------


def test_publishing_is_refused():
    world = world_with([{"topic": "ok/#", "qos": 1, "retain": False}, {"topic": "#", "actions": ["subscribe"]}])
    watcher = world.connect("w", user=b"w")
    watcher.subscribe("#", 2)
    for version in (4, 5):
        client = world.connect("c%d" % version, version, user=b"u")
        for topic, qos, fields, code in (
            ("ok/1", 1, {}, 0), ("no", 1, {}, 0x87), ("no", 2, {}, 0x87), ("ok/1", 2, {}, 0x87), ("ok/1", 1, {"retain": True}, 0x87),
        ):  # fmt: skip
            if qos == 2 and version == 4:
                continue  # the acknowledgements of MQTT 3 tell nothing; the message is dropped all the same
            client.publish(topic, "x", qos, code, **fields)
        for _ in range(3):
            client.publish("no", "x")
            client.publish("ok/0", "x")
    assert [packet["topic"] for packet in watcher.messages()] == [b"ok/1", b"ok/0", b"ok/0", b"ok/0"] * 2
    assert world.broker.denied_publishes == 4 + 3 + 2 + 3


def test_the_fast_path_forgets_what_is_no_longer_true():
    world = world_with([{"topic": "a", "user": "p"}, {"topic": "#", "actions": ["subscribe"]}])
    publisher = world.connect("p", user=b"p")
    one, two = world.connect("one", user=b"1"), world.connect("two", user=b"2")
    one.subscribe("a")
    for _ in range(3):
        publisher.publish("a", "1")
    two.subscribe("a")
    publisher.publish("a", "2")
    got = one.messages()
    one.unsubscribe("a")
    publisher.publish("a", "3")
    stranger = world.connect("s", user=b"s")
    stranger.publish("a", "not this")
    world.broker.set_acl([rule({"topic": "#", "actions": ["subscribe"]})])
    world.broker.rights_changed()
    publisher.publish("a", "nor this")
    assert [packet["payload"] for packet in got + one.messages()] == [b"1", b"1", b"1", b"2"]
    assert [packet["payload"] for packet in two.messages()] == [b"2", b"3"]


def test_no_subscription_reaches_around_a_deny():
    world = world_with([
        {"topic": "a/secret", "allow": False, "user": "u"}, {"topic": "#"}, {"topic": "$SYS/#", "user": "boss"},
    ])  # fmt: skip
    boss = world.connect("boss", user=b"boss")
    boss.publish("a/secret", "kept", retain=True)
    boss.publish("a/open", "kept", retain=True)
    client = world.connect("c", user=b"u")
    client.subscribe("a/secret", code=0x87)
    client.subscribe("$share/g/a/secret", code=0x87)
    client.subscribe("$SYS/#", code=0x87)
    for topic_filter in ("#", "a/#", "+/secret", "$share/g/#"):
        client.subscribe(topic_filter, 1)
        assert b"a/secret" not in [packet["topic"] for packet in client.messages()]
    boss.publish("a/secret", "x", 1)
    boss.publish("a/open", "x", 1)
    assert sorted({packet["topic"]: True for packet in client.messages()}) == [b"a/open"]
    will = {"topic": b"a/secret", "payload": b"x", "qos": 0, "retain": False, "properties": {}}
    other = world.client()
    other.connect("d", user=b"u", will=will)
    assert other.connack["code"] == 0x87
    boss.publish("$SYS/x", "x", 1, 0x87)


def test_a_subscription_is_granted_the_qos_of_the_rule():
    world = world_with([{"topic": "#", "user": "p"}, {"topic": "a", "qos": 1}, {"topic": "b", "qos": 0}])
    client, publisher = world.connect("c", user=b"u"), world.connect("p", user=b"p")
    client.subscribe("a", 2, code=1)
    client.subscribe("b", 1, code=0)
    publisher.publish("a", "x", 2)
    publisher.publish("b", "x", 2)
    assert [packet["qos"] for packet in client.messages(True)] == [1, 0]


def test_what_waits_for_a_client_without_the_right_any_more_is_dropped():
    world = world_with([{"topic": "#"}])
    client = world.connect("c", user=b"u", clean_start=False, properties={17: 100})
    client.subscribe("a/#", 1)
    publisher = world.connect("p", user=b"p")
    client.lose()
    publisher.publish("a/1", "x", 1)
    publisher.publish("a/2", "x", 1)
    world.broker.set_acl([rule({"topic": "a/1", "allow": False, "user": "u"}), rule({"topic": "#"})])
    world.broker.rights_changed()
    again = world.connect("c", user=b"u", clean_start=False, properties={17: 100})
    assert [packet["topic"] for packet in again.messages(True)] == [b"a/2"]


def test_a_client_id_belongs_to_its_user():
    for clean_start in (True, False):
        world = world_with([{"topic": "#"}])
        owner = world.connect("c", user=b"u", clean_start=False, properties={17: 100})
        for version, code in ((5, 0x87), (4, 5)):
            thief = world.client(version)
            thief.connect("c", user=b"thief", clean_start=clean_start)
            assert thief.connack["code"] == code
        owner.ping()
        owner.lose()
        thief = world.client()
        thief.connect("c", user=b"thief", clean_start=clean_start)
        assert thief.connack["code"] == 0x87
        assert world.connect("c", user=b"u", clean_start=False).connack["session_present"]


def test_accesses_are_shared_and_let_go():
    world = world_with([{"topic": "all/#"}, {"topic": "own/%u"}])
    acl = world.broker.acl
    one, two = world.connect("1", user=b"u"), world.connect("2", user=b"u")
    world.connect("3", user=b"other").lose()
    assert world.session("1").access is world.session("2").access
    assert len(acl.shared) == 1
    one.lose()
    two.lose()
    assert len(acl.shared) == 0


# -- an authorizer ------------------------------------------------------------------------------


class Authorizing(Authenticator):
    """Lets everybody in and leaves questions open until `answer`."""

    def __init__(self):
        self.asked = []

    def authenticate(self, client, user, password):
        client.authorizer = self
        return 0

    def ask(self, client, action, topic):
        self.asked.append((client, action, topic))

    def answer(self, verdict, ttl=60000):
        client, action, topic = self.asked.pop(0)
        client.authorized(action, topic, verdict, ttl)


def test_a_client_waits_for_the_authorizer():
    world = World()
    authorizer = Authorizing()
    world.broker.authenticators.append(authorizer)
    client = world.connect("c", user=b"u")
    client.send_publish("a", "1", 1)
    client.send_publish("a", "2", 1)
    assert [(action, topic) for _, action, topic in authorizer.asked] == [(PUBLISH, b"a")]
    assert client.held and not client.inbox
    authorizer.answer(ALLOWED)
    client.feed(b"")
    assert not client.held and [packet["packet_id"] for packet in client.inbox] == [1, 2]
    client.inbox.clear()
    client.publish("a", "3", 1, 0x10)
    world.advance(61000)
    client.send_publish("a", "4", 1)
    authorizer.answer(DENIED)
    assert client.inbox.pop()["code"] == 0x87
    client.feed(b"\x82\x0b\0\x09\0\0\1x\0\0\1y\1")
    assert authorizer.asked[0][1:] == (SUBSCRIBE, b"x")
    authorizer.answer(ALLOWED)
    authorizer.answer(DENIED)
    assert client.inbox.pop()["codes"] == b"\x00\x87"


# -- limits -------------------------------------------------------------------------------------


def test_an_address_that_fails_has_to_wait():
    class Strict(Authenticator):
        def authenticate(self, client, user, password):
            return 0 if password == b"right" else 0x86

    world = World(max_auth_failures=2, auth_backoff=4, connect_timeout=100)
    world.broker.authenticators.append(Strict())

    def code(address, password=b"wrong"):
        client = world.client(5, address)
        if client.conn is None:
            return None
        client.connect("c", user=b"u", password=password)
        return client.connack["code"]

    here, there = "10.0.0.1:1", "10.0.0.2:1"
    assert [code(here) for _ in range(4)] == [0x86, 0x86, 0x86, None]
    assert code(there, b"right") == 0
    waiting = world.client(5, there)
    for wait in (1, 2, 4, 4):
        world.advance(wait * 1000)
        assert code(here) == 0x86
        assert code(here, b"right") is None
    for _ in range(3):
        code(there)
    waiting.connect("d", user=b"u", password=b"right")
    assert waiting.connack["code"] == 0x8A
    world.advance(5000)
    assert code(here, b"right") == 0
    assert [code(here) for _ in range(3)] == [0x86] * 3  # a success has cleared it
    assert world.broker.auth_blocked > 0 and world.broker.auth_failed > 0


def test_connections_of_one_address():
    world = World(max_connections_per_address=2, anonymous="all")
    clients = [world.client(5, address) for address in ("10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:3", "10.0.0.2:1")]
    assert [client.conn is None for client in clients] == [False, False, True, False]
    six = [world.client(5, address) for address in ("[fd00::1]:1", "[fd00::2]:1", "[fd00::3]:1", "[fd00:0:0:1::1]:1")]
    assert [client.conn is None for client in six] == [False, False, True, False]
    assert all([world.client(5, "127.0.0.1:1").conn is not None for _ in range(5)])
    clients[0].conn.lost()
    assert world.client(5, "10.0.0.1:9").conn is not None


def test_who_sends_too_fast_waits():
    world = World(max_message_rate=10, rate_burst=1)
    client, watcher = world.connect("c"), world.connect("w")
    watcher.subscribe("#")
    for i in range(30):
        client.send_publish("a", "%d" % i)
    assert client.held
    before = len(watcher.messages())
    assert before == 11
    for _ in range(5):
        world.advance(1000)
        client.feed(b"")
    assert before + len(watcher.messages()) == 30 and world.broker.rate_limited == 2
    strict = World(max_byte_rate=1000, rate_burst=1, rate_exceeded="disconnect").connect("c")
    strict.send_publish("a", "x" * 2000)
    strict.expect_close(0x96)


def test_a_listener_has_limits_and_rules_of_its_own():
    world = World(max_connections=5)
    broker = world.broker
    narrow = broker.add_listener(Listener("narrow", "tcp", broker.options, [], None, {"max_connections": 1, "max_qos": 0}))
    closed = Acl(10)
    closed.replace([rule({"topic": "only"})])
    ruled = broker.add_listener(Listener("ruled", "tcp", broker.options, [], closed))
    first = world.connect("1", listener=narrow)
    second = world.client(5, listener=narrow)
    second.connect("2")
    assert second.connack["code"] == 0x97
    first.lose()
    client = world.connect("3", listener=narrow)
    client.send_publish("a", "x", 1)
    client.expect_close(0x9B)
    other = world.connect("4", listener=ruled)
    other.subscribe("only")
    other.subscribe("more", code=0x87)
    world.connect("5").subscribe("more")
    error = raises(ValueError, Listener, "x", "tcp", broker.options, [], None, {"max_sessions": 1})
    assert str(error) == "listener x: max_sessions holds for the whole broker, set it there"


def test_options_of_single_clients():
    world = World()
    world.broker.authenticators.append(AllowAll())
    world.broker.client_limits = [(b"slow*", None, {"max_subscriptions": 1}), (None, b"tiny", {"max_packet_size": 128})]
    slow, tiny, other = world.connect("a", user=b"slow1"), world.connect("tiny", user=b"x"), world.connect("b", user=b"x")
    slow.subscribe("a")
    slow.subscribe("b", code=0x97)
    other.subscribe("a")
    other.subscribe("b")
    tiny.send_publish("a", "x" * 200)
    tiny.expect_close(0x95)


def test_the_time_of_a_client_can_be_limited():
    class Limited(Authenticator):
        def authenticate(self, client, user, password):
            client.expires_at = client.broker.clock() + 5000
            return 0

    world = World()
    world.broker.authenticators.append(Limited())
    client = world.connect("c", user=b"u")
    world.advance(4000)
    client.ping()
    world.advance(2000)
    client.expect_close(0xA0)


def test_one_who_thinks_and_has_no_opinion():
    class Thinking(Authenticator):
        def authenticate(self, client, user, password):
            self.client = client
            return PENDING

    world = World()
    first = Thinking()
    world.broker.authenticators += [first, AllowAll()]
    client = world.client()
    client.connect("c", user=b"u")
    assert client.held and not client.connack
    first.client.authenticated(None)
    assert client.inbox.pop(0)["code"] == 0 and not client.held
    assert world.session("c").user == b"u"
