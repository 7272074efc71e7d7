"""Listening sockets: where clients come in, with TLS or behind a load balancer; TCP's here, see also unix_listener.

Their connections are Streams where there is epoll, else asyncio's own. One that would be one too many is accepted and
closed: what nobody accepts would keep all who come after it waiting.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Coroutine, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any, ClassVar

from port.core.wire.reason_codes import AWAY_BLOCKED, AWAY_CONNECTIONS, AWAY_FILES, AWAY_PROXY
from port.core.limits.ip_address import host
from port.core.limits.listener import Listener
from port.core.config.listener_config import ListenerConfig
from port.core.config.listener_types import ListenerType
from port.cpython.net.asyncio_protocol import Bridge
from port.cpython.net.handshake import Proxied
from port.cpython.net.revocation import Revoked
from port.cpython.net.stream import Receiver, Stream
from port.cpython.net.tls import server_context
from port.cpython.net.tls_stream import Secure
from port.cpython.net.transport import SocketTransport, address_text

if TYPE_CHECKING:
    from port.cpython.server import Server

BACKLOG = 1024
AT_ONCE = 16  # connections accepted before those that are there are served again
_TRIES = 20  # to find a port that is free, where any will do
_PAUSE = 0.1  # seconds until the next try to accept when the kernel has no memory for it
# accept() tells what has befallen a client that waits: accept(2) of Linux. The next one may have been luckier.
_OF_CLIENT = tuple(
    getattr(errno, name)
    for name in (
        "ECONNABORTED", "EPROTO", "EPERM", "ENOPROTOOPT", "EOPNOTSUPP", "ENETDOWN", "ENETUNREACH", "EHOSTDOWN", "EHOSTUNREACH",
        "ENONET", "ETIMEDOUT",
    )
    if hasattr(errno, name)
)  # fmt: skip


class Change:
    """What a configuration of a listener asks for, with the files it names read."""

    def __init__(self, config: ListenerConfig, given: ssl.SSLContext | None = None) -> None:
        """Raises ValueError naming what is wrong."""
        self.config = config
        self.trusted = trusted_networks(config)
        self.tls = given
        self.revoked: Revoked | None = None
        try:
            if given is None and config.tls is not None:
                self.tls = server_context(config.tls)
                if "crl" in config.tls:
                    self.revoked = Revoked(config.tls["crl"])
        except ValueError as e:
            raise ValueError("listener %s: tls: %s" % (config.id, e)) from None


class ListeningSocket(ListenerType):
    """One listener's socket and what stands between it and the broker.

    transport  makes what serves a client: called with the server, this object and the client's address
    tls        None, or the context of handshakes to come: another one changes the certificate
    revoked    certificates of clients that are not let in, None without `crl`
    """

    WITHOUT: tuple[str, ...] = ()
    transport: ClassVar[type[SocketTransport]] = SocketTransport

    def __init__(self, server: Server, config: ListenerConfig, listener: Listener, given: ssl.SSLContext | None = None) -> None:
        """`given`: a context in place of the one that is configured. Raises ValueError naming what is wrong."""
        super().__init__(server, config, listener)
        self._server = server
        self.change(Change(config, given))
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    def make(cls, server: Server, config: ListenerConfig, listener: Listener, tls: ssl.SSLContext | None = None) -> ListeningSocket:
        """See ListenerType.make."""
        return cls(server, config, listener, tls)

    @classmethod
    def obstacles(cls, config: ListenerConfig) -> Iterator[str]:
        """See ListenerType.obstacles. A port that somebody uses is none: that may be the broker itself, which runs already."""
        try:
            infos = socket.getaddrinfo(config.host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, kind, _, _, address in infos[:1]:
                with socket.socket(family, kind) as sock:
                    sock.bind(address)
        except OSError as e:
            yield "host %s: %s" % (config.host, e.strerror or e)

    def prepare(self, config: ListenerConfig) -> Change:
        """See ListenerType.prepare; revocation lists may be long."""
        return Change(config)

    def change(self, prepared: Change) -> None:
        """See ListenerType.change."""
        self.config = prepared.config
        self.tls = prepared.tls
        self.revoked = prepared.revoked
        self._trusted = prepared.trusted

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
        server = self._server
        loop = asyncio.get_running_loop()
        try:
            await self.bind()
            for sock in self._sockets:
                sock.setblocking(False)
                if server.served is not None:
                    loop.add_reader(sock, self._take, loop, sock)
                else:
                    self._start(self._accept(sock))
        except OSError as e:
            self.close()
            raise OSError(e.errno, "cannot listen on %s: %s" % (self.config.place(), e.strerror or e)) from None

    async def bind(self) -> None:
        """Make the sockets. Raises OSError."""
        for left in reversed(range(_TRIES if self.config.port == 0 else 1)):
            try:
                return await self._bind_all()
            except OSError as e:
                # A port that is free in one family of addresses may be taken in the other.
                if e.errno != errno.EADDRINUSE or not left:
                    raise
                self.close()

    async def _bind_all(self) -> None:
        loop = asyncio.get_running_loop()
        config = self.config
        port = config.port
        # IPv4 has a socket of its own: through one of IPv6 its addresses would look like others.
        for name in ("::", "0.0.0.0") if config.host == "::" else (config.host,):  # nosec B104
            infos = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, address in dict.fromkeys((info[0], info[4]) for info in infos):
                sock = socket.create_server((address[0], port, *address[2:]), family=family, backlog=BACKLOG)
                self._sockets.append(sock)
                # Those it accepts have these, too.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                port = sock.getsockname()[1]  # any that is free, but the same for all

    def close(self) -> None:
        """Listen no more; the clients stay."""
        loop = asyncio.get_running_loop()
        for task in self._tasks:
            task.cancel()
        for sock in self._sockets:
            if self._server.served is not None:
                loop.remove_reader(sock)
            sock.close()
        self._sockets = []

    # -- who comes --------------------------------------------------------------------------------

    def client(self, address: str) -> Receiver:
        """What serves a client of this address."""
        return self.transport(self._server, self, address)

    def receiver(self, address: str, deadline: float) -> Receiver:
        """The same, behind the TLS handshake where there is one; `deadline`: see Newcomer."""
        return self.client(address) if self.tls is None else Secure(self._server, self, address, deadline, self.tls)

    def _serve(self, sock: socket.socket, peer: Any) -> None:
        """Serve who has come, or close the connection. Whatever goes wrong with one client, the next one is accepted."""
        server = self._server
        address = _address(sock, peer)
        try:
            refusal = self._refusal(address)
            if refusal is not None:
                server.connection_registry.turn_away(self.listener, address, *refusal)
                sock.close()
                return
            loop = asyncio.get_running_loop()
            deadline = loop.time() + self.listener.options.connect_timeout
            proxied = self.config.proxy_protocol
            receiver = Proxied(server, self, address, deadline) if proxied else self.receiver(address, deadline)
            if server.served is not None:
                Stream(loop, server.served, sock, receiver)
            else:
                self._start(self._bridge(sock, receiver))
        except Exception as e:
            server.crashed(None, e)
            sock.close()

    def _refusal(self, address: str) -> tuple[str, int] | None:
        """Why a new connection is not worth a byte, see ConnectionRegistry.turn_away; None when it is."""
        server = self._server
        if self._trusted and not _is_in(address, self._trusted):
            return "not one of trusted_proxies", AWAY_PROXY
        peers = server.connection_registry.peers
        if self.tls is not None and not self.config.proxy_protocol and peers.blocked(address, server.clock()):
            return "max_auth_failures reached", AWAY_BLOCKED
        if server.open_sockets >= server.most_sockets and not server.make_room(address):
            return "max_connections reached", AWAY_CONNECTIONS
        return None

    def _take(self, loop: asyncio.AbstractEventLoop, listening: socket.socket) -> None:
        """Accept who has come."""
        for _ in range(AT_ONCE):
            try:
                sock, peer = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as e:
                if e.errno in _OF_CLIENT:
                    continue
                if not self._squeeze(listening, e):
                    loop.remove_reader(listening)
                    loop.call_later(_PAUSE, self._take_again, loop, listening)
                return
            self._serve(sock, peer)

    def _take_again(self, loop: asyncio.AbstractEventLoop, listening: socket.socket) -> None:
        if listening in self._sockets:
            loop.add_reader(listening, self._take, loop, listening)

    def _squeeze(self, listening: socket.socket, error: OSError) -> bool:
        """There is no file descriptor for the next who waits: he gets that of somebody above his share, or is closed.

        False when neither can be done.
        """
        server = self._server
        if error.errno not in (errno.EMFILE, errno.ENFILE) or not server.spare.take():
            server.log(2, "listener %s: %s", self.listener.id, error)
            return False
        server.spare.give()
        try:
            sock, peer = listening.accept()
        except OSError:
            return server.spare.take()
        address = _address(sock, peer)
        if server.make_room(address):
            asyncio.get_running_loop().call_soon(server.spare.take)  # when who gives way has closed
            self._serve(sock, peer)
            return True
        server.connection_registry.turn_away(self.listener, address, "no file descriptor is left", AWAY_FILES)
        sock.close()
        return server.spare.take()

    # Where there is no epoll.

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
                if e.errno not in _OF_CLIENT and not self._squeeze(listening, e):
                    await asyncio.sleep(_PAUSE)
            else:
                self._serve(sock, peer)
            await asyncio.sleep(0)  # for those who are there

    async def _bridge(self, sock: socket.socket, receiver: Receiver) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: Bridge(self._server, receiver), sock)
        except OSError as e:
            self._server.log(2, "listener %s: %s", self.listener.id, e)
            sock.close()


def trusted_networks(config: ListenerConfig) -> list[IPv4Network | IPv6Network]:
    """The networks of `trusted_proxies`. Raises ValueError naming what is no network, or that some are needed."""
    where = "listener %s: trusted_proxies" % config.id
    if config.trusted_proxies and not config.proxy_protocol:
        raise ValueError("%s: is for listeners with proxy_protocol" % where)
    if config.kind.PLACE != "port":
        if config.trusted_proxies:
            raise ValueError("%s: there are no networks at a Unix socket, whose mode says who may connect" % where)
        return []
    if config.proxy_protocol and not config.trusted_proxies and config.kind.remote(config):
        raise ValueError("%s: is missing; else anybody could tell any address by PROXY protocol" % where)
    found = []
    for network in config.trusted_proxies:
        try:
            found.append(ip_network(network))
        except ValueError as e:
            raise ValueError("%s: %s" % (where, e)) from None
    return found


def _address(sock: socket.socket, peer: Any) -> str:
    return "unix" if sock.family == socket.AF_UNIX else address_text(peer)


def _is_in(address: str, networks: list[IPv4Network | IPv6Network]) -> bool:
    try:
        found = ip_address(host(address))
    except ValueError:
        return False
    return any(found in network for network in networks)
