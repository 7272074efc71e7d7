"""Authenticators and enhanced authentication (clause 4.12)."""

from harness import VERSIONS, World, raises
from port.core.wire.codec import AUTH, CONNACK, CONNECT, PUBLISH, SUBACK, SUBSCRIBE
from port.core.wire.properties import AUTHENTICATION_DATA, AUTHENTICATION_METHOD
from port.core.wire.reason_codes import (
    BAD_USER_NAME_OR_PASSWORD,
    CONTINUE_AUTHENTICATION,
    NOT_AUTHORIZED,
    RE_AUTHENTICATE,
    SUCCESS,
)
from port.core.limits.listener import Listener
from port.core.messages.message import Message
from port.core.auth.allow_deny import AllowAll, DenyAll
from port.core.auth.authenticator import PENDING, Authenticator
from port.core.protocol.client_packets import encode
from rights import rules


class Passwords(Authenticator):
    """Knows some users; leaves all others to the next."""

    def __init__(self, users):
        self.users = users
        self.asked = []

    def authenticate(self, conn, user, password):
        self.asked.append((conn.client_id, conn.address, user, password))
        if user not in self.users:
            return None
        return SUCCESS if self.users[user] == password else BAD_USER_NAME_OR_PASSWORD


class Challenge(Authenticator):
    """Answers with the client's data reversed, twice, before it lets it in."""

    method = b"REVERSE"

    def exchange(self, conn, data):
        expected = conn.auth_state
        if expected is None:
            conn.auth_state = [bytes(reversed(data or b"?")), 1]
            return CONTINUE_AUTHENTICATION, data
        if data != expected[0]:
            conn.auth_state = None
            return NOT_AUTHORIZED, None
        if expected[1]:
            expected[1] = 0
            expected[0] = b"again"
            return CONTINUE_AUTHENTICATION, b"niaga"
        conn.auth_state = None
        return SUCCESS, b"done"


class Patient(Authenticator):
    """Decides later."""

    def authenticate(self, conn, user, password):
        return PENDING


def world_with(*authenticators, **options):
    world = World(**options)
    world.broker.authenticators.extend(authenticators)
    return world


def answer(world, version=5, **fields):
    client = world.client(version)
    client.connect(**fields)
    return client.connack["code"]


# -- user name and password -----------------------------------------------------------------


def test_user_name_and_password():
    for version, codes in ((3, (0, 4, 5)), (4, (0, 4, 5)), (5, (0, 0x86, 0x87))):
        world = world_with(Passwords({b"user": b"right"}), anonymous="none")
        assert answer(world, version, user=b"user", password=b"right") == codes[0]
        assert answer(world, version, user=b"user", password=b"wrong") == codes[1]
        assert answer(world, version, user=b"user") == codes[1]
        assert answer(world, version, user=b"stranger", password=b"right") == codes[1]
        assert answer(world, version) == codes[2]
        assert world.session("c") is None or world.session("c").user == b"user"


def test_authenticators_are_asked_in_order_until_one_decides():
    first, second = Passwords({b"a": b"1"}), Passwords({b"a": b"2", b"b": b""})
    world = world_with(first, second, anonymous="none")
    assert answer(world, user=b"a", password=b"2") == 0x86
    assert len(second.asked) == 0
    assert answer(world, user=b"b", password=b"") == 0
    assert first.asked[-1] == second.asked[-1] == (b"c", "127.0.0.1:5000", b"b", b"")


def test_when_nobody_decides_the_option_does():
    here, there = "127.0.0.1:1", "10.0.0.1:1"
    for anonymous, configured, address, code in (
        ("auto", False, here, 0),
        ("auto", False, there, 0x87),
        ("auto", True, here, 0x87),
        ("auto", True, there, 0x87),
        ("loopback", True, here, 0),
        ("loopback", True, there, 0x87),
        ("all", True, there, 0),
        ("none", False, here, 0x87),
    ):
        world = world_with(*([Passwords({})] if configured else []), anonymous=anonymous)
        client = world.client(5, address)
        client.connect()
        assert client.connack["code"] == code, (anonymous, configured, address)
        client = world.client(5, address)
        client.connect(user=b"stranger")  # never where somebody could know better
        assert client.connack["code"] == (0x86 if configured else code), (anonymous, configured, address)


def test_a_user_name_counts_only_when_somebody_vouches_for_it():
    world = World()
    world.connect("c", user=b"admin")
    assert world.session("c").user is None
    world = world_with(AllowAll())
    world.connect("c", user=b"admin")
    assert world.session("c").user == b"admin"
    world = world_with(DenyAll())
    assert answer(world, user=b"admin") == 0x86
    assert answer(world) == 0x87


def test_an_authenticator_that_raises_lets_nobody_in():
    class Failing(Authenticator):
        def authenticate(self, conn, user, password):
            raise ValueError("broken")

    for version, code in ((4, 3), (5, 0x80)):
        world = world_with(Failing())
        assert answer(world, version) == code
        assert world.broker.sessions == {} and not world.broker.connections
        assert len(world.errors()) == 1


def test_a_refused_client_does_not_disturb_the_one_whose_id_it_uses():
    world = world_with(Passwords({b"user": b"right"}), anonymous="none")
    client = world.connect("c", user=b"user", password=b"right")
    assert answer(world, client_id="c", user=b"user", password=b"wrong") == 0x86
    client.ping()


# -- an authenticator that takes its time ---------------------------------------------------


def test_a_pending_client_is_not_read_until_it_is_let_in():
    for version in VERSIONS:
        world = world_with(Patient())
        client = world.client(version)
        connect = encode({"type": CONNECT, "client_id": b"c", "clean_start": True}, version)
        subscribe = encode({"type": SUBSCRIBE, "packet_id": 1, "filters": [(b"t", 0)]}, version)
        client.feed(connect + subscribe)
        assert client.held and client.inbox == []
        client.conn.authenticated(SUCCESS)
        assert not client.held
        client.expect(CONNACK, code=0)
        client.expect(SUBACK, packet_id=1)
        client.ping()


def test_a_pending_client_may_be_refused():
    for version, code in ((3, 5), (4, 5), (5, 0x87)):
        world = world_with(Patient())
        client = world.client(version)
        client.connect("c")
        client.conn.authenticated(NOT_AUTHORIZED)
        client.expect(CONNACK, code=code)
        client.expect_close()
        assert not world.broker.connections


def test_a_late_answer_that_is_none_is_an_error():
    world = world_with(Patient())
    client = world.client(4)
    client.feed(encode({"type": CONNECT, "client_id": b"c", "clean_start": True}, 4))
    identity = client.conn.identity
    for wrong in (PENDING, -2, 1, 300, True):
        raises(TypeError, identity.authenticated, wrong)
        client.expect_nothing()
    identity.authenticated(SUCCESS)
    client.expect(CONNACK, code=0)


def test_an_exchange_answers_with_a_code_there_is():
    class Wrong(Challenge):
        def exchange(self, client, data):
            return wrong, b"x"

    for wrong in (PENDING, -2, 1, 300):
        world = world_with(Wrong())
        client = begin(world)
        assert client.connack["code"] == 0x80 and client.closed
        assert "answers %d, not 0, None" % wrong in world.errors()[0]


def test_a_pending_client_may_leave():
    world = world_with(Patient())
    client = world.client()
    client.connect("c")
    client.lose()
    client.conn.authenticated(SUCCESS)
    assert client.inbox == [] and world.broker.sessions == {}


def test_a_pending_client_must_not_wait_for_ever():
    for version, code in ((3, 3), (4, 3), (5, 0x89)):
        world = world_with(Patient(), connect_timeout=5, auth_timeout=20)
        client = world.client(version)
        client.connect("c", keep_alive=1)
        world.advance(19000)
        assert not client.closed
        world.advance(2000)
        client.expect(CONNACK, code=code)
        assert client.closed and world.broker.counters.auth_timeouts == 1
        client.conn.authenticated(SUCCESS)
        assert world.broker.sessions == {} and not world.broker.connections


def test_a_pending_client_waits_as_long_as_its_listener_has_it():
    world = world_with(Patient(), auth_timeout=100)
    broker = world.broker
    short = broker.add_listener(Listener("x", "tcp", broker.options, broker.authenticators, None, {"auth_timeout": 5}))
    for listener, closed in ((short, True), (None, False)):
        client = world.client(listener=listener)
        client.connect("c")
        world.advance(7000)
        assert client.closed == closed


def test_two_pending_clients_with_one_id():
    world = world_with(Patient())
    one, two = world.client(), world.client()
    one.connect("c")
    two.connect("c")
    two.conn.authenticated(SUCCESS)
    two.expect(CONNACK, code=0)
    one.conn.authenticated(SUCCESS)  # the last to come in has the session
    one.expect(CONNACK, code=0)
    two.expect_close(0x8E)
    assert world.broker.connected == 1


def test_the_decision_counts_once():
    world = world_with(Patient())
    client = world.client()
    client.connect("c")
    client.conn.authenticated(SUCCESS)
    client.conn.authenticated(NOT_AUTHORIZED)
    client.expect(CONNACK, code=0)
    client.ping()


# -- enhanced authentication ----------------------------------------------------------------


def begin(world, data=b"abc", **fields):
    client = world.client()
    client.connect("c", properties={AUTHENTICATION_METHOD: b"REVERSE", AUTHENTICATION_DATA: data}, **fields)
    return client


def step(client, data, code=CONTINUE_AUTHENTICATION, method=b"REVERSE"):
    client.say(AUTH, code=code, properties={AUTHENTICATION_METHOD: method, AUTHENTICATION_DATA: data})


def challenged(client, data):
    client.expect(AUTH, code=CONTINUE_AUTHENTICATION, properties={AUTHENTICATION_METHOD: b"REVERSE", AUTHENTICATION_DATA: data})


def authenticated(world):
    """A client that went through the whole exchange."""
    client = begin(world)
    challenged(client, b"abc")
    step(client, b"cba")
    challenged(client, b"niaga")
    step(client, b"again")
    connack = client.expect(CONNACK, code=0)
    assert connack["properties"][AUTHENTICATION_METHOD] == b"REVERSE"
    assert connack["properties"][AUTHENTICATION_DATA] == b"done"
    return client


def test_a_challenge_and_its_response():
    world = world_with(Challenge(), anonymous="none")
    client = authenticated(world)
    client.publish("t", "x", 1, code=0x10)
    client.ping()


def test_a_wrong_response():
    world = world_with(Challenge())
    client = begin(world)
    challenged(client, b"abc")
    step(client, b"wrong")
    client.expect(CONNACK, code=0x87)  # [MQTT-4.12.0-4]
    client.expect_close()
    assert world.broker.sessions == {}


def test_an_unknown_method():
    world = world_with(Passwords({}), Challenge())
    assert answer(world, properties={AUTHENTICATION_METHOD: b"OTHER"}) == 0x8C  # [MQTT-4.12.0-1]
    assert answer(World(), properties={AUTHENTICATION_METHOD: b"REVERSE"}) == 0x8C


def test_only_auth_and_disconnect_are_allowed_during_the_exchange():
    # [MQTT-3.1.2-30]
    for kind, fields in ((PUBLISH, {"topic": b"t"}), (SUBSCRIBE, {"packet_id": 1, "filters": [(b"t", 0)]}), (CONNECT, {})):
        world = world_with(Challenge())
        seen: "list[Message]" = []
        world.broker.subscribe("#", seen.append)
        client = begin(world)
        challenged(client, b"abc")
        client.say(kind, **fields)
        client.expect(CONNACK, code=0x82)
        client.expect_close()
        assert seen == [] and world.broker.sessions == {}
    client = begin(world_with(Challenge()))
    challenged(client, b"abc")
    client.disconnect()
    client.expect_close()


def test_auth_packets_during_the_exchange_must_be_in_order():
    for code, method in ((RE_AUTHENTICATE, b"REVERSE"), (SUCCESS, b"REVERSE"), (CONTINUE_AUTHENTICATION, b"OTHER")):
        client = begin(world_with(Challenge()))
        challenged(client, b"abc")
        step(client, b"cba", code, method)
        client.expect(CONNACK, code=0x82)  # [MQTT-4.12.0-5]
        client.expect_close()


def test_malformed_auth_packets():
    for text in ("f0 00", "f0 01 18", "f1 06 18 04 15 0001 6d", "f0 02 18 00", "f0 05 18 03 7e 0000"):
        client = begin(world_with(Challenge()))
        challenged(client, b"abc")
        client.feed(bytes.fromhex(text.replace(" ", "")))
        assert client.expect(CONNACK)["code"] in (0x81, 0x82), text
        client.expect_close()


def test_an_exchange_that_is_not_gone_on_with_ends():
    world = world_with(Challenge(), connect_timeout=5)
    client = begin(world)
    challenged(client, b"abc")
    world.advance(7000)
    client.expect_close()


def test_reauthentication_while_messages_flow():
    # Clause 4.12.1
    world = world_with(Challenge(), anonymous="none")
    client = authenticated(world)
    client.subscribe("t")
    step(client, b"xyz", RE_AUTHENTICATE)
    challenged(client, b"xyz")
    client.publish("t", "still here")
    client.expect_message("t", "still here")
    step(client, b"zyx")
    challenged(client, b"niaga")
    step(client, b"again")
    client.expect(AUTH, code=SUCCESS, properties={AUTHENTICATION_METHOD: b"REVERSE", AUTHENTICATION_DATA: b"done"})
    client.publish("t", "and now")
    client.expect_message("t", "and now")


def test_a_failed_reauthentication_ends_the_connection():
    world = world_with(Challenge())
    client = authenticated(world)
    step(client, b"xyz", RE_AUTHENTICATE)
    challenged(client, b"xyz")
    step(client, b"wrong")
    client.expect_close(0x87)  # [MQTT-4.12.1-2]


def test_reauthentication_packets_must_be_in_order():
    client = authenticated(world_with(Challenge()))
    step(client, b"xyz", CONTINUE_AUTHENTICATION)  # nothing to continue
    client.expect_close(0x82)
    client = authenticated(world_with(Challenge()))
    step(client, b"xyz", RE_AUTHENTICATE)
    challenged(client, b"xyz")
    step(client, b"zyx", RE_AUTHENTICATE)  # it has begun already
    client.expect_close(0x82)
    client = authenticated(world_with(Challenge()))
    for _ in range(2):  # one after the other
        for data, challenge, code in ((b"xyz", b"xyz", RE_AUTHENTICATE), (b"zyx", b"niaga", CONTINUE_AUTHENTICATION)):
            step(client, data, code)
            challenged(client, challenge)
        step(client, b"again")
        client.expect(AUTH, code=SUCCESS)


class Renewing(Authenticator):
    """The data says who somebody is, for how long (s), and what he may do: `user lifetime topic,topic`."""

    method = b"RENEW"

    def exchange(self, client, data):
        name, lifetime, allowed = str(data, "utf-8").split(" ")
        client.user = name.encode()
        client.expires_at = client.broker.clock() + int(lifetime) * 1000
        client.rules = rules(*[{"topic": topic} for topic in allowed.split(",")], {"topic": "#", "allow": False})
        return SUCCESS, None


def renewing(text):
    return {AUTHENTICATION_METHOD: b"RENEW", AUTHENTICATION_DATA: text.encode()}


def test_a_reauthentication_gives_other_rights_and_another_time():
    for acl in ((), ({"topic": "of/everybody"},)):
        world = world_with(Renewing(), anonymous="none")
        if acl:
            world.broker.set_acl(rules(*acl))
        client = world.connect("c", properties=renewing("ann 10 a,b"))
        client.subscribe("a")
        client.publish("b", "x", 1, code=0x10)
        client.publish("c", "x", 1, code=0x87)
        world.advance(8000)
        client.say(AUTH, code=RE_AUTHENTICATE, properties=renewing("ann 10 a,c"))
        client.expect(AUTH, code=SUCCESS)
        client.publish("b", "x", 1, code=0x87)
        client.publish("c", "x", 1, code=0x10)
        client.publish("a", "x")
        client.expect_message("a", "x")
        world.advance(8000)
        client.ping()
        client.say(AUTH, code=RE_AUTHENTICATE, properties=renewing("ann 10 c"))
        client.expect(AUTH, code=SUCCESS)
        client.expect_close(0x87)  # it has lost a subscription, as when rights change


def test_a_successor_takes_the_reauthentication():
    class Stricter(Renewing):
        def exchange(self, client, data):
            return NOT_AUTHORIZED, None

    world = world_with(Renewing(), anonymous="none")
    world.broker.authenticators[0].name = "renewing"
    client = world.connect("c", properties=renewing("ann 10 a"))
    world.broker.authenticators[0] = Stricter()
    world.broker.authenticators[0].name = "renewing"
    world.broker.rights_changed()
    client.ping()
    client.say(AUTH, code=RE_AUTHENTICATE, properties=renewing("ann 10 a"))
    client.expect_close(0x87)


def test_nobody_becomes_somebody_else_by_reauthentication():
    world = world_with(Renewing(), anonymous="none", max_auth_failures=1)
    client = world.connect("c", 5, "10.0.0.1:1", properties=renewing("ann 10 a"))
    client.subscribe("a")
    client.say(AUTH, code=RE_AUTHENTICATE, properties=renewing("bob 1000 #"))
    client.expect_close(0x87)
    assert world.session("c") is None and world.broker.counters.auth_failed == 1


def test_reauthentication_keeps_to_the_method():
    client = authenticated(world_with(Challenge()))
    step(client, b"xyz", RE_AUTHENTICATE, b"OTHER")
    client.expect_close(0x82)  # [MQTT-4.12.1-1]


def test_auth_from_a_client_that_came_in_without_a_method():
    client = world_with(Challenge(), anonymous="all").connect("c")
    step(client, b"xyz", RE_AUTHENTICATE)
    client.expect_close(0x82)  # [MQTT-4.12.0-7]
    for version in (3, 4):
        client = world_with(Challenge(), anonymous="all").connect("c", version)
        client.feed(b"\xf0\x00")
        client.expect_close()


def test_an_exchange_that_raises_ends_the_connection():
    class Failing(Authenticator):
        method = b"REVERSE"

        def exchange(self, conn, data):
            raise ValueError("broken")

    world = world_with(Failing())
    client = begin(world)
    assert client.connack["code"] == 0x80
    assert client.closed and len(world.errors()) == 1


def test_a_takeover_happens_only_after_the_exchange():
    world = world_with(Challenge(), anonymous="all")
    old = world.connect("c")
    client = begin(world)
    challenged(client, b"abc")
    old.ping()
    step(client, b"wrong")
    assert client.closed
    old.ping()
    new = authenticated(world)
    old.expect_close(0x8E)
    new.ping()
