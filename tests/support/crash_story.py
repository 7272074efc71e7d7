"""Clients that do all a client has to do, a broker that is killed at random moments, and what must hold all the same.

Senders publish at QoS 1 and 2 and send again what was not acknowledged; receivers acknowledge when they get round to it,
know which QoS 2 identifiers they have seen, subscribe and unsubscribe, and stay away for a while (crash_devices); others
leave with wills and with sessions that end (crash_goodbyes). All of them keep their session state, as the standard wants it,
through any number of brokers. What was said when is known: all happens in one thread, and a `moment` is counted for each
packet sent and received.

    no acknowledged message is lost            to anybody whose subscription was acknowledged before it was first sent, and
                                               who began to unsubscribe after its acknowledgement, if at all
    no QoS 2 message comes twice               to a client, or to the members of a shared subscription together
    nothing comes that nobody subscribes to    from UNSUBACK until the next SUBSCRIBE
    messages come in order                     those of a client, of one topic and QoS, at their first delivery
    the retained value is the one acknowledged last, or one that was sent after it
    a subscription brings all retained messages    once, with its identifier, however long the client takes
    a session that was promised is present     until it ends; then nothing of it is there
    what is left of a message's expiry         is not more than there was, not less than the time that has passed explains
    a will comes, once                         when its connection was lost and its delay has passed; not when its client was
                                               back before, or has taken it back
"""

import random
import signal
import subprocess
import time

from crash_devices import KEPT, ON, Collector, Receiver, Sender
from crash_goodbyes import Leaver, Watcher, Willed
from port.core.wire.codec import PINGREQ, PUBLISH, PUBREL, SUBSCRIBE
from port.core.wire.codec import packet as whole
from port.core.protocol.client_packets import decode, encode
from swarm import Swarm

PATIENCE = 120.0  # s until everything has come to its end


class Story:
    """A broker, its clients, and what has happened.

    start       start(listening) -> a ServerProcess, which may not listen yet if `listening` is False
    largest     bytes of a payload
    meddle      called while the broker runs, meddle(story, True), and between two brokers, meddle(story, False)
    may_refuse  a client may be told that its session cannot be stored

    life        number of the broker; `living` while it has not been ended
    listened    when it listened for certain; `ended` when its end began, 0 while it has not (s, on the clock nobody sets)
    """

    def __init__(self, start, seed, largest=20000, meddle=lambda story, running: None, may_refuse=False):
        self.start = start
        self.seed = seed
        self.largest = largest
        self.meddle = meddle
        self.may_refuse = may_refuse
        self.life = 0
        self.living = False
        self.listened = self.ended = 0.0
        self.deliveries = 0
        self.returns = [0, 0]  # of clients whose session was gone, and there
        self._stored = {}  # life -> moment
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
        watcher = Watcher(self, b"watcher")
        self.willed = [Willed(self, b"willed%d" % i, watcher) for i in range(3)]
        leavers = [Leaver(self, b"leaver%d" % i, parts[i : i + 2]) for i in range(2)]
        self.devices: list = [
            *self.senders, *self.group, *self.receivers, Collector(self, b"collector"), watcher, *self.willed, *leavers,
        ]  # fmt: skip
        self.gone = set()

    # -- what is known ------------------------------------------------------------------------

    def now(self):
        """This moment of this broker, for `was_stored`."""
        return self.life, self.moment

    def is_stored(self, moment):
        """What was sent at this moment was acknowledged: with it all is in the store that the broker had done before."""
        self._stored[self.life] = max(self._stored.get(self.life, 0), moment)

    def was_stored(self, now):
        """Whether what was done at a moment that `now` has told, or None, is in the store for certain."""
        return now is not None and self._stored.get(now[0], 0) > now[1]

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
        self.life += 1
        self.living = True
        self.listened, self.ended = time.monotonic(), 0.0
        self.tell("broker %d listens", self.life)
        self.swarm = Swarm(self.broker.port)
        self.probe()

    def end(self, how):
        """Kill the broker as `how` says; clients may still see what it has sent."""
        broker = self.broker
        self.living = False
        self.ended = time.monotonic()
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
        self.broker = None

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
                if self.broker.returncode is None and device.comes():
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
            if time.monotonic() > end:
                self.check(False, "it has no end: %s; dropped %d", waiting, self.swarm.figure(
                    self.swarm.connect(b"figures"), b"messages/publish/dropped"))
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
        """Empty, or the first thing that must come and has not."""
        for device in self.devices:
            if device not in self.group and (waiting := device.missing()):
                return waiting
        got = {entry[1:] for member in self.group for entry in member.got}
        for key, sent in self.messages.items():
            if key not in got and sent.acknowledged is not None and max(member.subscribed(sent) for member in self.group) == ON:
                return "no member got %r" % sent
        return ""

    def look(self):
        """What came was right, and so are retained values."""
        for device in self.devices:
            if device not in self.group:
                device.look()
        self.once(b"the shared subscription", [entry for member in self.group for entry in member.got])
        self.probe()

    def once(self, who, got):
        twice = [entry for entry in got if entry[0] == 2]
        for entry in set(twice):
            self.check(twice.count(entry) == 1, "%s: %r came twice", who, self.messages[entry[1:]])

    def fill(self):
        """Publish the retained messages that do not change."""
        client = self.swarm.connect(b"filler", 4)
        for number in range(KEPT):
            topic = b"k/%d" % number
            packet = {"type": PUBLISH, "topic": topic, "payload": b"x", "qos": 2, "packet_id": 1, "retain": True, "dup": False}
            self.swarm.exchange(client, encode(packet, 4))
            self.swarm.exchange(client, encode({"type": PUBREL, "packet_id": 1}, 4))
        self.swarm.leave(client)

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
            self.fill()
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
                self.meddle(self, True)
                self.end("now" if how in ("twice", "starting") else how)
                self.meddle(self, False)
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
            if self.broker is not None:
                self.broker.kill()
        return "%d messages, %d acknowledgements, %d deliveries, %d wills, sessions gone %d times, there %d times" % (
            len(self.messages), self.acknowledgements, self.deliveries, sum(len(device.wills) for device in self.willed),
            *self.returns)  # fmt: skip
