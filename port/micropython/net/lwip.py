"""What a board's sockets lack: lwIP (rp2, stm32) has one small memory for what all of them send.

On a Pico W that is 8,000 bytes and 32 segments, and a single socket may fill them: 6,400 bytes. When nothing is left of it,
a `write` to *any* socket waits up to 10 seconds, non-blocking or not, and the board with it (MicroPython issue 19704). So
nothing is written for which there might be no room. Each socket can always send one segment, however little is left; of the
rest it gets its share, as long as it lasts. What does not fit waits with the client until acknowledgements have come.

How much lwIP holds no function tells; it stands in lwIP's control blocks of the connections, whose layout is recognized
before it is believed. How much it can hold stands in the module `lwip_pools` of a firmware that has more than the stock one:

    SEGMENTS = 96  # MEMP_NUM_TCP_SEG
    BYTES = 16000  # MEM_SIZE
"""

import socket

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.wire.codec import Buffer

# Bytes lwIP may hold for one socket, and packets they may be in, the more sockets wait the fewer. Of the first it is two
# full segments, so that the client acknowledges them at once.
_SHARES = ((1600, 8), (1600, 8), (800, 4), (800, 4), (256, 2))
_LEAST = const(256)  # bytes worth a packet of their own
_HEAD = const(104)  # bytes lwIP needs for a packet besides its own
_MARGIN = const(2)  # segments left alone: of those that come out of order a few may have come since all were counted
_NO_MEMORY = (12, 105)  # ENOMEM, ENOBUFS

_TCP_NODELAY = getattr(socket, "TCP_NODELAY", 1)  # lwIP has a number of its own; the unix port has no name for it


# Sockets that have to wait until their client acknowledges something, and who waits for them.
waiting: "dict[Any, Any]" = {}


# lwIP's queue of what a socket has sent and the client has not acknowledged: where its free bytes stand in the control block,
# its packets follow; how many bytes are free when it is empty; machine's mem16 and mem32, which to import takes 10 ms each
# time, looking for a machine.py in the file system. None: not lwIP, or a layout nobody knows.
_lwip: "Any" = None
_blocks: "list[int]" = []  # the control blocks of all connections there have been: lwIP has a few and uses them again

# Segments and bytes of all sockets together: what lwIP has; what is left of them besides the segment that each socket can
# always send, as it was when it was last counted less what was written since; bytes in such a segment; 0 when a write may
# count them anew.
_all = [32, 8000, 0, 0]  # and the two as they are when nothing is on its way
budget = [0, 0, _LEAST, 0]


def prepare() -> None:
    """Recognize lwIP's control block. A fresh one has a small maximum segment size, 20 bytes further a congestion window of 1,
    the queue's size as its threshold, 24 bytes of zeros, the queue's size again as what is free in it, and 18 of zeros."""
    global _lwip
    if _lwip is not None or not hasattr(socket, "print_pcbs"):
        return
    from machine import mem16, mem32

    sock = socket.socket()
    block = mem32[id(sock) + 4]
    for at in range(32, 160, 2):
        size = mem16[block + at + 2]
        if mem16[block + at] == 1 and size >= 536 and mem16[block + at + 28] == size and 0 < mem16[block + at - 22] <= 536:
            if not any([mem16[block + i] for i in range(at + 4, at + 48, 2) if i != at + 28]):
                _lwip = (at + 28, size, mem16, mem32)
                break
    sock.close()
    try:
        import lwip_pools  # type: ignore[import-not-found,unused-ignore]

        _all[0], _all[1] = lwip_pools.SEGMENTS, lwip_pools.BYTES
    except ImportError:
        pass


def share_out(connections: int) -> None:
    """Keep so much for each of the connections there can be that it can send one segment: two thirds of all, 256 bytes each at
    most. An eighth is for lwIP itself."""
    budget[2] = max(16, min(_LEAST, _all[1] * 7 // 12 // connections - _HEAD))
    _all[2] = _all[0] - _MARGIN - connections
    _all[3] = _all[1] * 7 // 8 - connections * (budget[2] + _HEAD)


def _recount() -> None:
    """Count what is left."""
    start, size, mem16, mem32 = _lwip
    segments, left = _all[2], _all[3]
    kept = budget[2] + _HEAD
    for block in _blocks:
        at = block + start
        first = mem32[block]
        if not first or first in _blocks:
            continue  # it is free: its first word points to the next free one
        if mem32[at + 8] or mem32[at + 12]:  # not sent yet, not acknowledged yet
            packets = mem16[at + 2]
            segments -= packets - 1
            left -= max(0, size - mem16[at] + packets * _HEAD - kept)
        segment = mem32[at + 16]  # received out of order
        while segment and segments > 0:
            segments -= 1
            segment = mem32[segment]
    budget[0] = segments
    budget[1] = left
    budget[3] = 1


def has_queue(sock: "Any") -> bool:
    """True when `write` decides what the socket takes, and POLLOUT says nothing about it."""
    return _lwip is not None and isinstance(sock, socket.socket)


def write(sock: "Any", data: "Buffer") -> "Optional[int]":
    """Write as much as the socket should take now; None when that is nothing. Raises OSError."""
    if _lwip is None or not isinstance(sock, socket.socket):
        return sock.write(data)  # type: ignore[no-any-return,unused-ignore]
    return _write_share(sock, data)


def _write_share(sock: "Any", data: "Buffer") -> "Optional[int]":
    start, size, mem16, mem32 = _lwip
    block = mem32[id(sock) + 4]
    if not block:
        return sock.write(data)  # type: ignore[no-any-return,unused-ignore] # which says what has become of it
    at = block + start
    # lwIP makes no segment longer than the client allows, nor than half of its receive window.
    longest = min(mem16[at - 50], mem16[at - 2] // 2) or 1
    count = len(waiting)
    share, pieces = _SHARES[count if count < 4 else 4]
    left = len(data)
    done = 0
    while left:
        unused = mem16[at]
        queue = mem16[at + 2]
        count = min(left, longest, share - size + unused) if queue < pieces else 0
        if queue or count > budget[2]:
            count = _take(queue, count, min(left, longest, _LEAST))
        if not count:
            break
        try:
            count = sock.write(memoryview(data)[done : done + count] if done or count < left else data)
        except OSError as e:
            # Without a link lwIP cannot send, but has it in its queue and tries again: the client need not go.
            if mem32[id(sock) + 4] != block or mem16[at] >= unused:
                if done or e.errno in _NO_MEMORY:
                    break
                raise
        if not count:
            break
        done += count
        left -= count
    return done or None


def _take(queue: int, most: int, least: int) -> int:
    """How many bytes a socket with `queue` packets on their way may send more, `most` or less; 0 when not even `least`."""
    while True:
        if queue:
            room = budget[1] - _HEAD if budget[0] > 0 else 0
        else:
            room = budget[2] + max(0, budget[1])
        if room >= most or budget[3]:
            break
        _recount()
    count = min(room, most)
    if not queue:
        budget[1] -= max(0, count - budget[2])
    elif count < least:
        return 0
    else:
        budget[0] -= 1
        budget[1] -= count + _HEAD
    return count


def enter(sock: "Any") -> None:
    """Make an accepted socket ready: acknowledgements must not wait for a full segment, and what it sends is counted."""
    try:
        sock.setsockopt(6, _TCP_NODELAY, 1)
    except OSError:
        pass
    if has_queue(sock):
        block = _lwip[3][id(sock) + 4]
        if block and block not in _blocks:
            _blocks.append(block)


def free(most: int) -> int:
    """How many more sockets can be opened, at most `most`."""
    opened: "list[Any]" = []
    try:
        while len(opened) < most:
            opened.append(socket.socket())
    except OSError:
        pass
    for sock in opened:
        sock.close()
    return len(opened)
