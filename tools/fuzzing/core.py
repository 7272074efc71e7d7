"""Series of spoilt conversations, the same for the same seed on every runtime. Used by tools/fuzz and tests/fuzz.

`Mutator` spoils what fuzzing.packets has, `Run` feeds it to one fuzzing.world after another.
"""

from port.core import TYPE_CHECKING
from port.core.wire.codec import packet

from fuzzing.packets import connect, corpus, subscribe
from fuzzing.world import PRESETS, Peer, World

if TYPE_CHECKING:
    from typing import Any


class Random:
    """Pseudo-random numbers, the same on every runtime."""

    def __init__(self, seed: int) -> None:
        self._state = (seed * 2654435761 + 12345) & 0x7FFFFFFF
        self.below(2)

    def below(self, limit: int) -> int:
        """A number from 0 to limit - 1; `limit` at most 65,536."""
        state = self._state = (self._state * 1103515245 + 12345) & 0x7FFFFFFF
        return (state >> 12) % limit

    def choice(self, items: "Any") -> "Any":
        return items[self.below(len(items))]


_EDGES = b"\x00\x01\x02\x7f\x80\x81\xff\xfe\x10\x30\x3d\x20\x23\x2b\x2f\x24"


class Mutator:
    """Makes inputs out of the corpus."""

    def __init__(self, dice: Random) -> None:
        self.dice = dice
        self.conversations = corpus()

    def conversation(self) -> bytes:
        """The bytes of one connection: valid packets, some of them spoilt, left out, doubled or moved."""
        dice = self.dice
        version, packets = dice.choice(self.conversations)
        packets = list(packets)
        for _ in range(dice.below(4)):
            self._shuffle(packets, version)
        for _ in range(dice.below(4)):
            i = self._position(packets)
            packets[i] = self.spoil(packets[i])
        data = b"".join(packets)
        while dice.below(6) == 0:
            data = self._bytes(data)
        return data

    def _position(self, packets: "list[bytes]") -> int:
        """Any packet but rarely the first: without its CONNECT a conversation is soon over."""
        if len(packets) < 2 or self.dice.below(8) == 0:
            return self.dice.below(len(packets))
        return self.dice.below(len(packets) - 1) + 1

    def _shuffle(self, packets: "list[bytes]", version: int) -> None:
        dice = self.dice
        if len(packets) < 2:
            return
        i = self._position(packets)
        kind = dice.below(4)
        if kind == 0:
            del packets[i]
        elif kind == 1:
            packets.insert(i, packets[dice.below(len(packets))])
        else:
            # One from elsewhere, mostly of the same version.
            other = dice.choice(self.conversations)
            if other[0] == version or not dice.below(8):
                packets.insert(i + 1, dice.choice(other[1]))

    def spoil(self, data: bytes) -> bytes:
        """Spoil a packet; two times of three its remaining length is put right again, so that it is parsed."""
        dice = self.dice
        if len(data) < 3 or dice.below(3) == 0:
            return self._bytes(data)
        at = 2
        while at < len(data) and data[at - 1] > 127:
            at += 1
        first = data[0] if dice.below(8) else data[0] ^ 1 << dice.below(8)
        return packet(first, self._bytes(data[at:]))

    def _bytes(self, data: bytes) -> bytes:
        """Change one thing."""
        dice = self.dice
        kind = dice.below(7)
        i = dice.below(len(data) + 1)
        if kind == 0 and i < len(data):
            return data[:i] + bytes((data[i] ^ 1 << dice.below(8),)) + data[i + 1 :]
        if kind == 1 and i < len(data):
            return data[:i] + bytes((dice.choice(_EDGES),)) + data[i + 1 :]
        if kind == 2:
            return data[:i] + bytes([dice.below(256) for _ in range(dice.below(4) + 1)]) + data[i:]
        if kind == 3:
            return data[:i] + data[i + dice.below(4) + 1 :]
        if kind == 4:
            return data[:i]
        if kind == 5:
            piece = data[i : i + dice.below(8) + 1]
            return data[:i] + piece + data[i:]
        return data[:i] + bytes((dice.choice(_EDGES),)) + data[i:]


class Run:
    """A series of inputs into one world after another, the same for the same seed.

    last  the inputs of the present world, to be shown when a fault comes up
    """

    def __init__(self, seed: int, per_world: int = 40) -> None:
        self.seed = seed
        self.per_world = per_world
        self.last: "list[bytes]" = []
        self.packets = 0  # handled by the broker
        self._worlds = 0

    def world(self, inputs: int) -> None:
        """Feed up to `inputs` inputs into a new broker. Raises Fault, or whatever the broker raised."""
        dice = Random(self.seed + self._worlds * 7919)
        world = World(self._worlds % len(PRESETS))
        self._worlds += 1
        self.last = []
        mutator = Mutator(dice)
        _residents(world)
        for _ in range(min(inputs, self.per_world)):
            data = mutator.conversation()
            self.last.append(data)
            self._input(world, dice, data)
            world.check()
        self.packets += world.broker.counters.packets_received
        world.end()

    def _input(self, world: World, dice: Random, data: bytes) -> None:
        if dice.below(10) == 0:
            # Somebody who was there before goes, so that there is room.
            dice.choice(world.peers).lost() if world.peers else None
        peer = Peer(world, "127.0.0.1:1" if dice.below(20) else "10.0.0.%d:1" % dice.below(6))
        if peer.refused:
            for other in list(world.peers)[:3]:
                other.lost()
            return
        feed = peer.feed_buffer if dice.below(2) else peer.feed
        size = dice.choice((1, 3, 10, 100, 65536, 65536))
        i = 0
        while i < len(data) and not peer.closed:
            if peer.held:
                peer.conn.authenticated(0 if dice.below(4) else 0x87)
                world.broker.flush()
                continue
            feed(data[i : i + size])
            i += size
            if dice.below(4) == 0:
                answers = peer.answers()
                if answers and not peer.closed and not peer.held:
                    # Between two packets, so only where none is incomplete.
                    if peer.conn.rest is None:
                        feed(answers)
            if dice.below(16) == 0 and not peer.closed:
                self._weather(world, dice, peer)
        if peer.closed:
            peer.conn.take(b"\xc0\x00")  # too late: nothing may come of it
            world.broker.flush()
        elif dice.below(3) == 0:
            peer.lost()
        if dice.below(8) == 0:
            world.tick(dice.choice((0, 1, 2, 11, 40, 200)))

    def _weather(self, world: World, dice: Random, peer: Peer) -> None:
        kind = dice.below(3)
        if kind == 0:
            peer.conn.pause_writing(spare=dice.choice((0, 0, 30, 300)))
        elif kind == 1:
            peer.conn.resume_writing()
            world.broker.flush()
        else:
            world.broker.publish(b"a/b", b"from inside", dice.below(3), dice.below(4) == 0)


def _residents(world: World) -> None:
    """Clients that were there before and receive what comes."""
    for version, client_id, topic_filter in ((4, b"r4", b"#"), (5, b"r5", b"a/b")):
        peer = Peer(world)
        peer.feed(connect(version, client_id))
        peer.feed(subscribe(version, 1, [(topic_filter, version - 3)]))
