"""The configuration of one listener, from a [[listener]] or from a program's call, and the listener itself."""

from port.core import const
from port.core.checks import check_type
from port.core.wire.topics import valid_name
from port.core.limits.ip_address import text
from port.core.limits.listener import Listener, free_id
from port.core.limits.options import GLOBAL, TABLE
from port.core.acl.client_policy import new_acl

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.sessions.mount_point import Mount
    from port.core.auth.authenticator import Authenticator
    from port.core.acl.acl import Acl, Rule
    from port.core.broker import Broker

    Made = list[Authenticator]  # the authenticators in the order of the configuration

# Type of each key; a tuple stands for a list of its type.
LISTENER_KEYS: "dict[str, Any]" = {
    "id": str,
    "type": str,
    "host": str,
    "port": int,
    "file": str,
    "mode": str,
    "tls": dict,
    "paths": (str,),
    "origins": (str,),
    "hosts": (str,),
    "proxy_protocol": bool,
    "trusted_proxies": (str,),
    "auth": (str,),
    "acl": (dict,),
    "mount_point": str,
}
# Keys of one type of listener only.
_ONLY = {
    "file": ("unix",),
    "mode": ("unix",),
    "paths": ("websocket",),
    "origins": ("websocket",),
    "hosts": ("http",),
    "mount_point": ("tcp", "websocket", "unix"),
}
_PORTS = {"tcp": (1883, 8883), "websocket": (8083, 8084), "http": (8080, 8443), "unix": (0, 0)}
# Names of the types in other programs.
_CALLED = {
    "mqtt": "tcp", "mqtts": "tcp with a table tls", "tls": "tcp with a table tls", "ssl": "tcp with a table tls",
    "ws": "websocket", "websockets": "websocket", "wss": "websocket with a table tls", "https": "http with a table tls",
}  # fmt: skip


class ListenerConfig:
    """One [[listener]]. It also takes any option that is not of the broker as a whole.

    id: name of the listener in the log and in $SYS (default: its type, with a number from the second on)
    type: tcp (default), websocket, unix, or http, which serves the info pages /, /healthz and /metrics
    host: address to listen on (default 127.0.0.1; 0.0.0.0: all of IPv4; :: all of IPv4 and IPv6; boards have IPv4 only)
    port: port to listen on (default tcp 1883, websocket 8083, http 8080; with TLS 8883, 8084, 8443)
    file: the socket's file, type unix only
    mode: the socket file's access rights in octal, type unix only (default 660)
    tls: table with certificate, key and more, see the TLS module of the runtime (default: no TLS)
    paths: paths of URLs to serve, type websocket only (default ["/mqtt", "/"]; ["*"]: any)
    origins: web pages that may connect, type websocket only (default: those of the requested host and port, if that is an address or localhost; ["*"]: all)
    hosts: host names that requests may have, type http only, besides addresses, localhost and the machine's own name (["*"]: any)
    proxy_protocol: whether a load balancer in front sends the client's address by PROXY protocol (default false)
    trusted_proxies: networks of such load balancers; optional when only this machine can connect
    auth: names of the authenticators that are asked, in order (default: all)
    acl: rules for this listener, in place of the broker's; an empty list denies everything
    mount_point: beginning of all topics of its clients, such as tenant/, which clients do not see: they share topics with clients of the same mount point only, and have no $SYS; rules and hooks see whole topics; client ids remain common to all (default: none)
    """

    def __init__(self, values: "dict[str, Any]") -> None:
        """Raises ValueError naming what is wrong."""
        self.type: str = values.get("type", "tcp")
        if not isinstance(self.type, str) or self.type not in _PORTS:
            text = "listener %s: type must be one of %s, not %r"
            here = _CALLED.get(self.type) if isinstance(self.type, str) else None
            if here is not None:
                text += ", which is " + here
            raise ValueError(text % (values.get("id", self.type), ", ".join(sorted(_PORTS)), self.type))
        self.id: str = values.get("id", self.type)
        options = [row[0] for row in TABLE if row[0] not in GLOBAL]
        where = "listener %s" % self.id
        self.overrides: "dict[str, Any]" = {}
        for key in values:
            if key in LISTENER_KEYS:
                if key == "mode" and not isinstance(values[key], str):
                    raise ValueError('%s: mode must be a string of octal digits such as "660", not %r' % (where, values[key]))
                check_type("%s: %s" % (where, key), values[key], LISTENER_KEYS[key])
                if self.type not in _ONLY.get(key, (self.type,)):
                    raise ValueError("%s: %s is for type %s only" % (where, key, " or ".join(_ONLY[key])))
            elif key in options:
                self.overrides[key] = values[key]
            elif key in GLOBAL:
                raise ValueError("%s: %s holds for the whole broker, set it there" % (where, key))
            else:
                from port.core.wire.suggest import unknown

                raise ValueError("%s: %s" % (where, unknown("key", key, list(LISTENER_KEYS) + options)))
        if not self.id or "/" in self.id or "+" in self.id or "#" in self.id:
            raise ValueError("%s: id must not be empty or contain / + #" % where)
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
        self.paths: "tuple[str, ...]" = tuple(values.get("paths", ("/mqtt", "/")))
        for path in self.paths:
            if path != "*" and not path.startswith("/"):
                raise ValueError("%s: paths must begin with / or be *, not %r" % (where, path))
        self.origins: "tuple[str, ...]" = tuple(values.get("origins", ()))
        self.hosts: "tuple[str, ...]" = tuple([name.lower() for name in values.get("hosts", ())])
        self.proxy_protocol: bool = values.get("proxy_protocol", False)
        self.trusted_proxies: "tuple[str, ...]" = tuple(values.get("trusted_proxies", ()))
        self.auth: "Optional[list[str]]" = values.get("auth")
        self.rules: "Optional[list[Rule]]" = None
        if "acl" in values:
            self.rules = rules(values["acl"], where)
        mount_point: str = values.get("mount_point", "")
        self.mount_point = mount_point.encode()
        if mount_point and not (valid_name(self.mount_point) and mount_point.endswith("/") and not mount_point.startswith("$")):
            raise ValueError("%s: mount_point must be a topic that ends in / and does not begin with $, not %r" % (where, mount_point))

    def place(self) -> str:
        """The address or file, as text."""
        if self.type == "unix":
            return self.file
        return text(self.host, self.port)


def new_listener(broker: "Broker", config: "ListenerConfig", made: "Made") -> Listener:
    """The core's Listener, added to the broker; `made`: the authenticators of [[auth]]."""
    authenticators = wanted(config, made)
    listener = Listener(config.id, config.type, broker.options, authenticators, acl_of(broker, config), config.overrides)
    listener.place = config.place()
    listener.mount = mount_of(broker, config)
    if config.type == "http" and broker.counters.measures is None:
        from port.core.monitor.measures import Measures

        broker.counters.measures = Measures()
    return broker.add_listener(listener)


def describe(
    broker: "Broker", host: str, port: "Optional[int]", kind: str, tls: "Any", acl: "Any", values: "dict[str, Any]"
) -> "ListenerConfig":
    """The configuration of a listener that a program adds, see Server.listen. Raises ValueError."""
    values = dict(values)
    values["type"] = kind
    if kind != "unix":
        values["host"] = host
    if port is not None:
        values["port"] = port
    if tls is not None:
        values["tls"] = tls if isinstance(tls, dict) else {}
    if acl is not None:
        values["acl"] = list(acl)
    if "id" not in values:
        values["id"] = free_id(broker.listeners, kind)
    return ListenerConfig(values)


def wanted(config: "ListenerConfig", made: "Made") -> "list[Authenticator]":
    """The authenticators of a listener."""
    if config.auth is None:
        return list(made)
    return [authenticator for name in config.auth for authenticator in made if authenticator.name == name]


def acl_of(broker: "Broker", config: "ListenerConfig") -> "Optional[Acl]":
    """A listener's own rules, None for the broker's."""
    return None if config.rules is None else new_acl(broker, config.rules)


def mount_of(broker: "Broker", config: "ListenerConfig") -> "Optional[Mount]":
    """A listener's mount point, or None."""
    if not config.mount_point:
        return None
    from port.core.sessions.mount_point import find

    return find(broker, config.mount_point)


def rules(tables: "list[dict[str, Any]]", where: str) -> "list[Rule]":
    """ACL rules. Raises ValueError naming a wrong rule by its number."""
    if not tables:
        return []
    from port.core.acl.acl_rule import numbered  # loaded only with a rule

    return [numbered(tables[i], where, i + 1) for i in range(len(tables))]
