"""Brokers of both runtimes under a clock of the day that is set while they run, and between two runs."""

import json
import time

import pytest

from clock import YEAR, Clock
from port.core.wire.codec import CONNACK, CONNECT, DISCONNECT, PINGREQ, PINGRESP, PUBACK, PUBLISH, SUBACK, SUBSCRIBE
from port.core.wire.codec import packet as whole
from port.core.wire.properties import MESSAGE_EXPIRY_INTERVAL, SESSION_EXPIRY_INTERVAL, WILL_DELAY_INTERVAL
from port.core.protocol.client_packets import decode, encode
from server_process import ServerProcess
from swarm import Swarm

SOON, HOUR, DAY = 600, 3600, 86400  # s


class Talk:
    """A client that says what it is told and takes what comes."""

    def __init__(self, swarm, client_id, expiry=0, **fields):
        self.swarm = swarm
        self.client = swarm.open(encode({
            "type": CONNECT, "version": 5, "client_id": client_id, "clean_start": not expiry, "keep_alive": 0,
            "properties": {SESSION_EXPIRY_INTERVAL: expiry}, **fields}, 5))  # fmt: skip
        self.connack = self.until(CONNACK)[-1]

    def until(self, kind):
        """All packets up to one of this kind."""
        found: "list[dict]" = []
        while not found or found[-1]["type"] != kind:
            self.swarm.wait(lambda: self.client.packets)
            first, body = self.client.packets.pop(0)
            found.append(decode(whole(first, body), 5))
        return found

    def say(self, answer, **fields):
        self.swarm.send(self.client, encode(fields, 5))
        return self.until(answer) if answer else []

    def leave(self, **fields):
        self.say(0, type=DISCONNECT, **fields)
        self.swarm.leave(self.client)


def publish(talk, topic, payload, expiry, retain):
    properties = {MESSAGE_EXPIRY_INTERVAL: expiry}
    talk.say(PUBACK, type=PUBLISH, topic=topic, payload=payload, qos=1, packet_id=9, retain=retain, properties=properties)


def fill(port):
    """A session for a day with a message for a day, two retained messages, and a will that comes in an hour."""
    with Swarm(port) as swarm:
        will = {"topic": b"r/will", "payload": b"will", "retain": True, "properties": {WILL_DELAY_INTERVAL: HOUR}}
        away = Talk(swarm, b"away", DAY, will=will)
        away.say(SUBACK, type=SUBSCRIBE, packet_id=1, filters=[(b"a", 1)])
        away.leave(code=4)
        sender = Talk(swarm, b"sender")
        publish(sender, b"a", b"queued", DAY, False)
        publish(sender, b"r/day", b"day", DAY, True)
        publish(sender, b"r/soon", b"soon", SOON, True)
        sender.leave()


def left(port):
    """What is left of the expiry of the retained messages, s, by payload; the will has none."""
    with Swarm(port) as swarm:
        probe = Talk(swarm, b"probe")
        probe.say(SUBACK, type=SUBSCRIBE, packet_id=1, filters=[(b"r/#", 0)])
        packets = probe.say(PINGRESP, type=PINGREQ)[:-1]
        probe.leave()
        return {packet["payload"]: packet["properties"].get(MESSAGE_EXPIRY_INTERVAL) for packet in packets}


def there(port):
    """The session is, with its message."""
    with Swarm(port) as swarm:
        away = Talk(swarm, b"away", DAY)
        assert away.connack["session_present"]
        assert [packet["payload"] for packet in away.say(PINGRESP, type=PINGREQ)[:-1]] == [b"queued"]
        swarm.leave(away.client)


class Place:
    """A store, the clock over it, and how its broker ends."""

    def __init__(self, runtime, durability, how, folder, clock):
        self.runtime, self.durability, self.how, self.clock = runtime, durability, how, clock
        self.configuration = folder / ("broker.toml" if runtime == "cpython" else "broker.json")
        if runtime == "cpython":
            self.configuration.write_text('[store]\ntype = "sqlite"\nfile = "x.db"\ndurability = "%s"\n' % durability)
        else:
            store = {"type": "flash", "folder": "kept", "sessions": True, "durability": durability, "interval": 1}
            self.configuration.write_text(json.dumps({"store": store}))

    def broker(self):
        return ServerProcess(self.runtime, "--config", str(self.configuration), variables=self.clock.variables)

    def end(self, broker):
        """When all is stored, also where clients do not wait for that, and the broker has seen its clock."""
        time.sleep(1.5 if self.durability == "batch" else 2.5)
        assert not broker.trouble()
        if self.how == "kill":
            broker.kill()


# libfaketime does not survive that MicroPython leaves it by a jump when SIGINT comes.
@pytest.fixture(params=["cpython batch kill", "cpython none stop", "micropython batch kill", "micropython none kill"])
def place(request, tool, tmp_path):
    runtime, durability, how = request.param.split()
    if runtime == "micropython":
        tool(runtime)
    return Place(runtime, durability, how, tmp_path, Clock(tool("faketime"), tmp_path))


@pytest.mark.parametrize("jump", [-YEAR, 3 * YEAR, 5 * YEAR])
def test_a_clock_that_is_set_while_the_broker_runs(place, jump):
    with place.broker() as broker:
        fill(broker.port)
        place.clock.set(jump)
        place.end(broker)
    place.clock.set(10)  # s until it is started again
    with place.broker() as broker:
        found = left(broker.port)
        assert DAY - SOON < found[b"day"] <= DAY - 10 and found[b"soon"] <= SOON - 10, found
        assert b"will" not in found
        there(broker.port)
        assert not broker.trouble()


@pytest.mark.parametrize("jump", [-YEAR, 5 * YEAR])
def test_a_clock_that_is_set_between_two_runs(place, jump):
    with place.broker() as broker:
        fill(broker.port)
        place.end(broker)
    place.clock.set(jump)
    with place.broker() as broker:
        found = left(broker.port)
        assert DAY - SOON < found[b"day"] <= DAY and found[b"soon"] <= SOON, found
        assert b"will" not in found
        place.end(broker)
    place.clock.set(2 * HOUR)  # that may be
    with place.broker() as broker:
        found = left(broker.port)
        assert DAY - 2 * HOUR - SOON < found[b"day"] <= DAY - 2 * HOUR, found
        assert b"soon" not in found and b"will" in found
        there(broker.port)


def test_a_clock_that_ran_ahead_for_a_while(place):
    """157,679,990 s were left of 6."""
    place.clock.set(5 * YEAR)
    with place.broker() as broker:
        with Swarm(broker.port) as swarm:
            sender = Talk(swarm, b"sender")
            publish(sender, b"r/x", b"x", SOON, True)
            sender.leave()
        place.end(broker)
    place.clock.set(-5 * YEAR)
    with place.broker() as broker:
        assert left(broker.port)[b"x"] <= SOON
        place.end(broker)
    place.clock.set(SOON)
    with place.broker() as broker:
        assert left(broker.port) == {}
