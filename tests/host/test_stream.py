"""The event loop of our own: sockets that are served while it polls."""

import asyncio
import resource
import socket
import struct

import pytest

from port.cpython import EventLoop, Server
from port.cpython.stream import Stream

SECONDS = 30
MUCH = bytes(range(256)) * 20_000


class Recorder:
    """A protocol that writes down what it is told."""

    def __init__(self):
        self.received = b""
        self.calls = []
        self.error = None
        self.lost = asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport

    def receive(self, data):
        if data == b"fail":
            raise KeyError("on purpose")
        self.received += data

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")

    def connection_lost(self, exc):
        self.error = exc
        self.lost.set()


def own_loop():
    loop = asyncio.get_running_loop()
    assert isinstance(loop, EventLoop)
    return loop


def run(test):
    """Run it with a Stream: test(protocol, the peer's socket)."""

    async def main():
        here, there = socket.socketpair()
        there.setblocking(False)
        recorder = Recorder()
        Stream(own_loop(), here, recorder)
        with there:
            async with asyncio.timeout(SECONDS):
                await test(recorder, there)
        recorder.transport.abort()
        await recorder.lost.wait()

    with asyncio.Runner(loop_factory=EventLoop) as runner:
        runner.run(main())


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


async def read(peer, count):
    data = b""
    while len(data) < count:
        data += await asyncio.get_running_loop().sock_recv(peer, count - len(data))
    return data


def test_what_the_socket_does_not_take_follows_later():
    async def test(recorder, peer):
        transport = recorder.transport
        transport.set_write_buffer_limits(1000, 100)
        for at in range(0, len(MUCH), 100_000):
            transport.write(MUCH[at : at + 100_000])
        assert transport.get_write_buffer_size()
        assert recorder.calls == ["pause"]
        transport.write_eof()
        assert await read(peer, len(MUCH)) == MUCH
        await until(lambda: not transport.get_write_buffer_size())
        assert recorder.calls == ["pause", "resume"]
        assert await asyncio.get_running_loop().sock_recv(peer, 1) == b""  # our half is closed
        peer.send(b"still heard")
        await until(lambda: recorder.received == b"still heard")

    run(test)


def test_much_is_read_in_order():
    async def test(recorder, peer):
        await asyncio.get_running_loop().sock_sendall(peer, MUCH)
        await until(lambda: len(recorder.received) == len(MUCH))
        assert recorder.received == MUCH

    run(test)


def test_paused_it_reads_nothing():
    async def test(recorder, peer):
        recorder.transport.pause_reading()
        peer.send(b"1")
        await asyncio.sleep(0.05)
        assert recorder.received == b""
        recorder.transport.resume_reading()
        await until(lambda: recorder.received == b"1")

    run(test)


def test_close_sends_the_rest_first():
    async def test(recorder, peer):
        recorder.transport.write(MUCH)
        recorder.transport.close()
        assert recorder.transport.is_closing()
        assert await read(peer, len(MUCH)) == MUCH
        await recorder.lost.wait()
        assert recorder.error is None
        assert await asyncio.get_running_loop().sock_recv(peer, 1) == b""

    run(test)


def test_abort_does_not():
    async def test(recorder, peer):
        recorder.transport.write(MUCH)
        recorder.transport.abort()
        recorder.transport.write(b"ignored")
        await recorder.lost.wait()
        assert recorder.error is None

    run(test)


def test_the_peer_closes():
    async def test(recorder, peer):
        peer.send(b"last words")
        peer.close()
        await recorder.lost.wait()
        assert recorder.received == b"last words"
        assert recorder.error is None

    run(test)


def test_nobody_reads_the_rest():
    async def test(recorder, peer):
        recorder.transport.pause_reading()
        recorder.transport.write(MUCH)
        peer.close()
        await recorder.lost.wait()
        assert isinstance(recorder.error, OSError)

    run(test)


def test_an_error_in_the_protocol_ends_one_connection():
    async def test(recorder, peer):
        told = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))
        peer.send(b"fail")
        await recorder.lost.wait()
        assert [type(error) for error in told] == [KeyError]

    run(test)


def test_reset_by_the_peer():
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as peer:
            recorder = Recorder()
            Stream(own_loop(), listening.accept()[0], recorder)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        async with asyncio.timeout(SECONDS):
            await recorder.lost.wait()
        assert isinstance(recorder.error, ConnectionResetError)

    with asyncio.Runner(loop_factory=EventLoop) as runner:
        runner.run(main())


@pytest.mark.parametrize("factory", [EventLoop, None])
def test_a_server_without_file_descriptors_accepts_again_later(factory):
    async def main():
        server = Server(sys_interval=0)
        server.listen("127.0.0.1", 0)
        await server.start()
        loop = asyncio.get_running_loop()
        peers = [socket.socket() for _ in range(3)]
        for peer in peers:
            peer.setblocking(False)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(peer.fileno() for peer in peers)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
        try:
            fillers = []
            while True:
                try:
                    fillers.append(socket.socket())
                except OSError:
                    break
            for peer in peers:
                await loop.sock_connect(peer, server.addresses[0])
                await loop.sock_sendall(peer, b"\x10\x0d\0\4MQTT\4\2\0\0\0\1" + b"%d" % peers.index(peer))
            await asyncio.sleep(0.1)
            assert server.sockets == 0
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for filler in fillers:
                filler.close()
        async with asyncio.timeout(SECONDS):
            for peer in peers:
                assert await read(peer, 4) == b"\x20\2\0\0"
        for peer in peers:
            peer.close()
        await server.stop()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
