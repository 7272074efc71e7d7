"""The questions that a back end gets at a time, and the queue for them: addresses take turns, and none takes all places."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable

from port.core.limits.fair_queue import Turns


class Ticket:
    """A place in the queue: the future `turn` gives True when it may ask, False when another address has taken its place."""

    __slots__ = ("who", "turn", "running")

    def __init__(self, who: Hashable) -> None:
        self.who = who
        self.turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.running = False


class Slots:
    """`count` questions at a time, `share` of one address; `places` may wait, `most` of one address."""

    def __init__(self, count: int, share: int, places: int, most: int) -> None:
        self._free = count
        self._share = share
        self._turns = Turns(places, most)
        self._running: Counter[Hashable] = Counter()  # by address
        self._full: set[Hashable] = set()  # addresses that use their share

    def enter(self, who: Hashable) -> Ticket | None:
        """A ticket for a client of this address, None without a place; `leave` must follow."""
        ticket = Ticket(who)
        if self._free and who not in self._full:
            self._run(ticket)
            return ticket
        late: Ticket | None = self._turns.put(who, ticket)
        if late is ticket:
            return None
        if late is not None and not late.turn.done():
            late.turn.set_result(False)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Free a ticket's place, after its question or without one."""
        if not ticket.running:
            self._turns.discard(ticket.who, ticket)
            return
        ticket.running = False
        self._free += 1
        self._full.discard(ticket.who)
        self._running[ticket.who] -= 1
        if not self._running[ticket.who]:
            del self._running[ticket.who]
        while self._free:
            following: Ticket | None = self._turns.take(self._full)
            if following is None:
                return
            if not following.turn.done():
                self._run(following)

    def _run(self, ticket: Ticket) -> None:
        ticket.running = True
        ticket.turn.set_result(True)
        self._free -= 1
        self._running[ticket.who] += 1
        if self._running[ticket.who] >= self._share:
            self._full.add(ticket.who)
