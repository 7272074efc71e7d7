"""The flash store in a folder: what is kept, how much may be written, and what happens while that fails."""

import os
import sys

from flash_files import a_run, apply
from flash_module import flash
from harness import World
from port.core.wire.properties import SESSION_EXPIRY_INTERVAL

if sys.implementation.name == "micropython":
    import vfs
    from flash_devices import littlefs

    def a_folder():
        """An empty folder on a littlefs of its own, and what takes it away."""
        vfs.mount(littlefs(None, 64)[0], "/flash")
        return "/flash/store", lambda: vfs.umount("/flash")
else:
    import tempfile  # subset: ok, CPython only

    def a_folder():
        holder = tempfile.TemporaryDirectory()
        return holder.name + "/store", holder.cleanup


TIMEOUT = 180
HEAPSIZE = "2m"  # with a device of 256 KiB


class Folder(flash.Folder):
    """Without os.sync, which on CPython has all of the machine written."""

    def sync(self):
        pass


flash.Folder = Folder


class Case:
    """A store in an empty folder, with a clock that is set and a log that is kept."""

    def __init__(self, **values):
        self.values = values
        self.place, self.clear = a_folder()
        self.now = 1000
        self.lines = []
        self.reopen()

    def reopen(self):
        self.store = flash.FlashStore(self.place, log=self.log, clock=lambda: self.now, **self.values)
        self.loaded = list(self.store.load())

    def log(self, level, text, *values):
        assert level == 2
        self.lines.append(text % values)

    def commit(self, batch):
        """What the store says to it; once and at once."""
        answers: "list[object]" = []
        self.store.commit(batch, answers.append)
        assert len(answers) == 1
        return answers[0]

    def figures(self):
        return dict(self.store.figures())


def test_what_was_committed_is_loaded():
    case = Case()
    assert case.loaded == []
    state: "dict[bytes, bytes]" = {}
    for batch in a_run(30):
        assert case.commit(batch) is None
        state = apply(state, batch)
        case.store.close()
        case.reopen()
        assert case.loaded == sorted(state.items())
    assert case.lines == []
    case.clear()


def spoilt(durability):
    """A case whose store has a broker's records, one of which cannot be understood."""
    case = Case(sessions=True, durability=durability)
    world = World(store=case.store)
    world.connect("away", 5, properties={SESSION_EXPIRY_INTERVAL: 1000}).subscribe("a", qos=1)
    world.broker.publish("r", "x", retain=True)
    world.broker.journal.commit()
    key = [key for key, _ in case.store.load() if key[0] == 2][0]
    assert case.commit([(key, b"\x01")]) is None
    case.reopen()
    return case, key


def test_a_record_that_cannot_be_understood_is_moved_aside_with_all_others():
    """Where nothing is promised: a board that does not start until somebody comes is worse."""
    case, key = spoilt("none")
    had = case.loaded
    for number in (1, 2):
        world = World(store=case.store)
        aside = "%s.corrupt-%d" % (case.place, number)
        said = [text for level, text in world.log if level == 3]
        assert len(said) == 1 and said[0].startswith("%s: record %s: " % (case.place, key.hex())), said
        assert said[0].endswith("; moved to %s, the broker starts with nothing" % aside)
        assert list(flash.FlashStore(aside, log=case.log).load()) == had
        assert not world.broker.sessions and not world.broker.retained.count
        world.broker.publish("r", "y", retain=True)
        world.broker.journal.commit()
        case.reopen()
        kept = World(store=case.store).broker.retained.get(b"r")
        assert kept is not None and kept[1] == b"y"
        for record in had:  # the same once more
            assert case.commit([record]) is None
        case.reopen()
        had = case.loaded
    case.clear()


def test_a_record_that_cannot_be_understood_stops_the_start_where_nothing_may_be_lost():
    case, key = spoilt("batch")
    had = case.loaded
    try:
        World(store=case.store)
        raise AssertionError("it starts")
    except ValueError as e:
        assert str(e).startswith("%s: record %s: " % (case.place, key.hex())), e
    case.reopen()
    assert case.loaded == had
    case.clear()


def test_a_folder_that_cannot_be_moved_is_named():
    case, _ = spoilt("none")

    def set_aside():
        raise OSError(22)

    case.store._files.set_aside = set_aside
    try:
        World(store=case.store)
        raise AssertionError("it starts")
    except OSError as e:
        assert e.args[1].startswith("cannot move %s aside: " % case.place), e
    case.clear()


def test_a_file_that_ends_in_half_a_batch_is_reported():
    case = Case()
    case.commit([(b"\7a", b"1")])
    names = os.listdir(case.place)
    with open(case.place + "/" + names[0], "ab") as file:
        file.write(b"half")
    case.reopen()
    assert case.loaded == [(b"\7a", b"1")]
    assert case.lines == ["store: %s: 4 bytes at the end of file 1 are no whole batch" % case.place]
    assert case.figures()["bytes/cut"] == 4
    case.commit([(b"\7b", b"2")])
    case.reopen()
    assert case.loaded == [(b"\7a", b"1"), (b"\7b", b"2")]
    case.clear()


def test_other_files_are_left_alone():
    case = Case()
    for name in ("notes.txt", "x.log", "1.log.old"):
        with open(case.place + "/" + name, "w") as file:
            file.write("mine")
    for i in range(30):
        assert case.commit([(b"\7a", b"%d" % i * 800)]) is None
    assert case.figures()["compactions"]
    case.reopen()
    assert case.loaded == [(b"\7a", b"29" * 800)]
    for name in ("notes.txt", "x.log", "1.log.old"):
        with open(case.place + "/" + name) as file:
            assert file.read() == "mine"
    case.clear()


def test_how_the_broker_is_to_use_it():
    case = Case()
    store = case.store
    assert (store.sessions, store.waits, store.interval, store.on_failure) == (False, False, 60, "degrade")
    store = flash.FlashStore(case.place, sessions=True, durability="batch", interval=5, log=case.log)
    assert (store.sessions, store.waits, store.interval, store.on_failure) == (True, True, 5, "refuse")
    for values, text in (
        ({"durability": "always"}, "durability must be none or batch, not 'always'"),
        ({"bytes_per_day": 100}, "bytes_per_day must be at least 4096, not 100"),
        ({"interval": 0}, "interval must be at least 1, not 0"),
    ):
        try:
            flash.FlashStore(case.place, log=case.log, **values)
        except ValueError as e:
            assert str(e) == text
        else:
            raise AssertionError(values)
    case.clear()


def test_the_budget_makes_the_interval_longer():
    budget = 1000000
    case = Case(bytes_per_day=budget)
    case.commit([(b"\7a", b"1")])
    first = case.figures()["bytes/written"]
    days = []
    end = case.now + 20 * 86400
    number = day = 0
    intervals = []
    while case.now < end:
        case.now += case.store.interval
        intervals.append(case.store.interval)
        assert case.commit([(b"\7a", b"%d" % number)]) is None
        number += 1
        if case.now // 86400 != day:
            day = case.now // 86400
            days.append(case.figures()["bytes/written"])
    assert first == 4096 + 8 + 8 + 2 + 1
    assert intervals[0] == 60 and max(intervals) > 300
    rates = [days[i + 1] - days[i] for i in range(2, len(days) - 1)]
    assert budget * 9 // 10 < sum(rates) // len(rates) <= budget * 21 // 20, rates
    assert case.lines == ["store: %s: the budget of %d bytes a day is used up" % (case.place, budget)]
    case.now += 86400
    case.commit([(b"\7a", b"a day later")])
    assert case.store.interval == 60
    case.clear()


def test_the_warning_comes_again_only_when_there_was_budget_again():
    case = Case(bytes_per_day=100000)
    for warnings in (1, 2):
        for _ in range(5):
            while case.store.interval == 60:
                case.commit([(b"\7a", b"1")])
            case.now += case.store.interval + 10000
            case.commit([(b"\7a", b"1")])
            assert case.store.interval == 60
        assert len(case.lines) == warnings
        case.now += 86400
        case.commit([(b"\7a", b"1")])
    case.clear()


def test_bytes_of_a_day():
    case = Case()
    case.commit([(b"\7a", b"1")])
    one = case.figures()["bytes/today"]
    case.now += 50000
    case.commit([(b"\7a", b"2")])
    assert case.figures()["bytes/today"] == case.figures()["bytes/written"] == 2 * one
    case.now += 50000
    case.commit([(b"\7a", b"3")])
    assert case.figures()["bytes/today"] == one
    assert case.figures()["bytes/written"] == 3 * one
    case.clear()


def test_a_clock_that_is_set_back():
    case = Case(bytes_per_day=50000)
    for i in range(20):
        case.commit([(b"\7a", b"%d" % i)])
    case.now -= 500000
    interval = case.store.interval
    assert interval > 60
    case.commit([(b"\7a", b"back")])
    assert interval < case.store.interval < interval + 20000
    case.clear()


def test_while_writing_fails_attempts_get_rarer_and_then_it_works_again():
    case = Case()
    case.commit([(b"\7a", b"1")])
    case.now += 86400
    away(case.place)
    attempts = 0
    before = case.figures()["bytes/written"]
    for _ in range(300):
        error = case.commit([(b"\7b", b"2")])
        assert isinstance(error, OSError)
        assert str(error).startswith("cannot write to %s: " % case.place)
        attempts += case.figures()["bytes/written"] > before
        before = case.figures()["bytes/written"]
    assert 5 <= attempts <= 12, attempts
    os.mkdir(case.place)
    calls = 1
    while case.commit([(b"\7a", b"1"), (b"\7b", b"2")]):
        calls += 1
    assert calls <= 64
    assert case.commit([(b"\7c", b"3")]) is None
    case.reopen()
    assert case.loaded == [(b"\7a", b"1"), (b"\7b", b"2"), (b"\7c", b"3")]
    case.clear()


def away(place):
    """Remove a folder."""
    for name in os.listdir(place):
        os.remove(place + "/" + name)
    os.rmdir(place)


def test_a_folder_that_cannot_be_made():
    case = Case()
    case.place = case.place + "/not/there"
    try:
        case.reopen()
    except OSError as e:
        assert e.errno == 2 and e.args[1].startswith("cannot open %s: " % case.place)
    else:
        raise AssertionError
    case.clear()


def test_a_broker_with_it():
    case = Case()
    world = World(store=case.store)
    client = world.connect("c", 5, clean_start=False, properties={SESSION_EXPIRY_INTERVAL: 1000})
    client.subscribe("b/+")
    for i in range(200):
        world.now += 1000
        client.publish("b/%d" % (i % 10), "%d" % i, 1, retain=True)  # it is acknowledged at once
        world.broker.tick()
    assert case.figures()["appends"] == 4
    world.broker.journal.commit()
    case.reopen()
    world = World(store=case.store, now=world.now)
    assert world.broker.sessions == {}
    found = sorted([(message[0], message[1]) for message in world.broker.retained.matching(b"b/+")])
    assert found == [(b"b/%d" % i, b"%d" % (190 + i)) for i in range(10)]
    case.clear()


def test_a_broker_that_waits_for_it():
    case = Case(sessions=True, durability="batch")
    world = World(store=case.store)
    world.connect("c", 5, clean_start=False, properties={SESSION_EXPIRY_INTERVAL: 1000}).subscribe("a", qos=1)
    client = world.connect("p", 5)
    world.session("c").conn.lost()
    for i in range(40):
        client.publish("a", "%d" % i, 1)
        case.reopen()
        again = World(store=case.store, now=world.now)
        assert len(again.session("c").queue) == i + 1
        case.store.close()
        world.broker.store = world.broker.journal.store = case.store
    case.clear()
