"""From a checked configuration to a broker's listeners, rights and limits, at start and while it runs."""

from port.core import TYPE_CHECKING
from port.core.auth import AllowAll, DenyAll
from port.core.config import ListenerConfig, check_type, unknown
from port.core.listener import Listener
from port.core.rights import new_acl

if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from port.core.acl import Acl
    from port.core.auth import Authenticator
    from port.core.broker import Broker
    from port.core.config import Config

    Made = list[Authenticator]  # in the order of the configuration


def make_authenticator(entry: "dict[str, Any]", types: "dict[str, Callable[[dict[str, Any]], Authenticator]]") -> "Authenticator":
    """The authenticator of one [[auth]]: `allow`, `deny`, or one of the host's `types`.

    Those are given the settings without `name` and `type`. Raises ValueError naming what is wrong.
    """
    kind = entry["type"]
    settings = {key: entry[key] for key in entry if key not in ("name", "type")}
    where = "auth %s: " % entry["name"]
    authenticator: "Authenticator"
    if kind in ("allow", "deny"):
        for key in settings:
            raise ValueError("%sunknown key %s, type %s has none" % (where, key, kind))
        authenticator = AllowAll() if kind == "allow" else DenyAll()
    elif kind in types:
        try:
            authenticator = types[kind](settings)
        except ValueError as e:
            raise ValueError("%s%s" % (where, e))
    else:
        raise ValueError(where + unknown("type", kind, ["allow", "deny"] + sorted(types)))
    authenticator.name = entry["name"]
    return authenticator


def check_settings(settings: "dict[str, Any]", known: "dict[str, Any]", required: "tuple[str, ...]" = ()) -> None:
    """Raise ValueError for a setting that is unknown, of the wrong type, or required and missing; `known`: type by name."""
    for key in settings:
        if key not in known:
            raise ValueError(unknown("key", key, sorted(known)))
        check_type(key, settings[key], known[key])
    for key in required:
        if key not in settings:
            raise ValueError("%s is missing" % key)


def new_listener(broker: "Broker", config: "ListenerConfig", made: "Made") -> Listener:
    """The core's side of a listener, added to the broker; `made`: the authenticators there are."""
    authenticators = _wanted(config, made)
    listener = Listener(config.id, config.type, broker.options, authenticators, _acl(broker, config), config.overrides)
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
        ids = [listener.id for listener in broker.listeners]
        values["id"] = kind if kind not in ids else "%s%d" % (kind, len(ids) + 1)
    return ListenerConfig(values)


def check_tls(config: "ListenerConfig", tls: bool) -> None:
    """Raise ValueError when an open listener, with or without TLS, is to be the other."""
    if (config.tls is not None) != tls:
        raise ValueError("listener %s: TLS cannot be switched on or off while it is open" % config.id)


def _wanted(config: "ListenerConfig", made: "Made") -> "list[Authenticator]":
    if config.auth is None:
        return list(made)
    return [authenticator for name in config.auth for authenticator in made if authenticator.name == name]


def _acl(broker: "Broker", config: "ListenerConfig") -> "Optional[Acl]":
    return None if config.rules is None else new_acl(broker, config.rules)


def begin(broker: "Broker", config: "Config") -> None:
    """Give a new broker the rights and limits of a configuration; its options it has."""
    broker.client_limits = config.client_limits
    if config.rules:
        broker.set_acl(config.rules)


def change(broker: "Broker", config: "Config", made: "Made") -> None:
    """Give a running broker other options, authenticators, rules and limits; its clients stay, unless they lose rights.

    Listeners keep their addresses: one that is not there is not opened, one that is not mentioned any more stays as it is.
    """
    broker.options.assign(config.options)
    broker.retained.max_count = config.options.max_retained_messages
    broker.retained.max_bytes = config.options.max_retained_bytes
    broker.client_limits = config.client_limits
    by_id = {entry.id: entry for entry in config.listeners}
    for listener in broker.listeners:
        entry = by_id.get(listener.id)
        if entry is not None:
            listener.authenticators = _wanted(entry, made)
            listener.acl = _acl(broker, entry)
            listener.overrides = entry.overrides
    if config.rules or broker.acl is not None:
        broker.set_acl(config.rules)
    broker.rights_changed()
