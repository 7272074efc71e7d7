"""What one listener is to be, from a [[listener]] of a configuration or a program's own words, and the listener itself."""

from port.core import const
from port.core.checks import check_type
from port.core.wire.topics import valid_name
from port.core.limits.ip_address import text
from port.core.limits.listener import Listener, free_id
from port.core.limits.options import GLOBAL, TABLE
from port.core.acl.client_policy import new_acl

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional, Sequence

    from port.core.sessions.mount_point import Mount
    from port.core.auth.authenticator import Authenticator
    from port.core.acl.acl import Acl, Rule
    from port.core.broker import Broker

    Made = list[Authenticator]  # in the order of the configuration
    # hosts, paths, origins, writers, max_body, body_timeout, idle_timeout
    PagesSettings = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[bytes, ...], int, int, int]

# What a key must be: a type, or a tuple for a list of that type.
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
    "writers": (str,),
    "max_body": int,
    "body_timeout": int,
    "idle_timeout": int,
    "proxy_protocol": bool,
    "trusted_proxies": (str,),
    "auth": (str,),
    "acl": (dict,),
    "mount_point": str,
}
# Keys that make sense for one type of listener only.
_ONLY = {
    "file": ("unix",),
    "mode": ("unix",),
    "paths": ("websocket", "http"),
    "origins": ("websocket", "http"),
    "hosts": ("http",),
    "writers": ("http",),
    "max_body": ("http",),
    "body_timeout": ("http",),
    "idle_timeout": ("http",),
    "mount_point": ("tcp", "websocket", "unix"),
}
_PORTS = {"tcp": (1883, 8883), "websocket": (8083, 8084), "http": (8080, 8443), "unix": (0, 0)}
# What others call them.
_CALLED = {
    "mqtt": "tcp", "mqtts": "tcp with a table tls", "tls": "tcp with a table tls", "ssl": "tcp with a table tls",
    "ws": "websocket", "websockets": "websocket", "wss": "websocket with a table tls", "https": "http with a table tls",
}  # fmt: skip


class ListenerConfig:
    """One [[listener]]. Beside these keys it takes any option that is not of the broker as a whole.

    id: names the listener in the log and in $SYS (default: its type, with a number from the second on)
    type: tcp (default), websocket, unix, or http: the info pages /, /healthz and /metrics
    host: address to listen on (default 127.0.0.1; 0.0.0.0 all of IPv4, :: all of IPv4 and IPv6; boards have IPv4 alone)
    port: port to listen on (default tcp 1883, websocket 8083, http 8080; with TLS 8883, 8084, 8443)
    file: the socket's file, type unix only
    mode: the socket file's access rights in octal, type unix only (default 660)
    tls: table with certificate, key and more, see the TLS module of the runtime; without it there is no TLS
    paths: paths of the URL where MQTT over WebSocket is, types websocket and http only (default ["/mqtt", "/"], of type http ["/mqtt"], or none if it has auth or anonymous of its own; ["*"]: any)
    origins: web pages that may connect by WebSocket, types websocket and http only (default: those of the host and port asked for, if an address or localhost; ["*"]: all)
    hosts: names by which the pages are asked for, type http only, beside addresses, localhost and the machine's own name (["*"]: any)
    writers: users who may change something by HTTP, type http only, * at the end for any end and "" for who has no user name; others read (default ["*"])
    max_body: bytes the body of a request may have, more is answered with 413, type http only (default 0: a quarter of max_packet_size)
    body_timeout: seconds in which the body of a request has to come, type http only (default 30)
    idle_timeout: seconds until an HTTP connection is closed on which nothing is asked, type http only (default 60)
    proxy_protocol: whether a load balancer in front tells the client's address by PROXY protocol (default false)
    trusted_proxies: networks such load balancers are in; may be left out where only this machine can connect
    auth: names of the authenticators that are asked, in order (default: all)
    acl: rules for this listener, in place of the broker's; an empty list denies everything
    mount_point: what all topics of its clients begin with, unseen by these, as in tenant/: they share topics with others who have it, and have no $SYS; rules and hooks see it, client ids are not parted (default: nothing)
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
        usual: "tuple[str, ...]" = ("/mqtt", "/")
        if self.type == "http":
            # Who made pages public has not meant MQTT.
            usual = () if "auth" in values or "anonymous" in values else ("/mqtt",)
        self.paths: "tuple[str, ...]" = tuple(values.get("paths", usual))
        for path in self.paths:
            if path != "*" and not path.startswith("/"):
                raise ValueError("%s: paths must begin with / or be *, not %r" % (where, path))
        self.origins: "tuple[str, ...]" = tuple(values.get("origins", ()))
        self.hosts: "tuple[str, ...]" = tuple([name.lower() for name in values.get("hosts", ())])
        self.writers: "tuple[str, ...]" = tuple(values.get("writers", ("*",)))
        self.max_body: int = values.get("max_body", 0)
        self.body_timeout: int = values.get("body_timeout", 30)
        self.idle_timeout: int = values.get("idle_timeout", 60)
        if self.max_body < 0:
            raise ValueError("%s: max_body must be 0 or more, not %d" % (where, self.max_body))
        if self.body_timeout < 1 or self.idle_timeout < 1:
            raise ValueError("%s: body_timeout and idle_timeout must be 1 or more" % where)
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

    def pages(self, names: "Sequence[str]") -> "PagesSettings":
        """What concerns the connections of type http, where the machine has these names. A board forgets this module, but not that."""
        return (
            self.hosts + tuple(names), self.paths, self.origins, tuple([name.encode() for name in self.writers]), self.max_body,
            self.body_timeout, self.idle_timeout,
        )  # fmt: skip

    def place(self) -> str:
        """Where it listens, as text."""
        if self.type == "unix":
            return self.file
        return text(self.host, self.port)


def new_listener(broker: "Broker", config: "ListenerConfig", made: "Made") -> Listener:
    """The core's side of a listener, added to the broker; `made`: the authenticators there are."""
    authenticators = wanted(config, made)
    listener = Listener(config.id, config.type, broker.options, authenticators, acl_of(broker, config), config.overrides)
    listener.place = config.place()
    listener.mount = mount_of(broker, config)
    if config.type == "http" and broker.measures is None:
        from port.core.monitor.measures import Measures

        broker.measures = Measures()
    return broker.add_listener(listener)


def describe(
    broker: "Broker", host: str, port: "Optional[int]", kind: str, tls: "Any", acl: "Any", values: "dict[str, Any]"
) -> "ListenerConfig":
    """The configuration of a listener that a program asks for, see Server.listen. Raises ValueError."""
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
    """The authenticators a listener asks."""
    if config.auth is None:
        return list(made)
    return [authenticator for name in config.auth for authenticator in made if authenticator.name == name]


def acl_of(broker: "Broker", config: "ListenerConfig") -> "Optional[Acl]":
    """A listener's own rules, None where the broker's hold."""
    return None if config.rules is None else new_acl(broker, config.rules)


def mount_of(broker: "Broker", config: "ListenerConfig") -> "Optional[Mount]":
    """A listener's mount point, or None."""
    if not config.mount_point:
        return None
    from port.core.sessions.mount_point import find

    return find(broker, config.mount_point)


def rules(tables: "list[dict[str, Any]]", where: str) -> "list[Rule]":
    """ACL rules. Raises ValueError naming the rule that is wrong by its number."""
    if not tables:
        return []
    from port.core.acl.acl_rule import numbered  # where there is no rule it need not be loaded

    return [numbered(tables[i], where, i + 1) for i in range(len(tables))]
