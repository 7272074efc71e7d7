"""A board's main.py with a configuration that it reads again when somebody connects. Arguments: that port, the file."""

import asyncio
import sys

from port.micropython.config.config_file import change, read, server

path = sys.argv[2]
broker = server(read(path))


async def again(reader, writer):
    try:
        change(broker, read(path))
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
