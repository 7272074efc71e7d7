"""The broker's state in a Redis server; needs the extra `redis`.

    server = Server(store=RedisStore("redis://127.0.0.1:6379/0"))

All records are fields of one hash, PREFIX:records. A batch is one script, which Redis runs as a whole or not at all. The possible
loss depends on `durability` and on the server:

none     A crash of the broker loses about the last second: acknowledgements do not wait for the store, except while the
         server fails with on_failure `refuse`.
batch    A crash of the broker loses nothing that was acknowledged, as Redis has answered before. A stop of Redis or its machine
         leaves: with `appendonly no` the last snapshot, or nothing; with `appendonly yes` and `appendfsync everysec` all but
         the last second or two; with `appendfsync always` everything. `maxmemory-policy` must be noeviction.

One broker at a time uses a prefix. It holds the key PREFIX:broker, which expires LEASE seconds after a crash; until then a broker
on another machine is refused, while a broker on the same machine is let in at once. Each batch checks that the records are still
those that this broker has loaded. Otherwise (another broker has loaded them, Redis was emptied, or has come back with older data)
nothing more is written until the broker is started again.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from port.cpython.auth.settings import Setting, library, secret
from port.cpython.stores.writer import BACKLOG_BYTES, WriterStore, logger, writer_settings

LEVELS = ("none", "batch")
LEASE = 15.0  # s
TIMEOUT = 5.0  # s for a connection, and for an answer
_MARK = b""  # the field of the hash with the token of the broker that has loaded it
_ROWS = 1000  # fields fetched at a time

# KEYS: records, lease. ARGV: our token, ms of the lease, number of fields to put, fields and values to put, fields to remove.
_WRITE = """
if redis.call('HGET', KEYS[1], '') ~= ARGV[1] then return 0 end
local put = 3 + 2 * tonumber(ARGV[3])
for i = 4, put, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
for i = put + 1, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RENEW = """
if redis.call('HGET', KEYS[1], '') == ARGV[1] then redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2]) end
"""
_LEAVE = """
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
"""


def _crashed(holder: bytes) -> bool:
    """True for the token of an ended process of this machine, even if its number is in use again. Should that process be alive, its
    batches fail from now on."""
    who, _, mark = holder.decode(errors="replace").rpartition(" ")
    host, _, pid = who.rpartition(" ")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass
    began, known, _ = mark.partition("-")
    return bool(known) and _began(int(pid)) not in ("", began)


def _began(pid: int) -> str:
    """Start time of a process in the system's ticks, empty without /proc. It tells brokers of containers apart, whose numbers are equal."""
    try:
        return Path("/proc/%d/stat" % pid).read_text().rpartition(") ")[2].split()[19]
    except (OSError, LookupError):
        return ""


class RedisStore(WriterStore):
    """See the module for what `durability` means.

    url            redis://HOST:PORT/DATABASE, rediss:// with TLS, or unix:///FILE?db=DATABASE
    prefix         beginning of the keys in Redis
    user           user name at the server; empty: its default user
    password       its password; password_file: file whose first line is the password
    ca_file        certificate authorities to trust with rediss://; empty: those of the system
    on_failure, backlog_bytes  see Store
    """

    SETTINGS = (
        Setting("url", "redis://127.0.0.1:6379/0", "the server: redis://HOST:PORT/DATABASE, rediss:// or unix://"),
        Setting("prefix", "ucomqtt", "beginning of the keys in Redis"),
        Setting("user", "", "user name at the server; empty: its default user"),
        Setting("password", "", "password at the server", secret=True),
        Setting("password_file", "", "file whose first line is that password"),
        Setting("ca_file", "", "certificate authorities to trust with rediss://; empty: those of the system"),
        *writer_settings(LEVELS),
    )
    kind = "redis"
    pulse = LEASE / 3

    def __init__(
        self, url: str = "redis://127.0.0.1:6379/0", prefix: str = "ucomqtt", durability: str = "batch",
        on_failure: str = "refuse", backlog_bytes: int = BACKLOG_BYTES, user: str = "", password: str = "",  # nosec B107
        password_file: str = "", ca_file: str = "",
    ) -> None:  # fmt: skip
        """Raises ValueError naming what is wrong, OSError for a file; does not connect."""
        super().__init__(durability, LEVELS, on_failure, backlog_bytes)
        parts = urlsplit(url)
        if parts.scheme not in ("redis", "rediss", "unix"):
            raise ValueError("url must begin with redis://, rediss:// or unix://")
        if "@" in url:
            raise ValueError("url must not hold a user name or password, set user and password_file")
        if not prefix:
            raise ValueError("prefix must not be empty")
        if ca_file and not Path(ca_file).is_file():
            raise ValueError("ca_file: there is no file %s" % ca_file)
        self.url = url
        self.place = "%s, prefix %s" % (url, prefix)
        self.prefix = prefix
        self._redis: Any = library("redis", "redis")
        retry = library("redis.retry", "redis")
        backoff = library("redis.backoff", "redis")
        self._options: dict[str, Any] = {
            "username": user or None,
            "password": secret({"password": password, "password_file": password_file}, "password") or None,
            "socket_timeout": TIMEOUT,
            "socket_connect_timeout": TIMEOUT,
            # One more attempt, at once: after a restart of the server a connection is dead. A batch may run twice without harm.
            "retry": retry.Retry(backoff.NoBackoff(), 1),
            "protocol": 2,
        }
        if parts.scheme == "rediss" and ca_file:
            self._options["ssl_ca_certs"] = ca_file
        self._keys = (prefix + ":records", prefix + ":broker")
        self._client: Any = None
        self._token = b""

    def open(self) -> None:
        """See WriterStore.open."""
        pid = os.getpid()
        self._token = ("%s %d %s-%s" % (socket.gethostname(), pid, _began(pid), uuid.uuid4().hex)).encode()
        try:
            self._client = self._redis.Redis.from_url(self.url, **self._options)
            records, lease = self._keys
            if not self._client.set(lease, self._token, nx=True, px=int(LEASE * 1000)):
                holder = self._client.get(lease) or b"?"
                if _crashed(holder):
                    self._client.set(lease, self._token, px=int(LEASE * 1000))
                elif holder != self._token:  # the answer to a first attempt may have been lost
                    raise OSError(
                        "%s: prefix %s is in use by another broker (host and process %s); after a crash it is free in %d s"
                        % (self.url, self.prefix, holder.decode(errors="replace").rpartition(" ")[0], LEASE)
                    )
            self._client.hset(records, _MARK, self._token)
        except self._redis.RedisError as e:
            self._client.close()
            raise self._error(e) from None
        except OSError:
            self._client.close()
            raise

    def read(self) -> Iterator[tuple[bytes, bytes]]:
        """See WriterStore.read. Redis has no order of fields, so all are fetched first."""
        try:
            found = dict(self._client.hscan_iter(self._keys[0], count=_ROWS))
        except self._redis.RedisError as e:
            raise self._error(e) from None
        found.pop(_MARK, None)
        for key in sorted(found):
            yield key, found.pop(key)

    def set_aside(self) -> str:
        """See Store.set_aside: to PREFIX:records.corrupt-1, or the first that is free."""
        number = 1
        with self._redis.Redis.from_url(self.url, **self._options) as client:
            try:
                while not client.renamenx(self._keys[0], "%s.corrupt-%d" % (self._keys[0], number)):
                    number += 1
            except self._redis.RedisError as e:
                raise self._error(e) from None
        return "%s.corrupt-%d" % (self._keys[0], number)

    def write(self, puts: list[tuple[bytes, bytes]], removed: list[bytes]) -> None:
        """See WriterStore.write."""
        fields = [item for record in puts for item in record]
        if not self._run_script(_WRITE, len(puts), *fields, *removed):
            raise OSError(
                "%s: the records of prefix %s are not those this broker has loaded: another broker has taken them, or Redis "
                "has lost them; start the broker again" % (self.url, self.prefix)
            )

    def idle(self) -> None:
        """Renew the lease."""
        try:
            self._run_script(_RENEW)
        except OSError as e:
            logger.warning("%s", e)

    def shut(self) -> None:
        """See WriterStore.shut."""
        try:
            self._run_script(_LEAVE)
        except OSError as e:
            logger.warning("%s", e)
        self._client.close()

    def _run_script(self, script: str, *arguments: Any) -> Any:
        try:
            return self._client.eval(script, 2, *self._keys, self._token, int(LEASE * 1000), *arguments)
        except (self._redis.RedisError, OSError) as e:
            raise self._error(e) from None

    def _error(self, e: Exception) -> OSError:
        return OSError("%s: %s" % (self.url, e))
