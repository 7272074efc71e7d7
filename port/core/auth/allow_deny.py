"""Two authenticators that need not look at anybody: the types `allow` and `deny` of a configuration."""

from port.core import const
from port.core.wire.reason_codes import BAD_USER_NAME_OR_PASSWORD, NOT_AUTHORIZED, SUCCESS
from port.core.auth.authenticator import Authenticator

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

    from port.core.auth.authenticator import Identity


class AllowAll(Authenticator):
    """Lets everybody in, and believes the user name."""

    def authenticate(self, client: "Identity", user: "Optional[bytes]", password: "Optional[bytes]") -> "Optional[int]":
        """See Authenticator.authenticate."""
        return SUCCESS


class DenyAll(Authenticator):
    """Lets nobody in; as the last one it closes what `anonymous` would leave open.

    Who gives a user name hears what one hears who has a wrong password, or it would show which users
    those before it know.
    """

    def authenticate(self, client: "Identity", user: "Optional[bytes]", password: "Optional[bytes]") -> "Optional[int]":
        """See Authenticator.authenticate."""
        return NOT_AUTHORIZED if user is None else BAD_USER_NAME_OR_PASSWORD

    def knows(self, user: "Optional[bytes]") -> bool:
        """See Authenticator.knows."""
        return False
