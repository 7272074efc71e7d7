"""The web service that decides about users and topics in an attack of tools/stress, slowly.

Contract: `run` is a process: it says its port, and serves until it is ended. Everybody may connect. The user `honest`
gets a rule that allows all; what others may do is asked for each topic, and the answer is yes, after DELAY.
"""

from __future__ import annotations

import asyncio
import json
from multiprocessing.connection import Connection

DELAY = 0.02  # s


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            size = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            asked = json.loads(await reader.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            writer.close()
            return
        said: dict[str, object] = {"result": "allow"}
        if "topic" in asked:
            await asyncio.sleep(DELAY)
        elif asked.get("user") == "honest":
            said["acl"] = [{"topic": "#"}]
        body = json.dumps(said).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def run(pipe: Connection) -> None:
    """See the module's contract."""

    async def main() -> None:
        server = await asyncio.start_server(_serve, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())
