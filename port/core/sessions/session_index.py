"""All sessions in an order that outlives every change, so that they can be listed a few at a time.

A session has a number from its beginning to its end; later sessions get the numbers of ended ones. So a list in the order of
numbers has each session that stays once. The first list makes the index, which is kept up to date from then on.
"""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Iterable, Optional

    from port.core.sessions.session import Session


class SessionIndex:
    """Sessions by number, which they have as `number`."""

    def __init__(self, sessions: "Iterable[Session]") -> None:
        self._sessions: "list[Optional[Session]]" = []
        self._free: "list[int]" = []  # numbers that may be free; one that is too high now, or taken again, is passed over
        for session in sessions:
            self.enter(session)

    def __len__(self) -> int:
        """The first number that no session has, nor a greater one."""
        return len(self._sessions)

    def at(self, number: int) -> "Optional[Session]":
        """The session that has this number, below the length, or None."""
        return self._sessions[number]

    def enter(self, session: "Session") -> None:
        """A session begins."""
        sessions = self._sessions
        free = self._free
        while free:
            number = free.pop()
            if number < len(sessions) and sessions[number] is None:
                session.number = number
                sessions[number] = session
                return
        session.number = len(sessions)
        sessions.append(session)

    def leave(self, session: "Session") -> None:
        """A session has ended; more than once does no harm."""
        sessions = self._sessions
        number = session.number
        if number >= len(sessions) or sessions[number] is not session:
            return
        sessions[number] = None
        if number < len(sessions) - 1:
            try:
                self._free.append(number)
            except MemoryError:
                pass  # the number is not given again
            return
        while sessions and sessions[-1] is None:
            sessions.pop()
        if not sessions:
            self._free = []
