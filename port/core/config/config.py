"""A configuration, the same on both runtimes: from a nested dict to checked values.

The dict comes from a TOML file on CPython and from JSON on MicroPython. At its top level it has the
broker's options (port.core.limits.options), and

    host, port       the address of the listener `default`, which opens when one of the two is given, or no [[listener]] is
    [[listener]]     listeners, see ListenerConfig
    [[auth]]         authenticators in the order in which they are asked: `name`, `type` and the settings of the type
    [[acl]]          rules in order, see port.core.acl.acl_rule.rule; an empty list denies everything, no list allows everything
    acl_file         rules from a mosquitto ACL file (CPython only); they come after those of [[acl]]
    [[client_limits]]  options of the clients that `user` and `client_id` name; either may end in `*`
    [store]          the store, see port.core.config.store_config
"""

from port.core import const
from port.core.checks import check_type
from port.core.wire.suggest import unknown
from port.core.limits.options import GLOBAL, TABLE, Options
from port.core.config.listener_config import LISTENER_KEYS, ListenerConfig, rules

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.config.store_config import StoreConfig


class Config:
    """A whole configuration, checked.

    options        the broker's
    listeners      list of ListenerConfig
    auth           one dict for each [[auth]], with `name` and `type` set
    rules          the rules of [[acl]], or None
    acl_file       path of a mosquitto ACL file, or an empty string
    client_limits  see Broker.client_limits
    store          StoreConfig, or None
    """

    def __init__(self, values: "dict[str, Any]", board: bool = False, extra: "tuple[str, ...]" = ()) -> None:
        """`extra` are further keys at the top level, for the host. Raises ValueError naming what is wrong."""
        names = [row[0] for row in TABLE]
        others = ["host", "port", "listener", "auth", "acl", "acl_file", "client_limits", "store"] + list(extra)
        for key in values:
            if key not in names and key not in others:
                raise ValueError(unknown("option", key, names + others))
        self.options = Options(board, **{key: values[key] for key in values if key in names})
        self.auth = self._auth(_tables(values, "auth"))
        self.listeners = self._listeners(values)
        self.rules = rules(_tables(values, "acl"), "acl") if "acl" in values else None
        self.acl_file: str = values.get("acl_file", "")
        check_type("acl_file", self.acl_file, str)
        self.client_limits: "list[tuple[Optional[bytes], Optional[bytes], dict[str, Any]]]" = []
        for table in _tables(values, "client_limits"):
            self.client_limits.append(self._limits(table, "client_limits, entry %d: " % (len(self.client_limits) + 1)))
        self.store: "Optional[StoreConfig]" = None
        if "store" in values:
            from port.core.config.store_config import StoreConfig  # loaded only with a [store]

            check_type("store", values["store"], dict)
            self.store = StoreConfig(values["store"])

    def _auth(self, tables: "list[dict[str, Any]]") -> "list[dict[str, Any]]":
        found: "list[dict[str, Any]]" = []
        for table in tables:
            kind = table.get("type")
            where = "auth, entry %d" % (len(found) + 1)
            if "type" not in table:
                raise ValueError("%s: type is missing" % where)
            check_type(where + ": type", kind, str)
            entry = dict(table)
            name = entry["name"] = table.get("name", kind)
            if not isinstance(name, str) or not name or "/" in name or "+" in name or "#" in name:
                raise ValueError("%s: name must be a string without / + #, not %r" % (where, name))
            if name in [other["name"] for other in found]:
                raise ValueError("%s: there are two with the name %s" % (where, name))
            found.append(entry)
        return found

    def _listeners(self, values: "dict[str, Any]") -> "list[ListenerConfig]":
        tables = _tables(values, "listener")
        if "host" in values or "port" in values or not tables:
            default: "dict[str, Any]" = {"id": "default"}
            for key in ("host", "port"):
                if key in values:
                    check_type(key, values[key], LISTENER_KEYS[key])
                    default[key] = values[key]
            tables = [default] + tables
        ids: "list[str]" = []
        found = []
        for table in tables:
            if "id" not in table:
                kind = table.get("type", "tcp")
                table = dict(table)
                table["id"] = kind if kind not in ids else "%s%d" % (kind, len(ids) + 1)
            listener = ListenerConfig(table)
            if listener.id in ids:
                raise ValueError("listener %s: there are two with this id" % listener.id)
            known = [entry["name"] for entry in self.auth]
            for name in listener.auth or ():
                if name not in known:
                    raise ValueError("listener %s: %s" % (listener.id, unknown("auth", name, known)))
            try:
                self.options.changed(listener.overrides)
            except ValueError as e:
                raise ValueError("listener %s: %s" % (listener.id, e))
            ids.append(listener.id)
            found.append(listener)
        return found

    def _limits(self, table: "dict[str, Any]", where: str) -> "tuple[Optional[bytes], Optional[bytes], dict[str, Any]]":
        whose: "list[Optional[bytes]]" = []
        for key in ("user", "client_id"):
            value = table.get(key)
            if value is not None:
                check_type(where + key, value, str)
            whose.append(None if value is None else value.encode())
        if whose == [None, None]:
            raise ValueError(where + "user or client_id is needed")
        options = {key: table[key] for key in table if key not in ("user", "client_id")}
        allowed = [row[0] for row in TABLE if row[0] not in GLOBAL]
        for key in options:
            if key not in allowed:
                raise ValueError(where + unknown("key", key, allowed + ["user", "client_id"]))
        try:
            self.options.changed(options)
        except ValueError as e:
            raise ValueError("%s%s" % (where, e))
        return whose[0], whose[1], options


def _tables(values: "dict[str, Any]", key: str) -> "list[dict[str, Any]]":
    tables = values.get(key, [])
    check_type(key, tables, (dict,))
    return list(tables)
