"""What the broker tells a store: the seam at which persistence plugs in.

The broker calls these as state changes; the default keeps nothing. What a store raises is
logged, reported to the storage hook and otherwise ignored: it must not stop the broker.
"""

from port.core import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Optional

    from port.core.message import Message
    from port.core.session import Session


class Store:
    """Base class that stores nothing; override what is to be stored."""

    def retained(self, name: bytes, message: "Optional[Message]") -> None:
        """The retained message of a topic was set, or removed (None)."""

    def session(self, session: "Session") -> None:
        """A session that outlives its connection was opened, or its connection ended."""

    def session_ended(self, session: "Session") -> None:
        """A session is over, with all that was stored of it."""

    def subscription(self, session: "Session", topic_filter: bytes, options: "Optional[int]") -> None:
        """A subscription was made or changed, or taken away (None)."""
