"""`ucomqtt sub`: print messages as they come, with the options of mosquitto_sub."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from port.cpython.cli import command, fail
from port.cpython.cli.message_format import Format
from port.cpython.cli.mqtt_client import (
    EPILOG, EXIT_STATUS, ClientError, Link, add_options, apply_url, properties, qos, reason_of, run,
)  # fmt: skip

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessage

TIMED_OUT = 27  # as mosquitto_sub


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        prog=command() + " sub",
        add_help=False,
        usage="%(prog)s [options] -t FILTER ...",
        description="Subscribe to topics and print the messages as they come.",
        epilog="%s, %d when -W is over before -C messages have come. %s" % (EXIT_STATUS, TIMED_OUT, EPILOG),
    )
    add = found.add_argument
    add("-t", "--topic", action="append", default=[], metavar="FILTER", help="topic filter; may be given several times")
    add("-T", "--filter-out", action="append", default=[], metavar="FILTER", help="do not print messages that match this filter")
    add("-U", "--unsubscribe", action="append", default=[], metavar="FILTER", help="unsubscribe from this filter, see -c")
    add("-q", "--qos", type=qos, default=0, metavar="QOS", help="QoS of the subscriptions (default 0)")
    add("-C", dest="count", type=int, metavar="N", help="end after N messages")
    add("-W", dest="wait", type=float, metavar="SECONDS", help="end after this time")
    add("-E", dest="exit", action="store_true", help="end after the SUBACK")
    add("-v", "--verbose", action="store_true", help="print the topic before the payload")
    text = (
        "print this: %%t topic, %%p payload, %%q QoS, %%r retained, %%l length, %%j JSON, %%x hexadecimal, %%I time, "
        "%%U s since 1970, @H:@M:@S as in strftime, \\n ...; all of mosquitto_sub's"
    )
    add("-F", dest="format", metavar="FORMAT", help=text)
    add("-N", dest="no_newline", action="store_true", help="no newline after a message")
    add("-R", dest="no_retained", action="store_true", help="do not print retained messages")
    add("--retained-only", action="store_true", help="print retained messages only, and end after them")
    add("--remove-retained", action="store_true", help="remove the retained messages that arrive")
    add_options(found)
    return found


def main(arguments: list[str]) -> int:
    """Run the command; exit status 0 done, 1 failed, 2 misuse, 27 when the time is over."""
    found = parser()
    args = found.parse_args(arguments)
    topic = apply_url(found, args)
    if topic:
        args.topic.append(topic)
    if not args.topic and not args.unsubscribe:
        found.error("-t is needed")
    if args.format is not None and (args.verbose or args.no_newline):
        found.error("-F and -v or -N cannot be together")
    if args.count is not None and args.count < 1 or args.wait is not None and args.wait <= 0:
        found.error("-C and -W must be above 0")
    if args.wait is not None and not args.wait <= threading.TIMEOUT_MAX:
        found.error("-W must be up to %d" % threading.TIMEOUT_MAX)
    try:
        args.shape = Format(args.format if args.format is not None else "%t %p" if args.verbose else "%p", not args.no_newline)
    except ValueError as e:
        found.error("-F: %s" % e)
    return run("sub", _subscribe, args)


class _Subscriber(Link):
    """Subscribes on each connection; the library's thread prints the messages."""

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__(args)
        self._left = args.count
        self.unwritten: OSError | None = None  # the error that kept a message from being printed
        self.client.on_subscribe = self._granted
        self.client.on_message = self._received

    def ready(self) -> None:
        """Subscribe, and unsubscribe."""
        args = self.args
        try:
            if args.unsubscribe:
                self.client.unsubscribe(args.unsubscribe, properties(args, "unsubscribe"))
            if not args.topic:
                return self.end()
            more = properties(args, "subscribe")
            if more is None:
                self.client.subscribe([(name, args.qos) for name in args.topic])
            else:
                from paho.mqtt.subscribeoptions import SubscribeOptions

                self.client.subscribe([(name, SubscribeOptions(args.qos)) for name in args.topic], properties=more)
        except (ValueError, ClientError) as e:
            self.end("-t: %s" % e)

    def lost(self, reason: str) -> None:
        """Report it; the library connects again."""
        fail("sub: %s: the connection was lost: %s; trying again" % (self.place, reason))

    def _granted(self, client: Any, userdata: Any, mid: int, codes: Any, properties: Any) -> None:
        args = self.args
        refused = [
            "%s: %s" % (name, reason_of(code, None)) for name, code in zip(args.topic, codes, strict=False) if code.is_failure
        ]
        for text in refused:
            fail("sub: the broker refuses the subscription to " + text)
        if len(refused) == len(args.topic):
            self.end("the broker refuses all subscriptions")
        elif args.exit:
            self.end()

    def _received(self, client: Any, userdata: Any, message: MQTTMessage) -> None:
        """Print a message, or leave it out as the options say, then acknowledge it; until then its session keeps it."""
        args = self.args
        if self.done.is_set():
            return
        if args.retained_only and not message.retain:
            self.end()
            return
        if not (message.retain and args.no_retained) and not self._left_out(message.topic):
            text = args.shape.text(message, time.time())
            try:
                sys.stdout.buffer.write(text)
                sys.stdout.buffer.flush()
            except OSError as e:
                self.unwritten = e
                self.end("standard output: %s" % (e.strerror or e))
                return
            if self._left is not None:
                self._left -= 1
        if message.retain and args.remove_retained and message.payload:
            client.publish(message.topic, b"", 1, True)
        client.ack(message.mid, message.qos)
        if self._left == 0:
            self.end()

    def _left_out(self, topic: str) -> bool:
        from paho.mqtt.client import topic_matches_sub

        return any(topic_matches_sub(name, topic) for name in self.args.filter_out)


class _Stopped(Exception):
    """A signal that ends the command has come."""


def _stop(number: int, frame: Any) -> None:
    # A handler takes no lock, as the thread that it interrupts may hold it.
    raise _Stopped


def _subscribe(args: argparse.Namespace) -> int:
    deadline = None if args.wait is None else time.monotonic() + args.wait
    link = _Subscriber(args)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        link.open()
        ended = link.done.wait(None if deadline is None else max(0, deadline - time.monotonic()))
    except _Stopped:
        ended = True
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        link.done.set()
        link.close()
    if isinstance(link.unwritten, BrokenPipeError):
        raise link.unwritten  # the pipe is closed, see cli.guarded
    if link.error:
        raise ClientError(link.error)
    return 0 if ended or args.retained_only else TIMED_OUT
