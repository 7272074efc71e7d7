"""Places for connections, clients and sessions: who gives way when they are all taken, and that nobody else does."""

from disk import Disk
from harness import VERSIONS, World
from port.core import TYPE_CHECKING
from port.core.wire.codec import CONNECT
from port.core.wire.properties import SESSION_EXPIRY_INTERVAL
from port.core.limits.options import Options
from port.core.limits.places import Places, leave
from port.core.auth.authenticator import PENDING, Authenticator
from port.core.protocol.client_packets import encode
from rights import world_with

if TYPE_CHECKING:
    from typing import Any

KEEP = {SESSION_EXPIRY_INTERVAL: 1000}
BOARD = Options(True)


def here(n, port=1):
    """The nth address there is."""
    return "10.%d.%d.%d:%d" % (n >> 16, n >> 8 & 255, n & 255, port)


def board(**options):
    """A world with the limits of a board."""
    options.setdefault("anonymous", "all")
    return World(**dict(BOARD.values(), sys_interval=0, **options))


def said(client):
    """The code of the CONNACK, None for a connection that was not accepted at all."""
    return client.connack.get("code")


def keep(world, client_id, n=0, user=None, subscribe=False, version=5):
    """A client of the nth address that leaves a session behind; the code of its CONNACK."""
    client = world.client(version, here(n))
    client.connect(client_id, clean_start=False, user=user, properties=KEEP if version == 5 else None)
    code = said(client)
    if not code:
        if subscribe:
            client.subscribe("t")
        client.disconnect()
    return code


# -- connections without CONNECT --------------------------------------------------------------------------


def test_silent_connections_of_one_address_keep_nobody_out():
    """On a board, reopened as soon as they are closed."""
    world = board()
    silent: "list[Any]" = []

    def attack():
        for client in [client for client in silent if client.conn is None or client.closed]:
            silent.remove(client)
        for _ in range(16 - len(silent)):
            silent.append(world.client(5, here(66)))

    for n in range(48):
        attack()
        honest = world.client(5, here(n))
        attack()
        honest.connect("c%d" % n)
        assert said(honest) == 0, n
        attack()
        if n % 3:
            honest.disconnect()
        world.now += 100


def test_the_oldest_of_an_address_above_its_share_gives_way():
    world = board()  # sixteen places, a share of four
    clients = [world.client(5, here(n // 8)) for n in range(15)] + [world.client(5, here(9))]
    for n in range(7):
        assert world.client(5, here(10 + n)).conn is not None
    assert [n for n in range(16) if clients[n].closed] == [0, 1, 2, 3, 8, 9, 10]
    assert world.client(5, here(30)).conn is None  # nobody is above his share
    assert world.broker.counters.refused == 1


def test_who_is_above_his_share_gives_way_to_himself():
    for address in (here(1), "127.0.0.1:1"):
        world = board(max_connections_per_address=0)
        clients = [world.client(5, address) for _ in range(20)]
        assert [client.closed for client in clients] == [True] * 4 + [False] * 16
        clients[4].connect("c")
        assert said(clients[4]) == 0


def test_who_is_being_asked_about_gives_way_and_is_told():
    class Thinking(Authenticator):
        def authenticate(self, client, user, password):
            return PENDING

    for version, code in ((4, 3), (5, 0x97)):
        world = board()
        world.broker.authenticators.append(Thinking())
        clients = [world.client(version, here(0)) for _ in range(16)]
        clients[0].connect("c", user=b"u", password=b"p")
        assert world.client(version, here(1)).conn is not None
        assert clients[0].closed and clients[0].inbox[0]["code"] == code


def test_clients_take_places_from_connections_without_connect():
    """All together are never more than a host has sockets for."""
    world = World(max_connections=20, anonymous="all")
    world.broker.connection_registry.handshakes = 2
    for n in range(20):
        world.connect("c%d" % n, address=here(n))
        silent = [world.client(5, here(100 + n, k)) for k in range(12)]
        assert len(world.broker.connections) <= 22
        for client in silent:
            if client.conn is not None:
                client.lose()
    assert world.broker.connected == 20


# -- bytes of what is not complete ------------------------------------------------------------------------


def test_bytes_of_one_address_keep_no_connect_out():
    """Whether they were sent, or only announced."""
    for sent in (3, 1500):
        world = board(max_connecting_bytes=4000)
        long = encode({"type": CONNECT, "client_id": b"c", "clean_start": True, "user": b"u" * 1800}, 5)
        for n in range(30):
            attacker = world.client(5, here(66))
            if attacker.conn is not None:
                attacker.feed(long[:sent])
            honest = world.client(5, here(n))
            data = encode({"type": CONNECT, "client_id": b"h%d" % n, "clean_start": True, "user": b"u" * 200}, 5)
            for part in (data[:5], data[5:50], data[50:-1]):
                honest.feed(part)
                assert world.broker.connection_registry.handshake_bytes <= 4000
            honest.feed(data[-1:])
            assert honest.inbox.pop(0)["code"] == 0, (sent, n)
            honest.disconnect()
        for client in list(world.broker.connections):
            client.lost()
        assert not world.broker.connection_registry.handshake_bytes


def test_bytes_of_many_addresses_let_nobody_go():
    world = World(max_connecting_bytes=1000, anonymous="all")
    long = encode({"type": CONNECT, "client_id": b"c" * 600, "clean_start": True}, 5)
    clients = [world.client(5, here(n)) for n in range(6)]
    for client in clients:
        client.feed(long[:190])
    assert [client.closed for client in clients] == [False] * 5 + [True]


# -- clients ----------------------------------------------------------------------------------------------


def test_clients_of_one_user_leave_others_their_share():
    for version in VERSIONS:
        world = world_with(max_connections=8)
        farm = [world.connect("f%d" % n, version, here(n), user=b"farm") for n in range(8)]
        again = world.client(version, here(9))
        again.connect("f8", user=b"farm")
        assert said(again) == (0x97 if version == 5 else 3)
        others = [world.connect("a%d" % n, version, here(9), user=b"a") for n in range(2)]
        assert [client.closed for client in farm] == [False] * 6 + [True] * 2  # the last to come
        if version == 5:
            farm[7].expect_close(0x97)
        more = world.client(version, here(9))
        more.connect("a2", user=b"a")
        assert more.closed and said(more)  # that is as many as his share
        others += [world.connect("b%d" % n, version, here(9), user=b"b%d" % n) for n in range(4)]
        assert [client.closed for client in farm] == [False] * 2 + [True] * 6
        more = world.client(version, here(9))
        more.connect("c", user=b"c")
        assert more.closed and said(more)  # nobody is above his share
        for client in others + farm[:2]:
            client.ping()


def narrow_listener(world, most):
    """One with a limit of its own."""
    from port.core.limits.listener import Listener

    broker = world.broker
    return broker.add_listener(Listener("n", "tcp", broker.options, broker.authenticators, None, {"max_connections": most}))


def test_a_listener_that_is_full_lets_nobody_of_another_go():
    world = world_with(max_connections=8)
    narrow = narrow_listener(world, 2)
    farm = [world.connect("f%d" % n, user=b"farm") for n in range(6)]
    for n in range(2):
        world.connect("n%d" % n, listener=narrow, user=b"n%d" % n)  # each has his share
    client = world.client(5, listener=narrow)
    client.connect("o", user=b"o")
    assert said(client) == 0x97
    assert not [client for client in farm if client.closed]
    world.connect("o", user=b"o")
    assert [client.closed for client in farm] == [False] * 5 + [True]


def test_clients_of_a_listener_with_a_limit_of_its_own_leave_others_their_share_of_it():
    """As of the broker's places, see test_clients_of_one_user_leave_others_their_share; clients of other listeners stay."""
    for version in VERSIONS:
        world = world_with(max_connections=100)
        narrow = narrow_listener(world, 8)
        other = [world.connect("x%d" % n, version, here(5)) for n in range(20)]  # of the same address, elsewhere
        farm = [world.connect("f%d" % n, version, here(5), narrow) for n in range(8)]
        again = world.client(version, here(5), narrow)
        again.connect("f8")
        assert said(again) == (0x97 if version == 5 else 3)
        assert narrow.connected == narrow.seats.count == 8
        honest = [world.connect("a%d" % n, version, here(9), narrow) for n in range(2)]
        assert [client.closed for client in farm] == [False] * 6 + [True] * 2
        more = world.client(version, here(9), narrow)
        more.connect("a2")
        assert more.closed and said(more)  # that is as many as its share
        moved = world.connect("x0", version, here(8), narrow)  # taken over from another listener
        assert other[0].closed and [client.closed for client in farm] == [False] * 5 + [True] * 3
        for client in honest + farm[:5] + other[1:] + [moved]:
            client.ping()
        assert narrow.connected == narrow.seats.count == 8
        for client in honest + farm[:5] + [moved]:
            client.lose()
        assert not narrow.seats.count and not narrow.seats.owners and not narrow.connected
        assert world.broker.connected == world.broker.connection_registry.present.count == 19


# -- sessions ---------------------------------------------------------------------------------------------


def test_sessions_of_one_owner_keep_nobody_out():
    """Not by address, nor by user where somebody vouches for one; on a board, 64 CONNECTs and many more."""
    for users in (False, True):
        world = board(max_session_expiry=86400)
        if users:
            world = world_with(max_sessions=64)
        mine = b"me" if users else None
        for n in range(10):
            assert keep(world, "old%d" % n, n, b"o%d" % n if users else None, n % 2 == 0) == 0
        for n in range(200):
            assert keep(world, "x%d" % n, n % 99 if users else 66, mine, n % 3 == 0) == 0
            assert world.broker.session_registry.staying.count <= 64
        for n in range(10):
            assert keep(world, "new%d" % n, 20 + n, b"n%d" % n if users else None) == 0
            assert world.session("old%d" % n) is not None and world.session("new%d" % n) is not None
        left = [n for n in range(200) if world.session("x%d" % n) is not None]
        assert len(left) == 44
        assert [n for n in left if n % 3] == []  # those without subscriptions went first
        assert left == [n for n in range(69, 200) if n % 3 == 0]  # of the others those longest away


def test_who_is_at_his_share_is_refused_when_nobody_is_above_it():
    for version in VERSIONS:
        world = World(max_sessions=4, anonymous="all")
        for n in range(4):
            assert keep(world, "c%d" % n, n, version=version) == 0
        for n in (0, 5):
            assert keep(world, "d", n, version=version) == (0x97 if version == 5 else 3)
        assert [keep(world, "c%d" % n, 7, version=version) for n in range(4)] == [0] * 4  # who has one comes back
        assert len(world.broker.sessions) == 4


def test_sessions_of_clients_that_are_there_do_not_end():
    world = World(max_sessions=4, anonymous="all")
    clients = [world.connect("c%d" % n, clean_start=False, properties=KEEP, address=here(1)) for n in range(4)]
    assert keep(world, "d", 2) == 0x97
    clients[2].disconnect()
    assert keep(world, "d", 2) == 0
    assert world.session("c2") is None and not [client for client in clients if client is not clients[2] and client.closed]


def test_clean_sessions_take_no_place():
    for version in VERSIONS:
        world = World(max_sessions=1, anonymous="all")
        assert keep(world, "k") == 0
        clients = [world.connect("c%d" % n, version) for n in range(20)]
        for client in clients:
            client.ping()
        assert len(world.broker.sessions) == 21
    world = World(max_sessions=1, anonymous="all")
    client = world.connect("c", clean_start=False, properties=KEEP)
    client.disconnect(properties={SESSION_EXPIRY_INTERVAL: 0})
    assert keep(world, "d") == 0
    world.advance(1002000)
    assert keep(world, "e") == 0


def test_a_will_of_a_session_that_gives_way_goes_out():
    world = World(max_sessions=1, owner_share=1, anonymous="all")
    seen = []
    world.broker.subscribe("w", lambda message: seen.append(message.payload))
    world.broker.options.max_sessions = 2
    for n in range(3):
        will = {"topic": b"w", "payload": b"%d" % n, "qos": 0, "retain": False, "properties": {0x18: 500}}
        world.connect("c%d" % n, clean_start=False, properties=KEEP, will=will).lose()
    assert seen == [b"0"]


def test_a_store_with_more_sessions_than_may_be_kept():
    """They stay, and the operator is told; from then on as many come as go."""
    disk = Disk()
    world = World(store=disk, anonymous="all")
    for n in range(10):
        assert keep(world, "c%d" % n, n // 5, subscribe=n > 0) == 0
    world.broker.journal.commit()
    again = World(store=disk, max_sessions=6, anonymous="all")
    assert len(again.broker.sessions) == again.broker.session_registry.staying.count == 10
    assert [text for level, text in again.log if level == 2 and "max_sessions" in text and "10" in text]
    assert keep(again, "c3") == 0
    assert keep(again, "new", 7) == 0
    # Both addresses are above their share.
    assert [again.session(name) for name in ("c0", "c5")].count(None) == 1 and again.broker.session_registry.staying.count == 10


# -- what the counts say ----------------------------------------------------------------------------------


def recount(places, things, listed):
    """The owners' counts equal a recount, and the rings hold what may give way."""
    counts: "dict[Any, int]" = {}
    for thing in things:
        counts[thing.owner.key] = counts.get(thing.owner.key, 0) + 1
        assert (thing.after is not None) == listed(thing)
    assert places.count == len(things)
    assert {key: places.owners[key].count for key in places.owners} == counts
    for owner in places.owners.values():
        found = []
        thing = owner.after
        while thing is not owner:
            assert thing.owner is owner and thing.after.before is thing and thing not in found
            found.append(thing)
            thing = thing.after
        assert owner.middle is None or owner.middle in found
        assert (owner in places.above) == (owner.count > places.share and found != [])


def check(world):
    broker = world.broker
    opened = [session.conn for session in broker.sessions.values() if session.conn is not None]
    recount(broker.connection_registry.arriving, [conn for conn in broker.connections if conn not in opened], lambda thing: True)
    recount(broker.connection_registry.present, opened, lambda thing: True)
    kept = [session for session in broker.sessions.values() if session.expiry]
    recount(broker.session_registry.staying, kept, lambda session: session.conn is None)
    assert broker.session_registry.staying.count <= broker.options.max_sessions and broker.connected <= broker.options.max_connections
    assert broker.connection_registry.handshake_bytes == sum([conn.early for conn in broker.connections])


def test_owners_have_what_a_recount_finds():
    """Over clients that come, are taken over by others of their user, change their address, go, expire and give way."""
    for seed in range(3):
        state = [seed * 7919 + 1]

        def dice(n):
            state[0] = (state[0] * 1103515245 + 12345) & 0x3FFFFFFF
            return (state[0] >> 12) % n

        disk = Disk()
        options = {"max_sessions": 9, "max_connections": 7, "anonymous": "all", "max_connecting_bytes": 300}
        world = world_with(store=disk, **options)
        world.broker.connection_registry.handshakes = 3
        clients: "list[Any]" = []
        for step in range(400):
            what = dice(12)
            clients = [client for client in clients if client.conn is not None and not client.closed]
            if what < 6:
                client = world.client((3, 4, 5)[dice(3)], here(dice(4)))
                clients.append(client)
                if client.conn is not None and what:
                    user = (None, b"u", b"v")[dice(3)]
                    expiry = {SESSION_EXPIRY_INTERVAL: (0, 3, 1000)[dice(3)]}
                    clean = dice(2) == 0
                    client.connect("c%d" % dice(14), clean_start=clean, user=user, properties=expiry if client.version == 5 else None)
                elif client.conn is not None:
                    client.feed(b"\x10\x7f\0\4MQTT" + bytes(dice(90)))
            elif what < 9 and clients:
                client = clients[dice(len(clients))]
                if not client.connack or what == 6:
                    client.lose()
                elif what == 7:
                    client.subscribe("t%d" % dice(3))
                else:
                    client.disconnect()
            elif what == 9:
                world.advance(1000)
            elif what == 10:
                world.broker.end_client("c%d" % dice(14))
            elif what == 11 and dice(20) == 0:
                for client in clients:
                    client.lose()
                world.broker.journal.commit()
                world = world_with(store=disk, **options)
                world.broker.connection_registry.handshakes = 3
            check(world)
        assert not world.errors()


def test_shares_follow_the_options():
    """Also those of a running broker: what is above its share is found anew."""

    class Thing:
        def __init__(self, places, key):
            self.owner = self.before = self.after = None
            places.enter(self, key)
            places.offer(self)

    places = Places(8, 25)
    things = [Thing(places, b"k%d" % (n % 2)) for n in range(8)]
    assert places.find(b"new", 8, 25).count == 4
    assert places.find(b"new", 16, 25) is None
    assert places.find(b"k1", 8, 25).key == b"k1"
    assert places.find(b"new", 8, 50) is None
    for thing in things:
        leave(thing)
    assert not places.count and not places.owners and not places.above


# -- whose a client id is ---------------------------------------------------------------------------------


def test_client_ids_can_be_bound_to_users():
    for pattern, user, client_id, fits in (
        ("%u-*", b"ann", "ann-1", True), ("%u-*", b"ann", "ann-", True), ("%u-*", b"ann", "ann", False),
        ("%u-*", b"ann", "bob-1", False), ("%u-*", None, "-1", False), ("%u-*", None, "ann-1", False), ("%u", b"ann", "ann", True),
        ("%u", b"ann", "ann1", False), ("%u", b"a*", "a1", False), ("%u", b"a*", "a*", True), ("dev-*", None, "dev-7", True),
        ("dev-*", b"ann", "7", False), ("", b"ann", "bob", True), ("x%u%u", b"%u", "x%u%u", True), ("*", None, "7", True),
    ):  # fmt: skip
        for version in VERSIONS:
            world = world_with(client_id=pattern)
            client = world.client(version)
            client.connect(client_id, user=user)
            assert said(client) == (0 if fits else 0x85 if version == 5 else 2), (pattern, user, client_id)
            if not fits:
                assert [text for level, text in world.log if level == 2 and pattern in text], world.log
    world = world_with(client_id="%u-*")
    world.connect("", user=b"ann").ping()  # what the broker makes up is nobody's


def test_bound_client_ids_of_a_listener():
    from port.core.limits.listener import Listener

    world = world_with()
    broker = world.broker
    bound = broker.add_listener(Listener("b", "tcp", broker.options, broker.authenticators, None, {"client_id": "%u"}))
    world.connect("x", user=b"ann")
    client = world.client(5, listener=bound)
    client.connect("y", user=b"ann")
    assert said(client) == 0x85
    world.connect("ann", user=b"ann", listener=bound).ping()


# -- an operator ends a session ---------------------------------------------------------------------------


def test_an_operator_ends_a_session_and_what_waits_in_it():
    for connected in (False, True):
        disk = Disk()
        world = World(store=disk, anonymous="all")
        client = world.connect("c", clean_start=False, properties=KEEP)
        client.subscribe("t", 1)
        if not connected:
            client.disconnect()
            world.broker.publish("t", "waits", 1)
        assert world.broker.end_client("c" if connected else b"c")
        if connected:
            client.expect_close(0x98)
        assert not world.broker.end_client("c") and not world.broker.sessions
        world.broker.journal.commit()
        again = World(store=disk, anonymous="all")
        assert not again.broker.sessions
        client = again.connect("c", clean_start=False, properties=KEEP)
        assert not client.connack["session_present"]
        client.expect_nothing()


def test_bytes_of_what_came_with_connect():
    world = world_with()
    broker = world.broker
    will = {"topic": b"will", "payload": b"12345", "qos": 0, "retain": False, "properties": {}}
    world.connect("d")
    one = broker.memory.session_bytes
    client = world.connect("abc", user=b"user", will=will)
    assert one == 1 and broker.memory.session_bytes == 1 + 3 + 4 + 5
    world.connect("abc", user=b"user").lose()
    assert broker.memory.session_bytes == one and client.closed
