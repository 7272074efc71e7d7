"""The broker: who is connected, who subscribes to what, and where each message goes.

It is driven by its host. For each client the host makes a Connection with a Transport,
feeds it what arrives and then calls `flush`; once a second it calls `tick`. Time is what
`clock` says, ms from any start; the broker never waits.
"""

from binascii import hexlify

from port.core import const

# In this order imports do not nest deep: a board has little stack.
from port.core.reason import (
    ADMINISTRATIVE_ACTION,
    KEEP_ALIVE_TIMEOUT,
    MALFORMED_PACKET,
    MAXIMUM_CONNECT_TIME,
    NO_MATCHING_SUBSCRIBERS,
    NOT_AUTHORIZED,
    QUOTA_EXCEEDED,
    SERVER_SHUTTING_DOWN,
    SUCCESS,
    UNSPECIFIED_ERROR,
    MQTTError,
)
from port.core.topics import valid_filter, valid_name
from port.core.message import Message
from port.core.retained import Retained, expired, retained_message
from port.core.subscriptions import limited
from port.core.options import Options
from port.core.listener import Listener
from port.core.peers import Peers
from port.core.routing import Router, check_name
from port.core.session import Session
from port.core.sysinfo import SysInfo
from port.core import rights
from port.core.connection import Connection

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, ClassVar, Optional, Union

    from port.core.acl import Access, Acl, Rule
    from port.core.auth import Authenticator
    from port.core.hooks import Hooks
    from port.core.mqtt5 import MQTT5
    from port.core.properties import Properties
    from port.core.store import Store
    from port.core.subscriptions import Route
    from port.core.transport import Transport

_NEVER = 0xFFFFFFFF
_UNDECIDED = const(-2)  # port.core.acl has it
_SWEEP = const(60000)  # ms between two looks for retained messages and failures to authenticate that have expired


def ignore(level: int, text: str, *args: "Any") -> None:
    """A log that keeps nothing."""


def _bytes(value: "Union[str, bytes]") -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


class Broker:
    """An MQTT 3.1, 3.1.1 and 5.0 broker without I/O.

    options         see options.Options
    clock           () -> ms from any start, never going back
    log             (level, %-format, args): level 0 debug, 1 information, 2 warning, 3 error; an
                    exception as the last argument of an error deserves a traceback
    store           keeps what must outlive the broker, see store.Store; without one all is in memory
    journal         what is on its way to the store, None before `open_store`
    durable         number of the last batch that the store has, see journal.Journal
    authenticators  asked in order, see auth.Authenticator; a listener can have others
    acl             the rules of the listeners that have none of their own, or None; see set_acl
    client_limits   (user or None, client id or None, {option: value}): options of single clients, the first that
                    fits holds; each may end in `*`
    hooks           see hooks.Hooks, loaded by the first one; None before
    message_hooks   True while one of the two message events has a hook
    """

    handshakes: "ClassVar[int]" = 8  # connections that may at least be without CONNECT at a time: those a host accepts at once

    def __init__(
        self,
        options: "Optional[Options]" = None,
        clock: "Callable[[], int]" = lambda: 0,
        log: "Callable[..., None]" = ignore,
        store: "Optional[Store]" = None,
    ) -> None:
        self.options = options or Options()
        self.clock = clock
        self.log = log
        self.store = store
        self.journal: "Any" = None  # a Journal; a SessionJournal where sessions have a number
        self.durable = 0
        self.authenticators: "list[Authenticator]" = []
        self.acl: "Optional[Acl]" = None
        self.client_limits: "list[tuple[Optional[bytes], Optional[bytes], dict[str, Any]]]" = []
        self.default_listener = Listener("default", "tcp", self.options, self.authenticators)
        self.listeners: "list[Listener]" = []
        self.peers = Peers()
        self.jobs: "list[Callable[[], bool]]" = []  # work that is done in slices, see background
        self.largest_packet = 129  # that some client may send; up to this size it is not asked
        self.hooks: "Optional[Hooks]" = None
        self.message_hooks = False
        self.sessions: "dict[bytes, Session]" = {}
        # Dicts stand for sets wherever one grows: on MicroPython a set is corrupt once memory has run out at that.
        self.connections: "dict[Connection, Any]" = {}  # with what Peers.enter returned for the address
        self.connected = 0  # connections that are open
        self.shortage = 0  # how short memory is, see guard.MemoryGuard
        self.retained = Retained(self.options.max_retained_messages, self.options.max_retained_bytes)
        self.router = Router(self)
        # Receivers of plain QoS 0 packets by topic name, for MQTT 3.x and for MQTT 5.
        self.fast = self.router.fast
        self.rows: "Any" = None  # port.cpython.rows on a host that has it: many alike packets at once
        self.mqtt5: "Optional[MQTT5]" = None  # loaded by the first client that speaks it
        self.dirty: "list[Any]" = []  # connections with something in their outbox
        self.due: "dict[Session, bool]" = {}  # sessions with a will or an expiry to come
        self._unsettled = False  # True when there are offline sessions that ought to be in _due, or ended
        self._sweep_at = 0  # when what has expired is looked for next, ms
        self.bytes_received = 0
        self.bytes_sent = 0
        self.packets_received = 0
        self.packets_sent = 0
        self.publishes_received = 0
        self.published = 0  # PUBLISH packets sent
        self.dropped = 0  # messages not delivered to one receiver for want of room
        self.connections_total = 0
        self.clients_maximum = 0
        self.clients_expired = 0
        self.refused = 0  # connections turned away before CONNECT
        self.auth_failed = 0  # CONNECTs refused by authentication
        self.auth_timeouts = 0  # clients ended because an authenticator or authorizer did not answer
        self.random: "Callable[[int], bytes]" = self._count  # (size) -> bytes nobody can guess, from the host
        self._counted = 0
        self.expected = 0  # bytes of incomplete packets of connections that are not open, see Connection.feed
        self.auth_blocked = 0  # connections refused because their address has to wait
        self.denied_publishes = 0
        self.denied_subscriptions = 0
        self.rate_limited = 0  # times a client was too fast
        self.sys = SysInfo(self)

    # -- connections -----------------------------------------------------------------------

    def add_listener(self, listener: Listener) -> Listener:
        """A way in whose connections the host will announce with it."""
        self.listeners.append(listener)
        return listener

    def accept_connection(
        self, transport: "Transport", address: str, listener: "Optional[Listener]" = None
    ) -> "Optional[Connection]":
        """A client has connected; None when it is turned away without a word."""
        listener = listener or self.default_listener
        refusal = self._refusal(address)
        peer = None if refusal else self.peers.enter(address, listener.options)
        if peer is None:
            self.turn_away(listener, address, refusal or "too many connections from this address")
            return None
        try:
            conn = Connection(self, listener, transport, address)
            self.connections[conn] = peer
        except MemoryError:
            self.peers.leave(peer)
            raise
        self.connections_total += 1
        return conn

    def turn_away(self, listener: Listener, address: str, why: str) -> None:
        """Count a connection that is closed before CONNECT; the host tells of those it does not even announce."""
        self.refused += 1
        listener.refused += 1
        self.log(2, "- %s: %s", address, why)

    def _refusal(self, address: str) -> str:
        """Why a connection cannot even be asked for its CONNECT; empty when it can."""
        if len(self.connections) - self.connected >= max(self.handshakes, self.options.max_connections // 2):
            return "too many connections without CONNECT"
        if self.peers.blocked(address, self.clock()):
            self.auth_blocked += 1
            return "too many failures to authenticate"
        return ""

    def _count(self, size: int) -> bytes:
        """In place of random bytes where the host has none, as in tests that have to be the same each time."""
        self._counted += 1
        return self._counted.to_bytes(size, "big")

    def new_client_id(self) -> bytes:
        """A client id nobody has, nor can guess: who knew it could take over the session of an anonymous client."""
        while True:
            client_id = b"auto-" + hexlify(self.random(8))
            if client_id not in self.sessions:
                return client_id

    def find_mqtt5(self) -> "Optional[MQTT5]":
        """What MQTT 5 takes, None in a broker that was installed without it."""
        if self.mqtt5 is None:
            try:
                from port.core.mqtt5 import MQTT5
            except ImportError:
                return None
            self.mqtt5 = MQTT5()
        return self.mqtt5

    def attach(self, conn: Connection, session: Session) -> None:
        """The connection is open: its session gets what is published from now on."""
        session.conn = conn
        self.connected += 1  # at once: `detach` takes it back if there is no memory for the rest
        conn.listener.connected += 1
        session.out = None if conn.blocked else conn.out
        self.due.pop(session, None)
        if session.expires_at is not None or session.will_at is not None:
            session.expires_at = session.will_at = None
        self._settle_family(session)
        rights.set_fast(conn, session)
        self.clients_maximum = max(self.clients_maximum, self.connected)
        if self.journal is not None:
            self.journal.attached(session)
        self.log(1, "%s: connected, MQTT %d", conn, conn.version)
        self.tell("connect", session)

    def _settle_family(self, session: Session) -> None:
        """Whether plain QoS 0 packets can go to a connected session as they came [MQTT-3.1.2-24]."""
        plain = session.max_packet >= self.largest_packet and not session.alias_maximum
        family = -1 if not plain else 5 if session.version5 else 4
        if session.family != family:
            session.family = family
            if session.subscriptions:
                self.router.forget()

    def allow_for(self, options: Options) -> None:
        """Some client has these options: what takes the fast path, unchecked, must be right for all clients."""
        self.router.limit_names(options)
        if options.max_packet_size > self.largest_packet:
            self.largest_packet = options.max_packet_size
            for session in self.sessions.values():
                if session.conn is not None:
                    self._settle_family(session)

    def detach(self, conn: Connection, code: int, text: str, was_open: bool) -> None:
        """A connection is over; settle its session's will and expiry [MQTT-3.1.2-8]."""
        peer = self.connections.pop(conn, None)
        if peer is not None:
            self.peers.leave(peer)
        session = conn.session
        was_open = was_open and session is not None and session.conn is conn
        if was_open:
            self.connected -= 1
            conn.listener.connected -= 1
            session.conn = None  # type: ignore[union-attr]
            session.pause()  # type: ignore[union-attr]
        try:
            self.log(2 if code > UNSPECIFIED_ERROR else 1, "%s: %s (0x%02x)", conn, text, code)
            if was_open:
                self.tell("disconnect", session, code)
                self._settle(session)  # type: ignore[arg-type]
        except MemoryError:
            self.out_of_memory()

    def _settle(self, session: Session) -> None:
        """What becomes of a session whose connection is over."""
        now = self.clock()
        if not session.expiry:
            self.end_session(session)
            return
        self._hand_back(session, False)
        if session.expiry != _NEVER:
            session.expires_at = now + session.expiry * 1000
        will = session.will
        if will is not None:
            delay = min(will[1], session.expiry)
            if delay:
                session.will_at = now + delay * 1000
            else:
                self._publish_will(session)
        if session.expires_at is not None or session.will_at is not None:
            self.due[session] = True
        if self.journal is not None:
            self.journal.session(session)
            self.journal.will(session)

    def all_authenticators(self) -> "list[Authenticator]":
        """Those of all listeners, each once."""
        found = list(self.authenticators)
        for listener in self.listeners:
            for authenticator in listener.authenticators:
                if authenticator not in found:
                    found.append(authenticator)
        return found

    # -- rights ----------------------------------------------------------------------------

    def set_acl(self, rules: "list[Rule]") -> None:
        """Other rules for the listeners that have none of their own; to be followed by `rights_changed`."""
        if self.acl is None:
            self.acl = rights.new_acl(self)
        self.acl.replace(rules)

    def set_rules(self, session: Session, rules: "Optional[list[Rule]]") -> None:
        """Other rules of its own for a connected client."""
        from port.core.renewal import set_rules

        set_rules(self, session, rules)
        self.flush()

    def rights_changed(self) -> None:
        """Rules, users or listeners have changed: settle all clients' rights anew, disconnect those who have lost some."""
        from port.core.renewal import renew_all

        renew_all(self)
        self.flush()

    # -- background work -------------------------------------------------------------------

    def background(self, job: "Callable[[], bool]") -> None:
        """Do some work in slices, others being served in between: `job()` until it returns False."""
        self.jobs.append(job)
        self.wake()

    def wake(self) -> None:
        """There is work to do; a host sees to it that `work` is called soon."""

    def work(self) -> bool:
        """Do one slice of each job; False when there is nothing left to do. For the host to call."""
        for job in list(self.jobs):
            try:
                more = job()
            except Exception as e:
                self.crashed(None, e)
                more = False
            if not more:
                self.jobs.remove(job)
        return bool(self.jobs)

    # -- sessions --------------------------------------------------------------------------

    def new_session(self, client_id: bytes) -> Session:
        """Make a session and keep it."""
        session = self.sessions[client_id] = Session(self, client_id)
        return session

    def end_session(self, session: Session) -> None:
        """End a session that has no connection: its will goes out, its state goes [MQTT-4.1.0-2]."""
        self._hand_back(session, True)
        if self.journal is not None:
            self.journal.forget(session)
        for topic_filter in list(session.subscriptions):
            self.router.remove(session, topic_filter)
        session.inflight.clear()
        session.resends = session.replay = session.queue = None
        self._publish_will(session)
        rights.set_access(self, session, None)
        # Last: if memory runs out before, it can be tried again.
        self.due.pop(session, None)
        if self.sessions.get(session.client_id) is session:
            del self.sessions[session.client_id]

    def _hand_back(self, session: Session, ended: bool) -> None:
        """What a leaving member of shared subscriptions had not acknowledged goes to the others."""
        for topic_filter in session.subscriptions:
            group = self.router.group(topic_filter)
            if group is not None and ended:
                group.leave(session, True)
            elif group is not None:
                group.away(session)

    def _publish_will(self, session: Session) -> None:
        will = session.will
        session.will = None
        session.will_at = None
        if self.journal is not None:
            self.journal.will(session)
        if will is None:
            return
        message = will[0]
        if message.expires is not None:
            message.expires += self.clock()
        try:
            access = session.access
            # What the authorizer allowed at CONNECT it need not be asked again.
            if access is None or self._may_publish(message, session, access) in (SUCCESS, _UNDECIDED):
                self._take_in(message, session, access)
        except MQTTError as e:  # a hook has given it an impossible topic
            self.crashed(None, e)
        except MemoryError:
            self.out_of_memory()
            self.dropped += 1

    def subscribe_session(self, session: Session, topic_filter: bytes, options: int) -> None:
        """Make or change a subscription; filter and options are valid [MQTT-3.8.4-3]."""
        self.router.add(session, topic_filter, options)
        if session.number:
            self.journal.subscription(session, topic_filter, options)

    def unsubscribe_session(self, session: Session, topic_filter: bytes) -> None:
        """Take a subscription away; nothing new is sent for it [MQTT-3.10.4-2]."""
        group = self.router.group(topic_filter)
        self.router.remove(session, topic_filter)
        if group is not None:
            # What was sent stays with it [MQTT-3.10.4-3].
            group.leave(session, session.conn is None)
        if session.number:
            self.journal.subscription(session, topic_filter, None)

    def can_share(self) -> bool:
        """Whether there are shared subscriptions; a broker can be installed without them."""
        try:
            import port.core.shared  # noqa: F401
        except ImportError:
            return False
        return True

    def replay_retained(self, session: Session, topic_filter: bytes, options: int) -> None:
        """Send a new subscription the retained messages it matches, as fast as the client takes them."""
        now = self.clock()
        found: "list[Any]" = self.retained.matching(topic_filter)  # Any: when compiled a typed tuple would become another object
        if topic_filter.startswith(b"$"):
            found += self.sys.matching(topic_filter)
        entries: "list[Any]" = []
        identifiers = (options >> 8,) if options >> 8 else None
        access = session.access
        for record in found:
            if access is not None:
                verdict = access.receive(record[0])
                if verdict < 0:
                    continue
                qos = min(record[2], limited(options, verdict) & 3)
            else:
                qos = min(record[2], options & 3)
            if not expired(record, now):
                entries.append((record, qos << 1 | 1, identifiers))
        if entries:
            entries.reverse()
            waiting = session.replay or []
            if len(waiting) + len(entries) > 2 * self.retained.count:
                # Who subscribes again and again without reading gets each message once, not each time.
                again = {entry[0][0]: True for entry in entries}
                waiting = [entry for entry in waiting if entry[0][0] not in again]
            session.replay = entries + waiting
            session.pump()

    # -- messages --------------------------------------------------------------------------

    def accept_message(self, message: Message, sender: Session) -> "tuple[int, str]":
        """Take in a message from a client: (reason code for its acknowledgement, reason string).

        Raises MQTTError for a topic name nobody may publish to. The code is acl.UNDECIDED (-2), and nothing
        was done, when the authorizer has to be asked.
        """
        access = sender.access
        if access is not None:
            code = self._may_publish(message, sender, access)
            if code:
                return code, "not authorized"
        return self._take_in(message, sender, access)

    def _may_publish(self, message: Message, sender: Session, access: "Access") -> int:
        """0, NOT_AUTHORIZED or acl.UNDECIDED."""
        verdict = access.judge(message, self.clock())
        if verdict >= 0:
            return SUCCESS
        if not valid_name(message.name):
            raise MQTTError(MALFORMED_PACKET, "invalid topic name")
        if verdict == _UNDECIDED:
            check_name(message.name, sender.options)
            return verdict
        self.denied_publishes += 1
        self.dropped += 1
        return NOT_AUTHORIZED

    def _take_in(self, message: Message, sender: Session, access: "Optional[Access]") -> "tuple[int, str]":
        """Take in a message that its sender may publish."""
        if self.message_hooks:
            return self.hooks.accept(message, sender)  # type: ignore[union-attr]
        route = self.router.route(message.name, sender.options)
        if route is None:  # $-topics belong to the broker
            self.dropped += 1
            return NOT_AUTHORIZED, "clients cannot publish to $ topics"
        if access is not None:
            self.router.allow(sender, access, message.name, route)
        return self.distribute(message, route, sender)

    def distribute(self, message: Message, route: "Route", sender: "Optional[Session]") -> "tuple[int, str]":
        """Retain a message if it is to be, and give it to its receivers: (reason code, reason string)."""
        code, text = SUCCESS, ""
        if message.retain and not self._retain(message):
            code, text = QUOTA_EXCEEDED, "no room for another retained message"
        if not self.router.distribute(message, route, sender):
            code = code or NO_MATCHING_SUBSCRIBERS
        return code, text

    def _retain(self, message: Message) -> bool:
        name = message.name
        if not message.payload:
            if self.retained.remove(name) and self.journal is not None:
                self.journal.retained(name, None)
            return True
        if not self.retained.put(message):
            self._expire_retained()
            if not self.retained.put(message):
                self.dropped += 1
                return False
        if self.journal is not None:
            self.journal.retained(name, message)
        return True

    def _expire_retained(self) -> None:
        """Forget the retained messages that have expired [MQTT-3.3.2-5]."""
        for name in self.retained.expire(self.clock()):
            if self.journal is not None:
                self.journal.retained(name, None)

    def publish(
        self,
        topic: "Union[str, bytes]",
        payload: "Union[str, bytes]" = b"",
        qos: int = 0,
        retain: bool = False,
        properties: "Optional[Properties]" = None,
        expiry: "Optional[int]" = None,
    ) -> bool:
        """Publish from the program that embeds the broker; True when somebody subscribes to the topic.

        properties: MQTT 5 properties by identifier, as in port.core.properties; expiry: message
        expiry interval, s. `$` topics are allowed here. Raises ValueError for an invalid topic or QoS.
        """
        name = _bytes(topic)
        encoded = b""
        if properties:
            from port.core.properties import encode_all

            encoded = encode_all(properties)
        if not valid_name(name):
            raise ValueError("invalid topic name %r" % (topic,))
        if qos not in (0, 1, 2):
            raise ValueError("QoS must be 0, 1 or 2, not %r" % (qos,))
        expires = None if expiry is None else self.clock() + expiry * 1000
        message: "Optional[Message]" = Message(name, _bytes(payload), qos, retain, encoded, expires)
        if self.message_hooks:
            message = self.hooks.filter("message", None, message)  # type: ignore[arg-type, union-attr]
        if message is None:
            return False
        code, _ = self.distribute(message, self.router.resolve(message.name), None)
        self.flush()
        return code != NO_MATCHING_SUBSCRIBERS

    def subscribe(self, topic_filter: "Union[str, bytes]", callback: "Callable[[Message], Any]") -> "Any":
        """Call `callback(message)` for each message that matches; returns what `unsubscribe` takes.

        Called at once for the retained messages that match. Raises ValueError for an invalid filter.
        """
        data = _bytes(topic_filter)
        if not valid_filter(data) or data.startswith(b"$share/"):
            raise ValueError("invalid topic filter %r" % (topic_filter,))
        handle = self.router.add_local(data, callback)
        now = self.clock()
        for record in self.retained.matching(data):
            if not expired(record, now):
                self.router.call_local(handle, retained_message(record))
        return handle

    def unsubscribe(self, handle: "Any") -> None:
        """End what `subscribe` began."""
        self.router.remove_local(handle)

    def disconnect(self, client_id: "Union[str, bytes]", code: int = ADMINISTRATIVE_ACTION, text: str = "") -> bool:
        """End a client's connection, MQTT 5 clients being told the reason; False when it is not connected."""
        session = self.sessions.get(_bytes(client_id))
        if session is None or session.conn is None:
            return False
        session.conn.fail(MQTTError(code, text or "disconnected by the server"))
        self.flush()
        return True

    def on(self, event: str, callback: "Callable[..., Any]") -> None:
        """Register a hook, see port.core.hooks; ValueError for an unknown event, ImportError in a broker without hooks."""
        if self.hooks is None:
            from port.core.hooks import Hooks

            self.hooks = Hooks(self)
        self.hooks.on(event, callback)
        self.router.forget()

    def off(self, event: str, callback: "Callable[..., Any]") -> None:
        """Take a hook away; ValueError when it is not registered."""
        if self.hooks is None:
            raise ValueError("there is no hook")
        self.hooks.off(event, callback)
        self.router.forget()

    def tell(self, event: str, *args: "Any") -> "Any":
        """Call the hooks of an event, if there are any; what the first said that said something."""
        return None if self.hooks is None else self.hooks.call(event, *args)

    # -- output ------------------------------------------------------------------------------

    def flush(self) -> None:
        """Hand every outbox to its transport; call it after feeding connections and after a tick."""
        dirty = self.dirty
        journal = self.journal
        packets = size = 0
        conn: "Connection"
        for conn in dirty:
            out = conn.out
            if out:
                if journal is not None and conn.promised > self.durable:
                    journal.hold(conn)
                else:  # `send`, written out
                    packets += len(out)
                    size += conn.transport.send(out)
                    out.clear()
                session = conn.session
                if session is not None and session.room < 0:
                    session.pump()
        dirty.clear()
        self.packets_sent += packets
        self.bytes_sent += size
        if journal is not None and journal.serial != journal.taken_serial:
            journal.flushed()

    def send(self, conn: Connection) -> None:
        """Hand one outbox to its transport."""
        out = conn.out
        self.packets_sent += len(out)
        self.bytes_sent += conn.transport.send(out)
        out.clear()

    # -- time --------------------------------------------------------------------------------

    def tick(self) -> None:
        """Do what time asks for; call it about once a second."""
        now = self.clock()
        for conn in list(self.connections):
            identity = conn.identity
            if identity is not None and identity.expires_at is not None and identity.expires_at <= now:
                conn.fail(MQTTError(MAXIMUM_CONNECT_TIME, "the time allowed is over"))
            if conn.held:
                conn.tick(now)
            elif not conn.deadline:
                if conn.silence:
                    conn.deadline = now + conn.silence
            elif now >= conn.deadline:
                if conn.session is None:
                    conn.close(KEEP_ALIVE_TIMEOUT, "no CONNECT in time", True)
                else:
                    conn.fail(MQTTError(KEEP_ALIVE_TIMEOUT, "keep alive timeout"))  # [MQTT-3.1.2-22]
        if self._unsettled:
            self._settle_rest()
        self._end_due(now)
        if now >= self._sweep_at:
            self._sweep_at = now + _SWEEP
            self.peers.forget(now, self.options)
            if self.retained.expiring:
                self._expire_retained()
        self.sys.tick(now)
        self.flush()
        if self.journal is not None:
            self.journal.tick(now)

    def _end_due(self, now: int) -> None:
        """Send the wills and end the sessions whose time has come."""
        for session in list(self.due):
            if session.will_at is not None and session.will_at <= now:
                self._publish_will(session)
                if session.expires_at is None:
                    self.due.pop(session, None)
            if session.expires_at is not None and session.expires_at <= now:
                self.clients_expired += 1
                self.end_session(session)

    def _settle_rest(self) -> None:
        """Settle the sessions for which memory did not suffice when they began or their connections ended."""
        for session in list(self.sessions.values()):
            # Those that are settled wait for their end, or have none and no will.
            if session.conn is None and session not in self.due and (session.will or session.expiry != _NEVER):
                self._settle(session)
        self._unsettled = False

    def disconnect_all(self) -> None:
        """The broker stops: MQTT 5 clients get DISCONNECT 0x8B. Sessions and wills fare as the protocol says."""
        for conn in list(self.connections):
            conn.fail(MQTTError(SERVER_SHUTTING_DOWN, "server shutting down"))
        self.flush()

    # -- the store -----------------------------------------------------------------------------

    def open_store(self) -> None:
        """Restore what the store has and keep it up to date from now on; before the first client comes.

        Raises OSError or ValueError saying what is wrong with the store.
        """
        if self.store is None:
            return
        if self.journal is not None:  # it was closed, nothing has changed since
            for _ in self.store.load():
                pass
            return
        from port.core.restore import restore

        restore(self, self.store)
        self._end_due(self.clock())
        self.flush()

    def commit_soon(self) -> None:
        """There is something to store; a host may wait until more has come, then it calls `journal.commit`."""
        self.journal.commit()

    # -- trouble -------------------------------------------------------------------------------

    def out_of_memory(self) -> None:
        """Memory has run out, and a client is disconnected for it; the next tick goes on with what was left undone.

        A host may add that it frees what it has put by for this.
        """
        self._unsettled = True

    def crashed(self, conn: "Optional[Connection]", error: Exception) -> None:
        """Something in the broker or a hook failed: log it with its traceback, tell the error hook."""
        self.log(3, "%s: internal error: %r", conn or "-", error)
        self.tell("error", conn.session if conn else None, error)
