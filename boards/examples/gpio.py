"""Local automation without a client: a lamp that a topic switches, a button that publishes. As main.py of a board.

    mosquitto_pub -t lamp -m on
    mosquitto_sub -t button
"""

import asyncio

import machine
from port.micropython import run

LAMP = 16
BUTTON = 17


async def watch_button(server):
    """Publish the button's state whenever it has changed; pressed connects the pin to ground."""
    button = machine.Pin(BUTTON, machine.Pin.IN, machine.Pin.PULL_UP)
    before = None
    while True:
        pressed = not button.value()
        if pressed is not before:
            before = pressed
            server.publish("button", "pressed" if pressed else "released", retain=True)
        await asyncio.sleep_ms(20)


async def program(server):
    """What runs beside the broker; if it fails it is started again."""
    lamp = machine.Pin(LAMP, machine.Pin.OUT)
    handle = server.subscribe("lamp", lambda message: lamp.value(message.payload == b"on"))
    try:
        await watch_button(server)
    finally:
        server.unsubscribe(handle)


run(led="LED", program=program)
