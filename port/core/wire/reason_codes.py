"""Reason codes of MQTT 5 (clause 2.4) and the one exception that carries them.

A peer's fault is always raised as `MQTTError`. `Connection.fail` alone answers it, as the peer's
protocol version allows: with CONNACK, with DISCONNECT, or by closing the connection.
"""

SUCCESS = 0x00
DISCONNECT_WITH_WILL = 0x04
NO_MATCHING_SUBSCRIBERS = 0x10
NO_SUBSCRIPTION_EXISTED = 0x11
CONTINUE_AUTHENTICATION = 0x18
RE_AUTHENTICATE = 0x19
UNSPECIFIED_ERROR = 0x80
MALFORMED_PACKET = 0x81
PROTOCOL_ERROR = 0x82
IMPLEMENTATION_SPECIFIC_ERROR = 0x83
UNSUPPORTED_PROTOCOL_VERSION = 0x84
CLIENT_IDENTIFIER_NOT_VALID = 0x85
BAD_USER_NAME_OR_PASSWORD = 0x86
NOT_AUTHORIZED = 0x87
SERVER_UNAVAILABLE = 0x88
SERVER_BUSY = 0x89
BANNED = 0x8A
SERVER_SHUTTING_DOWN = 0x8B
BAD_AUTHENTICATION_METHOD = 0x8C
KEEP_ALIVE_TIMEOUT = 0x8D
SESSION_TAKEN_OVER = 0x8E
TOPIC_FILTER_INVALID = 0x8F
TOPIC_NAME_INVALID = 0x90
PACKET_IDENTIFIER_NOT_FOUND = 0x92
RECEIVE_MAXIMUM_EXCEEDED = 0x93
TOPIC_ALIAS_INVALID = 0x94
PACKET_TOO_LARGE = 0x95
MESSAGE_RATE_TOO_HIGH = 0x96
QUOTA_EXCEEDED = 0x97
ADMINISTRATIVE_ACTION = 0x98
RETAIN_NOT_SUPPORTED = 0x9A
QOS_NOT_SUPPORTED = 0x9B
USE_ANOTHER_SERVER = 0x9C
SERVER_MOVED = 0x9D
SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E
MAXIMUM_CONNECT_TIME = 0xA0
SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1
WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2

# For monitor.measures: the reason why a message misses one receiver or all. 0: the receiver is away or reads too slowly.
DROP_QUEUE_FULL = 1
DROP_TOO_LARGE = 2
DROP_MEMORY = 3
DROP_NOT_AUTHORIZED = 4
DROP_RESERVED_TOPIC = 5
DROP_RETAINED_FULL = 6
# The reason why a connection is closed before CONNECT. 0: in a TLS handshake or PROXY header.
AWAY_CONNECTIONS = 1
AWAY_ADDRESS = 2
AWAY_BLOCKED = 3
AWAY_ANONYMOUS = 4
AWAY_PROXY = 5
AWAY_FILES = 6
AWAY_GAVE_WAY = 7
AWAY_LATE = 8
AWAY_STOPPING = 9


class MQTTError(Exception):
    """The peer broke the protocol or a limit; `code` is the MQTT 5 reason code."""

    def __init__(self, code: int, text: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def connect_return_code(code: int) -> int:
    """The MQTT 3.x CONNACK return code (3.1.1 clause 3.2.2.3) for an MQTT 5 reason code."""
    if code == SUCCESS:
        return 0
    if code == UNSUPPORTED_PROTOCOL_VERSION:
        return 1
    if code == CLIENT_IDENTIFIER_NOT_VALID:
        return 2
    if code == BAD_USER_NAME_OR_PASSWORD:
        return 4
    if code in (NOT_AUTHORIZED, BANNED, BAD_AUTHENTICATION_METHOD):
        return 5
    return 3
