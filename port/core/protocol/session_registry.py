"""Sessions from beginning to end: made, settled when their connection is over, ended when due."""

from binascii import hexlify

from port.core import const
from port.core.constants import UNDECIDED, WILL_DELAY, WILL_MESSAGE
from port.core.wire.reason_codes import DROP_MEMORY, SUCCESS, MQTTError
from port.core.limits.client_log import shown
from port.core.limits.options import Options
from port.core.limits.places import Places, leave
from port.core.limits.sweep import Sweep
from port.core.sessions.session import Session
from port.core.acl import client_policy

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from port.core.sessions.mount_point import Mount
    from port.core.sessions.session_index import SessionIndex
    from port.core.broker import Broker

_NEVER = 0xFFFFFFFF
# Costs, in deliveries (Turns.spent): ending a session, removing a subscription.
_ENDED = const(100)
_REMOVED = const(60)
_FEW = const(200)  # sessions or subscriptions handled at once


def _is_due(session: Session, now: int) -> bool:
    """Whether an offline session is to end, or its will is due."""
    will_at = session.will_at
    expires_at = session.expires_at
    return will_at is not None and will_at <= now or expires_at is not None and expires_at <= now


class SessionRegistry:
    """The life of the sessions in Broker.sessions.

    staying         places of the sessions that outlive their connections
    due             offline sessions with a will or an expiry to come
    ended           ended sessions whose subscriptions are still being removed
    settling        sessions whose connection is over, still to be settled
    unsettled       True when offline sessions may exist that should be in `due`, or ended
    largest_packet  most bytes that any client may send; a receiver that takes them is not checked for each packet
    index           the sessions by number, made by the first monitor.query.Query; None before
    """

    # Dicts stand for sets that grow: on MicroPython a set is corrupt once memory has run out while it grew.

    def __init__(self, broker: "Broker", options: Options) -> None:
        self._broker = broker
        self.staying = Places(options.max_sessions, options.owner_share)
        self.due: "dict[Session, bool]" = {}
        self.ended: "dict[Session, bool]" = {}
        self.settling: "dict[Session, bool]" = {}
        self.unsettled = False
        self.largest_packet = 129
        self.index: "Optional[SessionIndex]" = None
        self._to_settle: "list[Session]" = []  # the order of `settling`; may hold settled sessions, too
        self._settler: "Any" = self._settle_some
        self._settled = 0  # cost of settling since the last slice of background work, in deliveries (Turns.spent)
        self._ending: "Any" = None  # the last job that looked for due sessions

    def served(self) -> None:
        """Others have been served: sessions may be settled at once again, see `settle_in_turn`."""
        self._settled = 0

    def settle_all(self) -> None:
        """Settle all remaining sessions, however long it takes: the broker stops."""
        while self.settling:
            self._broker.turns.spent = 0
            try:
                self._settle_some()
            except MemoryError:
                pass  # the failed session is off the line; wills and records of the others are still settled

    def new_client_id(self, prefix: bytes) -> bytes:
        """An unused, unpredictable client id: with a known one any client could take over the session of an anonymous client."""
        while True:
            client_id = prefix + hexlify(self._broker.random(8))
            if client_id not in self._broker.sessions:
                return client_id

    def settle_fast_version(self, session: Session) -> None:
        """Decide whether plain QoS 0 packets can go to a session as they came [MQTT-3.1.2-24]."""
        waits = session.options.queue_qos0_messages and session.expiry  # when the fast path would drop
        plain = session.max_packet >= self.largest_packet and not session.alias_maximum and session.mount is None and not waits
        version = -1 if not plain else 5 if session.version5 else 4
        if session.fast_version != version:
            session.fast_version = version
            if session.subscriptions:
                self._broker.router.forget()

    def allow_for(self, options: Options) -> None:
        """Allow for a client with these options: packets on the fast path are unchecked, and must suit all clients."""
        self._broker.router.limit_names(options)
        if options.max_packet_size > self.largest_packet:
            self.largest_packet = options.max_packet_size
            for session in self._broker.sessions.values():
                if session.conn is not None:
                    self.settle_fast_version(session)

    def settle_in_turn(self, session: Session) -> None:
        """Settle a session whose connection is over: at once, or in the background when many end together."""
        broker = self._broker
        if self._settled <= broker.turns.limit and not self.settling:
            before = broker.turns.spent
            self._settle(session)
            self._settled += broker.turns.spent - before + _ENDED
            return
        if session.expiry:
            self.staying.offer(session, not session.subscriptions)
        self._to_settle.append(session)
        self.settling[session] = True  # last: without memory for that the session is settled with the next tick
        broker.turns.background(self._settler)

    def _settle_some(self) -> bool:
        """A job, see Turns.background."""
        broker = self._broker
        line = self._to_settle
        while line:
            if broker.turns.spent > broker.turns.limit:
                return True
            broker.turns.spent += _ENDED
            session = line.pop(0)
            if self.settling.pop(session, False):
                self._settle(session)
        return False

    def find(self, client_id: bytes) -> "Optional[Session]":
        """The session of a client, settled after its last connection, or None."""
        session = self._broker.sessions.get(client_id)
        if session is not None and self.settling.pop(session, False):
            self._settle(session)
            session = self._broker.sessions.get(client_id)
        return session

    def _settle(self, session: Session) -> None:
        """Settle a session whose connection is over."""
        broker = self._broker
        now = broker.clock()
        if not session.expiry:
            self.end(session)
            return
        self.staying.offer(session, not session.subscriptions)
        self._hand_back(session, False)
        session.count_in_flight(True)
        if session.expiry != _NEVER:
            session.expires_at = now + session.expiry * 1000
        will = session.will
        if will is not None:
            delay = min(will[WILL_DELAY], session.expiry)
            if delay:
                session.will_at = now + delay * 1000
            else:
                self._publish_will(session)
        if session.expires_at is not None or session.will_at is not None:
            self.due[session] = True
        if session.access is not None:
            session.access.rest(session.will is None)
        if broker.journal is not None:
            broker.journal.session(session)
            broker.journal.will(session)

    def new(
        self, client_id: bytes, mount: "Optional[Mount]" = None, make: "Callable[[Broker, bytes], Session]" = Session
    ) -> Session:
        """Make a session and keep it."""
        broker = self._broker
        session = make(broker, client_id) if mount is None else mount.session(broker, client_id)
        if self.index is not None:
            self.index.enter(session)
        broker.sessions[client_id] = session
        broker.memory.session_bytes += len(client_id)
        return session

    def end(self, session: Session) -> None:
        """End a session that has no connection: its will goes out, its state is discarded [MQTT-4.1.0-2]."""
        self.settling.pop(session, None)
        self._hand_back(session, True)
        session.forget()  # early: it gives back memory that the rest may need
        session.expiry = -1  # no message is queued for it any more
        if self._broker.journal is not None:
            self._broker.journal.forget(session)
        self._broker.memory.session_bytes -= len(session.received or ()) * self._broker.memory.identifier
        session.received = None
        filters = list(session.subscriptions)
        if len(filters) > _FEW:  # messages that come for them meanwhile are forgotten at the end
            self.ended[session] = True

            def done() -> None:
                session.forget()
                del self.ended[session]

            self._broker.turns.background(Sweep(self._broker, filters, lambda topic_filter: self._remove(session, topic_filter), done).go_on)
        else:
            for topic_filter in filters:
                self._remove(session, topic_filter)
        self._publish_will(session)
        client_policy.set_access(self._broker, session, None)
        # Last, so that it can be tried again if memory runs out before.
        self.due.pop(session, None)
        leave(session)
        if self._broker.sessions.get(session.client_id) is session:
            del self._broker.sessions[session.client_id]
            if self.index is not None:
                self.index.leave(session)
            self._broker.memory.session_bytes -= len(session.client_id)
            if self._broker.watchers is not None:
                self._broker.watchers.tell("ended", session)

    def _remove(self, session: Session, topic_filter: bytes) -> None:
        self._broker.router.remove(session, topic_filter)
        self._broker.turns.spent += _REMOVED

    def _hand_back(self, session: Session, ended: bool) -> None:
        """Give unacknowledged messages of a leaving member of shared subscriptions to the other members."""
        groups: "Any" = None  # a dict once there are some: memory may not suffice for an empty one
        self._broker.turns.spent += len(session.subscriptions) >> 2
        for topic_filter in session.subscriptions:
            group = self._broker.router.group(topic_filter)
            if group is not None and (ended or group.has_others(session)):
                groups = groups or {}
                groups[group] = True
        for group in groups or ():
            group.leave(session, True, groups, not ended)
            break

    def _publish_will(self, session: Session) -> None:
        broker = self._broker
        will = session.will
        session.set_will(None)
        session.will_at = None
        if broker.journal is not None:
            broker.journal.will(session)
        if will is None:
            return
        message = will[WILL_MESSAGE]
        if message.expires is not None:
            message.expires += broker.clock()
        try:
            access = session.access
            # The authorizer has allowed it at CONNECT, and need not be asked again.
            if access is None or broker.intake.may_publish(message, session, access) in (SUCCESS, UNDECIDED):
                broker.intake.take_in(message, session, access)
        except MQTTError as e:  # a hook has given it an invalid topic
            broker.crashed(None, e)
        except MemoryError:
            broker.out_of_memory()
            broker.counters.drop(DROP_MEMORY)

    def subscribe(self, session: Session, topic_filter: bytes, options: int) -> None:
        """Make or change a subscription; filter and options are valid [MQTT-3.8.4-3]."""
        if session.subscriptions.get(topic_filter) == options:
            return
        self._broker.router.add(session, topic_filter, options)
        if session.store_id:
            self._broker.journal.subscription(session, topic_filter, options)
        if self._broker.debug:
            text = "%s: subscribed to %s, QoS %d"
            self._broker.client_log.line(0, session.address, text, session, shown(topic_filter), options & 3)

    def unsubscribe(self, session: Session, topic_filter: bytes) -> None:
        """End a subscription; nothing new is sent for it [MQTT-3.10.4-2]."""
        broker = self._broker
        group = broker.router.group(topic_filter)
        broker.router.remove(session, topic_filter)
        if session.replay is not None:
            session.replay.drop((topic_filter,))
        if group is not None:
            # Messages already sent stay with it [MQTT-3.10.4-3].
            group.leave(session, session.conn is None)
        if session.store_id:
            broker.journal.subscription(session, topic_filter, None)
        if broker.debug:
            broker.client_log.line(0, session.address, "%s: unsubscribed from %s", session, shown(topic_filter))

    def can_share(self) -> bool:
        """Whether shared subscriptions are available; a broker can be installed without them."""
        try:
            import port.core.routing.shared_subscription  # noqa: F401
        except ImportError:
            return False
        return True

    def replay_retained(self, session: Session, topic_filter: bytes, options: int) -> None:
        """Arrange for the retained messages of a new subscription: `pump` sends them, after those of earlier ones."""
        if session.replay is None:
            if session.store_id:
                session.replay = self._broker.journal.new_replay(session)
            else:
                from port.core.routing.retained_replay import Replay

                session.replay = Replay(session)
        session.replay.add(topic_filter, options)

    def end_due(self, now: int) -> None:
        """Send the wills and end the sessions that are due. With few sessions finding them takes no memory."""
        due = self.due
        if len(due) > _FEW:
            self._end_more()
            return
        while True:
            if self._broker.turns.spent > self._broker.turns.limit:
                self._end_more()
                return
            for session in due:
                if _is_due(session, now):
                    break
            else:
                return
            self._end_one(session, now)

    def _end_more(self) -> None:
        broker = self._broker
        if self._ending not in broker.turns.jobs:
            self._ending = Sweep(broker, list(self.due), self.end_if_due).go_on
            broker.turns.background(self._ending)

    def end_if_due(self, session: Session) -> None:
        """Send the will of an offline session, and end the session, if they are due."""
        now = self._broker.clock()
        if session in self.due and _is_due(session, now):
            self._end_one(session, now)

    def _end_one(self, session: Session, now: int) -> None:
        self._broker.turns.spent += _ENDED
        if session.will_at is not None and session.will_at <= now:
            self._publish_will(session)
            if session.expires_at is None:
                self.due.pop(session, None)
        if session.expires_at is not None and session.expires_at <= now:
            self._broker.counters.clients_expired += 1
            self.end(session)

    def settle_rest(self, now: int) -> None:
        """Settle the sessions for which memory did not suffice at their beginning or at the end of their connections."""
        if self._to_settle:
            self._broker.turns.background(self._settler)
        if not self.unsettled:
            return
        for session in list(self._broker.sessions.values()):
            # Settled sessions are in `due`, or have neither expiry nor will.
            if session.conn is not None or session in self.due or session in self.settling:
                continue
            if session.will or session.expiry != _NEVER:
                self._settle(session)
        self.unsettled = False
