"""Accounts and rights in a database, read with the operator's own queries.

In a query :user, :client_id, :address and :listener stand for the client's data; the database gets them as parameters, never as
text of the query. A client without a user name is left to the next authenticator when a query needs one.

`user_query` gives one row or none; its columns are found by name:

    password     the password record
    allow        optional: 0, false or NULL refuses the client
    superuser    optional: 1 or true allows everything; this and allow may be a bit, a boolean, a number, or a word
    username     optional: must equal :user exactly, as many databases take `Ann` for `ann`

`acl_query` gives rights; the first that matches decides:

    topic        topic filter; `%u` stands for the user name, `%c` for the client id
    access       the allowed actions, see the setting `access`

The defaults fit the tables of CoMQTT, 1 and 2.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from port.cpython.auth.accounts import ACCOUNTS, Account, AccountAuthenticator
from port.cpython.auth.base import CACHING, WAITING, BackEndError, ClientInfo, flag
from port.cpython.auth.rights import Right
from port.cpython.auth.settings import Setting, Table, client_context, secret

PARAMETERS = ("user", "client_id", "address", "listener")

QUERIES = (
    Setting("user_query", "SELECT * FROM auth WHERE username = :user", "asks for a client's account"),
    Setting("acl_query", "SELECT topic, access FROM acl WHERE username = :user ORDER BY CHAR_LENGTH(topic) DESC, topic DESC",
            "asks for a client's rights; empty: there are none, the rules of the configuration alone hold"),
)  # fmt: skip

# A parameter, or a literal, quoted name, comment or cast, whose colons are not parameters.
_TOKENS = re.compile(r"'(?:[^'\\]|\\.|'')*'|\"[^\"]*\"|`[^`]*`|--[^\n]*|/\*.*?\*/|::|:([A-Za-z_]\w*)", re.DOTALL)


def server_settings(port: int, database: str, place: str) -> Table:
    """The settings of the database's server and account."""
    return (
        Setting("host", "127.0.0.1", "host name, address, or " + place),
        Setting("port", port, "port", "", 1, 65535),
        Setting("database", database, "name of the database"),
        Setting("user", "", "user name at the server; empty: that of the process"),
        Setting("password", "", "password at the server", secret=True),
        Setting("password_file", "", "file whose first line is that password"),
        Setting("tls", False, "whether the connection must be encrypted and the server's certificate right"),
        Setting("ca_file", "", "certificate authorities to trust with tls; empty: those of the system"),
        *QUERIES,
        *ACCOUNTS,
        *WAITING,
        *CACHING,
    )


class Query:
    """A query with named parameters, in a driver's form.

    text   the query
    names  its parameters in the order of their places
    """

    def __init__(self, setting: str, text: str, place: Callable[[int], str], percent: bool) -> None:
        """`place(n)`: the driver's mark for the n-th parameter; `percent`: other % must be doubled.

        Raises ValueError naming the setting.
        """
        self.names: list[str] = []
        parts = []
        at = 0
        for token in _TOKENS.finditer(text):
            name = token.group(1)
            if name is None:
                continue
            if name not in PARAMETERS:
                raise ValueError("%s: there is no :%s, there are :%s" % (setting, name, ", :".join(PARAMETERS)))
            parts += [text[at : token.start()], None]
            self.names.append(name)
            at = token.end()
        parts.append(text[at:])
        places = iter(range(1, len(parts)))
        self.text = "".join(
            place(next(places)) if part is None else part.replace("%", "%%") if percent else part for part in parts
        )

    def values(self, info: ClientInfo) -> list[str | None]:
        """The parameters' values for a client."""
        return [getattr(info, name) for name in self.names]


class SqlAuthenticator(AccountAuthenticator):
    """The common part of the databases; a subclass has the driver."""

    def prepare(self) -> None:
        """See AsyncAuthenticator.prepare."""
        super().prepare()
        self.password = secret(self.settings, "password")
        self._secrets.append(self.password)
        self.tls = client_context(self.settings["ca_file"]) if self.settings["tls"] else None
        self._user_query = self.query("user_query")
        if not self._user_query.names:
            raise ValueError("user_query must ask for a client: there is no :user or :client_id in it")
        self._acl_query = self.query("acl_query") if self.settings["acl_query"] else None

    @abstractmethod
    def query(self, setting: str) -> Query:
        """The query of a setting in the driver's form."""

    @abstractmethod
    async def fetch(self, query: Query, values: list[str | None], most: int) -> Sequence[Mapping[str, Any]]:
        """The first `most` rows of a query."""

    def subject(self, info: ClientInfo) -> tuple[str | None, ...] | None:
        """See AccountAuthenticator.subject."""
        if "user" in self._user_query.names and info.user is None:
            return None
        names = self._user_query.names + (self._acl_query.names if self._acl_query is not None else [])
        return tuple(getattr(info, name) for name in names)

    async def find(self, info: ClientInfo) -> Account | None:
        """See AccountAuthenticator.find."""
        values = self._user_query.values(info)
        if any("\0" in value for value in values if value is not None):
            return None  # no text in a database has a NUL; some servers fail at one
        rows = await self.fetch(self._user_query, values, 2)
        if not rows:
            return None
        if len(rows) > 1:
            raise BackEndError("user_query gives more than one row")
        row = rows[0]
        if "password" not in row:
            raise BackEndError("user_query gives no column password")
        if "user" in self._user_query.names and _text(row.get("username", info.user), "username") != info.user:
            return None
        # NULL means no, as in a condition.
        allowed, superuser = row.get("allow", True), row.get("superuser", False)
        return Account(
            _text(row["password"], "password"),
            allowed is not None and flag(allowed, "allow of an account"),
            superuser is not None and flag(superuser, "superuser of an account"),
        )

    async def rights(self, info: ClientInfo) -> tuple[Right, ...] | None:
        """See AccountAuthenticator.rights."""
        query = self._acl_query
        if query is None:
            return None
        rows = await self.fetch(query, query.values(info), self.settings["max_rules"] + 1)
        if rows and not ("topic" in rows[0] and "access" in rows[0]):
            raise BackEndError("acl_query must give the columns topic and access")
        return tuple((_text(row["topic"], "topic"), _access(row["access"])) for row in rows)


def _text(value: Any, name: str) -> str:
    """A text or binary column as text, NULL as an empty one. Raises BackEndError for other types."""
    if isinstance(value, (bytes, bytearray)):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise BackEndError("the column %s is not text in UTF-8" % name) from None
    if value is not None and not isinstance(value, str):
        raise BackEndError("the column %s is not text but %s" % (name, type(value).__name__))
    return value or ""


def _access(value: Any) -> str:
    """A right as text: a word, or a whole number."""
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool) and value in (0, 1, 2, 3):
        return str(int(value))
    return _text(value, "access")
