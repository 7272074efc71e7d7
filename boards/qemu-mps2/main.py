"""Starts the broker; runs unless there is another /main.py. Ctrl-C ends it and leaves you at the prompt.

Options stand in /ucomqtt.json, see README.md; without it everybody may connect, over MQTT and WebSocket.
"""

import asyncio
import gc

import network
from port.micropython.config import read, server

_FILE = "/ucomqtt.json"
_DEFAULTS = {
    "anonymous": "all",  # who gets here is on the same PC
    "max_connections_per_address": 0,  # all come from 10.0.2.2
    "listener": [{"host": "0.0.0.0", "port": 1883}, {"type": "websocket", "host": "0.0.0.0", "port": 8083}],
}


def _exists(path):
    import os

    try:
        os.stat(path)
        return True
    except OSError:
        return False


async def _run(broker):
    await broker.start()
    for place in broker.places():
        print("ucomqtt: listening on", place)
    print("ucomqtt: heap %d bytes in use, %d free" % (gc.mem_alloc(), gc.mem_free()))
    await broker.serve()


def main():
    """Run until Ctrl-C."""
    lan = network.LAN()
    print("ucomqtt: this board is", lan.ifconfig()[0])
    try:
        broker = server(read(_FILE) if _exists(_FILE) else _DEFAULTS)
        asyncio.run(_run(broker))
    except (ValueError, OSError) as e:
        print("ucomqtt:", e)
    except KeyboardInterrupt:
        asyncio.run(broker.stop())
        print("ucomqtt: stopped")


main()
