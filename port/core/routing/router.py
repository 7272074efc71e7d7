"""Resolves a topic name to its receivers once, caches the route, and hands each receiver its copy."""

from port.core import const
from port.core.constants import ENTRY_FLAGS, NO_LOCAL, QOS, RETAIN_AS_PUBLISHED
from port.core.wire.reason_codes import MALFORMED_PACKET, TOPIC_NAME_INVALID, MQTTError
from port.core.wire.topics import has_wildcard, valid_name, without_share
from port.core.routing.subscriptions import LocalSubscriber, Route, Subscriptions

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Optional, Sequence, Union

    from port.core.limits.options import Options
    from port.core.messages.message import Message
    from port.core.routing.shared_subscription import SharedGroup
    from port.core.sessions.session import Session
    from port.core.acl.acl import Access
    from port.core.protocol.connection import Connection
    from port.core.broker import Broker

    Granted = dict[bytes, tuple[int, tuple[Session, ...], int]]

_REMEMBERED = const(512)  # bytes of the longest topic name whose route is cached; the number of routes is bounded, too

# Costs, in deliveries (Turns.spent): resolving a name, distributing a message, each of its receivers.
_RESOLVED = const(40)
_DISTRIBUTED = const(30)
_DELIVERED = const(10)
_PASSED_ON = const(20)  # a message passed on as it came, besides its receivers
_OPTION = const(3)  # one of several subscriptions of a receiver
_ROOM = const(16)  # receivers cached in all, for each topic name that may be cached
_ALIKE = const(8)  # receivers of a name from which on names with equal receivers share one tuple


def check_name(name: bytes, options: "Options") -> None:
    """Raise MQTTError when a valid topic name is over a client's limits."""
    if _too_long(name, options.max_topic_length, options.max_topic_levels):
        raise MQTTError(TOPIC_NAME_INVALID, "topic name too long")


class Router:
    """The subscriptions and the routes made from them, cached by topic name.

    generation: goes up when a route may have changed
    routes: topic name -> its route, see `route`
    locals: in-process subscribers and their filters
    receivers: receivers cached since all routes were last forgotten
    fast: for MQTT 3.x and MQTT 5 publishers, topic name -> the sessions that take a plain QoS 0
    packet as it came. A name is added by the first PUBLISH to it (see `learn`), when all its receivers do, no message hook is
    set, and the name is within the limits of all clients so far.
    granted: topic name -> (lowest QoS granted as in a PUBLISH's flags, 2 or 4; the same sessions; a message's cost):
    up to this QoS they take packets as they came, see handle_publish.pass_on.
    """

    def __init__(self, broker: "Broker") -> None:
        self.subscriptions = Subscriptions(broker.memory.word)
        self.fast: "tuple[dict[bytes, tuple[Session, ...]], dict[bytes, tuple[Session, ...]]]" = ({}, {})
        self.granted: "tuple[Granted, Granted]" = ({}, {})
        self.routes: "dict[bytes, Route]" = {}
        self.locals: "dict[LocalSubscriber, bytes]" = {}
        self.receivers = 0
        self._alike: "dict[Any, Any]" = {}  # tuples of receivers that names share, by themselves
        self.generation = 0
        self._access: "Optional[Access]" = None  # the Access of the client whose packets are being handled
        self._broker = broker
        self._limits = (65535, 65536)  # length and levels up to which a name is within every client's limits

    def limit_names(self, options: "Options") -> None:
        """Allow for a client with these options: from now on names above its limits are checked, whichever client sends them."""
        length, levels = self._limits
        if options.max_topic_length < length or options.max_topic_levels < levels:
            self._limits = (min(length, options.max_topic_length), min(levels, options.max_topic_levels))
            self.forget()

    def add(self, subscriber: "Any", topic_filter: bytes, options: int) -> None:
        """Add or change a subscription."""
        self.subscriptions.add(topic_filter, subscriber, options)
        self._changed(topic_filter)
        if self._broker.watchers is not None:
            watched = None if subscriber.subscriptions is None else subscriber
            self._broker.watchers.tell("subscribed", watched, topic_filter, options)

    def remove(self, subscriber: "Any", topic_filter: bytes) -> None:
        """Remove a subscription, if there is one."""
        watchers = self._broker.watchers
        filters = subscriber.subscriptions
        if filters is not None and topic_filter not in filters:
            watchers = None
        self.subscriptions.remove(topic_filter, subscriber)
        self._changed(topic_filter)
        if watchers is not None:
            watchers.tell("unsubscribed", None if filters is None else subscriber, topic_filter)

    def group(self, topic_filter: bytes) -> "Optional[SharedGroup]":
        """The shared subscription with this filter, or None."""
        return self.subscriptions.group(topic_filter)

    def add_local(self, topic_filter: bytes, callback: "Callable[[Message], Any]") -> "tuple[bytes, LocalSubscriber]":
        """Add an in-process subscriber."""
        subscriber = LocalSubscriber(callback)
        self.add(subscriber, topic_filter, 0)
        self.locals[subscriber] = topic_filter
        return topic_filter, subscriber

    def remove_local(self, handle: "tuple[bytes, LocalSubscriber]") -> None:
        """Remove an in-process subscriber, if it is still there."""
        if self.locals.pop(handle[1], None) is not None:
            self.remove(handle[1], handle[0])

    def _changed(self, topic_filter: bytes) -> None:
        """Forget the routes a changed subscription could alter."""
        topic_filter = without_share(topic_filter)
        if has_wildcard(topic_filter):
            self.forget()
        else:
            self.routes.pop(topic_filter, None)
            for i in (0, 1):
                self.fast[i].pop(topic_filter, None)
                self.granted[i].pop(topic_filter, None)
            self._outdate()

    def forget(self) -> None:
        """Forget all cached routes."""
        self._broker.turns.spent += len(self.routes) + self.receivers >> 2
        self.receivers = 0
        self.routes.clear()
        _clear(self)
        self._outdate()

    def _outdate(self) -> None:
        """Outdate the caches of clients with an ACL; each is cleared when its client sends again."""
        self._alike.clear()  # so that no ended session is kept
        self.generation = self.generation + 1 & 0x3FFFFFFF
        if self._access is not None:
            self.use(self._access)

    def use(self, access: "Access") -> None:
        """Make an Access the current one, before packets of its client are handled."""
        self._access = access
        if access.generation != self.generation:
            access.generation = self.generation
            _clear(access)

    def allow(self, session: "Session", access: "Access", name: bytes, route: Route) -> None:
        """Put a name that a client with an ACL may publish to on its fast path, unless the permission is for a time only."""
        allowed = access.lasting(name)
        if allowed < 0:
            return
        if self._access is not access:
            self.use(access)
        fast = self._learn(session, name, route)
        if fast is None:
            return
        i: "int" = session.version5  # index and bit
        if len(access.fast[i]) >= access.room:
            _clear(access)
        access.fast[i][name] = fast
        granted = self.granted[i].get(name)
        if granted is not None and allowed:
            access.granted[i][name] = (min(granted[0], allowed << 1), fast, granted[2])

    def learn(self, session: "Session", name: bytes, once: bool = False) -> "Optional[tuple[Session, ...]]":
        """The entry of `fast` for a name, made if need be; None when the name, or the publishing client, cannot use `fast`.

        once: for one message, which is sent then: with a shared subscription a member takes its turn, and `fast` gets no entry.
        Raises MQTTError for a name that is invalid or over its limits.
        """
        conn: "Connection" = session.conn  # type: ignore[assignment]
        if conn.fast is not self.fast[session.version5] or not name or self._broker.message_hooks or len(name) > _REMEMBERED:
            return None
        route = self.routes.get(name)
        if route is None:
            route = self.route(name, session.options)
            if route is None:
                return None
        if route.groups:
            return self._take_turns(name, 4 + session.version5, route) if once else None
        return self._learn(session, name, route)

    def _take_turns(self, name: bytes, version: int, route: Route) -> "Optional[tuple[Session, ...]]":
        """Receivers of a QoS 0 message as it came, with the shared subscription's member; None when one needs another form."""
        if route.special or route.locals or route.long or len(route.groups) > 1:
            return None
        receivers = []
        for receiver, _ in route.plain:
            if receiver.fast_version != version:
                return None
            receivers.append(receiver)
        member = route.groups[0].turn(name, version)
        if member is None:
            return None
        receivers.append(member)
        return tuple(receivers)

    def _learn(self, session: "Session", name: bytes, route: Route) -> "Optional[tuple[Session, ...]]":
        i: "int" = session.version5  # index and bit
        if not route.untried & 1 << i:
            return self.fast[i].get(name)
        route.untried ^= 1 << i
        version = 4 + i
        receivers = []
        granted = 2
        for receiver, option in route.plain:
            option &= QOS
            if receiver.fast_version != version:
                if receiver.inlet is None or receiver.fast_version != 5:
                    return None
                receiver = receiver.inlet
                option = 0
            receivers.append(receiver)
            if option < granted:
                granted = option
        fast = self.fast[i][name] = self._kept(receivers)
        if granted and fast:
            self.granted[i][name] = (granted << 1, fast, _PASSED_ON + _DELIVERED * len(fast))
        return fast

    def route(self, name: bytes, options: "Options") -> "Optional[Route]":
        """The route of a topic name a client with these options publishes to, None for `$` topics.

        Raises MQTTError for a name that is invalid or over its limits.
        """
        route = self.routes.get(name)
        if route is None:
            if not valid_name(name):
                raise MQTTError(MALFORMED_PACKET, "invalid topic name")
            if name.startswith(b"$"):
                return None
            long = _too_long(name, *self._limits)
            if long:
                check_name(name, options)
            route = self.resolve(name)
            if len(name) > _REMEMBERED:
                route.long = long
                return route
            most = self._broker.options.route_cache
            if len(self.routes) >= most or self.receivers >= most * _ROOM:
                self.forget()
            route.plain = self._kept(route.plain)
            route.special = self._kept(route.special)
            route.groups = self._kept(route.groups)
            self.routes[name] = route
            if long:
                route.long = True
            elif not (route.special or route.groups or self._broker.message_hooks):
                route.quick = not route.empty()
                route.untried = 0 if route.locals else 3
        elif route.long:
            check_name(name, options)
        return route

    def _kept(self, receivers: "Sequence[Any]") -> "tuple[Any, ...]":
        """Receivers for the cache; equal ones, from _ALIKE on, are the same object."""
        kept = tuple(receivers)
        alike = self._alike.get(kept)
        if alike is not None:
            return alike  # type: ignore[no-any-return]
        if len(kept) >= _ALIKE:
            self._alike[kept] = kept
        self.receivers += len(kept)
        return kept

    def resolve(self, name: bytes) -> Route:
        """The route of any valid topic name, not cached."""
        route = self.subscriptions.route(name)
        self._broker.turns.spent += _RESOLVED + self.subscriptions.steps
        return route

    def distribute(self, message: "Message", route: Route, sender: "Optional[Session]") -> bool:
        """Give each receiver its copy; True when there was a subscriber."""
        if message.clients is not None:
            self._broker.hooks.redirect(message, route, sender)  # type: ignore[union-attr]
            return not route.empty()
        self.deliver_plain(message, route.plain)
        self._broker.turns.spent += _DELIVERED * (route.size() - len(route.plain))
        for session, options in route.special:
            self.deliver_special(message, session, options, sender)
        for group in route.groups:
            group.deliver(message)
            self._broker.large.send()
        for subscriber in route.locals:
            self.call_local(subscriber, message)
        return not route.empty()

    def deliver_quick(self, message: "Message", route: Route) -> None:
        """`distribute` for a quick route."""
        if route.plain:
            self.deliver_plain(message, route.plain)
        if route.locals:
            self._broker.turns.spent += _DISTRIBUTED + _DELIVERED * len(route.locals)
            for subscriber in route.locals:
                self.call_local(subscriber, message)

    def deliver_plain(self, message: "Message", receivers: "Sequence[tuple[Session, int]]") -> None:
        """One copy for each session that has one matching filter and nothing special."""
        self._broker.turns.spent += _DISTRIBUTED + _DELIVERED * len(receivers)
        qos = message.qos
        retain = message.retain
        size = message.size()
        entry: "Any" = (message, 0, None, None, 0)
        for session, option in receivers:
            # QoS is the lower of the two [MQTT-3.8.4-8], RETAIN is set only where
            # retain as published asks for it [MQTT-3.3.1-12] [MQTT-3.3.1-13].
            granted = option & QOS
            flags = (qos if qos < granted else granted) << 1
            if retain and option & RETAIN_AS_PUBLISHED:
                flags |= 1
            if flags < 2:
                session.deliver(message, flags)
                continue
            if flags != entry[ENTRY_FLAGS]:
                entry = (message, flags, None, None, 0)
            if session.out is not None or retain or session.store_id or not session.put_by(entry, size):
                session.deliver(message, flags, None, None, entry)

    def deliver_special(
        self, message: "Message", session: "Session", options: "tuple[int, ...]", sender: "Optional[Session]"
    ) -> None:
        """One copy, however many filters match: highest QoS, all identifiers [MQTT-3.3.4-2]."""
        self._broker.turns.spent += _OPTION * len(options)
        qos = -1
        retain = 0
        identifiers = []
        for option in options:
            if option & NO_LOCAL and session is sender:  # [MQTT-3.8.3-3]
                continue
            qos = max(qos, option & QOS)
            if message.retain and option & RETAIN_AS_PUBLISHED:
                retain = 1
            if option >> 8:
                identifiers.append(option >> 8)
        if qos >= 0:
            session.deliver(message, min(qos, message.qos) << 1 | retain, tuple(identifiers) or None)

    def call_local(self, subscriber: "LocalSubscriber", message: "Message") -> None:
        """Call an in-process subscriber; its exceptions are reported and go no further."""
        try:
            subscriber.callback(message)
        except Exception as e:
            self._broker.crashed(None, e)


def _too_long(name: bytes, length: int, levels: int) -> bool:
    return len(name) > length or name.count(b"/") >= levels


def _clear(names: "Union[Router, Access]") -> None:
    """Forget all names on the fast path."""
    for table in names.fast + names.granted:
        table.clear()
