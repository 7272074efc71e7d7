"""Files as a power cut or a bad disk leaves them: all up to some batch is loaded, or an error says that nothing can be."""

import logging
import os
import random
import re
import shutil
import subprocess
import sys
from collections import defaultdict

import pytest

from port.cpython.stores.sqlite import SQLiteStore
from server_process import environment
from stores import content, kept, numbered
from toolchain import ROOT

BATCHES = 30


def batch(number):
    """Batch `number`: records of its own, one that each replaces, and those of an earlier one removed."""
    value = b"%d " % number * 60
    return [
        (b"\2last", b"%d" % number),
        *numbered(range(number * 5, number * 5 + 5), value),
        *[(key, None) for key, _ in numbered(range(number * 5 - 15, number * 5 - 10) if number > 2 else [])],
    ]


def after(number):
    """All records after batch `number` (-1: before the first)."""
    model: "dict[bytes, bytes]" = {}
    for i in range(number + 1):
        for key, value in batch(i):
            if value is None:
                del model[key]
            else:
                model[key] = value
    return sorted(model.items())


STATES = {tuple(after(number)): number for number in range(-1, BATCHES)}


def state(file):
    """After which batch the file is; fails unless it is after one."""
    found = tuple(content(SQLiteStore(file)))
    assert found in STATES, "part of a batch"
    return STATES[found]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with file and log as a killed broker leaves them: some batches in the file, more in the log."""
    folder = tmp_path_factory.mktemp("written")
    source = """
import asyncio, os, sys
from port.cpython.stores.sqlite import SQLiteStore
from stores import kept
from test_damage import BATCHES, batch

async def main():
    store = SQLiteStore("x.db")
    list(store.load())
    for number in range(BATCHES):
        if number == BATCHES // 2:
            store.close()
            list(store.load())
        await kept(store, *batch(number))
    os._exit(0)

asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", source], cwd=folder, env=victims_environment(), check=True, timeout=60)
    assert sorted(os.listdir(folder)) == ["x.db", "x.db-wal"]
    return folder


def victims_environment():
    paths = (ROOT, ROOT / "tests" / "support", ROOT / "tests" / "host" / "store", ROOT / "tools")
    return {**environment(), "PYTHONPATH": os.pathsep.join(map(str, paths))}


@pytest.fixture
def copied(written, tmp_path):
    """copied(): the file in a fresh copy of that folder."""

    def copy():
        folder = tmp_path / "copy"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(written, folder)
        return folder / "x.db"

    return copy


def test_as_it_is(copied):
    assert state(copied()) == BATCHES - 1


def offsets(size, count=60):
    """Places in a file: its ends, and some in between."""
    chance = random.Random(size)
    return sorted({0, 1, 17, 31, 99, size - 1, *(chance.randrange(size) for _ in range(count))})


def test_a_log_that_was_cut_off(copied):
    states = []
    for length in offsets((copied().parent / "x.db-wal").stat().st_size):
        file = copied()
        os.truncate(file.parent / "x.db-wal", length)
        states.append(state(file))
    assert states == sorted(states) and states[0] == BATCHES // 2 - 1 and len(set(states)) > 8


def test_a_log_with_a_garbled_byte(copied):
    states = set()
    for offset in offsets((copied().parent / "x.db-wal").stat().st_size):
        file = copied()
        garble(file.parent / "x.db-wal", offset)
        states.add(state(file))
    assert min(states) >= BATCHES // 2 - 1 and len(states) > 8


def garble(path, offset, length=1):
    with path.open("r+b") as file:
        file.seek(offset)
        old = file.read(length)
        file.seek(offset)
        file.write(bytes(byte ^ 0x55 for byte in old))


@pytest.mark.parametrize("length", [1, 512, 4096])
def test_a_garbled_file(copied, length):
    """Either it does not matter, or it is noticed."""
    noticed = 0
    for offset in offsets(copied().stat().st_size):
        file = copied()
        garble(file, offset, length)
        (file.parent / "x.db-wal").unlink()
        try:
            assert state(file) == BATCHES // 2 - 1
        except (OSError, ValueError) as e:
            assert str(file) in str(e)
            noticed += 1
    assert noticed > 10


def test_a_file_that_was_cut_off(copied):
    for length in (0, 1, 100, 4095, 4096, 4097, 8192, copied().stat().st_size - 1):
        for keep_log in (True, False):
            file = copied()
            os.truncate(file, length)
            if not keep_log:
                (file.parent / "x.db-wal").unlink()
            try:
                found = state(file)
            except (OSError, ValueError) as e:
                assert str(file) in str(e)
                continue
            # The log may have all pages; and an empty file is a new one.
            assert found == (BATCHES - 1 if keep_log else -1 if length == 0 else BATCHES // 2 - 1), (length, keep_log)


# -- what is done about it -------------------------------------------------------------------------


async def test_an_unreadable_file_is_moved_aside_if_that_is_wanted(copied, caplog):
    names = set()
    for number, spoil in enumerate((
        lambda file: file.write_bytes(b"no database at all " * 300),
        lambda file: file.write_bytes(file.read_bytes().replace(b"14 14", b"14 15")),
        lambda file: os.truncate(file, 0),
    ), 1):  # fmt: skip
        file = copied()
        spoil(file)
        before = file.read_bytes()
        if number < 3:
            (file.parent / "x.db-wal").unlink()
        with pytest.raises(ValueError, match='%s: .*; put a copy in its place, or move it away, or set on_failure' % file):
            SQLiteStore(file).load()
        with caplog.at_level(logging.ERROR, "ucomqtt"):
            store = SQLiteStore(file, on_failure="degrade")
            assert list(store.load()) == []
        assert "%s: " % file in caplog.text and "moved to %s.corrupt-1, the broker starts with nothing" % file in caplog.text
        assert (file.parent / "x.db.corrupt-1").read_bytes()[4096:] == before[4096:]
        await kept(store, *numbered([1]))
        store.close()
        assert content(SQLiteStore(file)) == numbered([1])
        file.write_bytes(b"again")
        assert content(SQLiteStore(file, on_failure="degrade")) == []
        assert (file.parent / "x.db.corrupt-2").read_bytes() == b"again"
        names |= set(os.listdir(file.parent))
    assert "x.db.corrupt-1-wal" in names  # it may be of use to who looks into it


# -- a power cut -----------------------------------------------------------------------------------

CUT = """
import asyncio, os, sys
from port.cpython.stores import sqlite
from stores import kept
from test_damage import BATCHES, batch

sqlite._CHECKPOINT = 12  # some of them come in so few batches, too

async def main():
    store = sqlite.SQLiteStore("x.db", durability=sys.argv[1])
    list(store.load())
    for number in range(BATCHES):
        os.write(1, b"begin %d\\n" % number)
        await kept(store, *batch(number))
        os.write(1, b"done %d\\n" % number)
    store.close()

asyncio.run(main())
"""
CALL = re.compile(r"^\d+ +(\w+)\((.*)\) += (\d+)$")


def traced(strace, folder, durability):
    """What the store asked the system for: ("write", name, offset, data), ("cut", name, length), ("sync", name),
    ("remove", name), ("begin" or "done", batch).
    """
    log = folder / "trace"
    (folder / "disk").mkdir()
    subprocess.run(
        [strace, "-f", "-y", "-xx", "-s", "10000000", "-o", str(log),
         "-e", "trace=pwrite64,write,fdatasync,fsync,ftruncate,unlink", sys.executable, "-c", CUT, durability],
        cwd=folder / "disk", env=victims_environment(), check=True, timeout=120, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    events: "list[tuple]" = []
    for line in joined(log.read_text().splitlines()):
        found = CALL.match(line)
        if found is None:
            continue
        name, arguments, result = found.groups()
        parts = arguments.split(", ")
        place = unescaped(re.findall(r"<(.*)>", parts[0])[0]) if "<" in parts[0] else b""
        path = place.decode().rpartition("/")[2] if place.endswith((b".db", b".db-wal", b".db-journal")) else ""
        if name == "write" and parts[0].startswith("1<"):
            word, number = unescaped(parts[1]).split()
            events.append((word.decode(), int(number)))
        elif name == "pwrite64" and path:
            assert int(result) == int(parts[2])
            events.append(("write", path, int(parts[3]), unescaped(parts[1])))
        elif name == "ftruncate" and path:
            events.append(("cut", path, int(parts[1])))
        elif name in ("fsync", "fdatasync") and path:
            events.append(("sync", path))
        elif name == "unlink":
            events.append(("remove", unescaped(parts[0]).decode().rpartition("/")[2]))
    return events


def joined(lines):
    """Calls that another thread's came between, as one line each."""
    begun = {}
    for line in lines:
        thread, _, rest = line.partition(" ")
        if rest.endswith("<unfinished ...>"):
            begun[thread] = rest.removesuffix(" <unfinished ...>")
        elif "resumed>" in rest:
            yield "%s %s%s" % (thread, begun.pop(thread), rest.partition("resumed>")[2])
        else:
            yield line


def unescaped(text):
    return bytes.fromhex(text.strip('"').replace("\\x", ""))


def after_power_cut(events, folder, chance):
    """The files when the power goes after these events: what was not synced may be there, or not, or in part."""
    synced = {}
    for i, event in enumerate(events):
        if event[0] == "sync":
            synced[event[1]] = i
    files: "dict[str, bytearray]" = defaultdict(bytearray)
    for i, (what, name, *rest) in enumerate(events):
        if what == "write":
            offset, data = rest
            if i > synced.get(name, -1):
                fate = chance.random()
                if fate < 0.3:
                    continue
                if fate < 0.5:
                    data = data[: chance.randrange(len(data) // 512 + 1) * 512]
            content = files[name]
            content.extend(bytes(max(0, offset + len(data) - len(content))))
            content[offset : offset + len(data)] = data
        elif what == "cut":
            del files[name][rest[0] :]
        elif what == "remove":
            files.pop(name, None)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("durability", ["batch", "sync"])
def test_a_power_cut(tool, tmp_path, durability):
    """Level sync loses nothing that was acknowledged, level batch the last moments at most; neither loses the file."""
    events = traced(tool("strace"), tmp_path, durability)
    assert [event for event in events if event[0] == "done"] == [("done", number) for number in range(BATCHES)]
    first = events.index(("begin", 0))
    chance = random.Random(1)
    lost = 0
    for at in sorted(chance.sample(range(first, len(events)), 80)):
        before = events[:at]
        begun = max([event[1] for event in before if event[0] == "begin"], default=-1)
        done = max([event[1] for event in before if event[0] == "done"], default=-1)
        after_power_cut([event for event in before if event[0] not in ("begin", "done")], tmp_path / "cut", chance)
        found = state(tmp_path / "cut" / "x.db")
        assert found <= begun
        if durability == "sync":
            assert found >= done
        lost += max(0, done - found)
    assert (lost > 0) == (durability == "batch")
