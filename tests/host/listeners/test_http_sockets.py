"""Sockets of an http listener on CPython whose clients do not read, and those that become WebSockets."""

import asyncio
import base64
import socket

import pytest

from port.cpython.net import transport
from port.cpython.server import Server
from port.core.web.http_response import Response
from drivers import TIMEOUT

UPGRADE = (
    b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: "
    + base64.b64encode(bytes(16)) + b"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)  # fmt: skip
CONNECT = b"\x10\x0d\0\4MQTT\4\2\0\0\0\1a"


def serve(work, size):
    """Run `work(server, port)` with a page /big of this many bytes, and sockets that take few."""

    async def run():
        server = Server()
        server.listen("127.0.0.1", 0, type="http", anonymous="all", paths=["/mqtt"])
        server.route("GET", "/big", lambda request: Response(b"x" * size), "open")
        await server.start()
        for sock in server.entrances[0]._sockets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        try:
            await asyncio.wait_for(work(server, server.addresses[0][1]), TIMEOUT)
        finally:
            await server.stop()

    asyncio.run(run())


async def reach(server, count):
    while server.open_sockets != count:
        await asyncio.sleep(0.01)


async def client(port, data):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", port))
    await loop.sock_sendall(sock, data)
    return sock


@pytest.mark.parametrize("end", [b"", b"x"])  # closed at once, and so that the client is told
def test_who_does_not_read_the_last_piece_is_counted_and_goes(monkeypatch, end):
    monkeypatch.setattr(transport, "LINGER", 3600.0)

    async def work(server, port):
        with await client(port, b"GET /big HTTP/1.0\r\n\r\n" + end):
            while not len(server.anteroom):
                await asyncio.sleep(0.01)
            assert server.open_sockets == 1 and not server.sites[0].connections
            server.anteroom.expire(asyncio.get_running_loop().time() + 3601)
            assert server.open_sockets == 0
            assert server.served.unsent == 0

    serve(work, 60000)


def test_who_does_not_read_has_no_place_where_none_is_left():
    async def work(server, port):
        server.anteroom.size = 0
        with await client(port, b"GET /big HTTP/1.0\r\n\r\n") as sock:
            loop = asyncio.get_running_loop()
            got = b""
            while more := await loop.sock_recv(sock, 65536):
                got += more
            assert got.startswith(b"HTTP/1.1 200 ") and len(got) < 60000
            await reach(server, 0)

    serve(work, 60000)


def test_who_reads_late_gets_all():
    async def work(server, port):
        with await client(port, b"GET /big HTTP/1.0\r\n\r\n") as sock:
            while not len(server.anteroom):
                await asyncio.sleep(0.01)
            data = b""
            while got := await asyncio.get_running_loop().sock_recv(sock, 65536):
                data += got
            assert data.endswith(b"\r\n\r\n" + b"x" * 60000)
            await reach(server, 0)

    serve(work, 60000)


def test_a_websocket_behind_a_page_the_client_was_slow_to_take():
    async def work(server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 23)
        writer.write(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n" + UPGRADE)
        await reader.readuntil(b"101 Switching")
        writer.write(bytes((0x82, 0x80 | len(CONNECT))) + bytes(4) + CONNECT)
        await reader.readuntil(b"\x82\x04\x20\x02\0\0")
        writer.close()

    serve(work, 3000000)
