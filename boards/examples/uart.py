"""A client on a UART beside those on Wi-Fi: a second microcontroller that speaks MQTT over two wires. For a board's main.py."""

import asyncio

import machine
from port.micropython import run, serve_stream


async def program(server):
    """Serve the client on the UART; after its DISCONNECT, the next one."""
    uart = machine.UART(0, 115200, timeout=0, rxbuf=512)  # GP0 and GP1 of a Pico W
    while True:
        # An address of the board itself: without authentication no other may connect.
        await serve_stream(server, asyncio.StreamReader(uart), asyncio.StreamWriter(uart, {}), "127.0.0.1:0", piece=256)


run(led="LED", program=program)
