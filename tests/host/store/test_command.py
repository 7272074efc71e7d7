"""The store command: check, export, import, backup, compact, end-session."""

import base64
import io
import json
import sqlite3
import subprocess
import sys
from contextlib import closing, redirect_stderr, redirect_stdout

import pytest

from drivers import TIMEOUT
from drivers.paho import Paho
from port.core.wire.codec import string, u16, u32
from port.core.messages.message import Message
from port.core.storage import records, session_records
from port.cpython.__main__ import main
from port.cpython.stores.describe import References, describe
from port.cpython.stores.sqlite import SQLiteStore
from server_process import ServerProcess, environment
from stores import content
from toolchain import ROOT

SESSION = u32(3600) + records.u48(0) + string(b"car") + string(b"ann") + string(b"10.0.0.1:5") + string(b"tcp") + b"\3"
MESSAGE = records.message_value(Message(b"a/b", b"\xff\0", 1, properties=b"\3" + string(b"text")), 0)
RECORDS = [
    (records.FORMAT, records.VERSION),
    (records.TOTALS_KEY, records.totals_value([1_800_000_000, 5, 300])),
    (records.SESSION + u32(1), SESSION),
    (records.SUBSCRIPTION + u32(1) + b"a/#", session_records.subscription_value(2 | session_records.DUE | 7 << 8)),
    (records.RECEIVED + u32(1) + u16(9), b""),
    (records.MESSAGE + records.u48(4), MESSAGE),
    (records.ENTRY + records.u48(4), session_records.entry_value(1, 0, (Message(b"a", b""), 2, (7, 300), None, 4), 4)),
    (records.RETAINED + "grün/x".encode(),
     records.retained_value((b"", "hällo".encode(), 0, b"", 1_800_000_000_000, (b"ann", b"car", "10.0.0.1:5", "tcp"), None), 0)),
    (records.WILL + b"car", u32(5) + records.u48(0) + MESSAGE),
    (records.REPLAYED + u32(1) + records.u48(5), session_records.replayed_value([b"a/#", b"a/x"])),
]  # fmt: skip
COUNTED = "%d records: sessions 1, retained messages 1, queued messages 1" % len(RECORDS)


def run(*arguments, input=""):
    """Run the command in this process: its exit status and what it has said."""
    given, out, err = sys.stdin, io.StringIO(), io.StringIO()
    sys.stdin = io.TextIOWrapper(io.BytesIO(input.encode()))
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = main(["store", *map(str, arguments)])
    except SystemExit as e:
        code = 2 if e.code == 2 else -1
    finally:
        sys.stdin = given
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def write(file, puts, removed=()):
    store = SQLiteStore(file)
    store.open()
    store.write(puts, list(removed))
    store.shut()


@pytest.fixture
def file(tmp_path):
    """A store with a record of each kind."""
    write(tmp_path / "x.db", RECORDS)
    return tmp_path / "x.db"


def test_a_store_that_is_right(file):
    done = run("check", "--file", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert "retained     1\n" in done.stdout and done.stdout.endswith("the store is right\n")


def test_as_a_program(file):
    command = [sys.executable, "-m", "port.cpython", "store", "export", "--file", str(file)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.stdout == run("export", "--file", file).stdout and done.stderr == "exported %s\n" % COUNTED
    closed = subprocess.run("%s | true" % subprocess.list2cmdline(command), shell=True, cwd=ROOT, env=environment(),
                            capture_output=True, text=True, timeout=60)  # fmt: skip
    assert closed.returncode == 0 and closed.stderr in ("", done.stderr)  # as it was faster or slower than `true`
    full = subprocess.run("%s > /dev/full" % subprocess.list2cmdline(command), shell=True, cwd=ROOT, env=environment(),
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert full.returncode == 1 and full.stderr == "ucomqtt: No space left on device\n"


def test_the_store_of_a_configuration(file, tmp_path):
    (tmp_path / "broker.toml").write_text('[store]\ntype = "sqlite"\nfile = "x.db"\non_failure = "degrade"\n')
    assert run("check", "--config", tmp_path / "broker.toml").returncode == 0
    (tmp_path / "broker.toml").write_text("")
    done = run("check", "--config", tmp_path / "broker.toml")
    assert done.returncode == 1 and "broker.toml has no [store]" in done.stderr
    (tmp_path / "broker.toml").write_text("[store]\ntyp = 1\n")
    assert "unknown key typ, did you mean type?" in run("check", "--config", tmp_path / "broker.toml").stderr


@pytest.mark.parametrize(
    ("puts", "removed", "text"),
    [
        ([(b"\x0bx", b"")], [], "record 0b78: unknown kind"),
        ([(records.FORMAT, b"\x09")], [], "record 00: written by another version"),
        ([(records.SESSION + u32(2), SESSION[:-3])], [], "record 0200000002: packet too short"),
        ([(records.SESSION + u32(2), SESSION + b"x")], [], "record 0200000002: 1 bytes too many"),
        ([(records.SUBSCRIPTION + u32(5) + b"x", b"\0\0")], [], "subscription of session 5, which is not there"),
        ([(records.RECEIVED + u32(1) + b"x", b"")], [], "record 040000000178: its key has the wrong length"),
        ([], [RECORDS[5][0]], "entry 4 with message 4, which is not there"),
        ([], [RECORDS[2][0]], "entry of session 1, which is not there"),
        ([(records.RETAINED + b"x", b"\0\5ab")], [], "packet too short"),
        ([(records.REPLAYED + u32(1) + b"x", b"\0\0")], [], "record 090000000178: its key has the wrong length"),
        ([(records.REPLAYED + u32(6) + records.u48(9), b"\0\1#")], [], "replayed of session 6, which is not there"),
    ],
)  # fmt: skip
def test_a_store_that_does_not_fit_together(file, puts, removed, text):
    write(file, puts, removed)
    done = run("check", "--file", file)
    assert done.returncode == 1 and text in done.stderr and "Traceback" not in done.stderr
    assert "records do not fit" in done.stderr


def test_a_damaged_file_is_said_to_be_and_left_where_it_is(file):
    file.write_bytes(file.read_bytes().replace(b"h\xc3\xa4llo", b"hallo!"))
    for command in ("check", "export", "compact"):
        done = run(command, "--file", file)
        assert done.returncode == 1 and "%s: the file is damaged (wrong checksum" % file in done.stderr
    assert file.exists()


def kept_as_it_is(folder):
    """What is in a folder: names, contents, times."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_mode) for path in folder.iterdir()}


def killed(folder):
    """A file, and its log, as a killed broker leaves them; records are in both."""
    source = """
import os, sys
from port.cpython.stores.sqlite import SQLiteStore
store = SQLiteStore(sys.argv[1])
store.open()
store.write([(b"\\7in the log", b"\\0\\0x")], [])
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", source, str(folder / "x.db")], cwd=ROOT, env=environment(), check=True, timeout=60)
    assert (folder / "x.db-wal").stat().st_size


def test_looking_at_a_store_changes_nothing(tmp_path):
    def right(file):
        write(file, RECORDS)

    def with_a_log(file):
        write(file, RECORDS)
        killed(file.parent)

    def damaged(file):
        write(file, RECORDS)
        file.write_bytes(file.read_bytes().replace(b"h\xc3\xa4llo", b"hallo!"))

    def cut_off(file):
        write(file, RECORDS)
        file.write_bytes(file.read_bytes()[:5000])

    def no_database(file):
        file.write_bytes(b"this is no database " * 100)

    def of_another_program(file):
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("CREATE TABLE x (y)")

    def empty(file):
        file.touch()

    for number, (make, text) in enumerate((
        (right, ""), (with_a_log, ""), (damaged, "x.db: the file is damaged (wrong checksum"),
        (cut_off, "x.db: the file is damaged"), (no_database, "x.db: file is not a database"),
        (of_another_program, "x.db: is a database of another program"), (empty, "x.db: is empty"),
    )):  # fmt: skip
        file = tmp_path / str(number) / "x.db"
        file.parent.mkdir()
        make(file)
        for path in file.parent.iterdir():
            path.chmod(0o400)
        file.parent.chmod(0o500)  # where the tests do not run as root
        before = kept_as_it_is(file.parent)
        for command in ("check", "export"):
            done = run(command, "--file", file)
            assert done.returncode == bool(text) and text in done.stderr and "Traceback" not in done.stderr, (make, done)
            assert not text or not done.stdout
            assert (command == "export" and make is with_a_log) <= ("in the log" in done.stdout)
            assert kept_as_it_is(file.parent) == before, make
        file.parent.chmod(0o700)


def test_a_backup_of_a_stopped_broker(file, tmp_path):
    killed(tmp_path)
    before = kept_as_it_is(tmp_path)
    copy = tmp_path / "copy.db"
    done = run("backup", "--file", file, copy)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout == "11 records in %s\n" % copy
    assert copy.stat().st_mode & 0o777 == 0o600
    after = kept_as_it_is(tmp_path)
    del after["copy.db"]
    assert after == before
    assert dict(content(SQLiteStore(copy))) == dict([*RECORDS, (b"\7in the log", b"\0\0x")])
    done = run("backup", "--file", file, copy)
    assert done.returncode == 1 and "copy.db: File exists" in done.stderr
    done = run("backup", "--file", file, tmp_path / "no" / "x.db")
    assert done.returncode == 1 and "No such file" in done.stderr
    (tmp_path / "x.db-wal").unlink()
    file.write_bytes(file.read_bytes().replace(b"h\xc3\xa4llo", b"hallo!"))
    done = run("backup", "--file", file, tmp_path / "other.db")
    assert done.returncode == 1 and "x.db: the file is damaged (wrong checksum" in done.stderr
    assert not list(tmp_path.glob("other*"))


WRITER = """
import sys
from port.cpython.stores.sqlite import SQLiteStore
store = SQLiteStore(sys.argv[1], durability=sys.argv[2])
store.open()
number = 0
while True:
    number += 1
    value = b"%d " % number + bytes(3000)
    store.write([(b"\\7%d" % (number * 7 % 2000), b"\\0\\0" + value), (b"\\7a", b"\\0\\0" + value), (b"\\7b", b"\\0\\0" + value)], [])
    if number == 3000:
        print("there", flush=True)
"""


@pytest.mark.parametrize("durability", ["none", "batch"])
def test_backups_while_a_broker_writes(tmp_path, durability):
    """Each is whole: a transaction is in it or not, and those before it are."""
    file = tmp_path / "x.db"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(file), durability], cwd=ROOT, env=environment(), stdout=subprocess.PIPE
    )
    try:
        assert writer.stdout is not None and writer.stdout.readline() == b"there\n"
        last = 0
        for turn in range(12):
            copy = tmp_path / ("copy%d.db" % turn)
            done = run("backup", "--file", file, copy)
            assert done.returncode == 0, done.stderr
            found = dict(content(SQLiteStore(copy)))
            number = int(found[b"\7a"][2:].split()[0])
            assert found[b"\7a"] == found[b"\7b"] and number > last
            for i in range(max(1, number - 1999), number + 1):
                assert found[b"\7%d" % (i * 7 % 2000)][2:].startswith(b"%d " % i), (turn, i)
            last = number
    finally:
        writer.kill()
        writer.communicate()


def test_a_running_brokers_backup_is_put_in_its_place(tmp_path):
    with ServerProcess("cpython", "--store", str(tmp_path / "x.db")) as broker:
        sender = Paho(broker.port, "sender", 5)
        sender.publish("kept", b"before", 1, retain=True)
        command = [sys.executable, "-m", "port.cpython", "store", "backup", "--file", str(tmp_path / "x.db"), str(tmp_path / "b.db")]
        subprocess.run(command, cwd=ROOT, env=environment(), check=True, timeout=60)
        sender.publish("kept", b"after", 1, retain=True)  # it goes on, and its lock holds
        assert "is in use, by another broker" in run("check", "--file", tmp_path / "x.db").stderr
        sender.disconnect()
        assert not broker.trouble()
    (tmp_path / "b.db").replace(tmp_path / "x.db")
    with ServerProcess("cpython", "--store", str(tmp_path / "x.db")) as broker:
        client = Paho(broker.port, "c", 5)
        client.subscribe("kept", 1)
        assert client.messages.get(timeout=TIMEOUT).payload == b"before"
        client.disconnect()


def test_who_has_the_file_is_told(file):
    program = "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1]); c.execute('BEGIN EXCLUSIVE'); print(1, flush=True); time.sleep(99)"
    holder = subprocess.Popen([sys.executable, "-c", program, str(file)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline()
        done = run("compact", "--file", file)
        assert done.returncode == 1 and "is in use, by another broker or program: process %d (" % holder.pid in done.stderr
    finally:
        holder.kill()
        holder.communicate()


def test_what_cannot_be_done(file, tmp_path):
    for arguments, status, text in (
        (("check", "--file", tmp_path / "no.db"), 1, "no.db: there is no such file"),
        (("check",), 2, "--config"),
        (("vacuum",), 2, "check"),
        (("export", "--file", file, file), 1, "x.db: File exists"),
        (("import", "--file", tmp_path / "y.db", tmp_path / "no"), 1, "no: No such file"),
        (("check", "--config", tmp_path / "no.toml"), 1, "cannot read"),
    ):
        done = run(*arguments)
        assert done.returncode == status and text in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not (tmp_path / "no.db").exists() and not (tmp_path / "y.db").exists()


def test_refused_while_a_broker_has_it(file):
    store = SQLiteStore(file)
    store.open()
    for command in ("check", "export", "compact", "import"):
        done = run(command, "--file", file, input=run_export(RECORDS) if command == "import" else "")
        assert done.returncode == 1 and "x.db: is in use, by another broker" in done.stderr
    store.shut()


def run_export(puts):
    """What the export of these records is."""
    lines = [json.dumps({"ucomqtt": "store", "version": 1})]
    lines += [json.dumps({"record": [base64.b64encode(item).decode() for item in record]}) for record in puts]
    return "\n".join([*lines, json.dumps({"records": len(puts)})]) + "\n"


def test_there_and_back(file, tmp_path):
    done = run("export", "--file", file)
    assert done.returncode == 0 and done.stderr == "exported %s\n" % COUNTED
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0] == {"ucomqtt": "store", "version": 1} and lines[-1] == {"records": len(RECORDS)}
    shown = {line["kind"]: line for line in lines[1:-1]}
    assert shown["retained"]["topic"] == "grün/x" and shown["retained"]["text"] == "hällo"
    assert shown["message"]["bytes"] == 2 and "text" not in shown["message"]
    assert shown["session"]["client_id"] == "car" and shown["session"]["user"] == "ann"
    out = tmp_path / "out"
    again = run("export", "--file", file, out)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", done.stderr)
    assert out.read_text() == done.stdout and out.stat().st_mode & 0o077 == 0

    for arguments, given in (((out,), ""), ((), done.stdout)):
        new = tmp_path / "new.db"
        brought = run("import", "--file", new, *arguments, input=given)
        assert (brought.returncode, brought.stderr) == (0, "imported %s\n" % COUNTED)
        assert content(SQLiteStore(new)) == RECORDS
        new.unlink()


def test_an_import_replaces_only_what_it_may(file, tmp_path):
    out = tmp_path / "out"
    run("export", "--file", file, out)
    other = tmp_path / "other.db"
    write(other, [(records.RETAINED + b"other", b"\0\0"), (records.FORMAT, b"old")])
    done = run("import", "--file", other, out)
    assert done.returncode == 1 and "there are 2 records in the store already; --replace removes them" in done.stderr
    assert len(content(SQLiteStore(other))) == 2
    assert run("import", "--file", other, out, "--replace").returncode == 0
    assert content(SQLiteStore(other)) == RECORDS


def test_an_import_that_is_not_whole_changes_nothing(file, tmp_path):
    text = run("export", "--file", file).stdout
    lines = text.splitlines(keepends=True)
    for wrong, message in (
        ("", "standard input: the end is missing"),
        ("".join(lines[:-1]), "standard input: the end is missing"),
        ("".join(lines[:3] + lines[4:]), "standard input: the end is missing"),
        ("".join(lines[1:]), "standard input, line 1: this is no export of a store"),
        (text.replace("retained", "retained\n", 1), "standard input, line 9: "),
        (text.replace('"record": ["', '"record": ["!', 1), "standard input, line 2: "),
        ("".join([lines[0], '{"record": ["Cg==", ""]}\n']), "standard input, line 2: record 0a: unknown kind"),
        ("".join([lines[0], "5\n"]), "standard input, line 2: this is no line of an export"),
        ("".join([lines[0], '{"record": {}}\n']), "standard input, line 2: "),
        ("".join([lines[0], '{"record": [["x"], 5]}\n']), "standard input, line 2: this is no line of an export"),
        ("".join([lines[0], lines[1], "[" * 100_000, "\n"]), "standard input, line 3: nested too deep"),
        ("".join([lines[0], '{"record": ' * 100_000, "\n"]), "standard input, line 2: nested too deep"),
        ("[" * 100_000 + "]" * 100_000, "standard input, line 1: nested too deep"),
    ):
        done = run("import", "--file", file, "--replace", input=wrong)
        assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert content(SQLiteStore(file)) == RECORDS


def test_compacting(file):
    store = SQLiteStore(file)
    store.open()
    keys = [b"\7%d" % number for number in range(3000)]
    store.write([(key, RECORDS[7][1] + b"x" * 100) for key in keys], [])
    store.write([], keys)
    store.shut()
    before = file.stat().st_size
    done = run("compact", "--file", file)
    assert done.stdout == "%d bytes, before %d\n" % (file.stat().st_size, before)
    assert file.stat().st_size < before / 5
    assert content(SQLiteStore(file)) == RECORDS


def test_records_are_told_apart():
    found = [describe(key, value) for key, value in RECORDS]
    assert [item["kind"] for item in found] == [
        "format", "totals", "session", "subscription", "received", "message", "entry", "retained", "will",
        "replayed",
    ]  # fmt: skip
    assert found[1]["written"] == 1_800_000_000 and found[1]["bytes_sent"] == 300
    assert found[3] == {
        "kind": "subscription", "session": 1, "topic_filter": "a/#", "qos": 2, "due": True, "identifier": 7
    }  # fmt: skip
    assert found[4] == {"kind": "received", "session": 1, "packet_id": 9}
    assert found[6]["identifiers"] == (7, 300) and found[6]["message"] == 4
    assert found[7]["expires"] == 1_800_000_000_000
    assert found[8]["delay"] == 5 and found[8]["topic"] == "a/b"
    assert found[9] == {"kind": "replayed", "session": 1, "topic_filter": "a/#", "topics": ["a/x"]}
    references = References()
    assert not any(references.missing(item) for item in found)


def test_a_session_is_ended(file):
    """With all that is its own alone; what others have too, and what is nobody's, stays."""
    other = u32(3600) + records.u48(0) + string(b"bus") + string(b"") + string(b"10.0.0.1:5") + string(b"tcp") + b"\1"
    entry = session_records.entry_value
    message = Message(b"a", b"")
    write(file, [
        (records.SESSION + u32(2), other),
        (records.SUBSCRIPTION + u32(2) + b"a/#", session_records.subscription_value(1)),
        (records.MESSAGE + records.u48(7), MESSAGE),
        (records.ENTRY + records.u48(7), entry(1, 0, (message, 2, None, None, 7), 7)),
        (records.ENTRY + records.u48(8), entry(2, 0, (message, 2, None, None, 8), 7)),
    ])
    assert run("end-session", "--file", file, "tram").stderr == "ucomqtt: there is no session of client id tram\n"
    done = run("end-session", "--file", file, "car")
    assert (done.returncode, done.stdout) == (0, "8 records removed\n")
    left = dict(content(SQLiteStore(file)))
    assert sorted(key[0] for key in left) == [0, 1, 2, 3, 5, 6, 7]
    assert records.SESSION + u32(2) in left and records.MESSAGE + records.u48(7) in left
    assert run("check", "--file", file).returncode == 0
    assert run("end-session", "--file", file, "bus").returncode == 0
    assert sorted(key[0] for key, _ in content(SQLiteStore(file))) == [0, 1, 7]
