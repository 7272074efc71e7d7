"""Memory has run out: what gives some back needs none, and the broker recovers by itself."""

import gc
import sys

from harness import World
from port.core import TYPE_CHECKING
from port.core.wire.properties import SESSION_EXPIRY_INTERVAL

if TYPE_CHECKING:
    from typing import Any

HEAPSIZE = "2m"  # words of 64 bits and 220 sessions
BOARD = sys.implementation.name == "micropython"


class Ballast:
    """All the memory there is, on a Python whose heap has an end."""

    def __init__(self):
        self.chain: "Any" = None

    def fill(self):
        gc.collect()
        for size in (2048, 256, 64, 16):
            try:
                while BOARD:
                    self.chain = (self.chain, bytearray(size))
            except MemoryError:
                pass

    def drop(self):
        self.chain = None
        gc.collect()


def away(world, count, expiry=10):
    """Sessions of clients that are away, with something in their queues."""
    for i in range(count):
        client = world.connect("c%d" % i, properties={SESSION_EXPIRY_INTERVAL: expiry})
        client.subscribe("t/%d" % i, 1)
        client.subscribe("all/#", 1)
        client.lose()
        for _ in range(3):
            world.broker.publish("t/%d" % i, "x" * 100, 1)
        world.log = []


def test_sessions_that_expire_while_there_is_no_memory_end():
    world = World(max_memory=1000000)
    away(world, 20)
    ballast = Ballast()
    ballast.fill()
    world.now += 11000
    for _ in range(3):
        world.broker.tick()
    left = len(world.broker.sessions)
    ballast.drop()
    assert not left and not world.broker.session_registry.due and not world.broker.memory.message_bytes
    assert not world.broker.router.subscriptions.count
    client = world.connect("new")
    client.subscribe("#")
    client.publish("a", "x")
    assert client.payloads() == [b"x"]


def test_a_step_of_the_tick_that_fails_does_not_keep_the_others_from_theirs():
    for failing in range(5):
        world = World()
        away(world, 3)
        silent = world.client()

        def fail(now):
            raise MemoryError

        steps: "Any" = list(world.broker._steps)
        if failing:
            steps[failing] = fail
        else:
            steps.insert(0, fail)
        world.broker._steps = tuple(steps)  # type: ignore[assignment]
        world.now += 11000
        world.broker.tick()
        assert not world.broker.sessions
        assert silent.closed or failing == 1


def test_many_sessions_that_are_due_end_though_a_search_for_them_failed():
    world = World(max_memory=10000000)
    for i in range(220):
        world.connect("c%d" % i, properties={SESSION_EXPIRY_INTERVAL: 10}).lose()
    world.log = []
    world.now += 11000
    world.broker.tick()
    world.broker.turns.jobs.clear()  # as where it has failed
    for _ in range(3):
        world.broker.tick()
        while world.broker.work():
            pass
    assert not world.broker.sessions and not world.broker.session_registry.due
