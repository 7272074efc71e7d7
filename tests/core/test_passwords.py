"""Password files, PBKDF2, and the authenticator that computes it in slices."""

from hashlib import sha256

from harness import VERSIONS, World, raises
from port.core.limits.fair_queue import Turns
from port.core.auth.allow_deny import AllowAll
from port.core.auth.password_file import MAX_LINE, MAX_USER_NAME, make_record, parse
from port.core.auth.passwords import MAX_ITERATIONS, PasswordAuthenticator, Pbkdf2, read_record
from port.core.auth.recent_logins import Recent, equal

SALT = bytes(range(16))
ITERATIONS = 100


def record(password, iterations=ITERATIONS):
    return make_record(password, SALT, iterations)


USERS = {b"ann": record(b"apple"), b"bob": record(b"banana"), "j\u00f6rg".encode(): record(b"cherry")}


def world_with(*authenticators, **options):
    options.setdefault("anonymous", "none")
    world = World(**options)
    world.broker.authenticators.extend(authenticators)
    return world


def finish(world):
    """Do what is to be done in the background; returns how many slices that took."""
    count = 0
    while world.broker.work():
        count += 1
        assert count < 100000
    return count


def answer(world, version=5, **fields):
    """The code of the CONNACK, and how many slices there were before it."""
    client = world.client(version)
    client.connect(**fields)
    slices = finish(world)
    return (client.connack or client.inbox.pop(0))["code"], slices


# -- PBKDF2 ---------------------------------------------------------------------------------


def test_pbkdf2_vectors():
    for password, salt, iterations, digest in (
        # RFC 7914 clause 11
        (b"passwd", b"salt", 1, "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"),
        (b"Password", b"NaCl", 80000, "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56"),
        # The vectors of RFC 6070 with SHA-256
        (b"password", b"salt", 1, "120fb6cffcf8b32c43e7225256c4f837a86548c92ccc35480805987cb70be17b"),
        (b"password", b"salt", 2, "ae4d0c95af6b46d32d0adff928f06dd02a303f8ef3c251dfd6e2d85a95474c43"),
        (b"password", b"salt", 4096, "c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a"),
        (b"pass\0word", b"sa\0lt", 4096, "89b69d0516f829893c696226650a86878c029ac13ee276509d5ae58b6466a724"),
    ):
        assert Pbkdf2(password, salt, iterations).step(iterations) == bytes.fromhex(digest), (password, iterations)


def test_pbkdf2_hashes_long_passwords_first():
    # RFC 2104 clause 2: a key longer than a block counts as its hash.
    long = bytes([65]) * 65
    hashed = sha256(long).digest()
    assert Pbkdf2(long, SALT, 3).step(3) == Pbkdf2(hashed, SALT, 3).step(3)
    block = bytes([65]) * 64
    assert Pbkdf2(block, SALT, 3).step(3) != Pbkdf2(sha256(block).digest(), SALT, 3).step(3)


def test_pbkdf2_is_the_same_in_steps_of_any_size():
    whole = Pbkdf2(b"secret", SALT, 50).step(50)
    for size in (1, 3, 7, 25, 49, 51, 1000):
        work = Pbkdf2(b"secret", SALT, 50)
        steps = 1
        digest = work.step(size)
        while digest is None:
            steps += 1
            digest = work.step(size)
        assert digest == whole and steps == (50 + size - 1) // size


def test_pbkdf2_needs_an_iteration():
    for iterations in (0, -1):
        assert "at least 1" in str(raises(ValueError, Pbkdf2, b"p", SALT, iterations))


def test_equal():
    assert equal(b"", b"") and equal(b"abc", b"abc")
    for other in (b"", b"ab", b"abd", b"bbc", b"abcd"):
        assert not equal(b"abc", other) and not equal(other, b"abc")


class Watched:
    """Bytes that count how often one of them is looked at."""

    def __init__(self, data):
        self.data = data
        self.looks = 0

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        self.looks += 1
        return self.data[i]


def test_equal_looks_at_everything_wherever_they_differ():
    for other in (b"12345678", b"x2345678", b"1234567x", b"xxxxxxxx"):
        watched = Watched(b"12345678")
        assert equal(watched, other) == (other == b"12345678")  # type: ignore[arg-type]
        assert watched.looks == 8, other


# -- records and files ----------------------------------------------------------------------


def test_a_record_tells_how_it_was_made():
    text = make_record(b"secret", SALT, 5)
    assert text.startswith("$pbkdf2-sha256$i=5$AAECAwQFBgcICQoLDA0ODw$")
    assert read_record(text) == (5, SALT, Pbkdf2(b"secret", SALT, 5).step(5))


def test_bad_records_are_refused():
    good = record(b"secret")
    head, tail = good[: good.rfind("$")], good[good.rfind("$") + 1 :]
    for text, message in (
        ("", "must be hashed"),
        ("secret", "must be hashed"),
        ("secret$pbkdf2-sha256$x", "must be hashed"),
        ("$6$c2FsdA==$aGFzaA==", "unknown scheme"),
        ("$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA", "unknown scheme"),
        (head, "not of the form"),
        (good + "$", "not of the form"),
        (good.replace("i=100", "i=0"), "iterations must be"),
        (good.replace("i=100", "i=-1"), "iterations must be"),
        (good.replace("i=100", "i=0100"), "iterations must be"),
        (good.replace("i=100", "i=1_00"), "iterations must be"),
        (good.replace("i=100", "100"), "iterations must be"),
        (good.replace("i=100", "i="), "iterations must be"),
        (good.replace("i=100", "i=%d" % (MAX_ITERATIONS + 1)), "must be i=1 to i=10000"),
        (good.replace("i=100", "i=" + "9" * 400), "iterations must be"),
        (good.replace("$AAEC", "$AAE"), "salt must be 16 bytes"),
        (good.replace("$AAEC", "$AA!C"), "salt must be 16 bytes"),
        (good.replace("$AAEC", "$AA\u00e9C"), "salt must be 16 bytes"),
        (good.replace("DA0ODw", "DA0ODx"), "salt must be 16 bytes"),  # bits that do not count are set
        (head + "$" + tail[:-1], "hash must be 32 bytes"),
        (head + "$" + tail + "=", "hash must be 32 bytes"),
        (head + "$ " + tail, "hash must be 32 bytes"),
        (head + "$", "hash must be 32 bytes"),
    ):
        said = str(raises(ValueError, read_record, text))
        assert message in said, (text, said)
        assert tail[:8] not in said and "secret" not in said
    assert read_record(good.replace("i=100", "i=%d" % MAX_ITERATIONS))[0] == MAX_ITERATIONS
    assert read_record(good.replace("i=100", "i=%d" % (MAX_ITERATIONS + 1)), MAX_ITERATIONS + 1)[0] == MAX_ITERATIONS + 1


def test_a_password_file():
    lines = []
    for user in USERS:
        lines += [b"# " + user, b"", user + b":" + USERS[user].encode() + b"\r"]
    text = b"\n".join(lines)
    assert parse(text.split(b"\n")) == USERS
    assert parse([line + b"\n" for line in lines]) == USERS
    assert parse([]) == {}
    name = b"n" * MAX_USER_NAME
    assert list(parse([name + b":" + USERS[b"ann"].encode()])) == [name]


def test_bad_lines_are_named():
    good = USERS[b"ann"].encode()
    for line, message in (
        (b"ann", "not of the form name:record"),
        (b"ann:" + good, "user ann is there already"),
        (b" ann :" + good, "user ann is there already"),
        (b":" + good, "must not be empty"),
        (b"x:y:" + good, "more than one ':'"),
        (b"x\x01y:" + good, "control characters"),
        (b"x\ty:" + good, "control characters"),
        (b"x\x7f:" + good, "control characters"),
        (b"x\0:" + good, "valid UTF-8"),
        (b"\xff:" + good, "valid UTF-8"),
        (b"\xed\xa0\x80:" + good, "valid UTF-8"),
        (b"\xef\xbb\xbfx:" + good, "byte order mark"),
        (b"x:\xff" + good, "not valid UTF-8"),
        (b"n" * (MAX_USER_NAME + 1) + b":" + good, "longer than %d bytes" % MAX_USER_NAME),
        (b"x:" + b"y" * MAX_LINE, "longer than %d bytes" % MAX_LINE),
        (b"x:hunter2", "must be hashed"),
    ):
        said = str(raises(ValueError, parse, [b"# users", b"ann:" + good, b"", line]))
        assert said.startswith("line 4: ") and message in said, (line, said)
        assert "hunter2" not in said


def test_a_file_with_other_schemes():
    def check(text):
        if text != "other":
            raise ValueError("not other")

    assert parse([b"a:other"], check) == {b"a": "other"}
    assert "line 1: not other" in str(raises(ValueError, parse, [b"a:" + USERS[b"ann"].encode()], check))


# -- the authenticator ----------------------------------------------------------------------


def test_right_and_wrong_passwords():
    for version, wrong, unauthorized in ((3, 4, 5), (4, 4, 5), (5, 0x86, 0x87)):
        authenticator = PasswordAuthenticator(USERS)
        world = world_with(authenticator)
        for user, password, code in (
            (b"ann", b"apple", 0),
            (b"ann", b"banana", wrong),
            (b"ann", b"", wrong),
            (b"ann", b"apple ", wrong),
            (b"ann", None, wrong),
            ("j\u00f6rg".encode(), b"cherry", 0),
            (b"Ann", b"apple", wrong),
            (b"eve", b"apple", wrong),
            (b"eve", None, wrong),
            (b"", b"", unauthorized),
            (None, None, unauthorized),
        ):
            fields = {"user": user, "password": password}
            assert answer(world, version, client_id=b"c-%r" % user, **fields)[0] == code, (version, user, password)
        figures = dict(authenticator.figures())
        assert figures == {"accepted": 2, "refused": 4, "busy": 0}
        assert not world.errors() and authenticator.pending == 0


def test_nobody_learns_by_the_time_which_users_there_are():
    world = world_with(PasswordAuthenticator(USERS))
    right = answer(world, user=b"ann", password=b"apple")
    wrong = answer(world, user=b"ann", password=b"wrong")
    unknown = answer(world, user=b"eve", password=b"wrong")
    assert (right[0], wrong[0], unknown[0]) == (0, 0x86, 0x86)
    assert right[1] == wrong[1] == unknown[1] > 1
    # Not even with somebody's password.
    assert answer(world, user=b"eve", password=b"apple") == unknown


def test_a_user_nobody_has_takes_as_long_as_most_users_do():
    users = {b"a": record(b"x", 16), b"b": record(b"x", 160), b"c": record(b"y", 160), b"d": record(b"x", 320)}
    world = world_with(PasswordAuthenticator(users))
    slices = {user: answer(world, user=user, password=b"?")[1] for user in (b"a", b"b", b"c", b"d", b"nobody")}
    assert slices[b"a"] < slices[b"b"] == slices[b"c"] == slices[b"nobody"] < slices[b"d"]


def test_without_users_it_leaves_everybody_to_the_next():
    world = world_with(PasswordAuthenticator(), AllowAll())
    assert answer(world, user=b"ann", password=b"apple") == (0, 0)


def test_the_next_is_asked_about_users_it_does_not_know():
    second = PasswordAuthenticator({b"ann": record(b"other"), b"eve": record(b"elder")})
    world = world_with(PasswordAuthenticator(USERS), second)
    for user, password, code in (
        (b"eve", b"elder", 0),
        (b"eve", b"apple", 0x86),
        (b"ann", b"other", 0x86),  # the first one knows better
        (b"ann", b"apple", 0),
        (b"zoe", b"apple", 0x86),
    ):
        assert answer(world, client_id=user, user=user, password=password)[0] == code, (user, password)
    assert dict(second.figures())["accepted"] == 1


def test_others_are_served_in_between():
    world = world_with(PasswordAuthenticator(USERS))
    other = world.client()
    other.connect("other", user=b"bob", password=b"banana")
    finish(world)
    other.inbox.pop(0)
    client = world.client()
    client.connect("c", user=b"ann", password=b"apple")
    slices = 0
    while not client.inbox:
        assert client.held
        other.ping()
        world.broker.work()
        slices += 1
    assert slices == (ITERATIONS + 15) // 16
    assert client.inbox[0]["code"] == 0 and not client.held


def test_first_come_first_served():
    world = world_with(PasswordAuthenticator(USERS))
    clients = []
    for i in range(3):
        clients.append(world.client())
        clients[i].connect("c%d" % i, user=b"ann", password=b"apple")
    order: "list[object]" = []
    while len(order) < 3:
        world.broker.work()
        for i in range(3):
            if clients[i].inbox and i not in order:
                order.append(i)
    assert order == [0, 1, 2]
    assert not world.broker.work()


def test_no_more_at_a_time_than_allowed():
    for version, code, most in ((3, 3, 2), (4, 3, 2), (5, 0x89, 2), (5, 0x89, None)):
        authenticator = PasswordAuthenticator(USERS) if most is None else PasswordAuthenticator(USERS, most)
        most = most or 8  # unless the program says so
        world = world_with(authenticator)
        clients = [world.client(version) for _ in range(most)]
        for i in range(most):
            clients[i].connect("c%d" % i, user=b"ann", password=b"apple")
        for user in (b"ann", b"eve"):  # whether there is such a user does not show
            assert answer_at_once(world, version, user) == code
        assert dict(authenticator.figures())["busy"] == 2 and authenticator.pending == most
        finish(world)
        assert [client.inbox[0]["code"] for client in clients] == [0] * most
        assert answer(world, version, client_id="later", user=b"ann", password=b"apple")[0] == 0


def answer_at_once(world, version, user):
    client = world.client(version)
    client.connect("hasty", user=user, password=b"apple")
    return client.connack["code"]


def test_who_has_gone_costs_nothing():
    authenticator = PasswordAuthenticator(USERS)
    world = world_with(authenticator)
    client = world.client()
    client.connect("one", user=b"ann", password=b"apple")
    others = [world.client() for _ in range(5)]
    for other in others:
        other.connect("other", user=b"ann", password=b"apple")
        other.lose()
    before = finish(world)
    assert client.inbox[0]["code"] == 0
    assert before <= (ITERATIONS + 15) // 16 + 5
    assert authenticator.pending == 0 and dict(authenticator.figures())["accepted"] == 1
    assert list(world.broker.sessions) == [b"one"] and not world.errors()


def test_who_leaves_half_way_makes_room():
    authenticator = PasswordAuthenticator(USERS, 1)
    world = world_with(authenticator)
    client = world.client()
    client.connect("one", user=b"ann", password=b"apple")
    assert world.broker.work()
    client.lose()
    assert not world.broker.work()
    assert answer(world, user=b"ann", password=b"apple")[0] == 0
    assert dict(authenticator.figures()) == {"accepted": 1, "refused": 0, "busy": 0}


def test_a_check_that_takes_too_long_is_given_up():
    world = world_with(PasswordAuthenticator(USERS), auth_timeout=5)
    client = world.client()
    client.connect("c", user=b"ann", password=b"apple")
    world.broker.work()
    world.advance(7000)
    assert client.closed
    assert finish(world) == 0 and world.broker.sessions == {}


def test_when_memory_runs_out_one_client_is_told_and_the_next_one_served():
    authenticator = PasswordAuthenticator(USERS)
    world = world_with(authenticator)
    clients = [world.client() for _ in range(2)]
    for i in range(2):
        clients[i].connect("c%d" % i, user=b"ann", password=b"apple")
    step = Pbkdf2.step

    def fail(self, count):
        raise MemoryError

    Pbkdf2.step = fail  # type: ignore[method-assign]
    try:
        assert world.broker.work()
    finally:
        Pbkdf2.step = step  # type: ignore[method-assign]
    assert clients[0].inbox[0]["code"] == 0x89 and clients[0].closed
    finish(world)
    assert clients[1].inbox[0]["code"] == 0
    assert authenticator.pending == 0


# -- turns -----------------------------------------------------------------------------------


def login(world, address, client_id, user=b"ann", password=b"apple"):
    client = world.client(address="%s:5000" % address)
    client.connect(client_id, user=user, password=password)
    return client


def code_of(client):
    """The code of the CONNACK that has come, None before."""
    packet = client.connack or (client.inbox[0] if client.inbox else None)
    return None if packet is None else packet["code"]


def test_one_address_does_not_take_the_places_of_others():
    authenticator = PasswordAuthenticator(USERS, 8)
    world = world_with(authenticator, max_connections_per_address=0)
    many = [login(world, "10.0.0.1", "m%d" % i) for i in range(90)]
    honest = [login(world, "10.0.1.%d" % i, "h%d" % i, b"bob", b"banana") for i in range(4)]
    more = [login(world, "10.0.0.1", "n%d" % i) for i in range(20)]
    assert [code_of(client) for client in honest] == [None] * 4
    finish(world)
    assert [code_of(client) for client in honest] == [0] * 4
    codes = [code_of(client) for client in many]
    assert codes.count(0) == 4 and codes.count(0x89) == 86 and codes[0] == 0  # the first of them
    assert [code_of(client) for client in more] == [0x89] * 20
    assert authenticator.pending == 0 and dict(authenticator.figures())["busy"] == 106
    assert not world.errors()


def test_addresses_take_turns():
    world = world_with(PasswordAuthenticator(USERS, 20))
    clients = [login(world, "10.0.0.1", "a%d" % i) for i in range(6)]
    clients += [login(world, "10.0.0.2", "b%d" % i, b"bob", b"banana") for i in range(2)]
    clients += [login(world, "[fd00::%d]" % i, "c%d" % i, b"eve", b"x") for i in range(1, 3)]
    order: "list[int]" = []
    while len(order) < len(clients):
        world.broker.work()
        for i in range(len(clients)):
            if code_of(clients[i]) is not None and i not in order:
                order.append(i)
    # The first was alone when it came; one network of IPv6 is one address.
    assert order == [0, 1, 6, 8, 2, 7, 9, 3, 4, 5]


def test_an_address_has_a_bound_of_its_own():
    authenticator = PasswordAuthenticator(USERS, 20, 3)
    world = world_with(authenticator)
    clients = [login(world, "10.0.0.1", "a%d" % i) for i in range(6)]
    other = login(world, "10.0.0.2", "b")
    assert [code_of(client) for client in clients] == [None] * 4 + [0x89] * 2 and authenticator.pending == 5
    finish(world)
    assert [code_of(client) for client in clients + [other]] == [0] * 4 + [0x89] * 2 + [0]


def test_who_has_gone_from_the_line_is_passed_over():
    authenticator = PasswordAuthenticator(USERS, 20)
    world = world_with(authenticator)
    clients = [login(world, "10.0.0.1", "a%d" % i) for i in range(6)]
    for client in clients[:5]:
        client.lose()
    assert finish(world) <= (ITERATIONS + 15) // 16 + 2
    assert code_of(clients[5]) == 0 and authenticator.pending == 0


def test_turns():
    turns = Turns(5, 3)
    for who, waiting, gone in (
        ("a", 1, None), ("a", 2, None), ("a", 3, None), ("a", 4, 4),  # as many as of one address
        ("b", 5, None), ("b", 6, None), ("b", 7, 7),  # as many as of all; a has no more than b would have
        ("c", 8, 3), ("d", 9, 2), ("e", 10, 6), ("f", 11, 11),
    ):  # fmt: skip
        assert turns.put(who, waiting) == gone, (who, waiting)
        assert turns.count <= 5
    turns.discard("d", 9)
    turns.discard("d", 9)
    turns.discard("x", 1)
    assert turns.put("b", 12) is None and turns.count == 5
    assert turns.take(("a",)) == 5
    assert [turns.take() for _ in range(5)] == [1, 8, 10, 12, None]
    assert turns.count == 0 and turns.put("a", 1) is None
    assert turns.take(("a",)) is None and turns.take() == 1
    assert Turns(0, 3).put("a", 1) == 1


# -- passwords that were right ------------------------------------------------------------------


def test_who_comes_again_is_in_at_once():
    for version in VERSIONS:
        authenticator = PasswordAuthenticator(USERS)
        world = world_with(authenticator)
        wrong = 0x86 if version == 5 else 4
        assert answer(world, version, user=b"ann", password=b"apple")[1] > 1
        for _ in range(3):
            assert answer(world, version, user=b"ann", password=b"apple") == (0, 0)
        # All else is checked at length.
        for user, password in ((b"ann", b"applf"), (b"ann", b""), (b"bob", b"apple"), (b"eve", b"apple")):
            for _ in range(2):
                code, slices = answer(world, version, client_id=user, user=user, password=password)
                assert code == wrong and slices > 1, (user, password)
        assert answer(world, version, user=b"ann", password=b"apple") == (0, 0)
        assert world.session("c").conn.identity.auth_state == USERS[b"ann"]
        assert dict(authenticator.figures()) == {"accepted": 5, "refused": 6, "busy": 0}


def test_what_was_right_counts_for_its_record_alone():
    authenticator = PasswordAuthenticator(dict(USERS))
    world = world_with(authenticator)
    assert answer(world, user=b"ann", password=b"apple")[0] == 0
    authenticator.replace(dict(USERS))  # the file is read again
    assert answer(world, user=b"ann", password=b"apple")[1] > 1
    authenticator.users[b"ann"] = record(b"avocado")
    assert answer(world, user=b"ann", password=b"apple")[0] == 0x86
    del authenticator.users[b"ann"]
    assert answer(world, user=b"ann", password=b"apple")[0] == 0x86


def test_so_many_are_known_again():
    recent = Recent(3)
    assert not recent.knows(b"ann", "$x", b"") and not recent.knows(b"ann", "", b"\0" * 16)
    for i in range(10):
        recent.add(b"u%d" % i, "$x", b"p%d" % i, lambda size: b"k" * size)
        assert recent.knows(b"u%d" % i, "$x", b"p%d" % i)
    assert len(recent._hashes) == 3
    known = [i for i in range(10) if recent.knows(b"u%d" % i, "$x", b"p%d" % i)]
    assert len(known) == 3 and 9 in known
    for user, text, password in ((b"u9", "$", b"xp9"), (b"u9", "$xp", b"9"), (b"u9", "$x", b"p8"), (b"u8", "$x", b"p9")):
        assert not recent.knows(user, text, password)
    assert b"p9" not in b"".join(list(recent._hashes.values()))
    recent.clear()
    assert not recent.knows(b"u9", "$x", b"p9")


# -- NUL ------------------------------------------------------------------------------------------


def test_no_password_has_a_nul_in_it():
    # HMAC fills up keys with NULs: to PBKDF2 they are the same.
    assert Pbkdf2(b"apple", SALT, 3).step(3) == Pbkdf2(b"apple\0\0", SALT, 3).step(3)
    world = world_with(PasswordAuthenticator(USERS))
    assert answer(world, user=b"ann", password=b"apple")[0] == 0  # and is known now
    for password in (b"apple\0", b"apple\0\0", b"\0apple", b"ap\0ple", b"\0", b"apple" + bytes(59), b"apple" + bytes(60)):
        code, slices = answer(world, user=b"ann", password=password)
        assert code == 0x86 and slices > 1, password
        assert answer(world, client_id="e", user=b"eve", password=password) == (code, slices)
        assert "NUL" in str(raises(ValueError, make_record, password, SALT))


# -- other users ----------------------------------------------------------------------------


def test_who_has_changed_must_go():
    authenticator = PasswordAuthenticator(USERS)
    for version in VERSIONS:
        authenticator.replace(USERS)
        world = world_with(authenticator)
        clients = []
        for user, password in ((b"ann", b"apple"), (b"bob", b"banana"), ("j\u00f6rg".encode(), b"cherry")):
            clients.append(world.client(version))
            clients[-1].connect(user, user=user, password=password)
            finish(world)
            assert clients[-1].inbox.pop(0)["code"] == 0
        authenticator.replace({b"ann": USERS[b"ann"], b"bob": record(b"blueberry")})
        world.broker.rights_changed()
        clients[0].ping()
        assert clients[1].closed and clients[2].closed
        assert answer(world, version, client_id="x", user=b"bob", password=b"blueberry")[0] == 0
        assert answer(world, version, client_id="y", user=b"bob", password=b"banana")[0] != 0


def test_users_who_change_while_they_are_checked():
    for users, code in (
        ({}, 0x86),  # gone
        ({b"ann": record(b"avocado")}, 0x86),  # another password
        ({b"ann": USERS[b"ann"], b"zoe": record(b"z")}, 0),
    ):
        authenticator = PasswordAuthenticator(USERS)
        world = world_with(authenticator)
        client = world.client()
        client.connect("c", user=b"ann", password=b"apple")
        world.broker.work()
        authenticator.replace(users)
        finish(world)
        assert client.inbox[0]["code"] == code, users
    # Nor does somebody get in by a password that was checked before there was such a user.
    authenticator = PasswordAuthenticator(USERS)
    world = world_with(authenticator)
    client = world.client()
    client.connect("c", user=b"eve", password=b"elder")
    world.broker.work()
    authenticator.replace({b"eve": record(b"elder")})
    finish(world)
    assert client.inbox[0]["code"] == 0x86


def test_more_iterations_than_a_board_can_do_are_never_begun():
    record = "$pbkdf2-sha256$i=%d$%s$%s" % (MAX_ITERATIONS + 1, "A" * 22, "A" * 43)
    world = world_with(PasswordAuthenticator({b"ann": record}))
    assert answer(world, user=b"ann", password=b"apple") == (0x80, 0)
    assert len(world.errors()) == 1
