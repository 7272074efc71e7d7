"""How the load generator of tools/bench reaches a broker: TCP, TLS, WebSocket, or WebSocket over TLS.

A Wire turns packets into what goes over the socket and back. What is sent again and again is framed once, in advance.
"""

import base64
import os
import socket
import ssl

READ_BYTES = 64 * 1024


class WireError(Exception):
    """The broker ended the connection, refused the handshake or sent what cannot be understood."""


class Wire:
    """One connection, whose socket still blocks."""

    def __init__(self, port: int, way: str, ca: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tls = Tls(self.socket, ca) if way in ("tls", "wss") else None
        self._websocket: WebSocket | None = None
        if way in ("ws", "wss"):
            websocket = WebSocket()
            self.socket.sendall(self.encode(websocket.request(port)))
            head = b""
            while b"\r\n\r\n" not in head:
                head += self.receive()
            websocket.check(head)
            self._websocket = websocket

    @property
    def plain(self) -> bool:
        """True when nothing has to be done with what is sent and received."""
        return self._tls is None and self._websocket is None

    def frame(self, packet: bytes) -> bytes:
        """What is to be encoded and sent for a packet, or for several that leave together."""
        return packet if self._websocket is None else self._websocket.frame(packet)

    def encode(self, data: bytes | memoryview) -> bytes | memoryview:
        """The bytes of the socket for framed packets."""
        return data if self._tls is None else self._tls.encode(data)

    def decode(self, chunk: bytes) -> bytes:
        """The packets, or parts of them, that a chunk from the socket holds."""
        if self._tls is not None:
            chunk = self._tls.decode(chunk)
        if self._websocket is not None:
            chunk = self._websocket.decode(chunk)
        return chunk

    def send(self, packet: bytes) -> None:
        """Send while the socket still blocks."""
        self.socket.sendall(self.encode(self.frame(packet)))

    def receive(self) -> bytes:
        """What comes while the socket still blocks. Raises WireError at the end."""
        chunk = self.socket.recv(READ_BYTES)
        if not chunk:
            raise WireError("the broker closed a connection instead of answering")
        return self.decode(chunk)


class Tls:
    """A TLS client in memory; the handshake is done when it is there."""

    _contexts: dict[str, ssl.SSLContext] = {}

    def __init__(self, sock: socket.socket, ca: str) -> None:
        if ca not in self._contexts:
            self._contexts[ca] = ssl.create_default_context(cafile=ca)
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._object = self._contexts[ca].wrap_bio(self._in, self._out, server_hostname="localhost")
        while True:
            try:
                self._object.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(self._out.read())
                chunk = sock.recv(READ_BYTES)
                if not chunk:
                    raise WireError("the broker closed a connection during the TLS handshake") from None
                self._in.write(chunk)
        sock.sendall(self._out.read())

    def encode(self, data: bytes | memoryview) -> bytes:
        self._object.write(data)
        return self._out.read()

    def decode(self, chunk: bytes) -> bytes:
        self._in.write(chunk)
        parts = []
        try:
            while part := self._object.read(READ_BYTES):
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        return b"".join(parts)


class WebSocket:
    """The client's side of RFC 6455, as far as brokers use it."""

    _BINARY, _CONTINUATION = 2, 0

    def __init__(self) -> None:
        self._rest = b""

    def request(self, port: int) -> bytes:
        key = base64.b64encode(os.urandom(16)).decode()
        return (
            f"GET /mqtt HTTP/1.1\r\nHost: localhost:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
        ).encode()

    def check(self, response: bytes) -> None:
        """Raises WireError unless the broker agreed."""
        first = response.partition(b"\r\n")[0]
        if not first.startswith(b"HTTP/1.1 101") or not response.endswith(b"\r\n\r\n"):
            raise WireError(f"the broker refused the WebSocket: {first!r}")

    def frame(self, packet: bytes) -> bytes:
        """One masked binary frame."""
        size = len(packet)
        if size < 126:
            head = bytes((0x82, 0x80 | size))
        elif size < 65536:
            head = bytes((0x82, 0x80 | 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((0x82, 0x80 | 127)) + size.to_bytes(8, "big")
        key = os.urandom(4)
        mask = (key * (size // 4 + 1))[:size]
        masked = int.from_bytes(packet, "big") ^ int.from_bytes(mask, "big")
        return head + key + masked.to_bytes(size, "big")

    def decode(self, chunk: bytes) -> bytes:
        """The payload of all whole frames; the rest is kept."""
        data = self._rest + chunk if self._rest else chunk
        parts = []
        at, end = 0, len(data)
        while at + 2 <= end:
            size, body = data[at + 1], at + 2
            if size > 125:
                body += 2 if size == 126 else 8
                if body > end:
                    break
                size = int.from_bytes(data[at + 2 : body], "big")
            if body + size > end:
                break
            if data[at] & 15 not in (self._BINARY, self._CONTINUATION):
                raise WireError(f"the broker sent a WebSocket frame 0x{data[at]:02x}")
            parts.append(data[body : body + size])
            at = body + size
        self._rest = data[at:]
        return b"".join(parts)
