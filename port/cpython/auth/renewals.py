"""Renewals: a back end is asked again about connected clients, one question after the other.

The questions of a round are spread over a set time. A round takes longer when the back end cannot answer them all in that time,
as two questions never run at once.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable

Job = AsyncIterator[None]  # asks one question, or does some work, before each item

_FAILURES = 10  # failures in a row after which the back end counts as away, and clients keep their rights
_BRIEF = 0.001  # s; shorter sleeps are left out


class Renewals:
    """Rounds of jobs, one for each client or account; a job raises `failure` when it gets no answer.

    `jobs()` yields (key, job) for all present ones; a job that still goes on is not begun again.
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
        """Rounds without end; the first begins after a round's time, as clients have just been asked about."""
        await asyncio.sleep(seconds)
        while True:
            try:
                await self.round(seconds)
            except Exception as e:
                self._report(e)
                await asyncio.sleep(seconds)

    async def round(self, seconds: float = 0.0) -> None:
        """One round in random order, so that failing jobs do not always delay the same ones; at once, or spread over `seconds`."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        more = deque(self._going)  # jobs that go on from the last round
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
