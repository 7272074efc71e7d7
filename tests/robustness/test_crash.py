"""The broker is killed at random moments, again and again: see crash_story for what must hold.

UCOMQTT_FULL=1: 200 rounds with SQLite. A failure tells its seed and what happened; the moments that are the operating
system's are not the same at the next run.
"""

import json

import pytest

from crash_story import Story
from database_servers import PASSWORD, Redis
from fuzz_packets import publish, subscribe
from server_process import ServerProcess
from swarm import Swarm

KILLED = ("now", "now", "now", "frozen", "stopping", "stop", "starting", "twice")
ROUNDS = 20  # of one story


class LastingRedis(Redis):
    """A Redis server that keeps what it has answered for."""

    def command(self):
        return [*super().command(), "--appendonly", "yes", "--appendfsync", "always"]


def configure(folder, table):
    """A file with this [store]."""
    path = folder / "broker.toml"
    path.write_text("max_queued_messages = 60000\n[store]\n" + table)
    return path


def sqlite(folder, durability):
    """A configuration with a database."""
    return configure(folder, 'type = "sqlite"\nfile = "x.db"\ndurability = "%s"\n' % durability)


def play(configuration, seed, rounds, ways=KILLED, runtime="cpython", largest=20000, **more):
    """One story."""

    def start(listening):
        return ServerProcess(runtime, "--config", str(configuration), listening=listening, **more)

    print(Story(start, seed, largest).play(rounds, ways))


@pytest.mark.parametrize("durability", ["batch", "sync"])
def test_sqlite(tmp_path, full, durability):
    for story in range(5 if full else 1):
        folder = tmp_path / str(story)
        folder.mkdir()
        play(sqlite(folder, durability), 100 * len(durability) + story, ROUNDS if full else 10)


def test_redis(tmp_path, tool, full):
    server = LastingRedis(tool("redis-server"))
    try:
        (tmp_path / "secret").write_text(PASSWORD)
        table = 'type = "redis"\nurl = "redis://127.0.0.1:%d/0"\npassword_file = "secret"\n' % server.port
        play(configure(tmp_path, table), 1, ROUNDS if full else 4)
    finally:
        server.remove()


def test_flash(tmp_path, tool, full):
    """The board's program cannot catch SIGTERM."""
    tool("micropython")
    path = tmp_path / "broker.json"
    path.write_text(json.dumps({
        "max_queued_messages": 5000, "max_queued_bytes": 10000000, "max_inflight": 20, "max_packet_size": 65536,
        "max_retained_bytes": 100000,
        "store": {"type": "flash", "folder": "kept", "sessions": True, "durability": "batch"},
    }))  # fmt: skip
    ways = ("now", "frozen", "starting", "twice")
    play(path, 2, ROUNDS if full else 4, ways, "micropython", 2000, heapsize="32m")


@pytest.mark.parametrize("durability", ["none", "batch"])
def test_orderly_stops(tmp_path, durability, full):
    """Nothing is lost then, whatever the durability."""
    play(sqlite(tmp_path, durability), 3, ROUNDS if full else 3, ("stop",))


def test_what_durability_none_may_lose(tmp_path):
    """What was acknowledged within the last second or so, nothing that was written; and it always starts again."""
    path = sqlite(tmp_path, "none")
    written = value = 0  # the last numbers that are in the file, and that were acknowledged
    lost = 0
    for number in range(1, 40):
        with ServerProcess("cpython", "--config", str(path)) as broker, Swarm(broker.port) as swarm:
            client = swarm.connect(b"c")
            packets = swarm.exchange(client, subscribe(4, 1, [(b"kept", 0)]), 2 if written else 1)
            found = int(packets[1][1][6:]) if written else 0
            assert written <= found <= value
            lost += found < value
            value = number
            assert swarm.exchange(client, publish(4, b"kept", b"%d" % number, 1, 1, True), 2)
            written = found
            if number % 3 == 1:
                while swarm.figure(client, b"store/waiting/bytes"):
                    swarm.step(0.05)
                written = number
            broker.kill()
            assert "Traceback" not in broker.output
        if lost > 2:
            return
    raise AssertionError("nothing was ever lost")
