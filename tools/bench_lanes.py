"""What a message costs on each lane of a PUBLISH, in the core alone: port/README.md has the lanes.

    python3 tools/bench_lanes.py [--python PROGRAM] [--messages N]

One publisher, one subscriber, no sockets; reads of fifty messages of 16 bytes. Each lane is timed in a process of its own,
the fastest of five rounds counts; figures are for comparison with each other on one machine.
"""

from __future__ import annotations

import argparse
import subprocess  # nosec B404 # programs are started from lists of arguments
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bench_instructions import Transport
from toolchain import ROOT

if TYPE_CHECKING:
    from port.core.broker import Broker

ROUNDS = 5
IN_A_READ = 50
PAYLOAD = b"x" * 16


def _nothing(broker: Broker) -> None:
    """The broker as it is."""


def _rules(broker: Broker) -> None:
    broker.set_acl([{"topic": "#"}])


def _hook(broker: Broker) -> None:
    broker.on("message", lambda client, message: None)


def _callback(broker: Broker) -> None:
    broker.subscribe("#", lambda message: None)


def _local(broker: Broker, version: int = 4) -> None:
    """An in-process client that looks at nothing, of the publisher's version."""
    broker.open_client("l", lambda batch: None, version=version).subscribe("#", qos=2)


def _local5(broker: Broker) -> None:
    """One of the other version."""
    _local(broker, 5)


def _decoding(broker: Broker) -> None:
    """One that looks at every message."""
    broker.open_client("l", lambda batch: [message.payload for message in batch], version=4).subscribe("#")


def _other(broker: Broker) -> None:
    """One that gets none of the messages, beside the subscriber."""
    broker.open_client("l", lambda batch: None).subscribe("b/#")


# Lane -> topics in a read, QoS, the subscriber's filters, what is done to the broker before.
LANES: dict[str, tuple[int, int, tuple[bytes, ...], Callable[[Any], None]]] = {
    "1 row, QoS 0": (1, 0, (b"#",), _nothing),
    "2 as it came, QoS 0": (10, 0, (b"#",), _nothing),
    "2 the same, rules that allow": (10, 0, (b"#",), _rules),
    "3 row, QoS 1": (1, 1, (b"#",), _nothing),
    "4 as it came, QoS 1": (10, 1, (b"#",), _nothing),
    "5 quick route, a callback": (10, 0, (), _callback),
    "6 whole, overlapping filters": (10, 0, (b"#", b"a/+"), _nothing),
    "7 a message hook": (10, 0, (b"#",), _hook),
    "1 to an in-process client": (1, 0, (), _local),
    "1 that speaks MQTT 5": (1, 0, (), _local5),
    "1 that looks at messages": (1, 0, (), _decoding),
    "1 and 1 of other topics": (1, 0, (b"#",), _other),
    "2 to an in-process client": (10, 0, (), _local),
    "2 that speaks MQTT 5": (10, 0, (), _local5),
    "3 to an in-process client": (1, 1, (), _local),
    "4 to an in-process client": (10, 1, (), _local),
    "5 that speaks MQTT 5, QoS 1": (10, 1, (), _local5),
}


def run(lane: str, messages: int) -> float:
    """Microseconds a message."""
    from port.core.limits.options import Options
    from port.core.broker import Broker
    from port.cpython import publish_batch

    topics, qos, filters, prepare = LANES[lane]
    best = float("inf")
    for _ in range(ROUNDS):
        broker = Broker(Options(max_inflight=65535), lambda: 0)
        broker.rows = publish_batch
        broker.turn = 1 << 40
        prepare(broker)
        subscriber, publisher = [broker.accept_connection(Transport(), "127.0.0.1:1") for _ in range(2)]
        if subscriber is None or publisher is None:
            raise AssertionError("the broker refused a client")
        subscriber.take(b"\x10\x0d\0\4MQTT\4\2\0\0\0\1s")
        publisher.take(b"\x10\x0d\0\4MQTT\4\2\0\0\0\1p")
        for topic_filter in filters:
            subscriber.take(bytes((0x82, 5 + len(topic_filter), 0, 1, 0, len(topic_filter))) + topic_filter + bytes((qos,)))
        broker.flush()
        first = 0x30 | qos << 1
        spent = 0.0
        number = 0
        for _ in range(messages // IN_A_READ):
            packets = []
            for i in range(IN_A_READ):
                number = number % 65535 + 1
                packet_id = number.to_bytes(2, "big") if qos else b""
                packets.append(bytes((first, 5 + len(packet_id) + len(PAYLOAD))) + b"\0\3a/%d" % (i % topics) + packet_id + PAYLOAD)
            data = b"".join(packets)
            start = time.process_time()
            publisher.take(data)
            broker.flush()
            if broker.turns:
                broker.work()
                broker.flush()
            spent += time.process_time() - start
            if qos and subscriber.session is not None:
                subscriber.take(b"".join([b"\x40\2" + used.to_bytes(2, "big") for used in list(subscriber.session.inflight)]))
                broker.flush()
        best = min(best, spent / messages)
    return best * 1e6


def main() -> None:
    """Print a line for each lane."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="interpreter (the one that runs this)")
    parser.add_argument("--messages", type=int, default=100_000, help="messages of each round (100000)")
    parser.add_argument("--lane", choices=LANES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if args.lane:
        print(f"{run(args.lane, args.messages):.2f}")
        return
    for lane in LANES:
        command = [args.python, __file__, "--lane", lane, "--messages", str(args.messages)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # nosec B603 # no shell
        print(f"{lane:30} {done.stdout.strip():>6} us", flush=True)


if __name__ == "__main__":
    main()
