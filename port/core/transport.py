"""Protocols that a connection and the broker require of their host; types alone, absent at run time."""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional, Protocol

    from port.core.wire.codec import Buffer

    class Transport(Protocol):
        """A connection's way to its client; provided by the adapters."""

        def send(self, chunks: list[Buffer]) -> int:
            """Take over the packets, in order; returns their size in bytes. Never blocks, never raises."""
            ...

        def close(self, abort: bool, told: bool) -> None:
            """End the connection; unless `abort`, packets taken over are sent before.

            `told`: the last packet tells the client the reason; it should have time to read it.
            """
            ...

        def pause_reading(self) -> None:
            """Read no more from the client."""
            ...

        def resume_reading(self) -> None:
            """Read from the client again."""
            ...

        def certificate(self) -> "Optional[dict[str, Any]]":
            """A verified client certificate: {"cn": str or None, "san": [str, ...], "der": all of it}; or None."""
            ...

    class Host(Protocol):
        """The broker's calls of the program that runs it; Broker has these methods, and a Server overrides them.

        A host calls Broker.open_store at its start, accept_connection for each client, and Connection.take with a client's
        data; `flush` after that, `work` after a wake-up, `tick` once a second; disconnect_all at its end.
        """

        def wake(self, ms: int = 0) -> None:
            """Work is waiting: call `work` soon, or in `ms` milliseconds, then `flush`. Without a host nothing happens."""
            ...

        def commit_soon(self) -> None:
            """Changes wait for the store: call `journal.commit`, at once or after further changes."""
            ...

        def out_of_memory(self) -> None:
            """Memory has run out: free the reserve for this case. Call Broker.out_of_memory, too."""
            ...

        def drop_slowest(self) -> bool:
            """Memory is short: end the connection of the client that leaves most bytes unread. False when none does."""
            ...

        def random(self, size: int) -> bytes:
            """`size` unpredictable bytes."""
            ...
