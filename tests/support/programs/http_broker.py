"""Runs on both runtimes: a broker with pages of a program.

python3 tests/support/programs/http_broker.py PORT_OF_MQTT PORT_OF_HTTP FOLDER [SOCKETS]
"""

import asyncio
import sys

if sys.implementation.name == "cpython":
    from port.cpython import Query, Response, Server, listed, stored_file
else:
    from port.micropython import Query, Response, Server, listed, stored_file  # type: ignore[assignment,attr-defined]

PIECE = b"0123456789abcdef" * 32  # 512 bytes
made = [0]  # pieces of /stream


def echo(request):
    """Tells what came."""
    return Response("%s %d %s" % (str(request.method, "utf-8"), len(request.body), str(request.body[:20], "utf-8")))


def stream(request):
    """As many pieces as are asked for."""

    def pieces():
        for _ in range(int(request.parameters["count"])):
            made[0] += 1
            yield PIECE

    return Response(pieces(), "application/octet-stream")


def events(request):
    """A line now and then, for ever."""

    def pieces():
        number = 0
        while True:
            yield "data: %d\n\n" % number
            yield 1000
            number += 1

    return Response(pieces(), "text/event-stream")


async def main(port, pages, folder, places):
    """Serve until killed."""
    server = Server(connect_timeout=2, outbox_bytes=4096)
    server.listen("127.0.0.1", port)
    server.listen("127.0.0.1", pages, type="http", max_body=20000, body_timeout=2)
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
        server.route(method, "/echo", echo, "read")
    server.route("GET", "/stream/{count}", stream)
    server.route("GET", "/made", lambda request: Response(str(made[0])))
    server.route("GET", "/events", events)
    server.route("GET", "/file", stored_file(lambda: open(folder + "/file.gz", "rb"), "text/plain", "v1"), "open")
    server.route("GET", "/clients", lambda request: listed(request, Query(server).sessions))
    await server.start()
    if places:
        server.places = places  # type: ignore[attr-defined,unused-ignore] # as many sockets as a small board has
    while True:
        await asyncio.sleep(3600)


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]) if len(sys.argv) > 4 else 0))
