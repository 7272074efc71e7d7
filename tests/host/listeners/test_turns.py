"""Sockets on CPython: after a long poll addresses take turns, and who goes leaves nothing for the cycle collector."""

import asyncio
import gc
import socket
import time

import pytest

from port.cpython.net.epoll import AVAILABLE, READ, Owner, Sockets
from port.cpython.server import Server

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="needs epoll")


class Reader(Owner):
    """Notes who was served, and takes its time."""

    def __init__(self, sockets, address, served, seconds=0.02):
        self.address = address
        self.served = served
        self.seconds = seconds
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        sockets.watch(self.near.fileno(), self, 0, READ)

    def key(self):
        return self.address

    def ready(self, events):
        self.near.recv(100)
        self.served.append(self.address)
        time.sleep(self.seconds)


def test_addresses_take_turns_after_a_long_poll():
    sockets = Sockets()
    again: "list[bool]" = []
    sockets.again = lambda: again.append(True)
    served: "list[str]" = []
    many = [Reader(sockets, "many", served) for _ in range(20)]
    one = Reader(sockets, "one", served, 0)
    for _ in range(2):  # the first one finds many, the second one is long: from now on addresses take turns
        served.clear()
        for reader in many:
            reader.far.send(b"x")
        sockets.serve(0)
        assert served == ["many"] * 20
    for _ in range(3):
        served.clear()
        for reader in many:
            reader.far.send(b"x")
        one.far.send(b"x")
        while len(served) < 21:
            again.clear()
            sockets.serve(0)
        assert served.index("one") <= 1
        assert sorted(served) == ["many"] * 20 + ["one"] and not again
    for reader in (*many, one):
        sockets.watch(reader.near.fileno(), reader, READ, 0)
        reader.near.close()
        reader.far.close()
    sockets.close()


async def visit(port, data):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    await writer.drain()
    if data:
        await reader.read(100)
    writer.close()
    await writer.wait_closed()


def living():
    """How many connections there are in memory, those nobody can reach included."""
    return len([found for found in gc.get_objects() if type(found).__name__ in ("Connection", "Client", "Stream")])


def test_connections_that_are_over_go_without_the_cycle_collector():
    connect = b"\x10\x0d\0\4MQTT\4\2\0\0\0\1c"

    async def main():
        server = Server(sys_interval=0, log=lambda *_: None)
        server.listen("127.0.0.1", 0)
        await server.start()
        gc.collect()
        gc.disable()
        try:
            before = living()
            for data in (connect + b"\xe0\0", connect + b"\xc0\0", b"\x10\x00", b"\x30\x00", b""):
                for _ in range(3):
                    await visit(server.addresses[0][1], data)
            deadline = 200
            while living() > before and deadline:
                deadline -= 1
                await asyncio.sleep(0.02)
            assert living() == before
        finally:
            gc.enable()
            await server.stop()

    asyncio.run(main())


def test_clients_of_one_address_are_served_in_turn_with_others():
    """However many of them have something to say when serving all takes long."""
    connect = b"\x10\x0d\0\4MQTT\4\2\0\0\0\1"
    order: "list[bytes]" = []

    def note(message):
        order.append(message.payload)
        time.sleep(0.012)

    async def main():
        server = Server(sys_interval=0, log=lambda *_: None)
        server.listen("127.0.0.1", 0)
        server.subscribe("t", note)
        await server.start()
        loop = asyncio.get_running_loop()
        clients = []
        for i in range(31):
            client = socket.socket()
            client.bind(("127.0.0.3" if i == 30 else "127.0.0.2", 0))
            client.setblocking(False)
            await loop.sock_connect(client, server.addresses[0])
            await loop.sock_sendall(client, connect + bytes((65 + i,)))
            await loop.sock_recv(client, 4)
            clients.append(client)
        for _ in range(3):
            order.clear()
            for i, client in enumerate(clients):
                client.send(b"\x30\5\0\1t%02d" % i)
            while len(order) < 31:
                await asyncio.sleep(0.001)
        assert order.index(b"30") <= 2 and len(set(order)) == 31
        for client in clients:
            client.close()
        await server.stop()

    asyncio.run(main())
