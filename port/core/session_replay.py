"""Retained messages on their way to a session that outlives the broker: what is left of them does, too.

The record of a subscription says that retained messages are due, others which of them it has brought already. These are
remembered as far as `max_queued_messages`: beyond that a restart sends what comes later in the search once more.
"""

from port.core import const
from port.core.replay import Replay

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Sequence

    from port.core.session import Session


class KeptReplay(Replay):
    """See Replay."""

    __slots__ = ("_before", "_left", "_batch", "_names", "_keys")

    def __init__(self, session: "Session") -> None:
        super().__init__(session)
        self._before: "dict[bytes, bool]" = {}  # names the current subscription brought before the broker was restarted
        self._left = 0  # further ones that are stored for it
        self._batch = 0  # the one to which the last of them belong, and their record
        self._names: "list[bytes]" = []
        self._keys: "list[int]" = []  # of all such records, see SessionJournal.replayed

    def add(self, topic_filter: bytes, options: int) -> None:
        """See Replay.add."""
        filters = self._filters
        session = self._session
        if filters and filters[0][0] == topic_filter:  # all of it is due again
            self.forget()
            if self._found is None:
                del filters[0]
        super().add(topic_filter, options)
        if session.number:
            session.broker.journal.subscription(session, topic_filter, options)

    def restore(self, topic_filter: bytes, options: int) -> None:
        """The store has a subscription that is to come."""
        super().add(topic_filter, options)

    def owes(self, topic_filter: bytes) -> bool:
        """Whether this subscription is among those to come."""
        self._session.broker.spent += len(self._filters) >> 2
        return any([one[0] == topic_filter for one in self._filters])

    def resume(self, sent: "list[bytes]", key: int) -> bool:
        """From the store: a subscription and names it has brought already. False when it is none of those to come."""
        filters = self._filters
        for i in range(len(filters)):
            if filters[i][0] == sent[0]:
                filters.insert(0, filters.pop(i))
                for name in sent[1:]:
                    record = self._session.broker.retained.get(name)
                    if record is not None:
                        self._before[record[0]] = True
                self._keys.append(key)
                return True
        return False

    def forget(self) -> None:
        """What the current subscription has brought is of no use any more, and is not stored from now on."""
        session = self._session
        for key in self._keys if session.number else ():
            session.broker.journal.replay_over(session, key)
        self._before = {}
        self._keys = []
        self._left = self._batch = 0

    def drop(self, lost: "Sequence[bytes]") -> None:
        """See Replay.drop."""
        if self._filters and self._filters[0][0] in lost:
            self.forget()
        super().drop(lost)

    def _find(self, topic_filter: bytes) -> None:
        """See Replay._find."""
        session = self._session
        if self._found is None:
            self._left = session.options.max_queued_messages - len(self._before)
        super()._find(topic_filter)
        if self._found is None:
            self.forget()
            options = session.subscriptions.get(topic_filter)
            if session.number and options is not None:
                session.broker.journal.subscription(session, topic_filter, options)
        elif self._record is not None and self._record[0] in self._before:
            self._record = None

    def _deliver(self, record: "Any", flags: int, options: int) -> int:
        """See Replay._deliver."""
        size = super()._deliver(record, flags, options)
        session = self._session
        if self._left > 0 and session.number:
            journal = session.broker.journal
            self._left -= 1
            if self._batch != journal.batch:  # what was noted before is a record by now
                self._batch = journal.batch
                self._names = [self._filters[0][0]]
                self._keys.append(journal.replayed(session, self._names))
            self._names.append(record[0])
        return size
