"""Watchers: told of filters and sessions after the fact, whatever the reason."""

import gc

from disk import Disk
from harness import World, raises
from port.core import TYPE_CHECKING
from port.core.wire.properties import SESSION_EXPIRY_INTERVAL
from port.core.monitor.watchers import FilterWatcher, Watcher

if TYPE_CHECKING:
    from typing import Any

HEAPSIZE = "2m"
KEPT = {SESSION_EXPIRY_INTERVAL: 100}


class Log(Watcher):
    """What it was told; `take` gives it and forgets it."""

    def __init__(self):
        self.told: "list[Any]" = []

    def take(self):
        told = self.told
        self.told = []
        return told

    def subscribed(self, subscriber, topic_filter, options):
        self.told.append(("+", subscriber and subscriber.client_id, topic_filter, options))

    def unsubscribed(self, subscriber, topic_filter):
        self.told.append(("-", subscriber and subscriber.client_id, topic_filter))

    def connected(self, session):
        self.told.append(("connected", session.client_id))

    def disconnected(self, session):
        self.told.append(("disconnected", session.client_id))

    def taken_over(self, session):
        self.told.append(("taken over", session.client_id))

    def ended(self, session):
        self.told.append(("ended", session.client_id))


class Counted(FilterWatcher):
    def __init__(self):
        FilterWatcher.__init__(self)
        self.told: "list[Any]" = []

    def first(self, topic_filter):
        self.told.append(("first", topic_filter))

    def last(self, topic_filter):
        self.told.append(("last", topic_filter))


def watched(store=None):
    world = World(store)
    log = Log()
    world.broker.watch(log)
    return world, log


def test_filters_come_and_go():
    world, log = watched()
    client = world.connect("c")
    assert log.take() == [("connected", b"c")]
    client.subscribe("a/#", 1)
    client.subscribe("a/#", 2)  # with another QoS
    client.subscribe("$share/g/b")
    client.unsubscribe("a/#")
    client.unsubscribe("never", code=0x11)
    assert log.take() == [
        ("+", b"c", b"a/#", 1), ("+", b"c", b"a/#", 2), ("+", b"c", b"$share/g/b", 0), ("-", b"c", b"a/#"),
    ]  # fmt: skip
    handle = world.broker.subscribe("p", print)
    world.broker.unsubscribe(handle)
    assert log.take() == [("+", None, b"p", 0), ("-", None, b"p")]


def test_sessions_come_and_go():
    world, log = watched()
    kept = world.connect("k", properties=KEPT)
    kept.subscribe("a")
    log.take()
    kept.lose()
    world.see_off()
    assert log.take() == [("disconnected", b"k")]
    again = world.connect("k", clean_start=False, properties=KEPT)
    assert log.take() == [("connected", b"k")]
    world.connect("k", clean_start=False, properties=KEPT)
    again.expect_close(0x8E)
    assert log.take() == [("taken over", b"k"), ("connected", b"k")]
    world.connect("k", properties=KEPT)  # a clean start ends the session before
    told = log.take()
    assert told.index(("taken over", b"k")) < told.index(("ended", b"k")) < told.index(("connected", b"k"))
    assert ("-", b"k", b"a") in told


def test_the_end_of_a_session_takes_all_its_filters():
    world, log = watched()
    client = world.connect("c", properties={SESSION_EXPIRY_INTERVAL: 10})
    for i in range(300):
        client.subscribe("f/%d" % i)
        gc.collect()  # what is told lies between what each call leaves, and a heap in pieces has no room for a large dict
    log.take()
    client.lose()
    world.advance(12000)
    while world.broker.turns.jobs:
        world.broker.work()
    told = log.take()
    assert ("ended", b"c") in told and len([entry for entry in told if entry[0] == "-"]) == 300


def test_lost_rights_are_told():
    world, log = watched()
    client = world.connect("c", properties=KEPT)
    client.subscribe("a")
    client.subscribe("b")
    log.take()
    world.broker.set_acl([{"topic": "a"}])
    world.broker.rights_changed()
    world.settle()
    told = log.take()
    assert ("-", b"c", b"b") in told and ("-", b"c", b"a") not in told


def test_restored_filters_are_told():
    disk = Disk()
    world = World(disk)
    client = world.connect("c", properties=KEPT)
    client.subscribe("a", 1)
    world.advance(2000)
    restored = World()
    log = Log()
    restored.broker.store = disk
    restored.broker.watch(log)
    restored.broker.open_store()
    assert log.take() == [("+", b"c", b"a", 1)]


def test_who_begins_to_watch_is_told_of_what_there_is():
    world = World()
    world.connect("c").subscribe("a", 1)
    log = Log()
    world.broker.watch(log)
    assert log.take() == [("connected", b"c"), ("+", b"c", b"a", 1)]
    world.broker.unwatch(log)
    world.connect("d").subscribe("a")
    assert log.take() == [] and world.broker.watchers is None


def test_each_filter_once():
    world = World()
    world.connect("before").subscribe("a")
    counted = Counted()
    world.broker.watch(counted)
    one, two = world.connect("1"), world.connect("2")
    one.subscribe("b", 0)
    one.subscribe("b", 1)
    two.subscribe("b")
    two.subscribe("a")
    handle = world.broker.subscribe("b", print)
    assert counted.told == [("first", b"a"), ("first", b"b")]
    one.unsubscribe("b")
    two.lose()
    world.see_off()
    assert counted.told[2:] == []
    world.broker.unsubscribe(handle)
    assert counted.told[2:] == [("last", b"b")]


def test_what_a_watcher_raises_goes_no_further():
    class Broken(Watcher):
        def subscribed(self, subscriber, topic_filter, options):
            raise KeyError("on purpose")

    world, log = watched()
    world.broker.watch(Broken())
    world.connect("c").subscribe("a")
    assert ("+", b"c", b"a", 0) in log.take() and "on purpose" in world.errors()[0]
    world.errors().clear()
    assert "Watcher" in str(raises(TypeError, world.broker.watch, print))
    raises(ValueError, world.broker.unwatch, Log())


def test_what_hooks_do_is_told_once_and_in_order():
    world, log = watched()
    world.broker.on("connect", lambda session: world.broker.disconnect("c") and None)
    world.client().connect("c")
    world.see_off()
    assert [entry[0] for entry in log.take()] == ["connected", "disconnected", "ended"]
    world, log = watched()
    world.broker.on("disconnect", lambda session, code: world.broker.end_client("c") and None)
    world.connect("c", properties=KEPT).lose()
    world.see_off()
    assert [entry[0] for entry in log.take()] == ["connected", "disconnected", "ended"]
    assert not world.broker.sessions


def test_what_the_program_subscribes_to_is_told_as_often_as_it_is_so():
    world = World()
    first = world.broker.subscribe("a", print)
    counted = Counted()
    world.broker.watch(counted)
    second = world.broker.subscribe("a", print)
    world.broker.unsubscribe(first)
    world.broker.unsubscribe(first)
    assert counted.told == [("first", b"a")]
    world.broker.unsubscribe(second)
    assert counted.told == [("first", b"a"), ("last", b"a")]
