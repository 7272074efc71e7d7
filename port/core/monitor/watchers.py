"""Watchers: told after the fact of sessions and of their filters, whatever the reason; see Broker.watch.

    class Log(Watcher):
        def subscribed(self, subscriber, topic_filter, options):
            print(topic_filter)

    broker.watch(Log())

A filter comes by SUBSCRIBE, by the program's `subscribe` and when a store is restored; it goes by UNSUBSCRIBE, with its session,
and with the right to it. Hooks are asked before, and may refuse; a watcher is told what is so. What it raises is reported and goes no
further. It must not change subscriptions or sessions while it is told.
"""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.sessions.session import Session
    from port.core.broker import Broker


class Watcher:
    """Base class: what can be watched. `subscriber` is a Session, or None for the program itself."""

    def subscribed(self, subscriber: "Optional[Session]", topic_filter: bytes, options: int) -> None:
        """A filter has come, or has other options (clause 3.8.3.1; from bit 8 on the subscription identifier)."""

    def unsubscribed(self, subscriber: "Optional[Session]", topic_filter: bytes) -> None:
        """A filter has gone."""

    def connected(self, session: "Session") -> None:
        """A session, new or not, has a connection."""

    def disconnected(self, session: "Session") -> None:
        """It has none any more; `ended` may follow."""

    def taken_over(self, session: "Session") -> None:
        """Its client has another connection; `connected` or `ended` follows."""

    def ended(self, session: "Session") -> None:
        """It is gone; its filters are, or are going."""


class FilterWatcher(Watcher):
    """Is told of each filter once, however many have it: `first` and `last`. Counts filters, in memory of its own."""

    def __init__(self) -> None:
        self._counts: "dict[bytes, int]" = {}
        self._known: "dict[Any, bool]" = {}

    def first(self, topic_filter: bytes) -> None:
        """Somebody has this filter."""

    def last(self, topic_filter: bytes) -> None:
        """Nobody has it any more."""

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
        """Tell another one of what there is, and from now on of what comes and goes. Raises TypeError for anything else."""
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
        """Tell it no more; False when there is none left. Raises ValueError when it was not told."""
        if watcher not in self._watchers:
            raise ValueError("no such watcher")
        self._watchers = tuple([other for other in self._watchers if other is not watcher])
        return len(self._watchers) > 0

    def tell(self, what: str, subscriber: "Any", topic_filter: bytes = b"", options: int = 0) -> None:
        """Call this method of all. Raises nothing: what is told is so, whoever hears it."""
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
