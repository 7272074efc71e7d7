"""The broker as the Eclipse Paho interoperability suite wants it; runs on both runtimes.

    server.py PORT
"""

import asyncio
import sys

package = "port." + sys.implementation.name
Server = __import__(package, None, None, ("Server",)).Server


async def main() -> None:
    """Serve until the process is ended."""
    # Tests ask for a Server Keep Alive of 60 s, topic aliases from the server, a topic nobody may subscribe to.
    server = Server(max_keep_alive=60, outbound_topic_aliases=10)
    server.on("subscribe", lambda client, topic_filter, options: 0x80 if topic_filter == b"test/nosubscribe" else None)
    server.listen("127.0.0.1", int(sys.argv[1]))
    await server.serve()


try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
