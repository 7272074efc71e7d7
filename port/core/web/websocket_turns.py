"""A WebSocket whose frames are looked at in turns, so that no client is felt by another: what both hosts' transports share.

Frames have half a turn, so that the packets in them have the rest; what is left waits until others have been served, and nothing
is read from the socket meanwhile. The host writes and reads.
"""

from port.core import const
from port.core.web.websocket import WebSocket

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Protocol, Sequence

    from port.core.wire.codec import Buffer
    from port.core.broker import Broker

    class Host(Protocol):
        """The transport of a client that speaks MQTT over WebSocket."""

        def write(self, data: bytes) -> None:
            """Write to the socket, as it is."""
            ...

        def take(self, payload: bytes) -> None:
            """Hand bytes of MQTT to the Connection."""
            ...

        def ended(self) -> None:
            """The WebSocket is closed: so is the Connection, see WebSocket.end."""
            ...

        def go_on(self) -> None:
            """Call `feed` with nothing."""
            ...

        def emptied(self) -> None:
            """No frame is left."""
            ...

        def hold(self) -> None:
            """Read no more from the socket."""
            ...

        def release(self) -> None:
            """Go on reading."""
            ...


class TurnedWebSocket(WebSocket):
    """A WebSocket, and what is to be read of it when."""

    __slots__ = ("_broker", "_host", "_busy", "_waits")

    def __init__(self, broker: "Broker", host: "Host", paths: "Sequence[str]", origins: "Sequence[str]", max_frame: int) -> None:
        """See WebSocket for the last three."""
        super().__init__(paths, origins, max_frame)
        self._broker = broker
        self._host = host
        self._busy = False  # the core wants no more for now
        self._waits = False  # for its turn

    def feed(self, data: "Buffer") -> None:
        """Look at what came from the socket; with nothing, at what is left."""
        host = self._host
        payload = self.receive(data, self._broker.turns.limit >> 1)
        if self.out:
            host.write(self.out)
            self.out = b""
        if payload:
            host.take(payload)
        if self.closed:
            host.ended()
        elif self.more:
            self._wait()

    def pause(self) -> None:
        """See Transport.pause_reading."""
        self._busy = True
        self._host.hold()

    def resume(self) -> None:
        """See Transport.resume_reading; what has come already is first."""
        self._busy = False
        if self.more:
            self._wait()
        else:
            self._host.release()

    def _wait(self) -> None:
        if not self._waits:
            self._waits = True
            self._broker.turns.give(self._turn)
            self._host.hold()

    def _turn(self) -> bool:
        """Others have been served: go on with the frames that are left. A job, see Turns.give."""
        self._waits = False
        if self.more and not self._busy:
            self._host.go_on()
            turns = self._broker.turns
            turns.spent = turns.limit
        if not self.more:
            if not self._busy:
                self._host.release()
            self._host.emptied()
        return False
