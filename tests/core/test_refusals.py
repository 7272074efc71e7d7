"""What the log says of refusals: to whom, of what, in words, and by which option, rule, authenticator or hook."""

from harness import World, raises
from port.core import TYPE_CHECKING
from port.core.wire.reason_codes import SUCCESS
from port.core.messages.message import Message
from port.core.auth.allow_deny import DenyAll
from port.core.auth.authenticator import Authenticator
from port.core.monitor.refusals import words
from rights import Users, will, world_asking, world_with

if TYPE_CHECKING:
    from typing import Any

HOME = "10.0.0.9:5000"
EVERYTHING = {"topic": "#"}


class Answers(Authenticator):
    """Answers what it was given."""

    name = "mine"

    def __init__(self, answer):
        self.answer = answer

    def authenticate(self, client, user, password):
        return self.answer


def told(world, word):
    """The level and text of the one line with this word."""
    found = [line for line in world.log if word in line[1]]
    assert len(found) == 1, world.log
    return found[0]


def refused(world, version=4, client_id="c", address=HOME, **fields):
    """What is logged about a CONNECT that is refused."""
    world.log.clear()
    world.client(version, address).connect(client_id, **fields)
    return told(world, " (0x")


# options of the world, fields of the CONNECT, what is said after client id and address
CONNECTS: "tuple[tuple[dict[str, Any], dict[str, Any], str], ...]" = (
    ({"max_client_id_length": 23}, {"client_id": "x" * 24}, "client id of 24 bytes (max_client_id_length) (0x85)"),
    ({"allow_zero_length_clientid": False}, {"client_id": ""}, "empty client id (allow_zero_length_clientid) (0x85)"),
    ({"client_id": "%u-*"}, {"client_id": "other"}, "client id not as %u-* (client_id) (0x85)"),
    ({"use_username_as_clientid": True}, {"user": None}, "no user name to be the client id (use_username_as_clientid) (0x87)"),
    ({"accept_protocol_versions": [3]}, {}, "MQTT level 4 (accept_protocol_versions) (0x84)"),
    ({"max_qos": 0}, {"will": will(b"t", qos=1)}, "will QoS is above max_qos (0x9b)"),
    ({"retain_available": False}, {"will": will(b"t", retain=True)}, "retain_available is false (0x9a)"),
    ({"message_size_limit": 3}, {"will": will(b"t", b"long")}, "payload of 4 bytes (message_size_limit) (0x95)"),
    ({"max_topic_length": 3}, {"will": will(b"long")}, "topic name too long (max_topic_length, max_topic_levels) (0x90)"),
    ({"max_connect_size": 64}, {"client_id": "x" * 60}, "CONNECT of 79 bytes (max_connect_size) (0x95)"),
)


def test_connects_name_the_option():
    for options, fields, text in CONNECTS:
        world = world_with(**options)
        level, line = refused(world, **dict({"user": b"ann"}, **fields))
        assert level == 2 and line.endswith(": " + text) and HOME in line, line
        if "user" not in fields and "accept" not in text and "CONNECT of" not in text:  # else there is nobody yet
            assert "(user ann) " in line, line


def test_connects_name_the_authenticator():
    for authenticators, fields, text in (
        ((), {}, "c 10.0.0.9:5000: not authorized, no authenticator lets it in and anonymous is auto, which means loopback without auth (0x87)"),
        ((Users(ann="x"),), {},
         "c 10.0.0.9:5000: not authorized, no authenticator lets it in and anonymous is auto, which means none with auth (0x87)"),
        ((Users(ann="x"), DenyAll()), {}, "c 10.0.0.9:5000: not authorized, says authenticator DenyAll (0x87)"),
        ((Users(ann="x"),), {"user": b"ann", "password": b"y"},
         "c (user ann) 10.0.0.9:5000: bad user name or password, says authenticator Users (0x86)"),
        ((Users(ann="x"), Users()), {"user": b"bob", "password": b"y"},
         "c (user bob) 10.0.0.9:5000: bad user name or password, no authenticator knows this user: Users, Users (0x86)"),
        ((Answers(0x88),), {"user": b"ann"}, "c (user ann) 10.0.0.9:5000: server unavailable, says authenticator mine (0x88)"),
    ):  # fmt: skip
        world = World()
        world.broker.authenticators += authenticators
        assert refused(world, **fields) == (2, text)
    world = World(anonymous="none")
    assert "anonymous is none (0x87)" in refused(world, 5)[1]


def test_what_is_secret_or_forged_is_not_in_the_log():
    world = World()
    world.broker.authenticators.append(Users(ann="right"))
    level, line = refused(world, client_id="a\nforged", user=b"x\ny" * 100, password=b"S3cr3t")
    assert "S3cr3t" not in line and "\n" not in line and len(line) < 400 and "'a\\nforged'" in line


def test_wrong_answers_of_authenticators_let_nobody_in():
    for answer in (True, False, "yes", 1, 24.0, -2, 0x7F, 300):
        world = World()
        world.broker.authenticators.append(Answers(answer))
        level, line = refused(world, user=b"ann")
        assert level == 2 and line == "c (user ann) 10.0.0.9:5000: internal error (0x80)" or level == 1, line
        assert "answers %r, not 0, None, PENDING or 0x80 to 0xFF" % (answer,) in world.errors()[0]
        assert not world.broker.sessions


def test_wrong_answers_of_authorizers_allow_nothing():
    for answer in (True, False):
        world, authorizer = world_asking()
        client = world.connect("c", user=b"u")
        client.send_publish("t", "x", 1)
        raises(TypeError, authorizer.answer, answer)
        client.expect_nothing()


def test_places_name_the_option():
    world = World(max_connections=1, owner_share=100, max_sessions=1)
    world.connect("a")
    assert refused(world, address="127.0.0.1:1") == (2, "c 127.0.0.1:1: max_connections reached (0x97)")
    world = World(max_connections_per_address=1, anonymous="all")
    world.connect("a", address=HOME)
    world.log.clear()
    assert world.client(4, "10.0.0.9:2").conn is None
    assert told(world, "reached") == (2, "- 10.0.0.9:2: max_connections_per_address reached")
    world = World(max_auth_failures=1, anonymous="all")
    world.broker.authenticators.append(Users(ann="x"))
    for _ in range(2):
        assert "bad user name" in refused(world, user=b"ann", password=b"y")[1]
    assert refused(world, 5, user=b"ann", password=b"x")[1] == "c (user ann) 10.0.0.9:5000: max_auth_failures reached (0x8a)"


# options, filter, QoS, what is said
SUBSCRIBES: "tuple[tuple[dict[str, Any], str, str], ...]" = (
    ({"max_subscriptions": 1}, "b", "max_subscriptions reached (0x97)"),
    ({"max_subscription_bytes": 400}, "b" * 200, "max_subscription_bytes reached (0x97)"),
    ({"max_wide_subscriptions": 0}, "+/+", "max_wide_subscriptions reached (0x97)"),
    ({"max_shared_subscriptions": 0}, "$share/g/b", "max_shared_subscriptions reached (0x97)"),
    ({"max_topic_length": 3}, "long", "longer than max_topic_length (0x8f)"),
    ({"max_topic_levels": 2}, "a/b/c", "more levels than max_topic_levels (0x8f)"),
    ({"wildcard_subscriptions": False}, "b/#", "wildcard_subscriptions is false (0xa2)"),
    ({"shared_subscriptions": False}, "$share/g/b", "shared_subscriptions is false (0x9e)"),
)


def test_subscriptions_name_the_option():
    for options, topic_filter, text in SUBSCRIBES:
        for version in (4, 5):
            world = World(**options)
            client = world.connect("c", version)
            client.subscribe("a")
            world.log.clear()
            client.subscribe(topic_filter, code=int(text[-3:-1], 16) if version == 5 else 0x80)
            level, line = told(world, "refused")
            shown = topic_filter if len(topic_filter) < 64 else topic_filter[:64] + "..."
            assert level == 2 and line == "c 127.0.0.1:5000: subscribing to %s is refused: %s" % (shown, text), line


def test_publishes_name_the_option():
    tables: "Any" = (
        ({"message_size_limit": 3}, {"payload": "long"}, "payload of 4 bytes (message_size_limit) (0x97)"),
        ({"max_retained_messages": 0}, {"payload": "x", "retain": True}, "no room for another retained message, max_retained_messages reached (0x97)"),
    )  # fmt: skip
    for options, fields, text in tables:
        for qos in (0, 1, 2):
            world = World(**options)
            client = world.connect("c", 5)
            world.log.clear()
            client.publish("t", qos=qos, code=0x97, **fields)
            assert told(world, "refused") == (2, "c 127.0.0.1:5000: publishing to t is refused: " + text)
    world = World(max_retained_messages=4, retained_share=50)
    client = world.connect("c", 5)
    client.publish("a", "x", retain=True)
    client.publish("b", "x", retain=True)
    client.publish("c", "x", 1, code=0x97, retain=True)
    assert "publishing to c is refused: no room for another retained message, retained_share reached (0x97)" in told(world, "refused")[1]
    world = World()
    world.connect("c").publish("$x", "y", 1, code=0x87)
    assert "publishing to $x is refused: clients cannot publish to $ topics (0x87)" in told(world, "refused")[1]
    tables = (
        ({"max_qos": 0}, {"qos": 1}, "QoS 1 is above max_qos (0x9b)"),
        ({"retain_available": False}, {"retain": True}, "retain_available is false (0x9a)"),
        ({"max_packet_size": 128}, {"payload": "x" * 200}, "packet of 207 bytes (max_packet_size) (0x95)"),
    )  # fmt: skip
    for options, fields, text in tables:
        world = World(**options)
        client = world.connect("c", 5)
        world.log.clear()
        client.send_publish("t", **fields)
        assert told(world, "0x") == (2, "c 127.0.0.1:5000: " + text)


RULES = (
    {"topic": "of/%u/#"}, {"topic": "no/#", "allow": False}, {"topic": "low/#", "qos": 0, "retain": False}, {"topic": "some/+"},
    {"topic": "to/#", "actions": ["publish"]},
)  # fmt: skip


def test_rules_are_named():
    for action, topic, fields, text in (
        ("publish", "other", {}, "not authorized, no rule of acl allows it (0x87)"),
        ("publish", "of/bob/x", {}, "not authorized, no rule of acl allows it (0x87)"),
        ("publish", "no/x", {}, "not authorized, denied by rule 2 of acl (no/#) (0x87)"),
        ("publish", "low/x", {"qos": 1}, "not authorized, rule 3 of acl (low/#) allows QoS 0 at most, not retained (0x87)"),
        ("publish", "low/x", {"retain": True}, "not authorized, rule 3 of acl (low/#) allows QoS 0 at most, not retained (0x87)"),
        ("subscribe", "no/#", {}, "not authorized, denied by rule 2 of acl (no/#) (0x87)"),
        ("subscribe", "some/#", {}, "not authorized, no rule of acl allows it (0x87)"),
        ("subscribe", "to/#", {}, "not authorized, no rule of acl allows it (0x87)"),
        ("subscribe", "$share/g/no/x", {}, "not authorized, denied by rule 2 of acl (no/#) (0x87)"),
    ):  # fmt: skip
        world = world_with(*RULES)
        client = world.connect("c", 5, HOME, user=b"ann")
        world.log.clear()
        if action == "publish":
            client.publish(topic, "x", code=0x87, **fields)
        else:
            client.subscribe(topic, code=0x87)
        doing = "publishing to" if action == "publish" else "subscribing to"
        assert told(world, "refused") == (2, "c (user ann) 10.0.0.9:5000: %s %s is refused: %s" % (doing, topic, text))


def test_rules_of_clients_authorizers_and_hooks_are_named():
    world, authorizer = world_asking({"topic": "own/#", "allow": False})
    client = world.connect("c", 5, user=b"u")
    client.publish("own/x", "x", 1, code=0x87)
    assert "denied by rule 1 of its own rules (own/#) (0x87)" in told(world, "refused")[1]
    world.log.clear()
    client.send_publish("t", "x", 1)
    authorizer.answer(-1)
    assert "not authorized, denied by its authorizer (0x87)" in told(world, "refused")[1]
    for rules in ((), (EVERYTHING,)):
        world = world_with(*rules)
        world.broker.on("subscribe", lambda session, topic_filter, options: 0x87)
        world.connect("c", 5, user=b"u").subscribe("t", code=0x87)
        assert "not authorized, refused by a hook (0x87)" in told(world, "refused")[1]


def test_a_will_that_may_not_go_out_is_told():
    world = world_with(EVERYTHING)
    client = world.connect("c", 5, HOME, user=b"ann", will=will(b"gone/c"))
    world.broker.set_acl([{"topic": "gone/#", "allow": False}, EVERYTHING])
    world.broker.rights_changed()
    client.lose()
    line = "c (user ann) 10.0.0.9:5000: publishing to gone/c is refused: not authorized, denied by rule 1 of acl (gone/#) (0x87)"
    assert told(world, "gone/c") == (2, line)


def test_what_rules_withhold_is_in_the_log_of_all_there_is():
    for debug in (False, True):
        world = world_with({"topic": "a/b", "actions": ["receive"], "allow": False}, EVERYTHING)
        world.broker.debug = debug
        client = world.connect("c", 5, user=b"ann")
        client.subscribe("a/+")
        world.log.clear()
        world.broker.publish("a/b", "x")
        assert not client.messages()
        found = [line for line in world.log if "receiving a/b is refused: not authorized, denied by rule 1 of acl (a/b) (0x87)" in line[1]]
        assert len(found) == debug and all([level == 0 for level, _ in found])


def test_the_first_of_an_address_in_a_minute_is_a_warning():
    world = world_with({"topic": "x"}, max_log_lines=5)
    client = world.connect("c", 5, HOME, user=b"ann")
    world.log.clear()
    for i in range(20):
        client.publish("t%d" % i, "x")
    assert [level for level, _ in world.log] == [2] + [1] * 4  # one tells that it has come
    world.advance(61000)
    assert "and 15 more like this from 10.0.0.9" in world.log[-1][1] and world.log[-1][0] == 1
    world.log.clear()
    client.publish("t", "x")
    assert world.log[0][0] == 2


def test_a_stop_is_no_line_for_each_client():
    world = World(max_log_lines=0)
    for i in range(50):
        world.connect("c%d" % i)
    world.log.clear()
    world.broker.disconnect_all()
    assert len(world.log) == 50 and not [line for line in world.log if line[0]]


def test_rules_of_a_program_are_tables_or_rules():
    world = world_with()
    world.broker.set_acl([{"topic": "a"}])
    world.connect("c", 5, user=b"u").subscribe("a")
    for rules, text in (
        ([{"topic": "a"}, {"topic": "a#"}], "acl, rule 2: topic in an ACL rule must be a topic filter, not 'a#'"),
        (["a"], "acl, rule 1: a rule is a table, not 'a'"),
        ([{"topic": "home/%x/#"}], "acl, rule 1: %x in the topic of an ACL rule stands for nothing, there are %u and %c"),
    ):
        assert str(raises(ValueError, world.broker.set_acl, rules)) == text
    world.broker.set_acl([{"topic": "100%/%u"}])
    world.connect("d", 5, user=b"u").subscribe("100%/u")


def test_what_a_program_gives_is_named():
    broker: "Any" = World().broker
    for error, call, text in (
        (TypeError, lambda: broker.publish("a", 21.5), "str or bytes wanted, not 21.5"),
        (TypeError, lambda: broker.publish("a", 21), "str or bytes wanted, not 21"),
        (TypeError, lambda: broker.publish(None, "x"), "str or bytes wanted, not None"),
        (TypeError, lambda: broker.subscribe(5, print), "str or bytes wanted, not 5"),
        (ValueError, lambda: broker.publish("a", "x", properties={"content_type": "x"}), "unknown property 'content_type'"),
        (ValueError, lambda: broker.on("mesage", print), None),
    ):  # fmt: skip
        found = str(raises(error, call))
        # A build by mypyc looks at what is given by itself.
        assert text is None and "unknown event mesage" in found or found == text or "object expected; got " in found, found
    assert not broker.publish("a", memoryview(b"x"))


def test_hooks_that_fail_are_named():
    def to_celsius(client, message):
        return Message(b"celsius", b"%.1f" % ((float(message.payload) - 32) / 1.8))

    world = World()
    world.broker.on("message", to_celsius)
    seen: "list[Any]" = []
    world.broker.subscribe("celsius", lambda message: seen.append((message.topic, message.payload)))
    client = world.connect("c", 5)
    client.publish("fahrenheit", "212", 1)
    assert seen == [("celsius", b"100.0")]
    client.publish("fahrenheit", "warm", 1)
    assert "message hook to_celsius failed: ValueError(" in world.errors()[0] and len(world.errors()) == 1
    world.broker.off("message", to_celsius)

    def answers(client, message):
        return "celsius"

    world.broker.on("process_message", answers)
    client.publish("x", "y", 1)
    assert "process_message hook answers failed: " in world.errors()[1] and "no Message, None or False: 'celsius'" in world.errors()[1]


def test_hooks_that_are_async_are_named():
    def wait():
        yield

    def later(client):
        return wait()  # what a call of an async function gives, on both runtimes

    world = World()
    world.broker.on("connect", later)
    world.connect("c")
    assert len(world.errors()) == 1 and "connect hook later failed: TypeError(" in world.errors()[0] and "it is async" in world.errors()[0]


def test_a_message_may_be_redirected_to_client_ids_as_text():
    def redirect(client, message):
        message.clients = ["b", b"c"]

    world = World()
    world.broker.on("message", redirect)
    clients = [world.connect(name) for name in ("a", "b", "c")]
    for client in clients:
        client.subscribe("t")
    world.broker.publish("t", "x")
    assert [len(client.messages()) for client in clients] == [0, 1, 1]


def test_objects_say_what_they_are():
    world = world_with()
    client = world.connect("c", 5, HOME, user=b"ann")
    session: "Any" = world.session("c")
    if not hasattr(session, "__repr__"):
        return  # what a board has compiled does without
    assert repr(session) == "<Session c (user ann) 10.0.0.9:5000>" and repr(client.conn) == "<Connection c (user ann) 10.0.0.9:5000>"
    assert repr(Message(b"a/b", b"secret", 1, True)) == "<Message a/b, QoS 1, retained, 6 bytes>"
    assert repr(world.broker.default_listener) == "<Listener default, tcp>" and repr(Answers(SUCCESS)) == "<Answers mine>"


def test_the_rule_is_told_that_decides_for_this_client():
    """Others', before it, do not count in any way but for its number."""
    world = world_with({"topic": "a", "user": "bob"}, {"topic": "%u", "allow": False}, {"topic": "a", "allow": False}, EVERYTHING)
    world.connect("c", address=HOME, user=b"ann").publish("a", "x", 1, 0x87)
    assert "denied by rule 3 of acl (a) (0x87)" in world.log[-1][1], world.log
    world.connect("d", address="127.0.0.1:1").publish("a", "x", 1, 0x87)  # it has no user name to stand for %u
    assert "denied by rule 3 of acl (a) (0x87)" in world.log[-1][1], world.log


def test_reason_codes_in_words():
    """Those a client is refused with (clause 2.4), of options the name."""
    for code, text in (
        (0x81, "malformed packet"), (0x82, "protocol error"), (0x84, "unsupported protocol version"), (0x85, "client id not valid"),
        (0x86, "bad user name or password"), (0x87, "not authorized"), (0x88, "server unavailable"), (0x89, "server busy"),
        (0x8A, "banned"), (0x8C, "bad authentication method"), (0x8F, "topic filter not valid"), (0x90, "topic name not valid"),
        (0x97, "quota exceeded"), (0x99, "payload format invalid"), (0x9E, "shared_subscriptions is false"),
        (0xA2, "wildcard_subscriptions is false"), (0xA0, "refused"),
    ):  # fmt: skip
        assert words(code) == text
