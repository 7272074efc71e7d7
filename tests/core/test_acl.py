"""Rules and what they come to for one client: port.core.acl.acl without a broker."""

from harness import raises
from port.core import TYPE_CHECKING
from port.core.constants import ALLOWED, DENIED, MAY_RETAIN, UNDECIDED
from port.core.wire.topics import matches, valid_filter
from port.core.acl.acl import Acl, covers
from port.core.acl.acl_rule import rule
from rights import ALL, rules, world_with

if TYPE_CHECKING:
    from typing import Any

PUBLISH, SUBSCRIBE = 1, 2


def find(*tables, user=b"u", client_id=b"c", address="10.0.0.1:1", own=None, authorizer=None, room=100):
    """What a client may do."""
    acl = Acl(room)
    acl.replace(rules(*tables))
    return acl.find(user, client_id, address, own, authorizer)


# -- rules from their configuration -------------------------------------------------------------

# Keys, wrong values of each, how the error begins.
WRONG: "tuple[tuple[str, tuple[Any, ...], str], ...]" = (
    ("allow retain", (0, 1, "true", "", None, [], 1.0), "KEY in an ACL rule must be true or false, not "),
    ("qos", (3, -1, True, False, "1", None, 1.0, 2.5, [1]), "qos in an ACL rule must be 0, 1 or 2, not "),
    ("topic user client_id address", (5, True, [], ["a"], b"a", {}), "KEY in an ACL rule must be a string, not "),
    ("topic", ("", "#/a", "a/b#", "a+/b", "$share/g/a", "%u+", "+%c", "a\0b"), "topic in an ACL rule must be a topic filter, not "),
    ("actions", ("publish", [], {}, 5, True, ()), "actions in an ACL rule must be a list, not "),
    ("actions", (["read"], ["publish", ""], ["Publish"]), "unknown action "),
    ("actions", ([1], [None], [["publish"]], [{}]), "actions in an ACL rule must be a list of strings, not ["),
    ("address", ("10.0.0", "", "10.0.0.0/33", "fd00::/129", "host", "10.0.0.0/", "10.0.0.0/-1", "/8"), "'"),
)


def test_every_wrong_key_type_and_value_is_named():
    for keys, wrong, text in WRONG:
        for key in keys.split():
            for value in wrong:
                values: "dict[str, Any]" = {"topic": "a"}
                values[key] = value
                error = str(raises(ValueError, rule, values))
                assert error.startswith(text.replace("KEY", key)), (values, error)
    for key in ("adress", "Topic", "", "access", "action"):
        error = str(raises(ValueError, rule, {"topic": "a", key: "x"}))
        assert error.startswith("unknown key %s, " % key), error
    assert str(raises(ValueError, rule, {"topic": None})) == "an ACL rule needs a topic"


def test_the_names_of_all_actions_are_told():
    error = str(raises(ValueError, rule, {"topic": "a", "actions": ["read"]}))
    assert error == "unknown action read, there are publish, receive, subscribe, subscribe_only"


def test_no_rules_no_access():
    acl = Acl(100)
    assert acl.find(b"u", b"c", "10.0.0.1:1", None, None) is None  # none were given
    acl.replace(None)
    assert acl.find(b"u", b"c", "10.0.0.1:1", None, None) is None
    nothing = find()  # an empty list was given
    assert nothing.publish(b"a", 0) == nothing.subscribe(b"a", 0) == nothing.receive(b"a") == DENIED
    assert find(own=[]) is not None  # rules of its own, none of which allows anything
    assert find(own=[]).publish(b"a", 0) == DENIED


# -- who a rule is about ------------------------------------------------------------------------


def test_whom_a_rule_is_about():
    for who, user, client_id, expected in (
        ({}, None, b"c", True),
        ({"user": "u"}, b"u", b"c", True),
        ({"user": "u"}, b"U", b"c", False),
        ({"user": "u"}, b"uu", b"c", False),
        ({"user": "u"}, b"", b"c", False),
        ({"user": "u"}, None, b"u", False),
        ({"user": "u*"}, b"u", b"c", True),
        ({"user": "u*"}, b"u/x", b"c", True),
        ({"user": "u*"}, b"xu", b"c", False),
        ({"user": "u*x"}, b"uax", b"c", False),
        ({"user": "u*x"}, b"u*x", b"c", True),
        ({"user": "*"}, b"any", b"c", True),
        ({"user": "*"}, None, b"c", False),  # nobody has vouched for it
        ({"user": "*"}, b"", b"c", False),
        ({"user": "u*"}, None, b"c", False),
        ({"user": "**"}, b"*", b"c", True),
        ({"client_id": "*"}, None, b"c", True),
        ({"user": ""}, None, b"c", True),
        ({"user": ""}, b"", b"c", True),
        ({"user": ""}, b"u", b"c", False),
        ({"user": "u"}, b"u*", b"c", False),  # the client's name is no pattern
        ({"client_id": "c1*"}, b"u", b"c12", True),
        ({"client_id": "c1*"}, b"u", b"c2", False),
        ({"client_id": "c"}, b"c", b"u", False),
        ({"user": "u", "client_id": "c"}, b"u", b"c", True),
        ({"user": "u", "client_id": "c"}, b"u", b"d", False),
        ({"user": "\u00e9*"}, b"\xc3\xa9t\xc3\xa9", b"c", True),
    ):
        table: "dict[str, Any]" = {"topic": "a"}
        table.update(who)
        verdict = find(table, user=user, client_id=client_id).publish(b"a", 0)
        assert (verdict == ALLOWED) == expected, (who, user, client_id)


def test_where_a_client_is():
    for network, address, expected in (
        ("10.0.0.0/8", "10.1.2.3:5", True),
        ("10.0.0.0/8", "11.1.2.3:5", False),
        ("10.0.0.0/8", "[::ffff:10.1.2.3]:5", True),
        ("fd00::/8", "[fd12::1]:5", True),
        ("fd00::/8", "10.1.2.3:5", False),
        ("loopback", "127.0.0.2:5", True),
        ("loopback", "[::1]:5", True),
        ("loopback", "unix", True),
        ("loopback", "10.0.0.1:5", False),
        ("0.0.0.0/0", "unix", False),
        ("::/0", "10.0.0.1:5", False),
        ("10.0.0.1", "", False),  # not known where
    ):
        verdict = find({"topic": "a", "address": network}, address=address).publish(b"a", 0)
        assert (verdict == ALLOWED) == expected, (network, address)


def test_names_filled_in():
    for topic, user, client_id, name, expected in (
        ("home/%u/%c/#", b"u", b"c", b"home/u/c/x", True),
        ("home/%u/%c/#", b"u", b"c", b"home/u/d/x", False),
        ("%u%c/%u-%c", b"u", b"c", b"uc/u-c", True),
        ("%u", b"%c", b"c", b"%c", True),  # filled in once
        ("%u", b"%c", b"c", b"c", False),
        ("%c", b"u", b"%u", b"%u", True),
        ("%c", b"u", b"%u", b"u", False),
        ("%U/%", b"u", b"c", b"%U/%", True),
        # What would make an allowed filter mean something else allows nothing.
        ("x/%u/y", b"+", b"c", b"x/a/y", False),
        ("x/%u/y", b"+", b"c", b"x/+/y", False),
        ("x/%u", b"#", b"c", b"x/a", False),
        ("x/%u", b"#", b"c", b"x", False),
        ("x/%u/#", b"a/b", b"c", b"x/a/b/c", False),
        ("x/%u/#", b"a+", b"c", b"x/a+/c", False),
        ("x/%u/#", b"", b"c", b"x//c", False),
        ("x/%u/#", None, b"c", b"x//c", False),
        ("x/%u/#", None, b"c", b"x/None/c", False),
        ("x/%c/#", b"u", b"+", b"x/u/c", False),
        ("x/%c/#", b"u", b"u/v", b"x/u/v", False),
        ("%c/#", b"u", b"$SYS", b"$SYS/broker", False),
        ("%u%c/#", b"$S", b"YS", b"$SYS/broker", False),
        ("$x/%c", b"u", b"c", b"$x/c", True),
        ("x/%c", b"u", b"$y", b"x/$y", True),
        ("%u", b"\xff", b"c", b"\xff", False),  # an authenticator may set any
    ):
        verdict = find({"topic": topic}, user=user, client_id=client_id).publish(name, 0)
        assert (verdict == ALLOWED) == expected, (topic, user, client_id, name)
        if user != b"%c":
            subscribed = find({"topic": topic}, user=user, client_id=client_id).subscribe(name, 0)
            assert (subscribed == ALLOWED) == expected, (topic, user, client_id, name)


def test_a_name_filled_into_a_deny_denies_too_much_rather_than_too_little():
    for topic, user, name, expected in (
        ("x/%u", b"u", b"x/u", DENIED),
        ("x/%u", b"u", b"x/v", ALLOWED),
        ("x/%u", b"+", b"x/v", DENIED),
        ("x/%u/#", b"a/b", b"x/a/b/c", DENIED),
        ("x/%u", b"a+", b"y", DENIED),  # no filter any more: everything
        ("x/%u", b"#", b"x/v", DENIED),
        ("x/%u", None, b"x/", ALLOWED),  # about nobody
        ("%u/#", b"$SYS", b"$SYS/x", DENIED),
    ):
        access = find({"topic": topic, "allow": False}, ALL, {"topic": "$SYS/#"}, user=user)
        assert access.publish(name, 0) == expected, (topic, user, name)


NAMES = (b"u", b"+", b"#", b"a/b", b"+/#", b"a/#", b"/", b"a+", b"#b", b"/#", b"$x", b"$x/#", b"$x/+", b"$x+", b"%c", b"%u", b"$SYS", b"")
TOPICS = ("%u", "%c", "x/%u", "%u/x", "x/%u/y", "%u/%c", "x/%u/%c/#", "+/%u", "+/%u/#", "%u/#", "%c/+", "x%u/y", "$x/%u", "$x/%u/y", "$x/%c/#", "x/%u%c", "%u%c/#")
TOLD = (
    b"u", b"x", b"a", b"a/b", b"x/u", b"x/a", b"x/a/b", b"x/a/y", b"x/u/y", b"x/a/b/y", b"u/x", b"a/x", b"a/b/x", b"u/u", b"a/b/u", b"x//y",
    b"$x", b"$x/u", b"$x/a", b"$x/a/b", b"$x/a/y", b"$x/a/b/y", b"$x/x", b"x/uu", b"%c", b"x/%c", b"$SYS", b"$SYS/a", b"$SYS/x", b"xu/y", b"xa/b/y",
)  # fmt: skip


def filled(topic, user, client_id):
    """The filter as it comes out letter by letter."""
    return (user or b"").join([part.replace(b"%c", client_id) for part in topic.encode().split(b"%u")])


def test_no_name_widens_what_is_allowed_or_narrows_what_is_denied():
    """All combinations of names and topics: read letter by letter, or with its wildcards."""
    count = 0
    for topic in TOPICS:
        for user in NAMES + (None,):
            for client_id in NAMES[:-1]:
                if not user and "%u" in topic:
                    continue  # about nobody
                literal = filled(topic, user, client_id)
                deny = find({"topic": topic, "allow": False}, ALL, {"topic": "+/#"}, {"topic": "$x/#"}, {"topic": "$SYS/#"}, user=user, client_id=client_id)
                allow = find({"topic": topic}, user=user, client_id=client_id)
                odd = [mark for mark, name in (("%u", user), ("%c", client_id)) if mark in topic and name and (b"+" in name or b"#" in name or b"/" in name)]
                for name in TOLD:
                    told = matches(literal, name) if valid_filter(literal) else False
                    if told:
                        assert deny.publish(name, 0) == deny.receive(name) == DENIED, (topic, user, client_id, name)
                        assert deny.subscribe(name, 0) == DENIED, (topic, user, client_id, name)
                    if odd or not told:
                        assert allow.publish(name, 0) == allow.receive(name) == DENIED, (topic, user, client_id, name)
                        assert allow.subscribe(name, 0) == DENIED, (topic, user, client_id, name)
                    elif not literal.startswith(b"$") or topic.startswith("$"):
                        assert allow.publish(name, 0) == ALLOWED, (topic, user, client_id, name)
                    count += 1
                if not valid_filter(literal):  # no topic is called like that: denied is all there is, or all below `$x`
                    name = b"$x/any/thing" if topic.startswith("$x/") else b"any/thing"
                    assert deny.publish(name, 0) == deny.subscribe(name, 0) == DENIED, (topic, user, client_id)
    assert count > 10000


# -- which rule decides -------------------------------------------------------------------------


def test_the_first_rule_decides_and_the_rest_is_denied():
    access = find(
        {"topic": "a/secret", "allow": False, "actions": ["publish"]},
        {"topic": "a/secret", "qos": 1, "retain": False},
        {"topic": "a/+", "qos": 0},
        {"topic": "a/#", "allow": False},
        {"topic": "a/b/c"},
    )
    for name, published, received in (
        (b"a/secret", DENIED, 1),
        (b"a/x", MAY_RETAIN, MAY_RETAIN),
        (b"a/b/c", DENIED, DENIED),
        (b"a", DENIED, DENIED),
        (b"b", DENIED, DENIED),
    ):
        for _ in range(2):  # decided, remembered
            assert access.publish(name, 0) == published, name
            assert access.receive(name) == received, name


def test_what_each_action_allows():
    for actions, publish, subscribe, receive in (
        (None, True, True, True),
        (["publish"], True, False, False),
        (["subscribe"], False, True, True),
        (["receive"], False, False, True),
        (["subscribe_only"], False, True, False),
        (["receive", "subscribe_only"], False, True, True),
        (["publish", "receive"], True, False, True),
    ):
        table: "dict[str, Any]" = {"topic": "a"}
        if actions:
            table["actions"] = actions
        access = find(table)
        found = (access.publish(b"a", 0), access.subscribe(b"a", 0), access.receive(b"a"))
        assert [verdict == ALLOWED for verdict in found] == [publish, subscribe, receive], actions
        # The same rule denying, before one that allows all.
        table["allow"] = False
        access = find(table, ALL)
        found = (access.publish(b"a", 0), access.subscribe(b"a", 0), access.receive(b"a"))
        if actions == ["receive"] or actions == ["publish", "receive"]:
            subscribe = True  # a subscription that could never get anything is refused
        assert [verdict == DENIED for verdict in found] == [publish, subscribe, receive], actions


def test_a_filter_covers_another():
    for wide, narrow, expected in (
        (b"#", b"#", True), (b"#", b"+/#", True), (b"+/#", b"#", True), (b"+/#", b"$a", False), (b"+/#", b"a", True),
        (b"#", b"$SYS/#", False), (b"+/x", b"$SYS/x", False), (b"$SYS/#", b"$SYS/+/x", True), (b"$SYS/#", b"#", False),
        (b"+/+", b"a/+", True), (b"+", b"#", False), (b"a/#", b"a", True), (b"a/#", b"a/#", True), (b"a/+", b"a/#", False),
        (b"a/+/#", b"a/#", False), (b"a/+/#", b"a/+", True), (b"a", b"a/#", False), (b"a/b", b"a/+", False),
        (b"a/+/c", b"a/b/c", True), (b"a", b"a/b", False),
        (b"a/", b"a", False), (b"/a", b"a", False), (b"+/a", b"/a", True), (b"a/+", b"a/", True), (b"+", b"/", False),
    ):  # fmt: skip
        assert covers(wide, narrow) == expected, (wide, narrow)


def test_subscribing_around_a_deny():
    access = find({"topic": "a/+/x", "allow": False}, {"topic": "a/#", "qos": 1}, {"topic": "b", "qos": 0})
    for topic_filter, verdict in (
        (b"a/1/x", DENIED), (b"a/+/x", DENIED), (b"a/#", 1 | MAY_RETAIN), (b"a/+/+", 1 | MAY_RETAIN), (b"a", 1 | MAY_RETAIN), (b"#", DENIED),
        (b"+/1/y", DENIED), (b"b", MAY_RETAIN), (b"b/#", DENIED), (b"+", DENIED),
    ):  # fmt: skip
        assert access.subscribe(topic_filter, 0) == verdict, topic_filter
    assert access.receive(b"a/1/x") == DENIED and access.receive(b"a/1/y") == 1 | MAY_RETAIN


def test_own_rules_come_first():
    access = find({"topic": "a", "allow": False}, {"topic": "b"}, own=rules({"topic": "a"}, {"topic": "b", "qos": 0}))
    assert access.publish(b"a", 0) == ALLOWED and access.publish(b"b", 0) == MAY_RETAIN
    assert find({"topic": "a"}, own=[]).publish(b"a", 0) == ALLOWED


# -- what is remembered --------------------------------------------------------------------------


def remembered(access):
    """Entries in the caches of an Access."""
    return len(access._publish), len(access._receive), len(access._asked)


def test_what_is_remembered_is_bounded_in_number_and_length():
    access = find({"topic": "a/#"}, room=8)
    for i in range(100):
        name = b"a/%d" % i if i % 2 else b"b/%d" % i
        assert (access.publish(name, 0) == ALLOWED) == (access.receive(name) == ALLOWED) == (i % 2 == 1)
    for _ in range(2):
        assert access.publish(b"a/" + b"x" * 300, 0) == ALLOWED and access.receive(b"b" + b"x" * 300) == DENIED
    assert max(remembered(access)) <= 8
    asked = find(authorizer="somebody", room=8)
    for i in range(100):
        asked.answer(PUBLISH, b"%d" % i, ALLOWED, 1000)
        assert asked.publish(b"%d" % i, 0) == ALLOWED
    asked.answer(PUBLISH, b"x" * 300, ALLOWED, 1000)
    assert asked.publish(b"x" * 300, 0) == ALLOWED  # for the packet that waits
    assert asked.publish(b"x" * 300, 0) == UNDECIDED
    assert max(remembered(asked)) <= 8


def test_one_client_alone_is_remembered_less_than_many():
    access = find(ALL, room=100000)
    for _ in range(2):
        for i in range(3000):
            access.publish(b"%d" % i, 0)
        if access.users:
            assert remembered(access)[0] == 3000
        else:
            assert remembered(access)[0] <= 1024
            access.hold()
            access.hold()


def test_answers_hold_for_their_time():
    access = find(authorizer="somebody")
    assert access.publish(b"a", 0) == access.subscribe(b"a", 0) == UNDECIDED
    assert access.receive(b"a") == ALLOWED  # what comes through a subscription it has allowed
    access.answer(PUBLISH, b"a", ALLOWED, 1000)
    assert access.subscribe(b"a", 0) == UNDECIDED
    assert access.publish(b"a", 0) == ALLOWED and access.publish(b"a", 999) == ALLOWED
    assert access.publish(b"a", 1000) == UNDECIDED
    access.answer(SUBSCRIBE, b"+", DENIED, 0)
    assert access.subscribe(b"+", 5000) == access.subscribe(b"+", 9000) == DENIED  # as often as the packet needs it
    access.subscribed()
    assert access.subscribe(b"+", 9000) == UNDECIDED


def test_accesses_are_shared_and_let_go():
    world = world_with({"topic": "all/#"}, {"topic": "own/%u"}, {"topic": "boss/#", "user": "boss"}, route_cache=32)
    acl = world.broker.acl
    for users in (lambda i: b"same", lambda i: b"user%d" % i):
        for i in range(1000):
            client = world.connect("c%d" % (i % 7), user=users(i))
            client.publish("all/%d" % i, "x")
            assert len(acl.shared) == 1
            client.lose()
        assert len(acl.shared) == 0 and not world.broker.sessions
    clients = [world.connect("c%d" % i, user=b"user%d" % (i % 3)) for i in range(9)]
    assert len(acl.shared) == 3
    assert world.session("c0").access is world.session("c3").access
    assert world.session("c0").access is not world.session("c1").access
    assert sorted([access.users for access in acl.shared.values()]) == [3, 3, 3]
    clients.pop(0).lose()
    clients.append(world.connect("again", user=b"user0"))
    assert world.session("again").access is world.session("c3").access and len(acl.shared) == 3
    for client in clients:
        client.lose()
    assert len(acl.shared) == 0


def test_accesses_of_clients_with_own_rules_are_not_shared():
    acl = Acl(10)
    acl.replace(rules(ALL))
    one, two = [acl.find(b"u", b"c", "", rules({"topic": "a"}), None) for _ in range(2)]
    one.hold()
    two.hold()
    assert one is not two and len(acl.shared) == 0


def test_other_rules_make_other_accesses():
    acl = Acl(10)
    acl.replace(rules(ALL))
    old = acl.find(b"u", b"c", "", None, None)
    old.hold()
    acl.replace(rules(ALL))
    new = acl.find(b"u", b"c", "", None, None)
    new.hold()
    assert new is not old
    old.release()
    assert acl.find(b"u", b"c", "", None, None) is new  # the old one's end takes nothing away
