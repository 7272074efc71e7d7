"""What one routed message may allocate on a board: its heap is small and garbage costs time."""

import gc
import sys

from harness import World

HEAPSIZE = "480k"
MESSAGES = 200
# Bytes a message, for what goes to receivers of one protocol family.
LIMIT = 400 if sys.maxsize > 1 << 32 else 200


class Sink:
    """A transport that takes the packets without copying."""

    def __init__(self):
        self.count = 0

    def send(self, chunks):
        for chunk in chunks:
            self.count += len(chunk)
        return 0

    def close(self, abort, told):
        pass

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


mem_alloc = getattr(gc, "mem_alloc", None) or (lambda: 0)


def allocated(size, batch):
    """Bytes allocated by one QoS 0 message to one subscriber, fed as the adapter for boards does."""
    world = World()
    subscriber = world.connect("s", 4)
    subscriber.subscribe("home/room/temperature")
    sink = subscriber.conn.transport = Sink()
    conn = world.connect("p", 4).conn
    packet = b"\x30" + bytes((23 + size,)) + b"\0\x15home/room/temperature" + bytes(size)
    buffer = bytearray(packet * batch)
    view = memoryview(buffer)
    end = len(buffer)
    conn.feed(buffer, view, end)  # the route is resolved and cached
    world.broker.flush()
    sink.count = 0
    flush = world.broker.flush
    feed = conn.feed
    gc.collect()
    gc.disable()
    before = mem_alloc()
    for _ in range(MESSAGES // batch):
        feed(buffer, view, end)
        flush()
    used = mem_alloc() - before
    gc.enable()
    assert sink.count == MESSAGES * len(packet)
    return used / MESSAGES


def test_a_routed_message_allocates_little():
    if sys.implementation.name != "micropython":
        return  # CPython neither counts nor minds
    for size, batch in ((2, 1), (2, 20), (100, 1), (100, 20)):
        used = allocated(size, batch)
        assert used <= LIMIT, "%d bytes a message of %d in batches of %d" % (used, size, batch)
