"""Clients that do all a client has to do, a broker that is killed at random moments, and what must hold all the same.

Senders publish at QoS 1 and 2 and send again what was not acknowledged; receivers acknowledge when they get round to it,
know which QoS 2 identifiers they have seen, subscribe and unsubscribe, and stay away for a while. All of them keep their
session state, as the standard wants it, through any number of brokers. What was said when is known: all happens in one
thread, and a `moment` is counted for each packet sent and received.

    no acknowledged message is lost            to anybody whose subscription was acknowledged before it was first sent, and
                                               who began to unsubscribe after its acknowledgement, if at all
    no QoS 2 message comes twice               to a client, or to the members of a shared subscription together
    nothing comes that nobody subscribes to    from UNSUBACK until the next SUBSCRIBE
    messages come in order                     those of a client, of one topic and QoS, at their first delivery
    the retained value is the one acknowledged last, or one that was sent after it
    a session that was promised is present
"""

import random
import signal
import subprocess
import time

from port.core.codec import (
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
)
from port.core.codec import packet as whole
from port.core.packets import decode, encode
from port.core.properties import RECEIVE_MAXIMUM, SESSION_EXPIRY_INTERVAL
from swarm import Swarm

NEVER = 0xFFFFFFFF
PATIENCE = 120.0  # s until everything has come to its end
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

    def connect(self):
        self.lose()
        properties = {}
        if self.version == 5:
            properties[SESSION_EXPIRY_INTERVAL] = NEVER
            if self.receive_maximum:
                properties[RECEIVE_MAXIMUM] = self.receive_maximum
        self.link = self.story.swarm.open(encode(
            {"type": CONNECT, "version": self.version, "client_id": self.client_id, "clean_start": False, "keep_alive": 0,
             "properties": properties}, self.version))

    def lose(self):
        """The network connection is gone, and what came and was not looked at."""
        if self.link is not None:
            self.story.swarm.forget(self.link)
            self.link.abort()
            self.story.swarm.clients.remove(self.link)
        self.link = None
        self.connected = False

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
                self.story.check(not packet["code"], "%s: refused, %r", self.client_id, packet)
                self.story.check(packet["session_present"] or not self.promised, "%s: its session was lost", self.client_id)
                self.promised = self.connected = True
                self.server_maximum = packet["properties"].get(RECEIVE_MAXIMUM, 65535)
                self.resume()
            elif kind == PINGRESP:
                self.pongs += 1
            elif kind != DISCONNECT:
                self.handle(kind, packet)
            count += 1
        if self.link is not None and self.link.closed and not self.link.packets:
            self.lose()
        return count

    def resume(self):
        """CONNACK has come."""
        raise NotImplementedError

    def handle(self, kind, packet):
        """Another packet has come."""
        raise NotImplementedError

    def act(self):
        """Do something of its own accord."""

    def unfinished(self):
        """Empty, or what it still waits for."""
        raise NotImplementedError


class Sent:
    """A message, and what became of it: `first` and `acknowledged` are moments, None while it was not."""

    def __init__(self, sender, number, topic, qos, payload, retain, first):
        self.sender, self.number, self.topic, self.qos = sender, number, topic, qos
        self.payload, self.retain, self.first = payload, retain, first
        self.acknowledged = None

    def __repr__(self):
        return "message %d of %s to %s, QoS %d, %d bytes, moments %s to %s" % (
            self.number, self.sender, self.topic, self.qos, len(self.payload), self.first, self.acknowledged)


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
        packet_id = packet["packet_id"]
        if kind in (PUBACK, PUBREC):
            self.story.check(packet["code"] in (0, 0x10), "%s: refused, %r", self.client_id, packet)
            sent = self.unacknowledged.pop(packet_id, None)
            if sent is not None:
                self.story.check(kind == (PUBREC if sent.qos == 2 else PUBACK), "%r: acknowledged by %d", sent, kind)
                sent.acknowledged = self.story.moment
                self.story.acknowledgements += 1
                if kind == PUBREC:
                    self.unreleased[packet_id] = sent
            if kind == PUBREC:
                self.say(PUBREL, packet_id=packet_id)
        elif kind == PUBCOMP:
            self.unreleased.pop(packet_id, None)
        else:
            self.story.check(False, "%s: unexpected %r", self.client_id, packet)

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
        while True:
            self.packet_id = self.packet_id % (2 * self.window) + 1  # identifiers are soon used again
            if self.packet_id not in self.unacknowledged and self.packet_id not in self.unreleased:
                break
        sent = Sent(self.client_id, self.number, topic, qos, payload, retain, self.story.moment + 1)
        self.unacknowledged[self.packet_id] = sent
        if retain:
            self.retained[qos].append(sent)
        else:
            self.story.messages[self.client_id, self.number] = sent
        self._publish(self.packet_id, sent, False)

    def _publish(self, packet_id, sent, dup):
        self.say(PUBLISH, topic=sent.topic, payload=sent.payload, qos=sent.qos, packet_id=packet_id, retain=sent.retain, dup=dup)

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
                    self.got.append((2, *message))
                self.say(PUBREC, packet_id=packet_id)
            else:
                self.got.append((qos, *message))
                if qos:
                    self.say(PUBACK, packet_id=packet_id)
        elif kind == PUBREL:
            self.received.pop(packet_id, None)
            self.say(PUBCOMP, packet_id=packet_id)
        else:
            self.story.check(False, "%s: unexpected %r", self.client_id, packet)

    def identify(self, packet):
        """(sender, number) of a message, which must be what was sent."""
        levels = packet["topic"].split(b"/")
        number = int(packet["payload"].split(b" ")[0] or levels[3])
        sent = self.story.messages.get((levels[2], number))
        self.story.check(sent is not None and (sent.topic, sent.payload) == (packet["topic"], packet["payload"]),
                         "%s: %r comes as %s %r", self.client_id, sent, packet["topic"], packet["payload"][:40])
        self.story.check(packet["qos"] == min(sent.qos, self.qos), "%s: %r comes with QoS %d", self.client_id, sent, packet["qos"])
        return levels[2], number

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
        return found

    def unfinished(self):
        if not self.connected or self.asked or self.received:
            return "%s waits for %r, %r" % (self.client_id, self.asked, self.received)
        return ""


class Story:
    """A broker, its clients, and what has happened.

    start    start(listening) -> a ServerProcess, which may not listen yet if `listening` is False
    largest  bytes of a payload
    """

    def __init__(self, start, seed, largest=20000):
        self.start = start
        self.seed = seed
        self.largest = largest
        self.random = random.Random(seed)
        self.moment = 0
        self.acknowledgements = 0
        self.told = []
        self.messages = {}  # (sender, number) -> Sent
        self.swarm = None
        self.broker = None
        self.senders = [Sender(self, b"s%d" % i, version, window) for i, (version, window) in
                        enumerate(((5, 4), (4, 10), (5, 20), (4, 2)))]
        parts = [b"m/%d/#" % i for i in range(4)]
        self.group = [
            Receiver(self, b"member5", 5, [b"$share/g/m/#"], receive_maximum=10),
            Receiver(self, b"member4", 4, [b"$share/g/m/#"], stays_away=True),
        ]
        self.receivers = [
            Receiver(self, b"steady", 5, [b"m/#"], receive_maximum=5),
            Receiver(self, b"away", 4, [b"m/#"], stays_away=True),
            Receiver(self, b"away5", 5, [b"m/2/#", b"m/3/#"], stays_away=True, receive_maximum=30),
            Receiver(self, b"fickle", 5, parts, toggles=True),
            Receiver(self, b"once", 4, parts, qos=1, toggles=True),
        ]
        self.devices: list = [*self.senders, *self.group, *self.receivers]
        self.gone = set()

    def tell(self, text, *args):
        self.told.append("%6d %s" % (self.moment, text % args))

    def check(self, good, text, *args):
        """Fail with all that has happened unless `good`."""
        if not good:
            output = self.broker.output if self.broker is not None else ""
            raise AssertionError("%s\nseed %r\n%s\nthe broker: %s" % (
                text % args, self.seed, "\n".join(self.told[-60:]), output[-3000:]))

    # -- the broker ---------------------------------------------------------------------------

    def begin(self):
        """A broker for those who are there to connect to."""
        self.broker = self.start(True)
        self.tell("a broker listens")
        self.swarm = Swarm(self.broker.port)
        self.probe()

    def end(self, how):
        """Kill the broker as `how` says; clients may still see what it has sent."""
        broker = self.broker
        if how == "frozen":
            broker.signal(signal.SIGSTOP)
            self.run(self.random.uniform(0, 0.05))
        if how == "stop":
            broker.signal(signal.SIGTERM)
            broker.wait()
            self.check(broker.returncode == 0, "the broker ended with %r", broker.returncode)
        elif how == "stopping":
            broker.signal(signal.SIGTERM)
            time.sleep(self.random.uniform(0, 0.03))
        broker.kill()
        self.tell("the broker is gone: %s", how)
        if self.random.random() < 0.5:
            while self.swarm.step(0):
                pass
            for device in self.devices:
                device.take(1000)
            self.tell("clients have seen what it had sent")
        for device in self.devices:
            device.lose()
        self.swarm.__exit__()
        self.swarm = None
        self.check("Traceback" not in broker.output, "a traceback")
        broker.__exit__(None, None, None)

    def fail_to_start(self):
        """A broker that is killed before or while it restores."""
        broker = self.start(False)
        delay = self.random.uniform(0, 0.6)
        try:
            broker.wait(delay)
        except subprocess.TimeoutExpired:
            pass
        self.check(broker.returncode is None, "it ended by itself: %s", broker.output)
        broker.kill()
        self.tell("a broker was killed %d ms after its start", delay * 1000)
        broker.__exit__(None, None, None)

    # -- the clients --------------------------------------------------------------------------

    def pass_time(self, acting):
        """One step."""
        self.swarm.step(0.002)
        pick = self.random
        for device in self.devices:
            if device.client_id in self.gone:
                continue
            device.take(pick.choice((0, 1, 3, 10)) if acting else 1000)
            if device.link is None:
                if self.broker.returncode is None:
                    device.connect()
            elif acting:
                device.act()
                if pick.random() < 0.002:
                    self.tell("%s loses its connection", device.client_id)
                    device.lose()

    def run(self, seconds, acknowledgements=1 << 30):
        """Let clients do what they do, for a time or so many acknowledgements."""
        end = time.monotonic() + seconds
        last = self.acknowledgements + acknowledgements
        while time.monotonic() < end and self.acknowledgements < last:
            self.pass_time(True)

    def settle(self):
        """Everybody comes, and everything comes to its end; then look at what there is."""
        self.gone = set()
        end = time.monotonic() + PATIENCE
        while waiting := self.unfinished():
            self.pass_time(False)
            self.check(time.monotonic() < end, "it has no end: %s", waiting)
        for device in self.devices:  # whatever else is on its way comes before the answer
            device.pongs = 0
            device.say(PINGREQ)
        while not all(device.pongs for device in self.devices):
            self.pass_time(False)
            self.check(time.monotonic() < end, "no answer to PINGREQ")
        self.look()

    def unfinished(self):
        for device in self.devices:
            if waiting := device.unfinished():
                return waiting
        return self.missing()

    def missing(self):
        """Empty, or the first message that must come and has not."""
        for receiver in self.receivers:
            got = {entry[1:] for entry in receiver.got}
            for key, sent in self.messages.items():
                if key not in got and sent.acknowledged is not None and receiver.subscribed(sent) == ON:
                    return "%s did not get %r; its subscriptions: %r" % (receiver.client_id, sent, receiver.states)
        got = {entry[1:] for member in self.group for entry in member.got}
        for key, sent in self.messages.items():
            if key not in got and sent.acknowledged is not None and max(member.subscribed(sent) for member in self.group) == ON:
                return "no member got %r" % sent
        return ""

    def look(self):
        """Nothing came twice, out of order, or without subscription; retained values are right."""
        for receiver in self.receivers:
            for entry in set(receiver.got):
                sent = self.messages[entry[1:]]
                self.check(receiver.subscribed(sent) != OFF, "%s: not subscribed to %r, %r", receiver.client_id, sent, receiver.states)
            first: dict = {}
            for _, sender, number in dict.fromkeys(receiver.got):
                sent = self.messages[sender, number]
                if sent.payload and receiver.subscribed(sent) == ON:  # else its second attempt may have been the first to count
                    before = first.get((sent.topic, sent.qos), 0)
                    self.check(number > before, "%s: %r comes after message %d", receiver.client_id, sent, before)
                    first[sent.topic, sent.qos] = number
            self.once(receiver.client_id, receiver.got)
        self.once(b"the shared subscription", [entry for member in self.group for entry in member.got])
        self.probe()

    def once(self, who, got):
        twice = [entry for entry in got if entry[0] == 2]
        for entry in set(twice):
            self.check(twice.count(entry) == 1, "%s: %r came twice", who, self.messages[entry[1:]])

    def probe(self):
        """Look at the retained messages."""
        possible = {b"r/%s/%d" % (sender.client_id, qos): sender.possible(qos) for sender in self.senders for qos in (1, 2)}
        client = self.swarm.connect(b"probe", 4)
        self.swarm.send(client, encode({"type": SUBSCRIBE, "packet_id": 1, "filters": [(b"r/#", 0)]}, 4) + b"\xc0\0")
        self.swarm.wait(lambda: (0xD0, b"") in client.packets or client.closed)
        packets = [decode(whole(first, body), 4) for first, body in client.take()]
        found = {packet["topic"]: packet["payload"] for packet in packets if packet["type"] == PUBLISH}
        self.swarm.send(client, b"\xe0\0")
        self.swarm.forget(client)
        client.abort()
        self.swarm.clients.remove(client)
        for topic, payloads in possible.items():
            self.check(found.get(topic, b"") in payloads, "retained %s: %r, not one of %r", topic, found.get(topic), payloads)

    # -- all of it ----------------------------------------------------------------------------

    def play(self, rounds, ways, settle_each=5):
        """So many brokers, each ended in one of these ways; a digest of what happened."""
        self.begin()
        try:
            self.settle()  # everybody has subscribed
            for number in range(rounds):
                how = self.random.choice(ways)
                self.gone = {device.client_id for device in self.receivers + self.group
                             if device.stays_away and self.random.random() < 0.6}
                for device in self.devices:
                    if device.client_id in self.gone:
                        device.lose()
                self.tell("round %d: %s, without %r", number, how, sorted(self.gone))
                if self.random.random() < 0.5:
                    self.run(self.random.uniform(0, 0.25))
                else:
                    self.run(5, self.random.randrange(1, 60))
                self.end("now" if how in ("twice", "starting") else how)
                if how == "starting":
                    self.fail_to_start()
                elif how == "twice":
                    self.begin()
                    self.run(self.random.uniform(0, 0.05))
                    self.end("now")
                self.begin()
                if number % settle_each == settle_each - 1 or number == rounds - 1:
                    self.settle()
            for device in self.devices:
                device.lose()
        finally:
            if self.swarm is not None:
                self.swarm.__exit__()
            if self.broker.returncode is None:
                self.broker.kill()
        count = len(self.messages)
        return "%d messages, %d acknowledgements, %d deliveries" % (
            count, self.acknowledgements, sum(len(receiver.got) for receiver in self.receivers + self.group))
