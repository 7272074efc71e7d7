"""A board's main.py with a configuration that it reads again when somebody connects. Arguments: that port, the file."""

import asyncio
import sys

from port.micropython import Server, read_config

path = sys.argv[2]
broker = Server()
broker.configure(read_config(path))


async def again(reader, writer):
    try:
        await broker.change(read_config(path))
        print("the configuration was read again")
    except ValueError as e:
        print("the configuration was not changed:", e)
    writer.close()
    await writer.wait_closed()


async def main():
    await broker.start()
    await asyncio.start_server(again, "127.0.0.1", int(sys.argv[1]))
    await broker.serve()


asyncio.run(main())
