"""Runs on both runtimes: a broker whose clients come through asyncio.start_server and port.core.streams.

    python3 tests/support/programs/streams_broker.py PORT
"""

import asyncio
import sys

from port.core.streams import serve_stream

if sys.implementation.name == "cpython":
    from port.cpython import Server
else:
    from port.micropython import Server  # type: ignore[assignment]


async def main(port):
    """Serve until killed."""
    server = Server()
    await server.start()

    async def serve(reader, writer):
        await serve_stream(server, reader, writer, "127.0.0.1:1")

    await asyncio.start_server(serve, "127.0.0.1", port)
    while True:
        await asyncio.sleep(3600)


asyncio.run(main(int(sys.argv[1])))
