"""What expires, and the clock of the day: set while the broker runs, between two runs, or not at all (see storage.records)."""

from disk import Disk, rebooted, restart, stopped
from harness import World
from port.core.wire.properties import MESSAGE_EXPIRY_INTERVAL, SESSION_EXPIRY_INTERVAL, WILL_DELAY_INTERVAL

HEAPSIZE = "4m"

SECOND = 1000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
YEAR = 365 * DAY
TODAY = 56 * YEAR  # since 1970
JUMPS = (-YEAR, 3 * YEAR, 5 * YEAR)


def disks():
    """Stores: clients wait or not."""
    slow = Disk(waits=False)
    slow.interval = 60
    return Disk(), slow


def begin(disk, ahead=TODAY):
    """A session for a day with a message for a day and one for a minute, two such retained messages, and a will in an hour."""
    world = World(store=disk, ahead=ahead)
    world.advance(SECOND)
    will = {"topic": b"will", "payload": b"x", "retain": True, "properties": {WILL_DELAY_INTERVAL: 3600}}
    kept = {SESSION_EXPIRY_INTERVAL: 86400}
    client = world.connect("c", clean_start=False, properties=kept, will=will)
    client.subscribe("a", qos=1)
    client.lose()
    for topic in ("a", "r/day"):
        world.broker.publish(topic, "day", 1, retain=topic != "a", expiry=86400)
    for topic in ("a", "r/minute"):
        world.broker.publish(topic, "minute", 1, retain=topic != "a", expiry=60)
    return world


def left(world, topic="r/#"):
    """What is left of the retained messages' expiry, s, by payload."""
    client = world.connect("probe")
    client.subscribe(topic)
    found = {packet["payload"]: packet["properties"][MESSAGE_EXPIRY_INTERVAL] for packet in client.messages()}
    client.disconnect()
    return found


def check(world, day, minute):
    """All is there, and so much is left, s; 0: of the messages for a minute there are none. The will comes when it is due."""
    found = left(world)
    assert day - 2 <= found[b"day"] <= day, found
    if minute:
        assert minute - 2 <= found[b"minute"] <= minute, found
    else:
        assert b"minute" not in found
    session = world.session("c")
    assert day - 2 <= (session.expires_at - world.now) // 1000 <= day
    assert world.broker.retained.get(b"will") is None
    due = 3600 - 86400 + day
    assert due - 2 <= (session.will_at - world.now) // 1000 <= due
    world.advance((due + 2) * SECOND)
    assert world.broker.retained.get(b"will") is not None
    client = world.connect("c", clean_start=False, properties={SESSION_EXPIRY_INTERVAL: 86400})
    assert client.connack["session_present"]
    assert client.payloads() == [b"day"]


def test_a_clock_that_is_set_while_the_broker_runs():
    for jump in JUMPS:
        for disk in disks():
            for end in (lambda world: world, stopped):
                world = begin(disk)
                world.advance(2 * SECOND)
                world.ahead += jump
                world.advance(3 * SECOND)
                world = rebooted(end(world), 15 * SECOND)  # a quarter of a minute later
                check(world, 86400 - 5 - 15, 60 - 5 - 15)
                disk.__init__(disk.manual, waits=disk.waits)


def test_a_clock_that_is_set_between_two_runs():
    """No time counts that the clock cannot tell, and nothing has more left than before [MQTT-3.3.2-6]."""
    for jump in JUMPS + (-62 * SECOND,):
        for disk in disks():
            world = begin(disk)
            world.advance(2 * SECOND)
            world = rebooted(stopped(world), jump)
            world.advance(3 * SECOND)
            world = rebooted(stopped(world), 10 * SECOND)
            check(world, 86400 - 5 - 10, 60 - 5 - 10)


def test_a_crash_and_a_clock_that_is_set_back_leave_no_more_than_there_was():
    for since in range(0, 12):
        world = begin(Disk())
        world.advance(since * SECOND)
        world.broker.publish("r/new", "new", retain=True, expiry=60)
        world = rebooted(world, -62 * SECOND)
        found = left(world)
        assert found[b"new"] == 60 and found[b"minute"] <= 60 - since, found


def test_a_clock_that_was_not_set_until_now():
    for disk in disks():
        world = begin(disk, 0)
        world.advance(2 * SECOND)
        world.ahead = TODAY
        world.advance(3 * SECOND)
        check(rebooted(world, 5 * SECOND), 86400 - 5 - 5, 60 - 5 - 5)


def test_a_clock_that_is_not_set_at_each_start():
    """As boards without a battery have it: what they were off does not count."""
    world = begin(Disk())
    for i in range(5):
        world = World(store=stopped(world).broker.store, now=100, ahead=i * SECOND)
        world.advance(2 * SECOND)
        if i % 2:
            world.ahead = TODAY + i * DAY
        world.advance(2 * SECOND)
    check(world, 86400 - 20, 60 - 20)


def test_a_clock_that_was_wrong_does_no_harm_once_it_is_right():
    world = begin(Disk(), TODAY + 5 * YEAR)
    world.advance(2 * SECOND)
    world.broker.publish("r/six", "six", retain=True, expiry=6)
    world = rebooted(stopped(world), -5 * YEAR)
    assert left(world)[b"six"] in (5, 6)
    world.advance(4 * SECOND)
    world = rebooted(stopped(world), SECOND)
    assert left(world)[b"six"] in (1, 2)
    world = rebooted(stopped(world), 3 * SECOND)
    assert sorted(left(world)) == [b"day", b"minute"]
    check(world, 86400 - 10, 60 - 10)


def test_the_time_a_broker_was_away_counts():
    for disk in disks():
        for end in (lambda world: world, stopped):
            disk.__init__(disk.manual)
            world = begin(disk)
            check(rebooted(end(world), HOUR // 2), 86400 - 1800, 0)
    world = rebooted(begin(Disk()), 2 * HOUR)
    assert world.broker.retained.get(b"will") is not None
    world = rebooted(begin(Disk()), 2 * DAY)
    assert left(world) == {} and not world.session("c")


def test_no_part_of_a_second_is_lost_or_counted_twice():
    """Where the clock tells whole seconds, only what has passed for certain counts: nothing ends early [MQTT-3.1.2-23]."""
    assert World().broker.sys.wall_step == 1  # unless the host says otherwise
    for step, most in ((1, 0), (1000, 1999)):
        for begun in range(0, 1000, 90):
            for away in (0, 1, 400, 999, 1000, 1001, 2500):
                world = World(store=Disk(), ahead=TODAY + begun, step=step)
                world.connect("c", clean_start=False, properties={SESSION_EXPIRY_INTERVAL: 60}).lose()
                ends = world.session("c").expires_at - away
                world = World(store=world.broker.store, now=world.now, ahead=world.ahead + away, step=step)
                assert 0 <= world.session("c").expires_at - ends <= min(most, away), (step, begun, away)


def test_the_time_is_written_where_nothing_changes():
    for waits in (True, False):
        disk = Disk(waits=waits)
        disk.heartbeat = 60
        world = begin(disk)
        before = len(disk.batches)
        world.advance(HOUR // 2)
        assert 29 <= len(disk.batches) - before <= 31
        # So it is not lost when the machine crashes and its clock with it.
        assert 1800 <= 86400 - left(rebooted(world, -YEAR))[b"day"] + 60 <= 1900


def test_a_clock_that_was_set_is_told_and_stored_at_once():
    disk = Disk(waits=False)
    disk.interval = 60
    world = begin(disk)
    world.advance(61 * SECOND)
    before = len(disk.batches)
    world.ahead += 4 * SECOND  # it goes a little wrong, that is all
    world.advance(5 * SECOND)
    assert len(disk.batches) == before
    world.ahead -= HOUR
    world.advance(SECOND)
    assert len(disk.batches) == before + 1
    assert (1, "store: the clock was set back by 3596 s") in world.log


def test_a_store_of_an_earlier_version():
    """Its totals tell no clock: its times are by the clock of the day."""
    disk = Disk()
    world = stopped(begin(disk, 0))
    values = disk.records[b"\1"]
    end = 0
    for _ in range(13):
        while values[end] & 0x80:
            end += 1
        end += 1
    assert end < len(values)
    disk.records[b"\1"] = values[:end]
    check(restart(world, 20 * SECOND), 86400 - 20, 40)
