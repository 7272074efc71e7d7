"""What a configured store costs at QoS 0, in instructions of the processor: they do not depend on who else uses it.

    python3 tools/bench_instructions.py [--python PROGRAM]

Runs the broker's core without sockets under valgrind's callgrind, with a store and without, and tells the instructions for
each message: of two runs, one with more reads, the difference counts. System calls are not in it; they come on top, the
same for both.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess  # nosec B404 # programs are started from lists of arguments
import sys
from typing import TYPE_CHECKING

from toolchain import ROOT, find

if TYPE_CHECKING:
    from port.core.wire.codec import Buffer

READS = (200, 1200)
MESSAGES = (1, 10, 100)  # in one read


class Transport:
    """Throws away what it is given."""

    def send(self, chunks: list[Buffer]) -> int:
        """See port.core.transport.Transport."""
        return sum(len(chunk) for chunk in chunks)

    def close(self, abort: bool, told: bool) -> None:
        """Must not be."""
        raise AssertionError("the broker closed")

    def pause_reading(self) -> None:
        """Must not be."""
        raise AssertionError("the broker stopped reading")

    def resume_reading(self) -> None:
        """It has not stopped."""

    def certificate(self) -> None:
        """There is none."""


def drive(stored: bool, messages: int, reads: int) -> None:
    """One publisher, one subscriber, so many reads of so many messages."""
    from port.core.limits.options import Options
    from port.core.storage.store import Store
    from port.core.broker import Broker

    broker = Broker(Options(), lambda: 0, lambda *_: None, Store() if stored else None)
    if stored:
        broker.sys.wall = lambda: 0
        broker.open_store()
    conns = []
    for name in (b"s", b"p"):
        conn = broker.accept_connection(Transport(), "127.0.0.1:1")
        if conn is None:
            raise AssertionError("the broker refused a client")
        conn.take(b"\x10\x0d\0\4MQTT\4\2\0\0\0\1" + name)
        conns.append(conn)
    subscriber, publisher = conns
    subscriber.take(b"\x82\x08\0\1\0\3a/b\0")
    broker.flush()
    data = b"\x30\x15\0\3a/b" + b"x" * 16
    data *= messages
    before = broker.counters.packets_sent
    for _ in range(reads):
        publisher.take(data)
        broker.flush()
    if broker.counters.packets_sent - before != messages * reads:
        raise AssertionError("not all messages were delivered")


def count(python: str, stored: bool, messages: int, reads: int) -> int:
    """The instructions of one run."""
    command = [
        find("valgrind") or "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", python, "-S",
        __file__, "--drive", str(int(stored)), str(messages), str(reads),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(  # nosec B603 # no shell
        command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        sys.exit(f"valgrind failed: {done.stderr.strip()[-500:]}")
    return int(found[1])


def main() -> None:
    """A table: a line for each number of messages in one read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="the interpreter that runs the broker")
    parser.add_argument("--drive", nargs=3, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive:
        drive(bool(options.drive[0]), *options.drive[1:])
        return
    print("Instructions for each message, QoS 0\n\n| messages in a read | without a store | with a store | ratio |")
    print("|---:|---:|---:|---:|")
    for messages in MESSAGES:
        few, many = READS
        bare, kept = (
            (count(options.python, stored, messages, many) - count(options.python, stored, messages, few)) / (many - few) / messages
            for stored in (False, True)
        )
        print(f"| {messages} | {bare:,.0f} | {kept:,.0f} | {kept / bare:.3f} |", flush=True)


if __name__ == "__main__":
    main()
