"""`ucomqtt pub`: publish messages, with the options of mosquitto_pub."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from port.cpython.cli import command
from port.cpython.cli.mqtt_client import (
    ANSWER, EPILOG, EXIT_STATUS, ClientError, Link, add_options, apply_url, misuse, properties, qos, reason_of, run,
)  # fmt: skip

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessageInfo

_AHEAD = 100  # most messages that wait for the socket or their acknowledgement


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        prog=command() + " pub",
        add_help=False,
        usage="%(prog)s [options] -t TOPIC (-m TEXT | -f FILE | -l | -s | -n)",
        description="Publish one message, or one for each line of standard input.",
        epilog="%s. %s" % (EXIT_STATUS, EPILOG),
    )
    add = found.add_argument
    add("-t", "--topic", metavar="TOPIC", help="topic of the message")
    add("-m", "--message", metavar="TEXT", help="its payload")
    add("-f", "--file", metavar="FILE", help="a file with the payload")
    add("-l", "--stdin-line", action="store_true", help="a message for each line of standard input")
    add("-s", "--stdin-file", action="store_true", help="one message, all of standard input")
    add("-n", "--null-message", action="store_true", help="an empty payload; with -r it removes a retained message")
    add("-q", "--qos", type=qos, default=0, metavar="QOS", help="QoS (default 0)")
    add("-r", "--retain", action="store_true", help="retain it")
    add("--repeat", type=int, default=1, metavar="N", help="publish it N times (default 1)")
    add("--repeat-delay", type=float, default=0, metavar="SECONDS", help="pause between two messages (default 0)")
    add("--quiet", action="store_true", help="print no errors")
    add_options(found)
    return found


def main(arguments: list[str]) -> int:
    """Run the command; exit status 0 published, 1 failed, 2 misuse."""
    found = parser()
    args = found.parse_args(arguments)
    args.topic = apply_url(found, args) or args.topic
    if not args.repeat_delay <= threading.TIMEOUT_MAX:
        found.error("--repeat-delay must be up to %d" % threading.TIMEOUT_MAX)
    sources = [
        ("-m", args.message),
        ("-f", args.file),
        ("-l", args.stdin_line),
        ("-s", args.stdin_file),
        ("-n", args.null_message),
    ]
    misuse(found, sources)
    if not any(value not in (None, False) for _, value in sources):
        found.error("one of -m, -f, -l, -s and -n is needed")
    if not args.topic:
        found.error("-t is needed")
    if args.repeat < 1 or args.repeat_delay < 0:
        found.error("--repeat and --repeat-delay cannot be below 1 and 0")
    return run("pub", _publish, args)


def _publish(args: argparse.Namespace) -> int:
    payloads = _payloads(args)
    first = next(payloads, None)  # an unreadable file is an error before the connection
    link = Link(args)
    refused: dict[int, str] = {}

    def acknowledged(client: Any, userdata: Any, mid: int, code: Any, properties: Any) -> None:
        if code is not None and code.is_failure:
            refused[mid] = reason_of(code, properties)
            link.end("the broker refuses the message: " + refused[mid])

    link.client.on_publish = acknowledged
    more = properties(args, "publish")
    link.open()
    waiting: deque[MQTTMessageInfo] = deque()
    try:
        while first is not None:
            try:
                waiting.append(link.client.publish(args.topic, first, args.qos, args.retain, more))
            except ValueError as e:
                raise ClientError("-t %s: %s" % (args.topic, e)) from None
            if len(waiting) >= _AHEAD:
                _wait(link, waiting.popleft())
            first = next(payloads, None)
        while waiting:
            _wait(link, waiting.popleft())
    finally:
        link.done.set()  # from now on an end of the connection is no error
        link.close()
    if link.error:
        raise ClientError(link.error)
    return 0


def _wait(link: Link, info: MQTTMessageInfo) -> None:
    """Wait until a message is sent, or acknowledged. Raises ClientError."""
    deadline = time.monotonic() + ANSWER
    while not info.is_published():
        if link.error or time.monotonic() > deadline:
            raise ClientError(link.error or "%s does not acknowledge" % link.place)
        try:
            info.wait_for_publish(0.2)
        except (RuntimeError, ValueError) as e:
            raise ClientError(link.error or str(e)) from None


def _payloads(args: argparse.Namespace) -> Iterator[bytes]:
    """The payloads to publish, one after the other. Raises ClientError."""
    if args.stdin_line:
        for line in sys.stdin.buffer:
            yield line.removesuffix(b"\n").removesuffix(b"\r")
        return
    if args.file is not None:
        try:
            with open(args.file, "rb") as file:
                payload = file.read()
        except OSError as e:
            raise ClientError("-f: cannot read %s: %s" % (args.file, e.strerror)) from None
    elif args.stdin_file:
        payload = sys.stdin.buffer.read()
    else:
        payload = (args.message or "").encode(errors="surrogateescape")
    for number in range(args.repeat):
        if number:
            time.sleep(args.repeat_delay)
        yield payload
