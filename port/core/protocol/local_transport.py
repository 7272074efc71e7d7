"""The Transport of an in-process client, in place of a socket: its outbox becomes batches, handed over in turns.

Each batch names the client whose packets were being handled when its messages were distributed. Marks in the outbox carry that:
chunks of a 0, with which no packet begins, and the client id. They are put there once a read, while in-process clients are open.
"""

from port.core import const
from port.core.constants import CLOSED
from port.core.wire.reason_codes import UNSPECIFIED_ERROR
from port.core.limits.local_listener import LocalListener
from port.core.messages.batch import Batch, body_of

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.wire.codec import Buffer
    from port.core.messages.message import Message
    from port.core.sessions.local_session import LocalSession
    from port.core.protocol.connection import Connection
    from port.core.protocol.local_client import LocalClient
    from port.core.broker import Broker

_NOBODY = b"\0"
_HANDED = const(16)  # cost of handing over a batch, in deliveries (Turns.spent), besides its bytes
_BYTES = const(5)
_HOST = const(1)  # see Connection.blocked


class LocalClients:
    """The in-process clients of a broker.

    listener    their Listener
    transports  of the open clients
    selective   whether one of them does not get its own messages
    reader      the client whose packets are being handled, or None
    """

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self.listener = LocalListener(broker.options)
        self.transports: "tuple[LocalTransport, ...]" = ()
        self.selective = False
        self.reader: "Optional[Connection]" = None

    def add(self, transport: "LocalTransport") -> None:
        """Add a client that is open."""
        self._set(self.transports + (transport,))

    def remove(self, transport: "LocalTransport") -> None:
        """Remove a client."""
        self._set(tuple([other for other in self.transports if other is not transport]))

    def _set(self, transports: "tuple[LocalTransport, ...]") -> None:
        self.transports = transports
        self.selective = any([transport.no_local for transport in transports])
        self._broker.origins = self if transports else None

    def read(self, conn: "Connection", data: bytes, view: "Buffer", i: int, end: int) -> int:
        """See Connection._feed: messages that it distributes come from this client."""
        if self.selective or self.reader is not None:
            outer = self.reader
            try:
                self.enter(conn)
                return conn._feed(data, view, i, end)
            finally:
                self.enter(outer)
        try:
            self.reader = conn  # `enter`, written out
            mark = b"\0" + conn.session.client_id  # type: ignore[union-attr]
            for transport in self.transports:
                transport.mark_with(mark)
            return conn._feed(data, view, i, end)
        finally:
            self.reader = None
            for transport in self.transports:
                transport.mark_with(_NOBODY)

    def publish(self, message: "Message") -> int:
        """Distribute a message of the program, from no client; returns a reason code, see MessageIntake.distribute."""
        broker = self._broker
        outer = self.reader
        try:
            self.enter(None)
            return broker.intake.distribute(message, broker.router.resolve(message.name), None)[0]
        finally:
            self.enter(outer)

    def enter(self, conn: "Optional[Connection]") -> None:
        """Set the client whose packets are handled from now on, or None. The next call mends what a MemoryError leaves undone."""
        self.reader = conn
        mark = mark_of(conn)
        for transport in self.transports:
            transport.mark_with(mark)
            if transport.no_local:
                session: "Any" = transport.conn.session
                if transport.conn is conn:
                    if not session.deaf:
                        session.stop_hearing()
                elif session.deaf:
                    session.hear()


def mark_of(conn: "Optional[Connection]") -> bytes:
    """The mark for messages from this client, or from no client."""
    return _NOBODY if conn is None else b"\0" + conn.session.client_id  # type: ignore[union-attr]


class LocalTransport:
    """See Transport.

    conn      the core's Connection
    no_local  the client does not get its own messages
    paused    the program takes no batches for now
    busy      the broker takes no packets for now
    """

    __slots__ = (
        "conn", "no_local", "paused", "busy", "_client", "_broker", "_line", "_unsent", "_mark", "_last", "_before", "_sent",
        "_batch", "_waits", "_lacking", "_code",
    )  # fmt: skip

    def __init__(self, client: "LocalClient", broker: "Broker", no_local: bool) -> None:
        self.conn: "Connection"
        self.no_local = False
        self.paused = False
        self.busy = False
        self._client = client
        self._broker = broker
        self._line: "list[Any]" = []  # batches, and acknowledgements as bytes
        self._unsent = 0  # bytes of the batches
        self._mark = _NOBODY  # in effect
        self._last = _NOBODY  # the last one put into the outbox
        self._before = _NOBODY  # in effect before that
        self._sent = _NOBODY  # in effect for the next chunk taken from the outbox
        self._batch: "Optional[Batch]" = None  # the last one in line, while it may grow
        self._waits = False  # a turn is scheduled
        self._lacking = False  # memory did not suffice
        self._code = 0  # reason code of its end
        if no_local:
            self.no_local = True

    # -- marks -------------------------------------------------------------------------------

    def mark(self, origin: bytes) -> None:
        """Packets put into the outbox from now on come from the client with this id, or an unknown one (empty)."""
        self.mark_with(b"\0" + origin if origin else _NOBODY)

    def mark_reader(self) -> None:
        """They come from the client whose packets are being handled."""
        origins = self._broker.origins
        self.mark_with(mark_of(None if origins is None else origins.reader))

    def mark_with(self, mark: bytes) -> None:
        """See `mark`."""
        out = self.conn.out
        if out:
            if out[-1] is self._last:  # no packet has come since
                out.pop()
                self._mark = self._before
            if mark == self._mark:
                return
        elif mark == self._mark:
            return
        else:
            self._broker.dirty.append(self.conn)
        self._before = self._mark
        self._mark = self._last = mark
        out.append(mark)

    # -- the core's Transport ------------------------------------------------------------------

    def send(self, chunks: "list[Buffer]") -> int:
        """See Transport.send. Nothing is handed over here, as the program must not act during a flush."""
        line = self._line
        mark = self._sent
        batch = self._batch if line else None
        size = kept = marks = missing = 0
        try:
            for chunk in chunks:
                if type(chunk) is not bytes:  # a view of a buffer that will be reused
                    chunk = bytes(chunk)
                first = chunk[0]
                if missing:  # bytes of a large packet
                    batch.packets[-1] += chunk  # type: ignore[union-attr]
                    missing -= len(chunk)
                elif first & 0xF0 == 0x30 or first == 0x62:
                    if batch is None:
                        batch = Batch(mark[1:], self.conn.version == 5, self._broker.clock())
                        line.append(batch)
                    if first & 6:
                        batch.qos = True
                    if chunk[1] > 127:
                        missing = max(0, body_of(chunk, 0)[1] - len(chunk))
                    batch.packets.append(chunk)
                elif not first:
                    marks += 1
                    if chunk != mark:
                        mark = chunk
                        batch = None
                    continue
                else:
                    if first == 0xE0:
                        self._code = chunk[2] if chunk[1] else 0
                    elif self._client.awaits_answers:
                        line.append(chunk)
                        batch = None
                        kept += len(chunk)
                    size += len(chunk)
                    continue
                batch.size += len(chunk)  # type: ignore[union-attr]
                kept += len(chunk)
                size += len(chunk)
        except MemoryError:
            self._lacking = True
        self._sent = mark
        self._batch = batch
        broker = self._broker
        broker.counters.packets_sent -= marks
        if kept:
            broker.memory.message_bytes += kept
            self._unsent += kept
            if self._unsent > self.conn.options.outbox_bytes and self.conn.state != CLOSED:
                self.conn.pause_writing()
        if (line or self._lacking) and not self._waits:
            self._wait()
        return size

    def close(self, abort: bool, told: bool) -> None:
        """See Transport.close."""
        if not self._code:  # versions without a reason code
            self._code = UNSPECIFIED_ERROR
        local: LocalClients = self._broker.local
        local.remove(self)
        session: "LocalSession" = self.conn.session  # type: ignore[assignment]
        session.deaf = False
        if not session.expiry:
            local.listener.set_options(session.client_id, {})
        if abort or self.paused:
            self.drop()
        self._wait()

    def pause_reading(self) -> None:
        """See Transport.pause_reading."""
        self.busy = True

    def resume_reading(self) -> None:
        """See Transport.resume_reading: the program is told once earlier packets are handled."""
        if not self._waits:
            self._wait()

    def certificate(self) -> "Optional[dict[str, Any]]":
        """See Transport.certificate."""
        return None

    # -- towards the program ---------------------------------------------------------------------

    def pause(self) -> None:
        """Hand over nothing for now, and never what is left of a closed client."""
        self.paused = True
        if self.conn.state == CLOSED:
            self.drop()

    def resume(self) -> None:
        """Go on handing over."""
        self.paused = False
        if not self._waits:
            self._wait()

    def drop(self) -> None:
        """Drop the batches not handed over."""
        self._line.clear()
        self._broker.memory.message_bytes -= self._unsent
        self._unsent = 0

    def _wait(self) -> None:
        try:
            self._broker.turns.give(self._turn)
            self._waits = True
        except MemoryError:
            self._lacking = True  # the next `send` tries again

    def _turn(self) -> bool:
        """Hand over as many batches as the turn allows. A job, see Turns.give."""
        broker = self._broker
        client = self._client
        conn = self.conn
        line = self._line
        if self._lacking:
            self._lacking = False
            self.drop()
            conn.fault(MemoryError())
        while line and not self.paused:
            if broker.turns.spent > broker.turns.limit:
                return True
            item = line.pop(0)
            if type(item) is Batch:
                size = item.size
                self._unsent -= size
                broker.memory.message_bytes -= size
                broker.turns.spent += _HANDED + (size >> _BYTES)
                client.handed(item)
            else:
                self._unsent -= len(item)
                broker.memory.message_bytes -= len(item)
                client.answered(item)
        self._waits = False
        if conn.state == CLOSED:
            self.drop()
            client.ended(self._code)
        else:
            if conn.blocked & _HOST and self._unsent <= conn.options.outbox_bytes >> 2:
                conn.resume_writing()
            if self.busy and not conn.held:
                self.busy = False
                client.relieved()
        return False

