"""What tools/stress does to a broker: the table of attacks, each from one client or one address.

Contract: an Attack says what is configured and prepared, and what its processes do; nothing here measures. Sizes are the
largest that the broker's options allow, where an attack is about size: what is larger is turned away at once.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fuzzing.packets import connect, publish, subscribe
from port.core.wire.codec import packet, string, u16
from stressing import delivery, flood
from stressing.flood import Flood, Talk, again, batches

ATTACKER = "127.9.0.1"
SECOND = "127.9.0.2"
FILTERS = 100  # in each of many SUBSCRIBEs
SECRET = "correct horse"  # nosec B105 # of brokers that live for seconds
ITERATIONS = 100_000  # of PBKDF2, as the broker's own passwd makes it
WAY = "[[listener]]\nport = 0\n"
TLS_WAY = WAY + '[[listener]]\nid = "tls"\nport = 0\n[listener.tls]\ncertificate = "server.pem"\nkey = "server.key"\n'
ASKING_WAY = (
    '[[auth]]\ntype = "http"\nuser_url = "http://127.0.0.1:SERVICE/user"\nacl_url = "http://127.0.0.1:SERVICE/acl"\n' + WAY
)
PROXY_WAY = WAY + '[[listener]]\nid = "proxied"\nport = 0\nproxy_protocol = true\n'

Process = Callable[[Connection, int, float], None]


@dataclass
class Case:
    """One broker that is to be attacked.

    ports    of its listeners
    options  its values
    folder   with its files
    """

    ports: list[int]
    options: dict[str, Any]
    folder: Path

    @property
    def packet(self) -> int:
        """The largest packet."""
        return int(self.options["max_packet_size"])

    @property
    def name(self) -> int:
        """The longest topic name, as far as a broker may go."""
        return min(60000, int(self.options["max_topic_length"]))

    @property
    def levels(self) -> int:
        """The most levels."""
        return min(199, int(self.options["max_topic_levels"]))

    def most(self, option: str, wanted: int) -> int:
        """So many, or as many as an option allows, where there is such an option."""
        return min(wanted, int(self.options.get(option, wanted)))


def _nothing(case: Case) -> None:
    pass


@dataclass
class Attack:
    """One row of the table.

    said      what it does
    floods    (case) -> the floods of each of its processes
    prepare   what the broker has before it begins
    options   of the broker, beside the tool's
    config    the rest of the configuration, SERVICE the port of stressing.service; `way`: the port attackers come to,
              `entrance`: the one strangers come to
    honest    fields of stressing.honest.Group
    tally     what of the attackers' tally must not exceed what: {"CONNACK 134": 20}
    delivery  in place of floods: (publishers, messages of each, in a write, in flight)
    """

    name: str
    said: str
    floods: Callable[[Case], list[list[Flood]]] = lambda case: []
    prepare: Callable[[Case], None] = _nothing
    options: dict[str, Any] = field(default_factory=dict)
    config: str = WAY
    way: int = 0
    entrance: int = 0
    honest: dict[str, Any] = field(default_factory=dict)
    tally: dict[str, int] = field(default_factory=dict)
    unread_log: bool = False
    delivery: tuple[int, int, int, int] | None = None
    log_bytes: int = 100_000  # that may be logged, in all

    def processes(self, case: Case) -> list[Process]:
        """What attacks."""
        if self.delivery is not None:
            publishers, messages, *_ = self.delivery
            return [
                functools.partial(delivery.receive, expected=publishers * messages),
                functools.partial(delivery.send, plan=self.delivery),
            ]
        return [functools.partial(_run, floods=floods) for floods in self.floods(case)]


def _run(pipe: Connection, port: int, seconds: float, floods: list[Flood]) -> None:
    flood.run(pipe, port, floods, seconds)


# -- what attackers send ------------------------------------------------------------------------


def one(opening: bytes, *chunks: bytes, **fields: Any) -> list[list[Flood]]:
    """One process whose connections send the same again and again."""
    return [[Flood(lambda number: opening, again(*chunks) if chunks else None, **fields)]]


def filters(each: bytes, count: int, version: int = 4) -> bytes:
    """A SUBSCRIBE that repeats a filter."""
    body = u16(1) + (b"\0" if version == 5 else b"") + (string(each) + b"\0") * count
    return packet(0x82, body)


def subscriptions(count: int, make: Callable[[int], bytes], version: int = 4, size: int = FILTERS) -> bytes:
    """SUBSCRIBEs to make(0), make(1) ..., each with so many, and an identifier of its own with MQTT 5."""
    found = []
    for first in range(0, count, size):
        number = first // size % 65535 + 1
        properties = {0x0B: number} if version == 5 else None
        found.append(subscribe(version, number, [(make(i), 0) for i in range(first, min(count, first + size))], properties))
    return b"".join(found)


def pair(number: int, levels: int, last: bytes = b"x/") -> bytes:
    """A topic of so many levels, `last` the one before the last, that differs from another one in the last alone."""
    return b"%d/" % (number // 2) + b"x/" * (levels - 3) + last + b"ab"[number % 2 : number % 2 + 1]


def long_name(number: int, size: int) -> bytes:
    """A topic of this size."""
    return (b"%d/" % number).ljust(size, b"n")


def user_properties(count: int) -> bytes:
    """So many empty user properties, with their length."""
    return packet(0, b"\x26\0\0\0\0" * count)[1:]


def new_names(case: Case, make: Callable[[int], bytes], retain: bool, in_a_chunk: int, **fields: Any) -> list[list[Flood]]:
    """One client that publishes to make(0), make(1) ..."""
    load = batches(lambda number: publish(4, make(number), b"x", retain=retain), in_a_chunk)
    return [[Flood(lambda number: connect(4, b"attacker"), load, **fields)]]


def new_filters(case: Case, make: Callable[[int], bytes], in_a_packet: int) -> list[list[Flood]]:
    """One client that subscribes to make(0), make(1) ..."""
    load = batches(
        lambda number: subscribe(4, number % 65535 + 1, [(make(number * in_a_packet + i), 0) for i in range(in_a_packet)]), 4
    )
    return [[Flood(lambda number: connect(4, b"attacker"), load)]]


# -- what is there before ------------------------------------------------------------------------


def retained(count: int, version: int = 4, expiry: int = 0) -> Callable[[Case], None]:
    """So many retained messages below r."""

    def prepare(case: Case) -> None:
        talk = Talk(case.ports[0], version=version)
        properties = {0x02: expiry} if expiry else None
        for first in range(0, count, 1000):
            talk.send(b"".join([
                publish(version, b"r/%d" % i, b"retained", retain=True, properties=properties)
                for i in range(first, min(count, first + 1000))
            ]))  # fmt: skip
        talk.close()

    return prepare


def offline(count: int) -> Callable[[Case], None]:
    """So many sessions that are away and subscribe to everything."""

    def prepare(case: Case) -> None:
        for i in range(count):
            try:
                talk = Talk(case.ports[0], b"away-%d" % i, ATTACKER, clean=False)
                talk.send(subscribe(4, 1, [(b"#", 1)]))
                talk.close()
            except OSError:
                return  # no more sessions for this one

    return prepare


def failures(count: int) -> Callable[[Case], None]:
    """So many wrong passwords."""

    def prepare(case: Case) -> None:
        for _ in range(count):
            try:
                Talk(case.ports[0], b"wrong", ATTACKER, user=b"mallory", password=b"guess").close()
            except OSError:
                continue

    return prepare


def users() -> str:
    """An authenticator with two users."""
    salt = os.urandom(16)
    digest = hashlib.pbkdf2_hmac("sha256", SECRET.encode(), salt, ITERATIONS)
    text = "$".join([base64.b64encode(value).decode().rstrip("=") for value in (salt, digest)])
    record = "$pbkdf2-sha256$i=%d$%s" % (ITERATIONS, text)
    return '[[auth]]\ntype = "users"\nusers = {honest = "%s", mallory = "%s"}\n' % (record, record)


# -- the table -------------------------------------------------------------------------------------

KNOWN = {"user": "honest", "password": SECRET}
CLOSED = {"anonymous": "none"}


def overlapping(case: Case) -> list[list[Flood]]:
    """As many filters of one client as there may be, all of which match; then new names."""
    bits = case.most("max_subscriptions", 65_536).bit_length() - 1

    def make(number: int) -> bytes:
        return b"".join([b"+/" if number >> bit & 1 else b"s/" for bit in range(bits)]) + b"#"

    opening = connect(5, b"attacker") + subscriptions(1 << bits, make, 5)
    load = batches(lambda number: publish(5, b"s/" * bits + b"%d" % number, b"x"), 4)
    return [[Flood(lambda number: opening, load)]]


def nearly(case: Case) -> list[list[Flood]]:
    """As many deep filters with several `+` as 20 clients may have, that match but for the last level; then new names."""
    each = case.most("max_wide_subscriptions", 500)
    tail = b"a/" * (case.levels - 16) + b"+/z"

    def opening(number: int) -> bytes:
        def make(i: int) -> bytes:
            return b"".join([b"+/" if number * each + i >> bit & 1 else b"a/" for bit in range(14)]) + tail

        return connect(4, b"near-%d" % number) + subscriptions(each, make)

    load = batches(lambda number: publish(4, b"a/" * (case.levels - 1) + b"%d" % number, b"x"), 100)
    return [[Flood(opening, count=20)], [Flood(lambda number: connect(4, b"attacker"), load)]]


def deep_retained(count: int) -> Callable[[Case], None]:
    """So many retained messages as deep as may be that differ in the first level."""

    def prepare(case: Case) -> None:
        talk = Talk(case.ports[0])
        for first in range(0, count, 500):
            names = [b"%d/" % i + b"a/" * (case.levels - 2) + b"b" for i in range(first, first + 500)]
            talk.send(b"".join([publish(4, name, b"x", retain=True) for name in names]))
        talk.close()

    return prepare


def nearly_retained(case: Case) -> list[list[Flood]]:
    """SUBSCRIBE to what nearly matches them."""
    return one(connect(4, b"attacker"), subscribe(4, 1, [(b"+/" + b"a/" * (case.levels - 2) + b"c", 0)]))


def in_flight(case: Case) -> list[list[Flood]]:
    """Eight sessions with large messages that they do not acknowledge."""
    payload = bytes(case.packet - 100)
    readers = Flood(lambda number: connect(4, b"reader-%d" % number) + subscribe(4, 1, [(b"big/%d" % (number % 8), 1)]), count=8)
    packets = [publish(4, b"big/%d" % i, payload, 1, i + 1) for i in range(8)]
    return [[readers], [Flood(lambda number: connect(4, b"attacker"), again(*packets))]]


def small_in_flight(case: Case) -> list[list[Flood]]:
    """Many clients with small messages that they do not acknowledge, each with its own."""

    def opening(number: int) -> bytes:
        topic = b"own/%d" % number
        messages = [publish(4, topic, bytes(1000), 1, i + 1) for i in range(64)]
        return connect(4, b"stuck-%d" % number) + subscribe(4, 1, [(topic, 1)]) + b"".join(messages)

    return [[Flood(opening, count=4000)]]


def slow_readers(case: Case) -> list[list[Flood]]:
    """100 clients that do not read, and large messages for all of them."""
    readers = Flood(lambda number: connect(4, b"slow-%d" % number) + subscribe(4, 1, [(b"big", 0)]), count=100, reads=False)
    return [[readers], one(connect(4, b"attacker"), publish(4, b"big", bytes(case.packet - 100)))[0]]


def wills(case: Case) -> list[list[Flood]]:
    """Sessions with a large client id and a large will, which do not come again; client ids as long as topics may be, too."""

    def opening(number: int, size: int) -> bytes:
        client_id = (b"%d-" % number).ljust(size, b"i")
        return connect(5, client_id, False, 0, {0x11: 86400}, (b"w", bytes(60_000), 0, False), {0x18: 86400})

    return [[
        Flood(functools.partial(opening, size=size), count=10, hang_up="answered", sources=(ATTACKER,))
        for size in sorted({60_000, case.name})
    ]]  # fmt: skip


def sessions(number: int) -> bytes:
    """A session nobody had before, which stays."""
    return connect(4, b"new-%d" % number, False)


def failing(**fields: Any) -> list[list[Flood]]:
    """Wrong passwords."""
    opening = connect(5, b"wrong", user=b"mallory", password=b"guess")
    return one(opening, hang_up="answered", **fields)


def refused(case: Case) -> list[list[Flood]]:
    """CONNECTs with a large client id and an authentication method nobody knows; client ids as long as topics may be, too."""
    return [[
        one(connect(5, b"i" * size, properties={0x15: b"nobody knows"}), hang_up="answered", count=5)[0][0]
        for size in sorted({60_000, case.name})
    ]]  # fmt: skip


def away_again(case: Case) -> list[list[Flood]]:
    """The sessions that are away come one after another and go."""
    return [[Flood(lambda number: connect(4, b"away-%d" % (number % 3000), False), count=10, hang_up="answered")]]


def properties_of(case: Case) -> list[list[Flood]]:
    """PUBLISH with as many user properties as fit, from one, and with as many as are allowed, from another one."""
    largest = packet(0x30, string(b"a") + user_properties((case.packet - 20) // 5))
    allowed = packet(0x30, string(b"a") + user_properties(case.most("max_user_properties", 400_000)))
    return [one(connect(5, b"attacker"), largest)[0] + one(connect(5, b""), allowed * (1 + 65536 // len(allowed)))[0]]


def early_properties(case: Case) -> list[list[Flood]]:
    """CONNECT likewise."""
    head = string(b"MQTT") + b"\5\2\0\0"
    fit = (int(case.options["max_connect_size"]) - 40) // 5
    found = []
    for count in (fit, case.most("max_user_properties", fit)):
        found += one(packet(0x10, head + user_properties(count) + string(b"")), hang_up="answered", count=2)[0]
    return [found]


def announced(case: Case) -> list[list[Flood]]:
    """CONNECTs of which nothing comes but their size, the largest."""
    size = int(case.options["max_connect_size"])
    count = 2 * int(case.options["max_connecting_bytes"]) // size
    return one(packet(0x10, bytes(size - 4))[:4], count=count)


def groups(case: Case, count: int, topic_filter: bytes) -> Flood:
    """So many groups, of as few clients as may have them."""
    each = min(case.most("max_shared_subscriptions", count), case.most("max_subscriptions", count))

    def opening(number: int) -> bytes:
        return connect(4, b"member-%d" % number) + subscriptions(each, lambda i: b"$share/g%d-%d/" % (number, i) + topic_filter)

    return Flood(opening, count=-(-count // each))


def own_groups(case: Case) -> list[list[Flood]]:
    """200 groups of its own, and large messages for all of them."""
    message = publish(4, b"x", bytes(min(4_000_000, case.packet - 100)))
    return [[groups(case, 200, b"x")], one(connect(4, b"attacker"), message)[0]]


def asked(case: Case) -> list[list[Flood]]:
    """SUBSCRIBE of so many filters that the authorizer has to be asked about each."""
    count = case.most("max_filters", 100_000)
    return one(connect(4, b"attacker", user=b"mallory", password=b"x") + subscribe(4, 1, [(b"%d" % i, 0) for i in range(count)]))


def _repeated(each: bytes, count: int) -> Callable[[Case], list[list[Flood]]]:
    """A SUBSCRIBE that repeats a filter so often, from one, and as often as is allowed, from another one."""

    def floods(case: Case) -> list[list[Flood]]:
        fit = min(count, (case.packet - 10) // (3 + len(each)))
        found = one(connect(4, b"attacker"), filters(each, fit))[0]
        allowed = case.most("max_filters", fit)
        if allowed < fit:
            found += one(connect(4, b"careful"), filters(each, allowed))[0]
        return [found]

    return floods


ATTACKS: Sequence[Attack] = (
    Attack("C1a", "20,000 x `$SYS/#` in one SUBSCRIBE", _repeated(b"$SYS/#", 20_000)),
    Attack("C1b", "5,000 x `#` in one SUBSCRIBE, 2,000 retained", _repeated(b"#", 5_000), retained(2_000)),
    Attack("C1c", "500,000 x `a` in one SUBSCRIBE", _repeated(b"a", 500_000)),
    Attack("C1d", "2,000 SUBSCRIBE of 10 bytes in one read, 2,000 retained",
           lambda case: one(connect(4, b"attacker"), subscribe(4, 1, [(b"r/+", 0)]) * 2000), retained(2_000)),
    Attack("C1e", "SUBSCRIBE that matches 100,000 retained, ten in one read",
           lambda case: one(connect(4, b"attacker"), subscribe(4, 1, [(b"r/+", 0)]) * 10), retained(100_000)),
    Attack("H1", "200 own groups, PUBLISH of 2 to 4 MB", own_groups),
    Attack("H2", "sessions with new ids, clean session 0", lambda case: [[Flood(sessions, count=50, hang_up="answered")]],
           options={"max_sessions": 2000}),
    Attack("H3", "silent connections of two addresses, reopened",
           lambda case: one(b"", count=1500, sources=(ATTACKER, SECOND)), options={"max_connections": 1000}),
    Attack("H3-open", "600 connections of one address that are let in, with room for 500",
           lambda case: one(connect(4, b""), count=600), options={"max_connections": 500}),
    Attack("H3-tls", "the same before TLS", lambda case: one(b"", count=1500, sources=(ATTACKER, SECOND)),
           config=TLS_WAY, way=1, entrance=1, honest={"ca": "ca.pem"}),
    Attack("H3-proxy", "the same before the PROXY header", lambda case: one(b"", count=1500, sources=(ATTACKER, SECOND)),
           config=PROXY_WAY, way=1, entrance=1, honest={"proxied": True}),
    Attack("H3-announced", "announcements that use up max_connecting_bytes", announced),
    Attack("H4", "retained store full (100,000, all with an expiry), further retained PUBLISH",
           lambda case: [[Flood(lambda number: connect(5, b"attacker"), batches(
               lambda number: publish(5, b"n/%d" % number, b"x", retain=True, properties={0x02: 3600}), 10))]],
           retained(100_000, 5, 3600), {"max_retained_messages": 100_000}),
    Attack("H5", "90 connections with the right password",
           lambda case: one(connect(5, b"", user=b"mallory", password=SECRET.encode()), count=90, hang_up="answered"),
           options=CLOSED, config=users() + WAY, honest={**KNOWN, "rate": 2.0}),
    Attack("H6", "300 logins at once with wrong passwords", lambda case: failing(count=300),
           options=CLOSED, config=users() + WAY, honest={**KNOWN, "rate": 2.0}, tally={"CONNACK 134": 20}),
    Attack("F2", "wrong passwords from the address all others have, too", lambda case: failing(count=1, pause=0.2),
           failures(15), CLOSED, users() + WAY, honest={**KNOWN, "rate": 2.0, "source": ATTACKER}),
    Attack("H7a-60K", "PUBLISH to new names of 60 KB nobody subscribes to",
           lambda case: new_names(case, lambda number: long_name(number, 60_000), False, 4)),
    Attack("H7a-4K", "PUBLISH to new names of 4 KB nobody subscribes to",
           lambda case: new_names(case, lambda number: long_name(number, 4_000), False, 50)),
    Attack("H7b", "filters of 65 KB, or the longest there may be",
           lambda case: new_filters(case, lambda number: long_name(number, case.name), 1)),
    Attack("H7c", "filters of 199 levels, or the most there may be, in pairs",
           lambda case: new_filters(case, lambda number: pair(number, case.levels, b"+/"), FILTERS)),
    Attack("H7d", "retained likewise: as deep, in pairs",
           lambda case: new_names(case, lambda number: pair(number, case.levels), True, FILTERS)),
    Attack("H7d-60K", "retained likewise: names of 60 KB, or the longest there may be",
           lambda case: new_names(case, lambda number: long_name(number, case.name), True, 4)),
    Attack("H7e", "the largest messages in flight to eight readers that do not acknowledge", in_flight),
    Attack("H7f", "100 readers that do not read, the largest messages", slow_readers),
    Attack("H7g", "sessions with 60 KB of client id and of will", wills),
    Attack("H7h", "64 small messages in flight to each of 4,000 clients that do not acknowledge", small_in_flight),
    Attack("H8a", "four floods of PINGREQ", lambda case: one(connect(4, b""), b"\xc0\0" * 65536, count=4)),
    Attack("H8b", "four floods of SUBSCRIBE",
           lambda case: one(connect(4, b""), subscribe(4, 1, [(b"a/b", 0)]) * 8192, count=4)),
    Attack("H8c", "PUBLISH with 1,600,000 user properties, or all that fit", properties_of),
    Attack("H8d", "CONNECT with 26,000 user properties", early_properties),
    Attack("H9", "65,536 overlapping filters of one client, or all there may be; PUBLISH to new names", overlapping),
    Attack("H9b", "10,000 deep filters of 20 clients that nearly match, or all there may be; PUBLISH to new names", nearly),
    Attack("H9c", "20,000 deep retained names that a filter nearly matches", nearly_retained, deep_retained(20_000)),
    Attack("H10", "SUBSCRIBE of 100,000 filters, or the most there may be; a slow authorizer", asked, options=CLOSED, config=ASKING_WAY, honest=KNOWN),
    Attack("H11", "refused CONNECTs with 60 KB of client id", refused, options=CLOSED, config=users() + WAY,
           honest={**KNOWN, "rate": 2.0}),
    Attack("H11-pipe", "the same, the log a pipe that nobody reads", refused, options=CLOSED, config=users() + WAY,
           honest={**KNOWN, "rate": 2.0}, unread_log=True),
    Attack("M8a", "50,000 groups on `#`", lambda case: [[groups(case, 50_000, b"#")]]),
    Attack("M8b", "3,000 offline sessions on `#`", away_again, offline(3_000)),
    Attack("P1a", "QoS 1, 50,000 messages in writes of 500, to a client that acknowledges at once", delivery=(1, 50_000, 500, 0)),
    Attack("P1b", "QoS 1, eight publishers with 50 in flight each, 5,000 messages each", delivery=(8, 5_000, 50, 50)),
)  # fmt: skip

assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)  # nosec B101
