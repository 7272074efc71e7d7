"""WebSocket frames for what is sent: bytes that go to several clients are framed once, and rows of packets all at once.

A server's frames have no mask, so they are the same for everybody. Each packet is in a frame of its own, see
port.core.web.websocket.frames; that takes longer than all else that is done for a short message.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from port.core.messages.message import WHOLE
from port.core.web.websocket import frame_head, frames, packet_size

if TYPE_CHECKING:
    from port.core.wire.codec import Buffer

_MOST: Final = 4194304  # bytes of frames that are remembered


class Frames:
    """The frames of what is being sent to the clients of one server, remembered until all have it."""

    def __init__(self) -> None:
        self._known: dict[Buffer, bytes] = {}
        self._bytes = 0

    def of(self, chunks: list[Buffer], shared: bool) -> list[Buffer]:
        """What port.core.web.websocket.frames makes of the chunks; `shared`: others may be sent the same ones."""
        known = self._known
        pieces: list[Buffer] = []
        left = 0  # bytes of a large packet that are in the chunks to come
        for chunk in chunks:
            if left:
                pieces.append(chunk)
                left -= len(chunk)
                if left < 0:  # behind it there are others
                    pieces[-1] = chunk[:left]
                    chunk = chunk[left:]
                    left = 0
                else:
                    continue
            framed = known.get(chunk) if shared and type(chunk) is bytes else None
            if framed is None:
                framed = framed_whole(chunk)
                if framed is None:
                    left = _begin(pieces, chunk)
                    continue
                if shared and type(chunk) is bytes:
                    self._remember(chunk, framed)
            pieces.append(framed)
        return pieces

    def _remember(self, chunk: bytes, framed: bytes) -> None:
        if not self._known:
            asyncio.get_running_loop().call_soon(self.forget)
        self._bytes += len(framed)
        if self._bytes <= _MOST:
            self._known[chunk] = framed

    def forget(self) -> None:
        """All have been sent it."""
        self._known.clear()
        self._bytes = 0


def _begin(pieces: list[Buffer], chunk: Buffer) -> int:
    """Frame a chunk that is large, or ends within a packet; returns how many bytes of that are still to come."""
    found = list(frames([chunk]))
    pieces += found
    return packet_size(found[-1], 0) - len(found[-1])


def framed_whole(chunk: Buffer) -> bytes | None:
    """A chunk of whole packets, each in a frame; None when the last one is not whole, or one is so large that it is not copied."""
    size = packet_size(chunk, 0)
    end = len(chunk)
    if size >= WHOLE:
        return None
    if size == end:
        return frame_head(size) + chunk
    if end % size == 0 and _is_row(chunk, size):
        return _framed_row(chunk, size)
    pieces: list[Buffer] = []
    start = 0
    while start < end:
        size = packet_size(chunk, start)
        stop = start + size
        if stop > end or size >= WHOLE:
            return None
        pieces.append(frame_head(size))
        pieces.append(chunk[start:stop])
        start = stop
    return b"".join(pieces)


def _is_row(chunk: Buffer, size: int) -> bool:
    """True when all packets have the size of the first one: their remaining lengths are the same."""
    count = len(chunk) // size
    at = 1
    while True:
        byte = chunk[at]
        if chunk[at::size] != bytes((byte,)) * count:
            return False
        if byte < 128:
            return True
        at += 1


def _framed_row(row: Buffer, size: int) -> bytes:
    """A row of packets of one size, each in a frame."""
    head = frame_head(size)
    end = len(row)
    count = end // size
    if count <= size:
        return head + head.join([row[start : start + size] for start in range(0, end, size)])
    # Many short ones: byte by byte of what they have in common.
    at = len(head)
    wide = at + size
    framed = bytearray(count * wide)
    for n, byte in enumerate(head):
        framed[n::wide] = bytes((byte,)) * count
    for n in range(size):
        framed[at + n :: wide] = row[n::size]
    return bytes(framed)
