"""Runs on MicroPython: the broker of tools/measure, telling about its heap.

    micropython tools/measuring/broker.py PORT [OPTION=VALUE ...]

Expects the broker where MicroPython finds it. Prints "ready HEAP" when it
listens. A message to the topic `measure` is a command:

    heap    collect garbage, print "heap BYTES": what is in use
    start   collect garbage and collect no more, print "start BYTES"
    stop    print "stop BYTES", what is in use with the garbage since `start`
    open    open an in-process client of MQTT 5
    close   close them all
"""

import asyncio
import gc
import sys

from port.micropython.server import Server


def live():
    """Bytes in use; what a collection spares because a stale pointer shows it goes with the next ones."""
    least = 1 << 30
    for _ in range(3):
        gc.collect()
        least = min(least, gc.mem_alloc())
    return least


async def main(port, values):
    """Serve until killed."""
    server = Server(**values)
    asked = asyncio.Event()

    inside = []

    def command(message):
        if message.payload == b"heap":
            asked.set()
        elif message.payload == b"start":
            gc.collect()
            gc.disable()
            print("start", gc.mem_alloc())
        elif message.payload == b"open":
            inside.append(server.open_client("inside-%05d" % len(inside), print))
        elif message.payload == b"close":
            while inside:
                inside.pop().disconnect()
        else:
            print("stop", gc.mem_alloc())
            gc.enable()

    server.subscribe("measure", command)
    server.listen("127.0.0.1", port)
    await server.start()
    print("ready", live())
    while True:
        # Not in the command itself: the poller's and the parser's temporaries would count.
        await asked.wait()
        asked.clear()
        server.flush()
        # Caches that are bounded and belong to no client.
        server.router.forget()
        if server.mqtt5 is not None:
            server.mqtt5.cache.clear()
        print("heap", live())


values = {}
for argument in sys.argv[2:]:
    name, value = argument.split("=")
    values[name] = int(value)
asyncio.run(main(int(sys.argv[1]), values))
