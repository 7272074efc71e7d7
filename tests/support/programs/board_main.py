"""A board's main.py: the broker beside tasks of the user's own. Arguments: the broker's port, the echo server's."""

import asyncio
import sys

from port.micropython import Server

server = Server(sys_interval=0)


async def count():
    """A task that sleeps."""
    n = 0
    while True:
        n += 1
        server.publish("board/count", str(n), retain=True)
        await asyncio.sleep_ms(20)


async def echo(reader, writer):
    """A task that waits for a stream."""
    while line := await reader.readline():
        writer.write(line.upper())
        await writer.drain()
    writer.close()
    await writer.wait_closed()


def command(message):
    """A callback of a subscription."""
    server.publish("board/answer", message.payload + b"!", qos=1)


async def main():
    await asyncio.start_server(echo, "127.0.0.1", int(sys.argv[2]))
    server.subscribe("board/command/#", command)
    server.listen("127.0.0.1", int(sys.argv[1]))
    await server.start()
    asyncio.create_task(count())
    await server.serve()


asyncio.run(main())
