"""A CONNECT packet, parsed (clause 3.1)."""

from port.core import const
from port.core.wire.codec import Reader, is_utf8
from port.core.wire.reason_codes import CLIENT_IDENTIFIER_NOT_VALID, MALFORMED_PACKET, MQTTError
from port.core.wire.topics import valid_name
from port.core.messages.message import Message

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

    from port.core.wire.properties import Properties
    from port.core.limits.options import Options
    from port.core.acl.resume_check import Judged
    from port.core.protocol.property_reader import PropertyReader

_CLEAN_START = const(0x02)
_WILL = const(0x04)
_WILL_QOS = const(0x18)
_WILL_RETAIN = const(0x20)
_PASSWORD = const(0x40)
_USER_NAME = const(0x80)
_BRIDGE = const(0x80)  # added to the level, as mosquitto's bridges do


class Connect:
    """A CONNECT packet. The constructor reads its beginning, which decides how `read` reads the rest.

    protocol      name of the protocol; `level` as sent, without the bridge's bit
    version       3, 4 or 5; 0 for another protocol level
    bridge        whether the client declares itself a bridge to another broker
    size          bytes of the packet's body
    clean_start, keep_alive (s), client_id, user, password
    will          Message or None; `will_delay` in s
    expiry        session expiry interval asked for, s; MQTT 3.x asks for 0 or for ever
    properties    of MQTT 5, decoded; empty for MQTT 3.x

    While the broker decides:

    assigned      True when the broker made up the client id
    extra         properties that authentication adds to the CONNACK, or None
    may_leave_will, judged  the authorizer's answers so far, see `undecided`
    """

    def __init__(self, body: bytes) -> None:
        """Raises MQTTError when it is not MQTT [MQTT-3.1.2-1]."""
        self._reader = reader = Reader(body)
        self.size = reader.end
        self.protocol = reader.binary()
        level = reader.u8()
        self.bridge = level & _BRIDGE != 0
        self.level = level = level & ~_BRIDGE
        if self.protocol == b"MQIsdp":
            self.version = level if level == 3 else 0
        elif self.protocol == b"MQTT":
            self.version = level if level == 4 or level == 5 else 0
        else:
            raise MQTTError(MALFORMED_PACKET, "unknown protocol")

    def read(self, properties: "Optional[PropertyReader]") -> None:
        """Read the rest; `properties` reads those of MQTT 5. Raises MQTTError."""
        reader = self._reader
        version = self.version
        flags = reader.u8()
        if version == 3:  # which ignores bit 0, and the will's flags without a will
            flags &= ~1 if flags & _WILL else ~(1 | _WILL_QOS | _WILL_RETAIN)
        if flags & 1:  # [MQTT-3.1.2-3]
            raise MQTTError(MALFORMED_PACKET, "reserved connect flag set")
        self.clean_start = flags & _CLEAN_START != 0
        self.keep_alive = reader.u16()
        self.expiry = 0 if self.clean_start else 0xFFFFFFFF
        self.properties: "Properties" = {}
        if properties is not None:
            properties.read_connect(self, reader)
        self.client_id = reader.binary()
        if not is_utf8(self.client_id):  # [MQTT-3.1.3-4]
            raise MQTTError(CLIENT_IDENTIFIER_NOT_VALID, "client id is not valid UTF-8")
        self.assigned = False
        self.undecided()
        self.extra: "Optional[Properties]" = None
        self.will: "Optional[Message]" = None
        self.will_delay = 0
        if flags & _WILL:
            self._read_will(properties, (flags & _WILL_QOS) >> 3, flags & _WILL_RETAIN != 0)
        elif flags & (_WILL_QOS | _WILL_RETAIN):  # [MQTT-3.1.2-11] [MQTT-3.1.2-13]
            raise MQTTError(MALFORMED_PACKET, "will flags without a will")
        if flags & _PASSWORD and not flags & _USER_NAME and version != 5:  # 3.1.1 [MQTT-3.1.2-22]
            raise MQTTError(MALFORMED_PACKET, "password without a user name")
        # MQTT 3.1 allows flags without their fields, as clients of its predecessor sent them.
        self.user: "Optional[bytes]" = reader.string() if flags & _USER_NAME and (version != 3 or reader.left()) else None
        self.password: "Optional[bytes]" = reader.binary() if flags & _PASSWORD and (version != 3 or reader.left()) else None
        if reader.left():
            raise MQTTError(MALFORMED_PACKET, "CONNECT too long")

    def undecided(self) -> None:
        """Discard the authorizer's answers so far."""
        self.may_leave_will = False
        self.judged: "Optional[Judged]" = None  # the subscriptions of the session to be resumed

    def held_to(self, options: "Options") -> int:
        """The keep alive in force, s. A shorter one than the client's own holds for all versions; MQTT 5 clients are told."""
        longest = options.max_keep_alive
        return longest if longest and not 0 < self.keep_alive <= longest else self.keep_alive

    def _read_will(self, properties: "Optional[PropertyReader]", qos: int, retain: bool) -> None:
        if qos == 3:  # [MQTT-3.1.2-12]
            raise MQTTError(MALFORMED_PACKET, "will QoS 3")
        reader = self._reader
        # Until the will is published, `expires` holds the interval itself, ms.
        encoded, expires = (b"", None) if properties is None else properties.read_will(self, reader)
        name = reader.string()
        payload = reader.binary()
        if not valid_name(name):
            raise MQTTError(MALFORMED_PACKET, "invalid will topic")
        self.will = Message(name, payload, qos, retain, encoded, expires)
