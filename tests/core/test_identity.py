"""Who a client is: authenticators in a row, what they give a client, whose a client id is."""

from harness import VERSIONS, World, refusal
from port.core.wire.codec import AUTH, CONNACK
from port.core.wire.properties import (
    ASSIGNED_CLIENT_IDENTIFIER,
    AUTHENTICATION_DATA,
    AUTHENTICATION_METHOD,
    SESSION_EXPIRY_INTERVAL,
)
from port.core.limits.listener import Listener
from port.core.auth.allow_deny import DenyAll
from port.core.auth.authenticator import PENDING, Authenticator
from rights import ALL, Users, rules, world_with

KEEP = {SESSION_EXPIRY_INTERVAL: 1000}
NEXT = None
# MQTT 3.x return codes of the reason codes used here.
RETURN_CODES = {0: 0, 0x86: 4, 0x87: 5, 0x88: 3, 0x8A: 5}


class Saying(Authenticator):
    """Answers what it was told to, now or, after PENDING, later."""

    def __init__(self, answer, later=NEXT):
        self.answer = answer
        self.later = later
        self.clients = []

    def authenticate(self, client, user, password):
        self.clients.append(client)
        return self.answer


class Hearing(Authenticator):
    """Has no opinion, but knows what it was asked."""

    def __init__(self):
        self.asked = []

    def authenticate(self, client, user, password):
        self.asked.append((client.user, user, password))
        return NEXT


class Giving(Authenticator):
    """Lets everybody in and sets attributes of the client."""

    def __init__(self, **attributes):
        self.attributes = attributes

    def authenticate(self, client, user, password):
        if "user" in self.attributes:
            client.user = self.attributes["user"]
        client.rules = self.attributes.get("rules")
        if "lifetime" in self.attributes:
            client.expires_at = client.broker.clock() + self.attributes["lifetime"]
        return 0


class Reversing(Authenticator):
    """Enhanced authentication in two steps: the data reversed."""

    method = b"REVERSE"

    def exchange(self, client, data):
        if client.auth_state is None:
            client.auth_state = bytes(reversed(data))
            return 0x18, data
        good = data == client.auth_state
        client.auth_state = None
        return (0 if good else 0x87), None


def reversing(data):
    """The properties of one step of Reversing."""
    return {AUTHENTICATION_METHOD: b"REVERSE", AUTHENTICATION_DATA: data}


def code_of(client):
    return client.connack["code"]


# -- authenticators in a row -------------------------------------------------------------------------------


def test_the_first_with_an_opinion_decides():
    late = PENDING
    for answers, user, expected in (
        ((0,), b"u", 0), ((0x86,), b"u", 0x86), ((0x88,), b"u", 0x88), ((NEXT,), b"u", 0x86), ((NEXT,), None, 0x87),
        ((NEXT, 0), b"u", 0), ((NEXT, NEXT, 0x87), b"u", 0x87), ((0, 0x86), b"u", 0), ((0x86, 0), b"u", 0x86),
        (((late, 0),), b"u", 0), (((late, 0x86), 0), b"u", 0x86), (((late, NEXT), 0), b"u", 0), (((late, NEXT),), b"u", 0x86),
        (((late, NEXT),), None, 0x87), (((late, NEXT), (late, NEXT), (late, 0)), b"u", 0), ((NEXT, (late, 0x88), 0), b"u", 0x88),
        (((late, NEXT), 0x87), None, 0x87), ((NEXT, DenyAll()), b"u", 0x86), ((NEXT, DenyAll()), None, 0x87),
    ):  # fmt: skip
        for version in VERSIONS:
            world = World()
            row = world.broker.authenticators
            for answer in answers:
                now, later = answer if isinstance(answer, tuple) else (answer, NEXT)
                row.append(now if isinstance(now, Authenticator) else Saying(now, later))
            client = world.client(version)
            client.connect("c", user=user)
            for one in row:
                if isinstance(one, Saying) and one.answer == late and one.clients:
                    assert client.held and not client.inbox and world.session("c") is None
                    one.clients[0].authenticated(one.later)
            if not client.connack:
                client.connack = client.expect(CONNACK)
            assert code_of(client) == (expected if version == 5 else RETURN_CODES[expected]), (answers, user)
            asked = [len(one.clients) for one in row if isinstance(one, Saying)]
            assert asked == sorted(asked, reverse=True) and max(asked) <= 1  # in order, each once
            session = world.session("c")
            assert (session is None) == (expected != 0)
            assert session is None or session.user == user
            assert world.broker.counters.auth_failed == (expected != 0)


def test_a_user_name_nobody_knows_does_not_make_a_client_anonymous():
    for anonymous in ("all", "loopback", "auto", "none"):
        world = World(anonymous=anonymous)
        world.broker.authenticators.append(Users(one="1"))
        client = world.client()
        client.connect("c", user=b"two", password=b"2")
        assert code_of(client) == 0x86, anonymous


def test_an_empty_user_name_is_none():
    for version in VERSIONS:
        for authenticators, anonymous, code in (
            ([Users(one="1")], "all", 0), ([Users(one="1")], "none", 0x87), ([DenyAll()], "all", 0x87), ([], "all", 0),
        ):  # fmt: skip
            for password in (None, b"", b"1"):
                world = World(anonymous=anonymous)
                world.broker.authenticators += authenticators
                client = world.client(version)
                client.connect("c", user=b"", password=password)
                assert code_of(client) == (code if version == 5 else RETURN_CODES[code]), (version, anonymous)
                assert code or world.session("c").user is None
    world = World()
    hearing = Hearing()
    world.broker.authenticators.append(hearing)
    world.client().connect("c", user=b"", password=b"p")
    assert hearing.asked == [(None, None, b"p")]
    world = World()
    world.broker.authenticators.append(Giving(user=b""))
    world.connect("c", user=b"claimed")
    assert world.session("c").user is None


def test_answers_that_come_when_the_client_has_gone():
    for code in (0, 0x86, NEXT):
        world = World(auth_timeout=5)
        slow, last = Saying(PENDING), Saying(0)
        world.broker.authenticators += [slow, last]
        client = world.client()
        client.connect("c", user=b"u")
        world.advance(7000)
        assert client.closed
        slow.clients[0].authenticated(code)
        assert not last.clients and world.session("c") is None and not world.errors()


# -- what an authenticator gives -------------------------------------------------------------------------------


def test_the_user_an_authenticator_names_counts():
    world = World()
    world.broker.authenticators.append(Giving(user=b"real"))
    world.broker.set_acl(rules({"topic": "of/%u"}))
    client = world.connect("c", user=b"claimed")
    assert world.session("c").user == b"real"
    client.publish("of/real", "x", 1, 0x10)
    client.publish("of/claimed", "x", 1, 0x87)
    client.ping()
    nobody = World()
    nobody.broker.authenticators.append(Giving(user=None))
    nobody.broker.set_acl(rules({"topic": "nobody", "user": ""}, {"topic": "of/%u"}))
    client = nobody.connect("c", user=b"claimed")
    client.publish("nobody", "x", 1, 0x10)
    client.publish("of/claimed", "x", 1, 0x87)


def test_rules_an_authenticator_gives():
    world = World()
    world.broker.authenticators.append(Giving(rules=rules({"topic": "own/%c"}, {"topic": "a", "allow": False})))
    world.broker.set_acl(rules({"topic": "a"}, {"topic": "b"}))
    client = world.connect("c", user=b"u")
    for topic, code in (("own/c", 0x10), ("own/d", 0x87), ("a", 0x87), ("b", 0x10), ("c", 0x87)):
        client.publish(topic, "x", 1, code)
    world = World()  # without any other rule
    world.broker.authenticators.append(Giving(rules=[]))
    world.connect("c", user=b"u").publish("a", "x", 1, 0x87)


def test_the_time_an_authenticator_gives():
    for version in VERSIONS:
        for lifetime, at in ((5000, 5), (0, 1), (4500, 5)):
            world = World()
            world.broker.authenticators.append(Giving(lifetime=lifetime))
            client = world.connect("c", version, user=b"u", keep_alive=1000)
            world.advance(at * 1000 - 1)
            client.ping()
            world.advance(1000)
            client.expect_close(0xA0)


# -- whose a client id is --------------------------------------------------------------------------------------


def test_a_client_id_in_use_or_kept_is_its_users():
    for owner, thief, refused in (
        (b"u", b"v", True), (b"u", b"u", False), (b"u", None, True), (None, None, False), (b"u", b"U", True), (b"u", b"", True),
        (b"u", b"u ", True),
    ):  # fmt: skip
        for version in VERSIONS:
            for connected in (True, False):
                for clean_start in (True, False):
                    world = world_with(ALL)
                    first = world.connect("c", user=owner, clean_start=False, properties=KEEP)
                    first.subscribe("t", 1)
                    if not connected:
                        first.disconnect()
                    world.broker.publish("t", "for the owner", 1)
                    second = world.client(version)
                    second.connect("c", user=thief, clean_start=clean_start)
                    if not refused:
                        assert code_of(second) == 0 and first.closed
                        continue
                    assert code_of(second) == (0x87 if version == 5 else 5)
                    second.expect_close()
                    told = [text for level, text in world.log if level == 2 and "end_client or end-session" in text]
                    assert len(told) == 1 and "127.0.0.1:5000: refused while user u has" in told[0] and ("(user v)" in told[0]) is (thief == b"v")
                    if connected:
                        first.expect_message("t", "for the owner", 1)
                        first.ping()
                    else:
                        again = world.connect("c", user=owner, clean_start=False, properties=KEEP)
                        assert again.connack["session_present"]
                        again.expect_message("t", "for the owner", 1)


def test_an_anonymous_clients_session_ends_for_a_user():
    # A device that is given a user name goes on, without what came for nobody in particular.
    for version in VERSIONS:
        for connected in (True, False):
            for clean_start in (True, False):
                world = world_with(ALL)
                first = world.connect("c", clean_start=False, properties=KEEP)
                first.subscribe("t", 1)
                if not connected:
                    first.disconnect()
                    world.broker.publish("t", "for nobody", 1)
                properties = KEEP if version == 5 else {}
                second = world.connect("c", version, user=b"u", clean_start=clean_start, properties=properties)
                assert second.connack["session_present"] is False
                if connected:
                    first.expect_close(0x8E)
                world.broker.publish("t", "for nobody", 1)
                second.expect_nothing()
                assert world.session("c").user == b"u" and not world.session("c").subscriptions
                assert [text for level, text in world.log if level == 2 and "without a user name ends" in text]
                back = world.client(version)  # and now it is the user's
                back.connect("c", clean_start=False)
                assert code_of(back) == (0x87 if version == 5 else 5)


def test_a_user_takes_the_place_of_an_anonymous_clients_session():
    world = world_with(ALL, max_sessions=1)
    world.connect("c", clean_start=False, properties=KEEP).disconnect()
    client = world.connect("c", user=b"u", clean_start=False, properties=KEEP)
    assert world.broker.session_registry.staying.count == 1
    other = world.client()
    other.connect("d", user=b"v", clean_start=False, properties=KEEP)
    assert code_of(other) == 0x97
    client.disconnect()
    assert world.connect("c", user=b"u", clean_start=False, properties=KEEP).connack["session_present"]


def test_a_refused_user_leaves_an_anonymous_clients_session():
    world = world_with(ALL, max_connections=1)
    first = world.connect("c", clean_start=False, properties=KEEP)
    first.subscribe("t", 1)
    first.disconnect()
    world.connect("d", user=b"u")
    second = world.client()
    second.connect("c", user=b"u", properties=KEEP)
    assert code_of(second) == 0x97 and world.session("c").user is None


def test_a_client_id_is_free_when_its_session_has_ended():
    world = world_with(ALL)
    world.connect("c", user=b"u", clean_start=False, properties={SESSION_EXPIRY_INTERVAL: 5}).lose()
    world.advance(6000)
    assert world.connect("c", user=b"v").connack["session_present"] is False
    assert world.session("c").user == b"v"


# -- the user name in place of the client id -------------------------------------------------------------------


def test_the_user_name_in_place_of_the_client_id():
    for version in VERSIONS:
        world = world_with({"topic": "of/%c"}, use_username_as_clientid=True, max_client_id_length=23)
        world.broker.client_limits = [(None, b"u", {"max_qos": 1})]
        first = world.connect("c", version, user=b"u", clean_start=False, properties=KEEP if version == 5 else {})
        assert list(world.broker.sessions) == [b"u"] and world.session("u").options.max_qos == 1
        first.subscribe("of/u", 1)
        first.subscribe("of/c", 1, code=refusal(version, 0x87, 1))
        other = world.connect("u", version, user=b"v")  # nobody takes another's place
        first.ping()
        second = world.connect("d", version, user=b"u", clean_start=False)
        first.expect_close(0x8E)
        other.ping()
        assert second.connack["session_present"] is (version != 3)
        assert ASSIGNED_CLIENT_IDENTIFIER not in second.connack["properties"]
        for user, code in ((None, 0x87), (b"", 0x87), (b"u" * 24, 0x85)):
            client = world.client(version)
            client.connect("c", user=user)
            assert code_of(client) == (code if version == 5 else 2 if code == 0x85 else 5), user
        assert sorted(world.broker.sessions) == [b"u", b"v"] and not world.errors()
    client = world.connect("", user=b"w")
    assert client.connack["properties"][ASSIGNED_CLIENT_IDENTIFIER] == b"w"


def test_the_user_name_of_a_listener_in_place_of_the_client_id():
    world = world_with()
    row = world.broker.authenticators
    listener = Listener("special", "tcp", world.broker.options, row, None, {"use_username_as_clientid": True})
    world.connect("c", user=b"u", listener=listener)
    world.connect("c", user=b"v")
    assert sorted(world.broker.sessions) == [b"c", b"u"]
    thief = world.client()  # the session is the user's, whoever says its client id elsewhere
    thief.connect("u", user=b"v")
    assert code_of(thief) == 0x87


def test_the_user_name_that_is_found_out_later():
    world = World(use_username_as_clientid=True)
    slow = Saying(PENDING)
    world.broker.authenticators.append(slow)
    client = world.client()
    client.connect("c", user=b"claimed")
    slow.clients[0].user = b"real"
    slow.clients[0].authenticated(0)
    client.expect(CONNACK, code=0)
    assert list(world.broker.sessions) == [b"real"]


# -- enhanced authentication -----------------------------------------------------------------------------------


def test_enhanced_authentication_beside_a_row():
    for answer, code in ((b"cba", 0), (b"abc", 0x87)):
        world = World(anonymous="none")
        world.broker.authenticators += [Users(one="1"), Reversing(), DenyAll()]
        client = world.client()
        client.connect("c", properties=reversing(b"abc"))
        client.expect(AUTH, code=0x18)
        client.say(AUTH, code=0x18, properties=reversing(answer))
        client.expect(CONNACK, code=code)
        assert client.closed == (code > 0) and world.broker.counters.auth_failed == (code > 0)
        world.connect("one", user=b"one", password=b"1").ping()
        other = world.client()
        other.connect("d", properties={AUTHENTICATION_METHOD: b"OTHER"})
        assert code_of(other) == 0x8C


def test_failed_exchanges_make_an_address_wait():
    world = World(max_auth_failures=1)
    world.broker.authenticators.append(Reversing())
    for _ in range(2):
        client = world.client(5, "10.0.0.1:1")
        client.connect("c", properties=reversing(b"abc"))
        client.inbox.clear()
        client.say(AUTH, code=0x18, properties=reversing(b"no"))
        client.expect(CONNACK, code=0x87)
    client = world.client(5, "10.0.0.1:1")
    client.connect("c", properties=reversing(b"abc"))
    assert code_of(client) == 0x8A
