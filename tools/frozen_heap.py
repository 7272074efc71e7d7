"""Runs on MicroPython: prints what of the heap is in use while a broker comes up, as JSON.

    MICROPYPATH=... micropython -X heapsize=190k tools/frozen_heap.py PORT [MODULE ...]

The modules of port are imported beside port.micropython and what it needs itself.
"""

import asyncio
import gc
import json
import sys


def live():
    """Bytes in use; what a collection spares because a stale pointer shows it goes with the next ones."""
    least = 1 << 30
    for _ in range(3):
        gc.collect()
        least = min(least, gc.mem_alloc())
    return least


async def main(server):
    await server.start()
    found["start"] = live()
    await server.stop()


found = {"before": live()}
from port.micropython import Server

for name in sys.argv[2:]:
    __import__(name)
found["import"] = live()
server = Server(max_connections=10)
found["Server()"] = live()
server.listen("127.0.0.1", int(sys.argv[1]))
found["listen"] = live()
asyncio.run(main(server))
print(json.dumps(found))
