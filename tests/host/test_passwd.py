"""The passwd command and the password files it makes; mosquitto's files as they are."""

import hashlib
import stat
import subprocess
import sys
import threading
import time
from typing import Any

import bcrypt
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from port.core.acl import Acl
from port.cpython import mosquitto, passwords
from server_process import environment, free_port
from toolchain import ROOT


def passwd(*arguments, given=""):
    """Run the command with the password on standard input."""
    return subprocess.run(
        [sys.executable, "-m", "port.cpython", "passwd", *map(str, arguments)],
        cwd=ROOT, env=environment(), input=given, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def publish(tool, port, user, password):
    command = [tool("mosquitto_pub"), "-p", str(port), "-u", user, "-P", password, "-t", "t", "-m", "x", "-q", "1"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30).returncode


def test_users_come_change_and_go(tmp_path):
    path = tmp_path / "users.txt"
    assert passwd(path, "alice", given="x\n").returncode == 1  # no file yet
    assert passwd("-c", path, "alice", given="first\n").returncode == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "first" not in path.read_text()
    assert passwd("-c", path, "bob", given="x\n").returncode == 1
    path.write_text("# a comment\n" + path.read_text())
    path.chmod(0o640)
    assert passwd(path, "bob", given="second\n").returncode == 0
    assert passwd(path, "alice", given="third\n").returncode == 0
    assert passwd("-l", path).stdout == "alice\nbob\n"
    users = passwords.read(str(path))
    assert passwords.verify(users[b"alice"], b"third") and not passwords.verify(users[b"alice"], b"first")
    assert passwords.verify(users[b"bob"], b"second")
    assert path.read_text().startswith("# a comment\n") and stat.S_IMODE(path.stat().st_mode) == 0o640
    assert passwd("-D", path, "alice").returncode == 0
    assert passwd("-l", path).stdout == "bob\n"
    assert passwd("-D", path, "alice").returncode == 1
    assert [name.name for name in tmp_path.iterdir()] == ["users.txt"]


def test_what_is_wrong_is_named(tmp_path):
    path = tmp_path / "users.txt"
    path.write_text("")
    for arguments, text in (
        ((path,), "the user name is missing"),
        ((path, "a:b"), "must not contain ':'"),
        ((path, "alice", "secret"), "can be seen by others"),
        (("-b", path, "alice"), "-b needs the password"),
        (("--iterations", "0", path, "alice"), "iterations must be from 1 to"),
        ((tmp_path / "none" / "x", "alice"), "No such file"),
    ):
        done = passwd(*arguments, given="p\n")
        assert done.returncode == 1 and text in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_schemes():
    for record in (
        passwords.hash_password(b"right", iterations=10),
        passwords.hash_password(b"right", "argon2id"),
        bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode(),
        "$sha256$salt$" + hashlib.sha256(b"saltright").hexdigest(),
    ):
        assert passwords.is_hash(record)
        assert passwords.verify(record, b"right") and not passwords.verify(record, b"wrong")
        assert not passwords.verify(record, b"")
    for record in ("plain", "", "$9$x", "$pbkdf2-sha256$i=1$x$y", "$7$x$y", "$6$!$!", "$argon2id$x"):
        with pytest.raises(ValueError):
            passwords.check_record(record)


@pytest.mark.parametrize("kind", ["ours", "mosquitto"])
def test_a_broker_with_a_password_file(start_broker, tool, tmp_path, kind):
    path = tmp_path / "users.txt"
    if kind == "ours":
        assert passwd("-c", path, "alice", given="right\n").returncode == 0
    else:
        subprocess.run([tool("mosquitto_passwd"), "-c", "-b", str(path), "alice", "right"], check=True, timeout=30)
        path.chmod(0o600)
    config = tmp_path / "broker.toml"
    config.write_text("[[auth]]\ntype = 'password_file'\nfile = 'users.txt'\n")
    broker = start_broker("cpython", "--config", str(config))
    assert publish(tool, broker.port, "alice", "right") == 0
    assert publish(tool, broker.port, "alice", "wrong") != 0
    assert publish(tool, broker.port, "bob", "right") != 0


def test_the_same_file_on_a_board(start_broker, tool, tmp_path):
    path = tmp_path / "users.txt"
    assert passwd("-c", "--iterations", "1000", path, "alice", given="right\n").returncode == 0
    config = tmp_path / "broker.json"
    config.write_text('{"auth": [{"type": "password_file", "file": "%s"}]}' % path)
    broker = start_broker("micropython", "--config", str(config))
    assert publish(tool, broker.port, "alice", "right") == 0
    assert publish(tool, broker.port, "alice", "wrong") != 0
    assert publish(tool, broker.port, "bob", "right") != 0


ACL = """
# general: clients without a user name
topic read public/#

user alice
topic home/alice/#
topic read home/#
topic deny home/alice/secret

user bob
topic write log/bob

pattern readwrite own/%u/#
pattern read mine/%c
"""

# user, client id, access, topic
TABLE = [
    (user, access, topic)
    for user in (None, "alice", "bob")
    for access in ("read", "write")
    for topic in (
        "public/x", "home/alice/x", "home/bob/x", "home/alice/secret", "log/bob", "own/alice/x", "own/bob/x", "other",
    )
]  # fmt: skip


@pytest.mark.parametrize("user", [None, "alice", "bob"])
def test_mosquittos_acl_means_the_same(tool, tmp_path, user):
    """Ask mosquitto itself: what a client may read it gets, what it may write is seen by one who may read all."""
    acl = tmp_path / "acl"
    acl.write_text(ACL + "\nuser all\ntopic #\n")
    acl.chmod(0o644)
    port = free_port()
    config = tmp_path / "mosquitto.conf"
    config.write_text("listener %d 127.0.0.1\nallow_anonymous true\nacl_file %s\nuser root\n" % (port, acl))
    process = subprocess.Popen([tool("mosquitto"), "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        seen: dict[str, set[tuple[str, str]]] = {"mine": set(), "all": set()}
        ready = threading.Semaphore(0)

        def client(name, user):
            found: Any = paho.Client(CallbackAPIVersion.VERSION2, client_id=name)
            if user:
                found.username_pw_set(user, "x")
            found.on_message = lambda _, __, message: seen[name].add((message.topic, message.payload.decode()))
            found.on_subscribe = lambda *_: ready.release()
            found.on_connect = lambda client, *_: client.subscribe("#", 1)
            for _ in range(50):
                try:
                    found.connect("127.0.0.1", port)
                    break
                except OSError:
                    time.sleep(0.1)
            found.loop_start()
            assert ready.acquire(timeout=10)
            return found

        everybody, mine = client("all", "all"), client("mine", user)
        topics = sorted({topic for _, _, topic in TABLE})
        for topic in topics:
            mine.publish(topic, "w", 1)
            everybody.publish(topic, "r", 1)
        for found in (everybody, mine):
            found.publish("done", "", 1).wait_for_publish(10)
        time.sleep(0.5)
        for found in (everybody, mine):
            found.loop_stop()
            found.disconnect()
    finally:
        process.terminate()
        process.wait(10)

    rules = Acl(10)
    rules.replace(mosquitto.rules(str(acl)))
    access = rules.find(None if user is None else user.encode(), b"mine", "127.0.0.1:1", None, None)
    for topic in topics:
        assert (access.receive(topic.encode()) >= 0) == ((topic, "r") in seen["mine"]), (user, "read", topic)
        assert (access.publish(topic.encode(), 0) >= 0) == ((topic, "w") in seen["all"]), (user, "write", topic)
    assert access.subscribe(b"#", 0) >= 0


def test_a_wrong_acl_file_is_refused_with_the_line(tmp_path):
    path = tmp_path / "acl"
    for text, message in (
        ("user a\nfoo bar\n", "line 2"),
        ("topic read a/#/b\n", "line 1: topic in an ACL rule must be a topic filter"),
        ("topic\n", "line 1"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            mosquitto.rules(str(path))
