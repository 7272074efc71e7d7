"""paho's client with acknowledgements by the program, at QoS 2 too, and with reports of a crash of its thread.

paho answers a QoS 2 PUBLISH with PUBREC at once, and delivers the message at PUBREL: the message is lost if the program ends in
between. This client delivers first, and sends PUBREC when the program calls `ack`, as the standard allows [MQTT-4.3.3-8]
[MQTT-4.3.3-10]. paho has no option for that, so some of its methods are replaced; tests/host/program/test_pub_sub.py checks that paho's
own have not changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode


class Receiver(Client):
    """A client that acknowledges a message when `ack` is called.

    on_crash  called in the library's thread with the exception that ends it
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Arguments as paho's."""
        super().__init__(*arguments, **options)
        self.manual_ack_set(True)
        self.on_crash: Callable[[Exception], None] = lambda error: None
        self._taken: set[int] = set()  # packet identifiers of QoS 2 between `ack` and PUBREL
        self._held = 0  # packet identifier of the PUBREC that paho is about to send

    def ack(self, mid: int, qos: int) -> MQTTErrorCode:
        """Acknowledge a message: the broker need not keep it."""
        if qos != 2:
            return super().ack(mid, qos)
        self._taken.add(mid)
        return super()._send_pubrec(mid)

    def forget(self) -> None:
        """Forget all packet identifiers, as the session is new."""
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
            if message.mid in self._taken:  # PUBREC was lost with the connection
                return super()._send_pubrec(message.mid)
            self._handle_on_message(message)
        return found

    def _handle_pubrel(self) -> MQTTErrorCode:
        # paho answers by itself, also for messages that an earlier program has acknowledged.
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
