"""The broker on MicroPython's asyncio, beside the user's own tasks.

    server = Server(max_connections=10)
    server.listen("0.0.0.0", 1883)
    await server.start()
    server.publish("a/b", "hello", retain=True)
    await server.stop()
"""

import asyncio
import gc
import os
import sys
import time

from port.core import const
from port.core.limits.listener import Listener, described, free_id
from port.core.limits.options import Options
from port.core.broker import Broker
from port.micropython.net import lwip
from port.micropython.net.io_queue import install
from port.micropython.net.listening_socket import ListeningSocket

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from port.core.auth.authenticator import Authenticator
    from port.core.storage.store import Store
    from port.core.web.site import Site
    from port.micropython.net.transport import SocketTransport

_BUFFER = const(1024)  # bytes of each of the two buffers that all clients share
_GC_THRESHOLD = const(32768)  # bytes of garbage; a quarter of a heap with more room
_SOCKETS = const(64)  # more than any board has
_STARTING = (
    "port.configuration", "port.listening", "port.starting",
    "port.core.acl.acl_rule", "port.core.auth.password_file", "port.core.checks", "port.core.config.apply_config",
    "port.core.config.arguments", "port.core.config.config", "port.core.config.listener_config",
    "port.core.config.listener_types", "port.core.config.registry", "port.core.config.store_config", "port.core.protocol.reauthorize", "port.core.storage.recovery",
    "port.core.storage.session_recovery", "port.core.wire.suggest",
    "port.micropython.config.apply_config", "port.micropython.net.listeners", "port.micropython.starting",
)  # fmt: skip
_BROKEN = const(1)  # SocketTransport.deadline
_RESERVE = const(1024)  # bytes put by for saying goodbye to a client when memory has run out
_SPARE = const(32)  # pieces put by where sessions are kept: whoever restores them next has that much more than they can take now
_PIECE = const(256)  # bytes
_CLIENT = const(8)  # pieces that a client may take to come and be served

registered: "list[tuple[str, str, Callable[[], Any]]]" = []  # (table, type, what loads it), see Server.register
SINCE_1970 = 946684800 if time.gmtime(0)[0] == 2000 else 0  # s from 1970 to what time.time() counts from


def logger(least: int) -> "Callable[..., None]":
    """A log that prints one line each, from the level `least` on: 0 debug, 1 information, 2 warning, 3 error."""

    def log(level: int, text: str, *args: "Any") -> None:
        if level >= least:
            print("DIWE"[level], text % args)
            if level == 3 and args and isinstance(args[-1], Exception):
                sys.print_exception(args[-1])

    return log


class Server(Broker):
    """A broker with listeners. See port.core.broker.Broker for publish, subscribe, on and the figures.

    Options are given by name (see port.core.limits.options; defaults are those of a board) or as an
    Options object; ValueError names a wrong one.
    """

    TURN = 256  # a microcontroller is that much slower
    word = 4

    def __init__(
        self,
        options: "Optional[Options]" = None,
        *,
        log: "Optional[Callable[..., None]]" = None,
        store: "Optional[Store]" = None,
        **values: "Any",
    ) -> None:
        """`log` in place of one that prints. Raises TypeError or ValueError naming an argument or option that is wrong."""
        self._ticks = time.ticks_ms()
        self._now = 0
        if options is None:
            options = Options(True, **values)
        elif values:
            raise TypeError("options by name, or an Options object, not both")
        self._prints = log is None  # so a configuration may say from which level on
        super().__init__(options, self._milliseconds, logger(2) if log is None else log, store)
        self.buffer = bytearray(_BUFFER)  # what is read lies here until what it has caused is sent
        self.view = memoryview(self.buffer)
        self.joined = bytearray(_BUFFER)  # what is written is joined here
        self.joined_view = memoryview(self.joined)
        self.fill = 0  # bytes at its front to which what is not sent yet may refer
        self.links: "dict[SocketTransport, bool]" = {}
        self.places = _SOCKETS  # for links
        self.sites: "list[Site]" = []  # of listeners for HTTP that somebody has connected to
        self.random = os.urandom
        self.sys.wall = lambda: int((SINCE_1970 + time.time()) * 1000)  # whole seconds, but on the unix port
        self.sys.wall_step = 1000 if isinstance(time.time(), int) else 1
        self.sys.extras.append(_heap)
        self._lost: "list[tuple[SocketTransport, Exception]]" = []
        self._reserve: "Optional[bytearray]" = bytearray(_RESERVE)
        self._spare: "list[bytearray]" = []
        self.entrances: "list[Any]" = []  # of ListeningSocket, or of types that are registered
        self._ticker: "Any" = None
        self._working = False
        self.strained = False  # memory does not suffice, whatever is free: it may be in pieces too small
        self._lacking = False  # memory has run out since there was room for a client

    def _milliseconds(self) -> int:
        """The broker's clock, which does not wrap, from ticks_ms, which does."""
        ticks = time.ticks_ms()
        self._now += time.ticks_diff(ticks, self._ticks)
        self._ticks = ticks
        return self._now

    def listen(
        self,
        host: str = "127.0.0.1",
        port: "Optional[int]" = None,
        *,
        type: str = "tcp",
        tls: "Any" = None,
        auth: "Optional[list[Authenticator]]" = None,
        acl: "Optional[list[dict[str, Any]]]" = None,
        **values: "Any",
    ) -> "Listener":
        """Add a listener, opened by `start`.

        type    tcp, websocket, http for the info pages, or one that is registered
        tls     an SSLContext of the module tls or ssl, or its settings as in the configuration (port.micropython.net.tls)
        auth    its authenticators in place of the server's
        acl     rules for it in place of the server's, see port.core.acl.acl_rule.rule
        values  any other key of port.core.config.listener_config.ListenerConfig, or of the type: id, paths, and options

        What is more than an address for plain TCP takes the module port.micropython.net.listeners: ImportError without it.
        Raises ValueError or TypeError naming what is wrong.
        """
        if self._ticker is not None:
            raise RuntimeError("the server has started: listen() comes before start()")
        if auth is not None:
            _look_at(auth, "auth")
        authenticators = self.authenticators if auth is None else auth
        port = 1883 if port is None and tls is None and type == "tcp" else port
        plain = type == "tcp" and tls is None and acl is None and not values and isinstance(host, str) and ":" not in host
        if not plain or not isinstance(port, int) or not 0 < port < 65536:
            from port.micropython.net.listeners import listen

            return listen(self, host, port, type, tls, authenticators, acl, values)
        listener = self.add_listener(Listener(free_id(self.listeners, type), type, self.options, authenticators))
        self.entrances.append(ListeningSocket(self, host, port, listener))
        return listener

    @staticmethod
    def register(kind: str, name: str, load: "Callable[[], Any]") -> None:
        """A type that configurations may ask for; `kind`: the table that does, listener, store or auth.

        `load()` returns its class when it is asked for: see port.core.config.registry. A type of this package comes first.
        Raises ValueError for another kind.
        """
        if kind not in ("auth", "listener", "store"):
            raise ValueError("kind must be one of auth, listener, store, not %r" % (kind,))
        registered.append((kind, name, load))

    def configure(self, config: "Any", made: "Optional[list[Authenticator]]" = None) -> None:
        """Take over a configuration before the start: options, rights, limits, listeners, and the store unless there is one.

        config  a nested dict as port.core.config.config has it, with `log_level` if need be; or one that is checked
        made    the authenticators of its [[auth]], in order; made of a dict unless they are given

        Raises ValueError naming what is wrong, RuntimeError when the server has started.
        """
        if self._ticker is not None:
            raise RuntimeError("the server has started: change() in place of configure()")
        from port.micropython.config.apply_config import configure

        configure(self, config, made)

    async def change(self, config: "Any", made: "Optional[list[Authenticator]]" = None) -> None:
        """Take over another configuration while running: see config.apply_config.reconfigure; certificates are read again.

        `config` and `made`: see `configure`.

        Raises ValueError or OSError naming what is wrong, and then nothing has changed.
        """
        from port.micropython.config.apply_config import change

        try:
            await change(self, config, made)
        finally:
            forget()

    def set_log_level(self, level: str) -> None:
        """From which level on there is a log, where it is none of the program's own: debug, info, warning or error.

        Raises ValueError for another level.
        """
        levels = ("debug", "info", "warning", "error")
        if level not in levels:
            raise ValueError("log_level must be one of %s, not %r" % (", ".join(levels), level))
        if self._prints:
            self.log = logger(levels.index(level))

    def fit(self) -> None:
        """Leave one socket for whoever finds no place and has to be told so, and those that are left for who says nothing yet."""
        options = self.options
        wanted = min(options.max_connections + self.HANDSHAKES + 1 - len(self.links), _SOCKETS)
        found = lwip.free(wanted)
        spare = found + len(self.links) - 1 - options.max_connections
        if found < wanted:
            self.connection_registry.handshakes = max(spare, 0)
        if found < wanted and spare < 0:
            options.max_connections = max(options.max_connections + spare, 1)
            self.log(2, "max_connections is %d: this firmware has no more sockets", options.max_connections)
        self.places = found + len(self.links)
        lwip.share_out(self.places)

    @property
    def addresses(self) -> "list[tuple[str, int]]":
        """Host and port of each open listener; what has no port is (name, 0)."""
        return [address for entrance in self.entrances for address in entrance.addresses]

    def described(self) -> "list[str]":
        """A line for each open listener: where it listens, and what it is."""
        return described(self.entrances)

    async def start(self) -> None:
        """Restore what the store has, open the listeners and start the tick.

        Raises OSError when a listener cannot be opened, OSError or ValueError saying what is wrong with the store, TypeError
        naming an authenticator that is none.
        """
        for listener in self.listeners:
            if listener.authenticators:
                _look_at(listener.authenticators, listener)
        self.poller = install()
        self.poller.servers.append(self)
        lwip.prepare()
        self.open_store()
        from port.micropython.starting import open_all

        await open_all(self)
        self.fit()
        self._ticker = asyncio.create_task(self._tick())
        forget()
        gc.collect()
        if self.store is not None and self.store.sessions:
            self._put_by()
        gc.threshold(max(_GC_THRESHOLD, gc.mem_free() // 4))

    async def close_authenticators(self, authenticators: "list[Authenticator]") -> None:
        """Close them; what they raise is logged."""
        for authenticator in authenticators:
            try:
                await done(authenticator.close())
            except Exception as e:
                self.log(3, "auth %s: cannot be closed: %r", authenticator.name, e)

    def _put_by(self) -> None:
        try:
            while len(self._spare) < _SPARE:
                self._spare.append(bytearray(_PIECE))
        except MemoryError:
            pass  # there is little left that anybody could take

    async def stop(self) -> None:
        """Close the listeners, say goodbye to the clients and wait until they have heard it, 5 s at most."""
        for entrance in self.entrances:
            try:
                await done(entrance.close())
            except Exception as e:
                self.log(3, "listener %s: cannot be closed: %r", entrance.listener.id, e)
        for site in self.sites:
            site.close()
        self.disconnect_all()
        for _ in range(500):
            if not self.links:
                break
            await asyncio.sleep_ms(10)
        for link in list(self.links):
            link.cut()
        ticker = self._ticker
        self._ticker = None
        if ticker is not None:
            await self.close_authenticators(self.all_authenticators())
            self.poller.servers.remove(self)
            ticker.cancel()
        if self.journal is not None:
            self.journal.commit()
            await done(self.store.close())  # type: ignore[union-attr]

    async def serve(self) -> None:
        """Start unless started, and return when stopped."""
        if self._ticker is None:
            await self.start()
        try:
            await self._ticker
        except asyncio.CancelledError:
            if self._ticker is not None:  # it is not the server that ends
                raise

    async def __aenter__(self) -> "Server":
        await self.start()
        return self

    async def __aexit__(self, kind: "Any", e: "Any", tb: "Any") -> None:
        await self.stop()

    def serve_client(self, sock: "Any", peer: "Any", entrance: ListeningSocket) -> None:
        """Serve a new client. Raises OSError or MemoryError when that cannot be done."""
        sock.setblocking(False)
        lwip.enter(sock)
        link = entrance.link(sock)
        welcome = False
        try:
            self.links[link] = True
            if link.begin(_address(peer), entrance.listener):  # who is turned away gets no memory for TLS
                link.open(entrance.tls)
                welcome = True
        finally:
            if not welcome:
                link.cut()
        if len(self.links) >= self.places:  # one stays free for the next who comes
            for site in self.sites:
                if site.make_room():
                    break

    def unused(self) -> memoryview:
        """Where to read the bytes of the next client to; what is to be sent is sent before if there is little left."""
        if self.fill:
            if self.dirty and self.fill <= _BUFFER // 2:
                return self.view[self.fill :]
            self.flush()
        return self.view

    def took(self, count: int, start: int) -> None:
        """So many bytes were read to there, behind `start` others."""
        self.counters.bytes_received += count
        self.fill += start + count

    def lose(self, link: "SocketTransport", error: Exception) -> None:
        """Reading or writing has failed; the client goes as soon as the flush is over, or at the next tick."""
        link.deadline = _BROKEN
        self.out_of_memory()
        try:
            self._lost.append((link, error))
        except MemoryError:
            pass

    def out_of_memory(self) -> None:
        """See Broker.out_of_memory."""
        super().out_of_memory()
        self._lacking = True
        self._reserve = None
        gc.collect()

    def flush(self) -> None:
        """See Broker.flush."""
        if self.large.midway:
            Broker.flush(self)  # super() would be an object each time
            return
        self.fill = 0
        Broker.flush(self)
        while self._lost:
            link, error = self._lost.pop(0)
            link.drop(error)
            Broker.flush(self)

    def wake(self, ms: int = 0) -> None:
        """See Broker.wake."""
        if ms:
            asyncio.create_task(self._wake_later(ms))
        elif not self._working:
            asyncio.create_task(self._work())
            self._working = True  # there was memory for the task

    async def _wake_later(self, ms: int) -> None:
        await asyncio.sleep_ms(ms)
        try:
            self.wake()
        except MemoryError:
            pass  # then the next tick does it

    async def _work(self) -> None:
        more = True
        while more:
            try:
                more = self.work()
                if not more:
                    self._working = False  # before anything can call `wake` again
                self.flush()
            except Exception as e:  # it would end the task, and no work would be done any more
                self.failed(e)
            if more:
                await asyncio.sleep_ms(0)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep_ms(1000)
            # What gives memory back comes first, what takes it last; none keeps another from its turn.
            self._cut_late()
            try:
                self.tick()
                for site in self.sites:
                    site.tick(self.clock())
            except Exception as e:
                self.failed(e)
            room = not self._lacking or self._has_room()
            self.strained = self.session_registry.unsettled or not room

    def run_task(self, work: "Any") -> "Any":
        """See port.core.streams."""
        return asyncio.create_task(work)

    def new_event(self) -> "Any":
        """See port.core.streams."""
        return asyncio.Event()

    async def pause(self, ms: int) -> None:
        """See port.core.streams."""
        await asyncio.sleep_ms(ms)

    def _has_room(self) -> bool:
        """Whether there is memory for a client again, in pieces that are large enough, beside what is put by."""
        try:
            if self._reserve is None:
                self._reserve = bytearray(_RESERVE)
            pieces = [bytearray(_PIECE) for _ in range(_CLIENT)]
        except MemoryError:
            return False
        del pieces
        self._lacking = False
        return True

    def failed(self, error: Exception) -> None:
        """What a tick or a flush raised."""
        self.out_of_memory()
        try:
            if isinstance(error, MemoryError):
                self.log(2, "-: out of memory: %r", error)  # the next tick does what was left
            else:
                self.crashed(None, error)
        except MemoryError:
            pass

    def _cut_late(self) -> None:
        """Close the links that have had their time; it takes no memory to find them."""
        now = self.clock()
        for link in self.links:  # a link that goes may hide another until the next tick
            if 0 < link.deadline <= now:
                try:
                    link.cut()
                except Exception as e:
                    self.failed(e)


async def done(result: "Any") -> None:
    """Wait for what may be async."""
    if result is not None:
        await result


def _look_at(found: "Any", where: "Any") -> None:
    """See port.core.config.arguments.refuse_authenticators, which some packages do not have."""
    try:
        from port.core.config.arguments import refuse_authenticators
    except ImportError:
        return
    refuse_authenticators(found, where)


def forget() -> None:
    """Modules that are needed until a server has started, or gets another configuration, go, and leave their memory."""
    for name in _STARTING:
        package, _, module = name.rpartition(".")
        if sys.modules.pop(name, None) is not None:
            delattr(sys.modules[package], module)


def _heap() -> "list[tuple[str, Any]]":
    """Heap figures for $SYS, bytes, without the garbage."""
    gc.collect()
    return [("heap/current", gc.mem_alloc()), ("heap/free", gc.mem_free())]


def _address(peer: "Any") -> str:
    """The peer as text; the unix port gives a raw sockaddr, boards a tuple."""
    if isinstance(peer, tuple):
        return "%s:%d" % (peer[0], peer[1])
    if len(peer) >= 8 and peer[0] == 2:
        return "%d.%d.%d.%d:%d" % (peer[4], peer[5], peer[6], peer[7], peer[2] << 8 | peer[3])
    return "?"
