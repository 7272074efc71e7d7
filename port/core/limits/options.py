"""All options of the broker in one place: default, range and unit of each.

A board and a server want different defaults; both stand in the table. What an option
means is told in the docstring of `Options`, which MicroPython drops when it compiles and
`python -m port.cpython --help` prints.
"""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Sequence

# name, default on a board, default on a server, least, most, unit. A str default takes any
# str, or one of the choices listed in place of the range; a bool takes True or False, a tuple a
# list of some of its items.
TABLE: "tuple[tuple[str, Any, Any, Any, Any, str], ...]" = (
    ("max_connections", 32, 20000, 1, 1000000, ""),
    ("max_sessions", 64, 200000, 1, 10000000, ""),
    ("owner_share", 25, 25, 1, 100, "percent"),
    ("max_packet_size", 8192, 2000000, 128, 268435460, "bytes"),
    ("message_size_limit", 0, 0, 0, 268435455, "bytes"),
    ("max_connect_size", 2048, 131072, 64, 268435460, "bytes"),
    ("max_connecting_bytes", 8192, 16777216, 128, 1099511627776, "bytes"),
    ("connect_timeout", 10, 10, 1, 3600, "s"),
    ("accept_protocol_versions", (3, 4, 5), (3, 4, 5), None, None, ""),
    ("client_id", "", "", None, None, ""),
    ("allow_zero_length_clientid", True, True, None, None, ""),
    ("auto_id_prefix", "auto-", "auto-", None, None, ""),
    ("use_username_as_clientid", False, False, None, None, ""),
    ("max_client_id_length", 256, 1024, 23, 65535, "bytes"),
    ("max_keep_alive", 0, 0, 0, 65535, "s"),
    ("max_session_expiry", 86400, 4294967295, 0, 4294967295, "s"),
    ("receive_maximum", 16, 200, 1, 65535, ""),
    ("max_unreleased", 128, 65535, 1, 65535, ""),
    ("max_inflight", 8, 64, 1, 65535, ""),
    ("max_inflight_bytes", 8192, 4000000, 64, 1073741824, "bytes"),
    ("max_queued_messages", 64, 1000, 1, 100000000, ""),
    ("max_queued_bytes", 8192, 16777216, 64, 1073741824, "bytes"),
    ("queue_qos0_messages", False, False, None, None, ""),
    ("queue_full", "newest", "newest", ("newest", "oldest", "disconnect"), None, ""),
    ("outbox_bytes", 2048, 262144, 256, 1073741824, "bytes"),
    ("receiver_patience", 1000, 300, 0, 60000, "ms"),
    ("max_subscriptions", 32, 10000, 1, 10000000, ""),
    ("max_subscription_bytes", 8192, 8000000, 64, 1073741824, "bytes"),
    ("max_wide_subscriptions", 16, 500, 0, 10000000, ""),
    ("max_shared_subscriptions", 8, 50, 0, 10000000, ""),
    ("max_filters", 32, 4096, 1, 10000000, ""),
    ("max_user_properties", 32, 256, 0, 10000000, ""),
    ("max_topic_length", 256, 4096, 1, 65535, "bytes"),
    ("max_topic_levels", 16, 128, 1, 65535, ""),
    ("max_retained_messages", 64, 1000000, 0, 100000000, ""),
    ("max_retained_bytes", 16384, 134217728, 0, 1099511627776, "bytes"),
    ("retained_share", 75, 75, 1, 100, "percent"),
    ("max_memory", 40960, 268435456, 4096, 1099511627776, "bytes"),
    ("max_qos", 2, 2, 0, 2, ""),
    ("retain_available", True, True, None, None, ""),
    ("max_retained_expiry", 0, 0, 0, 4294967295, "s"),
    ("check_retain_source", True, True, None, None, ""),
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
    ("max_log_lines", 10, 60, 0, 1000000, "lines/min"),
    ("max_message_rate", 0, 0, 0, 1000000, "messages/s"),
    ("max_byte_rate", 0, 0, 0, 1000000000, "bytes/s"),
    ("rate_burst", 2, 2, 1, 3600, "s"),
    ("rate_exceeded", "delay", "delay", ("delay", "disconnect"), None, ""),
    ("server_reference", "", "", None, None, ""),
    ("response_information", "", "", None, None, ""),
)

# Options of which 0 means the most there can be.
NO_LIMIT = ("receive_maximum", "max_inflight", "max_inflight_bytes", "max_queued_messages", "max_queued_bytes")
_PLACE = const(48)  # bytes of max_memory that a message in a queue takes at least

# Options of the broker as a whole: a listener cannot have others.
GLOBAL = (
    "max_sessions",
    "owner_share",
    "max_connecting_bytes",
    "max_retained_messages",
    "max_retained_bytes",
    "retained_share",
    "max_retained_expiry",
    "check_retain_source",
    "max_memory",
    "max_user_properties",
    "route_cache",
    "sys_interval",
    "max_auth_failures",
    "auth_backoff",
    "max_tracked_addresses",
    "max_log_lines",
)


class Options:
    """The options of one broker, checked.

    max_connections: clients connected at once; one more is refused with 0x97 (3.x: return code 3)
    max_sessions: sessions kept that outlive their connections; one more is refused with 0x97 (3.x: return code 3), see owner_share
    owner_share: what an address, or a user, may have of connections without CONNECT, their bytes, clients and sessions when there is no room for another's; what is above it gives way
    max_packet_size: largest packet accepted; a larger one ends the connection with 0x95
    message_size_limit: largest payload accepted; a larger message is dropped and answered with 0x97 (3.x: as if it were not), the client stays; a will with one is refused with 0x95 (3.x: return code 3); the packets of clients with a limit take more time (0: no limit)
    max_connect_size: largest CONNECT accepted, before anyone is authenticated
    max_connecting_bytes: bytes kept of clients that are not let in yet, all together, of packets that are not complete and CONNECTs that are not decided; see owner_share
    connect_timeout: how long a new connection may take to complete its CONNECT
    accept_protocol_versions: the protocol levels that are served: 3 (MQTT 3.1), 4 (3.1.1), 5; others are refused with 0x84 (3.x: return code 1)
    client_id: what client ids must be, %u standing for the user name and * at the end for any end, as in %u-*; another is refused with 0x85 (3.x: return code 2)
    allow_zero_length_clientid: whether a client may come without a client id and be given one; otherwise it is refused with 0x85 (3.1.1: return code 2)
    auto_id_prefix: what a client id begins with that is given; 16 hexadecimal digits follow
    use_username_as_clientid: whether the user name stands in place of the client id, so that each user has one client; a client without one is refused with 0x87 (3.x: return code 5)
    max_client_id_length: longest client id; a longer one is refused with 0x85 (3.x: return code 2)
    max_keep_alive: longest keep alive; MQTT 5 clients that ask for more, or for none, are told this, and all are held to it (0: no limit)
    max_session_expiry: longest a session outlives its connection, MQTT 3.x ones included (4294967295: for ever)
    receive_maximum: QoS 1 and 2 messages an MQTT 5 client may have unacknowledged towards the broker (0: 65535)
    max_unreleased: QoS 2 messages an MQTT 3.x client may have unreleased towards the broker
    max_inflight: QoS 1 and 2 messages sent to a client and not acknowledged yet; the rest waits in its queue (0: 65535)
    max_inflight_bytes: bytes of messages of more than 1,024 bytes sent to a client and not acknowledged yet; one is always sent (0: no limit)
    max_queued_messages: messages that wait for one client (0: as many as max_queued_bytes and max_memory let); a store remembers of as many retained ones, with names of 64 bytes on average, that a subscription has brought them
    max_queued_bytes: bytes of messages that wait for one client (0: as many as max_memory lets)
    queue_qos0_messages: whether QoS 0 waits, too, for a client that is away or slow and whose session outlives its connection; it counts for max_queued_messages and max_queued_bytes, and topics such clients subscribe to take more time
    queue_full: what gives way when a queue is full: the newest message, the oldest, or the client (disconnect)
    outbox_bytes: unsent bytes, besides the packet under way, at which a client counts as slow: QoS 0 to it is dropped, QoS 1 and 2 queued
    receiver_patience: longest a publisher's burst waits for a receiver that takes nothing of its queue (0: never), see port.core.protocol.backpressure; and the time, of a second at least, after which what a client has not acknowledged counts for max_memory
    max_subscriptions: subscriptions of one session; one more is refused with 0x97 (3.1.1: 0x80)
    max_subscription_bytes: bytes that the subscriptions of one session take; one more is refused with 0x97 (3.1.1: 0x80)
    max_wide_subscriptions: subscriptions of one session with more than one wildcard; one more is refused with 0x97 (3.1.1: 0x80), and so is a filter nobody has, with several +, of a user or, without one, an address who would come above 16 times as many + in such filters: looking up a name takes time for each
    max_shared_subscriptions: shared subscriptions that one user or, without one, one address may begin; those of others may be joined
    max_filters: topic filters in one SUBSCRIBE or UNSUBSCRIBE; more end the connection with 0x97
    max_user_properties: user properties in one packet or will; more end the connection with 0x97
    max_topic_length: longest topic name or filter
    max_topic_levels: most levels in a topic name or filter
    max_retained_messages: retained messages kept; one more is not retained and answered with 0x97
    max_retained_bytes: bytes of retained messages kept; each counts its name twice, payload, properties and 48 words, and who published it where that is kept
    retained_share: what an address, or a user, may have of the room for retained messages that others leave; more are answered with 0x97
    max_memory: bytes kept for all clients together, at least four of the largest packets; at the limit 0x97, or a message is dropped
    max_qos: highest QoS accepted
    retain_available: whether messages may be retained
    max_retained_expiry: longest time that what is retained from now on is kept, also without a message expiry interval or with a longer one; receivers are not told of it (0: as long as its publisher wants)
    check_retain_source: whether a retained message is withheld from new subscriptions once its publisher has no right to it any more, by rules and users of the configuration; kept of what is published while there are rules
    wildcard_subscriptions: whether + and # are allowed in filters
    shared_subscriptions: whether $share/NAME/filter is allowed
    subscription_identifiers: whether MQTT 5 subscription identifiers are allowed
    topic_alias_maximum: topic aliases an MQTT 5 client may use towards the broker; their names count for max_memory
    outbound_topic_aliases: topic aliases the broker uses towards an MQTT 5 client that allows them
    route_cache: topic names whose receivers are remembered, and 16 times as many receivers of them all; those that are the same count once
    sys_interval: time between two rounds of $SYS messages (0: none)
    anonymous: who may connect without a user name, or with an empty one: all, this machine (loopback), none; auto: loopback unless there is auth
    max_connections_per_address: connections one address (IPv6: /64 network) may have, this machine excepted (0: no limit)
    max_auth_failures: failures after which a user name at an address, this machine excepted, must wait, or the address after ten times as many: 0x8A (3.x: 5) or no answer (0: never)
    auth_backoff: longest time a user name at an address has to wait; it begins with one second and doubles with each failure
    auth_timeout: longest wait for one answer of an authenticator or authorizer, then the client is refused with 0x89 (3.x: 3)
    max_tracked_addresses: addresses, and user names at them, whose failures are remembered; for twice as many it is remembered that they were let in
    max_log_lines: lines in the log that one address may cause, of each level; what is more is counted and told (0: no limit)
    max_message_rate: PUBLISH packets one client may send on average (0: no limit)
    max_byte_rate: bytes one client may send on average (0: no limit)
    rate_burst: seconds' worth a client may send at once after a pause
    rate_exceeded: what happens to a client that sends faster: it is read later (delay), or disconnected with 0x96
    server_reference: another server, told to MQTT 5 clients that find this one full or stopping
    response_information: told to MQTT 5 clients that ask for it, the basis of their response topics
    """

    max_connections: int
    max_sessions: int
    owner_share: int
    max_packet_size: int
    message_size_limit: int
    max_connect_size: int
    max_connecting_bytes: int
    connect_timeout: int
    accept_protocol_versions: "Sequence[int]"
    client_id: str
    allow_zero_length_clientid: bool
    auto_id_prefix: str
    use_username_as_clientid: bool
    max_client_id_length: int
    max_keep_alive: int
    max_session_expiry: int
    receive_maximum: int
    max_unreleased: int
    max_inflight: int
    max_inflight_bytes: int
    max_queued_messages: int
    max_queued_bytes: int
    queue_qos0_messages: bool
    queue_full: str
    outbox_bytes: int
    receiver_patience: int
    max_subscriptions: int
    max_subscription_bytes: int
    max_wide_subscriptions: int
    max_shared_subscriptions: int
    max_filters: int
    max_user_properties: int
    max_topic_length: int
    max_topic_levels: int
    max_retained_messages: int
    max_retained_bytes: int
    retained_share: int
    max_memory: int
    max_qos: int
    retain_available: bool
    max_retained_expiry: int
    check_retain_source: bool
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
    max_log_lines: int
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
                value = values[name]
                _check(row, value)
                if name in NO_LIMIT and not value:
                    value = row[4]
                setattr(self, name, value)  # subset: ok, names come from TABLE
            else:
                setattr(self, name, row[1] if board else row[2])  # subset: ok, names come from TABLE
        known = [row[0] for row in TABLE]
        for name in values:
            if name not in known:
                try:
                    from port.core.config.arguments import unknown_option
                except ImportError:
                    raise ValueError("unknown option " + name)
                raise ValueError(unknown_option(name, known))
        longest = self.max_client_id_length - 16
        if len(self.auto_id_prefix.encode()) > longest:
            raise ValueError("auto_id_prefix must not be longer than %d bytes, 16 less than max_client_id_length" % longest)
        if not values.get("max_queued_messages", 1):  # on MicroPython a queue has all its places from the beginning
            self.max_queued_messages = min(self.max_queued_messages, max(self.max_memory, 4 * self.max_packet_size) // _PLACE)

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
    elif isinstance(default, tuple):
        if not isinstance(value, (list, tuple)) or not value or not all([type(item) is int and item in default for item in value]):
            raise ValueError("%s must be a list of some of %s, not %r" % (name, ", ".join([str(item) for item in default]), value))
    elif isinstance(default, str):
        if not isinstance(value, str):
            raise ValueError("%s must be a string, not %r" % (name, value))
        if "\0" in value:  # MQTT has no place for it
            raise ValueError("%s must not contain a NUL character" % name)
        if least is not None and value not in least:
            raise ValueError("%s must be one of %s, not %r" % (name, ", ".join(least), value))
    elif isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("%s must be a whole number, not %r" % (name, value))
    elif not least <= value <= most and (value or name not in NO_LIMIT):
        none = " or 0 for no limit" if name in NO_LIMIT else ""
        raise ValueError("%s must be from %d to %d%s%s, not %d" % (name, least, most, " " + unit if unit else "", none, value))
