"""paho's client, with acknowledgements that the program gives, for QoS 2 too, and a thread that does not die unheard.

paho sends PUBREC as soon as a PUBLISH of QoS 2 comes, and hands the message over with PUBREL: where the program ends in between,
nobody has the message any more. Here the message is handed over first, and PUBREC is sent when the program calls `ack`, as the
standard allows [MQTT-4.3.3-8], [MQTT-4.3.3-10]. There is nothing in paho to ask for that, so methods of its own are replaced:
tests/host/program/test_pub_sub.py says whether they are still what they were.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode


class Receiver(Client):
    """A client that acknowledges no message unless `ack` is called.

    on_crash  called with the exception that has ended the library's thread, in this thread
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """As paho's."""
        super().__init__(*arguments, **options)
        self.manual_ack_set(True)
        self.on_crash: Callable[[Exception], None] = lambda error: None
        self._taken: set[int] = set()  # packet identifiers of QoS 2 between `ack` and PUBREL
        self._held = 0  # packet identifier that paho wants to send PUBREC for

    def ack(self, mid: int, qos: int) -> MQTTErrorCode:
        """The message is dealt with: the broker need not keep it."""
        if qos != 2:
            return super().ack(mid, qos)
        self._taken.add(mid)
        return super()._send_pubrec(mid)

    def forget(self) -> None:
        """The session is a new one: none of its packet identifiers is known."""
        self._taken.clear()

    def _thread_main(self) -> None:
        try:
            super()._thread_main()
        except Exception as e:
            self.on_crash(e)

    def _handle_publish(self) -> MQTTErrorCode:
        self._held = 0
        found = super()._handle_publish()
        if self._held:
            with self._in_message_mutex:
                message = self._in_messages.pop(self._held)
            if message.mid in self._taken:  # PUBREC was lost with a connection
                return super()._send_pubrec(message.mid)
            self._handle_on_message(message)
        return found

    def _handle_pubrel(self) -> MQTTErrorCode:
        # paho answers by itself then, also what a program before this one has taken.
        self.manual_ack_set(False)
        try:
            return super()._handle_pubrel()
        finally:
            self.manual_ack_set(True)

    def _send_pubrec(self, mid: int) -> MQTTErrorCode:
        self._held = mid
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _send_pubcomp(self, mid: int) -> MQTTErrorCode:
        self._taken.discard(mid)
        return super()._send_pubcomp(mid)
