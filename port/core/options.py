"""All options of the broker in one place: default, range and unit of each.

A board and a server want different defaults; both stand in the table. What an option
means is told in the docstring of `Options`, which MicroPython drops when it compiles and
`python -m port.cpython --help` prints.
"""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

# name, default on a board, default on a server, least, most, unit. A str default takes any
# str, or one of the choices listed in place of the range; a bool takes True or False.
TABLE: "tuple[tuple[str, Any, Any, Any, Any, str], ...]" = (
    ("max_connections", 32, 20000, 1, 1000000, ""),
    ("max_sessions", 64, 200000, 1, 10000000, ""),
    ("max_packet_size", 8192, 8388608, 128, 268435460, "bytes"),
    ("max_connect_size", 2048, 131072, 64, 268435460, "bytes"),
    ("max_connecting_bytes", 8192, 16777216, 128, 1099511627776, "bytes"),
    ("connect_timeout", 10, 10, 1, 3600, "s"),
    ("max_keep_alive", 0, 0, 0, 65535, "s"),
    ("max_session_expiry", 86400, 4294967295, 0, 4294967295, "s"),
    ("receive_maximum", 16, 200, 1, 65535, ""),
    ("max_unreleased", 128, 65535, 1, 65535, ""),
    ("max_inflight", 8, 64, 1, 65535, ""),
    ("max_queued_messages", 64, 1000, 1, 65535, ""),
    ("max_queued_bytes", 8192, 16777216, 64, 1073741824, "bytes"),
    ("queue_full", "newest", "newest", ("newest", "oldest", "disconnect"), None, ""),
    ("outbox_bytes", 2048, 262144, 256, 1073741824, "bytes"),
    ("max_subscriptions", 32, 200000, 1, 10000000, ""),
    ("max_topic_length", 256, 65535, 1, 65535, "bytes"),
    ("max_topic_levels", 16, 200, 1, 65535, ""),
    ("max_retained_messages", 64, 1000000, 0, 100000000, ""),
    ("max_retained_bytes", 16384, 1073741824, 0, 1099511627776, "bytes"),
    ("max_qos", 2, 2, 0, 2, ""),
    ("retain_available", True, True, None, None, ""),
    ("wildcard_subscriptions", True, True, None, None, ""),
    ("shared_subscriptions", True, True, None, None, ""),
    ("subscription_identifiers", True, True, None, None, ""),
    ("topic_alias_maximum", 8, 10, 0, 65535, ""),
    ("outbound_topic_aliases", 0, 0, 0, 65535, ""),
    ("route_cache", 32, 8192, 1, 1000000, ""),
    ("sys_interval", 30, 10, 0, 86400, "s"),
    ("anonymous", "auto", "auto", ("auto", "loopback", "all", "none"), None, ""),
    ("max_connections_per_address", 16, 1000, 0, 1000000, ""),
    ("max_auth_failures", 10, 10, 0, 1000000, ""),
    ("auth_backoff", 300, 300, 1, 86400, "s"),
    ("auth_timeout", 30, 30, 1, 3600, "s"),
    ("max_tracked_addresses", 32, 10000, 1, 1000000, ""),
    ("max_message_rate", 0, 0, 0, 1000000, "messages/s"),
    ("max_byte_rate", 0, 0, 0, 1000000000, "bytes/s"),
    ("rate_burst", 2, 2, 1, 3600, "s"),
    ("rate_exceeded", "delay", "delay", ("delay", "disconnect"), None, ""),
    ("server_reference", "", "", None, None, ""),
    ("response_information", "", "", None, None, ""),
)

# Options of the broker as a whole: a listener cannot have others.
GLOBAL = (
    "max_sessions",
    "max_connecting_bytes",
    "max_retained_messages",
    "max_retained_bytes",
    "route_cache",
    "sys_interval",
    "max_auth_failures",
    "auth_backoff",
    "max_tracked_addresses",
)


class Options:
    """The options of one broker, checked.

    max_connections: clients connected at once; one more is refused with 0x97 (3.x: return code 3)
    max_sessions: sessions kept, connected or not; one more is refused with 0x97 (3.x: return code 3)
    max_packet_size: largest packet accepted; a larger one ends the connection with 0x95
    max_connect_size: largest CONNECT accepted, before anyone is authenticated
    max_connecting_bytes: bytes kept of clients that are not let in yet, all together, until their packets are complete
    connect_timeout: how long a new connection may take to complete its CONNECT
    max_keep_alive: longest keep alive; MQTT 5 clients that ask for more, or for none, are told this (0: no limit)
    max_session_expiry: longest a session outlives its connection, MQTT 3.x ones included (4294967295: for ever)
    receive_maximum: QoS 1 and 2 messages an MQTT 5 client may have unacknowledged towards the broker
    max_unreleased: QoS 2 messages an MQTT 3.x client may have unreleased towards the broker
    max_inflight: QoS 1 and 2 messages sent to a client and not acknowledged yet; the rest waits in its queue
    max_queued_messages: messages that wait for one client
    max_queued_bytes: bytes of messages that wait for one client
    queue_full: what gives way when a queue is full: the newest message, the oldest, or the client (disconnect)
    outbox_bytes: unsent bytes at which a client counts as slow: QoS 0 to it is dropped, QoS 1 and 2 queued
    max_subscriptions: subscriptions of one session; one more is refused with 0x97 (3.x: 0x80)
    max_topic_length: longest topic name or filter
    max_topic_levels: most levels in a topic name or filter
    max_retained_messages: retained messages kept; one more is not retained and answered with 0x97
    max_retained_bytes: bytes of retained messages kept
    max_qos: highest QoS accepted
    retain_available: whether messages may be retained
    wildcard_subscriptions: whether + and # are allowed in filters
    shared_subscriptions: whether $share/NAME/filter is allowed
    subscription_identifiers: whether MQTT 5 subscription identifiers are allowed
    topic_alias_maximum: topic aliases an MQTT 5 client may use towards the broker
    outbound_topic_aliases: topic aliases the broker uses towards an MQTT 5 client that allows them
    route_cache: topic names whose receivers are remembered
    sys_interval: time between two rounds of $SYS messages (0: none)
    anonymous: who may connect without a user name: all, this machine (loopback), none; auto: loopback unless there is auth
    max_connections_per_address: connections one address (IPv6: /64 network) may have, this machine excepted (0: no limit)
    max_auth_failures: failures after which an address, this machine excepted, must wait: 0x8A (3.x: 5) or no answer (0: never)
    auth_backoff: longest time an address has to wait; it begins with one second and doubles with each failure
    auth_timeout: longest wait for one answer of an authenticator or authorizer, then the client is refused with 0x89 (3.x: 3)
    max_tracked_addresses: addresses whose failures are remembered
    max_message_rate: PUBLISH packets one client may send on average (0: no limit)
    max_byte_rate: bytes one client may send on average (0: no limit)
    rate_burst: seconds' worth a client may send at once after a pause
    rate_exceeded: what happens to a client that sends faster: it is read later (delay), or disconnected with 0x96
    server_reference: another server, told to MQTT 5 clients that find this one full or stopping
    response_information: told to MQTT 5 clients that ask for it, the basis of their response topics
    """

    max_connections: int
    max_sessions: int
    max_packet_size: int
    max_connect_size: int
    max_connecting_bytes: int
    connect_timeout: int
    max_keep_alive: int
    max_session_expiry: int
    receive_maximum: int
    max_unreleased: int
    max_inflight: int
    max_queued_messages: int
    max_queued_bytes: int
    queue_full: str
    outbox_bytes: int
    max_subscriptions: int
    max_topic_length: int
    max_topic_levels: int
    max_retained_messages: int
    max_retained_bytes: int
    max_qos: int
    retain_available: bool
    wildcard_subscriptions: bool
    shared_subscriptions: bool
    subscription_identifiers: bool
    topic_alias_maximum: int
    outbound_topic_aliases: int
    route_cache: int
    sys_interval: int
    anonymous: str
    max_connections_per_address: int
    max_auth_failures: int
    auth_backoff: int
    auth_timeout: int
    max_tracked_addresses: int
    max_message_rate: int
    max_byte_rate: int
    rate_burst: int
    rate_exceeded: str
    server_reference: str
    response_information: str

    def __init__(self, board: bool = False, **values: "Any") -> None:
        """Defaults of a board or a server, overridden by `values`.

        Raises ValueError naming the option for an unknown name, a wrong type or a value out of range.
        """
        for row in TABLE:
            name = row[0]
            if name in values:
                _check(row, values[name])
                setattr(self, name, values[name])  # subset: ok, names come from TABLE
            else:
                setattr(self, name, row[1] if board else row[2])  # subset: ok, names come from TABLE
        known = [row[0] for row in TABLE]
        for name in values:
            if name not in known:
                raise ValueError("unknown option %s" % name)

    def values(self) -> "dict[str, Any]":
        """All options by name."""
        return {row[0]: getattr(self, row[0]) for row in TABLE}  # subset: ok, names come from TABLE

    def changed(self, values: "dict[str, Any]") -> "Options":
        """A copy in which `values` are others. Raises ValueError as the constructor does."""
        all_values = self.values()
        all_values.update(values)
        return Options(False, **all_values)

    def assign(self, other: "Options") -> None:
        """Take over all options of `other`: whoever holds this object sees them change."""
        values = other.values()
        for name in values:
            setattr(self, name, values[name])  # subset: ok, names come from TABLE


def _check(row: "tuple[Any, ...]", value: "Any") -> None:
    name, default, _, least, most, unit = row
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ValueError("%s must be true or false, not %r" % (name, value))
    elif isinstance(default, str):
        if not isinstance(value, str):
            raise ValueError("%s must be a string, not %r" % (name, value))
        if least is not None and value not in least:
            raise ValueError("%s must be one of %s, not %r" % (name, ", ".join(least), value))
    elif isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("%s must be a whole number, not %r" % (name, value))
    elif not least <= value <= most:
        text = "%s must be from %d to %d%s, not %d"
        raise ValueError(text % (name, least, most, " " + unit if unit else "", value))
