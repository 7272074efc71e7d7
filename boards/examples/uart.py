"""A client on a UART, beside those on Wi-Fi: another microcontroller that speaks MQTT over two wires. As main.py of a board."""

import asyncio

import machine
from port.micropython import run, serve_stream


async def program(server):
    """Serve what is connected to the UART, one client after the other."""
    uart = machine.UART(0, 115200, timeout=0, rxbuf=512)  # GP0 and GP1 of a Pico W
    while True:
        # Without authentication only this machine may connect: the client counts as a part of it.
        await serve_stream(server, asyncio.StreamReader(uart), asyncio.StreamWriter(uart, {}), "127.0.0.1:0", piece=256)


run(led="LED", program=program)
