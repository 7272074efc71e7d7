"""What looking up costs: receivers of a topic name and retained messages of a filter, found or not, counted and bounded."""

from harness import World
from port.core.wire.codec import PUBLISH, SUBACK, SUBSCRIBE
from test_turns import TURN, begin, packet, served_in_between, slices, subscribe_packet


def near_misses(bits, tail):
    """Filters all of which match the topic `a/a/...` but for their last level."""
    return ["/".join(["+" if i >> k & 1 else "a" for k in range(bits)] + ["a"] * tail + ["z"]) for i in range(2**bits)]


def test_a_look_up_that_finds_nothing_counts_for_the_turn():
    world = World(max_wide_subscriptions=500)
    client, other = world.connect("c"), world.connect("o")
    filters = near_misses(6, 20)
    for topic_filter in filters:
        client.subscribe(topic_filter)
    world.broker.turns.limit = TURN
    names = ["a/" * 26 + "%d" % i for i in range(20)]
    begin(client, b"".join([packet(PUBLISH, topic=name.encode(), payload=b"x", qos=0) for name in names]))
    assert served_in_between(other) >= 15  # no turn has more than one or two of them
    # What two wildcards have between them is one step, however many levels that is.
    router = world.broker.router
    assert router.resolve(names[0].encode()).empty()
    steps = router.subscriptions.steps
    assert len(filters) < steps < 10 * len(filters)
    world.broker.turns.spent = 0
    router.resolve(names[0].encode())
    assert world.broker.turns.spent >= steps


def test_a_walk_that_finds_nothing_counts_for_the_turn():
    # Retained names as deep as may be, all of which match but for their last level.
    world = World()
    client, other = world.connect("c"), world.connect("o")
    for i in range(100):
        client.publish("%d/" % i + "a/" * 60 + "b", "x", retain=True)
    world.broker.turns.limit = TURN
    begin(client, subscribe_packet([b"+/" + b"a/" * 60 + b"c"]))
    spent = sum(slices(world))
    assert spent >= 100 * 60 // 4
    client.expect(SUBACK)
    assert not client.inbox
    begin(client, subscribe_packet([b"+/" + b"a/" * 60 + b"d"]))
    assert served_in_between(other) >= 3


def test_the_filters_of_one_owner_that_one_name_can_lead_to_are_bounded():
    world = World(max_wide_subscriptions=2, anonymous="all")
    clients = [world.connect("c%d" % i, 5, "10.0.0.1:5") for i in range(20)]
    other = world.connect("other", 5, "10.0.0.2:5")
    made = []
    for client in clients:
        for k in range(2):
            topic_filter = "+/+/%s%d" % (client.conn.session.client_id.decode(), k)
            client.say(SUBSCRIBE, packet_id=1, filters=[(topic_filter.encode(), 0)], properties={})
            if client.expect(SUBACK)["codes"] == b"\0":
                made.append((client, topic_filter))
    assert len(made) == 16  # 16 times two `+` in filters that have two
    branches = world.broker.router.subscriptions.branches
    assert list(branches.values()) == [32]
    clients[19].subscribe("+/+/c00")  # is there
    clients[19].subscribe("+/a/b/#")  # one + does no harm
    clients[18].subscribe("a/b")
    clients[17].subscribe("$share/g/+/+/x", code=0x97)
    other.subscribe("+/+/mine")
    made[0][0].unsubscribe(made[0][1])
    assert branches[made[0][0].conn.session.owner_key()] == 32  # another has it still
    clients[17].subscribe("+/+/y", code=0x97)
    made[1][0].unsubscribe(made[1][1])
    clients[17].subscribe("+/+/x")
    clients[17].subscribe("$share/g/+/+/x", code=0x97)
    clients[16].subscribe("+/+/y", code=0x97)
    for client in [other] + clients:
        client.disconnect()
    assert not branches and not world.broker.router.subscriptions.count


def test_the_receivers_of_cached_routes_are_bounded_and_kept_once():
    world = World(route_cache=10)
    router = world.broker.router
    clients = [world.connect("c%d" % i, 4, clean_start=False) for i in range(12)]
    for client in clients:
        client.subscribe("all/#")
        client.subscribe("some/#")
    clients[0].unsubscribe("some/#")
    publisher = world.connect("p", 4)
    for i in range(9):  # alike: once for all, in a route and as those that take packets as they are
        publisher.publish("all/%d" % i, "x")
    routes = list(router.routes.values())
    assert len(routes) == 9 and len(set([id(route.plain) for route in routes])) == 1
    assert len(set([id(fast) for fast in router.fast[0].values()])) == 1
    assert router.receivers == 24
    for client in clients:
        client.messages()
    for i in range(12):  # each name has seven others: they are not kept once, and not for as many names
        for k in range(7):
            clients[(i + k) % 12].subscribe("e/%d" % i)
    most = 0
    for i in range(12):
        publisher.publish("e/%d" % i, "x")
        most = max(most, router.receivers)
        assert len(router.routes) <= 10
    assert most > 100
    world.broker.turns.spent = 0
    receivers = router.receivers
    router.forget()
    assert world.broker.turns.spent >= receivers >> 2 and not router.receivers


def test_routes_with_many_receivers_are_fewer():
    world = World(route_cache=10)
    clients = [world.connect("c%d" % i, 5) for i in range(50)]
    for i in range(50):
        clients[i].subscribe("#", identifier=i + 1)
    for i in range(40):  # each finds others
        clients[i].unsubscribe("#")
        clients[i].subscribe("x/#", identifier=i + 1)
    router = world.broker.router
    for i in range(30):
        for k in range(40):
            clients[(i + k) % 50].subscribe("x/%d" % i, identifier=k + 1)
    for i in range(30):
        router.route(b"x/%d" % i, world.broker.options)
        assert router.receivers < 10 * 16 + 60
    assert len(router.routes) < 5
    for client in clients:
        client.disconnect()
    assert not router.routes and not router._alike


def test_who_has_gone_is_not_kept_by_what_others_share():
    world = World(max_subscriptions=100)
    router = world.broker.router
    clients = [world.connect("c%d" % i, 4) for i in range(10)]
    for client in clients:
        client.subscribe("a")
        client.subscribe("b")
    for topic in "ab":
        clients[0].publish(topic, "x")
    assert router.routes[b"a"].plain is router.routes[b"b"].plain and router._alike
    clients[3].lose()
    assert not router.routes and not router._alike and not router.fast[0]
