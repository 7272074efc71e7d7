"""The whole-packet codec: one table of packets, read in both directions, and one of malformed ones."""

from harness import raises, raw
from port.core.wire.codec import (
    AUTH,
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
from port.core.wire.reason_codes import (
    CLIENT_IDENTIFIER_NOT_VALID,
    MALFORMED_PACKET,
    PROTOCOL_ERROR,
    TOPIC_ALIAS_INVALID,
    UNSUPPORTED_PROTOCOL_VERSION,
    MQTTError,
)
from port.core.protocol.client_packets import decode, encode


def connect(version, **fields):
    packet = {
        "type": CONNECT, "version": version, "bridge": False, "clean_start": False, "keep_alive": 0, "client_id": b"",
        "will": None, "user": None, "password": None, "properties": {},
    }  # fmt: skip
    packet.update(fields)
    return packet


def will(**fields):
    packet = {"topic": b"w", "payload": b"", "qos": 0, "retain": False, "properties": {}}
    packet.update(fields)
    return packet


def publish(topic, **fields):
    packet = {
        "type": PUBLISH, "dup": False, "qos": 0, "retain": False, "topic": topic, "packet_id": 0, "payload": b"", "properties": {}
    }  # fmt: skip
    packet.update(fields)
    return packet


def with_id(kind, packet_id, **fields):
    packet = {"type": kind, "packet_id": packet_id, "properties": {}}
    packet.update(fields)
    return packet


def ack(kind, packet_id, code=0, **properties):
    return with_id(kind, packet_id, code=code, **properties)


# What it shows, version, bytes, packet. Each row decodes to its packet and encodes to its bytes.
PACKETS = (
    (
        "MQTT 3.1", 3,
        """10 11
           0006 4d5149736470  # MQIsdp
           03                 # level
           00                 # flags
           001e               # keep alive
           0003 7a656e        # client id""",
        connect(3, keep_alive=30, client_id=b"zen"),
    ),
    (
        "MQTT 3.1.1, clean, no client id", 4,
        "10 0c  0004 4d515454 04 02 0000  0000",
        connect(4, clean_start=True),
    ),
    (
        "a bridge", 4,
        "10 0d  0004 4d515454 84 00 0000  0001 62",
        connect(4, bridge=True, client_id=b"b"),
    ),
    (
        "user name, password and will", 4,
        """10 1d
           0004 4d515454 04
           ee                 # user, password, will retain, will QoS 1, will, clean
           003c
           0001 63
           0003 612f62        # will topic
           0002 00ff          # will payload
           0001 75            # user name
           0002 ff00          # password: binary""",
        connect(
            4, keep_alive=60, client_id=b"c", clean_start=True, user=b"u", password=b"\xff\x00",
            will=will(topic=b"a/b", payload=b"\x00\xff", qos=1, retain=True),
        ),
    ),
    (
        "user name and password may be empty", 4,
        "10 11  0004 4d515454 04 c2 0000  0001 63  0000  0000",
        connect(4, client_id=b"c", clean_start=True, user=b"", password=b""),
    ),
    (
        "MQTT 5 allows a password alone", 5,
        "10 11  0004 4d515454 05 40 0000 00  0001 63  0001 70",
        connect(5, client_id=b"c", password=b"p"),
    ),
    (
        "MQTT 5 with all properties", 5,
        """10 5e
           0004 4d515454 05
           16                 # will QoS 2, will, clean
           000a
           23                 # properties: 35 bytes
             11 00000e10      #   session expiry interval
             15 0001 6d       #   authentication method
             16 0001 00       #   authentication data
             17 00            #   request problem information
             19 01            #   request response information
             21 0014          #   receive maximum
             22 0005          #   topic alias maximum
             26 0001 61 0001 62
             27 00000400      #   maximum packet size
           0001 63
           26                 # will properties: 38 bytes
             01 01            #   payload format indicator
             02 0000003c      #   message expiry interval
             03 0001 74       #   content type
             08 0001 72       #   response topic
             09 0002 00ff     #   correlation data
             18 00000005      #   will delay interval
             26 0001 62 0001 31
             26 0001 62 0000
           0001 77
           0001 78""",
        connect(
            5, client_id=b"c", clean_start=True, keep_alive=10,
            properties={
                0x11: 3600, 0x15: b"m", 0x16: b"\0", 0x17: 0, 0x19: 1, 0x21: 20, 0x22: 5, 0x26: [(b"a", b"b")], 0x27: 1024
            },
            will=will(
                payload=b"x", qos=2,
                properties={
                    0x01: 1, 0x02: 60, 0x03: b"t", 0x08: b"r", 0x09: b"\0\xff", 0x18: 5, 0x26: [(b"b", b"1"), (b"b", b"")]
                },
            ),
        ),
    ),
    ("accepted", 4, "20 02 00 00", {"type": CONNACK, "session_present": False, "code": 0, "properties": {}}),
    ("session present", 3, "20 02 01 00", {"type": CONNACK, "session_present": True, "code": 0, "properties": {}}),
    ("not authorized", 4, "20 02 00 05", {"type": CONNACK, "session_present": False, "code": 5, "properties": {}}),
    ("accepted", 5, "20 03 01 00 00", {"type": CONNACK, "session_present": True, "code": 0, "properties": {}}),
    (
        "refused with all properties", 5,
        """20 3e 00 9c
           3b
             11 0000000a
             12 0002 6964     # assigned client identifier
             13 003c          # server keep alive
             15 0001 6d
             16 0000
             1a 0001 69       # response information
             1c 0001 73       # server reference
             1f 0001 72       # reason string
             21 0001
             22 0002
             24 01            # maximum QoS
             25 00            # retain available
             26 0001 61 0000
             27 00000080
             28 00 29 00 2a 01""",
        {
            "type": CONNACK, "session_present": False, "code": 0x9C,
            "properties": {
                0x11: 10, 0x12: b"id", 0x13: 60, 0x15: b"m", 0x16: b"", 0x1A: b"i", 0x1C: b"s", 0x1F: b"r", 0x21: 1,
                0x22: 2, 0x24: 1, 0x25: 0, 0x26: [(b"a", b"")], 0x27: 128, 0x28: 0, 0x29: 0, 0x2A: 1,
            },
        },
    ),
    ("no payload", 4, "30 05  0003 612f62", publish(b"a/b")),
    ("QoS 0", 4, "30 07  0003 612f62  6869", publish(b"a/b", payload=b"hi")),
    (
        "QoS 1, retained, again", 3, "3b 06  0001 61  0007  78",
        publish(b"a", payload=b"x", qos=1, packet_id=7, dup=True, retain=True),
    ),
    ("QoS 2 with the largest identifier", 4, "34 05  0001 61  ffff", publish(b"a", qos=2, packet_id=65535)),
    ("no properties", 5, "30 05  0001 61 00 78", publish(b"a", payload=b"x")),
    (
        "all properties", 5,
        """32 36
           0001 61
           0001
           2f
             01 00
             02 00000000
             03 0001 63
             08 0003 722f73
             09 0001 ff
             0b 01 0b ffffff7f 0b 01    # subscription identifiers, from a server
             23 0001                    # topic alias
             26 0001 61 0001 31
             26 0001 61 0001 30
           78""",
        publish(
            b"a", qos=1, packet_id=1, payload=b"x",
            properties={
                0x01: 0, 0x02: 0, 0x03: b"c", 0x08: b"r/s", 0x09: b"\xff", 0x0B: [1, 268435455, 1], 0x23: 1,
                0x26: [(b"a", b"1"), (b"a", b"0")],
            },
        ),
    ),
    ("a topic alias alone", 5, "30 07  0000 03 23 0009 78", publish(b"", payload=b"x", properties={0x23: 9})),
    ("PUBACK", 4, "40 02 000b", ack(PUBACK, 11)),
    ("PUBREC", 3, "50 02 000c", ack(PUBREC, 12)),
    ("PUBREL", 4, "62 02 000c", ack(PUBREL, 12)),
    ("PUBCOMP", 4, "70 02 000e", ack(PUBCOMP, 14)),
    ("success is left out", 5, "40 02 000b", ack(PUBACK, 11)),
    ("no matching subscribers", 5, "50 03 000b 10", ack(PUBREC, 11, 0x10)),
    ("packet identifier not found", 5, "62 03 000b 92", ack(PUBREL, 11, 0x92)),
    ("not found either", 5, "70 03 000b 92", ack(PUBCOMP, 11, 0x92)),
    ("a reason string", 5, "40 08 000b 97 04 1f 0001 72", ack(PUBACK, 11, 0x97, properties={0x1F: b"r"})),
    ("success with properties", 5, "70 0b 000b 00 07 26 0001 61 0001 62", ack(PUBCOMP, 11, properties={0x26: [(b"a", b"b")]})),
    (
        "three filters", 4, "82 0e 000f  0001 61 00  0001 23 01  0001 2b 02",
        with_id(SUBSCRIBE, 15, filters=[(b"a", 0), (b"#", 1), (b"+", 2)]),
    ),
    (
        "all options", 5,
        """82 17 000f
           03 0b 8001                   # subscription identifier
           0001 61 2e                   # retain handling 2, retain as published, no local, QoS 2
           000a 2473686172652f672f61 19 # $share/g/a: retain handling 1, retain as published, QoS 1""",
        with_id(SUBSCRIBE, 15, filters=[(b"a", 0x2E), (b"$share/g/a", 0x19)], properties={0x0B: 128}),
    ),
    ("granted and refused", 4, "90 06 0011 00 01 02 80", with_id(SUBACK, 17, codes=b"\x00\x01\x02\x80")),
    ("refused for many reasons", 5, "90 06 0011 00 87 8f a2", with_id(SUBACK, 17, codes=b"\x87\x8f\xa2")),
    ("UNSUBSCRIBE", 4, "a2 08 0023  0001 61  0001 23", with_id(UNSUBSCRIBE, 35, filters=[b"a", b"#"])),
    (
        "UNSUBSCRIBE with a property", 5, "a2 0d 0023 07 26 0001 61 0001 62  0001 61",
        with_id(UNSUBSCRIBE, 35, filters=[b"a"], properties={0x26: [(b"a", b"b")]}),
    ),
    ("UNSUBACK", 4, "b0 02 0025", with_id(UNSUBACK, 37, codes=b"")),
    ("UNSUBACK with codes", 5, "b0 05 0025 00 00 11", with_id(UNSUBACK, 37, codes=b"\x00\x11")),
    ("PINGREQ", 4, "c0 00", {"type": PINGREQ}),
    ("PINGRESP", 5, "d0 00", {"type": PINGRESP}),
    ("DISCONNECT", 4, "e0 00", {"type": DISCONNECT, "code": 0, "properties": {}}),
    ("normal disconnection", 5, "e0 00", {"type": DISCONNECT, "code": 0, "properties": {}}),
    ("with the will", 5, "e0 01 04", {"type": DISCONNECT, "code": 4, "properties": {}}),
    ("from a server", 5, "e0 06 9d 04 1c 0001 73", {"type": DISCONNECT, "code": 0x9D, "properties": {0x1C: b"s"}}),
    ("success with properties", 5, "e0 07 00 05 11 00000000", {"type": DISCONNECT, "code": 0, "properties": {0x11: 0}}),
    ("AUTH", 5, "f0 0a 18 08 15 0001 6d 16 0001 64", {"type": AUTH, "code": 0x18, "properties": {0x15: b"m", 0x16: b"d"}}),
    ("AUTH, nothing but success", 5, "f0 00", {"type": AUTH, "code": 0, "properties": {}}),
)  # fmt: skip

# What it shows, version, bytes, packet: forms that decode, but that encode writes shorter.
LONG_FORMS = (
    ("reason code 0", 5, "40 03 000b 00", ack(PUBACK, 11)),
    ("reason code 0 and no properties", 5, "62 04 000b 00 00", ack(PUBREL, 11)),
    ("an error and no properties", 5, "50 04 000b 80 00", ack(PUBREC, 11, 0x80)),
    ("DISCONNECT", 5, "e0 01 00", {"type": DISCONNECT, "code": 0, "properties": {}}),
    ("DISCONNECT in full", 5, "e0 02 00 00", {"type": DISCONNECT, "code": 0, "properties": {}}),
    (
        "properties in another order", 5, "30 09  0001 61 05 23 0001 01 01",
        publish(b"a", properties={0x23: 1, 0x01: 1}),
    ),
    (
        "a will delay of 0", 5, "10 19  0004 4d515454 05 04 0000 00  0001 63  05 18 00000000  0001 77 0000",
        connect(5, client_id=b"c", will=will()),
    ),
)  # fmt: skip


def test_decoding():
    for name, version, text, packet in PACKETS + LONG_FORMS:
        assert decode(raw(text), version) == packet, (name, version, decode(raw(text), version))


def test_encoding():
    for name, version, text, packet in PACKETS:
        assert encode(packet, version) == raw(text), (name, version, encode(packet, version))


def test_long_forms_are_written_short():
    for name, version, text, packet in LONG_FORMS:
        data = encode(packet, version)
        assert len(data) < len(raw(text)) or "order" in name, name
        assert decode(data, version) == packet


def test_a_connect_says_its_own_version():
    packet = connect(4, client_id=b"c", clean_start=True)
    data = raw("10 0d  0004 4d515454 04 02 0000  0001 63")
    assert encode(packet, 5) == data
    assert decode(data, 5) == packet


def test_fields_left_out():
    assert encode({"type": CONNECT, "client_id": b"c"}, 5) == raw("10 0e  0004 4d515454 05 00 0000 00  0001 63")
    assert encode({"type": CONNACK}, 4) == raw("20 02 00 00")
    assert encode({"type": PUBLISH, "topic": b"a"}, 5) == raw("30 04 0001 61 00")
    assert encode({"type": PUBACK, "packet_id": 1}, 5) == raw("40 02 0001")
    assert encode({"type": DISCONNECT}, 5) == raw("e0 00")
    assert encode({"type": UNSUBACK, "packet_id": 1}, 4) == raw("b0 02 0001")


# What is wrong, version, bytes, reason code.
MALFORMED = (
    ("nothing", 4, "", MALFORMED_PACKET),
    ("no length", 4, "30", MALFORMED_PACKET),
    ("a length of five bytes", 4, "30 8080808001", MALFORMED_PACKET),
    ("a length in too many bytes", 4, "c0 8000", MALFORMED_PACKET),
    ("cut off", 4, "30 06  0003 612f62", MALFORMED_PACKET),
    ("something behind it", 4, "c0 00 00", MALFORMED_PACKET),
    ("type 0", 4, "00 00", PROTOCOL_ERROR),
    ("AUTH before MQTT 5", 4, "f0 00", PROTOCOL_ERROR),
    # CONNECT
    ("flags of the header", 4, "12 0d  0004 4d515454 04 02 0000  0001 63", MALFORMED_PACKET),
    ("the reserved flag", 4, "10 0d  0004 4d515454 04 03 0000  0001 63", MALFORMED_PACKET),
    ("another protocol", 4, "10 0d  0004 48545450 04 02 0000  0001 63", MALFORMED_PACKET),
    ("another level", 4, "10 0d  0004 4d515454 07 02 0000  0001 63", UNSUPPORTED_PROTOCOL_VERSION),
    ("no client id without clean session", 4, "10 0c  0004 4d515454 04 00 0000  0000", CLIENT_IDENTIFIER_NOT_VALID),
    ("no client id in MQTT 3.1", 3, "10 0e  0006 4d5149736470 03 02 0000  0000", CLIENT_IDENTIFIER_NOT_VALID),
    ("client id not UTF-8", 4, "10 0e  0004 4d515454 04 02 0000  0002 c080", CLIENT_IDENTIFIER_NOT_VALID),
    ("user name not UTF-8", 4, "10 11  0004 4d515454 04 82 0000  0001 63  0002 ed a0", MALFORMED_PACKET),
    ("a password alone before MQTT 5", 4, "10 10  0004 4d515454 04 42 0000  0001 63  0001 70", MALFORMED_PACKET),
    ("will QoS without a will", 4, "10 0d  0004 4d515454 04 0a 0000  0001 63", MALFORMED_PACKET),
    ("will retain without a will", 4, "10 0d  0004 4d515454 04 22 0000  0001 63", MALFORMED_PACKET),
    ("will QoS 3", 4, "10 12  0004 4d515454 04 1e 0000  0001 63  0001 77 0000", MALFORMED_PACKET),
    ("a wildcard in the will topic", 4, "10 12  0004 4d515454 04 06 0000  0001 63  0001 2b 0000", MALFORMED_PACKET),
    ("authentication data alone", 5, "10 12  0004 4d515454 05 02 0000 04 16 0001 78  0001 63", PROTOCOL_ERROR),
    ("something left over", 4, "10 0e  0004 4d515454 04 02 0000  0001 63 00", MALFORMED_PACKET),
    # CONNACK
    ("reserved flags", 4, "20 02 02 00", MALFORMED_PACKET),
    ("return code 6", 4, "20 02 00 06", PROTOCOL_ERROR),
    ("a reason code of DISCONNECT", 5, "20 03 00 8b 00", PROTOCOL_ERROR),
    ("maximum QoS 2", 5, "20 05 00 00 02 24 02", PROTOCOL_ERROR),
    ("no properties", 5, "20 02 00 00", MALFORMED_PACKET),
    ("too long", 4, "20 03 00 00 00", MALFORMED_PACKET),
    # PUBLISH
    ("QoS 3", 4, "36 05  0001 61 0001", MALFORMED_PACKET),
    ("DUP with QoS 0", 4, "38 03  0001 61", MALFORMED_PACKET),
    ("identifier 0", 4, "32 05  0001 61 0000", PROTOCOL_ERROR),
    ("no identifier", 4, "32 03  0001 61", MALFORMED_PACKET),
    ("no topic", 4, "30 02  0000", PROTOCOL_ERROR),
    ("neither topic nor alias", 5, "30 03  0000 00", PROTOCOL_ERROR),
    ("alias 0", 5, "30 07  0001 61 03 23 0000", TOPIC_ALIAS_INVALID),
    ("a wildcard", 4, "30 03  0001 23", MALFORMED_PACKET),
    ("U+0000", 4, "30 03  0001 00", MALFORMED_PACKET),
    ("a surrogate", 4, "30 05  0003 eda080", MALFORMED_PACKET),
    ("a response topic with a wildcard", 5, "30 08  0001 61 04 08 0001 2b", PROTOCOL_ERROR),
    ("an empty response topic", 5, "30 07  0001 61 03 08 0000", PROTOCOL_ERROR),
    # acknowledgements
    ("identifier 0", 4, "40 02 0000", MALFORMED_PACKET),
    ("half an identifier", 4, "40 01 00", MALFORMED_PACKET),
    ("a reason code before MQTT 5", 4, "40 03 0001 00", MALFORMED_PACKET),
    ("no such reason code", 5, "40 03 0001 92", PROTOCOL_ERROR),
    ("no such reason code", 5, "62 03 0001 10", PROTOCOL_ERROR),
    ("PUBREL with flags 0", 4, "60 02 0001", MALFORMED_PACKET),
    ("PUBACK with flags 2", 4, "42 02 0001", MALFORMED_PACKET),
    ("properties cut off", 5, "40 05 0001 00 03 1f", MALFORMED_PACKET),
    ("too long", 5, "40 05 0001 00 00 00", MALFORMED_PACKET),
    # SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK
    ("no filter", 4, "82 02 0001", PROTOCOL_ERROR),
    ("no filter", 5, "a2 03 0001 00", PROTOCOL_ERROR),
    ("flags", 4, "80 06 0001 0001 61 00", MALFORMED_PACKET),
    ("identifier 0", 4, "82 06 0000 0001 61 00", MALFORMED_PACKET),
    ("no options", 4, "82 05 0001 0001 61", MALFORMED_PACKET),
    ("QoS 3", 4, "82 06 0001 0001 61 03", MALFORMED_PACKET),
    ("options before MQTT 5", 4, "82 06 0001 0001 61 04", MALFORMED_PACKET),
    ("reserved options", 5, "82 07 0001 00 0001 61 40", MALFORMED_PACKET),
    ("retain handling 3", 5, "82 07 0001 00 0001 61 30", MALFORMED_PACKET),
    ("an invalid filter", 4, "82 08 0001 0003 61232f 00", MALFORMED_PACKET),
    ("an invalid filter", 4, "a2 07 0001 0003 232f61", MALFORMED_PACKET),
    ("a share without a name", 5, "82 0f 0001 00 0009 2473686172652f2f61 00", MALFORMED_PACKET),
    ("no local on a share", 5, "82 10 0001 00 000a 2473686172652f672f61 04", PROTOCOL_ERROR),
    ("identifier 0 of a subscription", 5, "82 09 0001 02 0b00 0001 61 00", PROTOCOL_ERROR),
    ("no codes", 4, "90 02 0001", MALFORMED_PACKET),
    ("no such code", 4, "90 03 0001 03", PROTOCOL_ERROR),
    ("no such code", 5, "90 04 0001 00 79", PROTOCOL_ERROR),
    ("codes before MQTT 5", 4, "b0 03 0001 00", MALFORMED_PACKET),
    ("no codes", 5, "b0 03 0001 00", MALFORMED_PACKET),
    ("no such code", 5, "b0 04 0001 00 01", PROTOCOL_ERROR),
    # the others
    ("a body", 4, "c0 01 00", MALFORMED_PACKET),
    ("flags", 4, "d1 00", MALFORMED_PACKET),
    ("a body before MQTT 5", 4, "e0 01 00", MALFORMED_PACKET),
    ("no such code", 5, "e0 01 05", PROTOCOL_ERROR),
    ("no property length", 5, "f0 01 18", MALFORMED_PACKET),
    ("no method", 5, "f0 02 18 00", PROTOCOL_ERROR),
    ("no such code", 5, "f0 06 17 04 15 0001 6d", PROTOCOL_ERROR),
    ("AUTH with flags", 5, "f1 00", MALFORMED_PACKET),
)


def test_malformed_packets():
    for name, version, text, code in MALFORMED:
        error = raises(MQTTError, decode, raw(text), version)
        assert error.code == code, (name, version, text, error.code, error.text)


def test_no_packet_survives_being_cut():
    for name, version, text, packet in PACKETS:
        data = raw(text)
        for size in range(len(data)):
            raises(MQTTError, decode, data[:size], version)


def test_encode_refuses_what_decode_would():
    for name, version, packet in (
        ("a version", 6, connect(6, client_id=b"c")),
        ("no client id", 4, connect(4)),
        ("client id not UTF-8", 4, connect(4, client_id=b"\xff")),
        ("client id too long", 4, connect(4, client_id=bytes(65536).replace(b"\0", b"x"))),
        ("keep alive too long", 4, connect(4, client_id=b"c", keep_alive=65536)),
        ("a password alone", 4, connect(4, client_id=b"c", password=b"p")),
        ("properties", 4, connect(4, client_id=b"c", properties={0x11: 1})),
        ("a property of PUBLISH", 5, connect(5, properties={0x23: 1})),
        ("will QoS", 4, connect(4, client_id=b"c", will=will(qos=3))),
        ("will topic", 4, connect(4, client_id=b"c", will=will(topic=b"#"))),
        ("will property", 5, connect(5, will=will(properties={0x11: 1}))),
        ("QoS", 4, publish(b"a", qos=3, packet_id=1)),
        ("DUP", 4, publish(b"a", dup=True)),
        ("no identifier", 4, publish(b"a", qos=1)),
        ("an identifier", 4, publish(b"a", packet_id=1)),
        ("an identifier too large", 4, publish(b"a", qos=1, packet_id=65536)),
        ("topic", 4, publish(b"+")),
        ("no topic", 5, publish(b"")),
        ("alias", 5, publish(b"a", properties={0x23: 0})),
        ("identifier 0", 4, ack(PUBACK, 0)),
        ("a code", 5, ack(PUBACK, 1, 0x92)),
        ("a code before MQTT 5", 4, ack(PUBACK, 1, 0x80)),
        ("no filters", 4, with_id(SUBSCRIBE, 1, filters=[])),
        ("filter", 4, with_id(SUBSCRIBE, 1, filters=[(b"a#", 0)])),
        ("options", 4, with_id(SUBSCRIBE, 1, filters=[(b"a", 3)])),
        ("options too large", 5, with_id(SUBSCRIBE, 1, filters=[(b"a", 256)])),
        ("codes", 4, with_id(SUBACK, 1, codes=b"")),
        ("AUTH", 4, {"type": AUTH, "code": 0, "properties": {}}),
        ("AUTH without a method", 5, {"type": AUTH, "code": 0x18, "properties": {}}),
        ("DISCONNECT code", 5, {"type": DISCONNECT, "code": 1}),
        ("type", 4, {"type": 0}),
        ("type", 4, {"type": 16}),
    ):
        raises(ValueError, encode, packet, version)
