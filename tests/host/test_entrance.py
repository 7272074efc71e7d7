"""What stands between a socket and the broker on CPython: places for handshakes, PROXY headers, Unix sockets."""

import asyncio
import os
import socket
import ssl
import stat

import pytest
import uvloop

from certificates import certificates  # noqa: F401
from port.cpython import Server, listener
from port.cpython import server as server_module
from tests.host.drivers import TIMEOUT
from port.core.everybody import AllowAll

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


class FewHandshakes(Server):
    handshakes = 6


def test_one_address_cannot_take_all_places_for_handshakes(run, certificates, monkeypatch):  # noqa: F811
    ours = certificates()
    address = ["10.0.0.1"]
    monkeypatch.setattr(listener, "address_text", lambda peer: "%s:%d" % (address[0], peer[1]))

    async def work():
        server = FewHandshakes(anonymous="all")
        here = server.listen("127.0.0.1", 0, tls={"certificate": ours.server, "key": ours.key})
        async with server:
            port = server.addresses[0][1]
            sockets = [socket.create_connection(("127.0.0.1", port), TIMEOUT) for _ in range(5)]
            await until(lambda: here.refused == 2)  # it has half of them
            address[0] = "10.0.0.2"
            sockets += [socket.create_connection(("127.0.0.1", port), TIMEOUT) for _ in range(3)]
            await until(lambda: here.refused == 2)
            for sock in sockets:
                sock.close()
            await until(lambda: here.refused == 8)  # handshakes that failed count, too
            address[0] = "10.0.0.1"
            for _ in range(4):  # it has its places back
                await asyncio.to_thread(handshake, port)

    def handshake(port):
        context = ssl.create_default_context(cafile=ours.ca)
        with socket.create_connection(("127.0.0.1", port), TIMEOUT) as sock:
            with context.wrap_socket(sock, server_hostname="localhost") as secure:
                secure.sendall(CONNECT)
                assert secure.recv(4) == CONNACK + b"\0"

    run(work())


def test_as_many_as_the_host_accepts_at_once_may_be_without_connect(run):
    """However few clients there may be; the core by itself would keep to half of them."""

    async def work():
        server = Server(max_connections=20)
        server.listen("127.0.0.1", 0)
        async with server:
            sockets = [socket.create_connection(server.addresses[0], TIMEOUT) for _ in range(15)]
            await until(lambda: len(server.connections) + server.refused == 15)
            assert not server.refused
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
    monkeypatch.setattr(listener, "address_text", lambda peer: "%s:%d" % (proxy[0], peer[1]))

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
            assert [await connack(port, header % 1 + CONNECT) for _ in range(3)] == [5, 5, None]
            assert here.refused == 1
            assert await connack(port, header % 2 + CONNECT) == 5

    run(work())


class Waiting:
    """A socket on which nothing comes, until so many have looked."""

    def __init__(self, data, looks):
        self.data = data
        self.left = looks

    def recv(self, size, flags=0):
        self.left -= 1
        if self.left > 0:
            raise BlockingIOError
        return self.data[:size]


async def test_looking_for_a_header_that_does_not_come_gets_rarer(monkeypatch):
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    assert await listener._proxied(Waiting(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", 30)) == "192.0.2.1:1"  # type: ignore[arg-type]
    # In the ten seconds there are by default.
    assert sum(pauses) > 10 and len(pauses) == 29 and pauses[0] < 0.05


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
