"""Reads properties of MQTT 5 in clients' packets, counts their cost and limits their number (clause 2.2.2)."""

from port.core import const
from port.core.wire.codec import CONNECT
from port.core.wire.properties import (
    MESSAGE_EXPIRY_INTERVAL,
    RESPONSE_TOPIC,
    SESSION_EXPIRY_INTERVAL,
    WILL,
    WILL_DELAY_INTERVAL,
    decode,
    encode_all,
)
from port.core.wire.reason_codes import PROTOCOL_ERROR, MQTTError
from port.core.wire.topics import has_wildcard

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

    from port.core.wire.codec import Reader
    from port.core.wire.properties import Properties
    from port.core.limits.options import Options
    from port.core.limits.turns import Turns
    from port.core.protocol.connect_packet import Connect

_PARSED = const(2)  # cost of a byte of properties, in deliveries (Turns.spent)


class PropertyReader:
    """Reads properties. All methods raise MQTTError for wrong properties."""

    def __init__(self, options: "Options", turns: "Turns") -> None:
        """`options` has `max_user_properties`; the cost of reading counts in `turns`."""
        self._options = options
        self._turns = turns

    def decode(self, reader: "Reader", kind: int) -> "Properties":
        """The properties of a packet of type `kind`, see port.core.wire.properties.decode."""
        start = reader.pos
        properties = decode(reader, kind, self._options.max_user_properties)
        self._turns.spent += _PARSED * (reader.pos - start)
        return properties

    def read_connect(self, connect: "Connect", reader: "Reader") -> None:
        """The properties of a CONNECT."""
        connect.properties = properties = self.decode(reader, CONNECT)
        connect.expiry = properties.get(SESSION_EXPIRY_INTERVAL, 0)

    def read_will(self, connect: "Connect", reader: "Reader") -> "tuple[bytes, Optional[int]]":
        """The properties of the will in it: (those to forward, message expiry interval in ms)."""
        properties = self.decode(reader, WILL)
        check_response_topic(properties)
        connect.will_delay = properties.pop(WILL_DELAY_INTERVAL, 0)
        interval = properties.pop(MESSAGE_EXPIRY_INTERVAL, None)
        return encode_all(properties), None if interval is None else interval * 1000


def check_response_topic(properties: "Properties") -> None:
    """Raise MQTTError for a Response Topic that is no topic name [MQTT-3.3.2-14]."""
    topic = properties.get(RESPONSE_TOPIC)
    if topic is not None and (not topic or has_wildcard(topic)):
        raise MQTTError(PROTOCOL_ERROR, "invalid response topic")
