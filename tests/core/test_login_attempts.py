"""How long those wait who cannot authenticate, and who need not wait for them."""

from harness import World
from port.core.wire.codec import AUTH, CONNACK
from port.core.wire.properties import AUTHENTICATION_DATA, AUTHENTICATION_METHOD
from port.core.auth.authenticator import PENDING, Authenticator
from rights import Users

HERE, THERE = "10.0.0.1:1", "10.0.0.2:1"
WAIT = 0x8A


class Failing(Authenticator):
    """Refuses with whatever code the password is."""

    def authenticate(self, client, user, password):
        return password[0]


class Later(Authenticator):
    """Leaves everybody waiting: `asked` are those who do."""

    def __init__(self):
        self.asked = []

    def authenticate(self, client, user, password):
        self.asked.append(client)
        return PENDING


class Challenging(Authenticator):
    """Asks each client something; the right answer is `yes`."""

    method = b"CHALLENGE"

    def exchange(self, client, data):
        if not data:
            return 0x18, b"?"
        return (0 if data == b"yes" else 0x87), None


def challenge(data=b""):
    return {AUTHENTICATION_METHOD: b"CHALLENGE", AUTHENTICATION_DATA: data}


def world_with(authenticator, **options):
    options.setdefault("connect_timeout", 3600)
    world = World(**options)
    world.broker.authenticators.append(authenticator)
    return world


def attempt(world, address, password=b"wrong", version=5, user=b"u", client_id=None):
    """The code of a CONNECT's answer; None when the connection is not accepted at all."""
    client = world.client(version, address)
    if client.conn is None:
        return None
    client.connect(client_id or "c" + address, user=user, password=password)
    code = client.connack["code"]
    if not code:
        client.disconnect()
    assert client.closed
    return code


# -- who fails has to wait --------------------------------------------------------------------------------


def test_ten_failures_are_free_then_each_doubles_the_wait():
    world = world_with(Users(u="right"))
    assert [attempt(world, HERE) for _ in range(11)] == [0x86] * 11
    for wait in (1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300):
        assert attempt(world, HERE, b"right") == WAIT
        world.advance(wait * 1000 - 1)
        assert attempt(world, HERE, b"right") == WAIT, wait
        world.advance(1)
        assert attempt(world, THERE, b"right") == 0  # others do not wait
        assert attempt(world, HERE) == 0x86, wait
    assert world.broker.counters.auth_failed >= 22


def test_a_success_clears_the_failures():
    world = world_with(Users(u="right"), max_auth_failures=2)
    for _ in range(3):
        assert [attempt(world, HERE) for _ in range(2)] == [0x86] * 2
        assert attempt(world, HERE, b"right") == 0
    assert [attempt(world, HERE) for _ in range(3)] == [0x86] * 3
    assert attempt(world, HERE, b"right") == WAIT


def test_a_success_clears_no_failures_of_others():
    """Or whoever has an account, or needs none, would get new attempts at another's password by it."""
    for own in ((b"me", b"mine"), (None, None), (b"x" * 65, b"long")):
        world = world_with(Users(u="right", me="mine", **{"x" * 65: "long"}), max_auth_failures=4, anonymous="all")
        answers = []
        for _ in range(3):
            answers += [attempt(world, HERE), attempt(world, HERE), attempt(world, HERE, own[1], user=own[0])]
        assert answers == [0x86, 0x86, 0] * 2 + [0x86, WAIT, 0], own


def test_time_clears_the_failures():
    world = world_with(Users(u="right"), max_auth_failures=2, auth_backoff=4)
    assert [attempt(world, HERE) for _ in range(3)] == [0x86] * 3
    world.advance(120000)
    assert [attempt(world, HERE) for _ in range(3)] == [0x86] * 3


def test_who_was_there_before_is_told_so_at_connect():
    for version, code in ((3, 5), (4, 5), (5, WAIT)):
        world = world_with(Users(u="right"), max_auth_failures=1, auth_backoff=4)
        waiting = [world.client(version, HERE) for _ in range(2)]
        other = world.client(version, THERE)
        assert [attempt(world, HERE) for _ in range(2)] == [0x86] * 2
        waiting[0].connect("c", user=b"u", password=b"right")
        assert waiting[0].connack["code"] == code and waiting[0].closed
        other.connect("d", user=b"u", password=b"right")
        assert other.connack["code"] == 0
        before = world.broker.counters.auth_failed
        world.advance(1000)
        waiting[1].connect("c", user=b"u", password=b"right")  # being refused has not made it longer
        assert waiting[1].connack["code"] == 0
        assert world.broker.counters.auth_failed == before and world.broker.counters.auth_blocked == 1


def test_this_machine_does_not_wait():
    for address in ("127.0.0.1:1", "[::1]:1", "unix", "[::ffff:127.0.0.1]:1"):
        world = world_with(Users(u="right"), max_auth_failures=1)
        assert [attempt(world, address) for _ in range(20)] == [0x86] * 20
        assert attempt(world, address, b"right") == 0  # somebody else, through the same proxy
        assert world.broker.counters.auth_failed == 20


def test_what_counts_as_a_failure():
    for code, counts in ((0x86, True), (0x87, True), (0x8C, True), (0x88, False), (0x89, False), (0x80, False)):
        world = world_with(Failing(), max_auth_failures=1)
        for _ in range(2):
            attempt(world, HERE, bytes((code,)))
        assert (attempt(world, HERE, bytes((code,))) == WAIT) == counts, code
    world = world_with(Users(u="right"), max_auth_failures=1)
    for _ in range(5):
        world.client(5, HERE).feed(b"\x10\2\0\0")  # malformed
    assert attempt(world, HERE, b"right") == 0
    world = world_with(Users(u="right"), max_auth_failures=0)
    assert [attempt(world, HERE) for _ in range(50)] == [0x86] * 50  # never


def test_an_authentication_method_nobody_knows_is_a_failure():
    world = world_with(Users(u="right"), max_auth_failures=2)
    codes = []
    for _ in range(4):
        client = world.client(5, HERE)
        client.connect("c", properties=challenge())
        codes.append(client.connack["code"])
    assert codes == [0x8C, 0x8C, 0x8C, WAIT] and world.broker.counters.auth_failed == 3


# -- attempts count when they start -----------------------------------------------------------------------


def logins(world, count, users=1):
    """So many at once from one address."""
    clients = []
    for i in range(count):
        client = world.client(5, HERE)
        clients.append(client)
        if client.conn is not None:
            client.connect("c%d" % i, user=b"u%d" % (i % users), password=b"wrong")
    return clients


def test_sixty_logins_at_once_are_no_more_guesses_than_one_after_the_other():
    for users, most, guesses in ((1, 10, 11), (60, 2, 21)):
        later = Later()
        world = world_with(later, max_auth_failures=most)
        clients = logins(world, 60, users)
        assert len(later.asked) == guesses, users
        for client in later.asked:
            client.authenticated(0x86)
        codes = [client.connack.get("code") for client in clients]
        assert codes.count(WAIT) + codes.count(None) == 60 and codes[:guesses] == [None] * guesses
        assert not [1 for client in clients if client.conn is not None and not client.closed]
        assert len(later.asked) == len(logins(world, 1)) + guesses - 1  # nor is anybody asked now
        assert world.broker.counters.auth_failed == guesses


def test_attempts_that_are_not_decided_do_not_count():
    for end in ("success", "busy", "lost", "timeout"):
        later = Later()
        world = world_with(later, max_auth_failures=3, auth_timeout=5)
        for n in range(3):
            clients = logins(world, 4)
            assert len(later.asked) == 4, (end, n)
            for i in range(4):
                if end == "lost":
                    clients[i].lose()
                elif end != "timeout":
                    later.asked[i].authenticated(0 if end == "success" else 0x89)
            if end == "timeout":
                world.advance(6000)
            later.asked.clear()
            for client in clients:
                client.lose()
        world.broker.attempts.forget(world.now)
        assert not world.broker.attempts.addresses


def test_who_waits_for_an_answer_waits_from_its_coming():
    later = Later()
    world = world_with(later, max_auth_failures=1)
    logins(world, 2)
    world.advance(20000)
    for client in later.asked:
        client.authenticated(0x86)
    later.asked.clear()
    logins(world, 1)
    assert not later.asked
    world.advance(1000)
    logins(world, 1)
    assert len(later.asked) == 1


def test_exchanges_at_once_are_no_more_guesses_either():
    world = world_with(Challenging(), max_auth_failures=3)
    clients = [world.client(5, HERE) for _ in range(50)]
    asked = []
    for i in range(50):
        clients[i].connect("c%d" % i, properties=challenge())
        if not clients[i].closed:
            clients[i].expect(AUTH, code=0x18)
            asked.append(clients[i])
    assert len(asked) == 4
    for client in asked:
        client.say(AUTH, code=0x18, properties=challenge(b"no"))
        client.expect(CONNACK, code=0x87)
    world.advance(1000)
    client = world.client(5, HERE)
    client.connect("c", properties=challenge())
    client.expect(AUTH, code=0x18)
    client.say(AUTH, code=0x18, properties=challenge(b"yes"))
    client.expect(CONNACK, code=0)


# -- who shares an address --------------------------------------------------------------------------------


def test_one_wrong_device_does_not_turn_the_others_behind_its_address_away():
    """For hours: it tries every 10 s, the others come back now and then; with user names of their own, or the same for all."""
    for shared in (False, True):
        users = {"u%d" % i: "right%d" % i for i in range(20)}
        users["w"] = "right"
        world = world_with(Users(**users))
        turned = tries = guesses = 0
        for i in range(20):  # each was let in once
            user = b"w" if shared else b"u%d" % i
            password = b"right" if shared else b"right%d" % i
            assert attempt(world, HERE, password, user=user, client_id="d%d" % i) == 0
        for n in range(2100):
            world.now += 10000
            if n % 6 == 0:
                world.broker.tick()
            guesses += attempt(world, HERE, b"wrong", user=b"w", client_id="wrong") == 0x86
            if n % 7 == 0:
                i = n // 7 % 20
                user = b"w" if shared else b"u%d" % i
                password = b"right" if shared else b"right%d" % i
                tries += 1
                turned += attempt(world, HERE, password, user=user, client_id="d%d" % i) != 0
        assert (turned, tries) == (0, 300), shared
        assert 10 < guesses < 90, guesses


def test_devices_that_are_new_come_in_beside_a_wrong_one_of_another_name():
    world = world_with(Users(w="right", u="right"))
    for _ in range(700):
        world.now += 10000
        attempt(world, HERE, user=b"w")
    assert attempt(world, HERE, b"right") == 0


def test_guesses_at_many_users_from_one_address_stay_bounded():
    """And who was let in from there before comes in with the right password meanwhile, with any client id."""
    world = world_with(Users(u="right"), max_auth_failures=2)
    assert attempt(world, HERE, b"right") == 0
    guesses = answers = 0
    for n in range(2900):
        guesses += attempt(world, HERE, user=b"user%d" % n) == 0x86
        world.now += 10
        if n % 100 == 99:
            assert attempt(world, HERE, b"right", client_id="new%d" % n) == 0
    assert guesses == 21  # a 22nd after 30 s
    assert attempt(world, HERE, user=b"user1") == WAIT and attempt(world, THERE, b"right") == 0
    for n in range(1000):
        world.now += 10000
        answers += attempt(world, HERE, user=b"user%d" % n) == 0x86
    assert 300 < answers <= 335
    # Where nobody is known such an address is not even heard.
    for n in range(30):
        attempt(world, THERE.replace("2:", "3:"), user=b"user%d" % n)
    assert attempt(world, THERE.replace("2:", "3:")) is None


def test_who_is_known_waits_for_his_own_failures():
    world = world_with(Users(u="right", v="right"), max_auth_failures=2)
    for client_id in ("a", "b"):
        assert attempt(world, HERE, b"right", client_id=client_id) == 0
    assert [attempt(world, HERE, client_id="a") for _ in range(4)] == [0x86] * 3 + [WAIT]
    assert attempt(world, HERE, b"right", client_id="b") == 0
    assert attempt(world, HERE, b"right", client_id="c") == 0
    assert attempt(world, HERE, b"right", client_id="a") == WAIT
    assert [attempt(world, HERE, client_id="d%d" % i) for i in range(4)] == [0x86] * 3 + [WAIT]
    assert attempt(world, HERE, b"right", client_id="b") == 0


def attempts_of(**options):
    return World(**options).broker.attempts


# -- what is remembered is bounded ------------------------------------------------------------------------


def test_what_is_remembered_of_failures_is_bounded():
    for address in ("10.0.%d.%d:1", "[fd00:0:%x:%x::1]:1"):
        attempts = attempts_of(max_tracked_addresses=8, max_auth_failures=2, auth_backoff=100)
        first = attempts.find("1.1.1.1:1", b"u", b"c")
        for _ in range(4):
            attempts.begin(first, 0)
        for i in range(1000):
            for user in (b"u", b"v", b"w%d" % i):
                who = attempts.find(address % (i >> 8, i & 255), user, b"c")
                if not attempts.wait(who, 0):
                    attempts.begin(who, 0)
            assert len(attempts.addresses) <= 9 and attempts._pairs <= 8
        assert attempts.wait(first, 1999) and not attempts.wait(first, 2000)  # nobody has pushed that out
        last = attempts.find(address % (3, 231), b"u", b"c")
        assert attempts.wait(last, 1999)  # all that have no record wait as one
        attempts.forget(200000)
        assert attempts.addresses
        attempts.forget(220000)
        assert not attempts.addresses and not attempts._pairs and not attempts.wait(last, 220000)


def test_failures_of_others_take_no_count_away():
    """Whoever has many addresses does not get more attempts at one of them by failing at the others in between."""
    world = world_with(Users(u="right"), max_tracked_addresses=8)
    guesses = 0
    for n in range(200):
        guesses += attempt(world, HERE) == 0x86
        for i in range(20):
            attempt(world, "10.1.%d.%d:1" % (n, i))
    assert guesses == 11


def test_what_is_remembered_of_successes_is_bounded():
    """One user with many client ids, or one address with many users that are right, makes the others forgotten last."""
    attempts = attempts_of(max_tracked_addresses=8)
    good = attempts.find("1.1.1.1:1", b"good", b"c")
    attempts.succeed(good)
    for i in range(1000):
        attempts.succeed(attempts.find("1.1.1.1:1", b"many", b"c%d" % i))
        assert len(attempts._known) <= 19 and len(attempts._known_before) <= 19
    for i in range(1000):  # the address is over its bound
        attempts.begin(attempts.find("1.1.1.1:1", b"u%d" % i, b"c"), 0)
    assert attempts.wait(attempts.find("1.1.1.1:1", b"other", b"c"), 0)
    assert not attempts.wait(good, 0)


def test_the_figures_tell():
    world = world_with(Users(u="right"), max_auth_failures=1, max_connections_per_address=2)
    assert [attempt(world, HERE) for _ in range(3)] == [0x86, 0x86, WAIT]
    clients = [world.client(5, THERE) for _ in range(3)]
    clients[0].connect("c", user=b"u", password=b"right")
    clients[0].subscribe("$SYS/#")
    figures = {}
    for packet in clients[0].messages():
        figures[packet["topic"][12:]] = packet["payload"]
    assert figures[b"auth/failed"] == b"2" and figures[b"auth/blocked"] == b"1" and figures[b"connections/refused"] == b"1"


def test_nobody_can_tell_beforehand_which_names_are_taken_for_each_other():
    """Names are remembered as short numbers: those of two brokers differ."""
    found = []
    for number in range(2):
        world = World()
        asked: "list[int]" = []

        def random(size):
            asked.append(size)
            return bytes((number,)) * size

        world.broker.random = random
        for _ in range(2):
            found.append(world.broker.attempts.find(HERE, b"u", b"c"))
        assert asked == [16]
    assert found[0] == found[1] != found[2] == found[3]
