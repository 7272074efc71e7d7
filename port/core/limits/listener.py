"""A listener, and the state that its connections share."""

from port.core import const
from port.core.limits.ip_address import text
from port.core.limits.options import GLOBAL, Options

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Iterable, Optional

    from port.core.limits.places import Places
    from port.core.limits.rate_limit import Rate
    from port.core.sessions.mount_point import Mount
    from port.core.auth.authenticator import Authenticator
    from port.core.acl.acl import Acl


def renewed(rate: "Optional[Rate]", options: Options, now: int) -> "Optional[Rate]":
    """A client's Rate under these options: the one it has, else a new one with full allowances; None without a limit.

    Raises ImportError in a package without port.core.limits.rate_limit.
    """
    if not options.max_message_rate and not options.max_byte_rate:
        return None
    if rate is None:
        from port.core.limits.rate_limit import Rate

        rate = Rate(options, now)
    return rate


def free_id(listeners: "list[Listener]", kind: str) -> str:
    """An id for a listener without one: its kind, with a number from the second on."""
    ids = [listener.id for listener in listeners]
    return kind if kind not in ids else "%s%d" % (kind, len(ids) + 1)


def described(opened: "Iterable[Any]") -> "list[str]":
    """A line for each address of open listeners, ListenerTypes: where it listens, and what it is."""
    lines = []
    for entry in opened:
        kind = entry.listener.kind + (" over TLS" if entry.tls is not None else "")
        for host, port in entry.addresses:
            lines.append("listener %s (%s): listening on %s" % (entry.listener.id, kind, text(host, port) if port else host))
    return lines


class Listener:
    """Identity, limits and rights of one listener; the host opens its socket.

    id              its name in the log and in $SYS
    kind            its type, as a configuration has it
    place           host and port as configured, or its file
    options         the broker's options, with those of this listener alone
    authenticators  asked in order
    acl             its own rules, or None for the broker's
    mount           mount point of its clients' topics, see port.core.sessions.mount_point, or None
    connected       clients connected through it
    seats           its clients' places when it has a limit of its own, see protocol.listener_places
    refused         connections refused
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
        """`overrides`: options of this listener's clients. Raises ValueError naming a wrong one."""
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
        """Take over the broker's present options. Raises ValueError as the constructor does."""
        for name in self.overrides or ():
            if name in GLOBAL:
                raise ValueError("listener %s: %s holds for the whole broker, set it there" % (self.id, name))
        try:
            self.options = options.changed(self.overrides) if self.overrides else options
        except ValueError as e:
            raise ValueError("listener %s: %s" % (self.id, e))
        renewed(None, self.options, 0)  # raises ImportError in a package without rates
        self._limited = ()

    def own_options(self, client_id: bytes) -> "Optional[dict[str, Any]]":
        """Options for the client with this id that come before those of Broker.client_limits, or None."""
        return None

    def limited(self, limits: "dict[str, Any]") -> Options:
        """The options under an entry of Broker.client_limits, one object for all clients of that entry."""
        for known, options in self._limited:
            if known is limits:
                return options
        options = self.options.changed(limits)
        self._limited += ((limits, options),)
        return options
