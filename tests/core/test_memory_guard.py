"""The memory guard: what it does at each step, as clients and $SYS see it; how much is free the tests say."""

from disk import Disk
from harness import World
from port.core.monitor.load_shedding import Shedding
from port.core.monitor.memory_guard import MemoryGuard

LEAST = 1200


class Memory:
    """A memory of which `free` bytes are left, less 100 for each message that waits in a queue."""

    def __init__(self, world, **watched):
        self.free = 1000000
        self._world = world
        self.guard = MemoryGuard(world.broker)
        self.guard.watch("heap", self.left, LEAST, **watched)

    def left(self):
        return self.free - 100 * sum([len(session.queue or ()) for session in self._world.broker.sessions.values()])

    def set(self, free):
        self.free = free
        self.guard.look()


def figure(world, name):
    return dict(world.broker.sys.figures())[name]


def refused(world, version):
    client = world.client(version)
    client.connect("new")
    assert client.closed
    return client.connack["code"]


def away(world, client_id, messages, topic="t"):
    """A client that is away, with so many messages in its queue."""
    client = world.connect(client_id, 4, clean_start=False)
    client.subscribe(topic, 1)
    client.lose()
    publisher = world.connect("publisher")
    for i in range(messages):
        publisher.publish(topic, "%d" % i, 1)
    publisher.lose()


def waiting(world, client_id):
    return len(world.session(client_id).queue or ())


def test_first_new_clients_are_refused():
    world = World()
    memory = Memory(world)
    old = world.connect("old")
    old.subscribe("t")
    memory.set(LEAST - 1)
    assert refused(world, 5) == 0x97 and refused(world, 4) == 3 and refused(world, 3) == 3
    assert figure(world, "memory/step") == 1 and figure(world, "memory/heap/free") == LEAST - 1
    again = world.connect("old")  # it takes over, there is not one client more
    old.expect_close(0x8E)
    again.subscribe("t")
    again.send_publish("t", "served")
    again.expect_message("t", "served")
    memory.set(LEAST)  # not an eighth more yet
    assert refused(world, 5) == 0x97
    memory.set(LEAST + LEAST // 8)
    assert figure(world, "memory/step") == 0
    world.connect("new")
    assert figure(world, "messages/publish/dropped") == 0
    assert [text for level, text in world.log if level == 2 and "memory: step 1 of 3" in text]


def test_who_has_a_session_comes_back_for_what_takes_the_memory():
    """Were nobody let in whose messages wait, memory would stay short."""
    for version in (4, 5):
        world = World()
        memory = Memory(world)
        for i in range(3):
            away(world, "away%d" % i, 1, "t%d" % i)
        for i, free in enumerate((LEAST - 1, LEAST * 3 // 4 - 1)):
            memory.set(free + 100 * (3 - i))  # what is left beside the messages
            assert world.broker.memory.shortage == i + 1
            assert refused(world, 5) == 0x97
            back = world.connect("away%d" % i, version, clean_start=False)
            assert back.payloads() == [b"0"]
            back.lose()
        world.broker.memory.shortage = 3
        client = world.client(4)
        client.connect("away2", clean_start=False)
        assert client.connack["code"] == 3


def test_it_is_looked_at_before_each_new_session_that_stays():
    """A host may have too little for all who come in a second."""
    world = World()
    memory = Memory(world)
    world.connect("kept", 4, clean_start=False).lose()
    world.broker.memory.look = memory.guard.look
    memory.free = LEAST - 1
    world.connect("clean").disconnect()
    world.connect("kept", 4, clean_start=False)
    assert world.broker.memory.shortage == 0
    client = world.client(4)
    client.connect("new", clean_start=False)
    assert client.connack["code"] == 3 and world.broker.memory.shortage == 1


def test_then_qos_0_is_dropped_and_counted():
    for version in (4, 5):
        world = World()
        memory = Memory(world)
        heard: "list[bytes]" = []
        world.broker.subscribe("t", lambda message, heard=heard: heard.append(message.payload))
        publisher = world.connect("p", version)
        none, one = world.connect("none", version), world.connect("one", version)
        none.subscribe("t", 0)
        one.subscribe("t", 1)
        none.subscribe("quick", 0)
        for _ in range(2):  # the second on the fast path, which has to be left
            publisher.publish("t", "before")
            publisher.publish("quick", "before")
        assert none.payloads() == [b"before"] * 4 and len(one.payloads()) == 2
        memory.set(LEAST * 3 // 4)  # that is still the first step
        publisher.publish("quick", "still")
        none.expect_message("quick", "still")
        memory.set(LEAST * 3 // 4 - 1)
        assert figure(world, "memory/step") == 2
        publisher.publish("t", "kept", 1)
        one.expect_message("t", "kept", 1)
        publisher.publish("quick", "lost", retain=True)
        none.expect_nothing()
        assert figure(world, "messages/publish/dropped") == 2
        none.subscribe("$SYS/broker/memory/step")
        none.expect_message("$SYS/broker/memory/step", "2", retain=True)
        assert heard[2:] == [b"kept"]
        memory.set(LEAST * 2)
        publisher.publish("quick", "after")
        none.expect_message("quick", "after")
        none.subscribe("quick")
        none.expect_message("quick", "lost", retain=True)
        assert figure(world, "messages/publish/dropped") == 2
        assert not world.broker.message_hooks  # the fast path is open again
        world.connect("new", version)


def test_last_the_largest_queue_is_dropped_those_of_clients_that_are_away_first():
    world = World(max_inflight=1)
    memory = Memory(world)
    slow = world.connect("slow", 4)
    slow.subscribe("slow", 1)
    away(world, "small", 3, "small")
    away(world, "large", 5, "large")
    publisher = world.connect("publisher")
    for i in range(9):  # one in flight, 8 in the queue
        publisher.publish("slow", "%d" % i, 1)
    slow.messages(acknowledge=False)
    memory.set(1600 + LEAST // 2 - 1)
    assert [waiting(world, name) for name in ("slow", "small", "large")] == [8, 3, 0]
    assert figure(world, "memory/step") == 1 and figure(world, "memory/dropped") == 5
    memory.set(1100 + LEAST // 2 - 1)
    assert [waiting(world, name) for name in ("slow", "small", "large")] == [8, 0, 0]
    assert figure(world, "memory/step") == 2
    memory.set(800 + LEAST // 2 - 1)
    assert [waiting(world, name) for name in ("slow", "small", "large")] == [0, 0, 0]
    assert figure(world, "memory/dropped") == figure(world, "messages/publish/dropped") == 16
    memory.set(0)  # nothing is left that could go
    assert figure(world, "memory/step") == 3 and refused(world, 5) == 0x97
    memory.set(LEAST * 2)
    publisher.publish("large", "later", 1)
    back = world.connect("large", 4, clean_start=False)
    assert back.connack["session_present"]
    assert back.payloads() == [b"later"]
    assert world.errors() == []


def test_all_queues_go_when_one_is_not_enough():
    world = World()
    memory = Memory(world)
    away(world, "a", 3)
    away(world, "b", 4)
    memory.set(700)
    assert waiting(world, "a") == waiting(world, "b") == 0
    assert figure(world, "memory/step") == 2


def test_a_memory_without_queues_does_not_cost_messages():
    """That of the network, on an ESP32."""
    world = World()
    memory = Memory(world, last=2)
    away(world, "a", 3)
    memory.set(0)
    assert waiting(world, "a") == 3 and figure(world, "memory/step") == 2
    assert refused(world, 5) == 0x97


def test_the_lowest_of_several_memories_counts():
    world = World()
    memory = Memory(world)
    memory.guard.watch("network", lambda: 150, 100)
    memory.guard.watch("other", lambda: 99, 100)
    memory.guard.look()
    assert [figure(world, "memory/%s" % name) for name in ("step", "network/free", "other/free")] == [1, 150, 99]
    memory.set(0)
    assert figure(world, "memory/step") == 3


def test_a_dropped_queue_does_not_come_back_from_the_store():
    disk = Disk()
    world = World(disk)
    memory = Memory(world)
    away(world, "a", 3)
    world.advance(2000)
    memory.set(0)
    world.advance(2000)
    restarted = World(disk)
    client = restarted.connect("a", 4, clean_start=False)
    assert client.connack["session_present"] and client.payloads() == []


def test_among_many_sessions_the_larger_half_of_the_queues_goes():
    """Those of clients that are away first; of those that are there when that was not enough."""
    world = World(max_inflight=1, max_queued_messages=100, max_queued_bytes=100000, max_memory=1000000)
    for i, count in enumerate((40, 30, 14, 50, 5)):
        client = world.connect("c%d" % i, 4, clean_start=False)
        client.subscribe("t%d" % i, 1)
        if i != 3:
            client.lose()
        for _ in range(count):
            world.broker.publish("t%d" % i, "x" * 100, 1)
    queues = [world.session("c%d" % i) for i in range(5)]

    def shed(goal):
        job = Shedding(world.broker, lambda: world.broker.memory.message_bytes <= goal)
        while job.go_on():
            pass
        return [len(session.queue or ()) for session in queues]

    before = world.broker.memory.message_bytes
    assert shed(before - 1) in ([0, 30, 14, 49, 5], [40, 0, 14, 49, 5])
    assert shed(before // 2) == [0, 0, 14, 49, 5]
    assert shed(0) == [0, 0, 0, 0, 0] and world.broker.counters.dropped == 138
    assert shed(0) == [0, 0, 0, 0, 0]
