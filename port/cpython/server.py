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
import inspect
import logging
import os
import ssl
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any

from port.core.wire.reason_codes import NOT_AUTHORIZED, MQTTError
from port.core.limits.client_log import shown
from port.core.limits.ip_address import peer
from port.core.limits.listener import Listener, described
from port.core.limits.options import Options
from port.core.messages.message import Message
from port.core.sessions.session import Session
from port.core.auth.authenticator import Authenticator
from port.core.config import apply_config
from port.core.config.config import Config
from port.core.config.listener_config import add_listener, describe
from port.core.config.registry import REGISTRIES
from port.core.monitor.memory_guard import MemoryGuard
from port.core.storage.store import Store
from port.core.web.site import Site
from port.core.broker import Broker
from port.cpython import built_in  # registers the types
from port.cpython import publish_batch
from port.cpython.callbacks import Callbacks, refuse_authenticators
from port.cpython.config.config_sources import LEVELS
from port.cpython.config.parts import parts
from port.cpython.message_properties import checked
from port.cpython.monitor.load_averages import LoadAverages
from port.cpython.monitor.process_metrics import Process
from port.cpython.net import file_descriptors
from port.cpython.net.anteroom import Anteroom
from port.cpython.net.epoll import AVAILABLE, Sockets
from port.cpython.net.event_loop import EventLoop
from port.cpython.net.listening_socket import BACKLOG, ListeningSocket
from port.cpython.net.transport import LINGER, SocketTransport
from port.cpython.net.websocket_frames import Frames

logger = logging.getLogger("ucomqtt")

_BUFFER = 262144  # bytes
_SLICE = 100  # certificates looked up before others are served
_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)


def write_log(level: int, text: str, *args: Any) -> None:
    """The broker's log on the standard library's logging, logger `ucomqtt`."""
    error = args[-1] if level == 3 and args and isinstance(args[-1], Exception) else None
    logger.log(_LEVELS[level], text, *args, exc_info=error)


def milliseconds() -> int:
    """The broker's clock."""
    return time.monotonic_ns() // 1_000_000


class Server(Broker):
    """A broker with listeners. See port.core.broker.Broker for publish, subscribe, on and the figures.

    Options are given by name (see port.core.limits.options) or as an Options object; ValueError names a wrong one. Callbacks of
    `subscribe` may be async, and hooks that answer nothing: they are awaited in tasks of their own, one after the other is not
    waited for, and `stop` cancels those that are left.
    All methods belong to the thread of the event loop.

    sockets       MQTT clients whose socket is open
    anteroom      places of connections that are no clients: not yet, see net.handshake, or no more, see transport.Leaving
    most_sockets  connections of any kind that may be open
    spare         see port.cpython.net.file_descriptors
    served        all sockets while it runs, None without epoll: then they are asyncio's
    slow          clients that have much to read
    frames        what is being sent to WebSocket clients
    buffer        what asyncio's transports read lies here until it is handled
    """

    PLACES = BACKLOG  # of the anteroom, of connections without CONNECT, and of each listener that has pages

    def __init__(
        self,
        options: Options | None = None,
        *,
        log: Callable[..., None] | None = None,
        store: Store | None = None,
        **values: Any,
    ) -> None:
        """`log` in place of the logger `ucomqtt`. Raises TypeError or ValueError naming an argument or option that is wrong."""
        if options is None:
            options = Options(**values)
        elif values:
            raise TypeError("options by name, or an Options object, not both")
        super().__init__(options, milliseconds, write_log if log is None else log, store)
        self.random = os.urandom
        self.rows = publish_batch
        self.frames = Frames()
        self.sys.wall = lambda: time.time_ns() // 1000000
        self._callbacks = Callbacks(self)
        self._load = LoadAverages(self)
        self.sys.extras.append(self._load.figures)
        self._process = Process()
        self.sys.metrics = self._process.families
        self._guard = MemoryGuard(self)
        self._watch_memory()
        self.slow: dict[SocketTransport, bool] = {}
        self.entrances: list[Any] = []  # of port.core.config.listener_types.ListenerType
        self.sites: list[Site] = []  # of the listeners for HTTP
        self._ticker: asyncio.Task[None] | None = None
        self._working = False
        self._committing = False
        self._stopped = asyncio.Event()
        self.sockets = 0
        self.connection_registry.handshakes = self.PLACES
        self.anteroom = Anteroom(self.PLACES, self._answer)
        self.most_sockets = 0
        self.spare = file_descriptors.Spare()
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

        type    tcp, websocket, unix (with `file`), http for the info pages, or one that is registered
        tls     an SSLContext, or its settings as in the configuration (port.cpython.net.tls)
        auth    its authenticators in place of the server's
        acl     rules for it in place of the server's, see port.core.acl.acl_rule.rule
        values  any other key of port.core.config.listener_config.ListenerConfig, or of the type: id, file, paths, and options

        Raises ValueError or TypeError naming what is wrong, RuntimeError when the server has started.
        """
        if self._ticker is not None:
            raise RuntimeError("the server has started: listen() comes before start()")
        if tls is not None and not isinstance(tls, (ssl.SSLContext, dict)):
            raise TypeError("tls must be an SSLContext, or a dict with certificate and key, not %r" % (tls,))
        if auth is not None:
            refuse_authenticators(auth, "auth")
        config = describe(self, host, port, type, tls, acl, values)
        listener = add_listener(self, config, [], tls if isinstance(tls, ssl.SSLContext) else None)
        listener.authenticators = self.authenticators if auth is None else list(auth)
        return listener

    @staticmethod
    def register(kind: str, name: str, load: Callable[[], Any]) -> None:
        """A type that configurations may ask for; `kind`: the table that does, listener, store or auth.

        `load()` returns its class when it is asked for: see port.core.config.registry. A type of this package comes first.
        Raises ValueError for another kind.
        """
        if kind not in REGISTRIES:
            raise ValueError("kind must be one of %s, not %r" % (", ".join(sorted(REGISTRIES)), kind))
        built_in.registered.append((kind, name, load))

    def configure(self, config: dict[str, Any] | Config, made: list[Authenticator] | None = None) -> None:
        """Take over a configuration before the start: options, rights, limits, listeners, and the store unless there is one.

        config  a nested dict as port.core.config.config has it, with `log_level` if need be; or one that is checked
        made    the authenticators of its [[auth]], in order; made of a dict unless they are given

        Raises ValueError or OSError naming what is wrong, RuntimeError when the server has started.
        """
        if self._ticker is not None:
            raise RuntimeError("the server has started: change() in place of configure()")
        config, made, level = self._checked(config, made, [])
        apply_config.set_up(self, config, made)
        if level:
            self.set_log_level(level)

    def _checked(
        self, config: dict[str, Any] | Config, made: list[Authenticator] | None, running: list[Authenticator]
    ) -> tuple[Config, list[Authenticator], str]:
        """The configuration, its authenticators, and its log level, empty if it says none. Raises ValueError, OSError."""
        if isinstance(config, Config):
            return config, made or [], ""
        values = dict(config)
        level = values.pop("log_level", "")
        if level and level not in LEVELS:
            raise ValueError("log_level must be one of %s, not %r" % (", ".join(LEVELS), level))
        found, authenticators, store = parts(values, (), running)
        if self._ticker is None and self.store is None:
            self.store = store
        return found, authenticators if made is None else made, level

    def set_log_level(self, level: str) -> None:
        """From which level on there is a log, where it is none of the program's own: debug, info, warning or error.

        Raises ValueError for another level.
        """
        if level not in LEVELS:
            raise ValueError("log_level must be one of %s, not %r" % (", ".join(LEVELS), level))
        logger.setLevel(level.upper())
        self.debug = logger.isEnabledFor(logging.DEBUG)

    def __repr__(self) -> str:
        places = ", ".join(entry.config.place() for entry in self.entrances)
        return "<Server at %s, %d clients>" % (places or "no place", self.connected)

    # -- what the program asks for ---------------------------------------------------------------

    def on(self, event: str, callback: Callable[..., Any]) -> None:
        """See Broker.on. An async callback is awaited in a task; TypeError where the broker needs its answer at once."""
        super().on(event, self._callbacks.hook(event, callback))

    def off(self, event: str, callback: Callable[..., Any]) -> None:
        """See Broker.off."""
        super().off(event, callback)  # what stands for an async one is equal to it

    def subscribe(self, topic_filter: str | bytes, callback: Callable[[Message], Any]) -> Any:
        """See Broker.subscribe. An async callback is awaited in a task."""
        return super().subscribe(topic_filter, self._callbacks.awaited(callback))

    def disconnect_all(self) -> None:
        """See Broker.disconnect_all."""
        count = len(self.connections)
        super().disconnect_all()
        if count:
            self.log(1, "%d connections were closed: server shutting down", count)

    def unsubscribe(self, handle: Any) -> None:
        """See Broker.unsubscribe. Raises TypeError for anything but what `subscribe` has returned."""
        if not isinstance(handle, tuple):
            raise TypeError("what subscribe() has returned is wanted, not %r" % (handle,))
        super().unsubscribe(handle)

    def publish(
        self, topic: str | bytes, payload: str | bytes | bytearray | memoryview = b"", qos: int = 0, retain: bool = False,
        properties: dict[int, Any] | None = None, expiry: int | None = None,
    ) -> bool:  # fmt: skip
        """See Broker.publish; values of properties may be str. Raises ValueError naming a property that is wrong."""
        if properties:
            properties = checked(properties)
        return super().publish(topic, payload, qos, retain, properties, expiry)

    # -- changes -----------------------------------------------------------------------------------

    async def change(self, config: dict[str, Any] | Config, made: list[Authenticator] | None = None) -> None:
        """Take over another configuration while running: see config.apply_config.reconfigure; certificates are read again.

        `config` and `made`: see `configure`; of authenticators those that go on are the same objects as before.

        Raises ValueError or OSError naming what is wrong, and then nothing has changed.
        """
        old = self.all_authenticators()
        config, made, level = self._checked(config, made, old)
        changes = []
        for entrance, entry in apply_config.changed_listeners(self, config):
            changes.append((entrance, entry, await asyncio.to_thread(apply_config.prepare, entrance, entry)))
        fresh = [authenticator for authenticator in made if authenticator not in old]
        before = [(listener, listener.authenticators) for listener in self.listeners]
        await self._open(fresh)
        try:
            apply_config.change_listeners(self, changes)
            apply_config.reconfigure(self, config, made)
            if level:
                self.set_log_level(level)
            self._watch_memory()
            self._fit()
        except Exception:
            for listener, authenticators in before:
                listener.authenticators = authenticators
            await self._close(fresh)
            raise
        if any(entrance.revoked is not None for entrance in self._sockets()):
            self.turns.background(self._turn_out().__next__)
        now = self.all_authenticators()
        await self._close([authenticator for authenticator in old if authenticator not in now])

    def _sockets(self) -> list[ListeningSocket]:
        """The listeners whose sockets are ours."""
        return [entrance for entrance in self.entrances if isinstance(entrance, ListeningSocket)]

    def _turn_out(self) -> Iterator[bool]:
        """Disconnect the clients whose certificates have been revoked: True after each slice, at last False."""
        revoked = {entrance.listener: entrance.revoked for entrance in self._sockets() if entrance.revoked is not None}
        for number, conn in enumerate(list(self.connections)):
            found = revoked.get(conn.listener)
            client: Any = conn.transport
            if found is not None and found.names(client.certificate_bytes()):
                conn.fail(MQTTError(NOT_AUTHORIZED, "the client's certificate has been revoked"))
            if number % _SLICE == _SLICE - 1:
                yield True
        yield False

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each open listener; a Unix socket's file, and 0."""
        return [address for entrance in self.entrances for address in entrance.addresses]

    def described(self) -> list[str]:
        """A line for each open listener: where it listens, and what it is."""
        return described(self.entrances)

    @property
    def open_sockets(self) -> int:
        """Connections of any kind."""
        return self.sockets + len(self.anteroom) + sum([len(site.connections) for site in self.sites])

    def make_room(self, address: str) -> bool:
        """Have a connection close that no client needs, of an address above its share, for one of this address."""
        key = peer(address)
        registry = self.connection_registry
        idle = any(site.make_room() for site in self.sites)
        return idle or self.anteroom.make_room(key) or registry.drop_silent(key, registry.handshakes)

    def _fit(self) -> None:
        """Have no more connections than there are file descriptors for."""
        options = self.options
        kinds = 2 + len(self.sites)  # of connections that are no clients
        places = self.PLACES
        most = file_descriptors.for_sockets(self.open_sockets)
        if most and most < options.max_connections + kinds * places:
            places = min(places, max(1, most // (4 * kinds)))
            found = max(1, most - kinds * places)
            if found < options.max_connections:
                text = "max_connections is %d: the system lets this process have %d files open"
                self.log(2 if found * 5 < options.max_connections * 4 else 1, text, found, file_descriptors.limit())
                options.max_connections = found
        self.connection_registry.handshakes = self.anteroom.size = places
        for site in self.sites:
            site.most = places
        self.most_sockets = options.max_connections + kinds * places

    # -- start and stop -----------------------------------------------------------------------

    async def start(self) -> None:
        """Restore what the store has, open the listeners and start the tick.

        Raises OSError naming a listener that cannot be opened, OSError or ValueError saying what is wrong with the store,
        TypeError naming an authenticator that is none.
        """
        if self._ticker is not None:
            raise RuntimeError("the server has started already")
        for listener in self.listeners:
            refuse_authenticators(listener.authenticators, listener)
        import port.core.monitor.refusals  # noqa: F401 # the core loads it with the first refusal: no file may be open for it then

        self._stopped.clear()
        loop = asyncio.get_running_loop()
        self._restore()
        self._begin_serving(loop)
        self.spare.take()
        self._fit()
        try:
            await self._open(self.all_authenticators())
            await self._listen()
        except BaseException:  # the task may be cancelled
            self._end_serving(loop)
            await self._close_store()
            self.spare.give()
            raise
        for text in self.described():
            self.log(1, "%s", text)
        if not self.entrances:
            self.log(2, "there is no listener, nobody can connect: listen() before start() adds one")
        self._ticker = loop.create_task(self._tick())

    async def _listen(self) -> None:
        """Open all listeners, or none. Raises OSError or ValueError naming the one that cannot be."""
        opened = []
        try:
            for entrance in self.entrances:
                await _done(entrance.open())
                opened.append(entrance)
        except BaseException as e:
            cancelled = not isinstance(e, Exception)
            await self._close_listeners([*opened, entrance] if cancelled else opened)
            await self._close(self.all_authenticators())
            if cancelled or isinstance(e, (OSError, ValueError)):
                raise
            raise ValueError("listener %s: cannot be opened: %r" % (entrance.listener.id, e)) from e

    async def _close_listeners(self, entrances: list[Any]) -> None:
        for entrance in entrances:
            try:
                await _done(entrance.close())
            except Exception as e:
                self.log(3, "listener %s: cannot be closed: %s", entrance.listener.id, e)

    async def _open(self, authenticators: list[Authenticator]) -> None:
        """Open authenticators, all or none. Raises OSError or ValueError naming the one that cannot be."""
        opened: list[Authenticator] = []
        for authenticator in authenticators:
            try:
                await _done(authenticator.open())
            except BaseException as e:
                if not isinstance(e, Exception):  # the task is cancelled
                    await self._close([*opened, authenticator])
                    raise
                await self._close(opened)
                text = "auth %s: cannot be opened: %s" % (authenticator.name, e)
                raise (OSError(e.errno, text) if isinstance(e, OSError) else ValueError(text)) from e
            opened.append(authenticator)

    async def _close(self, authenticators: list[Authenticator]) -> None:
        for authenticator in authenticators:
            try:
                await _done(authenticator.close())
            except Exception as e:
                self.log(3, "auth %s: cannot be closed: %s", authenticator.name, e)

    def _restore(self) -> None:
        """Open the store. Much is made at that and nothing thrown away: the cycle collector would only look at it again."""
        collecting = gc.isenabled()
        gc.disable()
        try:
            self.open_store()
            self._load.begin()
        finally:
            if collecting:
                gc.enable()

    async def stop(self) -> None:
        """Close the listeners, say goodbye to the clients and wait until they have heard it, 2 s at most."""
        await self._close_listeners(self.entrances)
        await self._settle_store()
        self.disconnect_all()
        deadline = time.monotonic() + LINGER
        while self.sockets and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        self.anteroom.clear()
        for site in self.sites:
            site.close()
        self._callbacks.cancel()
        if self._ticker is not None:
            await self._close(self.all_authenticators())
            self._ticker.cancel()
            self._ticker = None
        await self._settle_store()
        await self._close_store()
        self._end_serving(asyncio.get_running_loop())
        self.spare.give()
        self.log(1, "stopped")
        self._stopped.set()

    def _begin_serving(self, loop: asyncio.AbstractEventLoop) -> None:
        if isinstance(loop, EventLoop):
            self.served = loop.sockets
        elif AVAILABLE:
            self.served = Sockets()
            self.served.again = lambda: loop.call_soon(self._serve_late)
            loop.add_reader(self.served.fileno(), self.served.serve, 0)
        if self.served is not None:
            self.served.after.append(self._answer)

    def _serve_late(self) -> None:
        """Serve those who wait for their turn, on a loop that is not ours."""
        if self.served is not None:
            self.served.serve(0)

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

    async def _close_store(self) -> None:
        store = self.store
        if store is None:
            return
        if not self.journal.idle():
            self.log(3, "store: the last changes were not written")
        try:
            await _done(store.close())
        except Exception as e:
            self.log(3, "store: %s cannot be closed: %s", store.place, e)

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
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + 1
            await asyncio.sleep(1)
            self._process.delays.add(max(0, int((loop.time() - due) * 1_000_000)))
            for step in (self._load.tick, self._guard.look, self._expire, self.tick):
                try:
                    step()
                except Exception as e:
                    self.crashed(None, e)

    def _watch_memory(self) -> None:
        self._guard.watch("clients", self._room, self.memory.limit() // 8, first=3)

    def _room(self) -> int:
        self.memory.unsent_bytes = 0 if self.served is None else self.served.unsent
        return self.memory.limit() - self.memory.kept()

    def drop_slowest(self) -> bool:
        """See Broker.drop_slowest."""
        while self.slow:
            if max(self.slow, key=SocketTransport.unsent).give_up():
                return True
        return False

    def _expire(self) -> None:
        now = asyncio.get_running_loop().time()
        self.anteroom.expire(now)
        for site in self.sites:
            site.tick(self.clock())

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

    def wake(self, ms: int = 0) -> None:
        """See Broker.wake."""
        if ms:
            asyncio.get_running_loop().call_later(ms / 1000, self.wake)
        elif not self._working:
            self._working = True
            asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        began = time.perf_counter_ns()
        self.work()
        self.flush()  # which may leave something to do
        self._process.slices.add((time.perf_counter_ns() - began) // 1000)
        self._working = bool(self.turns.clients or self.turns.jobs)
        if self._working:
            asyncio.get_running_loop().call_soon(self._work)

    # -- for port.core.streams -------------------------------------------------------------------

    def run_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run it as a task."""
        return asyncio.get_running_loop().create_task(work)

    def new_event(self) -> asyncio.Event:
        """An event of the loop's."""
        return asyncio.Event()

    async def pause(self, ms: int) -> None:
        """Sleep."""
        await asyncio.sleep(ms / 1000)


async def _done(result: Any) -> None:
    """Wait for what may be async."""
    if inspect.isawaitable(result):
        await result
