"""An in-memory world for tests: a broker, a clock that moves when told, clients made of bytes.

Every client checks what any client may take for granted: what it receives is well-formed, no
packet is larger than it allows, no identifier in use is used again, no more QoS 1 and 2
messages are unacknowledged than its receive maximum, and nothing comes after the close.
"""

import sys

from port.core import TYPE_CHECKING
from port.core.wire.codec import (
    CONNACK,
    CONNECT,
    DISCONNECT,
    PINGREQ,
    PINGRESP,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    SUBACK,
    SUBSCRIBE,
    UNSUBACK,
    UNSUBSCRIBE,
    Reader,
)
from port.core.wire.properties import MAXIMUM_PACKET_SIZE, RECEIVE_MAXIMUM, SUBSCRIPTION_IDENTIFIER
from port.core.limits.options import Options
from port.core.protocol.client_packets import decode, encode
from port.core.broker import Broker

if TYPE_CHECKING:
    from typing import Any
publish_batch: "Any" = None
if sys.implementation.name == "cpython":
    from port.cpython import publish_batch  # subset: ok, CPython alone

VERSIONS = (3, 4, 5)


def raw(text):
    """Bytes from hex digits, blanks and # comments between them, one field per line."""
    return bytes.fromhex("".join([line.split("#")[0].replace(" ", "") for line in text.split("\n")]))


def refusal(version, code, qos=0):
    """What a SUBACK says of a filter asked for with this QoS, where MQTT 5 has this reason code: MQTT 3.1 knows no refusal."""
    return code if version == 5 else 0x80 if version == 4 else qos


def raises(error, call, *args):
    """What `call(*args)` raises, which must be an `error`."""
    try:
        result = call(*args)
    except error as e:
        return e
    raise AssertionError("no %s but %r" % (error, result))


def _bytes(value):
    return value.encode() if isinstance(value, str) else value


def split(data):
    """The packets in a row of them."""
    packets = []
    reader = Reader(data)
    while reader.left():
        start = reader.pos
        reader.pos += 1
        reader.take(reader.varint())
        packets.append(data[start : reader.pos])
    return packets


class World:
    """A broker under a clock of its own.

    now   ms, on the broker's clock
    ahead ms by which the clock of the day is ahead of it, which goes by `step` ms
    log   (level, text) of what the broker logged, of the levels up to warnings the last 100
    """

    def __init__(self, store=None, now=1000000, ahead=0, step=1, **options):
        self.now = now
        self.ahead = ahead
        self.log = []
        self._errors = []
        options.setdefault("sys_interval", 0)
        self.broker = Broker(Options(**options), clock=lambda: self.now, log=self._log, store=store)
        self.broker.rows = publish_batch  # each Python with what it has
        if store is not None:
            self.broker.sys.wall = lambda: (self.now + self.ahead) // step * step
            self.broker.sys.wall_step = step
            self.broker.open_store()

    def _log(self, level, text, *args):
        if level == 3:
            self._errors.append(text % args)
        self.log.append((level, text % args))
        self.log = self.log[-100:]

    def errors(self):
        """What the broker itself failed at."""
        return self._errors

    def advance(self, ms):
        """Let time pass; the broker ticks at each full second."""
        end = self.now + ms
        while self.now < end:
            self.now = min(self.now - self.now % 1000 + 1000, end)
            if self.now % 1000 == 0:
                self.broker.tick()

    def settle(self):
        """Flush, and give turns to all who wait for one."""
        self.broker.flush()
        while self.broker.turns:
            self.broker.work()
            self.broker.flush()

    def see_off(self):
        """Flush, and see to all whose connections are over."""
        self.broker.flush()
        while self.broker.settling:
            self.broker.work()
            self.broker.flush()

    def client(self, version=5, address="127.0.0.1:5000", listener=None):
        """A network connection on which nothing was said yet."""
        return Client(self, version, address, listener)

    def connect(self, client_id="c", version=5, address="127.0.0.1:5000", listener=None, **fields):
        """A client the broker has accepted; its CONNACK is in `connack`."""
        client = Client(self, version, address, listener)
        client.connect(client_id, **fields)
        assert client.connack["code"] == 0, client.connack
        return client

    def session(self, client_id):
        return self.broker.sessions.get(_bytes(client_id))


class Client:
    """One network connection to the broker, seen from its far end; the Transport of its near end.

    inbox   packets received and not looked at yet
    closed  True when the broker has closed the connection
    """

    def __init__(self, world, version, address, listener=None):
        self.world = world
        self.version = version
        self.inbox = []
        self.closed = False
        self.aborted = False
        self.held = False
        self.connack: "dict[str, Any]" = {}  # the CONNACK, empty until it came
        self.max_packet = 268435460
        self.receive_maximum = 65535
        self.unacked = {}  # packet identifiers of QoS 1 and 2 messages received, with their QoS
        self.packet_id = 0
        self._unread: "list[bytes] | None" = None  # packets while the client does not read
        self._first_counts_not = False
        self._early = b""  # sent while the broker does not read
        self.certified = None
        self.conn = world.broker.accept_connection(self, address, listener)

    # -- the broker's Transport ----------------------------------------------------------

    def send(self, chunks):
        assert not self.closed, "sent after the close"
        total = 0
        for chunk in chunks:
            total += len(chunk)
        for data in split(b"".join([bytes(chunk) for chunk in chunks])):
            if self._unread is None:
                self._received(data)
            else:
                self._unread.append(data)
        if self._unread is not None:
            most = self.world.broker.options.outbox_bytes
            if self.unread() >= most:
                behind = self.unread() - len(self._unread[0]) if self._first_counts_not else most
                self.conn.pause_writing(spare=max(0, most - behind))
        return total

    def close(self, abort, told):
        assert not self.closed, "closed twice"
        self.closed = True
        self.aborted = abort

    def pause_reading(self):
        self.held = True

    def resume_reading(self):
        self.held = False

    def certificate(self):
        return self.certified

    # -- raw ------------------------------------------------------------------------------

    def feed(self, data):
        """Send bytes as they are."""
        assert not self.closed, "the broker has closed this connection"
        if self.held:
            self._early += data
            return
        data = self._early + data
        self._early = b""
        self.conn.take(data)
        self.world.settle()

    def say(self, kind, **fields):
        """Send a packet."""
        fields["type"] = kind
        self.feed(encode(fields, self.version))

    def _received(self, data):
        packet = decode(data, self.version)
        assert len(data) <= self.max_packet, "packet of %d bytes" % len(data)
        kind = packet["type"]
        if kind == PUBLISH and packet["qos"]:
            packet_id = packet["packet_id"]
            assert packet_id not in self.unacked, "packet identifier %d is in use" % packet_id
            self.unacked[packet_id] = packet["qos"]
            assert len(self.unacked) <= self.receive_maximum, "receive maximum exceeded"
        self.inbox.append(packet)

    def stop_reading(self, first_counts=True):
        """From now on what the broker sends piles up in front of the client; whether the first packet counts, or is under way."""
        self._unread = []
        self._first_counts_not = not first_counts

    def unread(self):
        """Bytes that wait while the client does not read."""
        return sum([len(data) for data in self._unread or ()])

    def go_on_reading(self):
        waiting = self._unread or []
        self._unread = None
        for data in waiting:
            self._received(data)
        if not self.closed:
            self.conn.resume_writing()
            self.world.settle()

    def lose(self):
        """The network fails."""
        if not self.closed:
            self.conn.lost()
            self.world.see_off()

    # -- receiving ------------------------------------------------------------------------

    def expect(self, kind, **fields):
        """The next packet, which must be of this type and have these fields."""
        assert self.inbox, "nothing received"
        packet = self.inbox.pop(0)
        assert packet["type"] == kind, packet
        for name in fields:
            assert packet[name] == fields[name], "%s: %r" % (name, packet)
        return packet

    def expect_nothing(self):
        assert not self.inbox, self.inbox
        assert not self.closed, "closed by the broker"

    def expect_close(self, code=None):
        """The broker has closed; to MQTT 5 clients it has said why, with this reason code."""
        if code is not None and self.version == 5:
            self.expect(DISCONNECT, code=code)
        assert not self.inbox, self.inbox
        assert self.closed, "not closed"

    def expect_message(self, topic, payload=b"", qos=0, retain=False, dup=False, **fields):
        """The next packet, a PUBLISH that is acknowledged if need be."""
        packet = self.expect(
            PUBLISH, topic=_bytes(topic), payload=_bytes(payload), qos=qos, retain=retain, dup=dup, **fields
        )
        self.ack(packet)
        return packet

    def messages(self, acknowledge=True):
        """All PUBLISH packets received, acknowledged, until no more come."""
        found = []
        while self.inbox:
            packet = self.expect(PUBLISH)
            found.append(packet)
            if acknowledge:
                self.ack(packet)
        return found

    def payloads(self, acknowledge=True):
        return [packet["payload"] for packet in self.messages(acknowledge)]

    def ack(self, packet):
        """Acknowledge a PUBLISH, in four steps when it is QoS 2."""
        if packet["qos"] == 1:
            self.puback(packet)
        elif packet["qos"] == 2:
            self.pubrec(packet)
            for i in range(len(self.inbox)):
                if self.inbox[i]["type"] == PUBREL:
                    assert self.inbox.pop(i)["packet_id"] == packet["packet_id"]
                    break
            else:
                raise AssertionError("no PUBREL")
            self.pubcomp(packet)

    def puback(self, packet, code=0):
        del self.unacked[packet["packet_id"]]
        self.say(PUBACK, packet_id=packet["packet_id"], code=code)

    def pubrec(self, packet, code=0):
        if code >= 0x80:
            del self.unacked[packet["packet_id"]]
        self.say(PUBREC, packet_id=packet["packet_id"], code=code)

    def pubcomp(self, packet):
        self.unacked.pop(packet["packet_id"], None)
        self.say(PUBCOMP, packet_id=packet["packet_id"])

    # -- what clients do -------------------------------------------------------------------

    def connect(self, client_id="c", clean_start=True, keep_alive=0, properties=None, **fields):
        """Send CONNECT and take the CONNACK, if one comes, to `connack`."""
        properties = properties or {}
        self.max_packet = properties.get(MAXIMUM_PACKET_SIZE, self.max_packet)
        self.receive_maximum = properties.get(RECEIVE_MAXIMUM, self.receive_maximum)
        self.say(
            CONNECT, client_id=_bytes(client_id), clean_start=clean_start, keep_alive=keep_alive,
            properties=properties, **fields
        )  # fmt: skip
        if self.inbox and self.inbox[0]["type"] == CONNACK:
            self.connack = self.inbox.pop(0)

    def next_id(self):
        self.packet_id += 1
        return self.packet_id

    def subscribe(self, topic_filter, qos=0, options=0, identifier=0, code=None):
        """Subscribe to one filter; `code` is the answer expected, the QoS asked for unless given; see `refusal`."""
        packet_id = self.next_id()
        if code is None or self.version == 3 and code > 2:
            code = qos
        properties = {SUBSCRIPTION_IDENTIFIER: identifier} if identifier else {}
        filters = [(_bytes(topic_filter), qos | options)]
        self.say(SUBSCRIBE, packet_id=packet_id, filters=filters, properties=properties)
        self.expect(SUBACK, packet_id=packet_id, codes=bytes((code,)))

    def unsubscribe(self, topic_filter, code=0):
        packet_id = self.next_id()
        self.say(UNSUBSCRIBE, packet_id=packet_id, filters=[_bytes(topic_filter)])
        self.expect(UNSUBACK, packet_id=packet_id, codes=bytes((code,)) if self.version == 5 else b"")

    def send_publish(self, topic, payload=b"", qos=0, packet_id=0, **fields):
        """Send a PUBLISH and leave the rest to the test; returns its packet identifier."""
        if qos and not packet_id:
            packet_id = self.next_id()
        self.say(PUBLISH, topic=_bytes(topic), payload=_bytes(payload), qos=qos, packet_id=packet_id, **fields)
        return packet_id

    def publish(self, topic, payload=b"", qos=0, code=0, **fields):
        """Publish and go through the acknowledgements, whose reason code must be `code`."""
        packet_id = self.send_publish(topic, payload, qos, **fields)
        if self.version != 5:
            code = 0
        if qos == 1:
            self.take(PUBACK, packet_id, code)
        elif qos == 2:
            self.take(PUBREC, packet_id, code)
            if code < 0x80:
                self.say(PUBREL, packet_id=packet_id)
                self.take(PUBCOMP, packet_id, 0)

    def take(self, kind, packet_id, code):
        """Take an acknowledgement out of the inbox, wherever it stands there."""
        for i in range(len(self.inbox)):
            packet = self.inbox[i]
            if packet["type"] == kind and packet["packet_id"] == packet_id:
                assert packet["code"] == code, packet
                del self.inbox[i]
                return
        raise AssertionError("no packet type %d for %d in %r" % (kind, packet_id, self.inbox))

    def ping(self):
        self.say(PINGREQ)
        self.expect(PINGRESP)

    def disconnect(self, code=0, properties=None):
        self.say(DISCONNECT, code=code, properties=properties or {})
        assert self.closed
        self.world.see_off()
