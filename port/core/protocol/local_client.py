"""An in-process client: a session inside the broker without a socket, for a bridge, a cluster, rules, a recorder.

    def receive(batch):
        for message in batch:
            print(batch.origin, message.topic, message.payload)

    client = server.open_client("recorder", receive)
    client.subscribe("#", qos=1)
    client.publish("recorder/state", "on", retain=True)

Queues, windows, the store, hooks, watchers and $SYS treat it like any client. It takes no place of
`max_connections` and `max_sessions`. As it is the program's own, authenticators, rules and the options in
port.core.limits.local_listener do not apply to it. A network client with its client id is refused with 0x85.

Messages for it are handed over in batches, in turns like the work of other clients, and never inside other work of the broker: so
`receive` may call all of its methods. A program that takes batches slowly (see `pause`) counts as slow from `outbox_bytes` on.

Origins: a batch names the client whose packets were being handled when its messages were distributed. That is their publisher,
also for messages that have waited in this session's queue. Messages that hooks, callbacks or other in-process clients publish
at that moment have the same origin. The origin is unknown (empty) for messages of Broker.publish, retained messages, wills
(except one that its client asks for with DISCONNECT 0x04), and messages queued while this client was offline or before a
restart.
"""

from port.core import const
from port.core.constants import CLOSED, DENIED, ENTRY_FLAGS, ENTRY_MESSAGE, NO_LOCAL, OPEN, QOS, RETAIN_AS_PUBLISHED
from port.core.wire.codec import is_utf8
from port.core.wire.reason_codes import DISCONNECT_WITH_WILL, SUCCESS, TOPIC_FILTER_INVALID, UNSPECIFIED_ERROR, MQTTError
from port.core.wire.topics import is_shared, valid_filter, valid_name, without_share
from port.core.limits.client_log import shown
from port.core.messages.batch import Batch, Received, body_of, packet_ids, publish_packet
from port.core.messages.message import Message, as_bytes
from port.core.sessions.local_session import Inlet, LocalSession
from port.core.acl.client_policy import client_options, new_acl, rules_of, set_access
from port.core.protocol.connection import Connection
from port.core.protocol.handle_subscribe import is_valid, make_subscription
from port.core.protocol.local_transport import LocalClients, LocalTransport

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Optional, Sequence, Union

    from port.core.wire.properties import Properties
    from port.core.acl.acl import Rule
    from port.core.broker import Broker

ADDRESS = "in-process"  # in place of an address, in the log
_BYTES = const(5)  # cost of published bytes, in deliveries (Turns.spent): one for 32


def local_clients(broker: "Broker") -> LocalClients:
    """The in-process clients of a broker."""
    if broker.local is None:
        broker.local = LocalClients(broker)
    found: LocalClients = broker.local
    return found


def new_session(broker: "Broker", client_id: bytes) -> LocalSession:
    """A session for an in-process client."""
    session = broker.session_registry.new(client_id, None, LocalSession)
    session.listener = local_clients(broker).listener
    return session  # type: ignore[return-value]


def _refuse(coroutine: "Any") -> None:
    """Refuse the coroutine of an async callback: it would never run."""
    coroutine.close()
    raise TypeError("callbacks of an in-process client cannot be async")


class LocalClient:
    """See above. `Broker.open_client` makes it, open.

    client_id        bytes
    session_present  True when an earlier session was resumed
    """

    __slots__ = (
        "client_id", "session_present", "awaits_answers", "_broker", "_receive", "_automatic", "_ready", "_closed", "_answers",
        "_pending", "_packet_id", "_transport", "_conn",
    )  # fmt: skip

    def __init__(
        self,
        broker: "Broker",
        client_id: "Union[str, bytes]",
        receive: "Callable[[Batch], Any]",
        clean_start: bool = True,
        expiry: int = 0,
        version: int = 0,
        no_local: bool = False,
        acknowledge: bool = True,
        receive_maximum: int = 0,
        user: "Union[str, bytes, None]" = None,
        rules: "Optional[Sequence[Union[Rule, dict[str, Any]]]]" = None,
        will: "Optional[Message]" = None,
        will_delay: int = 0,
        ready: "Optional[Callable[[], Any]]" = None,
        closed: "Optional[Callable[[int], Any]]" = None,
        answers: "Optional[Callable[[bytes], Any]]" = None,
        **options: "Any",
    ) -> None:
        """Open it. Exceptions of callbacks are reported like the broker's own failures, and go no further.

        client_id        its session, if a network client has it, ends with that client; empty: a new client id
        receive          called with each Batch
        clean_start, expiry  of the session: False, and an interval in s, let it outlive the client; QoS 1 and 2 then wait in it
        version          of the packets: 5 or 4; 0: 5 if the broker has it. 4 spares a board the module for MQTT 5
        no_local         it gets none of its own messages; costs other clients less than the option of a subscription
        acknowledge      True: QoS 1 and 2 are acknowledged when `receive` returns, or raises; False: by `acknowledge`, `received`
        receive_maximum  most unacknowledged QoS 1 and 2 messages; 0: as many as fit into `outbox_bytes` with acknowledge=True,
                         else `max_inflight`
        user, rules      user name, and rules of its own (see port.core.acl.acl); None: everything is allowed
        will, will_delay  published unless `disconnect` ends it; delay in s. `expires` of the message is its expiry interval, ms
        ready            called when `publish` takes messages again
        closed           called with the reason code when anything but `disconnect` has ended it
        answers          called with the PUBACK, PUBREC and PUBCOMP packets, bytes as on the wire, one or more; QoS 1 and 2 are
                         then published by `publish_packets`, with identifiers of the program's own
        options          options of this client, by name

        To be called after `start`. Raises ValueError or TypeError naming what is wrong, RuntimeError before the store is open,
        ImportError naming a part that is not installed.
        """
        name = as_bytes(client_id) or broker.session_registry.new_client_id(b"in-process-")
        if len(name) > 65535 or not is_utf8(name):
            raise ValueError("invalid client id %r" % (client_id,))
        if version not in (0, 4, 5):
            raise ValueError("version must be 4 or 5, not %r" % (version,))
        if version != 4 and broker.find_mqtt5() is None:
            if version:
                raise ImportError("port.core.protocol.mqtt5")
            version = 4
        if broker.store is not None and broker.journal is None:
            raise RuntimeError("open_client() comes after start()")
        for found in (receive, ready, closed, answers):
            if found is not None and not callable(found):
                raise TypeError("a function is wanted, not %r" % (found,))
        if not 0 <= receive_maximum <= 65535:
            raise ValueError("receive_maximum must be 0 to 65535, not %r" % (receive_maximum,))
        if not 0 <= expiry <= 0xFFFFFFFF:
            raise ValueError("expiry must be 0 to 4294967295 s, not %r" % (expiry,))
        self.client_id = name
        self.session_present = False
        self.awaits_answers = False  # whether the program wants acknowledgements
        self._broker = broker
        self._receive = receive
        self._automatic = True
        self._ready: "Optional[Callable[[], Any]]" = None
        self._closed: "Optional[Callable[[int], Any]]" = None
        self._answers: "Optional[Callable[[bytes], Any]]" = None
        self._pending: "Any" = None  # packet identifier -> [messages left, worst reason code, function to call]
        self._packet_id = 0
        # On a board an attribute takes no memory before it is set.
        if not acknowledge:
            self._automatic = False
        if ready is not None:
            self._ready = ready
        if closed is not None:
            self._closed = closed
        if answers is not None:
            self._answers = answers
            self.awaits_answers = True
        local = local_clients(broker)
        listener = local.listener
        user_name = None if user is None else as_bytes(user)
        own = None
        if rules is not None:
            from port.core.acl.acl import made

            own = made(rules)
            if listener.acl is None:
                listener.acl = new_acl(broker)
        listener.options.changed(options)  # checked first, so that a wrong one changes nothing
        session = self._find(clean_start, user_name)
        listener.set_options(name, options)
        self._transport = LocalTransport(self, broker, no_local)
        self._conn = Connection(broker, listener, self._transport, ADDRESS)
        self._transport.conn = self._conn
        if session is not None:
            self.session_present = True
        entered = session or new_session(broker, name)
        try:
            self._begin(entered, version or 5, user_name, own)
            window = receive_maximum or (65535 if acknowledge else entered.options.max_inflight)
            if entered.receive_maximum != window:
                entered.receive_maximum = window
            if entered.expiry != expiry:
                entered.expiry = expiry
            if entered.will is not None or will is not None:
                entered.set_will(None if will is None else (will, will_delay))
            broker.connections[self._conn] = None
            local.add(self._transport)
            broker.connection_registry.attach(self._conn, entered, None)
            if session is not None:
                self._resume(entered)
        except Exception:
            self._closed = None
            self._conn.close(UNSPECIFIED_ERROR, "not opened", True)
            if session is None and name in broker.sessions:
                broker.session_registry.end(entered)
            raise
        broker.flush()

    def __repr__(self) -> str:
        return "<LocalClient %s%s>" % (shown(self.client_id), "" if self.connected else ", closed")

    # -- opening ---------------------------------------------------------------------------

    def _find(self, clean_start: bool, user: "Optional[bytes]") -> "Any":
        """The session to resume, or None; any other session with this client id ends."""
        broker = self._broker
        name = self.client_id
        session = broker.session_registry.find(name)
        if session is not None and session in broker.session_registry.due:
            broker.session_registry.end_if_due(session)
            session = broker.session_registry.find(name)
        if session is None:
            return None
        if not session.listener.local:
            broker.log(2, "%s: an in-process client takes this client id, the session of a network client ends", shown(name))
            broker.end_client(name)
            return None
        if session.conn is not None:
            raise ValueError("there is an in-process client %s" % shown(name))
        if clean_start or session.user != user:
            broker.session_registry.end(session)
            return None
        return session

    def _begin(self, session: LocalSession, version: int, user: "Optional[bytes]", rules: "Optional[list[Rule]]") -> None:
        """Settle what CONNECT settles for network clients, see port.core.protocol.handle_connect."""
        broker = self._broker
        conn = self._conn
        listener = conn.listener
        conn.session = session
        conn.version = version
        conn.state = OPEN
        conn.deadline = 0
        session.set_options(client_options(broker, listener, user, self.client_id))
        session.address = ADDRESS
        if session.user != user:
            session.user = user
        version5 = version == 5
        if session.version5 != version5:
            for packet_id in session.inflight:
                session.sent(packet_id)  # a packet in flight as it came is of the other version
            session.version5 = version5
            session.inlet = None
        # Compiled by mypyc the lanes take sessions alone.
        if version5 and session.inlet is None and not hasattr(session, "__mypyc_attrs__"):
            session.inlet = Inlet(session)
        acl = rules_of(broker, listener)
        set_access(broker, session, None if acl is None else acl.find(user, self.client_id, ADDRESS, rules, None))

    def _resume(self, session: LocalSession) -> None:
        """Resume an earlier session."""
        broker = self._broker
        access = session.access
        if access is not None:
            now = broker.clock()
            for topic_filter in list(session.subscriptions):
                if access.subscribe(without_share(topic_filter), now) == DENIED:
                    broker.session_registry.unsubscribe(session, topic_filter)
            access.purge(session)
        if self._answers is None:  # the broker gives identifiers anew
            for packet_id in list(session.received or ()):
                session.pubrels(bytes((0x62, 2, packet_id >> 8, packet_id & 255)), 0, 4)
        session.resume()

    # -- state -------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """True until it is closed."""
        return self._conn.state == OPEN

    @property
    def writable(self) -> bool:
        """True when `publish` takes more."""
        return self._conn.state == OPEN and not self._conn.held

    def _session(self) -> LocalSession:
        """Raises RuntimeError when it is closed."""
        if self._conn.state != OPEN:
            raise RuntimeError("the in-process client %s is closed" % shown(self.client_id))
        return self._conn.session  # type: ignore[return-value]

    def pause(self) -> None:
        """Take no batches for now. Messages wait up to `outbox_bytes`; beyond that QoS 0 is dropped, QoS 1 and 2 are queued."""
        self._transport.pause()

    def resume(self) -> None:
        """Take batches again."""
        self._transport.resume()

    def disconnect(self, will: bool = False) -> None:
        """Close it; only QoS 1 and 2 of a session that outlives it stay of batches not handed over. `will`: publish the will."""
        if self._conn.state == CLOSED:
            self._transport.drop()
            return
        self._closed = None
        self._transport.drop()
        if not will:
            self._session().set_will(None)
        self._conn.close(DISCONNECT_WITH_WILL if will else SUCCESS, "closed by the program")
        self._transport.drop()
        self._broker.flush()

    # -- subscriptions -------------------------------------------------------------------------

    def subscribe(
        self,
        topic_filter: "Union[str, bytes]",
        qos: int = 0,
        no_local: bool = False,
        retain_as_published: bool = False,
        retain_handling: int = 0,
        identifier: int = 0,
    ) -> int:
        """Subscribe (clause 3.8.3.1); returns the granted QoS, or from 0x80 on the reason code of a refusal.

        Raises ValueError for an invalid filter or option, RuntimeError when it is closed.
        """
        session = self._session()
        broker = self._broker
        data = as_bytes(topic_filter)
        plain = without_share(data)
        if not valid_filter(plain):
            raise ValueError("invalid topic filter %r" % (topic_filter,))
        if qos not in (0, 1, 2) or retain_handling not in (0, 1, 2) or not 0 <= identifier <= 268435455:
            raise ValueError("invalid options of a subscription: %r, %r, %r" % (qos, retain_handling, identifier))
        if is_shared(data) and (no_local or self._transport.no_local):  # [MQTT-3.8.3-4]
            raise ValueError("no local on a shared subscription")
        if identifier and not session.version5:
            raise ValueError("subscription identifiers take version 5")
        if not is_valid(self._conn, data, plain):
            return TOPIC_FILTER_INVALID
        options = qos | retain_handling << 4 | identifier << 8
        if no_local:
            options |= NO_LOCAL
        if retain_as_published:
            options |= RETAIN_AS_PUBLISHED
        new = data not in session.subscriptions
        code = make_subscription(self._conn, session, data, plain, options)
        if session.access is not None:
            session.access.subscribed()
        if code <= 2 and not is_shared(data) and (not retain_handling or retain_handling == 1 and new):
            broker.session_registry.replay_retained(session, data, options & ~QOS | code)  # [MQTT-3.3.1-9] [MQTT-3.3.1-10]
            session.pump()
        broker.flush()
        return code

    def unsubscribe(self, topic_filter: "Union[str, bytes]") -> bool:
        """End a subscription; False when there is none. Raises RuntimeError when it is closed."""
        session = self._session()
        data = as_bytes(topic_filter)
        if data not in session.subscriptions:
            return False
        self._broker.emit("unsubscribe", session, data)
        if data in session.subscriptions:
            self._broker.session_registry.unsubscribe(session, data)
        self._broker.flush()
        return True

    # -- publishing ----------------------------------------------------------------------------

    def publish(
        self,
        topic: "Union[str, bytes]",
        payload: "Union[str, bytes, bytearray, memoryview]" = b"",
        qos: int = 0,
        retain: bool = False,
        properties: "Optional[Properties]" = None,
        expiry: "Optional[int]" = None,
        done: "Optional[Callable[[int], Any]]" = None,
    ) -> bool:
        """Publish one message, see `publish_all`; properties and expiry are those of Broker.publish."""
        encoded = b""
        if properties:
            from port.core.wire.properties import encode_all

            encoded = encode_all(properties)
        expires = None if expiry is None else self._broker.clock() + expiry * 1000
        return self.publish_all((Message(as_bytes(topic), as_bytes(payload), qos, retain, encoded, expires),), done)

    def publish_all(self, messages: "Iterable[Message]", done: "Optional[Callable[[int], Any]]" = None) -> bool:
        """Publish messages, such as those of a Batch, and flush once.

        False when the broker takes no more for now, as a receiver or the store is behind: `ready` is called when it does again.
        `done` is called with the highest reason code when the broker has taken responsibility for all of them: their records
        are durable; with QoS 0 alone, at once. Raises ValueError for a message that a client may not publish, and then none is
        published; RuntimeError when it is closed.
        """
        session = self._session()
        broker = self._broker
        conn = self._conn
        if conn.held:
            self._transport.busy = True
            return False
        messages = list(messages)  # an iterator may publish while it makes them
        if len(messages) > 65535:  # as many as there are identifiers
            raise ValueError("more than 65535 messages at once")
        group: "list[Any]" = [0, 0, done]
        ids: "list[int]" = []
        parts: "list[bytes]" = []
        version5 = session.version5
        now = broker.clock()
        packet_id = self._packet_id
        pending: "dict[int, Any]" = {} if self._pending is None else self._pending
        for message in messages:
            self._check(message)
            if message.qos:
                if self._answers is not None:
                    raise ValueError("with answers, QoS 1 and 2 are published by publish_packets()")
                packet_id = packet_id + 1 if packet_id < 65535 else 1
                while packet_id in pending and len(pending) < 65535:
                    packet_id = packet_id + 1 if packet_id < 65535 else 1
                ids.append(packet_id)
            parts.extend(publish_packet(message, version5, packet_id, now))
            if len(parts[-2]) + len(parts[-1]) > conn.options.max_packet_size:
                raise ValueError("a packet of more than max_packet_size bytes")
            if message.qos == 2:  # no repetition in process: the identifier is free at once
                parts.append(bytes((0x62, 2, packet_id >> 8, packet_id & 255)))
        if len(pending) + len(ids) > 65535:
            self._transport.busy = True
            return False
        self._packet_id = packet_id
        if done is not None:
            group[0] = len(ids)
            for packet_id in ids:
                pending[packet_id] = group
            if pending:
                self._pending = pending
                self.awaits_answers = True
        self._feed(b"".join(parts))
        if done is not None and not ids:
            self._call(done, SUCCESS)
        return True

    def publish_packets(self, packets: "Union[bytes, list[bytes]]") -> bool:
        """Publish whole PUBLISH packets, bytes as on the wire in the client's `version`, and flush once.

        QoS 1 and 2 have identifiers of the program's own, and `answers` gets their acknowledgements; PUBREL packets go here, too.
        A wrong packet ends the client. False, and RuntimeError, as with `publish_all`.
        """
        self._session()
        if self._conn.held:
            self._transport.busy = True
            return False
        self._feed(packets if isinstance(packets, bytes) else b"".join(packets))
        return True

    def _check(self, message: Message) -> None:
        name = message.name
        options = self._conn.options
        if not valid_name(name) or len(name) > options.max_topic_length or name.count(b"/") >= options.max_topic_levels:
            raise ValueError("invalid topic name %r" % (name,))
        if name.startswith(b"$"):
            raise ValueError("clients cannot publish to $ topics, Broker.publish can")
        if message.qos not in (0, 1, 2):
            raise ValueError("QoS must be 0, 1 or 2, not %r" % (message.qos,))

    def _feed(self, data: bytes) -> None:
        broker = self._broker
        before = broker.turns.spent  # by the turn in which the program was called
        self._conn.take(data)
        broker.turns.spent += before + (len(data) >> _BYTES)
        broker.flush()

    # -- acknowledging -------------------------------------------------------------------------

    def acknowledge(self, what: "Union[Batch, Received, int]") -> None:
        """Acknowledge a batch, a message or a packet identifier: session and store keep it no longer.

        A repetition, or one after the close, is ignored.
        """
        if self._conn.state != OPEN:
            return
        if isinstance(what, Batch):
            self._acknowledge_batch(what)
        else:
            self._complete(what if isinstance(what, int) else what.packet_id)
        self._broker.flush()

    def received(self, packet_id: int) -> None:
        """A QoS 2 message is safe elsewhere, as with PUBREC: only its identifier is kept, until `acknowledge`.

        PUBREL comes among the packets of a batch when that is durable, and again when the session is resumed.
        """
        if self._conn.state == OPEN:
            session = self._session()
            if packet_id in session.inflight and session.sent(packet_id)[1] & 4:
                self._conn.acknowledge(0x62, packet_id, session.pubrec(packet_id, SUCCESS))
            self._broker.flush()

    def _acknowledge_batch(self, batch: Batch) -> None:
        session = self._session()
        acks: "list[bytes]" = []
        for chunk in batch.packets:
            first = chunk[0]
            if first == 0x62:
                for i in range(2, len(chunk), 4):
                    self._complete(chunk[i] << 8 | chunk[i + 1])
            elif first & 6 == 2:
                acks.extend(packet_ids(chunk))
            elif first & 6:
                for packet_id in packet_ids(chunk):
                    self._complete(packet_id[0] << 8 | packet_id[1])
        if acks:
            data = b"\x40\x02" + b"\x40\x02".join(acks)
            at = 0
            while at < len(data):
                at = session.pubacks(data, at, len(data))

    def _complete(self, packet_id: int) -> None:
        """Do all remaining steps for the message in flight under this identifier."""
        session = self._session()
        if packet_id not in session.inflight:
            return
        entry = session.sent(packet_id)
        if entry[ENTRY_FLAGS] & 6 == 2:
            session.pubacks(bytes((0x40, 2, packet_id >> 8, packet_id & 255)), 0, 4)
            return
        if entry[ENTRY_MESSAGE] is not None:
            session.pubrec(packet_id, SUCCESS)
        session.pubcomps(bytes((0x70, 2, packet_id >> 8, packet_id & 255)), 0, 4)

    # -- for LocalTransport --------------------------------------------------------------------

    def handed(self, batch: Batch) -> None:
        """Hand over a batch. Raises nothing."""
        try:
            result = self._receive(batch)
            if hasattr(result, "send"):
                _refuse(result)
        except Exception as e:
            self._report(e)
        if batch.qos and self._automatic and self._conn.state == OPEN:
            try:
                self._acknowledge_batch(batch)
            except Exception as e:
                self._conn.fault(e)

    def answered(self, chunk: bytes) -> None:
        """Take the broker's acknowledgements of published messages."""
        if self._answers is not None:
            self._call(self._answers, chunk)
            return
        at = 0
        while at < len(chunk):
            pending = self._pending
            kind = chunk[at] >> 4
            at, stop = body_of(chunk, at)
            group = None if kind == 7 or pending is None else pending.pop(chunk[at] << 8 | chunk[at + 1], None)
            if group is not None:
                group[0] -= 1
                if stop - at > 2:
                    group[1] = max(group[1], chunk[at + 2])
                if not group[0]:
                    self._call(group[2], group[1])
            at = stop
        if not self._pending:
            self._pending = None
            self.awaits_answers = False

    def relieved(self) -> None:
        """The broker takes packets again."""
        if self._ready is not None:
            self._call(self._ready)

    def ended(self, code: int) -> None:
        """It is closed, after the last batch was handed over."""
        closed = self._closed
        self._closed = None
        if closed is not None:
            self._call(closed, code)

    def _call(self, function: "Callable[..., Any]", *args: "Any") -> None:
        """Call a function of the program; its exceptions are reported."""
        try:
            result = function(*args)
            if hasattr(result, "send"):
                _refuse(result)
        except Exception as e:
            self._report(e)

    def _report(self, error: Exception) -> None:
        try:
            self._broker.crashed(self._conn, error)
        except MemoryError:
            self._broker.out_of_memory()
