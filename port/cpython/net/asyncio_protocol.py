"""From asyncio's own transports to a Receiver: TLS, PROXY protocol, and all sockets where there is no epoll."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from port.cpython.net.stream import Receiver
    from port.cpython.server import Server


class Bridge(asyncio.BufferedProtocol, asyncio.Protocol):
    """The protocol of one of asyncio's transports.

    Both of asyncio's: its own transports take the first, and read into a buffer all clients share; else they would
    allocate 256 KiB for each read, which malloc may map and unmap each time. uvloop, which has such a buffer, takes
    the second.
    """

    __slots__ = ("_server", "_receiver")

    def __init__(self, server: Server, receiver: Receiver) -> None:
        self._server = server
        self._receiver = receiver

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._receiver.connection_made(transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._server.buffer

    def buffer_updated(self, count: int) -> None:
        self.data_received(bytes(self._server.buffer[:count]))

    def data_received(self, data: bytes) -> None:
        self._receiver.receive(data)
        self._server.flush()

    def pause_writing(self) -> None:
        self._receiver.pause_writing()

    def resume_writing(self) -> None:
        self._receiver.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._receiver.connection_lost(exc)
