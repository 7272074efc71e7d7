"""Places of a listener with a limit of its own: each client takes one, besides the broker's, see limits.places."""

from port.core import const
from port.core.limits.places import Places
from port.core.protocol.handle_connect import give_way

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from port.core.protocol.connection import Connection


class Seat:
    """A client's place among those of its listener; `fail` ends the client."""

    __slots__ = ("fail", "owner", "before", "after")

    def __init__(self, conn: "Connection") -> None:
        self.fail = conn.fail
        self.owner: "Any" = None
        self.before: "Any" = None
        self.after: "Any" = None


def make_seat(conn: "Connection", key: "Any", most: int) -> bool:
    """Whether one of the listener's `most` places is free; one of its clients may have to leave, see handle_connect.give_way."""
    listener = conn.listener
    if listener.seats is not None:
        give_way(conn, listener.seats, listener.connected, key, most)
    return listener.connected < most or most >= conn.broker.options.max_connections


def take_seat(conn: "Connection", key: "Any", most: int) -> None:
    """Take one of the listener's `most` places for a client that is let in."""
    broker = conn.broker
    if most >= broker.options.max_connections:
        return  # only the broker's places count then
    seats = conn.listener.seats
    if seats is None:
        seats = conn.listener.seats = Places(most, broker.options.owner_share)
    conn.seat = Seat(conn)
    seats.enter(conn.seat, key)
    seats.offer(conn.seat)
