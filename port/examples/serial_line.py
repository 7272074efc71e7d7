"""serve_stream: a client on a serial line, beside those on TCP. CPython; boards/examples/uart.py is the same for a board.

    python3 -m port.examples.serial_line 1883 /dev/ttyUSB0

Any pair of asyncio streams will do: for a pipe to a program, the `stdout` and `stdin` of asyncio.create_subprocess_exec.
"""

import asyncio
import os
import sys
import termios
import tty

from port.cpython import Server, serve_stream


async def serve_line(server, device, speed=termios.B115200):
    """Serve one client on a serial line, until it disconnects."""
    line = os.open(device, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(line, termios.TCSANOW)
    mode = termios.tcgetattr(line)
    mode[4] = mode[5] = speed
    termios.tcsetattr(line, termios.TCSANOW, mode)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    from_client, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), open(os.dup(line), "rb", 0))
    to_client, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), open(line, "wb", 0)
    )
    try:
        # An address of this machine: without authentication no other may connect.
        await serve_stream(server, reader, asyncio.StreamWriter(to_client, protocol, reader, loop), "127.0.0.1:0")
    finally:
        from_client.close()  # serve_stream closes the writer


async def main():
    server = Server()
    server.listen(port=int(sys.argv[1]))
    await server.start()
    while True:
        await serve_line(server, sys.argv[2])


asyncio.run(main())
