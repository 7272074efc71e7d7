"""Many MQTT clients in one process, on plain non-blocking sockets.

A `Client` is one of them; `Swarm` opens many at once and waits for packets on all of them.
Packets are (first byte, body).
"""

from __future__ import annotations

import errno
import random
import select
import socket
import time
from collections.abc import Callable
from typing import Any

from fuzzing.packets import connect, subscribe

PATIENCE = 60.0  # seconds without any progress after which something is called lost
SOURCES = (10000, 32000)  # ports of clients of a board
PER_ADDRESS = 5000  # connections from each source address: the system has some 28,000 ports for each


class Client:
    """A socket, what came in on it, and what still has to go out."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.packets: list[tuple[int, bytes]] = []
        self.closed = False
        self.outgoing = b""
        self._data = b""

    def send(self, data: bytes) -> None:
        """Send, now or as soon as the socket takes it."""
        self.outgoing += data
        self.write()

    def write(self) -> None:
        try:
            while self.outgoing:
                self.outgoing = self.outgoing[self.sock.send(self.outgoing):]
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                self.closed = True
                self.outgoing = b""

    def read(self, size: int = 65536) -> None:
        """Take in what is there."""
        try:
            data = self.sock.recv(size)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.closed = True
            return
        self._data += data
        self._cut()

    def _cut(self) -> None:
        data = self._data
        i, end = 0, len(data)
        while end - i > 1:
            size = data[i + 1]
            at = i + 2
            if size > 127:
                if end - i < 4:
                    break
                size = size & 127 | (data[at] & 127) << 7
                at += 1
                if data[at - 1] > 127:
                    size |= data[at] << 14
                    at += 1
            if at + size > end:
                break
            self.packets.append((data[i], data[at : at + size]))
            i = at + size
        self._data = data[i:]

    def take(self) -> list[tuple[int, bytes]]:
        """The packets received so far, which are forgotten."""
        packets, self.packets = self.packets, []
        return packets

    def abort(self) -> None:
        """Close without a word."""
        self.sock.close()


class Swarm:
    """Clients of one broker, served by one epoll object; also a context manager."""

    def __init__(self, port: int, distinct: bool = False) -> None:
        """`distinct`: no client has the port of another that has left less than minutes ago, as lwIP wants it: to a client whose
        address and port it saw less than two minutes ago it does not answer."""
        self.port = port
        self.clients: list[Client] = []
        self._epoll = select.epoll()
        self._by_number: dict[int, Client] = {}
        self._source = random.randrange(*SOURCES) if distinct else 0

    def __enter__(self) -> Swarm:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self.clients:
            client.sock.close()
        self._epoll.close()

    def open(self, first: bytes = b"", port: int = 0) -> Client:
        """A new client that sends `first` as soon as it can; it is not waited for.

        `port`: another door of the same broker.
        """
        sock = socket.socket()
        sock.setblocking(False)
        if self._source:
            self._bind(sock)
        elif len(self.clients) >= PER_ADDRESS:
            sock.bind(("127.0.0.%d" % (1 + len(self.clients) // PER_ADDRESS), 0))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            sock.connect(("127.0.0.1", port or self.port))
        except BlockingIOError:
            pass
        client = Client(sock)
        client.outgoing = first
        self.clients.append(client)
        self._by_number[sock.fileno()] = client
        self._epoll.register(sock, select.EPOLLIN | select.EPOLLOUT)
        return client

    def _bind(self, sock: socket.socket) -> None:
        """To the next port that nobody has."""
        while True:
            self._source = self._source + 1 if self._source < SOURCES[1] else SOURCES[0]
            try:
                sock.bind(("127.0.0.1", self._source))
                return
            except OSError as e:
                if e.errno != errno.EADDRINUSE:
                    raise

    def connect(self, client_id: bytes, version: int = 4, **more: Any) -> Client:
        """A client that was accepted."""
        client = self.open(connect(version, client_id, **more))
        self.wait(lambda: client.packets or client.closed)
        packets = client.take()
        assert packets and packets[0][0] == 0x20 and packets[0][1][1] == 0, (packets, client.closed)
        client.packets = packets[1:]
        return client

    def connect_many(self, count: int, packet: Callable[[int], bytes], batch: int = 400) -> list[Client]:
        """`count` clients with the CONNECT `packet(i)`, all of them accepted."""
        clients: list[Client] = []
        for start in range(0, count, batch):
            some = [self.open(packet(i)) for i in range(start, min(start + batch, count))]
            self.wait(lambda: all(client.packets or client.closed for client in some))
            for client in some:
                first, body = client.packets.pop(0)
                assert first == 0x20 and body[1] == 0
            clients += some
        return clients

    def step(self, timeout: float = 1.0) -> bool:
        """Read and write where that is possible; True when something happened."""
        ready = self._epoll.poll(timeout)
        for number, events in ready:
            client = self._by_number.get(number)
            if client is None:
                continue
            if events & select.EPOLLOUT:
                client.write()
            if events & ~select.EPOLLOUT:
                client.read()
            if client.closed:
                self.forget(client)
            else:
                wanted = select.EPOLLIN | (select.EPOLLOUT if client.outgoing else 0)
                self._epoll.modify(number, wanted)
        return bool(ready)

    def send(self, client: Client, data: bytes) -> None:
        """Send, and go on at each `step` if the socket does not take all."""
        client.send(data)
        if client.outgoing:
            self._epoll.modify(client.sock.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def forget(self, client: Client) -> None:
        """Watch the client no more: it is closed, or stalls on purpose."""
        number = client.sock.fileno()
        if self._by_number.pop(number, None) is not None:
            self._epoll.unregister(number)

    def watch(self, client: Client) -> None:
        """Watch a forgotten client again."""
        self._by_number[client.sock.fileno()] = client
        self._epoll.register(client.sock, select.EPOLLIN)

    def wait(self, condition: Callable[[], object]) -> None:
        """Step until the condition holds; fails when nothing happens any more."""
        last = time.monotonic()
        while not condition():
            if self.step(0.2):
                last = time.monotonic()
            assert time.monotonic() - last < PATIENCE, "nothing happens"

    def exchange(self, client: Client, data: bytes, count: int = 1) -> list[tuple[int, bytes]]:
        """Send, and return the next `count` packets."""
        self.send(client, data)
        self.wait(lambda: len(client.packets) >= count or client.closed)
        packets = client.packets[:count]
        del client.packets[:count]
        return packets

    def ping(self, client: Client) -> bool:
        """True when the broker answers this client."""
        return (0xD0, b"") in self.exchange(client, b"\xc0\0")

    def figure(self, client: Client, name: bytes) -> int:
        """A number below $SYS/broker; for a client of MQTT 3.1.1."""
        topic = b"$SYS/broker/" + name
        packets = self.exchange(client, subscribe(4, 77, [(topic, 0)]), 2)
        assert [first for first, _ in packets] == [0x90, 0x31], packets
        self.send(client, b"\xa2" + bytes((4 + len(topic),)) + b"\0\x4e" + len(topic).to_bytes(2, "big") + topic)
        while self.exchange(client, b"") not in ([(0xB0, b"\0\x4e")], []):
            pass  # the figure, which has changed meanwhile
        return int(packets[1][1][2 + len(topic):])

    def leave(self, *clients: Client) -> None:
        """Disconnect, and wait until the broker has closed."""
        for client in clients:
            self.send(client, b"\xe0\0")
        self.wait(lambda: all(client.closed for client in clients))
        for client in clients:
            self.clients.remove(client)
            client.abort()

    def heap(self) -> tuple[int, int]:
        """Bytes in use and free on a board, without garbage; a client is there while it is asked."""
        client = self.connect(b"heap")
        used, free = (self.figure(client, b"heap/" + name) for name in (b"current", b"free"))
        self.leave(client)
        return used, free

    def settled_heap(self) -> int:
        """Bytes in use when nothing is given back any more: what is to be closed and cannot send has five seconds for it."""
        least, quiet = self.heap()[0], 0
        while quiet < 12:
            time.sleep(0.5)
            used = self.heap()[0]
            quiet = 0 if used < least else quiet + 1
            least = min(least, used)
        return least


def topic_of(body: bytes) -> bytes:
    """The topic name of a PUBLISH."""
    return body[2 : 2 + (body[0] << 8 | body[1])]


def packet_id_of(body: bytes) -> bytes:
    """The packet identifier of a PUBLISH with QoS 1 or 2, two bytes."""
    at = 2 + (body[0] << 8 | body[1])
    return body[at : at + 2]
