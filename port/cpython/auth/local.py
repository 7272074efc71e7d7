"""Authenticators that need nobody else: passwords of a file or of the configuration, and certificates that TLS has verified."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from port.core.checks import check_settings
from port.core.auth.certificate import CertificateAuthenticator
from port.core.auth.password_file import parse, table_lines
from port.cpython.auth.passwords import FilePasswords, check_record, read
from port.cpython.auth.settings import Setting


class PasswordFile(FilePasswords):
    """Type password_file: users and hashes in a file, which is read again with the configuration."""

    SETTINGS = (Setting("file", "", "users and hashes, made by `passwd`, or mosquitto's own password file", required=True),)

    def __init__(self, settings: dict[str, Any]) -> None:
        """Raises ValueError naming what is wrong, OSError for the file."""
        check_settings(settings, {"file": str}, ("file",))
        super().__init__(read(settings["file"]))


class Users(FilePasswords):
    """Type users: users and hashes in the configuration itself."""

    SETTINGS = (Setting("users", {}, "table of user names and hashes as a password file has them"),)

    def __init__(self, settings: dict[str, Any]) -> None:
        """Raises ValueError naming what is wrong."""
        check_settings(settings, {"users": dict})
        super().__init__(_parsed(settings.get("users", {})))


def _parsed(users: Mapping[str, Any]) -> Any:
    try:
        return parse(table_lines(dict(users)), check_record)
    except ValueError as e:
        line, _, text = str(e).removeprefix("line ").partition(": ")
        raise ValueError("users: %s: %s" % (list(users)[int(line) - 1], text) if line.isdecimal() else str(e)) from None


class Certificate(CertificateAuthenticator):
    """Type certificate: who has a verified certificate comes in under the name in it."""

    SETTINGS = (
        Setting("field", "cn", "which part of the client's certificate becomes the user name", choices=("cn", "san", "subject")),
    )

    def __init__(self, settings: dict[str, Any]) -> None:
        """Raises ValueError naming what is wrong."""
        check_settings(settings, {"field": str})
        super().__init__(settings.get("field", "cn"))
