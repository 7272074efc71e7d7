"""Subscriptions and the cached routes against a list and `topics.matches`."""

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from port.core.wire.topics import is_shared, matches, split_share, valid_filter, valid_name
from port.core.limits.options import Options
from port.core.routing.subscriptions import LocalSubscriber
from port.core.sessions.session import Session
from port.core.broker import Broker
from topic_strategies import client_names, filters, names, shared_filters

SESSIONS = 4
FAMILIES = (4, 4, 5, -1)


class Routes(RuleBasedStateMachine):
    """Sessions and in-process subscribers that come and go, with names looked up in between."""

    def __init__(self):
        super().__init__()
        self.broker = Broker(Options(route_cache=3))
        self.router = self.broker.router
        self.sessions = [Session(self.broker, b"%d" % i) for i in range(SESSIONS)]
        for session, family in zip(self.sessions, FAMILIES):
            session.fast_version = family
        self.model: dict[tuple[int, bytes], int] = {}
        self.locals: list[tuple[bytes, LocalSubscriber]] = []

    @rule(number=st.integers(0, SESSIONS - 1), topic_filter=filters | shared_filters,
          options=st.sampled_from([0, 1, 2, 5, 8, 0x101, 0x3002]))
    def add(self, number, topic_filter, options):
        self.router.add(self.sessions[number], topic_filter, options)
        self.model[number, topic_filter] = options

    @rule(number=st.integers(0, SESSIONS - 1), topic_filter=filters | shared_filters)
    def remove_any(self, number, topic_filter):
        self.router.remove(self.sessions[number], topic_filter)
        self.model.pop((number, topic_filter), None)

    @rule(data=st.data())
    def remove_one(self, data):
        if self.model:
            number, topic_filter = data.draw(st.sampled_from(sorted(self.model)))
            self.router.remove(self.sessions[number], topic_filter)
            del self.model[number, topic_filter]

    @rule(topic_filter=filters)
    def add_local(self, topic_filter):
        self.locals.append(self.router.add_local(topic_filter, print))

    @rule(data=st.data())
    def remove_local(self, data):
        if self.locals:
            self.router.remove_local(self.locals.pop(data.draw(st.integers(0, len(self.locals) - 1))))

    @rule(name=names)
    def resolve(self, name):
        self.compare(self.router.resolve(name), name)

    @rule(name=client_names)
    def route(self, name):
        route = self.router.route(name, Options())
        assert route is not None
        self.compare(route, name)
        targets, groups, others = self.expected(name)
        for family in (4, 5):
            plain = (not groups and not others
                     and all(FAMILIES[n] == family for n in targets)
                     and all(len(options) == 1 and not options[0] & 4 and options[0] < 0x100
                             for options in targets.values()))
            publisher = Session(self.broker, b"p")
            publisher.version5 = family == 5
            conn: Any = SimpleNamespace(fast=self.router.fast[family - 4])
            publisher.conn = conn
            fast = self.router.learn(publisher, name)
            assert (fast is not None) == plain
            assert self.router.fast[family - 4].get(name) == fast
            if fast is not None:
                assert sorted(session.client_id for session in fast) == [b"%d" % n for n in sorted(targets)]

    def expected(self, name):
        """({session number: options}, shared filters, handles of in-process subscribers) for a name."""
        targets: dict[int, list[int]] = {}
        groups = set()
        for (number, topic_filter), options in self.model.items():
            if is_shared(topic_filter):
                if matches(split_share(topic_filter), name):
                    groups.add(topic_filter)
            elif matches(topic_filter, name):
                targets.setdefault(number, []).append(options)
        return targets, groups, [handle[1] for handle in self.locals if matches(handle[0], name)]

    def compare(self, route, name):
        targets, groups, others = self.expected(name)
        # Alone, without identifier and no local: nothing has to be decided for each message.
        plain = {n: options[0] for n, options in targets.items()
                 if len(options) == 1 and not options[0] & 4 and options[0] < 0x100}
        assert {int(session.client_id): option for session, option in route.plain} == plain
        special = {int(session.client_id): sorted(options) for session, options in route.special}
        assert special == {n: sorted(options) for n, options in targets.items() if n not in plain}
        assert len(route.plain) + len(route.special) == len(targets)
        assert sorted(group.topic_filter for group in route.groups) == sorted(groups)
        assert sorted(map(id, route.locals)) == sorted(map(id, others))

    @invariant()
    def counted(self):
        assert self.router.subscriptions.count == len(self.model)
        for topic_filter in {f for _, f in self.model if is_shared(f)}:
            group = self.router.group(topic_filter)
            assert group is not None
            assert ({(int(s.client_id), o) for s, o in group.members}
                    == {(n, o) for (n, f), o in self.model.items() if f == topic_filter})

    def teardown(self):
        for number, topic_filter in self.model:
            self.router.remove(self.sessions[number], topic_filter)
        for handle in self.locals:
            self.router.remove_local(handle)
        figures = ("_entry", "steps")  # of no subscription
        left = {name: value for name, value in vars(self.router.subscriptions).items() if value and name not in figures}
        assert not left


TestRoutes = Routes.TestCase


@given(st.lists(st.sampled_from([b"a", b"+", b"#", b"a+", b"#b", b"", b"\xff", b"$"]), max_size=4).map(b"/".join))
def test_valid_filters_and_names(text):
    levels = text.split(b"/")
    utf8 = b"\xff" not in text
    wild = [level for level in levels if b"+" in level or b"#" in level]
    assert valid_name(text) == (utf8 and bool(text) and not wild)
    assert valid_filter(text) == (utf8 and bool(text) and all(level in (b"+", b"#") for level in wild)
                                  and b"#" not in levels[:-1])
