"""The broker is killed at random moments, again and again: see crash_story for what must hold.

UCOMQTT_FULL=1: 200 rounds with SQLite. A failure tells its seed and what happened; the moments that are the operating
system's are not the same at the next run.
"""

import json

import pytest

from clock import YEAR, Clock
from crash_story import Story
from database_servers import PASSWORD, Redis
from fuzzing.packets import publish, subscribe
from server_process import ServerProcess
from swarm import Swarm

KILLED = ("now", "now", "now", "frozen", "stopping", "stop", "starting", "twice")
KILLED_BOARD = ("now", "frozen", "starting", "twice")
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


def flash(folder):
    """A configuration of the board's program, which cannot catch SIGTERM."""
    path = folder / "broker.json"
    path.write_text(json.dumps({
        "max_queued_messages": 5000, "max_queued_bytes": 10000000, "max_inflight": 20, "max_packet_size": 65536,
        "max_retained_messages": 100, "max_retained_bytes": 150000, "max_memory": 20000000,
        "store": {"type": "flash", "folder": "kept", "sessions": True, "durability": "batch"},
    }))  # fmt: skip
    return path


def play(configuration, seed, rounds, ways=KILLED, variables=None, **more):
    """One story, on the runtime whose configuration it is."""
    server: dict = {"runtime": "cpython"}
    if configuration.suffix == ".json":
        server = {"runtime": "micropython", "heapsize": "32m"}
        more["largest"] = 2000

    def start(listening):
        return ServerProcess(server["runtime"], "--config", str(configuration), listening=listening, variables=variables,
                             heapsize=server.get("heapsize", ""))  # fmt: skip

    print(Story(start, seed, **more).play(rounds, ways))


@pytest.mark.parametrize("durability", ["batch", "sync"])
def test_sqlite(tmp_path, full, durability):
    for story in range(5 if full else 1):
        folder = tmp_path / str(story)
        folder.mkdir()
        play(sqlite(folder, durability), 100 * len(durability) + story, ROUNDS if full else 10)


@pytest.fixture
def redis(tmp_path, tool):
    """A server, and a broker's configuration with it."""
    server = LastingRedis(tool("redis-server"))
    try:
        (tmp_path / "secret").write_text(PASSWORD)
        table = 'type = "redis"\nurl = "redis://127.0.0.1:%d/0"\npassword_file = "secret"\n' % server.port
        yield server, configure(tmp_path, table)
    finally:
        server.remove()


def test_redis(redis, full):
    play(redis[1], 1, ROUNDS if full else 4)


def test_redis_is_killed(redis, full):
    """The broker goes on by itself when it is back; now and then it is killed before that."""
    server, configuration = redis
    down = []

    def meddle(story, running):
        if running:
            server.kill()
            story.tell("Redis is gone")
            story.run(story.random.choice((0, 0.1, 1.2)))
            if story.random.random() < 0.3:
                down.append(True)
                return
            server.start()
            story.tell("Redis is back")
            story.run(story.random.choice((0, 0.1, 1.5)))
        elif down:
            server.start()
            down.clear()

    play(configuration, 4, 2 * ROUNDS if full else 4, meddle=meddle, may_refuse=True)


def test_flash(tmp_path, tool, full):
    tool("micropython")
    play(flash(tmp_path), 2, ROUNDS if full else 10, KILLED_BOARD)


@pytest.mark.parametrize("store", ["sqlite", "flash"])
def test_clock_jumps(tmp_path, tool, full, store):
    """Back by a year and ahead by five, while brokers run and between them."""
    clock = Clock(tool("faketime"), tmp_path)

    def meddle(story, running):
        if story.random.random() < 0.5:
            jump = story.random.choice((-1, 5))
            clock.set(jump * YEAR)
            story.tell("the clock is set by %d years", jump)
            if running:
                story.run(story.random.choice((0, 0.1, 1.2)))

    if store == "flash":
        tool("micropython")
        play(flash(tmp_path), 6, ROUNDS if full else 3, KILLED_BOARD, clock.variables, meddle=meddle)
    else:
        play(sqlite(tmp_path, "batch"), 5, ROUNDS if full else 3, KILLED, clock.variables, meddle=meddle)


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
