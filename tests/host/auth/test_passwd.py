"""The passwd command, the password files it makes, and what a server makes of them."""

import asyncio
import base64
import hashlib
import os
import pty
import stat
import subprocess
import sys
import threading

import bcrypt
import pytest

from harness import World
from port.cpython.auth import passwords
from server_process import environment
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
        ((tmp_path / "new", "alice"), "there is no file %s; -c makes it\n" % (tmp_path / "new")),
        ((tmp_path / "none" / "x", "alice"), "none/x: there is no folder %s\n" % (tmp_path / "none")),
        (("-c", tmp_path / "none" / "x", "alice"), "none/x: there is no folder %s\n" % (tmp_path / "none")),
        (("-D", tmp_path / "new", "alice"), "new: No such file or directory"),
        (("-l", tmp_path / "new"), "new: No such file or directory"),
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


def test_the_password_is_asked_for_twice(tmp_path):
    path = tmp_path / "users.txt"
    for *answers, status in (("secret", "secret", 0), ("secret", "secreT", 1), ("", "", 1), ("secret", "\x04", 1)):
        path.unlink(missing_ok=True)
        assert at_a_terminal(("-c", path, "alice"), answers) == status, answers
        assert path.exists() == (status == 0)
        if path.exists():
            assert passwords.verify(passwords.read(str(path))[b"alice"], b"secret")


def at_a_terminal(arguments, answers):
    """Run the command at a terminal that shows nothing of what is typed; its exit status."""
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(ROOT)
        os.execve(sys.executable, [sys.executable, "-m", "port.cpython", "passwd", *map(str, arguments)], environment())
    shown = b""
    try:
        for answer in answers:
            while not shown.endswith(b": "):
                shown += os.read(terminal, 1000)
            shown = b""
            os.write(terminal, answer.encode() + b"\n")
        while True:
            shown += os.read(terminal, 1000)
    except OSError:  # the other side has closed it
        pass
    finally:
        os.close(terminal)
    assert b"secret" not in shown and b"Traceback" not in shown
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_the_rest_of_the_file_stays_as_it_is(tmp_path):
    """Comments, empty lines, mosquitto's users, the ends of lines; and it stays where a link leads."""
    mosquittos = b"mo:$7$101$sHTB0bOlmyTNmDX0$" + b"A" * 86 + b"=="
    path = tmp_path / "users.txt"
    path.write_bytes(b"# one\rline\r\n\r\n" + mosquittos + b"\n  # alice:\n#alice:x")
    link = tmp_path / "link"
    link.symlink_to("users.txt")
    before = path.read_bytes() + b"\n"
    assert passwd(link, "alice", given="a\n").returncode == 0
    assert link.is_symlink() and path.read_bytes().startswith(before + b"alice:$pbkdf2-sha256$")
    assert passwd("--scheme", "argon2id", path, "alice", given="b\r\n").returncode == 0
    assert path.read_bytes().startswith(before + b"alice:$argon2id$")
    assert passwords.verify(passwords.read(str(path))[b"alice"], b"b")
    assert passwd("-D", path, "alice").returncode == 0
    assert path.read_bytes() == before


def test_a_file_it_cannot_read_is_left_alone(tmp_path):
    path = tmp_path / "users.txt"
    path.write_bytes(b"bob:hunter2\n")
    for arguments in ((path, "alice"), ("-D", path, "bob"), ("-l", path)):
        done = passwd(*arguments, given="x\n")
        assert done.returncode == 1 and "users.txt: line 1: " in done.stderr and "hunter2" not in done.stderr
    assert path.read_bytes() == b"bob:hunter2\n"


def test_bad_records(tmp_path):
    bcrypts = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
    argon2s = passwords.hash_password(b"right", "argon2id")
    mosquittos = "$7$101$c2FsdHNhbHRzYWx0$" + "A" * 86 + "=="
    for record in (bcrypts, argon2s, mosquittos, mosquittos.replace("$7$101", "$6")):
        passwords.check_record(record)
    for record, text in (
        (bcrypts[:-1], "53 characters"),
        (bcrypts + "x", "53 characters"),
        (bcrypts.replace("$04$", "$03$"), "rounds must be from"),
        (bcrypts.replace("$04$", "$17$"), "rounds must be from"),
        (argon2s.replace("m=65536", "m=1048577"), "out of range"),
        (argon2s.replace("m=65536", "m=31"), "out of range"),
        (argon2s.replace("t=3", "t=0"), "out of range"),
        (argon2s.replace("t=3", "t=101"), "out of range"),
        (argon2s.replace("p=4", "p=0"), "out of range"),
        (argon2s.replace("v=19", "v=16"), "not of the form"),
        (argon2s + "=", "not of the form"),
        (mosquittos.replace("101", "0"), "iterations must be"),
        (mosquittos.replace("101", "10000001"), "iterations must be"),
        (mosquittos.replace("101", "hunter2"), "iterations must be"),
        (mosquittos.replace("==", ""), "in base64"),
        (mosquittos.replace("c2Fs", ""), None),  # a shorter salt is mosquitto's business
        (mosquittos.replace("c2FsdHNhbHRzYWx0", ""), "in base64"),
        (mosquittos.replace("c2Fs", "c2!s"), "in base64"),
        (mosquittos.replace("AAAA", "", 1), "in base64"),
        ("$sha256$salt$" + "0" * 64, "too weak for a password file"),
        ("$sha256$salt$" + "0" * 63, "64 hexadecimal digits"),
        ("hunter2", "not hashed"),
        ("$1$salt$hunter2", "unknown scheme"),
    ):
        if text is None:
            passwords.check_record(record)
            continue
        with pytest.raises(ValueError, match=text) as caught:
            passwords.check_record(record)
        assert "hunter2" not in str(caught.value)


def test_to_read_a_file_nothing_is_computed(tmp_path, monkeypatch):
    records = [passwords.hash_password(b"right", iterations=10), passwords.hash_password(b"right", "argon2id")]
    path = tmp_path / "users.txt"
    path.write_text("".join("u%d:%s\n" % item for item in enumerate(records)))
    monkeypatch.setattr("hashlib.pbkdf2_hmac", None)
    monkeypatch.setattr("argon2.PasswordHasher", None)
    assert list(passwords.read(str(path))) == [b"u0", b"u1"]
    with pytest.raises(TypeError):
        passwords.verify(records[0], b"right")


def test_a_missing_library_is_named(monkeypatch):
    argon2s = passwords.hash_password(b"x", "argon2id")
    for library, record in (("argon2", argon2s), ("bcrypt", bcrypt.hashpw(b"x", bcrypt.gensalt(4)).decode())):
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(ValueError, match="needs %s: pip install argon2-cffi bcrypt" % library):
            passwords.check_record(record)
    with pytest.raises(ValueError, match="needs argon2"):
        passwords.hash_password(b"x", "argon2id")


def test_bcrypt_does_not_pass_over_the_end_of_a_password():
    record = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode()
    assert passwords.verify(record, b"x" * 72)
    for password in (b"x" * 71, b"x" * 73, b"x" * 100, b"x" * 72 + b"\0", b"x" * 72 + b"y"):
        assert not passwords.verify(record, password), password


def test_no_other_password_than_the_one_that_was_hashed_is_right():
    long = b"p" * 70
    mosquitto = "$7$10$c2FsdA==$" + base64.b64encode(hashlib.pbkdf2_hmac("sha512", b"right", b"salt", 10)).decode()
    sha512 = "$6$c2FsdA==$" + base64.b64encode(hashlib.sha512(b"rightsalt").digest()).decode()
    for record, right in (
        (passwords.hash_password(b"right", iterations=10), b"right"),
        (passwords.hash_password(long, iterations=10), long),
        (passwords.hash_password(b"right", "argon2id"), b"right"),
        (bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode(), b"right"),
        ("$sha256$salt$" + hashlib.sha256(b"saltright").hexdigest(), b"right"),
        (mosquitto, b"right"),
        (sha512, b"right"),
    ):
        assert passwords.verify(record, right)
        for other in (right + b"\0", right + bytes(10), right + bytes(128 - len(right)), right + b"\0" + right, b"\0" + right, right[:-1]):
            assert not passwords.verify(record, other), (record, other)
    for scheme in ("pbkdf2-sha256", "argon2id"):
        with pytest.raises(ValueError, match="NUL"):
            passwords.hash_password(b"right\0", scheme)


# -- the authenticator of a server ------------------------------------------------------------


class Slow:
    """Stands for `passwords.verify`: answers when it is told to."""

    def __init__(self, monkeypatch):
        self.go_on = threading.Event()
        self.asked: "list[bytes]" = []
        monkeypatch.setattr(passwords, "verify", self)

    def __call__(self, record, password):
        self.asked.append(password)
        assert self.go_on.wait(30)
        if password == b"fault":
            raise ValueError("hunter2")
        return password == b"right"


def clients_of(world, *secrets):
    found = [world.client() for _ in secrets]
    for i in range(len(found)):
        found[i].connect("c%d" % i, user=b"ann", password=secrets[i])
    return found


async def settled(authenticator):
    while authenticator.pending:
        await asyncio.sleep(0.01)


async def test_a_server_checks_in_threads(monkeypatch):
    slow = Slow(monkeypatch)
    authenticator = passwords.FilePasswords({b"ann": passwords.hash_password(b"right", iterations=1)}, 4)
    world = World(anonymous="none")
    world.broker.authenticators.append(authenticator)
    clients = clients_of(world, b"right", b"wrong", b"right", b"fault", b"right")
    assert clients[4].connack["code"] == 0x89  # one more than may wait
    clients[2].lose()
    slow.go_on.set()
    await asyncio.wait_for(settled(authenticator), 30)
    assert [client.inbox[0]["code"] for client in (clients[0], clients[1], clients[3])] == [0, 0x86, 0x88]
    assert slow.asked.count(b"right") == 1  # nothing is computed for the one that has gone
    assert authenticator.figures() == [("accepted", 1), ("refused", 1), ("busy", 1)]
    assert len(world.errors()) == 1 and "hunter2" not in world.errors()[0]
    await authenticator.close()


async def test_a_server_is_no_faster_with_users_it_does_not_have(monkeypatch):
    slow = Slow(monkeypatch)
    slow.go_on.set()
    authenticator = passwords.FilePasswords({b"ann": passwords.hash_password(b"right", iterations=1)})
    world = World(anonymous="none")
    world.broker.authenticators.append(authenticator)
    client = world.client()
    client.connect("c", user=b"eve", password=b"right")
    await asyncio.wait_for(settled(authenticator), 30)
    assert slow.asked == [b"right"] and client.inbox[0]["code"] == 0x86
    await authenticator.close()


async def test_one_address_does_not_take_the_threads_of_others(monkeypatch):
    slow = Slow(monkeypatch)
    authenticator = passwords.FilePasswords({b"ann": passwords.hash_password(b"right", iterations=1)})
    world = World(anonymous="none", max_auth_failures=0)
    world.broker.authenticators.append(authenticator)
    many, honest = [], []
    for i in range(90):
        many.append(world.client(address="10.0.0.1:%d" % i))
        many[i].connect("m%d" % i, user=b"ann", password=b"wrong%d" % i)
    for i in range(12):
        honest.append(world.client(address="10.0.1.%d:5000" % i))
        honest[i].connect("h%d" % i, user=b"ann", password=b"right")
    slow.go_on.set()
    await asyncio.wait_for(settled(authenticator), 30)
    await asyncio.sleep(0)
    assert [client.inbox[0]["code"] for client in honest] == [0] * 12
    assert [client.connack.get("code") for client in many].count(0x89) == 24
    # Two were being checked, then each of the others has its turn before a third of that address is done.
    assert max(i for i, password in enumerate(slow.asked) if password == b"right") <= 2 + 1 + 12
    await authenticator.close()
