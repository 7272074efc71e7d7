"""Who may connect: the interface of authenticators, and what holds when none is configured.

An authenticator decides on a CONNECT, or answers "next" (None) and leaves it to the next one.
When all say next, the option `anonymous` decides: by default only clients on this machine.
"""

from port.core import TYPE_CHECKING
from port.core.reason import BAD_AUTHENTICATION_METHOD, NOT_AUTHORIZED, SUCCESS

if TYPE_CHECKING:
    from typing import Optional

    from port.core.connection import Connection

PENDING = -1


class Authenticator:
    """Base class; override what is needed."""

    # Name of the enhanced authentication method this one implements (MQTT 5 clause 4.12), or None.
    method: "Optional[bytes]" = None

    def authenticate(self, conn: "Connection", user: "Optional[bytes]", password: "Optional[bytes]") -> "Optional[int]":
        """Decide on a CONNECT without enhanced authentication.

        `conn` has client_id, address and listener. Returns 0 to allow, a reason code of 0x80 or more to
        refuse, None to leave it to the next, or PENDING; after PENDING the host calls
        `conn.authenticated(code)` later, and the client is not read until then.
        """
        return None

    def exchange(self, conn: "Connection", data: "Optional[bytes]") -> "tuple[int, Optional[bytes]]":
        """One step of enhanced authentication: the client sent `data` in CONNECT or AUTH.

        Returns (code, data to send): CONTINUE_AUTHENTICATION for another step, SUCCESS, or a
        reason code of 0x80 or more. `conn.auth_state` is free for what must be kept between steps.
        """
        return BAD_AUTHENTICATION_METHOD, None


def decide(
    authenticators: "list[Authenticator]",
    anonymous: str,
    conn: "Connection",
    user: "Optional[bytes]",
    password: "Optional[bytes]",
) -> int:
    """Ask the authenticators in order; a reason code, or PENDING."""
    for authenticator in authenticators:
        code = authenticator.authenticate(conn, user, password)
        if code is not None:
            return code
    if anonymous == "all" or anonymous == "loopback" and is_loopback(conn.address):
        return SUCCESS
    return NOT_AUTHORIZED


def is_loopback(address: str) -> bool:
    """True for an address of this machine's loopback interface (`host:port`, `[::1]:port`, a Unix socket's `unix`)."""
    return (
        address.startswith("127.")
        or address.startswith("[::1]")
        or address.startswith("[::ffff:127.")
        or address == "unix"
    )
