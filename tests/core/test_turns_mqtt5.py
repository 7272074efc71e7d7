"""Turns of clients that speak MQTT 5: enhanced authentication, before a client is let in and after, and properties of any packet."""

from harness import World
from port.core.wire.codec import AUTH, CONNECT, DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBSCRIBE, UNSUBSCRIBE
from port.core.wire.properties import AUTHENTICATION_METHOD, USER_PROPERTY
from port.core.wire.reason_codes import CONTINUE_AUTHENTICATION, RE_AUTHENTICATE, SUCCESS
from port.core.auth.authenticator import Authenticator
from test_turns import begin, packet, world_of_turns

HEAPSIZE = "2m"


class Endless(Authenticator):
    """Has always another question, but lets a client in at first where it is asked to."""

    method = b"ENDLESS"

    def __init__(self, lets_in):
        self.lets_in = lets_in
        self.asked = 0

    def exchange(self, client, data):
        self.asked += 1
        return (SUCCESS, None) if self.lets_in and self.asked == 1 else (CONTINUE_AUTHENTICATION, b"?")


def exchanging(lets_in, **options):
    """A world with such an authenticator, it, and a client that has sent its CONNECT."""
    world = world_of_turns(anonymous="none", **options)
    endless = Endless(lets_in)
    world.broker.authenticators.append(endless)
    client = world.client(5)
    begin(client, packet(CONNECT, client_id=b"c", clean_start=True, keep_alive=0, properties={AUTHENTICATION_METHOD: b"ENDLESS"}))
    return world, endless, client


def auth_packet(code):
    return packet(AUTH, code=code, properties={AUTHENTICATION_METHOD: b"ENDLESS"})


def test_steps_of_enhanced_authentication_are_handled_in_turns():
    for lets_in in (False, True):
        world, endless, client = exchanging(lets_in)
        one = auth_packet(CONTINUE_AUTHENTICATION)
        begin(client, (auth_packet(RE_AUTHENTICATE) if lets_in else b"") + one * 99)
        assert client.held and client.conn.held and endless.asked < 20
        assert lets_in or world.broker.connection_registry.handshake_bytes >= 80 * len(one)
        other = world.client(5)
        rounds = 0
        while world.broker.turns.clients:
            before = endless.asked
            world.broker.work()
            assert endless.asked - before < 20
            world.broker.flush()
            rounds += 1
        assert rounds > 5 and endless.asked == 100 + lets_in and not client.held
        assert len(client.inbox) == 100 + lets_in and not other.closed
        client.lose()
        assert not world.broker.connection_registry.handshake_bytes and not world.broker.memory.partial_bytes


def test_who_has_a_turn_at_every_tick_is_to_be_let_in_in_time():
    world, _, client = exchanging(False, connect_timeout=5)
    flood = auth_packet(CONTINUE_AUTHENTICATION) * 100
    for _ in range(7):
        if not client.closed:
            begin(client, flood)
            assert client.held
            world.now += 1000
            world.broker.tick()
    assert client.closed
    world.settle()
    assert not world.broker.turns.clients and not world.broker.connection_registry.handshake_bytes


def test_properties_count_in_whatever_packet_they_come():
    properties = {USER_PROPERTY: [(b"", b"")] * 100}
    for kind, fields in (
        (PUBLISH, {"topic": b"t", "payload": b"", "qos": 0}),
        (PUBACK, {"packet_id": 9, "code": 0}),
        (PUBREC, {"packet_id": 9, "code": 0}),
        (PUBREL, {"packet_id": 9, "code": 0}),
        (PUBCOMP, {"packet_id": 9, "code": 0}),
        (SUBSCRIBE, {"packet_id": 9, "filters": [(b"a", 0)]}),
        (UNSUBSCRIBE, {"packet_id": 9, "filters": [b"a"]}),
        (DISCONNECT, {"code": 0}),
    ):
        world = World()
        client = world.connect("c")
        begin(client, packet(kind, properties=properties, **fields))
        assert world.broker.turns.spent >= 2 * 500, kind
    world = world_of_turns()
    client = world.connect("c")
    begin(client, packet(PUBREL, packet_id=9, code=0, properties=properties) * 20)
    assert client.held and len(client.inbox) == 1


def test_a_client_for_whose_version_there_was_no_memory_leaves_nothing_behind():
    world = World()
    client = world.client(5)
    client.conn.version = 5  # as after the first bytes of CONNECT
    client.lose()
    assert world.broker.mqtt5 is None and not world.broker.connections
