"""File descriptors: how many the process may have, and one put by for the moment when there is none left."""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":
    _limits = None
else:
    import resource

    def _limits() -> tuple[int, int]:
        return resource.getrlimit(resource.RLIMIT_NOFILE)


_RESERVE = 128  # for all that is no client: the store, back ends, files that are read again
_FEW = 32  # open when nobody can say how many


def raise_limit(wanted: int) -> None:
    """Ask for so many, as far as the system lets us."""
    if _limits is None:
        return
    soft, hard = _limits()
    wanted += _RESERVE
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def limit() -> int:
    """How many the process may have, 0 where there is no limit."""
    soft = 0 if _limits is None else _limits()[0]
    return soft if soft > 0 else 0


def for_sockets(open_already: int) -> int:
    """How many there are for sockets of clients, of which so many are open; 0: as many as anybody wants."""
    most = limit()
    if not most:
        return 0
    try:
        used = len(os.listdir("/dev/fd"))
    except OSError:
        used = _FEW + open_already
    return max(1, most - (used - open_already) - min(_RESERVE, most // 4))


class Spare:
    """A descriptor that can be given back, so that what waits to be accepted can be, if only to be closed."""

    def __init__(self) -> None:
        self._fd = -1

    def take(self) -> bool:
        """Have one; False when there is none."""
        if self._fd < 0:
            try:
                self._fd = os.open(os.devnull, os.O_RDONLY)
            except OSError:
                return False
        return True

    def give(self) -> None:
        """Have none any more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
