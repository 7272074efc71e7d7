"""port.core.streams: clients on pairs of asyncio streams, here in memory."""

import asyncio

from harness import split
from port.core import TYPE_CHECKING
from port.core.limits.options import Options
from port.core.broker import Broker
from port.core.streams import serve_stream

if TYPE_CHECKING:
    from typing import Any

CONNECT = b"\x10\x0d\0\4MQTT\4\2\0\0\0\1"  # and a letter
SUBSCRIBE = b"\x82\x06\0\1\0\1a\0"
PUBLISH = b"\x30\x05\0\1ahi"


class Server(Broker):
    """What both adapters have for it; `pauses` are the ms that were slept."""

    def __init__(self, **options):
        Broker.__init__(self, Options(sys_interval=0, **options))
        self.pauses = []

    def run_task(self, work):
        return asyncio.create_task(work)

    def new_event(self):
        return asyncio.Event()

    async def pause(self, ms):
        self.pauses.append(ms)
        await asyncio.sleep(0.01 if ms < 1000 else 0.2)


class Pipe:
    """One direction, with room for so many bytes until they are read."""

    def __init__(self, room=1 << 20):
        self.room = room
        self.data = b""
        self.most = 0
        self.reads = 0
        self.ended = False
        self.closed = False
        self.error: "Any" = None
        self.transport: "Any" = None

    async def read(self, n):
        self.reads += 1
        while not self.data and not self.ended and self.error is None:
            await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        found = self.data[:n]
        self.data = self.data[len(found) :]
        return found

    def write(self, data):
        assert isinstance(data, bytes) and not self.closed
        self.data += data
        self.most = max(self.most, len(self.data))

    async def drain(self):
        while len(self.data) > self.room and self.error is None:
            await asyncio.sleep(0)
        if self.error is not None:
            raise self.error

    def close(self):
        self.ended = True

    async def wait_closed(self):
        self.closed = True


async def turns(count=20):
    for _ in range(count):
        await asyncio.sleep(0)


class Client:
    """A client of the server, on two pipes."""

    def __init__(self, server, letter=b"c", room=1 << 20, address="127.0.0.1:1", piece=4096):
        self.up = Pipe()
        self.down = Pipe(room)
        self.task = asyncio.create_task(serve_stream(server, self.up, self.down, address, piece=piece))
        if letter:
            self.up.data = CONNECT + letter

    async def packets(self):
        """What has come for it."""
        await turns()
        data = self.down.data
        self.down.data = b""
        return split(data)

    async def over(self):
        """The streams are closed."""
        for _ in range(1000):
            if self.down.closed:
                return True
            await asyncio.sleep(0.001)
        return False


def test_clients_get_what_others_publish():
    async def main():
        server = Server()
        one, two = Client(server, b"1"), Client(server, b"2", piece=1)
        assert await one.packets() == [b"\x20\2\0\0"]
        await turns(100)
        assert await two.packets() == [b"\x20\2\0\0"]
        one.up.data = SUBSCRIBE
        assert await one.packets() == [b"\x90\3\0\1\0"]
        two.up.data = PUBLISH + PUBLISH
        await turns(100)
        assert await one.packets() == [PUBLISH, PUBLISH]
        assert server.counters.bytes_received == 2 * 15 + len(SUBSCRIBE) + 2 * len(PUBLISH)
        one.up.ended = two.up.ended = True
        assert await one.over() and await two.over()
        assert not server.connections

    asyncio.run(main())


def test_who_does_not_read_is_sent_no_more_than_fits():
    async def main():
        server = Server(outbox_bytes=1024)
        slow = Client(server, b"s", room=0)
        await slow.packets()
        slow.up.data = SUBSCRIBE
        await slow.packets()
        for _ in range(100):
            server.publish("a", bytes(100))
            await turns(2)
        await turns()
        came = []
        for _ in range(50):
            came += await slow.packets()
        assert 1024 <= sum([len(packet) for packet in came]) <= 2048 and len(came) + server.counters.dropped == 100
        server.publish("a", b"again")
        assert await slow.packets() == [b"\x30\x08\0\1aagain"]
        slow.task.cancel()
        await slow.over()

    asyncio.run(main())


def test_who_sends_and_does_not_read_the_answers_is_not_read():
    async def main():
        server = Server(outbox_bytes=256)
        client = Client(server, b"c", room=0, piece=64)
        await client.packets()
        client.up.data = b"\xc0\0" * 4000
        await turns(500)
        assert len(client.up.data) > 4000 and client.down.most <= 1024
        count = 0
        for _ in range(1000):
            count += len(await client.packets())
        assert count == 4000
        client.task.cancel()
        await client.over()

    asyncio.run(main())


def test_a_client_that_is_held_is_not_read():
    async def main():
        server = Server()
        client = Client(server)
        await client.packets()
        (conn,) = server.connections
        conn.transport.pause_reading()
        client.up.data = b"\xc0\0"
        await turns()  # a read was under way
        client.up.data = b"\xc0\0"
        reads = client.up.reads
        await turns()
        assert client.up.reads == reads and client.up.data
        conn.transport.resume_reading()
        assert await client.packets() == [b"\xd0\0"] * 2
        client.task.cancel()
        await client.over()

    asyncio.run(main())


def test_who_is_disconnected_can_read_why():
    async def main():
        server = Server()
        client = Client(server, b"")
        client.up.data = b"\x10\x0e\0\4MQTT\5\2\0\0\0\0\1c"
        await client.packets()
        server.disconnect("c", 0x98)
        server.flush()
        await turns()
        assert client.down.data[:1] == b"\xe0" and not client.down.closed
        client.up.data = b"\xc0\0"  # of no interest any more
        assert await client.over() and server.pauses == [250, 5000] or server.pauses == [5000, 250]
        assert client.down.data == split(client.down.data)[0]

    asyncio.run(main())


def test_who_never_takes_the_last_packet_is_cut():
    async def main():
        server = Server()
        client = Client(server, b"c", room=-1)
        await turns()
        server.disconnect("c")
        await turns()
        assert not client.down.closed
        assert await client.over()

    asyncio.run(main())


def test_streams_that_fail():
    async def main():
        for side in ("up", "down"):
            server = Server()
            levels: "list[int]" = []
            server.log = lambda level, text, *args: levels.append(level)
            client = Client(server)
            await client.packets()
            pipe = client.up if side == "up" else client.down
            pipe.error = OSError(104)
            if side == "down":
                client.up.data = b"\xc0\0"
            assert await client.over() and not server.connections
            assert max(levels) == 1  # that is nobody's fault

    asyncio.run(main())


def test_the_end_of_the_task_is_the_end_of_the_connection():
    async def main():
        server = Server()
        watcher = Client(server, b"w")
        await watcher.packets()
        watcher.up.data = SUBSCRIBE
        await watcher.packets()
        client = Client(server, b"")
        client.up.data = b"\x10\x14\0\4MQTT\4\6\0\0\0\1c\0\1a\0\2hi"  # with a will
        await client.packets()
        client.task.cancel()
        assert await client.over()
        while server.session_registry.settling:
            server.work()
        server.flush()
        assert await watcher.packets() == [PUBLISH]
        watcher.task.cancel()
        await watcher.over()

    asyncio.run(main())


class Ended:
    """A transport as that of a pipe in asyncio: once it is closed abort() fails."""

    def __init__(self, pipe):
        self.pipe = pipe

    def abort(self):
        if self.pipe.closed:
            raise AttributeError("abort")


def test_a_transport_that_is_closed_is_not_aborted():
    async def main():
        client = Client(Server())
        client.down.transport = Ended(client.down)
        await client.packets()
        client.up.data = b"\xe0\0"
        await client.task
        assert client.down.closed

    asyncio.run(main())


def test_who_is_turned_away():
    async def main():
        server = Server(max_connections_per_address=1, anonymous="all")
        first = Client(server, b"1", address="192.0.2.1:1")
        await turns()
        second = Client(server, b"2", address="192.0.2.1:2")
        assert await second.over() and not await second.packets()
        first.task.cancel()
        await first.over()
        # Streams without an address are not taken for this machine: without authentication nobody is let in.
        other = Client(Server(), b"3", address="stream")
        assert await other.packets() == [b"\x20\2\0\5"] and await other.over()

    asyncio.run(main())


def test_what_a_client_would_not_get_any_more_is_not_kept():
    async def main():
        server = Server()
        client = Client(server)
        await client.packets()
        client.up.data = SUBSCRIBE
        await client.packets()
        (conn,) = server.connections
        stream: "Any" = conn.transport
        conn.hold(2)
        conn.take(b"\xc0\0")  # which waits
        client.up.ended = True
        assert await client.over()
        for _ in range(50):
            server.publish("a", bytes(10000))
        assert not stream._chunks and not stream._unsent

    asyncio.run(main())


def test_a_large_packet_alone_does_not_make_a_client_slow():
    async def main():
        server = Server(outbox_bytes=1024)
        client = Client(server, room=0)
        await client.packets()
        client.up.data = SUBSCRIBE
        await client.packets()
        server.publish("a", bytes(4000))
        server.publish("a", b"small")
        await turns()
        server.publish("a", b"more")
        packets = await client.packets() + await client.packets()
        assert len(packets[0]) > 4000 and packets[1:] == [b"\x30\x08\0\1asmall", b"\x30\x07\0\1amore"]
        assert not server.counters.dropped
        client.task.cancel()
        await client.over()

    asyncio.run(main())


def test_what_handling_has_raised_is_told():
    async def main():
        server = Server()
        client = Client(server, b"")
        client.up.data = b"\x10\x0e\0\4MQTT\5\2\0\0\0\0\1c"
        await client.packets()
        client.up.error = MemoryError()
        packets = await client.packets()
        assert packets[-1][:1] == b"\xe0" and await client.over()

    asyncio.run(main())
