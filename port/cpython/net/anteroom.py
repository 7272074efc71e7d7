"""Anteroom for connections that have something to do before they are clients: a PROXY header, a TLS handshake, a request.

Each costs memory, and a handshake the time of a signature. So there are so many places and no more, and so many steps in a
turn of the event loop. When all are taken one is made free by the address that has the most, if that is above its share;
addresses take their steps in turn. However many one address begins, those of others get in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from port.core.wire.reason_codes import AWAY_GAVE_WAY, AWAY_LATE, AWAY_STOPPING

STEPS = 2  # in one turn; each takes one to three milliseconds on a PC


class Newcomer(Protocol):
    """Who takes a place.

    key       what its address is known by; stays the same
    deadline  when it is asked to go, on the event loop's clock
    """

    key: Any
    deadline: float

    def give_way(self, why: str, reason: int) -> None:
        """Close now; the place is free already. `why` and `reason`: see ConnectionRegistry.turn_away."""

    def step(self) -> None:
        """Take the step that was asked for, see Anteroom.later. Must not raise."""


class Anteroom:
    """So many places.

    size  how many there are; may be changed
    """

    def __init__(self, size: int, after: Callable[[], None] = lambda: None) -> None:
        """`after` is called when steps have been taken."""
        self.size = size
        self._after = after
        self._count = 0
        self._by_key: dict[Any, dict[Newcomer, None]] = {}  # the oldest first
        self._by_number: dict[int, dict[Any, None]] = {}  # the addresses that have as many places
        self._most = 0
        self._waiting: dict[Any, dict[Newcomer, None]] = {}  # for a step: the next address and its next one first
        self._turning = False

    def __len__(self) -> int:
        """How many are taken."""
        return self._count

    def enter(self, newcomer: Newcomer) -> bool:
        """Take a place; False when none is free and nobody has more than his share."""
        key = newcomer.key
        if self._count >= self.size and not self.make_room(key):
            return False
        places = self._by_key.setdefault(key, {})
        places[newcomer] = None
        self._count += 1
        self._moved(key, len(places) - 1, len(places))
        return True

    def make_room(self, key: Any) -> bool:
        """The oldest goes of the address that has the most, else of this address; False when that would be unfair."""
        mine = len(self._by_key.get(key, ()))
        if self._most > mine + 1:
            key = next(iter(self._by_number[self._most]))
        elif not mine:
            return False
        oldest = next(iter(self._by_key[key]))
        self.leave(oldest)
        oldest.give_way("another connection needs the place", AWAY_GAVE_WAY)
        return True

    def leave(self, newcomer: Newcomer) -> None:
        """It has become a client, or has gone; more than once does no harm."""
        key = newcomer.key
        places = self._by_key.get(key)
        if places is None or newcomer not in places:
            return
        del places[newcomer]
        self._count -= 1
        if not places:
            del self._by_key[key]
        self._moved(key, len(places) + 1, len(places))
        waiting = self._waiting.get(key)
        if waiting is not None and newcomer in waiting:
            del waiting[newcomer]
            if not waiting:
                del self._waiting[key]

    def _moved(self, key: Any, before: int, now: int) -> None:
        """An address has another number of places, one more or one less."""
        if before:
            keys = self._by_number[before]
            del keys[key]
            if not keys:
                del self._by_number[before]
                if self._most == before:
                    self._most = now
        if now:
            self._by_number.setdefault(now, {})[key] = None
            self._most = max(self._most, now)

    # -- time and work ----------------------------------------------------------------------------

    def expire(self, now: float) -> None:
        """Ask those to go whose time is over."""
        late = [newcomer for places in self._by_key.values() for newcomer in places if newcomer.deadline <= now]
        for newcomer in late:
            self.leave(newcomer)
            newcomer.give_way("not ready in time", AWAY_LATE)

    def clear(self) -> None:
        """Ask all to go."""
        for newcomer in [newcomer for places in self._by_key.values() for newcomer in places]:
            self.leave(newcomer)
            newcomer.give_way("the broker stops", AWAY_STOPPING)

    def later(self, newcomer: Newcomer) -> None:
        """Have it take a step when its address is on turn."""
        self._waiting.setdefault(newcomer.key, {})[newcomer] = None
        self._turn_soon()

    def _turn_soon(self) -> None:
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._turning = False
        waiting = self._waiting
        for _ in range(STEPS):
            if not waiting:
                break
            key = next(iter(waiting))
            newcomers = waiting.pop(key)
            newcomer = next(iter(newcomers))
            del newcomers[newcomer]
            if newcomers:
                waiting[key] = newcomers  # behind the others
            newcomer.step()
        if waiting:
            self._turn_soon()
        self._after()
