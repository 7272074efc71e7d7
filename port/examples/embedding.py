"""A broker inside an asyncio program: a thermostat that hears a sensor and switches a heater.

    python3 -m port.examples.embedding [PORT]       or micropython in place of python3
    mosquitto_sub -t heater -v                      in a second terminal
    mosquitto_pub -t sensors/kitchen -m 18.5        in a third
"""

import asyncio
import sys

if sys.implementation.name == "micropython":
    from port.micropython import Server
else:
    from port.cpython import Server

TARGET = 20.0  # degrees Celsius
readings = {}


def take(message):
    """Keep a sensor's last reading: a callback runs while the broker waits, so it does little."""
    try:
        readings[message.topic] = float(message.payload)
    except ValueError:
        print("no number on", message.topic)


async def main():
    server = Server()
    server.listen(port=int(sys.argv[1]) if len(sys.argv) > 1 else 1883)
    server.subscribe("sensors/+", take)
    await server.start()
    heater = ""
    while True:  # the program's own task, beside the broker
        wanted = "on" if readings and min(readings.values()) < TARGET else "off"
        if wanted != heater:
            heater = wanted
            server.publish("heater", heater, retain=True)
        await asyncio.sleep(0.2)


asyncio.run(main())
