"""Applies a checked configuration to a broker: listeners, rights and limits, at start and at a reload."""

from port.core import const
from port.core.config.listener_config import acl_of, add_listener, mount_of, wanted
from port.core.config.registry import AUTHENTICATORS, Registry, told

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from port.core.limits.listener import Listener
    from port.core.auth.authenticator import Authenticator
    from port.core.config.config import Config
    from port.core.config.listener_config import ListenerConfig, Made
    from port.core.broker import Broker


def make_authenticator(entry: "dict[str, Any]", types: Registry = AUTHENTICATORS) -> "Authenticator":
    """The authenticator of one [[auth]]. Its type gets the settings without `name` and `type`.

    Raises ValueError naming the fault, ImportError for a part that was left out.
    """
    settings = {key: entry[key] for key in entry if key not in ("name", "type")}
    try:
        authenticator: "Authenticator" = types.make(entry["type"], (settings,), {})
    except ValueError as e:
        raise ValueError("auth %s: %s" % (entry["name"], e))
    authenticator.name = entry["name"]
    return authenticator


def check_kept(config: "ListenerConfig", listener: "Listener", tls: bool) -> None:
    """Raise ValueError when a configuration changes the type of an open listener, or adds or removes its TLS."""
    if config.type != listener.kind:
        raise ValueError("listener %s: type cannot become %s while it is open as %s" % (config.id, config.type, listener.kind))
    if (config.tls is not None) != tls:
        raise ValueError("listener %s: TLS cannot be switched on or off while it is open" % config.id)


def set_up(server: "Any", config: "Config", made: "Made") -> None:
    """Give a server that has not started the options, rights, limits and listeners of a configuration.

    Raises ValueError or OSError naming what is wrong, and then there is none of its listeners, and the options are those of before.
    """
    listeners, entrances, sites = list(server.listeners), list(server.entrances), list(server.sites)
    options, limits, acl = server.options.values(), server.client_limits, server.acl
    try:
        begin(server, config)
        for entry in config.listeners:
            add_listener(server, entry, made)
    except Exception:
        server.listeners[:] = listeners
        server.entrances[:] = entrances
        server.sites[:] = sites
        for name in options:
            setattr(server.options, name, options[name])  # subset: ok, names come from TABLE
        _fit_retained(server)
        server.client_limits = limits
        server.acl = acl
        raise


def begin(broker: "Broker", config: "Config") -> None:
    """Give a new broker the options, rights and limits of a configuration."""
    _take_options(broker, config)
    broker.client_limits = config.client_limits
    if config.rules is not None:
        broker.set_acl(config.rules)


def _take_options(broker: "Broker", config: "Config") -> None:
    broker.options.assign(config.options)
    _fit_retained(broker)


def _fit_retained(broker: "Broker") -> None:
    options = broker.options
    broker.retained.max_count = options.max_retained_messages
    broker.retained.max_bytes = options.max_retained_bytes
    broker.retained.share = options.retained_share


def changed_listeners(server: "Any", config: "Config") -> "list[tuple[Any, ListenerConfig]]":
    """The open listeners that another configuration has, too, each with its ListenerConfig there. Raises ValueError."""
    by_id = {entry.id: entry for entry in config.listeners}
    found = []
    for entrance in server.entrances:
        entry = by_id.get(entrance.listener.id)
        if entry is not None:
            check_kept(entry, entrance.listener, entrance.tls is not None)
            found.append((entrance, entry))
    return found


def prepare(entrance: "Any", entry: "ListenerConfig") -> "Any":
    """What `prepare` of an open listener's type returns for another configuration. Raises ValueError, OSError."""
    try:
        return entry.kind.prepare(entrance, entry)
    except Exception as e:  # any exception of foreign code
        raise told("listener %s: type %s" % (entry.id, entry.type), e)


def change_listeners(server: "Any", changes: "list[tuple[Any, ListenerConfig, Any]]") -> None:
    """Have open listeners apply what `prepare` has returned; what a type raises against its contract is logged."""
    for entrance, entry, prepared in changes:
        try:
            entry.kind.change(entrance, prepared)
        except Exception as e:
            server.log(3, "listener %s: cannot be changed: %r", entry.id, e)


def reconfigure(broker: "Broker", config: "Config", made: "Made") -> None:
    """Give a running broker new options, authenticators, rules and limits; clients stay unless they lose rights.

    Listeners keep their addresses: a new listener is not opened, a removed one stays as it is, and so does the store. The log
    names the changes that need a restart.
    """
    _take_options(broker, config)
    broker.client_limits = config.client_limits
    by_id = {entry.id: entry for entry in config.listeners}
    for listener in broker.listeners:
        entry = by_id.get(listener.id)
        if entry is not None:
            listener.authenticators = wanted(entry, made)
            listener.acl = acl_of(broker, entry)
            listener.overrides = entry.overrides
            listener.mount = mount_of(broker, entry)  # for clients that connect from now on
    if config.rules is not None or broker.acl is not None:
        broker.set_acl(config.rules)
    _tell_rest(broker, config)
    broker.rights_changed()


def _tell_rest(broker: "Broker", config: "Config") -> None:
    """Log the changes of a new configuration that need a restart."""
    there = {listener.id: listener for listener in broker.listeners}
    for entry in config.listeners:
        listener = there.pop(entry.id, None)
        place = entry.place()
        if listener is None:
            broker.log(2, "listener %s: it takes a restart to open it", entry.id)
        elif listener.place != place:
            broker.log(2, "listener %s: it stays on %s, and takes a restart to be on %s", entry.id, listener.place, place)
    for name in there:
        broker.log(2, "listener %s: it is not in the configuration, and stays open until a restart", name)
    kind = "memory" if broker.store is None else broker.store.kind
    wanted_kind = "memory" if config.store is None else config.store.type
    if kind != wanted_kind:
        broker.log(2, "store: it stays %s, and takes a restart to be %s", kind, wanted_kind)
