"""An application message, and its PUBLISH packets for receivers.

A message is stored once and shared by all queues and windows. Its wire forms are built at most
once per protocol family, QoS and retain flag.
"""

from port.core import const
from port.core.wire.codec import PUBLISH, Reader, string, varint
from port.core.limits.client_log import shown

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.wire.properties import Properties


WHOLE = const(65536)  # bytes of a packet that is sent alone, not joined with others
LIGHT = const(1024)  # most bytes of payload and properties copied for each receiver and not counted in flight
_MEASURED = const(48)  # key, among the forms, of the tail of packets with properties of their own


def as_bytes(value: "Any") -> bytes:
    """Text or bytes as bytes. Raises TypeError for anything else."""
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, (bytes, bytearray, memoryview)):  # bytes(5) would be five NULs
        raise TypeError("str or bytes wanted, not %r" % (value,))
    return bytes(value)


class Message:
    """A message published by a client, by its will, or by the program that embeds the broker.

    name        topic name, UTF-8 bytes (`topic` is the same as str)
    payload     bytes
    qos         0, 1 or 2 as published
    retain      True when published with RETAIN
    properties  the MQTT 5 properties to forward unaltered, encoded; without topic alias,
                message expiry interval and subscription identifiers
    expires     when the message expires on the broker's clock, ms, or None
    clients     None, or the client ids (bytes) a hook redirected the message to
    kept        number of queues and windows that hold it, see Memory.keep
    heavy       True when payload and properties are more than LIGHT
    """

    __slots__ = ("name", "payload", "qos", "retain", "properties", "expires", "clients", "kept", "heavy", "_forms")

    def __init__(
        self,
        name: bytes,
        payload: bytes,
        qos: int = 0,
        retain: bool = False,
        properties: bytes = b"",
        expires: "Optional[int]" = None,
        form: "Any" = None,
    ) -> None:
        """`form`: a packet for `form` that exists already: (flags, with 16 for MQTT 5, (head, tail))."""
        self.name = name
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.properties = properties
        self.expires = expires
        self.clients: "Optional[list[bytes]]" = None
        self.kept = 0
        self.heavy = len(payload) + len(properties) > LIGHT
        # None, the one form (key, (head, tail)), or a dict key -> (head, tail)
        self._forms: "Any" = form

    def __repr__(self) -> str:
        """Without the payload, which may be secret."""
        retained = ", retained" if self.retain else ""
        return "<Message %s, QoS %d%s, %d bytes>" % (shown(as_bytes(self.name)), self.qos, retained, len(self.payload))

    @property
    def topic(self) -> str:
        """The topic name as str."""
        return str(self.name, "utf-8")

    def size(self) -> int:
        """Bytes that the message counts in a queue or among retained messages."""
        return len(self.name) + len(self.payload) + len(self.properties)

    def expired(self, now: int) -> bool:
        """True when the message has expired at `now`, ms on the broker's clock, and must not be sent [MQTT-3.3.2-5]."""
        return self.expires is not None and self.expires <= now

    def decoded_properties(self) -> "Properties":
        """The forwarded MQTT 5 properties as `properties.decode` gives them."""
        from port.core.wire.properties import decode

        return decode(Reader(varint(len(self.properties)) + self.properties), PUBLISH)

    def changed(self) -> None:
        """Forget the forms; call it after setting an attribute."""
        self._forms = None
        self.heavy = len(self.payload) + len(self.properties) > LIGHT

    def form(self, version5: bool, flags: int) -> "tuple[bytes, bytes]":
        """The packet as (head, tail) around the packet identifier, for receivers without properties of their own.

        `flags` is the low nibble of the fixed header; at QoS 0 head is the whole packet. Only for messages without expiry.
        """
        key = flags | 16 if version5 else flags
        forms = self._forms
        if forms is None:
            form = self._encode(version5, flags)
            self._forms = (key, form)
            return form
        if isinstance(forms, tuple):
            known: "tuple[bytes, bytes]" = forms[1]
            if forms[0] == key:
                return known
            forms = self._forms = {forms[0]: known}
        if key not in forms:
            forms[key] = self._encode(version5, flags)
        known = forms[key]
        return known

    def encode(self, flags: int, name: bytes, own: bytes, packet_id: bytes) -> "tuple[bytes, bytes]":
        """An MQTT 5 packet in two parts, with another topic name, or with its `own` properties before the message's.

        The second part holds the large payload or properties; all such packets share it.
        """
        tail = self.payload
        size = len(own) + len(self.properties)
        if len(self.properties) <= LIGHT:
            own += self.properties
        else:
            tail = self.form(True, _MEASURED)[1]
        head = string(name) + packet_id + varint(size) + own
        head = bytes((0x30 | flags,)) + varint(len(head) + len(tail)) + head
        return (head, tail) if len(tail) > LIGHT else (head + tail, b"")

    def _encode(self, version5: bool, flags: int) -> "tuple[bytes, bytes]":
        if flags == _MEASURED:
            return b"", self.properties + self.payload
        name = string(self.name)
        tail = self.payload
        if version5:
            tail = (self._find_tail() if self.heavy else b"") or varint(len(self.properties)) + self.properties + tail
        size = len(name) + len(tail)
        if flags & 6:
            return bytes((0x30 | flags,)) + varint(size + 2) + name, tail
        head = bytes((0x30 | flags,)) + varint(size) + name
        # All receivers share a whole form; receivers with a head of their own share a large payload.
        return (head, tail) if len(tail) > LIGHT else (head + tail, b"")

    def _find_tail(self) -> bytes:
        """The large tail of the other MQTT 5 forms, empty without one."""
        forms = self._forms
        if forms is None:
            return b""
        if isinstance(forms, tuple):
            forms = {forms[0]: forms[1]}
        for key in forms:
            tail: bytes = forms[key][1]
            # A QoS 0 packet as it came has the payload alone as its tail.
            if key & 16 and key != _MEASURED and len(tail) > len(self.payload):
                return tail
        return b""


def from_packet(packet: bytes, version5: bool) -> Message:
    """The message of a valid QoS 1 or 2 PUBLISH packet without topic alias and message expiry interval."""
    reader = Reader(packet)
    reader.pos = 1
    reader.varint()
    name = reader.binary()
    reader.u16()
    properties = reader.take(reader.varint()) if version5 else b""
    return Message(name, packet[reader.pos :], packet[0] >> 1 & 3, False, properties)
