"""The event loop of our own: sockets that are served while it polls."""

import asyncio
import socket
import struct
import threading

import pytest

from port.cpython import EventLoop
from port.cpython.net.stream import Receiver, Stream

SECONDS = 30
MUCH = bytes(range(256)) * 20_000


class Recorder(Receiver):
    """A receiver that writes down what it is told."""

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
        loop = own_loop()
        Stream(loop, loop.sockets, here, recorder)
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
        assert transport.get_extra_info("under_way", 0) == 0
        pieces = len(MUCH) // 100_000
        for at in range(0, len(MUCH), 100_000):
            transport.write(MUCH[at : at + 100_000])
        unsent = transport.get_write_buffer_size()
        behind = unsent - transport.get_extra_info("under_way")
        assert unsent > behind > 0 and behind % 100_000 == len(MUCH) % 100_000
        assert recorder.calls == ["pause"]
        transport.write_eof()
        assert await read(peer, len(MUCH)) == MUCH
        await until(lambda: not transport.get_write_buffer_size())
        # It is told again when another piece is under way.
        assert recorder.calls[0] == "pause" and recorder.calls.index("resume") == len(recorder.calls) - 1 <= pieces + 1
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


@pytest.mark.parametrize("size", [448, 449, 16384, 16385, 16832, 16833, 262144, 262145])
def test_a_read_that_is_full_is_not_the_last(size):
    async def test(recorder, peer):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        transport = recorder.transport
        data = MUCH[:size]
        for _ in range(4):  # from the second time on it knows that there is much
            transport.pause_reading()
            await asyncio.get_running_loop().sock_sendall(peer, data)  # all is there before the first read
            recorder.received = b""
            transport.resume_reading()
            await until(lambda: len(recorder.received) == size)
            assert recorder.received == data
        peer.send(b"few")
        await until(lambda: recorder.received == data + b"few")

    run(test)


def test_much_and_then_the_end():
    async def test(recorder, peer):
        recorder.transport.pause_reading()
        peer.send(MUCH[:100_000])
        peer.shutdown(socket.SHUT_WR)
        recorder.transport.resume_reading()
        await recorder.lost.wait()
        assert recorder.received == MUCH[:100_000]
        assert recorder.error is None

    run(test)


def test_it_reads_while_it_has_something_to_send():
    async def test(recorder, peer):
        recorder.transport.write(MUCH)
        for number in range(3):
            peer.send(b"%d" % number)
            await until(lambda: len(recorder.received) == number + 1)
        assert await read(peer, len(MUCH)) == MUCH
        peer.send(b"3")
        await until(lambda: recorder.received == b"0123")

    run(test)


def test_what_ends_in_the_meantime_receives_no_more():
    """Both sockets are read in one poll; the first that handles what it got ends the other."""

    class Rival(Recorder):
        other: "Rival"

        def receive(self, data):
            super().receive(data)
            self.other.transport.abort()

    async def main():
        loop = own_loop()
        peers, rivals = [], [Rival(), Rival()]
        for rival, other in zip(rivals, reversed(rivals)):
            rival.other = other
            here, there = socket.socketpair()
            Stream(loop, loop.sockets, here, rival)
            peers.append(there)
        for peer in peers:
            peer.send(b"me")
        async with asyncio.timeout(SECONDS):
            await until(lambda: any(rival.lost.is_set() for rival in rivals))
        assert sorted(rival.received for rival in rivals) == [b"", b"me"]
        for rival in rivals:
            rival.transport.abort()
        for rival, peer in zip(rivals, peers):
            await rival.lost.wait()
            peer.close()

    with asyncio.Runner(loop_factory=EventLoop) as runner:
        runner.run(main())


class Scheduler(Recorder):
    """Asks the loop for something when it receives."""

    def __init__(self, ask):
        super().__init__()
        self.ask = ask

    def receive(self, data):
        self.received += data
        self.ask(asyncio.get_running_loop())


@pytest.mark.parametrize("ask", [
    lambda loop: loop.call_soon(loop.stop),
    lambda loop: loop.call_later(0.01, loop.stop),
    lambda loop: loop.call_at(loop.time(), loop.stop),
    lambda loop: loop.stop(),
    lambda loop: loop.call_soon_threadsafe(loop.stop),
    lambda loop: loop.create_task(asyncio.sleep(0)).add_done_callback(lambda _: loop.stop()),
])  # fmt: skip
@pytest.mark.parametrize("timer", [None, 3600])
def test_what_is_asked_for_while_it_serves_sockets_comes_in_time(ask, timer):
    """The loop stops, though nothing else ends its wait."""

    async def begin(here):
        Stream(loop, loop.sockets, here, Scheduler(ask))

    loop = EventLoop()
    here, there = socket.socketpair()
    with there:
        loop.run_until_complete(begin(here))
        there.send(b"now")
        if timer is not None:
            loop.call_later(timer, lambda: None)
        watchdog = threading.Timer(SECONDS, loop.call_soon_threadsafe, [loop.stop])
        watchdog.start()
        loop.run_forever()
        alive = watchdog.is_alive()  # it was not the watchdog that ended it
        watchdog.cancel()
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    assert alive


def test_timers_are_kept_while_sockets_are_busy():
    """One socket's read makes the other ready: there is always something to serve, and nothing is ever scheduled."""

    class Echo(Recorder):
        def receive(self, data):
            self.received += data
            self.transport.write(data)

    async def main():
        loop = own_loop()
        ends = [Echo(), Echo()]
        for sock, end in zip(socket.socketpair(), ends):
            Stream(loop, loop.sockets, sock, end)
        timer = loop.create_future()
        loop.call_later(0.02, timer.set_result, None)
        ends[0].transport.write(b".")
        async with asyncio.timeout(SECONDS):
            await timer
        assert len(ends[0].received) > 10
        for end in ends:
            end.transport.abort()
            await end.lost.wait()

    with asyncio.Runner(loop_factory=EventLoop) as runner:
        runner.run(main())


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


@pytest.mark.parametrize("paused", [False, True])
def test_nobody_reads_the_rest(paused):
    async def test(recorder, peer):
        transport = recorder.transport
        if paused:
            transport.pause_reading()
        transport.write(MUCH)
        peer.close()
        if paused:  # what it sent may be read yet
            await until(lambda: not transport.get_write_buffer_size())
            transport.write(MUCH)
            assert not transport.get_write_buffer_size() and not recorder.lost.is_set()
            transport.resume_reading()
        await recorder.lost.wait()
        assert not transport.get_write_buffer_size() and recorder.calls == ["pause", "resume"]

    run(test)


def test_an_error_in_the_protocol_ends_one_connection():
    async def test(recorder, peer):
        told = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))
        peer.send(b"fail")
        await recorder.lost.wait()
        assert [type(error) for error in told] == [KeyError]

    run(test)


@pytest.mark.parametrize("size", [448, 448 + 16384, 100_000])
@pytest.mark.parametrize("writing", ["", "before", "much"])
def test_what_came_before_a_reset_is_read(size, writing):
    """Though a read that asks for more comes upon the error, or a write does, be it of what has waited."""

    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as peer:
            recorder = Recorder()
            loop = own_loop()
            here = listening.accept()[0]
            here.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_000_000)
            stream = Stream(loop, loop.sockets, here, recorder)
            stream.write(MUCH if writing == "much" else b"something it does not read")
            peer.sendall(MUCH[:size])
        if writing == "before":
            stream.write(b"more")
            stream.write(b"and more")
        async with asyncio.timeout(SECONDS):
            await recorder.lost.wait()
        assert recorder.received == MUCH[:size]
        assert recorder.calls == (["pause", "resume"] if writing == "much" else [])
        assert not loop.sockets.unsent

    with asyncio.Runner(loop_factory=EventLoop) as runner:
        runner.run(main())


@pytest.mark.parametrize("closing", [False, True])
def test_reset_by_the_peer(closing):
    """Also before we have heard of it, when we close our half."""

    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as peer:
            recorder = Recorder()
            loop = own_loop()
            Stream(loop, loop.sockets, listening.accept()[0], recorder)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if closing:
            recorder.transport.write_eof()
        async with asyncio.timeout(SECONDS):
            await recorder.lost.wait()
        assert isinstance(recorder.error, OSError if closing else ConnectionResetError)

    with asyncio.Runner(loop_factory=EventLoop) as runner:
        runner.run(main())
