"""Hooks: the presence of clients as messages, a refused filter, readings that are checked and converted on their way.

    python3 -m port.examples.hooks [PORT]                        or micropython in place of python3
    mosquitto_sub -t 'clients/#' -t 'sensors/#' -v               in a second terminal
    mosquitto_pub -i porch -t sensors/fahrenheit -m 68           in a third: arrives as sensors/celsius 20.0
"""

import asyncio
import sys

if sys.implementation.name == "micropython":
    from port.micropython import Message, Server
else:
    from port.cpython import Message, Server

server = Server()


def came(client):
    """A client has connected; its client id is bytes."""
    server.publish(b"clients/" + client.client_id, "online", retain=True)


def left(client, reason):
    """A client's connection has ended."""
    server.publish(b"clients/" + client.client_id, "offline", retain=True)


def may_subscribe(client, topic_filter, options):
    """None allows; a reason code refuses, here 0x87, Not authorized."""
    return 0x87 if topic_filter == b"#" else None


def to_celsius(client, message):
    """None passes a message on, another Message replaces it, False drops it."""
    if message.topic != "sensors/fahrenheit":
        return None
    try:
        return Message(b"sensors/celsius", b"%.1f" % ((float(message.payload) - 32) / 1.8), message.qos)
    except ValueError:
        return False


for event, hook in (("connect", came), ("disconnect", left), ("subscribe", may_subscribe), ("message", to_celsius)):
    server.on(event, hook)
server.listen(port=int(sys.argv[1]) if len(sys.argv) > 1 else 1883)
asyncio.run(server.serve())
