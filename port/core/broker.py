"""The broker: the API of programs, the calls of its host, and its parts.

Its host drives it. For each client the host makes a Connection with a Transport, feeds it received data and then calls
`flush`; it calls `work` after a wake-up, and `tick` once a second. Time is the value of `clock`, ms from any start; the broker
never waits.
"""

from port.core import const

# In this order imports do not nest deep: a board has little stack.
from port.core.wire.reason_codes import ADMINISTRATIVE_ACTION, NO_MATCHING_SUBSCRIBERS, SERVER_SHUTTING_DOWN, MQTTError
from port.core.wire.topics import valid_filter, valid_name
from port.core.limits.client_log import ClientLog
from port.core.limits.listener import Listener
from port.core.limits.login_attempts import Attempts
from port.core.limits.options import Options
from port.core.limits.turns import Turns
from port.core.messages.message import Message, as_bytes
from port.core.messages.retained import Retained, expired, retained_message
from port.core.routing.router import Router
from port.core.sessions.session import Session
from port.core.acl import client_policy
from port.core.monitor.counters import Counters
from port.core.monitor.memory import Memory
from port.core.monitor.sys_tree import SysInfo
from port.core.protocol.backpressure import Backpressure
from port.core.protocol.connection import Connection
from port.core.protocol.connection_registry import ConnectionRegistry
from port.core.protocol.large_packets import LargePackets
from port.core.protocol.message_intake import MessageIntake
from port.core.protocol.session_registry import SessionRegistry

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, ClassVar, Optional, Sequence, Union

    from port.core.transport import Transport
    from port.core.wire.properties import Properties
    from port.core.messages.batch import Batch
    from port.core.auth.authenticator import Authenticator
    from port.core.acl.acl import Acl, Rule
    from port.core.monitor.hooks import Hooks
    from port.core.monitor.watchers import Watcher, Watchers
    from port.core.protocol.local_client import LocalClient
    from port.core.protocol.mqtt5 import MQTT5
    from port.core.storage.store import Store
    from port.core.web.routes import Handler, Routes


def ignore(level: int, text: str, *args: "Any") -> None:
    """A log that discards everything."""


class Broker:
    """An MQTT 3.1, 3.1.1 and 5.0 broker without I/O.

    Set by programs and configurations:

    options         see options.Options
    clock           () -> ms from any start, never decreasing
    log             (level, %-format, args): level 0 debug, 1 information, 2 warning, 3 error; an
                    exception as the last argument of an error deserves a traceback
    store           keeps the state that must outlive the broker, see store.Store; without one all is in memory
    listeners       see add_listener; `default_listener` is that of connections without one
    authenticators  asked in order, see auth.Authenticator; a listener can have others
    acl             rules of the listeners without rules of their own, or None; see set_acl
    client_limits   (user or None, client id or None, {option: value}): options of single clients, the first that
                    fits holds; each may end in `*`
    debug           the log has refusals by rules of single clients, too

    To read:

    sessions        by client id
    connections     open connections, with the result of Peers.enter for their address
    retained        retained messages
    counters        totals since the start

    The parts that do the work: turns, memory, connection_registry, session_registry, router, intake, pressure, large, sys,
    attempts, client_log; and parts loaded when they are needed:

    journal         changes on their way to the store, None before `open_store`
    durable         number of the last durable batch, see journal.Journal
    hooks           see hooks.Hooks, loaded by the first hook
    watchers        see watchers.Watchers, loaded by the first watcher
    routes          of HTTP, see web.routes.Routes, loaded by `find_routes`
    local           LocalClients, loaded by the first in-process client
    origins         the same while an in-process client is open, see Connection._feed
    message_hooks   True while one of the two message events has a hook
    mqtt5           loaded by the first MQTT 5 client
    rows            port.cpython.publish_batch on a host that has it, for many alike packets at once
    """

    TURN: "ClassVar[int]" = 8192  # see Turns.limit
    HANDSHAKES: "ClassVar[int]" = 8  # least number of connections that may be without CONNECT: those a host accepts at once
    word: "ClassVar[int]" = 8  # bytes of a word, the unit of objects' sizes
    debug = False

    def __init__(
        self,
        options: "Optional[Options]" = None,
        clock: "Callable[[], int]" = lambda: 0,
        log: "Callable[..., None]" = ignore,
        store: "Optional[Store]" = None,
    ) -> None:
        """Raises TypeError naming an argument of a wrong type."""
        if (
            options is not None and not isinstance(options, Options)
            or not callable(clock) or not callable(log)
            or store is not None and (isinstance(store, type) or not hasattr(store, "commit"))
        ):  # fmt: skip
            from port.core.config.arguments import refuse_arguments

            refuse_arguments(self, options, clock, log, store)
        self.options = options = options or Options()
        self.clock = clock
        self.log = log
        self.store = store
        self.authenticators: "list[Authenticator]" = []
        self.acl: "Optional[Acl]" = None
        self.client_limits: "list[tuple[Optional[bytes], Optional[bytes], dict[str, Any]]]" = []
        self.default_listener = Listener("default", "tcp", options, self.authenticators)
        self.listeners: "list[Listener]" = []
        self.sessions: "dict[bytes, Session]" = {}
        self.connections: "dict[Connection, Any]" = {}
        self.dirty: "list[Any]" = []  # connections with something in their outbox
        self.journal: "Any" = None  # a Journal; a SessionJournal when sessions have a store_id
        self.durable = 0
        self.hooks: "Optional[Hooks]" = None
        self.message_hooks = False
        self.watchers: "Optional[Watchers]" = None
        self.routes: "Optional[Routes]" = None
        self.local: "Any" = None
        self.origins: "Any" = None
        self.mqtt5: "Optional[MQTT5]" = None
        self.rows: "Any" = None
        self.random: "Callable[[int], bytes]" = self._count
        self._counted = 0
        self.counters = Counters()
        self.turns = Turns(self, self.TURN)
        self.memory = Memory(self, self.word)
        self.retained = Retained(options.max_retained_messages, options.max_retained_bytes, self.word, options.retained_share)
        self.router = Router(self)
        # Receivers of plain QoS 0 packets by topic name, for MQTT 3.x and for MQTT 5.
        self.fast = self.router.fast
        self.client_log = ClientLog(self)
        self.attempts = Attempts(self)
        self.connection_registry = ConnectionRegistry(self, options, self.attempts, self.HANDSHAKES)
        self.session_registry = SessionRegistry(self, options)
        self.intake = MessageIntake(self)
        self.pressure = Backpressure(self)
        self.scarce: "Optional[Session]" = None  # see protocol.backpressure
        self.large = LargePackets(self)
        self.sys = SysInfo(self)
        self._steps: "Any" = (
            self.session_registry.end_due, self.connection_registry.end_silent, self.session_registry.settle_rest,
            self.intake.sweep, self._finish_tick,
        )  # fmt: skip

    # -- for programs ----------------------------------------------------------------------

    def publish(
        self,
        topic: "Union[str, bytes]",
        payload: "Union[str, bytes, bytearray, memoryview]" = b"",
        qos: int = 0,
        retain: bool = False,
        properties: "Optional[Properties]" = None,
        expiry: "Optional[int]" = None,
    ) -> bool:
        """Publish from the program that embeds the broker; True when the topic has a subscriber.

        properties: MQTT 5 properties by identifier, as in port.core.wire.properties; expiry: message
        expiry interval, s. `$` topics are allowed here. Raises ValueError for an invalid topic or QoS.
        """
        name = as_bytes(topic)
        encoded = b""
        if properties:
            from port.core.wire.properties import encode_all

            encoded = encode_all(properties)
        if not valid_name(name):
            raise ValueError("invalid topic name %r" % (topic,))
        if qos not in (0, 1, 2):
            raise ValueError("QoS must be 0, 1 or 2, not %r" % (qos,))
        expires = None if expiry is None else self.clock() + expiry * 1000
        message: "Optional[Message]" = Message(name, as_bytes(payload), qos, retain, encoded, expires)
        if self.message_hooks:
            message = self.hooks.filter("message", None, message)  # type: ignore[arg-type, union-attr]
        if message is None:
            return False
        if self.origins is None:
            code, _ = self.intake.distribute(message, self.router.resolve(message.name), None)
        else:
            code = self.origins.publish(message)
        self.flush()
        return code != NO_MATCHING_SUBSCRIBERS

    def subscribe(self, topic_filter: "Union[str, bytes]", callback: "Callable[[Message], Any]") -> "Any":
        """Call `callback(message)` for each message that matches; returns a handle for `unsubscribe`.

        Called at once for matching retained messages. Raises ValueError for an invalid filter.
        """
        data = as_bytes(topic_filter)
        if not valid_filter(data) or data.startswith(b"$share/"):
            raise ValueError("invalid topic filter %r" % (topic_filter,))
        handle = self.router.add_local(data, callback)
        now = self.clock()
        for found in self.retained.matching(data):
            if not expired(found, now) and self.intake.may_replay(found):
                self.router.call_local(handle[1], retained_message(found))
        return handle

    def unsubscribe(self, handle: "Any") -> None:
        """End a subscription of `subscribe`."""
        self.router.remove_local(handle)

    def open_client(self, client_id: "Union[str, bytes]", receive: "Callable[[Batch], Any]", **settings: "Any") -> "LocalClient":
        """Open an in-process client: a session inside the broker without a socket, see protocol.local_client.LocalClient for the
        settings and the errors. Raises ImportError in a broker that was installed without it.
        """
        from port.core.protocol.local_client import LocalClient

        return LocalClient(self, client_id, receive, **settings)

    def disconnect(self, client_id: "Union[str, bytes]", code: int = ADMINISTRATIVE_ACTION, text: str = "") -> bool:
        """End a client's connection; MQTT 5 clients are told the reason. False when it is not connected."""
        session = self.sessions.get(as_bytes(client_id))
        if session is None or session.conn is None:
            return False
        session.conn.fail(MQTTError(code, text or "disconnected by the server"))
        self.flush()
        return True

    def end_client(self, client_id: "Union[str, bytes]") -> bool:
        """End a client's connection, if it has one, and its session with all messages in it; its will goes out.

        False when there is neither. MQTT 5 clients are told 0x98.
        """
        name = as_bytes(client_id)
        found = name in self.sessions
        self.disconnect(name)
        session = self.session_registry.find(name)
        if session is not None:
            self.session_registry.end(session)
            self.flush()
        return found

    def on(self, event: str, callback: "Callable[..., Any]") -> None:
        """Register a hook, see monitor.hooks; ValueError for an unknown event, ImportError in a broker without hooks."""
        if self.hooks is None:
            from port.core.monitor.hooks import Hooks

            self.hooks = Hooks(self)
        self.hooks.on(event, callback)
        self.router.forget()

    def off(self, event: str, callback: "Callable[..., Any]") -> None:
        """Remove a hook; ValueError when it is not registered."""
        if self.hooks is None:
            raise ValueError("there is no hook")
        self.hooks.off(event, callback)
        self.router.forget()

    def watch(self, watcher: "Watcher") -> None:
        """Tell a Watcher of sessions and their filters from now on, of the present ones at once, see monitor.watchers."""
        if self.watchers is None:
            from port.core.monitor.watchers import Watchers

            self.watchers = Watchers(self)
        self.watchers.add(watcher)

    def unwatch(self, watcher: "Watcher") -> None:
        """Remove a Watcher; ValueError when it was not added."""
        if self.watchers is None:
            raise ValueError("no such watcher")
        if not self.watchers.remove(watcher):
            self.watchers = None

    def route(self, method: str, path: str, handler: "Handler", role: str = "read") -> None:
        """Answer HTTP requests by a handler, see web.routes.Routes.add. Raises ImportError in a broker without HTTP."""
        self.find_routes().add(method, path, handler, role)

    def find_routes(self) -> "Routes":
        """The routes of HTTP, those of the built-in pages among them. Raises ImportError in a broker without HTTP."""
        if self.routes is None:
            from port.core.web.http_pages import new_routes

            self.routes = new_routes()
        return self.routes

    def add_listener(self, listener: Listener) -> Listener:
        """Add a listener, with which the host will announce its connections."""
        self.listeners.append(listener)
        return listener

    def all_authenticators(self) -> "list[Authenticator]":
        """The authenticators of all listeners, each once."""
        found = list(self.authenticators)
        for listener in self.listeners:
            for authenticator in listener.authenticators:
                if authenticator not in found:
                    found.append(authenticator)
        return found

    def set_acl(self, rules: "Optional[Sequence[Union[Rule, dict[str, Any]]]]") -> None:
        """Set the rules, or tables as in a configuration, of the listeners without rules of their own; call `rights_changed`
        after it. Raises ValueError naming a wrong rule by its number.

        Everything that no rule allows is denied: an empty list denies everything. With None everything is allowed.
        """
        if self.acl is None:
            self.acl = client_policy.new_acl(self)
        self.acl.replace(rules)

    def set_rules(self, session: Session, rules: "Optional[list[Rule]]") -> None:
        """Give a connected client other rules of its own."""
        from port.core.protocol.reauthorize import set_rules

        set_rules(self, session, rules)
        self.flush()

    def rights_changed(self) -> None:
        """Rules, users or listeners have changed: settle all clients' rights anew, disconnect clients that have lost any."""
        from port.core.protocol.reauthorize import renew_all

        renew_all(self)
        self.flush()

    @property
    def connected(self) -> int:
        """Number of clients."""
        return self.connection_registry.connected

    # -- for the host to call ----------------------------------------------------------------

    def open_store(self) -> None:
        """Restore the state in the store and keep it up to date from now on; before the first client connects.

        Raises OSError or ValueError naming the store's fault.
        """
        if self.store is None:
            return
        if self.journal is not None:  # it was closed; nothing has changed since
            for _ in self.store.load():
                pass
            return
        from port.core.storage.recovery import restore

        restore(self, self.store)
        self.session_registry.end_due(self.clock())
        self.flush()

    def accept_connection(
        self, transport: "Transport", address: str, listener: "Optional[Listener]" = None
    ) -> "Optional[Connection]":
        """A client has connected; None when it is turned away without an answer."""
        return self.connection_registry.accept(transport, address, listener or self.default_listener)

    def flush(self) -> None:
        """Hand every outbox to its transport; call it after feeding connections and after a tick.

        With large packets for many clients, some wait until others have been served.
        """
        large = self.large
        size = large.bytes
        if size:
            large.put_off(size)
        dirty = self.dirty
        journal = self.journal
        packets = sent = 0
        conn: "Connection"
        for conn in dirty:
            out = conn.out
            if out:
                if journal is not None and conn.ack_after_batch > self.durable:
                    journal.hold(conn)
                else:  # `send`, written out
                    packets += len(out)
                    sent += conn.transport.send(out)
                    out.clear()
                session = conn.session
                if session is not None and session.send_window < 0:
                    large.flushing = True
                    try:
                        session.pump()
                    finally:
                        large.flushing = False
        dirty.clear()
        if size:
            large.bytes = 0
        counters = self.counters
        counters.packets_sent += packets
        counters.bytes_sent += sent
        if journal is not None and journal.serial != journal.taken_serial and not large.midway:
            journal.flushed()

    def work(self) -> bool:
        """Give turns to waiting clients and jobs; False when nothing is left to do. Call it after `wake`; `flush` follows."""
        self.pressure.look()
        self.large.served()
        self.session_registry.served()
        return self.turns.run()

    def tick(self) -> None:
        """Do periodic work; call it about once a second.

        Steps are independent: one that fails for want of memory does not keep the others from running. Steps that give
        memory back come first.
        """
        now = self.clock()
        self.session_registry.served()
        for step in self._steps:
            self.turns.spent = 0
            try:
                step(now)
            except MemoryError:
                self.out_of_memory()

    def _finish_tick(self, now: int) -> None:
        """Publish $SYS, then send and store the results of the tick."""
        self.client_log.tick(now)
        self.sys.tick(now)
        self.pressure.look()
        if self.turns.clients or self.turns.jobs:
            self.wake()  # memory may not have sufficed for that before
        self.flush()
        if self.journal is not None:
            self.journal.tick(now)

    def disconnect_all(self) -> None:
        """The broker stops: MQTT 5 clients get DISCONNECT 0x8B. Sessions and wills are treated as the protocol says."""
        for conn in list(self.connections):
            conn.fail(MQTTError(SERVER_SHUTTING_DOWN, "server shutting down"))
        self.session_registry.settle_all()
        if self.journal is not None:
            self.journal.stop()
        self.flush()

    # -- for the host to override: port.core.transport.Host -----------------------------------------

    def wake(self, ms: int = 0) -> None:
        """See Host."""

    def commit_soon(self) -> None:
        """See Host; this one stores at once."""
        self.journal.commit()

    def out_of_memory(self) -> None:
        """Memory has run out, and a client is disconnected for it; the next tick resumes unfinished work. See Host."""
        self.session_registry.unsettled = True

    def drop_slowest(self) -> bool:
        """See Host; this one knows no sockets."""
        return False

    def _count(self, size: int) -> bytes:
        """Stands in for random bytes on a host without them, as in tests that must be repeatable."""
        self._counted += 1
        return self._counted.to_bytes(size, "big")

    # -- for the parts ---------------------------------------------------------------------------

    def emit(self, event: str, *args: "Any") -> "Any":
        """Call the hooks of an event, if there are any; returns the first answer that is not None."""
        return None if self.hooks is None else self.hooks.call(event, *args)

    def find_mqtt5(self) -> "Optional[MQTT5]":
        """The part for MQTT 5, None in a broker that was installed without it."""
        if self.mqtt5 is None:
            try:
                from port.core.protocol.mqtt5 import MQTT5
            except ImportError:
                return None
            self.mqtt5 = MQTT5(self)
        return self.mqtt5

    def send(self, conn: Connection) -> None:
        """Hand one outbox to its transport."""
        out = conn.out
        self.counters.packets_sent += len(out)
        self.counters.bytes_sent += conn.transport.send(out)
        out.clear()

    def crashed(self, conn: "Optional[Connection]", error: Exception) -> None:
        """Code of the broker or a hook failed: log it with its traceback, call the error hook."""
        self.client_log.line(3, "broker" if conn is None else conn.address, "%s: internal error: %r", conn or "-", error)
        self.emit("error", conn.session if conn else None, error)
