"""Authenticators without credentials: the types `allow` and `deny` of a configuration."""

from port.core import const
from port.core.wire.reason_codes import BAD_USER_NAME_OR_PASSWORD, NOT_AUTHORIZED, SUCCESS
from port.core.auth.authenticator import Authenticator

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.auth.authenticator import Identity


def _refuse(kind: str, settings: "Optional[dict[str, Any]]") -> None:
    for key in settings or ():
        raise ValueError("unknown key %s, type %s has none" % (key, kind))


class AllowAll(Authenticator):
    """Lets every client in under the user name it gives."""

    def __init__(self, settings: "Optional[dict[str, Any]]" = None) -> None:
        """Raises ValueError for a setting: it has none."""
        _refuse("allow", settings)

    def authenticate(self, client: "Identity", user: "Optional[bytes]", password: "Optional[bytes]") -> "Optional[int]":
        """See Authenticator.authenticate."""
        return SUCCESS


class DenyAll(Authenticator):
    """Lets no client in; as the last authenticator it overrules `anonymous`.

    A client with a user name gets the same answer as one with a wrong password, so that answers do not reveal
    which users the authenticators before it know.
    """

    def __init__(self, settings: "Optional[dict[str, Any]]" = None) -> None:
        """Raises ValueError for a setting: it has none."""
        _refuse("deny", settings)

    def authenticate(self, client: "Identity", user: "Optional[bytes]", password: "Optional[bytes]") -> "Optional[int]":
        """See Authenticator.authenticate."""
        return NOT_AUTHORIZED if user is None else BAD_USER_NAME_OR_PASSWORD

    def knows(self, user: "Optional[bytes]") -> bool:
        """See Authenticator.knows."""
        return False
