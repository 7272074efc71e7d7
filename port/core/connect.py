"""CONNECT, the answer to it, and enhanced authentication (clauses 3.1, 3.2, 3.15, 4.12).

`handle_connect` parses and checks; `authenticated` goes on when it is decided that the
client may come in, at once or later.
"""

from port.core import const
from port.core.auth import PENDING, Identity
from port.core.codec import AUTH, CONNECT, Reader, is_utf8, packet
from port.core.message import Message
from port.core.properties import (
    ASSIGNED_CLIENT_IDENTIFIER,
    AUTHENTICATION_DATA,
    AUTHENTICATION_METHOD,
    MAXIMUM_PACKET_SIZE,
    MAXIMUM_QOS,
    MESSAGE_EXPIRY_INTERVAL,
    RECEIVE_MAXIMUM,
    REQUEST_PROBLEM_INFORMATION,
    REQUEST_RESPONSE_INFORMATION,
    RESPONSE_INFORMATION,
    RESPONSE_TOPIC,
    RETAIN_AVAILABLE,
    SERVER_KEEP_ALIVE,
    SESSION_EXPIRY_INTERVAL,
    SHARED_SUBSCRIPTION_AVAILABLE,
    SUBSCRIPTION_IDENTIFIER_AVAILABLE,
    TOPIC_ALIAS_MAXIMUM,
    USER_PROPERTY,
    WILDCARD_SUBSCRIPTION_AVAILABLE,
    WILL,
    WILL_DELAY_INTERVAL,
    decode,
    encode,
    encode_all,
)
from port.core.rate import renewed
from port.core.reason import (
    BAD_AUTHENTICATION_METHOD,
    BAD_USER_NAME_OR_PASSWORD,
    BANNED,
    CLIENT_IDENTIFIER_NOT_VALID,
    CONTINUE_AUTHENTICATION,
    MALFORMED_PACKET,
    NOT_AUTHORIZED,
    PACKET_TOO_LARGE,
    PROTOCOL_ERROR,
    QOS_NOT_SUPPORTED,
    QUOTA_EXCEEDED,
    RE_AUTHENTICATE,
    RETAIN_NOT_SUPPORTED,
    SERVER_UNAVAILABLE,
    SESSION_TAKEN_OVER,
    SUCCESS,
    UNSUPPORTED_PROTOCOL_VERSION,
    USE_ANOTHER_SERVER,
    MQTTError,
)
from port.core.rights import Judged, client_options, find_access, renew, set_access
from port.core.routing import check_name
from port.core.topics import has_wildcard, valid_name

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

    from port.core.acl import Access
    from port.core.auth import Authenticator
    from port.core.connection import Connection
    from port.core.options import Options
    from port.core.properties import Properties
    from port.core.session import Session

_AUTHENTICATING = const(1)
_OPEN = const(2)
_CLOSED = const(3)
_ASKING = const(1)  # Connection.held
_CLEAN_START = const(0x02)
_WILL = const(0x04)
_WILL_QOS = const(0x18)
_WILL_RETAIN = const(0x20)
_PASSWORD = const(0x40)
_USER_NAME = const(0x80)
# From port.core.acl, which is loaded when there is a rule.
_PUBLISH = const(1)
_SUBSCRIBE = const(2)
_UNDECIDED = const(-2)


class Connect:
    """A parsed CONNECT packet.

    will          Message or None; `will_delay` in s
    properties    of MQTT 5, decoded; empty for MQTT 3.x
    assigned      True when the broker made up the client id
    """

    def __init__(self, body: bytes, conn: "Connection") -> None:
        """Parse; sets conn.version as soon as it is known. Raises MQTTError."""
        reader = Reader(body)
        protocol = reader.binary()
        level = reader.u8()
        _check_protocol(conn, protocol, level & 0x7F)  # bit 7 marks a bridge, a custom of mosquitto's
        version = conn.version
        flags = reader.u8()
        if flags & 1:  # [MQTT-3.1.2-3]
            raise MQTTError(MALFORMED_PACKET, "reserved connect flag set")
        self.clean_start = flags & _CLEAN_START != 0
        self.keep_alive = reader.u16()
        self.properties: "Properties" = decode(reader, CONNECT) if version == 5 else {}
        self.client_id = _client_id(reader)
        self.assigned = False
        self.undecided()
        self.extra: "Optional[Properties]" = None  # what authentication adds to the CONNACK
        self.will: "Optional[Message]" = None
        self.will_delay = 0
        qos = (flags & _WILL_QOS) >> 3
        if flags & _WILL:
            self._read_will(reader, version, qos, flags & _WILL_RETAIN != 0)
        elif flags & (_WILL_QOS | _WILL_RETAIN):  # [MQTT-3.1.2-11] [MQTT-3.1.2-13]
            raise MQTTError(MALFORMED_PACKET, "will flags without a will")
        self.user: "Optional[bytes]" = reader.string() if flags & _USER_NAME else None
        if flags & _PASSWORD and self.user is None and version != 5:  # 3.1.1 [MQTT-3.1.2-22]
            raise MQTTError(MALFORMED_PACKET, "password without a user name")
        self.password: "Optional[bytes]" = reader.binary() if flags & _PASSWORD else None
        if reader.left():
            raise MQTTError(MALFORMED_PACKET, "CONNECT too long")

    def undecided(self) -> None:
        """The authorizer's answers so far count no more."""
        self.may_leave_will = False
        self.judged: "Optional[Judged]" = None  # the subscriptions of the session to be resumed

    def _read_will(self, reader: Reader, version: int, qos: int, retain: bool) -> None:
        if qos == 3:  # [MQTT-3.1.2-12]
            raise MQTTError(MALFORMED_PACKET, "will QoS 3")
        properties = decode(reader, WILL) if version == 5 else {}
        name = reader.string()
        payload = reader.binary()
        if not valid_name(name):
            raise MQTTError(MALFORMED_PACKET, "invalid will topic")
        topic = properties.get(RESPONSE_TOPIC)
        if topic is not None and (not topic or has_wildcard(topic)):
            raise MQTTError(PROTOCOL_ERROR, "invalid response topic")
        self.will_delay = properties.pop(WILL_DELAY_INTERVAL, 0)
        # Until the will is published, `expires` holds the interval itself, ms.
        interval = properties.pop(MESSAGE_EXPIRY_INTERVAL, None)
        self.will = Message(
            name, payload, qos, retain, encode_all(properties), None if interval is None else interval * 1000
        )


def _check_protocol(conn: "Connection", protocol: bytes, level: int) -> None:
    if protocol == b"MQIsdp" and level == 3:
        conn.version = 3
    elif protocol == b"MQTT" and (level == 4 or level == 5):
        conn.version = level
    elif protocol == b"MQTT" or protocol == b"MQIsdp":  # [MQTT-3.1.2-2]
        conn.version = 4 if level == 3 or level == 4 else 5
        raise MQTTError(UNSUPPORTED_PROTOCOL_VERSION, "%s level %d" % (str(protocol, "utf-8"), level))
    else:  # [MQTT-3.1.2-1]
        raise MQTTError(MALFORMED_PACKET, "unknown protocol")


def _client_id(reader: Reader) -> bytes:
    client_id = reader.binary()
    if not is_utf8(client_id):  # [MQTT-3.1.3-4]
        raise MQTTError(CLIENT_IDENTIFIER_NOT_VALID, "client id is not valid UTF-8")
    return client_id


def handle_connect(conn: "Connection", body: bytes) -> None:
    """Handle the first packet of a connection [MQTT-3.1.4-1] [MQTT-3.1.4-2]."""
    broker = conn.broker
    connect = Connect(body, conn)
    properties = connect.properties
    # Nobody asks for them, and thirty times their bytes would be kept until the client is let in.
    properties.pop(USER_PROPERTY, None)
    conn.max_packet = properties.get(MAXIMUM_PACKET_SIZE, 0xFFFFFFFF)
    # Allowed unless it is 0; but there are clients that cannot read properties in a PUBACK.
    conn.problem_information = properties.get(REQUEST_PROBLEM_INFORMATION) == 1
    method = properties.get(AUTHENTICATION_METHOD)
    if method is None and AUTHENTICATION_DATA in properties:
        raise MQTTError(PROTOCOL_ERROR, "authentication data without a method")
    if not connect.client_id:
        if conn.version == 3 or conn.version == 4 and not connect.clean_start:  # 3.1.1 [MQTT-3.1.3-8]
            raise MQTTError(CLIENT_IDENTIFIER_NOT_VALID, "client id is empty")
        connect.client_id = broker.new_client_id()  # [MQTT-3.1.3-6]
        connect.assigned = True
    if len(connect.client_id) > conn.options.max_topic_length:
        raise MQTTError(CLIENT_IDENTIFIER_NOT_VALID, "client id too long")
    conn.client_id = connect.client_id
    conn.identity = identity = Identity(conn, connect)
    conn.state = _AUTHENTICATING
    if broker.peers.blocked(conn.address, broker.clock()):
        broker.auth_blocked += 1
        raise MQTTError(BANNED, "too many failures to authenticate")
    if method is not None:
        for authenticator in conn.listener.authenticators:
            if authenticator.method == method:
                identity.authenticator = authenticator
                _exchange(conn, properties.get(AUTHENTICATION_DATA))
                return
        raise MQTTError(BAD_AUTHENTICATION_METHOD, "unknown authentication method")  # [MQTT-4.12.0-1]
    decided(conn, identity.decide())


def decided(conn: "Connection", code: int) -> None:
    """The authenticators have decided, or the one that was asked is still thinking. Raises MQTTError."""
    if code == PENDING:
        conn.hold(_ASKING)
    else:
        authenticated(conn, code)


def handle_auth(conn: "Connection", body: bytes) -> None:
    """AUTH: the next step of an exchange, or the start of a re-authentication (clauses 4.12, 4.12.1)."""
    reader = Reader(body)
    code = reader.u8() if body else SUCCESS
    properties = decode(reader, AUTH) if reader.left() else {}
    if reader.left():
        raise MQTTError(MALFORMED_PACKET, "packet too long")
    identity: Identity = conn.identity  # type: ignore[assignment]
    under_way = identity.connect is not None or identity.renewing
    if code != (CONTINUE_AUTHENTICATION if under_way else RE_AUTHENTICATE):
        raise MQTTError(PROTOCOL_ERROR, "reason code 0x%02x in AUTH" % code)
    if properties.get(AUTHENTICATION_METHOD) != identity.authenticator.method:  # type: ignore[union-attr]
        raise MQTTError(PROTOCOL_ERROR, "authentication method changed")  # [MQTT-4.12.0-5]
    _exchange(conn, properties.get(AUTHENTICATION_DATA))


def _exchange(conn: "Connection", data: "Optional[bytes]") -> None:
    identity: Identity = conn.identity  # type: ignore[assignment]
    authenticator: "Authenticator" = identity.authenticator  # type: ignore[assignment]
    code, answer = authenticator.exchange(identity, data)
    if code == SUCCESS and conn.state == _OPEN and identity.user != conn.session.user:  # type: ignore[union-attr]
        code = NOT_AUTHORIZED  # the session is nobody else's
    if code >= 0x80:
        failed(conn, code)
        raise MQTTError(code, "authentication failed")  # [MQTT-4.12.0-4] [MQTT-4.12.1-2]
    properties: "Properties" = {AUTHENTICATION_METHOD: authenticator.method}
    if answer is not None:
        properties[AUTHENTICATION_DATA] = answer
    if code == SUCCESS and conn.state != _OPEN:
        identity.connect.extra = properties  # type: ignore[union-attr]
        authenticated(conn, code)
        return
    if conn.state == _OPEN:  # a re-authentication goes on, or has come to its end
        identity.renewing = code == CONTINUE_AUTHENTICATION
    conn.reply(packet(0xF0, bytes((code,)) + encode(properties)))  # [MQTT-4.12.0-2]
    if code == SUCCESS:
        renew(conn.broker, conn.session)  # type: ignore[arg-type]


def failed(conn: "Connection", code: int) -> None:
    """Authentication has come to `code`: count it, and remember the address of who does not know the password."""
    broker = conn.broker
    identity: Identity = conn.identity  # type: ignore[assignment]
    broker.auth_failed += 1
    if code in (BAD_USER_NAME_OR_PASSWORD, NOT_AUTHORIZED):
        user = identity.user if identity.connect is None else identity.connect.user
        broker.peers.failed(conn.address, broker.clock(), broker.options, user)


def _check_will(will: Message, options: "Options") -> None:
    """Raise MQTTError when the will is over the client's limits."""
    if will.qos > options.max_qos:  # [MQTT-3.2.2-12]
        raise MQTTError(QOS_NOT_SUPPORTED, "will QoS is not supported")
    if will.retain and not options.retain_available:  # [MQTT-3.2.2-13]
        raise MQTTError(RETAIN_NOT_SUPPORTED, "retained will is not supported")
    if will.name.startswith(b"$"):
        raise MQTTError(NOT_AUTHORIZED, "clients cannot publish to $ topics")
    check_name(will.name, options)


def _may_leave_will(conn: "Connection", will: Message, access: "Optional[Access]") -> bool:
    """False while the authorizer is being asked. Raises MQTTError when the will is not allowed."""
    connect: Connect = conn.identity.connect  # type: ignore[union-attr, assignment]
    if access is None or connect.may_leave_will:
        return True
    verdict = access.judge(will, conn.broker.clock())
    if verdict == _UNDECIDED:
        conn.ask(_PUBLISH, will.name)
        return False
    if verdict < 0:
        raise MQTTError(NOT_AUTHORIZED, "not authorized for the topic of the will")
    connect.may_leave_will = True
    return True


def _may_resume(conn: "Connection", session: "Session", access: "Optional[Access]") -> bool:
    """Judge the subscriptions of a session that was another connection's; False while the authorizer is being asked."""
    connect: Connect = conn.identity.connect  # type: ignore[union-attr, assignment]
    if access is None or access is session.access:
        return True
    if connect.judged is None:
        connect.judged = Judged(session)
    topic_filter = connect.judged.go_on(access, conn.broker.clock())
    if topic_filter is not None:
        conn.ask(_SUBSCRIBE, topic_filter)
    return topic_filter is None


def authenticated(conn: "Connection", code: int) -> None:
    """The client may come in, or not: attach its session and send CONNACK. Raises MQTTError."""
    broker = conn.broker
    if conn.state != _AUTHENTICATING:
        return  # it has gone meanwhile
    identity: Identity = conn.identity  # type: ignore[assignment]
    connect: Connect = identity.connect  # type: ignore[assignment]
    if code != SUCCESS:
        failed(conn, code)
        raise MQTTError(code, "connection refused")
    broker.peers.succeeded(conn.address, connect.user)
    conn.options = options = client_options(broker, conn.listener, identity.user, conn.client_id)
    if identity.access is None:
        identity.access = find_access(broker, conn, identity)
    if connect.will is not None:
        _check_will(connect.will, options)
        if not _may_leave_will(conn, connect.will, identity.access):
            return  # that is being asked; it goes on here when the answer has come
    answer = _connack(conn, connect)
    if len(answer) + 5 > conn.max_packet:
        raise MQTTError(PACKET_TOO_LARGE, "maximum packet size %d is too small" % conn.max_packet)
    session = broker.sessions.get(connect.client_id)
    if session is not None and session.user != identity.user:
        # Neither the connection nor what waits for it is for anybody else.
        raise MQTTError(NOT_AUTHORIZED, "the client id belongs to another user")
    if broker.journal is not None and broker.journal.refusing() and _asked_expiry(conn, connect):
        raise MQTTError(SERVER_UNAVAILABLE, "sessions cannot be stored")
    if session is not None and not connect.clean_start and not _may_resume(conn, session, identity.access):
        return
    replaced = None if session is None else session.conn
    if (replaced is None and broker.connected >= broker.options.max_connections) or (
        (replaced is None or replaced.listener is not conn.listener)
        and conn.listener.connected >= options.max_connections
    ):
        code = USE_ANOTHER_SERVER if options.server_reference and conn.version == 5 else QUOTA_EXCEEDED
        raise MQTTError(code, "too many connections")
    serial = 0 if broker.journal is None else broker.journal.serial
    if session is not None and session.conn is not None:
        session.conn.fail(MQTTError(SESSION_TAKEN_OVER, "session taken over"))  # [MQTT-3.1.4-3]
        session = broker.sessions.get(connect.client_id)
    if session is not None and connect.clean_start:  # [MQTT-3.1.4-4]
        broker.end_session(session)
        session = None
    present = session is not None
    if session is None:
        if len(broker.sessions) >= broker.options.max_sessions:
            raise MQTTError(QUOTA_EXCEEDED, "too many sessions")
        session = broker.new_session(connect.client_id)
    _open(conn, session, connect)
    flags = 1 if present and conn.version != 3 else 0  # [MQTT-3.2.2-2] [MQTT-3.2.2-3]
    conn.reply(packet(0x20, bytes((flags, 0)) + answer))
    broker.attach(conn, session)
    if broker.journal is not None and broker.journal.serial != serial:
        broker.journal.wait(conn)
    if present:
        session.resume()


def _open(conn: "Connection", session: "Session", connect: Connect) -> None:
    """Settle what this connection's CONNECT asked for on connection and session."""
    options = conn.options
    properties = connect.properties
    identity: Identity = conn.identity  # type: ignore[assignment]
    identity.connect = None
    conn.session = session
    conn.state = _OPEN
    conn.silence = _keep_alive(conn, connect) * 1500  # one and a half times the keep alive [MQTT-3.1.2-22]
    conn.active = True
    session.expiry = min(_asked_expiry(conn, connect), options.max_session_expiry)
    session.user = identity.user
    session.address = conn.address
    session.listener = conn.listener
    session.set_options(options)
    set_access(conn.broker, session, identity.access)
    session.purge(() if connect.judged is None else connect.judged.enforce(conn.broker, session))
    if not conn.listener.authenticators:
        conn.identity = None
    conn.rate = renewed(None, options, conn.broker.clock())
    session.will = None if connect.will is None else (connect.will, connect.will_delay)
    session.version5 = conn.version == 5
    session.max_packet = conn.max_packet
    session.window = min(properties.get(RECEIVE_MAXIMUM, 65535), options.max_inflight)
    session.aliases = None
    session.alias_maximum = min(properties.get(TOPIC_ALIAS_MAXIMUM, 0), options.outbound_topic_aliases)


def _keep_alive(conn: "Connection", connect: Connect) -> int:
    """The keep alive in force, s: an MQTT 5 client can be told a shorter one."""
    longest = conn.options.max_keep_alive
    if conn.version == 5 and longest and not 0 < connect.keep_alive <= longest:
        return longest
    return connect.keep_alive


def _asked_expiry(conn: "Connection", connect: Connect) -> int:
    """The session expiry interval asked for, s; MQTT 3.x asks for none or for ever."""
    if conn.version == 5:
        expiry: int = connect.properties.get(SESSION_EXPIRY_INTERVAL, 0)
        return expiry
    return 0 if connect.clean_start else 0xFFFFFFFF


def _connack(conn: "Connection", connect: Connect) -> bytes:
    """The properties of the CONNACK: what the client must know of this server (clause 3.2.2.3)."""
    if conn.version != 5:
        return b""
    options = conn.options
    properties: "Properties" = connect.extra or {}
    if connect.assigned:  # [MQTT-3.2.2-16]
        properties[ASSIGNED_CLIENT_IDENTIFIER] = connect.client_id
    if _asked_expiry(conn, connect) > options.max_session_expiry:
        properties[SESSION_EXPIRY_INTERVAL] = options.max_session_expiry
    keep_alive = _keep_alive(conn, connect)
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
