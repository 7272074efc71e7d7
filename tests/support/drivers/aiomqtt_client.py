"""aiomqtt."""

import socket
from typing import Any

import aiomqtt
from paho.mqtt.packettypes import PacketTypes

from drivers import Message
from drivers.event_loop import AsyncDriver
from drivers.paho import connect_properties, from_paho, to_paho


class AioMqtt(AsyncDriver):
    def __init__(self, port, client_id, version, *, persistent=False, keep_alive=60, will=None):
        super().__init__(version)
        try:
            self.run(self._connect(port, client_id, persistent, keep_alive, will))
        except BaseException:
            self.end()
            raise

    async def _connect(self, port, client_id, persistent, keep_alive, will):
        if self.version == 5:
            extra = {"clean_start": not persistent, "properties": connect_properties(persistent)}
        else:
            extra = {"clean_session": not persistent}
        client = self._client = aiomqtt.Client(
            "127.0.0.1", port, identifier=client_id, protocol=aiomqtt.ProtocolVersion(self.version),
            keepalive=keep_alive, will=aiomqtt.Will(*will) if will else None, **extra,
        )  # fmt: skip
        # aiomqtt does not tell whether there was a session.
        told = client._on_connect
        self._paho: Any = client._client

        def on_connect(c, userdata, flags, *args):
            self.session_present = flags.session_present
            told(c, userdata, flags, *args)

        self._paho.on_connect = on_connect
        await client.__aenter__()
        self._receiver = self._loop.create_task(self._receive())

    async def _receive(self):
        try:
            async for m in self._client.messages:
                self.messages.put(Message(str(m.topic), m.payload, m.qos, m.retain, from_paho(m.properties)))
        except aiomqtt.MqttError as e:
            code = getattr(e.__cause__, "rc", None)
            self.ended.put(getattr(code, "value", None))

    def subscribe(self, topic_filter, qos=0, identifier=None):
        properties = to_paho(PacketTypes.SUBSCRIBE, {"subscription_identifier": identifier}) if identifier else None
        code = self.run(self._client.subscribe(topic_filter, qos, properties=properties))[0]
        return code.value

    def unsubscribe(self, topic_filter):
        self.run(self._client.unsubscribe(topic_filter))

    def publish(self, topic, payload, qos=0, retain=False, properties=None):
        extra = to_paho(PacketTypes.PUBLISH, properties) if self.version == 5 else None
        self.run(self._client.publish(topic, payload, qos, retain, extra))

    async def leave(self):
        try:
            await self._client.__aexit__(None, None, None)
        except aiomqtt.MqttError:
            pass

    def kill(self):
        self._paho.socket().shutdown(socket.SHUT_RDWR)
