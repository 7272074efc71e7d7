"""The program `ucomqtt` and its commands: one table for --help, `help`, shell completion and the manual.

A command is a module with `parser()`, its command line, and `main(arguments)`, which returns the exit status. It is imported
when it is called. Without a command the broker runs, see port.cpython.__main__.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType
from typing import NamedTuple

from port.cpython.oldest import check_version

check_version()  # every way into the program passes here first, see port.cpython.__main__

from port.cpython.config.escape import printable


class Command(NamedTuple):
    """A row of the table: name, module, and one line of help."""

    name: str
    module: str
    text: str


COMMANDS = (
    Command("pub", "port.cpython.cli.pub", "publish messages, with the options of mosquitto_pub"),
    Command("sub", "port.cpython.cli.sub", "print messages as they come, with the options of mosquitto_sub"),
    Command("passwd", "port.cpython.cli.passwd", "make and change a password file"),
    Command("store", "port.cpython.cli.store", "check, export, import, back up and compact the broker's store"),
    Command("cert", "port.cpython.cli.cert", "make a private certificate authority and certificates"),
    Command("check", "port.cpython.cli.check", "say whether a configuration is right"),
    Command("from-mosquitto", "port.cpython.cli.from_mosquitto", "translate a mosquitto.conf"),
    Command("health", "port.cpython.cli.health", "say whether a running broker answers"),
)
HELP = "help"


def command() -> str:
    """The command that started this program, installed or in a clone."""
    return "python3 -m port.cpython" if os.path.basename(os.path.dirname(sys.argv[0])) == "cpython" else "ucomqtt"


def listing() -> str:
    """The table as lines of --help."""
    rows = [*((name, text) for name, _, text in COMMANDS), (HELP, "explain a command: %s %s COMMAND" % (command(), HELP))]
    return "commands:\n" + "\n".join("  %-15s %s" % row for row in rows)


def module(name: str) -> ModuleType | None:
    """The module of a command, None for an unknown one."""
    for row in COMMANDS:
        if row.name == name:
            return import_module(row.module)
    return None


def fail(text: str, status: int = 1) -> int:
    """Print an error on standard error, unprintable characters escaped; returns the exit status."""
    print("ucomqtt: " + "\n".join(map(printable, text.split("\n"))), file=sys.stderr, flush=True)
    return status


def broker_parser() -> argparse.ArgumentParser:
    """The command line without a command."""
    from port.cpython.config import config_file

    return config_file.parser()


def run(arguments: Sequence[str]) -> int:
    """Run the command that the first argument names.

    Returns its exit status, see `guarded`; 2 for an unknown command.
    """
    return guarded(lambda: _run(arguments))


def guarded(work: Callable[[], int]) -> int:
    """Do work that prints; returns its exit status, or 1 when its output cannot be written, without a word after a closed pipe.

    An OSError that `work` does not handle is printed as an error without a traceback. The status after Ctrl-C is 130.
    """
    if sys.stdout is None:  # closed: an error, which print() would not report
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:  # closed: print() would use standard output
        sys.stderr = open(os.devnull, "w")
    status = 0
    try:
        try:
            status = work()
        finally:
            _flush()
    except BrokenPipeError:
        status = 1
    except _Unwritten as e:
        status = status or fail("standard output: %s" % e)
    except OSError as e:
        status = fail("%s: %s" % (e.filename, e.strerror) if e.filename else e.strerror or str(e))
    except KeyboardInterrupt:
        status = 130
    return status


class _Unwritten(Exception):
    """Standard output does not take its buffer; the text says why."""


def _flush() -> None:
    """Write the buffers. After an error they are emptied, as Python would try again at its end and print a traceback."""
    error: OSError | None = None
    for stream in (sys.stderr, sys.stdout):
        try:
            stream.flush()
        except OSError as e:
            error = e
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if isinstance(error, BrokenPipeError):
        raise error
    if error is not None:
        raise _Unwritten(error.strerror or str(error))


def _run(arguments: Sequence[str]) -> int:
    name, *rest = arguments
    if name == HELP:
        if not rest:
            broker_parser().print_help()
            return 0
        name = rest[0]
    found = module(name)
    if found is None:
        from port.core.wire.suggest import unknown

        if name.endswith(".conf"):
            return fail("unknown command %s, did you mean from-mosquitto %s, which translates it?" % (name, name), 2)
        if name.endswith(".toml") or os.path.isfile(name):
            return fail("unknown command %s, did you mean --config %s?" % (name, name), 2)
        text = unknown("command", name, [row.name for row in COMMANDS] + [HELP])
        return fail("%s (%s --help lists them)" % (text, command()), 2)
    if arguments[0] == HELP:
        found.parser().print_help()
        return 0
    status: int = found.main(rest)
    return status


def main() -> int:
    """The program; returns its exit status."""
    arguments = sys.argv[1:]
    if arguments and not arguments[0].startswith("-"):
        return run(arguments)
    from port.cpython.__main__ import main

    return main(arguments)
