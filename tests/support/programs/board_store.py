"""A board's main.py with a flash store. Arguments: port, folder, what else FlashStore is given (JSON)."""

import asyncio
import json
import sys

from port.micropython import Server
from port.micropython.flash import FlashStore

server = Server(store=FlashStore(sys.argv[2], **json.loads(sys.argv[3])), anonymous="all", sys_interval=1)
server.listen("127.0.0.1", int(sys.argv[1]))
try:
    asyncio.run(server.serve())
except KeyboardInterrupt:
    asyncio.run(server.stop())
