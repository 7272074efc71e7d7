"""Rows: alike packets of one read, handled all at once.

Under load most packets of a read are PUBLISH packets of one size to one topic. The core handles them one by one; this
module handles all of them in a few operations that Python has in C: it slices bytes in steps, which MicroPython
cannot. The result is the same; a packet that is not plain ends the row, or is left to the core.

In flight to a receiver is the whole row, under each of its packet identifiers: see `packet`.
"""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING, Any, Final

from port.core.wire.codec import Reader
from port.core.messages.message import LIGHT

if TYPE_CHECKING:
    from port.core.sessions.session import Session
    from port.core.protocol.connection import Connection

_MOST: Final = 64  # most QoS 1 and 2 messages in a row: if they prove not plain, they are examined again
_BYTES: Final = 16384  # most bytes of such a row: all of it is kept while one of its messages is in flight
_BLOCK: Final = 64  # packets compared at once if there are so many: each byte of their common part in all of them


def _big_endian(words: array[int]) -> array[int]:
    """Convert numbers between the processor's byte order and the network's."""
    if sys.byteorder == "little":
        words.byteswap()
    return words


def _row(data: bytes, i: int, stop: int, k: int, end: int) -> int:
    """The end of the row whose first packet is data[i:stop]: the others have the same data[i:k] and size."""
    size = stop - i
    head = data[i:k]
    block = _BLOCK * size
    if end - stop >= block:
        columns = [head[n : n + 1] * _BLOCK for n in range(k - i)]
        while end - stop >= block and all(data[stop + n : stop + block : size] == column for n, column in enumerate(columns)):
            stop += block
    end -= size
    while stop <= end and data.startswith(head, stop):
        stop += size
    return stop


def pass_on_qos0(conn: Connection, receivers: tuple[Session, ...], data: bytes, i: int, k: int, stop: int, end: int) -> int:
    """Send a row of QoS 0 messages to their receivers; returns their number, 0 when it is no row.

    data[i:stop] is the first one, which can be passed on as it came; its topic name ends at `k`.
    """
    if conn.version == 5:  # forwardable, so its properties take less than 128 bytes
        k += 1 + data[k]
    row_end = _row(data, i, stop, k, end)
    if row_end == stop:
        return 0
    count = (row_end - i) // (stop - i)
    row = data[i:row_end]
    broker = conn.broker
    dirty = broker.dirty
    sent = squeezed = 0
    for receiver in receivers:
        out = receiver.out
        if out is None:
            if receiver.spare:
                squeezed += _squeeze(receiver, row, stop - i)
            continue
        if not out:
            dirty.append(receiver.conn)
        out.append(row)
        sent += 1
    counters = broker.counters
    counters.published0 += sent * count + squeezed
    counters.dropped += (len(receivers) - sent) * count - squeezed
    counters.packets_sent += sent * (count - 1)  # as `flush` counts rows
    return count


def _squeeze(receiver: Session, row: bytes, size: int) -> int:
    """See Session.squeeze; returns the number of packets of this size that fitted."""
    count = min(len(row), receiver.spare) // size
    if count:
        receiver.squeeze(row[: count * size])
        receiver.broker.counters.packets_sent += count - 1
    return count


def pass_on(conn: Connection, data: bytes, i: int, at: int, stop: int, end: int) -> int:
    """handle_publish.pass_on for a row; returns the number of messages passed on, 0 when it is no row.

    data[i:stop] is the first one, whose body starts at `at`.
    """
    if stop - at < 5 or data[i] & 9:  # too short, or with DUP or RETAIN
        return 0
    k = at + 2 + (data[at] << 8 | data[at + 1])
    version5 = conn.version == 5
    if not k + 2 + version5 <= stop <= k + 2 + LIGHT or not data.startswith(data[i:k], stop):
        return 0
    known = conn.granted.get(data[at + 2 : k])
    qos = data[i] & 6
    if known is None or qos > known[0]:
        return 0
    sender: Session = conn.session  # type: ignore[assignment]
    size = stop - i
    most = min(_MOST, _BYTES // size)
    if qos == 4:
        if sender.store_id or sender.received is None:
            return 0
        options = sender.options
        most = min(most, (options.receive_maximum if version5 else options.max_unreleased) - len(sender.received))
    receivers = known[1]
    for session in receivers:
        most = min(most, 0 if session.store_id else session.send_window - len(session.inflight))
    if most < 2:
        return 0
    row_end = _row(data, i, stop, k, min(end, i + most * size))
    count = (row_end - i) // size
    answers = bytearray(4 * count)
    answers[::4] = (b"\x50" if qos == 4 else b"\x40") * count
    answers[1::4] = b"\2" * count
    answers[2::4] = data[k:row_end:size]
    answers[3::4] = data[k + 1 : row_end : size]
    ids = _big_endian(array("H", answers))[1::2]
    if 0 in ids or version5 and data[k + 2 : row_end : size].strip(b"\0"):
        return 0
    ranges: list[range] = []
    for session in receivers:
        # As in handle_publish.pass_on: the receiver's next identifiers, or the sender's if nothing is in flight.
        first = session.packet_id + 1 if session.inflight else ids[0]
        own = range(first, first + count)
        if own[-1] > 65535 or not session.inflight.keys().isdisjoint(own):
            return 0
        ranges.append(own)
    if qos == 4:
        received: dict[int, bool] = sender.received  # type: ignore[assignment]
        new = dict.fromkeys(ids, True)
        if len(new) < count or not received.keys().isdisjoint(ids):
            return 0
        received.update(new)
        memory = conn.broker.memory
        memory.session_bytes += count * memory.identifier
    broker = conn.broker
    dirty = broker.dirty
    row = data[i:row_end]
    used = ids.tolist()
    for n, session in enumerate(receivers):
        own = ranges[n]
        whole = row if used == list(own) else _numbered(row, k - i, size, own)
        session.packet_id = own[-1]
        session.inflight.update(dict.fromkeys(own, whole))
        out: list[Any] = session.out  # type: ignore[assignment] # there is room, so there is one
        if not out:
            dirty.append(session.conn)
        out.append(whole)
    sent = len(receivers)
    counters = broker.counters
    if qos == 4:
        counters.received2 += count
        counters.published2 += sent * count
    else:
        counters.received1 += count
        counters.published1 += sent * count
    counters.packets_sent += (sent + 1) * (count - 1)  # as `flush` counts rows
    conn.reply(bytes(answers))
    return count


def _numbered(row: bytes, at: int, size: int, ids: range) -> bytes:
    """The row with these packet identifiers, the first of them at row[at]."""
    changed = bytearray(row)
    words = _big_endian(array("H", ids)).tobytes()
    changed[at::size] = words[::2]
    changed[at + 1 :: size] = words[1::2]
    return bytes(changed)


def packet(row: bytes, packet_id: int) -> bytes:
    """The packet with this identifier in a row that was sent; a row may be one packet."""
    reader = Reader(row)
    reader.pos = 1
    size = reader.varint()
    size += reader.pos
    reader.binary()
    start = (packet_id - reader.u16()) * size
    return row[start : start + size]
