"""CONNECT and the answer to it (clauses 3.1, 3.2).

`handle_connect` parses and checks; `authenticated` goes on once the authenticators have decided,
at once or later.
"""

from port.core import const
from port.core.constants import ASKING, AUTHENTICATING, MAY_PUBLISH, MAY_SUBSCRIBE, OPEN, UNDECIDED
from port.core.wire.codec import Reader, is_utf8, packet
from port.core.wire.reason_codes import (
    BAD_AUTHENTICATION_METHOD,
    BAD_USER_NAME_OR_PASSWORD,
    BANNED,
    CLIENT_IDENTIFIER_NOT_VALID,
    MALFORMED_PACKET,
    NOT_AUTHORIZED,
    PACKET_TOO_LARGE,
    QOS_NOT_SUPPORTED,
    QUOTA_EXCEEDED,
    RETAIN_NOT_SUPPORTED,
    SERVER_UNAVAILABLE,
    SESSION_TAKEN_OVER,
    SUCCESS,
    UNSUPPORTED_PROTOCOL_VERSION,
    USE_ANOTHER_SERVER,
    MQTTError,
)
from port.core.wire.topics import valid_name
from port.core.limits.client_log import shown
from port.core.limits.listener import renewed
from port.core.limits.places import leave
from port.core.messages.message import Message
from port.core.routing.router import check_name
from port.core.auth.authenticator import PENDING, Identity
from port.core.acl.client_policy import client_options, find_access, set_access
from port.core.protocol.connect_packet import Connect

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.wire.properties import Properties
    from port.core.limits.options import Options
    from port.core.limits.places import Places
    from port.core.sessions.session import Session
    from port.core.acl.acl import Access
    from port.core.acl.resume_check import Judged
    from port.core.protocol.connection import Connection
    from port.core.protocol.mqtt5 import MQTT5

_TIGHT = const(2)  # Memory.shortage at which only clients with a session may still connect
NO_PLACE = "above owner_share"
_BRIDGE_STATES = b"$SYS/broker/connection/"  # topics of the wills of mosquitto's bridges
_NO_MQTT_5 = b"\x20\x03\x00\x84\x00"  # CONNACK in MQTT 5: Unsupported Protocol Version


def _settle_version(conn: "Connection", connect: Connect) -> None:
    """Use the version that the client asked for. Raises MQTTError for one that is not served [MQTT-3.1.2-2]."""
    version = connect.version if connect.version in conn.options.accept_protocol_versions else 0
    if connect.level == 3 or connect.level == 4:
        conn.version = version or 4
    elif version and conn.broker.find_mqtt5() is not None:
        conn.version = 5
    else:
        conn.reply(_NO_MQTT_5)
        version = 0
    if not version:
        raise MQTTError(UNSUPPORTED_PROTOCOL_VERSION, "%s level %d" % (str(connect.protocol, "utf-8"), connect.level))


def handle_connect(conn: "Connection", body: bytes) -> None:
    """Handle the first packet of a connection [MQTT-3.1.4-1] [MQTT-3.1.4-2]."""
    broker = conn.broker
    connect = Connect(body)
    conn.bridge = connect.bridge
    _settle_version(conn, connect)
    mqtt5 = broker.mqtt5 if conn.version == 5 else None
    connect.read(mqtt5)
    mount = conn.listener.mount
    if connect.will is not None and mount is not None:
        connect.will.name = mount.name(connect.will.name)
    conn.connect = connect
    conn.identity = identity = Identity(conn, connect.user or None, connect.password)  # an empty name counts as none
    if mqtt5 is not None:
        mqtt5.begin(conn, connect)
    if not connect.client_id:
        if conn.version == 3 or conn.version == 4 and not connect.clean_start:  # 3.1.1 [MQTT-3.1.3-8]
            raise MQTTError(CLIENT_IDENTIFIER_NOT_VALID, "client id is empty")
        if not conn.options.allow_zero_length_clientid:
            raise MQTTError(CLIENT_IDENTIFIER_NOT_VALID, "empty client id")
        connect.client_id = broker.session_registry.new_client_id(conn.options.auto_id_prefix.encode())  # [MQTT-3.1.3-6]
        connect.assigned = True
    _check_length(conn, connect)
    conn.state = AUTHENTICATING
    if identity.must_wait():
        raise MQTTError(BANNED, "max_auth_failures reached")
    if mqtt5 is None or not mqtt5.authenticates(conn, connect):
        decided(conn, identity.decide())


def _check_length(conn: "Connection", connect: Connect) -> None:
    size = len(connect.client_id)
    if size > conn.options.max_client_id_length:
        raise MQTTError(CLIENT_IDENTIFIER_NOT_VALID, "client id of %d bytes" % size)


def decided(conn: "Connection", code: int) -> None:
    """Go on after the authenticators' decision, or wait while it is PENDING. Raises MQTTError."""
    if code == PENDING:
        conn.identity.begin_attempt()  # type: ignore[union-attr]
        conn.hold(ASKING)
    else:
        authenticated(conn, code)


def _check_will(will: Message, options: "Options") -> None:
    """Raise MQTTError when the will is over the client's limits."""
    if will.qos > options.max_qos:  # [MQTT-3.2.2-12]
        raise MQTTError(QOS_NOT_SUPPORTED, "will QoS is above max_qos")
    if will.retain and not options.retain_available:  # [MQTT-3.2.2-13]
        raise MQTTError(RETAIN_NOT_SUPPORTED, "retain_available is false")
    if will.name.startswith(b"$"):
        raise MQTTError(NOT_AUTHORIZED, "clients cannot publish to $ topics")
    if options.message_size_limit and len(will.payload) > options.message_size_limit:
        raise MQTTError(PACKET_TOO_LARGE, "payload of %d bytes" % len(will.payload))
    check_name(will.name, options)


def _may_leave_will(conn: "Connection", will: Message, access: "Optional[Access]") -> bool:
    """False while the authorizer is being asked. Raises MQTTError when the will is not allowed."""
    if access is None:
        return True
    connect: Connect = conn.connect  # type: ignore[assignment]
    if connect.may_leave_will:
        return True
    verdict = access.judge(will, conn.broker.clock())
    if verdict == UNDECIDED:
        conn.ask(MAY_PUBLISH, will.name)
        return False
    if verdict < 0:
        raise MQTTError(NOT_AUTHORIZED, "not authorized for the topic of the will")
    connect.may_leave_will = True
    return True


def _may_resume(conn: "Connection", session: "Session", access: "Optional[Access]") -> bool:
    """Judge the subscriptions of a session to be resumed; False while that takes turns or the authorizer is asked."""
    if access is None or access is session.access:
        return True
    connect: Connect = conn.connect  # type: ignore[assignment]
    judged = connect.judged
    if judged is None or judged.session is not session:
        from port.core.acl.resume_check import Judged

        judged = connect.judged = Judged(session)
    topic_filter = judged.go_on(access, conn.broker.clock())
    if topic_filter is not None:
        conn.ask(MAY_SUBSCRIBE, topic_filter)
    elif not judged.done:
        from port.core.protocol.pending_auth import wait_turn

        wait_turn(conn)
    return judged.done


def authenticated(conn: "Connection", code: int) -> None:
    """Let the client in by attaching its session and sending CONNACK, or refuse it. Raises MQTTError."""
    broker = conn.broker
    if conn.state != AUTHENTICATING:
        return  # the client has gone meanwhile
    identity: Identity = conn.identity  # type: ignore[assignment]
    connect: Connect = conn.connect  # type: ignore[assignment]
    if code != SUCCESS:
        identity.failed(code)
        raise MQTTError(code, "connection refused")
    identity.succeeded()
    identity.user = identity.user or None
    if conn.listener.options.use_username_as_clientid:
        if identity.user is None:
            raise MQTTError(NOT_AUTHORIZED, "no user name to be the client id")
        connect.client_id = identity.user
        _check_length(conn, connect)
    identity.options = options = client_options(broker, conn.listener, identity.user, conn.client_id)
    if options.client_id and not connect.assigned and not _may_have(options.client_id, identity.user, connect.client_id):
        raise MQTTError(CLIENT_IDENTIFIER_NOT_VALID, "client id not as %s" % options.client_id)
    if identity.access is None:
        identity.access = find_access(broker, conn, identity)
    if connect.will is not None and connect.will.name.startswith(_BRIDGE_STATES):
        broker.client_log.line(1, conn.address, "%s: the will of a bridge is left out: %s", conn, shown(connect.will.name))
        connect.will = None
    if connect.will is not None:
        _check_will(connect.will, options)
        if not _may_leave_will(conn, connect.will, identity.access):
            return  # the authorizer is being asked; its answer calls this again
    answer = b"" if conn.version != 5 else broker.mqtt5.connack(conn, connect)  # type: ignore[union-attr]
    if len(packet(0x20, b"\0\0" + answer)) > conn.max_packet:
        raise MQTTError(PACKET_TOO_LARGE, "maximum packet size %d is too small" % conn.max_packet)
    session = broker.session_registry.find(connect.client_id)
    if session in broker.session_registry.due:  # its end or its will may have fallen due since the last tick [MQTT-3.1.3-9]
        broker.session_registry.end_if_due(session)
        session = broker.session_registry.find(connect.client_id)
    if session is not None and session.listener.local:
        raise MQTTError(CLIENT_IDENTIFIER_NOT_VALID, "the client id is that of an in-process client")
    afresh = connect.clean_start
    if session is not None and session.user != identity.user:
        _check_owner(conn, session)
        afresh = True  # its messages are for the earlier user only
    mount = conn.listener.mount
    if session is not None and session.mount is not mount and not (session.mount and session.mount.same(mount)):
        afresh = True  # its contents belong to other topics
    if broker.journal is not None and broker.journal.refusing() and connect.expiry:
        raise MQTTError(SERVER_UNAVAILABLE, "sessions cannot be stored")
    if session is not None and not afresh and not _may_resume(conn, session, identity.access):
        return
    if session is None and connect.expiry and broker.memory.look is not None:
        broker.memory.look()
    replaced = None if session is None else session.conn
    key = conn.owner.key if identity.user is None else (identity.user,)
    elsewhere = replaced is None or replaced.listener is not conn.listener
    room = True
    if conn.listener.overrides is not None and elsewhere:
        from port.core.protocol.listener_places import make_seat

        room = make_seat(conn, key, options.max_connections)
    if replaced is None and room:
        give_way(conn, broker.connection_registry.present, broker.connection_registry.present.count, key, broker.options.max_connections)
    short = broker.memory.shortage > (0 if session is None else _TIGHT)
    if (replaced is None and (short or broker.connection_registry.present.count >= broker.options.max_connections)) or (
        elsewhere and conn.listener.connected >= options.max_connections
    ):
        code = USE_ANOTHER_SERVER if options.server_reference and conn.version == 5 else QUOTA_EXCEEDED
        raise MQTTError(code, "max_connections reached")
    if min(connect.expiry, options.max_session_expiry) and (session is None or session.owner is None):
        _make_place(conn, key)
    serial = 0 if broker.journal is None else broker.journal.serial
    if session is not None and session.conn is not None:
        session.conn.fail(MQTTError(SESSION_TAKEN_OVER, "session taken over"))  # [MQTT-3.1.4-3]
        session = broker.session_registry.find(connect.client_id)
    if session is not None and afresh:  # [MQTT-3.1.4-4]
        if session.user != identity.user:
            broker.client_log.line(2, conn.address, "%s: the session of a client without a user name ends", conn)
        broker.session_registry.end(session)
        session = None
    present = session is not None
    if session is None:
        session = broker.session_registry.new(connect.client_id, mount)
    _open(conn, session, connect)
    if session.expiry:
        broker.session_registry.staying.enter(session, key)
    else:
        leave(session)
    flags = 1 if present and conn.version != 3 else 0  # [MQTT-3.2.2-2] [MQTT-3.2.2-3]
    conn.reply(packet(0x20, bytes((flags, 0)) + answer))
    broker.connection_registry.attach(conn, session, key)
    if conn.listener.overrides is not None:
        from port.core.protocol.listener_places import take_seat

        take_seat(conn, key, options.max_connections)
    if broker.journal is not None and broker.journal.serial != serial:
        broker.journal.wait(conn)
        broker.journal.check_backlog(conn)
    if present:
        session.resume()


def _check_owner(conn: "Connection", session: "Session") -> None:
    """Raise MQTTError when the client id's session belongs to another user and does not end for this client.

    An anonymous client's session does end: any client could have begun it, and would keep out the device's owner.
    """
    if session.user is None:
        return
    conn.broker.client_log.line(
        2, conn.address,
        "%s: refused while user %s has a session with this client id: it can expire, or be ended with end_client or end-session",
        conn, shown(session.user)
    )  # fmt: skip
    raise MQTTError(NOT_AUTHORIZED, "the client id belongs to another user")


def _may_have(pattern: str, user: "Optional[bytes]", client_id: bytes) -> bool:
    """Whether a client id is as the option `client_id` demands. Without a user name no pattern that names the user fits."""
    if user is None and "%u" in pattern:
        return False
    any_end = pattern.endswith("*")
    wanted = pattern[: len(pattern) - any_end].encode().replace(b"%u", user or b"")
    return client_id.startswith(wanted) if any_end else client_id == wanted


def give_way(conn: "Connection", places: "Places", taken: int, key: "Any", most: int) -> None:
    """When `most` places are taken, the newest of an owner above its share gives way to `key`, if that is below its own."""
    broker = conn.broker
    if broker.memory.shortage or taken < most:
        return
    owner = places.find(key, most, broker.options.owner_share)
    own = places.owners.get(key)
    if owner is not None and (own is None or own.count < places.share):
        owner.before.fail(MQTTError(QUOTA_EXCEEDED, NO_PLACE))


def _make_place(conn: "Connection", key: "Any") -> None:
    """When max_sessions are kept, one of an owner above its share ends: that of the client offline longest, sessions without
    subscriptions first. Raises MQTTError when there is none."""
    broker = conn.broker
    most = broker.options.max_sessions
    if broker.session_registry.staying.count >= most:
        owner = broker.session_registry.staying.find(key, most, broker.options.owner_share)
        if owner is None:
            raise MQTTError(QUOTA_EXCEEDED, "max_sessions reached")
        session: "Session" = owner.after
        text = "%s: the session of %s ends, there are too many"
        broker.client_log.line(2, conn.address, text, conn, shown(session.client_id))
        broker.session_registry.end(session)


def _open(conn: "Connection", session: "Session", connect: Connect) -> None:
    """Apply the requests of this connection's CONNECT to connection and session."""
    identity: Identity = conn.identity  # type: ignore[assignment]
    options = identity.options
    conn.connect = identity.credentials = None
    session.set_options(options)
    conn.session = session
    conn.state = OPEN
    conn.silence = connect.held_to(options) * 1500  # one and a half times the keep alive [MQTT-3.1.2-22]
    conn.deadline = 0
    session.address = conn.address
    session.listener = conn.listener
    set_access(conn.broker, session, identity.access)
    if session.access is not None:
        session.access.purge(session, () if connect.judged is None else connect.judged.enforce(conn.broker, session))
    if not conn.listener.authenticators:
        conn.identity = None
    rate = renewed(None, options, conn.broker.clock())
    if rate is not None:
        conn.rate = rate
    # On a board an attribute takes no memory before it is set: one that mostly keeps its default is set only to change it.
    expiry = min(connect.expiry, options.max_session_expiry)
    if session.expiry != expiry:
        session.expiry = expiry
    if session.user != identity.user:
        session.user = identity.user
    if connect.will is not None:
        session.set_will((connect.will, connect.will_delay))
    elif session.will is not None:
        session.set_will(None)
    if session.version5 != (conn.version == 5):
        for packet_id in session.inflight:
            session.sent(packet_id)  # a packet in flight as it came is of the other version
        session.version5 = conn.version == 5
    if session.receive_maximum != 65535:
        session.receive_maximum = 65535
    if session.max_packet != conn.max_packet:
        session.max_packet = conn.max_packet
    if session.alias_maximum:
        session.alias_maximum = 0
    if session.version5:
        conn.broker.mqtt5.open(conn, session, connect)  # type: ignore[union-attr]
