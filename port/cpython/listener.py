"""Listening sockets: where clients come in, over TCP or Unix sockets, with TLS or behind a load balancer.

Plain sockets are Streams where there is epoll, else asyncio's own servers. With TLS or PROXY protocol each connection
is looked at before a byte is spent on it: how many are in a handshake already, and whether its address is welcome.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import stat
from collections.abc import Coroutine
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any

from port.core.address import host, is_loopback
from port.core.listener_config import ListenerConfig
from port.core.listener import Listener
from port.core.options import Options
from port.core.peers import Peers
from port.cpython import proxy
from port.cpython.bridge import Bridge
from port.cpython.client import Client, InfoClient, WebSocketClient, address_text
from port.cpython.sockets import Sockets
from port.cpython.stream import Stream

if TYPE_CHECKING:
    from port.cpython.server import Server

BACKLOG = 1024
_PAUSE = 1.0  # seconds until the next try to accept after an error: no file descriptors left, most likely
_LOOK = 0.01  # seconds until the second look at a PROXY header that has not come yet; later ones are rarer
_SELDOM = 0.5
_RECEIVERS: dict[str, type[Client | InfoClient]] = {"tcp": Client, "unix": Client, "websocket": WebSocketClient, "http": InfoClient}


class Entrance:
    """One listener's socket and what stands between it and the broker.

    config    as configured
    listener  the core's side
    tls       None, or the context of handshakes to come: set another one to change the certificate
    """

    def __init__(self, server: Server, config: ListenerConfig, listener: Listener, tls: ssl.SSLContext | None) -> None:
        """Raises ValueError for a network in `trusted_proxies` that is none."""
        self.config = config
        self.listener = listener
        self.tls = tls
        self._server = server
        self._trusted = trusted_networks(config)
        # One address must not take all the places there are for handshakes.
        self._shaking = Peers()
        self._share = Options(max_connections_per_address=max(1, server.handshakes // 2))
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of the open sockets; a Unix socket's file with port 0."""
        found = []
        for sock in self._sockets:
            name = sock.getsockname()
            found.append((name, 0) if isinstance(name, str) else (name[0], name[1]))
        return found

    async def open(self) -> None:
        """Begin to listen. Raises OSError naming the address."""
        config = self.config
        server = self._server
        loop = asyncio.get_running_loop()
        try:
            if config.type == "unix":
                self._sockets.append(self._unix_socket())
            else:
                await self._bind()
            for sock in self._sockets:
                sock.setblocking(False)
                if self.tls is not None or config.proxy_protocol:
                    self._start(self._accept(sock))
                elif server.served is not None:
                    loop.add_reader(sock, self._take, loop, server.served, sock)
                elif config.type == "unix":
                    self._servers.append(await loop.create_unix_server(self._bridge, sock=sock, backlog=BACKLOG))
                else:
                    self._servers.append(await loop.create_server(self._bridge, sock=sock, backlog=BACKLOG))
        except OSError as e:
            self.close()
            raise OSError(e.errno, "cannot listen on %s: %s" % (config.place(), e.strerror or e)) from None

    async def _bind(self) -> None:
        loop = asyncio.get_running_loop()
        config = self.config
        infos = await loop.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((info[0], info[4]) for info in infos):
            sock = socket.create_server(address, family=family, backlog=BACKLOG)
            self._sockets.append(sock)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # those it accepts have it, too

    def close(self) -> None:
        """Listen no more; the clients stay."""
        loop = asyncio.get_running_loop()
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        for sock in self._sockets:
            if self._server.served is not None:
                loop.remove_reader(sock)
            if self.config.type == "unix" and os.path.exists(self.config.file):
                os.unlink(self.config.file)
            sock.close()
        self._servers = []
        self._sockets = []

    def _client(self, address: str = "") -> Client | InfoClient:
        return _RECEIVERS[self.config.type](self._server, self, address)

    def _bridge(self, address: str = "") -> Bridge:
        return Bridge(self._server, self._client(address))

    def _take(self, loop: asyncio.AbstractEventLoop, served: Sockets, listening: socket.socket) -> None:
        """Accept who has come."""
        for _ in range(BACKLOG):
            try:
                sock, peer = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as e:
                self._server.log(2, "listener %s: %s", self.listener.id, e)
                loop.remove_reader(listening)
                loop.call_later(_PAUSE, self._take_again, loop, served, listening)
                return
            Stream(loop, served, sock, self._client("unix" if sock.family == socket.AF_UNIX else address_text(peer)))

    def _take_again(self, loop: asyncio.AbstractEventLoop, served: Sockets, listening: socket.socket) -> None:
        if listening in self._sockets:
            loop.add_reader(listening, self._take, loop, served, listening)

    def _unix_socket(self) -> socket.socket:
        path = self.config.file
        if os.path.lexists(path):
            # Nor is a link to a socket replaced: somebody else may have put it there.
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise OSError(errno.EEXIST, "the file exists and is no socket")
            if _answers(path):
                raise OSError(errno.EADDRINUSE, "the socket is in use")
            os.unlink(path)
        sock = socket.socket(socket.AF_UNIX)
        umask = os.umask(0o777 & ~int(self.config.mode, 8))  # so the mode is right from the beginning
        try:
            sock.bind(path)
            sock.listen(BACKLOG)
        except OSError:
            sock.close()
            raise
        finally:
            os.umask(umask)
        return sock

    # -- TLS and PROXY protocol ---------------------------------------------------------------

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, peer = await loop.sock_accept(listening)
            except OSError as e:
                self._server.log(2, "listener %s: %s", self.listener.id, e)
                await asyncio.sleep(_PAUSE)
                continue
            address = address_text(peer)
            refusal = self._refusal(address)
            place = "" if self.config.proxy_protocol else self._shaking.enter(address, self._share)
            if refusal or place is None:
                self._shaking.leave(place)
                self._server.turn_away(self.listener, address, refusal or "too many handshakes from this address")
                sock.close()
                continue
            self._start(self._admit(sock, address, place))

    def _refusal(self, address: str) -> str:
        """Why a new connection is not worth a handshake; empty when it is."""
        server = self._server
        if len(self._tasks) > server.handshakes or server.sockets >= server.options.max_connections + server.handshakes:
            return "too many connections without CONNECT"
        if not self.config.proxy_protocol and server.peers.blocked(address, server.clock()):
            return "too many failures to authenticate"
        if self._trusted and not any(ip_address(host(address)) in network for network in self._trusted):
            return "not one of the trusted proxies"
        return ""

    async def _admit(self, sock: socket.socket, address: str, place: Any) -> None:
        """PROXY header and TLS handshake, both together within `connect_timeout`, then the client."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.listener.options.connect_timeout
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.config.proxy_protocol:
                async with asyncio.timeout_at(deadline):
                    address = _told(await _proxied(sock), address)
                if self._server.peers.blocked(address, self._server.clock()):
                    raise ValueError("too many failures to authenticate")
            await loop.connect_accepted_socket(
                lambda: self._bridge(address),
                sock,
                ssl=self.tls,
                ssl_handshake_timeout=None if self.tls is None else max(0.1, deadline - loop.time()),
            )
        except (OSError, ValueError, TimeoutError) as e:
            self._server.turn_away(self.listener, address, str(e) or "no handshake in time")
            sock.close()
        except asyncio.CancelledError:
            sock.close()
            raise
        finally:
            self._shaking.leave(place)


def trusted_networks(config: ListenerConfig) -> list[IPv4Network | IPv6Network]:
    """The networks of `trusted_proxies`. Raises ValueError naming what is no network."""
    found = []
    for text in config.trusted_proxies:
        try:
            found.append(ip_network(text))
        except ValueError as e:
            raise ValueError("listener %s: trusted_proxies: %s" % (config.id, e)) from None
    return found


def _told(told: str | None, address: str) -> str:
    """The client's address: that in the PROXY header, if it has any, else the socket's."""
    if told is None:
        return address
    # The proxy means its own machine then, whose clients have no rights on ours.
    return proxy.UNKNOWN if is_loopback(told) and not is_loopback(address) else told


async def _proxied(sock: socket.socket) -> str | None:
    """Take the PROXY header off a socket and no byte more; the client's address, None when it tells none."""
    pause = _LOOK
    while True:
        try:
            data = sock.recv(proxy.V2_MOST, socket.MSG_PEEK)
        except BlockingIOError:
            data = None
        if data is not None:
            if not data:
                raise ValueError("closed before the PROXY header")
            header = proxy.parse(data)
            if header is not None:
                sock.recv(header[0])
                return header[1]
        await asyncio.sleep(pause)
        pause = min(2 * pause, _SELDOM)  # many that send nothing must not keep the broker busy


def _answers(path: str) -> bool:
    """True when somebody listens on the Unix socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(path)
        except OSError:
            return False
    return True
