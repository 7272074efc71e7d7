"""A transport for measurements of the core alone, without sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from port.core.wire.codec import Buffer


class Transport:
    """Throws away what it is given."""

    def send(self, chunks: list[Buffer]) -> int:
        """See port.core.transport.Transport."""
        return sum(len(chunk) for chunk in chunks)

    def close(self, abort: bool, told: bool) -> None:
        """Must not be."""
        raise AssertionError("the broker closed")

    def pause_reading(self) -> None:
        """Must not be."""
        raise AssertionError("the broker stopped reading")

    def resume_reading(self) -> None:
        """It has not stopped."""

    def certificate(self) -> None:
        """There is none."""
