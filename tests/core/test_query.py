"""What there is in a broker, a page at a time."""

import json

from harness import World, raises
from port.core.monitor.query import MOST, Query, retained_fields, session_fields
from port.core.web.json_text import pieces
from port.core.web.lists import listed
from test_trie_walk import Dice
from visitor import Visitor


HEAPSIZE = "4000k"


def ids(count, start=0):
    return [b"c%d" % i for i in range(start, start + count)]


def world_of(count, **options):
    """A world with so many sessions."""
    world = World(**options)
    for client_id in ids(count):
        world.broker.session_registry.new(client_id)
    return world


def every(find, limit, change=None, **keys):
    """All items in pages."""
    found = []
    cursor = ""
    while True:
        page = find(cursor=cursor, limit=limit, **keys)
        found += page.items
        cursor = page.cursor
        if change is not None:
            change()
        if not cursor:
            return found


def names(sessions):
    return [session.client_id for session in sessions]


def test_sessions():
    world = world_of(25)
    query = Query(world.broker)
    for limit in (1, 7, 25, 1000):
        assert sorted(names(every(query.sessions, limit))) == sorted(ids(25))
    assert sorted(names(every(query.sessions, 2, match=lambda session: session.client_id.endswith(b"1")))) == [b"c1", b"c11", b"c21"]
    assert Query(World().broker).sessions().items == []
    raises(ValueError, query.sessions, "", 0)
    for cursor in ("x", "-1", "1.x", "1.", ".1", "1" * 100):
        raises(ValueError, query.sessions, cursor)
    assert query.sessions("999").items == [] and query.sessions("999").cursor == ""


def test_sessions_that_begin_and_end_are_seen():
    world = World()
    query = Query(world.broker)
    world.connect("here")
    away = world.connect("away", properties={0x11: 100})
    assert sorted(names(query.sessions().items)) == [b"away", b"here"]
    away.lose()
    world.see_off()
    found = {session.client_id: session_fields(session) for session in query.sessions().items}
    assert (found[b"here"]["connected"], found[b"away"]["connected"], found[b"away"]["expiry"]) == (True, False, 100)
    world.advance(200000)
    assert names(query.sessions().items) == [b"here"]
    world.connect("here").disconnect()
    world.see_off()
    assert query.sessions().items == [] and len(query._index) == 0


def test_numbers_of_sessions_that_have_ended_are_given_again():
    world = world_of(10)
    broker = world.broker
    query = Query(broker)
    for round_ in range(20):
        for client_id in (b"c3", b"c5", b"c8"):
            broker.session_registry.end(broker.sessions[client_id])
        for client_id in (b"c5", b"c8", b"c3"):
            broker.session_registry.new(client_id)
        assert len(query._index) == 10, round_
    assert sorted(names(every(query.sessions, 3))) == sorted(ids(10))


def test_sessions_that_stay_are_given_once():
    for seed in range(8):
        world = world_of(100)
        broker = world.broker
        query = Query(broker)
        dice = Dice(seed)
        stay = [client_id for client_id in ids(100) if dice(2)]
        go = [client_id for client_id in ids(100) if client_id not in stay]
        new = ids(300, 1000)

        def change(broker=broker, dice=dice, go=go, new=new):
            for _ in range(dice(12)):
                if go and dice(2):
                    broker.session_registry.end(broker.sessions[go.pop(dice(len(go)))])
                elif new:
                    broker.session_registry.new(new[-1])
                    if dice(3):
                        go.append(new[-1])
                    new.pop()

        found = names(every(query.sessions, 4, change))
        for client_id in stay:
            assert found.count(client_id) == 1, (seed, client_id)
        assert sorted(names(every(query.sessions, 9))) == sorted([client_id for client_id in broker.sessions])
        for client_id in list(broker.sessions):
            broker.session_registry.end(broker.sessions[client_id])
        assert len(query._index) == 0 and not query._index._free


def test_a_page_looks_at_no_more_than_it_gives():
    world = world_of(3000, max_sessions=10000)
    broker = world.broker
    query = Query(broker)
    for limit in (1, 10, 100):
        page = query.sessions("", limit)
        assert (len(page.items), page.looked) == (limit, limit)
    assert len(query.sessions("", 10 * MOST).items) == MOST
    broker.turns.limit = 200  # as on a board
    query = Query(broker)
    broker.turns.spent = 0
    page = query.sessions("", 10, lambda session: session.client_id == b"c150")
    assert (page.items, page.looked, broker.turns.spent) == ([], 50, 50) and page.cursor
    assert names(every(query.sessions, 10, match=lambda session: session.client_id == b"c150")) == [b"c150"]
    for i in range(3000):
        if i != 2999:
            broker.session_registry.end(broker.sessions[b"c%d" % i])
    assert names(every(query.sessions, 10)) == [b"c2999"]


def subscribed(world, client_id, topic_filter, options=0):
    world.broker.session_registry.subscribe(world.broker.sessions[client_id], topic_filter, options)


def pairs(found):
    return sorted([(session.client_id, topic_filter) for session, topic_filter, _ in found])


def test_subscriptions():
    world = world_of(20)
    expected = []
    for i in range(20):
        for n in range(i):
            subscribed(world, b"c%d" % i, b"t/%d" % n if n % 2 else b"t/%d/#" % n, n % 3)
            expected.append((b"c%d" % i, b"t/%d" % n if n % 2 else b"t/%d/#" % n))
    subscribed(world, b"c3", b"$share/g/x")
    subscribed(world, b"c7", b"$share/g/x")
    expected += [(b"c3", b"$share/g/x"), (b"c7", b"$share/g/x")]
    world.broker.subscribe("t/1", print)  # the program's are nobody's
    query = Query(world.broker)
    for limit in (1, 5, 1000):
        assert pairs(every(query.subscriptions, limit)) == sorted(expected)
        for client_id in (b"c0", b"c3", "c19", "none"):
            mine = [pair for pair in expected if pair[0] == (client_id if isinstance(client_id, bytes) else client_id.encode())]
            assert pairs(every(query.subscriptions, limit, client_id=client_id)) == sorted(mine)
        for topic_filter in (b"t/1", b"t/0/#", "$share/g/x", b"t/99", b"t/18/#"):
            found = [p for p in expected if p[1] == (topic_filter if isinstance(topic_filter, bytes) else topic_filter.encode())]
            assert pairs(every(query.subscriptions, limit, topic_filter=topic_filter)) == sorted(found), topic_filter
        assert pairs(every(query.subscriptions, limit, topic_filter=b"t/1", client_id="c5")) == [(b"c5", b"t/1")]
        assert every(query.subscriptions, limit, topic_filter=b"t/1", client_id="c1") == []


def test_subscriptions_of_a_filter_that_many_have():
    """More than are looked at for a page: then the sessions are gone through."""
    world = world_of(300)
    for client_id in ids(300):
        if client_id != b"c9":
            subscribed(world, client_id, b"all")
    world.broker.turns.limit = 100
    query = Query(world.broker)
    found = every(query.subscriptions, 20, topic_filter=b"all")
    assert pairs(found) == sorted([(client_id, b"all") for client_id in ids(300) if client_id != b"c9"])
    for client_id in ids(270):
        if client_id != b"c9":
            world.broker.session_registry.unsubscribe(world.broker.sessions[client_id], b"all")
    assert len(every(query.subscriptions, 7, topic_filter=b"all")) == 30
    for i, client_id in enumerate(ids(30)):  # as many as are looked at, and one more
        subscribed(world, client_id, b"$share/g/x")
        count = i + 1
        if count >= 24:
            assert len(every(query.subscriptions, 7, topic_filter=b"$share/g/x")) == count


def test_subscriptions_that_stay_are_given_once():
    for seed in range(6):
        world = world_of(30)
        broker = world.broker
        query = Query(broker)
        dice = Dice(seed)
        stay: "list[tuple[bytes, bytes]]" = []
        go: "list[tuple[bytes, bytes]]" = []
        for client_id in ids(30):
            for n in range(dice(15)):
                subscribed(world, client_id, b"t/%d" % n)
                (stay if dice(2) else go).append((client_id, b"t/%d" % n))

        def change(broker=broker, dice=dice, go=go, world=world):
            for _ in range(dice(10)):
                if go and dice(2):
                    client_id, topic_filter = go.pop(dice(len(go)))
                    broker.session_registry.unsubscribe(broker.sessions[client_id], topic_filter)
                else:
                    subscribed(world, b"c%d" % dice(30), b"new/%d" % dice(100))

        found = [(session.client_id, topic_filter) for session, topic_filter, _ in every(query.subscriptions, 4, change)]
        for pair in stay:
            assert found.count(pair) == 1, (seed, pair)


def test_retained_and_topics():
    world = World()
    broker = world.broker
    for i in range(30):
        broker.publish("a/%d" % i, "x" * i or "y", retain=True)
    broker.publish("b", b"\xff\x00", retain=True, qos=1)
    broker.publish("b/c", "1", retain=True, expiry=10)
    broker.publish("$d/e", "1", retain=True)
    query = Query(broker)
    everything = sorted(["a/%d" % i for i in range(30)] + ["b", "b/c", "$d/e"])

    def found(limit, *filters):
        return sorted([str(record[0], "utf-8") for record in every(query.retained, limit, topic_filter=filters[0] if filters else None)])

    for limit in (1, 4, 1000):
        assert found(limit) == everything
        assert found(limit, "#") == everything[1:] and found(limit, "b/#") == ["b", "b/c"] and found(limit, b"a/7") == ["a/7"]
        assert found(limit, "$d/#") == ["$d/e"] and found(limit, "x/#") == []
    world.now += 20000
    assert found(5, "b/#") == ["b"]
    for wrong in ("", "a#", "a/#/b"):
        raises(ValueError, query.retained, wrong)
    raises(ValueError, query.retained, "#", "nonsense")
    assert sorted([item[0] for item in every(query.topics, 2)]) == [b"$d", b"a", b"b"]
    assert len(every(query.topics, 7, parent="a")) == 30 and every(query.topics, 7, parent="a/1") == []


def shown(page):
    return json.loads("".join(pieces(page.described())))


def test_what_is_told_of_each():
    world = World()
    broker = world.broker
    client = world.connect("c\xe9")
    client.subscribe("t/+", qos=1)
    broker.publish("a", '{"x": 1}', retain=True, qos=1)
    broker.publish("b", b"\xff" * 10, retain=True)
    broker.publish("l", "\xe9" * 300, retain=True)
    query = Query(broker)
    (session,) = shown(query.sessions())
    assert session == {
        "client_id": "c\xe9", "user": None, "address": "127.0.0.1:5000", "listener": "default", "in_process": False,
        "connected": True, "version": 5, "expiry": 0, "subscriptions": 1, "inflight": 0, "queued": 0, "queued_bytes": 0,
    }  # fmt: skip
    (subscription,) = shown(query.subscriptions())
    assert subscription == {
        "client_id": "c\xe9", "topic_filter": "t/+", "qos": 1, "no_local": False, "retain_as_published": False, "retain_handling": 0,
        "identifier": None,
    }  # fmt: skip
    found = {one["topic"]: one for one in shown(query.retained())}
    assert found["a"] == {"topic": "a", "qos": 1, "size": 8, "payload": '{"x": 1}'}
    assert found["b"] == {"topic": "b", "qos": 0, "size": 10, "base64": "/////////////w=="}
    assert found["l"]["size"] == 600 and found["l"]["payload"] == "\xe9" * 128
    (record,) = query.retained("l").items
    assert retained_fields(record, 3)["payload"] == b"\xc3\xa9"
    assert {"topic": "a", "qos": 1, "size": 8, "payload": '{"x": 1}', "below": False} in shown(query.topics())


def test_in_process_clients_are_listed():
    world = World()
    broker = world.broker
    query = Query(broker)
    world.connect("outside")
    client = broker.open_client("inside", lambda batch: None, clean_start=False, expiry=100, version=4)
    client.subscribe("t/#", qos=1)
    broker.publish("t/1", "x", qos=1)
    found = {one["client_id"]: one for one in shown(query.sessions())}
    assert found["inside"] == {
        "client_id": "inside", "user": None, "address": "in-process", "listener": "in-process", "in_process": True,
        "connected": True, "version": 4, "expiry": 100, "subscriptions": 1, "inflight": 1, "queued": 0, "queued_bytes": 0,
    }  # fmt: skip
    assert not found["outside"]["in_process"]
    assert pairs(query.subscriptions(topic_filter="t/#").items) == pairs(query.subscriptions("inside").items) == [(b"inside", b"t/#")]
    world.see_off()
    client.disconnect()
    world.see_off()
    found = {one["client_id"]: one for one in shown(query.sessions())}
    assert (found["inside"]["in_process"], found["inside"]["connected"]) == (True, False)
    world.advance(200000)
    assert [one["client_id"] for one in shown(query.sessions())] == ["outside"]


def test_lists_as_pages():
    world = world_of(120)
    world.broker.route("GET", "/clients", lambda request: listed(request, Query(request.broker).sessions))
    visitor = Visitor(world)
    found = []
    target = "/clients?limit=50"
    while True:
        status, fields, body = visitor.ask("GET", target)
        assert (status, fields["content-type"]) == (200, "application/json")
        page = json.loads(str(body, "utf-8"))
        found += [item["client_id"].encode() for item in page["items"]]
        if page["cursor"] is None:
            break
        target = "/clients?limit=50&cursor=" + page["cursor"]
    assert sorted(found) == sorted(ids(120))
    for target in ("/clients?limit=x", "/clients?limit=0", "/clients?limit=-1", "/clients?limit=%c2%b2", "/clients?cursor=x", "/clients?cursor=%ff"):
        assert visitor.ask("GET", target)[0] == 400, target
