"""paho-mqtt, with its callback API version 2 and its network thread."""

import queue
import socket
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from drivers import SESSION_EXPIRY, TIMEOUT, Driver, Message

NAMES = {
    "user": "UserProperty",
    "content_type": "ContentType",
    "response_topic": "ResponseTopic",
    "correlation_data": "CorrelationData",
    "subscription_identifier": "SubscriptionIdentifier",
}


def to_paho(packet, properties):
    """Properties as paho-mqtt wants them."""
    found = Properties(packet)
    for name, value in (properties or {}).items():
        setattr(found, NAMES[name], value)
    return found


def from_paho(properties):
    """The other way round."""
    names = {theirs: ours for ours, theirs in NAMES.items()}
    return {names[name]: value for name, value in vars(properties or object.__new__(Properties)).items() if name in names}


def connect_properties(persistent):
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = SESSION_EXPIRY if persistent else 0
    return properties


class Paho(Driver):
    def __init__(self, port, client_id, version, *, persistent=False, keep_alive=60, will=None, user=None, password=None):
        super().__init__(version)
        self._connected: queue.Queue = queue.Queue()
        self._subscribed: queue.Queue = queue.Queue()
        clean = None if version == 5 else not persistent
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id, clean, protocol=version, reconnect_on_failure=False
        )
        client.on_connect = lambda c, u, flags, code, p: self._connected.put((flags, code, p))
        client.on_subscribe = client.on_unsubscribe = lambda c, u, mid, codes, p: self._subscribed.put((mid, codes))
        client.on_message = self._on_message
        client.on_disconnect = lambda c, u, flags, code, p: self.ended.put(
            code.value if flags.is_disconnect_packet_from_server else None
        )
        if will:
            client.will_set(*will)
        if user:
            client.username_pw_set(user, password)
        self._client = client
        extra = {"clean_start": not persistent, "properties": connect_properties(persistent)} if version == 5 else {}
        client.connect("127.0.0.1", port, keep_alive, **extra)
        client.loop_start()
        flags, code, properties = self._connected.get(timeout=TIMEOUT)
        assert not code.is_failure, code
        self.session_present = flags.session_present
        self.connack = vars(properties) if version == 5 else {}

    @property
    def local_port(self):
        """The port the broker sees."""
        return self._client.socket().getsockname()[1]

    def _on_message(self, client, userdata, message):
        properties = from_paho(getattr(message, "properties", None))
        self.messages.put(Message(message.topic, message.payload, message.qos, message.retain, properties))

    def _answer(self, sent):
        """Wait for the SUBACK or UNSUBACK to what was sent."""
        mid, codes = self._subscribed.get(timeout=TIMEOUT)
        assert mid == sent
        return codes

    def subscribe(self, topic_filter, qos=0, identifier=None, no_local=False):
        properties = to_paho(PacketTypes.SUBSCRIBE, {"subscription_identifier": identifier}) if identifier else None
        if no_local:
            options = SubscribeOptions(qos, noLocal=True)
            return self._answer(self._client.subscribe(topic_filter, options=options, properties=properties)[1])[0].value
        return self._answer(self._client.subscribe(topic_filter, qos, properties=properties)[1])[0].value

    def unsubscribe(self, topic_filter):
        self._answer(self._client.unsubscribe(topic_filter)[1])

    def send(self, topic, payload, qos=0, retain=False, properties=None):
        """Publish without waiting for anything."""
        extra = to_paho(PacketTypes.PUBLISH, properties) if self.version == 5 else None
        return self._client.publish(topic, payload, qos, retain, extra)

    def publish(self, topic, payload, qos=0, retain=False, properties=None):
        info = self.send(topic, payload, qos, retain, properties)
        info.wait_for_publish(TIMEOUT)
        assert info.is_published()

    def disconnect(self):
        self._client.disconnect()
        self._client.loop_stop()

    def kill(self):
        self._client.socket().shutdown(socket.SHUT_RDWR)

    def freeze(self):
        threading.Thread(target=self._client.loop_stop).start()

    def thaw(self):
        self._client.loop_start()
