"""In-process clients: sessions without a socket that see what matches, publish, and are told where each message comes from."""

from disk import Disk, restart
from harness import VERSIONS, World, raises, split
from port.core import TYPE_CHECKING
from port.core.wire.codec import PUBREC, PUBREL
from port.core.wire.properties import (
    CONTENT_TYPE,
    MESSAGE_EXPIRY_INTERVAL,
    SESSION_EXPIRY_INTERVAL,
    USER_PROPERTY,
)
from port.core.limits.options import Options
from port.core.messages.message import Message
from port.core.auth.authenticator import Authenticator
from port.core.protocol.client_packets import decode, encode
from port.core.monitor.watchers import Watcher
from port.core.broker import Broker

if TYPE_CHECKING:
    from typing import Any

HEAPSIZE = "4m"
LOCALS = (4, 5)  # versions that an in-process client may have
NEVER = 0xFFFFFFFF


class Program:
    """What a program does with an in-process client: it notes what it is told.

    batches  as they came
    codes    why the client was closed
    """

    def __init__(self, world, client_id="l", **settings):
        self.world = world
        self.batches: "list[Any]" = []
        self.codes: "list[int]" = []
        self.readies = 0
        self.done: "list[int]" = []
        self.client = world.broker.open_client(client_id, self.batches.append, closed=self.codes.append, ready=self.ready, **settings)
        self.subscribe = self.client.subscribe
        self.settle = world.settle

    def ready(self):
        self.readies += 1

    def publish(self, *args, **fields):
        taken = self.client.publish(*args, **fields)
        self.settle()
        return taken

    def take(self):
        """The messages that came since the last time: (origin, topic, payload, QoS)."""
        self.settle()
        found = [(batch.origin, m.topic, m.payload, m.qos) for batch in self.batches for m in batch]
        self.batches.clear()
        return found

    def messages(self):
        self.settle()
        found = [m for batch in self.batches for m in batch]
        self.batches.clear()
        return found

    def payloads(self):
        return [m.payload for m in self.messages()]


def world_of_turns(turn=400, **options):
    world = World(**options)
    world.broker.turns.limit = turn
    return world


# -- messages to it ----------------------------------------------------------------------------


def test_it_gets_what_matches_whoever_publishes():
    for version in LOCALS:
        for other in VERSIONS:
            for qos in (0, 1, 2):
                world = World()
                program = Program(world, version=version)
                assert program.subscribe("a/+", qos) == qos
                client = world.connect("c", other)
                for sent in (0, 1, 2):
                    for _ in range(2):
                        client.publish("a/b", "%d" % sent, sent)
                client.publish("b", "not this")
                expected = []
                for sent in (0, 1, 2):
                    expected += [(b"c", "a/b", b"%d" % sent, min(sent, qos))] * 2
                assert program.take() == expected, (version, other, qos)
                assert not world.session("l").inflight  # acknowledged
                assert not world.errors()


def row(count, topic=b"t", qos=0, version=4, first=1, size=8):
    """PUBLISH packets that come in one read."""
    return b"".join([
        encode({
            "type": 3, "topic": topic, "qos": qos, "packet_id": first + i if qos else 0, "payload": b"%0*d" % (size, i)
        }, version)
        for i in range(count)
    ])  # fmt: skip


def test_packets_are_those_of_its_version_and_all_counts_are_right():
    for version in LOCALS:
        for other in LOCALS:
            for qos in (0, 1, 2):
                for size in (8, 119, 120, 121, 1300, 70000):
                    world = World(max_inflight=65535)
                    program = Program(world, version=version)
                    program.subscribe("#", 2)
                    plain = world.connect("s", other)
                    plain.subscribe("#", 2)
                    client = world.connect("c", other)
                    world.settle()
                    sent, published = world.broker.counters.packets_sent, world.broker.counters.published
                    client.feed(row(3, qos=qos, version=other, size=size))
                    assert world.broker.counters.published - published == 6, (version, other, qos, size)
                    assert world.broker.counters.packets_sent - sent == 6 + (3 if qos else 0), (version, other, qos, size)
                    assert [batch.origin for batch in program.batches] == [b"c"]
                    packets = [p for chunk in program.batches[0].packets for p in split(chunk)]
                    assert program.batches[0].size == sum([len(p) for p in packets])
                    found = [decode(p, version) for p in packets]
                    assert [p["payload"] for p in found] == [b"%0*d" % (size, i) for i in range(3)]
                    assert [p["topic"] for p in found] == [b"t"] * 3 and [p["qos"] for p in found] == [qos] * 3
                    assert [m.payload for m in program.batches[0]] == [p["payload"] for p in found]
                    assert world.broker.memory.message_bytes == 0 or qos  # `s` has not acknowledged


def test_topics_that_alternate():
    for version in LOCALS:
        for other in LOCALS:
            for qos in (0, 1):
                world = World()
                program = Program(world, version=version)
                program.subscribe("#", 1)
                client = world.connect("c", other)
                data = b"".join([row(1, b"t%d" % (i % 3), qos, other, i + 1) for i in range(9)])
                client.feed(data)
                client.feed(data)
                assert program.take() == [(b"c", "t%d" % (i % 3), b"00000000", qos) for i in range(18 // 2)] * 2


def test_others_keep_their_fast_lanes():
    """Whatever its version: they pass packets of QoS 0 on as they came."""
    for version in LOCALS:
        for other in LOCALS:
            world = World()
            program = Program(world, version=version)
            program.subscribe("#")
            world.connect("s", other).subscribe("#")
            client = world.connect("c", other)
            client.publish("t", "1")
            client.publish("t", "2")
            inlet = world.session("l").inlet is not None
            assert inlet == (version == 5) or hasattr(world.session("l"), "__mypyc_attrs__")
            assert (b"t" in world.broker.router.fast[other == 5]) == (version == other or inlet)
            assert program.payloads() == [b"1", b"2"]


def test_properties():
    world = World()
    program = Program(world)
    program.subscribe("#", 1)
    client = world.connect("c")
    properties = {USER_PROPERTY: [(b"k", b"v")], CONTENT_TYPE: b"t"}
    for qos in (0, 1):
        for _ in range(2):
            client.publish("t", "x", qos, properties=properties)
    client.publish("t", "y", properties={MESSAGE_EXPIRY_INTERVAL: 10, CONTENT_TYPE: b"t"})
    found = program.messages()
    assert [m.decoded_properties() for m in found] == [properties] * 4 + [{CONTENT_TYPE: b"t"}]
    assert [m.expires for m in found] == [None] * 4 + [world.now + 10000]


def test_options_of_a_subscription():
    world = World()
    world.broker.publish("kept", "1", retain=True)
    program = Program(world)
    program.subscribe("kept")
    program.subscribe("kept", retain_handling=1)  # it is not new
    program.subscribe("kept", retain_handling=2)
    found = program.messages()
    assert [(m.payload, m.retain) for m in found] == [(b"1", True)]
    program.subscribe("kept", identifier=7)
    program.subscribe("+", 1, retain_as_published=True, retain_handling=2, identifier=300)
    program.subscribe("t/u", no_local=True)
    found = program.messages()
    assert [(m.payload, m.identifiers) for m in found] == [(b"1", (7,))]
    world.connect("c").publish("kept", "2", 2, retain=True)
    program.publish("t/u", "own")
    program.publish("kept", "3", 1)
    found = program.messages()
    assert [(m.payload, m.qos, m.retain, sorted(m.identifiers)) for m in found] == [
        (b"2", 1, True, [7, 300]), (b"3", 1, False, [7, 300])
    ]  # fmt: skip
    assert program.client.unsubscribe("+")
    assert not program.client.unsubscribe("+")
    world.connect("c").publish("kept", "4", 2)
    assert [(m.payload, m.qos, m.identifiers) for m in program.messages()] == [(b"4", 0, (7,))]


def test_shared_subscriptions():
    world = World()
    program = Program(world)
    program.subscribe("$share/g/t", 1)
    other = world.connect("o")
    other.subscribe("$share/g/t", 1)
    client = world.connect("c")
    for i in range(6):
        client.publish("t", str(i), i & 1)
    theirs = other.payloads()
    assert len(theirs) == 3 and sorted(theirs + program.payloads()) == [b"%d" % i for i in range(6)]


def test_what_it_cannot_subscribe_to():
    world = World(max_topic_length=20)
    program = Program(world, no_local=True)
    for wrong in ("", "a#", b"\xff", "$share/g", "$share//a"):
        raises(ValueError, program.subscribe, wrong)
    for options in ((3,), (0, False, False, 3), (0, False, False, 0, -1)):
        raises(ValueError, program.subscribe, "a", *options)
    raises(ValueError, program.subscribe, "$share/g/a")
    raises(ValueError, Program(world, "m").subscribe, "$share/g/a", 0, True)
    raises(ValueError, Program(world, "n", version=4).subscribe, "a", 0, False, False, 0, 1)
    assert program.subscribe("a" * 21) == 0x8F
    world.broker.on("subscribe", lambda client, topic_filter, options: 0x83 if topic_filter == b"no" else None)
    assert program.subscribe("no") == 0x83
    assert world.session("l").subscriptions == {}


# -- messages from it --------------------------------------------------------------------------


def test_it_publishes_to_all():
    for version in LOCALS:
        for qos in (0, 1, 2):
            world = World()
            clients = [world.connect("v%d" % other, other) for other in VERSIONS]
            for client in clients:
                client.subscribe("#", 2)
            program = Program(world, version=version)
            properties = {USER_PROPERTY: [(b"k", b"v")]} if version == 5 else None
            for i in range(3):
                assert program.publish("a/b", str(i), qos, i == 2, properties, done=program.done.append)
            for client in clients:
                found = client.messages()
                assert [(p["payload"], p["qos"]) for p in found] == [(b"%d" % i, qos) for i in range(3)]
                assert [p["properties"] for p in found] == [properties if properties and client.version == 5 else {}] * 3
            assert program.done == [0, 0, 0]
            assert [record[1] for record in world.broker.retained.matching(b"#")] == [b"2"]
            assert not world.session("l").received


def test_many_at_once():
    world = World(receive_maximum=2)
    client = world.connect("c", 4)
    client.subscribe("#", 2)
    program = Program(world)
    sent = [Message(b"t/%d" % (i % 3), b"%d" % i, i % 3) for i in range(50)]
    assert program.client.publish_all(sent, program.done.append)
    assert not program.done  # the program is called in its turn
    program.settle()
    assert program.done == [0]
    assert [(p["topic"], p["payload"], p["qos"]) for p in client.messages()] == [(m.name, m.payload, m.qos) for m in sent]
    assert program.client.publish_all([], program.done.append) and program.done == [0, 0]


def test_what_it_gets_can_be_published_elsewhere():
    here, there = World(), World()
    source = Program(here)
    source.subscribe("#", 2)
    target = Program(there)
    client = there.connect("c")
    client.subscribe("#", 2)
    here.connect("p").publish("t", "x", 2, properties={MESSAGE_EXPIRY_INTERVAL: 10, CONTENT_TYPE: b"t"})
    there.now = here.now
    here.settle()
    for batch in source.batches:
        target.client.publish_all(batch)
    client.expect_message("t", "x", 2, properties={MESSAGE_EXPIRY_INTERVAL: 10, CONTENT_TYPE: b"t"})


def test_what_it_cannot_publish():
    world = World(max_topic_length=20, max_topic_levels=3, max_packet_size=300)
    program = Program(world)
    client = world.connect("c")
    client.subscribe("#")
    for wrong in ("", "a/#", "+", b"\xff", "$SYS/x", "a" * 21, "a/b/c/d"):
        raises(ValueError, program.publish, wrong)
    raises(ValueError, program.publish, "a", "", 3)
    raises(ValueError, program.publish, "a", bytes(300))
    raises(ValueError, program.client.publish_all, [Message(b"a", b""), Message(b"", b"")])
    client.expect_nothing()
    assert program.client.connected


def test_options_that_refuse_something_to_others_do_not_hold_for_it():
    world = World(
        max_qos=0, retain_available=False, wildcard_subscriptions=False, shared_subscriptions=False,
        subscription_identifiers=False, message_size_limit=2, max_message_rate=1, max_byte_rate=1, accept_protocol_versions=(3,),
        allow_zero_length_clientid=False, use_username_as_clientid=True, anonymous="none", max_keep_alive=1, connect_timeout=1,
    )  # fmt: skip
    program = Program(world, "", user="u")
    assert program.client.client_id
    assert program.subscribe("#", 2, identifier=1) == 2
    assert program.subscribe("$share/g/a", 2) == 2
    for i in range(5):
        assert program.publish("t", "long %d" % i, 2, True)
    world.advance(100000)
    assert len(program.messages()) == 5 and world.broker.retained.count == 1


def test_options_of_its_own():
    world = World(max_queued_messages=2)
    raises(ValueError, lambda: Program(world, max_queued_messages=-1))
    raises(ValueError, lambda: Program(world, nonsense=1))
    assert not world.broker.sessions
    kept = {"clean_start": False, "expiry": NEVER}
    Program(world, max_queued_messages=3, **kept).subscribe("t", 1)
    assert world.session("l").options.max_queued_messages == 3
    Program(world, "m", **kept).subscribe("t", 1)
    for client_id in ("l", "m"):
        world.session(client_id).conn.transport._client.disconnect()
    world.broker.options.assign(Options(max_queued_messages=1, sys_interval=0))
    world.broker.rights_changed()  # a reload
    assert world.session("l").options.max_queued_messages == 3
    for i in range(9):
        world.broker.publish("t", str(i), 1)
    assert Program(world, max_queued_messages=3, **kept).payloads() == [b"0", b"1", b"2"]
    assert Program(world, "m", **kept).payloads() == [b"0"]
    listener = world.broker.local.listener
    for most in (3, 4, 5):
        program = Program(world, "n", max_queued_messages=most)
        raises(ValueError, lambda: Program(world, "n", max_queued_messages=-1))
        assert world.session("n").options.max_queued_messages == most
        assert len(listener._limited) == 2  # those of `l` and `n`
        program.client.disconnect()
    assert sorted(listener._own) == [b"l"] and len(listener._limited) == 1


def test_acknowledgements_wait_for_the_store():
    disk = Disk()
    world = World(store=disk)
    world.connect("k", properties={SESSION_EXPIRY_INTERVAL: 1000}).subscribe("t", 2)
    program = Program(world)
    disk.manual = True
    for qos in (1, 2):
        assert program.publish("t", "x", qos, done=program.done.append)
        assert not program.done
        disk.complete_all()
        program.settle()
        assert program.done == [0]
        program.done.clear()
    assert program.publish("u", "x", 1, done=program.done.append)  # nothing of it is to be stored
    assert program.done == [0x10]  # nobody subscribes


def test_a_publisher_waits_while_the_store_or_a_receiver_is_behind():
    world = World(max_inflight=1, max_queued_messages=8, receiver_patience=60000)
    slow = world.connect("s")
    slow.subscribe("#", 1)
    program = Program(world)
    sent = 0
    while program.client.writable:
        assert program.client.publish_all([Message(b"t", b"%d" % (sent + i), 1) for i in range(2)])
        program.settle()
        sent += 2
        assert sent < 200
    assert not program.client.publish_all([Message(b"t", b"x", 1)])
    assert program.readies == 0
    found: "list[bytes]" = []
    while len(found) < sent:
        found += slow.payloads()
        program.settle()
    assert found == [b"%d" % i for i in range(sent)]
    assert program.readies == 1 and program.client.writable
    program.publish("t", "y", 1)
    assert slow.payloads() == [b"y"]


def test_much_at_once_takes_turns_and_is_handled_to_its_end():
    world = world_of_turns()
    client = world.connect("c")
    client.subscribe("#")
    program = Program(world)
    sent = [Message(b"t/%d" % i, b"%d" % i) for i in range(200)]
    assert program.client.publish_all(sent)
    assert 0 < len(client.inbox) < 200 and not program.client.writable
    assert not program.client.publish_all(sent)
    program.settle()
    assert client.payloads() == [b"%d" % i for i in range(200)]
    assert program.readies == 1


# -- raw packets -------------------------------------------------------------------------------


def test_raw_packets_from_one_broker_to_another():
    for version in LOCALS:
        here, there = World(max_inflight=65535), World()
        answers: "list[Any]" = []
        source = Program(here, version=version, acknowledge=False, receive_maximum=100)
        source.subscribe("#", 2)
        target = there.broker.open_client("b", print, version=version, answers=answers.append)
        client = there.connect("c", 9 - version)
        client.subscribe("#", 2)
        sender = here.connect("p", version)
        for qos in (0, 1, 2):
            sender.feed(row(4, qos=qos, version=version))
        for batch in source.batches:
            assert target.publish_packets(batch.packets)
        there.settle()
        assert [p["qos"] for p in client.messages()] == [0] * 4 + [1] * 4 + [2] * 4
        assert len(here.session("l").inflight) == 8
        while answers:
            for packet in split(answers.pop(0)):
                found = decode(packet, version)
                assert found["code"] == 0
                if found["type"] == PUBREC:
                    source.client.received(found["packet_id"])
                else:
                    source.client.acknowledge(found["packet_id"])
            here.settle()
            for batch in source.batches:
                for chunk in batch.packets:
                    if chunk[0] == 0x62:
                        target.publish_packets(chunk)
            source.batches.clear()
            there.settle()
        assert not here.session("l").inflight and not there.session("b").received


def test_what_is_wrong_with_a_raw_packet_ends_it():
    world = World()
    for version in LOCALS:
        program = Program(world, version=version)
        other = world.connect("c", version)
        assert program.client.publish_packets(b"\x30\x03\0\x01#")
        program.settle()
        assert program.codes == [0x81 if version == 5 else 0x80]
        assert not program.client.connected and not program.client.writable
        raises(RuntimeError, program.publish, "t")
        raises(RuntimeError, program.client.publish_packets, b"")
        raises(RuntimeError, program.subscribe, "t")
        raises(RuntimeError, program.client.unsubscribe, "t")
        program.client.acknowledge(1)
        program.client.received(1)
        program.client.disconnect()
        other.ping()
        assert world.session("l") is None and not world.errors()


def test_identifiers_are_the_programs_where_it_asks_for_answers():
    world = World()
    client = world.broker.open_client("l", print, answers=lambda packets: None)
    raises(ValueError, client.publish, "t", "", 1)
    assert client.publish("t", "", 0)


# -- origins -----------------------------------------------------------------------------------


def test_each_message_has_the_client_it_came_from():
    for version in LOCALS:
        world = World()
        program = Program(world, version=version)
        program.subscribe("#", 1)
        a, b = world.connect("a", 4), world.connect("b", 5)
        other = Program(world, "other")
        for qos in (0, 1):
            for conn, one in ((a.conn, a), (b.conn, b), (a.conn, a)):  # several reads before the flush
                conn.take(row(2, b"t", qos, one.version))
            other.client.publish("o", "", qos)
            world.broker.publish("p", "", qos)
            b.conn.take(row(1, b"t", qos, 5))
            origins = [(origin, topic) for origin, topic, _, _ in program.take()]
            assert origins == [(b"a", "t")] * 2 + [(b"b", "t")] * 2 + [(b"a", "t")] * 2 + [(b"other", "o"), (b"", "p"), (b"b", "t")]
            for client in (a, b):
                client.inbox.clear()


def test_the_origin_of_what_hooks_publish():
    world = World()
    program = Program(world)
    program.subscribe("#")
    other = Program(world, "other")

    def hook(client, message):
        if message.topic == "t":
            world.broker.publish("by/program", "")
            other.client.publish("by/other", "")

    world.broker.on("message", hook)
    client = world.connect("c")
    client.feed(row(2, b"t", version=5))
    one = [(b"", "by/program", b"", 0), (b"other", "by/other", b"", 0), (b"c", "t", b"00000000", 0)]
    assert program.take() == one + one[:2] + [(b"c", "t", b"00000001", 0)]


def test_the_origin_of_wills_and_retained_messages():
    world = World()
    will = {"topic": b"w", "payload": b"gone", "qos": 0, "retain": True, "properties": {}}
    program = Program(world)
    program.subscribe("#")
    world.connect("c", will=will).lose()
    assert program.take() == [(b"", "w", b"gone", 0)]
    client = world.connect("c", will=will)
    client.disconnect(code=4)
    assert program.take() == [(b"c", "w", b"gone", 0)]
    client = world.connect("c", will=will)
    client.feed(b"\x00\x00")
    world.see_off()
    assert program.take() == [(b"", "w", b"gone", 0)]
    program.subscribe("w")
    assert program.take() == [(b"", "w", b"gone", 0)]


def test_what_has_waited_in_its_queue_keeps_its_origin():
    world = World()
    program = Program(world, acknowledge=False, receive_maximum=1)
    program.subscribe("#", 1)
    clients = [world.connect("c%d" % i, 4) for i in range(3)]
    expected = []
    for i in range(9):
        clients[i % 3].publish("t", str(i), 1)
        expected.append((b"c%d" % (i % 3), "t", b"%d" % i, 1))
    world.broker.publish("t", "9", 1)
    expected.append((b"", "t", b"9", 1))
    found = []
    while program.settle() or program.batches:
        batch = program.batches[0]
        found += program.take()
        program.client.acknowledge(batch)
    assert found == expected
    assert not world.session("l").queue and not world.session("l")._origins


def test_what_comes_again_in_the_middle_of_something_has_no_origin():
    world = World()
    kept = {"clean_start": False, "expiry": 100, "acknowledge": False}
    program = Program(world, **kept)
    program.subscribe("#", 1)
    client = world.connect("c")
    for i in range(2):
        client.publish("t", str(i), 1)
    found = program.messages()
    program.client.disconnect()
    program = Program(world, receive_maximum=1, **kept)
    assert program.take() == [(b"", "t", b"0", 1)]
    world.broker.on("message", lambda sender, message: program.client.acknowledge(found[0]))
    client.publish("u", "2")
    assert program.take() == [(b"", "t", b"1", 1), (b"c", "u", b"2", 0)]


def test_a_queue_that_drops_the_oldest_keeps_the_origins_right():
    world = World(queue_full="oldest", max_queued_messages=3)
    program = Program(world, acknowledge=False, receive_maximum=1)
    program.subscribe("#", 1)
    clients = [world.connect("c%d" % i) for i in range(2)]
    for i in range(7):
        clients[i % 2].publish("t", str(i), 1)
    found = []
    while program.settle() or program.batches:
        batch = program.batches[0]
        found += program.take()
        program.client.acknowledge(batch)
    assert [(origin, payload) for origin, _, payload, _ in found] == [(b"c0", b"0"), (b"c0", b"4"), (b"c1", b"5"), (b"c0", b"6")]
    assert len(world.session("l")._origins) == 0


def test_large_messages_keep_their_origin_and_do_not_mix():
    for version in LOCALS:
        world = World(max_inflight=65535)
        program = Program(world, version=version)
        program.subscribe("#", 1)
        clients = [world.connect("c%d" % i, 4 + i) for i in range(2)]
        expected = []
        for i in range(6):
            size = (5000, 100, 300000)[i % 3]
            one = clients[i & 1]
            one.conn.take(row(1, b"t", i & 1, one.version, i + 1, size))
            expected.append((b"c%d" % (i & 1), size))
        assert [(origin, len(payload)) for origin, _, payload, _ in program.take()] == expected


# -- No Local ----------------------------------------------------------------------------------


def test_a_client_without_its_own_messages():
    for version in LOCALS:
        for filters in (("#",), ("#", "t")):  # plain, and overlapping
            world = World(max_inflight=65535)
            program = Program(world, version=version, no_local=True)
            for topic_filter in filters:
                program.subscribe(topic_filter, 2)
            client = world.connect("c", version)
            client.subscribe("#", 2)
            for qos in (0, 1, 2):
                published = world.broker.counters.published
                messages = [Message(b"t", b"%d" % i, qos) for i in range(5)] + [Message(b"u", bytes(2000), qos)]
                assert program.client.publish_all(messages, program.done.append)
                assert program.client.publish_all(messages)
                assert program.take() == []
                assert [p["topic"] for p in client.messages()] == ([b"t"] * 5 + [b"u"]) * 2
                assert world.broker.counters.published - published == 12
                client.publish("t", "theirs", qos)
                client.feed(row(2, b"t", qos, version, 100))
                assert program.payloads() == [b"theirs", b"00000000", b"00000001"]
                client.inbox.clear()
                client.unacked.clear()
                world.broker.publish("t", "the program's", qos)
                assert program.payloads() == [b"the program's"]
                client.inbox.clear()
                client.unacked.clear()
            assert not world.session("l").inflight and not world.session("l").queue
            assert program.done == [0, 0, 0]
            assert world.broker.counters.dropped == 0


def test_its_own_messages_fill_no_queue_of_its():
    world = World(store=Disk(), max_queued_messages=5)
    program = Program(world, no_local=True, acknowledge=False, receive_maximum=1, clean_start=False, expiry=1000)
    program.subscribe("#", 1)
    client = world.connect("c")
    for i in range(4):
        client.publish("t", str(i), 1)
    before = len(world.broker.store.records)
    for _ in range(20):
        program.publish("t", "own", 1)
        program.publish("t", "own", 0)
    assert len(world.session("l").queue) == 3 and len(world.broker.store.records) == before
    program.client.acknowledge(program.batches[0])
    program.settle()
    program.client.acknowledge(program.batches[1])
    program.settle()
    assert program.payloads() == [b"0", b"1", b"2"]


def test_what_goes_on_while_it_publishes_is_not_lost():
    """Hooks run in the middle of what it publishes: what others publish there, and what it subscribes to, is not its own."""
    world = World()
    program = Program(world, no_local=True, acknowledge=False, receive_maximum=1)
    program.subscribe("#", 1)
    other = Program(world, "o")
    client = world.connect("c")
    client.publish("t", "first", 1)
    client.publish("t", "waits", 1)
    world.broker.publish("kept", "kept", retain=True)
    program.settle()

    def hook(sender, message):
        if message.payload == b"own":
            world.broker.publish("x", "of the program")
            other.client.publish("x", "of another")
            program.client.acknowledge(program.batches[0])
            program.subscribe("kept")

    world.broker.on("message", hook)
    program.publish("t", "own", 1)
    found = program.take()
    assert sorted(found) == [
        (b"", "kept", b"kept", 0), (b"", "kept", b"kept", 0), (b"", "x", b"of the program", 0), (b"c", "t", b"first", 1),
        (b"c", "t", b"waits", 1), (b"o", "x", b"of another", 0),
    ]  # fmt: skip


def test_two_of_them_joined_do_not_go_round_in_circles():
    """Two brokers joined in both directions, each by an in-process client: a message crosses once."""
    worlds = [World(), World()]
    programs = [Program(world, "bridge", no_local=True) for world in worlds]
    for program in programs:
        program.subscribe("#", 2)
    clients = [world.connect("c") for world in worlds]
    for client in clients:
        client.subscribe("#", 2)
    clients[0].publish("t", "1", 1)
    clients[1].publish("u", "2", 2)
    for _ in range(5):
        for i in range(2):
            worlds[i].settle()
            batches = list(programs[i].batches)
            programs[i].batches.clear()
            for batch in batches:
                assert programs[1 - i].client.publish_all(batch)
    assert sorted(clients[0].payloads()) == sorted(clients[1].payloads()) == [b"1", b"2"]


# -- a session that stays ------------------------------------------------------------------------


def keeper(world, **settings):
    settings.setdefault("acknowledge", False)
    return Program(world, clean_start=False, expiry=1000, **settings)


def test_what_is_not_acknowledged_comes_again():
    for stored in (False, True):
        world = World(store=Disk() if stored else None)
        program = keeper(world)
        assert not program.client.session_present
        program.subscribe("#", 2)
        client = world.connect("c")
        for i in range(4):
            client.publish("t", str(i), 1 + i % 2)
        client.publish("t", "at QoS 0")
        found = program.messages()
        assert [(m.payload, m.duplicate) for m in found] == [(b"%d" % i, False) for i in range(4)] + [(b"at QoS 0", False)]
        program.client.acknowledge(found[0])
        program.client.acknowledge(found[3].packet_id)
        program.client.disconnect()
        assert not program.codes
        client.publish("t", "4", 1)
        client.publish("t", "nobody")
        program = keeper(world)
        assert program.client.session_present
        found = program.messages()
        assert [(m.payload, m.duplicate) for m in found] == [(b"1", True), (b"2", True), (b"4", False)]
        for message in found:
            program.client.acknowledge(message)
            program.client.acknowledge(message)
        program.client.disconnect()
        assert keeper(world).take() == []


def test_it_survives_a_restart():
    for version in LOCALS:
        world = World(store=Disk())
        program = keeper(world, version=version)
        program.subscribe("a/#", 2)
        client = world.connect("c", version)
        for i in range(4):
            client.publish("a/b", str(i), 1 + i % 2)
        found = program.messages()
        program.client.received(found[1].packet_id)
        program.settle()
        assert [batch.packets for batch in program.batches] == [[b"\x62\x02" + bytes((0, found[1].packet_id))]]
        program.client.received(found[0].packet_id)  # that is QoS 1
        program.client.acknowledge(found[2])
        world = restart(world)
        assert world.session("l").listener.local
        raises(AssertionError, world.connect, "l")
        world.connect("d", version).publish("a/c", "4", 1)
        program = keeper(world, version=version)
        assert program.client.session_present
        program.settle()
        packets = [decode(p, version) for batch in program.batches for chunk in batch.packets for p in split(chunk)]
        assert [p["type"] for p in packets] == [3, PUBREL, 3, 3]
        assert packets[1]["packet_id"] == found[1].packet_id
        assert program.take() == [(b"", "a/b", b"0", 1), (b"", "a/b", b"3", 2), (b"", "a/c", b"4", 1)]
        for packet in packets:
            program.client.acknowledge(packet["packet_id"])
        assert not world.session("l").inflight
        world = restart(world)
        program = keeper(world, version=version)
        assert program.take() == []
        world.connect("c", version).publish("a/b", "5", 2)
        assert program.payloads() == [b"5"]


def test_an_identifier_that_was_not_released_before_a_restart_is_free_again():
    disk = Disk(manual=True)
    world = World(store=disk)
    program = keeper(world)
    disk.complete_all()
    world.session("l").note_received(1)
    world.broker.commit_soon()
    disk.complete_all()
    disk.manual = False
    world = restart(world)
    assert world.session("l").received == {1: True}
    client = world.connect("c")
    client.subscribe("#", 2)
    program = keeper(world)
    program.publish("t", "x", 2)
    assert client.payloads() == [b"x"]


def test_what_is_acknowledged_is_not_acknowledged_before_it_came():
    """Acknowledging by itself happens after `receive` returned, whether that raised or not."""
    world = World()
    seen: "list[Any]" = []

    def receive(batch):
        seen.append(len(world.session("l").inflight))
        raise ValueError("not this one")

    client = world.broker.open_client("l", receive)
    client.subscribe("#", 2)
    publisher = world.connect("c")
    publisher.publish("t", "1", 1)
    publisher.publish("t", "2", 2)
    assert seen == [1, 1] and not world.session("l").inflight
    assert len(world.errors()) == 2 and "not this one" in world.errors()[0]
    assert client.connected


def test_its_session_expires():
    world = World()
    program = keeper(world)
    program.subscribe("#", 1)
    program.client.disconnect()
    world.advance(999000)
    assert world.session("l") is not None
    world.advance(2000)
    assert world.session("l") is None
    assert not keeper(world).client.session_present


def test_clean_start_and_another_user_begin_anew():
    world = World()
    for settings in ({"clean_start": True}, {"clean_start": False, "user": "u"}):
        program = keeper(world)
        program.subscribe("#", 1)
        program.client.disconnect()
        world.broker.publish("t", "x", 1)
        program = Program(world, expiry=1000, **settings)
        assert not program.client.session_present and program.take() == []
        assert world.session("l").subscriptions == {}
        program.client.disconnect()
        world.broker.end_client("l")


def test_another_version_resumes_what_is_in_flight():
    for first in LOCALS:
        world = World(max_inflight=65535)
        program = keeper(world, version=first)
        program.subscribe("#", 1)
        world.connect("c", first).feed(row(3, qos=1, version=first))
        assert len(program.payloads()) == 3
        program.client.disconnect()
        program = keeper(world, version=9 - first)
        assert program.payloads() == [b"%08d" % i for i in range(3)]


# -- back-pressure -------------------------------------------------------------------------------


def test_a_program_that_takes_nothing_is_slow_and_bounded():
    world = World(outbox_bytes=1000, max_queued_messages=5, receiver_patience=0)
    program = Program(world)
    other = Program(world, "o")
    for one in (program, other):
        one.subscribe("#", 1)
    client = world.connect("c")
    program.client.pause()
    for _ in range(100):
        client.feed(row(10, version=5))
    assert program.batches == [] and world.broker.memory.message_bytes <= 1400, world.broker.memory.message_bytes
    assert world.broker.counters.dropped > 800
    assert len(other.take()) == 1000  # it is felt by nobody
    for i in range(9):
        client.publish("t", str(i), 1)
    assert len(world.session("l").queue) == 5
    assert len(other.take()) == 9
    program.client.resume()
    found = program.payloads()
    assert len(found) * 16 >= 1000 and found[-5:] == [b"%d" % i for i in range(5)]
    client.publish("t", "again", 0)
    assert program.payloads() == [b"again"]
    assert world.broker.memory.message_bytes == 0 and not world.errors()


def test_batches_take_turns():
    world = world_of_turns(turn=100)
    program = Program(world)
    program.subscribe("#")
    clients = [world.connect("c%d" % i) for i in range(20)]
    for client in clients:
        client.conn.take(row(2, version=5))
    world.broker.flush()
    assert program.batches == []  # not in the middle of something
    slices = []
    while world.broker.turns.clients:
        world.broker.work()
        slices.append(len(program.batches))
    assert len(slices) > 2 and slices[-1] == 20, slices


def test_a_paused_program_that_is_closed_is_handed_nothing():
    world = World()
    program = Program(world)
    program.subscribe("#")
    program.client.pause()
    world.connect("c").publish("t", "x")
    world.broker.disconnect("l", 0x98)
    program.settle()
    assert program.batches == [] and program.codes == [0x98] and world.broker.memory.message_bytes == 0


# -- what the program does when it is called -----------------------------------------------------


def test_it_may_publish_subscribe_and_open_others_when_it_is_called():
    world = World()
    seen: "list[Any]" = []

    def receive(batch):
        for message in batch:
            seen.append((batch.origin, message.topic, message.payload))
            if message.topic == "in":
                client.publish("out", message.payload, 1, done=seen.append)
                client.subscribe("out", 1)
                client.publish("out", b"now " + message.payload)
                world.broker.open_client("second", print).disconnect()

    client = world.broker.open_client("l", receive)
    client.subscribe("in", 1)
    publisher = world.connect("c")
    publisher.subscribe("out")
    publisher.publish("in", "x", 1)
    publisher.publish("in", "y", 1)
    assert seen == [
        (b"c", "in", b"x"), 0, (b"l", "out", b"now x"), (b"c", "in", b"y"), (b"l", "out", b"y"), 0, (b"l", "out", b"now y"),
    ], seen  # fmt: skip
    assert publisher.payloads() == [b"x", b"now x", b"y", b"now y"]
    assert not world.errors()


def test_it_may_close_itself_when_it_is_called():
    world = World()
    seen: "list[Any]" = []

    def receive(batch):
        seen.extend([message.payload for message in batch])
        client.disconnect()

    client = world.broker.open_client("l", receive, closed=seen.append)
    client.subscribe("#", 1)
    publishers = [world.connect("c%d" % i) for i in range(3)]
    for i in range(3):
        publishers[i].conn.take(row(1, b"t", 1, 5))
    world.settle()
    assert seen == [b"00000000"] and world.session("l") is None and world.broker.memory.message_bytes == 0
    for publisher in publishers:
        publisher.ping() if not publisher.inbox else publisher.inbox.clear()
    assert not world.errors()


def test_it_may_be_closed_in_the_middle_of_what_it_publishes():
    world = World()
    for no_local in (False, True):
        program = keeper(world, no_local=no_local, acknowledge=True)
        program.subscribe("#", 1)
        world.broker.on("message", hook := lambda sender, message: program.client.disconnect())
        program.client.publish_all([Message(b"t", b"%d" % i, 1) for i in range(3)])
        world.broker.off("message", hook)
        assert not program.client.connected and not world.session("l").deaf
        world.connect("c").publish("t", "later", 1)
        program = keeper(world, no_local=no_local)
        assert program.payloads()[-1] == b"later"
        program.client.disconnect()
        world.broker.end_client("l")
    assert not world.errors()


def test_what_a_callback_raises_disturbs_nobody():
    world = World()
    told: "list[Any]" = []
    world.broker.on("error", lambda client, error: told.append((client and client.client_id, str(error))))

    def fail(*args):
        raise RuntimeError("failed")

    client = world.broker.open_client("l", fail, ready=fail, closed=fail)
    client.subscribe("#")
    other = Program(world, "o")
    other.subscribe("#")
    publisher = world.connect("c")
    publisher.publish("t", "1", 1)
    publisher.publish("t", "2", 1)
    client.publish("t", "3", 1, done=fail)
    world.settle()
    assert other.payloads() == [b"1", b"2", b"3"]
    world.broker.disconnect("l")
    world.settle()
    assert [error for _, error in told if error == "failed"] == ["failed"] * 5
    assert told[0] == (b"l", "failed")


def test_callbacks_cannot_be_async():
    world = World()

    async def receive(batch):
        pass

    world.broker.open_client("l", receive).subscribe("#")
    world.connect("c").publish("t", "x")
    assert "cannot be async" in world.errors()[0]


# -- who it is -----------------------------------------------------------------------------------


def test_nobody_else_can_have_its_client_id():
    disk = Disk()
    world = World(store=disk)
    program = keeper(world)
    program.subscribe("#", 1)
    for version in VERSIONS:
        for clean_start in (False, True):
            thief = world.client(version)
            thief.connect("l", clean_start)
            assert thief.connack["code"] == (0x85 if version == 5 else 2), thief.connack
            assert thief.closed
    assert program.client.connected
    raises(ValueError, keeper, world)
    assert program.client.connected
    program.client.disconnect()
    thief = world.client()
    thief.connect("l", False)
    assert thief.connack["code"] == 0x85  # nor while it is away
    world = restart(world)
    thief = world.client()
    thief.connect("l", False)
    assert thief.connack["code"] == 0x85  # nor after a restart
    assert keeper(world).client.session_present


def test_the_session_of_a_network_client_with_its_client_id_ends():
    world = World()
    for connected in (True, False):
        client = world.connect("l", clean_start=False, properties={SESSION_EXPIRY_INTERVAL: 1000})
        client.subscribe("#", 1)
        if not connected:
            client.lose()
            world.broker.publish("t", "planted", 1)
        program = keeper(world)
        if connected:
            client.expect_close(0x98)
        assert not program.client.session_present and program.take() == []
        assert "an in-process client takes this client id" in "\n".join([text for level, text in world.log if level == 2])
        program.client.disconnect()
        world.broker.end_client("l")


def test_it_takes_no_place_and_gives_none_up():
    world = World(max_connections=2, max_sessions=1, owner_share=1, anonymous="all")
    programs = [Program(world, "l%d" % i, clean_start=False, expiry=NEVER) for i in range(3)]
    clients = [world.connect("c%d" % i, address="10.0.0.%d:1" % i) for i in range(2)]
    late = world.client(address="10.0.0.9:1")
    late.connect("late")
    assert late.connack["code"] == 0x97
    programs.append(Program(world, "l3", clean_start=False, expiry=NEVER))
    clients[0].disconnect()
    world.connect("kept", address="10.0.0.8:1", clean_start=False, properties={SESSION_EXPIRY_INTERVAL: 100}).lose()
    for program in programs:
        assert program.client.connected
        program.client.disconnect()
    assert sorted(world.broker.sessions) == [b"c1", b"kept", b"l0", b"l1", b"l2", b"l3"]
    assert world.broker.connection_registry.connected == 1


class Guard(Authenticator):
    """Lets nobody in but ann."""

    def authenticate(self, client, user, password):
        return 0 if user == b"ann" else 0x86

    def valid(self, client):
        return False


def test_rules_and_authenticators_do_not_hold_for_it():
    world = World(store=Disk())
    world.broker.authenticators.append(Guard())
    world.broker.set_acl([{"topic": "public/#"}])
    program = keeper(world, acknowledge=True)
    assert program.subscribe("#", 2) == 2
    assert program.publish("private", "x", 1, done=program.done.append)
    assert program.done == [0] and program.payloads() == [b"x"]
    world.broker.set_acl([{"topic": "other/#"}])
    world.broker.rights_changed()
    assert program.publish("private", "y", 1) and program.payloads() == [b"y"]
    world = restart(world)
    world.broker.set_acl([{"topic": "public/#"}])
    world.broker.rights_changed()
    world.broker.publish("private", "z", 1)
    assert keeper(world).payloads() == [b"z"]


def test_it_may_have_a_user_name_and_rules():
    world = World(store=Disk())
    rules = [{"topic": "user/%u/#"}, {"topic": "news", "actions": ["subscribe", "receive"]}]
    program = keeper(world, user="ann", rules=rules, acknowledge=True)
    assert world.session("l").user == b"ann"
    assert program.subscribe("user/ann/#", 2) == 2
    assert program.subscribe("user/bob/#", 2) == 0x87
    assert program.subscribe("news", 1) == 1
    program.publish("user/ann/x", "1", 1, done=program.done.append)
    program.publish("news", "2", 1, done=program.done.append)
    assert program.done == [0, 0x87]
    world.connect("c").publish("news", "3")
    assert program.payloads() == [b"1", b"3"]
    assert world.broker.acl is None  # others are as free as before
    world.broker.set_rules(world.session("l"), [])
    assert not program.client.connected and program.settle() is None and program.codes == [0x87]
    program = keeper(world, user="ann", rules=[{"topic": "news"}], acknowledge=True)
    assert program.client.session_present and world.session("l").subscriptions == {}
    world = restart(world)
    assert world.session("l").user == b"ann"


def test_it_is_counted_and_told_of():
    world = World(sys_interval=1)
    told: "list[Any]" = []

    class Told(Watcher):
        def connected(self, session):
            told.append(("connected", session.client_id))

        def disconnected(self, session):
            told.append(("disconnected", session.client_id))

        def ended(self, session):
            told.append(("ended", session.client_id))

        def subscribed(self, subscriber, topic_filter, options):
            told.append((subscriber.client_id, topic_filter, options))

        def unsubscribed(self, subscriber, topic_filter):
            told.append((subscriber.client_id, topic_filter))

    world.broker.watch(Told())
    for event in ("connect", "disconnect", "subscribe", "unsubscribe"):
        world.broker.on(event, lambda client, *args: told.append((client.client_id,) + args))
    program = Program(world)
    program.subscribe("a", 1)
    client = world.connect("c")
    client.subscribe("$SYS/broker/#")
    figures = {p["topic"]: p["payload"] for p in client.messages()}
    assert figures[b"$SYS/broker/clients/connected"] == b"2"
    assert figures[b"$SYS/broker/listener/in-process/connected"] == b"1"
    program.client.unsubscribe("a")
    program.client.disconnect()
    world.see_off()
    assert [found for found in told if b"l" in found] == [
        ("connected", b"l"), (b"l",), (b"l", b"a", 1), (b"l", b"a", 1), (b"l", b"a"), (b"l", b"a"), ("disconnected", b"l"),
        (b"l", 0), ("ended", b"l"),
    ]  # fmt: skip


# -- the end -------------------------------------------------------------------------------------


def test_wills():
    world = World()
    client = world.connect("c")
    client.subscribe("w", 1)
    will = Message(b"w", b"gone", 1)
    program = Program(world, will=will)
    program.client.disconnect()
    client.expect_nothing()
    program = Program(world, will=will)
    program.client.disconnect(will=True)
    client.expect_message("w", "gone", 1)
    program = Program(world, will=will, expiry=100, will_delay=5)
    world.broker.disconnect("l")
    program.settle()
    assert program.codes == [0x98]
    client.expect_nothing()
    world.advance(6000)
    client.expect_message("w", "gone", 1)


def test_the_broker_stops():
    world = World(store=Disk())
    program = keeper(world)
    program.subscribe("#", 1)
    world.connect("c").publish("t", "x", 1)
    world.broker.disconnect_all()
    program.settle()
    assert program.codes == [0x8B] and program.payloads() == [b"x"]
    world = restart(world)
    assert keeper(world).payloads() == [b"x"]


def test_a_queue_that_disconnects():
    world = World(queue_full="disconnect", max_queued_messages=2)
    program = Program(world, acknowledge=False, receive_maximum=1)
    program.subscribe("#", 1)
    client = world.connect("c", 4)
    for i in range(6):
        client.publish("t", str(i), 1)
    program.settle()
    assert program.codes == [0x97] and program.payloads() == [b"0"]


def test_nothing_is_left_of_it():
    world = World()
    before = len(world.broker.connections)
    for _ in range(3):
        program = Program(world)
        program.subscribe("#", 1)
        world.connect("c").publish("t", "x", 1)
        program.client.disconnect()
        world.see_off()
    assert world.broker.origins is None and world.session("l") is None
    assert len(world.broker.connections) - before <= 1
    assert world.broker.memory.message_bytes == 0 and world.broker.router.subscriptions.count == 0


def test_it_is_opened_when_the_store_is():
    broker = Broker(Options(), store=Disk())
    raises(RuntimeError, broker.open_client, "l", print)
    broker.open_store()
    broker.open_client("l", print)


def test_what_cannot_be_opened():
    world = World()
    for wrong in ({"version": 3}, {"receive_maximum": 70000}, {"expiry": -1}):
        raises(ValueError, lambda: Program(world, **wrong))
    raises(ValueError, world.broker.open_client, b"\xff", print)
    raises(TypeError, world.broker.open_client, 5, print)
    raises(TypeError, world.broker.open_client, "l", "no function")
    raises(ValueError, lambda: Program(world, rules=[{"topic": "a#"}]))
    assert not world.broker.sessions and not world.broker.connections and world.broker.origins is None

    def refuse(client):
        world.broker.disconnect("l")

    world.broker.on("connect", refuse)
    program = Program(world)
    program.settle()
    assert not program.client.connected and world.broker.origins is None


def test_a_broker_without_mqtt5():
    class Without(Broker):
        def find_mqtt5(self):
            return None

    world = World()
    world.broker = Without(Options(sys_interval=0))
    raises(ImportError, lambda: Program(world, version=5))
    program = Program(world)
    program.subscribe("#")
    world.connect("c", 4).publish("t", "x")
    world.settle()
    assert not program.batches[0].version5 and program.payloads() == [b"x"]


def test_memory_that_does_not_suffice_ends_it():
    from port.core.protocol import local_transport

    module: "Any" = local_transport

    def fail(*args):
        raise MemoryError

    world = World()
    program = Program(world)
    program.subscribe("#")
    client = world.connect("c")
    client.subscribe("#")
    whole = module.Batch
    module.Batch = fail
    try:
        client.publish("t", "x")
    finally:
        module.Batch = whole
    program.settle()
    assert program.codes == [0x97] and program.batches == [] and not program.client.connected
    client.expect_message("t", "x")
    assert world.broker.memory.message_bytes == 0


def test_memory_for_all_clients_counts_what_waits_for_it():
    world = World(max_memory=60000, max_packet_size=1000, outbox_bytes=100000, max_queued_bytes=100000)
    program = Program(world)
    program.subscribe("#", 1)
    program.client.pause()
    client = world.connect("c")
    for _ in range(30):
        client.feed(row(1, size=900, version=5))
    assert world.broker.memory.message_bytes >= 27000
    assert world.broker.memory.kept() <= world.broker.memory.limit()
    program.client.resume()
    assert len(program.messages()) == 30 and world.broker.memory.message_bytes == 0


def test_pausing_a_client_that_the_broker_has_closed_keeps_nothing():
    for version in LOCALS:
        world = World()
        program = Program(world, version=version)
        program.subscribe("#")
        world.settle()
        publishers = [world.connect("p%d" % i, version) for i in range(3)]
        program.client._receive = lambda batch: program.client.pause()
        for publisher in publishers:
            publisher.conn.take(encode({"type": 3, "topic": b"t", "payload": b"x" * 100, "qos": 0}, version))
        world.broker.flush()
        assert world.broker.memory.message_bytes
        world.broker.disconnect("l")
        world.settle()
        assert not program.client.connected and not world.broker.memory.message_bytes
        program.client.pause()
        program.client.disconnect()
        assert not world.broker.memory.message_bytes


def test_a_read_without_memory_for_its_mark_leaves_no_false_origin():
    for no_local in (False, True):
        world = World()
        program = Program(world, no_local=no_local)
        program.subscribe("#")
        world.settle()
        publisher = world.connect("p", 5)
        transport: "Any" = program.client._transport
        mark_with = type(transport).mark_with
        left = [1]

        def fail_once(self, mark):
            if left[0]:
                left[0] = 0
                raise MemoryError
            mark_with(self, mark)

        try:
            type(transport).mark_with = fail_once
        except (AttributeError, TypeError):
            return  # a compiled broker's methods stay what they are
        try:
            publisher.send_publish("t", "1")
            world.settle()
            assert publisher.closed and not left[0] and world.broker.origins.reader is None
            world.connect("q", 5).send_publish("t", "q")
            world.broker.publish("t", "own")
            assert program.take() == [(b"q", "t", b"q", 0), (b"", "t", b"own", 0)]
        finally:
            type(transport).mark_with = mark_with


def test_messages_to_publish_may_come_from_an_iterator_that_publishes():
    world = World()
    program = Program(world)
    done: "list[str]" = []

    def messages():
        program.client.publish("inner", "x", 1, done=lambda code: done.append("inner"))
        yield Message(b"outer", b"y", 1)

    assert program.client.publish_all(messages(), lambda code: done.append("outer"))
    world.settle()
    assert sorted(done) == ["inner", "outer"]


def test_more_messages_at_once_than_there_are_identifiers():
    program = Program(World())
    message = Message(b"t", b"", 1)
    text = str(raises(ValueError, program.client.publish_all, (message for _ in range(65536))))
    assert text == "more than 65535 messages at once"
