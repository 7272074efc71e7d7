"""mosquitto's password and ACL files as they are: they mean to this broker what they mean to mosquitto."""

import subprocess
import threading
import time
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from harness import World
from port.core.auth.allow_deny import AllowAll
from port.cpython.auth import passwords
from port.cpython.config.mosquitto import acl
from server_process import free_port

ACL = """\
# Clients without a user name.
topic read public/#
topic readwrite public/+/chat

user alice
topic home/alice/#
topic read home/#
topic deny home/alice/secret
topic deny home/+/safe
topic write log/alice
topic own/alice/denied
topic read $SYS/broker/version

user bob
topic write  log/bob \r
topic deny #
topic home/bob

user carol the second
topic read with a blank/x

# Once more: what is said about a user adds up.
user alice
topic write late

pattern readwrite own/%u/#
pattern deny own/%u/denied
pattern read mine/%c
pattern read both/%c/%u
pattern write shared/#

user all
topic #
"""
TOPICS = (
    "public/x", "public/x/chat", "home", "home/alice", "home/alice/x", "home/bob", "home/alice/secret",
    "home/alice/secret/x", "home/bob/safe",
    "log/alice", "log/bob", "late", "with a blank/x", "with", "own/alice/x", "own/alice/denied",
    "own/bob/x", "own/bob/denied", "own/nobody/x", "own/nobody/denied", "mine/c1", "mine/c2", "both/c1/alice",
    "both/c1/bob", "shared/x", "other",
)  # fmt: skip
FILTERS = ("#", "home/alice/secret", "other", "home/+/safe", "+/x", "$SYS/#", "$SYS/broker/uptime", "$share/group/other")
# User, client id, and what only this broker lets them read and write: where a name has a wildcard, mosquitto
# passes over all patterns, this broker over those it would have to stand in.
CLIENTS: "tuple[tuple[str | None, str, set[str], set[str]], ...]" = (
    (None, "c1", set(), set()),
    ("alice", "c1", set(), set()),
    ("alice", "c2", set(), set()),
    ("bob", "c1", set(), set()),
    ("carol the second", "c1", set(), set()),
    ("nobody", "c1", set(), set()),
    ("+", "c1", {"mine/c1"}, {"shared/x"}),
    ("alice", "+", {"own/alice/x"}, {"own/alice/x", "shared/x"}),
)


class Paho:
    """A client of mosquitto's that subscribes to everything."""

    def __init__(self, port, client_id, user):
        self.seen = set()
        self.codes: "list[int]" = []
        subscribed = threading.Event()
        self.client: Any = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id)
        if user is not None:
            self.client.username_pw_set(user, "x")
        self.client.on_message = self.received
        self.client.on_connect = lambda client, *_: client.subscribe([(name, 0) for name in FILTERS])

        def granted(client, userdata, packet_id, codes, properties):
            self.codes = [code.value for code in codes]
            subscribed.set()

        self.client.on_subscribe = granted
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert subscribed.wait(30)

    def received(self, client, userdata, message):
        self.seen.add((message.topic, "r" if message.topic.startswith("$SYS") else message.payload.decode()))

    def publish(self, payload):
        """Publish to all topics; when that is acknowledged, what was sent to this client before has arrived, too."""
        for topic in TOPICS:
            last = self.client.publish(topic, payload, 1)
        last.wait_for_publish(30)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def mosquitto_port(tool, tmp_path):
    """A mosquitto with the ACL file."""
    (tmp_path / "acl").write_text(ACL)
    (tmp_path / "acl").chmod(0o644)
    port = free_port()
    config = tmp_path / "mosquitto.conf"
    text = "user root\nlistener %d 127.0.0.1\nallow_anonymous true\nacl_file %s\n"
    config.write_text(text % (port, tmp_path / "acl"))
    process = subprocess.Popen([tool("mosquitto"), "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            probe: Any = paho.Client(CallbackAPIVersion.VERSION2)
            try:
                probe.connect("127.0.0.1", port)
                probe.disconnect()
                break
            except OSError:
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def test_an_acl_file_means_what_it_means_to_mosquitto(mosquitto_port, tmp_path):
    world = World()
    world.broker.authenticators.append(AllowAll())
    world.broker.set_acl(acl.rules(str(tmp_path / "acl")))
    for user, client_id, more_read, more_written in CLIENTS:
        read, written, granted = seen_by_mosquitto(mosquitto_port, user, client_id)
        if (user, client_id) == ("alice", "c1"):  # there is something to compare
            assert {"home/bob", "own/alice/denied", "$SYS/broker/version"} < read and "home/alice/secret" not in read
            assert {"late", "shared/x"} < written and "home/bob" not in written
        expected = (read | more_read, written | more_written, granted)
        assert seen_by_us(world, user, client_id) == expected, (user, client_id)


def seen_by_mosquitto(port, user, client_id):
    """What a client can read and what it can write, and the answers to its subscriptions."""
    everybody, mine = Paho(port, "all", "all"), Paho(port, client_id, user)
    try:
        mine.publish("w")
        everybody.publish("r")
        mine.publish("")
    finally:
        everybody.close()
        mine.close()
    read = {topic for topic, payload in mine.seen if payload == "r"}
    written = {topic for topic, payload in everybody.seen if payload == "w"}
    return read, written, mine.codes


def seen_by_us(world, user, client_id):
    """The same for this broker."""
    everybody = world.connect("all", 4, user=b"all")
    mine = world.connect(client_id, 4, user=None if user is None else user.encode())
    everybody.subscribe("#", 0)
    read = set()
    for topic_filter in FILTERS:
        mine.subscribe(topic_filter, 0)
        read |= {packet["topic"].decode() for packet in mine.messages()}
    for topic in TOPICS:
        mine.publish(topic, "w", 1)
        everybody.publish(topic, "r", 1)
    read |= {packet["topic"].decode() for packet in mine.messages() if packet["payload"] == b"r"}
    written = {packet["topic"].decode() for packet in everybody.messages() if packet["payload"] == b"w"}
    for client in (everybody, mine):
        client.disconnect()
    return read, written, [0] * len(FILTERS)


def test_a_name_with_a_slash_is_nobody_elses_topic(tmp_path):
    path = tmp_path / "acl"
    path.write_text("pattern own/%u/#\npattern deny own/%u/no\n")
    world = World()
    world.broker.authenticators.append(AllowAll())
    world.broker.set_acl(acl.rules(str(path)))
    client = world.connect("c", 5, user=b"alice/x")
    client.publish("own/alice/x/y", "", 1, code=0x87)
    client.disconnect()
    world.connect("c", 5, user=b"alice").publish("own/alice/x/y", "", 1, code=0x10)


@pytest.mark.parametrize("text", ["", "# nothing\n", "\n\n"])
def test_an_empty_acl_file_allows_nothing(tmp_path, text):
    path = tmp_path / "acl"
    path.write_text(text)
    world = World()
    world.broker.set_acl(acl.rules(str(path)))
    client = world.connect()
    client.subscribe("#", 1)
    client.publish("t", "x", 1, code=0x87)
    world.broker.publish("t", "x")
    assert not client.messages()


def test_other_topics_of_the_server_can_be_subscribed_to(tmp_path):
    path = tmp_path / "acl"
    path.write_text("topic read $app/+/state\n")
    world = World()
    world.broker.set_acl(acl.rules(str(path)))
    client = world.connect()
    client.subscribe("$app/#", 0)
    for topic in ("$app/x/state", "$app/x/secret"):
        world.broker.publish(topic, "x")
    client.expect_message("$app/x/state", "x")
    assert not client.messages()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"foo bar", "neither user, topic nor pattern"),
        (b"topics read x", "neither user, topic nor pattern"),
        (b"user", "user name is missing"),
        (b"user   ", "user name is missing"),
        (b"user admin*", "ends in [*]"),
        (b"topic", "topic is missing"),
        (b"pattern ", "topic is missing"),
        (b"topic raed secret/#", "access must be one of read, write, readwrite, deny, not 'raed'"),
        (b"topic with blank", "access must be one of"),
        (b"topic read a/#/b", "topic filter, not 'a/#/b'"),
        (b"topic read a+", "topic filter, not 'a[+]'"),
        (b"topic read $share/g/t", "topic filter"),
        (b"topic read own/%u", "in a pattern only, not in topic 'own/%u'"),
        (b"topic own/%c/#", "in a pattern only"),
        (b"topic read \xff", "not valid UTF-8"),
    ],
)
def test_a_wrong_acl_file_is_refused_with_file_and_line(tmp_path, text, message):
    path = tmp_path / "acl"
    path.write_bytes(b"user a\n\ntopic read x\n" + text + b"\n")
    with pytest.raises(ValueError, match="^%s, line 4: .*%s" % (path, message)):
        acl.rules(str(path))


@pytest.mark.parametrize("scheme", ["sha512", "sha512-pbkdf2"])
def test_a_password_file_of_mosquittos(tool, tmp_path, scheme):
    path = tmp_path / "users"
    secrets = {"alice": "right", "J\u00f6rg": "p\u00e4ssword", "bob": "x" * 100, "carol": "a b:c$d"}
    for number, (user, password) in enumerate(secrets.items()):
        arguments = ["-H", scheme, *(() if number else ("-c",)), "-b", str(path), user, password]
        subprocess.run([tool("mosquitto_passwd"), *arguments], check=True, timeout=30)
    users = passwords.read(str(path))
    assert list(users) == [user.encode() for user in secrets]
    for user, password in secrets.items():
        record = users[user.encode()]
        assert record.startswith("$6$" if scheme == "sha512" else "$7$")
        assert passwords.verify(record, password.encode())
        for wrong in ("", password + "x", password[:-1]):
            assert not passwords.verify(record, wrong.encode())
