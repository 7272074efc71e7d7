"""The broker: who is connected, who subscribes to what, and where each message goes.

It is driven by its host. For each client the host makes a Connection with a Transport,
feeds it what arrives and then calls `flush`; once a second it calls `tick`. Time is what
`clock` says, ms from any start; the broker never waits.
"""

from binascii import hexlify

from port.core import const
from port.core.constants import MAY_PUBLISH, UNDECIDED

# In this order imports do not nest deep: a board has little stack.
from port.core.wire.reason_codes import (
    ADMINISTRATIVE_ACTION,
    AWAY_ADDRESS,
    AWAY_BLOCKED,
    AWAY_CONNECTIONS,
    DROP_MEMORY,
    DROP_NOT_AUTHORIZED,
    DROP_RESERVED_TOPIC,
    DROP_RETAINED_FULL,
    DROP_TOO_LARGE,
    KEEP_ALIVE_TIMEOUT,
    MALFORMED_PACKET,
    MAXIMUM_CONNECT_TIME,
    NO_MATCHING_SUBSCRIBERS,
    NOT_AUTHORIZED,
    QUOTA_EXCEEDED,
    SERVER_SHUTTING_DOWN,
    SESSION_TAKEN_OVER,
    SUCCESS,
    UNSPECIFIED_ERROR,
    MQTTError,
)
from port.core.wire.topics import valid_filter, valid_name
from port.core.limits.address_limits import Peers
from port.core.limits.client_log import ClientLog, denied, explained
from port.core.limits.ip_address import peer
from port.core.limits.listener import Listener
from port.core.limits.login_attempts import Attempts
from port.core.limits.options import Options
from port.core.limits.places import Places, leave, part
from port.core.limits.sweep import Sweep
from port.core.messages.message import LIGHT, Message, as_bytes
from port.core.messages.retained import Retained, expired, record, retained_message
from port.core.routing.router import Router, check_name
from port.core.sessions.session import Session, is_for_all
from port.core.acl import client_policy
from port.core.monitor.load_shedding import MANY, Shedding, drop_queues
from port.core.monitor.sys_tree import SysInfo
from port.core.protocol.backpressure import Backpressure
from port.core.protocol.connection import Connection
from port.core.protocol.handle_connect import NO_PLACE, attempt_over

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, ClassVar, Optional, Sequence, Union

    from port.core.transport import Transport
    from port.core.wire.properties import Properties
    from port.core.messages.retained import Record
    from port.core.routing.subscriptions import Route
    from port.core.sessions.mount_point import Mount
    from port.core.sessions.session_index import SessionIndex
    from port.core.auth.authenticator import Authenticator
    from port.core.acl.acl import Access, Acl, Rule
    from port.core.monitor.hooks import Hooks
    from port.core.monitor.measures import Measures
    from port.core.monitor.watchers import Watcher, Watchers
    from port.core.protocol.mqtt5 import MQTT5
    from port.core.storage.store import Store
    from port.core.web.routes import Handler, Routes

_NEVER = 0xFFFFFFFF
_MUCH = const(2097152)  # bytes of large packets that are handed over in one go
_MESSAGE = const(18)  # words a kept message takes beside its name, payload and properties
_ENTRY = const(10)  # words of an entry
_IDENTIFIER = const(12)  # words it takes in a dict that grows
_SLOT = const(2)  # words of its place in a queue or window
_SHED = const(200)  # ms
_PACKETS = const(4)  # of the largest size that have room in any case
_SWEEP = const(60000)  # ms between two looks for retained messages and failures to authenticate that have expired
_SOME = const(256)  # retained messages looked at in one piece for that


# What it costs to end a session, to remove a subscription and so on, in the units of Broker.turn.
_ENDED = const(100)
_REMOVED = const(60)
_REFUSED = const(40)  # to refuse a PUBLISH
_FEW = const(200)  # sessions or subscriptions that are dealt with at once


def ignore(level: int, text: str, *args: "Any") -> None:
    """A log that keeps nothing."""


def _is_due(session: Session, now: int) -> bool:
    """Whether the will of a session that is away is to be sent, or the session to end."""
    will_at = session.will_at
    expires_at = session.expires_at
    return will_at is not None and will_at <= now or expires_at is not None and expires_at <= now


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
    routes          of HTTP, see web.routes.Routes, loaded by `find_routes`; None before
    hooks           see hooks.Hooks, loaded by the first one; None before
    watchers        see watchers.Watchers, loaded by the first one; None before
    message_hooks   True while one of the two message events has a hook
    """

    # What one client may have done for it in a turn before others are served, about 10 ms of a small computer's time. The
    # unit is the hand-over of one short message to one receiver; each kind of work says how many it takes.
    TURN: "ClassVar[int]" = 8192
    HANDSHAKES: "ClassVar[int]" = 8  # connections that may at least be without CONNECT at a time: those a host accepts at once
    word: "ClassVar[int]" = 8  # bytes of a word, of which objects are made
    debug = False  # the host's log has what rules withhold from single clients, too

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
        self.client_log = ClientLog(self)
        self.turns: "list[Callable[[], bool]]" = []  # clients' work that goes on when others have been served, see give_turn
        self.attempts = Attempts(self)
        self.peers = Peers(self.attempts)
        most = self.options.max_connections
        share = self.options.owner_share
        self.arriving = Places(most // 2, share)  # connections that have had no CONNECT accepted yet
        self.present = Places(most, share)  # those that have: the clients
        self.staying = Places(self.options.max_sessions, share)  # sessions that outlive their connections
        self.jobs: "list[Callable[[], bool]]" = []  # work that is done in slices, see background
        self.pressure = Backpressure(self)
        self.scarce: "Optional[Session]" = None
        self.large = 0  # bytes of large packets in outboxes
        self._later: "list[Connection]" = []  # with large packets that others come before
        self._large_left = _MUCH  # bytes of large packets that may be sent before others are served
        self._flushing = False  # a session is sent what has waited
        self._midway = False  # a packet is being handled
        self.slot = _SLOT * self.word  # bytes of an entry's place in a queue
        self.place = (_SLOT + _ENTRY) * self.word  # with the entry itself
        self.identifier = _IDENTIFIER * self.word  # bytes of a packet identifier that is remembered
        self.message_bytes = 0  # kept for clients in queues, in flight and behind a batch of the store, see keep
        self._shed_at = 0  # when queues may give way again at once, ms
        self._sheds_at = 0  # and in the background
        self._shedding: "Any" = None  # the last job in which they did
        self.unsent_bytes = 0  # that sockets have not taken, where the host knows; told once a second
        self.session_bytes = 0  # of client ids, wills, aliases and QoS 2 identifiers; sessions themselves are bounded in number
        self.partial_bytes = 0  # of packets that have not come whole
        self.turn = self.TURN
        self.spent = 0  # of the turn that is under way, see turn
        self.largest_packet = 129  # that some client may send; up to this size it is not asked
        self.hooks: "Optional[Hooks]" = None
        self.watchers: "Optional[Watchers]" = None
        self.message_hooks = False
        self.sessions: "dict[bytes, Session]" = {}
        self.index: "Optional[SessionIndex]" = None  # made by monitor.query.Query
        # Dicts stand for sets wherever one grows: on MicroPython a set is corrupt once memory has run out at that.
        self.connections: "dict[Connection, Any]" = {}  # with what Peers.enter returned for the address
        self.connected = 0  # connections that are open
        self.handshakes = self.HANDSHAKES  # fewer where the host has fewer sockets
        self.shortage = 0  # how short memory is, see guard.MemoryGuard
        self.look: "Optional[Callable[[], None]]" = None  # looks at that before there is another session that stays
        options = self.options
        self.retained = Retained(options.max_retained_messages, options.max_retained_bytes, self.word, options.retained_share)
        self.router = Router(self)
        # Receivers of plain QoS 0 packets by topic name, for MQTT 3.x and for MQTT 5.
        self.fast = self.router.fast
        self.rows: "Any" = None  # port.cpython.publish_batch on a host that has it: many alike packets at once
        self.mqtt5: "Optional[MQTT5]" = None  # loaded by the first client that speaks it
        self.dirty: "list[Any]" = []  # connections with something in their outbox
        self.due: "dict[Session, bool]" = {}  # sessions with a will or an expiry to come
        self.ended: "dict[Session, bool]" = {}  # sessions that are over, whose subscriptions are still being taken away
        self.settling: "dict[Session, bool]" = {}  # whose connection is over, and what becomes of them is still to be seen to
        self._to_settle: "list[Session]" = []  # they, and perhaps some that are settled, in their order
        self._settler: "Any" = self._settle_some
        self._settled = 0  # what that has cost since the last slice of work in the background, in the units of `turn`
        self._unsettled = False  # True when there are offline sessions that ought to be in _due, or ended
        self._sweep_at = 0  # when what has expired is looked for next, ms
        self._look_at = 0  # when to see who does not acknowledge
        self._sweeping = False  # retained messages are looked through for that
        self.bytes_received = 0
        self.bytes_sent = 0
        self.packets_received = 0
        self.packets_sent = 0
        self.publishes_received = 0
        self.received1 = self.received2 = 0  # of QoS 1 and 2 among them
        self.published0 = self.published1 = self.published2 = 0  # PUBLISH packets sent, by QoS
        self.dropped = 0  # messages not delivered to one receiver for want of room
        self.connections_total = 0
        self.clients_maximum = 0
        self.clients_expired = 0
        self.refused = 0  # connections turned away before CONNECT
        self.auth_failed = 0  # CONNECTs refused by authentication
        self.auth_timeouts = 0  # clients ended because an authenticator or authorizer did not answer
        self.random: "Callable[[int], bytes]" = self._count  # (size) -> bytes nobody can guess, from the host
        self._counted = 0
        self.handshake_bytes = 0  # bytes of incomplete packets of connections that are not open, see Connection.expect
        self.auth_blocked = 0  # connections refused because their address has to wait
        self.denied_publishes = 0
        self.denied_subscriptions = 0
        self.rate_limited = 0  # times a client was too fast
        self.measures: "Optional[Measures]" = None  # where there is a listener to ask for it
        self.routes: "Optional[Routes]" = None
        self.sys = SysInfo(self)
        self._ending: "Any" = None  # the job that looks for sessions that are due, the last one there was
        self._steps: "Any" = (self._end_due, self._find_silent, self._settle_rest, self._sweep, self._finish_tick)  # of `tick`

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
        counted = None
        why, reason = "max_connections_per_address reached", AWAY_ADDRESS
        if self.peers.blocked(address, self.clock()):
            self.auth_blocked += 1
            why, reason = "max_auth_failures reached", AWAY_BLOCKED
        else:
            counted = self.peers.enter(address, listener.options)
        key = peer(address)
        if counted is not None and not self._make_room(key):
            self.peers.leave(counted)
            counted = None
            why, reason = "too many connections without CONNECT", AWAY_CONNECTIONS
        if counted is None:
            self.turn_away(listener, address, why, reason)
            return None
        conn = None
        try:
            conn = Connection(self, listener, transport, address)
            self.arriving.enter(conn, key)
            self.arriving.offer(conn)
            self.connections[conn] = counted
        except MemoryError:
            self.peers.leave(counted)
            if conn is not None:
                leave(conn)
            raise
        self.connections_total += 1
        if self.measures is not None:
            self.measures.accepted(listener)
        return conn

    def turn_away(self, listener: Listener, address: str, why: str, reason: int = 0) -> None:
        """Count a connection that is closed before CONNECT; the host tells of those it does not even announce.

        `why` is for the log, `reason` for the figures: one of port.core.wire.reason_codes.
        """
        self.refused += 1
        listener.refused += 1
        if self.measures is not None:
            self.measures.turned_away(listener, reason)
        self.client_log.line(2, address, "- %s: %s", address, why)

    def most_arriving(self) -> int:
        """How many connections may be without CONNECT at this moment."""
        most = self.options.max_connections
        return max(self.handshakes, 1, min(most // 2, most + self.handshakes - self.connected))

    def _make_room(self, key: "Any") -> bool:
        """Whether there is a place for one more connection without CONNECT, of the address `key`.

        If need be the oldest of an address above its share gives way: who means it sends CONNECT at once.
        """
        most = self.most_arriving()
        return self.arriving.count < most or self.drop_silent(key, most)

    def drop_silent(self, key: "Any", most: int) -> bool:
        """End the oldest connection without CONNECT of an address above its share of `most`, for one of the address `key`.

        False when there is none.
        """
        owner = self.arriving.find(key, most, self.options.owner_share)
        if owner is None:
            return False
        owner.after.fail(MQTTError(QUOTA_EXCEEDED, NO_PLACE))
        return True

    def lighten(self, conn: Connection) -> None:
        """The bytes kept of a client that is not let in yet are others than before, see Connection.expect.

        When all such bytes are too many, those of the oldest connection go that has some, of an address that has more than
        its share. Raises MQTTError when that is this connection, or there is none.
        """
        options = self.options
        most = options.max_connecting_bytes
        share = part(most, options.owner_share)
        while conn.early and self.handshake_bytes > most:
            owner = conn.owner
            if owner.weight <= share:
                for owner in self.arriving.owners.values():
                    if owner.weight > share:
                        break
            oldest = conn
            if owner.weight > share:
                oldest = owner.after
                while not oldest.early:
                    oldest = oldest.after
            error = MQTTError(QUOTA_EXCEEDED, "max_connecting_bytes reached")
            if oldest is conn:
                raise error
            oldest.fail(error)

    def _count(self, size: int) -> bytes:
        """In place of random bytes where the host has none, as in tests that have to be the same each time."""
        self._counted += 1
        return self._counted.to_bytes(size, "big")

    def new_client_id(self, prefix: bytes) -> bytes:
        """A client id nobody has, nor can guess: who knew it could take over the session of an anonymous client."""
        while True:
            client_id = prefix + hexlify(self.random(8))
            if client_id not in self.sessions:
                return client_id

    def find_mqtt5(self) -> "Optional[MQTT5]":
        """What MQTT 5 takes, None in a broker that was installed without it."""
        if self.mqtt5 is None:
            try:
                from port.core.protocol.mqtt5 import MQTT5
            except ImportError:
                return None
            self.mqtt5 = MQTT5(self)
        return self.mqtt5

    def attach(self, conn: Connection, session: Session, key: "Any") -> None:
        """The connection of the owner `key` is open: its session gets what is published from now on."""
        session.conn = conn
        self.router.subscriptions.came(session)
        self.connected += 1  # at once: `detach` takes it back if there is no memory for the rest
        conn.listener.connected += 1
        if self.measures is not None:
            self.measures.came(conn)
        conn.expect(0)
        leave(conn)
        self.present.enter(conn, key)
        self.present.offer(conn)
        session.out = None if conn.blocked else conn.out
        session.count_in_flight(False)
        self.due.pop(session, None)
        if session.expires_at is not None or session.will_at is not None:
            session.expires_at = session.will_at = None
        self.settle_fast_version(session)
        client_policy.set_fast(conn, session)
        self.clients_maximum = max(self.clients_maximum, self.connected)
        if self.journal is not None:
            self.journal.attached(session)
        self.client_log.line(1, conn.address, "%s: connected, MQTT %d", conn, conn.version)
        if self.watchers is not None:
            self.watchers.tell("connected", session)
        self.emit("connect", session)

    def settle_fast_version(self, session: Session) -> None:
        """Whether plain QoS 0 packets can go to a session as they came [MQTT-3.1.2-24]."""
        waits = session.options.queue_qos0_messages and session.expiry  # where the fast path would drop
        plain = session.max_packet >= self.largest_packet and not session.alias_maximum and session.mount is None and not waits
        version = -1 if not plain else 5 if session.version5 else 4
        if session.fast_version != version:
            session.fast_version = version
            if session.subscriptions:
                self.router.forget()

    def allow_for(self, options: Options) -> None:
        """Some client has these options: what takes the fast path, unchecked, must be right for all clients."""
        self.router.limit_names(options)
        if options.max_packet_size > self.largest_packet:
            self.largest_packet = options.max_packet_size
            for session in self.sessions.values():
                if session.conn is not None:
                    self.settle_fast_version(session)

    def detach(self, conn: Connection, code: int, text: str, was_open: bool) -> None:
        """A connection is over; settle its session's will and expiry [MQTT-3.1.2-8]."""
        counted = self.connections.pop(conn, None)
        if counted is not None:
            self.peers.leave(counted)
        leave(conn)
        session = conn.session
        was_open = was_open and session is not None and session.conn is conn
        if was_open:
            self.connected -= 1
            conn.listener.connected -= 1
            session.conn = None  # type: ignore[union-attr]
            self.router.subscriptions.came(session, -1)  # type: ignore[arg-type]
            session.pause()  # type: ignore[union-attr]
            self.pressure.forget(session, conn)  # type: ignore[arg-type]
            if self.watchers is not None:
                self.watchers.tell("taken_over" if code == SESSION_TAKEN_OVER else "disconnected", session)
        try:
            if conn.identity is not None:
                attempt_over(conn.identity, False)
            if self.measures is not None:
                self.measures.went(conn, code, was_open)
            level = 2 if code > UNSPECIFIED_ERROR else 1
            if code == SERVER_SHUTTING_DOWN:  # it is so for all of them
                level = 0
            elif level > 1 and code not in (KEEP_ALIVE_TIMEOUT, SESSION_TAKEN_OVER):  # which happen to everybody
                text = explained(conn, code, text) or text
            self.client_log.line(level, conn.address, "%s: %s (0x%02x)", conn, text, code)
            if was_open:
                self.emit("disconnect", session, code)
                if session.expiry >= 0:  # type: ignore[union-attr] # a hook may have ended it
                    self._settle_in_turn(session)  # type: ignore[arg-type]
        except MemoryError:
            self.out_of_memory()

    def _settle_in_turn(self, session: Session) -> None:
        """See to a session whose connection is over: at once, or where many end at the same time in the background."""
        if self._settled <= self.turn and not self.settling:
            before = self.spent
            self._settle(session)
            self._settled += self.spent - before + _ENDED
            return
        if session.expiry:
            self.staying.offer(session, not session.subscriptions)
        self._to_settle.append(session)
        self.settling[session] = True  # last: without memory for that the session is settled with the next tick
        self.background(self._settler)

    def _settle_some(self) -> bool:
        """A job, see background."""
        line = self._to_settle
        while line:
            if self.spent > self.turn:
                return True
            self.spent += _ENDED
            session = line.pop(0)
            if self.settling.pop(session, False):
                self._settle(session)
        return False

    def find_session(self, client_id: bytes) -> "Optional[Session]":
        """The session of a client as the end of its last connection has left it, or None."""
        session = self.sessions.get(client_id)
        if session is not None and self.settling.pop(session, False):
            self._settle(session)
            session = self.sessions.get(client_id)
        return session

    def _settle(self, session: Session) -> None:
        """What becomes of a session whose connection is over."""
        now = self.clock()
        if not session.expiry:
            self.end_session(session)
            return
        self.staying.offer(session, not session.subscriptions)
        self._hand_back(session, False)
        session.count_in_flight(True)
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
        if session.access is not None:
            session.access.rest(session.will is None)
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

    def set_acl(self, rules: "Optional[Sequence[Union[Rule, dict[str, Any]]]]") -> None:
        """Other rules, or tables as a configuration has them, for the listeners that have none of their own; to be followed by
        `rights_changed`. Raises ValueError naming a rule that is wrong by its number.

        What no rule allows is denied, so an empty list denies everything; with None everything is allowed.
        """
        if self.acl is None:
            self.acl = client_policy.new_acl(self)
        self.acl.replace(rules)

    def set_rules(self, session: Session, rules: "Optional[list[Rule]]") -> None:
        """Other rules of its own for a connected client."""
        from port.core.protocol.reauthorize import set_rules

        set_rules(self, session, rules)
        self.flush()

    def rights_changed(self) -> None:
        """Rules, users or listeners have changed: settle all clients' rights anew, disconnect those who have lost some."""
        from port.core.protocol.reauthorize import renew_all

        renew_all(self)
        self.flush()

    # -- work in slices --------------------------------------------------------------------

    def give_turn(self, job: "Callable[[], bool]") -> None:
        """Go on with a client's work when others have been served: `job()` until it returns False.

        Each call is to stop soon after `spent` has reached `turn`.
        """
        self.turns.append(job)
        self.wake()

    def background(self, job: "Callable[[], bool]") -> None:
        """Do some work of the broker in slices, others being served in between: `job()` until it returns False.

        One that is under way already is not begun again.
        """
        if job not in self.jobs:
            self.jobs.append(job)
        self.wake()

    def wake(self, ms: int = 0) -> None:
        """There is work to do; a host sees to it that `work` is called soon, or in so many ms."""

    def work(self) -> bool:
        """Do as many turns as there is time for in one, and slices of as many jobs; False when nothing is left to do.

        For the host to call, and to flush after it. Clients take turns in the order in which they came to wait.
        """
        self.pressure.look()
        self._large_left = _MUCH
        self._settled = 0
        self._round(self.turns)
        self._round(self.jobs)
        return bool(self.turns or self.jobs)

    def _round(self, jobs: "list[Any]") -> None:
        """Do slices of as many as there is time for in one turn, the first first; those that are not done are the last then."""
        left = self.turn
        for _ in range(len(jobs)):
            self.spent = 0
            going = self._goes_on(jobs[0])
            job = jobs.pop(0)
            if going:
                jobs.append(job)
            left -= self.spent + 1
            if left <= 0:
                break

    def _goes_on(self, job: "Callable[[], bool]") -> bool:
        """Do a slice of a job; False when it is done or has failed."""
        try:
            return job()
        except MemoryError:
            self.out_of_memory()
            return False
        except Exception as e:
            self.crashed(None, e)
            return False

    # -- bytes kept for clients ------------------------------------------------------------

    def kept(self) -> int:
        """Bytes kept for clients at this moment, see Options.max_memory."""
        return (
            self.message_bytes + self.partial_bytes + self.unsent_bytes + self.session_bytes
            + self.retained.bytes + self.router.subscriptions.bytes
        )  # fmt: skip

    def memory_limit(self) -> int:
        """Bytes that may be kept for all clients together: max_memory, but room for some packets in any case."""
        options = self.options
        return max(options.max_memory, _PACKETS * options.max_packet_size)

    def is_half_full(self) -> bool:
        """True when what waits for clients, or comes from them, has half of what the rest leaves of that."""
        passing = self.message_bytes + self.partial_bytes
        return passing * 2 > self.memory_limit() - self.kept() + passing

    def lacks(self, size: int) -> bool:
        """True when `size` bytes more would be above the limit for all clients together.

        Where less than an eighth is free, the largest queues and, where queues are not what takes it, sessions give way, see
        monitor.load_shedding, until it is three sixteenths; again after _SHED ms at the earliest. At the limit queues do at once.
        """
        limit = self.memory_limit()
        kept = self.kept() + size
        if kept <= limit - limit // 8:
            return False
        now = self.clock()
        if kept > limit and now >= self._shed_at and len(self.sessions) < MANY:
            self._shed_at = now + _SHED
            drop_queues(self, limit - limit // 8 + self._leaving() - size)
            kept = self.kept() + size
        if kept > limit - limit // 8 and now >= self._sheds_at and self._shedding not in self.jobs:
            self._sheds_at = now + _SHED
            self._shedding = Shedding(self, self._has_shed).go_on
            self.background(self._shedding)
        return kept > limit

    def _has_shed(self) -> bool:
        return self.kept() <= self.memory_limit() * 13 // 16 + self._leaving()

    def _leaving(self) -> int:
        """Bytes that are kept, and are being given back."""
        return sum([session.subscription_bytes for session in self.ended])

    def weight(self, message: Message) -> int:
        """Bytes a message takes with the entry its receivers share.

        A large payload stands in its packet, too, and large properties once more in what packets made to measure share.
        """
        size = message.size()
        if size > LIGHT:
            size *= 2 if len(message.properties) <= LIGHT else 3
        return size + (_MESSAGE + _ENTRY) * self.word

    def keep(self, entry: "Any", weight: int = 0) -> None:
        """A queue or a window has taken an entry in, see sessions.session; those that share its message count that once.

        `weight`: its message's, where it is known.
        """
        message = entry[0]
        size = self.slot if is_for_all(entry) else self.place
        if not message.kept:
            size += weight or self.weight(message)
        message.kept += 1
        self.message_bytes += size

    def let_go(self, entry: "Any") -> None:
        """The opposite of `keep`."""
        message = entry[0]
        size = self.slot if is_for_all(entry) else self.place
        message.kept -= 1
        if not message.kept:
            size += self.weight(message)
        self.message_bytes -= size

    # -- sessions --------------------------------------------------------------------------

    def new_session(self, client_id: bytes, mount: "Optional[Mount]" = None) -> Session:
        """Make a session and keep it."""
        session = Session(self, client_id) if mount is None else mount.session(self, client_id)
        if self.index is not None:
            self.index.enter(session)
        self.sessions[client_id] = session
        self.session_bytes += len(client_id)
        return session

    def end_session(self, session: Session) -> None:
        """End a session that has no connection: its will goes out, its state goes [MQTT-4.1.0-2]."""
        self.settling.pop(session, None)
        self._hand_back(session, True)
        session.forget()  # early: this gives memory back, which what follows may need
        session.expiry = -1  # nothing is queued for it any more
        if self.journal is not None:
            self.journal.forget(session)
        self.session_bytes -= len(session.received or ()) * self.identifier
        session.received = None
        filters = list(session.subscriptions)
        if len(filters) > _FEW:  # what comes for them meanwhile is forgotten at the end
            self.ended[session] = True

            def done() -> None:
                session.forget()
                del self.ended[session]

            self.background(Sweep(self, filters, lambda topic_filter: self._remove(session, topic_filter), done).go_on)
        else:
            for topic_filter in filters:
                self._remove(session, topic_filter)
        self._publish_will(session)
        client_policy.set_access(self, session, None)
        # Last: if memory runs out before, it can be tried again.
        self.due.pop(session, None)
        leave(session)
        if self.sessions.get(session.client_id) is session:
            del self.sessions[session.client_id]
            if self.index is not None:
                self.index.leave(session)
            self.session_bytes -= len(session.client_id)
            if self.watchers is not None:
                self.watchers.tell("ended", session)

    def _remove(self, session: Session, topic_filter: bytes) -> None:
        self.router.remove(session, topic_filter)
        self.spent += _REMOVED

    def _hand_back(self, session: Session, ended: bool) -> None:
        """What a leaving member of shared subscriptions had not acknowledged goes to the others."""
        groups: "Any" = None  # a dict where there are some: there may be no memory for an empty one
        self.spent += len(session.subscriptions) >> 2
        for topic_filter in session.subscriptions:
            group = self.router.group(topic_filter)
            if group is not None and (ended or group.has_others(session)):
                groups = groups or {}
                groups[group] = True
        for group in groups or ():
            group.leave(session, True, groups, not ended)
            break

    def _publish_will(self, session: Session) -> None:
        will = session.will
        session.set_will(None)
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
            if access is None or self._may_publish(message, session, access) in (SUCCESS, UNDECIDED):
                self._take_in(message, session, access)
        except MQTTError as e:  # a hook has given it an impossible topic
            self.crashed(None, e)
        except MemoryError:
            self.out_of_memory()
            self.drop(DROP_MEMORY)

    def subscribe_session(self, session: Session, topic_filter: bytes, options: int) -> None:
        """Make or change a subscription; filter and options are valid [MQTT-3.8.4-3]."""
        if session.subscriptions.get(topic_filter) == options:
            return
        self.router.add(session, topic_filter, options)
        if session.store_id:
            self.journal.subscription(session, topic_filter, options)

    def unsubscribe_session(self, session: Session, topic_filter: bytes) -> None:
        """Take a subscription away; nothing new is sent for it [MQTT-3.10.4-2]."""
        group = self.router.group(topic_filter)
        self.router.remove(session, topic_filter)
        if session.replay is not None:
            session.replay.drop((topic_filter,))
        if group is not None:
            # What was sent stays with it [MQTT-3.10.4-3].
            group.leave(session, session.conn is None)
        if session.store_id:
            self.journal.subscription(session, topic_filter, None)

    def can_share(self) -> bool:
        """Whether there are shared subscriptions; a broker can be installed without them."""
        try:
            import port.core.routing.shared_subscription  # noqa: F401
        except ImportError:
            return False
        return True

    def replay_retained(self, session: Session, topic_filter: bytes, options: int) -> None:
        """A new subscription is to get the retained messages it matches: the session's `pump` sends them, after those of others."""
        if session.replay is None:
            if session.store_id:
                from port.core.storage.session_replay import KeptReplay

                session.replay = KeptReplay(session)
            else:
                from port.core.routing.retained_replay import Replay

                session.replay = Replay(session)
        session.replay.add(topic_filter, options)

    # -- messages --------------------------------------------------------------------------

    @property
    def published(self) -> int:
        """PUBLISH packets sent."""
        return self.published0 + self.published1 + self.published2

    def drop(self, why: int, count: int = 1) -> None:
        """So many messages are not delivered: `why` is one of the reasons in port.core.wire.reason_codes."""
        self.dropped += count
        if self.measures is not None:
            self.measures.drops[why] += count

    def accept_message(self, message: Message, sender: Session) -> "tuple[int, str]":
        """Take in a message from a client: (reason code for its acknowledgement, reason string).

        Raises MQTTError for a topic name nobody may publish to. The code is UNDECIDED, and nothing
        was done, when the authorizer has to be asked.
        """
        access = sender.access
        limit = sender.options.message_size_limit
        if limit and len(message.payload) > limit:
            self.spent += _REFUSED
            if not valid_name(message.name):
                raise MQTTError(MALFORMED_PACKET, "invalid topic name")
            self.drop(DROP_TOO_LARGE)
            text = "payload of %d bytes" % len(message.payload)
            denied(sender, MAY_PUBLISH, message.name, QUOTA_EXCEEDED, text)
            return QUOTA_EXCEEDED, text
        if access is not None:
            code = self._may_publish(message, sender, access)
            if code:
                return code, "not authorized"
        return self._take_in(message, sender, access)

    def _may_publish(self, message: Message, sender: Session, access: "Access") -> int:
        """0, NOT_AUTHORIZED or UNDECIDED."""
        verdict = access.judge(message, self.clock())
        if verdict >= 0:
            return SUCCESS
        if not valid_name(message.name):
            raise MQTTError(MALFORMED_PACKET, "invalid topic name")
        if verdict == UNDECIDED:
            check_name(message.name, sender.options)
            return verdict
        self.spent += _REFUSED
        self.denied_publishes += 1
        self.drop(DROP_NOT_AUTHORIZED)
        denied(sender, MAY_PUBLISH, message.name, NOT_AUTHORIZED)
        return NOT_AUTHORIZED

    def _take_in(self, message: Message, sender: Session, access: "Optional[Access]") -> "tuple[int, str]":
        """Take in a message that its sender may publish."""
        if self.message_hooks:
            self.spent += _REFUSED  # as they may
            code, text = self.hooks.accept(message, sender)  # type: ignore[union-attr]
            if code == NOT_AUTHORIZED:
                denied(sender, MAY_PUBLISH, message.name, code, text)
            return code, text
        route = self.router.route(message.name, sender.options)
        if route is None:  # $-topics belong to the broker
            self.spent += _REFUSED
            self.drop(DROP_RESERVED_TOPIC)
            denied(sender, MAY_PUBLISH, message.name, NOT_AUTHORIZED, "clients cannot publish to $ topics")
            return NOT_AUTHORIZED, "clients cannot publish to $ topics"
        if access is not None:
            self.router.allow(sender, access, message.name, route)
        return self.distribute(message, route, sender)

    def distribute(self, message: Message, route: "Route", sender: "Optional[Session]") -> "tuple[int, str]":
        """Retain a message if it is to be, and give it to its receivers: (reason code, reason string)."""
        code, text = SUCCESS, ""
        if message.retain and not self._retain(message, sender):
            code, text = QUOTA_EXCEEDED, "no room for another retained message"
            if sender is not None:
                denied(sender, MAY_PUBLISH, message.name, code)
        if not self.router.distribute(message, route, sender):
            code = code or NO_MATCHING_SUBSCRIBERS
        return code, text

    def _retain(self, message: Message, sender: "Optional[Session]") -> bool:
        name = message.name
        if not message.payload:
            if self.retained.remove(name) and self.journal is not None:
                self.journal.retained(name, None)
            return True
        old = self.retained.get(name)
        if self.lacks(message.size()) and old is None:
            self.drop(DROP_MEMORY)
            return False
        source = None
        if sender is not None and sender.access is not None and self.options.check_retain_source:
            from port.core.acl.acl import source_of

            source = source_of(sender, message, old)
        interval = self.options.max_retained_expiry
        holder = None if sender is None else self.retained.holder(sender.owner_key())
        new = record(message, source, self.clock() + interval * 1000 if interval else None, holder)
        if not self.retained.put(new):
            self._expire_some()  # what is left of the round that is under way
            self._expire_some()
            if not self.retained.put(new):
                self.drop(DROP_RETAINED_FULL)
                return False
        if self.journal is not None:
            self.journal.retained(name, new)
        return True

    def may_replay(self, found: "Record") -> bool:
        """Whether a retained message may go to new subscriptions, see Options.check_retain_source."""
        source = found[5]
        if source is None or not self.options.check_retain_source:
            return True
        from port.core.acl.acl import may_still

        return may_still(self, found, source)

    def _expire_some(self) -> bool:
        """Forget some of the retained messages that have expired; True when more are to be looked at [MQTT-3.3.2-5]."""
        retained = self.retained
        now = self.clock()
        if retained.due is None or retained.due > now:
            return False
        for name in retained.expire_some(now, _SOME):
            if self.journal is not None:
                self.journal.retained(name, None)
        return retained.sweeping

    def _sweep_retained(self) -> bool:
        """A job, see background: forget the retained messages that have expired."""
        self._sweeping = False  # should it fail
        self._sweeping = self._expire_some()
        return self._sweeping

    def publish(
        self,
        topic: "Union[str, bytes]",
        payload: "Union[str, bytes, bytearray, memoryview]" = b"",
        qos: int = 0,
        retain: bool = False,
        properties: "Optional[Properties]" = None,
        expiry: "Optional[int]" = None,
    ) -> bool:
        """Publish from the program that embeds the broker; True when somebody subscribes to the topic.

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
        code, _ = self.distribute(message, self.router.resolve(message.name), None)
        self.flush()
        return code != NO_MATCHING_SUBSCRIBERS

    def subscribe(self, topic_filter: "Union[str, bytes]", callback: "Callable[[Message], Any]") -> "Any":
        """Call `callback(message)` for each message that matches; returns what `unsubscribe` takes.

        Called at once for the retained messages that match. Raises ValueError for an invalid filter.
        """
        data = as_bytes(topic_filter)
        if not valid_filter(data) or data.startswith(b"$share/"):
            raise ValueError("invalid topic filter %r" % (topic_filter,))
        handle = self.router.add_local(data, callback)
        now = self.clock()
        for found in self.retained.matching(data):
            if not expired(found, now) and self.may_replay(found):
                self.router.call_local(handle[1], retained_message(found))
        return handle

    def unsubscribe(self, handle: "Any") -> None:
        """End what `subscribe` began."""
        self.router.remove_local(handle)

    def disconnect(self, client_id: "Union[str, bytes]", code: int = ADMINISTRATIVE_ACTION, text: str = "") -> bool:
        """End a client's connection, MQTT 5 clients being told the reason; False when it is not connected."""
        session = self.sessions.get(as_bytes(client_id))
        if session is None or session.conn is None:
            return False
        session.conn.fail(MQTTError(code, text or "disconnected by the server"))
        self.flush()
        return True

    def end_client(self, client_id: "Union[str, bytes]") -> bool:
        """End a client's connection, if it has one, and its session with all that waits in it; its will goes out.

        False when there is neither. MQTT 5 clients are told 0x98.
        """
        name = as_bytes(client_id)
        found = name in self.sessions
        self.disconnect(name)
        session = self.find_session(name)
        if session is not None:
            self.end_session(session)
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
        """Take a hook away; ValueError when it is not registered."""
        if self.hooks is None:
            raise ValueError("there is no hook")
        self.hooks.off(event, callback)
        self.router.forget()

    def watch(self, watcher: "Watcher") -> None:
        """Tell a Watcher of sessions and their filters from now on, see monitor.watchers; of those there are at once."""
        if self.watchers is None:
            from port.core.monitor.watchers import Watchers

            self.watchers = Watchers(self)
        self.watchers.add(watcher)

    def unwatch(self, watcher: "Watcher") -> None:
        """Tell it no more; ValueError when it was not told."""
        if self.watchers is None:
            raise ValueError("no such watcher")
        if not self.watchers.remove(watcher):
            self.watchers = None

    def route(self, method: str, path: str, handler: "Handler", role: str = "read") -> None:
        """Have a handler answer HTTP requests, see web.routes.Routes.add. ImportError in a broker without HTTP."""
        self.find_routes().add(method, path, handler, role)

    def find_routes(self) -> "Routes":
        """The routes of HTTP, with the pages there are always."""
        if self.routes is None:
            from port.core.web.http_pages import new_routes

            self.routes = new_routes()
        return self.routes

    def emit(self, event: str, *args: "Any") -> "Any":
        """Call the hooks of an event, if there are any; what the first said that said something."""
        return None if self.hooks is None else self.hooks.call(event, *args)

    # -- output ------------------------------------------------------------------------------

    def flush(self) -> None:
        """Hand every outbox to its transport; call it after feeding connections and after a tick.

        Where large packets go to many, some of them wait until others have been served.
        """
        large = self.large
        if large:
            self._flush_large(large)
        dirty = self.dirty
        journal = self.journal
        packets = size = 0
        conn: "Connection"
        for conn in dirty:
            out = conn.out
            if out:
                if journal is not None and conn.ack_after_batch > self.durable:
                    journal.hold(conn)
                else:  # `send`, written out
                    packets += len(out)
                    size += conn.transport.send(out)
                    out.clear()
                session = conn.session
                if session is not None and session.send_window < 0:
                    self._flushing = True
                    try:
                        session.pump()
                    finally:
                        self._flushing = False
        dirty.clear()
        if large:
            self.large = 0
        self.packets_sent += packets
        self.bytes_sent += size
        if journal is not None and journal.serial != journal.taken_serial and not self._midway:
            journal.flushed()

    def _flush_large(self, large: int) -> None:
        """Leave large outboxes for later, when others have been served, where about _MUCH bytes were sent since they were."""
        dirty = self.dirty
        if large * len(dirty) <= _MUCH:
            return
        later: "list[Connection]" = []
        small: "list[Connection]" = []
        for conn in dirty:
            size = sum([len(chunk) for chunk in conn.out])
            if size <= LIGHT or self.journal is not None and conn.ack_after_batch > self.durable:
                small.append(conn)
            elif self._large_left > 0:
                self._large_left -= size
                small.append(conn)
            else:
                later.append(conn)
        dirty[:] = small
        if later:
            if not self._later:
                self.give_turn(self._flush_later)
            self._later += later

    def _flush_later(self) -> bool:
        """Take up again the outboxes that were left over."""
        self.dirty += self._later
        self._later.clear()
        self.large = _MUCH
        return False

    def append_large(self, out: "list[Any]", head: bytes, tail: bytes) -> None:
        """Put a packet with a large payload into an outbox, which does not copy it."""
        out.append(head)
        if tail:
            out.append(tail)
            self.packets_sent -= 1  # `flush` counts it as two
        self.large += len(head) + len(tail)

    def send_large(self) -> None:
        """Send large copies of a message before more are made for the same client: only that shows who does not read.

        The packet that brought the message is not done yet, so nothing is stored: half of it might be lost.
        """
        if self.large > self.options.outbox_bytes and not self._flushing:
            self._midway = True
            try:
                Broker.flush(self)  # what a host adds to it may wait
            finally:
                self._midway = False

    def send(self, conn: Connection) -> None:
        """Hand one outbox to its transport."""
        out = conn.out
        self.packets_sent += len(out)
        self.bytes_sent += conn.transport.send(out)
        out.clear()

    # -- time --------------------------------------------------------------------------------

    def tick(self) -> None:
        """Do what time asks for; call it about once a second.

        Each step is for itself: one that memory does not suffice for does not keep the others from theirs. First comes
        what gives memory back.
        """
        now = self.clock()
        self._settled = 0
        for step in self._steps:
            self.spent = 0
            try:
                step(now)
            except MemoryError:
                self.out_of_memory()

    def _end_due(self, now: int) -> None:
        """Send the wills and end the sessions whose time has come. Of few it takes no memory to find them."""
        due = self.due
        if len(due) > _FEW:
            self._end_more()
            return
        while True:
            if self.spent > self.turn:
                self._end_more()
                return
            for session in due:
                if _is_due(session, now):
                    break
            else:
                return
            self._end_one(session, now)

    def _end_more(self) -> None:
        if self._ending not in self.jobs:
            self._ending = Sweep(self, list(self.due), self.end_if_due).go_on
            self.background(self._ending)

    def end_if_due(self, session: Session) -> None:
        """Send the will of a session that is away, and end it, as far as it is time for that."""
        now = self.clock()
        if session in self.due and _is_due(session, now):
            self._end_one(session, now)

    def _end_one(self, session: Session, now: int) -> None:
        self.spent += _ENDED
        if session.will_at is not None and session.will_at <= now:
            self._publish_will(session)
            if session.expires_at is None:
                self.due.pop(session, None)
        if session.expires_at is not None and session.expires_at <= now:
            self.clients_expired += 1
            self.end_session(session)

    def _find_silent(self, now: int) -> None:
        """End the connections that have been silent too long, or whose time is over."""
        stuck = []
        looks = now >= self._look_at
        if looks:
            self._look_at = now + self.options.receiver_patience
        for conn in list(self.connections):
            session = conn.session
            if looks and session is not None and (session.inflight or session.counted) and session.seems_stuck():
                stuck.append(session)
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
                    conn.close(KEEP_ALIVE_TIMEOUT, "no CONNECT within connect_timeout", True)
                else:
                    conn.fail(MQTTError(KEEP_ALIVE_TIMEOUT, "keep alive timeout"))  # [MQTT-3.1.2-22]
        if stuck:
            self.background(Sweep(self, stuck, Session.count_stuck, lambda: self.lacks(0)).go_on)

    def _settle_rest(self, now: int) -> None:
        """Settle the sessions for which memory did not suffice when they began or their connections ended."""
        if self._to_settle:
            self.background(self._settler)
        if not self._unsettled:
            return
        for session in list(self.sessions.values()):
            # Those that are settled wait for their end, or have none and no will.
            if session.conn is not None or session in self.due or session in self.settling:
                continue
            if session.will or session.expiry != _NEVER:
                self._settle(session)
        self._unsettled = False

    def _sweep(self, now: int) -> None:
        """Forget what has expired, and see whether memory is short."""
        self.lacks(0)
        if now >= self._sweep_at:
            self._sweep_at = now + _SWEEP
            self.attempts.forget(now)
            if not self._sweeping and self._sweep_retained():
                self.background(self._sweep_retained)

    def _finish_tick(self, now: int) -> None:
        """Publish the figures, send what all this has brought about, and store it."""
        self.client_log.tick(now)
        self.sys.tick(now)
        self.pressure.look()
        if self.turns or self.jobs:
            self.wake()  # there may have been no memory for that
        self.flush()
        if self.journal is not None:
            self.journal.tick(now)

    def disconnect_all(self) -> None:
        """The broker stops: MQTT 5 clients get DISCONNECT 0x8B. Sessions and wills fare as the protocol says."""
        for conn in list(self.connections):
            conn.fail(MQTTError(SERVER_SHUTTING_DOWN, "server shutting down"))
        while self.settling:
            self.spent = 0
            try:
                self._settle_some()
            except MemoryError:
                pass  # the session it was about is off the line, the others' wills and records are not given up for it
        if self.journal is not None:
            self.journal.stop()
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
        from port.core.storage.recovery import restore

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

    def drop_slowest(self) -> bool:
        """Memory is short: end the connection of who leaves most unread; False when nobody does. For hosts that know."""
        return False

    def crashed(self, conn: "Optional[Connection]", error: Exception) -> None:
        """Something in the broker or a hook failed: log it with its traceback, tell the error hook."""
        self.client_log.line(3, "broker" if conn is None else conn.address, "%s: internal error: %r", conn or "-", error)
        self.emit("error", conn.session if conn else None, error)
