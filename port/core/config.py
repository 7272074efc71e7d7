"""A configuration, the same on both runtimes: from a nested dict to checked values.

The dict comes from a TOML file on CPython and from JSON on MicroPython. At its top level stand the
broker's options (port.core.options), and

    host, port       the address of the listener `default`; it is there when one of the two is given, or no [[listener]] is
    [[listener]]     ways in, see ListenerConfig
    [[auth]]         authenticators in the order in which they are asked: `name`, `type` and what that type needs
    [[acl]]          rules in order, see port.core.acl.rule
    acl_file         rules from a mosquitto ACL file (CPython only); they come after those of [[acl]]
    [[client_limits]]  options of single clients: `user` and `client_id` say whose, either may end in `*`
"""

from port.core import TYPE_CHECKING
from port.core.address import text
from port.core.options import GLOBAL, TABLE, Options

if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.acl import Rule

# What a key must be: a type, or a tuple for a list of that type.
_KEYS: "dict[str, Any]" = {
    "id": str,
    "type": str,
    "host": str,
    "port": int,
    "file": str,
    "mode": str,
    "tls": dict,
    "paths": (str,),
    "origins": (str,),
    "proxy_protocol": bool,
    "trusted_proxies": (str,),
    "auth": (str,),
    "acl": (dict,),
}
# Keys that make sense for one type of listener only.
_ONLY = {"file": ("unix",), "mode": ("unix",), "paths": ("websocket",), "origins": ("websocket",)}
_PORTS = {"tcp": (1883, 8883), "websocket": (8083, 8084), "http": (8080, 8443), "unix": (0, 0)}
_WORDS = {str: "a string", int: "a whole number", bool: "true or false", dict: "a table"}


class ListenerConfig:
    """One [[listener]]. Beside these keys it takes any option that is not of the broker as a whole.

    id: names the listener in the log and in $SYS (default: its type, with a number from the second on)
    type: tcp (default), websocket, unix, or http: the info pages /, /healthz and /metrics
    host: address to listen on (default 127.0.0.1; 0.0.0.0 all of IPv4, :: all of IPv6)
    port: port to listen on (default tcp 1883, websocket 8083, http 8080; with TLS 8883, 8084, 8443)
    file: the socket's file, type unix only
    mode: the socket file's access rights in octal, type unix only (default 660)
    tls: table with certificate, key and more, see the TLS module of the runtime; without it there is no TLS
    paths: paths of the URL that are served, type websocket only (default ["/mqtt"])
    origins: web pages that may connect, type websocket only (default: those of this host and port; ["*"]: all)
    proxy_protocol: whether a load balancer in front tells the client's address by PROXY protocol (default false)
    trusted_proxies: networks such load balancers are in (default: all)
    auth: names of the authenticators that are asked, in order (default: all)
    acl: rules for this listener, in place of the broker's
    """

    def __init__(self, values: "dict[str, Any]") -> None:
        """Raises ValueError naming what is wrong."""
        self.type: str = values.get("type", "tcp")
        if not isinstance(self.type, str) or self.type not in _PORTS:
            raise ValueError("a listener's type must be one of %s, not %r" % (", ".join(sorted(_PORTS)), self.type))
        self.id: str = values.get("id", self.type)
        options = [row[0] for row in TABLE if row[0] not in GLOBAL]
        where = "listener %s" % self.id
        self.overrides: "dict[str, Any]" = {}
        for key in values:
            if key in _KEYS:
                check_type("%s: %s" % (where, key), values[key], _KEYS[key])
                if self.type not in _ONLY.get(key, (self.type,)):
                    raise ValueError("%s: %s is for type %s only" % (where, key, " or ".join(_ONLY[key])))
            elif key in options:
                self.overrides[key] = values[key]
            elif key in GLOBAL:
                raise ValueError("%s: %s holds for the whole broker, set it there" % (where, key))
            else:
                raise ValueError("%s: %s" % (where, unknown("key", key, list(_KEYS) + options)))
        if not self.id or "/" in self.id or "+" in self.id or "#" in self.id:
            raise ValueError("a listener's id must not be empty or contain / + #, not %r" % self.id)
        self.tls: "Optional[dict[str, Any]]" = values.get("tls")
        self.host: str = values.get("host", "127.0.0.1")
        self.port: int = values.get("port", _PORTS[self.type][0 if self.tls is None else 1])
        if not 0 <= self.port <= 65535:
            raise ValueError("%s: port must be from 0 to 65535, not %d" % (where, self.port))
        self.file: str = values.get("file", "")
        if self.type == "unix" and not self.file:
            raise ValueError("%s: a listener of type unix needs a file" % where)
        self.mode: str = values.get("mode", "660")
        for c in self.mode or "-":
            if c not in "01234567":
                raise ValueError("%s: mode must be octal digits such as 660, not %r" % (where, self.mode))
        self.paths: "tuple[str, ...]" = tuple(values.get("paths", ("/mqtt",)))
        self.origins: "tuple[str, ...]" = tuple(values.get("origins", ()))
        self.proxy_protocol: bool = values.get("proxy_protocol", False)
        self.trusted_proxies: "tuple[str, ...]" = tuple(values.get("trusted_proxies", ()))
        self.auth: "Optional[list[str]]" = values.get("auth")
        self.rules: "Optional[list[Rule]]" = None
        if "acl" in values:
            self.rules = rules(values["acl"], where)

    def place(self) -> str:
        """Where it listens, as text."""
        if self.type == "unix":
            return self.file
        return text(self.host, self.port)


class Config:
    """A whole configuration, checked.

    options        the broker's
    listeners      list of ListenerConfig
    auth           one dict for each [[auth]], with `name` and `type` set
    rules          those of [[acl]]
    acl_file       path of a mosquitto ACL file, or an empty string
    client_limits  see Broker.client_limits
    """

    def __init__(self, values: "dict[str, Any]", board: bool = False, extra: "tuple[str, ...]" = ()) -> None:
        """`extra`: further keys at the top level, for the host. Raises ValueError naming what is wrong."""
        names = [row[0] for row in TABLE]
        others = ["host", "port", "listener", "auth", "acl", "acl_file", "client_limits"] + list(extra)
        for key in values:
            if key not in names and key not in others:
                raise ValueError(unknown("option", key, names + others))
        self.options = Options(board, **{key: values[key] for key in values if key in names})
        self.auth = self._auth(_tables(values, "auth"))
        self.listeners = self._listeners(values)
        self.rules = rules(_tables(values, "acl"), "acl")
        self.acl_file: str = values.get("acl_file", "")
        check_type("acl_file", self.acl_file, str)
        self.client_limits = [self._limits(table) for table in _tables(values, "client_limits")]

    def _auth(self, tables: "list[dict[str, Any]]") -> "list[dict[str, Any]]":
        found: "list[dict[str, Any]]" = []
        for table in tables:
            kind = table.get("type")
            if not isinstance(kind, str):
                raise ValueError("auth: type must be a string, not %r" % (kind,))
            entry = dict(table)
            name = entry["name"] = table.get("name", kind)
            if not isinstance(name, str) or not name or "/" in name or "+" in name or "#" in name:
                raise ValueError("auth: name must be a string without / + #, not %r" % (name,))
            if name in [other["name"] for other in found]:
                raise ValueError("auth: there are two with the name %s" % name)
            found.append(entry)
        return found

    def _listeners(self, values: "dict[str, Any]") -> "list[ListenerConfig]":
        tables = _tables(values, "listener")
        if "host" in values or "port" in values or not tables:
            default: "dict[str, Any]" = {"id": "default"}
            for key in ("host", "port"):
                if key in values:
                    check_type(key, values[key], _KEYS[key])
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
                raise ValueError("there are two listeners with the id %s" % listener.id)
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

    def _limits(self, table: "dict[str, Any]") -> "tuple[Optional[bytes], Optional[bytes], dict[str, Any]]":
        whose: "list[Optional[bytes]]" = []
        for key in ("user", "client_id"):
            value = table.get(key)
            if value is not None:
                check_type("client_limits: %s" % key, value, str)
            whose.append(None if value is None else value.encode())
        if whose == [None, None]:
            raise ValueError("client_limits need a user or a client_id")
        options = {key: table[key] for key in table if key not in ("user", "client_id")}
        allowed = [row[0] for row in TABLE if row[0] not in GLOBAL]
        for key in options:
            if key not in allowed:
                raise ValueError("client_limits: " + unknown("key", key, allowed))
        try:
            self.options.changed(options)
        except ValueError as e:
            raise ValueError("client_limits: %s" % e)
        return whose[0], whose[1], options


def rules(tables: "list[dict[str, Any]]", where: str) -> "list[Rule]":
    """ACL rules. Raises ValueError naming the rule that is wrong by its number."""
    if not tables:
        return []
    from port.core.acl import rule  # where there is no rule it need not be loaded

    found = []
    for i in range(len(tables)):
        try:
            found.append(rule(tables[i]))
        except ValueError as e:
            raise ValueError("%s, rule %d: %s" % (where, i + 1, e))
    return found


def _tables(values: "dict[str, Any]", key: str) -> "list[dict[str, Any]]":
    tables = values.get(key, [])
    check_type(key, tables, (dict,))
    return list(tables)


def check_type(where: str, value: "Any", kind: "Any") -> None:
    """Raise ValueError unless `value` is of the type `kind`, or for a tuple (type,) a list of such."""
    if isinstance(kind, tuple):
        kind = kind[0]
        fits = isinstance(value, (list, tuple)) and all([isinstance(item, kind) for item in value])
        word = "a list of tables" if kind is dict else "a list of strings"
    else:
        fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        word = _WORDS[kind]
    if not fits:
        raise ValueError("%s must be %s, not %r" % (where, word, value))


def unknown(what: str, name: str, known: "list[str]") -> str:
    """The text of an error: there is no `name`, and what it could have been."""
    nearest = ""
    least = 1000
    for candidate in known:
        distance = _distance(name, candidate)
        if distance < least:
            least = distance
            nearest = candidate
    return "unknown %s %s" % (what, name) + (", did you mean %s?" % nearest if nearest else "")


def _distance(a: str, b: str) -> int:
    """How many letters have to be changed, added or left out to make `b` of `a` (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i in range(len(a)):
        last = row[0]
        row[0] = i + 1
        for j in range(len(b)):
            change = last + (a[i] != b[j])
            last = row[j + 1]
            row[j + 1] = min(change, last + 1, row[j] + 1)
    return row[len(b)]
