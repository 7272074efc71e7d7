"""Automation on the board itself: a topic switches a lamp, a button publishes. For a board's main.py.

    mosquitto_pub -t lamp -m on
    mosquitto_sub -t button
"""

import asyncio

import machine
from port.micropython import run

LAMP = 16
BUTTON = 17


async def watch_button(server):
    """Publish the button's state at each change; a pressed button connects the pin to ground."""
    button = machine.Pin(BUTTON, machine.Pin.IN, machine.Pin.PULL_UP)
    before = None
    while True:
        pressed = not button.value()
        if pressed is not before:
            before = pressed
            server.publish("button", "pressed" if pressed else "released", retain=True)
        await asyncio.sleep_ms(20)


async def program(server):
    """Runs beside the broker; after an exception it is started again."""
    lamp = machine.Pin(LAMP, machine.Pin.OUT)
    handle = server.subscribe("lamp", lambda message: lamp.value(message.payload == b"on"))
    try:
        await watch_button(server)
    finally:
        server.unsubscribe(handle)


run(led="LED", program=program)
