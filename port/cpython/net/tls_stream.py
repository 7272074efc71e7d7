"""TLS between a connection and its client, with OpenSSL working in memory.

No more is kept of a client than of one without TLS: what a read brings is decrypted at once and handed on whole, and what
is written is encrypted at once and waits, if it must, where the limits for unsent bytes hold. A handshake takes its steps
when its address is on turn (port.cpython.net.anteroom). What goes wrong is told in an alert before the connection is closed.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from port.cpython.net.handshake import NewReceiver
from port.cpython.net.tls import words

if TYPE_CHECKING:
    from port.core.wire.codec import Buffer
    from port.cpython.net.listening_socket import ListeningSocket
    from port.cpython.server import Server

MAX_HELLO = 16384  # bytes of a ClientHello; OpenSSL takes 128 KiB, and memory for it as soon as it has read the size
_HANDSHAKE = 22  # first byte of a record of that type
_HEADS = 9  # bytes of the heads of a record and of a message of the handshake
_PIECE = 16384  # bytes given to OpenSSL at a time: its buffers grow with that, and never shrink


class Secure(NewReceiver):
    """TLS on the side of the connection, whose Receiver it is; for its client it is what a Stream is."""

    __slots__ = ("_incoming", "_outgoing", "_tls", "_held", "_begun", "_last", "_most", "_error")

    def __init__(self, server: Server, entrance: ListeningSocket, address: str, deadline: float, context: ssl.SSLContext) -> None:
        super().__init__(server, entrance, address, deadline)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._held = b""  # what came before the step in which it is looked at
        self._begun = False  # the size of the ClientHello is fine
        self._last = False  # no more comes: the client has said so, or cannot be understood
        self._most = 0  # unsent bytes at which a client is not read that only has TLS answered
        self._error: Exception | None = None

    # -- from the connection ------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """See Receiver."""
        if self._over:
            return
        inner = self._inner
        if inner is None:
            self._held += data
            self._transport.pause_reading()
            self._server.anteroom.later(self)
            return
        plain = self._decrypt(data)
        if plain:
            inner.receive(plain)
        if self._last and not self._over:
            self.close()
        elif self._outgoing.pending:  # TLS itself has an answer, such as its no to another handshake
            self._transport.write(self._outgoing.read())
            if not plain and self._transport.get_write_buffer_size() > self._most:
                self._transport.pause_reading()  # it has TLS answer and answer, and does not read that

    def _decrypt(self, data: bytes) -> bytes:
        """What the client has said."""
        incoming = self._incoming
        tls = self._tls
        found: list[bytes] = []
        at = 0
        while True:
            incoming.write(data[at : at + _PIECE])
            at += _PIECE
            try:
                while incoming.pending or tls.pending():
                    plain = tls.read(_PIECE)
                    if not plain:
                        self._last = True
                        return b"".join(found)
                    found.append(plain)
            except ssl.SSLWantReadError:  # the rest of a record has not come
                pass
            except ssl.SSLError as e:
                self._error = e
                self._last = True
                return b"".join(found)
            if at >= len(data):
                return found[0] if len(found) == 1 else b"".join(found)

    def connection_lost(self, exc: Exception | None) -> None:
        """See Receiver."""
        super().connection_lost(exc or self._error)

    # -- the handshake ------------------------------------------------------------------------------

    def step(self) -> None:
        """See Newcomer."""
        data = self._held
        self._held = b""
        try:
            fault = "" if self._begun else _fault(data)
            if fault is None:
                self._held = data
                self._transport.resume_reading()
            elif fault:
                self._refuse(fault)
            else:
                self._begun = True
                self._shake(data)
        except Exception as e:
            self._server.crashed(None, e)
            self._transport.abort()

    def _shake(self, data: bytes) -> None:
        try:
            for at in range(0, len(data), _PIECE):
                self._incoming.write(data[at : at + _PIECE])
                try:
                    self._tls.do_handshake()
                except ssl.SSLWantReadError:
                    continue
                self._shaken(data[at + _PIECE :])
                return
        except ssl.SSLError as e:
            self._send()  # the alert
            self._refuse(words(e))
            return
        self._send()
        self._transport.resume_reading()

    def _shaken(self, rest: bytes) -> None:
        """The handshake is over; some of what the client has to say may have come already."""
        self._send()
        revoked = self._entrance.revoked
        # OpenSSL has looked it up, but not for a session that is resumed, nor in a list that has been read since it began.
        if revoked is not None and revoked.names(self._tls.getpeercert(True)):
            self._refuse("client certificate: certificate revoked")
            return
        self._transport.resume_reading()
        self._begin(self._entrance.client(self._address), self)
        if rest or self._incoming.pending:
            self.receive(rest)

    def _send(self) -> None:
        if self._outgoing.pending:
            self._transport.write(self._outgoing.read())

    # -- asyncio.Transport --------------------------------------------------------------------------

    def write(self, data: Buffer) -> None:
        """Encrypt and send."""
        if self._over or self._last:
            return
        outgoing = self._outgoing
        size = len(data)
        if size <= _PIECE:
            if size:
                self._tls.write(data)
                self._transport.write(outgoing.read())
            return
        view = memoryview(data)
        records = []
        for at in range(0, size, _PIECE):
            self._tls.write(view[at : at + _PIECE])
            records.append(outgoing.read())
        self._transport.write(b"".join(records))

    def get_write_buffer_size(self) -> int:
        """Bytes the socket has not taken yet."""
        return int(self._transport.get_write_buffer_size())

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See Stream."""
        self._transport.set_write_buffer_limits(high, low)
        self._most = 2 * (high or 0)

    def is_closing(self) -> bool:
        """See Stream."""
        return bool(self._transport.is_closing())

    def pause_reading(self) -> None:
        """See Stream."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See Stream."""
        self._transport.resume_reading()

    def can_write_eof(self) -> bool:
        """See Stream."""
        return bool(self._transport.can_write_eof())

    def write_eof(self) -> None:
        """Say in TLS that no more will come, and close our half when all is sent."""
        self._say_goodbye()
        self._transport.write_eof()

    def close(self) -> None:
        """Say in TLS that no more will come, and close when all is sent."""
        self._say_goodbye()
        self._transport.close()

    def _say_goodbye(self) -> None:
        if not self._over:
            self._over = True
            try:
                self._tls.unwrap()
            except ssl.SSLError:  # the client has not said so
                pass
            self._send()

    def abort(self) -> None:
        """Close now."""
        self._over = True
        self._transport.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`ssl_object`, and what the connection tells."""
        return self._tls if name == "ssl_object" else self._transport.get_extra_info(name, default)


def _fault(data: bytes) -> str | None:
    """Why a ClientHello that begins like this is not for OpenSSL; empty if it is, None if that cannot be said yet."""
    if data[0] != _HANDSHAKE:
        return ""
    if len(data) < _HEADS:
        return None
    if int.from_bytes(data[3:5], "big") < 4:
        return "ClientHello in crumbs"
    return "ClientHello of more than %d bytes" % MAX_HELLO if int.from_bytes(data[6:9], "big") > MAX_HELLO else ""
