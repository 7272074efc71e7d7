"""Mount points: the topics of a listener's clients have a prefix that the clients do not see.

Routing, retained messages, the store, rules and hooks use whole topics. The prefix is added to topics that a client sends in
PUBLISH, SUBSCRIBE, UNSUBSCRIBE and its will, and removed from topics sent to the client. A response topic is passed on
as it came: a client below the same mount point answers there. `$SYS` is not below a mount point.
"""

from port.core import const
from port.core.constants import ENTRY_MESSAGE
from port.core.wire.topics import without_share
from port.core.messages.message import Message
from port.core.sessions.session import Session

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.routing.shared_subscription import SharedGroup
    from port.core.broker import Broker


class Mount:
    """One mount point, shared by the listeners with the same prefix and their sessions.

    prefix  a topic name that ends in `/`
    """

    def __init__(self, prefix: bytes) -> None:
        self.prefix = prefix
        self._last: "Optional[tuple[Message, Message]]" = None

    def same(self, other: "Optional[Mount]") -> bool:
        """Whether the other one has the same prefix."""
        return other is not None and other.prefix == self.prefix

    def session(self, broker: "Broker", client_id: bytes) -> Session:
        """A new session of a client below it."""
        return MountedSession(broker, client_id, self)

    def name(self, name: bytes) -> bytes:
        """The whole topic name for one from a client. No client may publish to names that begin with `$`: they get no prefix."""
        return name if name.startswith(b"$") else self.prefix + name

    def filter(self, topic_filter: bytes) -> bytes:
        """The whole topic filter for one from a client, which may be shared."""
        plain = without_share(topic_filter)
        return topic_filter[: len(topic_filter) - len(plain)] + self.prefix + plain if plain else topic_filter

    def seen(self, message: Message) -> Message:
        """A message as clients below it see it: the same object for successive receivers, which then share its forms."""
        last = self._last
        if last is None or last[0] is not message:
            name = message.name[len(self.prefix) :]
            seen = Message(name, message.payload, message.qos, message.retain, message.properties, message.expires)
            last = self._last = message, seen
        return last[1]


def find(broker: "Broker", prefix: bytes) -> Mount:
    """The mount point with this prefix, that of a listener if there is one."""
    for listener in broker.listeners:
        if listener.mount is not None and listener.mount.prefix == prefix:
            return listener.mount
    return Mount(prefix)


class MountedSession(Session):
    """The session of a client below a mount point."""

    __slots__ = ("mount",)

    def __init__(self, broker: "Broker", client_id: bytes, mount: Mount) -> None:
        super().__init__(broker, client_id)
        self.mount = mount

    def _at(self) -> Mount:
        return self.mount  # type: ignore[return-value]

    def sees(self, message: Message) -> bool:
        """Whether the client has a name for the topic: it has none for the mount point itself, which filters such as # match."""
        return len(message.name) > len(self._at().prefix)

    def deliver(
        self,
        message: Message,
        flags: int,
        identifiers: "Optional[tuple[int, ...]]" = None,
        group: "Optional[SharedGroup]" = None,
        entry: "Any" = None,
    ) -> None:
        """See Session.deliver."""
        if self.sees(message):
            super().deliver(message, flags, identifiers, group, entry)

    def put_by(self, entry: "Any", size: int) -> bool:
        """See Session.put_by."""
        return self.sees(entry[ENTRY_MESSAGE]) and super().put_by(entry, size)

    def _form(
        self, message: Message, flags: int, identifiers: "Optional[tuple[int, ...]]", packet_id: bytes = b""
    ) -> "tuple[bytes, bytes]":
        return super()._form(self._at().seen(message), flags, identifiers, packet_id)

    def _too_large(self, message: Message) -> None:
        super()._too_large(self._at().seen(message))
