"""Runs on the emulated RP2040 of tools/rp2040: heap, sockets, and a broker with clients in memory.

Prints JSON: bytes of the heap and in use after each step, how many sockets there are, and what went wrong.
"""

import gc
import json
import socket

found = {"sockets": 0, "wrong": []}


def live(name):
    """Note the bytes in use; what a collection spares because a stale pointer shows it goes with the next ones."""
    least = 1 << 30
    for _ in range(3):
        gc.collect()
        least = min(least, gc.mem_alloc())
    found[name] = least


def count_sockets():
    opened = []
    try:
        while True:
            opened.append(socket.socket())
    except OSError:
        found["sockets"] = len(opened)
    for sock in opened:
        sock.close()


class Client:
    """The far end of a connection: bytes in, bytes out."""

    def __init__(self, broker, version, name):
        self.broker = broker
        self.received = b""
        self.closed = False
        self.conn = broker.accept_connection(self, "127.0.0.1:1")
        properties = b"\0" if version == 5 else b""
        self.say(b"\x10", b"\0\4MQTT" + bytes((version, 2, 0, 60)) + properties + bytes((0, len(name))) + name)

    def send(self, chunks):
        for chunk in chunks:
            self.received += bytes(chunk)
        return sum([len(chunk) for chunk in chunks])

    def close(self, abort, told):
        self.closed = True

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass

    def certificate(self):
        return None

    def say(self, first, body=b""):
        self.conn.take(first + bytes((len(body),)) + body)
        self.broker.flush()

    def expect(self, step, data):
        if self.received != data:
            found["wrong"].append("%s: %r" % (step, self.received))
        self.received = b""


def story(broker):
    old = Client(broker, 4, b"old")
    old.expect("CONNACK", b"\x20\2\0\0")
    old.say(b"\x82", b"\0\1\0\3a/#\1")
    old.expect("SUBACK", b"\x90\3\0\1\1")
    new = Client(broker, 5, b"new")
    if new.received[:1] != b"\x20" or new.received[3:4] != b"\0":
        new.expect("CONNACK of MQTT 5", b"")
    new.received = b""
    live("two clients")
    new.say(b"\x30", b"\0\3a/b\0zero")
    old.expect("QoS 0", b"\x30\x09\0\3a/bzero")
    new.say(b"\x32", b"\0\3a/b\0\7\0one")
    new.expect("PUBACK", b"\x40\2\0\7" if new.received[1:2] == b"\2" else b"\x40\3\0\7\0")
    old.expect("QoS 1", b"\x32\x0a\0\3a/b\0\1one")
    old.say(b"\x40", b"\0\1")
    old.say(b"\x34", b"\0\3x/y\0\5two")
    old.expect("PUBREC", b"\x50\2\0\5")
    old.say(b"\x62", b"\0\5")
    old.expect("PUBCOMP", b"\x70\2\0\5")
    old.say(b"\x31", b"\0\1rkept")
    new.say(b"\x82", b"\0\2\0\0\1r\0")
    new.expect("SUBACK and what was retained", b"\x90\4\0\2\0\0" + b"\x31\x08\0\1r\0kept")
    old.say(b"\xc0")
    old.expect("PINGRESP", b"\xd0\0")
    old.say(b"\xe0")
    new.say(b"\x30", b"\0\3a/b\0gone")
    old.expect("DISCONNECT", b"")
    if not old.closed or new.closed:
        found["wrong"].append("closed: %r %r" % (old.closed, new.closed))


live("before")
found["heap"] = gc.mem_free() + gc.mem_alloc()
count_sockets()
from port.core.broker import Broker

live("import")
from port.micropython import Server

live("import of a server")
server = Server(max_connections=10)
live("Server()")
server = None
story(Broker())
print(json.dumps(found))
