"""PUBLISH from a client (clause 3.3): parse, check, hand to the broker, acknowledge."""

from port.core import const
from port.core.constants import MAY_PUBLISH, UNDECIDED
from port.core.wire.reason_codes import (
    MALFORMED_PACKET,
    PROTOCOL_ERROR,
    QOS_NOT_SUPPORTED,
    RETAIN_NOT_SUPPORTED,
    SUCCESS,
    MQTTError,
)
from port.core.messages.message import LIGHT, Message, from_packet

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.sessions.session import Session
    from port.core.protocol.connection import Connection
    from port.core.protocol.mqtt5 import MQTT5

_PUBACK = const(0x40)
_PUBREC = const(0x50)


def pass_on(conn: "Connection", first: int, packet: bytes, at: int) -> int:
    """Pass on a QoS 1 or 2 PUBLISH without DUP and RETAIN, whose body of 5 bytes or more starts at packet[at], to receivers
    that take it as it came. Returns its cost of the turn; 0 when it is not handled, with nothing done.

    Only the packet identifier may change. It stays when it is the receiver's next one, as it is when one client publishes
    all that another gets; and when nothing is in flight, as any identifier will do then.
    """
    start = at + 2
    at = start + (packet[at] << 8 | packet[at + 1])
    if not 0 <= len(packet) - at - 2 <= LIGHT:  # large packets are counted and not copied, see Session.put_in_flight
        return 0
    packet_id = packet[at] << 8 | packet[at + 1]
    if not packet_id:
        return 0
    broker = conn.broker
    name = packet[start:at]
    known = conn.granted.get(name)
    if known is None and name not in conn.fast and broker.router.learn(conn.session, name):  # type: ignore[arg-type]
        known = conn.granted.get(name)
    if known is None or first & 6 > known[0]:
        return 0
    version5 = conn.version == 5
    if version5:
        if len(packet) == at + 2 or packet[at + 2] and not broker.mqtt5.forwardable(packet, at + 2, len(packet)):  # type: ignore[union-attr]
            return 0
    received = None
    if first & 4:
        sender: "Session" = conn.session  # type: ignore[assignment]
        received = sender.received
        if received is None:
            received = sender.received = {}
        limit = sender.options.receive_maximum if version5 else sender.options.max_unreleased
        if packet_id in received or len(received) >= limit or sender.store_id:
            return 0
    dirty = broker.dirty
    message = None
    published = 0
    for session in known[1]:
        out = session.out
        # `has_room` may find room that `send_window` does not show; with messages queued, `deliver` has to keep their order.
        if session.store_id or len(session.inflight) >= session.send_window and (session.send_window < 0 or not session.has_room()):
            if message is None:
                message = from_packet(packet, True) if version5 else Message(name, packet[at + 2 :], first >> 1 & 3)
                journal = broker.journal
                serial = 0 if journal is None else journal.serial
                entry: "Any" = (message, first & 6, None, None, 0)
                size = message.size()
            if out is not None or session.store_id or not session.put_by(entry, size):
                session.deliver(message, first & 6, None, None, entry)
            continue
        inflight = session.inflight
        own = session.packet_id + 1 & 65535
        whole = packet
        if own != packet_id or own in inflight:
            if not inflight:
                own = packet_id
            else:
                while own in inflight or not own:
                    own = own + 1 & 65535
                whole = packet[:at] + bytes((own >> 8, own & 255)) + packet[at + 2 :]
        session.packet_id = own
        inflight[own] = whole
        if not out:
            dirty.append(session.conn)
        out.append(whole)  # type: ignore[union-attr]
        published += 1
    if received is None:
        broker.counters.received1 += 1
        broker.counters.published1 += published
    else:
        broker.counters.received2 += 1
        broker.counters.published2 += published
    if message is not None and journal is not None and journal.serial != serial:
        journal.wait(conn)
    if received is not None:
        received[packet_id] = True
        broker.memory.session_bytes += broker.memory.identifier
    conn.reply((b"\x40\x02" if received is None else b"\x50\x02") + packet[at : at + 2])
    return known[2]


def handle_publish(conn: "Connection", first: int, packet: bytes, at: int) -> None:
    """Handle a PUBLISH whose body starts at packet[at]. Raises MQTTError for the client's faults."""
    broker = conn.broker
    session: "Session" = conn.session  # type: ignore[assignment]
    qos = first >> 1 & 3
    if qos == 3 or first & 8 and not qos and conn.version != 3:  # [MQTT-3.3.1-4] [MQTT-3.3.1-2]
        raise MQTTError(MALFORMED_PACKET, "PUBLISH with invalid flags")
    size = len(packet)
    start = at + 2
    at = start + (packet[at] << 8 | packet[at + 1]) if start <= size else size + 1
    name = packet[start:at]
    name_end = at
    packet_id = 0
    if qos:
        at += 2
        if at <= size:
            packet_id = packet[at - 2] << 8 | packet[at - 1]
            if not packet_id:
                raise MQTTError(PROTOCOL_ERROR, "packet identifier 0")  # [MQTT-2.2.1-3]
    properties = b""
    expires: "Optional[int]" = None
    version5 = conn.version == 5
    as_it_came = not first & 9  # it can be passed on with only the packet identifier changed
    if version5:
        if at < size and not packet[at]:
            at += 1
        else:
            mqtt5: "MQTT5" = broker.mqtt5  # type: ignore[assignment]
            at, alias, interval, properties = mqtt5.properties(conn, packet, at)
            if interval is not None:
                expires = broker.clock() + interval * 1000
                as_it_came = False  # the remaining interval is forwarded
            if alias >= 0:
                name = mqtt5.resolve_alias(conn, alias, name)
                as_it_came = False
    if at > size:
        raise MQTTError(MALFORMED_PACKET, "PUBLISH too short")
    if not name:  # [MQTT-4.7.3-1]; Protocol Error would do as well (clause 3.3.2.1), mosquitto answers this
        raise MQTTError(MALFORMED_PACKET, "PUBLISH without a topic")
    mount = session.mount
    if mount is not None:
        name = mount.name(name)
        as_it_came = False
    options = session.options
    if qos > options.max_qos:  # [MQTT-3.2.2-11]
        raise MQTTError(QOS_NOT_SUPPORTED, "QoS %d is above max_qos" % qos)
    retain = first & 1 == 1
    if retain and not options.retain_available:  # [MQTT-3.2.2-14]
        raise MQTTError(RETAIN_NOT_SUPPORTED, "retain_available is false")

    if qos == 2 and session.received:
        limit = options.receive_maximum if version5 else options.max_unreleased
        if session.was_received(packet_id, limit):  # sent again: it was distributed before [MQTT-4.3.3-10]
            broker.counters.received2 += 1
            conn.acknowledge(_PUBREC, packet_id, 0)
            return
    payload = packet[at:]
    form = None
    if as_it_came:
        key = first & 6 | 16 if version5 else first & 6
        if not qos:
            form = (key, (packet, b"") if len(packet) <= LIGHT else (packet[:at], payload))
        else:
            form = (key, (packet[:name_end], packet[name_end + 2 :] if version5 else payload))
    message = Message(name, payload, qos, retain, properties, expires, form)
    journal = broker.journal
    serial = 0 if journal is None else journal.serial
    route = None if retain or session.access is not None or options.message_size_limit else broker.router.routes.get(name)
    if route is not None and route.quick:
        code, text = SUCCESS, ""
        broker.router.deliver_quick(message, route)
    else:
        code, text = broker.intake.accept(message, session)
        if code == UNDECIDED:
            conn.ask(MAY_PUBLISH, name)
            return
    if not qos:
        return
    if qos == 1:
        broker.counters.received1 += 1
    else:
        broker.counters.received2 += 1
        if code < 0x80:
            session.note_received(packet_id)
            code = 0
    if journal is not None and journal.serial != serial:
        journal.wait(conn)
    if code and version5:
        conn.acknowledge(_PUBACK if qos == 1 else _PUBREC, packet_id, code, text)
    else:
        conn.reply((b"\x40\x02" if qos == 1 else b"\x50\x02") + packet[name_end : name_end + 2])
