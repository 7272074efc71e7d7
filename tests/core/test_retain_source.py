"""check_retain_source: what is retained is withheld from new subscriptions once its publisher may not publish it any more."""

from disk import Disk, restart
from harness import VERSIONS, World
from port.core.constants import ALLOWED
from port.core.limits.listener import Listener
from port.core.messages.message import Message
from port.core.messages.retained import Retained, record
from port.core.auth.allow_deny import AllowAll
from port.core.acl.client_policy import new_acl
from rights import ALL, Users, change, rules, topics, will, world_asking, world_with

HEAPSIZE = "2m"
NOT_BOB = {"topic": "a/#", "user": "bob", "allow": False}


def retained(world, topic_filter="#", version=5, **fields):
    """What a new subscription brings."""
    fields.setdefault("user", b"reader")
    client = world.connect("reader", version, **fields)
    client.subscribe(topic_filter, 1)
    found = topics(client)
    client.disconnect()
    return sorted(found)


def two_publish(world, qos=0):
    """Ann and bob retain one message each."""
    for name in (b"ann", b"bob"):
        world.connect(name, user=name).publish("a/" + str(name, "utf-8"), "x", qos, 0x10 if qos else 0, retain=True)


def test_rules_that_have_changed():
    for version in VERSIONS:
        world = world_with(ALL)
        two_publish(world)
        assert retained(world, version=version) == ["a/ann", "a/bob"]
        change(world, NOT_BOB, ALL)
        assert retained(world, version=version) == ["a/ann"]
        assert retained(world, "a/bob", version) == []
        change(world, ALL)
        assert retained(world, version=version) == ["a/ann", "a/bob"]
        change(world)
        assert retained(world, version=version) == ["a/ann", "a/bob"]


def test_it_can_be_switched_off():
    world = world_with(ALL, check_retain_source=False)
    two_publish(world)
    change(world, NOT_BOB, ALL)
    assert retained(world) == ["a/ann", "a/bob"]
    assert world.broker.retained.get(b"a/bob")[5] is None  # nothing is kept for it
    world = world_with(ALL)
    two_publish(world)
    change(world, NOT_BOB, ALL)
    world.broker.options.check_retain_source = False
    assert retained(world) == ["a/ann", "a/bob"]


def test_qos_and_retain_of_a_rule_count():
    world = world_with(ALL, max_retained_expiry=1000)
    two_publish(world, 1)
    change(world, {"topic": "a/#", "user": "bob", "qos": 0}, ALL)
    assert retained(world) == ["a/ann"]
    change(world, {"topic": "a/#", "user": "bob", "qos": 1, "retain": False}, ALL)
    assert retained(world) == ["a/ann"]
    change(world, {"topic": "a/#", "user": "bob", "qos": 1}, ALL)
    assert retained(world) == ["a/ann", "a/bob"]
    change(world, {"topic": "a/#", "user": "bob", "actions": ["subscribe"]}, {"topic": "#", "user": "reader"})
    assert retained(world) == []


def test_client_id_and_address_count():
    world = world_with(ALL, anonymous="all")
    world.connect("one", address="10.0.0.1:5000", user=b"u").publish("a/1", "x", retain=True)
    world.connect("two", address="10.0.0.2:5000", user=b"u").publish("a/2", "x", retain=True)
    change(world, {"topic": "a/+", "client_id": "one", "allow": False}, ALL)
    assert retained(world) == ["a/2"]
    change(world, {"topic": "a/+", "address": "10.0.0.2", "allow": False}, ALL)
    assert retained(world) == ["a/1"]
    change(world, {"topic": "#", "user": "reader", "actions": ["subscribe"]}, {"topic": "a/%c"}, {"topic": "a/1", "user": "u"})
    assert retained(world) == ["a/1"]


def test_a_user_that_was_removed():
    world = World(anonymous="none")
    users = Users(ann="", bob="", reader="")
    world.broker.authenticators.append(users)
    world.broker.set_acl(rules(ALL))
    for name in (b"ann", b"bob"):
        world.connect(name, user=name, password=b"").publish(b"a/" + name, "x", retain=True)
    del users.users["bob"]
    world.broker.rights_changed()
    assert retained(world, password=b"") == ["a/ann"]
    users.users["bob"] = ""
    assert retained(world, password=b"") == ["a/ann", "a/bob"]


def test_clients_without_a_user_name():
    world = World(anonymous="all")
    world.broker.set_acl(rules(ALL))
    world.connect("c").publish("a", "x", retain=True)
    assert retained(world, user=None) == ["a"]
    users = Users(reader="")
    world.broker.authenticators.append(users)
    assert retained(world, password=b"") == ["a"]
    world.broker.options.anonymous = "none"
    assert retained(world, password=b"") == []
    world.broker.authenticators.append(AllowAll())  # who lets in everybody, with a name or without
    assert retained(world, password=b"") == ["a"]


def test_rules_of_the_listener_through_which_it_came():
    world = world_with(ALL)
    broker = world.broker
    own = new_acl(broker, rules(ALL))
    listener = broker.add_listener(Listener("lan", "tcp", broker.options, [AllowAll()], own))
    world.connect("c", user=b"u", listener=listener).publish("a/lan", "x", retain=True)
    world.connect("d", user=b"u").publish("a/default", "x", retain=True)
    change(world, {"topic": "a/#", "user": "u", "allow": False}, ALL)
    assert retained(world) == ["a/lan"]
    listener.acl = new_acl(broker, rules({"topic": "b"}))
    broker.rights_changed()
    assert retained(world) == []
    listener.acl = own
    assert retained(world) == ["a/lan"]
    broker.listeners.remove(listener)  # then the broker's rules hold
    assert retained(world) == []


def test_the_program_that_embeds_the_broker():
    """What it publishes has no publisher to ask about; what it subscribes to is checked as well."""
    world = world_with(ALL)
    world.broker.publish("a/own", "x", retain=True)
    two_publish(world)
    change(world, NOT_BOB, ALL)
    found = []
    world.broker.subscribe("a/#", lambda message: found.append(message.topic))
    assert sorted(found) == ["a/ann", "a/own"] and retained(world) == ["a/ann", "a/own"]


def test_who_replaces_a_message_is_its_publisher():
    world = world_with(ALL)
    two_publish(world)
    world.connect("ann", user=b"ann").publish("a/bob", "y", retain=True)
    change(world, NOT_BOB, ALL)
    assert retained(world) == ["a/ann", "a/bob"]
    world.broker.publish("a/ann", "z", retain=True)
    assert world.broker.retained.get(b"a/ann")[5] is None


def test_a_will():
    world = world_with(ALL)
    world.connect("bob", user=b"bob", will=will(b"a/will", retain=True)).lose()
    change(world, NOT_BOB, ALL)
    assert retained(world) == []
    change(world, ALL)
    assert retained(world) == ["a/will"]


def test_without_rules_nothing_is_kept():
    world = world_with()
    two_publish(world)
    assert world.broker.retained.get(b"a/bob")[5] is None
    change(world, NOT_BOB, ALL)
    assert retained(world) == ["a/ann", "a/bob"]


def test_rights_that_only_an_authorizer_knows():
    """While the client is away nobody can say what it may do."""
    world, authorizer = world_asking()
    client = world.connect("c", user=b"u")
    client.send_publish("a", "x", 1, retain=True)
    authorizer.answer(ALLOWED)
    assert world.broker.retained.get(b"a")[5] is None


def test_a_hook_that_redirects():
    """The program vouches for what it sends to a topic that is not the client's."""
    world = world_with({"topic": "in", "user": "bob"}, {"topic": "#", "user": "reader"})
    world.broker.on("process_message", lambda client, message: Message(b"out", message.payload, 0, True))
    world.connect("bob", user=b"bob").publish("in", "x", retain=True)
    assert retained(world) == ["out"]


def test_it_outlives_the_broker():
    for disk in (Disk(), Disk(sessions=False, waits=False)):
        world = world_with(ALL, store=disk)
        two_publish(world)
        world.connect("c", user=b"").publish("a/" + "n" * 50, "x", retain=True)
        world.broker.publish("own", "x", retain=True)
        world.broker.journal.commit()
        before = {name: world.broker.retained.get(name)[:6] for name in (b"a/ann", b"a/bob", b"own")}
        assert before[b"a/bob"][5] == (b"bob", b"bob", "127.0.0.1:5000", "default") and before[b"own"][5] is None
        world = restart(world)
        assert {name: world.broker.retained.get(name)[:6] for name in before} == before
        world.broker.authenticators.append(AllowAll())
        world.broker.set_acl(rules(NOT_BOB, ALL))
        assert retained(world) == ["a/ann", "a/" + "n" * 50, "own"]


def test_properties_and_expiry_are_stored_beside_it():
    world = world_with(ALL, store=Disk())
    client = world.connect("bob", user=b"bob")
    client.publish("a/1", "x", 1, 0x10, retain=True, properties={2: 60, 38: [(b"k", b"v")]})
    before = world.broker.retained.get(b"a/1")
    assert before[5] is not None and before[4] == world.now + 60000 and before[3]
    assert restart(world).broker.retained.get(b"a/1")[:6] == before[:6]


def test_it_counts_for_max_retained_bytes():
    store = Retained(10, 10000)
    message = Message(b"a", b"x", 0, True)
    plain = store.size_of(record(message))
    assert store.size_of(record(message, (None, b"c", "1:2", "x"))) >= plain + 4
    assert store.size_of(record(message, (b"u" * 100, b"c" * 100, "1:2", "x"))) == store.size_of(record(message, (None, b"c", "1:2", "x"))) + 199
    world = world_with(ALL, max_retained_bytes=plain, retained_share=100)
    world.connect("c", user=b"u").publish("a", "x", 1, 0x97, retain=True)
    assert world.broker.retained.count == 0


def test_many_publishers():
    """More than are remembered at a time."""
    world = world_with(ALL)
    for i in range(100):
        world.connect("c%d" % i, user=b"u%d" % i).publish("a/%d" % i, "x", retain=True)
    change(world, {"topic": "a/#", "user": "u1*", "allow": False}, ALL)
    assert len(retained(world, "a/#")) == 89
