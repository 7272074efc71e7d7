"""What a board's sockets lack: lwIP (rp2, stm32) has one small memory for what all of them send.

On a Pico W that is 8,000 bytes and 32 segments, and a single socket may fill them: 6,400 bytes. When a client has stopped
reading or has left the Wi-Fi, a `write` to *any* socket then waits up to 10 seconds, non-blocking or not, and the board
with it. So each socket gets only its share. How much lwIP holds for one no function tells; it stands in lwIP's control
block of the connection, whose layout is recognized before it is believed.
"""

import socket

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.codec import Buffer

# Bytes lwIP may hold for one socket, and packets they may be in, the more sockets wait the fewer. Of the first it is two
# full segments, so that the client acknowledges them at once.
_SHARES = ((1600, 8), (1600, 8), (800, 4), (800, 4), (256, 2))
_LEAST = const(256)  # bytes worth a packet of their own
_NO_MEMORY = (12, 105)  # ENOMEM, ENOBUFS

_TCP_NODELAY = getattr(socket, "TCP_NODELAY", 1)  # lwIP has a number of its own; the unix port has no name for it


# Sockets that have to wait until their client acknowledges something, and who waits for them.
waiting: "dict[Any, Any]" = {}


# lwIP's queue of what a socket has sent and the client has not acknowledged: where its free bytes stand in the control block,
# its packets follow; how many bytes are free when it is empty; machine's mem16 and mem32, which to import takes 10 ms each
# time, looking for a machine.py in the file system. None: not lwIP, or a layout nobody knows.
_lwip: "Any" = None


def prepare() -> None:
    """Recognize lwIP's control block. A fresh one has a congestion window of 1, the queue's size as its threshold, 24
    bytes of zeros, and the queue's size again as what is free in it."""
    global _lwip
    if _lwip is not None or not hasattr(socket, "print_pcbs"):
        return
    from machine import mem16, mem32

    sock = socket.socket()
    block = mem32[id(sock) + 4]
    for at in range(32, 160, 2):
        size = mem16[block + at + 2]
        if mem16[block + at] == 1 and size >= 536 and mem16[block + at + 28] == size:
            if not any([mem16[block + i] for i in range(at + 4, at + 28, 2)]) and not mem16[block + at + 30]:
                _lwip = (at + 28, size, mem16, mem32)
                break
    sock.close()


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
    if block:
        at = block + start
        unused = mem16[at]
        count = len(waiting)
        share, pieces = _SHARES[count if count < 4 else 4]
        room = 0 if mem16[at + 2] >= pieces else share - size + unused
        if room < len(data):
            if room < _LEAST:
                return None
            data = memoryview(data)[:room]
    try:
        return sock.write(data)  # type: ignore[no-any-return,unused-ignore]
    except OSError as e:
        # Without a link lwIP cannot send, but has it in its queue and tries again: the client need not go.
        if block and mem32[id(sock) + 4] == block and mem16[at] < unused:
            return len(data)
        if e.errno in _NO_MEMORY:
            return None
        raise


def send_at_once(sock: "Any") -> None:
    """Acknowledgements must not wait for a full segment."""
    try:
        sock.setsockopt(6, _TCP_NODELAY, 1)
    except OSError:
        pass


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
