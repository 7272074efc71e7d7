"""Frozen into MicroPython beside the broker: prints what of the heap is in use while a broker comes up, one line of JSON when it is there.

    micropython -X heapsize=190k -m frozen_heap PORT
    micropython -X heapsize=190k -m frozen_heap CONFIG VISITS

The second way the broker is what a configuration says, with the guard of a board's memory; when so many clients have come and
gone there is another line, "used".
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


async def main(server, visits):
    await server.start()
    await asyncio.sleep_ms(1)  # what start() had on the stack is no root any more
    found["start"] = live()
    print(json.dumps(found))
    if visits:
        from port.core.monitor.memory_guard import MemoryGuard

        guard = MemoryGuard(server)
        guard.watch("heap", gc.mem_free, 12288)
        while server.counters.connections_total < visits or server.connections:
            guard.look()
            await asyncio.sleep_ms(100)
        await asyncio.sleep_ms(1100)
        print(json.dumps({"used": live()}))
    await server.stop()


found = {"before": live()}
if len(sys.argv) == 2:
    from port.micropython import Server

    found["import"] = live()
    server = Server(max_connections=10)
    found["Server()"] = live()
    server.listen("127.0.0.1", int(sys.argv[1]))
else:
    from port.micropython import Server, read_config

    found["import"] = live()
    server = Server()
    server.configure(read_config(sys.argv[1]))
found["listen"] = live()
asyncio.run(main(server, int(sys.argv[2]) if sys.argv[2:] else 0))
