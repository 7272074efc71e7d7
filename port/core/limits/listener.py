"""A way in, and what the connections that come through it share."""

from port.core import const
from port.core.limits.options import GLOBAL, Options

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.limits.places import Places
    from port.core.limits.rate_limit import Rate
    from port.core.sessions.mount_point import Mount
    from port.core.auth.authenticator import Authenticator
    from port.core.acl.acl import Acl


def renewed(rate: "Optional[Rate]", options: Options, now: int) -> "Optional[Rate]":
    """What counts for a client under these options: the Rate it has, a full one if it has none, None without a limit.

    ImportError names what is missing in a broker that was installed without port.core.limits.rate_limit.
    """
    if not options.max_message_rate and not options.max_byte_rate:
        return None
    if rate is None:
        from port.core.limits.rate_limit import Rate

        rate = Rate(options, now)
    return rate


def free_id(listeners: "list[Listener]", kind: str) -> str:
    """A name for a listener that has been given none: its kind, with a number from the second on."""
    ids = [listener.id for listener in listeners]
    return kind if kind not in ids else "%s%d" % (kind, len(ids) + 1)


class Listener:
    """Identity, limits and rights of one listener; the host opens its socket.

    id              names it in the log and the figures
    kind            tcp, websocket or unix
    place           where it listens: host and port as configured, or its file
    options         the broker's options, with what is set for this listener alone
    authenticators  asked in order
    acl             rules of its own, or None: those of the broker hold
    mount           where the topics of its clients are, see port.core.sessions.mount_point, or None
    connected       clients connected through it
    seats           their places, since the listener has a limit of its own, see protocol.listener_places
    refused         connections through it that were turned away
    """

    local = False  # True for that of in-process clients, see port.core.limits.local_listener

    __slots__ = ("id", "kind", "place", "options", "authenticators", "acl", "mount", "connected", "seats", "refused", "overrides", "_limited")

    def __init__(
        self,
        id: str,
        kind: str,
        options: Options,
        authenticators: "list[Authenticator]",
        acl: "Optional[Acl]" = None,
        overrides: "Optional[dict[str, Any]]" = None,
    ) -> None:
        """`overrides` are options for this listener's clients. Raises ValueError naming a wrong one."""
        self.id = id
        self.kind = kind
        self.place = ""
        self.authenticators = authenticators
        self.acl = acl
        self.mount: "Optional[Mount]" = None
        self.connected = 0
        self.seats: "Optional[Places]" = None
        self.refused = 0
        self.overrides = overrides or None
        self.options = options
        self._limited: "tuple[tuple[dict[str, Any], Options], ...]" = ()
        self.inherit(options)

    def __repr__(self) -> str:
        return "<Listener %s, %s>" % (self.id, self.kind)

    def inherit(self, options: Options) -> None:
        """Take over the broker's options as they are now. Raises ValueError as the constructor does."""
        for name in self.overrides or ():
            if name in GLOBAL:
                raise ValueError("listener %s: %s holds for the whole broker, set it there" % (self.id, name))
        try:
            self.options = options.changed(self.overrides) if self.overrides else options
        except ValueError as e:
            raise ValueError("listener %s: %s" % (self.id, e))
        renewed(None, self.options, 0)  # what is asked for is there
        self._limited = ()

    def own_options(self, client_id: bytes) -> "Optional[dict[str, Any]]":
        """Options for the client with this id that come before those of Broker.client_limits, or None."""
        return None

    def limited(self, limits: "dict[str, Any]") -> Options:
        """The options with an entry of Broker.client_limits, one object for all clients it holds for."""
        for known, options in self._limited:
            if known is limits:
                return options
        options = self.options.changed(limits)
        self._limited += ((limits, options),)
        return options
