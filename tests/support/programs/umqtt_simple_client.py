"""A client that behaves like umqtt.simple: blocking, MQTT 3.1.1, and strict about every byte it expects.

It reads a packet's first byte alone, takes all lengths of answers for granted, and blocks in
subscribe and in publish with QoS 1 until the answer is there. Argument: the broker's port.
"""

import socket
import sys


class SimpleClient:
    def __init__(self, client_id, port, keepalive=0, callback=None, will=None):
        self.client_id = client_id
        self.port = port
        self.keepalive = keepalive
        self.callback = callback
        self.will = will
        self.packet_id = 0
        self.sock = None

    def connect(self, clean=True):
        """Connect; whether the broker had a session."""
        self.sock = socket.socket()
        self.sock.connect(socket.getaddrinfo("127.0.0.1", self.port)[0][-1])
        flags = 2 if clean else 0
        body = self._text(self.client_id)
        if self.will:
            flags |= 4 | self.will[2] << 3
            body += self._text(self.will[0]) + self._text(self.will[1])
        head = b"\x00\x04MQTT\x04" + bytes((flags, self.keepalive >> 8, self.keepalive & 255))
        self._send(0x10, head + body)
        answer = self.sock.read(4)
        assert answer[:2] == b"\x20\x02", answer
        if answer[3]:
            raise OSError("refused: %d" % answer[3])
        return answer[2] & 1 == 1

    def disconnect(self):
        self.sock.write(b"\xe0\x00")
        self.sock.close()

    def ping(self):
        self.sock.write(b"\xc0\x00")

    def publish(self, topic, payload, retain=False, qos=0):
        body = self._text(topic)
        if qos:
            body += self._next_id()
        self._send(0x30 | qos << 1 | retain, body + payload)
        if qos:
            while self.wait_msg() != 0x40:
                pass
            assert self.sock.read(1) == b"\x02"
            assert self.sock.read(2) == self._id()

    def subscribe(self, topic, qos=0):
        self._send(0x82, self._next_id() + self._text(topic) + bytes((qos,)))
        while self.wait_msg() != 0x90:
            pass
        answer = self.sock.read(4)
        assert answer[0] == 3 and answer[1:3] == self._id(), answer
        assert answer[3] != 0x80, "subscription refused"

    def wait_msg(self):
        """Read one packet: a PUBLISH goes to the callback, of any other the first byte is returned alone."""
        first = self.sock.read(1)
        self.sock.setblocking(True)
        if first is None:
            return None
        if first == b"":
            raise OSError("closed")
        if first == b"\xd0":
            assert self.sock.read(1) == b"\x00"
            return None
        kind = first[0]
        if kind & 0xF0 != 0x30:
            return kind
        size = self._size()
        length = self.sock.read(2)
        length = length[0] << 8 | length[1]
        topic = self.sock.read(length)
        size -= length + 2
        if kind & 6:
            packet_id = self.sock.read(2)
            size -= 2
        payload = self.sock.read(size)
        self.callback(topic, payload, kind & 1 == 1)
        if kind & 6 == 2:
            self.sock.write(b"\x40\x02" + packet_id)
        assert kind & 6 != 4, "QoS 2"
        return kind

    def check_msg(self):
        """wait_msg that returns at once when nothing is there."""
        self.sock.setblocking(False)
        return self.wait_msg()

    def _text(self, data):
        return bytes((len(data) >> 8, len(data) & 255)) + data

    def _id(self):
        return bytes((self.packet_id >> 8, self.packet_id & 255))

    def _next_id(self):
        self.packet_id += 1
        return self._id()

    def _send(self, first, body):
        size = len(body)
        head = bytes((first,))
        while size > 127:
            head += bytes((size & 127 | 128,))
            size >>= 7
        self.sock.write(head + bytes((size,)))
        self.sock.write(body)  # in two writes

    def _size(self):
        size = shift = 0
        while True:
            c = self.sock.read(1)[0]
            size |= (c & 127) << shift
            if c < 128:
                return size
            shift += 7


def main(port):
    got = []

    def callback(*message):
        got.append(message)

    def expect(*message):
        while not got:
            client.wait_msg()
        assert got[0] == message, got
        del got[0]

    client = SimpleClient(b"simple", port, 60, callback, (b"simple/will", b"gone", 1))
    assert not client.connect()
    client.publish(b"simple/kept", b"1", True, 1)
    # The retained message comes behind SUBACK, messages of others may come before it.
    client.subscribe(b"simple/#", 1)
    expect(b"simple/kept", b"1", True)
    for n in range(8):
        client.publish(b"simple/%d" % n, b"x" * n * 10, qos=n % 2)
        client.subscribe(b"simple/+", 1)
        while len(got) < 2:  # the retained message comes again with each subscription
            client.wait_msg()
        got.sort(key=lambda message: message[2])
        expect(b"simple/%d" % n, b"x" * n * 10, False)
        expect(b"simple/kept", b"1", True)
        client.ping()
        assert client.wait_msg() is None
    assert client.check_msg() is None and not got
    client.publish(b"simple/kept", b"", True, 1)
    expect(b"simple/kept", b"", False)
    client.disconnect()

    client = SimpleClient(b"simple", port, 60, callback)
    assert not client.connect(False)
    client.subscribe(b"later/+", 1)
    client.disconnect()
    other = SimpleClient(b"other", port)
    other.connect()
    for n in range(5):
        other.publish(b"later/x", b"%d" % n, qos=1)
    other.disconnect()
    assert client.connect(False)
    for n in range(5):
        expect(b"later/x", b"%d" % n, False)
    client.disconnect()
    assert not client.connect(True)
    client.sock.close()
    print("done")


if __name__ == "__main__":
    main(int(sys.argv[1]))
