"""The clients of the crash story that leave and come back: wills, and sessions that end. See crash_story.

What a client knows of its DISCONNECT: the broker has handled it once it has closed the connection; that outlives the broker
if something was acknowledged that was sent later (Story.is_stored). Before that all may be as if it had not been sent.
"""

import time

from crash_devices import HOUR, MARGIN, NEVER, OFF, SHORT, UNKNOWN, Device, Receiver
from port.core.wire.codec import DISCONNECT
from port.core.wire.properties import SESSION_EXPIRY_INTERVAL, WILL_DELAY_INTERVAL

BRIEF = 2  # s that some sessions outlive their connections
NORMAL, WITH_WILL = 0, 4  # reason codes of DISCONNECT
LOST, TAKEN_BACK, REFUSED = range(3)


class Will:
    """The will of one connection.

    accepted  CONNACK has come
    end       LOST: the connection was lost, or ended with the will; TAKEN_BACK: with DISCONNECT 0x00; REFUSED: there was none;
              None while it is open
    handled   what `Story.now` said when the broker had certainly handled the DISCONNECT
    waited    nobody comes back before it is there
    """

    def __init__(self, number, delay):
        self.number, self.delay = number, delay
        self.accepted = False
        self.end = None
        self.handled = None
        self.waited = False

    def __repr__(self):
        return "will %d, delay %d, accepted %r, end %r, handled %r, waited %r" % (
            self.number, self.delay, self.accepted, self.end, self.handled, self.waited)


class Willed(Device):
    """Has another will with each connection, which it loses, ends, or takes over."""

    def __init__(self, story, client_id, watcher):
        super().__init__(story, client_id, 5)
        self.watcher = watcher
        self.wills = []
        self.left = None  # the connection that is taken over
        self.leaving = False  # DISCONNECT was sent

    def will(self):
        found = Will(len(self.wills), self.story.random.choice((0, 0, SHORT, HOUR)))
        self.wills.append(found)
        return {"topic": b"w/" + self.client_id, "payload": b"%d" % found.number, "qos": 2,
                "properties": {WILL_DELAY_INTERVAL: found.delay}}  # fmt: skip

    def comes(self):
        return not self.wills or not self.wills[-1].waited or self._came(self.wills[-1])

    def _came(self, will):
        return self.watcher.times(self.client_id, will.number)

    def lose(self):
        if self.link is not None and self.wills[-1].end is None:
            self.wills[-1].end = LOST
        self._drop_left()
        self.leaving = False
        super().lose()

    def _drop_left(self):
        if self.left is not None:
            self.drop(self.left)
            self.left = None

    def refused(self):
        self.wills[-1].end = REFUSED

    def closed(self):
        if self.leaving:
            self.wills[-1].handled = self.story.now()

    def resume(self):
        self.wills[-1].accepted = True
        self._drop_left()

    def act(self):
        pick = self.story.random
        if not self.connected or pick.random() > 0.06:
            return
        how = pick.choice(("lose", "lose", "take over", "with will", "leave", "leave"))
        will = self.wills[-1]
        if how != "leave":
            will.end = LOST
        if how in ("lose", "with will") and will.delay == SHORT:
            will.waited = pick.random() < 0.5
        if how == "lose":
            self.lose()
        elif how == "take over":
            self.link, left = None, self.link
            self.connect()
            self.left = left
        else:
            self.say(DISCONNECT, code=WITH_WILL if how == "with will" else NORMAL)
            self.connected = False
            if how == "leave":
                will.end = TAKEN_BACK
                self.leaving = True
            if pick.random() < 0.4:
                self.lose()

    def _must_come(self, will):
        return will.accepted and will.end == LOST and (not will.delay or will.waited)

    def _must_not_come(self, will):
        if will.end is None:
            return will.accepted
        return will.delay == HOUR or will.end == REFUSED or will.end == TAKEN_BACK and self.story.was_stored(will.handled)

    def missing(self):
        for will in self.wills:
            if self._must_come(will) and not self._came(will):
                return "%s: %r did not come" % (self.client_id, will)
        return ""

    def look(self):
        for will in self.wills:
            count = self._came(will)
            self.story.check(count <= (not self._must_not_come(will)), "%s: %r came %d times", self.client_id, will, count)


class Watcher(Receiver):
    """Is told of all wills."""

    def __init__(self, story, client_id):
        super().__init__(story, client_id, 5, [b"w/#"])

    def identify(self, packet):
        good = packet["qos"] == 2 and not packet["retain"] and packet["topic"].startswith(b"w/")
        self.story.check(good, "%s: %r", self.client_id, packet)
        return packet["topic"][2:], int(packet["payload"])

    def times(self, client_id, number):
        """How often a will has come."""
        return self.got.count((2, client_id, number))

    def missing(self):
        return ""

    def look(self):
        """It is looked at by those whose wills they are."""


class Absence:
    """What is known of the session of a client that is away, or whose CONNECT is not answered.

    expiry    Session Expiry Interval of the last connection; `left` the one given in DISCONNECT, or None; `others` those of
              attempts to come back of which nothing is known
    since     when it began at the earliest
    handled   what Story.now said, and the time, when the broker had certainly handled the DISCONNECT; or None
    life      the broker that saw the last of it
    vague     the session may be another one, in which there is nothing
    """

    def __init__(self, story, expiry, left, handled):
        self._story = story
        self.expiry, self.left, self.handled = expiry, left, handled
        self.others: set[int] = set()
        self.since = story.ended or time.monotonic()
        self.life = story.life
        self.vague = False

    def _expiries(self):
        if self.left is None:
            return self.others | {self.expiry}
        if self.handled is not None and (self.handled[0][0] == self._story.life or self._story.was_stored(self.handled[0])):
            return self.others | {self.left}
        return self.others | {self.expiry, self.left}

    def may_stay(self, came):
        """Whether a client that has come then may find its session."""
        story = self._story
        noticed = story.listened if self.life != story.life else came if self.handled is None else self.handled[1]
        return any(expiry and came < noticed + expiry + MARGIN for expiry in self._expiries())

    def may_end(self):
        """Whether a client may be told now that it has none."""
        return any(time.monotonic() > self.since + expiry - MARGIN for expiry in self._expiries())

    def tried(self, expiry):
        """A CONNECT was not answered: it may have been handled."""
        self.vague = self.vague or self.may_end()
        self.others.add(expiry)
        self.handled = self.handled if self.handled and self.handled[0][0] != self._story.life else None
        self.life = self._story.life

    def __repr__(self):
        return "away for %.2f s from broker %d, expiry %d, then %r, %r, handled %r, vague %r" % (
            time.monotonic() - self.since, self.life, self.expiry, self.left, self.others, self.handled, self.vague)


class Leaver(Receiver):
    """Has a session that ends after a while, or gives it another Session Expiry Interval when it leaves."""

    def __init__(self, story, client_id, filters):
        super().__init__(story, client_id, 5, filters)
        self.current = NEVER  # the interval of its connection, and the one it leaves with
        self.leaving = None
        self.handled = None
        self.absence = None
        self.back = 0.0

    def expiry(self):
        self.current = self.story.random.choice((NEVER, BRIEF))
        return self.current

    def comes(self):
        if self.absence is None:
            return True
        return time.monotonic() > max(self.absence.since, self.story.listened if self.back > 1 else 0) + self.back

    def lose(self):
        if self.connected or self.leaving is not None:
            self.absence = Absence(self.story, self.current, self.leaving, self.handled)
            self.back = self.story.random.choice((0, 0, 0, 0.3, 0.9, BRIEF + 0.2))
        elif self.link is not None and self.absence is not None:
            self.absence.tried(self.current)
        self.leaving = self.handled = None
        super().lose()

    def closed(self):
        if self.leaving is not None:
            self.handled = self.story.now(), time.monotonic()

    def take(self, most):
        if self.leaving is not None:  # what comes now is not looked at
            self.link.packets.clear()
        return super().take(most)

    def act(self):
        pick = self.story.random
        if not self.connected or self.asked or pick.random() > 0.06:
            return
        how = pick.choice((None, NEVER, 0, 0, SHORT, HOUR))
        if how is None:
            self.lose()
            return
        properties = {} if how == NEVER else {SESSION_EXPIRY_INTERVAL: how}
        self.say(DISCONNECT, code=NORMAL, properties=properties)
        self.leaving = self.current if how == NEVER else how
        self.connected = False
        if pick.random() < 0.3:
            self.lose()

    def present(self, present):
        absence, self.absence = self.absence, None
        if absence is None:
            return
        good = absence.may_stay(self.came) if present else absence.may_end()
        self.story.check(good, "%s: session present is %r; %r", self.client_id, present, absence)
        self.story.returns[present] += 1
        if not present or absence.vague:
            self.look()
            state = UNKNOWN if present else OFF
            self.states = {topic_filter: [(0, state)] for topic_filter in self.states}
            self.received, self.got = {}, []
