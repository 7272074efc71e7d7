"""Runs on MicroPython: a broker whose free memory is taken away and given back all the time.

    micropython tests/robustness/squeezed_broker.py PORT

Memory is taken until the free heap is down to between nothing and some KB, at odd moments,
so that every allocation of the broker fails once. Then prints "calm" and, when all clients
have gone, what is left of them: connections, clients counted as connected, sessions that
should have ended, subscriptions of nobody.
"""

import asyncio
import gc
import sys

from port.micropython.server import Server


TURNS = 300


class Ballast:
    """Memory held in a chain of blocks."""

    def __init__(self):
        self.chain = None

    def fill(self, spare):
        """Take all memory in blocks of falling size, then give back the last `spare` ones."""
        for size in (4096, 512, 64, 16):
            try:
                while True:
                    self.chain = (self.chain, bytearray(size))
            except MemoryError:
                pass
        for _ in range(spare):
            if self.chain is not None:
                self.chain = self.chain[0]

    def drop(self):
        """Give all back."""
        self.chain = None


async def main(port):
    """Serve until killed; after TURNS memory is left alone."""
    server = Server(None, max_connections=20)
    server.listen("127.0.0.1", port)
    await server.start()
    ballast = Ballast()
    for turn in range(TURNS):
        await asyncio.sleep_ms(3)
        if turn % 3:
            ballast.fill(turn * 7 % 97)
        else:
            ballast.drop()
            gc.collect()
    ballast.drop()
    print("calm")
    while server.links:
        await asyncio.sleep(1)
    await asyncio.sleep(2)
    ended = 0
    subscriptions = server.router.subscriptions.count
    for session in server.sessions.values():
        ended += not session.expiry
        subscriptions -= len(session.subscriptions)
    print("left:", len(server.connections), server.connected, ended, subscriptions)
    await server.serve()


asyncio.run(main(int(sys.argv[1])))
