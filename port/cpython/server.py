"""The broker on asyncio: listeners, one protocol object per client, one tick a second.

    server = Server(max_connections=100)
    server.listen("127.0.0.1", 1883)
    await server.start()
    server.publish("a/b", "hello", retain=True)
    await server.stop()
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any

from port.core import setup
from port.core.auth import Authenticator
from port.core.broker import Broker
from port.core.config import Config
from port.core.listener import Listener
from port.core.listener_config import describe, new_listener
from port.core.options import Options
from port.core.store import Store
from port.cpython import rows
from port.cpython.client import LINGER
from port.cpython.listener import BACKLOG, Entrance
from port.cpython.load import LoadAverages
from port.cpython.poller import EventLoop
from port.cpython.sockets import AVAILABLE, Sockets
from port.cpython.tls import server_context

logger = logging.getLogger("ucomqtt")

_BUFFER = 262144  # bytes
_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)


def log(level: int, text: str, *args: Any) -> None:
    """The broker's log on the standard library's logging, logger `ucomqtt`."""
    error = args[-1] if level == 3 and args and isinstance(args[-1], Exception) else None
    logger.log(_LEVELS[level], text, *args, exc_info=error)


def milliseconds() -> int:
    """The broker's clock."""
    return time.monotonic_ns() // 1_000_000


class Server(Broker):
    """A broker with listeners. See port.core.broker.Broker for publish, subscribe, on and the figures.

    Options are given by name (see port.core.options) or as an Options object; ValueError names a wrong one.
    All methods belong to the thread of the event loop.

    sockets  MQTT clients whose socket is open
    served   the plain ones among them while it runs, None without epoll: then all are asyncio's
    buffer   what asyncio's transports read lies here until it is handled
    """

    handshakes = BACKLOG  # asyncio accepts so many before it reads from any of them

    def __init__(
        self,
        options: Options | None = None,
        *,
        log: Callable[..., None] = log,
        store: Store | None = None,
        **values: Any,
    ) -> None:
        super().__init__(options or Options(**values), milliseconds, log, store)
        self.random = os.urandom
        self.rows = rows
        self.sys.wall = lambda: int(time.time())
        self._load = LoadAverages(self)
        self.sys.extras.append(self._load.figures)
        self._entrances: list[Entrance] = []
        self._ticker: asyncio.Task[None] | None = None
        self._working = False
        self._committing = False
        self._stopped = asyncio.Event()
        self.sockets = 0
        self.served: Sockets | None = None
        self.buffer = memoryview(bytearray(_BUFFER))

    # -- listeners --------------------------------------------------------------------------

    def listen(
        self,
        host: str = "127.0.0.1",
        port: int | None = None,
        *,
        type: str = "tcp",
        tls: ssl.SSLContext | dict[str, Any] | None = None,
        auth: Sequence[Authenticator] | None = None,
        acl: Iterable[dict[str, Any]] | None = None,
        **values: Any,
    ) -> Listener:
        """Add a listener, opened by `start`; port 0 takes any free one, see `addresses`.

        type    tcp, websocket, unix (with `file`), or http for the info pages
        tls     an SSLContext, or its settings as in the configuration (port.cpython.tls)
        auth    its authenticators in place of the server's
        acl     rules for it in place of the server's, see port.core.acl_rule.rule
        values  any other key of port.core.listener_config.ListenerConfig: id, file, paths, origins, and options

        Raises ValueError naming what is wrong.
        """
        config = describe(self, host, port, type, tls, acl, values)
        listener = new_listener(self, config, [])
        listener.authenticators = self.authenticators if auth is None else list(auth)
        self._entrances.append(Entrance(self, config, listener, _context(config.tls, tls)))
        return listener

    def configure(self, config: Config, made: list[Authenticator]) -> None:
        """Add the listeners, rights and limits of a configuration. Raises ValueError, OSError naming what is wrong.

        `made`: the authenticators of its [[auth]], in order.
        """
        setup.begin(self, config)
        for entry in config.listeners:
            context = _context(entry.tls)
            self._entrances.append(Entrance(self, entry, new_listener(self, entry, made), context))

    async def change(self, config: Config, made: list[Authenticator]) -> None:
        """Take over another configuration while running: see port.core.setup.reconfigure; certificates are read again.

        `made`: the authenticators of its [[auth]], in order; those that go on are the same objects as before.

        Raises ValueError or OSError naming what is wrong, and then nothing has changed.
        """
        by_id = {entry.id: entry for entry in config.listeners}
        contexts = {}
        for entrance in self._entrances:
            entry = by_id.get(entrance.listener.id)
            if entry is not None:
                setup.check_tls(entry, entrance.tls is not None)
                contexts[entrance] = _context(entry.tls)
        old = self.all_authenticators()
        for authenticator in made:
            if authenticator not in old:
                await _call(authenticator, "open")
        for entrance, context in contexts.items():
            entrance.tls = context
        setup.reconfigure(self, config, made)
        for authenticator in old:
            if authenticator not in self.all_authenticators():
                await _call(authenticator, "close")

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each open listener; a Unix socket's file, and 0."""
        return [address for entrance in self._entrances for address in entrance.addresses]

    # -- start and stop -----------------------------------------------------------------------

    async def start(self) -> None:
        """Restore what the store has, open the listeners and start the tick.

        Raises OSError naming a listener that cannot be opened, OSError or ValueError saying what is wrong with the store.
        """
        self._stopped.clear()
        loop = asyncio.get_running_loop()
        self._restore()
        self._begin_serving(loop)
        opened: list[Entrance] = []
        try:
            for entrance in self._entrances:
                await entrance.open()
                opened.append(entrance)
        except OSError:
            for entrance in opened:
                entrance.close()
            self._end_serving(loop)
            self._close_store()
            raise
        for entrance in opened:
            for host, port in entrance.addresses:
                self.log(1, "listener %s: listening on %s:%d", entrance.listener.id, host, port)
        for authenticator in self.all_authenticators():
            await _call(authenticator, "open")
        self._ticker = loop.create_task(self._tick())

    def _restore(self) -> None:
        """Open the store. Much is made at that and nothing thrown away: the cycle collector would only look at it again."""
        collecting = gc.isenabled()
        gc.disable()
        try:
            self.open_store()
        finally:
            if collecting:
                gc.enable()

    async def stop(self) -> None:
        """Close the listeners, say goodbye to the clients and wait until they have heard it, 2 s at most."""
        for entrance in self._entrances:
            entrance.close()
        await self._settle_store()
        self.disconnect_all()
        deadline = time.monotonic() + LINGER
        while self.sockets and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        for authenticator in self.all_authenticators():
            await _call(authenticator, "close")
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        await self._settle_store()
        self._close_store()
        self._end_serving(asyncio.get_running_loop())
        self.log(1, "stopped")
        self._stopped.set()

    def _begin_serving(self, loop: asyncio.AbstractEventLoop) -> None:
        if isinstance(loop, EventLoop):
            self.served = loop.sockets
        elif AVAILABLE:
            self.served = Sockets()
            loop.add_reader(self.served.fileno(), self.served.serve, 0)
        if self.served is not None:
            self.served.after.append(self._answer)

    def _end_serving(self, loop: asyncio.AbstractEventLoop) -> None:
        served = self.served
        if served is None:
            return
        self.served = None
        served.after.remove(self._answer)
        if not isinstance(loop, EventLoop):
            served.abort()
            loop.remove_reader(served.fileno())
            served.close()

    async def _settle_store(self) -> None:
        """Wait until all changes up to now are durable, and those who wait for that told; not for a store that fails."""
        journal = self.journal
        if journal is None:
            return
        last = journal.batch
        while self.durable < last and not journal.failing and not journal.idle():
            journal.commit()
            await asyncio.sleep(0.002)

    def _close_store(self) -> None:
        if self.store is not None:
            if not self.journal.idle():
                self.log(3, "store: the last changes were not written")
            self.store.close()

    async def serve(self) -> None:
        """Start unless started, and return when stopped."""
        if self._ticker is None:
            await self.start()
        await self._stopped.wait()

    async def __aenter__(self) -> Server:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        await self.stop()

    # -- time and work --------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1)
            try:
                self._load.tick()
                self.tick()
            except Exception as e:
                self.crashed(None, e)

    def _answer(self) -> None:
        """See Sockets.after."""
        try:
            self.flush()
        except Exception as e:
            self.crashed(None, e)

    def commit_soon(self) -> None:
        """See Broker.commit_soon: what other sockets have brought meanwhile goes into the same batch."""
        if not self._committing:
            self._committing = True
            asyncio.get_running_loop().call_soon(self._commit)

    def _commit(self) -> None:
        self._committing = False
        self.journal.commit()

    def wake(self) -> None:
        """See Broker.wake."""
        if not self._working:
            self._working = True
            asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        self._working = self.work()
        self.flush()
        if self._working:
            asyncio.get_running_loop().call_soon(self._work)


def _context(settings: dict[str, Any] | None, given: Any = None) -> ssl.SSLContext | None:
    """The TLS context: as given, or made from settings."""
    if isinstance(given, ssl.SSLContext):
        return given
    return None if settings is None else server_context(settings)


async def _call(authenticator: Authenticator, name: str) -> None:
    """Open or close an authenticator that has connections of its own."""
    method = getattr(authenticator, name, None)
    if method is not None:
        await method()
