"""Retained messages on their way to a session that outlives the broker: those still to come outlive it, too.

The record of a subscription says that retained messages are due, further records which of them were sent already. Sent names are
kept up to `max_queued_messages`, at 64 bytes a name on average: messages found later in the search are sent again after
a restart.
"""

from port.core import const
from port.core.constants import RECORD_NAME
from port.core.routing.retained_replay import Replay

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from port.core.sessions.session import Session

_NAME = const(64)  # bytes
_NOTED = const(8)  # cost of telling the journal, in deliveries (Turns.spent)


class KeptReplay(Replay):
    """See Replay."""

    __slots__ = ("_before", "_left", "_left_bytes", "_batch", "_names", "_keys")

    def __init__(self, session: "Session") -> None:
        super().__init__(session)
        self._before: "dict[bytes, bool]" = {}  # names that the current subscription brought before the restart of the broker
        self._left = self._left_bytes = 0  # further names and bytes that may be stored for it
        self._batch = 0  # number of the batch with the last of them, and their record
        self._names: "list[bytes]" = []
        self._keys: "list[int]" = []  # keys of all such records, see SessionJournal.replayed

    def add(self, topic_filter: bytes, options: int) -> None:
        """See Replay.add."""
        session = self._session
        if self._is_current(topic_filter):  # all its matches are due again
            self.forget()
            if self._found is None:
                self._current = None
        super().add(topic_filter, options)
        if session.store_id:
            session.broker.turns.spent += _NOTED
            session.broker.journal.subscription(session, topic_filter, options)

    def restore(self, topic_filter: bytes, options: int) -> None:
        """Take a subscription that is still to come from the store."""
        super().add(topic_filter, options)

    def owes(self, topic_filter: bytes) -> bool:
        """Whether this subscription is among those to come."""
        return topic_filter in self._due or self._is_current(topic_filter)

    def _is_current(self, topic_filter: bytes) -> bool:
        return self._current is not None and self._current[0] == topic_filter

    def resume(self, sent: "list[bytes]", key: int) -> bool:
        """Take a subscription from the store, with names already sent. False when it is not among those to come."""
        if not self._is_current(sent[0]):
            one = self._due.pop(sent[0], None)
            if one is None:
                return False
            before = self._current
            if before is not None:
                self._line.insert(0, before)
                self._due[before[0]] = before
            self._current = one
        for name in sent[1:]:
            record = self._session.broker.retained.get(name)
            if record is not None:
                self._before[record[RECORD_NAME]] = True
        self._keys.append(key)
        return True

    def forget(self) -> None:
        """Remove the records of the current subscription, and store no further ones."""
        session = self._session
        for key in self._keys if session.store_id else ():
            session.broker.journal.replay_over(session, key)
        self._before = {}
        self._keys = []
        self._left = self._left_bytes = self._batch = 0

    def _stop(self) -> None:
        """See Replay._stop."""
        self.forget()
        super()._stop()

    def _find(self, topic_filter: bytes) -> None:
        """See Replay._find."""
        session = self._session
        if self._found is None:
            before = self._before
            self._left = session.options.max_queued_messages - len(before)
            self._left_bytes = session.options.max_queued_messages * _NAME - sum([len(name) for name in before])
        super()._find(topic_filter)
        if self._found is None:
            options = session.subscriptions.get(topic_filter)
            if session.store_id and options is not None:
                session.broker.turns.spent += _NOTED
                session.broker.journal.subscription(session, topic_filter, options)
        elif self._record is not None and self._record[0] in self._before:
            self._record = None

    def _deliver(self, record: "Any", flags: int, options: int) -> int:
        """See Replay._deliver."""
        size = super()._deliver(record, flags, options)
        session = self._session
        if self._left > 0 and self._left_bytes > 0 and session.store_id and self._current is not None:
            journal = session.broker.journal
            self._left -= 1
            self._left_bytes -= len(record[RECORD_NAME])
            if self._batch != journal.batch:  # earlier notes are a record by now
                self._batch = journal.batch
                self._names = [self._current[0]]
                self._keys.append(journal.replayed(session, self._names))
            self._names.append(record[RECORD_NAME])
        return size
