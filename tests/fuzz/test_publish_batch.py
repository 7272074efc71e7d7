"""Rows (port.cpython.publish_batch) against the core without them: what comes out must be the same, byte by byte.

Two brokers get the same reads. What the clients of the first receive they answer, in another order if told so, to both.
"""

from __future__ import annotations

import inspect
import os
import random
from typing import TYPE_CHECKING, Any

import pytest

from disk import Disk
from harness import split
from port.core.wire.codec import CONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBSCRIBE, packet, string, u16
from port.core.wire.properties import SESSION_EXPIRY_INTERVAL
from port.core.limits.options import Options
from port.core.messages.message import Message
from port.core.protocol.client_packets import decode, encode
from port.core.broker import Broker
from port.cpython import publish_batch

if TYPE_CHECKING:
    from port.core.wire.codec import Buffer

COUNTERS = (
    "packets_received", "publishes_received", "published0", "published1", "published2", "packets_sent", "bytes_sent", "dropped",
)
TOPICS = (b"a/b", b"a/c", b"a/b/c", b"nobody")
# Of MQTT 5 packets: none, content types, one not allowed, message expiry.
PROPERTIES = (b"", b"\3\0\2te", b"\3\0\2to", b"\x0b\5", b"\2\0\0\0\x64")
# What a PUBLISH of a row can be besides plain: DUP, RETAIN, with a topic that is too long, with nothing behind the topic.
DUP, RETAIN, LONG, SHORT = range(1, 5)


class Side:
    """What one broker writes to one client."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def send(self, chunks: list[Buffer]) -> int:
        data = b"".join(chunks)
        self.written += data
        return len(data)

    def close(self, abort: bool, told: bool) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        """Nobody asks."""

    def resume_reading(self) -> None:
        """Nobody asks."""

    def certificate(self) -> None:
        return None


class Pair:
    """A broker with rows and one without, and clients that are connected to both."""

    def __init__(self, stored: bool = False, **options: Any) -> None:
        self.brokers = [Broker(Options(**options), lambda: 1000, self._log, Disk() if stored else None) for _ in range(2)]
        for broker in self.brokers:
            broker.sys.wall = lambda: 1000000
            broker.turns.limit = 1 << 30  # with rows more is done in a turn, and batches of records end elsewhere
            if stored:
                broker.open_store()
        self.brokers[0].rows = publish_batch
        self._closed, self._counted = 0, [0] * len(COUNTERS)
        self.clients: list[Client] = []

    def _log(self, level: int, text: str, *args: object) -> None:
        assert level < 3, text % args

    def connect(self, name: str, version: int, clean: bool = False) -> Client:
        client = Client(self, version)
        properties = {SESSION_EXPIRY_INTERVAL: 100} if version == 5 and not clean else {}
        client.say(CONNECT, client_id=name.encode(), clean_start=clean, keep_alive=0, properties=properties)
        self.clients.append(client)
        return client

    def compare(self) -> None:
        """Everything that came out, and what the sessions keep."""
        ours, others = self.brokers
        for client in self.clients:
            one, other = client.sides
            assert one.closed == other.closed
            if client.in_order:
                assert one.written == other.written
            else:
                assert sorted(split(one.written)) == sorted(split(other.written))
        counted = [getattr(ours.counters, name) - getattr(others.counters, name) for name in COUNTERS]
        closed = sum(client.sides[0].closed for client in self.clients)
        if closed == self._closed:
            assert counted == self._counted
        self._closed, self._counted = closed, counted  # what came in one read before a fault is not always counted
        if isinstance(ours.store, Disk) and isinstance(others.store, Disk):
            assert ours.store.batches == others.store.batches
        assert list(ours.sessions) == list(others.sessions)
        for client_id, session in ours.sessions.items():
            plain = others.sessions[client_id]
            for name in ("packet_id", "received", "queued_bytes", "send_window"):
                assert getattr(session, name) == getattr(plain, name), name
            assert list(session.inflight) == list(plain.inflight)
            for packet_id, entry in plain.inflight.items():
                row = session.inflight[packet_id]
                assert type(row) is type(entry)
                if isinstance(entry, bytes):
                    assert publish_batch.packet(row, packet_id) == entry
                else:
                    assert shown(row) == shown(entry)


def shown(entry: tuple[Message | None, int, object, object, int]) -> object:
    """What is in flight, so that two brokers' can be compared."""
    message = entry[0]
    return (message and (message.name, message.payload, message.properties), *entry[1:])


def settle(broker: Broker) -> None:
    """Flush, and give turns to all who wait for one: with rows more is done in one."""
    broker.flush()
    while broker.turns.clients:
        broker.work()
        broker.flush()


class Client:
    """One client of both brokers."""

    def __init__(self, pair: Pair, version: int) -> None:
        self.pair = pair
        self.version = version
        self.sides = [Side(), Side()]
        self.conns = [broker.accept_connection(side, "127.0.0.1:1") for broker, side in zip(pair.brokers, self.sides)]
        self.in_order = True  # False: it gets what it publishes, whose acknowledgements stand somewhere between
        self._read = 0

    def feed(self, data: bytes) -> None:
        """Both get it in one read."""
        for broker, conn in zip(self.pair.brokers, self.conns):
            assert conn is not None
            conn.take(data)
            settle(broker)
        self.pair.compare()

    def pause(self, paused: bool) -> None:
        """It reads no more, or again."""
        for broker, conn in zip(self.pair.brokers, self.conns):
            assert conn is not None
            if paused:
                conn.pause_writing(spare=200)
            else:
                conn.resume_writing()
            settle(broker)
        self.pair.compare()

    def say(self, kind: int, **fields: object) -> None:
        self.feed(encode({"type": kind, **fields}, self.version))

    def answers(self, most: int, backwards: bool) -> bytes:
        """The acknowledgements of the next packets received."""
        found: list[bytes] = []
        for data in split(self.sides[0].written[self._read :]):
            if len(found) == most:
                break
            self._read += len(data)
            received = decode(data, self.version)
            kind = received["type"]
            answer = {PUBLISH: (0, PUBACK, PUBREC)[received.get("qos", 0)], PUBREC: PUBREL, PUBREL: PUBCOMP}.get(kind)
            if answer:
                found.append(encode({"type": answer, "packet_id": received["packet_id"], "code": 0}, self.version))
        return b"".join(reversed(found) if backwards else found)


def messages(version: int, topic: int, qos: int, count: int, first_id: int, step: int, size: int, flags: int, kind: int) -> list[bytes]:
    """PUBLISH packets that are alike, but for what is in them."""
    found = []
    first = PUBLISH << 4 | qos << 1 | {DUP: 8, RETAIN: 1}.get(flags, 0)
    for n in range(count):
        body = u16(300) + TOPICS[topic] if flags == LONG else string(TOPICS[topic])
        if qos and flags != SHORT:
            body += u16((first_id + n * step - 1) % 65535 + 1 if first_id else n)
        if version == 5 and flags != SHORT:
            body += bytes((len(PROPERTIES[kind]),)) + PROPERTIES[kind]
        found.append(packet(first, body + bytes((n & 255,)) * size))
    return found


class Story:
    """What one publisher and two subscribers do, chosen by chance."""

    def __init__(self, number: int) -> None:
        chance = self.chance = random.Random(number)
        self.pair = Pair(
            chance.random() < 0.3, max_inflight=chance.choice((3, 20, 64, 100)), max_unreleased=chance.choice((5, 40, 65535, 65535, 65535)),
            receive_maximum=chance.choice((5, 40, 200, 200, 200)), max_queued_messages=chance.choice((4, 1000)), outbound_topic_aliases=0,
        )  # fmt: skip
        self.version = chance.choice((4, 5))
        self.next_id = chance.choice((1, 1, 7, 65500))
        self.publisher = self.pair.connect("p", self.version, chance.random() < 0.5)
        self.subscribers: dict[str, Client] = {}
        for name in "st"[: chance.choice((1, 1, 2))]:
            self.come(name)
            self.subscribers[name].say(SUBSCRIBE, packet_id=1, filters=[(b"a/#", chance.choice((0, 1, 2, 2)))])
            self.turn(name)
        if chance.random() < 0.1:
            self.publisher.say(SUBSCRIBE, packet_id=1, filters=[(b"a/b", 2)])
            self.publisher.in_order = False

    def come(self, name: str) -> None:
        """A subscriber connects, perhaps again and with another version."""
        self.subscribers[name] = self.pair.connect(name, self.chance.choice((4, 5)), self.chance.random() < 0.3)

    def turn(self, name: str) -> None:
        """The packet identifiers towards a subscriber are somewhere else, as after many messages."""
        used = self.chance.choice((0, 0, 6, 65480, 65530))
        for broker in self.pair.brokers:
            broker.sessions[name.encode()].packet_id = used

    def read(self) -> bytes:
        """What the publisher sends at once."""
        chance = self.chance
        found: list[list[bytes]] = []
        size = chance.choice((0, 1, 2, 200))
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            count = chance.choice((1, 2, 3, 20, 20, 40, 64, 150))
            step = chance.choice((1,) * 10 + (0, 2, 2, 65535))
            flags = chance.choice((0,) * 24 + (DUP, DUP, RETAIN, RETAIN, LONG, SHORT))
            kind = chance.choice((0,) * 15 + (1, 1, 1, 2, 2, 2, 3, 4))
            topic = chance.choice((0, 0, 0, 0, 1, 2, 3))
            found.append(messages(self.version, topic, chance.choice((0, 1, 2, 2)), count, self.next_id, step, size, flags, kind))
            self.next_id += count
            if chance.random() < 0.2:
                self.next_id = chance.choice((0, 1, 65500, self.next_id - 2, self.next_id - 30))
            while self.next_id > 65535:
                self.next_id -= 65535
            self.next_id = max(self.next_id, 0)
        if len(found) > 1 and chance.random() < 0.3:  # in turns
            return b"".join(one for alike in zip(*found) for one in alike)
        return b"".join(one for alike in found for one in alike)

    def step(self) -> None:
        """One thing happens."""
        chance = self.chance
        if self.publisher.sides[0].closed:
            in_order = self.publisher.in_order
            self.publisher = self.pair.connect("p", self.version, chance.random() < 0.5)
            self.publisher.in_order = in_order
        name = chance.choice(list(self.subscribers))
        subscriber = self.subscribers[name]
        what = chance.random()
        if what < 0.45:
            data = self.read()
            cut = chance.choice((0, 0, 1, 7))
            self.publisher.feed(data[: len(data) - cut])
            self.publisher.feed(data[len(data) - cut :])
        elif what < 0.65:
            subscriber.feed(subscriber.answers(chance.choice((1, 3, 50, 1000)), chance.random() < 0.2))
        elif what < 0.85:
            self.publisher.feed(self.publisher.answers(chance.choice((3, 50, 1000)), chance.random() < 0.2))
        elif what < 0.92:
            subscriber.pause(chance.random() < 0.3)
        elif what < 0.97:
            self.turn(name)
        else:
            self.come(name)


@pytest.mark.parametrize("first", range(0, 3000 if os.environ.get("UCOMQTT_FULL") == "1" else 600, 100))
def test_it_is_the_same_with_rows(first):
    for number in range(first, first + 100):
        story = Story(number)
        for _ in range(30):
            story.step()


def test_rows_are_taken():
    """The comparison would say nothing if there were none."""
    for version in (4, 5):
        for qos in range(3):
            pair = Pair()
            taken: list[int] = []
            pair.brokers[0].rows = Counting(taken)
            publisher = pair.connect("p", version)
            pair.connect("s", version).say(SUBSCRIBE, packet_id=1, filters=[(b"a/#", qos)])
            for first_id in (1, 21, 41):
                publisher.feed(b"".join(messages(version, 0, qos, 20, first_id, 1, 16, 0, 0)))
            assert sum(taken) >= 40, (version, qos, taken)


@pytest.mark.parametrize("version", (4, 5))
@pytest.mark.parametrize("qos", (1, 2))
def test_where_a_row_ends(version, qos):
    """At each limit, the bytes before and behind it; `Pair` compares after each read."""

    def begun(**options):
        pair = Pair(**options)
        publisher, subscriber = pair.connect("p", version), pair.connect("s", version)
        subscriber.say(SUBSCRIBE, packet_id=1, filters=[(b"a/#", qos)])
        publisher.feed(b"".join(messages(version, 0, qos, 1, 1, 1, 0, 0, 0)))  # before it there are no rows
        subscriber.feed(subscriber.answers(10, False))
        return pair, publisher

    for size in (1022, 1023, 1024, 1025):  # larger ones count for max_inflight_bytes
        pair, publisher = begun(max_inflight_bytes=3000)
        publisher.feed(b"".join(messages(version, 0, qos, 10, 2, 1, size, 0, 0)))
        found = len([entry for entry in pair.brokers[0].sessions[b"s"].inflight.values() if entry[0] is not None])
        assert found >= 10 if size <= 1024 else found == 2
    for used in range(65511, 65520):  # the last packet identifier there is
        pair, publisher = begun()
        for broker in pair.brokers:
            broker.sessions[b"s"].packet_id = used
            broker.publish("a/b", "x", qos=qos)  # something is in flight: the receiver's identifiers go on from there
        publisher.feed(b"".join(messages(version, 0, qos, 20, 2, 1, 16, 0, 0)))
    for size in range(4):  # nothing, or a part, of what follows the topic name
        pair, publisher = begun()
        publisher.feed(b"".join(messages(version, 0, qos, 20, 2, 1, size, SHORT, 0)))


def test_what_is_in_flight_keeps_little_more_than_itself():
    """A client that acknowledges all but one message of each row does not hold all that was ever read."""
    pair = Pair()
    publisher = pair.connect("p", 4)
    subscriber = pair.connect("s", 4)
    subscriber.say(SUBSCRIBE, packet_id=1, filters=[(b"a/#", 1)])
    publisher.feed(b"".join(messages(4, 0, 1, 1, 1, 1, 0, 0, 0)))  # before it there is no telling how many can be in flight
    publisher.feed(b"".join(messages(4, 0, 1, 60, 2, 1, 1000, 0, 0)))
    sizes = sorted(len(row) for row in set(pair.brokers[0].sessions[b"s"].inflight.values()))
    assert len(sizes) == 1 + 4 and 15000 < sizes[-1] <= 16384


class Counting:
    """port.cpython.publish_batch that tells how many packets it was right for."""

    def __init__(self, taken: list[int]) -> None:
        self._taken = taken

    def __getattr__(self, name: str) -> object:
        function = getattr(publish_batch, name)
        assert inspect.isfunction(function)

        def call(*arguments: object) -> int:
            count: int = function(*arguments)
            self._taken.append(count)
            return count

        return function if name == "packet" else call
