"""Log lines that clients cause: bounded in length, and in number for each address and minute; further lines are counted."""

from port.core import const
from port.core.limits.ip_address import host

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.sessions.session import Session
    from port.core.protocol.connection import Connection
    from port.core.broker import Broker

_MINUTE = const(60000)  # ms
_ADDRESSES = const(64)  # counted apart in one minute
OTHERS = "other addresses"
_LONGEST = const(64)  # characters of a client id
_TEXT = const(200)  # of a reason


def shown(client_id: bytes) -> str:
    """A client id for the log: shortened, and quoted so that it cannot break up the line."""
    name = str(client_id, "utf-8") if client_id else "-"
    if len(name) > _LONGEST:
        name = name[:_LONGEST] + "..."
    for c in name:
        if not "!" <= c <= "~":
            return repr(name)
    return name


def user_of(conn: "Connection") -> str:
    """A client's user for the log, between client id and address; empty without a user."""
    try:
        from port.core.monitor.refusals import user_of_client
    except (ImportError, MemoryError):
        return ""
    return user_of_client(conn)


def explained(conn: "Connection", code: int, text: str) -> "Optional[str]":
    """The reason why a connection ends, from port.core.monitor.refusals where that says more than `text`."""
    try:
        from port.core.monitor.refusals import reason

        return reason(conn, code, text)
    except (ImportError, MemoryError):
        return None


def denied(session: "Session", action: int, topic: bytes, code: int, text: str = "") -> None:
    """Log a refusal that leaves the client connected; `action`: constants.MAY_PUBLISH, MAY_SUBSCRIBE or MAY_RECEIVE."""
    try:
        from port.core.monitor.refusals import tell

        tell(session, action, topic, code, text)
    except (ImportError, MemoryError):
        return None


class ClientLog:
    """The log for lines that clients cause: of each address and level the first `max_log_lines` in a minute are written.

    The number of the others is logged when the minute is over, for each level apart.

    lines  (host, level) -> number of lines in this minute
    since  begin of the minute, ms
    """

    def __init__(self, broker: "Broker") -> None:
        self.broker = broker
        self.lines: "dict[tuple[str, int], int]" = {}
        self.since = 0  # ms

    def line(self, level: int, address: str, text: str, *args: "Any") -> None:
        """See Broker.log; `address`: the client's, `host:port`."""
        broker = self.broker
        most = broker.options.max_log_lines
        if most:
            lines = self.lines
            key = (host(address), level)
            if key not in lines and len(lines) >= min(_ADDRESSES, broker.options.max_tracked_addresses):
                key = (OTHERS, level)
            if not lines:
                self.since = broker.clock()
            count = lines[key] = lines.get(key, 0) + 1
            if count > most:
                return
        broker.log(level, text, *[arg[:_TEXT] if isinstance(arg, str) else arg for arg in args])

    def tick(self, now: int) -> None:
        """Log the numbers of lines left out when a minute is over; `now`: ms."""
        lines = self.lines
        if not lines or now - self.since < _MINUTE:
            return
        self.lines = {}
        most = self.broker.options.max_log_lines
        for key in lines:
            if lines[key] > most:
                self.broker.log(key[1], "and %d more like this from %s in the last minute", lines[key] - most, key[0])
