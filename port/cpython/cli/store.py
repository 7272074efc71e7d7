"""`python3 -m port.cpython store`: check, export, import, back up and compact the broker's store, end a session in it.

`check`, `export` and `backup` read a copy of a file, in $TMPDIR or at the place of the backup, and leave the file as it is.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from port.core.wire.codec import u32
from port.core.config.store_config import StoreConfig
from port.core.storage.records import ENTRY, MESSAGE, RECEIVED, REPLAYED, SESSION, SUBSCRIPTION, WILL, u48
from port.core.storage.session_records import read_entry
from port.cpython import stores
from port.cpython.cli import fail
from port.cpython.config import config_file
from port.cpython.config.config_sources import ConfigError
from port.cpython.stores.describe import References, describe
from port.cpython.stores.sqlite import SQLiteStore
from port.cpython.stores.writer import WriterStore

_HEAD = {"ucomqtt": "store", "version": 1}
_SHOWN = 20  # most errors printed one by one


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        prog=config_file.command() + " store",
        description="Look after the file or Redis server in which the broker keeps its state; all but backup while no broker uses it.",
    )
    commands = found.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("check", "say whether all of it can be read and fits together; exit status 1 if not"),
        ("export", "write all records as lines of JSON"),
        ("import", "read what `export` has written into an empty store"),
        ("backup", "copy all to a file that a broker can be started with, also while one uses it, type sqlite only"),
        ("compact", "give the space of what was removed back, type sqlite only"),
        ("end-session", "remove the session of a client, with its subscriptions, all that waits in it, and its will"),
    ):
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        where = command.add_mutually_exclusive_group(required=True)
        where.add_argument("--config", metavar="FILE", help="the broker's configuration, with [store]")
        where.add_argument("--file", metavar="DB", help="a file of type sqlite")
        if name == "end-session":
            command.add_argument("client_id", metavar="CLIENT_ID", help="client id of the session")
        if name == "backup":
            command.add_argument("output", metavar="FILE", help="the copy, which must not exist")
        if name == "export":
            command.add_argument("output", nargs="?", help="a file, which must not exist (default: standard output)")
        if name == "import":
            command.add_argument("input", nargs="?", help="an export (default: standard input)")
            command.add_argument("--replace", action="store_true", help="empty the store first")
    return found


def main(arguments: list[str]) -> int:
    """Run the command; exit status 0 done, 1 failed, 2 misuse."""
    args = parser().parse_args(arguments)
    try:
        store = _store(args)
        if args.command != "import" and isinstance(store, SQLiteStore) and not store.file.exists():
            raise ValueError("%s: there is no such file" % store.file)
        return _COMMANDS[args.command](store, args)
    except BrokenPipeError:
        raise  # see commands.run
    except OSError as e:
        return fail("%s: %s" % (e.filename, e.strerror) if e.filename else e.strerror or str(e))
    except (ConfigError, ValueError) as e:
        return fail(str(e))


def _store(args: argparse.Namespace) -> WriterStore:
    """The command's store, not opened."""
    if args.file:
        table = {"type": "sqlite", "file": args.file}
    else:
        table = config_file.gather(config_file.parser().parse_args(["--config", args.config])).values.get("store", {})
    store = stores.make(StoreConfig(table))
    if store is None:
        raise ValueError("%s has no [store]" % args.config)
    if not isinstance(store, WriterStore):
        raise ValueError("store: this command takes a WriterStore, and type %s is none" % table.get("type"))
    store.on_failure = "refuse"  # a damaged file stays where it is
    return store


@contextmanager
def _opened(store: WriterStore, copy: bool = False) -> Iterator[Iterator[tuple[bytes, bytes]]]:
    """Open a store, or a copy of its file, for its records, and close it."""
    with ExitStack() as stack:
        if copy and isinstance(store, SQLiteStore):
            store.open_copy(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ucomqtt-"))) / "copy.db")
        else:
            store.open()
        stack.callback(store.shut)
        yield store.read()


def _check(store: WriterStore, args: argparse.Namespace) -> int:
    kinds: Counter[str] = Counter()
    mistakes = 0
    references = References()
    with _opened(store, copy=True) as records:
        for key, value in records:
            try:
                found = describe(key, value)
                text = references.missing(found)
                kinds[found["kind"]] += 1
            except ValueError as e:
                text = str(e)
            if text:
                mistakes += 1
                if mistakes <= _SHOWN:
                    fail(text)
    for kind, count in kinds.items():
        print("%-12s %d" % (kind, count))
    if mistakes:
        return fail("%d records do not fit" % mistakes)
    print("the store is right")
    return 0


def _export(store: WriterStore, args: argparse.Namespace) -> int:
    with _opened(store, copy=True) as records:
        if args.output is None:
            kinds = _write(records, sys.stdout)
            sys.stdout.flush()
        else:
            with open(os.open(args.output, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
                kinds = _write(records, file)
                file.flush()
                os.fsync(file.fileno())
    print("exported " + _counted(kinds), file=sys.stderr)  # standard output may have the export
    return 0


def _counted(kinds: Counter[str]) -> str:
    """The number of records, with those of the kinds that users ask about."""
    named = (("session", "sessions"), ("retained", "retained messages"), ("entry", "queued messages"))
    return "%d records: %s" % (kinds.total(), ", ".join("%s %d" % (text, kinds[kind]) for kind, text in named))


def _write(records: Iterator[tuple[bytes, bytes]], file: IO[str]) -> Counter[str]:
    """Write an export: a heading, a line for each record, and a last line with their number, which shows that it is whole.

    Returns the number of each kind.
    """
    kinds: Counter[str] = Counter()
    file.write(json.dumps(_HEAD) + "\n")
    for key, value in records:
        try:
            line = describe(key, value)
        except ValueError as e:
            line = {"kind": "unknown", "error": str(e)}
        line["record"] = [_text(key), _text(value)]
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
        kinds[line["kind"]] += 1
    file.write(json.dumps({"records": kinds.total()}) + "\n")
    return kinds


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _import(store: WriterStore, args: argparse.Namespace) -> int:
    if args.input is None:
        puts, kinds = _read(sys.stdin.buffer, "standard input")
    else:
        with open(args.input, "rb") as file:
            puts, kinds = _read(file, args.input)
    with _opened(store) as records:
        old = [key for key, _ in records]
        if old and not args.replace:
            raise ValueError("there are %d records in the store already; --replace removes them" % len(old))
        store.write(list(puts.items()), [key for key in old if key not in puts])
    print("imported " + _counted(kinds), file=sys.stderr)
    return 0


def _read(file: IO[bytes], name: str) -> tuple[dict[bytes, bytes], Counter[str]]:
    """The records of an export, and the number of each kind. Raises ValueError unless it is whole and every record is valid."""
    found: dict[bytes, bytes] = {}
    kinds: Counter[str] = Counter()
    ended = False
    for number, text in enumerate(file, 1):
        try:
            line: Any = json.loads(text)
            if number == 1:
                if line != _HEAD:
                    raise ValueError("this is no export of a store")
            elif "records" in line:
                ended = line["records"] == len(found)
            else:
                key, value = (base64.b64decode(item, validate=True) for item in line["record"])
                kinds[describe(key, value)["kind"]] += key not in found
                found[key] = value
        except RecursionError:
            raise ValueError("%s, line %d: nested too deep" % (name, number)) from None
        except (TypeError, LookupError, AttributeError):
            raise ValueError("%s, line %d: this is no line of an export" % (name, number)) from None
        except ValueError as e:
            raise ValueError("%s, line %d: %s" % (name, number, e)) from None
    if not ended:
        raise ValueError("%s: the end is missing" % name)
    return found, kinds


def _backup(store: WriterStore, args: argparse.Namespace) -> int:
    if not isinstance(store, SQLiteStore):
        raise ValueError("only a store of type sqlite can be copied; Redis has snapshots of its own")
    output = Path(args.output)
    os.close(os.open(output, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with tempfile.TemporaryDirectory(prefix=output.name + "-", dir=output.parent) as folder:
            copy = Path(folder) / "copy.db"
            store.open_copy(copy, live=True)
            count = sum(1 for _ in store.read())
            store.shut()
            copy.chmod(0o600)
            with copy.open("rb") as file:
                os.fsync(file.fileno())
            copy.replace(output)
    except BaseException:
        output.unlink()
        raise
    print("%d records in %s" % (count, output))
    return 0


def _compact(store: WriterStore, args: argparse.Namespace) -> int:
    if not isinstance(store, SQLiteStore):
        raise ValueError("only a store of type sqlite can be compacted")
    with _opened(store):
        before, after = store.compact()
    print("%d bytes, before %d" % (after, before))
    return 0


def _end_session(store: WriterStore, args: argparse.Namespace) -> int:
    client_id = args.client_id.encode()
    removed: list[bytes] = []
    numbers: set[bytes] = set()
    messages: set[bytes] = set()  # of that session
    others: set[bytes] = set()
    with _opened(store) as found:
        for key, value in found:  # in the order of keys a session comes before its other records
            kind = key[:1]
            if kind == SESSION:
                if describe(key, value)["client_id"] != args.client_id:
                    continue
                numbers.add(key[1:])
            elif kind in (SUBSCRIPTION, RECEIVED, REPLAYED):
                if key[1:5] not in numbers:
                    continue
            elif kind == ENTRY:
                number, _, _, message, _, _ = read_entry(value)
                own = u32(number) in numbers
                if message:
                    (messages if own else others).add(MESSAGE + u48(message))
                if not own:
                    continue
            elif key != WILL + client_id:
                continue
            removed.append(key)
        if not removed:
            raise ValueError("there is no session of client id %s" % args.client_id)
        removed += messages - others
        store.write([], removed)
    print("%d records removed" % len(removed))
    return 0


_COMMANDS = {
    "check": _check, "export": _export, "import": _import, "backup": _backup, "compact": _compact, "end-session": _end_session,
}  # fmt: skip
