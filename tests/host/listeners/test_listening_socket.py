"""What stands between a socket and the broker on CPython: places for handshakes, PROXY headers, Unix sockets."""

import asyncio
import contextlib
import errno
import os
import re
import resource
import socket
import ssl
import stat
import sys
import time
from typing import Any

import pytest
import uvloop

from certificates import certificates  # noqa: F401
from drivers import TIMEOUT
from port.core.auth.allow_deny import AllowAll
from port.cpython import Server
from port.cpython import server as server_module
from port.cpython.net import listeners, listening_socket, transport

CONNECT = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c"
CONNACK = b"\x20\x02\x00"


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Run a coroutine in each kind of event loop."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    def run(work):
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(work)

    return run


async def until(condition):
    async with asyncio.timeout(TIMEOUT):
        while not condition():
            await asyncio.sleep(0.01)


async def connack(port, data):
    """The return code of the CONNACK to what is sent; None when the connection ends without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    async with asyncio.timeout(TIMEOUT):
        try:
            answer = await reader.readexactly(4)
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return None
        finally:
            writer.transport.abort()
    assert answer.startswith(CONNACK)
    return answer[3]


class FewPlaces(Server):
    PLACES = 6


class ManyPlaces(Server):
    """More for each of two addresses than are accepted before those that have come are read."""

    PLACES = 4 * listening_socket.AT_ONCE


class Crowd:
    """Connections from some addresses, as many as ever stay, opened again as soon as one is closed: they send `data` and wait."""

    def __init__(self, where, addresses, data=b"", each=12):
        self._tasks = [asyncio.create_task(self._come(where, address, data)) for address in addresses for _ in range(each)]
        self.came = 0
        self.gone = 0

    async def _come(self, where, address, data):
        while True:
            try:
                reader, writer = await asyncio.open_connection(*where, local_addr=(address, 0))
                self.came += 1
                writer.write(data)
                await reader.read()
            except OSError:
                pass
            self.gone += 1
            with contextlib.suppress(UnboundLocalError):
                writer.transport.abort()

    async def __aenter__(self):
        await until(lambda: self.gone)  # there is no room for all of it
        return self

    async def __aexit__(self, *_):
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


HELLO = b"\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03"  # how a handshake begins


@pytest.mark.parametrize("begun", [b"", HELLO])
def test_two_addresses_cannot_take_all_places_for_handshakes(run, certificates, begun):  # noqa: F811
    ours = certificates()
    context = ssl.create_default_context(cafile=ours.ca)

    async def work():
        server = FewPlaces()
        server.listen("127.0.0.1", 0, tls={"certificate": ours.server, "key": ours.key})
        async with server:
            where = server.addresses[0]
            async with Crowd(where, ("127.0.0.2", "127.0.0.3"), begun) as crowd:
                for number in range(20):
                    address = "127.0.0.%d" % (10 + number)
                    async with asyncio.timeout(TIMEOUT):
                        reader, writer = await asyncio.open_connection(
                            *where, local_addr=(address, 0), ssl=context, server_hostname="localhost"
                        )
                        writer.write(CONNECT)
                        assert await reader.readexactly(4) == CONNACK + b"\0", number
                    writer.transport.abort()
                assert len(server.anteroom) <= 6 and crowd.came > 24
            await until(lambda: not len(server.anteroom))

    run(work())


def test_two_addresses_cannot_take_all_places_for_proxy_headers(run):
    """Neither if one of them is the proxy: of its headers the one that is waited for longest goes."""

    async def work():
        server = ManyPlaces(anonymous="all")
        server.listen("127.0.0.1", 0, proxy_protocol=True, trusted_proxies=["127.0.0.0/8"])
        async with server:
            where = server.addresses[0]
            async with Crowd(where, ("127.0.0.1", "127.0.0.2"), b"PROXY TCP4 192.0", 130):
                for number in range(20):
                    header = b"PROXY TCP4 192.0.2.%d 192.0.2.9 1 2\r\n" % number
                    assert await connack(where[1], header + CONNECT) == 0, number  # through 127.0.0.1

    run(work())


def test_who_is_told_by_a_proxy_counts_for_himself(run, certificates):  # noqa: F811
    """Behind one proxy, where the header is there and TLS is what is not finished."""
    ours = certificates()
    context = ssl.create_default_context(cafile=ours.ca)
    header = b"PROXY TCP4 192.0.2.%d 192.0.2.9 1 2\r\n"

    async def work():
        server = ManyPlaces(anonymous="all")
        server.listen("127.0.0.1", 0, tls={"certificate": ours.server, "key": ours.key}, proxy_protocol=True)
        async with server:
            where = server.addresses[0]
            async with Crowd(where, ("127.0.0.1",), header % 1 + HELLO, 260):
                for number in range(20):
                    with socket.create_connection(where, TIMEOUT) as sock:
                        sock.sendall(header % (number + 2))
                        await asyncio.to_thread(handshake, context, sock)

    run(work())


@pytest.mark.parametrize("few", [{}, {"max_connections": 4}])
def test_two_addresses_cannot_take_all_places_for_requests(run, few):
    async def work():
        server = FewPlaces(anonymous="all")
        here = server.listen("127.0.0.1", 0, type="http", **few)
        async with server:
            where = server.addresses[0]
            async with Crowd(where, ("127.0.0.2", "127.0.0.3"), b"GET / HT"):
                for number in range(20):
                    reader, writer = await asyncio.open_connection(*where, local_addr=("127.0.0.%d" % (10 + number), 0))
                    writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                    async with asyncio.timeout(TIMEOUT):
                        assert (await reader.read()).startswith(b"HTTP/1.1 200 "), number
                    writer.close()
                assert here.connected <= few.get("max_connections", 6)

    run(work())


def handshake(context, sock, **client):
    """TLS, CONNECT and its answer."""
    with context.wrap_socket(sock, server_hostname="localhost") as secure:
        secure.sendall(CONNECT)
        assert secure.recv(4) == CONNACK + b"\0"


def test_as_many_as_the_host_accepts_at_once_may_be_without_connect(run):
    """However few clients there may be; the core by itself would keep to half of them."""

    async def work():
        server = Server(max_connections=20)
        server.listen("127.0.0.1", 0)
        async with server:
            sockets = [socket.create_connection(server.addresses[0], TIMEOUT) for _ in range(15)]
            await until(lambda: len(server.connections) + server.counters.refused == 15)
            assert not server.counters.refused
            for sock in sockets:
                sock.close()

    run(work())


@pytest.mark.parametrize("epoll", [True, False])
def test_it_serves_what_comes_by_whatever_there_is_and_again_after_a_stop(run, monkeypatch, tmp_path, epoll):
    """Where there is no epoll asyncio's own servers do it."""
    monkeypatch.setattr(server_module, "AVAILABLE", epoll)

    async def exchange(reader, writer, client_id=b"c"):
        writer.write(CONNECT[:-1] + client_id + b"\x82\x06\0\1\0\1" + client_id + b"\0\x30\x05\0\1" + client_id + b"hi")
        async with asyncio.timeout(TIMEOUT):
            assert await reader.readexactly(4 + 5 + 7) == CONNACK + b"\0\x90\3\0\1\0\x30\x05\0\1" + client_id + b"hi"
        return reader, writer

    async def work():
        server = Server()
        server.listen("127.0.0.1", 0)
        server.listen(type="unix", file=str(tmp_path / "s"))
        for _ in range(2):
            await server.start()
            assert (server.served is not None) == epoll
            ours = [await exchange(*await asyncio.open_connection(*server.addresses[0])),
                    await exchange(*await asyncio.open_unix_connection(str(tmp_path / "s")), b"u")]  # fmt: skip
            assert server.sockets == 2
            stopping = asyncio.create_task(server.stop())
            for reader, writer in ours:
                async with asyncio.timeout(TIMEOUT):
                    assert await reader.read() == b""
                writer.close()
            await stopping
            await until(lambda: not server.sockets)
            assert server.served is None

    run(work())


def test_nobody_is_on_this_machine_because_a_proxy_says_so(run, monkeypatch):
    """Where anonymous clients of this machine alone are let in; the proxy is somewhere else, or here."""
    proxy = ["10.0.0.9"]
    monkeypatch.setattr(listening_socket, "address_text", lambda peer: "%s:%d" % (proxy[0], peer[1]))

    async def work():
        server = Server()
        server.listen("127.0.0.1", 0, proxy_protocol=True)
        async with server:
            port = server.addresses[0][1]
            for where, source, code in (
                ("10.0.0.9", "TCP4 127.0.0.1 10.0.0.9 1 2", 5), ("10.0.0.9", "TCP4 127.1.2.3 10.0.0.9 1 2", 5),
                ("10.0.0.9", "TCP6 ::1 ::1 1 2", 5), ("10.0.0.9", "TCP6 ::ffff:127.0.0.1 ::1 1 2", 5),
                ("10.0.0.9", "UNKNOWN", 5), ("10.0.0.9", "TCP4 10.0.0.1 10.0.0.9 1 2", 5),
                ("127.0.0.1", "TCP4 127.0.0.1 127.0.0.1 1 2", 0), ("127.0.0.1", "TCP4 10.0.0.1 127.0.0.1 1 2", 5),
                ("127.0.0.1", "UNKNOWN", 5),
            ):  # fmt: skip
                proxy[0] = where
                assert await connack(port, b"PROXY %s\r\n" % source.encode() + CONNECT) == code, (where, source)

    run(work())


def test_an_address_that_has_to_wait_does_so_behind_a_proxy(run):
    async def work():
        server = Server(max_auth_failures=1, anonymous="none")
        here = server.listen("127.0.0.1", 0, proxy_protocol=True)
        async with server:
            port = server.addresses[0][1]
            header = b"PROXY TCP4 192.0.2.%d 192.0.2.9 1 2\r\n"
            # One user name waits; ten times as many failures, of several, shut the address out.
            assert [await connack(port, header % 1 + CONNECT) for _ in range(3)] == [5, 5, 5]
            assert here.refused == 0
            other = b"\x10\x10\0\4MQTT\4\x82\0\0\0\1c\0\1%d"
            assert [await connack(port, header % 1 + other % n) for n in range(10)] == [5] * 9 + [None]
            assert here.refused == 1
            assert await connack(port, header % 2 + CONNECT) == 5

    run(work())


# -- Unix sockets ---------------------------------------------------------------------------------


def test_the_mode_of_a_unix_socket(run, tmp_path, monkeypatch):
    path = tmp_path / "sock"
    seen = []
    listen = socket.socket.listen

    def spy(self, *backlog):  # before that nobody can connect
        seen.append(stat.S_IMODE(os.stat(path).st_mode))
        return listen(self, *backlog)

    monkeypatch.setattr(socket.socket, "listen", spy)

    async def work(mode):
        server = Server(anonymous="all")
        server.listen(type="unix", file=str(path), mode=mode)
        async with server:
            assert stat.S_IMODE(os.stat(path).st_mode) == int(mode, 8)
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(CONNECT)
            assert await reader.readexactly(4) == CONNACK + b"\0"
            writer.transport.abort()
        assert not path.exists()

    umask = os.umask(0o077)
    try:
        for mode in ("660", "600", "777", "200"):
            run(work(mode))
            assert set(seen) <= {int(mode, 8)}
            seen.clear()
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(umask)


def test_a_link_where_a_unix_socket_should_be(run, tmp_path):
    """Neither the link nor what it leads to is touched."""
    file, stale, path = tmp_path / "file", tmp_path / "stale", tmp_path / "sock"
    file.write_text("mine")
    file.chmod(0o600)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(stale))

    async def work():
        server = Server()
        server.authenticators.append(AllowAll())
        server.listen(type="unix", file=str(path))
        with pytest.raises(OSError, match="cannot listen on %s" % path):
            await server.start()

    for target in (file, stale, tmp_path / "nowhere"):
        path.symlink_to(target)
        before = target.lstat() if target.exists() else None
        run(work())
        assert path.is_symlink() and (target.lstat() if target.exists() else None) == before
        path.unlink()
    os.rename(stale, path)  # but a socket nobody listens on is replaced

    async def works():
        server = Server()
        server.listen(type="unix", file=str(path))
        async with server:
            assert path.is_socket()

    run(works())


@pytest.mark.parametrize("epoll", [True, False])
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("proxied", [b"", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", b"PROXY UNKNOWN\r\n"])
def test_tls_and_proxy_protocol_over_a_unix_socket(run, certificates, tmp_path, monkeypatch, epoll, tls, proxied):  # noqa: F811
    monkeypatch.setattr(server_module, "AVAILABLE", epoll)
    ours = certificates()
    path = str(tmp_path / "sock")
    settings = {"certificate": ours.server, "key": ours.key} if tls else None
    context = ssl.create_default_context(cafile=ours.ca)

    def talk():
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(TIMEOUT)
            sock.connect(path)
            sock.sendall(proxied)
            if tls:
                handshake(context, sock)
            else:
                sock.sendall(CONNECT)
                assert sock.recv(4) == CONNACK + b"\0"

    async def work():
        server = Server(anonymous="all")
        server.listen(type="unix", file=path, proxy_protocol=bool(proxied), tls=settings)
        addresses = []
        server.on("connect", lambda client: addresses.append(client.conn.address))
        async with server:
            for _ in range(3):
                await asyncio.to_thread(talk)
        assert addresses == ["192.0.2.1:1" if b"TCP4" in proxied else "?" if proxied else "unix"] * 3

    run(work())


def test_a_proxy_at_a_unix_socket_needs_no_network(tmp_path):
    server = Server()
    with pytest.raises(ValueError, match="listener unix: trusted_proxies.*mode"):
        server.listen(type="unix", file=str(tmp_path / "sock"), proxy_protocol=True, trusted_proxies=["127.0.0.1"])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_proxies_that_anybody_can_be_are_refused(host):
    server = Server()
    with pytest.raises(ValueError, match="listener tcp: trusted_proxies: is missing"):
        server.listen(host, 0, proxy_protocol=True)
    server.listen(host, 0, proxy_protocol=True, trusted_proxies=["10.0.0.0/8"])
    for here in ("127.0.0.1", "::1", "localhost", "127.1.2.3"):
        server.listen(here, 0, proxy_protocol=True)


# -- addresses ------------------------------------------------------------------------------------


def test_all_addresses_are_those_of_ipv4_and_ipv6(run):
    """One port for both, and rules see IPv4 addresses as such."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")

    async def work():
        server = Server()
        server.listen("::", 0)
        addresses = []
        server.on("connect", lambda client: addresses.append(client.address.rpartition(":")[0]))
        async with server:
            assert [host for host, _ in server.addresses] == ["::", "0.0.0.0"]
            (port,) = {port for _, port in server.addresses}
            for host in ("127.0.0.1", "::1"):
                reader, writer = await asyncio.open_connection(host, port)
                writer.write(CONNECT)
                assert (await reader.readexactly(4)).startswith(CONNACK)
                writer.transport.abort()
        assert addresses == ["127.0.0.1", "[::1]"]
        server = Server()
        server.listen("::", port)
        with socket.create_server(("127.0.0.1", port)), pytest.raises(OSError, match="cannot listen on"):
            await server.start()

    run(work())


# -- whatever one client does ---------------------------------------------------------------------


@pytest.mark.parametrize("epoll", [True, False])
def test_the_next_client_is_accepted_whatever_befell_the_one_before(run, monkeypatch, epoll):
    monkeypatch.setattr(server_module, "AVAILABLE", epoll)
    fails = [True, True]

    def failing(*args):
        if fails.pop():
            raise KeyError("on purpose")
        return transport.SocketTransport(*args)

    async def work():
        server = Server()
        server.listen("127.0.0.1", 0)
        async with server:
            port = server.addresses[0][1]
            assert [await connack(port, CONNECT) for _ in range(2)] == [None, None]
            fails.append(False)
            assert await connack(port, CONNECT) == 0

    monkeypatch.setattr(listeners.TcpListener, "transport", staticmethod(failing))
    run(work())


class Listening:
    """A listening socket whose next clients have met with these errors."""

    def __init__(self, sock, errors):
        self._sock = sock
        self._errors = errors

    def accept(self):
        if self._errors:
            raise OSError(self._errors.pop(), "on purpose")
        return self._sock.accept()


def test_errors_of_one_client_keep_nobody_waiting(run):
    """accept() tells them; they are no reason to pause."""

    async def work():
        server = Server()
        server.listen("127.0.0.1", 0)
        async with server:
            entrance = server.entrances[0]
            sock = entrance._sockets[0]
            with socket.create_connection(server.addresses[0], TIMEOUT) as peer:
                peer.sendall(CONNECT)
                errors = [errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.EHOSTUNREACH]
                failing: Any = Listening(sock, errors)
                entrance._take(asyncio.get_running_loop(), failing)
                assert await asyncio.to_thread(peer.recv, 4) == CONNACK + b"\0"

    run(work())


class FileLimit:
    """No more file descriptors than are open now and `more`."""

    def __init__(self, more):
        self._more = more

    def __enter__(self):
        self._before = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._fillers = []
        highest = max(map(int, os.listdir("/proc/self/fd")))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + self._more, self._before[1]))
        with contextlib.suppress(OSError):
            while True:
                self._fillers.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(self._more):
            os.close(self._fillers.pop())

    def __exit__(self, *_):
        resource.setrlimit(resource.RLIMIT_NOFILE, self._before)
        for filler in self._fillers:
            os.close(filler)


@pytest.mark.parametrize("epoll", [True, False])
def test_without_file_descriptors_nobody_waits(run, monkeypatch, epoll):
    """Who comes is closed, or has the one of somebody above his share."""
    monkeypatch.setattr(server_module, "AVAILABLE", epoll)

    def peers(count, address):
        found = [socket.socket() for _ in range(count)]
        for sock in found:
            sock.settimeout(TIMEOUT)
            sock.bind((address, 0))
        return found

    async def work():
        server = Server(sys_interval=0)
        server.listen("127.0.0.1", 0)
        server.listen("127.0.0.1", 0, proxy_protocol=True)
        plain, proxy = [address[1] for address in ((await started(server)).addresses)]
        ours = peers(4, "127.0.0.1")
        honest = peers(3, "127.0.0.4")
        crowd = peers(8, "127.0.0.2")
        await asyncio.to_thread(lambda: None)  # a thread has descriptors, too
        with FileLimit(0):
            for sock in ours:
                sock.connect(("127.0.0.1", plain))
                assert await asyncio.to_thread(sock.recv, 1) == b""
        with FileLimit(6):
            for sock in crowd:
                sock.connect(("127.0.0.1", proxy))
            await until(lambda: len(server.anteroom) + server.counters.refused >= 12)  # some are in, the others have been closed
            for sock in honest:  # its place and its descriptor
                sock.connect(("127.0.0.1", plain))
                sock.sendall(CONNECT)
                assert await asyncio.to_thread(sock.recv, 4) == CONNACK + b"\0"
        for sock in (*ours, *honest, *crowd):
            sock.close()
        await server.stop()

    run(work())


async def started(server):
    await server.start()
    return server


def test_no_more_clients_than_file_descriptors(start_broker, tmp_path):
    """Where the limit cannot be raised that is told, and enforced: a crowd without CONNECT leaves others their places."""
    broker = start_broker("cpython", program=limited(tmp_path, 256))
    deadline = time.monotonic() + TIMEOUT
    while not (told := re.search(r"max_connections is (\d+): the system lets this process have 256 files open", broker.output)):
        assert time.monotonic() < deadline, broker.output  # a thread writes the log
        time.sleep(0.02)
    assert 50 < int(told[1]) < 200, broker.output
    clients = []
    while True:
        sock = socket.create_connection(("127.0.0.1", broker.port), TIMEOUT)
        clients.append(sock)
        sock.sendall(b"\x10\x0f\0\4MQTT\4\2\0\0\0\3%03d" % len(clients))
        answer = sock.recv(4)
        if answer != CONNACK + b"\0":
            break
    assert answer == CONNACK + b"\x03" and len(clients) == int(told[1]) + 1
    for sock in clients:
        sock.close()


def limited(tmp_path, files):
    """An interpreter that can have no more files open."""
    path = tmp_path / "python"
    path.write_text("#!/bin/sh\nulimit -n %d && exec %s \"$@\"\n" % (files, sys.executable))
    path.chmod(0o755)
    return path
