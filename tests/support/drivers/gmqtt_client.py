"""gmqtt."""

import asyncio

import gmqtt

from drivers import SESSION_EXPIRY, TIMEOUT, Message
from drivers.event_loop import AsyncDriver

NAMES = {
    "user": "user_property",
    "content_type": "content_type",
    "response_topic": "response_topic",
    "correlation_data": "correlation_data",
    "subscription_identifier": "subscription_identifier",
}
LISTS = ("user", "subscription_identifier")  # what may come more than once


def from_gmqtt(properties):
    return {
        ours: properties[theirs] if ours in LISTS else properties[theirs][0]
        for ours, theirs in NAMES.items()
        if theirs in properties
    }


class Gmqtt(AsyncDriver):
    def __init__(self, port, client_id, version, *, persistent=False, keep_alive=60, will=None):
        super().__init__(version)
        self._answers = {}  # packet identifier -> future with the codes of its SUBACK or UNSUBACK
        try:
            self.run(self._connect(port, client_id, version, persistent, keep_alive, will))
        except BaseException:
            self.end()
            raise

    async def _connect(self, port, client_id, version, persistent, keep_alive, will):
        properties = {"session_expiry_interval": SESSION_EXPIRY} if version == 5 and persistent else {}
        message = gmqtt.Message(will[0], will[1], qos=will[2]) if will else None
        client = self._client = gmqtt.Client(
            client_id, clean_session=not persistent, will_message=message, **properties
        )
        client.set_config({"reconnect_retries": 0})
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.on_subscribe = lambda c, mid, codes, p: self._answer(mid).set_result(codes)
        client.on_unsubscribe = lambda c, mid, codes: self._answer(mid).set_result(codes)
        client.on_disconnect = self._on_disconnect
        await client.connect("127.0.0.1", port, keepalive=keep_alive, version=version)

    def _on_connect(self, client, session_present, code, properties):
        self.session_present = bool(session_present)

    async def _on_message(self, client, topic, payload, qos, properties):
        self.messages.put(Message(topic, payload, qos, bool(properties["retain"]), from_gmqtt(properties)))
        return 0

    def _on_disconnect(self, client, packet, exc=None):
        self.ended.put(packet[0] if packet else None)

    def _answer(self, mid):
        return self._answers.setdefault(mid, self._loop.create_future())

    async def _answered(self, mid):
        codes = await self._answer(mid)
        del self._answers[mid]
        return codes

    def subscribe(self, topic_filter, qos=0, identifier=None):
        return self.run(self._subscribe(topic_filter, qos, identifier))[0]

    async def _subscribe(self, topic_filter, qos, identifier):
        properties = {"subscription_identifier": identifier} if identifier else {}
        return await self._answered(self._client.subscribe(topic_filter, qos, **properties))

    def unsubscribe(self, topic_filter):
        self.run(self._unsubscribe(topic_filter))

    async def _unsubscribe(self, topic_filter):
        await self._answered(self._client.unsubscribe(topic_filter))

    def publish(self, topic, payload, qos=0, retain=False, properties=None):
        self.run(self._publish(topic, payload, qos, retain, properties or {}))

    async def _publish(self, topic, payload, qos, retain, properties):
        extra = {NAMES[name]: value for name, value in properties.items()}
        self._client.publish(topic, payload, qos, retain, **extra)
        await self._client._persistent_storage.wait_empty()  # all is acknowledged

    async def leave(self):
        await self._client.disconnect()

    def kill(self):
        self._loop.call_soon_threadsafe(self._client._connection._transport.abort)
        self.closed()
