"""The store in a file: what it is called to account for, and with which words it refuses."""

import asyncio
import os
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import contextmanager

import pytest

from port.cpython.stores import sqlite
from port.cpython.stores.sqlite import SQLiteStore
from server_process import environment
from stores import commit, content, kept, numbered
from toolchain import ROOT, in_ci


@pytest.fixture
def file(tmp_path):
    """Where the store is."""
    return tmp_path / "a %41?#.db"


async def filled(file, numbers=(1, 2, 3), **values):
    """Make a store with these records, and close it."""
    store = SQLiteStore(file, **values)
    list(store.load())
    await kept(store, *numbered(numbers))
    store.close()


# -- durability ----------------------------------------------------------------------------------

VICTIM = """
import asyncio, os, signal, sys
from port.cpython.stores.sqlite import SQLiteStore
from stores import kept, numbered

async def main():
    store = SQLiteStore(sys.argv[1], durability=sys.argv[2])
    list(store.load())
    for number in range(5):
        await kept(store, *numbered(range(number * 10, number * 10 + 10)))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.parametrize("durability", ["none", "batch", "sync"])
async def test_what_was_committed_outlives_a_killed_process(file, durability):
    """Level none loses only what had not been committed yet: it waits for nothing, and the broker commits once a second."""
    env = {**environment(), "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])}
    done = subprocess.run([sys.executable, "-c", VICTIM, str(file), durability], env=env, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert file.with_name(file.name + "-wal").exists()
    assert content(SQLiteStore(file)) == numbered(range(50))


async def test_a_closed_store_is_one_file(file, tmp_path):
    for durability in ("none", "batch", "sync"):
        await filled(file, durability=durability)
        assert os.listdir(tmp_path) == [file.name]
        copy = shutil.copy(file, tmp_path / "copy.db")
        assert content(SQLiteStore(copy)) == numbered([1, 2, 3])
        os.remove(copy)


async def test_opened_again_and_again(file):
    store = SQLiteStore(file)
    for number in range(5):
        assert list(store.load()) == numbered(range(number))
        await kept(store, *numbered([number]))
        store.close()


# -- the file ------------------------------------------------------------------------------------


def test_nothing_is_touched_before_it_is_opened(file, tmp_path):
    store = SQLiteStore(file)
    store.close()
    assert os.listdir(tmp_path) == []


async def test_only_its_owner_can_read_it(file, tmp_path):
    old = os.umask(0)
    try:
        store = SQLiteStore(file)
        list(store.load())
        await kept(store, *numbered([1]))
        for name in os.listdir(tmp_path):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600, name
        store.close()
    finally:
        os.umask(old)


async def test_compacting(file):
    await filled(file, range(20000))
    store = SQLiteStore(file)
    list(store.load())
    await kept(store, *[(key, None) for key, _ in numbered(range(1, 20000))])
    store.close()
    before = file.stat().st_size
    store.open()
    store.compact()
    store.shut()
    assert file.stat().st_size < before / 10
    assert content(store) == numbered([0])


async def test_another_process_is_refused(file):
    store = SQLiteStore(file)
    list(store.load())
    source = "import sys; from port.cpython.stores.sqlite import SQLiteStore; SQLiteStore(sys.argv[1]).load()"
    done = subprocess.run(
        [sys.executable, "-c", source, str(file)], env=environment(), capture_output=True, text=True, timeout=60
    )
    assert "%s: is in use, by another broker" % file in done.stderr
    await kept(store, *numbered([1]))
    store.close()


# -- versions ------------------------------------------------------------------------------------


async def test_a_file_of_a_newer_version_is_refused(file):
    await filled(file)
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version=9")
    connection.close()
    before = file.read_bytes()
    for on_failure in ("refuse", "degrade"):
        with pytest.raises(ValueError, match="written by a newer version .format 9, this one knows 1"):
            SQLiteStore(file, on_failure=on_failure).load()
    assert file.read_bytes() == before


async def test_a_file_of_an_older_version_is_brought_up_to_date(file, monkeypatch):
    await filled(file)
    broken = [*sqlite.STEPS, "UPDATE record SET value = value || 'x'", "no SQL"]
    monkeypatch.setattr(sqlite, "STEPS", broken)
    with pytest.raises(OSError, match="syntax error"):
        SQLiteStore(file).load()
    # All steps or none.
    monkeypatch.setattr(sqlite, "STEPS", broken[:1])
    assert content(SQLiteStore(file)) == numbered([1, 2, 3])
    monkeypatch.setattr(sqlite, "STEPS", [broken[0], "DELETE FROM record WHERE key < x'05000000000002'"])
    assert content(SQLiteStore(file)) == numbered([2, 3])
    await filled(file, [1])
    assert content(SQLiteStore(file)) == numbered([1, 2, 3])  # not done twice


def test_a_database_of_another_program_is_left_alone(file):
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE precious (x)")
    connection.close()
    before = file.read_bytes()
    for on_failure in ("refuse", "degrade"):
        with pytest.raises(ValueError, match="is a database of another program"):
            SQLiteStore(file, on_failure=on_failure).load()
    assert file.read_bytes() == before


def test_an_old_sqlite_is_named(file, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 31, 9))
    with pytest.raises(ValueError, match="needs SQLite 3.32 or newer"):
        SQLiteStore(file)


# -- what is in the way at the start --------------------------------------------------------------


def test_no_folder(file):
    file = file.parent / "none" / "x.db"
    with pytest.raises(OSError, match="%s: cannot be made: No such file" % file):
        SQLiteStore(file).load()


def test_a_folder_in_place_of_the_file(tmp_path):
    with pytest.raises(OSError, match="cannot be opened"):
        SQLiteStore(tmp_path).load()


@contextmanager
def mounted(folder, *options):
    """A small file system of its own on `folder`."""
    if os.geteuid() != 0:
        (pytest.fail if in_ci() else pytest.skip)("only root can mount")
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", *options, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder):
    """Leave no room on that file system."""
    with (folder / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
        while True:
            filler.write(bytes(1 << 12))


async def test_a_file_system_that_is_read_only(tmp_path):
    with mounted(tmp_path / "disk", "size=2m") as folder:
        await filled(folder / "x.db")
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        for name, text in (("x.db", "may not be written"), ("y.db", "cannot be made: Read-only")):
            for on_failure in ("refuse", "degrade"):
                with pytest.raises(OSError, match="%s: %s" % (folder / name, text)):
                    SQLiteStore(folder / name, on_failure=on_failure).load()
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
        assert content(SQLiteStore(folder / "x.db")) == numbered([1, 2, 3])


# -- what fails later ------------------------------------------------------------------------------


async def test_a_full_disk_and_room_again(tmp_path, caplog):
    with mounted(tmp_path / "disk", "size=1m") as folder:
        store = SQLiteStore(folder / "x.db")
        list(store.load())
        await kept(store, *numbered(range(3)))
        large = numbered(range(2, 2000), b"x" * 1000)
        for _ in range(2):
            error = await commit(store, *large)
            assert isinstance(error, OSError) and "%s: cannot be written, the disk is full" % (folder / "x.db") in str(error)
        await kept(store, *numbered([3]))  # a small one finds its place
        subprocess.run(["mount", "-o", "remount,size=20m", str(folder)], check=True)
        assert await commit(store, *large) is None
        assert store.failures == 2
        store.close()
        assert content(store) == numbered(range(2)) + large

        # Full at the end, and at the start.
        list(store.load())
        await kept(store, *numbered(range(3000, 4000), b"z" * 1000))
        fill(folder)
        store.close()
        assert "x.db: cannot be written, the disk is full" in caplog.text and "what it lacks stays in its log" in caplog.text
        with pytest.raises(OSError, match="x.db: cannot be written, the disk is full"):
            SQLiteStore(folder / "x.db").load()
        (folder / "filler").unlink()
        assert content(store) == numbered(range(2)) + large + numbered(range(3000, 4000), b"z" * 1000)


async def test_nothing_is_half_written_where_a_file_cannot_grow(file):
    """The limit comes at another place in the batch each time."""
    store = SQLiteStore(file)
    list(store.load())
    await kept(store, *numbered(range(3)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for more in range(0, 40000, 5000):
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file.with_name(file.name + "-wal").stat().st_size + more, hard))
            error = await commit(store, *numbered(range(1, 2000), b"y" * 500))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert isinstance(error, OSError) and str(file) in str(error)
        copy = file.with_name("copy.db")
        shutil.copy(file, copy)
        shutil.copy(file.with_name(file.name + "-wal"), copy.with_name(copy.name + "-wal"))
        assert content(SQLiteStore(copy)) == numbered(range(3))
    await kept(store, *numbered([7]))
    store.close()
    assert content(store) == numbered([0, 1, 2, 7])


async def test_a_loop_that_is_closed_does_not_stop_the_writer(file):
    store = SQLiteStore(file)

    async def leave():
        list(store.load())
        store.commit(numbered(range(5000)), lambda error: None)

    await asyncio.to_thread(asyncio.run, leave())
    await kept(store, *numbered([5000]))
    store.close()
    assert content(store) == numbered(range(5001))
