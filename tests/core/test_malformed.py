"""What is not MQTT at all, or not in this place (clauses 2.1, 4.13).

Faults inside a packet are tested with that packet; here are headers and order, and that no
garbage whatever hurts the broker.
"""

from harness import VERSIONS, World, raw
from port.core.wire.codec import CONNECT, SUBSCRIBE
from port.core.protocol.client_packets import encode


def test_packet_types_a_client_must_not_send():
    for version in VERSIONS:
        for first in (0x00, 0x01, 0x20, 0x90, 0xB0, 0xD0):
            client = World().connect("c", version)
            client.feed(bytes((first, 0)))
            client.expect_close(0x82)
    for version in (3, 4):
        client = World().connect("c", version)
        client.feed(b"\xf0\x00")  # AUTH is of MQTT 5
        client.expect_close()


def test_reserved_flags():
    # [MQTT-2.1.3-1]; for MQTT 3.1 see test_mqtt31
    for version in (4, 5):
        for text in ("c1 00", "c8 00", "e1 00", "41 02 0001", "51 02 0001", "60 02 0001", "63 02 0001", "71 02 0001",
                     "80 06 0001 0001 61 00", "a0 05 0001 0001 61", "11 00"):  # fmt: skip
            client = World().connect("c", version)
            client.feed(raw(text))
            assert client.closed, (version, text)
    client = World().connect("c")
    client.feed(b"\xf1\x00")
    client.expect_close(0x82)


def test_flags_of_packets_with_a_packet_identifier():
    """Each has one value of the flags, whatever way the packet takes through the broker."""
    for version in (4, 5):
        world = World()
        for first, code in ((0x40, 0x81), (0x50, 0x81), (0x62, 0x82), (0x70, 0x81)):
            for flags in range(16):
                client = world.connect("c", version)
                client.feed(bytes((first & 0xF0 | flags, 2, 0, 1)))
                if flags == first & 15:
                    assert not client.closed
                    client.lose()
                else:
                    client.expect_close(code)


def waiting_for(first, version):
    """A client from which three packets of this kind are awaited, with packet identifiers 1 to 3."""
    world = World()
    client, publisher = world.connect("c", version), world.connect("p", version)
    if first == 0x62:
        for _ in range(3):
            client.send_publish("t", "x", 2)
    else:
        client.subscribe("t", 1 if first == 0x40 else 2)
        for _ in range(3):
            publisher.publish("t", "x", 1 if first == 0x40 else 2)
        assert [packet["packet_id"] for packet in client.inbox] == [1, 2, 3]
        if first == 0x70:
            client.feed(bytes((0x50, 2, 0, 1, 0x50, 2, 0, 2, 0x50, 2, 0, 3)))
    client.inbox.clear()
    return client


def test_rows_of_acknowledgements_end_where_one_is_malformed():
    for version in (4, 5):
        for first, code in ((0x40, 0x81), (0x50, 0x81), (0x62, 0x82), (0x70, 0x81)):
            for flags in range(16):
                client = waiting_for(first, version)
                client.feed(bytes((first, 2, 0, 1, first & 0xF0 | flags, 2, 0, 2, first, 2, 0, 3)))
                assert client.closed == (flags != first & 15), (version, first, flags)
                if client.closed and version == 5:
                    assert client.inbox[-1]["code"] == code
    for first in (0x40, 0x50, 0x62, 0x70):  # with a reason code among those without
        client = waiting_for(first, 5)
        client.feed(bytes((first, 2, 0, 1, first, 3, 0, 2, 0, first, 2, 0, 3)))
        assert not client.closed and len(client.inbox) == (3 if first in (0x50, 0x62) else 0)
        assert not [packet for packet in client.inbox if packet["code"]]
        session = client.world.session("c")
        assert len(session.inflight) == (3 if first == 0x50 else 0) and not session.received
    for first in (0x40, 0x50, 0x62, 0x70):  # the end of the row is still to come
        for left in range(1, 4):
            client = waiting_for(first, 4)
            row = bytes((first, 2, 0, 1, first, 2, 0, 2, first, 2, 0, 3))
            client.feed(row[: 12 - left])
            assert len(client.inbox) == (2 if first in (0x50, 0x62) else 0)
            client.feed(row[12 - left :])
            assert len(client.inbox) == (3 if first in (0x50, 0x62) else 0) and not client.closed


def test_bodies_where_there_is_none():
    for version in VERSIONS:
        client = World().connect("c", version)
        client.feed(b"\xc0\x01\x00")
        client.expect_close(0x81)
    for version in (3, 4):
        client = World().connect("c", version)
        client.feed(b"\xe0\x01\x00")
        client.expect_close()


def test_malformed_disconnects():
    for text, code in (
        ("e0 01 05", 0x82),  # no such reason code
        ("e0 01 8e", 0x82),  # only servers say that
        ("e0 02 00 01", 0x81),  # properties longer than the packet
        ("e0 05 00 03 11 0000", 0x81),
        ("e0 07 00 05 02 00000001", 0x82),  # message expiry does not belong here
        ("e0 06 00 04 1c 0001 61", 0x82),  # a server reference
        ("e0 03 00 00 00", 0x81),  # something left over
    ):
        client = World().connect("c")
        client.feed(raw(text))
        assert client.inbox[0]["code"] == code, (text, client.inbox)
        client.expect_close(code)
    for text in ("e0 00", "e0 01 00", "e0 02 00 00", "e0 09 00 07 26 0001 61 0001 62"):
        client = World().connect("c")
        client.feed(raw(text))
        client.expect_close()


def test_remaining_lengths():
    for version in VERSIONS:
        client = World().connect("c", version)
        client.feed(b"\x30\xff\xff\xff\xff")
        client.expect_close(0x81)
    for text in ("c0 80 00", "30 84 00 0001 74 00", "30 84 80 00 0001 74 00"):
        client = World().connect("c")
        client.feed(raw(text))
        client.expect_close(0x81)  # longer than necessary [MQTT-1.5.5-1]
    # MQTT 3.x has no such rule, and some devices write all four bytes.
    for text in ("30 84 80 80 00 0001 74 78", "32 86 80 00 0001 74 0001 78"):
        world = World()
        client = world.connect("c", 4)
        watcher = world.connect("w")
        watcher.subscribe("t")
        client.feed(raw(text))
        watcher.expect_message("t", "x")


def test_a_cut_connection_leaves_nothing():
    for version in VERSIONS:
        data = encode({"type": CONNECT, "client_id": b"c", "clean_start": True}, version)
        data += encode({"type": SUBSCRIBE, "packet_id": 1, "filters": [(b"a/b", 0)]}, version)
        for size in range(len(data)):
            world = World()
            client = world.client(version)
            client.feed(data[:size])
            client.lose()
            assert world.broker.sessions == {} and not world.broker.connections
            assert world.broker.router.subscriptions.count == 0


def test_nothing_after_a_fault_is_handled():
    for version in VERSIONS:
        world = World()
        watcher = world.connect("w", version)
        watcher.subscribe("#")
        client = world.connect("c", version)
        good = encode({"type": 3, "topic": b"t", "payload": b"good"}, version)
        bad = encode({"type": 3, "topic": b"t", "payload": b"bad"}, version)
        client.feed(good + b"\xc0\x01\x00" + bad)
        client.conn.take(bad)  # the host had this already
        assert watcher.payloads() == [b"good"]


def test_garbage_of_all_kinds():
    world = World(max_packet_size=4096)
    watcher = world.connect("w")
    watcher.subscribe("alive")
    seed = 1
    for round in range(600):
        version = VERSIONS[round % 3]
        # Valid packets with a few bytes changed get further than noise does.
        data = bytearray(
            encode({"type": 3, "topic": b"t/x", "payload": b"abc", "qos": 1, "packet_id": 1}, version)
            + encode({"type": SUBSCRIBE, "packet_id": 1, "filters": [(b"a/+", 1)]}, version)
            + encode({"type": 10, "packet_id": 2, "filters": [b"a/+"]}, version)
            + encode({"type": 6, "packet_id": 2}, version)
        )
        for _ in range(1 + round % 4):
            seed = (seed * 1103515245 + 12345) & 0x3FFFFFFF
            data[(seed >> 8) % len(data)] = seed >> 20 & 255
        client = world.client(version) if round % 5 == 0 else world.connect("c", version)
        client._received = lambda packet: None
        client.conn.take(bytes(data))
        world.broker.flush()
        if not client.closed:
            client.lose()
    assert world.errors() == []  # nothing of that is the broker's own fault
    world.broker.publish("alive")
    watcher.expect_message("alive")
    assert len(world.broker.connections) == 1


def test_a_publish_without_its_property_length_goes_to_nobody():
    """Though all of a good one stands before it and the beginning of another behind it, in one read."""
    world = World()
    watcher = world.connect("w", 5)
    watcher.subscribe("a", 1)
    client = world.connect("c", 5)
    client.publish("a", b"good", 1)
    watcher.expect_message("a", b"good", 1)
    client.feed(raw("32 05 0001 61 0002  32 05 0001 61"))
    client.expect_close(0x81)
    watcher.expect_nothing()
