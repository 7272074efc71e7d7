"""The session of an in-process client, and the form in which it takes packets of MQTT 3.x as they came.

Marks in its outbox give the origins of its messages, see port.core.protocol.local_transport. A queued message keeps its origin,
a stored one does not.
"""

from port.core import const
from port.core.constants import ENTRY_FLAGS
from port.core.wire.codec import varint
from port.core.messages.batch import body_of
from port.core.sessions.session import Session

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.wire.codec import Buffer
    from port.core.messages.message import Message
    from port.core.routing.shared_subscription import SharedGroup
    from port.core.broker import Broker

_DEAF = b"\xc0\0"  # first in the outbox of a deaf session, so that this is never empty


class LocalSession(Session):
    """See Session.

    deaf    True while the client's own messages are distributed, which it is not to get (No Local)
    inlet   Inlet for the packets of MQTT 3.x publishers, None unless the session speaks MQTT 5
    """

    __slots__ = ("deaf", "inlet", "_origins", "_pumping", "_is_queued")

    def __init__(self, broker: "Broker", client_id: bytes) -> None:
        Session.__init__(self, broker, client_id)
        self.deaf = False
        self.inlet: "Any" = None  # an Inlet
        self._origins: "Any" = None  # origins of queued entries, by `id`
        self._pumping = False
        self._is_queued = False  # the next QoS 0 message that `pump` delivers was queued; otherwise it is a retained one

    # -- No Local --------------------------------------------------------------------------

    def stop_hearing(self) -> None:
        """Take no messages for now: they are the client's own."""
        self.deaf = True
        if self.out is not None:
            self.out = [_DEAF]
            self.send_window = 0  # `has_room` is asked

    def hear(self) -> None:
        """Take messages again."""
        self.deaf = False
        out = self.out
        conn = self.conn
        if conn is None or out is None or out is conn.out:
            return
        self.out = conn.out
        chunks = len(out) - 1
        if chunks:  # lanes 1 and 2 have counted these as sent
            count = 0
            for i in range(chunks):
                chunk = out[i + 1]
                count += len(chunk) // body_of(chunk, 0)[1]
            self.broker.counters.published0 -= count
            self.broker.counters.packets_sent -= count - chunks
        self._settle(0)
        if self.send_window:
            self.pump()

    def deliver(
        self,
        message: "Message",
        flags: int,
        identifiers: "Optional[tuple[int, ...]]" = None,
        group: "Optional[SharedGroup]" = None,
        entry: "Any" = None,
    ) -> None:
        """See Session.deliver."""
        if self.deaf:
            return
        if self._pumping:
            if not self._is_queued:
                self.conn.transport.mark(b"")  # type: ignore[union-attr] # a LocalTransport
            self._is_queued = False
        Session.deliver(self, message, flags, identifiers, group, entry)

    def has_room(self) -> bool:
        """See Session.has_room."""
        return not self.deaf and Session.has_room(self)

    def pump(self) -> None:
        """See Session.pump."""
        conn = self.conn
        if self.deaf or conn is None or self.out is None:
            return
        transport: "Any" = conn.transport
        transport.mark(b"")
        self._pumping = True
        try:
            Session.pump(self)
        finally:
            self._pumping = False
            transport.mark_reader()

    def _window(self) -> int:
        """See Session._window: the program sets its own limit."""
        Session._window(self)
        return self.receive_maximum

    # -- origins of queued messages -------------------------------------------------------------

    def enqueue(self, entry: "Any") -> bool:
        """See Session.enqueue."""
        taken = Session.enqueue(self, entry)
        origins = self.broker.origins
        if taken and origins is not None and origins.reader is not None:
            try:
                if self._origins is None:
                    self._origins = {}
                self._origins[id(entry)] = origins.reader.client_id
            except MemoryError:
                pass  # the origin is unknown then
        return taken

    def unqueue(self) -> "Any":
        """See Session.unqueue; what `pump` sends next comes from the entry's origin."""
        entry = Session.unqueue(self)
        origin = b"" if self._origins is None else self._origins.pop(id(entry), b"")
        if self._pumping:
            self.conn.transport.mark(origin)  # type: ignore[union-attr] # a LocalTransport
            self._is_queued = entry[ENTRY_FLAGS] < 2
        return entry


class Inlet:
    """Takes the place of an in-process client's session among the receivers of MQTT 3.x publishers.

    It turns their packets into those of MQTT 5, so that the session need not get each message by itself.
    """

    spare = 0

    __slots__ = ("_session",)

    def __init__(self, session: LocalSession) -> None:
        self._session = session

    @property
    def conn(self) -> "Any":
        """See Session."""
        return self._session.conn

    @property
    def out(self) -> "Optional[Inlet]":
        """See Session: the outbox, None while the session has none."""
        return None if self._session.out is None else self

    def __len__(self) -> int:
        return len(self._session.out or ())

    def append(self, packets: "Buffer") -> None:
        """Put packets without properties, as they came and all of one size and topic, into the outbox."""
        size = packets[1]
        if size < 127 and len(packets) == size + 2:
            k = 4 + (packets[2] << 8 | packets[3])
            packets = b"\x30" + bytes((size + 1,)) + packets[2:k] + b"\0" + packets[k:]
        else:
            packets = _with_no_properties(packets)
        self._session.out.append(packets)  # type: ignore[union-attr]


def _with_no_properties(packets: "Buffer") -> bytes:
    """The packets of MQTT 5 for a row of QoS 0 packets of MQTT 3.x with one topic and size."""
    at, stop = body_of(packets, 0)
    k = at + 2 + (packets[at] << 8 | packets[at + 1])
    head = b"\x30" + varint(stop - at + 1) + bytes(packets[at:k]) + b"\0"
    if stop == len(packets):
        return head + bytes(packets[k:])
    return head + head.join([packets[i + k : i + stop] for i in range(0, len(packets), stop)])
