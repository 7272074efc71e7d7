"""All options of the broker in one place: default, range and unit of each.

The table has the defaults of a board and of a server. The docstring of `Options` has the meaning
of each option: MicroPython drops it when it compiles, `python -m port.cpython --help` prints it.
"""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Sequence

# name, default on a board, default on a server, least, most, unit. A str default takes any str, or one of the
# choices that stand in place of the range; a bool default takes True or False, a tuple default a list of some of its items.
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

# Options of which 0 means the largest value.
NO_LIMIT = ("receive_maximum", "max_inflight", "max_inflight_bytes", "max_queued_messages", "max_queued_bytes")
_PLACE = const(48)  # least bytes of max_memory that a queued message takes

# Options of the broker as a whole, which a listener cannot set.
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

    max_connections: clients connected at once; further ones are refused with 0x97 (3.x: return code 3)
    max_sessions: kept sessions that outlive their connections; further ones are refused with 0x97 (3.x: return code 3), see owner_share
    owner_share: share of one address or user in each of these when room for others runs out: connections without CONNECT, their bytes, clients, sessions; an owner above its share gives way
    max_packet_size: largest packet accepted; a larger one ends the connection with 0x95
    message_size_limit: largest payload accepted; a larger message is dropped and answered with 0x97 (3.x: acknowledged as usual), and its client stays; a larger will is refused with 0x95 (3.x: return code 3); packets of clients with a limit take more time (0: no limit)
    max_connect_size: largest CONNECT accepted, before anyone is authenticated
    max_connecting_bytes: bytes of incomplete packets and undecided CONNECTs, of all clients together that are not let in yet; see owner_share
    connect_timeout: longest time until a new connection has completed its CONNECT
    accept_protocol_versions: protocol levels served: 3 (MQTT 3.1), 4 (3.1.1), 5; others are refused with 0x84 (3.x: return code 1)
    client_id: pattern of allowed client ids, such as %u-*: %u stands for the user name, * at the end for any end; others are refused with 0x85 (3.x: return code 2)
    allow_zero_length_clientid: whether a client without a client id is assigned one; otherwise it is refused with 0x85 (3.1.1: return code 2)
    auto_id_prefix: beginning of assigned client ids; 16 hexadecimal digits follow
    use_username_as_clientid: whether the user name replaces the client id, so that each user has one client; a client without a user name is refused with 0x87 (3.x: return code 5)
    max_client_id_length: longest client id; a longer one is refused with 0x85 (3.x: return code 2)
    max_keep_alive: longest keep alive, for every client that asks for more or for none; MQTT 5 clients are told (0: no limit)
    max_session_expiry: longest time that a session outlives its connection, MQTT 3.x sessions included (4294967295: for ever)
    receive_maximum: QoS 1 and 2 messages an MQTT 5 client may have unacknowledged towards the broker (0: 65535)
    max_unreleased: QoS 2 messages an MQTT 3.x client may have unreleased towards the broker
    max_inflight: QoS 1 and 2 messages sent to a client and not acknowledged yet; further ones wait in its queue (0: 65535)
    max_inflight_bytes: bytes of messages larger than 1,024 bytes sent to a client and not acknowledged yet; one such message is always allowed (0: no limit)
    max_queued_messages: messages queued for one client (0: limited by max_queued_bytes and max_memory only); a store also remembers for as many retained messages, at 64 bytes a topic name, that a subscription has delivered them
    max_queued_bytes: bytes of messages queued for one client (0: limited by max_memory only)
    queue_qos0_messages: whether QoS 0 is queued, too, for a client that is away or slow and whose session outlives its connection; it counts for max_queued_messages and max_queued_bytes, and messages on topics that such clients subscribe to take more time
    queue_full: answer to a full queue: drop the newest message or the oldest, or disconnect the client
    outbox_bytes: unsent bytes, without the packet under way, at which a client counts as slow: QoS 0 to it is dropped, QoS 1 and 2 queued
    receiver_patience: longest time that a publisher's burst waits for a receiver that takes nothing of its queue (0: never), see port.core.protocol.backpressure; also the time, at least a second, after which unacknowledged messages count for max_memory
    max_subscriptions: subscriptions of one session; further ones are refused with 0x97 (3.1.1: 0x80)
    max_subscription_bytes: bytes that the subscriptions of one session take; further ones are refused with 0x97 (3.1.1: 0x80)
    max_wide_subscriptions: subscriptions of one session with more than one wildcard, as each makes topic names slower to resolve; further ones are refused with 0x97 (3.1.1: 0x80), and so is a new filter with several + when its user (without one: its address) would have more than 16 times as many + in such filters
    max_shared_subscriptions: shared subscriptions that one user (without one: one address) may create; joining those of others is not limited
    max_filters: topic filters in one SUBSCRIBE or UNSUBSCRIBE; a packet with more ends the connection with 0x97
    max_user_properties: user properties in one packet or will; a packet with more ends the connection with 0x97
    max_topic_length: longest topic name or filter
    max_topic_levels: most levels in a topic name or filter
    max_retained_messages: retained messages kept; further ones are not retained and answered with 0x97
    max_retained_bytes: bytes of retained messages kept; each counts twice its topic name, its payload, its properties and 48 words, and its publisher where that is kept
    retained_share: share of one address or user in the room for retained messages that others leave free; further ones are answered with 0x97
    max_memory: bytes kept for all clients together, at least four of the largest packets; at the limit packets are refused with 0x97 or messages dropped
    max_qos: highest QoS accepted
    retain_available: whether messages may be retained
    max_retained_expiry: longest time that a message retained from now on is kept, with a longer message expiry interval or none, too; receivers are not told (0: as long as its publisher wants)
    check_retain_source: whether a retained message is withheld from new subscriptions once its publisher has lost the right to it, by the rules and users of the configuration; for messages published while there are rules
    wildcard_subscriptions: whether + and # are allowed in filters
    shared_subscriptions: whether $share/NAME/filter is allowed
    subscription_identifiers: whether MQTT 5 subscription identifiers are allowed
    topic_alias_maximum: topic aliases an MQTT 5 client may use towards the broker; their topic names count for max_memory
    outbound_topic_aliases: topic aliases the broker uses towards an MQTT 5 client that allows them
    route_cache: topic names whose receivers are cached, with 16 times as many receivers in all; equal sets of receivers count once
    sys_interval: time between two rounds of $SYS messages (0: none)
    anonymous: clients that may connect without a user name, or with an empty one: all, those of this machine (loopback), none; auto: loopback without auth, none with auth
    max_connections_per_address: connections one address (IPv6: /64 network) may have, this machine excepted (0: no limit)
    max_auth_failures: failures after which a user name at an address, this machine excepted, must wait, and ten times as many for the whole address; a client that must wait gets 0x8A (3.x: 5) or no answer (0: never)
    auth_backoff: longest wait of a user name at an address; the wait begins with one second and doubles with each failure
    auth_timeout: longest wait for one answer of an authenticator or authorizer; then the client is refused with 0x89 (3.x: 3)
    max_tracked_addresses: addresses, and user names at them, whose failures are remembered; of twice as many the successes are remembered
    max_log_lines: log lines of each level that one address may cause; the number of further ones is logged (0: no limit)
    max_message_rate: PUBLISH packets one client may send on average (0: no limit)
    max_byte_rate: bytes one client may send on average (0: no limit)
    rate_burst: seconds' worth a client may send at once after a pause
    rate_exceeded: answer to a client that sends faster: its packets are read later (delay), or it is disconnected with 0x96
    server_reference: another server, named to MQTT 5 clients when this one is full or stopping
    response_information: basis of response topics, sent to MQTT 5 clients that ask for it
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
        if not values.get("max_queued_messages", 1):  # MicroPython allocates all places of a queue at once
            self.max_queued_messages = min(self.max_queued_messages, max(self.max_memory, 4 * self.max_packet_size) // _PLACE)

    def values(self) -> "dict[str, Any]":
        """The options by name."""
        return {row[0]: getattr(self, row[0]) for row in TABLE}  # subset: ok, names come from TABLE

    def changed(self, values: "dict[str, Any]") -> "Options":
        """A copy with other values for `values`. Raises ValueError as the constructor does."""
        all_values = self.values()
        all_values.update(values)
        return Options(False, **all_values)

    def assign(self, other: "Options") -> None:
        """Take over the options of `other`, for all that hold this object."""
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
        if "\0" in value:  # not allowed in a string of MQTT
            raise ValueError("%s must not contain a NUL character" % name)
        if least is not None and value not in least:
            raise ValueError("%s must be one of %s, not %r" % (name, ", ".join(least), value))
    elif isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("%s must be a whole number, not %r" % (name, value))
    elif not least <= value <= most and (value or name not in NO_LIMIT):
        none = " or 0 for no limit" if name in NO_LIMIT else ""
        raise ValueError("%s must be from %d to %d%s%s, not %d" % (name, least, most, " " + unit if unit else "", none, value))
