"""Watchers: called after sessions and their filters have changed, whatever the reason; see Broker.watch.

    class Log(Watcher):
        def subscribed(self, subscriber, topic_filter, options):
            print(topic_filter)

    broker.watch(Log())

A filter comes by SUBSCRIBE, by the program's `subscribe` and when a store is restored; it goes by UNSUBSCRIBE, with its session,
and with the right to it. A hook is asked before a change and may refuse it; a watcher hears of it afterwards. An exception of a
watcher is reported and goes no further. A watcher must not change subscriptions or sessions while it is called.
"""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.sessions.session import Session
    from port.core.broker import Broker


class Watcher:
    """Base class; override the calls you need. `subscriber` is a Session, or None for the program itself."""

    def subscribed(self, subscriber: "Optional[Session]", topic_filter: bytes, options: int) -> None:
        """A filter was added or has new options (clause 3.8.3.1; from bit 8 on the subscription identifier)."""

    def unsubscribed(self, subscriber: "Optional[Session]", topic_filter: bytes) -> None:
        """A filter was removed."""

    def connected(self, session: "Session") -> None:
        """A session, new or resumed, has a connection."""

    def disconnected(self, session: "Session") -> None:
        """A session has lost its connection; `ended` may follow."""

    def taken_over(self, session: "Session") -> None:
        """A session's client has made another connection; `connected` or `ended` follows."""

    def ended(self, session: "Session") -> None:
        """A session has ended; its filters are removed, or are being removed."""


class FilterWatcher(Watcher):
    """Reports each distinct filter once, however many sessions have it: `first` and `last`. It counts filters in its own memory."""

    def __init__(self) -> None:
        self._counts: "dict[bytes, int]" = {}
        self._known: "dict[Any, bool]" = {}

    def first(self, topic_filter: bytes) -> None:
        """A filter has its first subscriber."""

    def last(self, topic_filter: bytes) -> None:
        """A filter has lost its last subscriber."""

    def subscribed(self, subscriber: "Optional[Session]", topic_filter: bytes, options: int) -> None:
        """See Watcher."""
        if subscriber is not None:
            if (subscriber, topic_filter) in self._known:
                return
            self._known[subscriber, topic_filter] = True
        count = self._counts.get(topic_filter, 0)
        self._counts[topic_filter] = count + 1
        if not count:
            self.first(topic_filter)

    def unsubscribed(self, subscriber: "Optional[Session]", topic_filter: bytes) -> None:
        """See Watcher."""
        if subscriber is not None and self._known.pop((subscriber, topic_filter), None) is None:
            return
        count = self._counts.get(topic_filter, 0)
        if count > 1:
            self._counts[topic_filter] = count - 1
        elif count:
            del self._counts[topic_filter]
            self.last(topic_filter)


class Watchers:
    """The watchers of a broker."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._watchers: "tuple[Watcher, ...]" = ()

    def add(self, watcher: Watcher) -> None:
        """Add a watcher; it hears of the present sessions and filters first. Raises TypeError for anything else."""
        if not isinstance(watcher, Watcher):
            raise TypeError("watch() takes a Watcher object, not %r" % (watcher,))
        for session in list(self._broker.sessions.values()):
            if session.conn is not None:
                self._call(watcher, "connected", session, b"", 0)
            for topic_filter in session.subscriptions:
                self._call(watcher, "subscribed", session, topic_filter, session.subscriptions[topic_filter])
        for topic_filter in self._broker.router.locals.values():
            self._call(watcher, "subscribed", None, topic_filter, 0)
        self._watchers += (watcher,)

    def remove(self, watcher: Watcher) -> bool:
        """Remove a watcher; False when none is left. Raises ValueError for one that was not added."""
        if watcher not in self._watchers:
            raise ValueError("no such watcher")
        self._watchers = tuple([other for other in self._watchers if other is not watcher])
        return len(self._watchers) > 0

    def tell(self, what: str, subscriber: "Any", topic_filter: bytes = b"", options: int = 0) -> None:
        """Call a method of all watchers. Raises nothing."""
        for watcher in self._watchers:
            self._call(watcher, what, subscriber, topic_filter, options)

    def _call(self, watcher: Watcher, what: str, subscriber: "Any", topic_filter: bytes, options: int) -> None:
        try:
            try:
                if what == "subscribed":
                    watcher.subscribed(subscriber, topic_filter, options)
                elif what == "unsubscribed":
                    watcher.unsubscribed(subscriber, topic_filter)
                elif what == "connected":
                    watcher.connected(subscriber)
                elif what == "disconnected":
                    watcher.disconnected(subscriber)
                elif what == "taken_over":
                    watcher.taken_over(subscriber)
                else:
                    watcher.ended(subscriber)
            except Exception as e:
                self._broker.crashed(None, e)
        except MemoryError:
            self._broker.out_of_memory()
