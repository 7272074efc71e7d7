"""Runs on MicroPython: a broker of a configuration with the guard that a board's main program has.

    micropython -X heapsize=190k tests/robustness/board_broker.py PORT CONFIG

port.micropython.board.program itself needs a board's modules.
"""

import asyncio
import gc
import sys

from port.core.monitor.memory_guard import MemoryGuard
from port.micropython import Server, read_config

LEAST = 12288  # the default of a board


def heap_left():
    """Free bytes, without the garbage where it matters."""
    if gc.mem_free() < 2 * LEAST:  # type: ignore[attr-defined]
        gc.collect()
    return gc.mem_free()  # type: ignore[attr-defined]


async def main(port, path):
    """Serve until killed."""
    values = read_config(path)
    values["port"] = port
    broker = Server()
    broker.configure(values)
    await broker.start()
    guard = MemoryGuard(broker)
    guard.watch("heap", heap_left, LEAST)
    broker.memory.look = guard.look
    while True:
        if broker.strained:
            guard.relieve()
        guard.look()
        await asyncio.sleep(1)


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
