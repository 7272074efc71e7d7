"""Lines in the log that clients cause: bounded in length and in number, and what is left out is told."""

from harness import World
from port.core.limits.client_log import ClientLog, shown


class Lines:
    """A world that only logs, and what it has logged."""

    def __init__(self, **options):
        self.world = World(**options)
        self.world.log.clear()
        self.log = ClientLog(self.world.broker)

    def taken(self):
        found = [text for _, text in self.world.log]
        self.world.log.clear()
        return found


def test_client_ids_are_short_and_on_one_line():
    for client_id, text in (
        (b"", "-"),
        (b"c1", "c1"),
        (b"!a~", "!a~"),
        (b"a b", "'a b'"),
        (b"a\nW forged", "'a\\nW forged'"),
        (b"x" * 64, "x" * 64),
        (b"x" * 65, "x" * 64 + "..."),
        (b"x" * 60000, "x" * 64 + "..."),
    ):
        assert shown(client_id) == text
    for name in ("\u00fc" * 30000, "\u20ac\n" * 20000, "\x7f" * 60000, "\u2028" * 20000):
        found = shown(name.encode())
        assert len(found) < 64 * 6 + 10 and "\n" not in found


def test_the_first_lines_of_an_address_in_a_minute_are_written():
    lines = Lines(max_log_lines=3)
    for i in range(1234 + 3):
        lines.log.line(2, "10.0.0.9:%d" % i, "line %d", i)
    lines.log.line(2, "10.0.0.8:1", "another address")
    lines.log.line(1, "10.0.0.9:1", "another level")
    assert lines.taken() == ["line 0", "line 1", "line 2", "another address", "another level"]
    lines.log.tick(lines.world.now + 59999)
    assert lines.taken() == []
    lines.log.tick(lines.world.now + 60000)
    assert lines.taken() == ["and 1234 more like this from 10.0.0.9 in the last minute"]
    lines.log.line(2, "10.0.0.9:1", "again")
    assert lines.taken() == ["again"]
    lines.log.tick(lines.world.now + 60000)
    lines.log.tick(lines.world.now + 200000)
    assert lines.taken() == []


def test_without_a_limit_all_are_written():
    lines = Lines(max_log_lines=0)
    for i in range(90):
        lines.log.line(2, "10.0.0.9:1", "line")
    assert len(lines.taken()) == 90
    lines.log.tick(lines.world.now + 60000)
    assert lines.taken() == []


def test_many_addresses_count_as_one():
    lines = Lines(max_log_lines=2, max_tracked_addresses=5)
    for i in range(40):
        for _ in range(3):
            lines.log.line(2, "10.0.0.%d:1" % i, "line")
    assert len(lines.taken()) == 2 * 5 + 2
    lines.log.tick(lines.world.now + 60000)
    found = sorted(lines.taken())
    assert len(found) == 6 and found[-1] == "and 103 more like this from other addresses in the last minute"


def test_long_reasons_are_cut():
    lines = Lines()
    lines.log.line(2, "10.0.0.9:1", "%s: %s (%d)", "x" * 60000, "y" * 60000, 5)
    assert len(lines.taken()[0]) < 420


def test_refused_connects_do_not_fill_the_log():
    world = World(anonymous="none", max_auth_failures=0, max_connect_size=65535, max_log_lines=5)
    world.broker.options.max_topic_length = 65535
    size = 0
    for i in range(300):
        client = world.client(4, "10.0.0.9:%d" % i)
        client.connect("x%d" % i + "y" * 30000, 4)
        assert client.closed
        size += sum([len(text) for _, text in world.log])
        world.log.clear()
    assert 0 < size < 1000
    world.advance(61000)
    assert [text for _, text in world.log] == ["and 295 more like this from 10.0.0.9 in the last minute"]


def test_what_fails_in_the_broker_again_and_again_does_not_fill_the_log():
    def fail(session, message):
        raise ValueError("hook")

    world = World(max_log_lines=5, anonymous="all")
    world.broker.on("message", fail)
    client = world.connect("c", address="10.0.0.9:1")
    for i in range(20):
        client.send_publish("a", "x")
    assert len(world.errors()) == 5
