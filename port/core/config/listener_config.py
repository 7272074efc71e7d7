"""The configuration of one listener, from a [[listener]] or from a program's call, and the listener itself."""

from port.core import const
from port.core.checks import check_type
from port.core.wire.topics import valid_name
from port.core.limits.ip_address import text
from port.core.limits.listener import Listener, free_id
from port.core.limits.options import GLOBAL, TABLE
from port.core.acl.client_policy import new_acl
from port.core.config.registry import LISTENERS, told

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Iterator, Optional

    from port.core.sessions.mount_point import Mount
    from port.core.auth.authenticator import Authenticator
    from port.core.acl.acl import Acl, Rule
    from port.core.broker import Broker

    Made = list[Authenticator]  # the authenticators in the order of the configuration

# Keys of all listeners. Type of each key; a tuple stands for a list of its type.
LISTENER_KEYS: "dict[str, Any]" = {
    "id": str,
    "type": str,
    "host": str,
    "port": int,
    "tls": dict,
    "proxy_protocol": bool,
    "trusted_proxies": (str,),
    "auth": (str,),
    "acl": (dict,),
    "mount_point": str,
}


class ListenerConfig:
    """One [[listener]]. Besides these keys and those of its type, it takes any option that is not of the broker as a whole.

    id: name of the listener in the log and in $SYS (default: its type, with a number from the second on)
    type: its protocol and transport (default tcp)
    host: address to listen on (default 127.0.0.1; 0.0.0.0: all of IPv4; :: all of IPv4 and IPv6; boards have IPv4 only)
    port: port to listen on (default: its type's)
    tls: table with certificate, key and more, see the TLS module of the runtime (default: no TLS)
    proxy_protocol: whether a load balancer in front sends the client's address by PROXY protocol (default false)
    trusted_proxies: networks of such load balancers; optional when only this machine can connect
    auth: names of the authenticators that are asked, in order (default: all)
    acl: rules for this listener, in place of the broker's; an empty list denies everything
    mount_point: beginning of all topics of its clients, such as tenant/, which clients do not see: they share topics with clients of the same mount point only, and have no $SYS; rules and hooks see whole topics; client ids remain common to all (default: none)
    """

    def __init__(self, values: "dict[str, Any]") -> None:
        """`settings` are the values of its type's own keys, `kind` is the type. Raises ValueError naming the fault."""
        self.type: str = values.get("type", "tcp")
        if not isinstance(self.type, str) or self.type not in LISTENERS.names():
            text = "listener %s: type must be one of %s, not %r%s"
            names = ", ".join(sorted(LISTENERS.names()))
            raise ValueError(text % (values.get("id", self.type), names, self.type, _meant(self.type)))
        kind = self.kind = LISTENERS.load(self.type)
        self.id: str = values.get("id", self.type)
        where = "listener %s" % self.id
        self.settings: "dict[str, Any]" = {}
        for key in kind.KEYS:
            wanted, default = kind.KEYS[key]
            value = values.get(key, default)
            if key in values and wanted is not None:
                check_type("%s: %s" % (where, key), value, wanted)
            self.settings[key] = tuple(value) if isinstance(wanted, tuple) and value is not None else value
        self.overrides: "dict[str, Any]" = {}
        for key in values:
            if key not in kind.KEYS:
                self._take(where, key, values[key])
        if not self.id or "/" in self.id or "+" in self.id or "#" in self.id:
            raise ValueError("%s: id must not be empty or contain / + #" % where)
        self.tls: "Optional[dict[str, Any]]" = values.get("tls")
        self.host: str = values.get("host", "127.0.0.1")
        self.port: int = values.get("port", kind.PORTS[0 if self.tls is None else 1])
        if not 0 <= self.port <= 65535:
            raise ValueError("%s: port must be from 0 to 65535, not %d" % (where, self.port))
        self.proxy_protocol: bool = values.get("proxy_protocol", False)
        self.trusted_proxies: "tuple[str, ...]" = tuple(values.get("trusted_proxies", ()))
        self.auth: "Optional[list[str]]" = values.get("auth")
        try:
            kind.check(self)
        except ValueError as e:
            raise ValueError("%s: %s" % (where, e))
        except Exception as e:  # any exception of foreign code
            raise told("%s: type %s" % (where, self.type), e)
        self.rules: "Optional[list[Rule]]" = None
        if "acl" in values:
            self.rules = rules(values["acl"], where)
        mount_point: str = values.get("mount_point", "")
        self.mount_point = mount_point.encode()
        if mount_point and not (valid_name(self.mount_point) and mount_point.endswith("/") and not mount_point.startswith("$")):
            raise ValueError("%s: mount_point must be a topic that ends in / and does not begin with $, not %r" % (where, mount_point))

    def _take(self, where: str, key: str, value: "Any") -> None:
        """Take a key that is not its type's own. Raises ValueError."""
        options = [row[0] for row in TABLE if row[0] not in GLOBAL]
        if key in LISTENER_KEYS:
            check_type("%s: %s" % (where, key), value, LISTENER_KEYS[key])
            if key not in self.kind.WITHOUT:
                return
        elif key in options:
            self.overrides[key] = value
            return
        elif key in GLOBAL:
            raise ValueError("%s: %s holds for the whole broker, set it there" % (where, key))
        types = types_with(key)
        if types:
            raise ValueError("%s: %s is for type %s only" % (where, key, " or ".join(types)))
        from port.core.wire.suggest import unknown

        raise ValueError("%s: %s" % (where, unknown("key", key, list(LISTENER_KEYS) + list(self.kind.KEYS) + options)))

    def place(self) -> str:
        """The address or file, as text."""
        place: str = self.kind.PLACE
        return text(self.host, self.port) if place == "port" else str(self.settings[place])


def _types() -> "Iterator[tuple[str, Any]]":
    """All types by name, except those that cannot be loaded."""
    for name in LISTENERS.names():
        try:
            yield name, LISTENERS.load(name)
        except Exception:  # nosec B110 # an error that is not of the type asked for
            pass


def types_with(key: str) -> "list[str]":
    """The types of listeners that have a key."""
    common = key in LISTENER_KEYS
    return [name for name, kind in _types() if key in kind.KEYS or common and key not in kind.WITHOUT]


def _meant(name: "Any") -> str:
    """The end of an error: the type that other brokers call by this name."""
    for known, kind in _types():
        if isinstance(name, str) and name in kind.CALLED:
            return ", which is %s%s" % (known, " with a table tls" if kind.CALLED[name] else "")
    return ""


def new_listener(broker: "Broker", config: "ListenerConfig", made: "Made") -> Listener:
    """The core's Listener, added to the broker; `made`: the authenticators of [[auth]]."""
    authenticators = wanted(config, made)
    listener = Listener(config.id, config.type, broker.options, authenticators, acl_of(broker, config), config.overrides)
    listener.place = config.place()
    listener.mount = mount_of(broker, config)
    config.kind.begin(broker)
    return broker.add_listener(listener)


def add_listener(server: "Any", config: "ListenerConfig", made: "Made", tls: "Any" = None) -> Listener:
    """Add a listener to a server that has not started. Raises ValueError naming the fault."""
    listener = new_listener(server, config, made)
    try:
        server.entrances.append(config.kind.make(server, config, listener, tls))
    except Exception as e:  # any exception of foreign code
        server.listeners.remove(listener)
        raise told("listener %s: type %s" % (config.id, config.type), e)
    return listener


def describe(
    broker: "Broker", host: str, port: "Optional[int]", kind: str, tls: "Any", acl: "Any", values: "dict[str, Any]"
) -> "ListenerConfig":
    """The configuration of a listener that a program adds, see Server.listen. Raises ValueError."""
    values = dict(values)
    values["type"] = kind
    if kind not in LISTENERS.names() or LISTENERS.load(kind).PLACE == "port":
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
