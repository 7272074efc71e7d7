"""A board's broker that is killed when sessions hold as much memory as they may: it starts again, with all of it."""

import random
import time
from pathlib import Path
from typing import Any

import pytest

import toolchain
from debian.archive import Unavailable
from firmwares.unix import build, environment
from fuzzing.packets import connect, publish, subscribe, unsubscribe
from server_process import ServerProcess
from swarm import Swarm, packet_id_of

HEAP = "190k"  # a Pico W's
ROOMY = "230k"  # where the files and the names in them are in the heap, too: in 190k they leave 22 KB for all sessions
SCRIPT = toolchain.ROOT / "tests" / "robustness" / "board_broker.py"
SESSIONS = 60  # of the 64 there may be: one more would end another one of the same address
ATTEMPTS = 20
FEW = 25  # where the broker's files themselves take most of the heap
KEPT = {0x11: 3600}  # Session Expiry Interval
CONFIGURATION = """\
{"sys_interval": 0, "store": {"type": "flash", "folder": "kept", "sessions": true, "durability": "batch"}}
"""


class Unasked(Exception):
    """Nobody could ask how many messages were dropped."""


class Board:
    """A broker with the defaults of a board, and what it has acknowledged.

    kept     client id -> numbers of the messages that wait for it
    unknown  numbers of messages that were not acknowledged, but may have been taken
    dropped  messages that may be missing: as many gave way to others or were refused, or nobody knows
    lost     connections that ended for want of memory
    """

    def __init__(self, folder, place, most, pick):
        self.configuration = folder / "broker.json"
        self.configuration.write_text(CONFIGURATION)
        self.place, self.most, self.pick = place, most, pick
        self.kept: "dict[bytes, list[int]]" = {}
        self.unknown: "set[int]" = set()
        self.number = self.lost = self.dropped = 0
        self.told: "list[Any]" = []
        self.start()

    def start(self):
        self.broker = ServerProcess("micropython", str(self.configuration), script=SCRIPT, **self.place)
        self.swarm = Swarm(self.broker.port)

    def kill(self):
        self.swarm.__exit__()
        self.broker.kill()
        self.broker.__exit__(None, None, None)

    def come(self, client_id, version=5, kept=True, present=False):
        """A client, or None when it is not let in; `present`: its session must be."""
        properties = KEPT if kept and version == 5 else None
        client = self.swarm.open(connect(version, client_id, not kept, properties=properties))
        self.swarm.wait(lambda: client.packets or client.closed)
        if not client.packets:
            self.lost += 1
            return None
        first, body = client.packets.pop(0)
        refused = (first, body[:1]) == (0xE0, b"\x97")  # for want of memory at CONNACK itself
        assert refused or first == 0x20 and body[1] in (0, 0x97 if version == 5 else 3), (first, body)
        if refused or body[1]:
            return None
        assert body[0] or not present, (client_id, self.told)
        return client

    def fill(self):
        """Sessions, then messages for them, until one is not taken in."""
        probe, sender = self.swarm.connect(b"probe"), self.come(b"sender", kept=False)
        most = self.pick.randint(10, self.most)
        while len(self.kept) < most:
            client_id = b"device-%d" % self.pick.randrange(1000000)
            version = self.pick.choice((4, 5))
            client = self.come(client_id, version)
            if client is None:
                break
            filters = [(b"d/" + client_id, 2), (b"all/%d/+/#" % self.pick.randrange(10), 1)]
            found = self.swarm.exchange(client, subscribe(version, 1, filters))
            if not found or found[0][0] == 0xE0:
                break
            assert found[0][0] == 0x90 and found[0][1][-2:] == b"\2\1", found
            self.swarm.leave(client)
            self.kept[client_id] = []
        try:
            self._publish(sender, probe)
        except Unasked:
            self.dropped += sum(map(len, self.kept.values()))

    def _count(self, probe):
        """Messages dropped so far, as the broker says. Raises Unasked where there is no memory for the answer."""
        topic = b"$SYS/broker/messages/publish/dropped"
        for packet in (subscribe(4, 1, [(topic, 0)]), unsubscribe(4, 2, [topic])):
            self.swarm.send(probe, packet)
        self.swarm.wait(lambda: probe.closed or (0xB0, b"\0\2") in probe.packets)
        found = [int(body[2 + len(topic) :]) for first, body in probe.take() if first & 0xF0 == 0x30]
        if not found:
            raise Unasked
        return found[0]

    def _publish(self, sender, probe):
        waiting = {client_id: [len(numbers), 0] for client_id, numbers in self.kept.items()}
        dropped = before = self._count(probe)
        while dropped == before:
            client_id = self.pick.choice(list(waiting))
            payload = bytes(self.pick.choice((0, 10, 10, 100, 100, 700)))
            waiting[client_id][0] += 1
            waiting[client_id][1] += len(payload) + 50
            if waiting[client_id][0] >= 50 or waiting[client_id][1] >= 7000:  # near the limits of one queue
                del waiting[client_id]
            self.number += 1
            packet = publish(5, b"d/" + client_id, b"%d " % self.number + payload, 1, 1)
            (first, body), = self.swarm.exchange(sender, packet) or [(0xE0, b"\x97")]
            if (first, body) != (0x40, b"\0\1"):
                assert (first, body[2:3]) == (0x40, b"\x97") or (first, body[:1]) == (0xE0, b"\x97"), (first, body)
                self.unknown.add(self.number)
                break
            self.kept[client_id].append(self.number)
            if not self.number % 4:
                dropped = self._count(probe)
        self.dropped += self._count(probe) - before

    def again(self):
        """The broker is killed, and another one restores what it had."""
        self.told.append((len(self.kept), sum(map(len, self.kept.values()))))
        self.kill()
        self.start()
        assert not self.broker.trouble()

    def serve(self):
        """Most clients come for what waits for them, some end their sessions."""
        for client_id in self.pick.sample(list(self.kept), len(self.kept) * 2 // 3):
            self.fetch(client_id)
            if self.pick.random() < 0.3:
                client = self.come(client_id, kept=False)
                if client is not None:
                    self.swarm.leave(client)
                del self.kept[client_id]  # it may be over where there was no memory for the answer, too
        for _ in range(ATTEMPTS):  # the memory of those before is free when the broker has looked
            guest = self.come(b"guest", kept=False)
            if guest is not None:
                break
            time.sleep(0.5)
        self.swarm.exchange(guest, subscribe(5, 1, [(b"after", 1)]))
        packets = self.swarm.exchange(guest, publish(5, b"after", b"all", 1, 1), 2)
        assert sorted(first for first, _ in packets) == [0x32, 0x40]
        self.swarm.leave(guest)

    def check(self):
        """Everything has come that was not dropped."""
        for client_id in self.kept:
            self.fetch(client_id)
        missing = sum(map(len, self.kept.values()))
        print(self.told, "dropped", self.dropped, "missing", missing, "lost", self.lost)
        assert missing <= self.dropped, (self.kept, self.broker.output)

    def fetch(self, client_id):
        """A client takes what it finds; for want of memory it may lose its connection, and comes again."""
        found: "dict[int, bool]" = {}
        for _ in range(ATTEMPTS):
            client = self.come(client_id, present=True)
            answered = 0
            while client is not None and not client.closed and answered < 2:
                if not client.packets:
                    self.swarm.send(client, b"\xc0\0")  # nothing comes before the answer that is not asked for
                    self.swarm.wait(lambda: client.packets or client.closed)
                for first, body in client.take():
                    if first & 0xF0 == 0x30:
                        start = 2 + (body[0] << 8 | body[1]) + 2
                        found[int(body[start + 1 + body[start] :].split(b" ")[0])] = True
                        self.swarm.send(client, b"\x40\2" + packet_id_of(body))
                        answered = 0
                    answered += first == 0xD0
            if client is not None and not client.closed:
                self.swarm.leave(client)
                kept = self.kept[client_id]
                assert not set(found) - set(kept) - self.unknown, (client_id, found, kept)
                self.kept[client_id] = [number for number in kept if number not in found]
                return
            self.lost += 1
            time.sleep(0.2)
        raise AssertionError("%s is not served: %s" % (client_id, self.broker.output))


@pytest.fixture(params=["firmware", "files"])
def start(request, tool, tmp_path, compiled):
    """A board with the broker in its firmware, or in files: start(seed)."""
    if request.param == "files":
        found = {"program": Path(tool("micropython32")), "folder": compiled, "heapsize": ROOMY}, FEW
    else:
        try:
            program = build(32)
        except Unavailable as error:
            (pytest.fail if toolchain.in_ci() else pytest.skip)(str(error))
        found = {"program": program, "folder": tmp_path, "variables": environment(), "heapsize": HEAP}, SESSIONS
    started = []

    def begin(seed):
        folder = tmp_path / str(seed)
        folder.mkdir()
        started.append(Board(folder, *found, random.Random(seed)))
        return started[-1]

    yield begin
    for board in started:
        board.kill()


def test_sessions_hold_all_the_memory(start, full):
    for seed in range(5 if full else 1):
        board = start(seed)
        for _ in range(10 if full else 3):
            board.fill()
            board.again()
            board.serve()
        board.check()
