"""The clients of the crash story that send and receive, see crash_story."""

import time

from port.core.wire.codec import (
    CONNACK,
    CONNECT,
    DISCONNECT,
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
)
from port.core.wire.codec import packet as whole
from port.core.wire.properties import MESSAGE_EXPIRY_INTERVAL, RECEIVE_MAXIMUM, SESSION_EXPIRY_INTERVAL, SUBSCRIPTION_IDENTIFIER
from port.core.protocol.client_packets import decode, encode

NEVER = 0xFFFFFFFF
HOUR = 3600  # s, which no story takes
SHORT = 1  # s
MARGIN = 0.05  # s between what two clocks of one machine say
KEPT = 60  # retained messages that do not change
OFF, UNKNOWN, ON = range(3)


class Device:
    """A client with a persistent session; subclasses say what it does."""

    receive_maximum = 0

    def __init__(self, story, client_id, version):
        self.story = story
        self.client_id = client_id
        self.version = version
        self.link = None  # a swarm.Client
        self.connected = False
        self.promised = False  # a CONNACK has come: from now on there is a session
        self.server_maximum = 0  # QoS 1 and 2 messages the broker takes at a time
        self.pongs = 0
        self.came = 0.0  # when and at which moment it has sent CONNECT
        self.came_moment = 0

    # -- the connection -----------------------------------------------------------------------

    def comes(self):
        """Whether it connects now."""
        return True

    def connect(self):
        self.lose()
        properties = {}
        if self.version == 5:
            properties[SESSION_EXPIRY_INTERVAL] = self.expiry()
            if self.receive_maximum:
                properties[RECEIVE_MAXIMUM] = self.receive_maximum
        packet = {"type": CONNECT, "version": self.version, "client_id": self.client_id, "clean_start": False, "keep_alive": 0,
                  "properties": properties, "will": self.will()}  # fmt: skip
        self.story.moment += 1
        self.came, self.came_moment = time.monotonic(), self.story.moment
        self.link = self.story.swarm.open(encode(packet, self.version))

    def expiry(self):
        """The Session Expiry Interval of the next CONNECT."""
        return NEVER

    def will(self):
        """Its will, or None."""
        return None

    def lose(self):
        """The network connection is gone, and what came and was not looked at."""
        if self.link is not None:
            self.drop(self.link)
        self.link = None
        self.connected = False

    def drop(self, link):
        """Close a connection without a word."""
        self.story.swarm.forget(link)
        link.abort()
        self.story.swarm.clients.remove(link)

    # -- packets ------------------------------------------------------------------------------

    def say(self, kind, **fields):
        fields["type"] = kind
        self.story.moment += 1
        self.story.swarm.send(self.link, encode(fields, self.version))

    def take(self, most):
        """Look at some of the packets that have come; how many."""
        count = 0
        while self.link is not None and self.link.packets and count < most:
            first, body = self.link.packets.pop(0)
            self.story.moment += 1
            packet = decode(whole(first, body), self.version)
            kind = packet["type"]
            if kind == CONNACK:
                self._accepted(packet)
            elif kind == PINGRESP:
                self.pongs += 1
            elif kind != DISCONNECT:
                self.handle(kind, packet)
            count += 1
        if self.link is not None and self.link.closed and not self.link.packets:
            if self.story.living:
                self.closed()
            self.lose()
        return count

    def _accepted(self, packet):
        story = self.story
        if story.may_refuse and packet["code"] in (3, 0x88):  # sessions cannot be stored
            self.refused()
            self.lose()
            return
        story.check(not packet["code"], "%s: refused, %r", self.client_id, packet)
        story.is_stored(self.came_moment)  # its CONNACK has waited for that
        self.present(packet["session_present"])
        self.promised = self.connected = True
        self.server_maximum = packet["properties"].get(RECEIVE_MAXIMUM, 65535)
        self.resume()

    def present(self, present):
        """CONNACK says whether there was a session."""
        self.story.check(present or not self.promised, "%s: its session was lost", self.client_id)

    def refused(self):
        """It was not let in."""

    def closed(self):
        """A broker that lives has closed the connection."""

    def resume(self):
        """CONNACK has come."""

    def handle(self, kind, packet):
        """Another packet has come."""
        self.story.check(False, "%s: unexpected %r", self.client_id, packet)

    def act(self):
        """Do something of its own accord."""

    # -- what must hold -----------------------------------------------------------------------

    def unfinished(self):
        """Empty, or what it still waits for."""
        return "" if self.connected else "%s is not there" % self.client_id

    def missing(self):
        """Empty, or what must come and has not, when nothing is unfinished."""
        return ""

    def look(self):
        """Check what has come, when nothing is missing."""


class Sent:
    """A message, and what became of it: `first`, `last` and `acknowledged` are moments, None while it was not.

    at, acknowledged_at  s, on the clock that nobody sets
    """

    def __init__(self, sender, number, topic, qos, payload, retain, expiry, first):
        self.sender, self.number, self.topic, self.qos = sender, number, topic, qos
        self.payload, self.retain, self.expiry, self.first = payload, retain, expiry, first
        self.last = 0
        self.at = time.monotonic()
        self.acknowledged = None
        self.acknowledged_at = 0.0

    def __repr__(self):
        return "message %d of %s to %s, QoS %d, %d bytes, expiry %s, moments %s to %s" % (
            self.number, self.sender, self.topic, self.qos, len(self.payload), self.expiry, self.first, self.acknowledged)


class Sender(Device):
    """Publishes numbered messages, and retained ones to topics of its own."""

    def __init__(self, story, client_id, version, window):
        super().__init__(story, client_id, version)
        self.window = window
        self.packet_id = 0
        self.number = 0
        self.unacknowledged = {}  # packet identifier -> Sent, in order
        self.unreleased = {}  # packet identifier -> Sent whose PUBREC has come
        self.retained: dict[int, list[Sent]] = {1: [], 2: []}  # by QoS

    def resume(self):
        for packet_id, sent in self.unacknowledged.items():
            self._publish(packet_id, sent, True)
        for packet_id in self.unreleased:
            self.say(PUBREL, packet_id=packet_id)

    def handle(self, kind, packet):
        story = self.story
        packet_id = packet["packet_id"]
        if kind in (PUBACK, PUBREC):
            story.check(packet["code"] in (0, 0x10), "%s: refused, %r", self.client_id, packet)
            sent = self.unacknowledged.pop(packet_id, None)
            if sent is not None:
                story.check(kind == (PUBREC if sent.qos == 2 else PUBACK), "%r: acknowledged by %d", sent, kind)
                sent.acknowledged, sent.acknowledged_at = story.moment, time.monotonic()
                story.acknowledgements += 1
                if sent.last == sent.first and not sent.retain:  # the first of its kind, and somebody receives it: it was stored
                    story.is_stored(sent.first)
                if kind == PUBREC:
                    self.unreleased[packet_id] = sent
            if kind == PUBREC:
                self.say(PUBREL, packet_id=packet_id)
        elif kind == PUBCOMP:
            self.unreleased.pop(packet_id, None)
        else:
            super().handle(kind, packet)

    def act(self):
        if self.connected:
            for _ in range(self.story.random.randrange(4)):
                if len(self.unacknowledged) + len(self.unreleased) < min(self.window, self.server_maximum):
                    self._new()

    def _new(self):
        pick = self.story.random
        self.number += 1
        qos = pick.choice((1, 2, 2))
        retain = pick.random() < 0.15
        size = pick.choice((0, 20, 20, 200, 2000, pick.randint(0, self.story.largest)))
        expiry = None
        if retain:
            # Not one topic for both: a QoS 1 message that is sent again comes after the QoS 2 messages that were taken in.
            topic = b"r/%s/%d" % (self.client_id, qos)
            payload = b"%d" % self.number if size else b""  # which removes it
        else:
            topic = b"m/%d/%s" % (pick.randrange(4), self.client_id)
            head = b"%d " % self.number
            if size <= len(head):
                topic += b"/%d" % self.number
                payload = b""
            else:
                payload = head + filler(self.number, size - len(head))
            if self.version == 5:
                expiry = pick.choice((None, None, None, HOUR, SHORT))
        while True:
            self.packet_id = self.packet_id % (2 * self.window) + 1  # identifiers are soon used again
            if self.packet_id not in self.unacknowledged and self.packet_id not in self.unreleased:
                break
        sent = Sent(self.client_id, self.number, topic, qos, payload, retain, expiry, self.story.moment + 1)
        self.unacknowledged[self.packet_id] = sent
        if retain:
            self.retained[qos].append(sent)
        else:
            self.story.messages[self.client_id, self.number] = sent
        self._publish(self.packet_id, sent, False)

    def _publish(self, packet_id, sent, dup):
        properties = {} if sent.expiry is None else {MESSAGE_EXPIRY_INTERVAL: sent.expiry}
        self.say(PUBLISH, topic=sent.topic, payload=sent.payload, qos=sent.qos, packet_id=packet_id, retain=sent.retain, dup=dup,
                 properties=properties)  # fmt: skip
        sent.last = self.story.moment

    def unfinished(self):
        if not self.connected or self.unacknowledged or self.unreleased:
            return "%s waits for %r, %r" % (self.client_id, self.unacknowledged, self.unreleased)
        return ""

    def possible(self, qos):
        """The payloads of which the retained message with this QoS must be one, b"" when there may be none."""
        found = [b""]
        for sent in self.retained[qos]:
            if sent.acknowledged is not None:
                found = []
            found.append(sent.payload)
        return found


def filler(number, size):
    """Bytes that tell messages apart."""
    return (b"%d;" % number * (size // 2 + 1))[:size]


class Receiver(Device):
    """Subscribes to some of its filters, and writes down what its application would see."""

    def __init__(self, story, client_id, version, filters, qos=2, receive_maximum=0, toggles=False, stays_away=False):
        super().__init__(story, client_id, version)
        self.qos = qos
        self.receive_maximum = receive_maximum
        self.toggles = toggles
        self.stays_away = stays_away
        self.states = {topic_filter: [(0, OFF)] for topic_filter in filters}  # (moment, state): what holds from then on
        self.wanted = {topic_filter: ON for topic_filter in filters}
        self.asked = {}  # packet identifier -> (filter, ON or OFF)
        self.packet_id = 0
        self.received = {}  # QoS 2 identifiers -> the message
        self.got = []  # (QoS, sender, number)

    def resume(self):
        self.asked = {}
        for topic_filter in self.states:
            self._ask(topic_filter)

    def _ask(self, topic_filter):
        wanted = self.wanted[topic_filter]
        if self.states[topic_filter][-1][1] == wanted or any(asked[0] == topic_filter for asked in self.asked.values()):
            return
        self.packet_id = self.packet_id % 1000 + 1
        self.asked[self.packet_id] = topic_filter, wanted
        self.states[topic_filter].append((self.story.moment + 1, UNKNOWN))
        if wanted == ON:
            self.say(SUBSCRIBE, packet_id=self.packet_id, filters=[(topic_filter, self.qos)])
        else:
            self.say(UNSUBSCRIBE, packet_id=self.packet_id, filters=[topic_filter])

    def act(self):
        if self.toggles and self.connected and self.story.random.random() < 0.1:
            topic_filter = self.story.random.choice(list(self.states))
            self.wanted[topic_filter] = ON + OFF - self.wanted[topic_filter]
            self._ask(topic_filter)

    def handle(self, kind, packet):
        packet_id = packet["packet_id"]
        if kind in (SUBACK, UNSUBACK):
            topic_filter, state = self.asked.pop(packet_id)
            self.story.check(kind == (SUBACK if state == ON else UNSUBACK), "%s: %r", self.client_id, packet)
            good = bytes((self.qos,)), b"\0", b"\x11", b""
            self.story.check(packet["codes"] in good, "%s: refused, %r", self.client_id, packet)
            self.states[topic_filter].append((self.story.moment, state))
            self._ask(topic_filter)
        elif kind == PUBLISH:
            qos = packet["qos"]
            message = self.identify(packet)
            if qos == 2:
                before = self.received.setdefault(packet_id, message)
                self.story.check(before == message, "%s: identifier %d is %r's, and %r comes under it",
                                 self.client_id, packet_id, before, message)
                if before is message:
                    self._get(qos, message)
                self.say(PUBREC, packet_id=packet_id)
            else:
                self._get(qos, message)
                if qos:
                    self.say(PUBACK, packet_id=packet_id)
        elif kind == PUBREL:
            self.received.pop(packet_id, None)
            self.say(PUBCOMP, packet_id=packet_id)
        else:
            super().handle(kind, packet)

    def _get(self, qos, message):
        self.got.append((qos, *message))
        self.story.deliveries += 1

    def identify(self, packet):
        """(sender, number) of a message, which must be what was sent."""
        levels = packet["topic"].split(b"/")
        number = int(packet["payload"].split(b" ")[0] or levels[3])
        sent = self.story.messages.get((levels[2], number))
        self.story.check(sent is not None and (sent.topic, sent.payload) == (packet["topic"], packet["payload"]),
                         "%s: %r comes as %s %r", self.client_id, sent, packet["topic"], packet["payload"][:40])
        self.story.check(packet["qos"] == min(sent.qos, self.qos), "%s: %r comes with QoS %d", self.client_id, sent, packet["qos"])
        self._check_expiry(sent, packet)
        return levels[2], number

    def _check_expiry(self, sent, packet):
        """As much is left as the time that has passed explains, and what is over does not come [MQTT-3.3.2-5] [MQTT-3.3.2-6]."""
        left = packet["properties"].get(MESSAGE_EXPIRY_INTERVAL)
        if sent.expiry is None or self.version != 5:
            self.story.check(left is None, "%s: %r comes with an expiry interval: %r", self.client_id, sent, left)
        else:
            least = sent.expiry - (time.monotonic() - sent.at) - MARGIN
            good = left is not None and max(least, 0) <= left <= sent.expiry
            self.story.check(good, "%s: of %r is left %r, not %r at least", self.client_id, sent, left, least)
        begun = packet["dup"] and packet["qos"] == 2  # then its delivery is completed
        if sent.expiry == SHORT and sent.acknowledged is not None and not begun:
            over = max(sent.acknowledged_at, self.story.listened) + SHORT + MARGIN
            self.story.check(self.came < over, "%s: %r comes %.2f s too late", self.client_id, sent, self.came - over)

    def subscribed(self, sent):
        """Whether the message must come (ON), must not (OFF), or may."""
        found = OFF
        for topic_filter, states in self.states.items():
            topic = topic_filter.removeprefix(b"$share/g/")[:-1]  # all of them end in #
            if sent.topic.startswith(topic):
                end = self.story.moment if sent.acknowledged is None else sent.acknowledged
                during = {state for i, (at, state) in enumerate(states)
                          if at <= end and (i + 1 == len(states) or states[i + 1][0] > sent.first)}
                found = max(found, during.pop() if len(during) == 1 else UNKNOWN)
        return min(found, UNKNOWN) if sent.expiry == SHORT else found

    def unfinished(self):
        if not self.connected or self.asked or self.received:
            return "%s waits for %r, %r" % (self.client_id, self.asked, self.received)
        return ""

    def missing(self):
        got = {entry[1:] for entry in self.got}
        for key, sent in self.story.messages.items():
            if key not in got and sent.acknowledged is not None and self.subscribed(sent) == ON:
                return "%s did not get %r; its subscriptions: %r" % (self.client_id, sent, self.states)
        return ""

    def look(self):
        """Nothing came twice, out of order, or without subscription."""
        story = self.story
        for entry in set(self.got):
            sent = story.messages[entry[1:]]
            story.check(self.subscribed(sent) != OFF, "%s: not subscribed to %r, %r", self.client_id, sent, self.states)
        first: dict = {}
        for _, sender, number in dict.fromkeys(self.got):
            sent = story.messages[sender, number]
            if sent.payload and self.subscribed(sent) == ON:  # else its second attempt may have been the first to count
                before = first.get((sent.topic, sent.qos), 0)
                story.check(number > before, "%s: %r comes after message %d", self.client_id, sent, before)
                first[sent.topic, sent.qos] = number
        story.once(self.client_id, self.got)


class Collector(Device):
    """Subscribes to the retained messages that do not change, and again when it has them all; it takes three at a time."""

    receive_maximum = 3

    def __init__(self, story, client_id):
        super().__init__(story, client_id, 5)
        self.asked = 0  # how often it has subscribed, and was answered
        self.answered = 0
        self.waits = True  # for the answer
        self.received = set()  # QoS 2 identifiers
        self.got = dict.fromkeys([b"k/%d" % number for number in range(KEPT)], 0)

    def resume(self):
        if self.waits:
            self.asked += 1
            self._ask()

    def _ask(self):
        properties = {SUBSCRIPTION_IDENTIFIER: 9}
        self.say(SUBSCRIBE, packet_id=1, filters=[(b"k/#", 2)], properties=properties)

    def act(self):
        if self.connected and not self.waits and min(self.got.values()) >= self.answered and self.story.random.random() < 0.2:
            self.waits = True
            self.asked += 1
            self._ask()

    def handle(self, kind, packet):
        packet_id = packet["packet_id"]
        if kind == SUBACK:
            self.story.check(packet["codes"] == b"\2", "%s: refused, %r", self.client_id, packet)
            self.waits = False
            self.answered += 1
        elif kind == PUBLISH:
            good = packet["qos"] == 2 and packet["retain"] and packet["properties"] == {SUBSCRIPTION_IDENTIFIER: [9]}
            self.story.check(good, "%s: %r", self.client_id, packet)
            if packet_id not in self.received:
                self.received.add(packet_id)
                self.got[packet["topic"]] += 1
            self.say(PUBREC, packet_id=packet_id)
        elif kind == PUBREL:
            self.received.discard(packet_id)
            self.say(PUBCOMP, packet_id=packet_id)
        else:
            super().handle(kind, packet)

    def unfinished(self):
        if not self.connected or self.waits or self.received or min(self.got.values()) < self.answered:
            return "%s waits, asked %d times, answered %d: %r" % (self.client_id, self.asked, self.answered, self.got)
        return ""

    def look(self):
        """Nothing came more often than it was asked for."""
        self.story.check(max(self.got.values()) <= self.asked, "%s: asked %d times, %r", self.client_id, self.asked, self.got)
