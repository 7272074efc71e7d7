"""Runs on MicroPython: clients that connect, subscribe, publish and disconnect, in memory.

    micropython tests/robustness/cycles.py CYCLES

Expects the repository's root as the working directory. Prints by how many bytes the heap
in use has grown, after as many cycles as it takes to fill all caches.
"""

import gc
import sys

sys.path[:0] = [".", "tools"]

from fuzzing.packets import ack, connect, publish, subscribe, unsubscribe
from fuzzing.world import Peer, World
from port.core.limits.options import Options


def cycle(world, i):
    """One client's visit; of a hundred client ids some have sessions that stay."""
    version = 3 + i % 3
    topic = b"cycle/%d" % (i % 997)
    peer = Peer(world)
    peer.feed(connect(version, b"client-%d" % (i % 97), bool(i % 5), 60, {0x11: i % 2}, (topic, b"gone", 1, False)))
    peer.feed(subscribe(version, 1, [(topic, i % 3), (b"cycle/+", 1), (b"$share/g/" + topic, 1)]))
    peer.feed(publish(version, topic, b"payload", i % 3, 7, i % 10 == 0))
    peer.feed(peer.answers())
    peer.feed(ack(0x62, 7))
    peer.feed(publish(version, topic, b"", 0, 0, True))
    peer.feed(unsubscribe(version, 2, [topic]))
    if i % 4:
        peer.feed(b"\xe0\0")
    else:
        peer.lost()
    if i % 50 == 0:
        world.tick(2)


def run(world, first, last):
    """Bytes in use after these cycles and the end of every session."""
    for i in range(first, last):
        cycle(world, i)
        if i % 97 == 96 or i == last - 1:
            # MQTT 3.x sessions do not expire: clean start ends them.
            for client in range(97):
                peer = Peer(world)
                peer.feed(connect(4, b"client-%d" % client))
                peer.feed(b"\xe0\0")
            world.check()
    world.tick(120)
    world.broker.router.forget()  # how much is in a cache depends on where the visits end
    gc.collect()
    gc.collect()
    return gc.mem_alloc()


def least(world, first, last):
    """The least at five stops on the way: words left on the C stack spare dead objects from collection, now these, now those."""
    step = (last - first) // 5
    return min([run(world, first + i * step, first + (i + 1) * step) for i in range(5)])


count = int(sys.argv[1])
world = World(options=Options(True, max_auth_failures=0))
run(world, 0, 2910)  # each topic three times
warm = least(world, 2910, 5000)
print(least(world, 5000, 5000 + count) - warm)
