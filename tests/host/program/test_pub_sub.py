"""`ucomqtt pub` and `ucomqtt sub`: what mosquitto's clients do with the same options, with this broker."""

import json
import re
import signal
import socket
import subprocess
import sys
from typing import Any

import pytest

from certificates import certificates  # noqa: F401
from drivers import TIMEOUT
from port.cpython.cli import pub as pub_command
from port.cpython.cli import sub as sub_command
from server_process import environment
from toolchain import ROOT

UCOMQTT = [sys.executable, "-m", "port.cpython"]
COMMANDS = {"pub": pub_command, "sub": sub_command}
READY = "ready"  # topic of a retained message, by which a subscriber shows that it has subscribed


@pytest.fixture(scope="module")
def broker(server_process):
    with server_process("cpython") as server:
        yield server
        assert not server.trouble()


def call(command, capfd, arguments):
    """What a command does in this process, which is faster than one of its own."""
    capfd.readouterr()
    try:
        status = command.main(list(map(str, arguments)))
    except SystemExit as e:
        status = e.code
    output, errors = capfd.readouterr()
    return subprocess.CompletedProcess(arguments, status, output, errors)


@pytest.fixture
def publish(broker, capfd):
    """Publish to the broker; what has become of it."""

    def run(*arguments):
        return call(pub_command, capfd, [*(() if "-p" in arguments or "-L" in arguments else ("-p", broker.port)), *arguments])

    return run


class Subscriber:
    """A subscriber, once it has subscribed."""

    def __init__(self, program, broker, *arguments, ready=True):
        command = [*program, "-p", broker.port, *arguments, *(("-t", READY) if ready else ())]
        self.process = subprocess.Popen(
            list(map(str, command)), cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        if ready:
            self.line()

    def line(self):
        return self.process.stdout.readline().rstrip(b"\n")

    def end(self):
        """(exit status, all that it still printed, errors)"""
        output, errors = self.process.communicate(timeout=TIMEOUT)
        return self.process.returncode, output, errors.decode()


@pytest.fixture
def sub(broker, publish):
    """Start a subscriber."""
    started = []
    assert publish("-t", READY, "-m", READY, "-r").returncode == 0

    def start(*arguments, program=(*UCOMQTT, "sub"), **options):
        started.append(Subscriber(program, broker, *arguments, **options))
        return started[-1]

    yield start
    for subscriber in started:
        if subscriber.process.poll() is None:
            subscriber.process.kill()
            subscriber.process.communicate(timeout=TIMEOUT)


@pytest.mark.parametrize("version, qos", [("31", 1), ("mqttv311", 0), ("311", 2), ("5", 1), ("mqttv5", 2)])
def test_there_and_back(sub, publish, version, qos):
    subscriber = sub("-t", "a/#", "-q", qos, "-V", version, "-C", 2, "-F", "%t %p %q %r")
    done = publish("-t", "a/b", "-m", "naïve", "-q", qos, "-V", version)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert subscriber.end() == (0, "a/b naïve %d 0\n".encode() % qos, "")


def pipe(broker, given, *arguments):
    """Publish from standard input."""
    command = [*UCOMQTT, "pub", "-p", str(broker.port), "-t", "a", *arguments]
    subprocess.run(command, cwd=ROOT, env=environment(), input=given, check=True, timeout=TIMEOUT)


def test_where_payloads_come_from(sub, broker, publish, tmp_path):
    subscriber = sub("-t", "a", "-C", 9, "-F", "%l %x")
    (tmp_path / "file").write_bytes(bytes(range(256)))
    assert publish("-t", "a", "-f", tmp_path / "file").returncode == 0
    pipe(broker, b"two\nlines\n", "-s")
    assert publish("-t", "a", "-n").returncode == 0
    assert publish("-t", "a", "-m", "").returncode == 0
    pipe(broker, b"1\n\n3\r\nlast", "-l")
    printed = [bytes.fromhex(line.partition(b" ")[2].decode()) for line in subscriber.end()[1].splitlines()]
    assert printed == [bytes(range(256)), b"two\nlines\n", b"", b"", b"1", b"", b"3", b"last"]


def test_lines_without_end(sub, broker):
    """More of them than may wait; each is acknowledged, in order."""
    subscriber = sub("-t", "a", "-C", 501, "-q", 1)
    lines = [b"%d" % number for number in range(500)]
    pipe(broker, b"\n".join(lines), "-l", "-q", "1")
    assert subscriber.end()[1].splitlines() == lines


FORMAT = r"%t|%p|%x|%X|%l|%q|%r|%m|%C|%D|%F|%P|%R|%S|%A|%E|%10t|%-10t|%05l|@Y @@ %% \t \\"
PROPERTIES = [
    ("content-type", "text"), ("correlation-data", "abc"), ("response-topic", "r/t"), ("message-expiry-interval", "1000"),
    ("payload-format-indicator", "1"), ("user-property", "k", "v"), ("user-property", "k2", "v2"),
]  # fmt: skip


def test_formats_are_mosquittos(tool, sub, publish):
    """The same line for each message; JSON apart, of which the time is written in another way."""
    mosquitto = [tool("mosquitto_sub")]
    form = f"{FORMAT}\t%j"
    both = [
        sub("-t", "a/#", "-q", 1, "-V", 5, "-C", 4, "-F", form, program=program) for program in (mosquitto, (*UCOMQTT, "sub"))
    ]
    more = [text for entry in PROPERTIES for text in ("-D", "publish", *entry)]
    for payload in ("hello", "é", '{"x": 1}'):
        assert publish("-t", "a/b", "-m", payload, "-q", 1, "-V", 5, *more).returncode == 0
    printed = [subscriber.end()[1].decode().splitlines() for subscriber in both]
    assert len(printed[0]) == 3
    for theirs, ours in zip(*printed, strict=True):
        expected, found = (json.loads(line.rpartition("\t")[2]) for line in (theirs, ours))
        assert theirs.rpartition("\t")[0] == ours.rpartition("\t")[0]
        for line in (expected, found):
            line.pop("tst")
        assert expected == found


def test_verbose_and_no_newline(sub, publish):
    subscriber = sub("-t", "a", "-v", "-C", 2)
    publish("-t", "a", "-m", "x")
    assert subscriber.end()[1] == b"a x\n"
    subscriber = sub("-t", "a", "-N", "-C", 2, ready=False)
    while subscriber.process.poll() is None:  # it may not have subscribed yet
        publish("-t", "a", "-m", "x")
    assert subscriber.end()[:2] == (0, b"xx")


def test_retained_messages(sub, publish):
    for number in range(3):
        publish("-t", f"r/{number}", "-m", number, "-r")
    lines = [b"r/0 1", b"r/1 1", b"r/2 1"]
    assert sorted(sub("-t", "r/#", "-C", 3, "-F", "%t %r", ready=False).end()[1].splitlines()) == lines
    assert sorted(sub("-t", "r/#", "-T", "r/1", "-C", 2, ready=False).end()[1].splitlines()) == [b"0", b"2"]
    assert sub("-t", "r/#", "-R", "-W", 0.5, ready=False).end()[:2] == (27, b"")
    status, output, _ = sub("-t", "r/#", "--retained-only", "-W", 0.5, ready=False).end()
    assert status == 0 and sorted(output.splitlines()) == [b"0", b"1", b"2"]
    assert sub("-t", "r/#", "--remove-retained", "-C", 3, ready=False).end()[0] == 0
    assert sub("-t", "r/#", "-W", 0.5, ready=False).end()[:2] == (27, b"")


def test_a_session_that_is_kept(sub, publish):
    for version in ("311", "5"):
        options = ["-t", "s", "-q", 1, "-c", "-i", "keeper", "-V", version]
        assert sub(*options, "-E", ready=False).end()[0] == 0
        publish("-t", "s", "-m", version, "-q", 1)
        assert sub(*options, "-C", 1, ready=False).end()[:2] == (0, b"%s\n" % version.encode())
    assert sub("-U", "s", "-c", "-i", "keeper", ready=False).end()[0] == 0
    publish("-t", "s", "-m", "lost", "-q", 1)
    assert sub("-t", "other", "-c", "-i", "keeper", "-W", 0.5, ready=False).end()[:2] == (27, b"")


KEEPER = ("-c", "-i", "keeper")


@pytest.fixture(params=[(1, "311"), (2, "311"), (1, "5"), (2, "5")], ids=str)
def kept(request, sub, publish):
    """The options for a session in which five messages wait."""
    qos, version = request.param
    options = [*KEEPER, "-t", "kept", "-q", qos, "-V", version]
    assert sub(*options, "-E", ready=False).end()[0] == 0
    for number in range(5):
        assert publish("-t", "kept", "-m", number, "-q", qos).returncode == 0
    yield options
    assert sub(*KEEPER, "-U", "kept", ready=False).end()[0] == 0
    assert publish("-i", "keeper", "-t", "kept", "-n").returncode == 0  # which ends it


def test_what_was_not_printed_waits_in_the_session(sub, kept):
    assert sub(*kept, "-C", 2, ready=False).end() == (0, b"0\n1\n", "")
    assert sub(*kept, "-C", 1, ready=False).end() == (0, b"2\n", "")
    assert sub(*kept, "-C", 2, ready=False).end() == (0, b"3\n4\n", "")
    assert sub(*kept, "-t", READY, "-C", 1, ready=False).end() == (0, b"ready\n", "")


def test_what_publishes_for_a_session_takes_nothing_out_of_it(sub, publish, kept):
    assert publish("-t", "other", "-m", "x", "-q", 1, "-c", "-i", "keeper", "-V", kept[-1]).returncode == 0
    assert sub(*kept, "-C", 5, ready=False).end()[:2] == (0, b"0\n1\n2\n3\n4\n")


def test_what_could_not_be_written_waits_in_the_session(sub, broker, kept):
    command = [*UCOMQTT, "sub", "-p", broker.port, *kept]
    for output, said in (("> /dev/full", "No space left on device"), (">&-", "Bad file descriptor"), ("| true", "")):
        text = " ".join(map(str, command))
        done = subprocess.run(
            ["bash", "-c", f"{text} {output}; exit ${{PIPESTATUS[0]}}"],
            cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True, timeout=TIMEOUT,
        )  # fmt: skip
        assert done.returncode == 1 and done.stderr == (f"ucomqtt: sub: standard output: {said}\n" if said else "")
    assert sub(*kept, "-C", 5, ready=False).end() == (0, b"0\n1\n2\n3\n4\n", "")


def test_what_is_left_out_on_purpose_does_not_come_again(sub, kept):
    assert sub(*kept, "-T", "kept", "-t", READY, "-C", 1, ready=False).end() == (0, b"ready\n", "")
    assert sub(*kept, "-t", READY, "-C", 1, ready=False).end() == (0, b"ready\n", "")


@pytest.mark.parametrize("version", ["311", "5"])
def test_will(sub, publish, version):
    watcher = sub("-t", f"will/{version}", "-C", 2, "-F", "%p %q %r", "-q", 1, "-V", version)
    mortal = sub(
        "-t", "x", "--will-topic", f"will/{version}", "--will-payload", "gone", "--will-qos", 1, "--will-retain", "-V", version
    )
    mortal.process.kill()
    assert watcher.end()[1] == b"gone 1 0\n"


def test_it_connects_again(sub, publish):
    subscriber = sub("-t", "a", "-C", 3, "-i", "again")  # `ready` comes again
    assert publish("-t", "b", "-m", "x", "-i", "again").returncode == 0  # which takes its connection
    assert b"the connection was lost: " in subscriber.process.stderr.readline()
    while subscriber.process.poll() is None:
        publish("-t", "a", "-m", "x", "-q", 1)
    assert subscriber.end()[:2] == (0, b"%s\nx\n" % READY.encode())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_subscriber(sub, number):
    subscriber = sub("-t", "a")
    subscriber.process.send_signal(number)
    assert subscriber.end() == (0, b"", "")


def test_nobody_reads_what_is_printed(sub, publish):
    subscriber = sub("-t", "a")
    subscriber.process.stdout.close()
    while subscriber.process.poll() is None:
        publish("-t", "a", "-m", "x")
    assert subscriber.process.returncode == 1 and subscriber.process.stderr.read() == b""


@pytest.mark.parametrize("form", ["%J", "%j", "%p"])
def test_payloads_that_are_no_good_json(sub, publish, tmp_path, form):
    payloads = [rb'"\ud800"', rb'{"\udfff": "\ud83d\ude00"}', b"[" * 100_000, b"[" * 900 + b"]" * 900, b"NaN", b"-Infinity",
                b"1e999", b"9" * 5000, b"\xff\xfe", b"", b"{", b'{"a": [NaN]}', b"1.5", b"null"]  # fmt: skip
    subscriber = sub("-t", "a", "-q", 1, "-C", len(payloads) + 1, "-F", form)
    for payload in payloads:
        (tmp_path / "payload").write_bytes(payload)
        assert publish("-t", "a", "-f", tmp_path / "payload", "-q", 1).returncode == 0
    status, output, errors = subscriber.end()
    assert (status, errors) == (0, "")
    lines = output.splitlines()
    assert len(lines) == len(payloads)
    if form == "%p":
        assert lines == payloads
        return

    def refused(name):
        raise AssertionError(name + " is no JSON")

    found = [json.loads(line, parse_constant=refused)["payload"] for line in lines]
    texts: list[Any] = [payload.decode(errors="backslashreplace") for payload in payloads]
    if form == "%J":
        texts[:2], texts[3], texts[-2:] = ["\ud800", {"\udfff": "\U0001f600"}], json.loads(payloads[3]), [1.5, None]
    assert found == texts


@pytest.mark.parametrize("version", [4, 5])
def test_a_broker_that_sends_what_cannot_be_understood(version):
    """The library's thread ends with it, and the command says so: it does not wait for ever."""
    connack, suback = {4: (b"\x20\2\0\0", b"\x90\3\0\1\0"), 5: (b"\x20\3\0\0\0", b"\x90\4\0\1\0\0")}[version]
    wrong = b"\x30\7\0\2\xff\xfe\0xy"  # a topic that is no UTF-8
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [*UCOMQTT, "sub", "-p", str(server.getsockname()[1]), "-t", "a", "-V", {4: "311", 5: "5"}[version]]
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            connection, _ = server.accept()
            with connection:
                connection.sendall(connack + suback + wrong)
                output, errors = process.communicate(timeout=TIMEOUT)
        finally:
            process.kill()
    assert process.returncode == 1 and output == "" and "unexpected UnicodeDecodeError: " in errors and "Traceback" not in errors


# -- who it is ------------------------------------------------------------------------------------


@pytest.fixture
def guarded(start_broker, tmp_path):
    """A broker with a user, alice, whose password is `secret word`."""
    users = tmp_path / "users.txt"
    subprocess.run([*UCOMQTT, "passwd", "-c", users, "alice"], cwd=ROOT, input=b"secret word\n", check=True, timeout=TIMEOUT)
    file = tmp_path / "broker.toml"
    file.write_text('[[auth]]\ntype = "password_file"\nfile = "users.txt"\n[[acl]]\ntopic = "mine/#"\n')
    return start_broker("cpython", "--config", str(file))


def test_passwords(guarded, publish, tmp_path, monkeypatch):
    def publishes(*arguments, **variables):
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            done = publish("-p", guarded.port, "-t", "mine/a", "-m", "x", *arguments)
        assert "secret" not in done.stderr
        return done.returncode == 0, done.stderr

    (tmp_path / "password").write_text("secret word\nmore\n")
    assert publishes("-u", "alice", "-P", "secret word")[0]
    assert publishes("-u", "alice", "--password-file", tmp_path / "password")[0]
    assert publishes("-u", "alice", MQTT_PASSWORD="secret word")[0]
    assert publishes(MQTT_USERNAME="alice", MQTT_PASSWORD="secret word")[0]
    assert publish("-L", f"mqtt://alice:secret%20word@localhost:{guarded.port}/mine/b", "-m", "x").returncode == 0
    for version in ("311", "5"):
        worked, text = publishes("-u", "alice", "-P", "wrong secret", "-V", version)
        assert not worked and "the broker refuses the connection: bad user name or password (0x86)" in text
    assert "cannot read" in publishes("-u", "alice", "--password-file", tmp_path / "nowhere")[1]
    assert "needs a user name" in publishes("-P", "secret word")[1]


def test_what_a_broker_says_moves_no_cursor():
    """Reasons come from the other side."""
    reason = b"no\x1b[2J\n"
    connack = b"\x20" + bytes([6 + len(reason), 0, 0x87, 3 + len(reason), 0x1F, 0, len(reason)]) + reason
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [*UCOMQTT, "pub", "-p", str(server.getsockname()[1]), "-t", "a", "-m", "x", "-V", "5"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)
        try:
            connection, _ = server.accept()
            with connection:
                connection.sendall(connack)
                _, errors = process.communicate(timeout=TIMEOUT)
        finally:
            process.kill()
    assert process.returncode == 1 and errors.endswith("not authorized (0x87), no\\x1b[2J\\n\n")


def test_what_the_broker_refuses(guarded, publish, sub):
    login = ["-p", guarded.port, "-u", "alice", "-P", "secret word", "-V", 5]
    done = publish(*login, "-t", "others", "-m", "x", "-q", 1)
    assert done.returncode == 1 and "the broker refuses the message: not authorized (0x87" in done.stderr
    subscriber = sub(*login, "-t", "others", ready=False)
    status, _, errors = subscriber.end()
    assert status == 1 and "the broker refuses the subscription to others: not authorized (0x87)" in errors
    assert sub(*login, "-t", "mine/#", "-t", "others", "-E", ready=False).end()[0] == 0


def test_tls(publish, tmp_path, certificates):  # noqa: F811
    made = certificates()
    file = tmp_path / "broker.toml"
    file.write_text(
        f'[[listener]]\nport = 0\ntls = {{ certificate = "{made.server}", key = "{made.key}", client_ca = "{made.ca}" }}\n'
    )
    broker = subprocess.Popen([*UCOMQTT, "--config", str(file)], cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        (port,) = re.findall(r"listening on [\d.]+:(\d+)", broker.stderr.readline())
        certificate, key = made.client("alice")
        base = ["-p", port, "-t", "a", "-m", "x", "-q", 1]
        own = ["--cert", certificate, "--key", key]
        assert publish(*base, "--cafile", made.ca, *own).returncode == 0
        assert (
            publish(
                "-L", f"mqtts://127.0.0.1:{port}/a", "-m", "x", "--cafile", made.ca, *own, "--tls-version", "tlsv1.3"
            ).returncode
            == 0
        )
        done = publish(*base, "--tls-use-os-certs", *own)
        assert done.returncode == 1 and "the broker's certificate is not believed" in done.stderr
        done = publish(*base, "--cafile", made.ca)
        assert done.returncode == 1 and "Traceback" not in done.stderr and str(port) in done.stderr
        for option, path in (("--cafile", "/nowhere"), ("--cert", "/nowhere")):
            done = publish(*base, *(own if option == "--cafile" else ["--key", key]), option, path)
            assert done.returncode == 1 and f"{option}: cannot read /nowhere" in done.stderr
    finally:
        broker.terminate()
        broker.communicate(timeout=TIMEOUT)


def test_websocket_and_unix_socket(publish, tmp_path):
    file = tmp_path / "broker.toml"
    file.write_text(f'[[listener]]\ntype = "websocket"\nport = 0\n[[listener]]\ntype = "unix"\nfile = "{tmp_path}/socket"\n')
    broker = subprocess.Popen([*UCOMQTT, "--config", str(file)], cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        (port,) = re.findall(r"listening on [\d.]+:(\d+)", broker.stderr.readline())
        for path in ("", "/", "/mqtt"):
            assert publish("-L", f"ws://127.0.0.1:{port}{path}", "-t", "a", "-m", "x", "-q", 1).returncode == 0
        done = publish("-L", f"ws://127.0.0.1:{port}/mqqt", "-t", "a", "-m", "x", "-q", 1)
        assert done.returncode == 1 and f"cannot connect to 127.0.0.1:{port}/mqqt: " in done.stderr
        command = [*UCOMQTT, "pub", "--unix", str(tmp_path / "socket"), "-t", "a", "-m", "x", "-q", "1"]
        assert subprocess.run(command, cwd=ROOT, timeout=TIMEOUT).returncode == 0
    finally:
        broker.terminate()
        broker.communicate(timeout=TIMEOUT)


# -- misuse ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["pub", "-t", "a"], "one of -m, -f, -l, -s and -n is needed"),
        (["pub", "-m", "x"], "-t is needed"),
        (["pub", "-t", "a", "-m", "x", "-n"], "-m and -n cannot be together"),
        (["pub", "-t", "a", "-m", "x", "-q", "3"], "must be 0, 1 or 2, not '3'"),
        (["pub", "-t", "a", "-m", "x", "-D", "publish", "content-type", "x"], "-D needs -V 5"),
        (["pub", "-t", "a", "-m", "x", "-V", "5", "-D", "publsh", "content-type", "x"], "the packet must be one of"),
        (
            ["pub", "-t", "a", "-m", "x", "-V", "5", "-D", "publish", "user-property", "x"],
            "user-property takes a name and a value",
        ),
        (["pub", "-t", "a", "-m", "x", "-V", "6"], "invalid choice: '6'"),
        (["pub", "-t", "a", "-m", "x", "-c"], "-c needs -i"),
        (["pub", "-t", "a", "-m", "x", "--cert", "x"], "--cert and --key need each other"),
        (["pub", "-t", "a", "-m", "x", "--will-retain"], "need --will-topic"),
        (["pub", "-L", "http://u:secret@host/a", "-m", "x"], "not 'http://host/a'"),
        (["pub", "-L", "mqtt://host:x/a", "-m", "x"], "-L: "),
        (["pub", "-L", "mqtt://host/a", "-h", "other", "-m", "x"], "-L and -h cannot be together"),
        (["pub", "-L", "mqtt://host/a/b", "-t", "c", "-m", "x"], "-t and the topic of -L, a/b, cannot be together"),
        (["sub", "-L", "mqtts://host/a/#", "-t", "c"], "-t and the topic of -L, a/#, cannot be together"),
        (["pub", "-L", "ws://host:8083/mqtt", "-m", "x"], "-t is needed"),
        (["sub", "-L", "wss://host/mqtt"], "-t is needed"),
        (["pub", "-L", "mqtt://bob@host/a", "-u", "ann", "-m", "x"], "-u and the user name of -L cannot be together"),
        (["pub", "-L", "mqtt://bob:secret@host/a", "-P", "x", "-m", "x"], "-P and the password of -L cannot be together"),
        (["pub", "-t", "a/+", "-m", "x"], "-t: 'a/+' is no topic name: + and # are for subscribers"),
        (["pub", "-t", "", "-m", "x"], "-t: '' is no topic name: it is empty"),
        (["pub", "-L", "mqtt://host/a/#", "-m", "x"], "-L: 'a/#' is no topic name: + and # are for subscribers"),
        (["pub", "-t", "a", "-m", "x", "--will-topic", "a/#"], "--will-topic: 'a/#' is no topic name: "),
        (["pub", "-t", "a\udcff", "-m", "x"], "is no topic name: it is not UTF-8, or has a NUL"),
        (["sub", "-t", "ok", "-t", "a/#/b"], "-t: 'a/#/b' is no topic filter: + stands for a whole level, # for all "),
        (["sub", "-t", "a", "-T", "b+"], "-T: 'b+' is no topic filter: "),
        (["sub", "-U", "#a"], "-U: '#a' is no topic filter: "),
        (["sub", "-L", "mqtt://host/a+"], "-L: 'a+' is no topic filter: "),
        (["sub", "-t", "$share/a"], "-t: '$share/a' is no shared subscription, which is $share/NAME/FILTER"),
        (["sub"], "-t is needed"),
        (["sub", "-t", "a", "-F", "%y"], "-F: unknown format %y"),
        (["sub", "-t", "a", "-F", "@!"], "-F: unknown date @!"),
        (["sub", "-t", "a", "-C", "0"], "-C and -W must be above 0"),
        (["sub", "-t", "a", "-W", "1e999"], "-W must be up to "),
        (["sub", "-t", "a", "-W", "nan"], "-W must be up to "),
        (["pub", "-t", "a", "-m", "x", "--repeat-delay", "nan"], "--repeat-delay must be up to "),
        (["sub", "-t", "a", "-F", "%99999999t"], "-F: %99999999t is too wide"),
        (["sub", "-t", "a", "-F", "%.999999t"], "-F: %.999999t is too wide"),
        (["sub", "-t", "a", "-k", "65536"], "-k must be from 0 to 65535, not 65536"),
        (["sub", "-t", "a", "-V", "5", "-x", "-1"], "-x must be from 0 to 4294967295, not -1"),
        *((["sub", "-t", "a", option, "\udcff"], f"{option} must be UTF-8") for option in ("-i", "-u", "-P", "-h")),
        *((["sub", "-t", "a", option, "\udcff"], "is no topic filter: it is not UTF-8") for option in ("-t", "-T", "-U")),
        (["pub", "-t", "a", "-m", "x", "--will-topic", "\udcff"], "is no topic name: it is not UTF-8"),
        (["pub", "-t", "a" * 65536, "-m", "x"], "is no topic name: it has more than 65535 bytes"),
        (["pub", "-t", "a", "-m", "x", "-i", "i" * 65536], "-i must be UTF-8 of up to 65535 bytes"),
    ],
)
def test_misuse(capfd, arguments, named):
    done = call(COMMANDS[arguments[0]], capfd, arguments[1:])
    assert done.returncode == 2 and named in done.stderr and "secret" not in done.stderr


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["-t", "a", "-f", "/nowhere"], "-f: cannot read /nowhere: No such file"),
        (["-t", "a", "-m", "x", "-V", "5", "-D", "publish", "no-such", "x"], "there is no property no-such"),
        (["-t", "a", "-m", "x", "-V", "5", "-D", "publish", "message-expiry-interval", "soon"], "message-expiry-interval: "),
        (["-t", "a", "-m", "x", "-V", "5", "-D", "publish", "server-reference", "x"], "-D publish server-reference: "),
        (["-t", "a", "-m", "x", "-V", "5", "-D", "publish", "message-expiry-interval", "99999999999"], "message-expiry-interval: "),
        (["-t", "a", "-m", "x", "-V", "5", "-D", "publish", "user-property", "a", "\udcff"], "-D publish user-property: "),
        (["-t", "a", "-m", "x", "--cafile", "/"], "--cafile /: Is a directory"),
    ],
)
def test_what_fails(publish, arguments, named):
    done = publish(*arguments)
    assert done.returncode == 1 and done.stdout == "", done.stderr
    assert done.stderr.startswith("ucomqtt: pub: ") and named in done.stderr
    assert publish(*arguments, "--quiet").stderr == ""


def test_no_broker(publish):
    done = publish("-p", "1", "-t", "a", "-m", "x")
    assert done.returncode == 1 and done.stderr.startswith("ucomqtt: pub: cannot connect to localhost:1: ")
    done = publish("-h", "::1", "-p", "1", "-t", "a", "-m", "x")
    assert done.returncode == 1 and done.stderr.startswith("ucomqtt: pub: cannot connect to [::1]:1: ")


def test_topics_of_urls(publish, broker):
    url = f"mqtt://127.0.0.1:{broker.port}"
    assert publish("-L", url + "/u/1%20?/a", "-m", "x", "-r").returncode == 0
    command = [*UCOMQTT, "sub", "-L", url + "/u/#", "-C", "1", "-v"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, timeout=TIMEOUT)
    assert done.stdout == b"u/1 ?/a x\n", done.stderr
    assert publish("-L", url + "/u/1%20?/a", "-n", "-r").returncode == 0
