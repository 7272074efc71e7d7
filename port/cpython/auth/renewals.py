"""What a back end has said of clients that are in is asked again from time to time, one question after the other.

A round takes as long as it is set to, and its questions are spread over that; where the back end cannot answer so many in
that time, it takes longer. It never asks two at once.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable

Job = AsyncIterator[None]  # asks one question, or does some work, before each item

_FAILURES = 10  # in a row, then the back end is away: clients keep what they have
_BRIEF = 0.001  # s; a shorter time is not slept


class Renewals:
    """Rounds of jobs, one for each client or account; `failure` is what a job raises when there is no answer.

    `jobs()` gives all that there are now, each with what it is known by: one that goes on yet is not begun again.
    """

    def __init__(
        self, jobs: Callable[[], AsyncIterator[tuple[Hashable, Job]]], failure: type[Exception], report: Callable[[Exception], None]
    ) -> None:
        self._jobs = jobs
        self._failure = failure
        self._report = report
        self._going: dict[Hashable, Job] = {}
        self._failures = 0

    async def for_ever(self, seconds: float) -> None:
        """Round after round; the first begins after one's time, as everybody has just been asked about."""
        await asyncio.sleep(seconds)
        while True:
            try:
                await self.round(seconds)
            except Exception as e:
                self._report(e)
                await asyncio.sleep(seconds)

    async def round(self, seconds: float = 0.0) -> None:
        """All that is there, in any order, so that none is always behind those that fail; at once, or spread over a time."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        more = deque(self._going)  # what goes on from the last round
        begun = set(self._going)
        async for key, job in self._jobs():
            self._going.setdefault(key, job)
        first = [key for key in self._going if key not in begun]
        random.shuffle(first)  # nosec B311
        self._failures = 0
        for i, key in enumerate(first):
            due = start + seconds * i / len(first)
            while more and seconds and loop.time() < due and self._failures < _FAILURES:
                await self._step(more.popleft(), more)
            if due - loop.time() > _BRIEF:
                await asyncio.sleep(due - loop.time())
            if self._failures >= _FAILURES:
                break
            await self._step(key, more)
        while more and self._failures < _FAILURES and not (seconds and loop.time() > start + seconds):
            await self._step(more.popleft(), more)
        if self._failures >= _FAILURES:
            self._going.clear()
        await asyncio.sleep(max(0.0, start + seconds - loop.time()))

    async def _step(self, key: Hashable, more: deque[Hashable]) -> None:
        """One step of a job; `more` takes it up if it goes on."""
        try:
            await anext(self._going[key])
        except StopAsyncIteration:
            self._failures = 0
        except self._failure:
            self._failures += 1
        except Exception as e:
            self._report(e)
        else:
            self._failures = 0
            more.append(key)
            await asyncio.sleep(0)
            return
        del self._going[key]
        await asyncio.sleep(0)
