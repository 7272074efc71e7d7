"""The parts of MQTT 5 alone: properties and reason codes in packets, topic aliases, enhanced authentication.

Loaded by the first MQTT 5 client, see Broker.find_mqtt5. A broker without this module and port.core.wire.properties
serves MQTT 3.1 and 3.1.1.
"""

from port.core import const
from port.core.constants import OPEN
from port.core.wire.codec import AUTH, DISCONNECT, PUBCOMP, PUBLISH, PUBREL, SUBSCRIBE, Reader, packet, u16, u32, varint
from port.core.wire.properties import (
    ASSIGNED_CLIENT_IDENTIFIER,
    AUTHENTICATION_DATA,
    AUTHENTICATION_METHOD,
    MAXIMUM_PACKET_SIZE,
    MAXIMUM_QOS,
    MESSAGE_EXPIRY_INTERVAL,
    REASON_STRING,
    RECEIVE_MAXIMUM,
    REQUEST_PROBLEM_INFORMATION,
    REQUEST_RESPONSE_INFORMATION,
    RESPONSE_INFORMATION,
    RETAIN_AVAILABLE,
    SERVER_KEEP_ALIVE,
    SERVER_REFERENCE,
    SESSION_EXPIRY_INTERVAL,
    SHARED_SUBSCRIPTION_AVAILABLE,
    SUBSCRIPTION_IDENTIFIER,
    SUBSCRIPTION_IDENTIFIER_AVAILABLE,
    TOPIC_ALIAS,
    TOPIC_ALIAS_MAXIMUM,
    USER_PROPERTY,
    WILDCARD_SUBSCRIPTION_AVAILABLE,
    encode,
    encode_all,
)
from port.core.wire.reason_codes import (
    BAD_AUTHENTICATION_METHOD,
    CONTINUE_AUTHENTICATION,
    MALFORMED_PACKET,
    NOT_AUTHORIZED,
    PROTOCOL_ERROR,
    QUOTA_EXCEEDED,
    RE_AUTHENTICATE,
    SERVER_MOVED,
    SERVER_SHUTTING_DOWN,
    SERVER_UNAVAILABLE,
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
    SUCCESS,
    TOPIC_ALIAS_INVALID,
    USE_ANOTHER_SERVER,
    MQTTError,
)
from port.core.routing.router import check_name
from port.core.auth.authenticator import checked_answer
from port.core.protocol.handle_connect import authenticated
from port.core.protocol.property_reader import PropertyReader, check_response_topic

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

    from port.core.wire.codec import Buffer
    from port.core.wire.properties import Properties
    from port.core.messages.message import Message
    from port.core.sessions.session import Session
    from port.core.auth.authenticator import Authenticator, Identity
    from port.core.protocol.connection import Connection
    from port.core.protocol.connect_packet import Connect
    from port.core.broker import Broker

    # topic alias (-1: none), message expiry interval in s or None, and the properties to forward
    Parsed = tuple[int, "Optional[int]", bytes]

_EXCHANGED = const(40)  # cost of a step of enhanced authentication, in deliveries (Turns.spent)
_CACHED_SIZE = const(256)  # bytes of the longest property block cached
# Reason codes a client may send, MQTT 5 clauses 3.4.2.1, 3.5.2.1, 3.6.2.1, 3.7.2.1, 3.14.2.1.
_ACK_CODES = b"\x00\x10\x80\x83\x87\x90\x91\x97\x99"
_RELEASE_CODES = b"\x00\x92"
_DISCONNECT_CODES = b"\x00\x04\x80\x81\x82\x83\x90\x93\x94\x95\x96\x97\x98\x99"


class MQTT5(PropertyReader):
    """Operations on connections and sessions of MQTT 5. All methods that read packets raise MQTTError."""

    def __init__(self, broker: "Broker") -> None:
        super().__init__(broker.options, broker.turns)
        self.cache: "dict[bytes, Parsed]" = {}  # property blocks of PUBLISH packets
        self._broker = broker

    # -- CONNECT and CONNACK -----------------------------------------------------------------

    def begin(self, conn: "Connection", connect: "Connect") -> None:
        """Apply the properties that count before the client is let in."""
        properties = connect.properties
        # Unused, and thirty times their bytes would be kept until the client is let in.
        properties.pop(USER_PROPERTY, None)
        conn.max_packet = properties.get(MAXIMUM_PACKET_SIZE, 0xFFFFFFFF)
        # Allowed unless it is 0; but some clients cannot read properties in a PUBACK.
        conn.problem_information = properties.get(REQUEST_PROBLEM_INFORMATION) == 1
        if AUTHENTICATION_DATA in properties and AUTHENTICATION_METHOD not in properties:
            raise MQTTError(PROTOCOL_ERROR, "authentication data without a method")

    def connack(self, conn: "Connection", connect: "Connect") -> bytes:
        """The properties of the CONNACK: the facts about this server that the client must know (clause 3.2.2.3)."""
        options = conn.options
        properties: "Properties" = connect.extra or {}
        if connect.assigned:  # [MQTT-3.2.2-16]
            properties[ASSIGNED_CLIENT_IDENTIFIER] = connect.client_id
        if connect.expiry > options.max_session_expiry:
            properties[SESSION_EXPIRY_INTERVAL] = options.max_session_expiry
        keep_alive = connect.held_to(options)
        if keep_alive != connect.keep_alive:  # [MQTT-3.2.2-21]
            properties[SERVER_KEEP_ALIVE] = keep_alive
        if options.receive_maximum != 65535:
            properties[RECEIVE_MAXIMUM] = options.receive_maximum
        if options.topic_alias_maximum:
            properties[TOPIC_ALIAS_MAXIMUM] = options.topic_alias_maximum
        if options.max_packet_size < 268435460:
            properties[MAXIMUM_PACKET_SIZE] = options.max_packet_size
        if options.max_qos < 2:
            properties[MAXIMUM_QOS] = options.max_qos
        if not options.retain_available:
            properties[RETAIN_AVAILABLE] = 0
        if not options.wildcard_subscriptions:
            properties[WILDCARD_SUBSCRIPTION_AVAILABLE] = 0
        if not options.subscription_identifiers:
            properties[SUBSCRIPTION_IDENTIFIER_AVAILABLE] = 0
        if not options.shared_subscriptions:
            properties[SHARED_SUBSCRIPTION_AVAILABLE] = 0
        if options.response_information and connect.properties.get(REQUEST_RESPONSE_INFORMATION):
            properties[RESPONSE_INFORMATION] = options.response_information.encode()
        return encode(properties)

    def open(self, conn: "Connection", session: "Session", connect: "Connect") -> None:
        """Put the requests of the CONNECT into force."""
        properties = connect.properties
        options = conn.options
        session.receive_maximum = properties.get(RECEIVE_MAXIMUM, 65535)
        aliases = min(properties.get(TOPIC_ALIAS_MAXIMUM, 0), options.outbound_topic_aliases)
        if aliases:
            session.alias_maximum = aliases

    # -- enhanced authentication -------------------------------------------------------------

    def authenticates(self, conn: "Connection", connect: "Connect") -> bool:
        """True when a CONNECT asks for enhanced authentication, which has then begun."""
        method = connect.properties.get(AUTHENTICATION_METHOD)
        if method is None:
            return False
        for authenticator in conn.listener.authenticators:
            if authenticator.method == method:
                conn.identity.authenticator = authenticator  # type: ignore[union-attr]
                _exchange(conn, connect.properties.get(AUTHENTICATION_DATA))
                return True
        conn.identity.failed(BAD_AUTHENTICATION_METHOD)  # type: ignore[union-attr]
        raise MQTTError(BAD_AUTHENTICATION_METHOD, "unknown authentication method")  # [MQTT-4.12.0-1]

    def auth(self, conn: "Connection", first: int, body: bytes) -> None:
        """AUTH: the next step of an exchange, or the start of a re-authentication (clauses 4.12, 4.12.1)."""
        identity = conn.identity
        if first & 15 or identity is None or not identity.enhanced:
            raise MQTTError(PROTOCOL_ERROR, "AUTH without an authentication method")
        reader = Reader(body)
        code = reader.u8() if body else SUCCESS
        properties = self.rest(reader, AUTH)
        under_way = conn.connect is not None or identity.renewing
        if code != (CONTINUE_AUTHENTICATION if under_way else RE_AUTHENTICATE):
            raise MQTTError(PROTOCOL_ERROR, "reason code 0x%02x in AUTH" % code)
        if properties.get(AUTHENTICATION_METHOD) != identity.authenticator.method:  # type: ignore[union-attr]
            raise MQTTError(PROTOCOL_ERROR, "authentication method changed")  # [MQTT-4.12.0-5]
        _exchange(conn, properties.get(AUTHENTICATION_DATA))

    # -- other packets from the client -------------------------------------------------------

    def rest(self, reader: Reader, kind: int) -> "Properties":
        """The properties at the end of a packet, if it has any."""
        properties = self.decode(reader, kind) if reader.left() else {}
        if reader.left():
            raise MQTTError(MALFORMED_PACKET, "packet too long")
        return properties

    def reason(self, reader: Reader, kind: int) -> int:
        """The reason code of a PUBACK, PUBREC, PUBREL or PUBCOMP that has one."""
        code = reader.u8()
        if code not in (_RELEASE_CODES if kind in (PUBREL, PUBCOMP) else _ACK_CODES):
            raise MQTTError(PROTOCOL_ERROR, "reason code 0x%02x in packet type %d" % (code, kind))
        self.rest(reader, kind)
        return code

    def subscribing(self, conn: "Connection", reader: Reader, kind: int) -> int:
        """The properties of a SUBSCRIBE or UNSUBSCRIBE: the subscription identifier, or 0."""
        properties = self.decode(reader, kind)
        identifier: int = properties.get(SUBSCRIPTION_IDENTIFIER, 0) if kind == SUBSCRIBE else 0
        if identifier and not conn.options.subscription_identifiers:
            raise MQTTError(SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED, "subscription_identifiers is false")
        return identifier

    def disconnect(self, conn: "Connection", body: bytes) -> int:
        """The reason code of a DISCONNECT that has one, and its session expiry interval (clause 3.14)."""
        reader = Reader(body)
        code = reader.u8()
        if code not in _DISCONNECT_CODES:
            raise MQTTError(PROTOCOL_ERROR, "reason code 0x%02x in DISCONNECT" % code)
        properties = self.rest(reader, DISCONNECT)
        if SERVER_REFERENCE in properties:
            raise MQTTError(PROTOCOL_ERROR, "server reference from a client")
        expiry = properties.get(SESSION_EXPIRY_INTERVAL)
        session = conn.session
        if expiry is not None and session is not None:
            if expiry and not session.expiry:
                raise MQTTError(PROTOCOL_ERROR, "session expiry interval raised from 0")  # clause 3.14.2.2.2
            session.expiry = min(expiry, conn.options.max_session_expiry)
        return code

    # -- PUBLISH -----------------------------------------------------------------------------

    def properties(self, conn: "Connection", body: bytes, at: int) -> "tuple[int, int, Optional[int], bytes]":
        """Read the properties at body[at]: (start of the payload, alias or -1, expiry interval in s, properties to forward).

        Blocks that repeat are cached.
        """
        if at >= len(body):
            raise MQTTError(MALFORMED_PACKET, "PUBLISH too short")
        reader = Reader(body)
        reader.pos = at
        size = reader.varint()
        start = reader.pos
        if size > _CACHED_SIZE:
            reader.pos = at
            parsed = _parse(self.decode(reader, PUBLISH), body[start : start + size])
            return start + size, parsed[0], parsed[1], parsed[2]
        raw = reader.take(size)
        cache = self.cache
        known = cache.get(raw)
        if known is None:
            reader.pos = at
            known = _parse(self.decode(reader, PUBLISH), raw)
            if len(cache) >= self._broker.options.route_cache:
                cache.clear()
            cache[raw] = known
        return start + size, known[0], known[1], known[2]

    def forwardable(self, data: "Buffer", at: int, stop: int) -> bool:
        """True when the properties at data[at], of a PUBLISH that ends at `stop`, are known to be forwarded as they are."""
        size = data[at]
        at += 1
        if size > 127 or at + size > stop:
            return False
        parsed = self.cache.get(bytes(data[at : at + size]))
        return parsed is not None and parsed[0] < 0 and parsed[1] is None

    def resolve_alias(self, conn: "Connection", alias: int, name: bytes) -> bytes:
        """The topic name behind a topic alias, or note the alias of a name (clause 3.3.2.3.4).

        Noted aliases count as kept, see Memory.session_bytes; the connection ends when there is no room for one.
        """
        if not 0 < alias <= conn.options.topic_alias_maximum:  # [MQTT-3.3.2-8] [MQTT-3.3.2-9]
            raise MQTTError(TOPIC_ALIAS_INVALID, "topic alias %d" % alias)
        aliases = conn.aliases
        if aliases is None:
            aliases = conn.aliases = {}
        before = aliases.get(alias, b"")
        if name == before:
            if not name:
                raise MQTTError(PROTOCOL_ERROR, "unknown topic alias %d" % alias)
            return name
        if not name:
            return before
        check_name(name, conn.options)  # here, as a message that is denied or dropped is not checked further
        broker = conn.broker
        size = len(name) - len(before) if before else len(name) + broker.memory.identifier
        if size > 0 and broker.memory.lacks(size):
            raise MQTTError(QUOTA_EXCEEDED, "no room for topic alias %d" % alias)
        aliases[alias] = name
        broker.memory.session_bytes += size
        return name

    def close(self, conn: "Connection") -> None:
        """The connection is over, and with it the topic aliases of both sides [MQTT-3.3.2-7]. Takes no memory."""
        broker = conn.broker
        aliases = conn.aliases
        if aliases is not None:  # on a board setting an attribute for the first time takes memory
            for alias in aliases:
                broker.memory.session_bytes -= len(aliases[alias]) + broker.memory.identifier
            conn.aliases = None
        session = conn.session
        if session is not None and session.conn is conn and session.aliases is not None:
            for name in session.aliases:
                broker.memory.session_bytes -= len(name) + broker.memory.identifier
            session.aliases = None

    def form(
        self, session: "Session", message: "Message", flags: int, identifiers: "Optional[tuple[int, ...]]", packet_id: bytes
    ) -> "tuple[bytes, bytes]":
        """The packet as (head, tail), see Message.encode, with the parts for this receiver and moment.

        identifiers  subscription identifiers, or None [MQTT-3.3.4-3]
        packet_id    two bytes, none at QoS 0
        """
        alias = 0
        known = False
        if session.alias_maximum:
            aliases = session.aliases
            if aliases is None:
                aliases = session.aliases = {}
            alias = aliases.get(message.name, 0)
            known = alias > 0
            if not known and len(aliases) < session.alias_maximum:
                alias = aliases[message.name] = len(aliases) + 1
                session.broker.memory.session_bytes += len(message.name) + session.broker.memory.identifier
        if not alias and not identifiers and message.expires is None:
            head, tail = message.form(True, flags)
            return head + packet_id, tail
        own = b""
        if alias:
            own = bytes((TOPIC_ALIAS,)) + u16(alias)
        if message.expires is not None:  # the remaining interval is forwarded [MQTT-3.3.2-6]
            left = (message.expires - session.broker.clock() + 999) // 1000
            own += bytes((MESSAGE_EXPIRY_INTERVAL,)) + u32(max(left, 0))
        if identifiers:
            own += b"".join([bytes((SUBSCRIPTION_IDENTIFIER,)) + varint(identifier) for identifier in identifiers])
        return message.encode(flags, b"" if known else message.name, own, packet_id)

    # -- other packets to the client ---------------------------------------------------------

    def acknowledgement(self, conn: "Connection", first: int, packet_id: int, code: int, text: str) -> bytes:
        """A PUBACK, PUBREC or PUBREL with a reason code."""
        body = bytes((packet_id >> 8, packet_id & 255, code))
        if text and conn.problem_information:  # [MQTT-3.1.2-29]
            body = _with_text(conn, body, text, {})
        return packet(first, body)

    def refusal(self, conn: "Connection", code: int, text: str) -> bytes:
        """The CONNACK for a client that is refused."""
        if code == SERVER_SHUTTING_DOWN:  # which CONNACK lacks
            code = SERVER_UNAVAILABLE
        return packet(0x20, _with_text(conn, bytes((0, code)), text, _reference(conn, code, USE_ANOTHER_SERVER)))

    def farewell(self, conn: "Connection", code: int, text: str) -> bytes:
        """A DISCONNECT."""
        others = _reference(conn, code, SERVER_SHUTTING_DOWN, USE_ANOTHER_SERVER, SERVER_MOVED)
        return packet(0xE0, _with_text(conn, bytes((code,)), text, others))


def _exchange(conn: "Connection", data: "Optional[bytes]") -> None:
    identity: "Identity" = conn.identity  # type: ignore[assignment]
    authenticator: "Authenticator" = identity.authenticator  # type: ignore[assignment]
    conn.broker.turns.spent += _EXCHANGED
    code, answer = authenticator.exchange(identity, data)
    if code != CONTINUE_AUTHENTICATION:
        code = checked_answer(authenticator, code)
    if code == SUCCESS and conn.state == OPEN and identity.user != conn.session.user:  # type: ignore[union-attr]
        code = NOT_AUTHORIZED  # the session belongs to another user
    if code >= 0x80:
        identity.failed(code)
        raise MQTTError(code, "authentication failed")  # [MQTT-4.12.0-4] [MQTT-4.12.1-2]
    properties: "Properties" = {AUTHENTICATION_METHOD: authenticator.method}
    if answer is not None:
        properties[AUTHENTICATION_DATA] = answer
    if code == SUCCESS and conn.state != OPEN:
        conn.connect.extra = properties  # type: ignore[union-attr]
        authenticated(conn, code)
        return
    if conn.state != OPEN:
        identity.begin_attempt()
    else:  # a re-authentication goes on, or has ended
        identity.renewing = code == CONTINUE_AUTHENTICATION
    conn.reply(packet(0xF0, bytes((code,)) + encode(properties)))  # [MQTT-4.12.0-2]
    if code == SUCCESS:
        from port.core.protocol.reauthorize import renew

        renew(conn.broker, conn.session)  # type: ignore[arg-type]


def _parse(found: "Properties", raw: bytes) -> "Parsed":
    """The properties of a PUBLISH; `raw` are their bytes as they came, without the length."""
    if SUBSCRIPTION_IDENTIFIER in found:  # [MQTT-3.3.4-6]
        raise MQTTError(PROTOCOL_ERROR, "subscription identifier from a client")
    check_response_topic(found)
    alias = found.pop(TOPIC_ALIAS, -1)
    interval: "Optional[int]" = found.pop(MESSAGE_EXPIRY_INTERVAL, None)
    if alias < 0 and interval is None:
        return alias, interval, raw
    return alias, interval, encode_all(found)


def _reference(conn: "Connection", code: int, *codes: int) -> "Properties":
    """The Server Reference, if one is configured, for these reason codes."""
    reference = conn.options.server_reference
    return {SERVER_REFERENCE: reference.encode()} if reference and code in codes else {}


def _with_text(conn: "Connection", body: bytes, text: str, properties: "Properties") -> bytes:
    """`body` followed by properties, a reason string among them if there is room for it [MQTT-3.4.2-2]."""
    if text:
        whole = dict(properties)
        whole[REASON_STRING] = text.encode()
        longer = body + encode(whole)
        if len(packet(0x20, longer)) <= conn.max_packet:
            return longer
    return body + encode(properties)
