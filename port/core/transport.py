"""What a connection needs of its host: types alone, nothing of it is there at run time."""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional, Protocol

    from port.core.wire.codec import Buffer

    class Transport(Protocol):
        """What a connection needs of its host; provided by the adapters."""

        def send(self, chunks: list[Buffer]) -> int:
            """Take over the packets, in order; returns their size in bytes. Never blocks, never raises."""
            ...

        def close(self, abort: bool, told: bool) -> None:
            """End the connection; unless `abort`, what was taken over is sent before.

            `told`: the last packet tells the client why, it should have time to read it.
            """
            ...

        def pause_reading(self) -> None:
            """Read no more from the client."""
            ...

        def resume_reading(self) -> None:
            """Go on reading from it."""
            ...

        def certificate(self) -> "Optional[dict[str, Any]]":
            """What a verified client certificate says: {"cn": str or None, "san": [str, ...], "der": all of it}; or None."""
            ...
