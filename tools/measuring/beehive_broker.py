"""Runs on MicroPython: one of the two brokers of tools/compare_beehive, telling about its heap.

    micropython tools/measuring/beehive_broker.py beehive|ucomqtt PORT

Expects both packages where MicroPython finds them. Prints "import BYTES", what importing the broker takes, and for each
line on standard input "heap BYTES": what is in use without garbage.
"""

import asyncio
import gc
import select
import sys


def live():
    """Bytes in use; what a collection spares because a stale pointer shows it goes with the next ones."""
    least = 1 << 30
    for _ in range(3):
        gc.collect()
        least = min(least, gc.mem_alloc())
    return least


async def tell():
    """Answer standard input."""
    poll = select.poll()
    poll.register(sys.stdin, select.POLLIN)
    while True:
        if poll.poll(0):
            if not sys.stdin.readline():
                return
            print("heap", live())
        await asyncio.sleep_ms(50)


async def main(which, port):
    before = live()
    if which == "beehive":
        from beehivemqtt import BrokerConfig, MQTTBroker

        print("import", live() - before)
        broker = MQTTBroker(BrokerConfig(bind_addr="127.0.0.1", port=port, max_clients=100, log_level="ERROR"))
    else:
        from port.micropython import Server

        print("import", live() - before)
        broker = Server(max_connections=100, max_connections_per_address=0)
        broker.listen("127.0.0.1", port)
        await broker.start()
    asyncio.create_task(tell())
    await broker.serve()


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
