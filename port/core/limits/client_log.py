"""What clients cause in the log: bounded in length, and in number by address and minute; then it is counted."""

from port.core import const
from port.core.limits.ip_address import host

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.sessions.session import Session
    from port.core.protocol.connection import Connection
    from port.core.broker import Broker

_MINUTE = const(60000)  # ms
_ADDRESSES = const(64)  # that are told apart in one minute
OTHERS = "other addresses"
_LONGEST = const(64)  # characters of a client id
_TEXT = const(200)  # of a reason


def shown(client_id: bytes) -> str:
    """A client id as it stands in the log: not long, and what a client calls itself must not break up the line."""
    name = str(client_id, "utf-8") if client_id else "-"
    if len(name) > _LONGEST:
        name = name[:_LONGEST] + "..."
    for c in name:
        if not "!" <= c <= "~":
            return repr(name)
    return name


def user_of(conn: "Connection") -> str:
    """The user of a client as the log has it between client id and address, empty where there is none."""
    try:
        from port.core.monitor.refusals import user_of_client
    except (ImportError, MemoryError):
        return ""
    return user_of_client(conn)


def explained(conn: "Connection", code: int, text: str) -> "Optional[str]":
    """Why a connection ends, in words, where port.core.monitor.refusals has more of them than `text`."""
    try:
        from port.core.monitor.refusals import reason

        return reason(conn, code, text)
    except (ImportError, MemoryError):
        return None


def denied(session: "Session", action: int, topic: bytes, code: int, text: str = "") -> None:
    """Log that something is refused to a client that stays: `action` is constants.MAY_PUBLISH, MAY_SUBSCRIBE or MAY_RECEIVE."""
    try:
        from port.core.monitor.refusals import tell

        tell(session, action, topic, code, text)
    except (ImportError, MemoryError):
        return None


class ClientLog:
    """The log for lines that a client causes: the first `max_log_lines` of an address in a minute are written.

    How many more there were is told when the minute is over, for each level by itself.

    lines  (host, level) -> how many there were in this minute
    since  when it began, ms
    """

    def __init__(self, broker: "Broker") -> None:
        self.broker = broker
        self.lines: "dict[tuple[str, int], int]" = {}
        self.since = 0  # ms

    def line(self, level: int, address: str, text: str, *args: "Any") -> None:
        """See Broker.log; `address`: whose doing it is, `host:port`."""
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
        """Tell what was left out when a minute is over; `now`: ms."""
        lines = self.lines
        if not lines or now - self.since < _MINUTE:
            return
        self.lines = {}
        most = self.broker.options.max_log_lines
        for key in lines:
            if lines[key] > most:
                self.broker.log(key[1], "and %d more like this from %s in the last minute", lines[key] - most, key[0])
