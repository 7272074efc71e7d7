"""Starts the broker, unless the file system has another /main.py. Ctrl-C ends it and gives the prompt.

/config.json has the options, see README.md; without it every client may connect, over MQTT and WebSocket.
"""

import asyncio
import gc

import network
from port.micropython import Server, read_config

_FILE = "/config.json"
_DEFAULTS = {
    "anonymous": "all",  # all clients are on the same PC
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
        values.setdefault("max_connections_per_address", 0)  # all clients come from 10.0.2.2
        values.setdefault("receiver_patience", 30000)  # the PC is shared with other programs
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
except KeyboardInterrupt:  # pressed twice, as tools do that want the prompt
    pass
