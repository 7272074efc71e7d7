"""What the tests of authentication back ends share: a broker in this event loop, a hanging server, an HTTP service.

The broker is the one of tests/core's harness: its clock moves when told, its clients are made of bytes.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from harness import World
from port.core.wire.codec import CONNACK

PATIENCE = 30.0  # s until a test gives up


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


async def until(condition: Callable[[], Any]) -> None:
    """Let the event loop run until something holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "in vain"
        await asyncio.sleep(0.002)


@asynccontextmanager
async def broker_with(*authenticators: Any, **options: Any) -> AsyncIterator[Any]:
    """A World with open authenticators, called a, b, c in their order."""
    world: Any = World(**{"anonymous": "none", "max_auth_failures": 0, **options})
    for name, authenticator in zip("abcdef", authenticators, strict=False):
        authenticator.name = name
        await authenticator.open()
        world.broker.authenticators.append(authenticator)
    try:
        yield world
        assert not world.errors()
    finally:
        for authenticator in authenticators:
            await authenticator.close()


def begin(world: Any, client_id: str = "c", version: int = 5, address: str = "10.0.0.1:5000", **fields: Any) -> Any:
    """A client that has sent CONNECT."""
    client = world.client(version, address)
    client.connect(client_id, **{name: value for name, value in fields.items() if value is not None})
    return client


async def finish(client: Any) -> int:
    """The code in the client's CONNACK, which may have to come yet."""
    await until(lambda: client.connack or client.inbox)
    if not client.connack:
        client.connack = client.expect(CONNACK)
    return int(client.connack["code"])


async def answer(world: Any, user: bytes | None = None, password: bytes | None = None, **fields: Any) -> int:
    """The code in the answer to a CONNECT."""
    return await finish(begin(world, user=user, password=password, **fields))


async def admitted(world: Any, user: bytes | None = None, password: bytes | None = None, **fields: Any) -> Any:
    """A client that was let in."""
    client = begin(world, user=user, password=password, **fields)
    assert await finish(client) == 0
    return client


@contextmanager
def hanging_server() -> Iterator[int]:
    """The port of a server that accepts connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server:
        yield server.getsockname()[1]


class Service:
    """An HTTP service in threads; `answer(path, fields)` returns status and body, or headers as well.

    url       where it is
    requests  path and fields of each request
    headers   those of the last one
    """

    def __init__(self, port: int = 0, tls: Any = None) -> None:
        self.answer: Callable[[str, dict[str, Any]], tuple[Any, ...]] = lambda path, fields: (204, "")
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.headers: Any = None
        self._connections: list[socket.socket] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                is_json = self.headers["Content-Type"] == "application/json"
                fields = json.loads(body) if is_json else dict(parse_qsl(body.decode(), keep_blank_values=True))
                service.headers = self.headers
                service.requests.append((self.path, fields))
                status, text, *more = service.answer(self.path, fields)
                data = text.encode() if isinstance(text, str) else text
                self.send_response(status)
                for name, value in more:
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if status != 204:
                    self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def process_request(self, request: Any, client_address: Any) -> None:
                service._connections.append(request)
                super().process_request(request, client_address)

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that does not trust our certificate, or does not wait

        self._server = Quiet(("127.0.0.1", port), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self.url = "%s://127.0.0.1:%d" % ("http" if tls is None else "https", self.port)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        """End it, and the connections that are open."""
        self._server.shutdown()
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is closed
        self._server.server_close()
        self._thread.join()


def figure(authenticator, name):
    """One of its counters."""
    return dict(authenticator.figures())[name]


def may(client, topic, publish, subscribe):
    """Check what a client may do with a topic."""
    client.publish(topic, b"x", 1, code=0x10 if publish else 0x87)
    client.subscribe(topic, 1, code=1 if subscribe else 0x87)
    if subscribe:
        client.unsubscribe(topic)
