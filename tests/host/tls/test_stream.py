"""TLS between a connection and its client on CPython, without sockets: what is asked of either side, and what is kept."""

import asyncio
import errno
import ssl
from collections.abc import Callable

import pytest
from tlslite.api import HandshakeSettings, TLSConnection
from tlslite.constants import CipherSuite
from tlslite.messages import ClientHello

from certificates import certificates  # noqa: F401
from port.cpython import Server
from port.cpython.net.tls import server_context
from port.cpython.net.tls_stream import MAX_HELLO, Secure

MUCH = bytes(range(256)) * 4000


class Wire:
    """A transport: what was written, and whether it is read."""

    def __init__(self):
        self.written = b""
        self.unsent = 0
        self.reading = True
        self.ended = ""
        self.heed: Callable[[], None] = lambda: None  # called by each write

    def write(self, data):
        assert not self.ended
        self.written += data
        self.heed()

    def get_write_buffer_size(self):
        return self.unsent

    def set_write_buffer_limits(self, high, low):
        self.limits = (high, low)

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True

    def can_write_eof(self):
        return True

    def write_eof(self):
        self.ended = self.ended or "half"

    def close(self):
        self.ended = "closed"

    def abort(self):
        self.ended = "aborted"

    def get_extra_info(self, name, default=None):
        return default


class Client:
    """What serves the client."""

    def __init__(self):
        self.received = []
        self.over = False

    def connection_made(self, transport):
        self.transport = transport
        transport.set_write_buffer_limits(1000, 250)

    def receive(self, data):
        self.received.append(data)

    def connection_lost(self, exc):
        self.over = True
        self.error = exc


class Pair:
    """The broker's TLS and a peer's, joined in memory."""

    def __init__(self, folder, version, **options):
        self.server = Server(**options)
        self.listener = self.server.default_listener
        self.client = Client()
        self.revoked = None
        context = server_context({"certificate": folder.server, "key": folder.key})
        self.wire = Wire()
        self.secure = Secure(self.server, self._entrance(), "192.0.2.1:1", 1e9, context)
        self.secure.connection_made(self.wire)
        trusting = ssl.create_default_context(cafile=folder.ca)
        trusting.minimum_version = trusting.maximum_version = version
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.peer = trusting.wrap_bio(self._in, self._out, server_hostname="localhost")

    def _entrance(self):
        pair = self

        class ListeningSocket:
            listener = pair.listener
            revoked = None

            def client(self, address):
                return pair.client

        return ListeningSocket()

    async def give(self, data, size=1 << 20):
        """To the broker, in pieces."""
        for at in range(0, len(data), size):
            while not self.wire.reading:
                await asyncio.sleep(0)
            self.secure.receive(data[at : at + size])
        while len(self.server.anteroom) and not self.wire.reading:
            await asyncio.sleep(0)

    def take(self):
        """From the broker."""
        self._in.write(self.wire.written)
        self.wire.written = b""

    async def shake(self, size=1 << 20):
        while True:
            try:
                self.peer.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self.give(self._out.read(), size)
                self.take()
        await self.give(self._out.read(), size)
        self.take()

    def said(self, data):
        """What the peer says, encrypted."""
        for at in range(0, len(data), 16384):
            self.peer.write(data[at : at + 16384])
        return self._out.read()

    def heard(self, count):
        """What the peer hears."""
        self.take()
        data = b""
        while len(data) < count:
            data += self.peer.read(count - len(data))
        return data


class Memory:
    """A socket for tlslite-ng: what it sends, and what there is for it to receive."""

    def __init__(self):
        self.sent = b""
        self.there = b""

    def send(self, data):
        self.sent += data
        return len(data)

    def sendall(self, data):
        self.sent += data

    def recv(self, count):
        if not self.there:
            raise BlockingIOError(errno.EWOULDBLOCK, "nothing there")
        data, self.there = self.there[:count], self.there[count:]
        return data

    def taken(self):
        """What it has sent since."""
        data, self.sent = self.sent, b""
        return data


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def pair(request, certificates):  # noqa: F811
    return lambda **options: Pair(certificates(), request.param, **options)


@pytest.mark.parametrize("size", [1, 100, 5000, 1 << 20])
async def test_both_ways(pair, size):
    both = pair()
    await both.shake(size)
    assert not len(both.server.anteroom)
    await both.give(both.said(MUCH if size > 100 else MUCH[:2000]), size)
    assert b"".join(both.client.received) == (MUCH if size > 100 else MUCH[:2000])
    both.client.transport.write(MUCH)
    both.client.transport.write(b"and more")
    assert both.heard(len(MUCH) + 8) == MUCH + b"and more"
    both.secure.connection_lost(None)
    assert both.client.over and both.server.counters.refused == 0


async def test_what_a_read_brings_is_handed_on_whole(pair):
    """Nothing decrypted is kept back that the client's own limits would not know of."""
    both = pair()
    await both.shake()
    both.client.received.clear()
    both.secure.receive(both.said(MUCH[:100_000]) + both.said(b"x"))
    assert both.client.received == [MUCH[:100_000] + b"x"]
    both.client.transport.pause_reading()
    assert not both.wire.reading
    assert both.wire.limits == (1000, 250)  # the unsent bytes are the connection's
    both.wire.unsent = 77
    assert both.client.transport.get_write_buffer_size() == 77


async def test_the_end_is_said_in_tls(pair):
    both = pair()
    await both.shake()
    both.client.transport.write(b"last words")
    both.client.transport.write_eof()
    both.client.transport.write(b"too late")
    assert both.wire.ended == "half"
    assert both.heard(10) == b"last words"
    assert both.peer.read(1) == b""
    count = len(both.client.received)
    both.secure.receive(both.said(b"still talking"))
    assert len(both.client.received) == count


async def test_the_peer_says_the_end(pair):
    both = pair()
    await both.shake()
    data = both.said(b"goodbye")
    with pytest.raises(ssl.SSLWantReadError):
        both.peer.unwrap()
    both.secure.receive(data + both._out.read())
    assert both.client.received[-1] == b"goodbye" and both.wire.ended == "closed" and both.wire.written


async def test_a_record_that_was_tampered_with(pair):
    both = pair()
    await both.shake()
    data = bytearray(both.said(b"hello"))
    data[-1] ^= 1
    count = len(both.client.received)
    both.secure.receive(bytes(data))
    assert len(both.client.received) == count and both.wire.ended == "closed"
    both.take()
    with pytest.raises(ssl.SSLError, match="(?i)alert"):
        both.peer.read(1)
    both.secure.connection_lost(None)
    assert isinstance(both.client.error, ssl.SSLError)


@pytest.mark.parametrize("hello, reason", [
    (b"\x16\x03\x01\x20\x00\x01" + (MAX_HELLO + 1).to_bytes(3, "big"), "ClientHello of more than"),
    (b"\x16\x03\x01\x00\x01\x01\x16\x03\x01", "ClientHello in crumbs"),
    (b"\x10\x0d\0\4MQTT", "wrong version number"),
    (b"GET / HTTP/1.1\r\n\r\n", "http request"),
])  # fmt: skip
async def test_what_is_no_handshake(pair, hello, reason):
    lines = []
    both = pair(log=lambda level, text, *args: lines.append(text % args))
    await both.give(hello, 1)
    while not both.wire.ended:
        await asyncio.sleep(0)
    assert both.wire.ended == "half" and both.server.counters.refused == 1 and reason in lines[-1]
    assert len(both.server.anteroom) == 1  # it may read the alert
    both.secure.receive(MUCH)
    both.server.anteroom.expire(asyncio.get_running_loop().time() + 5)
    assert both.wire.ended == "aborted" and both.server.counters.refused == 1 and not len(both.server.anteroom)


async def test_asked_for_another_handshake_again_and_again(certificates):  # noqa: F811
    """TLS 1.2 says no each time. Whoever does not read that is not read in turn: what waits for him has an end."""
    both = Pair(certificates(), ssl.TLSVersion.TLSv1_2)
    memory = Memory()
    settings = HandshakeSettings()
    settings.maxVersion = (3, 3)
    peer = TLSConnection(memory)
    for _ in peer.handshakeClientCert(settings=settings, async_=True):
        await both.give(memory.taken())
        memory.there, both.wire.written = both.wire.written, b""
    await both.give(memory.taken())
    both.wire.written = b""
    hello = ClientHello().create((3, 3), bytearray(32), bytearray(), [CipherSuite.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256])
    answers = answer = 0
    while both.wire.reading:
        for _ in peer._sendMsg(hello):
            pass
        both.secure.receive(memory.taken())
        assert not both.wire.ended
        answer = len(both.wire.written) - both.wire.unsent
        both.wire.unsent += answer
        assert answer
        answers += 1
        assert answers < 50_000
    high, _ = both.wire.limits
    assert answers > 10 and 2 * high < both.wire.unsent <= 2 * high + 2 * answer, answers
    both.client.transport.resume_reading()  # as its client does when it has read
    both.wire.unsent = 0
    peer.write(b"still here")
    both.secure.receive(memory.taken())
    assert both.client.received[-1] == b"still here" and both.wire.reading


async def test_handshakes_in_turns(certificates):  # noqa: F811
    """Some steps in each turn of the event loop; of two addresses in turn, however many one of them has begun."""
    pairs = [Pair(certificates(), ssl.TLSVersion.TLSv1_3) for _ in range(12)]
    room = pairs[0].server.anteroom
    order = []
    for number, both in enumerate(pairs):
        room.leave(both.secure)
        both.secure.key = b"one" if number < 10 else b"other"
        both.secure._server = pairs[0].server
        room.enter(both.secure)
        with pytest.raises(ssl.SSLWantReadError):
            both.peer.do_handshake()
        both.wire.heed = lambda number=number: order.append(number)
    for both in pairs:
        both.secure.receive(both._out.read())
    turns = []
    while len(order) < 12:
        before = len(order)
        await asyncio.sleep(0)
        turns.append(len(order) - before)
    assert max(turns) <= 2
    assert order[:4] == [0, 10, 1, 11] and order[4:] == list(range(2, 10))
