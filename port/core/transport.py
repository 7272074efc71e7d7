"""What a connection and the broker need of their host: types alone, nothing of it is there at run time."""

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

    class Host(Protocol):
        """What the broker asks of the program that runs it; Broker has these methods, and a Server overrides them.

        A host calls Broker.open_store at its start, accept_connection for each client, and Connection.take with what a client
        sends; `flush` after that, `work` when it was woken, `tick` once a second; disconnect_all at its end.
        """

        def wake(self, ms: int = 0) -> None:
            """There is work: call `work` soon, or in so many ms, and `flush` after it. Without a host nothing happens."""
            ...

        def commit_soon(self) -> None:
            """There is something to store: call `journal.commit`, at once or when more has come."""
            ...

        def out_of_memory(self) -> None:
            """Memory has run out: free what was put by for this. Call Broker.out_of_memory, too."""
            ...

        def drop_slowest(self) -> bool:
            """Memory is short: end the connection of the client that leaves most unread. False where none does."""
            ...

        def random(self, size: int) -> bytes:
            """So many bytes that nobody can guess."""
            ...
