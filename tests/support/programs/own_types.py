"""A program with types of its own, on both runtimes. Arguments: a port at which it is told what to do, see `told`, the
configuration, the folder of the types' modules.
"""

import asyncio
import sys

sys.path.insert(0, sys.argv[3])
if sys.implementation.name == "micropython":
    from port.micropython import Server, read_config
else:
    from port.cpython import Server, read_config  # type: ignore[assignment]


def store():
    from file_store import FileStore  # type: ignore[import-not-found]

    return FileStore


def auth():
    from shared_password import SharedPassword  # type: ignore[import-not-found]

    return SharedPassword


def listener():
    from stream_listener import StreamListener  # type: ignore[import-not-found]

    return StreamListener


def absent():
    import no_such_module  # type: ignore[import-not-found]

    return no_such_module


Server.register("store", "file", store)
Server.register("auth", "shared", auth)
Server.register("listener", "stream", listener)
Server.register("listener", "absent", absent)
server = Server()
try:
    server.configure(read_config(sys.argv[2]))
except (ValueError, ImportError) as e:
    print("%s: %s" % (type(e).__name__, e))
    sys.exit(2)


over = asyncio.Event()


async def told(reader, writer):
    """Whoever connects and says `change` has the configuration read again; `end` ends the program."""
    words = await reader.read(6)
    if words == b"change":
        try:
            await server.change(read_config(sys.argv[2]))
            print("changed")
        except ValueError as e:
            print("not changed:", e)
    elif words == b"end":
        over.set()
    writer.close()
    await writer.wait_closed()


async def main():
    try:
        await server.start()
    except (OSError, ValueError) as e:
        print("not started:", e)
        return
    for line in server.described():
        print(line, server.addresses)
    await asyncio.start_server(told, "127.0.0.1", int(sys.argv[1]))
    await over.wait()
    await server.stop()
    print("stopped")


asyncio.run(main())
