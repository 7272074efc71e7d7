"""The table [store] of a configuration, the same on both runtimes."""

from port.core import const
from port.core.checks import check_type
from port.core.wire.suggest import unknown

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Sequence

# Type of each key of [store], and the types of store that have it.
_STORE: "dict[str, tuple[Any, tuple[str, ...]]]" = {
    "durability": (str, ("sqlite", "redis", "flash")),
    "on_failure": (str, ("sqlite", "redis")),
    "backlog_bytes": (int, ("sqlite", "redis")),
    "file": (str, ("sqlite",)),
    "url": (str, ("redis",)),
    "prefix": (str, ("redis",)),
    "user": (str, ("redis",)),
    "password": (str, ("redis",)),
    "password_file": (str, ("redis",)),
    "ca_file": (str, ("redis",)),
    "folder": (str, ("flash",)),
    "interval": (int, ("flash",)),
    "bytes_per_day": (int, ("flash",)),
    "sessions": (bool, ("flash",)),
}
_STORES = ("memory", "sqlite", "redis", "flash")


class StoreConfig:
    """[store]: the store of sessions and retained messages; changes take a restart.

    type: memory (default): nothing outlives the broker; sqlite: a file; redis: a Redis server (both CPython only); flash: a board's file system
    durability: extent of possible loss, one of none, batch, sync: see the module of the type (default batch; flash: none)
    on_failure: behaviour while writing fails: refuse (default): clients wait; degrade: the broker goes on without the store (type flash: degrade with durability none, else refuse)
    backlog_bytes: bytes of messages and other changes not written yet, with 64 more for each, at which the clients that send them are not read any more (default 16777216)
    file: the database, type sqlite only
    url: the server, type redis only: redis://HOST:PORT/DATABASE, rediss:// or unix:// (default redis://127.0.0.1:6379/0)
    prefix: beginning of the keys in Redis, type redis only (default ucomqtt)
    user: user name at the server, type redis only (default: its default user)
    password: password at the server, type redis only
    password_file: file whose first line is that password, type redis only
    ca_file: certificate authorities to trust with rediss://, type redis only (default: those of the system)
    folder: folder of the files, type flash only (default /store)
    interval: s between two batches that no client waits for, type flash only (default 60)
    bytes_per_day: most bytes written to the flash in a day, type flash only (default 8388608)
    sessions: whether sessions are kept besides retained messages, type flash only (default false)
    """

    def __init__(self, values: "dict[str, Any]", others: "Sequence[str]" = ()) -> None:
        """Raises ValueError naming what is wrong; the store checks the values of `settings`, all but `type`.

        others: further types, whose keys only their stores know
        """
        self.type: str = values.get("type", "memory")
        if isinstance(self.type, str) and self.type in others:
            self.settings: "dict[str, Any]" = {key: values[key] for key in values if key != "type"}
            return
        if not isinstance(self.type, str) or self.type not in _STORES:
            raise ValueError("store: type must be one of %s, not %r" % (", ".join(list(_STORES) + list(others)), self.type))
        self.settings = {}
        for key in values:
            if key == "type":
                continue
            if key not in _STORE:
                raise ValueError("store: " + unknown("key", key, ["type"] + list(_STORE)))
            kind, types = _STORE[key]
            check_type("store: " + key, values[key], kind)
            if self.type not in types:
                raise ValueError("store: %s is for type %s, not %s" % (key, " or ".join(types), self.type))
            self.settings[key] = values[key]
        if self.type == "sqlite" and not self.settings.get("file"):
            raise ValueError("store: file is missing")
