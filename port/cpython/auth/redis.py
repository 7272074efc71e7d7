"""Accounts and rights in Redis, in CoMQTT's layouts.

layout comqtt1, that of CoMQTT 1:

    HSET comqtt_user:NAME password RECORD      also allow 0: refused, superuser 1: may do everything
    HSET comqtt_acl:NAME TOPIC ACCESS          1 publish, 2 subscribe, 3 both, 0 neither

layout comqtt2, that of CoMQTT 2:

    HSET comqtt:auth NAME '{"password": RECORD, "allow": true}'     without allow: refused
    HSET comqtt:acl:NAME TOPIC ACCESS          1 subscribe, 2 publish, 3 both, 0 neither

TOPIC is a topic filter with `%u` for the user name and `%c` for the client id. The longest matching filter decides. Without a
matching filter the rules of the configuration decide.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from port.cpython.auth.accounts import ACCOUNTS, Account, AccountAuthenticator
from port.cpython.auth.base import CACHING, WAITING, BackEndError, ClientInfo, flag, from_json
from port.cpython.auth.rights import Right, longest_first
from port.cpython.auth.settings import Setting, library, secret

_PREFIXES = {"comqtt1": ("comqtt_user", "comqtt_acl"), "comqtt2": ("comqtt:auth", "comqtt:acl")}


class RedisAuthenticator(AccountAuthenticator):
    """Asks a Redis server; needs the extra `redis`."""

    SETTINGS = (
        Setting("url", "redis://127.0.0.1:6379/0", "where the server is: redis://HOST:PORT/DATABASE, rediss:// with TLS, "
                "or unix:///FILE?db=DATABASE"),
        Setting("user", "", "user name at the server; empty: its default user"),
        Setting("password", "", "password at the server", secret=True),
        Setting("password_file", "", "file whose first line is that password"),
        Setting("ca_file", "", "certificate authorities to trust with rediss://; empty: those of the system"),
        Setting("layout", "comqtt1", "how accounts are stored, and what numbers for access mean",
                choices=("comqtt1", "comqtt2")),
        Setting("identify_by", "user", "what accounts and rights are found by", choices=("user", "client_id")),
        Setting("auth_prefix", "", 'beginning of the keys of accounts; empty: "comqtt_user", in comqtt2 "comqtt:auth"'),
        Setting("acl_prefix", "", 'beginning of the keys of rights; empty: "comqtt_acl", in comqtt2 "comqtt:acl"'),
        Setting("acl", True, "whether rights are read; if not, the rules of the configuration alone hold"),
        *(setting for setting in ACCOUNTS if setting.name != "access"),
        *WAITING,
        *CACHING,
    )  # fmt: skip

    def prepare(self) -> None:
        """See AsyncAuthenticator.prepare."""
        super().prepare()
        values = self.settings
        self._layout = self.numbers = values["layout"]
        url = urlsplit(values["url"])
        if url.scheme not in ("redis", "rediss", "unix"):
            raise ValueError("url must begin with redis://, rediss:// or unix://")
        if "@" in values["url"]:
            raise ValueError("url must not hold a user name or password, set user and password_file")
        defaults = _PREFIXES[self._layout]
        self._auth = values["auth_prefix"] or defaults[0]
        self._acl = (values["acl_prefix"] or defaults[1]) + ":"
        if self._layout == "comqtt1":
            self._auth += ":"
            if self._auth.startswith(self._acl) or self._acl.startswith(self._auth):
                # Otherwise a user name could make another user's rights an account.
                raise ValueError("neither of auth_prefix and acl_prefix may begin with the other")
        password = secret(values, "password")
        self._secrets.append(password)
        self._redis: Any = library("redis.asyncio", "redis")
        retry = library("redis.asyncio.retry", "redis")
        backoff = library("redis.backoff", "redis")
        self._options: dict[str, Any] = {
            "username": values["user"] or None,
            "password": password or None,
            "max_connections": self.connections,
            "socket_timeout": None,  # our own applies; theirs would try again
            "socket_connect_timeout": None,
            # One more attempt, at once: after a restart of the server idle connections are dead.
            "retry": retry.Retry(backoff.NoBackoff(), 1),
            "decode_responses": True,
            "protocol": 2,
        }
        if url.scheme == "rediss":
            self._options["ssl_check_hostname"] = True  # not the default of all versions
            if values["ca_file"]:
                self._options["ssl_ca_certs"] = values["ca_file"]
        self._client: Any = None

    async def connect(self) -> None:
        """See AsyncAuthenticator.connect."""
        self._client = self._redis.Redis.from_url(self.settings["url"], **self._options)

    async def ping(self) -> None:
        """See AsyncAuthenticator.ping."""
        await self._client.ping()

    async def disconnect(self) -> None:
        """See AsyncAuthenticator.disconnect."""
        await self._client.aclose()

    def subject(self, info: ClientInfo) -> str | None:
        """See AccountAuthenticator.subject."""
        return info.user if self.settings["identify_by"] == "user" else info.client_id

    async def find(self, info: ClientInfo) -> Account | None:
        """See AccountAuthenticator.find."""
        name = self.subject(info) or ""
        if self._layout == "comqtt1":
            record, allow, superuser = await self._client.hmget(self._auth + name, ["password", "allow", "superuser"])
            if record is None:
                return None
            allowed = allow is None or flag(allow, "allow of an account")
            return Account(record, allowed, superuser is not None and flag(superuser, "superuser of an account"))
        found = await self._client.hget(self._auth, name)
        return None if found is None else _from_json(found)

    async def rights(self, info: ClientInfo) -> tuple[Right, ...] | None:
        """See AccountAuthenticator.rights."""
        if not self.settings["acl"]:
            return None
        return longest_first(await self._client.hgetall(self._acl + (self.subject(info) or "")))


def _from_json(text: str) -> Account:
    values = from_json(text, "an account")
    if not isinstance(values, dict) or not isinstance(values.get("password", ""), str):
        raise BackEndError("an account is no JSON object with a password")
    for name in ("allow", "superuser"):
        if not isinstance(values.get(name, False), bool):
            raise BackEndError("%s of an account is neither true nor false" % name)
    return Account(values.get("password", ""), values.get("allow", False), values.get("superuser", False))
