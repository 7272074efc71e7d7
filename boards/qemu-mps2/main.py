"""Starts the broker; runs unless there is another /main.py. Ctrl-C ends it and leaves you at the prompt.

Options stand in /config.json, see README.md; without it everybody may connect, over MQTT and WebSocket.
"""

import asyncio
import gc

import network
from port.micropython import Server, read_config

_FILE = "/config.json"
_DEFAULTS = {
    "anonymous": "all",  # who gets here is on the same PC
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
    places = ", ".join(["%s:%d" % address for address in broker.addresses])
    print("ucomqtt: listening at %s: %s" % (network.LAN().ifconfig()[0], places))
    print("ucomqtt: heap %d bytes in use, %d free" % (gc.mem_alloc(), gc.mem_free()))
    await broker.serve()


def main():
    """Run until Ctrl-C."""
    try:
        values = read_config(_FILE) if _exists(_FILE) else _DEFAULTS
        values.setdefault("max_connections_per_address", 0)  # all come from 10.0.2.2
        values.setdefault("receiver_patience", 30000)  # they share a PC with it, and with what else runs there
        broker = Server()
        broker.configure(values)
        asyncio.run(_run(broker))
    except (ValueError, OSError) as e:
        print("ucomqtt:", e)
    except KeyboardInterrupt:
        asyncio.run(broker.stop())
        print("ucomqtt: stopped")


try:
    main()
except KeyboardInterrupt:  # once more, as programs press it that want the prompt
    pass
